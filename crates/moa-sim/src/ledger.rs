//! What agents really did, written down by the agents themselves: every execution, and every action
//! that took place in the world outside. The engine never sees it; the checkers compare.

use std::collections::BTreeMap;

use moa_core::event::InstIx;
use moa_core::ids::{Name, NodeId, RunId};
use moa_core::limit::{AgentLimits, Quota, Usage};
use moa_core::machine::Outcome;
use moa_core::time::Millis;
use moa_ports::agent::Task;

use crate::agents::CHECK;

/// One execution of one attempt.
#[derive(Debug, Clone)]
pub struct Execution {
    /// What was asked.
    pub task: Box<Task>,
    /// The process that it ran in, by position.
    pub process: usize,
    /// The node that started it.
    pub node: NodeId,
    /// Whether it counts against the node's slots.
    pub counted: bool,
    /// Whether its action must not be repeated blindly.
    pub once: bool,
    /// What it answered, once it has.
    pub answer: Option<Outcome>,
    /// What else it answered, if it answers twice.
    pub also: Option<Outcome>,
    /// When it ended, in world time.
    pub ended: Option<i64>,
    /// Whether it has been asked to stop.
    pub stopped: bool,
    /// What it is going to answer.
    pub outcome: Outcome,
    /// What it says with that that it has spent.
    pub usage: Usage,
}

impl Execution {
    /// Whether it only asks whether an action has happened.
    pub fn is_check(&self) -> bool {
        self.task.action == CHECK
    }

    /// Whether it answered that all went well.
    pub fn succeeded(&self) -> bool {
        let answers = [&self.answer, &self.also];
        answers.into_iter().flatten().any(|a| matches!(a, Outcome::Succeeded { .. }))
    }

    /// Whether it answered that its action certainly did not take place.
    fn did_not_happen(&self) -> bool {
        use moa_core::step::ErrorKind::{Output, Permanent, Retryable};
        match &self.answer {
            Some(Outcome::Failed { error }) => {
                matches!(error.kind, Retryable | Permanent | Output)
            }
            Some(Outcome::RateLimited { .. }) => true,
            _ => false,
        }
    }

    /// Whether it answered that the action asked about did not take place.
    fn says_not_done(&self) -> bool {
        match &self.answer {
            Some(Outcome::Succeeded { output: Some(output) }) if self.is_check() => {
                output.get("done").and_then(|d| d.as_bool()) == Some(false)
            }
            _ => false,
        }
    }
}

/// All executions.
#[derive(Debug, Default)]
pub struct Ledger {
    all: BTreeMap<(RunId, InstIx, u32), Execution>,
    /// Executions that have not ended.
    live: BTreeMap<(RunId, InstIx, u32), ()>,
    /// Actions with `once` that took place, by idempotency key.
    effects: BTreeMap<String, u32>,
    /// Idempotency keys and their steps.
    keys: BTreeMap<String, (RunId, InstIx)>,
    /// Persons' answers that an action did not take place, by step: the attempt asked about.
    denied: BTreeMap<(RunId, InstIx), u32>,
    /// When attempts of agents with limits were leased, and what each takes of a quota.
    leased: BTreeMap<Name, Vec<Leased>>,
}

/// When an attempt was leased: by the world's clock, by the node's, and its units.
type Leased = (i64, i64, u64);

/// How far apart the clocks of two nodes may be without anybody minding, there and back.
const CLOCKS_MS: i64 = 2_000;

/// What is known of a step when an attempt of it starts.
pub struct Known<'a> {
    /// The attempts that were declared lost.
    pub lost: &'a [u32],
    /// Whether clocks are so far apart that an attempt may start that is lost already.
    pub late: bool,
    /// The most attempts of the agent at once on one node.
    pub limit: Option<u32>,
    /// The most attempts at once on one node.
    pub max_running: u32,
    /// The agent's limits beside those.
    pub limits: &'a AgentLimits,
    /// When it was leased, by the world's clock and by the node's.
    pub leased_at: (i64, i64),
}

impl Ledger {
    /// An execution starts. `happens`: its action takes place, whatever it answers.
    pub fn start(&mut self, new: Execution, happens: bool, known: &Known) -> Result<(), String> {
        let task = &new.task;
        let id = (task.run, task.inst, task.attempt);
        let name = format!("attempt {} of {}", task.attempt, task.idempotency_key);
        if self.all.contains_key(&id) {
            return Err(format!("{name} is executed twice"));
        }
        if known.lost.contains(&task.attempt) {
            // It does nothing: what it did would be done twice, and no engine could help it.
            self.live.insert(id, ());
            self.all.insert(id, new);
            return match known.late {
                true => Ok(()),
                false => Err(format!("{name} starts, but was declared lost before")),
            };
        }
        self.check_key(task)?;
        self.check_overlap(&new, known.lost, &name)?;
        self.check_limits(&new, known)?;
        self.check_use(&new.task, known)?;
        if new.once && !new.is_check() {
            self.check_once(&new, &name)?;
        }
        if new.once && happens && !new.is_check() {
            let count = self.effects.entry(task.idempotency_key.clone()).or_default();
            *count += 1;
            if *count > 1 {
                return Err(format!("{name}: the action has taken place {count} times"));
            }
        }
        self.live.insert(id, ());
        self.all.insert(id, new);
        Ok(())
    }

    fn check_key(&mut self, task: &Task) -> Result<(), String> {
        let step = (task.run, task.inst);
        let key = task.idempotency_key.clone();
        let other = *self.keys.entry(key.clone()).or_insert(step);
        let mut earlier =
            self.all.range((task.run, task.inst, 0)..=(task.run, task.inst, u32::MAX));
        if other != step || earlier.any(|(_, e)| e.task.idempotency_key != key) {
            return Err(format!("idempotency key {key} is not that of one step"));
        }
        Ok(())
    }

    fn check_overlap(&self, new: &Execution, lost: &[u32], name: &str) -> Result<(), String> {
        let (run, inst) = (new.task.run, new.task.inst);
        for (id, ()) in self.live.range((run, inst, 0)..=(run, inst, u32::MAX)) {
            if !lost.contains(&id.2) {
                return Err(format!("{name} starts while attempt {} still runs", id.2));
            }
            if self.all[id].node == new.node {
                return Err(format!("{name} starts beside attempt {} on the same node", id.2));
            }
        }
        Ok(())
    }

    fn check_limits(&self, new: &Execution, known: &Known) -> Result<(), String> {
        if !new.counted {
            return Ok(());
        }
        let here = self.live.keys().map(|id| &self.all[id]).filter(|e| e.node == new.node);
        let here: Vec<&Execution> = here.filter(|e| e.counted).collect();
        if here.len() as u32 >= known.max_running {
            return Err(format!("more than {} attempts at once on a node", known.max_running));
        }
        let agent: &Name = &new.task.agent;
        let same = here.iter().filter(|e| e.task.agent == *agent).count() as u32;
        match known.limit {
            Some(limit) if same >= limit => {
                Err(format!("more than {limit} attempts of {agent} at once on a node"))
            }
            _ => Ok(()),
        }
    }

    /// A clock that jumps makes one of the two measures wrong, but never both.
    fn check_use(&mut self, task: &Task, known: &Known) -> Result<(), String> {
        if known.limits.is_empty() {
            return Ok(());
        }
        let (agent, quota) = (&task.agent, &known.limits.quota);
        let units = quota.as_ref().map_or(0, |quota| quota.cost(&task.action));
        let at = (known.leased_at.0, known.leased_at.1, units);
        let leased = self.leased.entry(agent.clone()).or_default();
        leased.push(at);
        if let Some(quota) = quota.as_ref().filter(|_| !known.late) {
            let window = |at: &Leased| (start_of(quota, at.0), start_of(quota, at.1));
            let used = leased.iter().filter(|l| window(l) == window(&at)).map(|l| l.2);
            let used: u64 = used.sum();
            if used > quota.units {
                return Err(format!("{used} units of {agent}, and the quota is {}", quota.units));
            }
        }
        for rate in known.limits.rates.iter().filter(|_| !known.late) {
            let stretch = 0..rate.span.0 as i64 - CLOCKS_MS;
            let within = |first: &Leased, other: &Leased| {
                stretch.contains(&(other.0 - first.0)) && stretch.contains(&(other.1 - first.1))
            };
            // What was leased in a batch that took long starts later than what was leased after it.
            let stretches = leased.iter().filter(|first| within(first, &at));
            let counts = stretches.map(|first| leased.iter().filter(|l| within(first, l)).count());
            let within = counts.max().unwrap_or(0);
            if within > rate.count as usize {
                return Err(format!("{within} attempts of {agent}, and the rate is {rate}"));
            }
        }
        Ok(())
    }

    /// When an attempt of an agent with limits was last leased, by the node's clock; long ago if
    /// none was.
    pub fn last_leased(&self, agent: &Name) -> i64 {
        self.leased.get(agent).and_then(|all| all.last()).map_or(i64::MIN, |last| last.1)
    }

    /// What the executions of an agent have said that they have spent, whoever has heard of it.
    pub fn spent(&self, agent: &Name) -> Usage {
        let said = self.all.values().filter(|e| e.answer.is_some() && e.task.agent == *agent);
        said.fold(Usage::NONE, |all, execution| all.plus(execution.usage))
    }

    /// The last execution of the action must be known not to have happened.
    fn check_once(&self, new: &Execution, name: &str) -> Result<(), String> {
        let (run, inst, attempt) = (new.task.run, new.task.inst, new.task.attempt);
        let denied = self.denied.get(&(run, inst)).copied().unwrap_or(0);
        let mut not_done = false;
        for (id, earlier) in self.all.range((run, inst, 0)..(run, inst, attempt)).rev() {
            if earlier.is_check() {
                not_done |= earlier.says_not_done();
            } else if not_done || denied >= id.2 || earlier.did_not_happen() {
                return Ok(());
            } else {
                return Err(format!("{name} repeats blindly what attempt {} may have done", id.2));
            }
        }
        Ok(())
    }

    /// A person said that the action of a step's last attempt did not take place.
    pub fn deny(&mut self, run: RunId, inst: InstIx, attempt: u32) {
        self.denied.insert((run, inst), attempt);
    }

    /// Whether the `once` action of a step has taken place.
    pub fn has_happened(&self, key: &str) -> bool {
        self.effects.get(key).is_some_and(|count| *count > 0)
    }

    /// An execution ends with an answer, or without (killed). Answers what it was.
    pub fn end(
        &mut self,
        id: (RunId, InstIx, u32),
        now: i64,
        answer: Option<Outcome>,
    ) -> Option<&Execution> {
        self.live.remove(&id)?;
        let execution = self.all.get_mut(&id)?;
        execution.ended = Some(now);
        execution.answer = answer;
        Some(execution)
    }

    /// An execution.
    pub fn get(&self, run: RunId, inst: InstIx, attempt: u32) -> Option<&Execution> {
        self.all.get(&(run, inst, attempt))
    }

    /// An execution that has ended answers once more.
    pub fn answer_again(&mut self, id: (RunId, InstIx, u32), answer: Outcome) {
        if let Some(execution) = self.all.get_mut(&id) {
            execution.also = Some(answer);
        }
    }

    /// An execution that has not ended.
    pub fn live_mut(&mut self, id: (RunId, InstIx, u32)) -> Option<&mut Execution> {
        self.live.contains_key(&id).then(|| self.all.get_mut(&id)).flatten()
    }

    /// Executions of a process that have not ended.
    pub fn live_of(&self, process: usize) -> Vec<(RunId, InstIx, u32)> {
        self.live.keys().filter(|id| self.all[id].process == process).copied().collect()
    }

    /// All executions that have not ended.
    pub fn live(&self) -> impl Iterator<Item = &(RunId, InstIx, u32)> {
        self.live.keys()
    }

    /// Executions so far.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether nothing has been executed.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}

/// When the window of a quota began.
fn start_of(quota: &Quota, at: i64) -> Millis {
    quota.window(Millis(at)).0
}
