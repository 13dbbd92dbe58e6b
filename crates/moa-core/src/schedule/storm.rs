//! Starts of the process, counted: a process that is started again and again must not catch up each
//! time, because catching up may be what kills it.

use serde::{Deserialize, Serialize};

use crate::limits::{RESTARTS_MAX, RESTARTS_SPAN_MS};
use crate::time::Millis;

/// The last starts of the process, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Restarts(Vec<Millis>);

impl Restarts {
    /// Notes that the process was started at `now`.
    pub fn started(&mut self, now: Millis) {
        // What a wrong clock noted for the future would hold things up for long.
        self.0.retain(|at| *at <= now && now.0 - at.0 < RESTARTS_SPAN_MS);
        self.0.push(now);
        let extra = self.0.len().saturating_sub(RESTARTS_MAX + 1);
        self.0.drain(..extra);
    }

    /// When missed slots may be started again, if the process was started more than
    /// [`RESTARTS_MAX`] times lately; `None` = at once.
    pub fn calm_at(&self, now: Millis) -> Option<Millis> {
        let oldest = self.0.len().checked_sub(RESTARTS_MAX + 1).map(|at| self.0[at])?;
        let calm = Millis(oldest.0.saturating_add(RESTARTS_SPAN_MS));
        (oldest <= now && calm > now).then_some(calm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_ends_when_its_oldest_start_is_long_ago() {
        let mut restarts = Restarts::default();
        for n in 0..5 {
            restarts.started(Millis(n * 1000));
            assert_eq!(restarts.calm_at(Millis(n * 1000)), None, "{n}");
        }
        restarts.started(Millis(5000));
        assert_eq!(restarts.calm_at(Millis(5000)), Some(Millis(RESTARTS_SPAN_MS)));
        assert_eq!(restarts.calm_at(Millis(RESTARTS_SPAN_MS)), None);
        restarts.started(Millis(6000));
        assert_eq!(restarts.calm_at(Millis(6000)), Some(Millis(RESTARTS_SPAN_MS + 1000)));
        // A clock that was ahead is forgotten.
        restarts.started(Millis(-50_000));
        assert_eq!(restarts.calm_at(Millis(-50_000)), None);
    }
}
