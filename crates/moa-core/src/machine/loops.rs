//! `foreach` and `while`: bodies that are opened once for each iteration.

use std::sync::Arc;

use serde_json::{Value as Json, json};

use crate::event::{Event, InstIx};
use crate::expr::Program;
use crate::limits::{FOREACH_ITEMS_MAX, OUTPUT_BYTES_MAX, RUN_STEPS_MAX};
use crate::run::Phase;
use crate::step::{ErrorKind, StepError, StepStatus, WaitReason};
use crate::workflow::{BodyIx, StepKind};

use super::begin::expression_error;
use super::start::is_too_large;
use super::state::{Scope, ScopeIx, loop_body};
use super::tx::Tx;
use super::vars::Vars;

impl Tx<'_> {
    /// Opens `count` iterations of a body from number `first`; answers the first scope.
    fn open_body(
        &mut self,
        inst: InstIx,
        body: BodyIx,
        first: u32,
        count: u32,
        items: Option<Arc<Json>>,
    ) -> Result<ScopeIx, StepError> {
        let size = self.run.graph.body_size(body) as usize;
        if self.run.len() + size * count as usize > RUN_STEPS_MAX {
            let message = format!("the run would have more than {RUN_STEPS_MAX} steps");
            return Err(StepError::new(ErrorKind::Limit, message));
        }
        let scope = self.run.scopes.len() as ScopeIx;
        let base = self.run.len() as InstIx;
        self.record(Event::BodyOpened { step: Some(inst), body, base, first, count, items });
        Ok(scope)
    }

    pub fn begin_foreach(&mut self, inst: InstIx, kind: &StepKind) -> Result<(), StepError> {
        let StepKind::Foreach { items, max_parallel, body, .. } = kind else { return Ok(()) };
        let list = self.items(inst, items)?;
        let count = list.as_array().map_or(0, Vec::len) as u32;
        if count == 0 {
            self.wait(inst, WaitReason::Children, None, None);
            self.foreach_done(inst);
            return Ok(());
        }
        let scope = self.open_body(inst, *body, 0, count, Some(Arc::new(list)))?;
        let upto = max_parallel.map_or(count, |max| max.clamp(1, count));
        if upto < count {
            self.record(Event::IterationsReleased { step: inst, upto });
        }
        self.wait(inst, WaitReason::Children, None, None);
        self.run.steps[inst as usize].open = count;
        for scope in scope..scope + count {
            self.run.count_scope(scope);
        }
        for scope in scope..scope + upto {
            self.consider_scope(scope);
        }
        Ok(())
    }

    /// The items of a `foreach`: a list as it is, a map as `{key, value}`.
    fn items(&self, inst: InstIx, program: &Program) -> Result<Json, StepError> {
        let vars = Vars::of_step(self.run, inst);
        let value = program
            .eval(&vars)
            .map_err(|e| expression_error("foreach", program.source(), &e))?
            .to_json();
        let list = match value {
            Json::Array(list) => list,
            Json::Object(map) => {
                map.into_iter().map(|(key, value)| json!({ "key": key, "value": value })).collect()
            }
            other => {
                let message = format!("foreach: {} is {other}, not a list", program.source());
                return Err(StepError::new(ErrorKind::Expression, message));
            }
        };
        if list.len() > FOREACH_ITEMS_MAX {
            let message = format!("foreach: {} items, at most {FOREACH_ITEMS_MAX}", list.len());
            return Err(StepError::new(ErrorKind::Limit, message));
        }
        Ok(Json::Array(list))
    }

    pub fn begin_while(&mut self, inst: InstIx, kind: &StepKind) -> Result<(), StepError> {
        let StepKind::While { condition, until, body, .. } = kind else { return Ok(()) };
        // Before the first iteration a condition over the body's own steps has nothing to look at:
        // the loop is entered, as `until` always is.
        let enter = *until || self.asks_about_body(condition, *body);
        if enter || self.test(inst, condition, "while")? {
            self.wait(inst, WaitReason::Children, None, None);
            return self.open_iteration(inst, *body, 0);
        }
        self.succeed_mapped(inst, Some(Arc::new(json!({ "iterations": 0 }))));
        Ok(())
    }

    fn asks_about_body(&self, condition: &Program, body: BodyIx) -> bool {
        let graph = &self.run.graph;
        condition.references().iter().any(|r| {
            let root = r.path.first().map(String::as_str);
            let name = if root == Some("steps") { r.path.get(1).map(String::as_str) } else { root };
            name.and_then(|n| graph.named(n)).is_some_and(|ix| graph.step(ix).body == body)
        })
    }

    fn open_iteration(&mut self, inst: InstIx, body: BodyIx, n: u32) -> Result<(), StepError> {
        let scope = self.open_body(inst, body, n, 1, None)?;
        self.run.steps[inst as usize].open = 1;
        self.run.count_scope(scope);
        self.consider_scope(scope);
        Ok(())
    }

    /// Every step of one iteration is terminal.
    pub fn iteration_done(&mut self, owner: InstIx, scope: ScopeIx) {
        if self.run.status(owner) != StepStatus::Waiting {
            return;
        }
        self.run.steps[owner as usize].open -= 1;
        let plan = self.plan(owner);
        match &plan.kind {
            StepKind::Foreach { .. } => {
                if self.run.steps[owner as usize].open == 0 {
                    self.foreach_done(owner);
                } else if !self.is_cancelling() {
                    self.release_iteration(owner);
                }
            }
            StepKind::While { condition, until, max_iterations, body } => {
                let again = self.while_goes_on(owner, scope, condition, *until);
                let n = self.run.scopes[scope as usize].iteration + 1;
                let opened = match again {
                    Ok(false) => {
                        let output = json!({ "iterations": n });
                        return self.succeed_mapped(owner, Some(Arc::new(output)));
                    }
                    Ok(true) if self.is_cancelling() => return self.cancel_step(owner),
                    Ok(true) if n >= *max_iterations => {
                        let message = format!("not done after {n} iterations (max_iterations)");
                        Err(StepError::new(ErrorKind::Limit, message))
                    }
                    Ok(true) => self.open_iteration(owner, *body, n),
                    Err(error) => Err(error),
                };
                if let Err(error) = opened {
                    self.fail(owner, error);
                }
            }
            _ => {}
        }
    }

    fn while_goes_on(
        &self,
        owner: InstIx,
        scope: ScopeIx,
        condition: &Program,
        until: bool,
    ) -> Result<bool, StepError> {
        let steps = self.top_steps(scope);
        if let Some(failed) = self.first_failed(&steps) {
            return Err(self.inside_failed(failed));
        }
        if steps.iter().any(|i| self.run.status(*i) == StepStatus::Cancelled) {
            return Ok(true); // cancelling: the caller ends the loop
        }
        let key = if until { "until" } else { "while" };
        Ok(self.test(owner, condition, key)? != until)
    }

    /// Instances of a scope that stand in no container.
    pub fn top_steps(&self, scope: ScopeIx) -> Vec<InstIx> {
        let (base, body) = {
            let s = &self.run.scopes[scope as usize];
            (s.base, s.body)
        };
        let graph = &self.run.graph;
        let all = base..base + graph.body_size(body);
        all.filter(|i| graph.step(self.run.steps[*i as usize].row.plan).parent.is_none()).collect()
    }

    /// Lets the next iteration of a `foreach` with `max_parallel` run.
    fn release_iteration(&mut self, owner: InstIx) {
        let Some(data) = self.run.data(owner) else { return };
        let Some((base, _, count)) = data.block else { return };
        let Some(&upto) = self.run.released.get(&owner) else { return };
        let first = self.run.steps[base as usize].scope;
        // Iterations that a fork took over have ended before their turn.
        let open = |n: &u32| self.run.scopes[(first + n) as usize].open > 0;
        let Some(next) = (upto..count).find(open) else { return };
        self.record(Event::IterationsReleased { step: owner, upto: next + 1 });
        self.let_run(first + next);
    }

    /// The turn of an iteration has come: of its steps, and of what stands in the containers and
    /// loops inside it that a fork has opened again.
    fn let_run(&mut self, scope: ScopeIx) {
        let Scope { base, body, .. } = self.run.scopes[scope as usize];
        for inst in base..base + self.run.graph.body_size(body) {
            let parent = self.plan(inst).parent.map(|parent| self.run.sibling(inst, parent));
            if parent.is_none_or(|parent| self.run.is_opened(parent)) {
                self.met(inst);
            }
            let goes_on = self.run.status(inst) == StepStatus::Waiting;
            if goes_on && loop_body(self.run.kind(inst)).is_some() {
                for scope in self.iterations(inst) {
                    if self.run.is_released(scope) {
                        self.let_run(scope);
                    }
                }
            }
        }
    }

    /// The scopes of a `foreach`, in order of iteration.
    fn iterations(&self, owner: InstIx) -> Vec<ScopeIx> {
        let block = self.run.data(owner).and_then(|d| d.block);
        let Some((base, _, count)) = block else { return Vec::new() };
        let scope = self.run.steps[base as usize].scope;
        (scope..scope + count).collect()
    }

    fn foreach_done(&mut self, owner: InstIx) {
        let scopes = self.iterations(owner);
        let mut cancelled = false;
        for scope in &scopes {
            let steps = self.top_steps(*scope);
            if let Some(failed) = self.first_failed(&steps) {
                return self.fail(owner, self.inside_failed(failed));
            }
            cancelled |= steps.iter().any(|i| self.run.status(*i) == StepStatus::Cancelled);
        }
        if cancelled && self.run.row.phase != Phase::Done {
            return self.cancel_step(owner);
        }
        let collect = matches!(self.run.kind(owner), StepKind::Foreach { collect: true, .. });
        let output = collect.then(|| {
            let outputs = scopes.iter().map(|s| self.iteration_output(*s));
            Arc::new(Json::Array(outputs.collect()))
        });
        if output.as_ref().is_some_and(|o| is_too_large(o)) {
            let message = format!(
                "the collected outputs are larger than {OUTPUT_BYTES_MAX} bytes; \
                 write `collect: none` and let the steps keep files"
            );
            return self.fail_with(owner, ErrorKind::Limit, message);
        }
        self.succeed_mapped(owner, output);
    }

    /// The output of an iteration: that of its last step.
    fn iteration_output(&self, scope: ScopeIx) -> Json {
        let last = self.top_steps(scope).last().copied();
        let output = last.and_then(|i| self.run.steps[i as usize].row.output.as_ref());
        output.map(|o| (**o).clone()).unwrap_or_default()
    }
}
