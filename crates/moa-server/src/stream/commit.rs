//! Commits as listeners get them: read, named and written as JSON once, for all of them.

use axum::extract::ws::Utf8Bytes;
use moa_core::ids::{Name, RunId};
use moa_ports::views::HistoryRow;
use moa_view::events::{Names, told, type_of};
use moa_view::reader::Reader;

use crate::error::Result;

/// An event to send.
#[derive(Debug, Clone)]
pub struct Told {
    /// Its place in its commit.
    pub index: usize,
    /// Its type, without the prefix `moa.`.
    pub kind: &'static str,
    /// The agent whose action it is about.
    pub agent: Option<Name>,
    /// It as a CloudEvent, JSON. A copy is the same bytes.
    pub text: Utf8Bytes,
}

/// The events of a commit.
#[derive(Debug)]
pub struct Commit {
    /// Its event number.
    pub seq: u64,
    /// The run.
    pub run: RunId,
    /// The run's workflow.
    pub workflow: Name,
    /// In order.
    pub events: Vec<Told>,
}

impl Commit {
    /// A row of the history, told.
    ///
    /// # Errors
    /// The store can't be read.
    pub async fn of(reader: &Reader, names: &mut Names, row: &HistoryRow) -> Result<Self> {
        let (workflow, steps) = names.of(reader, row).await?;
        let events = told(row, &workflow, &steps).map(|event| Told {
            index: event.index,
            kind: type_of(event.event),
            agent: event.agent.cloned(),
            text: event.cloud_event().to_string().into(),
        });
        Ok(Self { seq: row.seq, run: row.run, events: events.collect(), workflow })
    }

    /// Bytes that it takes, about.
    pub fn bytes(&self) -> usize {
        let of = |event: &Told| event.text.len() + size_of::<Told>();
        size_of::<Self>() + self.events.iter().map(of).sum::<usize>()
    }
}
