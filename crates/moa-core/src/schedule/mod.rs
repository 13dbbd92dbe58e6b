//! Schedules: when runs start by the clock, and what happens when they can't.
//!
//! What: a [`Schedule`] says when it is due (cron expressions, intervals, instants) and what then
//! happens; a [`Timetable`] lists its slots, by the same code for the plan, for previews and for
//! explanations; [`plan()`] decides about every slot since the last time it was asked. All of it is a
//! function of its arguments. Absent by intent: the clock, the store, files of calendars, runs.
//! Start reading at [`Timetable`], then [`plan()`].

mod backfill;
mod calendar;
mod count;
mod cron;
mod date;
mod every;
mod explain;
mod moment;
mod params;
mod plan;
mod spec;
mod state;
mod storm;
mod timetable;
mod wall;
mod zone;

pub use backfill::Reprocess;
pub use calendar::{Calendar, Calendars, DayRule, DayRuleError, Days, UnknownCalendar};
pub use count::Counted;
pub use cron::{Cron, CronError};
pub use date::Day;
pub use every::{Every, EveryError};
pub use explain::{Explanation, Named};
pub use moment::Moment;
pub use params::SLOT_FIELDS;
pub use plan::plan;
pub use spec::{
    CatchUp, CatchUpPolicy, Dst, Overlap, Revision, Schedule, ScheduleId, SlotId, Window,
};
pub use state::{
    End, Facts, Input, Miss, Notice, Outcome, Paused, PausedBy, Pending, Planned, Record, Skip,
    State, Stop, Wait, Which,
};
pub use storm::Restarts;
pub use timetable::{Slot, Slots, Timetable};
pub use zone::{UnknownZone, Zone};
