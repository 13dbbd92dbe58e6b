//! Triggers of the simulated world: schedules with every policy, events, ends of runs; put by each
//! process that starts, paused and started by users, removed when everything has to end.

use std::sync::Arc;

use moa_core::ids::Name;
use moa_core::run::RunStatus;
use moa_core::schedule::{
    CatchUpPolicy, Cron, Dst, Overlap, Reprocess, Schedule, ScheduleId, Zone,
};
use moa_core::template::Template;
use moa_core::time::{Millis, Span};
use moa_core::trigger::{
    BackfillRequest, Collect, Dependency, EndStatus, Guard, Outcome, ScheduleSource, Source,
    TriggerCommand, TriggerId, TriggerInput, TriggerSpec,
};
use moa_ports::store::BatchOutcome;
use moa_ports::triggers::{TriggerOutcome, TriggerRow};
use serde_json::json;

use crate::plans::{EVENTS, name};
use crate::plant::Plant;
use crate::process::Process;
use crate::random::Random;
use crate::users::Asked;
use crate::world::World;

/// How long after the faults triggers still start runs, in milliseconds.
const SERVED_AFTER: i64 = 20_000;
/// How late a trigger may be looked at when everything works.
const LATE: u64 = 10_000;

fn bare(workflow: &Name, called: &str, source: Source) -> TriggerSpec {
    let params = json!({ "flag": true, "items": [1, 2], "k": "a" });
    TriggerSpec {
        workflow: workflow.clone(),
        name: name(called),
        rule: false,
        source,
        enabled: true,
        overlap: Overlap::Allow,
        max_lateness: None,
        pause_after: None,
        collect: None,
        guard: Guard { starts: Some((30, Span::minutes(60))), no_progress: None },
        priority: None,
        // Invariant: there is no expression in it.
        params: Template::compile(&params, false).expect("a template"),
    }
}

fn schedule(random: &mut Random, workflow: &Name, called: &str) -> TriggerSpec {
    use Overlap::{Allow, BufferAll, BufferOne, CancelRunning, Skip, TerminateRunning};
    let id = ScheduleId { workflow: workflow.clone(), name: name(called) };
    let mut schedule = Schedule::new(id);
    let every = *random.pick(&["1s", "2s", "10s", "1m"]);
    schedule.every = vec![every.parse().expect("an interval")];
    let all = [Skip, BufferOne, BufferAll, CancelRunning, TerminateRunning, Allow];
    schedule.overlap = *random.pick(&all);
    schedule.jitter = Span(*random.pick(&[0, 0, 3_000]));
    schedule.catch_up.policy =
        *random.pick(&[CatchUpPolicy::None, CatchUpPolicy::Latest, CatchUpPolicy::All]);
    schedule.max_lateness = random.chance(300).then_some(Span(20_000));
    let spec = bare(workflow, called, Source::Runs { of: Vec::new(), all: false });
    TriggerSpec {
        overlap: schedule.overlap,
        max_lateness: schedule.max_lateness,
        guard: Guard::default(),
        source: Source::Schedule(Box::new(ScheduleSource {
            schedule,
            calendars: Default::default(),
            after: Vec::new(),
        })),
        ..spec
    }
}

/// The triggers of a seed.
pub fn specs(seed: u64, flow: &Name) -> Vec<TriggerSpec> {
    // Numbers of its own: seeds without triggers stay the stories that they were.
    let mut random = Random::new(seed ^ 0x7121_66E2);
    let emitter = |event: &str| name(&format!("emit_{event}"));
    let beat = schedule(&mut random, &emitter(EVENTS[0]), "beat");
    let mut work = schedule(&mut random, flow, "work");
    if let (Source::Schedule(source), true) = (&mut work.source, random.chance(300)) {
        source.after = vec![dependency(&beat.workflow)];
    }
    let event = Source::Event { event: EVENTS[1].into(), matches: None };
    let mut react = bare(flow, "react", event);
    react.collect = match random.below(3) {
        0 => None,
        1 => Some(Collect { quiet: Some(Span(2_000)), within: Span(9_000), max: 100 }),
        _ => Some(Collect { quiet: None, within: Span(5_000), max: 3 }),
    };
    let of = vec![dependency(&beat.workflow), dependency(flow)];
    let join = bare(&emitter(EVENTS[1]), "join", Source::Runs { of, all: true });
    vec![beat, work, react, join]
}

/// Instants at which a place's clock is changed or its day, which is one that doesn't count, begins or
/// ends; and the place.
const MOMENTS: [(i64, &str); 7] = [
    // 2027-03-28: forward by an hour. 2026-10-25: back by one.
    (1_806_195_600_000, "Europe/Berlin"),
    (1_792_890_000_000, "Europe/Berlin"),
    // 2027-04-04: back by half an hour.
    (1_806_764_400_000, "Australia/Lord_Howe"),
    // 2026-11-01: back by an hour.
    (1_793_512_800_000, "America/New_York"),
    // A Saturday begins; so does a Monday.
    (1_800_054_000_000, "Europe/Berlin"),
    (1_800_226_800_000, "Europe/Berlin"),
    (1_800_210_600_000, "Asia/Kolkata"),
];

/// Makes schedules go by the clock and the calendar of a place, and pause when their runs fail; answers
/// when the world begins: shortly before something happens to that clock.
pub fn by_clocks(seed: u64, specs: &mut [TriggerSpec]) -> i64 {
    let mut random = Random::new(seed ^ 0xC10C_C10C);
    let (moment, place) = *random.pick(&MOMENTS);
    for spec in specs {
        let Source::Schedule(source) = &mut spec.source else { continue };
        let schedule = &mut source.schedule;
        schedule.zone = Zone::get(place).expect("a zone");
        schedule.dst = *random.pick(&[Dst::Vixie, Dst::Literal, Dst::Utc]);
        if random.chance(600) {
            let cron = *random.pick(&["* * * * *", "*/10 * * * * *", "30 0-3 * * *", "0 2 * * *"]);
            schedule.cron = vec![Cron::parse(cron).expect("an expression")];
        }
        if random.chance(700) {
            let days = *random.pick(&["weekends", "SUN", "weekdays"]);
            schedule.calendar.exclude = vec![days.parse().expect("days")];
        }
        if random.chance(700) {
            schedule.pause_after = Some(random.range(1, 3) as u32);
            spec.pause_after = schedule.pause_after;
        }
    }
    moment - random.range(1_000, 40_000) as i64
}

fn dependency(workflow: &Name) -> Dependency {
    let (workflow, status) = (workflow.clone(), EndStatus::Ended);
    Dependency { workflow, status, cycles: Vec::new() }
}

impl World {
    /// A process that starts puts the triggers of its files, as long as there are any.
    pub(crate) fn put_triggers(&mut self, p: usize) {
        for spec in self.specs.clone() {
            let input = TriggerInput::Put { spec: Arc::new(spec.clone()) };
            self.ask_trigger(p, spec.id(), input);
        }
    }

    fn ask_trigger(&mut self, p: usize, id: TriggerId, input: TriggerInput) {
        let token = self.ask(p, Asked::Trigger);
        let now = self.local(p);
        if let Some(node) = &mut self.processes[p].node {
            node.trigger(now, token, id, input);
        }
        self.told(p);
    }

    /// A user pauses, resumes or starts one.
    pub(crate) fn user_triggers(&mut self) {
        let Some(p) = self.any_process() else { return };
        if self.specs.is_empty() {
            return;
        }
        let id = self.random.pick(&self.specs).id();
        let by = "ann".to_owned();
        let kinds = if self.swarm.edits { 8 } else { 4 };
        let command = match self.random.below(kinds) {
            4 | 5 => return self.edit_trigger(p),
            6 => TriggerCommand::Backfill(self.backfill()),
            7 if self.random.chance(300) => TriggerCommand::CancelBackfill { number: None },
            7 => TriggerCommand::Resume,
            0 => TriggerCommand::Pause { by, reason: "a user".into() },
            1 | 2 => TriggerCommand::Resume,
            _ => TriggerCommand::Start {
                key: format!("hand-{}", self.random.below(20)),
                by,
                params: None,
                overlap: None,
                priority: None,
            },
        };
        self.ask_trigger(p, id, TriggerInput::Command(command));
    }

    /// A file is edited, or its trigger switched off or on; once the last edit has been answered.
    fn edit_trigger(&mut self, p: usize) {
        let asked = |process: &Process| process.asked.values().any(|a| matches!(a, Asked::Trigger));
        if self.processes.iter().any(asked) {
            return;
        }
        let which = self.random.below(2) as usize;
        let switch = self.random.chance(400);
        let every = *self.random.pick(&["1s", "3s", "7s", "1m"]);
        let Some(spec) = self.specs.get_mut(which) else { return };
        match &mut spec.source {
            Source::Schedule(source) if !switch => {
                source.schedule.every = vec![every.parse().expect("an interval")];
            }
            _ => spec.enabled = !spec.enabled,
        }
        let (id, spec) = (spec.id(), Arc::new(spec.clone()));
        self.ask_trigger(p, id, TriggerInput::Put { spec });
    }

    fn backfill(&mut self) -> BackfillRequest {
        let to = self.now - self.random.below(20_000) as i64;
        BackfillRequest {
            key: format!("backfill-{}", self.random.below(20)),
            from: Millis(to - self.random.range(1_000, 60_000) as i64),
            to: Millis(to),
            reverse: self.random.chance(300),
            at_once: self.random.range(1, 3) as u32,
            reprocess: *self.random.pick(&[Reprocess::None, Reprocess::Failed, Reprocess::All]),
            priority: None,
            forgotten: false,
            by: "ann".into(),
        }
    }

    /// After some calm nothing may be late, and the triggers are removed; answers whether they are.
    pub(crate) fn end_triggers(&mut self) -> bool {
        let Some((calm, _)) = self.calm_since else { return false };
        if self.now - calm < SERVED_AFTER {
            return !self.swarm.triggers;
        }
        let model = self.store.model();
        let rows: Vec<_> = model
            .all_triggers()
            .filter(|(_, row)| !row.state.removed)
            .map(|(id, row)| (id, row.due_at))
            .collect();
        drop(model);
        if !std::mem::take(&mut self.specs).is_empty() && !self.piled_up {
            let now = self.local(0);
            let late = |at: &Millis| now.since(*at).0 > LATE;
            if let Some((id, at)) = rows.iter().find(|(_, at)| at.as_ref().is_some_and(late)) {
                self.fail(format!("trigger {id} is due since {at:?}, and it is {now}"));
            }
        }
        let over = rows.is_empty();
        for (id, _) in rows {
            if let Some(p) = self.any_process() {
                self.ask_trigger(p, id, TriggerInput::Remove);
            }
        }
        over
    }

    /// The batch's triggers as a store with a planted bug writes them.
    pub(crate) fn tamper_triggers(&mut self, batch: &mut moa_ports::store::Batch) {
        use moa_core::machine::MessageBody;
        for commit in &mut batch.triggers {
            let now = self.random.chance(100);
            let starts = |m: &moa_ports::store::Message| matches!(m.body, MessageBody::StartRun(_));
            match self.plant {
                Some(Plant::LostStart) if now => commit.messages.retain(|m| !starts(m)),
                Some(Plant::LostSlot) if now => _ = commit.records.pop(),
                Some(Plant::LostDue) if now => commit.due_at = None,
                Some(Plant::SecondRun) if now => {
                    let again = commit.messages.iter().find(|m| starts(m)).cloned();
                    commit.messages.extend(again.map(|mut message| {
                        message.to.0 ^= 1;
                        message
                    }));
                }
                Some(Plant::PausedStart) => {
                    let slots = commit.records.iter_mut().map(|record| &mut record.occurrence);
                    let passed = slots.filter(|o| o.outcome == Outcome::SkippedPaused);
                    passed.for_each(|o| o.outcome = Outcome::Started);
                }
                Some(Plant::CalendarStart) => {
                    let slots = commit.records.iter_mut().map(|record| &mut record.occurrence);
                    let passed = slots.filter(|o| o.outcome == Outcome::SkippedCalendar);
                    passed.for_each(|o| o.outcome = Outcome::Missed);
                }
                Some(Plant::ForgottenFailures) => {
                    commit.state.paused = commit.state.paused.take().filter(|p| p.by != "moa");
                }
                Some(Plant::LostDiscard) if commit.spec.is_some() => {
                    commit.records.retain(|r| r.occurrence.outcome != Outcome::Discarded);
                }
                Some(Plant::EarlySlot) if now => {
                    let ahead = |at: Millis| at.after(Span(3_600_000));
                    let slots = commit.records.iter_mut().filter(|r| r.occurrence.run.is_some());
                    slots.for_each(|r| r.occurrence.at = ahead(r.occurrence.at));
                }
                _ => {}
            }
        }
    }

    /// Triggers as a store with a planted bug gives them.
    pub(crate) fn tampered_rows(
        &self,
        mut rows: Vec<Option<TriggerRow>>,
    ) -> Vec<Option<TriggerRow>> {
        if self.plant == Some(Plant::ForgottenSwitch) {
            for row in rows.iter_mut().flatten() {
                row.spec = Arc::new(TriggerSpec { enabled: true, ..(*row.spec).clone() });
            }
        }
        rows
    }

    /// What a store with a planted bug says of occurrences that have records already.
    pub(crate) fn tampered_known(&self, mut outcome: BatchOutcome) -> BatchOutcome {
        if self.plant == Some(Plant::EarlyReprocess) {
            for outcome in &mut outcome.triggers {
                let TriggerOutcome::Duplicate(known) = outcome else { continue };
                known.iter_mut().for_each(|known| known.result = Some(RunStatus::Failed));
            }
        }
        outcome
    }
}
