//! What runs attempts in a soak: failures as ordered, logs and notifications for real, and a model
//! for the rest.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::rc::Rc;
use std::sync::Arc;

use moa_core::agent::AgentSpec;
use moa_core::ids::{Name, mix};
use moa_core::machine::Outcome;
use moa_core::step::{ErrorKind, StepError};
use moa_core::time::{Millis, Span};
use moa_ports::agent::Task;
use serde_json::{Value as Json, json};

use crate::project::Layout;
use crate::wire;

/// What stands in for the programs of a template's agents.
pub trait Model {
    /// What an attempt gives that doesn't fail, and how long it takes.
    fn act(&mut self, task: &Task, now: Millis) -> (Span, Outcome);
}

/// Where programs that hang are ended, if nobody says.
const TIMEOUT: Span = Span::minutes(60);

pub struct Worker {
    pub layout: Layout,
    /// What of 1,000 attempts fails: by being tried again, for good, by running out of time.
    pub failing: [u64; 3],
    pub agents: BTreeMap<Name, Arc<AgentSpec>>,
    pub model: Rc<RefCell<dyn Model>>,
}

/// A number below `below` that is the same each time for this attempt and `salt`.
pub fn chance(task: &Task, salt: u64, below: u64) -> u64 {
    let [high, low] = [task.run.0 >> 64, task.run.0].map(|half| half as u64);
    let attempt = u64::from(task.inst) << 32 | u64::from(task.attempt);
    mix(mix(mix(high) ^ low) ^ mix(attempt ^ salt << 56)) % below
}

/// A success.
pub fn gives(seconds: u64, output: Json) -> (Span, Outcome) {
    (Span::seconds(seconds), Outcome::Succeeded { output: Some(Arc::new(output)) })
}

fn fails(after: Span, kind: ErrorKind, message: &str) -> (Span, Outcome) {
    (after, Outcome::Failed { error: StepError::new(kind, message) })
}

impl Worker {
    /// What an attempt gives, and how long it takes.
    pub fn attempt(&self, task: &Task, now: Millis) -> (Span, Outcome) {
        if task.agent.as_str() == "notify" {
            return self.notify(task, now);
        }
        let (took, outcome) = match self.fault(task) {
            Some(fault) => fault,
            None => self.model.borrow_mut().act(task, now),
        };
        self.log(task, &outcome);
        (took, outcome)
    }

    fn fault(&self, task: &Task) -> Option<(Span, Outcome)> {
        let [again, for_good, late] = self.failing;
        let number = chance(task, 1, 1000);
        if number < again {
            let text = "the disk was busy; nothing was written";
            return Some(fails(Span::seconds(7), ErrorKind::Retryable, text));
        }
        if number < again + for_good {
            return Some(fails(Span::seconds(3), ErrorKind::Permanent, "a file is missing"));
        }
        if number < again + for_good + late {
            let agent = self.agents.get(&task.agent).and_then(|agent| agent.timeout);
            let limit = task.timeout.or(agent).unwrap_or(TIMEOUT);
            return Some(fails(limit, ErrorKind::Timeout, "it took too long"));
        }
        None
    }

    /// Programs that fail say so; of those that succeed, one in four says something.
    fn log(&self, task: &Task, outcome: &Outcome) {
        if matches!(outcome, Outcome::Succeeded { .. }) && chance(task, 7, 4) > 0 {
            return;
        }
        let folder = wire::log_folder(&self.layout, task.run);
        fs::create_dir_all(&folder).expect("mkdir");
        let said =
            format!("{} of {} with {}: {outcome:?}\n", task.action, task.agent, task.params.value);
        let name = match task.iteration.as_str() {
            "" => format!("{}.{}.log", task.step, task.attempt),
            iteration => format!("{}.{iteration}.{}.log", task.step, task.attempt),
        };
        fs::write(folder.join(name), said).expect("written");
    }

    fn notify(&self, task: &Task, now: Millis) -> (Span, Outcome) {
        let params = &task.params.value;
        let channel = params["channel"].as_str().and_then(|name| Name::new(name).ok());
        let key = task.idempotency_key.clone();
        let entry = json!({"time": now.to_string(), "params": params, "key": key});
        let file = format!("notifications/{}.jsonl", channel.expect("a channel"));
        wire::append_once(&self.layout.root.join(file), &key, &entry).expect("it is told");
        gives(0, json!({}))
    }
}
