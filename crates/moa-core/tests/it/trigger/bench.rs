//! A trigger and the part of a store that it needs: its records.

use std::collections::BTreeMap;
use std::sync::Arc;

use moa_core::ids::{Name, RunId};
use moa_core::machine::{Emitted, MessageBody, Rejected, StartRun};
use moa_core::run::RunStatus;
use moa_core::schedule::{Overlap, Schedule, ScheduleId};
use moa_core::time::{Millis, Span};
use moa_core::trigger::{
    Applied, Dependency, EndStatus, Env, Occurrence, Outcome, ScheduleSource, Source, Trigger,
    TriggerAnswer, TriggerCommand, TriggerInput, TriggerSpec,
};
use serde_json::{Value as Json, json};

/// 2027-01-15T08:00:00Z, a Friday.
pub const START: Millis = Millis(1_800_000_000_000);

pub fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

/// A trigger of the workflow `build`.
pub fn spec(source: Source) -> TriggerSpec {
    TriggerSpec {
        workflow: name("build"),
        name: name("on_1"),
        rule: false,
        source,
        enabled: true,
        overlap: Overlap::Allow,
        max_lateness: None,
        pause_after: None,
        collect: None,
        guard: Default::default(),
        priority: None,
        params: Default::default(),
    }
}

pub fn on_event() -> TriggerSpec {
    spec(Source::Event { event: "task.done".into(), matches: None })
}

pub fn after(workflows: &[&str], all: bool) -> TriggerSpec {
    let of = workflows.iter().map(|w| dependency(w)).collect();
    spec(Source::Runs { of, all })
}

pub fn dependency(workflow: &str) -> Dependency {
    Dependency { workflow: name(workflow), status: EndStatus::Success, cycles: Vec::new() }
}

/// A schedule that is due so often, from midnight on.
pub fn every(text: &str, change: impl FnOnce(&mut Schedule)) -> TriggerSpec {
    let id = ScheduleId { workflow: name("build"), name: name("on_1") };
    let mut schedule = Schedule::new(id);
    schedule.every = vec![text.parse().expect("an interval")];
    change(&mut schedule);
    of_schedule(schedule)
}

pub fn of_schedule(schedule: Schedule) -> TriggerSpec {
    let (overlap, max_lateness) = (schedule.overlap, schedule.max_lateness);
    let (pause_after, params) = (schedule.pause_after, schedule.params.clone());
    let enabled = schedule.enabled;
    let source = ScheduleSource { schedule, calendars: Default::default(), after: Vec::new() };
    let source = Source::Schedule(Box::new(source));
    TriggerSpec { overlap, max_lateness, pause_after, params, enabled, ..spec(source) }
}

/// The trigger, its records, and the runs that it wanted.
pub struct Bench {
    pub trigger: Trigger,
    pub now: Millis,
    pub records: BTreeMap<String, Occurrence>,
    pub starts: Vec<(Millis, RunId, StartRun)>,
    pub sent: Vec<(RunId, MessageBody)>,
    pub notices: Vec<String>,
    pub catch_up_from: Option<Millis>,
    messages: u64,
}

impl Bench {
    pub fn new(spec: TriggerSpec) -> Self {
        let known = BTreeMap::new();
        let env = Env { now: START, catch_up_from: None, known: &known, message: None };
        let (trigger, applied) = Trigger::create(env, Arc::new(spec)).expect("a good spec");
        let mut bench = Self {
            trigger,
            now: START,
            records: BTreeMap::new(),
            starts: Vec::new(),
            sent: Vec::new(),
            notices: Vec::new(),
            catch_up_from: None,
            messages: 0,
        };
        bench.keep(applied);
        bench
    }

    /// Applies an input as a node does: again with what is known, when a record would be a second.
    pub fn apply(&mut self, input: TriggerInput) -> Result<TriggerAnswer, Rejected> {
        self.messages += 1;
        let message = Some(self.messages);
        let mut known = BTreeMap::new();
        loop {
            let mut copy = self.trigger.clone();
            let (now, catch_up_from) = (self.now, self.catch_up_from);
            let env = Env { now, catch_up_from, known: &known, message };
            let applied = copy.apply(env, &input)?;
            let again = applied.records.iter().filter(|r| r.new).map(|r| &r.occurrence.key);
            let again: Vec<_> = again.filter(|key| self.records.contains_key(*key)).collect();
            if again.is_empty() {
                self.trigger = copy;
                let answer = applied.answer.clone();
                self.keep(applied);
                self.survives();
                return Ok(answer);
            }
            for key in again {
                let found = known.insert(key.clone(), self.records[key].clone());
                assert_eq!(found, None, "{key} is recorded as new although it is known");
            }
        }
    }

    fn keep(&mut self, applied: Applied) {
        for record in applied.records {
            let key = record.occurrence.key.clone();
            let before = self.records.insert(key.clone(), record.occurrence);
            assert!(before.is_none() || !record.new, "{key} is recorded a second time");
        }
        for amendment in applied.amendments {
            assert!(self.records.contains_key(&amendment.key), "there is a record");
            let own = self.records.values_mut().filter(|record| amendment.fits(record));
            own.for_each(|record| amendment.amend(record));
        }
        for (to, body) in applied.sends {
            if let MessageBody::StartRun(start) = &body {
                self.starts.push((self.now, to, (**start).clone()));
            }
            self.sent.push((to, body));
        }
        self.notices.extend(applied.notices);
    }

    /// What is kept of it is the whole of it.
    fn survives(&mut self) {
        let text =
            serde_json::to_string(&(&*self.trigger.spec, &self.trigger.state)).expect("JSON");
        let (spec, state): (TriggerSpec, _) = serde_json::from_str(&text).expect("it is read");
        assert_eq!(state, self.trigger.state);
        let again = Trigger::restore(Arc::new(spec), state, 1).expect("it is restored");
        assert_eq!(again.due_at(), self.trigger.due_at());
        assert_eq!(again.revision(), self.trigger.revision());
        self.trigger = again;
    }

    /// Lets time pass; the trigger gets its instants as a node gives them.
    pub fn pass(&mut self, span: Span) {
        let end = self.now.after(span);
        for turn in 0.. {
            let Some(due) = self.trigger.due_at().filter(|due| *due <= end) else { break };
            assert!(turn < 100_000, "it never stops being due at {due}");
            self.now = self.now.max(due);
            self.apply(TriggerInput::Due).expect("it is due");
        }
        self.now = end;
    }

    /// Time passes in which nobody serves it; then somebody does again.
    pub fn sleep(&mut self, span: Span) {
        self.now = self.now.after(span);
        if self.trigger.due_at().is_some_and(|due| due <= self.now) {
            self.apply(TriggerInput::Due).expect("it is due");
        }
    }

    pub fn event(&mut self, data: Json) {
        let event = Emitted { event: "task.done".into(), source: None, data: Arc::new(data) };
        let input = TriggerInput::Event { event: Arc::new(event), at: self.now };
        self.apply(input).expect("it listens");
    }

    /// A run of its own ends.
    pub fn ends(&mut self, run: RunId, status: RunStatus) {
        self.ends_with(run, status, None);
    }

    /// The same, with the digest of its output.
    pub fn ends_with(&mut self, run: RunId, status: RunStatus, output: Option<u64>) {
        let at = self.now;
        self.apply(TriggerInput::Ended { run, status, at, output }).expect("it is its own");
    }

    /// The oldest of its open runs ends.
    pub fn one_ends(&mut self, status: RunStatus) {
        let run = *self.trigger.state.open.keys().next().expect("a run is open");
        self.ends(run, status);
    }

    /// A run of another workflow ends.
    pub fn other_ends(&mut self, workflow: &str, run: u128, status: RunStatus) {
        let (run, workflow, at) = (RunId(run), name(workflow), self.now);
        let output = Some(Arc::new(json!({ "n": 1 })));
        let input = TriggerInput::RunEnded { run, workflow, status, at, output };
        self.apply(input).expect("it is told");
    }

    /// A run of another workflow comes to be.
    pub fn other_starts(&mut self, workflow: &str, run: u128, slot: Option<Millis>) {
        let (run, workflow, at) = (RunId(run), name(workflow), self.now);
        self.apply(TriggerInput::RunStarted { run, workflow, slot, at }).expect("it is told");
    }

    pub fn command(&mut self, command: TriggerCommand) -> TriggerAnswer {
        self.apply(TriggerInput::Command(command)).expect("it does that")
    }

    pub fn pause(&mut self) {
        self.command(TriggerCommand::Pause { by: "ann".into(), reason: "holiday".into() });
    }

    /// Records in order, a line each: seconds since the start, outcome, slots, reason.
    pub fn lines(&self) -> String {
        let mut records: Vec<_> = self.records.values().collect();
        records.sort_by_key(|r| (r.at, r.key.clone()));
        let since = |at: Millis| (at.0 - START.0) as f64 / 1000.0;
        let lines = records.iter().map(|r| {
            let range = r.last.map(|last| format!("..{}", since(last))).unwrap_or_default();
            let count = if r.count == 1 { String::new() } else { format!(" x{}", r.count) };
            let reason = r.reason.as_ref().map(|r| format!(": {r}")).unwrap_or_default();
            let result = r.result.map(|r| format!(" {}", r.as_str())).unwrap_or_default();
            format!("{}{range} {}{count}{result}{reason}\n", since(r.at), r.outcome.as_str())
        });
        lines.collect()
    }

    pub fn outcomes(&self) -> Vec<Outcome> {
        let mut records: Vec<_> = self.records.values().collect();
        records.sort_by_key(|r| (r.at, r.key.len(), r.key.clone()));
        records.iter().map(|r| r.outcome).collect()
    }
}
