//! `schedule:` of a workflow, key by key. What the keys mean together is checked in `lower`.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use moa_core::limits::CRON_BYTES_MAX;
use moa_core::schedule::{Cron, CronError, DayRule, Every, Moment, Zone};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

use super::on::{GuardFile, Off};
use crate::codes::{self, Code};
use crate::read::{At, Cx, Field};
use crate::scalar::{Duration, Many, NameText, Short, Tmpl};
use crate::yaml::Node;
use crate::{choice, record};

record! {
    /// When runs start by the clock, and what happens when they can't. Due is it whenever one of
    /// `cron`, `every`, `at` and `after` says so.
    pub struct ScheduleFile as "a schedule" {
        /// Its name among the workflow's schedules. Without it: its position, from 1.
        id: Option<At<NameText>>,
        /// Whether it may start runs.
        enabled: Option<At<bool>>,
        /// Cron expressions.
        cron: Option<Many<At<RuleText>>>,
        /// Steady intervals, counted from 1970-01-01T00:00:00Z: `30m`, with a phase `5m/1m`.
        every: Option<Many<At<EveryText>>>,
        /// Single instants.
        at: Option<Many<At<MomentText>>>,
        /// So long after a run of it has ended.
        after: Option<At<Duration>>,
        /// Zone of expressions, days and local times; UTC when not given.
        timezone: Option<At<ZoneText>>,
        /// What happens to cron expressions when clocks are changed.
        dst: Option<At<DstText>>,
        /// The days that count.
        calendar: Option<CalendarFile>,
        /// From when to when it is due, and how often.
        window: Option<WindowFile>,
        /// Starts are spread over so long after their instants.
        jitter: Option<At<Duration>>,
        /// What happens to slots that nobody could start in time.
        catch_up: Option<Short<At<CatchUpText>, CatchUpFile>>,
        /// What happens to a slot while a run of the schedule is going on.
        overlap: Option<At<OverlapText>>,
        /// A slot that is this late isn't started.
        max_lateness: Option<At<Duration>>,
        /// What happens when its runs fail.
        on_failure: Option<ScheduleFailureFile>,
        /// What pauses it before it does harm.
        guard: Option<Short<At<Off>, GuardFile>>,
        /// Params of its runs; expressions over `slot`.
        params: Option<Tmpl>,
    }

    /// The days that count: those of `include`, or all without it, less those of `exclude`.
    pub struct CalendarFile as "`calendar`" {
        /// Days that count.
        include: Option<Many<At<DayRuleText>>>,
        /// Days that don't, whatever `include` says.
        exclude: Option<Many<At<DayRuleText>>>,
    }

    /// From when to when a schedule is due, and how often.
    pub struct WindowFile as "`window`" {
        /// Nothing is due before: an instant or a day.
        from: Option<At<MomentText>>,
        /// Nothing is due from this instant on, or after this day.
        until: Option<At<MomentText>>,
        /// The schedule is over after so many runs.
        max_runs: Option<At<u32>>,
    }

    /// What happens to slots that nobody could start in time.
    pub struct CatchUpFile as "`catch_up`" {
        /// Which are started later.
        policy: Option<At<CatchUpText>>,
        /// Older ones are not; `6h` when not given.
        window: Option<At<Duration>>,
        /// With `all`: at most so many, the newest; 10 when not given.
        max: Option<At<u32>>,
        /// Time between two starts; `5s` when not given.
        spacing: Option<At<Duration>>,
        /// Whether slots of the time when the schedule was paused are caught up as well.
        paused: Option<At<bool>>,
    }

    /// What happens when runs of a schedule fail.
    pub struct ScheduleFailureFile as "`on_failure` of a schedule" {
        /// The schedule is paused after so many failed runs in a row.
        pause_after: Option<At<u32>>,
    }
}

choice! {
    /// What happens to cron expressions when clocks are changed.
    pub enum DstText as "a way to handle clock changes" {
        /// Fixed times are due once a day: a skipped one at the jump, a repeated one the first time.
        Vixie = "vixie",
        /// Whenever the clock shows it: never when skipped, twice when repeated.
        Literal = "literal",
        /// Expressions are read in UTC.
        Utc = "utc",
    }

    /// Which slots that nobody could start in time are started later.
    pub enum CatchUpText as "a way to catch up" {
        /// None.
        None = "none",
        /// The newest.
        Latest = "latest",
        /// All of them.
        All = "all",
    }

    /// What happens to a slot while a run of the schedule is going on.
    pub enum OverlapText as "a way to overlap" {
        /// It is skipped.
        Skip = "skip",
        /// It waits; another one is skipped.
        BufferOne = "buffer_one",
        /// It waits for its turn.
        BufferAll = "buffer_all",
        /// The run is cancelled, and it starts when that has ended.
        CancelRunning = "cancel_running",
        /// The run is terminated, and it starts at once.
        TerminateRunning = "terminate_running",
        /// It starts.
        Allow = "allow",
    }
}

/// One way to write `schedule`: an expression or `immediate`, or a mapping.
pub type ScheduleForm = Short<At<ShortText>, ScheduleFile>;

/// The short form of a schedule.
#[derive(Debug, Clone, PartialEq)]
pub enum ShortText {
    /// `immediate`: as soon as what it depends on is there.
    Immediate,
    /// A cron expression or `@every`.
    Rule(RuleText),
}

/// A cron expression, or `@every 5m`.
#[derive(Debug, Clone, PartialEq)]
pub enum RuleText {
    /// An expression.
    Cron(Cron),
    /// An interval.
    Every(Every),
}

/// A steady interval.
#[derive(Debug, Clone, PartialEq)]
pub struct EveryText(pub Every);

/// A time zone.
#[derive(Debug, Clone, PartialEq)]
pub struct ZoneText(pub Zone);

/// An instant, a local time or a day.
#[derive(Debug, Clone, PartialEq)]
pub struct MomentText {
    /// What it says.
    pub moment: Moment,
    text: String,
}

/// A rule for days.
#[derive(Debug, Clone, PartialEq)]
pub struct DayRuleText(pub DayRule);

const CRON_HELP: &str = "write minute, hour, day of month, month and day of week: \"0 9 * * MON\"";

impl Field for RuleText {
    fn read(node: &Arc<Node>, cx: &mut Cx) -> Option<Self> {
        let text = cx.str(node, "a cron expression")?;
        rule(text, node, cx)
    }
}

fn rule(text: &str, node: &Node, cx: &mut Cx) -> Option<RuleText> {
    if let Some((at, interval)) = interval_of(text) {
        let every = interval.parse().map_err(|e| {
            let span = cx.place_in(node, &(at..at + interval.len()));
            bad_interval(interval, &e, span, cx);
        });
        return every.ok().map(RuleText::Every);
    }
    let cron = Cron::parse(text).map_err(|e| bad_cron(e, node, cx));
    cron.ok().map(RuleText::Cron)
}

/// The interval of `@every 5m/1m`, and where it begins.
fn interval_of(text: &str) -> Option<(usize, &str)> {
    let (word, rest) = text.trim_end().split_once(' ')?;
    let interval = rest.trim_start();
    let at = word.len() + 1 + rest.len() - interval.len();
    word.eq_ignore_ascii_case("@every").then_some((at, interval))
}

fn bad_cron(error: CronError, node: &Node, cx: &mut Cx) {
    let span = cx.place_in(node, &error.span);
    let d = cx.error(codes::BAD_CRON, span, error.message);
    d.help(error.hint.unwrap_or_else(|| CRON_HELP.to_owned()));
}

fn bad_interval(text: &str, error: &dyn fmt::Display, span: Range<usize>, cx: &mut Cx) {
    let d = cx.error(codes::BAD_INTERVAL, span, format!("{text:?} is not an interval"));
    d.cause(error.to_string());
    d.help("write 30s, 5m, 2h or 1d; with a phase: 5m/1m");
}

impl Field for ShortText {
    fn read(node: &Arc<Node>, cx: &mut Cx) -> Option<Self> {
        let text = cx.str(node, "a schedule (a cron expression or a mapping)")?;
        if text == "immediate" {
            return Some(Self::Immediate);
        }
        let words = text.split_whitespace().count();
        if words == 1 && !text.starts_with('@') && text.parse::<Every>().is_ok() {
            let message = format!("{text:?} is not a cron expression");
            let d = cx.error(codes::BAD_CRON, node.span.clone(), message);
            d.help(format!("write {{every: {text}}}"));
            return None;
        }
        rule(text, node, cx).map(Self::Rule)
    }
}

impl Field for EveryText {
    fn read(node: &Arc<Node>, cx: &mut Cx) -> Option<Self> {
        let text = cx.str(node, "an interval such as 30m")?;
        let every = text.parse().map_err(|e| bad_interval(text, &e, node.span.clone(), cx));
        every.ok().map(Self)
    }
}

impl Field for ZoneText {
    fn read(node: &Arc<Node>, cx: &mut Cx) -> Option<Self> {
        let text = cx.str(node, "a time zone such as Europe/Berlin")?;
        let zone = Zone::get(text).map_err(|e| {
            let d = cx.error(codes::UNKNOWN_ZONE, node.span.clone(), e.to_string());
            match e.near {
                Some(near) => d.help(format!("did you mean `{near}`?")),
                None => d.help("write a name of the IANA database, such as Europe/Berlin, or UTC"),
            };
        });
        zone.ok().map(Self)
    }
}

impl Field for MomentText {
    fn read(node: &Arc<Node>, cx: &mut Cx) -> Option<Self> {
        let text = cx.str(node, "an instant such as 2026-12-24T18:00:00+01:00")?;
        match text.parse() {
            Ok(moment) => Some(Self { moment, text: text.to_owned() }),
            Err(_) => {
                let message = format!("{text:?} is not an instant");
                let d = cx.error(codes::NOT_A_DURATION, node.span.clone(), message);
                d.help("write 2026-12-24T18:00:00+01:00, 2026-12-24T18:00 or 2026-12-24");
                None
            }
        }
    }
}

impl Field for DayRuleText {
    fn read(node: &Arc<Node>, cx: &mut Cx) -> Option<Self> {
        let text = cx.str(node, "a rule for days such as weekdays or 2026-12-24")?;
        let rule = text.parse().map_err(|e: moa_core::schedule::DayRuleError| {
            let code: Code = codes::BAD_DAY_RULE;
            let d = cx.error(code, node.span.clone(), e.to_string());
            d.help(
                "write weekdays, weekends, MON-FRI, MON#1, FRI#L, 2026-12-24, \
                 2026-12-24..2026-12-31, 12-24, or the name of a calendar",
            );
        });
        rule.ok().map(Self)
    }
}

impl fmt::Display for ShortText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Immediate => f.write_str("immediate"),
            Self::Rule(rule) => rule.fmt(f),
        }
    }
}
impl fmt::Display for RuleText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cron(cron) => cron.fmt(f),
            Self::Every(every) => write!(f, "@every {every}"),
        }
    }
}
impl fmt::Display for EveryText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
impl fmt::Display for ZoneText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
impl fmt::Display for MomentText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
impl fmt::Display for DayRuleText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How a text is written, and what editors are told of it.
macro_rules! written {
    ($type:ty, $name:literal, $schema:tt) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }
        impl JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    };
}

written!(ShortText, "ShortSchedule", {
    "type": "string",
    "description": "A cron expression, `@daily`, `@every 5m`, or `immediate`.",
    "maxLength": (CRON_BYTES_MAX),
    "examples": ["0 9 * * MON-FRI", "@hourly", "@every 5m", "immediate"]
});
written!(RuleText, "Cron", {
    "type": "string",
    "description": "Minute, hour, day of month, month, day of week; seconds may stand first and years last.",
    "maxLength": (CRON_BYTES_MAX),
    "examples": ["0 9 * * MON-FRI", "0 12 L * *", "@daily", "@every 5m"]
});
written!(EveryText, "Every", {
    "type": "string",
    "pattern": "^([0-9]+(s|m|h|d|w))+(/([0-9]+(s|m|h|d|w))+)?$",
    "examples": ["30m", "5m/1m"]
});
written!(ZoneText, "TimeZone", {
    "type": "string",
    "examples": ["UTC", "Europe/Berlin", "America/New_York"]
});
written!(MomentText, "Moment", {
    "type": "string",
    "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}",
    "examples": ["2026-12-24T18:00:00+01:00", "2026-12-24T18:00", "2026-12-24"]
});
written!(DayRuleText, "DayRule", {
    "type": "string",
    "examples": ["weekdays", "weekends", "MON#1", "2026-12-24", "2026-12-24..2026-12-31", "12-25"]
});
