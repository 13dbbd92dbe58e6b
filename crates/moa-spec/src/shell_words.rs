//! Command lines split into words, as a shell would, without a shell.

/// Splits a command line at spaces; single quotes, double quotes and backslashes are respected.
///
/// # Errors
/// What is wrong with it, in words.
pub(crate) fn split(line: &str) -> Result<Vec<String>, &'static str> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        Some('\'') => break,
                        Some(c) => word.push(c),
                        None => return Err("a single quote is not closed"),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        Some('"') => break,
                        Some('\\') => match chars.next() {
                            Some(c @ ('"' | '\\' | '$' | '`')) => word.push(c),
                            Some('\n') => {}
                            Some(c) => word.extend(['\\', c]),
                            None => return Err("a double quote is not closed"),
                        },
                        Some(c) => word.push(c),
                        None => return Err("a double quote is not closed"),
                    }
                }
            }
            '\\' => match chars.next() {
                Some('\n') => {}
                Some(c) => word.get_or_insert_default().push(c),
                None => return Err("a backslash stands at the end"),
            },
            '\0' => return Err("it holds a NUL character"),
            c if c.is_whitespace() => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

/// The first word of the line, outside quotes, that only a shell understands.
pub(crate) fn operator(line: &str) -> Option<&str> {
    const OPERATORS: [&str; 11] = ["|", "||", "&&", "&", ";", ">", ">>", "<", "<<", "2>", "2>&1"];
    let bare = line.split_whitespace().find(|word| {
        let trailing = word.len() > 1 && word.ends_with(';') && !word.ends_with("\\;");
        OPERATORS.contains(word) || word.starts_with(['>', '<', '|']) || trailing
    })?;
    // A word inside quotes comes out of the split as part of another, or with its spaces.
    let words = split(line).ok()?;
    words.iter().any(|w| w == bare).then_some(bare)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_as_a_shell_does() {
        let cases: [(&str, &[&str]); 7] = [
            ("a b  c", &["a", "b", "c"]),
            ("a 'b c' d", &["a", "b c", "d"]),
            (r#"a "b \" c" d"#, &["a", "b \" c", "d"]),
            (r"a\ b", &["a b"]),
            ("a''b", &["ab"]),
            ("''", &[""]),
            ("", &[]),
        ];
        for (line, words) in cases {
            assert_eq!(split(line).as_deref(), Ok(&words.map_to_owned()[..]), "{line}");
        }
        for bad in ["a 'b", "a \"b", "a \\", "a\0b"] {
            assert!(split(bad).is_err(), "{bad:?}");
        }
    }

    trait MapToOwned {
        fn map_to_owned(&self) -> Vec<String>;
    }
    impl MapToOwned for &[&str] {
        fn map_to_owned(&self) -> Vec<String> {
            self.iter().map(|w| (*w).to_owned()).collect()
        }
    }

    #[test]
    fn shell_operators_are_seen_outside_quotes_only() {
        assert_eq!(operator("cat a | wc"), Some("|"));
        assert_eq!(operator("echo a > b"), Some(">"));
        assert_eq!(operator("make; make install"), Some("make;"));
        assert_eq!(operator("grep 'a | b' c"), None);
        assert_eq!(operator("curl http://x?a=1&b=2"), None);
    }
}
