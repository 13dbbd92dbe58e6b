//! The run machine: executes one run, one input at a time.
//!
//! [`Run::apply`] takes an input and answers events (already applied to the run) and effects (for
//! the node to perform after the commit). It is pure: the same run, instant and input give the same
//! answer. Control flow stands in `tx.rs`; what each kind of step does when it begins, ends, times
//! out or is cancelled stands in a file of its own. Rows change only in `evolve.rs`.
//!
//! `// Invariant:` a run that is neither terminal nor pending has a ready or running step, an armed
//! timer, or waits for a signal, an event, a person or a child.

mod begin;
mod cancel;
mod committee;
mod complete;
mod evolve;
mod fork;
mod graph;
mod index;
mod input;
mod lease;
mod loops;
mod names;
mod outputs;
mod phase;
mod signal;
mod start;
mod state;
#[cfg(test)]
mod tests;
mod tx;
mod vars;
mod why;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use fork::{ForkError, ForkPoint};
pub use graph::{BrokenPlan, Graph, Place};
pub use input::*;
pub use lease::{Assignment, Claimable};
pub use start::{
    check_params, concurrency_key, fairness, fairness_weight, fill_params, is_too_deep,
};
pub use state::{BrokenRows, Run};
pub use why::Why;

use crate::agent::AgentSpec;
use crate::event::{Event, InstIx, RunCreated};
use crate::ids::{Name, RunId};
use crate::schema::Schemas;
use crate::time::Millis;
use crate::workflow::{BodyIx, PlanStep};

use tx::Tx;

/// What the machine needs to know of the world.
#[derive(Clone, Copy)]
pub struct Env<'a> {
    /// The instant.
    pub now: Millis,
    /// The agents, for their default policies.
    pub agents: &'a BTreeMap<Name, Arc<AgentSpec>>,
    /// What compiles the schemas of outputs and params.
    pub schemas: &'a dyn Schemas,
}

/// What an input changed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Applied {
    /// What happened, in order; applied to the run already.
    pub events: Vec<Event>,
    /// What the node is asked for, after the commit.
    pub effects: Vec<Effect>,
}

/// What the machine asks the node for.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// The step's task can be claimed.
    Enqueue {
        /// The step.
        step: InstIx,
    },
    /// The step's task can't be claimed any more.
    Dequeue {
        /// The step.
        step: InstIx,
    },
    /// The attempt should stop.
    Stop {
        /// The step.
        step: InstIx,
        /// The attempt.
        attempt: u32,
    },
    /// Arm a timer, or move it.
    Arm {
        /// Which.
        timer: TimerKey,
        /// For when.
        due: Millis,
    },
    /// Disarm a timer.
    Disarm {
        /// Which.
        timer: TimerKey,
    },
    /// The step waits for events of a type from now on, or no more.
    Wait {
        /// The step.
        step: InstIx,
        /// The type.
        event: String,
        /// From now on, or no more.
        on: bool,
    },
    /// Send a durable message.
    Send {
        /// To whom.
        to: RunId,
        /// What.
        body: MessageBody,
    },
    /// The run is terminal.
    Ended,
}

/// Why an input changed nothing. A value, not an error: inputs may come late or twice.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Rejected(pub String);

pub(super) fn rejected<T>(reason: impl Into<String>) -> Result<T, Rejected> {
    Err(Rejected(reason.into()))
}

/// The bodies that a step owns: the one a loop repeats, and the one that undoes it.
pub(super) fn owned_bodies(step: &PlanStep) -> [Option<BodyIx>; 2] {
    [state::loop_body(&step.kind), step.compensate]
}

impl Run {
    /// Creates a run. With a concurrency key it stays pending until `Input::Admit`, else it starts.
    pub fn create(
        env: Env<'_>,
        created: RunCreated,
        graph: Arc<Graph>,
    ) -> Result<(Run, Applied), BrokenRows> {
        let mut run = Run::born(env.now, &created, graph)?;
        let admitted = created.concurrency_key.is_none();
        let mut tx = Tx::new(&mut run, env);
        tx.events.push(Event::RunCreated(Box::new(created)));
        if admitted {
            tx.start();
        }
        let applied = tx.finish();
        Ok((run, applied))
    }

    /// Applies an input: decides, evolves, and says what else is to be done.
    pub fn apply(&mut self, env: Env<'_>, input: &Input) -> Result<Applied, Rejected> {
        if self.row.status.is_terminal() {
            return rejected(format!(
                "run {} is {} already",
                self.row.run,
                self.row.status.as_str()
            ));
        }
        let mut tx = Tx::new(self, env);
        match input {
            Input::Admit => tx.admit()?,
            Input::TaskDone { step, attempt, outcome, usage } => {
                tx.task_done(*step, *attempt, outcome, *usage)?;
            }
            Input::AttemptLost { step, attempt, usage } => {
                tx.attempt_lost(*step, *attempt, *usage)?
            }
            Input::AttemptUnstarted { step, attempt } => tx.attempt_unstarted(*step, *attempt)?,
            Input::TimerFired { timer, due } => tx.timer_fired(*timer, *due)?,
            Input::Signal { name, key, payload } => tx.signal(name, key.as_deref(), payload)?,
            Input::EventArrived { event } => tx.event_arrived(event)?,
            Input::ChildDone { step, run, result } => tx.child_done(*step, *run, result)?,
            Input::Pause => tx.pause()?,
            Input::Resume => tx.resume()?,
            Input::Cancel { reason } => tx.cancel(reason, false)?,
            Input::Terminate { reason } => tx.terminate(reason)?,
        }
        Ok(tx.finish())
    }
}
