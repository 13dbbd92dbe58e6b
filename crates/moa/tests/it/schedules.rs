//! Schedules of workflows and the calendars that they use, with the real binary.

use serde_json::{Value as Json, json};

use crate::http::Api;
use crate::project::Project;

const SCHEDULE: &str = "\
schedule: {cron: '0 9 * * *', timezone: Europe/Berlin, calendar: {exclude: de-holidays}}
steps: [{run: 'true'}]
";
const HOLIDAYS: &str = "\
BEGIN:VCALENDAR\r
VERSION:2.0\r
BEGIN:VEVENT\r
UID:1\r
DTSTART;VALUE=DATE:20261225\r
RRULE:FREQ=YEARLY\r
END:VEVENT\r
END:VCALENDAR\r
";

#[test]
fn calendars_of_the_project_are_read_and_asked_for() {
    let project = Project::with("report", SCHEDULE);
    let said = project.call(&["workflows", "validate"]).expect(3);
    assert!(said.out.contains("there is no calendar `de-holidays`"), "{}", said.out);
    assert!(said.out.contains("put it into calendars/de-holidays.ics"), "{}", said.out);

    project.write("calendars/de-holidays.ics", HOLIDAYS);
    project.write("calendars/.de-holidays.ics.swp", "left by an editor");
    project.call(&["workflows", "validate"]).expect(0);
    project.call(&["run", "report"]).expect(0);

    project.write("calendars/de-holidays.ics", "no calendar");
    let said = project.call(&["workflows", "validate"]).expect(3);
    assert!(said.out.contains("calendars/de-holidays.ics:1:1"), "{}", said.out);
    assert!(said.out.contains("MOA0610"), "{}", said.out);

    project.workflow("report", &SCHEDULE.replace("0 9 * * *", "0 25 * * *"));
    let said = project.call(&["workflows", "validate"]).expect(3);
    assert!(said.out.contains("the hour 25 is not in 0 to 23"), "{}", said.out);
}

const EVERY_SECOND: &str = "\
schedule: {every: 1s, overlap: allow, params: {at: '${{ slot.at }}'}}
steps: [{id: say, run: \"echo '${{ params.at }}' >> slots.txt\"}]
";

fn slots(project: &Project, name: &str) -> Vec<Json> {
    let said = project.call(&["schedules", "slots", name, "-n", "100000", "--json"]).expect(0);
    said.json().as_array().expect("an array").clone()
}

fn with<'a>(slots: &'a [Json], outcome: &str) -> Vec<&'a Json> {
    slots.iter().filter(|slot| slot["outcome"] == outcome).collect()
}

/// Waits until so many slots have this outcome.
fn wait_for(project: &Project, name: &str, outcome: &str, count: usize) -> Vec<Json> {
    loop {
        let slots = slots(project, name);
        if with(&slots, outcome).len() >= count {
            return slots;
        }
    }
}

fn schedule(project: &Project, name: &str) -> Json {
    let all = project.call(&["schedules", "list", "--json"]).expect(0).json();
    let found = all.as_array().expect("an array").iter().find(|one| one["name"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {all}")).clone()
}

#[test]
fn schedules_are_looked_at_without_a_node() {
    let project =
        Project::with("report", &SCHEDULE.replace(", calendar: {exclude: de-holidays}", ""));
    let listed = schedule(&project, "report/1");
    assert_eq!(listed["state"], "new");
    assert_eq!(listed["when"], "0 9 * * * (Europe/Berlin)");
    let args = ["schedules", "next", "report", "-n", "2", "--after", "2026-03-28", "--json"];
    let next = project.call(&args).expect(0).json();
    assert_eq!(next[0]["local"], "2026-03-28T09:00:00+01:00");
    assert_eq!(next[1]["local"], "2026-03-29T09:00:00+02:00");
    assert_eq!(next[1]["slot"], "2026-03-29T07:00:00.000Z");
    let why = project.call(&["schedules", "why", "report", "2026-03-29T09:30"]).expect(0);
    assert!(why.out.contains("is no slot"), "{}", why.out);
    assert!(why.out.contains("the slot before is 2026-03-29T07:00:00.000Z"), "{}", why.out);
    let why = project.call(&["schedules", "why", "report/1"]).expect(0);
    assert!(why.out.contains("no node has served it yet"), "{}", why.out);
    let said = project.call(&["schedules", "slots", "reprot"]).expect(4);
    assert!(said.err.contains("did you mean report"), "{}", said.err);
    project.call(&["schedules", "slots", "report"]).expect(4);
    let args =
        ["schedules", "backfill", "report", "2026-03-01", "2026-03-04", "--dry-run", "--json"];
    let dry = project.call(&args).expect(0).json();
    assert_eq!(dry.as_array().map(Vec::len), Some(3), "{dry}");
    assert_eq!(dry[0]["starts"], true);
}

#[test]
fn the_next_slots_of_all_schedules_are_in_order() {
    let at = |cron: &str, more: &str| {
        format!("schedule: {{cron: '{cron}', timezone: UTC{more}}}\nsteps: [{{run: 'true'}}]\n")
    };
    let project = Project::with("late", &at("30 9 * * *", ""));
    project.workflow("early", &at("0 9 * * *", ""));
    project.workflow("off", &at("15 9 * * *", ", enabled: false"));
    let args = ["schedules", "next", "-n", "3", "--after", "2026-03-28", "--json"];
    let next = project.call(&args).expect(0).json();
    let next: Vec<_> = next.as_array().expect("an array").iter().collect();
    let names: Vec<_> = next.iter().map(|row| row["name"].as_str().expect("a name")).collect();
    assert_eq!(names, ["early/1", "late/1", "early/1"]);
    assert_eq!(next[2]["slot"], "2026-03-29T09:00:00.000Z");
    let shown = project.call(&["schedules", "next"]).expect(0);
    assert!(shown.out.contains("late/1") && !shown.out.contains("off/1"), "{}", shown.out);
}

#[test]
fn a_node_starts_runs_of_a_schedule_with_their_slots() {
    let project = Project::with("tick", EVERY_SECOND);
    let node = project.up();
    let slots = wait_for(&project, "tick", "started", 3);
    node.stop();
    let run = slots.last().expect("a slot")["run"].as_str().expect("a run").to_owned();
    let shown = project.call(&["runs", "show", &run, "--json"]).expect(0).json();
    assert_eq!(shown["params"]["at"], slots.last().expect("a slot")["at"], "{shown}");
    // A run on its own serves no schedules.
    let before = slots_of(&project);
    project.call(&["run", "tick", "-p", "at=by-hand"]).expect(0);
    assert_eq!(slots_of(&project), before);
}

fn slots_of(project: &Project) -> usize {
    slots(project, "tick").len()
}

#[test]
fn a_pause_holds_across_restarts_and_what_is_due_meanwhile_is_recorded() {
    let project = Project::with("tick", EVERY_SECOND);
    let node = project.up();
    wait_for(&project, "tick", "started", 1);
    project.call(&["schedules", "pause", "tick", "--reason", "an audit"]).expect(0);
    let started = with(&slots(&project, "tick"), "started").len();
    wait_for(&project, "tick", "skipped_paused", 2);
    node.stop();
    let node = project.up();
    wait_for(&project, "tick", "skipped_paused", 2);
    let why = project.call(&["schedules", "why", "tick"]).expect(0);
    assert!(why.out.contains("an audit") && why.out.contains("resume"), "{}", why.out);
    assert_eq!(with(&slots(&project, "tick"), "started").len(), started);
    project.call(&["schedules", "resume", "tick"]).expect(0);
    wait_for(&project, "tick", "started", started + 1);
    // Switched off while no node is there, it is off from the first moment of the next one.
    node.stop();
    project.call(&["schedules", "pause", "tick"]).expect(0);
    let started = with(&slots(&project, "tick"), "started").len();
    let _node = project.up();
    let skipped = with(&slots(&project, "tick"), "skipped_paused").len();
    wait_for(&project, "tick", "skipped_paused", skipped + 1);
    assert_eq!(with(&slots(&project, "tick"), "started").len(), started);
}

#[test]
fn edits_of_a_schedule_hold_and_broken_ones_do_not() {
    let project = Project::with("tick", EVERY_SECOND);
    let _node = project.up();
    let before = schedule(&project, "tick/1")["revision"].clone();
    project.workflow("tick", &EVERY_SECOND.replace("every: 1s", "every: soon"));
    let slots = wait_for(&project, "tick", "started", 2);
    assert_eq!(slots[0]["revision"], before);
    project.workflow("tick", &EVERY_SECOND.replace("every: 1s", "cron: '0 0 1 1 *'"));
    // Any question makes the node look at the files.
    project.call(&["schedules", "resume", "tick"]).expect(0);
    let edited = schedule(&project, "tick/1");
    assert_eq!(edited["when"], "0 0 1 1 *");
    assert_ne!(edited["revision"], before);
    std::fs::remove_file(project.root.join("workflows/tick.yaml")).expect("rm");
    let listed = project.call(&["schedules", "list", "--json"]).expect(0).json();
    assert_eq!(listed, serde_json::json!([]));
}

#[test]
fn a_run_is_started_by_hand_once_for_a_key() {
    let project = Project::with("report", "schedule: '0 0 1 1 *'\nsteps: [{run: 'true'}]\n");
    let _node = project.up();
    let start = || project.call(&["schedules", "trigger", "report", "--key", "4711"]).expect(0).out;
    assert_eq!(start(), start());
    let slots = wait_for(&project, "report", "started", 1);
    assert_eq!(slots[0]["origin"], "manual");
    let args = ["schedules", "backfill", "report", "2020-01-01", "2023-01-01", "--json"];
    let backfill = project.call(&args).expect(0).json();
    assert_eq!(backfill["slots"], 3);
    let all = wait_for(&project, "report", "started", 4);
    let at: Vec<&str> = all[1..].iter().map(|slot| slot["at"].as_str().unwrap_or("")).collect();
    assert_eq!(
        at,
        ["2022-01-01T00:00:00.000Z", "2021-01-01T00:00:00.000Z", "2020-01-01T00:00:00.000Z"]
    );
    let dry = ["schedules", "backfill", "report", "2020-01-01", "2024-01-01", "--dry-run"];
    let said = project.call(&dry).expect(0);
    assert!(said.err.contains("1 of 4 slots"), "{}", said.err);
    let said =
        project.call(&["schedules", "backfill", "report", "2023-01-01", "2020-01-01"]).expect(2);
    assert!(said.err.contains("before it begins"), "{}", said.err);
}

#[test]
fn a_published_event_reaches_a_run_that_waits_for_it() {
    let text =
        "steps:\n  - {id: paid, wait_for: {event: order.paid, match: 'event.data.order == 7'}}\n";
    let project = Project::with("order", text);
    let _node = project.up();
    let mut events = project.events();
    project.call(&["run", "order", "--detach"]).expect(0);
    events.until("step.waiting", "paid");
    project.call(&["events", "publish", "order.paid", "-p", "order=6"]).expect(0);
    let publish = ["events", "publish", "order.paid", "-p", "order=7", "--key", "k", "--json"];
    assert_eq!(project.call(&publish).expect(0).json()["new"], true);
    assert_eq!(project.call(&publish).expect(0).json()["new"], false);
    events.until("step.succeeded", "paid");
}

/// A time zone that is always so far from UTC, as a TZif file.
fn fixed_zone(offset: i32) -> Vec<u8> {
    let mut block = b"TZif2".to_vec();
    block.extend([0; 15]);
    // Of everything none, but one kind of local time with a name of four bytes.
    for count in [0_u32, 0, 0, 0, 1, 4] {
        block.extend(count.to_be_bytes());
    }
    block.extend(offset.to_be_bytes());
    block.extend([0, 0]);
    block.extend(b"NEW\0");
    let footer = format!("\n<NEW>{}\n", -offset / 3600);
    [block.clone(), block, footer.into_bytes()].concat()
}

#[test]
fn time_zones_can_be_newer_than_moa() {
    let text = SCHEDULE.replace(", calendar: {exclude: de-holidays}", "");
    let project = Project::with("report", &text);
    let next = |folder: &str| {
        let args = ["schedules", "next", "report", "-n", "1", "--after", "2026-01-05T12:00:00Z"];
        let mut command = project.command(&[&args[..], &["--json"]].concat());
        let said = command.env("MOA_TZDATA", folder).output().expect("it can be started");
        crate::project::Said::from(said)
    };
    assert_eq!(next("").expect(0).json()[0]["local"], "2026-01-06T09:00:00+01:00");
    let folder = project.root.join("zones");
    std::fs::create_dir_all(folder.join("Europe")).expect("mkdir");
    std::fs::write(folder.join("Europe/Berlin"), fixed_zone(7 * 3600)).expect("it is written");
    std::fs::write(folder.join("zone.tab"), "no zone").expect("it is written");
    let folder = folder.to_str().expect("text");
    assert_eq!(next(folder).expect(0).json()[0]["local"], "2026-01-06T09:00:00+07:00");
    let said = next("/nowhere").expect(2);
    assert!(said.err.contains("has no time zones"), "{}", said.err);
    std::fs::write(project.root.join("zones/Europe/Berlin"), b"TZif2").expect("it is written");
    let said = next(folder).expect(2);
    assert!(said.err.contains("Europe/Berlin"), "{}", said.err);
}

#[test]
fn what_is_asked_of_a_schedule_without_a_node_is_done_by_the_next_one() {
    let text = SCHEDULE.replace(", calendar: {exclude: de-holidays}", "");
    let project = Project::with("report", &text);
    let start = ["schedules", "trigger", "report", "--key", "k"];
    let said = project.call(&start).expect(0);
    assert!(said.err.contains("`moa up` acts on it"), "{}", said.err);
    let run = said.out.trim().to_owned();
    let again = project.call(&[&start[..], &["--json"]].concat()).expect(0).json();
    assert_eq!((&again["outcome"], &again["served"]), (&json!("deduped"), &json!(false)));
    assert_eq!(again["run"], run);
    let args = ["schedules", "backfill", "report", "2026-03-01", "2026-03-04", "--key", "b"];
    let said = project.call(&args).expect(0);
    assert!(said.err.contains("has begun: 3 slots"), "{}", said.err);
    let again = project.call(&[&args[..], &["--json"]].concat()).expect(0).json();
    assert_eq!((&again["number"], &again["served"]), (&json!(1), &json!(false)));
    // A kill on the way changes nothing.
    project.up().kill();
    let _node = project.up();
    let over = |slots: &[Json]| slots.iter().filter(|slot| slot["result"] == "succeeded").count();
    let slots = loop {
        let slots = slots(&project, "report");
        if over(&slots) == 4 {
            break slots;
        }
    };
    assert_eq!(slots.iter().filter(|slot| slot["origin"] == "backfill 1").count(), 3, "{slots:?}");
    assert!(slots.iter().any(|slot| slot["run"] == run), "{slots:?}");
}

#[test]
fn a_start_that_was_refused_is_refused_again() {
    let text = "schedule: '0 0 1 1 *'\nsteps: [{id: go, wait_for: {signal: go}}]\n";
    let project = Project::with("report", text);
    let _node = project.up();
    let start = |key: &str| project.call(&["schedules", "trigger", "report", "--key", key]);
    let run = start("first").expect(0).out.trim().to_owned();
    let said = start("a").expect(5);
    assert!(said.err.contains("was not started (skipped_overlap)"), "{}", said.err);
    assert!(said.err.contains("with another --key"), "{}", said.err);
    project.call(&["runs", "signal", &run, "go"]).expect(0);
    while !slots(&project, "report").iter().any(|slot| slot["result"] == "succeeded") {}
    // Nothing goes on any more; nothing waits either.
    let said = start("a").expect(5);
    assert!(said.err.contains("it was asked for with this key at"), "{}", said.err);
    assert!(!said.err.contains("waits"), "{}", said.err);
    start("b").expect(0);
}

#[test]
fn slots_that_wait_are_listed() {
    let text = "\
schedule: {every: 1s, overlap: buffer_all}
steps: [{id: go, wait_for: {signal: go}}]
";
    let project = Project::with("tick", text);
    let node = project.up();
    let all = wait_for(&project, "tick", "buffered", 2);
    assert_eq!(with(&all, "started").len(), 1, "{all:?}");
    let args = ["schedules", "slots", "tick", "--outcome", "buffered", "-n", "1", "--json"];
    let newest = project.call(&args).expect(0).json();
    assert_eq!(newest.as_array().map(Vec::len), Some(1), "{newest}");
    assert_eq!(newest[0]["reason"], "it waits for a run of the schedule to end");
    let api = Api::with_role(&project, &node, "viewer");
    let path = format!("/api/v1/triggers/{}/slots", title(&project).replace('/', "%2F"));
    let page = api.get(&path).expect(200).json();
    let listed = page["occurrences"].as_array().expect("a list");
    assert!(with(listed, "buffered").len() >= 2, "{page}");
    assert_eq!(with(listed, "started").len(), 1, "{page}");
}

/// The only schedule's name.
fn title(project: &Project) -> String {
    let all = project.call(&["schedules", "list", "--json"]).expect(0).json();
    assert_eq!(all[0]["missed_7d"], 0, "{all}");
    all[0]["name"].as_str().expect("a name").to_owned()
}

#[test]
fn what_became_of_slots_is_shown_when_the_schedule_is_removed() {
    let project = Project::with("report", EVERY_SECOND);
    let node = project.up();
    wait_for(&project, "report", "started", 1);
    let title = title(&project);
    node.stop();
    std::fs::remove_file(project.root.join("workflows/report.yaml")).expect("removed");
    for name in [title.as_str(), "report"] {
        assert!(!with(&slots(&project, name), "started").is_empty(), "{name}");
    }
    let node = project.up();
    assert!(!with(&slots(&project, &title), "started").is_empty());
    node.stop();
    project.call(&["schedules", "slots", "reprot"]).expect(4);
    project.call(&["schedules", "why", &title]).expect(4);
}

#[test]
fn a_broken_file_is_no_workflow_without_a_schedule() {
    let project = Project::with("t", "schedule: '61 * * * *'\nsteps: [{run: 'true'}]\n");
    let said = project.call(&["schedules", "list"]).expect(0);
    assert!(said.err.contains("the file of t is broken"), "{}", said.err);
    for words in [["next", "t"], ["why", "t"], ["pause", "t"], ["trigger", "t/other"]] {
        let said = project.call(&["schedules", words[0], words[1]]).expect(3);
        assert!(said.err.contains("MOA0601"), "{}", said.err);
    }
    let said = project.call(&["schedules", "why", "u"]).expect(4);
    assert!(said.err.contains("there is no schedule u"), "{}", said.err);
}

#[test]
fn what_a_disabled_schedule_would_backfill_is_nothing() {
    let off = "schedule: {cron: '0 0 * * *', enabled: false}\nsteps: [{run: 'true'}]\n";
    let project = Project::with("report", off);
    let dry = ["schedules", "backfill", "report", "2026-01-01", "2026-01-31", "--dry-run"];
    let said = project.call(&dry).expect(5);
    assert!(said.err.contains("report/1 is disabled: nothing starts"), "{}", said.err);
    project.workflow("report", &off.replace("false", "true"));
    let said = project.call(&dry).expect(0);
    assert!(said.err.contains("30 of 30 slots would be started"), "{}", said.err);
}

#[test]
fn limits_of_how_much_runs_at_once_are_shown() {
    let text = "\
params: {of: {type: string, default: all}}
concurrency: {key: params.of, limit: 1}
steps: [{id: go, wait_for: {signal: go}}]
";
    let project = Project::with("one", text);
    project.write("agents/a.yaml", "name: a\nconcurrency: 3\ncommand: ['true']\n");
    let _node = project.up();
    for _ in 0..3 {
        project.call(&["run", "one", "--detach"]).expect(0);
    }
    project.call(&["run", "one", "--param", "of=other", "--detach"]).expect(0);
    let lines = project.call(&["limits", "--json"]).expect(0).json();
    let find = |what: &str, limit: &str| {
        let lines = lines.as_array().expect("an array").iter();
        let found = lines.clone().find(|l| l[what].is_string() && l["limit"] == limit);
        found.unwrap_or_else(|| panic!("no {limit} in {lines:?}")).clone()
    };
    let full = find("workflow", "concurrency of one/all");
    assert_eq!((&full["used"], &full["of"]), (&json!(1), &json!(1)), "{full}");
    assert_eq!((&full["waiting"], &full["state"]), (&json!(2), &json!("full")), "{full}");
    let other = find("workflow", "concurrency of one/other");
    assert_eq!((&other["used"], &other["waiting"]), (&json!(1), &json!(0)), "{other}");
    let agent = find("agent", "concurrency");
    assert_eq!((&agent["used"], &agent["of"]), (&json!(0), &json!(3)), "{agent}");
    let node = find("node", "max_running");
    assert_eq!(node["used"], 0, "{node}");
    let said = project.call(&["limits"]).expect(0);
    assert!(said.out.contains("concurrency of one/all"), "{}", said.out);
}

#[test]
fn a_backfill_over_slots_that_are_forgotten_has_to_be_meant() {
    let text = SCHEDULE.replace(", calendar: {exclude: de-holidays}", "");
    let project = Project::with("report", &text);
    let backfill = ["schedules", "backfill", "report", "2026-03-01", "2026-03-04"];
    let dry = [&backfill[..], &["--dry-run", "--json"]].concat();
    let _node = project.up();
    // Nothing that it has done can be forgotten yet.
    let would = project.call(&dry).expect(0).json();
    assert_eq!((&would[0]["starts"], &would[0]["forgotten"]), (&json!(true), &json!(false)));
    project.write("moa.yaml", "name: shop\nretention: {occurrences: {age: 1s}}\n");
    loop {
        let would = project.call(&dry).expect(0).json();
        if would[0]["forgotten"] == true {
            break;
        }
    }
    let said = project.call(&[&backfill[..], &["--dry-run"]].concat()).expect(0);
    assert!(said.err.contains("without --forgotten it is refused"), "{}", said.err);
    let said = project.call(&backfill).expect(5);
    assert!(said.err.contains("3 slots of the range may have had runs"), "{}", said.err);
    assert!(said.err.contains("--dry-run shows which"), "{}", said.err);
    let meant = [&backfill[..], &["--forgotten", "--key", "k"]].concat();
    project.call(&meant).expect(0);
    // The same again is no new one.
    let again = [&backfill[..], &["--key", "k", "--json"]].concat();
    assert_eq!(project.call(&again).expect(0).json()["number"], 1);
    wait_for(&project, "report", "started", 3);
}

#[test]
fn a_storm_of_restarts_is_noticed_and_holds_up_nothing_that_is_due_now() {
    let project = Project::with("tick", EVERY_SECOND);
    // Notes of starts that can't be read are none.
    project.write(".moa/starts.json", "[1, ");
    let held = || {
        let log = project.read(".moa/log/moa.log");
        log.matches("slots missed meanwhile wait until").count()
    };
    for n in 1..=5 {
        project.up().kill();
        assert_eq!(held(), 0, "{n} starts are no storm");
    }
    let node = project.up();
    assert_eq!(held(), 1, "{}", project.read(".moa/log/moa.log"));
    let before = with(&slots(&project, "tick"), "started").len();
    wait_for(&project, "tick", "started", before + 2);
    node.stop();
    // What only runs one run is no start of a node that serves.
    project.call(&["run", "tick", "-p", "at=x"]).expect(0);
    assert_eq!(held(), 1);
}
