//! The loop: virtual time, one queue of what is going to happen, one source of chance.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use moa_core::agent::AgentSpec;
use moa_core::event::InstIx;
use moa_core::ids::{Name, RunId};
use moa_core::machine::Graph;
use moa_core::time::Millis;
use moa_core::trigger::TriggerSpec;
use moa_core::workflow::{Concurrency, Plan};
use moa_ports::agent::Completion;
use moa_ports::memory::MemoryStore;
use moa_ports::store::WorkflowVersion;

use crate::agents;
use crate::calls::{Answer, Call};
use crate::check::{Checker, Turns};
use crate::coverage::Coverage;
use crate::ledger::Ledger;
use crate::panics;
use crate::plans::{self, Maker};
use crate::plant::Plant;
use crate::process::Process;
use crate::random::Random;
use crate::swarm::Swarm;
use crate::triggers;
use crate::users::Users;

/// When the simulated world begins.
const BEGIN: i64 = 1_800_000_000_000;
/// Events after the faults have stopped of which one at least must write something. What writes gets
/// on: many runs that wake each other up need many events, and are still not stuck.
const IDLE_EVENTS_MAX: u64 = 60_000;
/// Events after the faults have stopped in which everything must end.
const CALM_EVENTS_MAX: u64 = 2_000_000;
/// Time after the faults have stopped in which everything must end, or some attempt start: where an agent
/// may spend little in an hour, what has piled up for it takes days, and each attempt gets it on.
const CALM_TIME_MAX: i64 = 24 * 3_600_000;

/// What to simulate.
#[derive(Debug, Clone)]
pub struct Options {
    /// Everything follows from it.
    pub seed: u64,
    /// Events until faults and users stop.
    pub events: u64,
    /// A bug planted on purpose.
    pub plant: Option<Plant>,
    /// Whether a trace is kept.
    pub trace: bool,
}

/// What came of it.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// Events handled.
    pub events: u64,
    /// Runs that came to be.
    pub runs: usize,
    /// Attempts that were executed.
    pub executions: usize,
    /// Milliseconds of virtual time.
    pub time: i64,
    /// The first thing that was wrong.
    pub failure: Option<String>,
    /// A line for everything that happened, if asked for.
    pub trace: String,
    /// Pairs of (status, event) seen.
    pub coverage: Coverage,
}

/// Names one execution: run, step, attempt.
pub(crate) type ExecutionId = (RunId, InstIx, u32);

/// Something that is going to happen. Processes are named by position and life: what was meant for
/// a process that has died reaches nobody.
#[derive(Debug)]
pub(crate) enum Happening {
    /// The store gets to a call.
    Reached(u64),
    /// A process gets an answer of the store.
    Answered(usize, u64, Box<Answer>),
    /// A process's time to wake has come.
    Wake(usize, u64, i64),
    /// A process asks its node what to do.
    Poll(usize, u64),
    /// A process renews its registration.
    Renew(usize, u64),
    /// A process gets a hint.
    Hint(usize),
    /// A process hears of the end of an attempt.
    Completed(usize, u64, Completion),
    /// An execution ends as planned.
    Ends(ExecutionId),
    /// An execution ends because it was asked to; whether it was released.
    Stops(ExecutionId, bool),
    /// A process starts.
    Boot(usize),
    /// A stopping process ends what still runs.
    Release(usize, u64),
    /// A stopping process waits no longer.
    GiveUp(usize, u64),
    /// A user does something.
    User,
    /// Some process suffers a fault.
    Fault,
    /// Users help every run that waits for them to its end.
    Nudge,
}

/// A workflow that can be started.
pub(crate) struct Workflow {
    pub name: Name,
    pub children: Vec<Name>,
    pub versions: u64,
    pub concurrency: Option<Concurrency>,
}

/// The simulated world.
pub(crate) struct World {
    pub seed: u64,
    pub random: Random,
    pub swarm: Swarm,
    pub plant: Option<Plant>,
    pub now: i64,
    /// The instant at which it began.
    pub begin: i64,
    pub queue: BTreeMap<(i64, u64, u64), Happening>,
    pub count: u64,
    pub store: MemoryStore,
    pub checker: Checker,
    pub ledger: Ledger,
    pub agents: BTreeMap<Name, Arc<AgentSpec>>,
    pub processes: Vec<Process>,
    pub calls: BTreeMap<u64, Call>,
    pub workflows: Vec<Workflow>,
    pub users: Users,
    /// The triggers that processes put when they start.
    pub specs: Vec<TriggerSpec>,
    /// Whether clocks were ever more than a second apart.
    pub clocks_apart: bool,
    /// When faults and users stopped, once they have.
    pub calm_since: Option<(i64, u64)>,
    /// When an attempt was started last.
    pub last_start: i64,
    /// Whether the work of some runs may have piled up because nodes left them alone.
    pub piled_up: bool,
    pub over: bool,
    pub events: u64,
    /// The event at which the store was written last.
    pub written: u64,
    failure: Option<String>,
    trace: Option<String>,
}

/// Simulates one seed.
pub fn simulate(options: &Options) -> Report {
    let _quiet = panics::catch();
    let mut world = World::new(options);
    let run = catch_unwind(AssertUnwindSafe(|| world.run(options.events)));
    if let Some(panic) = panics::take() {
        world.fail(format!("panic: {panic}"));
    } else if run.is_err() {
        world.fail("panic".into());
    }
    Report {
        seed: options.seed,
        events: world.events,
        runs: world.checker.runs().count(),
        executions: world.ledger.len(),
        time: world.now - world.begin,
        failure: world.failure,
        trace: world.trace.unwrap_or_default(),
        coverage: world.checker.coverage,
    }
}

impl World {
    fn new(options: &Options) -> Self {
        let mut random = Random::new(options.seed);
        let mut swarm = Swarm::draw(&mut random);
        swarm.draw_rare(options.seed);
        let agents = agents::specs(&mut random, &swarm);
        let store = match swarm.exclusive {
            true => MemoryStore::single(),
            false => MemoryStore::shared(),
        };
        let mut world = Self {
            seed: options.seed,
            plant: options.plant,
            now: BEGIN,
            begin: BEGIN,
            queue: BTreeMap::new(),
            count: 0,
            store,
            checker: Checker::default(),
            ledger: Ledger::default(),
            agents,
            processes: Vec::new(),
            calls: BTreeMap::new(),
            workflows: Vec::new(),
            users: Users::default(),
            specs: Vec::new(),
            clocks_apart: false,
            calm_since: None,
            last_start: 0,
            piled_up: false,
            over: false,
            events: 0,
            written: 0,
            failure: None,
            trace: options.trace.then(String::new),
            random,
            swarm,
        };
        world.note(|w| format!("seed {} {:?}", options.seed, w.swarm));
        let in_memory = world.swarm.cached_max.is_none();
        world.checker.turns = world.swarm.backlog.then(|| Turns::new(in_memory));
        world.make_workflows();
        if world.swarm.triggers {
            world.specs = triggers::specs(options.seed, &world.workflows[0].name);
        }
        if world.swarm.clocks {
            world.begin = triggers::by_clocks(options.seed, &mut world.specs);
            world.now = world.begin;
        }
        world.make_processes();
        world.after(0, Happening::User);
        if world.swarm.fault_every > 0 {
            let wait = world.random.delay(world.swarm.fault_every);
            world.after(wait, Happening::Fault);
        }
        world
    }

    fn make_workflows(&mut self) {
        for event in plans::EVENTS {
            self.put(plans::emitter(event));
        }
        let count = self.random.range(2, 5);
        let mut names: Vec<Name> = Vec::new();
        for i in 0..count {
            let name = plans::name(&format!("flow_{i}"));
            let concurrency = Maker::concurrency(&mut self.random, &self.swarm);
            let children = names.clone();
            self.workflows.push(Workflow {
                name: name.clone(),
                children,
                versions: 0,
                concurrency,
            });
            names.push(name);
            self.new_version(i as usize);
        }
    }

    /// Puts another version of a workflow into the store.
    pub fn new_version(&mut self, which: usize) {
        let workflow = &mut self.workflows[which];
        let version = workflow.versions;
        workflow.versions += 1;
        let (name, children) = (&workflow.name, &workflow.children);
        let mut plan = Maker::make(&mut self.random, &self.swarm, name, version, children);
        plan.concurrency = workflow.concurrency.clone();
        plan.fairness = self.swarm.tenants.then(Maker::fairness);
        self.put(plan);
    }

    fn put(&mut self, plan: Plan) {
        let version = WorkflowVersion {
            workflow: plan.workflow.clone(),
            hash: plan.hash,
            version: plan.version.clone(),
            source: String::new(),
            plan: serde_json::to_string(&plan).expect("a plan has no maps with odd keys"),
            created_at: Millis(self.now),
        };
        self.note(|_| format!("workflow {} {}", version.hash.short(), version.plan));
        let graph = Graph::new(plan).expect("made plans keep the rules of plans");
        self.checker.know(Arc::new(graph));
        self.store.model().put_workflow(Millis(self.now), version);
    }

    fn run(&mut self, events: u64) {
        while self.failure.is_none() && !self.over {
            let Some(((at, ..), happening)) = self.queue.pop_first() else {
                return self.fail("nothing will ever happen again".into());
            };
            self.now = self.now.max(at);
            self.events += 1;
            self.note(|_| describe(&happening));
            self.happen(happening);
            if let Some(panic) = panics::take() {
                self.fail(format!("panic: {panic}"));
            }
            match self.calm_since {
                None if self.events >= events => self.calm(),
                None if self.events.is_multiple_of(128) => self.look(),
                None => {}
                Some((time, count)) => {
                    let late = self.now - time.max(self.last_start) > CALM_TIME_MAX;
                    let idle = self.events - count.max(self.written) > IDLE_EVENTS_MAX;
                    if late || idle || self.events - count > CALM_EVENTS_MAX {
                        self.never_over();
                    }
                }
            }
        }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Reached(call) => self.reached(call),
            Happening::Answered(p, life, answer) => self.answered(p, life, answer),
            Happening::Wake(p, life, at) => self.wake(p, life, at),
            Happening::Poll(p, life) => self.polled(p, life),
            Happening::Renew(p, life) => self.renew(p, life),
            Happening::Hint(p) => self.hinted(p),
            Happening::Completed(p, life, done) => self.completed(p, life, done),
            Happening::Ends(id) => self.ends(id),
            Happening::Stops(id, release) => self.stops(id, release),
            Happening::Boot(p) => self.boot(p),
            Happening::Release(p, life) => self.release(p, life),
            Happening::GiveUp(p, life) => self.give_up(p, life),
            Happening::User => self.user(),
            Happening::Fault => self.fault(),
            Happening::Nudge => self.nudge(),
        }
    }

    /// Compares the whole store with what is known.
    fn look(&mut self) {
        let model = self.store.model();
        let judged = self.checker.deep(&model);
        drop(model);
        self.must(judged);
    }

    /// Says why not everything has ended in time.
    fn never_over(&mut self) {
        let model = self.store.model();
        let judged = self.checker.over(&model);
        drop(model);
        let why = match judged {
            Err(why) => why,
            Ok(()) => format!("calls {:?}, asked {:?}", self.calls, self.users),
        };
        let nodes: Vec<_> =
            self.processes.iter().map(|p| p.node.as_ref().map(|n| n.status())).collect();
        self.fail(format!("not everything comes to its end: {why}\nnodes: {nodes:?}"));
    }

    /// Lets something happen after a time.
    pub fn after(&mut self, wait: u64, happening: Happening) {
        self.count += 1;
        // Of what happens at the same instant any may come first.
        let tie = self.random.bits();
        self.queue.insert((self.now + wait as i64, tie, self.count), happening);
    }

    /// Writes a line of the trace.
    pub fn note(&mut self, line: impl FnOnce(&Self) -> String) {
        if self.trace.is_some() {
            let line = line(self);
            let time = self.now - self.begin;
            if let Some(trace) = &mut self.trace {
                trace.push_str(&format!("{:>6} {time:>9} {line}\n", self.events));
            }
        }
    }

    /// Keeps the first thing that is wrong.
    pub fn fail(&mut self, what: String) {
        self.note(|_| format!("FAILURE {what}"));
        if self.failure.is_none() {
            self.failure = Some(what);
        }
    }

    /// Fails when something was judged wrong.
    pub fn must(&mut self, judged: Result<(), String>) {
        if let Err(wrong) = judged {
            self.fail(wrong);
        }
    }

    /// Whether this is a moment for the planted bug of that kind.
    pub fn planted(&mut self, plant: Plant, per_mille: u32) -> bool {
        self.plant == Some(plant) && self.random.chance(per_mille)
    }
}

/// A line of the trace for something that happens.
fn describe(happening: &Happening) -> String {
    let Happening::Answered(p, _, answer) = happening else { return format!("{happening:?}") };
    match &**answer {
        Answer::Loaded(ids, Ok(found)) => {
            let runs = ids.iter().zip(found).map(|(id, found)| {
                let at = found.as_ref().map_or(0, |s| s.version);
                format!("{}@{at}", id.short())
            });
            format!("n{p} loaded {:?}", runs.collect::<Vec<_>>())
        }
        Answer::Resolved(which, Ok(found)) => {
            let version = found.as_ref().map(|v| v.hash.short());
            format!("n{p} resolved {which:?} {version:?}")
        }
        other => format!("n{p} {other:?}"),
    }
}
