//! Writes runs into a store and says which are durable, for power cuts.
//!
//! `moa-faults-writer STORE full|normal` prints the number of a run once the store says that it is
//! durable, and goes on until it is killed. `normal` is what moa never uses: it is there to show
//! that the test would notice. `moa-faults-writer STORE list` prints the numbers of all runs.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::channel;

use moa_core::event::Event;
use moa_core::ids::{Name, RunId, VersionHash};
use moa_core::run::{Phase, RunExtra, RunRow, RunStatus};
use moa_core::time::Millis;
use moa_core::workflow::Priority;
use moa_ports::store::{Batch, Commit, CommitOutcome, StartGuard, Store};
use moa_sqlite::{Options, SqliteStore};
use serde_json::json;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let done = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [store, "full"] => write(Path::new(store), true),
        [store, "normal"] => write(Path::new(store), false),
        [store, "list"] => list(Path::new(store)),
        _ => Err("usage: moa-faults-writer STORE full|normal|list".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("moa-faults-writer: {e}");
            ExitCode::FAILURE
        }
    }
}

fn write(path: &Path, synchronous_full: bool) -> Result<()> {
    let store = SqliteStore::open(path, Options { synchronous_full, ..Options::default() })?;
    let mut out = io::stdout().lock();
    for number in 1.. {
        let (send, answer) = channel();
        let batch = Batch { commits: vec![start(number)?], ..Batch::default() };
        store.commit(batch, Box::new(move |outcome| drop(send.send(outcome))));
        let outcome = answer.recv()??;
        if !matches!(outcome.commits[..], [CommitOutcome::Applied { .. }]) {
            return Err(format!("not applied: {outcome:?}").into());
        }
        writeln!(out, "{number}")?;
        out.flush()?;
    }
    Ok(())
}

fn list(path: &Path) -> Result<()> {
    let store = SqliteStore::open(path, Options::default())?;
    let (send, answer) = channel();
    // Numbers are given without gaps, so the first that is missing is the end.
    let numbers: Vec<u128> = (1..1_000_000).collect();
    for some in numbers.chunks(1000) {
        let (send, runs) = (send.clone(), some.iter().map(|n| RunId(*n)).collect());
        store.load(runs, Box::new(move |found| drop(send.send(found))));
        let found = answer.recv()??;
        for (number, snapshot) in some.iter().zip(&found) {
            match snapshot {
                Some(_) => println!("{number}"),
                None => return Ok(()),
            }
        }
    }
    Ok(())
}

fn start(number: u128) -> Result<Commit> {
    let row = RunRow {
        run: RunId(number),
        workflow: Name::new("power")?,
        hash: VersionHash([0; 32]),
        status: RunStatus::Running,
        phase: Phase::Main,
        priority: Priority::Medium,
        params: Arc::new(json!({})),
        parent: None,
        trigger: None,
        created_at: Millis(0),
        started_at: None,
        finished_at: None,
        output: None,
        error: None,
        extra: RunExtra::default(),
    };
    Ok(Commit {
        run: RunId(number),
        expected: 0,
        at: Millis(0),
        row: Some(Box::new(row)),
        steps: Vec::new(),
        timers: Vec::new(),
        waits: Vec::new(),
        messages: Vec::new(),
        consumed: Vec::new(),
        events: vec![Event::RunStarted],
        start: Some(StartGuard::default()),
        ended: false,
    })
}
