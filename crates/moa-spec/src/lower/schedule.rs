//! `schedule:`: from what its author wrote to schedules.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use moa_core::ids::Name;
use moa_core::limits::{
    CATCH_UP_RUNS_MAX, SCHEDULE_AT_MAX, SCHEDULE_CRON_MAX, SCHEDULE_DAY_RULES_MAX,
    SCHEDULE_EVERY_MAX, SCHEDULES_MAX,
};
use moa_core::schedule::{
    Calendar, Calendars, CatchUp, CatchUpPolicy, DayRule, Dst, Overlap, SLOT_FIELDS, Schedule,
    ScheduleId, Timetable, Window, Zone,
};
use moa_core::time::{Millis, Span};
use moa_core::trigger::{Guard, ScheduleSource, Source, TriggerSpec};
use moa_core::workflow::ParamSpec;
use serde_json::Value as Json;

use crate::check::has_template;
use crate::codes;
use crate::model::schedule::{
    CatchUpFile, CatchUpText, DayRuleText, DstText, OverlapText, RuleText, ScheduleFile,
    ScheduleForm, ShortText,
};
use crate::params::check_against;
use crate::read::{At, Cx};
use crate::scalar::{Many, Short, Tmpl, Use};
use crate::suggest::nearest;

/// What `schedule:` of a workflow says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Schedules {
    /// `schedule: immediate`: runs start as soon as what the workflow depends on is there.
    pub immediate: bool,
    /// Schedules by the clock.
    pub list: Vec<Schedule>,
    /// What pauses them before they do harm, by their names.
    pub guards: BTreeMap<Name, Guard>,
}

/// What a schedule uses of the project's calendars. One that isn't there was reported.
pub(super) fn calendars_of(schedule: &Schedule, all: &Calendars) -> Calendars {
    let named = schedule.calendar.names();
    named.filter_map(|name| Some((name.clone(), all.get(name)?.clone()))).collect()
}

/// The trigger that starts the runs of a schedule.
pub(super) fn trigger(source: ScheduleSource, guard: Guard) -> TriggerSpec {
    let schedule = &source.schedule;
    let ScheduleId { workflow, name } = schedule.id.clone();
    TriggerSpec {
        workflow,
        name,
        rule: false,
        enabled: schedule.enabled,
        overlap: schedule.overlap,
        max_lateness: schedule.max_lateness,
        pause_after: schedule.pause_after,
        collect: None,
        guard,
        priority: None,
        params: schedule.params.clone(),
        source: Source::Schedule(Box::new(source)),
    }
}

/// The fields of `event`.
const EVENT_FIELDS: [&str; 4] = ["type", "data", "source", "at"];

/// Where the days are looked for on which a schedule must be due at least once: it has no clock.
const YEARS: [i64; 2] = [946_684_800_000, 2_524_608_000_000];

/// Lowers the schedules of a workflow that takes these params.
pub(crate) fn schedules(
    forms: Option<&Many<ScheduleForm>>,
    workflow: &Name,
    params: &[ParamSpec],
    cx: &mut Cx,
) -> Schedules {
    let mut schedules = Schedules::default();
    let forms = forms.map(|forms| forms.0.as_slice()).unwrap_or_default();
    let mut names = BTreeSet::new();
    for (n, form) in forms.iter().enumerate() {
        let span = span_of(form);
        if n == SCHEDULES_MAX {
            let message = format!("a workflow has at most {SCHEDULES_MAX} schedules");
            cx.error(codes::WRONG_VALUE, span, message).help("split the workflow");
            break;
        }
        if matches!(form, Short::Short(At { value: ShortText::Immediate, .. })) {
            schedules.immediate = true;
            if forms.len() > 1 {
                let message = "`immediate` can't be one schedule of several".into();
                cx.error(codes::MISFIT, span, message).help("write `schedule: immediate` alone");
            }
            continue;
        }
        // Invariant: a number is a name.
        let Ok(position) = Name::new(&(n + 1).to_string()) else { continue };
        let given = match form {
            Short::Long(file) => file.id.as_ref(),
            Short::Short(_) => None,
        };
        let name = given.map_or(position, |id| id.value.0.clone());
        if !names.insert(name.clone()) {
            let message = format!("two schedules have the id `{name}`");
            let span = given.map_or(span.clone(), |id| id.span.clone());
            let d = cx.error(codes::DUPLICATE_SCHEDULE, span, message);
            d.help("give each an `id` of its own");
        }
        let id = ScheduleId { workflow: workflow.clone(), name };
        let schedule = match form {
            Short::Short(rule) => short(id, &rule.value),
            Short::Long(file) => long(id, file, cx),
        };
        let (given, guard) = match form {
            Short::Long(file) => (file.params.as_ref(), file.guard.as_ref()),
            Short::Short(_) => (None, None),
        };
        check_given(given, params, span, &["slot"], cx);
        if guard.is_some() {
            let guard = super::on::guard(guard, Guard::default(), cx);
            schedules.guards.insert(schedule.id.name.clone(), guard);
        }
        schedules.list.push(schedule);
    }
    schedules
}

/// Where to point at when the schedule as a whole is meant.
fn span_of(form: &ScheduleForm) -> Range<usize> {
    match form {
        Short::Short(rule) => rule.span.clone(),
        Short::Long(file) => match file.place.keys.first() {
            Some((_, span)) => span.clone(),
            None => file.place.span.clone(),
        },
    }
}

fn short(id: ScheduleId, text: &ShortText) -> Schedule {
    let mut schedule = Schedule::new(id);
    if let ShortText::Rule(rule) = text {
        add(rule, &mut schedule);
    }
    schedule
}

fn add(rule: &RuleText, schedule: &mut Schedule) {
    match rule {
        RuleText::Cron(cron) => schedule.cron.push(cron.clone()),
        RuleText::Every(every) => schedule.every.push(*every),
    }
}

fn long(id: ScheduleId, file: &ScheduleFile, cx: &mut Cx) -> Schedule {
    let before = cx.errors();
    let mut schedule = Schedule::new(id);
    schedule.enabled = file.enabled.as_ref().is_none_or(|enabled| enabled.value);
    zone(file, &mut schedule, cx);
    rules(file, &mut schedule, cx);
    if let Some(calendar) = &file.calendar {
        schedule.calendar = Calendar {
            include: days("include", calendar.include.as_ref(), cx),
            exclude: days("exclude", calendar.exclude.as_ref(), cx),
        };
    }
    schedule.window = window(file, &schedule.zone, cx);
    schedule.catch_up = catch_up(file, cx);
    schedule.overlap = file.overlap.as_ref().map_or(Overlap::Skip, |o| overlap(o.value));
    schedule.max_lateness = file.max_lateness.as_ref().map(|span| span.value.0);
    if let Some(jitter) = &file.jitter {
        schedule.jitter = jitter.value.0;
        if schedule.max_lateness.is_some_and(|most| most < jitter.value.0) {
            let message = "`jitter` is longer than `max_lateness`".into();
            let d = cx.error(codes::WRONG_VALUE, jitter.span.clone(), message);
            d.cause("slots would be skipped as late while they wait for their jitter");
        }
    }
    let pause_after = file.on_failure.as_ref().and_then(|f| f.pause_after.as_ref());
    schedule.pause_after = pause_after.and_then(|n| positive(n, cx));
    schedule.params = file.params.as_ref().map(|p| p.template.clone()).unwrap_or_default();
    if cx.errors() == before {
        never(file, &schedule, cx);
    }
    schedule
}

/// An overlap policy by its text.
pub(super) fn overlap(text: OverlapText) -> Overlap {
    match text {
        OverlapText::Skip => Overlap::Skip,
        OverlapText::BufferOne => Overlap::BufferOne,
        OverlapText::BufferAll => Overlap::BufferAll,
        OverlapText::CancelRunning => Overlap::CancelRunning,
        OverlapText::TerminateRunning => Overlap::TerminateRunning,
        OverlapText::Allow => Overlap::Allow,
    }
}

fn zone(file: &ScheduleFile, schedule: &mut Schedule, cx: &mut Cx) {
    schedule.dst = match file.dst.as_ref().map(|d| d.value) {
        None | Some(DstText::Vixie) => Dst::Vixie,
        Some(DstText::Literal) => Dst::Literal,
        Some(DstText::Utc) => Dst::Utc,
    };
    let Some(zone) = &file.timezone else { return };
    if schedule.dst == Dst::Utc {
        let message = "`timezone` means nothing beside `dst: utc`".into();
        let d = cx.warn(codes::NO_EFFECT, zone.span.clone(), message);
        d.cause("`dst: utc` reads everything in UTC");
        d.help("take one of the two out");
        return;
    }
    schedule.zone = zone.value.0.clone();
}

fn rules(file: &ScheduleFile, schedule: &mut Schedule, cx: &mut Cx) {
    let cron = file.cron.iter().flat_map(|many| &many.0);
    cron.for_each(|rule| add(&rule.value, schedule));
    let every = file.every.iter().flat_map(|many| &many.0);
    every.for_each(|every| schedule.every.push(every.value.0));
    let at = file.at.iter().flat_map(|many| &many.0);
    schedule.at = at.map(|at| at.value.moment.first(&schedule.zone)).collect();
    schedule.at.sort_unstable();
    schedule.at.dedup();
    schedule.after = file.after.as_ref().map(|span| span.value.0);
    if let Some(after) = file.after.as_ref().filter(|span| span.value.0 < Span::seconds(1)) {
        let message = "`after` is at least 1s".into();
        let d = cx.error(codes::WRONG_VALUE, after.span.clone(), message);
        d.cause("runs would follow each other without end and without a pause");
    }
    for (key, count, most) in [
        ("cron", schedule.cron.len(), SCHEDULE_CRON_MAX),
        ("every", schedule.every.len(), SCHEDULE_EVERY_MAX),
        ("at", schedule.at.len(), SCHEDULE_AT_MAX),
    ] {
        too_many(key, count, most, file.place.key(key), cx);
    }
}

fn too_many(key: &str, count: usize, most: usize, span: Option<Range<usize>>, cx: &mut Cx) {
    if let Some(span) = span.filter(|_| count > most) {
        let message = format!("`{key}` has {count} entries; at most {most} are taken");
        cx.error(codes::WRONG_VALUE, span, message).help("write several schedules");
    }
}

fn days(key: &str, rules: Option<&Many<At<DayRuleText>>>, cx: &mut Cx) -> Vec<DayRule> {
    let Some(Many(rules)) = rules else { return Vec::new() };
    let span = rules.first().map(|rule| rule.span.clone());
    too_many(key, rules.len(), SCHEDULE_DAY_RULES_MAX, span, cx);
    rules.iter().map(|rule| rule.value.0.clone()).collect()
}

fn window(file: &ScheduleFile, zone: &Zone, cx: &mut Cx) -> Window {
    let Some(window) = &file.window else { return Window::default() };
    let from = window.from.as_ref().map(|from| from.value.moment.first(zone));
    let until = window.until.as_ref().map(|until| until.value.moment.end(zone));
    if let (Some(from), Some(end), Some(at)) = (from, until, &window.until)
        && end <= from
    {
        let message = "the window ends before it begins".into();
        let d = cx.error(codes::WRONG_VALUE, at.span.clone(), message);
        d.cause(format!("it is from {from} until {end}"));
    }
    let max_runs = window.max_runs.as_ref().and_then(|n| positive(n, cx));
    Window { from, until, max_runs: max_runs.map(u64::from) }
}

fn catch_up(file: &ScheduleFile, cx: &mut Cx) -> CatchUp {
    let mut catch_up = CatchUp::default();
    let policy = |text: CatchUpText| match text {
        CatchUpText::None => CatchUpPolicy::None,
        CatchUpText::Latest => CatchUpPolicy::Latest,
        CatchUpText::All => CatchUpPolicy::All,
    };
    match &file.catch_up {
        None => {}
        Some(Short::Short(text)) => catch_up.policy = policy(text.value),
        Some(Short::Long(long)) => {
            let given = long.policy.as_ref().map(|text| policy(text.value));
            catch_up.policy = given.unwrap_or_default();
            catch_up_limits(long, &mut catch_up, cx);
        }
    }
    catch_up
}

fn catch_up_limits(file: &CatchUpFile, catch_up: &mut CatchUp, cx: &mut Cx) {
    let span = |at: &Option<At<crate::scalar::Duration>>| at.as_ref().map(|d| d.value.0);
    catch_up.window = span(&file.window).unwrap_or(catch_up.window);
    catch_up.spacing = span(&file.spacing).unwrap_or(catch_up.spacing);
    catch_up.paused = file.paused.as_ref().is_some_and(|paused| paused.value);
    if let Some(max) = &file.max {
        catch_up.max = positive(max, cx).unwrap_or(catch_up.max);
        if max.value > CATCH_UP_RUNS_MAX {
            let message = format!("at most {CATCH_UP_RUNS_MAX} slots are caught up");
            cx.error(codes::WRONG_VALUE, max.span.clone(), message);
        }
    }
    let idle: &[&str] = match catch_up.policy {
        CatchUpPolicy::All => &[],
        CatchUpPolicy::Latest => &["max", "spacing"],
        CatchUpPolicy::None => &["window", "max", "spacing"],
    };
    for key in idle {
        let Some(span) = file.place.key(key) else { continue };
        let message = format!("`{key}` means nothing with this policy");
        let d = cx.warn(codes::NO_EFFECT, span, message);
        d.help(format!("write `policy: all`, or take `{key}` out"));
    }
}

/// A number that must not be 0.
pub(super) fn positive(n: &At<u32>, cx: &mut Cx) -> Option<u32> {
    if n.value == 0 {
        let message = "expected 1 or more, found 0".into();
        cx.error(codes::WRONG_VALUE, n.span.clone(), message);
        return None;
    }
    Some(n.value)
}

/// Reports a schedule that is never due.
fn never(file: &ScheduleFile, schedule: &Schedule, cx: &mut Cx) {
    let place = || file.place.keys.first().map_or(file.place.span.clone(), |(_, s)| s.clone());
    let whens = ["cron", "every", "at", "after"];
    if whens.iter().all(|key| file.place.key(key).is_none()) {
        let message = "this schedule doesn't say when".into();
        let d = cx.error(codes::NEVER_DUE, place(), message);
        d.help("give it one of `cron`, `every`, `at` and `after`");
        return;
    }
    let empty = schedule.cron.is_empty() && schedule.every.is_empty() && schedule.at.is_empty();
    // What days a named calendar has is not known here; a schedule may also wait for its own runs.
    let limited = !schedule.calendar.is_empty() || schedule.window != Window::default();
    if empty || !limited || schedule.after.is_some() || schedule.calendar.names().next().is_some() {
        return;
    }
    let Ok(table) = Timetable::new(schedule.clone(), &Calendars::new()) else { return };
    if YEARS.iter().all(|year| table.next_slot(Millis(*year)).is_none()) {
        let message = "this schedule is never due".into();
        let d = cx.error(codes::NEVER_DUE, place(), message);
        d.cause("no instant that it names is within its `calendar` and its `window`");
    }
}

/// Checks what the runs are given against what the workflow takes.
/// `names` are those that expressions have.
pub(super) fn check_given(
    params: Option<&Tmpl>,
    specs: &[ParamSpec],
    span: Range<usize>,
    names: &[&str],
    cx: &mut Cx,
) {
    if let Some(params) = params {
        only_names(&params.uses, names, cx);
    }
    let empty = serde_json::Map::new();
    let given = match params.map(Tmpl::source) {
        None => &empty,
        Some(Json::Object(map)) => map,
        // One expression gives all of them.
        Some(Json::String(text)) if text.contains("${{") => return,
        Some(_) => {
            let span = params.map_or(span, Tmpl::span);
            let message = "the params of a run are a mapping".into();
            cx.error(codes::WRONG_TYPE, span, message).help("write `params: {name: value}`");
            return;
        }
    };
    let Err(errors) = check_against(specs, given) else { return };
    for error in errors {
        let node = params.and_then(|p| p.node.get(&error.name));
        let declared = specs.iter().any(|spec| spec.name == error.name);
        // What a template becomes is known only when it is evaluated.
        if declared && node.is_some_and(|node| has_template(node)) {
            continue;
        }
        let place = node.map_or(span.clone(), |node| node.span.clone());
        let what = if names.contains(&"slot") { "schedule" } else { "trigger" };
        let message = format!("the {what}'s params don't fit the workflow");
        let d = cx.error(codes::BAD_SCHEDULE_PARAMS, place, message);
        d.cause(error.message);
        d.help = error.help.filter(|help| !help.contains("--param"));
        if node.is_none() {
            d.help(format!("give it by `params` of the {what}"));
        }
    }
}

/// Reports names that expressions of a trigger don't have.
pub(super) fn only_names(uses: &[Use], names: &[&str], cx: &mut Cx) {
    for one in uses {
        let (root, field) = (one.path.first(), one.path.get(1));
        match root.map(String::as_str) {
            Some("trigger") => {}
            Some(root) if names.contains(&root) => {
                let fields: &[&str] = match root {
                    "slot" => &SLOT_FIELDS,
                    "event" => &EVENT_FIELDS,
                    _ => continue,
                };
                let Some(field) = field.filter(|f| !fields.contains(&f.as_str())) else {
                    continue;
                };
                let message = format!("`{root}` has no field `{field}`");
                let d = cx.error(codes::UNKNOWN_REFERENCE, one.span.clone(), message);
                match nearest(field, fields.iter().copied()) {
                    Some(near) => d.help(format!("did you mean `{near}`?")),
                    None => d.help(format!("its fields are: {}", fields.join(", "))),
                };
            }
            Some("secrets") => {
                let message = "secrets can't be used here".into();
                let d = cx.error(codes::SECRET_OUT_OF_PLACE, one.span.clone(), message);
                d.cause("params are kept in the history, where secrets never go");
                d.help("use it in `params` or `env` of a step with an agent");
            }
            Some(other) => {
                let message = format!("`{other}` doesn't exist here");
                let d = cx.error(codes::UNKNOWN_REFERENCE, one.span.clone(), message);
                let names = names.join("` and `");
                d.help(format!("expressions here have `{names}`, `trigger`, and nothing else"));
            }
            None => {}
        }
    }
}
