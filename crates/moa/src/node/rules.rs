//! Rules: triggers that people make, change, switch and delete while moa runs.
//!
//! A rule's definition is in the store alone, so what the files say takes none away. One request at a
//! time is done, under the lock of the project: what it finds is still so when it writes.

use std::collections::BTreeMap;

use moa_core::ids::Name;
use moa_core::limits::RULES_MAX;
use moa_core::trigger::{TriggerAnswer, TriggerId, TriggerSpec};
use moa_ports::triggers::TriggerRow;
use moa_spec::{Source, WorkflowSummary, parse_rule};

use super::Node;
use super::triggers::{self, orphan};
use crate::control::protocol::{RuleDone, RuleExpect, RuleRequest};
use crate::exit::{Exit, Failure, Result};
use crate::project::Problems;
use crate::refresh::Watched;
use crate::text;
use crate::view::node::rule_tag;

impl Node {
    /// Does something with a rule; answers when that is durable.
    pub async fn rule(&self, request: RuleRequest) -> Result<RuleDone> {
        let mut watched = self.watched.lock().await;
        self.look(&mut watched).await?;
        match request {
            RuleRequest::Put { name, path, text, replace, expect } => {
                let source = Source::new(path, text);
                self.put_rule(&watched, &source, name.as_ref(), replace, expect.as_ref()).await
            }
            RuleRequest::Switch { name, on } => {
                let row = self.known_rule(&name).await?;
                let spec = TriggerSpec { enabled: on, ..(*row.spec).clone() };
                let answer = self.engine.put_trigger(spec).await?;
                Ok(done(name, &answer))
            }
            RuleRequest::Delete { name, expect } => {
                let row = self.known_rule(&name).await?;
                if differs(expect.as_ref(), Some(&row)) {
                    return Ok(other(name));
                }
                let answer = self.engine.remove_trigger(TriggerId::of_rule(&name)).await?;
                Ok(done(name, &answer))
            }
        }
    }

    async fn put_rule(
        &self,
        watched: &Watched,
        source: &Source,
        name: Option<&Name>,
        replace: bool,
        expect: Option<&RuleExpect>,
    ) -> Result<RuleDone> {
        let (rule, diagnostics) = parse_rule(source, name, &project(watched));
        let Some(rule) = rule else {
            let problems = Problems { diagnostics, sources: vec![source.clone()], others: vec![] };
            return Err(refusal(&problems));
        };
        let mut spec = rule.spec;
        let id = spec.id();
        let name = spec.name.clone();
        let there = self.views.trigger(id).await?.filter(|row| !row.state.removed);
        if differs(expect, there.as_ref()) {
            return Ok(other(name));
        }
        match &there {
            Some(row) => {
                // Who changes what it does has not switched it on.
                spec.enabled = rule.enabled.unwrap_or(row.spec.enabled);
                if !replace && *row.spec != spec {
                    let text = format!("there is a rule {name} already, and it is another one");
                    let hint = "--replace changes it; `moa rules list` lists all";
                    return Err(Failure::refused(text).hint(hint));
                }
            }
            None => self.make_room_for_a_rule().await?,
        }
        let answer = self.engine.put_trigger(spec).await?;
        // It may be there since its workflow went, and be the same.
        orphan(&self.engine, id, false).await?;
        Ok(RuleDone { created: there.is_none(), ..done(name, &answer) })
    }

    async fn make_room_for_a_rule(&self) -> Result<()> {
        let all = triggers::all(&*self.views).await?;
        let rules = all.iter().filter(|row| row.spec.rule && !row.state.removed).count();
        if rules < RULES_MAX {
            return Ok(());
        }
        let text = format!("there are {rules} rules; a project has at most {RULES_MAX}");
        Err(Failure::refused(text).hint("delete one with `moa rules delete NAME`"))
    }

    async fn known_rule(&self, name: &Name) -> Result<TriggerRow> {
        let row = self.views.trigger(TriggerId::of_rule(name)).await?;
        if let Some(row) = row.filter(|row| !row.state.removed) {
            return Ok(row);
        }
        let all = triggers::all(&*self.views).await?;
        let rules = all.iter().filter(|row| row.spec.rule && !row.state.removed);
        Err(unknown(name.as_str(), rules.map(|row| row.spec.name.as_str())))
    }
}

/// There is no such rule.
pub fn unknown<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Failure {
    let failure = Failure::not_found(format!("there is no rule {}", text::safe_line(name)));
    match text::nearest(name, known) {
        Some(near) => failure.hint(format!("did you mean {near}?")),
        None => failure.hint("`moa rules list` lists them"),
    }
}

fn done(name: Name, answer: &TriggerAnswer) -> RuleDone {
    let changed = *answer != TriggerAnswer::Unchanged;
    RuleDone { name, changed, created: false, differs: false }
}

/// Whether a rule is not what it is taken for.
fn differs(expect: Option<&RuleExpect>, there: Option<&TriggerRow>) -> bool {
    let tag = there.map(|row| rule_tag(&row.spec));
    expect.is_some_and(|expect| !expect.fits(tag.as_deref()))
}

fn other(name: Name) -> RuleDone {
    RuleDone { name, changed: false, created: false, differs: true }
}

fn refusal(problems: &Problems) -> Failure {
    let (errors, _) = problems.counts();
    let text = format!("{} in the rule; nothing was changed", text::plural(errors, "error"));
    let failure = Failure::new(Exit::Invalid, text).detail(problems.errors().render(false));
    match problems.diagnostics.iter().find(|d| d.is_error()) {
        Some(d) => failure.hint(format!("`moa explain {}` says more", d.code)),
        None => failure,
    }
}

/// What a rule can refer to.
fn project(watched: &Watched) -> moa_spec::Project {
    let served = watched.project.workflows.iter().map(|(name, served)| {
        let params = served.plan.params.clone();
        (name.clone(), WorkflowSummary { params, ..WorkflowSummary::default() })
    });
    // One whose file has errors may come to take any params.
    let broken = watched.broken.iter().map(|name| (name.clone(), WorkflowSummary::default()));
    let workflows: BTreeMap<_, _> = served.chain(broken).collect();
    moa_spec::Project { workflows, ..moa_spec::Project::default() }
}
