//! What a command works on: a project of this machine, or one that a node elsewhere serves.
//!
//! Commands read by a [`Reader`] and ask by a [`Client`], and show what comes by the same code: only
//! these two know where it comes from. What needs the project's folder takes [`Layout`] itself, which a
//! project elsewhere has none of.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use moa_core::alert::Book;
use moa_core::ids::Name;
use moa_core::limit::Held;
use moa_core::time::{Millis, Span};
use moa_view::activity::{self, Activity, Ended};
use moa_view::fleet::Fleet;
use moa_view::node::PausedAgent;
use moa_view::rows::Ask;

use crate::alerts::Kept;
use crate::control::client::Client;
use crate::exit::{Exit, Failure, Result};
use crate::jobs::samples;
use crate::node;
use crate::project::{self, Layout, Loaded};
use crate::reader::Reader;
use crate::remote::Remote;
use crate::{text, view, wire};

/// What a command works on.
#[derive(Clone)]
pub enum Place {
    /// A project of this machine.
    Here(Layout),
    /// The project of a node elsewhere.
    There(Remote),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Here(layout) => layout.root.display().fmt(f),
            Self::There(remote) => f.write_str(remote.url()),
        }
    }
}

impl Place {
    /// The read side of the store; `None` when nothing has run in it yet.
    pub fn open_reader(&self) -> Result<Option<Reader>> {
        match self {
            Self::Here(layout) => wire::open_reader(layout),
            Self::There(remote) => Ok(Some(remote.reader())),
        }
    }

    /// The read side of the store, or says that nothing has run in it yet.
    pub fn require_reader(&self) -> Result<Reader> {
        match self {
            Self::Here(layout) => wire::require_reader(layout),
            Self::There(remote) => Ok(remote.reader()),
        }
    }

    /// The node; `None` when none runs. One elsewhere is not asked yet whether it is there.
    pub async fn connect(&self) -> Result<Option<Client>> {
        match self {
            Self::Here(layout) => Client::connect(&layout.state()).await,
            Self::There(remote) => Ok(Some(Client::of(remote.clone()))),
        }
    }

    /// What the project's files say.
    pub async fn load(&self) -> Result<Loaded> {
        match self {
            Self::Here(layout) => project::load(layout, None),
            Self::There(remote) => remote.project().await,
        }
    }

    /// Until when missed slots are held back, because nodes were started too often lately.
    pub async fn held_back(&self) -> Result<Option<Millis>> {
        match self {
            Self::Here(layout) => Ok(node::triggers::held_back(&layout.state())),
            Self::There(remote) => remote.ask(Ask::HeldBack).await,
        }
    }

    /// What is wrong, as far as a node has noticed.
    pub async fn alerts(&self) -> Result<Book> {
        match self {
            Self::Here(layout) => Ok(Kept::read(&layout.state())?.unwrap_or_default().book),
            Self::There(remote) => remote.ask(Ask::Alerts).await,
        }
    }

    /// Agents that take no new tasks.
    pub async fn paused(&self) -> Result<BTreeMap<Name, PausedAgent>> {
        match self {
            Self::Here(layout) => Ok(node::agents::Paused::read(&layout.state())?.all()),
            Self::There(remote) => Ok(remote.status().await?.paused),
        }
    }

    /// What holds back all tasks of agents that are ready; nothing is known where no node runs.
    pub async fn held(&self) -> Result<BTreeMap<Name, Held>> {
        let Some(mut node) = self.connect().await? else { return Ok(BTreeMap::new()) };
        let (status, now) = (node.status().await?, view::now());
        let agents = status.engine.held.keys();
        let held = agents.filter_map(|id| Some((id.clone(), status.held(id, now)?.clone())));
        Ok(held.collect())
    }

    /// What agents do and did; of a project without a node, what they did while there was one.
    pub async fn fleet(&self) -> Result<Fleet> {
        match self {
            Self::Here(layout) => match Client::connect(&layout.state()).await? {
                Some(mut client) => client.fleet().await,
                None => Ok(samples::fleet(&layout.state())),
            },
            Self::There(remote) => remote.ask(Ask::Fleet).await,
        }
    }

    /// The attempts of an agent that ended in the newest commits; `None` = there is no store yet. A node
    /// elsewhere looks them up itself: that is one question.
    pub async fn ended(&self, agent: &Name) -> Result<Option<Vec<Ended>>> {
        let reader = match self {
            Self::Here(layout) => wire::open_reader(layout)?,
            Self::There(remote) => return remote.ask(Ask::Ended(agent.clone())).await,
        };
        match reader {
            Some(reader) => activity::lately(&reader, agent, activity::COMMITS).await.map(Some),
            None => Ok(None),
        }
    }

    /// What an agent did in a time that ends now; `None` = there is no store yet. A node has counted it; where
    /// none does, the whole of that time is read in the history.
    pub async fn worked(&self, agent: &Name, span: Span) -> Result<Option<Activity>> {
        match self.connect().await? {
            // One that is there for another command has counted only that.
            Some(client) if client.node.transient => {}
            Some(mut client) => return client.worked(agent.clone(), span).await.map(Some),
            None => {}
        }
        let Some(reader) = self.open_reader()? else { return Ok(None) };
        let ended = activity::within(&reader, agent, span, view::now()).await?;
        Ok(Some(Activity::of(&ended)))
    }

    /// Whether it is elsewhere.
    pub fn is_elsewhere(&self) -> bool {
        matches!(self, Self::There(_))
    }
}

/// A node elsewhere that doesn't answer for a while: whoever follows something waits for it, and takes
/// up where it was.
#[derive(Default)]
pub struct Outage {
    since: Option<Instant>,
    said: bool,
}

/// How long a node may be gone before that is said.
const SAY_AFTER: Duration = Duration::from_secs(2);

impl Outage {
    /// Whether a failure may be over by itself, so that it is waited for.
    pub fn passes(&mut self, place: &Place, failure: &Failure, say: &mut dyn FnMut(&str)) -> bool {
        if !place.is_elsewhere() || failure.exit != Exit::Unavailable {
            return false;
        }
        let since = *self.since.get_or_insert_with(Instant::now);
        if !self.said && since.elapsed() > SAY_AFTER {
            self.said = true;
            say(&format!("{}; trying again", text::safe_line(&failure.message)));
        }
        true
    }

    /// It answers again.
    pub fn over(&mut self, say: &mut dyn FnMut(&str)) {
        self.since = None;
        if std::mem::take(&mut self.said) {
            say("the node answers again");
        }
    }
}
