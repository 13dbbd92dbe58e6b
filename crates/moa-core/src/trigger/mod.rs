//! The trigger machine: turns occurrences into runs, each one once.
//!
//! A trigger is a small durable state machine, as a run is: [`Trigger::apply`] takes an input and
//! answers what is to be recorded and sent, in the transaction that writes the new state. Every
//! kind (schedules, runs of other workflows, events, things from outside, a person's wish) goes
//! through one function, `Tx::fire`, which knows pauses, overlap and limits. Schedules are decided
//! by [`crate::schedule::plan`]; here their decisions become records and runs.
//!
//! It is pure: the same trigger, instant and input give the same answer. Absent by intent: how runs
//! are created (the node does that when it gets the message), where files or calls come from.
//! Start reading at [`Trigger::apply`], then `fire`.

mod backfill;
mod collect;
mod fire;
mod guard;
mod id;
mod input;
mod put;
mod record;
mod slots;
mod spec;
mod state;
mod trial;
mod upstream;
mod vars;
mod why;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

pub use backfill::starts_again;
pub use fire::event_key;
pub(crate) use guard::digest;
pub use id::TriggerId;
pub use input::{BackfillRequest, TriggerAnswer, TriggerCommand, TriggerInput};
pub use record::{Amendment, Occurrence, Origin, Outcome, Record};
pub use spec::{
    Collect, Cycles, Dependency, EndStatus, Guard, OWN_EVENTS, ScheduleSource, Source, TriggerSpec,
    is_own_event, topic_of_ends, topic_of_event, topic_of_starts,
};
pub use state::{
    Arrived, Backfill, Collected, Cycle, Held, Last, OpenRun, Paused, Same, Sharer, Streak,
    TriggerState, Waiting,
};
pub use trial::Trial;
pub use why::Why;

use crate::ids::RunId;
use crate::machine::{MessageBody, Rejected};
use crate::schedule::{End, Revision, Timetable, UnknownCalendar};
use crate::time::Millis;

/// What the machine needs to know of the world.
#[derive(Clone, Copy)]
pub struct Env<'a> {
    /// The instant.
    pub now: Millis,
    /// No slot of the past is started before this instant: moa has been restarting too often.
    pub catch_up_from: Option<Millis>,
    /// Records of occurrences that the store has already, where that matters. Empty at first: a
    /// commit that would record an occurrence a second time is refused, and made again with them.
    pub known: &'a BTreeMap<String, Occurrence>,
    /// The number of the message that brought the input, if one did: it names an event.
    pub message: Option<u64>,
}

/// What an input changed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Applied {
    /// Records of occurrences.
    pub records: Vec<Record>,
    /// Changes of records that are there.
    pub amendments: Vec<Amendment>,
    /// Messages: to runs that it starts or stops, and to the bus.
    pub sends: Vec<(RunId, MessageBody)>,
    /// The topics that it listens to from now on, when they changed.
    pub listens: Option<Vec<String>>,
    /// Whether its spec changed.
    pub put: bool,
    /// What people should be told, for the log.
    pub notices: Vec<String>,
    /// What somebody who asked is told.
    pub answer: TriggerAnswer,
}

/// A trigger in memory.
#[derive(Debug, Clone)]
pub struct Trigger {
    /// Its id.
    pub id: TriggerId,
    /// What it says.
    pub spec: Arc<TriggerSpec>,
    /// Its state.
    pub state: TriggerState,
    /// The version of its row; 0 = it has none yet.
    pub version: u64,
    revision: Revision,
    /// Its slots, if it is a schedule.
    table: Option<Timetable>,
    /// The slots of what it waits for, in the order of its dependencies.
    upstream: Vec<Vec<Timetable>>,
}

/// Why a trigger can't be made of its rows or its definition.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BrokenTrigger(pub String);

impl From<UnknownCalendar> for BrokenTrigger {
    fn from(error: UnknownCalendar) -> Self {
        Self(error.to_string())
    }
}

impl Trigger {
    /// A trigger as a store has it.
    ///
    /// # Errors
    /// Its spec refers to something that isn't in it.
    pub fn restore(
        spec: Arc<TriggerSpec>,
        state: TriggerState,
        version: u64,
    ) -> Result<Self, BrokenTrigger> {
        let mut table = None;
        let mut upstream = Vec::new();
        if let Some(source) = spec.schedule() {
            table = Some(Timetable::new(source.schedule.clone(), &source.calendars)?);
            for dependency in &source.after {
                let tables = dependency.cycles.iter();
                let tables = tables.map(|c| Timetable::new(c.schedule.clone(), &c.calendars));
                upstream.push(tables.collect::<Result<_, _>>()?);
            }
        }
        let (id, revision) = (spec.id(), spec.revision());
        Ok(Self { id, spec, state, version, revision, table, upstream })
    }

    /// The identity of what it says.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// Its slots, if it is a schedule.
    pub fn table(&self) -> Option<&Timetable> {
        self.table.as_ref()
    }

    /// Applies an input: decides, changes the state, and says what else is to be done.
    ///
    /// # Errors
    /// The input changes nothing, and why.
    pub fn apply(&mut self, env: Env<'_>, input: &TriggerInput) -> Result<Applied, Rejected> {
        let mut tx = Tx::new(self, env);
        match input {
            TriggerInput::Put { spec } => tx.put(spec)?,
            TriggerInput::Remove => tx.remove()?,
            TriggerInput::Ended { run, status, at: _, output } => {
                tx.ended(*run, *status)?;
                tx.watch_progress(*status, *output);
            }
            TriggerInput::NotStarted { run, limit, reason } => {
                tx.not_started(*run, *limit, reason)?;
            }
            _ if tx.trigger.state.removed => return rejected("its definition is gone"),
            TriggerInput::Orphaned { gone } => tx.orphaned(*gone),
            TriggerInput::Due => tx.due(),
            TriggerInput::RunStarted { run, workflow, slot, at } => {
                tx.upstream_started(*run, workflow, *slot, *at);
            }
            TriggerInput::RunEnded { run, workflow, status, at, output } => {
                let arrived =
                    Arrived { run: *run, status: *status, at: *at, output: output.clone() };
                tx.upstream_ended(workflow, arrived);
            }
            TriggerInput::Event { event, at } => tx.event(event, *at)?,
            TriggerInput::Occurred { key, data } => tx.occurred(key, data)?,
            TriggerInput::Command(command) => tx.command(command)?,
        }
        tx.settle();
        Ok(tx.applied)
    }

    /// When it wants [`TriggerInput::Due`]; `None` = not before something else happens.
    pub fn due_at(&self) -> Option<Millis> {
        if self.state.removed {
            return None;
        }
        let waiting = self.state.waiting.as_ref().and_then(|w| self.waits_until(w));
        let backfill = self.backfill_due();
        [self.state.wake_at, waiting, self.collected_due(), backfill].into_iter().flatten().min()
    }
}

pub(super) fn rejected<T>(reason: impl Into<String>) -> Result<T, Rejected> {
    Err(Rejected(reason.into()))
}

/// One application of an input.
struct Tx<'t, 'e> {
    trigger: &'t mut Trigger,
    env: Env<'e>,
    applied: Applied,
    /// Runs that are over, and what has not followed from that yet.
    over: VecDeque<(Origin, End)>,
    /// Slots that backfills have dealt with.
    backfilled: usize,
}

impl<'t, 'e> Tx<'t, 'e> {
    fn new(trigger: &'t mut Trigger, env: Env<'e>) -> Self {
        let (applied, over) = (Applied::default(), VecDeque::new());
        Self { trigger, env, applied, over, backfilled: 0 }
    }
}

impl Tx<'_, '_> {
    fn now(&self) -> Millis {
        self.env.now
    }

    /// The instant that it asked for has come, or may have.
    fn due(&mut self) {
        self.skip_disabled();
        self.tick(crate::schedule::Input::Tick);
        self.try_waiting();
        self.end_collecting();
        self.backfill();
    }

    fn command(&mut self, command: &TriggerCommand) -> Result<(), Rejected> {
        match command {
            TriggerCommand::Pause { by, reason } => self.pause(by, reason),
            TriggerCommand::Resume => self.resume(),
            TriggerCommand::Start { key, by, params, overlap, priority } => {
                let held = Held {
                    params: params.clone(),
                    overlap: *overlap,
                    priority: *priority,
                    ..self.manual(key, by)
                };
                return self.start_by_hand(held);
            }
            TriggerCommand::Backfill(request) => return self.ask_backfill(request),
            TriggerCommand::CancelBackfill { number } => return self.cancel_backfill(*number),
        }
        Ok(())
    }
}
