//! What one seed does much of, and what it doesn't do at all.
//!
//! Swarm testing: a run in which every fault may happen seldom gets far with any of them. Each seed
//! switches some faults and some features of workflows off altogether, and draws how often the
//! others come.

use crate::random::Random;

/// The rates of one seed. Chances are per mille, times in milliseconds, weights relative.
#[derive(Debug, Clone)]
pub struct Swarm {
    /// Processes.
    pub nodes: usize,
    /// Whether the store is one for a single node.
    pub exclusive: bool,
    /// Attempts at once on a node.
    pub max_running: u32,
    /// Runs that a node keeps in memory, when not the usual number.
    pub cached_max: Option<usize>,
    /// Starts of a process that executes only what it is asked to.
    pub asked_only: u32,
    /// Whether there are triggers.
    pub triggers: bool,
    /// Whether triggers are edited, switched off and on, and backfilled.
    pub edits: bool,
    /// Whether schedules go by clocks of places and by calendars, at instants when those matter.
    pub clocks: bool,
    /// Whether workflows have a fairness key.
    pub tenants: bool,
    /// Whether one key asks for much more than can be done, on one node without faults.
    pub backlog: bool,
    /// Rows that a node asks the store for at once, when not the usual number.
    pub due_limit: Option<usize>,
    /// Whether committed changes are published.
    pub publish: bool,
    /// Mean time of a store call, each way.
    pub latency: u64,
    /// Store calls that take seconds.
    pub slow: u32,
    /// Commits refused before anything is written.
    pub unavailable: u32,
    /// Commits written, but reported as unknown.
    pub unknown_written: u32,
    /// Commits reported as unknown and not written.
    pub unknown_lost: u32,
    /// Commits reported as unknown and written later.
    pub unknown_late: u32,
    /// Commits that the store can never take.
    pub unwritable: u32,
    /// Reads that fail.
    pub read_fails: u32,
    /// Hints that are lost.
    pub hints_lost: u32,
    /// Times a node is told what happened without being asked what to do at once.
    pub lazy: u32,
    /// How far a node's clock may be off.
    pub skew: u64,
    /// Mean time between two faults of processes; 0 = none.
    pub fault_every: u64,
    /// Weights: crash, stop, stall, clock jump, new workflow version.
    pub faults: [u32; 5],
    /// Crashes after which attempts go on for a while.
    pub orphans: u32,
    /// Mean time of an attempt.
    pub attempt: u64,
    /// Weights: success, retryable, permanent, timeout, unknown, rate limited, output, never.
    pub outcomes: [u32; 8],
    /// Attempts that answer twice.
    pub answers_twice: u32,
    /// Attempts that answer in the name of another one as well.
    pub answers_wrongly: u32,
    /// Attempts that don't stop when asked.
    pub ignores_stop: u32,
    /// Mean time between two actions of users.
    pub user_every: u64,
    /// Weights: start, start again, signal, cancel, terminate, pause, resume, fork.
    pub users: [u32; 8],
    /// Weights of step kinds: task, task with branches, group, if, switch, foreach, while, until,
    /// child, signal, event, approve, sleep, emit.
    pub kinds: [u32; 14],
    /// How often steps and workflows have options: retry, timeouts, run_if, and so on.
    pub options: u32,
    /// Workflows with a concurrency key.
    pub keyed: u32,
    /// Steps that must not be repeated blindly.
    pub once: u32,
    /// Workflows with compensations, `on_failure` or `finally`.
    pub cleanup: u32,
}

/// Nothing in half of the seeds, else up to `max`.
fn some(random: &mut Random, max: u64) -> u32 {
    match random.chance(500) {
        true => 0,
        false => random.range(1, max) as u32,
    }
}

impl Swarm {
    /// Draws the rates of a seed.
    pub fn draw(random: &mut Random) -> Self {
        let nodes = *random.pick(&[1, 1, 1, 2, 2, 3]);
        let exclusive = nodes == 1 && random.chance(700);
        let mut swarm = Self::quiet(nodes, exclusive);
        swarm.max_running = random.range(1, 8) as u32;
        let cached = random.range(1, 12);
        swarm.cached_max = random.chance(250).then_some(cached as usize);
        swarm.due_limit = random.chance(250).then(|| random.range(1, 4) as usize);
        swarm.publish = random.chance(500);
        swarm.latency = *random.pick(&[0, 1, 5, 30]);
        swarm.user_every = *random.pick(&[20, 100, 400, 2000]);
        swarm.attempt = *random.pick(&[1, 20, 300, 4000]);
        swarm.draw_faults(random);
        swarm.draw_world(random);
        swarm
    }

    fn draw_faults(&mut self, random: &mut Random) {
        self.slow = some(random, 40);
        self.unavailable = some(random, 80);
        self.unknown_written = some(random, 80);
        self.unknown_lost = some(random, 60);
        self.unknown_late = if self.exclusive { 0 } else { some(random, 40) };
        // Drawn aside: a seed without it stays the story that it was.
        let mut aside = random.clone();
        self.unwritable = if aside.chance(100) { aside.range(1, 10) as u32 } else { 0 };
        self.read_fails = some(random, 60);
        self.hints_lost = *random.pick(&[0, 300, 1000]);
        self.lazy = some(random, 500);
        // Registrations hold as long as clocks are not more than a second apart.
        self.skew = u64::from(!self.exclusive) * *random.pick(&[0, 0, 300, 500, 2500]);
        self.fault_every = *random.pick(&[0, 500, 3000, 15_000]);
        for weight in &mut self.faults {
            *weight = some(random, 10);
        }
        self.orphans = some(random, 1000);
        for weight in &mut self.outcomes[1..] {
            *weight = some(random, 12);
        }
        self.answers_twice = some(random, 200);
        self.answers_wrongly = some(random, 200);
        self.ignores_stop = some(random, 600);
    }

    fn draw_world(&mut self, random: &mut Random) {
        self.users = [10, 0, 4, 0, 0, 0, 0, 0];
        let max = [0, 6, 8, 4, 3, 4, 6, 6];
        for (weight, max) in self.users.iter_mut().zip(max).skip(1) {
            *weight += if max > 0 { some(random, max) } else { 0 };
        }
        for weight in &mut self.kinds[1..] {
            *weight = some(random, 10);
        }
        self.options = random.range(0, 400) as u32;
        self.keyed = some(random, 700);
        self.once = some(random, 500);
        self.cleanup = some(random, 600);
    }

    /// Draws what only few seeds do. From numbers of its own: all that the others do stays
    /// as it was.
    pub fn draw_rare(&mut self, seed: u64) {
        let mut random = Random::new(!seed);
        if seed % 7 == 5 {
            self.asked_only = random.range(100, 900) as u32;
        }
        self.triggers = seed % 13 == 6;
        self.edits = seed % 23 == 21;
        self.clocks = seed % 23 == 17;
        self.triggers |= self.edits || self.clocks;
        self.tenants = seed % 23 == 13;
        if seed % 23 == 8 {
            let kinds = self.kinds;
            let users = [12, 0, 0, 1, 0, 1, 2, 0];
            *self = Self { kinds, users, ..Self::quiet(1, true) };
            (self.tenants, self.backlog) = (true, true);
            (self.max_running, self.user_every, self.attempt) = (2, 20, 300);
        }
        // Most of the keys that wait have no run in memory.
        if self.tenants && seed.is_multiple_of(2) {
            self.cached_max = Some(random.range(1, 4) as usize);
            // What users say in a world with a backlog is more than a few at a time can do.
            let due_limit = random.range(1, 6) as usize;
            self.due_limit = (!self.backlog).then_some(due_limit);
        }
    }

    /// No fault at all.
    pub fn quiet(nodes: usize, exclusive: bool) -> Self {
        Self {
            nodes,
            exclusive,
            max_running: 8,
            cached_max: None,
            asked_only: 0,
            triggers: false,
            edits: false,
            clocks: false,
            tenants: false,
            backlog: false,
            due_limit: None,
            publish: true,
            latency: 1,
            slow: 0,
            unavailable: 0,
            unknown_written: 0,
            unknown_lost: 0,
            unknown_late: 0,
            unwritable: 0,
            read_fails: 0,
            hints_lost: 0,
            lazy: 0,
            skew: 0,
            fault_every: 0,
            faults: [0; 5],
            orphans: 0,
            attempt: 20,
            outcomes: [100, 0, 0, 0, 0, 0, 0, 0],
            answers_twice: 0,
            answers_wrongly: 0,
            ignores_stop: 0,
            user_every: 400,
            users: [10, 0, 0, 0, 0, 0, 0, 0],
            kinds: [30, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            options: 0,
            keyed: 0,
            once: 0,
            cleanup: 0,
        }
    }

    /// The same world from the moment on at which everything works.
    pub fn calmed(&self) -> Self {
        let mut calm = Self::quiet(self.nodes, self.exclusive);
        calm.max_running = self.max_running;
        calm.cached_max = self.cached_max;
        calm.due_limit = self.due_limit;
        calm.publish = self.publish;
        calm.triggers = self.triggers;
        calm.edits = self.edits;
        calm.clocks = self.clocks;
        (calm.tenants, calm.backlog) = (self.tenants, self.backlog);
        calm.users = [0; 8];
        calm
    }
}
