//! Cron expressions on the time line: what happens when clocks are changed.
//!
//! The rule of Vixie's cron, `dst: vixie`. An expression is of **fixed time** when none of its
//! second, minute and hour begins with `*`; any other follows the clock.
//! 1. A wall time of a fixed-time expression that the clock jumps over is due at the jump, that is
//!    at the first minute that exists after the gap; several of them are due there once. A jump of
//!    more than three hours is a moved date line, not summer time: what it skips is not due.
//! 2. A wall time of a fixed-time expression that happens twice is due the first time only.
//! 3. An expression that follows the clock is due whenever the clock shows a wall time that it
//!    names: never in a gap, twice in an hour that happens twice.
//!
//! `dst: literal` is rule 3 for every expression. `dst: utc` reads expressions in UTC.

use super::cron::Cron;
use super::zone::{Fall, Zone};

/// Longest jump of a clock that is taken for summer time, in seconds.
pub(super) const GAP_MAX: i32 = 3 * 3600;

/// The first second after `after` at which a fixed-time expression is due.
pub(super) fn next_fixed(cron: &Cron, zone: &Zone, after: i64) -> Option<i64> {
    if zone.is_utc() {
        return cron.next_wall(after.checked_add(1)?);
    }
    // Invariant: what an earlier wall time is due at is not after `after`, because wall times
    // are due in their own order.
    let mut wall = zone.wall_at(after) + 1;
    loop {
        wall = cron.next_wall(wall)?;
        match zone.fall(wall) {
            Fall::Once(second) => return Some(second),
            Fall::Gap { at, from, to } if to - from <= GAP_MAX => {
                if at > after {
                    return Some(at);
                }
                wall = at + i64::from(to);
            }
            Fall::Gap { at, to, .. } => wall = at + i64::from(to),
            Fall::Twice { at, from, .. } => {
                let second = wall - i64::from(from);
                if second > after {
                    return Some(second);
                }
                // `after` is in the second pass, which doesn't count: go on behind it.
                wall = at + i64::from(from);
            }
        }
    }
}

/// The first second after `after` at which the clock shows a wall time that the expression names.
pub(super) fn next_shown(cron: &Cron, zone: &Zone, after: i64) -> Option<i64> {
    let mut second = after.checked_add(1)?;
    if zone.is_utc() {
        return cron.next_wall(second);
    }
    loop {
        let offset = i64::from(zone.offset_at(second));
        let found = cron.next_wall(second + offset)? - offset;
        // The clock may be changed before it shows that; then look again from the change on.
        match zone.next_change(second, found + 1) {
            None => return Some(found),
            Some(change) => second = change,
        }
    }
}
