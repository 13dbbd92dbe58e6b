//! What expressions see: steps, params, vars, loop variables, the run itself.
//!
//! A bare name is looked up as: extra names of the place (`output`, `event`, `error`), loop
//! variables from the inside out, the explicit roots (`params`, `vars`, `run`, `steps`), step ids,
//! params, vars, and at last the top-level keys of outputs of completed steps, of which the latest
//! in order of definition wins.

use std::sync::Arc;

use serde_json::{Value as Json, json};

use crate::event::InstIx;
use crate::expr::{Map, Scope, Value};
use crate::run::Phase;
use crate::step::{ErrorKind, StepStatus};
use crate::workflow::{StepIx, StepKind};

use super::state::{Run, loop_body};

/// The names in sight of one step, or of the run as a whole.
pub(super) struct Vars<'a> {
    run: &'a Run,
    inst: Option<InstIx>,
    extra: Vec<(&'static str, Arc<Json>)>,
}

impl<'a> Vars<'a> {
    pub fn of_step(run: &'a Run, inst: InstIx) -> Self {
        Self { run, inst: Some(inst), extra: Vec::new() }
    }

    pub fn of_run(run: &'a Run) -> Self {
        Self { run, inst: None, extra: Vec::new() }
    }

    pub fn with(mut self, name: &'static str, value: Arc<Json>) -> Self {
        self.extra.push((name, value));
        self
    }

    /// The owners of the scopes around the step, from the inside out, with the iteration.
    fn owners(&self) -> impl Iterator<Item = (InstIx, u32)> + '_ {
        let mut at = self.inst;
        std::iter::from_fn(move || {
            let scope = &self.run.scopes[self.run.steps[at? as usize].scope as usize];
            at = scope.owner;
            scope.owner.map(|owner| (owner, scope.iteration))
        })
    }

    fn loop_variable(&self, name: &str) -> Option<Value> {
        for (owner, iteration) in self.owners() {
            let kind = self.run.kind(owner);
            if loop_body(kind).is_none() {
                continue;
            }
            if let StepKind::Foreach { var, .. } = kind
                && var == name
            {
                let items = self.run.data(owner)?.items.as_ref()?;
                let item = items.get(iteration as usize).cloned().unwrap_or_default();
                return Some(Value::from_json(Arc::new(item)));
            }
            if name == "index" {
                return Some(Value::Int(i64::from(iteration)));
            }
        }
        None
    }

    fn root(&self, name: &str) -> Option<Value> {
        let row = &self.run.row;
        let value = match name {
            "params" => return Some(Value::from_json(row.params.clone())),
            "vars" => json!(self.run.graph.vars),
            "run" => json!({
                "id": row.run,
                "workflow": row.workflow,
                "version": self.run.graph.version,
                "hash": row.hash,
                "created_at": row.created_at.to_string(),
                "started_at": row.started_at.map(|t| t.to_string()),
                "parent": row.parent.map(|p| p.run),
            }),
            "steps" => {
                let steps = self.run.graph.steps.iter().enumerate();
                return Some(
                    steps.map(|(ix, s)| (s.id.to_string(), self.step(ix as StepIx))).collect(),
                );
            }
            "error" => run_error(self.run)?,
            "event" | "slot" => {
                let vars = row.trigger.as_ref().map(|trigger| &trigger.vars);
                vars.and_then(|vars| vars.get(name)).cloned().unwrap_or_else(|| json!({}))
            }
            "env" => json!({}),
            _ => return None,
        };
        Some(Value::from_json(Arc::new(value)))
    }

    /// The instance that a step's id means from here: the one in the nearest scope around, else the
    /// latest iteration's.
    fn instance(&self, ix: StepIx) -> Option<InstIx> {
        let body = self.run.graph.step(ix).body;
        let offset = ix - self.run.graph.body_start(body);
        let mut at = self.inst;
        while let Some(inst) = at {
            let scope = &self.run.scopes[self.run.steps[inst as usize].scope as usize];
            if scope.body == body {
                return Some(scope.base + offset);
            }
            at = scope.owner;
        }
        let latest = self.run.latest.get(usize::from(body)).copied().flatten()?;
        Some(self.run.scopes[latest as usize].base + offset)
    }

    fn step(&self, ix: StepIx) -> Value {
        match self.instance(ix) {
            Some(inst) => step_value(self.run, inst),
            None => Value::from(not_run()),
        }
    }

    /// A top-level key of the output of a completed step; the last in order of definition wins.
    fn produced(&self, name: &str) -> Option<Value> {
        let value = |ix| {
            let row = &self.run.steps[self.instance(ix)? as usize].row;
            let output = row.output.as_ref().filter(|_| row.status.is_terminal());
            output.and_then(|o| o.get(name))
        };
        let value = match self.run.index.producers(&self.run.graph, name) {
            Some(mut producers) => producers.find_map(value),
            None => (0..self.run.graph.steps.len() as StepIx).rev().find_map(value),
        };
        value.map(|value| Value::from_json(Arc::new(value.clone())))
    }
}

impl Scope for Vars<'_> {
    fn lookup(&self, name: &str) -> Option<Value> {
        if let Some((_, value)) = self.extra.iter().find(|(n, _)| *n == name) {
            return Some(Value::from_json(value.clone()));
        }
        if let Some(value) = self.loop_variable(name).or_else(|| self.root(name)) {
            return Some(value);
        }
        if let Some(ix) = self.run.graph.named(name) {
            return Some(self.step(ix));
        }
        let own = self.run.row.params.get(name).or_else(|| self.run.graph.vars.get(name));
        if let Some(value) = own {
            return Some(Value::from_json(Arc::new(value.clone())));
        }
        self.produced(name)
    }

    fn names(&self) -> Vec<String> {
        let graph = &self.run.graph;
        let steps = graph.steps.iter().map(|s| s.id.to_string());
        let params = self.run.row.params.as_object().into_iter().flat_map(|p| p.keys().cloned());
        let roots = ["params", "vars", "run", "steps"].into_iter().map(str::to_owned);
        steps.chain(params).chain(graph.vars.keys().cloned()).chain(roots).collect()
    }
}

/// What failed, for `on_failure`, `finally` and compensations; `None` before them.
pub(super) fn run_error(run: &Run) -> Option<Json> {
    if run.row.phase == Phase::Main {
        return None;
    }
    let failed = run.index.first_failed().map(|inst| &run.steps[inst as usize]);
    let Some((failed, error)) = failed.and_then(|s| s.row.error.as_ref().map(|e| (s, e))) else {
        // No step is at fault.
        let message = run.row.extra.cancel.as_ref().filter(|_| run.row.extra.timed_out)?;
        return Some(json!({"step": "", "kind": ErrorKind::Timeout, "message": message}));
    };
    Some(json!({
        "step": run.step_name(failed.row.inst),
        "kind": error.kind,
        "message": error.message,
    }))
}

/// A step as expressions see it: reserved fields, and the keys of its output beside them, in place.
fn step_value(run: &Run, inst: InstIx) -> Value {
    let row = &run.steps[inst as usize].row;
    let duration = row.finished_at.zip(row.started_at).map(|(end, start)| end.since(start).0);
    let output = row.output.clone().unwrap_or_default();
    let fields = [
        ("success", Value::Bool(row.status == StepStatus::Succeeded)),
        ("failed", Value::Bool(row.status == StepStatus::Failed)),
        ("skipped", Value::Bool(row.status == StepStatus::Skipped)),
        ("status", Value::from(row.status.as_str())),
        ("output", Value::from_json(output.clone())),
        ("error", Value::from(json!(row.error))),
        ("attempt", Value::Int(i64::from(row.attempt))),
        ("started_at", Value::from(json!(row.started_at.map(|t| t.to_string())))),
        ("duration", Value::from(json!(duration))),
    ];
    Value::Map(Arc::new(Map::over(fields, output)))
}

/// A step of a loop that was never entered.
fn not_run() -> Json {
    json!({
        "success": false, "failed": false, "skipped": false, "status": "pending",
        "output": null, "error": null, "attempt": 0, "started_at": null, "duration": null,
    })
}
