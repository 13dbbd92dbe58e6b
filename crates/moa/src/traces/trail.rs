//! The spans of one run, derived from its events in order: pure.
//!
//! A run is a span. So is each step that did something, and each attempt of a step that had several
//! or waited for something between them; a step that an agent did at once is the span of that attempt
//! alone. Waits, pauses and signals are events of the span that they belong to. A span is told when it
//! ends, with what is known then: nothing that happens later changes it.

use std::collections::BTreeMap;

use moa_core::event::{Event, InstIx, RunCreated};
use moa_core::ids::NodeId;
use moa_core::machine::Run;
use moa_core::run::Phase;
use moa_core::step::{StepError, WaitReason};
use moa_core::time::Millis;
use moa_core::trace::{SpanId, TraceContext, TraceId};
use moa_core::workflow::StepKind;
use moa_ports::views::HistoryRow;
use serde_json::{Value as Json, json};

use crate::view;

/// Events of one span that are kept.
const NOTES_MAX: usize = 128;

/// A span that has ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    /// Its trace.
    pub trace: TraceId,
    /// It.
    pub id: SpanId,
    /// The span that it is part of.
    pub parent: Option<SpanId>,
    /// What it is, for people.
    pub name: String,
    /// Whether it is a call of something outside of the engine.
    pub call: bool,
    /// When it began.
    pub start: Millis,
    /// When it ended.
    pub end: Millis,
    /// What is known of it.
    pub attributes: Attributes,
    /// What happened meanwhile.
    pub notes: Notes,
    /// Spans of other traces that it goes on from.
    pub links: Vec<(TraceId, SpanId)>,
    /// What failed.
    pub error: Option<StepError>,
}

/// Names with values.
pub type Attributes = Vec<(&'static str, Json)>;

/// What happened while something went on: the first of it, and how much more there was.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Notes {
    /// When, what, and what is known of it.
    pub kept: Vec<(Millis, &'static str, Attributes)>,
    /// How many were left out.
    pub dropped: u32,
}

impl Notes {
    fn add(&mut self, at: Millis, what: &'static str, attributes: Attributes) {
        match self.kept.len() < NOTES_MAX {
            true => self.kept.push((at, what, attributes)),
            false => self.dropped += 1,
        }
    }
}

/// What is known of a run as far as its history was followed.
#[derive(Debug, Clone)]
pub struct Trail {
    trace: TraceContext,
    /// The span of another trace that it goes on from.
    link: Option<(TraceId, SpanId)>,
    /// The version of the last commit that is in it.
    pub version: u64,
    created: Option<(Millis, Box<RunCreated>)>,
    notes: Notes,
    open: BTreeMap<InstIx, Open>,
}

/// A step that goes on.
#[derive(Debug, Clone)]
struct Open {
    since: Millis,
    /// When its task could be claimed.
    ready: Option<Millis>,
    attempt: Option<Attempt>,
    attempts: u32,
    /// Whether it is more than one attempt.
    several: bool,
    notes: Notes,
}

#[derive(Debug, Clone)]
struct Attempt {
    number: u32,
    since: Millis,
    queued_ms: u64,
    node: NodeId,
}

/// How an attempt or a step ended.
#[derive(Debug, Clone, Copy)]
struct End<'a> {
    at: Millis,
    how: &'static str,
    error: Option<&'a StepError>,
}

impl Trail {
    /// Of a run nothing of which was followed yet.
    pub fn new(trace: TraceContext, link: Option<(TraceId, SpanId)>) -> Self {
        let (notes, open) = (Notes::default(), BTreeMap::new());
        Self { trace, link, version: 0, created: None, notes, open }
    }

    /// Takes over a commit; answers the spans that ended with it. `run` says what its steps are.
    pub fn follow(&mut self, run: &Run, row: &HistoryRow) -> Vec<Span> {
        let mut ended = Vec::new();
        if row.version <= self.version {
            return ended;
        }
        self.version = row.version;
        for (_, at, event) in row.timed() {
            self.of_run(run, at, event, &mut ended);
            if let Some(step) = event.step().filter(|step| run.step(*step).is_some()) {
                self.of_step(run, step, at, event, &mut ended);
            }
        }
        ended
    }

    fn of_run(&mut self, run: &Run, at: Millis, event: &Event, ended: &mut Vec<Span>) {
        let note = match event {
            Event::RunCreated(created) => {
                self.created = Some((at, created.clone()));
                return;
            }
            Event::RunStarted => ("moa.started", vec![]),
            Event::RunPaused => ("moa.paused", vec![]),
            Event::RunResumed => ("moa.resumed", vec![]),
            Event::CancelRequested { reason, timeout } => (
                "moa.cancel_requested",
                vec![("reason", json!(reason)), ("timeout", json!(timeout))],
            ),
            Event::PhaseEntered { phase: Phase::Done | Phase::Main } => return,
            Event::PhaseEntered { phase } => ("moa.phase", vec![("phase", json!(phase))]),
            Event::SignalReceived { name, .. } => ("moa.signal", vec![("name", json!(name))]),
            Event::RunSucceeded { .. } => {
                return self.end_run(run, End { at, how: "succeeded", error: None }, ended);
            }
            Event::RunFailed { error } => {
                return self.end_run(run, End { at, how: "failed", error: Some(error) }, ended);
            }
            Event::RunCancelled { .. } => {
                return self.end_run(run, End { at, how: "cancelled", error: None }, ended);
            }
            _ => return,
        };
        self.notes.add(at, note.0, note.1);
    }

    fn of_step(
        &mut self,
        run: &Run,
        step: InstIx,
        at: Millis,
        event: &Event,
        ended: &mut Vec<Span>,
    ) {
        let end = |how, error| End { at, how, error };
        match event {
            Event::StepReady { .. } => self.open(step, at).ready = Some(at),
            // What stands in it is part of its own span.
            Event::StepOpened { .. } => self.open(step, at).several = true,
            Event::StepStarted { attempt, node, .. } => {
                let open = self.open(step, at);
                let queued_ms = open.ready.take().map_or(0, |ready| at.since(ready).0);
                let (number, node) = (*attempt, *node);
                open.attempts += 1;
                open.attempt = Some(Attempt { number, since: at, queued_ms, node });
            }
            Event::AttemptFailed { error, until, rate_limited, .. } => {
                self.end_attempt(run, step, end("failed", Some(error)), ended);
                let reason = match rate_limited {
                    true => WaitReason::RateLimited,
                    false => WaitReason::Backoff,
                };
                if until.is_some() {
                    self.wait(step, at, reason, *until);
                }
            }
            Event::AttemptReleased { .. } => {
                self.end_attempt(run, step, end("released", None), ended);
            }
            Event::OutcomeChecked { check, .. } => {
                self.end_attempt(run, step, end("unknown", None), ended);
                let notes = &mut self.open(step, at).notes;
                notes.add(at, "moa.outcome_checked", vec![("action", json!(check))]);
            }
            Event::StepWaiting { reason, until, .. } => {
                if *reason == WaitReason::UnknownOutcome {
                    self.end_attempt(run, step, end("unknown", None), ended);
                }
                self.wait(step, at, *reason, *until);
            }
            Event::StepOwnDone { error, .. } => {
                let how = if error.is_some() { "failed" } else { "succeeded" };
                self.end_attempt(run, step, end(how, error.as_ref()), ended);
            }
            Event::StepSucceeded { .. } => {
                self.end_step(run, step, end("succeeded", None), ended);
            }
            Event::StepFailed { error, .. } => {
                self.end_step(run, step, end("failed", Some(error)), ended);
            }
            Event::StepSkipped { .. } => self.end_step(run, step, end("skipped", None), ended),
            Event::StepCancelled { .. } => self.end_step(run, step, end("cancelled", None), ended),
            Event::WaitLapsed { .. } => {
                self.open(step, at).notes.add(at, "moa.wait_lapsed", vec![])
            }
            _ => {}
        }
    }

    fn open(&mut self, step: InstIx, at: Millis) -> &mut Open {
        self.open.entry(step).or_insert_with(|| Open {
            since: at,
            ready: None,
            attempt: None,
            attempts: 0,
            several: false,
            notes: Notes::default(),
        })
    }

    fn wait(&mut self, step: InstIx, at: Millis, reason: WaitReason, until: Option<Millis>) {
        let open = self.open(step, at);
        open.several = true;
        // Who waits for what stands in it waits for spans of their own.
        if reason == WaitReason::Children {
            return;
        }
        let mut known: Attributes = vec![("moa.wait.reason", reason.as_str().into())];
        known.extend(until.map(|until| ("moa.wait.until", until.to_string().into())));
        open.notes.add(at, "moa.wait", known);
    }

    /// An attempt ended, and its step goes on.
    fn end_attempt(&mut self, run: &Run, step: InstIx, end: End<'_>, ended: &mut Vec<Span>) {
        let open = self.open(step, end.at);
        open.several = true;
        if let Some(attempt) = open.attempt.take() {
            ended.push(self.attempt(run, step, &attempt, end));
        }
    }

    fn end_step(&mut self, run: &Run, step: InstIx, end: End<'_>, ended: &mut Vec<Span>) {
        let open = match self.open.remove(&step) {
            Some(open) => open,
            // What was not run is no span, but what went well or failed at once is one.
            None if matches!(end.how, "skipped" | "cancelled") => return,
            None => {
                self.open(step, end.at);
                return self.end_step(run, step, end, ended);
            }
        };
        if let Some(attempt) = &open.attempt {
            let mut span = self.attempt(run, step, attempt, end);
            if !open.several {
                span.name = id_of(run, step);
                span.parent = Some(self.around(run, step));
                return ended.push(span);
            }
            ended.push(span);
        }
        let mut attributes = self.known(run, step);
        attributes.push(("moa.step.status", end.how.into()));
        if open.attempts > 0 {
            attributes.push(("moa.attempts", open.attempts.into()));
        }
        ended.push(Span {
            trace: self.trace.trace,
            id: SpanId::of_step(run.row.run, step),
            parent: Some(self.around(run, step)),
            name: id_of(run, step),
            call: false,
            start: open.since,
            end: end.at.max(open.since),
            attributes,
            notes: open.notes,
            links: Vec::new(),
            error: end.error.cloned(),
        });
    }

    fn attempt(&self, run: &Run, step: InstIx, attempt: &Attempt, end: End<'_>) -> Span {
        let mut attributes = self.known(run, step);
        attributes.extend([
            ("moa.attempt", attempt.number.into()),
            ("moa.outcome", end.how.into()),
            ("moa.queued_ms", attempt.queued_ms.into()),
            ("moa.node", attempt.node.to_string().into()),
        ]);
        Span {
            trace: self.trace.trace,
            id: SpanId::of_attempt(run.row.run, step, attempt.number),
            parent: Some(SpanId::of_step(run.row.run, step)),
            name: format!("{} attempt", id_of(run, step)),
            call: true,
            start: attempt.since,
            end: end.at.max(attempt.since),
            attributes,
            notes: Notes::default(),
            links: Vec::new(),
            error: end.error.cloned(),
        }
    }

    fn end_run(&mut self, run: &Run, end: End<'_>, ended: &mut Vec<Span>) {
        // What was ended together with its run.
        let open: Vec<InstIx> = self.open.keys().copied().collect();
        for step in open.into_iter().filter(|step| run.step(*step).is_some()) {
            self.end_step(run, step, End { at: end.at, how: "cancelled", error: None }, ended);
        }
        let Some((start, created)) = self.created.take() else { return };
        let mut attributes = of_run(run);
        attributes.push(("moa.workflow.version", created.hash.short().into()));
        attributes.push(("moa.run.status", end.how.into()));
        attributes.push(("moa.run.cause", created.cause.as_str().into()));
        if let Some(trigger) = &created.trigger {
            attributes.push(("moa.trigger", trigger.name.as_str().into()));
        }
        if let Some(parent) = &created.parent {
            attributes.push(("moa.run.parent", parent.run.to_string().into()));
        }
        ended.push(Span {
            trace: self.trace.trace,
            id: SpanId::of_run(run.row.run),
            parent: match created.parent {
                Some(parent) => Some(SpanId::of_step(parent.run, parent.step)),
                None => self.trace.caller.map(|caller| caller.span),
            },
            name: run.row.workflow.to_string(),
            call: false,
            start,
            end: end.at.max(start),
            attributes,
            notes: std::mem::take(&mut self.notes),
            links: self.link.into_iter().collect(),
            error: end.error.cloned(),
        });
    }

    /// The span that a step's is part of.
    fn around(&self, run: &Run, step: InstIx) -> SpanId {
        match run.container(step) {
            Some(container) => SpanId::of_step(run.row.run, container),
            None => SpanId::of_run(run.row.run),
        }
    }

    fn known(&self, run: &Run, step: InstIx) -> Attributes {
        let mut known = of_run(run);
        known.push(("moa.step", id_of(run, step).into()));
        let iteration = run.iteration_path(step);
        if !iteration.is_empty() {
            known.push(("moa.step.iteration", iteration.into()));
        }
        let Some(plan) = run.step(step).map(|row| run.graph.step(row.plan)) else { return known };
        match &plan.kind {
            StepKind::Task { agent, action, .. } => {
                known.push(("moa.agent", agent.as_str().into()));
                known.push(("moa.action", action.as_str().into()));
            }
            _ => known.push(("moa.step.kind", view::doer(plan).into())),
        }
        known
    }
}

fn of_run(run: &Run) -> Attributes {
    let id = run.row.run.to_string();
    vec![("moa.run", id.into()), ("moa.workflow", run.row.workflow.as_str().into())]
}

fn id_of(run: &Run, step: InstIx) -> String {
    let plan = run.step(step).map(|row| run.graph.step(row.plan).id.to_string());
    plan.unwrap_or_default()
}
