//! Commits as listeners get them: read, named and written as JSON once, for all of them.

use std::borrow::Cow;
use std::sync::OnceLock;

use axum::extract::ws::Utf8Bytes;
use moa_core::ids::{Name, RunId};
use moa_core::machine::BUS;
use moa_ports::views::HistoryRow;
use moa_view::compare::Hide;
use moa_view::events::{Names, told, type_of_run};
use moa_view::reader::Reader;

use crate::App;
use crate::error::Result;
use moa_view::events::hide_in;

/// An event to send.
#[derive(Debug, Clone)]
pub struct Told {
    /// Its place in its commit.
    pub index: usize,
    /// Its type, without the prefix `moa.`; of one that somebody published, what they called it.
    pub kind: Cow<'static, str>,
    /// Whether somebody published it.
    pub published: bool,
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
        let (kind, published) = (Cow::Borrowed(kind), false);
        Self { index, kind, published, agent, text, small: OnceLock::new() }
    }

    /// An event that somebody published.
    fn published(index: usize, kind: String, text: Utf8Bytes) -> Self {
        let kind = Cow::Owned(kind);
        Self { index, kind, published: true, agent: None, text, small: OnceLock::new() }
    }

    /// Its data as JSON in small letters: made once, for however many look for words.
    pub fn small(&self) -> &str {
        // The data stand at its end. What somebody says beside them is looked through, too.
        let data = Some(()).filter(|()| !self.published).and_then(|()| self.text.find("\"data\":"));
        let data = data.map_or(&*self.text, |at| &self.text[at + 7..]);
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
    /// The run, or the bus.
    pub run: RunId,
    /// The run's workflow; of the bus it means nothing.
    pub workflow: Name,
    /// In order.
    pub events: Vec<Told>,
}

impl Commit {
    /// Rows of the history, told; what people have published without secrets.
    ///
    /// # Errors
    /// The store can't be read, or what is published can't be looked through.
    pub async fn all(app: &App, names: &mut Names, rows: &[HistoryRow]) -> Result<Vec<Self>> {
        let hide = match rows.iter().any(|row| row.run == BUS) {
            true => Some(app.control().redactor().await?),
            false => None,
        };
        let mut commits = Vec::with_capacity(rows.len());
        for row in rows {
            let hide = hide.as_deref().map(|hide| hide as &Hide);
            commits.push(Self::of(app.reader(), names, row, hide).await?);
        }
        Ok(commits)
    }

    /// A row of the history, told.
    ///
    /// # Errors
    /// The store can't be read.
    async fn of(
        reader: &Reader,
        names: &mut Names,
        row: &HistoryRow,
        hide: Option<&Hide>,
    ) -> Result<Self> {
        let (workflow, steps) = names.of(reader, row).await?;
        let events = told(row, &workflow, &steps).map(|event| {
            let mut document = event.cloud_event();
            if let Some(published) = event.published() {
                if let Some(hide) = hide {
                    hide_in(&mut document, hide);
                }
                let text = document.to_string().into();
                return Told::published(event.index, published.event.clone(), text);
            }
            let text = document.to_string().into();
            Told::new(event.index, type_of_run(event.event), event.agent.cloned(), text)
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
