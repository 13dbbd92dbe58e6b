//! `on:` and `after:`: from what their author wrote to triggers.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use moa_core::ids::Name;
use moa_core::limits::{COLLECTED_MAX, GUARD_STARTS_DEFAULT, SCHEDULES_MAX};
use moa_core::schedule::{Calendars, Overlap};
use moa_core::time::Span;
use moa_core::trigger::{
    Collect, Cycles, Dependency, EndStatus, Guard, ScheduleSource, Source, TriggerSpec,
};
use moa_core::workflow::ParamSpec;
use serde_json::json;

use super::header::priority;
use super::hook::{self, Hook};
use super::schedule::{Schedules, calendars_of, check_given, overlap, positive, trigger};
use crate::codes;
use crate::model::WorkflowFile;
use crate::model::on::{AfterFile, EndText, GuardFile, Off, OnFile};
use crate::read::{At, Cx};
use crate::scalar::{Many, NameText, Short};

/// How long a file must not have changed when its author doesn't say.
const STABLE: Span = Span::seconds(2);

/// What starts runs of a workflow.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Triggers {
    /// By the clock.
    pub schedules: Schedules,
    /// Workflows that are waited for: by the schedules, or without them by a trigger of its own.
    pub after: Vec<Dependency>,
    /// By other happenings.
    pub on: Vec<TriggerSpec>,
    /// How the webhooks among these show who sends them.
    pub hooks: Vec<Hook>,
}

impl Triggers {
    /// The triggers of a workflow, with what they use of the project: calendars, and when the
    /// workflows that they wait for are due. What isn't there was reported.
    pub fn specs(
        &self,
        workflow: &Name,
        others: &dyn Fn(&Name) -> Option<Triggers>,
        calendars: &Calendars,
    ) -> Vec<TriggerSpec> {
        let after: Vec<Dependency> = self
            .after
            .iter()
            .map(|dependency| {
                let theirs = others(&dependency.workflow).unwrap_or_default().schedules.list;
                let due = theirs.into_iter().filter(|schedule| schedule.enabled);
                let cycles = due.map(|schedule| {
                    let calendars = calendars_of(&schedule, calendars);
                    Cycles { schedule, calendars }
                });
                Dependency { cycles: cycles.collect(), ..dependency.clone() }
            })
            .collect();
        let mut specs: Vec<TriggerSpec> = Vec::new();
        for schedule in &self.schedules.list {
            let calendars = calendars_of(schedule, calendars);
            let (schedule, after) = (schedule.clone(), after.clone());
            let guard = self.schedules.guards.get(&schedule.id.name).copied().unwrap_or_default();
            specs.push(trigger(ScheduleSource { schedule, calendars, after }, guard));
        }
        if specs.is_empty() && !self.after.is_empty() {
            specs.push(TriggerSpec {
                guard: default_guard(),
                ..bare(workflow, after_name(), Source::Runs { of: self.after.clone(), all: true })
            });
        }
        specs.extend(self.on.iter().cloned());
        specs
    }

    /// The workflows whose runs start or hold up runs of this one.
    pub fn upstream(&self) -> BTreeSet<Name> {
        let of = self.on.iter().filter_map(|spec| match &spec.source {
            Source::Runs { of, .. } => Some(of),
            _ => None,
        });
        self.after.iter().chain(of.flatten()).map(|d| d.workflow.clone()).collect()
    }
}

fn after_name() -> Name {
    // Invariant: it is a name.
    Name::new("after").expect("a name")
}

/// The guard of a trigger that says nothing of it. Not of schedules.
pub(crate) fn default_guard() -> Guard {
    let starts = Some((GUARD_STARTS_DEFAULT, Span::minutes(60)));
    Guard { starts, no_progress: None }
}

fn bare(workflow: &Name, name: Name, source: Source) -> TriggerSpec {
    TriggerSpec {
        workflow: workflow.clone(),
        name,
        rule: false,
        source,
        enabled: true,
        overlap: Overlap::Allow,
        max_lateness: None,
        pause_after: None,
        collect: None,
        guard: Guard::default(),
        priority: None,
        params: Default::default(),
    }
}

/// Lowers what starts runs of a workflow that takes these params.
pub(crate) fn triggers(
    file: &WorkflowFile,
    workflow: &Name,
    params: &[ParamSpec],
    cx: &mut Cx,
) -> Triggers {
    let schedules = super::schedules(file.schedule.as_ref(), workflow, params, cx);
    let after = after(file, cx);
    let mut names: BTreeSet<Name> =
        schedules.list.iter().map(|schedule| schedule.id.name.clone()).collect();
    if !after.is_empty() && schedules.list.is_empty() {
        names.insert(after_name());
        let place = file.place.key("after").unwrap_or_default();
        check_given(None, params, place, &["event"], cx);
    }
    if let (Some(span), true, true) =
        (file.place.key("schedule"), schedules.immediate, after.is_empty())
    {
        let message = "`immediate` has nothing to come after".into();
        let d = cx.warn(codes::NO_EFFECT, span, message);
        d.help("name the workflows that it waits for: `after: [other]`");
    }
    let (mut on, mut hooks) = (Vec::new(), Vec::new());
    let entries = file.on.as_ref().map(|many| many.0.as_slice()).unwrap_or_default();
    for (n, entry) in entries.iter().enumerate() {
        let span = span_of(entry);
        if n == SCHEDULES_MAX {
            let message = format!("`on` has at most {SCHEDULES_MAX} entries");
            cx.error(codes::WRONG_VALUE, span, message).help("split the workflow");
            break;
        }
        let spec = one(entry, n + 1, workflow, params, &mut names, cx);
        if let (Some(file), Some(spec)) = (&entry.webhook, &spec) {
            hooks.extend(hook::hook(file, spec, cx));
        }
        on.extend(spec);
    }
    Triggers { schedules, after, on, hooks }
}

fn span_of(entry: &OnFile) -> Range<usize> {
    entry.place.keys.first().map_or(entry.place.span.clone(), |(_, span)| span.clone())
}

fn after(file: &WorkflowFile, cx: &mut Cx) -> Vec<Dependency> {
    let entries = file.after.as_ref().map(|Many(list)| list.as_slice()).unwrap_or_default();
    let mut found: BTreeMap<Name, Dependency> = BTreeMap::new();
    for entry in entries {
        let (name, status) = match entry {
            Short::Short(name) => (name, EndStatus::Success),
            Short::Long(AfterFile { workflow: Some(name), status, .. }) => {
                (name, end_status(status.as_ref()))
            }
            Short::Long(long) => {
                let message = "this entry doesn't name a workflow".into();
                let d = cx.error(codes::MISSING_KEY, long.place.span.clone(), message);
                d.help("write {workflow: NAME, status: ended}");
                continue;
            }
        };
        let workflow = name.value.0.clone();
        let dependency = Dependency { workflow: workflow.clone(), status, cycles: Vec::new() };
        if found.insert(workflow.clone(), dependency).is_some() {
            let message = format!("`{workflow}` is named twice");
            cx.error(codes::MISFIT, name.span.clone(), message).help("take one of them out");
        }
    }
    found.into_values().collect()
}

fn end_status(text: Option<&At<EndText>>) -> EndStatus {
    match text.map(|text| text.value) {
        None | Some(EndText::Success) => EndStatus::Success,
        Some(EndText::Failed) => EndStatus::Failed,
        Some(EndText::Ended) => EndStatus::Ended,
    }
}

/// Lowers what a rule reacts to; it has no name yet.
pub(crate) fn rule(
    entry: &OnFile,
    workflow: &Name,
    params: &[ParamSpec],
    cx: &mut Cx,
) -> Option<TriggerSpec> {
    one(entry, 1, workflow, params, &mut BTreeSet::new(), cx)
}

/// Lowers one entry of `on`.
fn one(
    entry: &OnFile,
    position: usize,
    workflow: &Name,
    params: &[ParamSpec],
    names: &mut BTreeSet<Name>,
    cx: &mut Cx,
) -> Option<TriggerSpec> {
    if let Some(raw) = &entry.mail {
        let message = "this version of moa does not start runs by `mail` yet".into();
        cx.warn(codes::NOT_YET, raw.node.span.clone(), message);
    }
    // Invariant: it is a name.
    let own = Name::new(&format!("on_{position}")).ok()?;
    let name = entry.id.as_ref().map_or(own, |id| id.value.0.clone());
    let source = source(entry, workflow, &name, cx)?;
    if !names.insert(name.clone()) {
        let span = entry.id.as_ref().map_or(span_of(entry), |id| id.span.clone());
        let message = format!("two triggers have the id `{name}`");
        let d = cx.error(codes::DUPLICATE_SCHEDULE, span, message);
        d.help("give each an `id` of its own");
    }
    check_given(entry.params.as_ref(), params, span_of(entry), &["event", "events"], cx);
    if let Some(matches) = &entry.r#match {
        super::schedule::only_names(&matches.uses, &["event"], cx);
    }
    let pause_after = entry.on_failure.as_ref().and_then(|f| f.pause_after.as_ref());
    Some(TriggerSpec {
        enabled: entry.enabled.as_ref().is_none_or(|enabled| enabled.value),
        overlap: entry.overlap.as_ref().map_or(Overlap::Allow, |o| overlap(o.value)),
        max_lateness: entry.max_lateness.as_ref().map(|span| span.value.0),
        pause_after: pause_after.and_then(|n| positive(n, cx)),
        collect: collect(entry, cx),
        guard: guard(entry.guard.as_ref(), default_guard(), cx),
        priority: entry.priority.as_ref().map(|p| priority(p.value)),
        params: entry.params.as_ref().map(|p| p.template.clone()).unwrap_or_default(),
        ..bare(workflow, name, source)
    })
}

/// What the entry reacts to.
fn source(entry: &OnFile, workflow: &Name, name: &Name, cx: &mut Cx) -> Option<Source> {
    let kinds: Vec<&str> = ["workflow", "event", "file", "mail", "webhook"]
        .into_iter()
        .filter(|key| entry.place.key(key).is_some())
        .collect();
    let misfit = |key: &str, with: &str, cx: &mut Cx| {
        if let Some(span) = entry.place.key(key).filter(|_| !kinds.contains(&with)) {
            let message = format!("`{key}` means nothing without `{with}`");
            cx.error(codes::MISFIT, span, message).help("take it out");
        }
    };
    misfit("status", "workflow", cx);
    if !kinds.contains(&"webhook") {
        misfit("match", "event", cx);
    }
    misfit("stable", "file", cx);
    misfit("changes", "file", cx);
    if kinds.len() != 1 {
        let found = if kinds.is_empty() { "none".into() } else { kinds.join(" and ") };
        let message =
            format!("expected one of `workflow`, `event`, `file` and `webhook`, found {found}");
        let d = cx.error(codes::MISFIT, span_of(entry), message);
        d.help("write an entry of its own for each");
        return None;
    }
    if let Some(name) = &entry.workflow {
        let status = end_status(entry.status.as_ref());
        let of = Dependency { workflow: name.value.0.clone(), status, cycles: Vec::new() };
        return Some(Source::Runs { of: vec![of], all: false });
    }
    let matches = entry.r#match.as_ref().map(|expr| expr.program.clone());
    if entry.webhook.is_some() {
        return Some(Source::Event { event: hook::event(workflow, name), matches });
    }
    if let Some(event) = &entry.event {
        return Some(Source::Event { event: event.value.0.clone(), matches });
    }
    let pattern = entry.file.as_ref()?;
    let stable = entry.stable.as_ref().map_or(STABLE, |span| span.value.0);
    let changes = entry.changes.as_ref().is_some_and(|changes| changes.value);
    let settings = json!({ "pattern": pattern.value.0, "stable": stable, "changes": changes });
    Some(Source::Outside { by: "file".into(), settings })
}

fn collect(entry: &OnFile, cx: &mut Cx) -> Option<Collect> {
    if let (Some(_), Some(span)) = (&entry.debounce, entry.place.key("batch")) {
        let message = "`debounce` and `batch` don't go together".into();
        cx.error(codes::MISFIT, span, message).help("keep one of the two");
    }
    let most = u32::try_from(COLLECTED_MAX).unwrap_or(u32::MAX);
    if let Some(debounce) = &entry.debounce {
        let (quiet, max_wait) = match debounce {
            Short::Short(quiet) => (Some(quiet), None),
            Short::Long(long) => (long.quiet.as_ref(), long.max_wait.as_ref()),
        };
        let Some(quiet) = quiet else {
            let span = entry.place.key("debounce").unwrap_or_else(|| span_of(entry));
            let message = "`debounce` doesn't say how long".into();
            cx.error(codes::MISSING_KEY, span, message).help("write `debounce: 30s`");
            return None;
        };
        let within = max_wait.map_or(Span(quiet.value.0.0.saturating_mul(10)), |w| w.value.0);
        return Some(Collect { quiet: Some(quiet.value.0), within, max: most });
    }
    let (max, within) = match entry.batch.as_ref()? {
        Short::Short(max) => (Some(max), None),
        Short::Long(long) => (long.max.as_ref(), long.within.as_ref()),
    };
    if let Some(max) = max.filter(|max| max.value > most) {
        let message = format!("at most {most} share a run");
        cx.error(codes::WRONG_VALUE, max.span.clone(), message);
    }
    Some(Collect {
        quiet: None,
        within: within.map_or(Span::minutes(1), |span| span.value.0),
        max: max.and_then(|max| positive(max, cx)).unwrap_or(100),
    })
}

/// Lowers `guard` of any trigger.
pub(super) fn guard(
    file: Option<&Short<At<Off>, GuardFile>>,
    default: Guard,
    cx: &mut Cx,
) -> Guard {
    let long = match file {
        None => return default,
        Some(Short::Short(_)) => return Guard::default(),
        Some(Short::Long(long)) => long,
    };
    let within = long.within.as_ref().map(|span| span.value.0);
    let starts = match &long.starts {
        Some(most) => positive(most, cx).map(|n| (n, within.unwrap_or(Span::minutes(60)))),
        None => default.starts,
    };
    if let (Some(span), None) = (long.place.key("within"), &long.starts) {
        let message = "`within` means nothing without `starts`".into();
        cx.error(codes::MISFIT, span, message).help("write {starts: 100, within: 1h}");
    }
    let no_progress = long.no_progress.as_ref().and_then(|n| positive(n, cx));
    Guard { starts, no_progress }
}

/// The workflows that a file names as those that start or hold up its runs, and where.
pub(crate) fn upstream_of(file: &WorkflowFile) -> Vec<&At<NameText>> {
    let after = file.after.iter().flat_map(|many| &many.0).filter_map(|entry| match entry {
        Short::Short(name) => Some(name),
        Short::Long(long) => long.workflow.as_ref(),
    });
    let on = file.on.iter().flat_map(|many| &many.0);
    after.chain(on.filter_map(|entry| entry.workflow.as_ref())).collect()
}
