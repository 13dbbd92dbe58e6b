//! Parts of lists that are in memory, in order of their names. The cursor is the name of the last one
//! of a part: what comes and goes meanwhile makes nobody miss or see twice what stays.

use serde::Deserialize;
use utoipa::IntoParams;

use super::runs::list::limit;
use crate::error::Result;

/// How much of a list is answered at most.
const LIMIT_MAX: usize = 500;

/// Which part of a list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Part {
    /// At most so many, up to 500; all when not given.
    #[serde(default)]
    pub limit: Option<usize>,
    /// Go on where a part ended: its `next`.
    #[serde(default)]
    pub cursor: Option<String>,
}

impl Part {
    /// This part of a list, and the cursor of the next one if there is more. Names are unlike.
    ///
    /// # Errors
    /// The limit is none.
    pub fn of<T>(
        &self,
        mut all: Vec<T>,
        name: impl Fn(&T) -> String,
    ) -> Result<(Vec<T>, Option<String>)> {
        let most = self.limit.map(|asked| limit(Some(asked), LIMIT_MAX, LIMIT_MAX)).transpose()?;
        all.sort_by_cached_key(&name);
        if let Some(cursor) = &self.cursor {
            all.retain(|one| name(one) > *cursor);
        }
        let Some(most) = most.filter(|most| all.len() > *most) else { return Ok((all, None)) };
        all.truncate(most);
        let next = all.last().map(name);
        Ok((all, next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_together_are_the_list_whatever_goes_meanwhile() {
        let all = || ["d", "a", "c", "b", "e"].map(str::to_owned).to_vec();
        let part = |limit, cursor: Option<&str>| Part { limit, cursor: cursor.map(str::to_owned) };
        let of = |part: Part, all| part.of(all, String::clone).expect("a limit");
        assert_eq!(of(part(None, None), all()).0, ["a", "b", "c", "d", "e"]);
        let (first, next) = of(part(Some(2), None), all());
        assert_eq!((first.join(""), next.as_deref()), ("ab".into(), Some("b")));
        // The one that the cursor names is deleted.
        let mut rest = all();
        rest.retain(|one| one != "b");
        let (rest, next) = of(part(Some(3), Some("b")), rest);
        assert_eq!((rest.join(""), next), ("cde".into(), None));
        assert_eq!(of(part(Some(9), Some("e")), all()), (Vec::new(), None));
        assert!(part(Some(0), None).of(all(), String::clone).is_err());
        assert!(part(Some(501), None).of(all(), String::clone).is_err());
    }
}
