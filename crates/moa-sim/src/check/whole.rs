//! Judging a run as a whole after a commit, and the store as a whole now and then.

use std::collections::BTreeMap;

use moa_core::event::InstIx;
use moa_core::ids::{Name, RunId};
use moa_core::machine::{BUS, Input, MessageBody, TimerKey};
use moa_core::run::Phase;
use moa_core::step::{StepStatus, WaitReason};
use moa_core::time::Millis;
use moa_core::workflow::StepKind;
use moa_ports::memory::Model;
use moa_ports::store::Message;

use super::Checker;
use super::post::Sent;
use super::shadow::Shadow;
use super::step::Step;

/// How long a timer or a message may be late when everything works, in milliseconds.
const LATE: u64 = 10_000;
/// The same for an event that is handed on to one run after another, because the store gives few
/// rows at a time: those before it are many at times, and so are the runs that wait for them.
const STORM_LATE: u64 = 3_600_000;
/// How long a task may be ready when everything works: others may be before it.
const READY_LATE: u64 = 60_000;
/// How long an agent with limits may do nothing while a task is ready: a quota may be used up.
const LIMITED_LATE: u64 = 3_700_000;

impl Checker {
    /// Steps that wait for events must be known to the store, and no others.
    pub(super) fn waiting(&self, id: RunId) -> Result<(), String> {
        let shadow = &self.runs[&id];
        for (i, step) in shadow.steps.iter().enumerate() {
            let StepKind::WaitEvent { event, .. } = &shadow.graph.step(step.plan).kind else {
                continue;
            };
            let known = self.waits.contains_key(&(event.clone(), id, i as InstIx));
            if known != (step.wait == Some(WaitReason::Event)) {
                return Err(format!(
                    "the store says that {} waits: {known}",
                    shadow.name(i as u32)
                ));
            }
        }
        Ok(())
    }

    /// What must hold of a run between two commits: it can go on, and nothing is forgotten.
    pub(super) fn sound(&self, id: RunId) -> Result<(), String> {
        let shadow = &self.runs[&id];
        let last = TimerKey::Run;
        let timers = self.timers.range((id, TimerKey::Step { step: 0 })..=(id, last));
        if shadow.ended.is_some() {
            return match timers.count() {
                0 => Ok(()),
                count => Err(format!("it has ended, and {count} timers are armed")),
            };
        }
        if !shadow.started {
            return Ok(());
        }
        let mut goes_on = false;
        for (i, step) in shadow.steps.iter().enumerate() {
            let inst = i as InstIx;
            match step.status {
                StepStatus::Pending => self.pending(shadow, inst)?,
                StepStatus::Ready | StepStatus::Running => goes_on = true,
                StepStatus::Waiting => goes_on |= self.waits_soundly(id, shadow, inst)?,
                _ => {}
            }
        }
        match goes_on {
            true => Ok(()),
            false => Err("nothing of it is under way, and nothing can ever happen".into()),
        }
    }

    fn pending(&self, shadow: &Shadow, inst: InstIx) -> Result<(), String> {
        match shadow.needs_ended(inst) && shadow.is_open(inst) {
            true => Err(format!("{} is forgotten: nothing keeps it", shadow.name(inst))),
            false => Ok(()),
        }
    }

    /// Whether a waiting step waits for something from outside.
    fn waits_soundly(&self, id: RunId, shadow: &Shadow, inst: InstIx) -> Result<bool, String> {
        let step = &shadow.steps[inst as usize];
        let timer = self.timers.get(&(id, TimerKey::Step { step: inst })).copied();
        if step.until.is_some() && !step.lapsed && timer != step.until {
            let (until, name) = (step.until, shadow.name(inst));
            return Err(format!("{name} waits until {until:?}, but its timer is {timer:?}"));
        }
        match step.wait {
            Some(WaitReason::Children) => match shadow.has_open_inside(inst) {
                true => Ok(false),
                false => Err(format!("{} never ends: all inside it has", shadow.name(inst))),
            },
            Some(WaitReason::Backoff | WaitReason::RateLimited | WaitReason::Timer) => {
                match timer {
                    Some(_) => Ok(true),
                    None => Err(format!("{} waits for no timer", shadow.name(inst))),
                }
            }
            Some(_) => Ok(true),
            None => Err(format!("{} waits for nothing", shadow.name(inst))),
        }
    }

    /// Compares the whole store with what the events say, and runs with one another.
    pub fn deep(&self, model: &Model) -> Result<(), String> {
        if !model.run_ids().eq(self.runs.keys().copied()) {
            return Err("the store has other runs than were written".into());
        }
        let timers = model.timers().map(|(run, key, due)| ((run, key), due));
        if !timers.eq(self.timers.iter().map(|(key, due)| (*key, *due))) {
            return Err("the store has other timers than were armed".into());
        }
        let waits = model.waits().map(|(event, run, inst)| (event.to_owned(), run, inst));
        if !waits.eq(self.waits.keys().cloned()) {
            return Err("the store has other waits than were written".into());
        }
        for (id, shadow) in &self.runs {
            self.family(*id, shadow).map_err(|wrong| format!("run {id}: {wrong}"))?;
        }
        Ok(())
    }

    /// Parents and children agree.
    fn family(&self, id: RunId, shadow: &Shadow) -> Result<(), String> {
        if let Some(parent) = shadow.parent {
            let above = self.runs.get(&parent.run).ok_or("its parent does not exist")?;
            let step = above.steps.get(parent.step as usize).ok_or("its parent's step is gone")?;
            let mine = (1..=step.attempt).any(|n| parent.run.child(parent.step, n) == id);
            if !mine || !matches!(above.graph.step(step.plan).kind, StepKind::Child { .. }) {
                return Err("its parent did not start it".into());
            }
        }
        if shadow.ended.is_none() {
            let waiting = shadow.steps.iter().enumerate();
            for (i, _) in waiting.filter(|(_, s)| s.wait == Some(WaitReason::Child)) {
                self.child(id, shadow, i as InstIx)?;
            }
        }
        for child in &shadow.doomed {
            self.told(*child, |input| {
                matches!(input, Input::Terminate { .. } | Input::Cancel { .. })
            })?;
        }
        Ok(())
    }

    /// A step waits for a child run: that is on its way, or its end is.
    fn child(&self, id: RunId, shadow: &Shadow, inst: InstIx) -> Result<(), String> {
        let step = &shadow.steps[inst as usize];
        let child = id.child(inst, step.attempt);
        let starting = self.messages.values().any(|sent| {
            sent.message.to == child && matches!(sent.message.body, MessageBody::StartChild(_))
        });
        let done = self.messages.values().any(|sent| {
            let is = |input: &Input| matches!(input, Input::ChildDone { run, .. } if *run == child);
            matches!(&sent.message.body, MessageBody::Input(input) if is(input))
        });
        match self.runs.get(&child) {
            Some(run) if run.ended.is_some() && !done => {
                return Err(format!("{} waits for a child that has ended", shadow.name(inst)));
            }
            None if !starting && !done => {
                return Err(format!("{} waits for a child that never starts", shadow.name(inst)));
            }
            _ => {}
        }
        let abandon =
            matches!(shadow.graph.step(step.plan).kind, StepKind::Child { abandon: true, .. });
        if shadow.is_cancelling() && !abandon && !done {
            self.told(child, |input| matches!(input, Input::Cancel { .. }))?;
        }
        Ok(())
    }

    /// A run has ended, is ending, or is about to get a message that makes it end.
    fn told(&self, run: RunId, ends: impl Fn(&Input) -> bool) -> Result<(), String> {
        let on_its_way = self.messages.values().any(|sent| {
            let message = &sent.message;
            message.to == run && matches!(&message.body, MessageBody::Input(i) if ends(i))
        });
        let ending = self.runs.get(&run).map(|r| {
            r.ended.is_some()
                || r.handles_nothing()
                || !matches!(r.phase, Phase::Main | Phase::OnFailure)
        });
        // A run that could not be started needs no end.
        let starts = |m: &Message| m.to == run && matches!(m.body, MessageBody::StartChild(_));
        let never = || !self.messages.values().any(|sent| starts(&sent.message));
        match on_its_way || ending.unwrap_or_else(never) {
            true => Ok(()),
            false => Err(format!("its child {run} is never told to end")),
        }
    }

    /// When everything works, nothing waits for long that could be done: `now` is what the clocks
    /// show, `calm` since when everything works; `limited`: agents with limits, and when something
    /// was last asked of each; `few_rows`: whether the store gives few at a time.
    pub fn punctual(
        &self,
        now: Millis,
        calm: Millis,
        limited: &BTreeMap<Name, Millis>,
        few_rows: bool,
    ) -> Result<(), String> {
        let late = |at: Millis, limit: u64| now.since(at.max(calm)).0 > limit;
        if let Some((which, due)) = self.timers.iter().find(|(_, due)| late(**due, LATE)) {
            return Err(format!("timer {which:?} was due at {due}, and it is {now}"));
        }
        let allowed = |message: &Message| match message.to == BUS && few_rows {
            true => STORM_LATE,
            false => LATE,
        };
        let is_late = |sent: &Sent| late(sent.when, allowed(&sent.message));
        if let Some((id, sent)) = self.messages.iter().find(|(_, sent)| is_late(sent)) {
            return Err(format!("message {id} is not applied since {}: {sent:?}", sent.when));
        }
        for (id, shadow) in self.runs.iter().filter(|(_, s)| s.ended.is_none() && !s.paused) {
            let is_late = |s: &Step| {
                // What a pause kept back stands at its place in the queue since it is over.
                let since = s.ready_at.max(shadow.resumed_at);
                match &shadow.graph.step(s.plan).kind {
                    StepKind::Task { agent, .. } if limited.contains_key(agent) => {
                        late(since.max(limited[agent]), LIMITED_LATE)
                    }
                    _ => late(since, READY_LATE),
                }
            };
            let waits = |s: &&Step| s.status == StepStatus::Ready && is_late(s);
            if let Some(step) = shadow.steps.iter().find(waits) {
                return Err(format!("run {id}: a task is ready since {}: {step:?}", step.ready_at));
            }
        }
        Ok(())
    }

    /// What must hold when everything has come to its end.
    pub fn over(&self, model: &Model) -> Result<(), String> {
        if let Some((id, shadow)) = self.runs.iter().find(|(_, s)| s.ended.is_none()) {
            return Err(format!("run {id} never ends: {:#?}", stuck(shadow)));
        }
        if let Some((id, message)) = model.messages().next() {
            return Err(format!("message {id} is never applied: {message:?}"));
        }
        for id in self.runs.keys() {
            self.folded(*id, model).map_err(|wrong| format!("run {id}: {wrong}"))?;
        }
        self.triggers_over(model)?;
        self.deep(model)
    }
}

/// The steps of a run that have not ended, for messages.
pub fn stuck(shadow: &Shadow) -> Vec<String> {
    let steps = shadow.steps.iter().enumerate().filter(|(_, s)| !s.status.is_terminal());
    let mut lines = vec![format!("{:?} {:?}", shadow.status(), shadow.phase)];
    lines.extend(steps.take(12).map(|(i, s)| format!("{}: {s:?}", shadow.name(i as InstIx))));
    lines
}
