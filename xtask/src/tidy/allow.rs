//! The allow file: findings that are lived with, each with a reason.
//!
//! A line is `RULE PATH [ITEM] [MAX] # REASON`; ITEM may be `*`. It is a ratchet: what isn't needed
//! any more, or allows more than there is, is a finding too.

use super::Finding;

/// Where it is.
pub const FILE: &str = "xtask/tidy-allow.txt";
const RULE: &str = "allow";

struct Entry<'a> {
    line: usize,
    rule: &'a str,
    path: &'a str,
    item: &'a str,
    max: Option<u64>,
}

/// Takes out of `findings` what `text` allows, and adds what is wrong with `text` itself.
pub fn apply(text: &str, findings: Vec<Finding>) -> Vec<Finding> {
    let mut left = Vec::new();
    let mut entries = Vec::new();
    for (i, line) in text.lines().enumerate() {
        match parse(i + 1, line) {
            Ok(Some(entry)) => entries.push((entry, 0, 0u64)),
            Ok(None) => {}
            Err(why) => left.push(Finding::new(RULE, FILE, i + 1, "", why)),
        }
    }
    for finding in findings {
        let fits = entries.iter_mut().find(|(entry, _, _)| entry.allows(&finding));
        match fits {
            Some((_, used, largest)) => {
                *used += 1;
                *largest = finding.size.unwrap_or(0).max(*largest);
            }
            None => left.push(finding),
        }
    }
    for (entry, used, largest) in entries {
        let message = match entry.max {
            _ if used == 0 => "nothing needs this line any more; delete it".to_owned(),
            Some(max) if largest < max => format!("{largest} is enough now; lower it"),
            _ => continue,
        };
        left.push(Finding::new(RULE, FILE, entry.line, "", message));
    }
    left
}

impl Entry<'_> {
    fn allows(&self, finding: &Finding) -> bool {
        let fits = |allowed: u64| finding.size.is_some_and(|size| size <= allowed);
        self.rule == finding.rule
            && self.path == finding.path
            && (self.item == "*" || self.item == finding.item)
            && self.max.is_none_or(fits)
    }
}

fn parse(number: usize, line: &str) -> Result<Option<Entry<'_>>, String> {
    if line.starts_with('#') {
        return Ok(None);
    }
    let (fields, reason) = line.split_once(" # ").unwrap_or((line, ""));
    let mut fields: Vec<&str> = fields.split_whitespace().collect();
    if fields.is_empty() {
        return Ok(None);
    }
    if reason.trim().is_empty() {
        return Err("say why, behind ` # `".into());
    }
    let max = fields.last().and_then(|f| f.parse().ok());
    if max.is_some() {
        fields.pop();
    }
    match fields[..] {
        [rule, path] => Ok(Some(Entry { line: number, rule, path, item: "*", max })),
        [rule, path, item] => Ok(Some(Entry { line: number, rule, path, item, max })),
        _ => Err("write `RULE PATH [ITEM] [MAX] # REASON`".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn long(size: u64) -> Finding {
        let finding = Finding::new("function-lines", "a.rs", 3, "f", "long");
        Finding { size: Some(size), ..finding }
    }

    fn messages(text: &str, size: u64) -> Vec<String> {
        apply(text, vec![long(size)]).into_iter().map(|f| f.message).collect()
    }

    #[test]
    fn it_allows_no_more_than_it_says() {
        let text = "# comment\nfunction-lines a.rs f 80 # a table\n";
        assert_eq!(messages(text, 80), [""; 0]);
        assert_eq!(messages(text, 81).len(), 2, "too long, and the entry is unused");
        assert_eq!(messages(text, 75), ["75 is enough now; lower it"]);
    }

    #[test]
    fn it_wants_reasons_and_use() {
        assert_eq!(messages("function-lines a.rs f 80", 80), ["say why, behind ` # `", "long"]);
        let unused = messages("leftovers b.rs # there is one", 80);
        assert!(unused.contains(&"nothing needs this line any more; delete it".to_owned()));
    }
}
