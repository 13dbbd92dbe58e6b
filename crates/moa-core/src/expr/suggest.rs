//! "Did you mean": the name nearest to a mistyped one.

/// Names looked at: a suggestion is not worth reading a whole large object.
const CANDIDATES_MAX: usize = 512;
/// Longer names are hardly mistyped short ones.
const LENGTH_MAX: usize = 64;

/// The candidate that is nearest to `name`, if any is near enough to be what was meant.
pub fn nearest<'n>(name: &str, candidates: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let typed: Vec<char> = name.chars().take(LENGTH_MAX + 1).collect();
    if typed.len() > LENGTH_MAX || typed.is_empty() {
        return None;
    }
    let tolerated = typed.len().div_ceil(3).min(3);
    candidates
        .take(CANDIDATES_MAX)
        .filter(|c| *c != name && c.len() <= 4 * LENGTH_MAX)
        .map(|c| (distance(&typed, c), c))
        .filter(|(d, c)| *d <= tolerated && *d < c.chars().count())
        // Of two that are as near, the one that is not written out yet.
        .min_by_key(|(d, c)| (*d, !c.starts_with(name)))
        .map(|(_, c)| c)
}

/// Edits that turn one into the other; a swap of neighbours and a change of case count once.
fn distance(a: &[char], b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    if b.len() > LENGTH_MAX {
        return usize::MAX;
    }
    let mut before: Vec<usize> = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1; b.len() + 1];
        for (j, y) in b.iter().enumerate() {
            let change = usize::from(x != y);
            row[j + 1] = (last[j] + change).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                row[j + 1] = row[j + 1].min(before[j - 1] + 1);
            }
        }
        before = last;
        last = row;
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn suggests_only_what_is_near() {
        let names = ["output", "status", "success", "n"];
        let find = |typed| nearest(typed, names.iter().copied());
        assert_eq!(find("sucess"), Some("success"));
        assert_eq!(find("ouptut"), Some("output"));
        assert_eq!(find("Status"), Some("status"));
        assert_eq!(find("x"), None);
        assert_eq!(find("duration"), None);
        assert_eq!(find(""), None);
        assert_eq!(nearest("dat", ["at", "date"].into_iter()), Some("date"));
    }
}
