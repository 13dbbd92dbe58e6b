//! Counters and what is wanted of them: the sections `metrics`, `targets` and `health` of the settings.

use std::collections::{BTreeMap, BTreeSet};

use moa_core::expr::Program;
use moa_core::ids::Name;
use moa_core::target::{Bounds, Period};
use serde::{Serialize, Serializer};

use crate::codes;
use crate::diagnostic::Diagnostic;
use crate::model::settings::{BoundsFile, MetricFile, SettingsFile, TargetFile};
use crate::read::{At, Cx, Field};
use crate::scalar::{Entries, Expr, NameText, name};
use crate::settings::{Settings, writable};
use crate::source::Source;
use crate::suggest::nearest;
use crate::yaml;

/// Names that moa itself counts under.
pub const OWN_METRICS: [&str; 2] = ["tasks_completed", "tasks_failed"];

/// A counter: of runs that succeed, or of steps that do.
#[derive(Debug, Clone, Serialize)]
pub struct Metric {
    /// Only runs of this workflow, and their steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workflow: Option<Name>,
    /// Only steps with this id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// Only steps of this agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<Name>,
    /// Only steps with this action.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// False = doesn't count.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "source")]
    pub when: Option<Program>,
    /// How much it counts; `None` = 1.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "source")]
    pub value: Option<Program>,
}

impl Metric {
    /// Whether it counts steps, rather than runs.
    pub fn is_of_steps(&self) -> bool {
        self.step.is_some() || self.agent.is_some() || self.action.is_some()
    }

    fn key(&self) -> impl PartialEq + '_ {
        let source = |program: &Option<Program>| program.as_ref().map(|p| p.source().to_owned());
        let Self { workflow, step, agent, action, when, value } = self;
        (workflow, step, agent, action, source(when), source(value))
    }
}

impl PartialEq for Metric {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

fn source<S: Serializer>(program: &Option<Program>, s: S) -> Result<S::Ok, S::Error> {
    program.as_ref().map(Program::source).serialize(s)
}

/// What is wanted of a counter.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Target {
    /// By period.
    pub periods: BTreeMap<Period, Bounds>,
    /// The channel that is told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notify: Option<Name>,
}

/// The report that a node writes each hour.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Health {
    /// The folder of `health_YYYYMMDD.json`, relative to the project.
    pub folder: String,
    /// A file that the whole state is written to, relative to the project.
    pub state_file: Option<String>,
}

impl Default for Health {
    fn default() -> Self {
        Self { folder: ".moa/health".into(), state_file: None }
    }
}

/// Takes over the three sections.
pub(crate) fn take(file: &SettingsFile, settings: &mut Settings, cx: &mut Cx) {
    for (key, metric) in entries(file.metrics.as_ref()) {
        if let Some(name) = counter(key, cx) {
            settings.metrics.insert(name, self::metric(key, metric, cx));
        }
    }
    for (key, file) in entries(file.targets.as_ref()) {
        let known = OWN_METRICS.contains(&key.value.as_str())
            || settings.metrics.keys().any(|name| name.as_str() == key.value);
        if !known {
            let message =
                format!("there is no metric {:?} that this could be wanted of", key.value);
            let names = settings.metrics.keys().map(Name::as_str).chain(OWN_METRICS);
            let help = match nearest(&key.value, names) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "name one of `metrics`, or tasks_completed or tasks_failed".into(),
            };
            cx.error(codes::WRONG_VALUE, key.span.clone(), message).help(help);
        }
        if let Some(named) = &file.notify {
            channel(named, settings, cx);
        }
        if let Some(name) = name(&key.value, key.span.clone(), cx) {
            settings.targets.insert(name, target(file, cx));
        }
    }
    let Some(health) = &file.health else { return };
    if let Some(folder) = &health.folder {
        writable(folder, "data/logs", "health", cx);
        settings.health.folder.clone_from(&folder.value);
    }
    if let Some(path) = &health.state_file {
        writable(path, "data/tasks/orchestrator_state.json", "health", cx);
        settings.health.state_file = Some(path.value.clone());
    }
}

/// The channel that a target tells has to be there.
fn channel(named: &At<NameText>, settings: &Settings, cx: &mut Cx) {
    let channels = &settings.notify.channels;
    let name = &named.value.0;
    if channels.contains_key(name) {
        return;
    }
    let message = format!("there is no channel `{name}`");
    let help = match nearest(name.as_str(), channels.keys().map(Name::as_str)) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!(
            "name it: notify: {{channels: {{{name}: {{file: notifications/{name}.jsonl}}}}}}"
        ),
    };
    cx.error(codes::UNKNOWN_CHANNEL, named.span.clone(), message).help(help);
}

/// What the counters of the settings name that is not there: workflows and agents. Such a counter
/// counts nothing, but it may have counted what is gone, so these are warnings.
pub fn check_metrics(
    source: &Source,
    workflows: &BTreeSet<Name>,
    agents: &BTreeSet<Name>,
) -> Vec<Diagnostic> {
    let mut reading = Cx::new(source);
    let root = yaml::parse(&mut reading);
    let file = root.and_then(|root| SettingsFile::read(&root, &mut reading));
    let mut cx = Cx::new(source);
    for (_, metric) in entries(file.as_ref().and_then(|file| file.metrics.as_ref())) {
        let of = [
            ("workflow", codes::UNKNOWN_WORKFLOW, &metric.workflow, workflows),
            ("agent", codes::UNKNOWN_AGENT, &metric.agent, agents),
        ];
        for (what, code, named, known) in of {
            let Some(named) = named.as_ref().filter(|at| !known.contains(&at.value.0)) else {
                continue;
            };
            let message = format!("there is no {what} `{}`", named.value.0);
            let help = match nearest(named.value.0.as_str(), known.iter().map(Name::as_str)) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("nothing is counted until there is such a {what}"),
            };
            cx.warn(code, named.span.clone(), message).help(help);
        }
    }
    cx.finish()
}

fn entries<T>(of: Option<&Entries<T>>) -> impl Iterator<Item = &(At<String>, T)> {
    of.into_iter().flat_map(|entries| &entries.0)
}

fn counter(key: &At<String>, cx: &mut Cx) -> Option<Name> {
    if OWN_METRICS.contains(&key.value.as_str()) {
        let message = format!("moa itself counts under the name {:?}", key.value);
        cx.error(codes::WRONG_VALUE, key.span.clone(), message).help("choose another name");
        return None;
    }
    name(&key.value, key.span.clone(), cx)
}

fn metric(key: &At<String>, file: &MetricFile, cx: &mut Cx) -> Metric {
    let metric = Metric {
        workflow: file.workflow.as_ref().map(|name| name.value.0.clone()),
        step: file.step.as_ref().map(|step| step.value.0.clone()),
        agent: file.agent.as_ref().map(|name| name.value.0.clone()),
        action: file.action.as_ref().map(|action| action.value.0.clone()),
        when: expression(file.when.as_ref(), cx),
        value: expression(file.value.as_ref(), cx),
    };
    if metric.workflow.is_none() && !metric.is_of_steps() {
        let message = format!("the metric {:?} doesn't say what it counts", key.value);
        let d = cx.error(codes::WRONG_VALUE, key.span.clone(), message);
        d.help("give it a `workflow`, whose runs count when they succeed, or an `agent`");
    }
    metric
}

/// An expression over what there is of a run or step that has ended.
fn expression(expr: Option<&Expr>, cx: &mut Cx) -> Option<Program> {
    let expr = expr?;
    for used in &expr.uses {
        let Some(first) = used.path.first() else { continue };
        if first != "output" && first != "params" {
            let message = format!("a metric knows no name `{first}`");
            let d = cx.error(codes::WRONG_VALUE, used.span.clone(), message);
            d.help("it knows `output`, that of the step or the run, and `params` of the run");
        }
    }
    Some(expr.program.clone())
}

fn target(file: &TargetFile, cx: &mut Cx) -> Target {
    let of = [(Period::Day, &file.day), (Period::Month, &file.month), (Period::Year, &file.year)];
    let given = of.into_iter().filter_map(|(period, bounds)| Some((period, bounds.as_ref()?)));
    let periods = given.map(|(period, file)| (period, bounds(file, cx))).collect();
    Target { periods, notify: file.notify.as_ref().map(|name| name.value.0.clone()) }
}

fn bounds(file: &BoundsFile, cx: &mut Cx) -> Bounds {
    let given: Vec<&At<f64>> =
        [&file.minimum, &file.target, &file.maximum].into_iter().flatten().collect();
    for pair in given.windows(2).filter(|pair| pair[0].value > pair[1].value) {
        let message = format!("{} is less than the {} before it", pair[1].value, pair[0].value);
        let d = cx.error(codes::WRONG_VALUE, pair[1].span.clone(), message);
        d.help("the minimum is not above the target, nor the target above the maximum");
    }
    let value = |of: &Option<At<f64>>| of.as_ref().map(|at| at.value);
    Bounds {
        minimum: value(&file.minimum),
        target: value(&file.target),
        maximum: value(&file.maximum),
    }
}
