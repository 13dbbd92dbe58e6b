//! Data of every schema there was is read by this moa; the statements of the hot path are those
//! that were thought of.

use std::collections::{BTreeMap, BTreeSet};

use moa_core::ids::{NodeId, RunId};
use moa_core::machine::TimerKey;
use moa_core::run::RunStatus;
use moa_core::time::Millis;
use moa_core::trigger::Outcome;
use moa_core::workflow::OnLimit;
use moa_ports::sealed::SealedWrite;
use moa_ports::search::Search;
use moa_ports::store::{Batch, DueAsk, Old, PruneAsk, Relay, Store, WorkflowRef};
use moa_ports::suite::{answer, block_on, build};
use moa_ports::triggers::{OccurrenceFilter, TriggerCommit, TriggerFilter, TriggerRow};
use moa_ports::views::{KeptAsk, Notifies, RunFilter, Views};
use rusqlite::Connection;

use crate::error::Fail;
use crate::write::State;
use crate::{
    Options, SqliteStore, audit, prune, queries, read, schema, seal, sealed, triggers, write,
    writer,
};

/// Rows of every schema, as its number's migration made them.
const SAMPLES: [&str; 15] = [
    include_str!("../tests/data/0001.sql"),
    include_str!("../tests/data/0002.sql"),
    include_str!("../tests/data/0003.sql"),
    include_str!("../tests/data/0004.sql"),
    include_str!("../tests/data/0005.sql"),
    include_str!("../tests/data/0006.sql"),
    include_str!("../tests/data/0007.sql"),
    include_str!("../tests/data/0008.sql"),
    include_str!("../tests/data/0009.sql"),
    include_str!("../tests/data/0010.sql"),
    include_str!("../tests/data/0011.sql"),
    include_str!("../tests/data/0012.sql"),
    include_str!("../tests/data/0013.sql"),
    include_str!("../tests/data/0014.sql"),
    include_str!("../tests/data/0015.sql"),
];

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder for the test")
}

#[test]
fn data_of_every_schema_is_read() {
    assert_eq!(SAMPLES.len(), schema::SCHEMA as usize, "a migration without sample data");
    for (number, sample) in (1u32..).zip(SAMPLES) {
        let folder = folder();
        let path = folder.path().join("moa.db");
        let old = schema::of_number(&path, number).expect("an old database");
        old.execute_batch(sample).expect("the sample fits its schema");
        old.close().expect("it closes");
        let store = SqliteStore::open(&path, Options::default()).expect("it opens");
        assert_eq!(block_on(store.verify()), Ok(Vec::new()));
        insta::assert_snapshot!(format!("schema_{number}"), contents(&store));
    }
}

/// All that the store reads of the sample, as text.
fn contents(store: &SqliteStore) -> String {
    let runs = RunFilter { limit: 99, ..RunFilter::default() };
    let runs = block_on(store.runs(&runs)).expect("runs are listed");
    let ids = runs.iter().rev().map(|run| run.run).collect::<Vec<RunId>>();
    let snapshots = answer(|reply| store.load(ids.clone(), reply)).expect("runs are loaded");
    let mut text = serde_json::to_string_pretty(&runs).expect("it is JSON");
    let channels = block_on(store.channels()).expect("they are counted");
    text.push_str(&serde_json::to_string_pretty(&channels).expect("it is JSON"));
    for snapshot in snapshots.into_iter().flatten() {
        let all = (snapshot.version, snapshot.root, snapshot.row, snapshot.steps);
        text.push_str(&serde_json::to_string_pretty(&all).expect("it is JSON"));
    }
    for run in ids {
        let pending = block_on(store.pending(run)).expect("it is shown");
        text.push_str(&format!("\n{pending:?}"));
    }
    let limits = block_on(Views::limits(store)).expect("limits are read");
    text.push_str(&format!("\n{limits:?}"));
    let sealed = block_on(store.sealed()).expect("secrets are read");
    let audit = block_on(store.audit(0, 9)).expect("the audit log is read");
    if !sealed.is_empty() || !audit.is_empty() {
        text.push_str(&format!("\n{sealed:?}\n{audit:?}"));
    }
    let ask = DueAsk::everything(Millis(1_750_000_100_000), 9);
    let due = answer(|reply| store.due(ask, reply)).expect("it is asked");
    let totals = block_on(store.totals()).expect("it is counted");
    let events = block_on(store.events(0, 99, usize::MAX)).expect("events are read");
    let heard = block_on(store.heard(&(0..99).collect::<Vec<_>>())).expect("it is read");
    if !heard.is_empty() {
        text.push_str(&format!("\n{heard:?}"));
    }
    let workflows = block_on(store.workflows(None)).expect("they are listed");
    let rest = serde_json::to_string_pretty(&(events, totals, workflows)).expect("it is JSON");
    let all = TriggerFilter { limit: 99, ..TriggerFilter::default() };
    let triggers = block_on(store.triggers(&all)).expect("they are listed");
    let all = OccurrenceFilter { limit: 99, ..OccurrenceFilter::default() };
    let of = |row: &TriggerRow| block_on(store.occurrences(row.spec.id(), &all)).expect("listed");
    let occurrences: Vec<_> = triggers.iter().flat_map(of).collect();
    let triggers = match triggers.is_empty() {
        true => String::new(),
        false => serde_json::to_string_pretty(&(triggers, occurrences)).expect("it is JSON"),
    };
    format!("{text}\n{due:#?}\n{rest}{triggers}")
}

/// Rows as an earlier moa wrote them: it did not keep what belongs to which run.
const FAMILY: &str = r#"
  INSERT INTO runs (no, id, workflow, hash, status, phase, priority, parent, created_at, extra)
    SELECT value ->> 0, unhex(format('%032x', value ->> 0)), 'w', zeroblob(32), 1, 0, 0,
      CASE WHEN value ->> 1 THEN unhex(format('%032x', value ->> 1)) END, 0, '{}'
    FROM json_each('[[1], [2, 1], [3, 2], [4], [5, 4], [6, 99], [7, 6]]');
  INSERT INTO messages (id, run, body)
    SELECT value ->> 0, unhex(format('%032x', value ->> 1)), value ->> 2 FROM json_each('[
      [1, 3, {"message": "input"}], [2, 4, {"message": "input"}],
      [3, 8, {"message": "start_child", "parent": {"run": "00000000-0000-0000-0000-000000000003"}}],
      [4, 8, {"message": "input"}],
      [5, 0, {"message": "emitted", "source": "00000000-0000-0000-0000-000000000005"}],
      [6, 0, {"message": "emitted"}], [7, 50, {"message": "input"}]]');
"#;

#[test]
fn what_belongs_to_which_run_is_found_out() {
    let folder = folder();
    let path = folder.path().join("moa.db");
    let old = schema::of_number(&path, 1).expect("an old database");
    old.execute_batch(FAMILY).expect("rows of schema 1");
    old.close().expect("it closes");
    drop(SqliteStore::open(&path, Options::default()).expect("it opens"));
    let conn = schema::open_reader(&path).expect("it opens");
    let roots = |sql: &str| -> Vec<(i64, Option<[u8; 16]>)> {
        let mut stmt = conn.prepare(sql).expect("it is prepared");
        let rows = stmt.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).expect("it is asked");
        rows.collect::<Result<_, _>>().expect("rows")
    };
    let expected = |roots: &[(i64, Option<u128>)]| -> Vec<(i64, Option<[u8; 16]>)> {
        roots.iter().map(|(n, root)| (*n, root.map(|root| RunId(root).to_bytes()))).collect()
    };
    let runs = [None, Some(1), Some(1), None, Some(4), Some(99), Some(99)];
    let runs: Vec<_> = (1..).zip(runs).collect();
    assert_eq!(roots("SELECT no, root FROM runs ORDER BY no"), expected(&runs));
    let messages = [Some(1), Some(4), Some(1), Some(1), Some(4), None, None];
    let messages: Vec<_> = (1..).zip(messages).collect();
    assert_eq!(roots("SELECT id, root FROM messages ORDER BY id"), expected(&messages));
}

/// Every statement that a connection has at hand, with how SQLite goes about it.
fn plans(conn: &Connection) -> Result<String, Fail> {
    let mut statements = seal::statements(conn);
    statements.sort();
    statements.dedup();
    let mut text = String::new();
    for sql in statements {
        let words = ["SELECT", "INSERT", "UPDATE", "DELETE"];
        if !words.iter().any(|word| sql.starts_with(word)) {
            continue;
        }
        text.push_str(&format!("{sql}\n"));
        let mut stmt = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}"))?;
        // Plans do not depend on what is bound.
        let count = stmt.parameter_count();
        let nulls = vec![rusqlite::types::Null; count];
        let mut rows = stmt.query(rusqlite::params_from_iter(nulls))?;
        while let Some(row) = rows.next()? {
            text.push_str(&format!("    {}\n", row.get::<_, String>(3)?));
        }
    }
    Ok(text)
}

#[test]
fn the_engine_never_walks_a_table() {
    let folder = folder();
    let path = folder.path().join("moa.db");
    let options = Options::default();
    let (conn, _file) =
        schema::open_writer(&path, &options, schema::OldLog::MayStay).expect("it opens");
    conn.set_prepared_statement_cache_capacity(500);
    everything_that_is_written(&conn).expect("it is written");
    let plans = plans(&conn).expect("they are explained");
    insta::assert_snapshot!("plans_of_the_writer", plans);
    // What starts with a walk over a whole table, and why it may.
    let walks = plans.lines().filter(|line| line.trim().starts_with("SCAN"));
    // `r` is what belongs to one run, looked up by an index itself.
    let may = [
        "SCAN CONSTANT ROW",
        "SCAN r",
        "SCAN doomed",
        // The last one: it ends at the first that it finds.
        "SCAN audit",
        // Whether there is any: it ends at the first.
        "SCAN listeners USING COVERING INDEX listeners_trigger",
    ];
    for walk in walks {
        assert!(may.iter().any(|may| walk.trim() == *may), "{walk} in\n{plans}");
    }
}

fn write(conn: &Connection, state: &mut State, batch: &Batch) -> Result<(), Fail> {
    write::batch(conn, state, batch, &BTreeMap::new(), true).map(drop)
}

/// Secrets and the audit log.
fn of_people(conn: &Connection, state: &mut State) -> Result<(), Fail> {
    let audit = vec!["{}".to_owned()];
    let sealed = |expected, sealed| SealedWrite { name: "A".to_owned(), expected, sealed };
    let kept = Batch { sealed: vec![sealed(0, Some(vec![1]))], audit, ..Batch::default() };
    write(conn, state, &kept)?;
    let gone = Batch { sealed: vec![sealed(1, None)], ..Batch::default() };
    write(conn, state, &gone)
}

/// Makes the connection prepare what the engine's calls need.
fn everything_that_is_written(conn: &Connection) -> Result<(), Fail> {
    let mut state = State::default();
    state.reload(conn)?;
    state.node = Some(NodeId(1));
    let (a, b) = (build::run(1), build::run(2));
    let mut first = build::contender(a, "key", 1, OnLimit::ReplacePending);
    let guard = first.start.get_or_insert_default();
    guard.idempotency_key = Some("key".to_owned());
    first.steps = vec![build::full_step(0), build::running(1, 1, NodeId(2))];
    first.timers = vec![(TimerKey::Run, Some(build::NOW))];
    first.waits = vec![(0, "done".to_owned(), true)];
    first.messages = vec![build::emitted("done"), build::signal(a, "x")];
    if let Some(row) = &mut first.row {
        row.params = std::sync::Arc::new(build::rich());
    }
    let trigger = std::sync::Arc::new(build::full_row(a, b)).trigger.clone();
    if let Some(row) = &mut first.row {
        row.trigger = trigger;
    }
    let triggers = vec![build::trigger()];
    let posts = vec![build::post("done").with_key("key"), build::post("done")];
    of_people(conn, &mut state)?;
    let batch = Batch { triggers, posts, ..build::batch(vec![first]) };
    write(conn, &mut state, &batch)?;
    let again = TriggerCommit { expected: 1, ..build::trigger() };
    let edited = TriggerCommit { records: Vec::new(), ..again.clone() };
    let triggers = vec![edited];
    write(conn, &mut state, &Batch { triggers, ..build::batch(Vec::new()) })?;
    let triggers = vec![again];
    write(conn, &mut state, &Batch { triggers, ..build::batch(Vec::new()) })?;
    triggers::trigger(conn, build::trigger().id)?;
    for n in 2..=4 {
        let next = build::contender(build::run(n), "key", 1, OnLimit::ReplacePending);
        write(conn, &mut state, &build::batch(vec![next]))?;
    }
    state.reload(conn)?;
    let ask = DueAsk::everything(build::NOW, 9);
    let due = read::due(conn, &mut state, &ask)?;
    let without = BTreeSet::from([b]);
    read::due(conn, &mut state, &DueAsk { without, ..ask.clone() })?;
    read::due(conn, &mut state, &DueAsk { only: Some(vec![a]), ..ask })?;
    let mut last = build::end(a, 1, RunStatus::Failed);
    let output = serde_json::json!({"artifact": "0a".repeat(32)});
    let output = Some(std::sync::Arc::new(output));
    last.events.push(moa_core::event::Event::StepSucceeded { step: 0, output });
    last.consumed = vec![due.messages[0].0];
    last.timers = vec![(TimerKey::Run, None)];
    last.waits = vec![(0, "done".to_owned(), false)];
    let relay = Relay { consumed: due.messages[1].0, messages: vec![build::signal(b, "x")] };
    let relays = vec![relay];
    let handed_on = Batch { events: due.bus, event_runs: 1, ..build::batch(Vec::new()) };
    write(conn, &mut state, &handed_on)?;
    write(conn, &mut state, &Batch { relays, ..build::batch(vec![last]) })?;
    read::snapshot(conn, a)?;
    let version = build::version("build", 1, None);
    writer::put_workflow(conn, build::NOW, &version)?;
    read::workflow(conn, &WorkflowRef::Hash(version.hash))?;
    write::set_counter(conn, "event", 9)?;
    let ask = PruneAsk {
        what: Old::Runs(RunStatus::Failed),
        before: Millis(i64::MAX),
        after: None,
        limit: 9,
    };
    let (history, told) = (Old::History(RunStatus::Failed), Old::Notifications(RunStatus::Failed));
    for what in [history, ask.what, told, Old::Keys, Old::Occurrences, Old::Published] {
        prune::old(conn, &mut state, &PruneAsk { what, ..ask })?;
    }
    Ok(())
}

#[test]
fn questions_of_people_have_their_indices() {
    let folder = folder();
    let path = folder.path().join("moa.db");
    let _store = SqliteStore::open(&path, Options::default()).expect("it opens");
    let conn = schema::open_reader(&path).expect("it opens");
    conn.set_prepared_statement_cache_capacity(500);
    everything_that_is_asked(&conn).expect("it is read");
    insta::assert_snapshot!("plans_of_the_readers", plans(&conn).expect("they are explained"));
}

/// Makes the connection prepare what people ask.
fn everything_that_is_asked(conn: &Connection) -> Result<(), Fail> {
    let run = build::run(1);
    let all = RunFilter { limit: 9, ..RunFilter::default() };
    let over = |key: Option<&str>| Notifies { channel: "a".into(), key: key.map(str::to_owned) };
    let filters = [
        RunFilter { before: Some(run), ..all.clone() },
        RunFilter { after: Some(run), oldest_first: true, ..all.clone() },
        RunFilter { workflow: Some(build::name("build")), ..all.clone() },
        RunFilter { parent: Some(run), ..all.clone() },
        RunFilter { asks: true, ..all.clone() },
        RunFilter { notifies: Some(over(None)), before: Some(run), ..all.clone() },
        RunFilter { notifies: Some(over(Some("1"))), after: Some(run), ..all.clone() },
        RunFilter { except: Some(build::name("build")), ..all.clone() },
        RunFilter { statuses: vec![RunStatus::Failed], ..all.clone() },
        RunFilter { statuses: vec![RunStatus::Succeeded], ..all },
    ];
    for filter in &filters {
        queries::runs(conn, filter)?;
    }
    let filter = RunFilter { statuses: vec![RunStatus::Failed], limit: 9, ..Default::default() };
    crate::search::runs(conn, &Search { filter, text: "a".into(), looks: 9 })?;
    let id = build::trigger().id;
    let all = OccurrenceFilter { limit: 9, ..OccurrenceFilter::default() };
    let filters = [
        OccurrenceFilter { key: Some("a".to_owned()), ..all.clone() },
        OccurrenceFilter { outcomes: vec![Outcome::Missed], ..all.clone() },
        OccurrenceFilter { from: Some(build::NOW), to: Some(build::NOW), ..all.clone() },
        OccurrenceFilter { after: Some((build::NOW, "a".to_owned())), ..all },
    ];
    for filter in &filters {
        triggers::occurrences(conn, id, filter)?;
    }
    let all = TriggerFilter { limit: 9, ..TriggerFilter::default() };
    let name = build::name("build");
    triggers::triggers(conn, &TriggerFilter { workflow: Some(name.clone()), ..all.clone() })?;
    let after = Some((name.clone(), name.to_string()));
    triggers::triggers(conn, &TriggerFilter { after, ..all })?;
    triggers::trigger(conn, id)?;
    audit::head(conn)?;
    audit::entries(conn, 0, 9)?;
    sealed::all(conn)?;
    read::snapshot(conn, run)?;
    queries::find_runs(conn, "ab")?;
    queries::history(conn, run, 0, 9)?;
    queries::events(conn, 0, 9, 9)?;
    let ask =
        KeptAsk { run: None, behind: 0, upto: 9, newest_first: true, rows: 9, bytes: usize::MAX };
    for run in [None, Some(run), Some(moa_core::machine::BUS)] {
        queries::kept(conn, &KeptAsk { run, ..ask })?;
        queries::kept(conn, &KeptAsk { run, newest_first: false, ..ask })?;
    }
    queries::heard(conn, &[1])?;
    queries::published_beyond(conn, 9)?;
    queries::places(conn, run, &[1])?;
    queries::asking(conn, run, 9)?;
    read::snapshot_part(conn, run, 1, 9, usize::MAX)?;
    queries::pending(conn, run)?;
    queries::totals(conn)?;
    queries::channels(conn)?;
    queries::fate(conn, run)?;
    queries::artifact_fate(conn, &[1; 32])?;
    for notifications in [false, true] {
        queries::ended_beyond(conn, RunStatus::Failed, 9, notifications)?;
    }
    queries::workflows(conn, None)?;
    queries::workflows(conn, Some(&build::name("build")))?;
    Ok(())
}

#[test]
fn rules_are_seen_by_people_s_own_sql() {
    let folder = folder();
    let path = folder.path().join("moa.db");
    let conn = schema::of_number(&path, 9).expect("a database");
    conn.execute_batch(SAMPLES[8]).expect("the sample fits");
    let sql = "SELECT name, trigger_event, action_type, action_config, last_triggered \
               FROM webhook_triggers WHERE is_active = TRUE";
    let row = |row: &rusqlite::Row<'_>| {
        (0..5).map(|n| row.get::<_, String>(n)).collect::<Result<Vec<_>, _>>()
    };
    let found = conn.query_row(sql, [], row).expect("one rule");
    let config = r#"{"workflow":"mailer","params":{"n":1}}"#;
    let at = "2025-06-15T15:06:40.001Z";
    assert_eq!(found, ["paid", "order.paid", "run_workflow", config, at]);
}
