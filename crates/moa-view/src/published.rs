//! What became of published events: who has heard of them, what they started, or why nothing did.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use moa_core::expr::suggest::nearest;
use moa_core::ids::RunId;
use moa_core::run::RunStatus;
use moa_core::trigger::{Occurrence, Outcome, Source, TriggerId};
use moa_ports::triggers::{HeardRow, OccurrenceFilter, TriggerFilter, TriggerRow};
use serde::Serialize;

use crate::compare::Hide;
use crate::events::hide_in_text;
use crate::exit::Result;
use crate::reader::Reader;

/// Triggers that are told of where one event is shown.
pub const TRIGGERS_TOLD: usize = 50;
/// Triggers that are looked through for one that an event might have been meant for.
const TRIGGERS_LOOKED: usize = 2000;

/// What became of a published event.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Fate {
    /// The triggers that listened to its type as it was published; the first of them.
    pub triggers: Vec<Listener>,
    /// How many more there were.
    pub more_triggers: usize,
    /// How many runs waited for it and got it.
    pub runs: u64,
    /// The first of them.
    pub first_runs: Vec<RunId>,
    /// Of one that nobody has heard of: what might help.
    pub hint: Option<String>,
}

/// A trigger that was told of an event.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Listener {
    /// Its name: `WORKFLOW/ID`, `rule:NAME`.
    pub trigger: String,
    /// What it made of the event.
    pub outcome: &'static str,
    /// Why.
    pub reason: Option<String>,
    /// The run that it started, or that the event shares.
    pub run: Option<RunId>,
    /// How that ended.
    pub result: Option<RunStatus>,
}

/// An event, by its number, and its type.
pub type Numbered<'a> = (u64, &'a str);

/// What became of published events, by number, with so many triggers of each. What is said of one that retention has deleted is nothing.
///
/// # Errors
/// The store can't be read.
pub async fn fates(
    reader: &Reader,
    events: &[Numbered<'_>],
    triggers: usize,
) -> Result<BTreeMap<u64, Fate>> {
    let mut fates = BTreeMap::new();
    if events.is_empty() {
        return Ok(fates);
    }
    let numbers: Vec<u64> = events.iter().map(|(seq, _)| *seq).collect();
    let kinds: HashMap<u64, &str> = events.iter().copied().collect();
    let mut known = HashMap::new();
    let mut types = None;
    for row in reader.views.heard(&numbers).await? {
        let mut fate = fate(reader, &row, triggers, &mut known).await?;
        if fate.triggers.is_empty() && fate.runs == 0 {
            if types.is_none() {
                types = Some(listened(reader).await?);
            }
            let kind = kinds.get(&row.seq).copied().unwrap_or_default();
            fate.hint = types.as_ref().map(|types| hint(kind, types));
        }
        fates.insert(row.seq, fate);
    }
    Ok(fates)
}

/// Takes secrets out of what is said of an event: reasons and hints quote it.
pub fn hide_in_fate(fate: &mut Fate, hide: &Hide) {
    let reasons = fate.triggers.iter_mut().filter_map(|listener| listener.reason.as_mut());
    reasons.chain(fate.hint.as_mut()).for_each(|text| hide_in_text(text, hide));
}

async fn fate(
    reader: &Reader,
    row: &HeardRow,
    told: usize,
    known: &mut HashMap<TriggerId, Option<TriggerRow>>,
) -> Result<Fate> {
    let HeardRow { seq: _, heard, waiting } = row;
    let mut triggers = Vec::new();
    for (id, message) in heard.triggers.iter().take(told) {
        if !known.contains_key(id) {
            known.insert(*id, reader.views.trigger(*id).await?);
        }
        let trigger = known.get(id).and_then(Option::as_ref);
        let key = Some(moa_core::trigger::event_key(*message));
        let filter = OccurrenceFilter { key, limit: 1, ..OccurrenceFilter::default() };
        let found = reader.views.occurrences(*id, &filter).await?;
        triggers.push(listener(*id, trigger, found.first(), waiting.contains(id)));
    }
    Ok(Fate {
        triggers,
        more_triggers: heard.triggers.len().saturating_sub(told),
        runs: heard.runs,
        first_runs: heard.first_runs.clone(),
        hint: None,
    })
}

fn listener(
    id: TriggerId,
    trigger: Option<&TriggerRow>,
    found: Option<&Occurrence>,
    waits: bool,
) -> Listener {
    let name = trigger.map_or_else(|| id.to_string(), |row| row.spec.title());
    let none = |outcome: &'static str, reason: String| Listener {
        trigger: name.clone(),
        outcome,
        reason: Some(reason),
        run: None,
        result: None,
    };
    if let Some(found) = found {
        let Occurrence { outcome, reason, run, result, .. } = found;
        let (reason, run, result) = (reason.clone(), *run, *result);
        return Listener { trigger: name, outcome: outcome.as_str(), reason, run, result };
    }
    if waits {
        return none("pending", "it has not looked at it yet".into());
    }
    let matches = trigger.and_then(|row| match &row.spec.source {
        Source::Event { matches, .. } => matches.as_ref(),
        _ => None,
    });
    match matches {
        Some(matches) => {
            none(Outcome::Filtered.as_str(), format!("{} was not true", matches.source()))
        }
        None => none("unknown", "what became of it is not kept any more".into()),
    }
}

/// The types that triggers listen to, each with the first of these.
async fn listened(reader: &Reader) -> Result<BTreeMap<String, String>> {
    let filter = TriggerFilter { limit: TRIGGERS_LOOKED, ..TriggerFilter::default() };
    let mut types = BTreeMap::new();
    for row in reader.views.triggers(&filter).await? {
        if let Source::Event { event, .. } = &row.spec.source
            && !row.state.removed
        {
            types.entry(event.clone()).or_insert_with(|| row.spec.title());
        }
    }
    Ok(types)
}

/// What might help whoever published an event that nobody heard of.
fn hint(kind: &str, types: &BTreeMap<String, String>) -> String {
    if let Some(trigger) = types.get(kind) {
        return format!("{trigger} listens to it by now: publish it again");
    }
    let names: BTreeSet<&str> = types.keys().map(String::as_str).collect();
    if let Some(meant) = nearest(kind, names.into_iter()) {
        let trigger = &types[meant];
        return format!("{trigger} listens to {meant}: is that what was meant?");
    }
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let kind = if kind.chars().all(is_plain) { kind } else { "TYPE" };
    format!(
        "no trigger listens to this type, and no run waited for it: `on: [{{event: {kind}}}]` in a \
         workflow's file makes one, or `moa rules create NAME --on {kind} --run WORKFLOW`"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_listens_to_something_like_it_is_named() {
        let types = [("order.created", "shop/on_1"), ("disk.full", "rule:disk")];
        let types = types.map(|(kind, trigger)| (kind.to_owned(), trigger.to_owned())).into();
        assert!(hint("order.created", &types).starts_with("shop/on_1 listens to it by now"));
        assert!(hint("order.craeted", &types).contains("order.created: is that what was meant?"));
        assert!(hint("weather", &types).contains("--on weather"));
        assert!(hint("a`b", &types).contains("--on TYPE"));
    }
}
