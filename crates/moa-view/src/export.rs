//! A run with everything that is known of it, as one JSON document.

use std::collections::HashMap;

use moa_core::event::InstIx;
use moa_core::machine::Run;
use moa_ports::views::HistoryRow;
use serde_json::Value as Json;

use crate::events::Named;
use crate::{attempts, events, summary};

/// The document: the run, its steps with their attempts, its events.
pub fn run(run: &Run, history: &[HistoryRow]) -> Json {
    let attempts = attempts::of_history(history);
    let mut document = summary::document(run, Some(&attempts));
    let names: HashMap<InstIx, Named> =
        (0..run.len() as InstIx).map(|inst| (inst, Named::of(run, inst))).collect();
    let told = history.iter().flat_map(|row| {
        events::told(row, &run.row.workflow, &names).map(|event| event.cloud_event())
    });
    document["events"] = told.collect();
    document
}
