//! Parts of lists that are in memory. The cursor says what the last one of a part was: what comes and
//! goes meanwhile makes nobody miss or see twice what stays.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use super::runs::list::limit;
use crate::error::{Problem, Result};

/// How much of a list is answered when nobody says how much.
pub const LIMIT: usize = 50;
/// How much of a list is answered at most.
pub const LIMIT_MAX: usize = 500;

/// Which part of a list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Part {
    /// At most so many, up to 500; 50 when not given.
    #[serde(default)]
    pub limit: Option<usize>,
    /// Go on where a page ended: its `next`.
    #[serde(default)]
    pub cursor: Option<String>,
}

impl Part {
    /// The part that a filter of its own asks for.
    pub const fn new(limit: Option<usize>, cursor: Option<String>) -> Self {
        Self { limit, cursor }
    }

    /// Where it goes on.
    pub fn cursor(&self) -> Option<&str> {
        self.cursor.as_deref()
    }

    /// How much is asked for.
    ///
    /// # Errors
    /// The limit is none.
    pub fn most(&self) -> Result<usize> {
        limit(self.limit, LIMIT, LIMIT_MAX)
    }

    /// This part of a list in order of names, and the cursor of the next one if there is more. Names
    /// are unlike.
    ///
    /// # Errors
    /// The limit is none.
    pub fn of<T>(
        &self,
        mut all: Vec<T>,
        name: impl Fn(&T) -> String,
    ) -> Result<(Vec<T>, Option<String>)> {
        all.sort_by_cached_key(&name);
        if let Some(cursor) = &self.cursor {
            all.retain(|one| name(one) > *cursor);
        }
        self.cut(all, name)
    }

    /// The same in order of keys of any kind; those too are unlike.
    ///
    /// # Errors
    /// The limit is none, or the cursor.
    pub fn by<T, K: Ord + Serialize + DeserializeOwned>(
        &self,
        mut all: Vec<T>,
        key: impl Fn(&T) -> K,
    ) -> Result<(Vec<T>, Option<String>)> {
        all.sort_by_cached_key(&key);
        if let Some(cursor) = &self.cursor {
            let json = BASE64_URL_SAFE_NO_PAD.decode(cursor).ok();
            let after = json.and_then(|json| serde_json::from_slice::<K>(&json).ok());
            let after = after.ok_or_else(|| no_cursor(cursor))?;
            all.retain(|one| key(one) > after);
        }
        self.cut(all, |one| {
            BASE64_URL_SAFE_NO_PAD.encode(serde_json::to_vec(&key(one)).unwrap_or_default())
        })
    }

    /// The same of a list in its own order, out of which nothing is taken but at its ends.
    ///
    /// # Errors
    /// The limit is none; the cursor names nothing of the list.
    pub fn behind<T>(
        &self,
        mut all: Vec<T>,
        name: impl Fn(&T) -> String,
    ) -> Result<(Vec<T>, Option<String>)> {
        if let Some(cursor) = &self.cursor {
            let last = all.iter().position(|one| name(one) == *cursor);
            all.drain(..=last.ok_or_else(|| no_cursor(cursor))?);
        }
        self.cut(all, name)
    }

    fn cut<T>(
        &self,
        mut rest: Vec<T>,
        cursor: impl Fn(&T) -> String,
    ) -> Result<(Vec<T>, Option<String>)> {
        let most = self.most()?;
        if rest.len() <= most {
            return Ok((rest, None));
        }
        rest.truncate(most);
        let next = rest.last().map(cursor);
        Ok((rest, next))
    }
}

/// That a page goes on nowhere.
pub fn no_cursor(text: &str) -> Problem {
    Problem::invalid(format!("{text:?} is no cursor of this list"))
        .hint("send `next` of a page, or begin again without one")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(limit: usize, cursor: Option<&str>) -> Part {
        Part { limit: Some(limit), cursor: cursor.map(str::to_owned) }
    }

    fn letters() -> Vec<String> {
        ["d", "a", "c", "b", "e"].map(str::to_owned).to_vec()
    }

    #[test]
    fn parts_together_are_the_list_whatever_goes_meanwhile() {
        let of = |part: Part, all| part.of(all, String::clone).expect("a limit");
        assert_eq!(of(Part::default(), letters()).0, ["a", "b", "c", "d", "e"]);
        let (first, next) = of(part(2, None), letters());
        assert_eq!((first.join(""), next.as_deref()), ("ab".into(), Some("b")));
        // The one that the cursor names is deleted.
        let mut rest = letters();
        rest.retain(|one| one != "b");
        let (rest, next) = of(part(3, Some("b")), rest);
        assert_eq!((rest.join(""), next), ("cde".into(), None));
        assert_eq!(of(part(9, Some("e")), letters()), (Vec::new(), None));
        assert!(part(0, None).of(letters(), String::clone).is_err());
        assert!(part(501, None).of(letters(), String::clone).is_err());
    }

    #[test]
    fn nobody_gets_more_than_the_usual_who_asks_for_no_limit() {
        let many: Vec<u32> = (0..120).collect();
        let (first, next) = Part::default().by(many.clone(), |n| *n).expect("a part");
        assert_eq!((first.len(), next.is_some()), (LIMIT, true));
        let (all, next) = part(LIMIT_MAX, None).by(many, |n| *n).expect("a part");
        assert_eq!((all.len(), next), (120, None));
    }

    #[test]
    fn keys_of_any_kind_order_a_list() {
        // The newest first, as a number that falls.
        let key = |text: &String| (-(text.len() as i64), text.clone());
        let all = || ["x", "xyz", "ab", "xy"].map(str::to_owned).to_vec();
        let (first, next) = part(3, None).by(all(), key).expect("a part");
        assert_eq!(first, ["xyz", "ab", "xy"]);
        let next = next.expect("there is more");
        assert!(next.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c)), "{next}");
        let (rest, next) = part(3, Some(&next)).by(all(), key).expect("a part");
        assert_eq!((rest.join(","), next), ("x".into(), None));
        for wrong in ["", "%", "bm8", "W10"] {
            assert!(part(3, Some(wrong)).by(all(), key).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn lists_in_an_order_of_their_own_go_on_behind_what_is_named() {
        let behind = |part: Part| part.behind(letters(), String::clone);
        let (first, next) = behind(part(3, None)).expect("a part");
        assert_eq!((first.join(""), next.as_deref()), ("dac".into(), Some("c")));
        let (rest, next) = behind(part(3, Some("c"))).expect("a part");
        assert_eq!((rest.join(""), next), ("be".into(), None));
        assert!(behind(part(3, Some("z"))).is_err());
    }
}
