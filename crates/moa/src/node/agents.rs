//! Agents that people have paused: they take no new task until somebody says otherwise. What runs goes
//! on. Who paused which one is in a file beneath the project's state, so that it outlives restarts.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use moa_core::agent::{AgentKind, AgentSpec};
use moa_core::ids::Name;
use moa_core::limit::AgentLimits;
use moa_engine::Handle;
use moa_engine::handle::GrantRequest;
use moa_view::node::PausedAgent;

use super::Node;
use crate::exit::{Exit, Failure, Result};
use crate::files::{Beneath, PRIVATE};
use crate::refresh::Watched;
use crate::text;
use crate::wire::Worker;

/// The file, beneath the project's state.
pub const FILE: &str = "paused-agents.json";

/// The agents that are paused.
pub struct Paused {
    state: PathBuf,
    all: Mutex<BTreeMap<Name, PausedAgent>>,
}

impl Paused {
    /// Those that a project has on its disk.
    ///
    /// # Errors
    /// The file can't be read, or is damaged. Nobody may take that for "none is paused": an agent
    /// would do what somebody has stopped.
    pub fn read(state: &Path) -> Result<Self> {
        let path = state.join(FILE);
        let all = match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).map_err(|error| {
                let text = format!("{} is damaged: {error}", path.display());
                Failure::new(Exit::Damaged, text).hint(
                    "it says which agents are paused: mend it, or write `{}` into it if none is",
                )
            })?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => {
                let mut failure = Failure::io(format!("can't read {}", path.display()), &error);
                failure.exit = Exit::Unavailable;
                return Err(failure.hint("it says which agents are paused"));
            }
        };
        Ok(Self { state: state.to_owned(), all: Mutex::new(all) })
    }

    /// All of them.
    pub fn all(&self) -> BTreeMap<Name, PausedAgent> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Pauses an agent, or lets it go on; on the disk when it answers whether that was otherwise.
    fn set(&self, agent: &Name, paused: Option<PausedAgent>) -> io::Result<bool> {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if all.contains_key(agent) == paused.is_some() {
            return Ok(false);
        }
        let mut next = all.clone();
        match paused {
            Some(paused) => _ = next.insert(agent.clone(), paused),
            None => _ = next.remove(agent),
        }
        let bytes = serde_json::to_vec(&next)?;
        Beneath::new(&self.state)?.write_as(Path::new(FILE), &bytes, PRIVATE)?;
        *all = next;
        Ok(true)
    }
}

/// The agents as the engine sees them. One that is paused, or whose file has errors, has no slot:
/// tasks for it wait, rather than fail for good.
pub fn of(worker: &Worker, watched: &Watched, paused: &Paused) -> BTreeMap<Name, Arc<AgentSpec>> {
    let mut agents = worker.agents();
    for id in watched.broken_agents.keys() {
        let stand_in = || AgentSpec {
            id: id.clone(),
            name: None,
            description: None,
            tier: None,
            labels: BTreeMap::new(),
            actions: BTreeMap::new(),
            concurrency: Some(0),
            limits: AgentLimits::default(),
            retry: None,
            timeout: None,
            once: false,
            env: BTreeMap::new(),
            kind: AgentKind::Builtin(id.to_string()),
        };
        agents.entry(id.clone()).or_insert_with(|| Arc::new(stand_in()));
    }
    for id in paused.all().keys() {
        if let Some(spec) = agents.get_mut(id) {
            *spec = Arc::new(AgentSpec { concurrency: Some(0), ..(**spec).clone() });
        }
    }
    agents
}

/// Tells an engine that has just started of the agents.
pub fn begin(paused: &Paused, engine: &Handle, worker: &Worker, watched: &Watched) {
    engine.set_agents(of(worker, watched, paused));
}

impl Node {
    /// Lets an agent take no new task, or take them again; answers whether that was otherwise.
    pub async fn switch_agent(&self, agent: Name, paused: Option<PausedAgent>) -> Result<bool> {
        let watched = self.watched.lock().await;
        let known = self.worker.agents();
        let is_known = known.contains_key(&agent)
            || watched.broken_agents.contains_key(&agent)
            || self.paused.all().contains_key(&agent);
        if !is_known {
            return Err(unknown(&agent, &known));
        }
        let changed = self.paused.set(&agent, paused);
        let changed = changed.map_err(|e| Failure::io("can't note which agents are paused", &e))?;
        self.set_agents(&watched);
        Ok(changed)
    }

    /// Adds to the budget of an agent, for the window of the calendar that now is in.
    pub async fn grant(&self, request: GrantRequest) -> Result<()> {
        let GrantRequest { agent, more, .. } = &request;
        let known = self.worker.agents();
        let Some(spec) = known.get(agent) else { return Err(unknown(agent, &known)) };
        let Some(budget) = &spec.limits.budget else {
            let failure = Failure::refused(format!("agent {agent} has no budget"));
            return Err(failure.hint("give it one in its file: `budget: {usd: 20, per: day}`"));
        };
        let counts = |has: bool, more: bool, what: &str| match more && !has {
            true => Err(Failure::refused(format!("the budget of {agent} has no limit of {what}"))),
            false => Ok(()),
        };
        counts(budget.usd.is_some(), !more.usd.is_zero(), "US dollars")?;
        counts(budget.tokens.is_some(), more.tokens > 0, "tokens")?;
        Ok(self.engine.grant(request).await?)
    }

    /// A node that is there for one run refuses one that would wait for somebody without end.
    pub(super) fn refuse_paused(&self, used: &BTreeSet<Name>) -> Result<()> {
        let paused = self.paused.all();
        match paused.iter().find(|(agent, _)| self.info.transient && used.contains(*agent)) {
            Some((agent, why)) => Err(Failure::refused(format!("{agent} is {}", why.words()))
                .hint(format!("`moa agents resume {agent}` lets it take tasks again"))),
            None => Ok(()),
        }
    }

    /// Tells the engine of the agents as they are now.
    pub(super) fn set_agents(&self, watched: &Watched) {
        self.engine.set_agents(of(&self.worker, watched, &self.paused));
    }
}

fn unknown(agent: &Name, known: &BTreeMap<Name, Arc<AgentSpec>>) -> Failure {
    let failure = Failure::not_found(format!("there is no agent {agent}"));
    match text::nearest(agent.as_str(), known.keys().map(Name::as_str)) {
        Some(near) => failure.hint(format!("did you mean {near}?")),
        None => failure.hint("`moa agents list` lists them"),
    }
}

#[cfg(test)]
mod tests {
    use moa_core::time::Millis;

    use super::*;

    #[test]
    fn who_is_paused_is_on_the_disk() {
        let dir = tempfile::tempdir().expect("a folder");
        let name = Name::new("mailer").expect("a name");
        let why = PausedAgent { at: Millis(7), by: "ann".into(), reason: "it is down".into() };
        let read = || Paused::read(dir.path()).expect("it can be read");
        let paused = read();
        assert!(paused.set(&name, Some(why.clone())).expect("written"));
        assert!(!paused.set(&name, Some(why.clone())).expect("so already"));
        assert_eq!(read().all().get(&name), Some(&why));
        assert!(paused.set(&name, None).expect("written"));
        assert!(read().all().is_empty());

        fs::write(dir.path().join(FILE), "{").expect("written");
        let refused = Paused::read(dir.path()).err().expect("nobody knows who is paused");
        assert_eq!(refused.exit, Exit::Damaged);
        assert!(refused.message.contains(FILE), "{}", refused.message);
    }
}
