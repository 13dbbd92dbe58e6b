//! New runs: asked for by people and triggers, by other runs (children), and as forks of ended ones.

use std::sync::Arc;

use moa_core::event::RunCreated;
use moa_core::ids::{Name, RunId, VersionHash};
use moa_core::machine::{
    ForkPoint, Graph, Input, MessageBody, Run, StartChild, StartRun, check_params, concurrency_key,
    fairness, fill_params,
};
use moa_core::policy::queue_key;
use moa_core::run::{ParentRef, TriggerRef};
use moa_core::step::{ErrorKind, StepError, cut_message};
use moa_core::time::Millis;
use moa_core::trigger::TriggerInput;
use moa_core::workflow::Plan;
use moa_ports::store::{
    self, ConcurrencySlot, Message, MessageId, Relay, StartGuard, WorkflowRef, WorkflowVersion,
};
use serde_json::Value as Json;

use crate::handle::{Error, ForkFrom, ForkRequest, StartRequest, Started};

use super::gather::{After, Queued};
use super::quarantine::guarded;
use super::{Answer, Command, Entry, Live, Node, Token, WorkflowKey};

/// Somebody who waits for a workflow version.
pub(super) enum Waiting {
    Start { token: Token, run: RunId, request: Box<StartRequest> },
    Child { message: MessageId, run: RunId, start: Box<StartChild> },
    Triggered { message: MessageId, run: RunId, start: Box<StartRun> },
}

/// A run to be created, kept until it is durable.
#[derive(Debug, Clone)]
pub(super) struct Creation {
    pub created: RunCreated,
    pub graph: Arc<Graph>,
    pub idempotency_key: Option<String>,
    pub asker: Asker,
    /// It was committed once already, with unknown outcome: existing is success.
    pub again: bool,
}

/// Who wants the run.
#[derive(Debug, Clone, Copy)]
pub(super) enum Asker {
    Start(Token),
    Fork(Token),
    Parent(MessageId),
    Trigger(MessageId),
}

impl Asker {
    /// Whether it hears at once that there is no such run; a message comes again.
    pub fn is_told(self) -> bool {
        self.message().is_none()
    }

    /// The message that asks, if it is one.
    pub fn message(self) -> Option<MessageId> {
        match self {
            Self::Parent(message) | Self::Trigger(message) => Some(message),
            Self::Start(_) | Self::Fork(_) => None,
        }
    }
}

impl Creation {
    pub fn answer(&self, node: &mut Node, result: Result<Started, Error>) {
        match self.asker {
            Asker::Start(token) => node.reply(token, Answer::Started(result)),
            Asker::Fork(token) => {
                let result = result.and_then(|started| match started {
                    Started::New { run } | Started::Existing { run } => Ok(run),
                    Started::Skipped => {
                        let reason = "its concurrency key is used up, and the workflow says skip";
                        Err(Error::Rejected { reason: reason.into() })
                    }
                });
                node.reply(token, Answer::Forked(result));
            }
            // The message stays in the store and comes again.
            Asker::Parent(_) | Asker::Trigger(_) => {}
        }
    }
}

fn key_of(which: &WorkflowRef) -> WorkflowKey {
    match which {
        WorkflowRef::Hash(hash) => (Some(*hash), String::new(), None),
        WorkflowRef::Newest(name, version) => (None, name.to_string(), version.clone()),
    }
}

fn which_of(workflow: &Name, version: Option<&String>) -> WorkflowRef {
    match version.and_then(|v| v.parse::<VersionHash>().ok()) {
        Some(hash) => WorkflowRef::Hash(hash),
        None => WorkflowRef::Newest(workflow.clone(), version.cloned()),
    }
}

/// What is said when the machine failed on a request, and nothing was done.
fn failed_on(panic: String) -> String {
    format!("moa failed on this request, and did nothing: {panic}")
}

fn params_of(graph: &Graph, given: &Json) -> Result<Json, String> {
    guarded(|| fill_params(graph, given)).map_err(failed_on).flatten()
}

impl Node {
    /// Params of a run that no door has checked: a trigger or another run made them.
    fn checked(&self, graph: &Graph, given: &Json) -> Result<Json, String> {
        let all = params_of(graph, given)?;
        let check = || check_params(graph, &*self.schemas, given);
        guarded(check).map_err(failed_on).flatten().map(|()| all)
    }

    pub(super) fn resolve_start(
        &mut self,
        now: Millis,
        token: Token,
        run: RunId,
        request: StartRequest,
    ) {
        let which = which_of(&request.workflow, request.version.as_ref());
        self.resolve(now, which, Waiting::Start { token, run, request: Box::new(request) });
    }

    pub(super) fn resolve_child(
        &mut self,
        now: Millis,
        message: MessageId,
        run: RunId,
        start: StartChild,
    ) {
        let which = which_of(&start.workflow, start.version.as_ref());
        self.resolve(now, which, Waiting::Child { message, run, start: Box::new(start) });
    }

    pub(super) fn resolve_triggered(
        &mut self,
        now: Millis,
        message: MessageId,
        run: RunId,
        start: StartRun,
    ) {
        let which = which_of(&start.workflow, None);
        self.resolve(now, which, Waiting::Triggered { message, run, start: Box::new(start) });
    }

    /// Goes on with a known version, else asks for it; one question for all that wait for the same.
    fn resolve(&mut self, now: Millis, which: WorkflowRef, waiting: Waiting) {
        if let WorkflowRef::Hash(hash) = &which
            && let Some(graph) = self.graphs.get(hash).cloned()
        {
            return self.go_on(now, graph, waiting);
        }
        let asked = self.resolving.entry(key_of(&which)).or_default();
        asked.push(waiting);
        if asked.len() == 1 {
            self.out.push_back(Command::Resolve(which));
        }
    }

    pub(super) fn resolve_done(
        &mut self,
        now: Millis,
        which: &WorkflowRef,
        found: Option<WorkflowVersion>,
    ) {
        let graph = found.and_then(|version| self.keep_graph(&version));
        if let WorkflowRef::Hash(hash) = which {
            let parked = self.parked.remove(hash).unwrap_or_default();
            for (id, snapshot) in parked {
                match &graph {
                    Some(_) => self.place_loaded(now, id, Some(snapshot)),
                    None => {
                        let reason = format!("workflow version {hash} is not in the store");
                        self.broken(id, &reason);
                    }
                }
            }
        }
        for waiting in self.resolving.remove(&key_of(which)).unwrap_or_default() {
            match &graph {
                Some(graph) => self.go_on(now, graph.clone(), waiting),
                None => self.no_workflow(which, waiting),
            }
        }
    }

    /// The store failed: who asked is told, messages come again, and loads are made again.
    pub(super) fn not_resolved(&mut self, now: Millis, which: &WorkflowRef, error: store::Error) {
        let reason = error.to_string();
        for waiting in self.resolving.remove(&key_of(which)).unwrap_or_default() {
            if let Waiting::Start { token, .. } = waiting {
                let error = Error::Unavailable { reason: reason.clone() };
                self.reply(token, Answer::Started(Err(error)));
            }
        }
        let parked = match which {
            WorkflowRef::Hash(hash) => self.parked.remove(hash).unwrap_or_default(),
            WorkflowRef::Newest(..) => Vec::new(),
        };
        let ids: Vec<_> = parked.into_iter().map(|(id, _)| id).collect();
        // They count as loading until they are parked no more.
        self.loads += ids.len();
        self.loaded(now, ids, Err(error));
    }

    fn keep_graph(&mut self, version: &WorkflowVersion) -> Option<Arc<Graph>> {
        if let Some(graph) = self.graphs.get(&version.hash) {
            return Some(graph.clone());
        }
        let plan: Result<Plan, _> = serde_json::from_str(&version.plan);
        let graph = plan.map_err(|e| e.to_string()).and_then(|plan| {
            guarded(|| Graph::new(plan)).and_then(|graph| graph.map_err(|e| e.to_string()))
        });
        match graph {
            Ok(graph) => {
                let graph = Arc::new(graph);
                self.graphs.insert(version.hash, graph.clone());
                Some(graph)
            }
            Err(error) => {
                tracing::error!(workflow.id = %version.workflow, error, "plan can't be read");
                None
            }
        }
    }

    fn no_workflow(&mut self, which: &WorkflowRef, waiting: Waiting) {
        let (workflow, version) = match (which, &waiting) {
            (WorkflowRef::Newest(name, version), _) => (name.to_string(), version.clone()),
            (WorkflowRef::Hash(hash), Waiting::Start { request, .. }) => {
                (request.workflow.to_string(), Some(hash.to_string()))
            }
            (WorkflowRef::Hash(hash), Waiting::Child { start, .. }) => {
                (start.workflow.to_string(), Some(hash.to_string()))
            }
            (WorkflowRef::Hash(hash), Waiting::Triggered { start, .. }) => {
                (start.workflow.to_string(), Some(hash.to_string()))
            }
        };
        let error = Error::UnknownWorkflow { workflow, version };
        match waiting {
            Waiting::Start { token, .. } => self.reply(token, Answer::Started(Err(error))),
            Waiting::Child { message, run, start } => {
                self.child_impossible(message, run, &start, error.to_string());
            }
            Waiting::Triggered { message, run, start } => {
                self.not_triggered(message, run, &start.trigger, false, error.to_string());
            }
        }
    }

    /// A run that a trigger wanted can't be started: it is told in the transaction that deletes the
    /// message. `limit`: the workflow's own limit says skip.
    fn not_triggered(
        &mut self,
        message: MessageId,
        run: RunId,
        trigger: &TriggerRef,
        limit: bool,
        reason: String,
    ) {
        // It quotes what came from outside.
        let reason = cut_message(reason);
        let input = TriggerInput::NotStarted { run, limit, reason };
        let messages = vec![Message::to_trigger(trigger.trigger, input)];
        self.relays.push(Relay { consumed: message, messages });
    }

    /// A child that can't be started has failed: its parent is told in the transaction that deletes
    /// the message.
    fn child_impossible(
        &mut self,
        message: MessageId,
        run: RunId,
        start: &StartChild,
        reason: String,
    ) {
        self.parent_told(message, run, start.parent, reason);
    }

    fn parent_told(&mut self, message: MessageId, run: RunId, parent: ParentRef, reason: String) {
        let result = Err(StepError::new(ErrorKind::Child, reason));
        let input = Input::ChildDone { step: parent.step, run, result };
        let messages = vec![Message { to: parent.run, body: MessageBody::Input(input) }];
        self.relays.push(Relay { consumed: message, messages });
    }

    fn go_on(&mut self, now: Millis, graph: Arc<Graph>, waiting: Waiting) {
        match waiting {
            Waiting::Start { token, run, request } => {
                self.go_on_start(now, graph, token, run, *request);
            }
            Waiting::Child { message, run, start } => {
                let params = match self.checked(&graph, &start.params) {
                    Ok(params) => params,
                    Err(reason) => return self.child_impossible(message, run, &start, reason),
                };
                let created = RunCreated {
                    run,
                    workflow: graph.workflow.clone(),
                    hash: graph.hash,
                    params: Arc::new(params),
                    priority: start.priority,
                    parent: Some(start.parent),
                    trigger: None,
                    seed: None,
                    concurrency_key: None,
                    fairness: start.fairness.clone(),
                    trace: start.trace,
                    cause: format!("run {}", start.parent.run),
                };
                let asker = Asker::Parent(message);
                self.begin(now, created, graph, None, asker);
            }
            Waiting::Triggered { message, run, start } => {
                self.go_on_triggered(now, graph, message, run, *start);
            }
        }
    }

    fn go_on_triggered(
        &mut self,
        now: Millis,
        graph: Arc<Graph>,
        message: MessageId,
        run: RunId,
        start: StartRun,
    ) {
        let StartRun { workflow: _, params, priority, cause, trigger } = start;
        let params = match self.checked(&graph, &params) {
            Ok(params) => params,
            Err(reason) => return self.not_triggered(message, run, &trigger, false, reason),
        };
        let created = RunCreated {
            run,
            workflow: graph.workflow.clone(),
            hash: graph.hash,
            params: Arc::new(params),
            priority: priority.unwrap_or(graph.priority),
            parent: None,
            trigger: Some(trigger),
            seed: None,
            concurrency_key: None,
            fairness: None,
            trace: None,
            cause,
        };
        self.begin(now, created, graph, None, Asker::Trigger(message));
    }

    fn go_on_start(
        &mut self,
        now: Millis,
        graph: Arc<Graph>,
        token: Token,
        run: RunId,
        request: StartRequest,
    ) {
        let params = match params_of(&graph, &request.params) {
            Ok(params) => params,
            Err(reason) => {
                return self.reply(token, Answer::Started(Err(Error::Rejected { reason })));
            }
        };
        let created = RunCreated {
            run,
            workflow: graph.workflow.clone(),
            hash: graph.hash,
            params: Arc::new(params),
            priority: request.priority.unwrap_or(graph.priority),
            parent: None,
            trigger: None,
            seed: None,
            concurrency_key: None,
            fairness: None,
            trace: request.trace,
            cause: request.cause,
        };
        self.begin(now, created, graph, request.idempotency_key, Asker::Start(token));
    }

    /// The last part of every start: the concurrency key and the fairness, then the run itself.
    fn begin(
        &mut self,
        now: Millis,
        mut created: RunCreated,
        graph: Arc<Graph>,
        idempotency_key: Option<String>,
        asker: Asker,
    ) {
        let keys = guarded(|| {
            let (params, run) = (&created.params, created.run);
            Ok((concurrency_key(&graph, params, run)?, fairness(&graph, params, run)?))
        });
        match keys.map_err(failed_on).flatten() {
            Ok((key, own)) => {
                created.concurrency_key = key;
                created.fairness = own.or(created.fairness);
            }
            Err(reason) => {
                let creation = Creation { created, graph, idempotency_key, asker, again: false };
                return self.impossible(&creation, reason);
            }
        }
        self.create(now, Creation { created, graph, idempotency_key, asker, again: false });
    }

    /// A run can't be made: who asked is told, and a parent's step fails.
    fn impossible(&mut self, creation: &Creation, reason: String) {
        let run = creation.created.run;
        match (creation.asker, creation.created.parent, &creation.created.trigger) {
            (Asker::Parent(message), Some(parent), _) => {
                self.parent_told(message, run, parent, reason);
            }
            (Asker::Trigger(message), _, Some(trigger)) => {
                self.not_triggered(message, run, trigger, false, reason);
            }
            _ => creation.answer(self, Err(Error::Rejected { reason })),
        }
    }

    /// Creates a run in memory; durable with the next batch.
    pub(super) fn create(&mut self, now: Millis, creation: Creation) {
        let id = creation.created.run;
        // A commit of unknown outcome may have created it: what that one leased is settled first.
        if self.runs.contains_key(&id) || self.is_leased_in_doubt(id) {
            return self.submit(now, id, Queued::Create(Box::new(creation)));
        }
        let env = moa_core::machine::Env { now, agents: &self.agents, schemas: &*self.schemas };
        let (created, graph) = (creation.created.clone(), creation.graph.clone());
        let (run, applied) = match guarded(|| Run::create(env, created, graph)) {
            Ok(Ok(made)) => made,
            Ok(Err(error)) => return self.impossible(&creation, error.to_string()),
            Err(panic) => return self.never_created(creation, &panic),
        };
        let live = Live { run, root: None, pending: None, in_flight: None, leased: 0, used: 0 };
        self.runs.insert(id, Entry::Live(Box::new(live)));
        let after = match creation.asker {
            Asker::Start(token) => {
                Some(After::Reply(token, Answer::Started(Ok(Started::New { run: id }))))
            }
            Asker::Fork(token) => Some(After::Reply(token, Answer::Forked(Ok(id)))),
            Asker::Parent(_) | Asker::Trigger(_) => None,
        };
        if matches!(creation.asker, Asker::Start(_) | Asker::Fork(_)) {
            self.scope.add(id);
        }
        let guard = guard_of(now, &creation);
        let consumed = creation.asker.message();
        self.gather(now, id, applied, Some(Queued::Create(Box::new(creation))), after);
        let pending = self.pending(id);
        pending.start = Some(guard);
        pending.consumed.extend(consumed);
    }

    /// moa itself failed on a run before it existed. Who asked is told; a child's message stays in
    /// the store, and is tried again at the next start.
    fn never_created(&mut self, creation: Creation, panic: &str) {
        let (id, asker) = (creation.created.run, creation.asker);
        match asker {
            Asker::Parent(_) | Asker::Trigger(_) => self.quarantine(id, "creating it", panic),
            Asker::Start(_) | Asker::Fork(_) => {
                tracing::error!(run.id = %id, error = panic, "moa failed on a run; it is not created");
            }
        }
        self.refuse(id, Queued::Create(Box::new(creation)), &failed_on(panic.to_owned()));
    }

    /// The run of a start exists already: in the store, or in memory.
    pub(super) fn creation_exists(&mut self, id: RunId, creation: Creation) {
        match creation.asker {
            Asker::Parent(message) | Asker::Trigger(message) => {
                self.pending(id).consumed.push(message);
            }
            Asker::Start(_) | Asker::Fork(_) => {
                creation.answer(self, Ok(Started::New { run: id }));
            }
        }
    }

    /// The store did not create the run: another one has its idempotency key (`existing`), or its
    /// concurrency key is used up. What was meant for the new run by others finds no run.
    pub(super) fn created_elsewhere(
        &mut self,
        id: RunId,
        inputs: Vec<Queued>,
        existing: Option<RunId>,
    ) {
        self.scope.remove(id);
        for queued in inputs {
            let creation = match queued {
                Queued::Create(creation) => creation,
                queued if queued.comes_again() => continue,
                queued => {
                    self.refuse_unknown(id, queued);
                    continue;
                }
            };
            let answer = match existing {
                Some(run) => Started::Existing { run },
                None => Started::Skipped,
            };
            if let (Asker::Trigger(message), None, Some(trigger)) =
                (creation.asker, existing, &creation.created.trigger)
            {
                let reason = "its concurrency key is used up, and the workflow says skip";
                self.not_triggered(message, id, trigger, true, reason.into());
            }
            if let (Asker::Parent(message), None) = (creation.asker, existing) {
                let start = StartChild {
                    workflow: creation.created.workflow.clone(),
                    version: None,
                    params: creation.created.params.clone(),
                    parent: match creation.created.parent {
                        Some(parent) => parent,
                        None => continue,
                    },
                    priority: creation.created.priority,
                    fairness: creation.created.fairness.clone(),
                    trace: creation.created.trace,
                };
                let reason = "its concurrency key is used up, and the workflow says skip";
                self.child_impossible(message, creation.created.run, &start, reason.into());
            }
            creation.answer(self, Ok(answer));
        }
    }

    pub(super) fn apply_fork(
        &mut self,
        now: Millis,
        source: RunId,
        token: Token,
        run: RunId,
        request: ForkRequest,
    ) {
        let Some(Entry::Live(live)) = self.runs.get_mut(&source) else { return };
        // What is not durable yet may never come to be: the fork waits for it.
        if let Some(part) = live.pending.as_mut().or(live.in_flight.as_mut()) {
            part.inputs.push(Queued::Fork { token, run, request: Box::new(request) });
            return;
        }
        let point = match &request.from {
            ForkFrom::Failed => ForkPoint::Failed,
            ForkFrom::Step(name) => ForkPoint::Step(name.clone()),
            ForkFrom::Start => ForkPoint::Start,
        };
        let graph = live.run.graph.clone();
        let before = live.run.row.params.clone();
        let params = params_of(&graph, request.params.as_ref().unwrap_or(&before));
        let seeded = params.and_then(|params| {
            let seed = guarded(|| match params == *before {
                true => live.run.seed(&point),
                false => live.run.seed_for_other_params(&point),
            });
            let seed = seed.map_err(failed_on)?.map_err(|e| e.to_string())?;
            Ok((params, seed))
        });
        let (params, seed) = match seeded {
            Ok(seeded) => seeded,
            Err(reason) => {
                return self.reply(token, Answer::Forked(Err(Error::Rejected { reason })));
            }
        };
        let created = RunCreated {
            run,
            workflow: graph.workflow.clone(),
            hash: graph.hash,
            params: Arc::new(params),
            priority: live.run.row.priority,
            parent: None,
            trigger: live.run.row.trigger.clone(),
            seed: seed.map(Arc::new),
            concurrency_key: None,
            fairness: live.run.row.extra.fairness.clone(),
            trace: None,
            cause: request.cause,
        };
        self.begin(now, created, graph, request.idempotency_key, Asker::Fork(token));
    }
}

fn guard_of(now: Millis, creation: &Creation) -> StartGuard {
    let concurrency = creation.graph.concurrency.as_ref();
    let key = creation.created.concurrency_key.clone();
    let slot = concurrency.zip(key).map(|(c, key)| ConcurrencySlot {
        key,
        limit: c.limit,
        on_limit: c.on_limit,
        queue_key: queue_key(creation.created.priority, now),
    });
    StartGuard { idempotency_key: creation.idempotency_key.clone(), concurrency: slot }
}
