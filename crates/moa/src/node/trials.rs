//! Agents that somebody tries over the API: one attempt outside of any run.
//!
//! Few at once, and none for long: whoever asks waits for it. What came of the newest one of each
//! agent is in a file beneath the project's state, so that people see it after a restart too. Nothing
//! depends on that file: one that is damaged is begun anew.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use moa_core::ids::{Name, RunId};
use moa_core::machine::Outcome;
use moa_core::step::{ErrorKind, StepError};
use moa_core::time::Span;
use moa_server::control::{AgentTest, AgentTried, LastTest};
use serde_json::Value as Json;
use tokio::sync::Semaphore;

use super::{Node, aside};
use crate::exit::{Exit, Failure, Result};
use crate::files::{Beneath, PRIVATE};
use crate::project::Layout;
use crate::{text, trial, view, wire};

/// The file, beneath the project's state.
pub const FILE: &str = "agent-tests.json";
/// Tests at once.
const TESTS_MAX: usize = 4;
/// How long an attempt may take; with what it gets to stop, less than a request waits.
pub const TEST_MAX: Span = Span::seconds(30);
/// How long it gets to stop, however long its agent would get in a run.
const GRACE_MAX: Span = Span::seconds(10);
/// Bytes of what it wrote that are answered.
const LOG_BYTES: usize = 64 << 10;

/// What is known of tests.
pub struct Trials {
    state: PathBuf,
    newest: Mutex<BTreeMap<Name, LastTest>>,
    /// Held while the file is written, which takes longer than to look what is the newest.
    turn: Mutex<()>,
    places: Semaphore,
}

impl Trials {
    /// Those that a project has on its disk.
    pub fn read(state: &Path) -> Self {
        let text = fs::read(state.join(FILE)).unwrap_or_default();
        let newest = serde_json::from_slice(&text).unwrap_or_default();
        let places = Semaphore::new(TESTS_MAX);
        Self { state: state.to_owned(), newest: Mutex::new(newest), turn: Mutex::default(), places }
    }

    /// The newest of each agent.
    pub fn newest(&self) -> BTreeMap<Name, LastTest> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes one; agents that are not there any more are forgotten.
    fn note(&self, agent: Name, test: LastTest, is_known: impl Fn(&Name) -> bool) {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        newest.insert(agent, test);
        newest.retain(|name, _| is_known(name));
        let all = newest.clone();
        drop(newest);
        let written = serde_json::to_vec(&all).map_err(Into::into).and_then(|bytes| {
            Beneath::new(&self.state)?.write_as(Path::new(FILE), &bytes, PRIVATE)
        });
        if let Err(error) = written {
            tracing::warn!(%error, "can't note what came of the test of an agent");
        }
    }
}

impl Node {
    /// What came of the newest test of each agent.
    pub fn agent_tests(&self) -> BTreeMap<Name, LastTest> {
        self.notes.trials.newest()
    }

    /// Has an agent make one attempt outside of any run; answers when that has ended.
    pub async fn test_agent(&self, layout: &Layout, asked: AgentTest) -> Result<AgentTried> {
        let mut watched = self.watched.lock().await;
        self.look(&mut watched).await?;
        if let Some(file) = watched.broken_agents.get(&asked.agent) {
            return Err(watched.problems.only(|path| path == file).failure(false));
        }
        drop(watched);
        let agents = self.worker.agents();
        let spec = agents.get(&asked.agent).ok_or_else(|| {
            let failure = Failure::not_found(format!("there is no agent {}", asked.agent));
            match text::nearest(asked.agent.as_str(), agents.keys().map(Name::as_str)) {
                Some(near) => failure.hint(format!("did you mean {near}?")),
                None => failure,
            }
        })?;
        trial::check_action(spec, &asked.action)?;
        let _place = self.notes.trials.places.try_acquire().map_err(|_| {
            let text = format!("{TESTS_MAX} agents are being tested already");
            Failure::new(Exit::Busy, text).hint("try again when one of them is done")
        })?;
        let usual = spec.timeout.unwrap_or(TEST_MAX);
        let limit = asked.timeout.unwrap_or(usual).min(TEST_MAX);
        let params = Json::Object(asked.params);
        let task = trial::task(asked.agent.clone(), asked.action.clone(), params, Some(limit))?;
        let (run, step, attempt, at) = (task.run, task.step.clone(), task.attempt, task.leased_at);
        let outcome = self.worker.attempt_alone(task, GRACE_MAX).await;
        let took = view::now().since(at);
        let layout = layout.clone();
        let (log, log_cut) = aside(move || {
            let written = written(&layout, run, &step, attempt);
            wire::forget_attempts(&layout, run);
            Ok(written)
        })
        .await?;
        let (output, error, again_after) = of_outcome(outcome?);
        let AgentTest { agent, action, by, .. } = asked;
        let last = LastTest { at, by, action, succeeded: error.is_none(), took, error };
        let (trials, test) = (self.notes.trials.clone(), last.clone());
        aside(move || {
            trials.note(agent, test, |name| agents.contains_key(name));
            Ok(())
        })
        .await?;
        Ok(AgentTried { last, output, again_after, log, log_cut })
    }
}

fn of_outcome(outcome: Outcome) -> (Option<Json>, Option<StepError>, Option<Span>) {
    match outcome {
        Outcome::Succeeded { output } => (output.as_deref().cloned(), None, None),
        Outcome::Failed { error } => (None, Some(error), None),
        Outcome::RateLimited { error, after } => (None, Some(error), Some(after)),
        Outcome::Cancelled | Outcome::Released => {
            let error = StepError::new(ErrorKind::Cancelled, "moa was stopped while it ran");
            (None, Some(error), None)
        }
    }
}

/// The end of what an attempt wrote, and whether there was more.
fn written(layout: &Layout, run: RunId, step: &str, attempt: u32) -> (String, bool) {
    let logs = wire::list_logs(layout, run).unwrap_or_default();
    let Some(log) = logs.iter().find(|log| log.step == step && log.attempt == attempt) else {
        return (String::new(), false);
    };
    let from = log.bytes.saturating_sub(LOG_BYTES as u64);
    let part = wire::read_log(&log.path, from, LOG_BYTES);
    let bytes = part.map(|part| part.bytes).unwrap_or_default();
    (String::from_utf8_lossy(&bytes).into_owned(), from > 0)
}

#[cfg(test)]
mod tests {
    use moa_core::time::Millis;

    use super::*;

    fn name(id: &str) -> Name {
        Name::new(id).expect("a name")
    }

    #[test]
    fn the_newest_test_of_each_agent_that_is_there_outlives_the_node() {
        let dir = tempfile::tempdir().expect("a folder");
        let test = |at| LastTest {
            at: Millis(at),
            by: "ann".into(),
            action: "lint".into(),
            succeeded: true,
            took: Span(5),
            error: None,
        };
        let trials = Trials::read(dir.path());
        trials.note(name("old"), test(1), |_| true);
        trials.note(name("lint"), test(2), |_| true);
        trials.note(name("lint"), test(3), |id| id.as_str() == "lint");
        let again = Trials::read(dir.path()).newest();
        assert_eq!(again, BTreeMap::from([(name("lint"), test(3))]));

        fs::write(dir.path().join(FILE), "{").expect("it can be written");
        assert_eq!(Trials::read(dir.path()).newest(), BTreeMap::new());
    }
}
