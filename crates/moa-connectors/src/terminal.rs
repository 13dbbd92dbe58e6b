//! Makes text that an agent wrote safe to show on a terminal.
//!
//! Escape sequences can hide, overwrite or forge lines, set the clipboard and the title. Nothing is
//! changed on disk; whoever shows a log, an error or an output passes it through here.

use std::fmt::Write as _;

/// `bytes` as text in which control sequences are visible instead of obeyed.
///
/// Kept: line feeds, tabs, and printable text. A carriage return becomes a line feed, so that a
/// progress bar is readable and no line can be overwritten. Shown as `\x1b`, `\u{202e}`: other
/// control characters, those that change the direction of text, and invisible ones. Bytes that are
/// not UTF-8 are shown as `\xff`.
pub fn sanitize_for_terminal(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        let mut chars = chunk.valid().chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '\n' | '\t' => out.push(c),
                '\r' if chars.peek() == Some(&'\n') => {}
                '\r' => out.push('\n'),
                _ if is_shown_as_code(c) => push_code(&mut out, c),
                _ => out.push(c),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out
}

fn push_code(out: &mut String, c: char) {
    let code = u32::from(c);
    let _ =
        if code < 0x100 { write!(out, "\\x{code:02x}") } else { write!(out, "\\u{{{code:x}}}") };
}

/// Control characters (C0, DEL, C1), direction marks, zero-width and other invisible characters.
fn is_shown_as_code(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_is_left() {
        let evil = b"\x1b]52;c;cm0=\x07a\x1b[2K\rfake\r\nb\tc\xff\xc2\x9b\xe2\x80\xaed";
        let shown = sanitize_for_terminal(evil);
        let expected = "\\x1b]52;c;cm0=\\x07a\\x1b[2K\nfake\nb\tc\\xff\\x9b\\u{202e}d";
        assert_eq!(shown, expected);
        assert_eq!(sanitize_for_terminal("Grüße, 世界 👍".as_bytes()), "Grüße, 世界 👍");
    }
}
