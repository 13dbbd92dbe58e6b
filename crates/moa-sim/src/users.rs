//! Users: what they ask for, and whether the answers they get are true.

use std::collections::{BTreeMap, BTreeSet};

use moa_core::event::InstIx;
use moa_core::ids::{Name, RunId};
use moa_core::run::RunStatus;
use moa_core::step::{StepStatus, WaitReason};
use moa_engine::handle::{Change, ForkFrom, ForkRequest, StartRequest, Started};
use moa_engine::node::{Answer, Token};
use serde_json::{Value as Json, json};

use crate::plans::{EVENTS, SIGNALS};
use crate::world::{Happening, World};

/// A request that is not answered yet.
#[derive(Debug, Clone)]
pub enum Asked {
    /// A run.
    Start { run: RunId, key: Option<String>, workflow: Name },
    /// A change of a run; the pauses and resumptions that it had had by then.
    Change { run: RunId, change: Change, seen: (u32, u32) },
    /// A fork.
    Fork { run: RunId },
    /// Something of a trigger.
    Trigger,
}

impl Asked {
    /// Whether it asks for that run.
    pub fn starts(&self, id: RunId) -> bool {
        matches!(self, Self::Start { run, .. } if *run == id)
    }
}

/// What users remember.
#[derive(Debug, Default)]
pub struct Users {
    count: u64,
    /// Idempotency keys used, with the workflow.
    keys: Vec<(String, Name)>,
    /// Runs whose creation is on its way to the store, with unknown outcome.
    pub late: BTreeSet<RunId>,
    /// Keys of signals used.
    signals: Vec<(RunId, String, String)>,
}

impl World {
    /// A user does something.
    pub(crate) fn user(&mut self) {
        if self.calm_since.is_some() {
            return;
        }
        let wait = self.random.delay(self.swarm.user_every).max(1);
        self.after(wait, Happening::User);
        let often = if self.swarm.edits { 300 } else { 100 };
        if self.swarm.triggers && self.random.chance(often) {
            return self.user_triggers();
        }
        let users = self.swarm.users;
        match self.random.weighted(&users) {
            0 => self.user_starts(),
            1 => self.user_starts_again(),
            2 => self.user_signals(),
            3 => self.user_changes(Change::Cancel { reason: "a user".into() }),
            4 => self.user_changes(Change::Terminate { reason: "a user".into() }),
            5 => self.user_changes(Change::Pause),
            6 => self.user_changes(Change::Resume),
            _ => self.user_forks(),
        }
    }

    pub(crate) fn ask(&mut self, p: usize, asked: Asked) -> Token {
        let process = &mut self.processes[p];
        process.next_token += 1;
        process.asked.insert(process.next_token, asked);
        process.next_token
    }

    fn new_run(&mut self) -> RunId {
        let random = u128::from(self.random.bits()) << 64 | u128::from(self.random.bits());
        RunId::v7(self.now as u64, random)
    }

    fn user_starts(&mut self) {
        let which = self.random.below(self.workflows.len() as u64) as usize;
        let workflow = self.workflows[which].name.clone();
        let key = self.random.chance(400).then(|| {
            self.users.count += 1;
            format!("start-{}", self.users.count)
        });
        if let Some(key) = &key {
            self.users.keys.push((key.clone(), workflow.clone()));
        }
        self.ask_start(workflow, key);
    }

    fn user_starts_again(&mut self) {
        if self.users.keys.is_empty() {
            return self.user_starts();
        }
        let recent = self.users.keys.len().saturating_sub(4);
        let (key, workflow) = self.random.pick(&self.users.keys[recent..]).clone();
        self.ask_start(workflow, Some(key));
    }

    pub(crate) fn ask_start(&mut self, workflow: Name, key: Option<String>) {
        let Some(p) = self.any_process() else { return };
        let run = self.new_run();
        let items: Vec<u64> = (0..self.random.below(4)).collect();
        let keys: &[&str] = match self.swarm.backlog {
            true => &["a", "a", "a", "a", "a", "b"],
            false => &["a", "b"],
        };
        let key_param = *self.random.pick(keys);
        let mut params = json!({ "flag": self.random.chance(500), "items": items, "k": key_param });
        if self.random.chance(20) {
            params = json!([]);
        }
        let request = StartRequest {
            workflow: workflow.clone(),
            version: None,
            params,
            idempotency_key: key.clone(),
            priority: None,
            trace: None,
            cause: "a user".into(),
        };
        let token = self.ask(p, Asked::Start { run, key, workflow });
        self.will_execute(p, run);
        let now = self.local(p);
        if let Some(node) = &mut self.processes[p].node {
            node.start(now, token, run, request);
        }
        self.told(p);
    }

    /// Some run, mostly one that has not ended.
    fn any_run(&mut self) -> Option<RunId> {
        let all = self.random.chance(150);
        let runs = self.checker.runs().filter(|(_, s)| all || s.ended.is_none());
        let runs: Vec<RunId> = runs.map(|(id, _)| *id).collect();
        if runs.is_empty() { None } else { Some(*self.random.pick(&runs)) }
    }

    fn user_changes(&mut self, change: Change) {
        if let Some(run) = self.any_run() {
            self.ask_change(run, change);
        }
    }

    pub(crate) fn ask_change(&mut self, run: RunId, change: Change) {
        let Some(p) = self.any_process() else { return };
        // Who asks for what is so already may be told that it is done.
        let seen = self
            .checker
            .run(run)
            .map_or((0, 0), |s| (s.pauses - u32::from(s.paused), s.resumes + u32::from(s.paused)));
        let token = self.ask(p, Asked::Change { run, change: change.clone(), seen });
        let now = self.local(p);
        self.processes[p].changed.insert(run);
        if let Some(node) = &mut self.processes[p].node {
            node.change(now, token, run, change);
        }
        self.told(p);
    }

    fn user_signals(&mut self) {
        if !self.users.signals.is_empty() && self.random.chance(200) {
            let (run, name, key) = self.random.pick(&self.users.signals).clone();
            let payload = json!({ "n": 2, "approved": true });
            return self.ask_change(run, Change::Signal { name, key: Some(key), payload });
        }
        let Some(run) = self.any_run() else { return };
        if self.random.chance(150) {
            return self.user_sends_event(run);
        }
        let waiting = self.waiting_for_signals(run);
        if waiting.is_empty() || self.random.chance(200) {
            let name = (*self.random.pick(&SIGNALS)).to_owned();
            return self.send_signal(run, name, json!({ "n": self.random.clone().below(4) }));
        }
        let inst = *self.random.pick(&waiting);
        let approved = self.random.chance(700);
        self.signal_step(run, inst, approved);
    }

    fn user_sends_event(&mut self, run: RunId) {
        self.users.count += 1;
        let data = json!({ "n": 2, "id": format!("event-{}/once", self.users.count) });
        let event = (*self.random.pick(&EVENTS)).to_owned();
        self.ask_change(run, Change::Event { event, data });
    }

    /// Steps of a run that wait for a signal.
    pub(crate) fn waiting_for_signals(&self, run: RunId) -> Vec<InstIx> {
        use WaitReason::{Approval, Signal, UnknownOutcome};
        let Some(shadow) = self.checker.run(run) else { return Vec::new() };
        let steps = shadow.steps.iter().enumerate().filter(|(_, s)| {
            let waits = matches!(s.wait, Some(Approval | Signal | UnknownOutcome));
            s.status == StepStatus::Waiting && waits && s.signal.is_some()
        });
        steps.map(|(i, _)| i as InstIx).collect()
    }

    /// Sends what a waiting step waits for. Persons look before they say what has happened.
    pub(crate) fn signal_step(&mut self, run: RunId, inst: InstIx, approved: bool) {
        let Some(step) = self.checker.run(run).and_then(|s| s.steps.get(inst as usize)) else {
            return;
        };
        let Some(name) = step.signal.clone() else { return };
        let done = self.key_of(run, inst).is_some_and(|key| self.ledger.has_happened(&key));
        let n = if approved { 100 } else { 0 };
        let mut payload = json!({ "approved": approved, "by": "ann", "n": n });
        if step.wait == Some(WaitReason::UnknownOutcome) {
            payload = json!({ "done": done, "attempt": step.attempt });
        }
        self.send_signal(run, name, payload);
    }

    fn send_signal(&mut self, run: RunId, name: String, payload: Json) {
        let key = self.random.chance(700).then(|| {
            self.users.count += 1;
            format!("signal-{}", self.users.count)
        });
        if let Some(key) = key.clone().filter(|_| !name.starts_with("resolve")) {
            self.users.signals.push((run, name.clone(), key));
        }
        self.ask_change(run, Change::Signal { name, key, payload });
    }

    fn user_forks(&mut self) {
        let ended: Vec<RunId> =
            self.checker.runs().filter(|(_, s)| s.ended.is_some()).map(|(id, _)| *id).collect();
        let source = match ended.is_empty() || self.random.chance(100) {
            true => self.any_run(),
            false => Some(*self.random.pick(&ended)),
        };
        let Some(source) = source else { return };
        let Some(shadow) = self.checker.run(source) else { return };
        let names: Vec<String> =
            shadow.steps.iter().map(|s| shadow.graph.step(s.plan).id.to_string()).collect();
        let from = match self.random.below(5) {
            0 | 1 => ForkFrom::Failed,
            2 => ForkFrom::Start,
            3 => ForkFrom::Step(self.random.pick(&names).clone()),
            _ => ForkFrom::Step(format!("{}[{}]", self.random.pick(&names).clone(), {
                self.random.below(3)
            })),
        };
        let Some(p) = self.any_process() else { return };
        let run = self.new_run();
        let params = self.random.chance(100).then(|| json!({ "flag": true, "k": "a" }));
        let request = ForkRequest {
            run: source,
            from,
            params,
            idempotency_key: None,
            cause: "a user".into(),
        };
        let token = self.ask(p, Asked::Fork { run });
        self.will_execute(p, run);
        let now = self.local(p);
        if let Some(node) = &mut self.processes[p].node {
            node.fork(now, token, run, request);
        }
        self.told(p);
    }

    /// A process is asked for a run.
    fn will_execute(&mut self, p: usize, run: RunId) {
        if let Some(only) = &mut self.processes[p].only {
            only.insert(run);
        }
    }

    // ---- answers

    /// A user gets an answer: it must be true.
    pub(crate) fn replied(&mut self, p: usize, token: Token, answer: Answer) {
        let Some(asked) = self.processes[p].asked.remove(&token) else {
            if self.plant.is_none() {
                self.fail(format!("request {token} is answered twice, or was never made"));
            }
            return;
        };
        let judged = match (&asked, answer) {
            (Asked::Start { run, key, .. }, Answer::Started(started)) => {
                if let Ok(Started::Existing { run }) = &started {
                    self.go_on_with(p, *run);
                }
                self.judge_start(*run, key.as_deref(), started)
            }
            (Asked::Change { run, change, seen }, Answer::Changed(changed)) => {
                self.judge_change(*run, change, *seen, changed)
            }
            (Asked::Fork { run }, Answer::Forked(Ok(forked))) => {
                match *run == forked && self.checker.run(forked).is_some() {
                    true => Ok(()),
                    false => Err(format!("fork {forked} was acknowledged, but is not there")),
                }
            }
            (Asked::Fork { run }, Answer::Forked(Err(_))) => self.checker.deny(*run),
            // What became of it is judged by what was written.
            (Asked::Trigger, Answer::Trigger(_)) => Ok(()),
            (_, answer) => Err(format!("{answer:?} is no answer to {asked:?}")),
        };
        self.must(judged);
    }

    /// Who asks for a run that is there already wants it executed.
    fn go_on_with(&mut self, p: usize, run: RunId) {
        self.will_execute(p, run);
        if let Some(node) = &mut self.processes[p].node {
            node.serve(run);
        }
    }

    fn judge_start(
        &mut self,
        asked: RunId,
        key: Option<&str>,
        started: Result<Started, moa_engine::handle::Error>,
    ) -> Result<(), String> {
        let by_key = key.and_then(|key| self.checker.started_with(key));
        match started {
            Ok(Started::New { run }) | Ok(Started::Existing { run })
                if self.checker.run(run).is_none() =>
            {
                Err(format!("run {run} was acknowledged, but is not there"))
            }
            Ok(Started::New { run }) if run != asked || (key.is_some() && by_key != Some(run)) => {
                Err(format!("run {run} is said to be new, but {by_key:?} has the key"))
            }
            Ok(Started::Existing { run }) if by_key != Some(run) => {
                Err(format!("run {run} is said to have the key, but {by_key:?} has it"))
            }
            Ok(Started::Existing { run }) if run == asked => Ok(()),
            Ok(Started::New { .. }) => Ok(()),
            // The first try may arrive yet, and find a free slot: nobody could know.
            Ok(Started::Skipped) if self.users.late.contains(&asked) => Ok(()),
            Ok(Started::Existing { .. } | Started::Skipped) | Err(_) => self.checker.deny(asked),
        }
    }

    fn judge_change(
        &mut self,
        run: RunId,
        change: &Change,
        seen: (u32, u32),
        changed: Result<(), moa_engine::handle::Error>,
    ) -> Result<(), String> {
        if let Err(error) = changed {
            // A refused signal must not arrive later; one whose key is used again may have arrived.
            if let Change::Signal { key: Some(key), .. } = change
                && self.users.signals.iter().filter(|(_, _, k)| k == key).count() == 0
                && self.checker.run(run).is_some_and(|s| s.signals.contains(key))
            {
                return Err(format!("signal {key} was refused ({error}), but has arrived"));
            }
            return Ok(());
        }
        let Some(shadow) = self.checker.run(run) else {
            return Err(format!("a change of run {run} was acknowledged, which is not there"));
        };
        let done = match change {
            Change::Signal { key: Some(key), .. } => shadow.signals.contains(key),
            Change::Signal { key: None, .. } => true,
            Change::Event { data, .. } => {
                let id = data.get("id").and_then(Json::as_str).unwrap_or_default();
                shadow.taken.contains_key(id)
            }
            Change::Pause => shadow.pauses > seen.0,
            Change::Resume => shadow.resumes >= seen.1,
            Change::Cancel { .. } => shadow.cancelled || shadow.ended == Some(RunStatus::Cancelled),
            Change::Terminate { .. } => shadow.ended.is_some(),
        };
        match done {
            true => Ok(()),
            false => Err(format!("{change:?} of run {run} was acknowledged, but is not there")),
        }
    }

    /// A process died with requests: who had a key asks again, elsewhere.
    pub(crate) fn unanswered(&mut self, asked: BTreeMap<Token, Asked>) {
        for asked in asked.into_values() {
            if let Asked::Start { key: Some(key), workflow, .. } = asked {
                self.users.keys.push((key, workflow));
            }
        }
    }
}
