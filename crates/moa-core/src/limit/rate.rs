//! Rates: so many attempts in any stretch of so much time (a sliding log).

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::time::{Millis, Span};

/// Entries that a log keeps. A rate of more attempts counts them in slices of a
/// `RATE_ENTRIES_MAX`th of its time: it never lets more through, but may hold one back for a slice.
const RATE_ENTRIES_MAX: u32 = 256;

/// So many attempts in any stretch of so much time. Written `5/1h`, `10/s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    /// Attempts; at least 1.
    pub count: u32,
    /// The stretch of time; at least 1 ms.
    pub span: Span,
}

/// Starts that still count: instant and how many, in order of time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RateLog {
    entries: VecDeque<(i64, u32)>,
}

impl Rate {
    /// Where an attempt at an instant stands in a log: at the end of its slice, so that it is counted
    /// until that has left the window.
    fn place(&self, at: Millis) -> i64 {
        match self.slice() {
            1 => at.0,
            slice => at.0.saturating_add(slice - 1).div_euclid(slice) * slice,
        }
    }

    fn slice(&self) -> i64 {
        match self.count > RATE_ENTRIES_MAX {
            true => (self.span.0 / u64::from(RATE_ENTRIES_MAX)).max(1) as i64,
            false => 1,
        }
    }
}

impl RateLog {
    /// Whether nothing is counted.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Until when no attempt may start; `None` = one may now.
    pub fn full_until(&self, rate: &Rate, now: Millis) -> Option<Millis> {
        let since = now.0.saturating_sub_unsigned(rate.span.0);
        // An entry of the future was made before the clock went back: it counts as made just now.
        let counting = self.entries.iter().map(|(at, n)| ((*at).min(now.0 + rate.slice()), *n));
        let counting: Vec<(i64, u32)> = counting.filter(|(at, _)| *at > since).collect();
        let mut used: u64 = counting.iter().map(|(_, n)| u64::from(*n)).sum();
        if used < u64::from(rate.count) {
            return None;
        }
        let gone = |(at, n): &(i64, u32)| {
            used -= u64::from(*n);
            (used < u64::from(rate.count)).then_some(Millis(*at).after(rate.span))
        };
        counting.iter().find_map(gone)
    }

    /// Attempts that count now.
    pub(super) fn used(&self, rate: &Rate, now: Millis) -> u64 {
        let since = now.0.saturating_sub_unsigned(rate.span.0);
        self.entries.iter().filter(|(at, _)| *at > since).map(|(_, n)| u64::from(*n)).sum()
    }

    /// Counts a start.
    pub fn take(&mut self, rate: &Rate, now: Millis) {
        let since = now.0.saturating_sub_unsigned(rate.span.0);
        let at = rate.place(now);
        let latest = at.max(now.0);
        self.entries.iter_mut().for_each(|(made, _)| *made = (*made).min(latest));
        while self.entries.front().is_some_and(|(made, _)| *made <= since) {
            self.entries.pop_front();
        }
        match self.entries.back_mut() {
            Some((made, n)) if *made == at => *n += 1,
            _ => self.entries.push_back((at, 1)),
        }
    }

    /// Counts a start at `at` no more. One that isn't found (a clock went back meanwhile) stays.
    pub(super) fn give_back(&mut self, rate: &Rate, at: Millis) {
        let place = rate.place(at);
        let Some(found) = self.entries.iter().rposition(|(made, _)| *made == place) else { return };
        if let Some((_, n)) = self.entries.get_mut(found) {
            *n = n.saturating_sub(1);
        }
        self.entries.retain(|(_, n)| *n > 0);
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not a rate; write 5/1h, 10/s or 100/1d");
        let (count, span) = text.split_once('/').ok_or_else(wrong)?;
        let count: u32 = count.trim().parse().map_err(|_| wrong())?;
        let span = span.trim();
        let one = span.starts_with(|c: char| c.is_ascii_alphabetic());
        let span = if one { format!("1{span}") } else { span.to_owned() };
        let span: Span = span.parse().map_err(|_| wrong())?;
        match count > 0 && span.0 > 0 {
            true => Ok(Self { count, span }),
            false => Err(wrong()),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.count, self.span)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rates_are_written_as_people_write_them() {
        for (text, count, span) in [("5/1h", 5, 3_600_000), ("10/s", 10, 1000), ("1/250ms", 1, 250)]
        {
            assert_eq!(text.parse(), Ok(Rate { count, span: Span(span) }));
        }
        for wrong in ["", "5", "0/1h", "5/0s", "-1/1h", "5/1x", "5/"] {
            assert!(wrong.parse::<Rate>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_clock_that_goes_back_costs_one_window_at_most() {
        let rate = Rate { count: 1, span: Span::seconds(10) };
        let mut log = RateLog::default();
        log.take(&rate, Millis(1_000_000_000));
        let until = log.full_until(&rate, Millis(0)).expect("full");
        assert!(until <= Millis(10_001), "{until:?}");
    }

    proptest! {
        #[test]
        fn no_stretch_of_time_ever_holds_more(
            count in prop_oneof![1u32..5, 250u32..700],
            span in 1u64..5_000,
            gaps in proptest::collection::vec(0i64..40, 1..1500),
        ) {
            let rate = Rate { count, span: Span(span) };
            let (mut log, mut now, mut starts) = (RateLog::default(), 0i64, Vec::new());
            for gap in gaps {
                now += gap;
                match log.full_until(&rate, Millis(now)) {
                    Some(until) => prop_assert!(until.0 > now, "waits for the past"),
                    None => {
                        log.take(&rate, Millis(now));
                        starts.push(now);
                    }
                }
                prop_assert!(log.entries.len() <= RATE_ENTRIES_MAX as usize + 2);
            }
            for (i, first) in starts.iter().enumerate() {
                let within = starts[i..].iter().take_while(|at| **at < first + span as i64);
                prop_assert!(within.count() <= count as usize);
            }
        }

        #[test]
        fn an_attempt_that_waited_until_it_was_told_may_start(
            count in prop_oneof![1u32..5, 250u32..400],
            span in 1u64..5_000,
            gaps in proptest::collection::vec(0i64..40, 1..600),
        ) {
            let rate = Rate { count, span: Span(span) };
            let (mut log, mut now) = (RateLog::default(), 0i64);
            for gap in gaps {
                now += gap;
                if let Some(until) = log.full_until(&rate, Millis(now)) {
                    now = until.0;
                    prop_assert_eq!(log.full_until(&rate, Millis(now)), None);
                }
                log.take(&rate, Millis(now));
            }
        }
    }
}
