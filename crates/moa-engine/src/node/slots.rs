//! The choke point: every attempt of this node starts here, whoever asked for it.
//!
//! Tasks wait by agent (see `queue` for their order); an attempt starts when its agent has a slot, and
//! the node one, unless the agent is built in and costs nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use moa_core::agent::{AgentKind, AgentSpec};
use moa_core::event::InstIx;
use moa_core::ids::{Name, RunId};
use moa_core::limits::DUE_ROWS_MAX;
use moa_core::machine::{Claimable, Effect, Run};
use moa_core::step::StepStatus;
use moa_core::time::Millis;
use moa_ports::agent::Task;
use moa_ports::store::{ReadyAsk, ReadyTask, TaskQueue};

use super::gather::{After, change_of};
use super::hash::RunMap;
use super::limits::LOOK_MAX;
use super::quarantine::guarded;
use super::queue::{Place, Queue, half};
use super::{Entry, Live, Node};

/// Slots and queues of one node.
pub(super) struct Slots {
    max_running: u32,
    counted: u32,
    queues: BTreeMap<Name, Queue>,
    leased: RunMap<(RunId, InstIx), Lease>,
    /// Tasks that can start at once, without a place in a queue.
    fresh: BTreeSet<(RunId, InstIx)>,
    /// Tasks that are known of runs that are not in memory: the first ones of keys that share a
    /// queue with many others.
    away: RunMap<RunId, BTreeSet<(Name, Place)>>,
    /// Whether the store may hold ready tasks of any agent that no queue here has.
    pub more_in_store: bool,
    /// A look at all that the store holds is under way, after this queue.
    looked_at: Option<Option<TaskQueue>>,
    /// How many rows are asked for at once.
    rows_max: usize,
}

/// Tasks of an agent that are kept in memory, whatever else has to leave it: at least, while all
/// agents' together are not too many.
const AT_HAND_MIN: usize = LOOK_MAX;

/// A slot that is taken.
pub(super) struct Lease {
    pub agent: Name,
    pub since: Millis,
    attempt: u32,
    counted: bool,
}

impl Slots {
    pub fn new(max_running: u32) -> Self {
        Self {
            max_running: max_running.max(1),
            counted: 0,
            queues: BTreeMap::new(),
            leased: RunMap::default(),
            fresh: BTreeSet::new(),
            away: RunMap::default(),
            more_in_store: true,
            looked_at: None,
            rows_max: DUE_ROWS_MAX,
        }
    }

    pub fn set_rows_max(&mut self, max: usize) {
        self.rows_max = max;
    }

    /// Offers a ready task; answers whether it is new here.
    pub fn offer(&mut self, run: RunId, inst: InstIx, task: &Claimable<'_>, free: bool) -> bool {
        if free {
            self.fresh.insert((run, inst))
        } else if let Some(queue) = self.queues.get_mut(task.agent) {
            queue.insert(run, inst, task)
        } else {
            self.queues.entry(task.agent.clone()).or_default().insert(run, inst, task)
        }
    }

    /// Leaves a task to the store, if as many as its queue has to have at hand are before it.
    pub fn leave(&mut self, agents: &BTreeMap<Name, Arc<AgentSpec>>, task: &ReadyTask) -> bool {
        let TaskQueue { agent, key } = &task.queue;
        let at_hand = self.at_hand(agents, Some(agent));
        let place = (task.queue_key, task.run, task.inst);
        let Some(queue) = self.queues.get_mut(agent) else { return false };
        let enough = queue.has_enough_before(key, &place, at_hand);
        if enough {
            queue.look_from(key.clone(), place);
        }
        enough
    }

    /// Takes a task out of its queue that does not start now.
    pub fn withdraw(&mut self, run: RunId, inst: InstIx, agent: &Name, key: i64) {
        if let Some(queue) = self.queues.get_mut(agent) {
            queue.remove(&(key, run, inst));
        }
    }

    /// Takes a task out of its queue that starts now.
    pub fn start(&mut self, agent: &Name, place: &Place) {
        if let Some(queue) = self.queues.get_mut(agent) {
            queue.start(place);
        }
    }

    /// Forgets the ready tasks of a run that leaves memory; the store still has them.
    pub fn forget_ready(&mut self, id: RunId, run: &Run) {
        self.leave_ready(id, run, |_| false);
    }

    /// The same of a run that nothing happens to. Of agents whose keys are so many that only the
    /// next ones by turn are kept, it is known whose turn is when.
    pub fn send_away(&mut self, agents: &BTreeMap<Name, Arc<AgentSpec>>, id: RunId, run: &Run) {
        let of = run.steps().filter(|r| r.status == StepStatus::Ready);
        let of = of.filter_map(|row| run.claimable(row.inst)).map(|task| task.agent.clone());
        let keep: BTreeSet<Name> =
            of.filter(|agent| self.at_hand(agents, Some(agent)) == 1).collect();
        self.leave_ready(id, run, |agent| keep.contains(agent));
    }

    fn leave_ready(&mut self, id: RunId, run: &Run, keep: impl Fn(&Name) -> bool) {
        for row in run.steps().filter(|r| r.status == StepStatus::Ready) {
            if let Some(task) = run.claimable(row.inst) {
                let place = (task.queue_key, id, row.inst);
                let queue = self.queues.entry(task.agent.clone()).or_default();
                queue.leave(&place, keep(task.agent));
                if queue.is_away(&place) {
                    self.away.entry(id).or_default().insert((task.agent.clone(), place));
                }
                queue.look_from(task.fairness.map(|f| f.key.clone()), place);
            }
        }
    }

    /// A run is in memory, with all its tasks that wait, or can't be: nothing of it is away.
    pub fn came(&mut self, id: RunId) {
        for (agent, place) in self.away.remove(&id).into_iter().flatten() {
            if let Some(queue) = self.queues.get_mut(&agent) {
                queue.come(&place);
            }
        }
    }

    /// Runs that are away, and whose turn is near.
    pub fn wanted(&mut self, agents: &BTreeMap<Name, Arc<AgentSpec>>) -> BTreeSet<RunId> {
        let names: Vec<Name> = match self.away.is_empty() {
            true => Vec::new(),
            false => self.queues.keys().cloned().collect(),
        };
        let windows = names.into_iter().map(|name| (self.window(agents, Some(&name)), name));
        let windows: Vec<(usize, Name)> = windows.collect();
        let mut runs = BTreeSet::new();
        for (window, name) in windows {
            let queue = self.queues.get_mut(&name);
            let wanted = queue.map(|queue| queue.wanted(window)).unwrap_or_default();
            runs.extend(wanted.into_iter().map(|place| place.1));
        }
        runs
    }

    /// What was wanted did not come.
    pub fn look_again(&mut self) {
        self.queues.values_mut().for_each(Queue::look_again);
    }

    fn take(&mut self, run: RunId, inst: InstIx, lease: Lease) {
        self.counted += u32::from(lease.counted);
        match self.queues.get_mut(&lease.agent) {
            Some(queue) => queue.running += 1,
            None => self.queues.entry(lease.agent.clone()).or_default().running += 1,
        }
        self.leased.insert((run, inst), lease);
    }

    /// An attempt ended, or never started: its slot is free. Answers what it was; none when it held no
    /// slot.
    pub fn release(&mut self, run: RunId, inst: InstIx, attempt: u32) -> Option<Lease> {
        self.leased.get(&(run, inst)).filter(|lease| lease.attempt == attempt)?;
        let lease = self.leased.remove(&(run, inst))?;
        self.counted -= u32::from(lease.counted);
        if let Some(queue) = self.queues.get_mut(&lease.agent) {
            queue.running -= 1;
        }
        Some(lease)
    }

    /// Whether this node runs an attempt of the step.
    pub fn holds(&self, run: RunId, inst: InstIx) -> bool {
        self.leased.contains_key(&(run, inst))
    }

    /// Whether this node runs this attempt of the step.
    pub fn holds_attempt(&self, run: RunId, inst: InstIx, attempt: u32) -> bool {
        self.leased.get(&(run, inst)).is_some_and(|l| l.attempt == attempt)
    }

    /// The attempts that this node runs.
    pub fn leased(&self) -> Vec<(RunId, InstIx, u32)> {
        let mut all: Vec<_> =
            self.leased.iter().map(|((run, inst), l)| (*run, *inst, l.attempt)).collect();
        all.sort_unstable();
        all
    }

    /// The attempts of a run that this node runs.
    pub fn leased_of(&self, run: RunId) -> Vec<(InstIx, u32)> {
        self.leased().into_iter().filter(|l| l.0 == run).map(|l| (l.1, l.2)).collect()
    }

    /// Whether nothing runs, and nothing is about to.
    pub fn is_empty(&self, draining: bool) -> bool {
        self.leased.is_empty() && (draining || self.fresh.is_empty())
    }

    pub fn running(&self) -> BTreeMap<Name, u32> {
        let busy = self.queues.iter().filter(|(_, q)| q.running > 0);
        busy.map(|(name, q)| (name.clone(), q.running)).collect()
    }

    pub fn ready(&self) -> BTreeMap<Name, u32> {
        let busy = self.queues.iter().filter(|(_, q)| !q.is_empty());
        busy.map(|(name, q)| (name.clone(), q.len() as u32)).collect()
    }

    /// How many tasks of an agent are kept in memory, so that none of its slots waits for the store.
    /// Of all agents together they are not more than are asked for at once, but for those with a
    /// quota: one that has no room for the first may have it for a later one, and half of them may
    /// have left memory.
    fn window(&self, agents: &BTreeMap<Name, Arc<AgentSpec>>, agent: Option<&Name>) -> usize {
        let spec = agent.and_then(|name| agents.get(name));
        let limit = spec.and_then(|spec| spec.concurrency);
        let slots = limit.unwrap_or(u32::MAX).min(self.max_running) as usize;
        let share = self.rows_max / (agents.len() + 1);
        let quota = spec.is_some_and(|spec| spec.limits.quota.is_some());
        let least = if quota { 2 * LOOK_MAX } else { 1 };
        (2 * slots).max(AT_HAND_MIN).min(share).max(least)
    }

    /// How many of them are tasks of each key. One, when the keys are so many that not even each one's
    /// first has a place: then it is the next ones by turn that are kept.
    fn at_hand(&self, agents: &BTreeMap<Name, Arc<AgentSpec>>, agent: Option<&Name>) -> usize {
        let spec = agent.and_then(|name| agents.get(name));
        let keys = agent.and_then(|name| self.queues.get(name)).map_or(1, Queue::keys).max(1);
        // After the first of each key, others are looked at, and they may all be of one.
        let quota = spec.is_some_and(|spec| spec.limits.quota.is_some());
        let others = if quota { 2 * (LOOK_MAX + 1).saturating_sub(keys) } else { 1 };
        (self.window(agents, agent) / keys).max(others).max(1)
    }

    /// Whether the store is to be asked for tasks. Not for those of a queue of which enough are here,
    /// however many more there are: else it would be asked without end while they can't start.
    pub fn runs_short(&mut self, agents: &BTreeMap<Name, Arc<AgentSpec>>) -> bool {
        if self.more_in_store || self.looked_at.is_some() {
            return true;
        }
        let names: Vec<(Name, usize)> = self.may_run_short(agents);
        names.into_iter().any(|(name, at_hand)| {
            self.queues.get_mut(&name).is_some_and(|queue| queue.runs_short(at_hand))
        })
    }

    /// The agents of whose tasks the store may have to be asked for more, and how many of each key
    /// should be at hand.
    fn may_run_short(&self, agents: &BTreeMap<Name, Arc<AgentSpec>>) -> Vec<(Name, usize)> {
        let queues = self.queues.iter().filter(|(_, queue)| queue.may_run_short());
        queues.map(|(name, _)| (name.clone(), self.at_hand(agents, Some(name)))).collect()
    }

    /// Which tasks the store is asked for. What leaves memory from now on may not be in the answer.
    pub fn ask(&mut self, agents: &BTreeMap<Name, Arc<AgentSpec>>) -> ReadyAsk {
        let mut ask = ReadyAsk::default();
        for (agent, at_hand) in self.may_run_short(agents) {
            let Some(queue) = self.queues.get_mut(&agent) else { continue };
            for (key, wanted) in queue.ask(at_hand, DUE_ROWS_MAX) {
                ask.of.insert(TaskQueue { agent: agent.clone(), key }, wanted);
            }
        }
        if self.looked_at.is_none() && std::mem::take(&mut self.more_in_store) {
            self.looked_at = Some(None);
        }
        if let Some(after) = &self.looked_at {
            ask.each = self.at_hand(agents, None);
            ask.after = after.clone();
        }
        // What is cut off is nothing of those that are named.
        let named: usize = ask.of.values().sum();
        ask.all = self.rows_max.max(named + ask.each);
        ask
    }

    /// What an answer says about the next question; `news`: queues of which it brought something.
    pub fn answered(
        &mut self,
        agents: &BTreeMap<Name, Arc<AgentSpec>>,
        ask: &ReadyAsk,
        found: &[ReadyTask],
        news: &BTreeSet<TaskQueue>,
    ) {
        let mut rows: BTreeMap<&TaskQueue, (usize, Place)> = BTreeMap::new();
        for task in found {
            let place = (task.queue_key, task.run, task.inst);
            let (count, last) = rows.entry(&task.queue).or_insert((0, place));
            // Of equal keys the store has an order of its own.
            (*count, *last) = (*count + 1, place.max(*last));
        }
        // What is cut off is of the last one and of those after it.
        let cut = found.last().map(|task| &task.queue).filter(|_| found.len() >= ask.all);
        let rows_of: BTreeSet<&TaskQueue> = rows.keys().copied().collect();
        for (of, (count, last)) in rows {
            let (at_hand, asked) = (self.at_hand(agents, Some(&of.agent)), ask.of(of));
            let queue = self.queues.entry(of.agent.clone()).or_default();
            let more = count >= asked || cut == Some(of);
            let beyond = more.then_some(last);
            queue.answered(&of.key, beyond, at_hand, news.contains(of), asked >= DUE_ROWS_MAX);
        }
        // Of a queue that was asked for and has nothing, there is nothing beyond.
        let asked = ask.of.keys().filter(|of| cut.is_none() && !rows_of.contains(*of));
        for of in asked {
            let at_hand = self.at_hand(agents, Some(&of.agent));
            if let Some(queue) = self.queues.get_mut(&of.agent) {
                queue.answered(&of.key, None, at_hand, false, false);
            }
        }
        if ask.each > 0 {
            self.looked_at = cut.map(|last| Some(last.clone()));
        }
    }

    /// Runs that don't leave memory: their tasks are the next ones of a queue.
    pub fn at_hand_of(&self, agents: &BTreeMap<Name, Arc<AgentSpec>>) -> BTreeSet<RunId> {
        let of_queue = |(name, queue): (&Name, &Queue)| -> Vec<RunId> {
            match self.at_hand(agents, Some(name)) {
                1 => queue.next_runs(half(self.window(agents, Some(name)))).collect(),
                at_hand => queue.first_runs(half(at_hand)).collect(),
            }
        };
        self.queues.iter().flat_map(of_queue).collect()
    }

    /// The queues of agents that have a free slot, while the node has one.
    pub fn open_queues<'a>(
        &'a self,
        agents: &'a BTreeMap<Name, Arc<AgentSpec>>,
    ) -> impl Iterator<Item = (&'a Name, &'a Queue)> {
        let room = self.counted < self.max_running;
        self.queues.iter().filter(move |(name, queue)| {
            let limit = agents.get(*name).and_then(|a| a.concurrency).unwrap_or(u32::MAX);
            room && queue.running < limit && !queue.is_empty()
        })
    }
}

/// Whether an agent's attempts cost nothing, so that no slot is needed for them.
pub(super) fn is_free(agents: &BTreeMap<Name, Arc<AgentSpec>>, agent: &Name) -> bool {
    agents.get(agent).is_some_and(|spec| {
        let cheap = matches!(&spec.kind, AgentKind::Builtin(name) if name == "noop");
        cheap && spec.concurrency.is_none() && spec.limits.is_empty()
    })
}

impl Node {
    /// Starts attempts while there are slots.
    pub(super) fn fill_slots(&mut self, now: Millis) {
        self.limits.wake = None;
        if self.draining || self.is_degraded() || !self.may_start(now, now) {
            return;
        }
        for (run, inst) in std::mem::take(&mut self.slots.fresh) {
            self.start_attempt(now, run, inst, false);
        }
        let mut failed = false;
        // Those that start are as many as there are slots; those that fail are as many as there are.
        while !(failed && self.is_full())
            && let Some((run, inst, over)) = self.next_task(now)
        {
            match over {
                None => self.start_attempt(now, run, inst, true),
                Some(why) => {
                    failed = true;
                    self.fail_attempt(now, run, inst, &why);
                }
            }
        }
        for run in self.slots.wanted(&self.agents) {
            match self.runs.get(&run) {
                None => self.load(run, Vec::new()),
                Some(Entry::Loading(_)) => {}
                Some(Entry::Live(_)) => self.slots.came(run),
            }
        }
    }

    /// An attempt of the step ended: if another one was put off because of it, it may start.
    pub(super) fn slot_freed(&mut self, id: RunId, inst: InstIx) {
        let Some(Entry::Live(live)) = self.runs.get_mut(&id) else {
            self.slots.more_in_store = true;
            return;
        };
        live.leased = live.leased.saturating_sub(1);
        if let Some(task) = live.run.claimable(inst) {
            self.slots.offer(id, inst, &task, is_free(&self.agents, task.agent));
        }
    }

    /// A lease whose commit had an unknown outcome is not in the store. It is asked for again at
    /// once: should the lost commit arrive yet, one of the two is refused, and that is noticed.
    /// What can't be claimed now is leased by what is applied again, to the same effect; what a limit
    /// holds back by now waits in its queue, as everything else does.
    pub(super) fn lease_again(&mut self, now: Millis, id: RunId, inst: InstIx) {
        let Some(Entry::Live(live)) = self.runs.get(&id) else { return };
        let Some(Claimable { agent, queue_key, .. }) = live.run.claimable(inst) else { return };
        if self.draining || !self.limits.let_start(&self.agents, agent, live.run.action(inst), now)
        {
            return;
        }
        let counted = !is_free(&self.agents, agent);
        self.slots.withdraw(id, inst, agent, queue_key);
        self.start_attempt(now, id, inst, counted);
    }

    fn start_attempt(&mut self, now: Millis, id: RunId, inst: InstIx, counted: bool) {
        if self.slots.holds(id, inst) {
            return;
        }
        let env = moa_core::machine::Env { now, agents: &self.agents, schemas: &*self.schemas };
        let Some(Entry::Live(live)) = self.runs.get_mut(&id) else {
            self.slots.more_in_store = true;
            return;
        };
        let (assignment, applied) = match guarded(|| live.run.lease(env, inst, self.id)) {
            Ok(Ok(leased)) => leased,
            Ok(Err(_)) => return,
            Err(panic) => return self.quarantine(id, "starting an attempt", &panic),
        };
        let mut after = None;
        if let Some(a) = assignment {
            let (agent, attempt) = (a.agent.clone(), a.attempt);
            self.slots.take(id, inst, Lease { agent, since: now, attempt, counted });
            live.leased += 1;
            if let Some(spec) = self.agents.get(&a.agent) {
                self.limits.take(spec, id, &a.action, now);
            }
            after = Some(After::Start(Box::new(Task {
                run: id,
                trace: live.run.row.trace(),
                workflow: live.run.row.workflow.clone(),
                inst,
                step: a.step,
                iteration: a.iteration,
                attempt: a.attempt,
                agent: a.agent,
                action: a.action,
                params: a.params,
                env: a.env,
                inputs: a.inputs,
                timeout: a.timeout,
                idempotency_key: a.idempotency_key,
                once: a.once,
                leased_at: now,
            })));
        }
        self.gather(now, id, applied, None, after);
    }

    /// Offers what an input made ready, withdraws what it took back. Before the change is gathered.
    pub(super) fn queue_effects(
        agents: &BTreeMap<Name, Arc<AgentSpec>>,
        slots: &mut Slots,
        id: RunId,
        live: &Live,
        effects: &[Effect],
    ) {
        for effect in effects {
            match effect {
                Effect::Enqueue { step } => {
                    if let Some(task) = live.run.claimable(*step) {
                        slots.offer(id, *step, &task, is_free(agents, task.agent));
                    }
                }
                Effect::Dequeue { step } => {
                    if let Some((agent, key)) = change_of(&live.run, *step) {
                        slots.withdraw(id, *step, &agent, key);
                    }
                }
                _ => {}
            }
        }
    }
}
