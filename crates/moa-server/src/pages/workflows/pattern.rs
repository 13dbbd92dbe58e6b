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

/// Ways in which a browser may have to try a pattern at one place, but for one repetition without an end.
const WAYS_MAX: u32 = 1000;

/// What is open: the pattern, or a group in it.
struct Group {
    /// Alternatives, the one that is read included.
    alternatives: u32,
    /// Whether it holds a repetition or alternatives, itself or in a group.
    branches: bool,
}

impl Group {
    const NEW: Self = Self { alternatives: 1, branches: false };
}

/// What a browser may have to try.
struct Tries {
    /// The pattern, and the groups that are open.
    whole: Group,
    open: Vec<Group>,
    /// Ways at one place, but for repetitions without an end.
    ways: u32,
    /// Repetitions without an end.
    endless: u32,
}

impl Tries {
    fn innermost(&mut self) -> &mut Group {
        self.open.last_mut().unwrap_or(&mut self.whole)
    }

    fn alternative(&mut self) {
        let group = self.innermost();
        (group.alternatives, group.branches) = (group.alternatives + 1, true);
    }

    /// A group ends; whether it branches.
    fn close(&mut self) -> Option<bool> {
        let Group { alternatives, branches } = self.open.pop()?;
        self.ways = self.ways.checked_mul(alternatives)?;
        self.innermost().branches |= branches;
        Some(branches)
    }

    /// A repetition, so much more often than at least; `None` = without an end.
    fn repeat(&mut self, more: Option<u32>) -> Option<()> {
        self.innermost().branches = true;
        match more {
            Some(more) => self.ways = self.ways.checked_mul(more + 1)?,
            None => self.endless += 1,
        }
        Some(())
    }

    /// Whether it is done soon with a whole pattern, which may be one of the whole text.
    fn are_few(&self, of_all: bool) -> bool {
        let ways = self.ways.checked_mul(self.whole.alternatives);
        let is_few = ways.is_some_and(|ways| ways <= WAYS_MAX);
        self.open.is_empty() && is_few && self.endless <= u32::from(of_all)
    }
}

/// The pattern for an input; `None` = the browser might take it for something else, or for ever: it tries
/// one way after the other, where the server reads a text once.
pub fn for_browser(pattern: &str) -> Option<String> {
    let mut chars = pattern.chars().peekable();
    let mut out = String::new();
    // Whether something stands before that can be repeated; whether that is a group that branches.
    let (mut repeatable, mut branches) = (false, false);
    let mut tries = Tries { whole: Group::NEW, open: Vec::new(), ways: 1, endless: 0 };
    // Whether the last of it is an end of the text.
    let mut ends = false;
    while let Some(c) = chars.next() {
        let was = std::mem::replace(&mut repeatable, !"^$|(".contains(c));
        let branched = std::mem::take(&mut branches);
        ends = c == '$';
        match c {
            '^' | '$' => out.push(c),
            '|' => {
                tries.alternative();
                out.push(c);
            }
            '(' => {
                out.push(c);
                if chars.next_if_eq(&'?').is_some() {
                    chars.next_if_eq(&':')?;
                    out.push_str("?:");
                }
                tries.open.push(Group::NEW);
            }
            ')' => {
                branches = tries.close()?;
                out.push(c);
            }
            '*' | '+' | '?' | '{' if was && !branched => {
                tries.repeat(repetition(c, &mut chars, &mut out)?)?;
                repeatable = false;
            }
            '[' => out.push_str(&class(&mut chars)?),
            '\\' => match chars.next()? {
                '-' => out.push('-'),
                c if ESCAPED.contains(c) || CLASSES.contains(c) => out.extend(['\\', c]),
                _ => return None,
            },
            c if c == '.' || c.is_ascii_alphanumeric() || PLAIN.contains(c) => out.push(c),
            _ => return None,
        }
    }
    // Of alternatives each would have ends of its own.
    let is_one = tries.whole.alternatives == 1;
    let (begins, ends) = (is_one && pattern.starts_with('^'), is_one && ends);
    tries.are_few(begins && ends).then_some(())?;
    // A browser's pattern is one of the whole text.
    let any = |anchored: bool| if anchored { "" } else { "[\\s\\S]*" };
    let out = if is_one { out } else { format!("(?:{out})") };
    Some(format!("{}{out}{}", any(begins), any(ends)))
}

type Chars<'a> = std::iter::Peekable<std::str::Chars<'a>>;

/// A repetition that begins with this character: how much more often than at least something may stand
/// there; `Some(None)` without an end, `None` = it is none.
#[expect(clippy::option_option, reason = "no repetition is not one without an end")]
fn repetition(c: char, chars: &mut Chars<'_>, out: &mut String) -> Option<Option<u32>> {
    out.push(c);
    let more = match c {
        '?' => Some(1),
        '{' => {
            let inside: String = std::iter::from_fn(|| chars.next_if(|c| *c != '}')).collect();
            chars.next()?;
            out.push_str(&format!("{inside}}}"));
            choices(&inside)?
        }
        _ => None,
    };
    out.extend(chars.next_if_eq(&'?'));
    Some(more)
}

/// How much more often than at least something may stand there, as braces say it: `Some(None)` without an
/// end; `None` = they don't.
#[expect(clippy::option_option, reason = "no count is not one without an end")]
fn choices(inside: &str) -> Option<Option<u32>> {
    let number = |text: &str| {
        let is_number = (1..=3).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        is_number.then(|| text.parse::<u32>().ok())?
    };
    match inside.split_once(',') {
        Some((least, "")) => number(least).map(|_| None),
        Some((least, most)) => number(most)?.checked_sub(number(least)?).map(Some),
        None => number(inside).map(|_| Some(0)),
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
        for same in [
            "^[a-z]+$",
            "^(ab|c)$",
            "^\\d{4}-\\d{2}$",
            "^v(?:1)?\\.x$",
            "^(?:ab){2,3}$",
            "^a{2,}?$",
        ] {
            assert_eq!(for_browser(same).as_deref(), Some(same), "{same}");
        }
        for (written, given) in [
            ("^a", "^a[\\s\\S]*"),
            ("a$", "[\\s\\S]*a$"),
            ("a\\$", "[\\s\\S]*a\\$[\\s\\S]*"),
            ("^a|b$", "[\\s\\S]*(?:^a|b$)[\\s\\S]*"),
            ("[a-z-]", "[\\s\\S]*[a-z\\-][\\s\\S]*"),
            ("^a\\-b$", "^a-b$"),
        ] {
            assert_eq!(for_browser(written).as_deref(), Some(given), "{written}");
        }
    }

    #[test]
    fn what_a_browser_would_try_for_long_is_not() {
        let optional = format!("^{}$", "a?".repeat(10));
        let either = format!("^{}$", "(a|a)".repeat(10));
        for long in [
            "^(a+)+$",
            "^(?:a*)*$",
            "^(a|a)*$",
            "^((a|b)c)*$",
            "^(a?){9}$",
            "^(?:a{1,9}b){1,9}$",
            "a+",
            "^a+",
            "a+$",
            "^a+$|b",
            "^a*a*$",
            "^a{2,}b{2,}$",
            "^a{0,999}a{0,999}$",
            "^a{1000}$",
            &optional,
            &either,
        ] {
            assert_eq!(for_browser(long), None, "{long}");
        }
    }

    #[test]
    fn what_it_might_take_for_something_else_is_not() {
        for other in [
            "(?i)a", "[^/]", "(?P<n>a)", "(?=a)", "a++", "^*", "*a", "a{,2}", "a{3,2}", "\\p{L}",
            "\\bword", "[[a]]", "[a&&b]", "[]a]", "[a|b]", "(a", "a)", "é", "[z-a]", "\\", "[a",
            "a{2", "[+--]",
        ] {
            assert_eq!(for_browser(other), None, "{other}");
        }
    }
}
