//! Just enough of Rust's lexical structure: what is code, what is a comment, what is a string, and
//! where functions begin and end. Absent: a parser; macros are read as the text that they are.

/// A Rust file in parts. `code` and `prose` have the same length and lines as the text: what doesn't
/// belong to the part is blank.
pub struct Source {
    /// Code, without comments and without what stands in strings.
    pub code: String,
    /// Comments, doc comments among them.
    pub prose: String,
}

/// A function with its body.
#[derive(Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// The line of `fn`, from 1.
    pub line: usize,
    /// Lines from `fn` to the closing brace.
    pub lines: usize,
}

impl Source {
    /// Cuts `text` into its parts.
    pub fn new(text: &str) -> Self {
        let bytes = text.as_bytes();
        let mut code = vec![b' '; bytes.len()];
        let mut prose = vec![b' '; bytes.len()];
        let mut at = 0;
        while at < bytes.len() {
            let (kind, end) = token(bytes, at);
            for i in at..end {
                match (bytes[i], kind) {
                    (b'\n', _) => {
                        code[i] = b'\n';
                        prose[i] = b'\n';
                    }
                    (byte, Kind::Code) => code[i] = byte,
                    (byte, Kind::Comment) => prose[i] = byte,
                    (_, Kind::Text) => {}
                }
            }
            at = end;
        }
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        Self { code: text(&code), prose: text(&prose) }
    }

    /// The functions that have a body; one inside another counts for both.
    pub fn functions(&self) -> Vec<Function> {
        let bytes = self.code.as_bytes();
        let mut found = Vec::new();
        let mut line = 1;
        for at in 0..bytes.len() {
            if bytes[at] == b'\n' {
                line += 1;
            }
            let word = bytes[at..].starts_with(b"fn ") && (at == 0 || !is_word(bytes[at - 1]));
            let name: String = match word {
                true => self.code[at + 3..].trim_start().chars().take_while(is_word_char).collect(),
                false => continue,
            };
            if let Some(end) = body_end(bytes, at).filter(|_| !name.is_empty()) {
                let lines = bytes[at..end].iter().filter(|b| **b == b'\n').count() + 1;
                found.push(Function { name, line, lines });
            }
        }
        found
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Code,
    Comment,
    Text,
}

/// The kind of what stands at `at`, and where it ends.
fn token(bytes: &[u8], at: usize) -> (Kind, usize) {
    let rest = &bytes[at..];
    let starts_word = at == 0 || !is_word(bytes[at - 1]);
    if rest.starts_with(b"//") {
        let end = rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len());
        return (Kind::Comment, at + end);
    }
    if rest.starts_with(b"/*") {
        return (Kind::Comment, at + block_comment(rest));
    }
    if let Some(length) = raw_string(rest).filter(|_| starts_word) {
        return (Kind::Text, at + length);
    }
    match rest[0] {
        b'"' => (Kind::Text, at + quoted(rest, b'"')),
        b'\'' if is_char(rest) => (Kind::Text, at + quoted(rest, b'\'')),
        _ => (Kind::Code, at + 1),
    }
}

fn block_comment(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        if rest[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

/// The length of `r"…"`, `r#"…"#`, `br"…"`, if one starts here.
fn raw_string(rest: &[u8]) -> Option<usize> {
    let prefix = [&b"br"[..], b"cr", b"r"].into_iter().find(|p| rest.starts_with(p))?.len();
    let hashes = rest[prefix..].iter().take_while(|b| **b == b'#').count();
    let open = prefix + hashes;
    if rest.get(open) != Some(&b'"') {
        return None;
    }
    let close: Vec<u8> = std::iter::once(b'"').chain(std::iter::repeat_n(b'#', hashes)).collect();
    let body = &rest[open + 1..];
    let end = body.windows(close.len()).position(|w| w == close);
    Some(end.map_or(rest.len(), |e| open + 1 + e + close.len()))
}

/// The length of a literal in quotes, with escapes.
fn quoted(rest: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// Whether the quote starts a character and not a lifetime.
fn is_char(rest: &[u8]) -> bool {
    match rest.get(1) {
        Some(b'\\') => true,
        Some(_) => {
            // The next character may have up to four bytes.
            let text = String::from_utf8_lossy(&rest[1..rest.len().min(6)]).into_owned();
            let first = text.chars().next().map_or(1, char::len_utf8);
            rest.get(1 + first) == Some(&b'\'')
        }
        None => false,
    }
}

/// The end of the body of the function at `at`; `None` when it has none.
fn body_end(bytes: &[u8], at: usize) -> Option<usize> {
    let (mut inside, mut braces) = (0i32, 0i32);
    for (i, byte) in bytes.iter().enumerate().skip(at) {
        match byte {
            b'(' | b'[' => inside += 1,
            b')' | b']' => inside -= 1,
            b';' if inside == 0 && braces == 0 => return None,
            b'{' => braces += 1,
            b'}' => {
                braces -= 1;
                if braces <= 0 {
                    return Some(i);
                }
            }
            _ => {}
        }
    }
    None
}

/// Whether a byte can stand in an identifier.
pub fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn is_word_char(c: &char) -> bool {
    c.is_alphanumeric() || *c == '_'
}

/// Where `needle` stands in `line` as a whole: not as a part of a longer word.
pub fn find_whole(line: &str, needle: &str) -> Option<usize> {
    let bytes = line.as_bytes();
    let edge = |at: Option<usize>, end: u8| {
        !is_word(end) || at.and_then(|i| bytes.get(i)).is_none_or(|b| !is_word(*b))
    };
    let (first, last) = (*needle.as_bytes().first()?, *needle.as_bytes().last()?);
    line.match_indices(needle)
        .map(|(at, _)| at)
        .find(|at| edge(at.checked_sub(1), first) && edge(Some(at + needle.len()), last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_and_comments_are_not_code() {
        let text = "let a = \"fn x() {\"; // why {\nlet b = r#\"}\"#; /* { /* } */ */ let c = '{';";
        let source = Source::new(text);
        assert!(!source.code.contains(['{', '}']), "{}", source.code);
        assert!(source.prose.contains("why"));
        assert_eq!(source.code.len(), text.len());
    }

    #[test]
    fn lifetimes_are_code() {
        let source = Source::new("fn f<'a>(x: &'a str) -> &'a str { x }");
        assert!(source.code.contains("{ x }"), "{}", source.code);
    }

    #[test]
    fn functions_are_measured_from_fn_to_brace() {
        let text = "\ntrait T { fn no_body(&self) -> [u8; 2]; }\nfn one(\n  a: u8,\n) {\n  a;\n}\n";
        let found = Source::new(text).functions();
        assert_eq!(found, [Function { name: "one".into(), line: 3, lines: 5 }]);
    }

    #[test]
    fn whole_words_only() {
        assert_eq!(find_whole("a HashMapX HashMap<", "HashMap"), Some(11));
        assert_eq!(find_whole("brand::x", "rand::"), None);
    }
}
