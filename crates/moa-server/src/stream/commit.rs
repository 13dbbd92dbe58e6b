//! Commits as listeners get them: read, named and written as JSON once, for all of them.

use std::sync::OnceLock;

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
    /// Its data in small letters, once somebody has looked for words; `None` = they have no others.
    small: OnceLock<Option<Box<str>>>,
}

impl Told {
    /// An event of a type at a place in its commit, with its agent and as a CloudEvent.
    pub fn new(index: usize, kind: &'static str, agent: Option<Name>, text: Utf8Bytes) -> Self {
        Self { index, kind, agent, text, small: OnceLock::new() }
    }

    /// Its data as JSON in small letters: made once, for however many look for words.
    pub fn small(&self) -> &str {
        // The data stand at its end.
        let data = self.text.find("\"data\":").map_or(&*self.text, |at| &self.text[at + 7..]);
        let is_small = |c: u8| c.is_ascii() && !c.is_ascii_uppercase();
        let small = || (!data.bytes().all(is_small)).then(|| data.to_lowercase().into());
        self.small.get_or_init(small).as_deref().unwrap_or(data)
    }
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
        let events = told(row, &workflow, &steps).map(|event| {
            let text = event.cloud_event().to_string().into();
            Told::new(event.index, type_of(event.event), event.agent.cloned(), text)
        });
        Ok(Self { seq: row.seq, run: row.run, events: events.collect(), workflow })
    }

    /// Bytes that it takes, about; with what is looked for words in up to twice as many.
    pub fn bytes(&self) -> usize {
        let of = |event: &Told| event.text.len() + size_of::<Told>();
        size_of::<Self>() + self.events.iter().map(of).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(data: &str) -> Told {
        let text = format!("{{\"type\":\"moa.X\",\"data\":{data}}}");
        Told::new(0, "run.started", None, text.into())
    }

    #[test]
    fn the_small_letters_of_data_are_made_once_and_only_of_what_has_others() {
        let large = told(r#"{"Ink":"ÄRGER"}"#);
        assert_eq!(large.small(), r#"{"ink":"ärger"}}"#);
        assert!(std::ptr::eq(large.small(), large.small()));
        let small = told(r#"{"ink":1}"#);
        assert_eq!(small.small(), r#"{"ink":1}}"#);
        assert!(small.text.as_bytes().as_ptr_range().contains(&small.small().as_ptr()));
    }
}
