//! The worker of every process, and the agents it runs.

use moa_core::event::InstIx;
use moa_core::ids::RunId;
use moa_core::limit::{AgentLimits, Usage, Usd};
use moa_core::machine::Outcome;
use moa_core::workflow::StepKind;
use moa_engine::node::Node;
use moa_ports::agent::{Completion, Task};

use crate::agents::{self, Plan};
use crate::ledger::{Execution, Known};
use crate::plant::Plant;
use crate::process::stopped;
use crate::world::{ExecutionId, Happening, World};

/// What a rogue agent says that another attempt has spent: it is counted for nobody.
const WRONG: Usage = Usage { usd: Usd(1_000_000), tokens: 1_000_000 };

impl World {
    /// A node hands an attempt to its worker.
    pub(crate) fn start(&mut self, p: usize, task: Box<Task>) {
        let Some(spec) = self.agents.get(&task.agent).cloned() else {
            return self.fail(format!("an attempt of {}, who does not exist", task.agent));
        };
        let node = self.processes[p].id;
        let Some(shadow) = self.checker.run(task.run) else {
            return self.fail(format!("an attempt of run {}, which does not exist", task.run));
        };
        let Some(step) = shadow.steps.get(task.inst as usize) else {
            return self.fail(format!("an attempt of a step that is not there: {task:?}"));
        };
        let leased = step.nodes.get(task.attempt as usize - 1).copied().flatten();
        if leased != Some(node) {
            return self.fail(format!("{} starts, but is not so in history", task.idempotency_key));
        }
        let plan = shadow.graph.step(step.plan);
        let action = spec.actions.get(&task.action);
        let once = plan.once || spec.once || action.is_some_and(|a| a.once);
        let task_step = matches!(plan.kind, StepKind::Task { .. });
        let lost = step.lost.clone();
        let done = self.ledger.has_happened(&task.idempotency_key);
        let Plan { after, outcome, happens } =
            agents::plan(&mut self.random, &self.swarm, &task, &spec, done);
        let id = (task.run, task.inst, task.attempt);
        let leased_at = task.leased_at;
        let execution = Execution {
            usage: agents::usage(&task, &spec),
            task,
            process: p,
            node,
            counted: spec.id.as_str() != "noop",
            once: once && task_step,
            answer: None,
            also: None,
            ended: None,
            stopped: false,
            outcome,
        };
        let known = Known {
            lost: &lost,
            late: self.clocks_apart,
            limit: spec.concurrency,
            max_running: self.swarm.max_running,
            limits: &spec.limits,
            leased_at: (leased_at.0 - self.processes[p].skew, leased_at.0),
        };
        let judged = self.ledger.start(execution, happens, &known);
        self.must(judged);
        self.note(|_| format!("    execution ends after {after:?}, happens {happens}"));
        if let Some(after) = after {
            self.after(after, Happening::Ends(id));
        }
        if self.random.chance(self.swarm.answers_wrongly) {
            self.answer_wrongly(p, id);
        }
    }

    /// A rogue agent that answers in the name of another attempt.
    fn answer_wrongly(&mut self, p: usize, id: ExecutionId) {
        let (run, inst, attempt) = id;
        let wrong = *self.random.pick(&[attempt - 1, attempt + 7]);
        let outcome = Outcome::Succeeded { output: None };
        let life = self.processes[p].life;
        let wait = self.random.below(50);
        let done = Completion { run, inst, attempt: wrong, outcome, usage: WRONG };
        self.after(wait, Happening::Completed(p, life, done));
    }

    /// An execution ends as planned.
    pub(crate) fn ends(&mut self, id: ExecutionId) {
        if let Some(execution) = self.ledger.live_mut(id) {
            let outcome = execution.outcome.clone();
            self.finish(id, outcome);
        }
    }

    fn finish(&mut self, id: ExecutionId, outcome: Outcome) {
        let Some(execution) = self.ledger.end(id, self.now, Some(outcome.clone())) else { return };
        let (process, usage) = (execution.process, execution.usage);
        let alive =
            self.processes[process].id == execution.node && self.processes[process].node.is_some();
        // What outlives its process answers to whoever is there.
        let to = match alive {
            true => process,
            false => self.random.below(self.processes.len() as u64) as usize,
        };
        let (run, inst, attempt) = id;
        let life = self.processes[to].life;
        let done = Completion { run, inst, attempt, outcome, usage };
        if self.random.chance(self.swarm.answers_twice) {
            let mut again = done.clone();
            if self.random.chance(500) {
                again.outcome = Outcome::Succeeded { output: None };
            }
            self.ledger.answer_again(id, again.outcome.clone());
            let wait = self.random.delay(200);
            self.after(wait, Happening::Completed(to, life, again));
        }
        self.after(0, Happening::Completed(to, life, done));
    }

    /// A node asks for the end of an attempt.
    pub(crate) fn ask_to_stop(&mut self, id: ExecutionId, release: bool) {
        let ignores = !release && self.random.chance(self.swarm.ignores_stop);
        let Some(execution) = self.ledger.live_mut(id) else { return };
        if ignores || std::mem::replace(&mut execution.stopped, true) {
            return;
        }
        let wait = self.random.delay(50);
        self.after(wait, Happening::Stops(id, release));
    }

    /// An execution ends because it was asked to.
    pub(crate) fn stops(&mut self, id: ExecutionId, release: bool) {
        if self.ledger.live_mut(id).is_some() {
            self.finish(id, stopped(release));
        }
    }

    /// The executions of a process that has died: most die with it.
    pub(crate) fn orphan(&mut self, p: usize) {
        for id in self.ledger.live_of(p) {
            if self.random.chance(self.swarm.orphans) {
                let wait = self.random.below(20_000);
                self.after(wait, Happening::Ends(id));
                continue;
            }
            self.ledger.end(id, self.now, None);
            if self.planted(Plant::RepeatedAttempt, 500) {
                self.repeat(id);
            }
        }
    }

    /// The planted worker that does by itself again what was cut off.
    fn repeat(&mut self, id: ExecutionId) {
        let Some(execution) = self.ledger.get(id.0, id.1, id.2) else { return };
        let mut again = execution.clone();
        (again.ended, again.answer) = (None, None);
        let known = Known {
            lost: &[],
            late: false,
            limit: None,
            max_running: u32::MAX,
            limits: &AgentLimits::default(),
            leased_at: (0, 0),
        };
        let judged = self.ledger.start(again, true, &known);
        self.must(judged);
    }

    /// Every execution that would never end by itself does.
    pub(crate) fn end_all(&mut self) {
        let live: Vec<ExecutionId> = self.ledger.live().copied().collect();
        for id in live {
            let wait = self.random.below(2_000);
            self.after(wait, Happening::Ends(id));
        }
    }

    /// Some process that is up.
    pub(crate) fn any_process(&mut self) -> Option<usize> {
        let takes = |n: &Node| !n.status().stopping;
        let up = (0..self.processes.len())
            .filter(|p| self.processes[*p].node.as_ref().is_some_and(takes));
        let up: Vec<usize> = up.collect();
        if up.is_empty() { None } else { Some(*self.random.pick(&up)) }
    }

    /// The idempotency key of a step's action.
    pub(crate) fn key_of(&self, run: RunId, inst: InstIx) -> Option<String> {
        let attempt = self.checker.run(run)?.steps.get(inst as usize)?.attempt;
        let last = (1..=attempt).rev().find_map(|n| self.ledger.get(run, inst, n))?;
        Some(last.task.idempotency_key.clone())
    }
}
