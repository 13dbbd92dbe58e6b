//! Patterns of JSON Schema as browsers check them: `pattern` of an input is a regular expression with the
//! flag `v`, of the whole text. What isn't surely the same there has none; the server checks it anyway.

/// Characters that stand for themselves, unless they are escaped, where no class is.
const PLAIN: &str = " _-/:;,@#%&=!~\"'<>`";
/// Characters that are escaped in both languages.
const ESCAPED: &str = "^$\\.*+?()[]{}|/";
/// Classes that are the same in both.
const CLASSES: &str = "dDwWsS";
/// Characters that stand for themselves in a class, as long as they aren't doubled.
const IN_CLASS: &str = " _:;,@#%&=!~\"'<>`.*+?$";

/// The pattern for an input; `None` = the browser might take it for something else.
pub fn for_browser(pattern: &str) -> Option<String> {
    let mut chars = pattern.chars().peekable();
    let mut out = String::new();
    // Whether something stands before that can be repeated.
    let mut repeatable = false;
    let mut open = 0u32;
    while let Some(c) = chars.next() {
        let was = std::mem::replace(&mut repeatable, true);
        match c {
            '^' | '$' | '|' => repeatable = false,
            '(' => {
                if chars.peek() == Some(&'?') {
                    chars.next();
                    (chars.next()? == ':').then_some(())?;
                    out.push_str("(?");
                    open += 1;
                    repeatable = false;
                    out.push(':');
                    continue;
                }
                open += 1;
                repeatable = false;
            }
            ')' => open = open.checked_sub(1)?,
            '*' | '+' | '?' if was => {
                repeatable = false;
                out.push(c);
                lazily(&mut chars, &mut out);
                continue;
            }
            '{' if was => {
                let inside: String = std::iter::from_fn(|| chars.next_if(|c| *c != '}')).collect();
                chars.next()?;
                is_count(&inside).then_some(())?;
                out.push_str(&format!("{{{inside}}}"));
                lazily(&mut chars, &mut out);
                repeatable = false;
                continue;
            }
            '[' => {
                out.push_str(&class(&mut chars)?);
                continue;
            }
            '\\' => {
                let escaped = chars.next()?;
                match escaped {
                    '-' => out.push('-'),
                    c if ESCAPED.contains(c) || CLASSES.contains(c) => out.extend(['\\', c]),
                    _ => return None,
                }
                continue;
            }
            '.' => {}
            c if c.is_ascii_alphanumeric() || PLAIN.contains(c) => {}
            _ => return None,
        }
        out.push(c);
    }
    // A browser's pattern is one of the whole text.
    (open == 0).then(|| format!("[\\s\\S]*(?:{out})[\\s\\S]*"))
}

type Chars<'a> = std::iter::Peekable<std::str::Chars<'a>>;

fn lazily(chars: &mut Chars<'_>, out: &mut String) {
    out.extend(chars.next_if_eq(&'?'));
}

/// Whether braces hold how often something stands there.
fn is_count(inside: &str) -> bool {
    let is_number = |text: &str| {
        !text.is_empty() && text.len() <= 4 && text.bytes().all(|byte| byte.is_ascii_digit())
    };
    match inside.split_once(',') {
        Some((least, most)) => is_number(least) && (most.is_empty() || is_number(most)),
        None => is_number(inside),
    }
}

/// A class behind its bracket.
fn class(chars: &mut Chars<'_>) -> Option<String> {
    let mut out = String::from("[");
    out.extend(chars.next_if_eq(&'^'));
    let (mut empty, mut last) = (true, None);
    loop {
        let c = chars.next()?;
        match c {
            ']' if empty => return None,
            ']' => break,
            '\\' => match chars.next()? {
                c if ESCAPED.contains(c) || CLASSES.contains(c) || c == '-' => {
                    out.extend(['\\', c]);
                }
                _ => return None,
            },
            '-' if empty || chars.peek() == Some(&']') => out.push_str("\\-"),
            // A range of letters or digits.
            '-' => {
                let to = chars.next().filter(char::is_ascii_alphanumeric)?;
                let from: char = last.filter(char::is_ascii_alphanumeric)?;
                (from <= to).then_some(())?;
                out.extend(['-', to]);
                last = None;
                continue;
            }
            // Doubled, some of them are operators there.
            c if IN_CLASS.contains(c) && last == Some(c) => return None,
            c if c.is_ascii_alphanumeric() || IN_CLASS.contains(c) => out.push(c),
            _ => return None,
        }
        (empty, last) = (false, Some(c));
    }
    out.push(']');
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_browser_would_take_for_the_same_is_given_to_it() {
        let whole = |inside: &str| Some(format!("[\\s\\S]*(?:{inside})[\\s\\S]*"));
        for same in
            ["^[a-z]+$", "a|b", "^(ab|c){2,3}$", "[^\\s]+?", "^\\d{4}-\\d{2}$", "^v(?:1)?\\.x"]
        {
            assert_eq!(for_browser(same), whole(same), "{same}");
        }
        assert_eq!(for_browser("[a-z-]"), whole("[a-z\\-]"));
        assert_eq!(for_browser("a\\-b"), whole("a-b"));
    }

    #[test]
    fn what_it_might_take_for_something_else_is_not() {
        for other in [
            "(?i)a", "[^/]", "(?P<n>a)", "(?=a)", "a++", "^*", "*a", "a{,2}", "\\p{L}", "\\bword",
            "[[a]]", "[a&&b]", "[]a]", "[a|b]", "(a", "a)", "é", "[z-a]", "\\", "[a", "a{2",
            "[+--]",
        ] {
            assert_eq!(for_browser(other), None, "{other}");
        }
    }
}
