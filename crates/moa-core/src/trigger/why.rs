//! Why a trigger starts nothing now, until when, and what would change that: from its state.

use serde::{Deserialize, Serialize};

use super::record::{Occurrence, Origin};
use super::spec::Source;
use super::{Trigger, TriggerState};
use crate::schedule::{Pending, Wait};
use crate::time::Millis;

/// Of many alike so many are listed.
const LISTED: usize = 10;

/// One reason, or one thing that is going to happen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Why {
    /// In one sentence.
    pub reason: String,
    /// When it changes by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Millis>,
    /// What would change it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unblock: Option<String>,
}

fn why(reason: impl Into<String>) -> Why {
    Why { reason: reason.into(), until: None, unblock: None }
}

/// What a slot waits for while nodes are started again and again.
const STORM: &str = "was missed, and is held back: moa was started too often lately";

impl Trigger {
    /// What waits for a run of a schedule to end, as occurrences: stores have no record of slots
    /// before they are decided about. In order of their instants.
    pub fn waiting_slots(&self) -> Vec<Occurrence> {
        let pending = self.state.schedule.iter().flat_map(|s| &s.pending);
        let waits = |p: &&Pending| matches!(p.wait, Wait::Running | Wait::CatchUp);
        let occurrence = |p: &Pending| Occurrence {
            key: p.slot.at.to_string(),
            revision: self.revision(),
            at: p.slot.at,
            offset: Some(p.slot.offset),
            last: None,
            count: 1,
            origin: if p.wait == Wait::CatchUp { Origin::CatchUp } else { Origin::Live },
            outcome: super::Outcome::Buffered,
            reason: Some(match p.wait {
                Wait::CatchUp => "it was missed, and waits for its turn".to_owned(),
                _ => "it waits for a run of the schedule to end".to_owned(),
            }),
            run: None,
            result: None,
            decided_at: p.slot.at,
        };
        let mut all: Vec<Occurrence> = pending.filter(waits).map(occurrence).collect();
        all.sort_by_key(|o| o.at);
        all
    }

    /// Why it starts nothing now, the strongest reason first; never empty. `catch_up_from`: no missed
    /// slot is started before, because the process was started too often lately.
    pub fn why(&self, now: Millis, catch_up_from: Option<Millis>) -> Vec<Why> {
        let (state, title) = (&self.state, self.spec.title());
        let name = &self.spec.name;
        if state.removed {
            let (text, unblock) = match self.spec.rule {
                true => ("it was deleted", format!("moa rules create {name}")),
                false => ("its definition is gone from the workflow's file", "put it back".into()),
            };
            return vec![Why { unblock: Some(unblock), ..why(text) }];
        }
        let mut all = Vec::new();
        if state.orphaned {
            let workflow = &self.spec.workflow;
            let unblock = Some(format!("put workflows/{workflow}.yaml back"));
            let text =
                format!("its workflow {workflow} is gone: what happens is recorded as failed");
            all.push(Why { unblock, ..why(text) });
        }
        if !self.spec.enabled {
            let (text, unblock) = match self.spec.rule {
                true => ("it is switched off", format!("moa rules enable {name}")),
                false => (
                    "it is disabled in the workflow's file",
                    "set `enabled: true` in the workflow's file".into(),
                ),
            };
            all.push(Why { unblock: Some(unblock), ..why(text) });
        }
        if let Some(paused) = &state.paused {
            let text =
                format!("it is paused by {} since {}: {}", paused.by, paused.at, paused.reason);
            let group = if self.spec.schedule().is_some() { "schedules" } else { "triggers" };
            let unblock = Some(format!("moa {group} resume {title}"));
            all.push(Why { unblock, ..why(text.trim_end_matches([' ', ':'])) });
        }
        self.why_waiting(&mut all);
        self.why_held(&mut all, now, catch_up_from);
        self.why_source(&mut all, now);
        all
    }

    /// A slot that waits for other workflows.
    fn why_waiting(&self, all: &mut Vec<Why>) {
        let Some(waiting) = &self.state.waiting else { return };
        for unmet in self.unmet(waiting.held.at, waiting.since, waiting.seen_at) {
            let reason = format!("slot {} waits for {}", waiting.held.at, unmet.reason);
            all.push(Why { until: self.waits_until(waiting), ..why(reason) });
        }
    }

    /// What has happened, and is not started yet.
    fn why_held(&self, all: &mut Vec<Why>, now: Millis, catch_up_from: Option<Millis>) {
        let storm = catch_up_from.filter(|at| *at > now);
        for pending in self.state.schedule.iter().flat_map(|s| &s.pending) {
            let (reason, until) = match pending.wait {
                Wait::Due => ("is put off by its jitter", Some(pending.due)),
                Wait::Running => ("waits for a run of the schedule to end", None),
                Wait::CatchUp => match storm {
                    Some(at) => (STORM, Some(at.max(pending.due))),
                    None => ("was missed, and waits for its turn", self.state.wake_at),
                },
            };
            all.push(Why { until, ..why(format!("slot {} {reason}", pending.slot.at)) });
        }
        let (waiting, open) = (self.state.buffered.len(), self.state.open.len());
        if self.is_full() {
            let reason = format!("{open} runs of it have not ended: no further one starts before");
            let unblock = Some("let runs end, or end some: `moa runs list`".to_owned());
            all.push(Why { unblock, ..why(reason) });
        }
        for held in self.state.buffered.iter().take(LISTED) {
            let reason = format!("{} waits for a run of the trigger to end", held.key);
            all.push(why(reason));
        }
        if waiting > LISTED {
            all.push(why(format!("and {} more wait", waiting - LISTED)));
        }
        for (run, open) in self.state.open.iter().take(LISTED) {
            all.push(why(format!("run {run} of {} is going on", open.key)));
        }
        if open > LISTED {
            all.push(why(format!("and {} more runs are going on", open - LISTED)));
        }
    }

    /// What it waits for by its nature.
    fn why_source(&self, all: &mut Vec<Why>, now: Millis) {
        match &self.spec.source {
            Source::Schedule(_) => self.why_schedule(all, now),
            Source::Runs { of, all: every } => {
                for d in of {
                    let (name, status) = (&d.workflow, d.status.as_str());
                    let reason = match self.state.arrived.get(name) {
                        Some(a) if *every => {
                            format!("{name}: run {} has ended ({})", a.run, a.status.as_str())
                        }
                        _ => format!("{name}: no run has ended ({status}) since the last start"),
                    };
                    all.push(why(reason));
                }
            }
            Source::Event { event, .. } => {
                self.why_collected(all);
                let filtered = count(&self.state, super::Outcome::Filtered);
                let passed = match filtered {
                    0 => String::new(),
                    n => format!("; {n} did not match so far"),
                };
                all.push(why(format!("it waits for an event of type {event}{passed}")));
            }
            Source::Outside { by, .. } => {
                self.why_collected(all);
                all.push(why(format!("it waits for news of {by}")));
            }
        }
    }

    /// What is collected to one run.
    fn why_collected(&self, all: &mut Vec<Why>) {
        let Some(collected) = &self.state.collected else { return };
        let reason = match collected.held.len() {
            1 => "1 occurrence is collected, and starts a run with those to come".to_owned(),
            n => format!("{n} occurrences are collected, and start one run"),
        };
        all.push(Why { until: self.collected_due(), ..why(reason) });
    }

    fn why_schedule(&self, all: &mut Vec<Why>, now: Millis) {
        let (Some(table), Some(state)) = (&self.table, &self.state.schedule) else { return };
        if state.is_over(table) {
            let most = table.schedule().window.max_runs.unwrap_or_default();
            return all.push(why(format!("it has started all of its {most} runs")));
        }
        if let Some(last) = self.state.last.as_ref().filter(|l| l.outcome == super::Outcome::Missed)
        {
            let unblock = Some(format!("moa schedules trigger {}", self.spec.title()));
            let reason = format!("its slot {} was missed: no node served it then", last.at);
            all.push(Why { unblock, ..why(reason) });
        }
        let next = table.next_slot(state.mark.max(now)).map(|slot| slot.at);
        let next = [next, state.after_at.filter(|at| *at > state.mark)].into_iter().flatten().min();
        match next {
            Some(at) => all.push(Why { until: Some(at), ..why(format!("its next slot is {at}")) }),
            None if table.schedule().after.is_some() => {
                all.push(why("its next slot comes when its run has ended"));
            }
            None => all.push(why("it has no further slot")),
        }
    }
}

fn count(state: &TriggerState, outcome: super::Outcome) -> u64 {
    state.counts.get(&outcome).copied().unwrap_or_default()
}
