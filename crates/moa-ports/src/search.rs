//! Runs that hold a text: what is looked at, and when it fits; the same in every store.

use moa_core::ids::RunId;
use serde::{Deserialize, Serialize};

use crate::views::{RunFilter, RunSummary};

/// Characters of a text that is looked for, at most.
pub const TEXT_CHARS_MAX: usize = 200;
/// Runs that one search looks at, at most.
pub const LOOKS_MAX: usize = 5000;
/// Bytes of params that one search looks at, about.
pub const LOOK_BYTES_MAX: usize = 16 << 20;
/// Digits of an id that are taken for one.
const DIGITS_MIN: usize = 4;

/// Which runs are looked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Search {
    /// Only those that fit this, newest first; `limit` = so many that hold the text.
    pub filter: RunFilter,
    /// The words that a run has to hold, each of them somewhere ([`Needle`]).
    pub text: String,
    /// Runs that are looked at, at most; never more than [`LOOKS_MAX`].
    pub looks: usize,
}

/// What a search has found so far.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// Runs that hold the text, the newest first; maybe none, although there are some further on.
    pub runs: Vec<RunSummary>,
    /// The last run that was looked at (`filter.before` of the next search); `None` = there are no
    /// more.
    pub next: Option<RunId>,
}

/// The words that are looked for: each has to stand in the workflow's id, in who or what started the
/// run, in its error, or in its params as JSON; or be the beginning or end of its id. Small and
/// capital letters are the same.
#[derive(Debug, Clone)]
pub struct Needle(Vec<Word>);

#[derive(Debug, Clone)]
struct Word {
    text: String,
    /// As it stands in JSON.
    json: String,
    /// As digits of an id, when it can be some.
    digits: Option<String>,
}

impl Needle {
    /// The words of a text.
    pub fn new(text: &str) -> Self {
        let word = |word: &str| {
            let text = word.to_lowercase();
            let json = serde_json::to_string(&text).unwrap_or_default();
            let json = json.trim_start_matches('"').trim_end_matches('"').to_owned();
            let digits = text.replace('-', "");
            let is_id = digits.len() >= DIGITS_MIN && digits.bytes().all(|b| b.is_ascii_hexdigit());
            Word { text, json, digits: is_id.then_some(digits) }
        };
        let cut: String = text.chars().take(TEXT_CHARS_MAX).collect();
        Self(cut.split_whitespace().map(word).collect())
    }

    /// Whether a run with these params holds all words.
    pub fn fits(&self, run: &RunSummary, params: &str) -> bool {
        let id = format!("{:032x}", run.run.0);
        let parts = [run.workflow.as_str(), &run.cause, run.error.as_deref().unwrap_or_default()];
        let parts = parts.map(str::to_lowercase);
        let mut lower = None;
        self.0.iter().all(|word| {
            let ends = |digits: &String| id.starts_with(digits) || id.ends_with(digits);
            word.digits.as_ref().is_some_and(ends)
                || parts.iter().any(|part| part.contains(&word.text))
                || lower.get_or_insert_with(|| params.to_lowercase()).contains(&word.json)
        })
    }
}

/// Looks at runs in their order, with params, until there are enough; `more`: whether there is
/// another one. What every store does with the runs that fit the filter.
///
/// # Errors
/// Those of `runs`.
pub fn find<E>(
    search: &Search,
    mut runs: impl FnMut() -> Result<Option<(RunSummary, String)>, E>,
) -> Result<Found, E> {
    let needle = Needle::new(&search.text);
    let looks = search.looks.min(LOOKS_MAX);
    let (mut found, mut looked, mut bytes) = (Found::default(), 0, 0);
    while let Some((run, params)) = runs()? {
        let enough = found.runs.len() >= search.filter.limit;
        if enough || looked >= looks || bytes >= LOOK_BYTES_MAX {
            return Ok(found);
        }
        (looked, bytes) = (looked + 1, bytes + params.len());
        found.next = Some(run.run);
        if needle.fits(&run, &params) {
            found.runs.push(run);
        }
    }
    found.next = None;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use moa_core::ids::{Name, VersionHash};
    use moa_core::run::RunStatus;
    use moa_core::time::Millis;

    use super::*;

    fn run(n: u128) -> RunSummary {
        RunSummary {
            run: RunId(n),
            workflow: Name::new("Build-Site").expect("a name"),
            hash: VersionHash([0; 32]),
            status: RunStatus::Failed,
            cause: "schedule nightly".into(),
            parent: None,
            created_at: Millis(0),
            started_at: None,
            finished_at: None,
            error: Some("no such file: ÄPFEL.txt".into()),
        }
    }

    #[test]
    fn each_word_has_to_stand_somewhere() {
        let run = run(0x0199_abcd_0000_7000_8000_0000_0000_beef);
        let params = r#"{"customer":"Ada \"the\" Great","n":900}"#;
        let fits = |text: &str| Needle::new(text).fits(&run, params);
        for text in ["site", "NIGHTLY", "äpfel", "ada great", "900 build", "\"the\"", ""] {
            assert!(fits(text), "{text}");
        }
        for text in ["0199abcd", "0199abcd-0000", "beef", "00beef site"] {
            assert!(fits(text), "{text}");
        }
        for text in ["ada smith", "abcd0", "eef", "pear"] {
            assert!(!fits(text), "{text}");
        }
    }

    #[test]
    fn a_search_ends_after_so_many_looks_and_says_where_to_go_on() {
        let search = |limit, looks, from: u128| {
            let filter = RunFilter { limit, ..RunFilter::default() };
            let search = Search { filter, text: "900".into(), looks };
            let mut left = (1..from).rev();
            let mut next = || -> Result<_, ()> {
                let params = |n| if n % 4 == 0 { "{\"n\":900}" } else { "{}" };
                Ok(left.next().map(|n| (run(n), params(n).to_owned())))
            };
            let found = find(&search, &mut next).expect("nothing fails");
            let runs: Vec<u128> = found.runs.iter().map(|run| run.run.0).collect();
            (runs, found.next.map(|run| run.0))
        };
        assert_eq!(search(9, 99, 13), (vec![12, 8, 4], None));
        assert_eq!(search(1, 99, 13), (vec![12], Some(12)));
        assert_eq!(search(9, 3, 12), (vec![], Some(9)), "it may find nothing, and go on");
        assert_eq!(search(9, 3, 9), (vec![8], Some(6)));
        assert_eq!(search(9, 3, 4), (vec![], None), "it has looked at all");
    }
}
