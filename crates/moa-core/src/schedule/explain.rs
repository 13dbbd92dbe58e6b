//! Why an instant is a slot, or why it is none.

use std::fmt;

use super::calendar::Off;
use super::date::{DAY, Day};
use super::every::Every;
use super::spec::Dst;
use super::timetable::{Slot, Timetable};
use super::wall;
use super::zone::Fall;
use crate::time::Millis;

/// What a schedule says about one instant. Shown in lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The instant, with the offset of the zone then.
    pub slot: Slot,
    /// The zone's name.
    pub zone: String,
    /// The rules that name it. None = it is no slot.
    pub named: Vec<Named>,
    /// A fixed time that the clock shows for the second time, and that was due the first time.
    pub repeated: Option<Millis>,
    /// Why its day doesn't count, if it doesn't.
    pub off: Option<String>,
    /// Whether it is before or behind the window.
    pub outside: bool,
    /// When its run starts: the instant and its jitter.
    pub starts_at: Millis,
    /// The slot before.
    pub previous: Option<Slot>,
    /// The next slot.
    pub next: Option<Slot>,
}

/// A rule that names an instant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Named {
    /// The clock shows what the expression names.
    Cron(String),
    /// The expression names this wall time (seconds of the day), which the clock jumped over.
    Skipped(String, u32),
    /// The interval.
    Every(Every),
    /// It is in the list of instants.
    At,
}

impl Explanation {
    /// Whether the schedule is due then.
    pub fn is_slot(&self) -> bool {
        !self.named.is_empty() && self.off.is_none() && !self.outside
    }
}

impl Timetable {
    /// What the schedule says about an instant.
    pub fn explain(&self, at: Millis) -> Explanation {
        let window = &self.schedule().window;
        let before = window.from.is_some_and(|from| at < from);
        let behind = window.until.is_some_and(|until| at >= until);
        let off = self.off(self.day(at)).map(|off| match off {
            Off::Excluded(rule) => format!("`exclude` has {rule}"),
            Off::NotIncluded => "no rule of `include` holds".to_owned(),
        });
        Explanation {
            slot: self.slot(at),
            zone: self.zone().name().to_owned(),
            named: self.named(at),
            repeated: self.repeated(at),
            off,
            outside: before || behind,
            starts_at: at.after(self.schedule().jitter_of(at)),
            previous: self.newest(Millis(i64::MIN)..at, 1).pop_back(),
            next: self.next_slot(at),
        }
    }

    fn named(&self, at: Millis) -> Vec<Named> {
        let schedule = self.schedule();
        let second = at.0.div_euclid(1000);
        let mut named = Vec::new();
        for cron in schedule.cron.iter().filter(|_| at.0 % 1000 == 0) {
            let fixed = schedule.dst == Dst::Vixie && cron.is_fixed_time();
            let next = if fixed { wall::next_fixed } else { wall::next_shown };
            if next(cron, self.zone(), second - 1) != Some(second) {
                continue;
            }
            let shown = self.zone().wall_at(second);
            let text = cron.source().to_owned();
            // What the clock showed when it jumped; the expression's next time is in the gap.
            let jump = shown - i64::from(self.zone().offset_at(second))
                + i64::from(self.zone().offset_at(second - 1));
            named.push(match (cron.next_wall(shown), cron.next_wall(jump)) {
                (Some(wall), _) if wall == shown => Named::Cron(text),
                (_, Some(wall)) => Named::Skipped(text, wall.rem_euclid(DAY) as u32),
                _ => Named::Cron(text),
            });
        }
        let is_due = |every: &&Every| every.next(Millis(at.0 - 1)) == Some(at);
        named.extend(schedule.every.iter().filter(is_due).map(|every| Named::Every(*every)));
        named.extend(schedule.at.binary_search(&at).ok().map(|_| Named::At));
        named
    }

    /// When a fixed time was due that the clock shows at `at` for the second time.
    fn repeated(&self, at: Millis) -> Option<Millis> {
        let second = at.0.div_euclid(1000);
        let shown = self.zone().wall_at(second);
        let Fall::Twice { at: change, from, .. } = self.zone().fall(shown) else { return None };
        let fixed =
            |cron: &&super::Cron| cron.is_fixed_time() && cron.next_wall(shown) == Some(shown);
        let named = self.schedule().cron.iter().any(|cron| fixed(&cron));
        let counts = self.schedule().dst == Dst::Vixie && at.0 % 1000 == 0;
        (second >= change && named && counts).then(|| Millis((shown - i64::from(from)) * 1000))
    }

    /// An instant as the clock of the schedule's zone shows it: `2026-03-29T03:00:00+02:00`.
    pub fn local(&self, slot: Slot) -> String {
        let wall = slot.at.0 + i64::from(slot.offset) * 1000;
        let (sign, offset) = (if slot.offset < 0 { '-' } else { '+' }, slot.offset.abs() / 60);
        let millis = match wall.rem_euclid(1000) {
            0 => String::new(),
            n => format!(".{n:03}"),
        };
        let (date, time) = (Day::of_wall(wall.div_euclid(1000)), clock(wall.div_euclid(1000)));
        format!("{date}T{time}{millis}{sign}{:02}:{:02}", offset / 60, offset % 60)
    }
}

/// The time of the day of a wall time: `02:30:00`.
pub(super) fn clock(wall: i64) -> String {
    let second = wall.rem_euclid(DAY);
    format!("{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60)
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cron(text) => write!(f, "`cron: {text}` names it"),
            Self::Skipped(text, wall) => {
                let time = clock(i64::from(*wall));
                write!(f, "`cron: {text}` names {time}, which the clock jumps over")
            }
            Self::Every(every) => write!(f, "`every: {every}` names it"),
            Self::At => f.write_str("`at` lists it"),
        }
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is = if self.is_slot() { "is a slot" } else { "is no slot" };
        writeln!(f, "{} {is} ({}, UTC{})", self.slot.at, self.zone, Offset(self.slot.offset))?;
        for named in &self.named {
            writeln!(f, "- {named}")?;
        }
        if self.named.is_empty() && self.repeated.is_none() {
            writeln!(f, "- no rule of the schedule names it")?;
        }
        if let Some(first) = self.repeated {
            writeln!(f, "- the clock shows this for the second time; it was due at {first}")?;
        }
        if let Some(off) = &self.off {
            writeln!(f, "- its day doesn't count: {off}")?;
        }
        if self.outside {
            writeln!(f, "- it is outside of `window`")?;
        }
        if self.is_slot() && self.starts_at != self.slot.at {
            writeln!(f, "- its run starts at {}, by `jitter`", self.starts_at)?;
        }
        Ok(())
    }
}

/// Seconds as `+2` or `+5:30`.
struct Offset(i32);

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let minutes = self.0.abs() / 60;
        let sign = if self.0 < 0 { '-' } else { '+' };
        write!(f, "{sign}{:02}:{:02}", minutes / 60, minutes % 60)
    }
}
