//! What a schedule says: when it is due, and what then happens. Data, canonical when serialised.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::calendar::Calendar;
use super::cron::Cron;
use super::every::Every;
use super::zone::Zone;
use crate::ids::{Name, RunId, mix};
use crate::limits::CATCH_UP_RUNS_MAX;
use crate::template::Template;
use crate::time::{Millis, Span};

/// The identity of a schedule: its workflow, and its name in there. Shown as `curation/1`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ScheduleId {
    /// The workflow whose runs it starts.
    pub workflow: Name,
    /// Its name among the workflow's schedules: `id:`, or its position in the list, from 1.
    pub name: Name,
}

impl fmt::Display for ScheduleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.workflow, self.name)
    }
}

/// The identity of what a schedule says: changes when anything but `enabled` does. Shown as sixteen
/// hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revision(pub u64);

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The identity of one slot. Whatever happens, each starts one run at most.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SlotId {
    /// The schedule.
    pub schedule: ScheduleId,
    /// What it said then.
    pub revision: Revision,
    /// When the slot is due.
    pub at: Millis,
}

impl SlotId {
    /// The id of the run that the slot starts: the same however often it is asked for. A version 8
    /// UUID that sorts by the slot's instant.
    pub fn run_id(&self) -> RunId {
        let text = format!("{self}/0");
        let random = u128::from(digest(1, &text)) << 64 | u128::from(digest(2, &text));
        let id = RunId::v7(u64::try_from(self.at.0).unwrap_or(0), random).0;
        RunId(id & !(0xF_u128 << 76) | 0x8_u128 << 76)
    }
}

impl fmt::Display for SlotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}/{}", self.schedule, self.revision, self.at.0)
    }
}

/// What happens to cron expressions when clocks are changed. See the module `wall`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dst {
    /// Fixed times are due once a day: a skipped one at the jump, a repeated one the first time.
    #[default]
    Vixie,
    /// Whenever the clock shows it: never when skipped, twice when repeated.
    Literal,
    /// Expressions are read in UTC.
    Utc,
}

/// What happens to a slot whose schedule already has a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// It is skipped.
    #[default]
    Skip,
    /// It waits for the runs to end; one more that comes meanwhile is skipped.
    BufferOne,
    /// It waits for its turn.
    BufferAll,
    /// The runs are cancelled, and it starts when they have ended.
    CancelRunning,
    /// The runs are terminated, and it starts at once.
    TerminateRunning,
    /// It starts.
    Allow,
}

/// Which of the slots that nobody could start in time are started later.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CatchUpPolicy {
    /// None.
    None,
    /// The newest.
    #[default]
    Latest,
    /// All of them.
    All,
}

/// What happens to slots that nobody could start in time: the process was down, the host slept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatchUp {
    /// Which are started.
    pub policy: CatchUpPolicy,
    /// Older ones are not.
    pub window: Span,
    /// At most so many, the newest.
    pub max: u32,
    /// Time between two starts.
    pub spacing: Span,
    /// Whether slots of the time when the schedule was paused count as missed rather than skipped.
    #[serde(default)]
    pub paused: bool,
}

impl Default for CatchUp {
    fn default() -> Self {
        Self {
            policy: CatchUpPolicy::Latest,
            window: Span::minutes(6 * 60),
            max: 10,
            spacing: Span::seconds(5),
            paused: false,
        }
    }
}

impl CatchUp {
    /// The most runs that one missed window may start.
    pub fn runs_max(&self) -> usize {
        match self.policy {
            CatchUpPolicy::None => 0,
            CatchUpPolicy::Latest => 1,
            CatchUpPolicy::All => self.max.min(CATCH_UP_RUNS_MAX) as usize,
        }
    }
}

/// From when to when a schedule is due, and how often.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// No slot is earlier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Millis>,
    /// Every slot is earlier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Millis>,
    /// The schedule is over after so many runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_runs: Option<u64>,
}

/// A schedule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// Which schedule.
    pub id: ScheduleId,
    /// Whether it may start runs; one that may not records its slots as skipped.
    pub enabled: bool,
    /// Due when any of these expressions is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cron: Vec<Cron>,
    /// Due at any of these intervals.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub every: Vec<Every>,
    /// Due at these instants, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub at: Vec<Millis>,
    /// Due so long after a run of it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Span>,
    /// The zone of expressions, dates and days.
    pub zone: Zone,
    /// What happens when clocks are changed.
    pub dst: Dst,
    /// The days that count.
    #[serde(default, skip_serializing_if = "Calendar::is_empty")]
    pub calendar: Calendar,
    /// From when to when, and how often.
    pub window: Window,
    /// Starts are spread over so long after their slots, by a hash of schedule and slot.
    pub jitter: Span,
    /// What happens to slots that nobody could start in time.
    pub catch_up: CatchUp,
    /// What happens to a slot while a run is going on.
    pub overlap: Overlap,
    /// A slot that is this late isn't started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_lateness: Option<Span>,
    /// Paused after so many failed runs in a row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause_after: Option<u32>,
    /// Params of the runs; expressions over `slot`.
    #[serde(default, skip_serializing_if = "is_bare")]
    pub params: Template,
}

fn is_bare(params: &Template) -> bool {
    params.source().is_null()
}

impl Schedule {
    /// A schedule that is never due, with the defaults of everything.
    pub fn new(id: ScheduleId) -> Self {
        Self {
            id,
            enabled: true,
            cron: Vec::new(),
            every: Vec::new(),
            at: Vec::new(),
            after: None,
            zone: Zone::utc(),
            dst: Dst::default(),
            calendar: Calendar::default(),
            window: Window::default(),
            jitter: Span(0),
            catch_up: CatchUp::default(),
            overlap: Overlap::default(),
            max_lateness: None,
            pause_after: None,
            params: Template::default(),
        }
    }

    /// Whether `after` is all that makes it due.
    pub fn is_only_after(&self) -> bool {
        self.after.is_some() && self.cron.is_empty() && self.every.is_empty() && self.at.is_empty()
    }

    /// The identity of what it says.
    pub fn revision(&self) -> Revision {
        // Invariant: a schedule holds only what JSON has; serialising to memory can't fail.
        let mut json = serde_json::to_value(self).expect("a schedule is JSON");
        if let Some(map) = json.as_object_mut() {
            map.remove("enabled");
            map.remove("id");
        }
        let mut text = String::new();
        canonical(&json, &mut text);
        Revision(digest(0, &text))
    }

    /// How long after its slot a run starts: from nothing to less than `jitter`, always the same
    /// for the same slot.
    pub fn jitter_of(&self, slot: Millis) -> Span {
        if self.jitter.0 == 0 {
            return Span(0);
        }
        Span(mix(digest(3, &self.id.to_string()) ^ slot.0 as u64) % self.jitter.0)
    }
}

/// A hash of a text, the same on every machine; another one for each `purpose`.
fn digest(purpose: u64, text: &str) -> u64 {
    let seed = mix(purpose ^ (text.len() as u64) << 8);
    text.as_bytes().chunks(8).fold(seed, |hash, chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        mix(hash ^ u64::from_le_bytes(word))
    })
}

/// The value as JSON with the keys of every mapping sorted.
fn canonical(json: &Json, out: &mut String) {
    match json {
        Json::Array(items) => {
            out.push('[');
            for item in items {
                canonical(item, out);
                out.push(',');
            }
            out.push(']');
        }
        Json::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort();
            out.push('{');
            for key in keys {
                out.push_str(&Json::from(key.as_str()).to_string());
                out.push(':');
                canonical(&map[key], out);
                out.push(',');
            }
            out.push('}');
        }
        other => out.push_str(&other.to_string()),
    }
}
