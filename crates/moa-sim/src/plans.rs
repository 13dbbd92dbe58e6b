//! Random workflows: every construct of a plan, in every combination that is valid.

use moa_core::committee::{Committee, Seat};
use moa_core::expr::Program;
use moa_core::ids::{Name, StepId, VersionHash, mix};
use moa_core::retry::{Backoff, RetryPolicy};
use moa_core::schema::Schema;
use moa_core::template::Template;
use moa_core::time::Span;
use moa_core::workflow::{
    Body, BodyIx, Concurrency, FairnessPlan, MAIN, Need, NeedStatus, OnLimit, OnTimeout, Output,
    Plan, PlanStep, Priority, RunIf, StepIx, StepKind,
};
use serde_json::{Value as Json, json};

use crate::agents;
use crate::plant::Plant;
use crate::random::Random;
use crate::schemas;
use crate::swarm::Swarm;

/// Types of the events that steps emit and wait for.
pub const EVENTS: [&str; 2] = ["ping", "pong"];
/// Names of the signals that steps wait for.
pub const SIGNALS: [&str; 3] = ["go", "next", "data"];
/// Steps of one workflow, about.
const STEPS_MAX: usize = 24;
/// Nesting of loops.
const LOOPS_MAX: u32 = 2;

/// A name that is known to be one.
pub fn name(text: &str) -> Name {
    Name::new(text).expect("letters, digits, `_` and `-`")
}

fn program(source: &str) -> Program {
    Program::compile(source).unwrap_or_else(|e| panic!("{source}: {e:?}"))
}

fn template(value: Json) -> Template {
    Template::compile(&value, false).unwrap_or_else(|e| panic!("{value}: {e:?}"))
}

/// A workflow that does nothing but emit an event.
pub fn emitter(event: &str) -> Plan {
    let mut plan = blank(name(&format!("emit_{event}")), 0);
    let data = template(json!({ "n": 100, "id": "${{ run.id }}/once" }));
    plan.steps.push(step(0, MAIN, StepKind::Emit { event: event.to_owned(), data }));
    plan.bodies = vec![Body { start: 0, count: 1, owner: None }];
    plan
}

/// A stored plan as a node with a planted bug reads it: without whose its tasks are, or without what
/// handles that its time is over.
pub fn tamper(plant: Plant, text: &mut String) {
    let mut plan: Plan = serde_json::from_str(text).expect("it was written as one");
    match plant {
        Plant::ForgottenTurns => plan.fairness = None,
        Plant::UnhandledTimeout if plan.timeout.is_some() => plan.on_failure = None,
        _ => return,
    }
    *text = serde_json::to_string(&plan).expect("a plan has no maps with odd keys");
}

fn blank(workflow: Name, version: u64) -> Plan {
    let mut hash = [0; 32];
    let seed = workflow.as_str().bytes().fold(version, |h, b| mix(h ^ u64::from(b)));
    for (i, chunk) in hash.chunks_mut(8).enumerate() {
        chunk.copy_from_slice(&mix(seed ^ i as u64).to_be_bytes());
    }
    Plan {
        title: workflow.to_string(),
        workflow,
        hash: VersionHash(hash),
        version: Some(format!("1.{version}")),
        description: None,
        params: Vec::new(),
        vars: [("limit".to_owned(), json!(2))].into_iter().collect(),
        priority: Priority::Medium,
        concurrency: None,
        fairness: None,
        timeout: None,
        steps: Vec::new(),
        bodies: Vec::new(),
        on_failure: None,
        finally: None,
        outputs: Vec::new(),
    }
}

fn step(ix: usize, body: BodyIx, kind: StepKind) -> PlanStep {
    PlanStep {
        id: StepId::new(&format!("s{ix}")).expect("a letter and digits"),
        body,
        parent: None,
        branch: 0,
        needs: Vec::new(),
        run_if: RunIf::Success,
        condition: None,
        kind,
        outputs: Vec::new(),
        retry: None,
        timeout: None,
        queue_timeout: None,
        tolerate: false,
        compensate: None,
        priority: None,
        once: false,
        line: 0,
    }
}

/// A body whose steps are still to be made.
struct Todo {
    body: BodyIx,
    loops: u32,
    small: bool,
}

/// Where a list of steps stands.
#[derive(Clone, Copy)]
struct Place {
    body: BodyIx,
    parent: Option<StepIx>,
    branch: u16,
    loops: u32,
    /// Containers around it in its body.
    depth: u32,
    small: bool,
}

/// Makes one plan.
pub struct Maker<'a> {
    random: &'a mut Random,
    swarm: &'a Swarm,
    children: &'a [Name],
    plan: Plan,
    todo: Vec<Todo>,
}

impl<'a> Maker<'a> {
    /// A random workflow, whose child runs are of these workflows. The version is part of its hash.
    pub fn make(
        random: &'a mut Random,
        swarm: &'a Swarm,
        workflow: &Name,
        version: u64,
        children: &'a [Name],
    ) -> Plan {
        let plan = blank(workflow.clone(), version);
        let mut maker = Self { random, swarm, children, plan, todo: Vec::new() };
        maker.header();
        maker.open_body(None, 0, false);
        if maker.random.chance(maker.swarm.cleanup) {
            maker.plan.on_failure = Some(maker.open_body(None, 1, true));
        }
        if maker.random.chance(maker.swarm.cleanup) {
            maker.plan.finally = Some(maker.open_body(None, 1, true));
        }
        while !maker.todo.is_empty() {
            let todo = maker.todo.remove(0);
            maker.body(todo);
        }
        maker.plan
    }

    fn header(&mut self) {
        let plan = &mut self.plan;
        plan.priority = *self.random.pick(&[
            Priority::Critical,
            Priority::High,
            Priority::Medium,
            Priority::Low,
        ]);
        if self.random.chance(self.swarm.options / 4) {
            plan.timeout = Some(Span(self.random.range(50, 90_000)));
        }
        if self.random.chance(self.swarm.options / 2) {
            let outputs = ["s0.output", "params.flag", "s0.n + 1", "nothing_of_that_name"];
            let source = outputs[self.random.weighted(&[8, 4, 3, 1])];
            let output = self.output("result", source);
            self.plan.outputs.push(output);
        }
    }

    /// The concurrency of a workflow, the same for all its versions.
    pub fn concurrency(random: &mut Random, swarm: &Swarm) -> Option<Concurrency> {
        use OnLimit::{CancelRunning, Queue, ReplacePending, Skip};
        random.chance(swarm.keyed).then(|| Concurrency {
            key: random.chance(500).then(|| program("params.k")),
            limit: random.range(1, 2) as u32,
            on_limit: *random.pick(&[Queue, Queue, Skip, CancelRunning, ReplacePending]),
        })
    }

    /// Whose tasks a workflow's are; drawn by nobody.
    pub fn fairness() -> FairnessPlan {
        FairnessPlan { key: program("has(params.k) ? params.k : null"), weight: None }
    }

    fn open_body(&mut self, owner: Option<StepIx>, loops: u32, small: bool) -> BodyIx {
        let body = self.plan.bodies.len() as BodyIx;
        self.plan.bodies.push(Body { start: 0, count: 0, owner });
        self.todo.push(Todo { body, loops, small });
        body
    }

    fn body(&mut self, todo: Todo) {
        let Todo { body, loops, small } = todo;
        let start = self.plan.steps.len();
        let place = Place { body, parent: None, branch: 0, loops, depth: 0, small };
        self.list(place);
        let count = self.plan.steps.len() - start;
        let made = &mut self.plan.bodies[usize::from(body)];
        (made.start, made.count) = (start as StepIx, count as u32);
    }

    /// A list of steps, one after the other or with needs at random.
    fn list(&mut self, place: Place) {
        let max = if place.small { 2 } else { 4 };
        let count = self.random.range(1, max);
        let sequence = self.random.chance(500);
        let mut previous = None;
        for _ in 0..count {
            let ix = self.plan.steps.len();
            self.item(place);
            let first = self.plan.bodies[usize::from(place.body)].start;
            let needs = match (sequence, previous) {
                (true, Some(previous)) => vec![previous],
                (true, None) => Vec::new(),
                (false, _) => self.any_needs(ix as StepIx, place, first),
            };
            let when = self.plan.steps[ix].run_if == RunIf::Success;
            let needs = needs.into_iter().map(|step| self.need(step, when)).collect();
            self.plan.steps[ix].needs = needs;
            previous = Some(ix as StepIx);
        }
    }

    fn need(&mut self, step: StepIx, whens: bool) -> Need {
        use NeedStatus::{Cancelled, Failed, Skipped, Succeeded};
        let mut when = Vec::new();
        if whens && self.random.chance(self.swarm.options / 4) {
            let sets: [&[NeedStatus]; 4] =
                [&[Succeeded], &[Failed], &[Skipped, Cancelled], &[Succeeded, Failed, Skipped]];
            when = self.random.pick(&sets).to_vec();
        }
        Need { step, when }
    }

    /// Some of the steps of the body that stand before, none of them around it.
    fn any_needs(&mut self, ix: StepIx, place: Place, _first: StepIx) -> Vec<StepIx> {
        let mut around = Vec::new();
        let mut at = place.parent;
        while let Some(parent) = at {
            around.push(parent);
            at = self.plan.steps[parent as usize].parent;
        }
        let before = (0..ix).filter(|i| self.plan.steps[*i as usize].body == place.body);
        let before: Vec<StepIx> = before.filter(|i| !around.contains(i)).collect();
        let mut needs = Vec::new();
        for _ in 0..self.random.below(3) {
            if before.is_empty() {
                break;
            }
            let need = *self.random.pick(&before);
            if !needs.contains(&need) {
                needs.push(need);
            }
        }
        needs.sort_unstable();
        needs
    }

    /// One step, with what is inside it.
    fn item(&mut self, place: Place) {
        let ix = self.plan.steps.len();
        let mut kinds = self.swarm.kinds;
        let full = ix >= STEPS_MAX || place.depth >= 2;
        if full || place.small {
            kinds[1..5].fill(0);
        }
        if full || place.small || place.loops >= LOOPS_MAX {
            kinds[5..8].fill(0);
        }
        if self.children.is_empty() || place.loops > 0 {
            kinds[8] = 0;
        }
        let drawn = self.random.weighted(&kinds);
        let kind = self.kind(drawn, ix, place);
        let task = matches!(kind, StepKind::Task { .. });
        let mut step = step(ix, place.body, kind);
        (step.parent, step.branch) = (place.parent, place.branch);
        self.plan.steps.push(step);
        self.options(ix, task);
        if task && !place.small && self.random.chance(self.swarm.cleanup / 2) {
            let body = self.open_body(Some(ix as StepIx), place.loops + 1, true);
            self.plan.steps[ix].compensate = Some(body);
        }
        self.inside(drawn, ix, place);
    }

    /// The branches of a container.
    fn inside(&mut self, drawn: usize, ix: usize, place: Place) {
        if let StepKind::Committee(committee) = &self.plan.steps[ix].kind {
            return self.members(committee.seats.len() as u16, ix, place);
        }
        let branches = match drawn {
            1 | 2 => 1,
            3 | 4 => match &self.plan.steps[ix].kind {
                StepKind::If { cases, default } => cases.len() + usize::from(default.is_some()),
                _ => 0,
            },
            _ => 0,
        };
        for branch in 0..branches as u16 {
            let parent = Some(ix as StepIx);
            self.list(Place { parent, branch, depth: place.depth + 1, ..place });
        }
    }

    /// The members of a committee: one step each, with what is inside it.
    fn members(&mut self, seats: u16, ix: usize, place: Place) {
        let parent = Some(ix as StepIx);
        for branch in 0..seats {
            let member = self.plan.steps.len();
            self.item(Place { parent, branch, depth: place.depth + 1, ..place });
            self.plan.steps[member].tolerate = true;
        }
    }

    fn committee(&mut self) -> StepKind {
        let seats = self.random.range(1, 3) as u32;
        let votes = ["true", "output.n > 1", "false", "null", "s0.nothing"];
        let vote = votes[self.random.weighted(&[6, 6, 2, 2, 1])];
        let seat = |random: &mut Random| Seat {
            weight: random.range(1, 2) as u32,
            veto: random.chance(200),
        };
        StepKind::Committee(Box::new(Committee {
            vote: Some(program(vote)),
            seats: (0..seats).map(|_| seat(self.random)).collect(),
            quorum: self.random.range(1, u64::from(seats)) as u32,
            threshold: 0.5,
            strict: self.random.chance(500),
            fail_on_reject: self.random.chance(500),
        }))
    }

    fn kind(&mut self, drawn: usize, ix: usize, place: Place) -> StepKind {
        match drawn {
            0 | 1 => self.task(),
            2 if self.random.chance(300) => self.committee(),
            2 => StepKind::Group,
            3 | 4 => {
                let count = if drawn == 3 { 1 } else { self.random.range(1, 3) as usize };
                let cases = (0..count).map(|_| self.condition(ix, place)).collect();
                let default = self.random.chance(500).then_some(count as u16);
                StepKind::If { cases, default }
            }
            5 => self.foreach(ix, place),
            6 | 7 => self.repeat(ix, place, drawn == 7),
            8 => self.child(),
            9 => StepKind::WaitSignal {
                name: template(json!(*self.random.pick(&SIGNALS))),
                matches: self.random.chance(300).then(|| program("event.n > 1")),
                timeout: self.wait_timeout(),
                on_timeout: self.on_timeout(),
            },
            10 => StepKind::WaitEvent {
                event: (*self.random.pick(&EVENTS)).to_owned(),
                matches: self.random.chance(300).then(|| program("event.data.n > 1")),
                timeout: self.wait_timeout(),
                on_timeout: self.on_timeout(),
            },
            11 => StepKind::Approve {
                request: template(json!({ "title": "Go on?" })),
                timeout: self.wait_timeout(),
                on_timeout: self.on_timeout(),
            },
            12 => {
                let lengths = [json!("10ms"), json!("2s"), json!(700), json!("1m"), json!("soon")];
                let length = lengths[self.random.weighted(&[6, 6, 6, 3, 1])].clone();
                StepKind::Sleep { until: template(length) }
            }
            _ => StepKind::Emit {
                event: (*self.random.pick(&EVENTS)).to_owned(),
                data: self.emitted(ix, place),
            },
        }
    }

    /// The data of an event; its id says whether the step emits one or, in a loop, many.
    fn emitted(&mut self, ix: usize, place: Place) -> Template {
        let how = if place.body == MAIN { "once" } else { "many" };
        let id = format!("${{{{ run.id }}}}/s{ix}/{how}");
        template(json!({ "n": self.random.below(4), "id": id }))
    }

    fn task(&mut self) -> StepKind {
        let (agent, action) = *self.random.pick(&agents::ACTIONS);
        let params = match self.random.below(12) {
            0 => json!({ "flag": "${{ params.flag }}", "n": 1 }),
            1 => json!({ "n": "${{ s0.n }}" }),
            _ => Json::Null,
        };
        StepKind::Task {
            agent: name(agent),
            action: action.to_owned(),
            params: template(params),
            env: Template::default(),
        }
    }

    fn foreach(&mut self, ix: usize, place: Place) -> StepKind {
        let lists = ["[1, 2, 3]", "params.items", "s0.items", "{'a': 1, 'b': 2}", "[]", "3"];
        let items = lists[self.random.weighted(&[8, 6, 3, 3, 2, 1])];
        StepKind::Foreach {
            items: program(items),
            var: "item".into(),
            max_parallel: self.random.chance(500).then(|| self.random.range(1, 2) as u32),
            collect: self.random.chance(500),
            body: self.open_body(Some(ix as StepIx), place.loops + 1, place.loops > 0),
        }
    }

    fn repeat(&mut self, ix: usize, place: Place, until: bool) -> StepKind {
        let body = self.open_body(Some(ix as StepIx), place.loops + 1, place.loops > 0);
        // The id of the body's first step is not known yet, but a body is made after all that
        // stands before it: conditions look at the loop's surroundings, or at its counter.
        let conditions = ["params.flag", "!params.flag", "s0.n < 3", "true", "false"];
        let condition = conditions[self.random.weighted(&[4, 4, 4, 2, 2])];
        StepKind::While {
            condition: program(condition),
            until,
            max_iterations: self.random.range(1, 3) as u32,
            body,
        }
    }

    fn child(&mut self) -> StepKind {
        let workflow = match self.random.chance(30) {
            true => name("nowhere"),
            false => self.random.pick(self.children).clone(),
        };
        StepKind::Child {
            workflow,
            version: self.random.chance(50).then(|| "1.0".to_owned()),
            params: template(json!({ "flag": true, "k": "c", "items": [1] })),
            abandon: self.random.chance(200),
        }
    }

    fn wait_timeout(&mut self) -> Option<Span> {
        self.random.chance(500).then(|| Span(self.random.range(1, 20_000)))
    }

    fn on_timeout(&mut self) -> OnTimeout {
        use OnTimeout::{Continue, Escalate, Fail, Skip};
        *self.random.pick(&[Fail, Continue, Skip, Escalate])
    }

    /// A condition; now and then one that can't be evaluated.
    fn condition(&mut self, ix: usize, place: Place) -> Program {
        if place.loops > 0 && self.random.chance(200) {
            return program("index < 1");
        }
        let earlier = self.random.below(ix as u64 + 1).min(ix.saturating_sub(1) as u64);
        let source = match self.random.below(9) {
            0 => "params.flag".to_owned(),
            1 => "!params.flag".to_owned(),
            2 if ix > 0 => format!("s{earlier}.success"),
            3 if ix > 0 => format!("s{earlier}.failed || s{earlier}.skipped"),
            4 if ix > 0 => format!("s{earlier}.n > 1"),
            5 => "vars.limit == 2".to_owned(),
            6 => "false".to_owned(),
            _ => "true".to_owned(),
        };
        program(&source)
    }

    fn options(&mut self, ix: usize, task: bool) {
        let often = self.swarm.options;
        let place = Place { body: MAIN, parent: None, branch: 0, loops: 0, depth: 0, small: false };
        if self.random.chance(often) {
            let condition = self.condition(ix, place);
            self.plan.steps[ix].run_if = match self.random.below(6) {
                0 | 1 => RunIf::Always,
                2 => RunIf::Failure,
                3 => RunIf::When(condition),
                _ => RunIf::Success,
            };
        }
        let container = matches!(self.plan.steps[ix].kind, StepKind::If { .. });
        if !container && self.random.chance(often / 3) {
            self.plan.steps[ix].condition = Some(self.condition(ix, place));
        }
        let child = matches!(self.plan.steps[ix].kind, StepKind::Child { .. });
        if (task || child) && self.random.chance(700) {
            self.plan.steps[ix].retry = Some(retry_policy(self.random));
        }
        let random = &mut *self.random;
        let step = &mut self.plan.steps[ix];
        step.tolerate = random.chance(often / 2);
        if task {
            step.once = random.chance(self.swarm.once / 2);
            step.timeout = random.chance(often).then(|| Span(random.range(10, 20_000)));
            step.queue_timeout = random.chance(often / 2).then(|| Span(random.range(1, 5_000)));
            let priorities = [Priority::Critical, Priority::Low];
            step.priority = random.chance(often / 4).then(|| *random.pick(&priorities));
        }
        self.outputs(ix);
    }

    /// What becomes of a step's output. Waits keep theirs: it tells the checkers what came.
    fn outputs(&mut self, ix: usize) {
        use StepKind::{Child, Foreach, Group, If, Task, While};
        let often = self.swarm.options / 4;
        let sources = match self.plan.steps[ix].kind {
            Task { .. } => ["output.n", "output", "output.n + 1"],
            Child { .. } => ["output.result", "output", "params.flag"],
            Group | If { .. } | Foreach { .. } | While { .. } => ["output", "params.flag", "s0.n"],
            _ => return,
        };
        if self.random.chance(often) {
            let source = *self.random.pick(&sources);
            self.plan.steps[ix].outputs = vec![self.output("n", source)];
        }
    }

    /// An output; every other one has a schema, which its value may or may not meet.
    fn output(&mut self, name: &str, source: &str) -> Output {
        let schema = self.random.chance(500).then(|| schemas::random(self.random));
        Output { name: name.into(), value: program(source), schema: schema.map(Schema::new) }
    }
}

/// A random retry policy with short delays.
pub fn retry_policy(random: &mut Random) -> RetryPolicy {
    let delay = Span(*random.pick(&[0, 1, 100, 2_000, 15_000]));
    RetryPolicy {
        max_attempts: random.range(1, 4) as u32,
        backoff: *random.pick(&[Backoff::Constant, Backoff::Linear, Backoff::Exponential]),
        delay,
        max_delay: Span(30_000),
        jitter: *random.pick(&[0.0, 0.0, 0.5]),
        max_elapsed: random.chance(150).then(|| Span(random.range(10, 60_000))),
        when: match random.below(12) {
            0 => Some("attempt < 3".into()),
            1 => Some("error.kind != 'timeout'".into()),
            2 => Some("no_such_name".into()),
            _ => None,
        },
    }
}
