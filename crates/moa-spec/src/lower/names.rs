//! What expressions refer to: whether it exists, whether it is there by then, whether it is a secret.
//!
//! Bare names may come from the outputs of earlier steps, and agents may return any keys; so a name
//! that nobody declares is at most a warning, and only where nothing can produce it.

use std::collections::HashMap;

use moa_core::expr::Wanted;
use moa_core::limits::PLAN_STEPS_MAX;

use super::declared::{Declared, Here, check_expr, check_template};
use super::header::{Header, RESERVED_FIELDS};
use super::order::ancestors;
use super::{Flat, Form, Opener};
use crate::check::Project;
use crate::codes;
use crate::model::{Output, RetryFile, Step};
use crate::read::{At, Cx};
use crate::scalar::{Entries, Expr, Short, Tmpl, Use};

/// Names that are always there, whatever the workflow says.
const GLOBAL: [&str; 5] = ["run", "slot", "event", "env", "steps"];

/// When an expression is evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    /// Before the workflow's steps: the concurrency key, the fairness.
    Admission,
    /// When this item's dependencies are over.
    Before(usize),
    /// When this item is over.
    After(usize),
    /// When the run is over.
    End,
}

/// Where an expression stands.
#[derive(Clone, Copy)]
struct Spot<'s> {
    when: When,
    /// Names that exist only there.
    locals: &'s [&'s str],
    /// Whether secrets may be used.
    secrets: bool,
}

struct Names<'a, 'f, 'h> {
    flat: &'a Flat<'f>,
    header: &'h Header,
    declared: Declared<'a>,
    by_id: HashMap<&'a str, usize>,
    /// Items that stand in each item, its loop's body included.
    inside: Vec<Vec<usize>>,
    /// Items that declare an output of each name.
    producers: HashMap<&'a str, Vec<usize>>,
    /// Marks of the last walk that reached each item.
    seen: Vec<u32>,
    walk: u32,
    /// Visits that walks may still make. Walks serve warnings only, and a file may hold thousands
    /// of steps that each look at all the others: when this is used up, nothing is warned of.
    visits: u64,
}

/// Visits of all walks of one file.
const VISITS_MAX: u64 = 3_000_000;

/// Checks every expression of the file.
pub(super) fn check(flat: &Flat, header: &Header, project: Option<&Project>, cx: &mut Cx) {
    let mut inside = vec![Vec::new(); flat.items.len()];
    for ix in 0..flat.items.len() {
        if let Some(up) = ancestors(flat, ix).next() {
            inside[up].push(ix);
        }
    }
    let by_id = flat.items.iter().enumerate().map(|(ix, item)| (item.id.as_str(), ix)).collect();
    let mut producers: HashMap<&str, Vec<usize>> = HashMap::new();
    for (ix, item) in flat.items.iter().enumerate() {
        for (name, _) in item.step.outputs.iter().flat_map(|outputs| &outputs.0) {
            producers.entry(&name.value).or_default().push(ix);
        }
    }
    let seen = vec![0; flat.items.len()];
    let visits = VISITS_MAX;
    let declared = Declared::of(flat, header, project);
    let mut names =
        Names { flat, header, declared, by_id, inside, producers, seen, walk: 0, visits };
    names.head(cx);
    for ix in 0..flat.items.len() {
        names.item(ix, cx);
    }
}

fn plain(when: When) -> Spot<'static> {
    Spot { when, locals: &[], secrets: false }
}

impl<'a> Names<'a, '_, '_> {
    fn head(&mut self, cx: &mut Cx) {
        let file = self.flat.file;
        if let Some(Short::Long(concurrency)) = &file.concurrency {
            self.expr(concurrency.key.as_ref(), plain(When::Admission), cx);
        }
        match &file.fairness {
            Some(Short::Short(key)) => self.expr(Some(key), plain(When::Admission), cx),
            Some(Short::Long(fairness)) => {
                self.expr(Some(&fairness.key), plain(When::Admission), cx);
                self.expr(fairness.weight.as_ref(), plain(When::Admission), cx);
            }
            None => {}
        }
        let policies = [
            file.defaults.as_ref().and_then(|d| d.retry.as_ref()),
            file.error_handling.as_ref().and_then(|e| e.retry.as_ref()),
        ];
        for policy in policies.into_iter().flatten() {
            self.retry(policy, When::End, cx);
        }
        if let Some(env) = file.defaults.as_ref().and_then(|d| d.env.as_ref()) {
            // Evaluated for each task; which steps are over by then differs.
            let spot = Spot { when: When::End, locals: &["item", "index"], secrets: true };
            env.0.iter().for_each(|(_, value)| self.template(Some(value), spot, cx));
        }
        self.outputs(file.outputs.as_ref(), plain(When::End), cx);
    }

    fn retry<N>(&mut self, policy: &Short<N, RetryFile>, when: When, cx: &mut Cx) {
        if let Short::Long(long) = policy {
            let locals = &["error", "attempt", "output"];
            self.condition(long.when.as_ref(), Spot { when, locals, secrets: false }, cx);
        }
    }

    fn outputs(&mut self, outputs: Option<&Entries<Output>>, spot: Spot, cx: &mut Cx) {
        for (_, output) in outputs.iter().flat_map(|entries| &entries.0) {
            let expr = match output {
                Short::Short(expr) => expr,
                Short::Long(long) => &long.value,
            };
            self.expr(Some(expr), spot, cx);
        }
    }

    fn item(&mut self, ix: usize, cx: &mut Cx) {
        let step: &Step = self.flat.items[ix].step;
        let locals = self.locals(ix);
        let spot = Spot { when: When::Before(ix), locals: &locals, secrets: false };
        let secret = Spot { secrets: true, ..spot };
        let after = Spot { when: When::After(ix), ..spot };
        self.condition(step.condition.as_ref(), spot, cx);
        let word = |e: &&Expr| matches!(e.program.source(), "success" | "always" | "failure");
        self.condition(step.run_if.as_ref().filter(|e| !word(e)), spot, cx);
        for case in step.switch.iter().flat_map(|s| s.iter()) {
            self.condition(case.case.as_ref(), spot, cx);
        }
        match step.foreach.as_deref() {
            Some(Short::Short(items)) => self.wanted(Some(&items.0), Wanted::Items, spot, cx),
            Some(Short::Long(long)) => self.wanted(Some(&long.r#in.0), Wanted::Items, spot, cx),
            None => {}
        }
        self.condition(step.r#while.as_ref(), after, cx);
        self.condition(step.until.as_ref(), after, cx);
        if let Some(wait) = step.wait_for.as_deref() {
            self.template(wait.signal.as_ref(), spot, cx);
            self.condition(wait.r#match.as_ref(), spot, cx);
        }
        if let Some(retry) = step.retry.as_deref() {
            self.retry(retry, When::After(ix), cx);
        }
        self.templates(step, spot, secret, cx);
        let with_output: Vec<&str> = locals.iter().copied().chain(["output"]).collect();
        let outputs = Spot { locals: &with_output, ..after };
        self.outputs(step.outputs.as_ref(), outputs, cx);
        if let Some(committee) = step.committee.as_deref() {
            self.expr(committee.vote.as_ref(), outputs, cx);
        }
    }

    fn templates(&mut self, step: &Step, spot: Spot, secret: Spot, cx: &mut Cx) {
        let for_agent = [&step.http, &step.llm, &step.mcp, &step.mail, &step.git, &step.notify];
        for template in for_agent {
            self.template(template.as_ref(), secret, cx);
        }
        match step.run.as_deref() {
            Some(Short::Short(script)) => self.template(Some(script), secret, cx),
            Some(Short::Long(long)) => {
                self.template(Some(&long.script), secret, cx);
                self.template(long.cwd.as_ref(), spot, cx);
            }
            None => {}
        }
        for (_, value) in step.env.iter().flat_map(|env| &env.0) {
            self.template(Some(value), secret, cx);
        }
        let params = if step.workflow.is_some() { spot } else { secret };
        self.template(step.params.as_ref(), params, cx);
        for template in [&step.sleep, &step.wait] {
            self.template(template.as_ref(), spot, cx);
        }
        if let Some(Short::Long(emit)) = step.emit.as_deref() {
            self.template(emit.data.as_ref(), spot, cx);
        }
        match step.approve.as_deref() {
            Some(Short::Short(title)) => self.template(Some(title), spot, cx),
            Some(Short::Long(long)) => {
                for template in [&long.title, &long.description, &long.to, &long.form] {
                    self.template(template.as_ref(), spot, cx);
                }
            }
            None => {}
        }
    }

    /// Names that exist for an item because of what is around it.
    fn locals(&self, ix: usize) -> Vec<&'a str> {
        let flat: &'a Flat = self.flat;
        let mut locals = Vec::new();
        for up in ancestors(flat, ix) {
            let item = &flat.items[up];
            match (item.form, item.step.foreach.as_deref()) {
                (Form::Foreach, Some(Short::Long(long))) => {
                    locals.push(long.r#as.as_ref().map_or("item", |v| v.value.as_str()));
                }
                (Form::Foreach, _) => locals.push("item"),
                _ => {}
            }
            if matches!(item.form, Form::Foreach | Form::While(_)) {
                locals.push("index");
            }
        }
        let mut bodies = std::iter::once(ix).chain(ancestors(flat, ix)).map(|i| flat.items[i].body);
        if bodies.any(|b| !matches!(flat.bodies[b], Opener::Main | Opener::Loop(_))) {
            locals.push("error");
        }
        locals
    }

    fn expr(&mut self, expr: Option<&Expr>, spot: Spot, cx: &mut Cx) {
        self.wanted(expr, Wanted::Anything, spot, cx);
    }

    fn condition(&mut self, expr: Option<&Expr>, spot: Spot, cx: &mut Cx) {
        self.wanted(expr, Wanted::Condition, spot, cx);
    }

    fn wanted(&mut self, expr: Option<&Expr>, wanted: Wanted, spot: Spot, cx: &mut Cx) {
        let Some(expr) = expr else { return };
        for one in &expr.uses {
            self.one(one, spot, cx);
        }
        let here = Here { declared: &self.declared, locals: spot.locals };
        check_expr(expr, wanted, &here, cx);
    }

    fn template(&mut self, template: Option<&Tmpl>, spot: Spot, cx: &mut Cx) {
        let Some(template) = template else { return };
        for one in &template.uses {
            self.one(one, spot, cx);
        }
        let here = Here { declared: &self.declared, locals: spot.locals };
        check_template(template, &here, cx);
    }

    fn one(&mut self, one: &Use, spot: Spot, cx: &mut Cx) {
        let Some(root) = one.path.first().map(String::as_str) else { return };
        let field = one.path.get(1).map(String::as_str);
        match root {
            "secrets" => secret(one, spot, cx),
            "params" => self.param(field, one, cx),
            "vars" => self.var(field, one, cx),
            "steps" => self.step(field, one, spot, cx),
            _ if spot.locals.contains(&root) || GLOBAL.contains(&root) => {}
            _ => match self.by_id.get(root) {
                Some(target) => self.by_then(*target, one, spot, cx),
                None => self.bare(root, field, one, spot, cx),
            },
        }
    }

    fn param(&self, field: Option<&str>, one: &Use, cx: &mut Cx) {
        let Some(field) = field else { return };
        let declared = &self.header.params;
        if declared.is_empty() || declared.iter().any(|p| p.name == field) {
            return;
        }
        let names = declared.iter().map(|p| p.name.as_str());
        unknown(format!("there is no param `{field}`"), field, names, one, cx);
    }

    fn var(&self, field: Option<&str>, one: &Use, cx: &mut Cx) {
        let Some(field) = field else { return };
        if !self.header.vars.contains_key(field) {
            let names = self.header.vars.keys().map(String::as_str);
            unknown(format!("there is no constant `{field}` in `vars`"), field, names, one, cx);
        }
    }

    fn step(&mut self, field: Option<&str>, one: &Use, spot: Spot, cx: &mut Cx) {
        let Some(field) = field else { return };
        match self.by_id.get(field) {
            Some(target) => self.by_then(*target, one, spot, cx),
            None => {
                let names = self.flat.items.iter().map(|i| i.id.as_str());
                unknown(format!("there is no step `{field}`"), field, names, one, cx);
            }
        }
    }

    /// Warns when a step is used that may not be over by then.
    fn by_then(&mut self, target: usize, one: &Use, spot: Spot, cx: &mut Cx) {
        let id = &self.flat.items[target].id;
        let reader = match spot.when {
            When::Admission => {
                let message = format!("the step `{id}` can't be used here");
                let d = cx.error(codes::UNKNOWN_REFERENCE, one.span.clone(), message);
                d.cause("this is evaluated before the run has any steps");
                d.help("use `params`, `vars` or `run`");
                return;
            }
            When::End => return,
            When::After(reader) if reader == target => return,
            When::Before(reader) | When::After(reader) => reader,
        };
        if self.same_loop(reader, target) || self.over_before(spot.when, |ix| ix == target) {
            return;
        }
        let message = format!("`{id}` may not be over when this is evaluated");
        let here = &self.flat.items[reader].id;
        let d = cx.warn(codes::TOO_EARLY, one.span.clone(), message);
        d.cause(format!("nothing makes `{here}` wait for `{id}`"));
        d.help(format!("add `{id}` to `depends_on` of `{here}`"));
    }

    /// Whether both stand in the same `while` or `until`: then the value may be the last iteration's.
    fn same_loop(&self, a: usize, b: usize) -> bool {
        let repeats = |ix: &usize| matches!(self.flat.items[*ix].form, Form::While(_));
        let around: Vec<usize> = ancestors(self.flat, a).filter(repeats).collect();
        ancestors(self.flat, b).any(|up| around.contains(&up))
    }

    /// Walks the items that are over for sure when something is evaluated; true as soon as `found`
    /// says so.
    fn over_before(&mut self, when: When, found: impl Fn(usize) -> bool) -> bool {
        let flat = self.flat;
        self.walk += 1;
        let mut todo: Vec<usize> = Vec::new();
        let reader = match when {
            When::Admission => return false,
            When::End => {
                return (0..flat.items.len()).any(found);
            }
            When::Before(reader) => reader,
            When::After(reader) => {
                todo.push(reader);
                reader
            }
        };
        for up in std::iter::once(reader).chain(ancestors(flat, reader)) {
            todo.extend(flat.items[up].needs.iter().map(|n| n.item));
            match flat.bodies[flat.items[up].body] {
                // These lists start when the workflow's own steps are over.
                Opener::OnFailure | Opener::Finally => {
                    let body = flat.items[up].body;
                    todo.extend((0..flat.items.len()).filter(|i| flat.items[*i].body < body));
                }
                // What is undone has succeeded.
                Opener::Undo(owner) => todo.push(owner),
                _ => {}
            }
        }
        while let Some(ix) = todo.pop() {
            self.visits = self.visits.saturating_sub(1);
            if self.visits == 0 {
                return true;
            }
            if std::mem::replace(&mut self.seen[ix], self.walk) == self.walk {
                continue;
            }
            if found(ix) {
                return true;
            }
            todo.extend(self.inside[ix].iter());
            todo.extend(flat.items[ix].needs.iter().map(|n| n.item));
        }
        false
    }

    /// Checks a name without `steps.`, `params.` or `vars.`.
    fn bare(&mut self, root: &str, field: Option<&str>, one: &Use, spot: Spot, cx: &mut Cx) {
        let header = self.header;
        let known = header.params.iter().any(|p| p.name == root) || header.vars.contains_key(root);
        if known {
            return;
        }
        let flat = self.flat;
        let producers = self.producers.get(root).map(Vec::as_slice).unwrap_or_default();
        if let [first, second, ..] = *producers {
            let (a, b) = (&flat.items[first].id, &flat.items[second].id);
            let message = format!("both `{a}` and `{b}` produce `{root}`");
            let d = cx.warn(codes::TWO_PRODUCERS, one.span.clone(), message);
            d.cause("the one that stands last in the file wins, of those that are over");
            d.help(format!("say which one: `{a}.{root}` or `{b}.{root}`"));
        }
        if !producers.is_empty() {
            return;
        }
        let open = self.over_before(spot.when, |ix| open_output(flat, ix));
        let like_a_step = field.is_some_and(|f| RESERVED_FIELDS.contains(&f));
        if open && !like_a_step {
            return;
        }
        let ids = flat.items.iter().map(|i| i.id.as_str());
        let params = header.params.iter().map(|p| p.name.as_str());
        let declared = flat.items.iter().flat_map(|i| i.step.outputs.iter().flat_map(|o| &o.0));
        let names = ids.chain(params).chain(header.vars.keys().map(String::as_str));
        let names = names.chain(declared.map(|(key, _)| key.value.as_str()));
        let near = cx.nearest(root, names);
        if open && near.is_none() {
            return;
        }
        let message = format!("nothing that is over by then produces `{root}`");
        let d = cx.warn(codes::UNPRODUCED_NAME, one.span.clone(), message);
        d.cause("it is no step, param or constant, and no earlier step has such an output");
        match near {
            Some(near) => d.help(format!("did you mean `{near}`?")),
            None => d.help("say where it comes from: STEP.NAME, params.NAME or vars.NAME"),
        };
    }
}

/// Whether a step may produce keys that nobody declared.
fn open_output(flat: &Flat, ix: usize) -> bool {
    let item = &flat.items[ix];
    let silent = matches!(
        item.form,
        Form::Group | Form::If | Form::Switch | Form::Sleep | Form::Emit | Form::Short("notify")
    );
    !silent && item.step.outputs.is_none()
}

fn unknown<'n>(
    message: String,
    word: &str,
    names: impl Iterator<Item = &'n str>,
    one: &Use,
    cx: &mut Cx,
) {
    let names: Vec<&str> = names.take(PLAN_STEPS_MAX).collect();
    let near = cx.nearest(word, names.iter().copied());
    let d = cx.error(codes::UNKNOWN_REFERENCE, one.span.clone(), message);
    match near {
        Some(near) => d.help(format!("did you mean `{near}`?")),
        None if names.is_empty() => d.help("none is declared in this file"),
        None => d.help(format!("there are: {}", names[..names.len().min(20)].join(", "))),
    };
}

fn secret(one: &Use, spot: Spot, cx: &mut Cx) {
    if !spot.secrets {
        let message = "secrets can't be used here".into();
        let d = cx.error(codes::SECRET_OUT_OF_PLACE, one.span.clone(), message);
        d.cause("this is evaluated by the engine and kept in the history, where secrets never go");
        d.help("use it in `params` or `env` of a step with an agent");
    } else if one.path.len() != 2 {
        let message = "a secret is used as a whole, by its name".into();
        let d = cx.error(codes::SECRET_OUT_OF_PLACE, one.span.clone(), message);
        d.help("write ${{ secrets.NAME }}");
    } else {
        cx.secrets.push(At { value: one.path[1].clone(), span: one.span.clone() });
    }
}
