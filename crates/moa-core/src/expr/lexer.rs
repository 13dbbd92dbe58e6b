//! Characters to tokens, on demand. Knows CEL's literals with all their escapes.

use std::ops::Range;
use std::sync::Arc;

use super::error::Error;

/// A token and the bytes it was read from.
#[derive(Debug, Clone)]
pub(super) struct Token {
    pub kind: Kind,
    pub span: Range<usize>,
}

/// What a token is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    /// Magnitude: the sign is an operator, joined by the parser, so up to 2^63.
    Int(u64),
    Uint(u64),
    Double(f64),
    Str(Arc<str>),
    Bytes(Arc<[u8]>),
    /// Also `in`, `true`, `false`, `null` and reserved words.
    Ident,
    /// `` `a-b` ``, allowed as a field only.
    Quoted(Arc<str>),
    /// An operator or bracket.
    Punct(&'static str),
    End,
}

/// Longest first.
const PUNCTS: [&str; 24] = [
    "&&", "||", "==", "!=", "<=", ">=", "<", ">", "+", "-", "*", "/", "%", "!", "?", ":", ".", ",",
    "(", ")", "[", "]", "{", "}",
];

#[derive(Clone)]
pub(super) struct Lexer<'s> {
    source: &'s str,
    at: usize,
}

impl<'s> Lexer<'s> {
    pub fn new(source: &'s str) -> Self {
        Self { source, at: 0 }
    }

    fn rest(&self) -> &'s str {
        &self.source[self.at..]
    }

    fn byte(&self, ahead: usize) -> u8 {
        self.source.as_bytes().get(self.at + ahead).copied().unwrap_or(0)
    }

    /// The next token; `Kind::End` for ever at the end.
    pub fn token(&mut self) -> Result<Token, Box<Error>> {
        self.skip_blanks();
        let start = self.at;
        let kind = match self.byte(0) {
            0 if start == self.source.len() => Kind::End,
            b'0'..=b'9' => self.number()?,
            b'.' if self.byte(1).is_ascii_digit() => self.number()?,
            b'"' | b'\'' => self.string(false, false)?,
            b'`' => self.quoted()?,
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => self.word()?,
            _ => self.punct()?,
        };
        Ok(Token { kind, span: start..self.at })
    }

    fn skip_blanks(&mut self) {
        loop {
            match self.byte(0) {
                b' ' | b'\t' | b'\n' | b'\r' | 0x0c => self.at += 1,
                b'/' if self.byte(1) == b'/' => {
                    self.at += self.rest().find('\n').unwrap_or(self.rest().len());
                }
                _ => return,
            }
        }
    }

    fn punct(&mut self) -> Result<Kind, Box<Error>> {
        if let Some(found) = PUNCTS.iter().find(|p| self.rest().starts_with(**p)) {
            self.at += found.len();
            return Ok(Kind::Punct(found));
        }
        let Some(c) = self.rest().chars().next() else {
            return Ok(Kind::End);
        };
        let span = self.at..self.at + c.len_utf8();
        let error = |hint: &str| {
            let error = Error::new(format!("unexpected character `{c}`"), span.clone());
            if hint.is_empty() { error } else { error.hint(hint) }
        };
        Err(error(match c {
            '=' => "write `==` to compare; values cannot be assigned",
            '&' => "write `&&`",
            '|' => "write `||`",
            '$' => "write the bare expression: `${{ }}` belongs into strings",
            '“' | '”' | '‘' | '’' | '«' | '»' => "write plain quotes: \" or '",
            ';' => "an expression is one line of thought, without `;`",
            '^' | '~' => "use math.bitXor(a, b) or math.bitNot(a)",
            '@' | '#' => "comments start with `//`",
            '\\' => "a backslash stands inside strings only",
            '\u{a0}' | '\u{200b}' | '\u{feff}' => "it is invisible; delete it",
            c if c.is_alphabetic() => "names are made of a-z, A-Z, 0-9 and _; quote text",
            _ => "",
        }))
    }

    /// An identifier, a keyword, or the prefix of a string.
    fn word(&mut self) -> Result<Kind, Box<Error>> {
        let start = self.at;
        let len = ident_length(self.rest());
        let word = &self.rest()[..len];
        let quoted = matches!(self.source.as_bytes().get(start + len), Some(b'"' | b'\''));
        if quoted && len <= 2 {
            let lower = word.to_ascii_lowercase();
            if matches!(lower.as_str(), "r" | "b" | "br" | "rb") {
                self.at += len;
                return self.string(lower.contains('r'), lower.contains('b'));
            }
        }
        self.at += len;
        Ok(Kind::Ident)
    }

    fn quoted(&mut self) -> Result<Kind, Box<Error>> {
        let start = self.at;
        let inner = &self.source[start + 1..];
        let Some(len) = inner.find(['`', '\n']).filter(|n| inner.as_bytes()[*n] == b'`') else {
            return Err(Error::new("this ` is not closed", start..start + 1));
        };
        self.at += len + 2;
        let allowed = |c: char| c.is_ascii_alphanumeric() || "_.-/ ".contains(c);
        if len == 0 || !inner[..len].chars().all(allowed) {
            let span = start..self.at;
            return Err(Error::new("this is not a field name", span)
                .hint("write [\"…\"] to select a key with unusual characters"));
        }
        Ok(Kind::Quoted(inner[..len].into()))
    }

    fn digits(&mut self) -> usize {
        let n = self.rest().bytes().take_while(u8::is_ascii_digit).count();
        self.at += n;
        n
    }

    fn number(&mut self) -> Result<Kind, Box<Error>> {
        let start = self.at;
        if self.byte(0) == b'0' && matches!(self.byte(1), b'x' | b'X') {
            return self.hex();
        }
        self.digits();
        let mut double = false;
        if self.byte(0) == b'.' && self.byte(1).is_ascii_digit() {
            double = true;
            self.at += 1;
            self.digits();
        }
        if matches!(self.byte(0), b'e' | b'E') {
            let sign = usize::from(matches!(self.byte(1), b'+' | b'-'));
            if self.byte(1 + sign).is_ascii_digit() {
                double = true;
                self.at += 1 + sign;
                self.digits();
            }
        }
        let text = &self.source[start..self.at];
        if double {
            self.no_suffix(start)?;
            return match text.parse::<f64>() {
                Ok(n) if n.is_finite() => Ok(Kind::Double(n)),
                _ => Err(Error::new("this number is too large for a double", start..self.at)),
            };
        }
        let magnitude = text.parse::<u64>();
        self.integer(start, magnitude.ok())
    }

    fn hex(&mut self) -> Result<Kind, Box<Error>> {
        let start = self.at;
        self.at += 2;
        let n = self.rest().bytes().take_while(u8::is_ascii_hexdigit).count();
        let magnitude = u64::from_str_radix(&self.rest()[..n], 16);
        self.at += n;
        if n == 0 {
            return Err(Error::new("hexadecimal digits are missing after `0x`", start..self.at));
        }
        self.integer(start, magnitude.ok())
    }

    fn integer(&mut self, start: usize, magnitude: Option<u64>) -> Result<Kind, Box<Error>> {
        let unsigned = matches!(self.byte(0), b'u' | b'U');
        self.at += usize::from(unsigned);
        self.no_suffix(start)?;
        match magnitude {
            Some(n) if unsigned => Ok(Kind::Uint(n)),
            Some(n) if n <= 1 << 63 => Ok(Kind::Int(n)),
            _ => Err(Error::new("this number does not fit 64 bits", start..self.at)),
        }
    }

    /// Letters directly after a number are a mistake: say which.
    fn no_suffix(&self, start: usize) -> Result<(), Box<Error>> {
        let suffix = &self.rest()[..ident_length(self.rest())];
        if suffix.is_empty() {
            return Ok(());
        }
        let span = start..self.at + suffix.len();
        let text = &self.source[span.clone()];
        let error = Error::new(format!("`{text}` is not a number"), span);
        Err(match suffix {
            "ms" | "s" | "m" | "h" | "d" => error.hint(format!("write duration(\"{text}\")")),
            _ => error.hint("names cannot start with a digit"),
        })
    }

    fn string(&mut self, raw: bool, bytes: bool) -> Result<Kind, Box<Error>> {
        let open = self.at;
        let quote = self.byte(0);
        let triple = self.byte(1) == quote && self.byte(2) == quote;
        let width = if triple { 3 } else { 1 };
        self.at += width;
        let mut out: Vec<u8> = Vec::new();
        loop {
            let c = self.byte(0);
            if self.at >= self.source.len() || (!triple && matches!(c, b'\n' | b'\r')) {
                let error = Error::new("this string is not closed", open..open + width);
                let mark = char::from(quote).to_string().repeat(width);
                return Err(error.hint(format!("close it with {mark}")));
            }
            if c == quote && (!triple || (self.byte(1) == quote && self.byte(2) == quote)) {
                self.at += width;
                break;
            }
            if c == b'\\' && !raw {
                self.escape(bytes, &mut out)?;
            } else {
                out.push(c);
                self.at += 1;
            }
        }
        if bytes {
            return Ok(Kind::Bytes(out.into()));
        }
        match String::from_utf8(out) {
            Ok(text) => Ok(Kind::Str(text.into())),
            Err(_) => Err(Error::new("this string is not UTF-8", open..self.at)),
        }
    }

    fn escape(&mut self, bytes: bool, out: &mut Vec<u8>) -> Result<(), Box<Error>> {
        let start = self.at;
        let c = self.byte(1);
        self.at += 2;
        let plain = match c {
            b'a' => 7,
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'v' => 11,
            b'\\' | b'?' | b'"' | b'\'' | b'`' => c,
            b'x' | b'X' => return self.code_point(start, 2, 16, bytes, out),
            b'u' if !bytes => return self.code_point(start, 4, 16, false, out),
            b'U' if !bytes => return self.code_point(start, 8, 16, false, out),
            b'0'..=b'3' => {
                self.at -= 1;
                return self.code_point(start, 3, 8, bytes, out);
            }
            _ => {
                self.at -= 1;
                let end = self.at + self.rest().chars().next().map_or(0, char::len_utf8);
                let text = &self.source[start..end];
                return Err(Error::new(format!("`{text}` is not an escape"), start..end)
                    .hint("write \\\\ for a backslash, or a raw string: r\"…\""));
            }
        };
        out.push(plain);
        Ok(())
    }

    fn code_point(
        &mut self,
        start: usize,
        digits: usize,
        radix: u32,
        byte: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), Box<Error>> {
        let found =
            self.rest().bytes().take(digits).take_while(|b| char::from(*b).is_digit(radix)).count();
        let number = u32::from_str_radix(&self.rest()[..found], radix);
        self.at += found;
        let end = self.at;
        let wrong = |message: String| Err(Error::new(message, start..end));
        let Some(number) = number.ok().filter(|_| found == digits) else {
            return wrong(format!("this escape takes {digits} digits"));
        };
        if byte {
            let Ok(number) = u8::try_from(number) else {
                return wrong("this escape is not a byte".into());
            };
            out.push(number);
            return Ok(());
        }
        let Some(c) = char::from_u32(number) else {
            return wrong("this escape is not a character".into());
        };
        out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        Ok(())
    }
}

/// Bytes of the identifier at the start of `text`; 0 when there is none.
pub(super) fn ident_length(text: &str) -> usize {
    match text.bytes().next() {
        Some(b) if b.is_ascii_alphabetic() || b == b'_' => {
            text.bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_').count()
        }
        _ => 0,
    }
}

/// Where the `}}` is that ends an expression embedded in text, seen from the expression's start.
/// Braces and quotes of the expression itself do not end it. `None` when nothing does.
pub(crate) fn end_of_embedded(text: &str) -> Option<usize> {
    let mut lexer = Lexer::new(text);
    let mut depth = 0usize;
    loop {
        lexer.skip_blanks();
        if depth == 0 && lexer.rest().starts_with("}}") {
            return Some(lexer.at);
        }
        match lexer.token() {
            Ok(Token { kind: Kind::Punct("{"), .. }) => depth += 1,
            Ok(Token { kind: Kind::Punct("}"), .. }) => depth = depth.saturating_sub(1),
            Ok(Token { kind: Kind::End, .. }) => return None,
            Ok(_) => {}
            // The expression is wrong; let its compilation say so, up to the nearest end.
            Err(_) => return text.find("}}"),
        }
    }
}
