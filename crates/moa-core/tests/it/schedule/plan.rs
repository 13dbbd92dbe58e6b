//! What is decided about slots: scripts of steps, and what each of them records.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use insta::assert_snapshot;
use moa_core::ids::RunId;
use moa_core::schedule::{
    CatchUp, CatchUpPolicy, End, Every, Facts, Input, Outcome, Overlap, Record, Schedule, State,
    Stop, Timetable, Which, plan,
};
use moa_core::time::{Millis, Span};

use super::{at, cron, schedule, table};

/// A schedule, what is remembered of it, and the runs that it started.
struct Script {
    table: Timetable,
    state: State,
    running: Vec<RunId>,
    known: BTreeMap<Millis, RunId>,
    enabled: bool,
    catch_up_from: Option<Millis>,
    shown: String,
    wake_at: Option<Millis>,
}

impl Script {
    fn new(schedule: Schedule, now: &str) -> Self {
        let table = table(schedule);
        Self {
            state: State::new(&table, at(now)),
            table,
            running: Vec::new(),
            known: BTreeMap::new(),
            enabled: true,
            catch_up_from: None,
            shown: String::new(),
            wake_at: None,
        }
    }

    fn step(&mut self, input: Input, now: Millis) -> Vec<Record> {
        let facts = Facts {
            running: &self.running,
            enabled: self.enabled,
            catch_up_from: self.catch_up_from,
            known: &self.known,
        };
        let planned = plan(&self.table, &self.state, &facts, input, now);
        // What is remembered survives being written down.
        let json = serde_json::to_string(&planned.state).unwrap();
        self.state = serde_json::from_str(&json).unwrap();
        assert_eq!(self.state, planned.state);
        writeln!(self.shown, "{} {input:?}", clock(now)).unwrap();
        for (run, how) in &planned.stop {
            writeln!(self.shown, "    {how:?} the run of {}", self.slot_of(*run)).unwrap();
            if *how == Stop::Terminate {
                self.running.retain(|r| r != run);
            }
        }
        for record in &planned.records {
            self.show(record);
            if let Outcome::Started { run, .. } = record.outcome {
                self.running.push(run);
            }
        }
        for notice in &planned.notices {
            writeln!(self.shown, "    notice: {notice:?}").unwrap();
        }
        self.wake_at = planned.wake_at;
        planned.records
    }

    fn show(&mut self, record: &Record) {
        let outcome = match record.outcome {
            Outcome::Started { late, catch_up: false, .. } => format!("started, {late} late"),
            Outcome::Started { late, .. } => format!("caught up, {late} late"),
            Outcome::Deduped { .. } => "deduped".to_owned(),
            other => format!("{other:?}"),
        };
        match record.slots {
            Which::One(slot) => writeln!(self.shown, "    {} {outcome}", clock(slot.at)),
            Which::Many { from, to, count } => {
                let count = count.map_or("?".to_owned(), |n| n.to_string());
                writeln!(self.shown, "    {}..{} ({count}) {outcome}", clock(from), clock(to))
            }
        }
        .unwrap();
    }

    fn slot_of(&self, run: RunId) -> String {
        let millis = (run.0 >> 80) as i64;
        clock(Millis(millis))
    }

    fn tick(&mut self, now: &str) {
        self.step(Input::Tick, at(now));
    }

    /// Ends the oldest run.
    fn end(&mut self, end: End, now: &str) {
        self.running.remove(0);
        self.step(Input::Ended(end), at(now));
    }

    /// Steps whenever a step asks for the next, until `end`.
    fn sleep_until(&mut self, end: &str) {
        while let Some(wake) = self.wake_at.filter(|wake| *wake <= at(end)) {
            self.step(Input::Tick, wake);
        }
    }
}

/// The time of day, with the date when it is not the day that most scripts are in.
fn clock(at: Millis) -> String {
    let text = at.to_string();
    let text = text.strip_prefix("2026-01-01T").unwrap_or(&text);
    text.trim_end_matches('Z').trim_end_matches(".000").to_owned()
}

fn hourly() -> Schedule {
    cron("UTC", &["@hourly"])
}

fn catching_up(policy: CatchUpPolicy) -> Schedule {
    Schedule { catch_up: CatchUp { policy, ..CatchUp::default() }, ..hourly() }
}

#[test]
fn slots_start_when_they_are_due_and_not_before() {
    let mut script = Script::new(hourly(), "2026-01-01T00:00:00Z");
    script.tick("2026-01-01T00:59:59.999Z");
    assert_eq!(script.wake_at, Some(at("2026-01-01T01:00:00Z")));
    script.tick("2026-01-01T01:00:00.003Z");
    script.tick("2026-01-01T01:00:00.004Z");
    script.end(End::Succeeded, "2026-01-01T01:10:00Z");
    script.tick("2026-01-01T02:00:00Z");
    // The run goes on for more than an hour.
    script.tick("2026-01-01T03:00:00Z");
    assert_snapshot!(script.shown, @r"
    00:59:59.999 Tick
    01:00:00.003 Tick
        01:00:00 started, 3ms late
    01:00:00.004 Tick
    01:10:00 Ended(Succeeded)
    02:00:00 Tick
        02:00:00 started, 0s late
    03:00:00 Tick
        03:00:00 Skipped(Overlap)
    ");
}

#[test]
fn a_missed_window_is_judged_by_the_catch_up_policy() {
    let mut shown = String::new();
    for policy in [CatchUpPolicy::None, CatchUpPolicy::Latest, CatchUpPolicy::All] {
        let mut script = Script::new(catching_up(policy), "2026-01-01T00:00:00Z");
        // Down from just after midnight to a quarter past nine; six hours are caught up.
        script.tick("2026-01-01T09:15:00Z");
        for n in 0..7 {
            if !script.running.is_empty() {
                script.end(End::Succeeded, &format!("2026-01-01T09:2{n}:00Z"));
            }
        }
        writeln!(shown, "{policy:?}\n{}", script.shown).unwrap();
    }
    assert_snapshot!(shown, @r"
    None
    09:15:00 Tick
        01:00:00 Missed(Window)
        02:00:00 Missed(Window)
        03:00:00 Missed(Window)
        04:00:00 Missed(Policy)
        05:00:00 Missed(Policy)
        06:00:00 Missed(Policy)
        07:00:00 Missed(Policy)
        08:00:00 Missed(Policy)
        09:00:00 Missed(Policy)

    Latest
    09:15:00 Tick
        01:00:00 Missed(Window)
        02:00:00 Missed(Window)
        03:00:00 Missed(Window)
        04:00:00 Missed(Newer)
        05:00:00 Missed(Newer)
        06:00:00 Missed(Newer)
        07:00:00 Missed(Newer)
        08:00:00 Missed(Newer)
        09:00:00 caught up, 15m late
    09:20:00 Ended(Succeeded)

    All
    09:15:00 Tick
        01:00:00 Missed(Window)
        02:00:00 Missed(Window)
        03:00:00 Missed(Window)
        04:00:00 caught up, 5h15m late
    09:20:00 Ended(Succeeded)
        05:00:00 caught up, 4h20m late
    09:21:00 Ended(Succeeded)
        06:00:00 caught up, 3h21m late
    09:22:00 Ended(Succeeded)
        07:00:00 caught up, 2h22m late
    09:23:00 Ended(Succeeded)
        08:00:00 caught up, 1h23m late
    09:24:00 Ended(Succeeded)
        09:00:00 caught up, 24m late
    09:25:00 Ended(Succeeded)
    ");
}

#[test]
fn a_fresh_slot_at_the_end_of_a_gap_is_the_latest() {
    let mut shown = String::new();
    for policy in [CatchUpPolicy::None, CatchUpPolicy::Latest, CatchUpPolicy::All] {
        let mut schedule = catching_up(policy);
        schedule.catch_up.max = 2;
        let mut script = Script::new(schedule, "2026-01-01T00:00:00Z");
        script.tick("2026-01-01T04:00:02Z");
        writeln!(shown, "{policy:?}\n{}", script.shown).unwrap();
    }
    assert_snapshot!(shown, @r"
    None
    04:00:02 Tick
        01:00:00 Missed(Policy)
        02:00:00 Missed(Policy)
        03:00:00 Missed(Policy)
        04:00:00 started, 2s late

    Latest
    04:00:02 Tick
        01:00:00 Missed(Newer)
        02:00:00 Missed(Newer)
        03:00:00 Missed(Newer)
        04:00:00 started, 2s late

    All
    04:00:02 Tick
        01:00:00 Missed(Newer)
        04:00:00 started, 2s late
    ");
}

#[test]
fn catching_up_is_spaced_below_live_work_and_waits_out_a_storm() {
    let schedule = Schedule { overlap: Overlap::Allow, ..catching_up(CatchUpPolicy::All) };
    let mut script = Script::new(schedule, "2026-01-01T00:00:00Z");
    script.catch_up_from = Some(at("2026-01-01T03:59:55Z"));
    script.tick("2026-01-01T03:30:00Z");
    script.sleep_until("2026-01-01T04:00:30Z");
    assert_snapshot!(script.shown, @r"
    03:30:00 Tick
    03:59:55 Tick
        01:00:00 caught up, 2h59m55s late
    04:00:00 Tick
        04:00:00 started, 0s late
        02:00:00 caught up, 2h late
    04:00:05 Tick
        03:00:00 caught up, 1h5s late
    ");
}

#[test]
fn a_year_of_seconds_is_one_record() {
    let schedule = Schedule { every: vec!["1s".parse::<Every>().unwrap()], ..schedule() };
    let mut script = Script::new(schedule, "2026-01-01T00:00:00Z");
    script.tick("2027-01-01T00:00:00Z");
    assert_snapshot!(script.shown, @r"
    2027-01-01T00:00:00 Tick
        00:00:00.001..2026-12-31T18:00:00 (31514399) Missed(Window)
        2026-12-31T18:00:00..2027-01-01T00:00:00 (21600) Missed(Newer)
        2027-01-01T00:00:00 started, 0s late
    ");
    let mut script =
        Script::new(cron("Europe/Berlin", &["* * * * * MON-FRI"]), "2026-01-01T00:00:00Z");
    script.tick("2027-01-01T00:00:00Z");
    assert_snapshot!(script.shown, @r"
    2027-01-01T00:00:00 Tick
        00:00:00.001..2026-12-31T18:00:00 (22528799) Missed(Window)
        2026-12-31T18:00:00..2027-01-01T00:00:00 (21600) Missed(Newer)
        2027-01-01T00:00:00 started, 0s late
    ");
}

#[test]
fn the_six_ways_to_overlap() {
    let mut shown = String::new();
    for overlap in [
        Overlap::Skip,
        Overlap::BufferOne,
        Overlap::BufferAll,
        Overlap::CancelRunning,
        Overlap::TerminateRunning,
        Overlap::Allow,
    ] {
        let mut script = Script::new(Schedule { overlap, ..hourly() }, "2026-01-01T00:00:00Z");
        for hour in 1..=4 {
            script.tick(&format!("2026-01-01T0{hour}:00:00Z"));
        }
        for minute in 1..=4 {
            if !script.running.is_empty() {
                script.end(End::Cancelled, &format!("2026-01-01T04:0{minute}:00Z"));
            }
        }
        writeln!(shown, "{overlap:?}\n{}", script.shown).unwrap();
    }
    assert_snapshot!(shown);
}

#[test]
fn pausing_advances_the_mark_and_resuming_replays_only_when_asked() {
    let mut script = Script::new(hourly(), "2026-01-01T00:00:00Z");
    script.step(Input::Pause, at("2026-01-01T00:30:00Z"));
    script.tick("2026-01-01T01:00:00Z");
    script.tick("2026-01-01T02:00:00Z");
    script.step(Input::Resume, at("2026-01-01T02:30:00Z"));
    script.tick("2026-01-01T03:00:00Z");
    assert_snapshot!(script.shown, @r"
    00:30:00 Pause
    01:00:00 Tick
        01:00:00 Skipped(Paused)
    02:00:00 Tick
        02:00:00 Skipped(Paused)
    02:30:00 Resume
    03:00:00 Tick
        03:00:00 started, 0s late
    ");
    let mut schedule = catching_up(CatchUpPolicy::All);
    schedule.catch_up.paused = true;
    schedule.overlap = Overlap::Allow;
    let mut script = Script::new(schedule, "2026-01-01T00:00:00Z");
    script.step(Input::Pause, at("2026-01-01T00:30:00Z"));
    script.tick("2026-01-01T01:00:00Z");
    script.step(Input::Resume, at("2026-01-01T02:30:00Z"));
    script.sleep_until("2026-01-01T03:00:00Z");
    assert_snapshot!(script.shown, @r"
    00:30:00 Pause
    01:00:00 Tick
    02:30:00 Resume
        01:00:00 caught up, 1h30m late
    02:30:05 Tick
        02:00:00 caught up, 30m5s late
    03:00:00 Tick
        03:00:00 started, 0s late
    ");
}

#[test]
fn failures_in_a_row_pause_it() {
    let schedule = Schedule { pause_after: Some(2), ..hourly() };
    let mut script = Script::new(schedule, "2026-01-01T00:00:00Z");
    for (hour, end) in [(1, End::Failed), (2, End::Succeeded), (3, End::Failed), (4, End::Failed)] {
        script.tick(&format!("2026-01-01T0{hour}:00:00Z"));
        script.end(end, &format!("2026-01-01T0{hour}:01:00Z"));
    }
    script.tick("2026-01-01T05:00:00Z");
    script.step(Input::Resume, at("2026-01-01T05:30:00Z"));
    script.tick("2026-01-01T06:00:00Z");
    script.end(End::Failed, "2026-01-01T06:01:00Z");
    script.tick("2026-01-01T07:00:00Z");
    assert_snapshot!(script.shown, @r"
    01:00:00 Tick
        01:00:00 started, 0s late
    01:01:00 Ended(Failed)
    02:00:00 Tick
        02:00:00 started, 0s late
    02:01:00 Ended(Succeeded)
    03:00:00 Tick
        03:00:00 started, 0s late
    03:01:00 Ended(Failed)
    04:00:00 Tick
        04:00:00 started, 0s late
    04:01:00 Ended(Failed)
        notice: PausedByFailures(2)
    05:00:00 Tick
        05:00:00 Skipped(Paused)
    05:30:00 Resume
    06:00:00 Tick
        06:00:00 started, 0s late
    06:01:00 Ended(Failed)
    07:00:00 Tick
        07:00:00 started, 0s late
    ");
}

#[test]
fn nothing_starts_while_it_is_disabled() {
    let mut script = Script::new(hourly(), "2026-01-01T00:00:00Z");
    script.tick("2026-01-01T01:00:00Z");
    script.enabled = false;
    script.tick("2026-01-01T02:00:00Z");
    script.running.clear();
    script.tick("2026-01-01T03:00:00Z");
    script.enabled = true;
    script.tick("2026-01-01T03:30:00Z");
    script.tick("2026-01-01T04:00:00Z");
    assert_snapshot!(script.shown, @r"
    01:00:00 Tick
        01:00:00 started, 0s late
    02:00:00 Tick
        02:00:00 Skipped(Disabled)
    03:00:00 Tick
        03:00:00 Skipped(Disabled)
    03:30:00 Tick
    04:00:00 Tick
        04:00:00 started, 0s late
    ");
}

#[test]
fn an_edit_discards_what_is_older() {
    let schedule = Schedule { overlap: Overlap::BufferAll, ..hourly() };
    let mut script = Script::new(schedule, "2026-01-01T00:00:00Z");
    script.tick("2026-01-01T01:00:00Z");
    script.tick("2026-01-01T02:00:00Z");
    script.table = table(cron("UTC", &["30 * * * *"]));
    script.tick("2026-01-01T05:00:00Z");
    script.tick("2026-01-01T05:00:01Z");
    script.running.clear();
    script.tick("2026-01-01T05:30:00Z");
    assert_snapshot!(script.shown, @r"
    01:00:00 Tick
        01:00:00 started, 0s late
    02:00:00 Tick
    05:00:00 Tick
        02:00:00 Skipped(Edited)
        02:00:00.001..05:00:00 (?) Skipped(Edited)
    05:00:01 Tick
    05:30:00 Tick
        05:30:00 started, 0s late
    ");
}

#[test]
fn a_clock_that_goes_back_repeats_nothing() {
    let mut script = Script::new(hourly(), "2026-01-01T00:00:00Z");
    for now in ["01:00:00", "00:30:00", "00:59:59", "01:00:01", "01:59:00", "02:00:00"] {
        script.running.clear();
        script.tick(&format!("2026-01-01T{now}Z"));
    }
    assert_snapshot!(script.shown, @r"
    01:00:00 Tick
        01:00:00 started, 0s late
    00:30:00 Tick
    00:59:59 Tick
    01:00:01 Tick
    01:59:00 Tick
    02:00:00 Tick
        02:00:00 started, 0s late
    ");
}

#[test]
fn a_clock_that_was_far_ahead_does_not_silence_it() {
    let mut script = Script::new(hourly(), "2026-01-01T00:00:00Z");
    script.tick("2030-01-01T00:00:00Z");
    script.known.insert(at("2026-01-01T02:00:00Z"), script.running.remove(0));
    for now in ["00:30:00", "01:00:00", "02:00:00", "03:00:00"] {
        script.running.clear();
        script.tick(&format!("2026-01-01T{now}Z"));
    }
    assert_snapshot!(script.shown, @r"
    2030-01-01T00:00:00 Tick
        00:00:00.001..2029-12-31T18:00:00 (35057) Missed(Window)
        2029-12-31T18:00:00 Missed(Newer)
        2029-12-31T19:00:00 Missed(Newer)
        2029-12-31T20:00:00 Missed(Newer)
        2029-12-31T21:00:00 Missed(Newer)
        2029-12-31T22:00:00 Missed(Newer)
        2029-12-31T23:00:00 Missed(Newer)
        2030-01-01T00:00:00 started, 0s late
    00:30:00 Tick
        notice: Rewound { from: Millis(1893456000000) }
    01:00:00 Tick
        01:00:00 started, 0s late
    02:00:00 Tick
        02:00:00 deduped
    03:00:00 Tick
        03:00:00 started, 0s late
    ");
}

#[test]
fn a_late_slot_is_skipped_when_lateness_has_a_limit() {
    let limited = |schedule| Schedule { max_lateness: Some(Span::minutes(15)), ..schedule };
    let schedule = limited(Schedule { overlap: Overlap::BufferOne, ..hourly() });
    let mut script = Script::new(schedule, "2026-01-01T00:00:00Z");
    script.tick("2026-01-01T01:00:00Z");
    script.tick("2026-01-01T02:00:00Z");
    script.end(End::Succeeded, "2026-01-01T02:16:00Z");
    // Down for three hours: the newest is 10 minutes late, the others are too late.
    script.tick("2026-01-01T05:10:00Z");
    assert_snapshot!(script.shown, @r"
    01:00:00 Tick
        01:00:00 started, 0s late
    02:00:00 Tick
    02:16:00 Ended(Succeeded)
        02:00:00 Skipped(Late)
    05:10:00 Tick
        03:00:00 Skipped(Late)
        04:00:00 Skipped(Late)
        05:00:00 caught up, 10m late
    ");
}

#[test]
fn days_that_do_not_count_are_recorded_as_such() {
    let mut schedule = cron("UTC", &["0 */12 * * *"]);
    schedule.calendar.exclude = vec!["weekends".parse().unwrap()];
    let mut script = Script::new(schedule, "2026-01-02T11:00:00Z");
    script.tick("2026-01-02T12:00:00Z");
    script.end(End::Succeeded, "2026-01-02T12:01:00Z");
    script.tick("2026-01-03T00:00:00Z");
    script.tick("2026-01-03T12:00:00Z");
    // Asleep over the rest of the weekend.
    script.tick("2026-01-05T01:00:00Z");
    assert_snapshot!(script.shown, @r"
    2026-01-02T12:00:00 Tick
        2026-01-02T12:00:00 started, 0s late
    2026-01-02T12:01:00 Ended(Succeeded)
    2026-01-03T00:00:00 Tick
        2026-01-03T00:00:00 Skipped(Calendar)
    2026-01-03T12:00:00 Tick
        2026-01-03T12:00:00 Skipped(Calendar)
    2026-01-05T01:00:00 Tick
        2026-01-04T00:00:00 Skipped(Calendar)
        2026-01-04T12:00:00 Skipped(Calendar)
        2026-01-05T00:00:00 caught up, 1h late
    ");
}

#[test]
fn it_is_over_after_so_many_runs() {
    let mut schedule = hourly();
    schedule.window.max_runs = Some(2);
    let mut script = Script::new(schedule, "2026-01-01T00:00:00Z");
    for hour in 1..=4 {
        script.running.clear();
        script.tick(&format!("2026-01-01T0{hour}:00:00Z"));
    }
    assert_eq!(script.wake_at, None);
    assert_snapshot!(script.shown, @r"
    01:00:00 Tick
        01:00:00 started, 0s late
    02:00:00 Tick
        02:00:00 started, 0s late
        notice: Finished
    03:00:00 Tick
    04:00:00 Tick
    ");
}

#[test]
fn after_each_run_comes_the_next() {
    let schedule = Schedule { after: Some(Span::minutes(10)), ..schedule() };
    let mut script = Script::new(schedule, "2026-01-01T00:00:00Z");
    script.tick("2026-01-01T00:00:00Z");
    script.tick("2026-01-01T00:20:00Z");
    script.end(End::Succeeded, "2026-01-01T00:21:00Z");
    assert_eq!(script.wake_at, Some(at("2026-01-01T00:31:00Z")));
    script.tick("2026-01-01T00:31:00.002Z");
    script.end(End::Failed, "2026-01-01T00:32:00Z");
    // Paused, and asleep: it is due when it can be.
    script.step(Input::Pause, at("2026-01-01T00:33:00Z"));
    script.tick("2026-01-01T03:00:00Z");
    script.step(Input::Resume, at("2026-01-01T05:00:00Z"));
    script.sleep_until("2026-01-01T05:00:01Z");
    assert_snapshot!(script.shown, @r"
    00:00:00 Tick
        00:00:00 started, 0s late
    00:20:00 Tick
    00:21:00 Ended(Succeeded)
    00:31:00.002 Tick
        00:31:00 started, 2ms late
    00:32:00 Ended(Failed)
    00:33:00 Pause
    03:00:00 Tick
    05:00:00 Resume
    05:00:00.001 Tick
        05:00:00.001 started, 0s late
    ");
}

#[test]
fn jitter_delays_a_start_the_same_way_each_time() {
    let schedule = Schedule { jitter: Span::minutes(10), ..hourly() };
    let mut script = Script::new(schedule.clone(), "2026-01-01T00:00:00Z");
    script.tick("2026-01-01T01:00:00Z");
    let due = script.wake_at.unwrap();
    assert_eq!(
        due,
        at("2026-01-01T01:00:00Z").after(schedule.jitter_of(at("2026-01-01T01:00:00Z")))
    );
    script.step(Input::Tick, Millis(due.0 - 1));
    assert!(script.running.is_empty());
    script.step(Input::Tick, due);
    assert_eq!(script.running.len(), 1);
    // Asleep when its turn came: it is a missed slot like any other.
    script.running.clear();
    script.tick("2026-01-01T02:00:00Z");
    let due = script.wake_at.unwrap();
    let records = script.step(Input::Tick, Millis(due.0 + 60_000));
    assert!(matches!(records[0].outcome, Outcome::Started { catch_up: true, .. }));
}

#[test]
fn of_slots_that_replace_each_other_at_once_the_newest_wins() {
    let mut shown = String::new();
    for overlap in [Overlap::CancelRunning, Overlap::TerminateRunning] {
        let every = vec!["1s".parse::<Every>().unwrap()];
        let schedule = Schedule { overlap, every, ..schedule() };
        let mut script = Script::new(schedule, "2026-01-01T00:00:00Z");
        script.tick("2026-01-01T00:00:03Z");
        script.tick("2026-01-01T00:00:05Z");
        script.running.truncate(1);
        writeln!(shown, "{overlap:?}\n{}", script.shown).unwrap();
    }
    assert_snapshot!(shown, @r"
    CancelRunning
    00:00:03 Tick
        00:00:01 Skipped(Overlap)
        00:00:02 Skipped(Overlap)
        00:00:03 started, 0s late
    00:00:05 Tick
        Cancel the run of 00:00:03
        00:00:04 Skipped(Overlap)

    TerminateRunning
    00:00:03 Tick
        00:00:01 Skipped(Overlap)
        00:00:02 Skipped(Overlap)
        00:00:03 started, 0s late
    00:00:05 Tick
        Terminate the run of 00:00:03
        00:00:04 Skipped(Overlap)
        00:00:05 started, 0s late
    ");
}

#[test]
fn a_waiting_slot_does_not_spin_when_the_clock_goes_back() {
    let schedule = Schedule { overlap: Overlap::BufferOne, ..hourly() };
    let mut script = Script::new(schedule, "2026-01-01T00:00:00Z");
    script.tick("2026-01-01T01:00:00Z");
    script.tick("2026-01-01T02:00:00Z");
    script.end(End::Succeeded, "2026-01-01T01:50:00Z");
    assert!(script.running.is_empty(), "never early");
    assert_eq!(script.wake_at, Some(at("2026-01-01T02:00:00Z")));
}

#[test]
fn an_instant_that_two_rules_name_is_one_slot() {
    let schedule = Schedule { after: Some(Span::minutes(10)), ..hourly() };
    let mut script = Script::new(schedule, "2026-01-01T00:00:00Z");
    script.tick("2026-01-01T01:00:00Z");
    script.end(End::Succeeded, "2026-01-01T01:50:00Z");
    script.tick("2026-01-01T02:00:00Z");
    assert_snapshot!(script.shown, @r"
    01:00:00 Tick
        01:00:00 started, 0s late
    01:50:00 Ended(Succeeded)
    02:00:00 Tick
        02:00:00 started, 0s late
    ");
}
