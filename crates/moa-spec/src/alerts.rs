//! What is looked at and who is told how: the section `alerts` of the settings, checked, over the
//! rules that are there from the start.

use std::collections::{BTreeMap, BTreeSet};

use moa_core::alert::{Policy, Quiet, Rule, Severity};
use moa_core::ids::Name;
use moa_core::schedule::Zone;
use moa_core::time::Span;
use serde::{Serialize, Serializer};

use crate::codes;
use crate::model::alerts::{AlertRuleFile, AlertsFile, QuietFile, SeverityText};
use crate::read::{At, Cx};
use crate::scalar::{Duration, NameText, shown_span};

/// What is looked at, and who is told how.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Alerts {
    /// Whether anything is looked at.
    pub enabled: bool,
    /// The channels that are told.
    pub notify: BTreeSet<Name>,
    /// How long something has to be gone before it is over.
    #[serde(serialize_with = "shown_span")]
    pub resolve_after: Span,
    /// When and how people are told.
    #[serde(serialize_with = "shown_policy", flatten)]
    pub policy: Policy,
    /// The rules.
    #[serde(serialize_with = "shown_rules")]
    pub rules: BTreeMap<Rule, AlertRule>,
}

/// How a rule is. Numbers that it doesn't look at are of no meaning.
#[derive(Debug, Clone, PartialEq)]
pub struct AlertRule {
    /// Whether it is looked at.
    pub enabled: bool,
    /// How bad it is.
    pub severity: Severity,
    /// How long it has to be so.
    pub hold: Span,
    /// The channels that are told, when not those of all.
    pub notify: Option<BTreeSet<Name>>,
    /// The share of runs that fail, or of a budget that is spent.
    pub rate: f64,
    /// So many runs have to have ended.
    pub runs: u32,
    /// The time that is looked at.
    pub window: Span,
    /// How late, how long.
    pub after: Span,
    /// Failures in a row.
    pub failures: u32,
    /// Bytes that have to be free.
    pub free: u64,
}

impl Default for Alerts {
    fn default() -> Self {
        Self {
            enabled: true,
            notify: BTreeSet::new(),
            resolve_after: Span::minutes(5),
            policy: Policy { group: Span::seconds(30), per_hour: 20, quiet: None },
            rules: Rule::ALL.into_iter().map(|rule| (rule, AlertRule::of(rule))).collect(),
        }
    }
}

impl AlertRule {
    /// As it is when nobody says otherwise.
    fn of(rule: Rule) -> Self {
        let severity = match rule {
            Rule::AgentDown | Rule::Disk | Rule::Channel => Severity::Critical,
            Rule::Quota => Severity::Info,
            _ => Severity::Warning,
        };
        let after = if rule == Rule::Late { Span::minutes(5) } else { Span::minutes(120) };
        Self {
            // These two are part of every day for many projects.
            enabled: !matches!(rule, Rule::Quota | Rule::Dead),
            severity,
            hold: Span(0),
            notify: None,
            rate: if rule == Rule::Budget { 0.8 } else { 0.5 },
            runs: 5,
            window: if rule == Rule::Missed { Span::minutes(24 * 60) } else { Span::minutes(60) },
            after,
            failures: 5,
            free: 500 << 20,
        }
    }
}

fn shown_policy<S: Serializer>(policy: &Policy, s: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Shown {
        #[serde(serialize_with = "shown_span")]
        group: Span,
        per_hour: u32,
        #[serde(skip_serializing_if = "Option::is_none")]
        quiet: Option<ShownQuiet>,
    }
    #[derive(Serialize)]
    struct ShownQuiet {
        from: String,
        to: String,
        timezone: Zone,
        unless: Severity,
    }
    let clock = |minute: u16| format!("{:02}:{:02}", minute / 60, minute % 60);
    let quiet = policy.quiet.as_ref().map(|quiet| ShownQuiet {
        from: clock(quiet.from),
        to: clock(quiet.to),
        timezone: quiet.zone.clone(),
        unless: quiet.unless,
    });
    Shown { group: policy.group, per_hour: policy.per_hour, quiet }.serialize(s)
}

/// A rule as people write it: what it doesn't look at is left out.
#[derive(Serialize)]
struct ShownRule<'a> {
    enabled: bool,
    severity: Severity,
    r#for: Duration,
    #[serde(skip_serializing_if = "Option::is_none")]
    notify: Option<&'a BTreeSet<Name>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    runs: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    window: Option<Duration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<Duration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failures: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    free: Option<u64>,
}

impl<'a> ShownRule<'a> {
    fn new(rule: Rule, spec: &'a AlertRule) -> Self {
        let has_share = matches!(rule, Rule::FailureRate | Rule::Budget);
        let looks_back = matches!(rule, Rule::FailureRate | Rule::Missed | Rule::Dead);
        let waits = matches!(rule, Rule::Late | Rule::Stuck);
        Self {
            enabled: spec.enabled,
            severity: spec.severity,
            r#for: Duration(spec.hold),
            notify: spec.notify.as_ref(),
            rate: has_share.then_some(spec.rate),
            runs: (rule == Rule::FailureRate).then_some(spec.runs),
            window: looks_back.then_some(Duration(spec.window)),
            after: waits.then_some(Duration(spec.after)),
            failures: (rule == Rule::AgentDown).then_some(spec.failures),
            free: (rule == Rule::Disk).then_some(spec.free),
        }
    }
}

type Rules = BTreeMap<Rule, AlertRule>;

fn shown_rules<S: Serializer>(rules: &Rules, s: S) -> Result<S::Ok, S::Error> {
    s.collect_map(rules.iter().map(|(rule, spec)| (rule, ShownRule::new(*rule, spec))))
}

/// Takes over the section. `channels` are those that there are, `zone` is the project's.
pub(crate) fn take(
    file: &AlertsFile,
    alerts: &mut Alerts,
    channels: &BTreeSet<Name>,
    zone: &Zone,
    cx: &mut Cx,
) {
    alerts.enabled = file.enabled.as_ref().is_none_or(|enabled| enabled.value);
    if let Some(names) = &file.notify {
        alerts.notify = known(names, channels, cx);
    }
    if let Some(group) = &file.group {
        at_most(group.value.0, Span::minutes(60), group.span.clone(), cx);
        alerts.policy.group = group.value.0;
    }
    if let Some(most) = &file.per_hour {
        if most.value == 0 || most.value > 1000 {
            let message = format!("expected a number from 1 to 1000, found {}", most.value);
            cx.error(codes::WRONG_VALUE, most.span.clone(), message);
        }
        alerts.policy.per_hour = most.value;
    }
    if let Some(after) = &file.resolve_after {
        at_most(after.value.0, Span::minutes(24 * 60), after.span.clone(), cx);
        alerts.resolve_after = after.value.0;
    }
    alerts.policy.quiet = file.quiet.as_ref().and_then(|quiet| self::quiet(quiet, zone, cx));
    for (key, rule) in file.rules.iter().flat_map(|rules| &rules.0) {
        let Some(known) = Rule::ALL.into_iter().find(|rule| rule.as_str() == key.value) else {
            let all: Vec<&str> = Rule::ALL.iter().map(|rule| rule.as_str()).collect();
            let message = format!("there is no rule {:?}", key.value);
            let d = cx.error(codes::WRONG_VALUE, key.span.clone(), message);
            d.help(format!("there are: {}", all.join(", ")));
            continue;
        };
        let so_far = alerts.rules.entry(known).or_insert_with(|| AlertRule::of(known));
        self::rule(rule, so_far, channels, cx);
    }
}

fn rule(file: &AlertRuleFile, rule: &mut AlertRule, channels: &BTreeSet<Name>, cx: &mut Cx) {
    fn set<T: Clone>(to: &mut T, from: Option<T>) {
        if let Some(value) = from {
            *to = value;
        }
    }
    let day = Span::minutes(24 * 60);
    set(&mut rule.enabled, file.enabled.as_ref().map(|v| v.value));
    set(&mut rule.severity, file.severity.as_ref().map(|v| severity(v.value)));
    set(&mut rule.runs, file.runs.as_ref().map(|v| v.value.max(1)));
    set(&mut rule.failures, file.failures.as_ref().map(|v| v.value.max(1)));
    set(&mut rule.free, file.free.as_ref().map(|v| v.value.0));
    for (to, from) in [
        (&mut rule.hold, &file.r#for),
        (&mut rule.window, &file.window),
        (&mut rule.after, &file.after),
    ] {
        if let Some(from) = from {
            at_most(from.value.0, Span(7 * day.0), from.span.clone(), cx);
            *to = from.value.0;
        }
    }
    if let Some(rate) = &file.rate {
        if !(rate.value > 0.0 && rate.value <= 1.0) {
            let message = format!("expected a share above 0 and up to 1, found {}", rate.value);
            cx.error(codes::WRONG_VALUE, rate.span.clone(), message).help("write 0.5 for half");
        }
        rule.rate = rate.value;
    }
    if let Some(names) = &file.notify {
        rule.notify = Some(known(names, channels, cx));
    }
}

fn severity(text: SeverityText) -> Severity {
    match text {
        SeverityText::Info => Severity::Info,
        SeverityText::Warning => Severity::Warning,
        SeverityText::Critical => Severity::Critical,
    }
}

fn at_most(span: Span, most: Span, place: std::ops::Range<usize>, cx: &mut Cx) {
    if span > most {
        cx.error(codes::WRONG_VALUE, place, format!("expected up to {most}, found {span}"));
    }
}

/// The channels, of which there has to be each.
fn known(names: &[At<NameText>], channels: &BTreeSet<Name>, cx: &mut Cx) -> BTreeSet<Name> {
    for name in names.iter().filter(|name| !channels.contains(&name.value.0)) {
        let message = format!("there is no channel {:?}", name.value.0.as_str());
        let d = cx.error(codes::WRONG_VALUE, name.span.clone(), message);
        d.help("name one of `notify.channels`, or declare it there");
    }
    names.iter().map(|name| name.value.0.clone()).collect()
}

fn quiet(file: &QuietFile, zone: &Zone, cx: &mut Cx) -> Option<Quiet> {
    let (from, to) = (minute(&file.from, cx), minute(&file.to, cx));
    let (from, to) = (from?, to?);
    let zone = file.timezone.as_ref().map_or(zone, |zone| &zone.value.0).clone();
    let unless = file.unless.as_ref().map_or(Severity::Critical, |text| severity(text.value));
    Some(Quiet { from, to, zone, unless })
}

/// The minute of the day.
fn minute(text: &At<String>, cx: &mut Cx) -> Option<u16> {
    let read = || {
        let (hour, minute) = text.value.split_once(':')?;
        let digits = |text: &str| (text.len() == 2).then(|| text.parse::<u16>().ok()).flatten();
        let (hour, minute) = (digits(hour)?, digits(minute)?);
        (hour < 24 && minute < 60).then_some(hour * 60 + minute)
    };
    let minute = read();
    if minute.is_none() {
        let message = format!("{:?} is no time of the day", text.value);
        let d = cx.error(codes::WRONG_VALUE, text.span.clone(), message);
        d.help("write \"22:00\", in quotes");
    }
    minute
}
