//! What holds of every step of every schedule, whatever the clock and the users do.

use std::collections::{BTreeMap, BTreeSet};

use moa_core::ids::RunId;
use moa_core::limits::{CATCH_UP_RUNS_MAX, MARK_AHEAD_MS, SLOTS_BUFFERED_MAX, SLOTS_LISTED_MAX};
use moa_core::schedule::{
    Calendar, CatchUp, CatchUpPolicy, Cron, Dst, End, Every, Facts, Input, Miss, Outcome, Overlap,
    Planned, Schedule, Skip, State, Timetable, Wait, Which, Zone, plan,
};
use moa_core::time::{Millis, Span};

use super::naive::Dice;
use super::{at, schedule, table};

/// A schedule of any kind.
fn any_schedule(dice: &mut Dice) -> Schedule {
    let mut schedule = schedule();
    let zone = dice.pick(&["UTC", "Europe/Berlin", "Australia/Lord_Howe", "America/Havana"]);
    schedule.zone = Zone::get(zone).unwrap();
    let expressions =
        ["*/5 * * * *", "0 * * * *", "30 2 * * *", "*/7 1-4 * * MON-FRI", "15 9,17 * * *"];
    let shape = dice.below(6);
    if shape < 2 {
        schedule.after = Some(Span::seconds(dice.below(1000)));
    }
    // With the first shape nothing else makes it due.
    let only_after = shape == 0;
    for _ in 0..if only_after { 0 } else { 1 + dice.below(2) } {
        schedule.cron.push(Cron::parse(dice.pick(&expressions)).unwrap());
    }
    if dice.below(3) == 0 && !only_after {
        schedule.every.push(dice.pick(&["7m/3m", "30s", "2h"]).parse::<Every>().unwrap());
    }
    if dice.below(4) == 0 && !only_after {
        schedule.at = vec![at("2026-03-28T12:00:00.500Z"), at("2026-03-29T01:00:00Z")];
    }
    if dice.below(4) == 0 {
        schedule.calendar.exclude.push(dice.pick(&["weekends", "2026-03-30"]).parse().unwrap());
    }
    schedule.dst = [Dst::Vixie, Dst::Literal, Dst::Utc][dice.below(3) as usize];
    schedule.jitter = Span::seconds(dice.below(2) * dice.below(600));
    schedule.overlap = [
        Overlap::Skip,
        Overlap::BufferOne,
        Overlap::BufferAll,
        Overlap::CancelRunning,
        Overlap::TerminateRunning,
        Overlap::Allow,
    ][dice.below(6) as usize];
    let policies = [CatchUpPolicy::None, CatchUpPolicy::Latest, CatchUpPolicy::All];
    schedule.catch_up = CatchUp {
        policy: policies[dice.below(3) as usize],
        window: Span::minutes(1 + dice.below(600)),
        max: 1 + dice.below(20) as u32,
        spacing: Span::seconds(dice.below(100)),
        paused: dice.below(4) == 0,
    };
    schedule.max_lateness = (dice.below(4) == 0).then(|| Span::minutes(1 + dice.below(60)));
    schedule.pause_after = (dice.below(4) == 0).then_some(2);
    schedule.window.max_runs = (dice.below(8) == 0).then_some(30);
    schedule
}

/// A schedule in a world of which all is remembered.
struct World {
    table: Timetable,
    state: State,
    running: Vec<RunId>,
    enabled: bool,
    now: Millis,
    born: Millis,
    /// How often each slot was recorded.
    recorded: BTreeMap<Millis, u32>,
    /// Ranges recorded as a whole.
    ranges: Vec<(Millis, Millis)>,
    started: BTreeMap<Millis, RunId>,
    wake_at: Option<Millis>,
}

impl World {
    fn new(schedule: Schedule, now: Millis) -> Self {
        let table = table(schedule);
        Self {
            state: State::new(&table, now),
            table,
            running: Vec::new(),
            enabled: true,
            now,
            born: now,
            recorded: BTreeMap::new(),
            ranges: Vec::new(),
            started: BTreeMap::new(),
            wake_at: None,
        }
    }

    fn step(&mut self, input: Input) {
        let known = BTreeMap::new();
        let facts = Facts {
            running: &self.running,
            enabled: self.enabled,
            catch_up_from: None,
            known: &known,
        };
        let before = self.running.len();
        let planned = plan(&self.table, &self.state, &facts, input, self.now);
        // The same question has the same answer.
        assert_eq!(planned, plan(&self.table, &self.state, &facts, input, self.now));
        self.check(&planned, before);
        self.running.retain(|run| !planned.stop.iter().any(|(stopped, _)| stopped == run));
        self.state = planned.state;
        self.wake_at = planned.wake_at;
        self.account();
    }

    fn check(&mut self, planned: &Planned, before: usize) {
        let schedule = self.table.schedule();
        let most = 4 * (SLOTS_LISTED_MAX + 4) + CATCH_UP_RUNS_MAX as usize;
        assert!(planned.records.len() < most, "a step is bounded: {}", planned.records.len());
        assert!(planned.state.mark >= self.now || planned.state.paused.is_some());
        let mut starts = 0;
        for record in &planned.records {
            match record.slots {
                Which::One(slot) => {
                    *self.recorded.entry(slot.at).or_default() += 1;
                    assert!(slot.at <= self.now, "the future is not recorded");
                }
                Which::Many { from, to, count } => {
                    let counted = self.table.count(from..to);
                    let off = record.outcome == Outcome::Skipped(Skip::Calendar);
                    assert_eq!(count, Some(if off { counted.off } else { counted.on }));
                    assert!(to.0 <= self.now.0 + 1);
                    self.ranges.push((from, to));
                }
            }
            if let Outcome::Started { run, late, catch_up } = record.outcome {
                let Which::One(slot) = record.slots else { panic!("a range starts nothing") };
                starts += 1;
                assert_eq!(run, self.table.slot_id(slot.at).run_id());
                assert_eq!(self.started.insert(slot.at, run), None, "{} twice", slot.at);
                let due = if catch_up { Span(0) } else { schedule.jitter_of(slot.at) };
                assert!(slot.at.after(due) <= self.now, "never early");
                assert_eq!(slot.at.after(late), self.now);
                assert!(schedule.max_lateness.is_none_or(|most| late <= most));
                assert!(!catch_up || late <= schedule.catch_up.window);
                assert!(self.enabled, "disabled is honoured");
                self.running.push(run);
            }
            if let Outcome::Missed(Miss::Policy) = record.outcome {
                assert_eq!(schedule.catch_up.policy, CatchUpPolicy::None);
            }
        }
        let stopped = !planned.stop.is_empty();
        if schedule.overlap != Overlap::Allow {
            assert!(starts <= 1, "one at a time");
            assert!(starts == 0 || before == 0 || stopped, "nothing starts beside a run");
        }
        let waiting = |wait| planned.state.pending.iter().filter(|p| p.wait == wait).count();
        // A pause that keeps slots may keep those of the window before it as well.
        let held = planned.state.paused.is_some() && schedule.catch_up.paused;
        let most = schedule.catch_up.runs_max() * (1 + usize::from(held));
        assert!(waiting(Wait::CatchUp) <= most);
        assert!(waiting(Wait::Running) <= SLOTS_BUFFERED_MAX);
        if let Some(max) = schedule.window.max_runs {
            assert!(self.started.len() as u64 <= max);
        }
        if let Some(wake) = planned.wake_at {
            let later = wake > self.now || !planned.state.pending.is_empty();
            let again = planned.state.after_at.is_some();
            assert!(later || again, "a step that asks for itself goes on for ever");
        }
        if schedule.is_only_after() && !planned.state.is_over(&self.table) {
            let goes_on = planned.state.after_at.is_some()
                || !planned.state.pending.is_empty()
                || starts + before > 0;
            assert!(goes_on, "a schedule after its own runs has come to an end");
        }
    }

    /// Every slot up to the mark is recorded once, or pending once.
    fn account(&self) {
        let pending: BTreeSet<Millis> = self.state.pending.iter().map(|p| p.slot.at).collect();
        assert_eq!(pending.len(), self.state.pending.len());
        for slot in &pending {
            assert_eq!(self.recorded.get(slot), None, "{slot} is pending and recorded");
        }
        for (slot, times) in &self.recorded {
            assert_eq!(*times, 1, "{slot}");
            // A range is of what rules name; a slot after a run may lie between.
            let in_range = self.ranges.iter().any(|(from, to)| from <= slot && slot < to);
            assert!(!in_range || self.table.explain(*slot).named.is_empty(), "{slot}");
        }
    }

    /// Steps at one instant come to an end: each asks for a later one in the long run.
    fn ends_asking(&mut self) {
        for _ in 0..2000 {
            self.step(Input::Tick);
            if self.wake_at.is_none_or(|wake| wake > self.now) {
                return;
            }
        }
        panic!("it asks for itself for ever: {:?}", self.state);
    }

    /// The slots that the schedule had, on whatever day, are those accounted for.
    fn judge(&self) {
        if self.table.schedule().window.max_runs.is_some() {
            return;
        }
        let mark = self.state.mark.min(self.now);
        let every_day = Schedule { calendar: Calendar::default(), ..self.table.schedule().clone() };
        for slot in table(every_day).slots(Millis(self.born.0 + 1)..Millis(mark.0 + 1)) {
            let pending = self.state.pending.iter().any(|p| p.slot.at == slot.at);
            let range = self.ranges.iter().any(|(from, to)| *from <= slot.at && slot.at < *to);
            let once = self.recorded.contains_key(&slot.at);
            assert!(pending || range || once, "{} is forgotten", slot.at);
        }
    }
}

fn live(seed: u64) {
    let mut dice = Dice::new(seed);
    let schedule = any_schedule(&mut dice);
    let mut world = World::new(schedule, at("2026-03-27T10:00:00Z"));
    for _ in 0..150 {
        match dice.below(20) {
            // On time, as most of the time.
            0..=9 => {
                if let Some(wake) = world.wake_at {
                    world.now = world.now.max(wake.after(Span(dice.below(50))));
                }
                world.step(Input::Tick);
            }
            10 => {
                // Down, asleep, or a clock that is put forward.
                let bits = dice.below(29);
                world.now = world.now.after(Span(dice.below(1 << bits)));
                world.step(Input::Tick);
            }
            11 => {
                // Back, but by less than is taken for a mistake.
                world.now.0 -= dice.below(MARK_AHEAD_MS as u64 / 200) as i64;
                world.step(Input::Tick);
            }
            12 => world.step(Input::Pause),
            13 => world.step(Input::Resume),
            14 => {
                world.enabled = dice.below(3) > 0;
                world.step(Input::Tick);
            }
            _ if world.running.is_empty() => world.step(Input::Tick),
            n => {
                world.now = world.now.after(Span::seconds(dice.below(300)));
                world.running.remove(0);
                let ends = [End::Failed, End::Cancelled, End::Succeeded, End::Succeeded];
                world.step(Input::Ended(ends[(n % 4) as usize]));
            }
        }
    }
    world.judge();
    world.ends_asking();
}

#[test]
fn every_slot_is_accounted_for_and_starts_once_at_most() {
    for seed in 0..1000 {
        let lived = std::panic::catch_unwind(|| live(seed));
        assert!(lived.is_ok(), "seed {seed}");
    }
}

#[test]
fn counting_agrees_with_listing() {
    let mut dice = Dice::new(3);
    for _ in 0..60 {
        let mut schedule = any_schedule(&mut dice);
        schedule.window.until = (dice.below(4) == 0).then(|| at("2026-03-29T17:00:00Z"));
        let table = table(schedule);
        let start = at("2026-03-27T00:00:00Z").0 + dice.below(86_400_000) as i64;
        let range = Millis(start)..Millis(start + dice.below(400_000_000) as i64);
        let listed = table.slots(range.clone()).count() as u64;
        assert_eq!(table.count(range.clone()).on, listed, "{:?} {range:?}", table.schedule());
    }
}
