//! The time that a list is about, the same for all its pages.
//!
//! What is said relative to now (`2h`) is fixed as the first page is asked for: cursors carry it, so
//! nothing moves while somebody reads. Where nothing is relative, a cursor is a place alone.

use std::fmt::Display;

use moa_core::time::{Millis, Span};
use moa_view::audit::{until, when};
use moa_view::now;

use crate::error::{Problem, Result};

/// What stands between the place of a cursor and the instants.
const BETWEEN: char = '~';

/// Since when, and up to when.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Window {
    /// Not older.
    pub since: Option<Millis>,
    /// Not newer.
    pub until: Option<Millis>,
    /// Whether cursors have to carry it.
    moves: bool,
}

impl Window {
    /// What is asked for, or what a page before has fixed; and the place that the cursor names.
    ///
    /// # Errors
    /// Something is no time, or the cursor is none.
    pub fn read<'a>(
        since: Option<&str>,
        until: Option<&str>,
        cursor: Option<&'a str>,
    ) -> Result<(Self, Option<&'a str>)> {
        match cursor.and_then(|cursor| cursor.split_once(BETWEEN)) {
            Some((place, instants)) => Ok((Self::fixed(instants)?, Some(place))),
            None => Ok((Self::at(since, until, now())?, cursor)),
        }
    }

    fn at(since: Option<&str>, upto: Option<&str>, now: Millis) -> Result<Self> {
        let [since, upto] =
            [since, upto].map(|text| text.map(str::trim).filter(|text| !text.is_empty()));
        let moves = since.into_iter().chain(upto).any(|text| text.parse::<Span>().is_ok());
        Ok(Self {
            since: since.map(|text| when(text, now)).transpose()?,
            until: upto.map(|text| until(text, now)).transpose()?,
            moves,
        })
    }

    /// As a cursor has it.
    fn fixed(instants: &str) -> Result<Self> {
        let instant = |text: &str| match text {
            "" => Some(None),
            text => text.parse().ok().map(|ms| Some(Millis(ms))),
        };
        let read = instants
            .split_once(BETWEEN)
            .and_then(|(since, until)| Some((instant(since)?, instant(until)?)));
        let (since, until) =
            read.ok_or_else(|| Problem::invalid("this is no cursor").hint("send one as it came"))?;
        Ok(Self { since, until, moves: true })
    }

    /// The cursor of a page that goes on from a place.
    pub fn cursor(&self, place: impl Display) -> String {
        let text = |at: Option<Millis>| at.map_or_else(String::new, |at| at.0.to_string());
        match self.moves {
            true => {
                format!("{place}{BETWEEN}{}{BETWEEN}{}", text(self.since), text(self.until))
            }
            false => place.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_relative_stays_as_the_first_page_had_it() {
        let now = Millis(10_000_000);
        let first = Window::at(Some("1h"), Some(" 1m "), now).expect("times");
        assert_eq!((first.since, first.until), (Some(Millis(6_400_000)), Some(Millis(9_940_000))));
        let cursor = first.cursor("7.2");
        assert_eq!(cursor, "7.2~6400000~9940000");
        // Whatever is said beside it, and whatever time it is by then.
        let next = Window::read(Some("1h"), Some("1m"), Some(&cursor)).expect("a cursor");
        assert_eq!(next, (first, Some("7.2")));
        let since = Window::at(Some("1h"), Some("2001-01-01"), now).expect("times");
        assert_eq!(Window::read(None, None, Some(&since.cursor(7))).expect("one").0, since);
        let open = Window::at(Some(""), Some("1m"), now).expect("times");
        assert_eq!(open.cursor(7), "7~~9940000");
    }

    #[test]
    fn what_moves_with_no_clock_is_in_no_cursor() {
        let fixed = Window::at(Some("2001-01-01"), Some("2001-01-02T00:00:00Z"), Millis(0));
        assert_eq!(fixed.expect("times").cursor(7), "7");
        assert_eq!(Window::default().cursor("7.2"), "7.2");
        for wrong in ["7~", "7~1", "7~x~", "7~1~2~3", "7~1.5~"] {
            assert!(Window::read(None, None, Some(wrong)).is_err(), "{wrong}");
        }
        assert!(Window::read(Some("yesterday-ish"), None, None).is_err());
    }
}
