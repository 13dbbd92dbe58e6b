//! What is wrong just now: each rule looks at the store, at what happened lately, or at the disk.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use moa_core::agent::AgentSpec;
use moa_core::alert::{Finding, Rule, Streak, Watch};
use moa_core::ids::{Name, RunId};
use moa_core::limit::{OnExceed, Share, Unit};
use moa_core::run::RunStatus;
use moa_core::step::StepStatus;
use moa_core::target::Outlook;
use moa_core::time::{Millis, Span};
use moa_core::trigger::Outcome;
use moa_core::workflow::notify_workflow;
use moa_engine::jobs::Instants;
use moa_ports::triggers::TriggerFilter;
use moa_ports::views::{RunFilter, Views};
use moa_spec::{AlertRule, Settings, channel_of};
use moa_view::text;

use crate::exit::{Failure, Result};
use crate::jobs::webhooks::Subscriptions;
use crate::jobs::webhooks::kept::Gone;
use crate::metrics::Counters;
use crate::metrics::targets::standings;

/// Runs and triggers looked at.
const RUNS_MAX: usize = 200;
const TRIGGERS_MAX: usize = 10_000;
/// Steps of a run that are read at once.
const STEPS_PART: usize = 1000;

/// The agents by id.
pub type Agents = BTreeMap<Name, Arc<AgentSpec>>;

/// What there is to look at.
pub struct Look<'a> {
    /// Now.
    pub at: Instants,
    /// The settings.
    pub settings: &'a Settings,
    /// Webhooks as they are called now.
    pub webhooks: &'a Subscriptions,
    /// Those that are switched off because their receivers are gone.
    pub gone: &'a BTreeMap<Name, Gone>,
    /// The store.
    pub views: &'a dyn Views,
    /// The agents.
    pub agents: &'a Agents,
    /// What happened lately.
    pub watch: &'a Watch,
    /// The counters.
    pub counters: &'a Counters,
    /// The folder of the project's state.
    pub state: &'a Path,
    /// Where to look for tasks that are stuck.
    pub stuck: Stuck,
}

/// Which of the old runs are looked at for tasks that are stuck.
#[derive(Debug, Clone, Default)]
pub struct Stuck {
    /// Runs that were found before.
    pub known: Vec<RunId>,
    /// And those after this one: it was the last of the look before. `None` = from the oldest on.
    pub after: Option<RunId>,
}

/// What was found, by which rules; and what could not be looked at.
#[derive(Default)]
pub struct Found {
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// The rules that were looked at.
    pub looked: BTreeSet<Rule>,
    /// Why others were not.
    pub failed: Vec<String>,
    /// After which run the next look goes on with what may be stuck; `None` = it starts anew.
    pub stuck_after: Option<RunId>,
}

impl Look<'_> {
    /// Looks at all rules. One that can't be looked at holds up no other.
    pub async fn all(&self) -> Found {
        let mut found = Found::default();
        for (rule, spec) in &self.settings.alerts.rules {
            // One that nobody wants any more resolves what it found.
            if !spec.enabled {
                found.looked.insert(*rule);
                continue;
            }
            match self.one(*rule, spec).await {
                Ok((findings, next)) => {
                    found.stuck_after = next.or(found.stuck_after);
                    found.looked.insert(*rule);
                    found.findings.extend(findings);
                }
                Err(failure) => {
                    found.failed.push(format!("{}: {}", rule.as_str(), failure.message));
                }
            }
        }
        found
    }

    async fn one(&self, rule: Rule, spec: &AlertRule) -> Result<(Vec<Finding>, Option<RunId>)> {
        let findings = match rule {
            Rule::FailureRate => self.failure_rate(spec),
            Rule::Late => self.late(spec).await?,
            Rule::Missed => self.missed(spec).await?,
            Rule::Stuck => return self.stuck(spec).await,
            Rule::AgentDown => self.agent_down(spec),
            Rule::Breaker | Rule::Quota => self.limits(rule, spec).await?,
            Rule::Budget => self.budgets(spec).await?,
            Rule::Target => self.targets(spec),
            Rule::Disk => self.disk(spec)?,
            Rule::Dead => self.dead(spec),
            Rule::Channel => self.channels(spec),
        };
        Ok((findings, None))
    }

    fn finding(
        &self,
        (rule, spec): (Rule, &AlertRule),
        about: impl Into<String>,
        title: String,
        text: String,
    ) -> Finding {
        let channels = spec.notify.as_ref().unwrap_or(&self.settings.alerts.notify).clone();
        let (about, severity, hold) = (about.into(), spec.severity, spec.hold);
        Finding { rule, about, severity, hold, title, text, channels }
    }

    fn failure_rate(&self, spec: &AlertRule) -> Vec<Finding> {
        let ended = self.watch.ended(self.at.engine, spec.window);
        let much = ended.into_iter().filter(|(_, ended, failed)| {
            *ended >= spec.runs as usize && *failed as f64 >= spec.rate * *ended as f64
        });
        much.map(|(workflow, ended, failed)| {
            let title = format!("Runs of {workflow} fail");
            let window = spec.window;
            let text = format!(
                "{failed} of the {ended} runs that ended in the last {window} failed.\n\
                 moa runs list --workflow {workflow} --status failed"
            );
            self.finding((Rule::FailureRate, spec), workflow.as_str(), title, text)
        })
        .collect()
    }

    async fn late(&self, spec: &AlertRule) -> Result<Vec<Finding>> {
        let filter = TriggerFilter { limit: TRIGGERS_MAX, ..TriggerFilter::default() };
        let rows = self.views.triggers(&filter).await?;
        let late = rows.into_iter().filter_map(|row| {
            let due = row.due_at.filter(|due| self.at.wall.since(*due) > spec.after)?;
            (!row.state.removed && row.state.paused.is_none()).then_some((row.spec, due))
        });
        let finding = |(trigger, due): (Arc<moa_core::trigger::TriggerSpec>, Millis)| {
            let name = format!("{}/{}", trigger.workflow, trigger.name);
            let title = format!("The trigger {name} is late");
            let text = format!("It was due at {due}.\nmoa triggers history {name}");
            self.finding((Rule::Late, spec), name, title, text)
        };
        Ok(late.map(finding).collect())
    }

    /// Schedules whose newest slot nobody served, and that have started nothing since.
    async fn missed(&self, spec: &AlertRule) -> Result<Vec<Finding>> {
        let filter = TriggerFilter { limit: TRIGGERS_MAX, ..TriggerFilter::default() };
        let rows = self.views.triggers(&filter).await?;
        let missed = rows.into_iter().filter_map(|row| {
            let last = row.state.last.filter(|last| last.outcome == Outcome::Missed)?;
            let lately = self.at.wall.since(last.decided_at) <= spec.window;
            (lately && !row.state.removed && row.state.paused.is_none())
                .then_some((row.spec, last.at))
        });
        let finding = |(trigger, at): (Arc<moa_core::trigger::TriggerSpec>, Millis)| {
            let name = trigger.title();
            let title = format!("A slot of {name} was missed");
            let text = format!(
                "No node served {at}, and it is not caught up.\n\
                 moa schedules slots {name} --outcome missed\nmoa schedules trigger {name}"
            );
            self.finding((Rule::Missed, spec), name, title, text)
        };
        Ok(missed.map(finding).collect())
    }

    /// Only runs that are old enough can hold such a task, so that young ones are not read. Of those
    /// that are so many that one look does not reach them all, the next one goes on; what was found
    /// before is looked at each time.
    async fn stuck(&self, spec: &AlertRule) -> Result<(Vec<Finding>, Option<RunId>)> {
        let oldest = self.at.wall.0.saturating_sub_unsigned(spec.after.0).max(0);
        let filter = RunFilter {
            statuses: vec![RunStatus::Running],
            before: Some(RunId::v7(oldest.unsigned_abs(), 0)),
            after: self.stuck.after,
            oldest_first: true,
            except: Some(notify_workflow()),
            limit: RUNS_MAX,
            ..RunFilter::default()
        };
        let page = self.views.runs(&filter).await?;
        let next = page.last().map(|last| last.run).filter(|_| page.len() >= RUNS_MAX);
        let page = page.into_iter().map(|summary| summary.run);
        let mut findings = Vec::new();
        for id in self.stuck.known.iter().copied().chain(page).collect::<BTreeSet<_>>() {
            let Some((workflow, since, how)) = self.stuck_step(id, spec.after).await? else {
                continue;
            };
            let title = format!("A run of {workflow} is stuck");
            let text = format!("A task of run {id} {how} since {since}.\nmoa runs why {id}");
            findings.push(self.finding((Rule::Stuck, spec), id.to_string(), title, text));
        }
        Ok((findings, next))
    }

    /// The first step of a run that is ready or running for longer than that, since when and how. The
    /// steps are read in parts: a run may have hundreds of thousands.
    async fn stuck_step(
        &self,
        run: RunId,
        after: Span,
    ) -> Result<Option<(Name, Millis, &'static str)>> {
        let mut from = 0;
        loop {
            let Some(part) = self.views.run_part(run, from, STEPS_PART).await? else {
                return Ok(None);
            };
            if part.row.status != RunStatus::Running {
                return Ok(None);
            }
            let stuck = part.steps.iter().find_map(|step| {
                let (since, how) = match step.status {
                    StepStatus::Ready => (step.ready_at?, "waits for its turn"),
                    StepStatus::Running => (step.started_at?, "runs"),
                    _ => return None,
                };
                (self.at.engine.since(since) > after).then_some((since, how))
            });
            if let Some((since, how)) = stuck {
                return Ok(Some((part.row.workflow, since, how)));
            }
            match part.steps.last().filter(|_| part.steps.len() == STEPS_PART) {
                Some(last) => from = last.inst.saturating_add(1),
                None => return Ok(None),
            }
        }
    }

    fn agent_down(&self, spec: &AlertRule) -> Vec<Finding> {
        let down = self.watch.failing().filter(|(agent, streak)| {
            streak.failures >= spec.failures && self.agents.contains_key(*agent)
        });
        down.map(|(agent, streak)| {
            let title = format!("The agent {agent} is down");
            let (failures, since) = (streak.failures, streak.since);
            let text = format!(
                "{failures} attempts in a row have failed since {since}. The last one: {}",
                streak.error
            );
            self.finding((Rule::AgentDown, spec), agent.as_str(), title, text)
        })
        .collect()
    }

    async fn limits(&self, rule: Rule, spec: &AlertRule) -> Result<Vec<Finding>> {
        let mut findings = Vec::new();
        for row in self.views.limits().await? {
            let Some(agent) = self.agents.get(&row.agent) else { continue };
            let quota = agent.limits.quota.as_ref().map(|q| format!("{}/{}", q.units, q.per));
            for line in row.state.report(&agent.limits, self.at.engine) {
                let name = &agent.id;
                let (title, text) = match rule {
                    Rule::Breaker if line.state == "open" => (
                        format!("The breaker of {name} is open"),
                        format!("{} attempts in a row have failed.", line.used),
                    ),
                    Rule::Quota if line.state == "full" && quota.as_ref() == Some(&line.limit) => (
                        format!("The quota of {name} is used up"),
                        format!("{} of {} units.", line.used, line.of),
                    ),
                    _ => continue,
                };
                let until = line.until.map(|at| format!(" Attempts wait until {at}."));
                let text = format!("{text}{}\nmoa limits {name}", until.unwrap_or_default());
                findings.push(self.finding((rule, spec), name.as_str(), title, text));
            }
        }
        Ok(findings)
    }

    /// Agents that have spent most of their budgets, or all: that is as bad as the rule says, and before it
    /// it is less.
    async fn budgets(&self, spec: &AlertRule) -> Result<Vec<Finding>> {
        let mut findings = Vec::new();
        for row in self.views.limits().await? {
            let Some(agent) = self.agents.get(&row.agent) else { continue };
            let (limits, name) = (&agent.limits, &agent.id);
            let Some(stands) = row.state.budget_now(limits, self.at.engine) else { continue };
            let asks = limits.budget.as_ref().map(|budget| budget.on_exceed);
            let near = |share: &&Share| share.used as f64 >= spec.rate * share.of as f64;
            let full = stands.full();
            let Some(share) = full.or_else(|| stands.shares.iter().find(near).copied()) else {
                continue;
            };
            let (unit, until) = (share.unit, stands.resets_at);
            let (used, of) = (unit.amount(share.used), unit.amount(share.of));
            let (title, then) = match (full, asks) {
                (None, _) => {
                    let percent = share.used.saturating_mul(100) / share.of.max(1);
                    (format!("{name} has spent {percent} % of its budget"), "It lasts until")
                }
                (Some(_), Some(OnExceed::Fail)) => {
                    (format!("The budget of {name} is used up"), "Its attempts fail until")
                }
                (Some(_), Some(OnExceed::Ask)) => (
                    format!("The budget of {name} is used up: grant more?"),
                    "Its tasks wait until somebody grants more, or until",
                ),
                (Some(_), _) => {
                    (format!("The budget of {name} is used up"), "Its tasks wait until")
                }
            };
            let option = if unit == Unit::Usd { "--usd AMOUNT" } else { "--tokens NUMBER" };
            let text = format!(
                "{used} of {of} {unit} are spent. {then} {until}.\n\
                 moa agents grant {name} {option}\nmoa limits {name}"
            );
            let mut finding = self.finding((Rule::Budget, spec), name.as_str(), title, text);
            if full.is_none() {
                finding.severity = finding.severity.less();
            }
            findings.push(finding);
        }
        Ok(findings)
    }

    fn targets(&self, spec: &AlertRule) -> Vec<Finding> {
        let all = standings(self.counters, self.settings, self.at.wall);
        let missed = all.into_iter().filter(|standing| standing.outlook == Outlook::TooLittle);
        missed
            .map(|standing| {
                let title = format!("{} will be below its minimum", standing.metric);
                let (key, text) = (standing.key(), standing.told());
                let mut finding = self.finding((Rule::Target, spec), key, title, text);
                // The job that counts tells the target's own channel.
                let targets = self.settings.targets.iter();
                let mut own = targets.filter(|(name, _)| name.as_str() == standing.metric);
                if let Some(channel) = own.next().and_then(|(_, target)| target.notify.as_ref()) {
                    finding.channels.remove(channel);
                }
                finding
            })
            .collect()
    }

    fn disk(&self, spec: &AlertRule) -> Result<Vec<Finding>> {
        let stat = rustix::fs::statvfs(self.state)
            .map_err(|e| Failure::io("can't tell the room on the disk", &e.into()))?;
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        if free >= spec.free {
            return Ok(Vec::new());
        }
        let (free, wanted) = (text::bytes(free), text::bytes(spec.free));
        let title = "There is little room on the disk".to_owned();
        let text = format!("{free} are free where the project's state is, less than {wanted}.");
        Ok(vec![self.finding((Rule::Disk, spec), "state", title, text)])
    }

    fn dead(&self, spec: &AlertRule) -> Vec<Finding> {
        let dead = self.watch.dead(self.at.engine, spec.window);
        dead.into_iter()
            .map(|(workflow, count, error)| {
                let title = format!("Steps of {workflow} have failed for good");
                let window = spec.window;
                let text = format!(
                    "{count} in the last {window}. The last one: {error}\n\
                     moa runs list --workflow {workflow} --status failed"
                );
                self.finding((Rule::Dead, spec), workflow.as_str(), title, text)
            })
            .collect()
    }

    fn channels(&self, spec: &AlertRule) -> Vec<Finding> {
        let mut found = self.silent(spec);
        for (name, gone) in self.gone {
            let title = format!("The webhook {name} is switched off: its receiver is gone");
            let text = format!(
                "It answered 410 at {}, and is called no more.\n\
                 moa webhooks dead {name}\nmoa webhooks enable {name}",
                gone.since
            );
            let about = channel_of(name);
            found.push(self.finding((Rule::Channel, spec), about.as_str(), title, text));
        }
        found
    }

    fn silent(&self, spec: &AlertRule) -> Vec<Finding> {
        let declared = &self.settings.notify.channels;
        // Of those whose receivers are gone that is said already.
        let called =
            self.webhooks.iter().filter(|(name, one)| one.active && !self.gone.contains_key(*name));
        let called: BTreeMap<Name, &Name> =
            called.map(|(name, _)| (channel_of(name), name)).collect();
        let finding = |(channel, streak): (&Name, &Streak)| {
            let (title, see) = match called.get(channel) {
                Some(webhook) => (
                    format!("The webhook {webhook} refuses its calls"),
                    format!("moa webhooks dead {webhook}\nmoa webhooks redeliver {webhook}"),
                ),
                None if declared.contains_key(channel) => (
                    format!("The channel {channel} doesn't take notifications"),
                    "moa runs list --workflow moa-notify --status failed".to_owned(),
                ),
                None => return None,
            };
            let Streak { failures, since, error } = streak;
            let text = format!(
                "{failures} could not be delivered since {since}. The last one: {error}\n{see}"
            );
            Some(self.finding((Rule::Channel, spec), channel.as_str(), title, text))
        };
        self.watch.silent().filter_map(finding).collect()
    }
}

#[cfg(test)]
mod tests {
    use moa_core::trigger::Last;
    use moa_ports::memory::MemoryStore;
    use moa_ports::store::Store;
    use moa_ports::suite::{answer, build};

    use super::*;

    /// More old runs than one look reaches, of which the last is stuck.
    fn many() -> (MemoryStore, RunId) {
        let store = MemoryStore::single();
        let last = RUNS_MAX as u64 + 50;
        let commits = (1..=last).map(|n| {
            let run = build::create(build::row_in(build::run(n), RunStatus::Running));
            let mut step = build::running(0, 1, moa_core::ids::NodeId(1));
            step.started_at = Some(build::NOW).filter(|_| n == last || n == 1);
            build::with_steps(run, vec![step])
        });
        let written = answer(|reply| store.commit(build::batch(commits.collect()), reply));
        written.expect("it is written");
        (store, build::run(last))
    }

    async fn look(store: &MemoryStore, stuck: Stuck) -> Found {
        let settings = Settings::default();
        let at = build::NOW.after(moa_core::time::Span::minutes(60 * 24 * 400));
        let look = Look {
            at: Instants { wall: at, engine: at },
            settings: &settings,
            views: store,
            agents: &Agents::default(),
            watch: &Watch::default(),
            counters: &Counters::default(),
            webhooks: &Subscriptions::new(),
            gone: &BTreeMap::new(),
            state: Path::new("/"),
            stuck,
        };
        look.all().await
    }

    #[tokio::test]
    async fn a_schedule_whose_slot_was_missed_is_found_until_it_starts_something() {
        let store = MemoryStore::single();
        let at = build::NOW.after(moa_core::time::Span::minutes(60 * 24 * 400));
        let write = |expected: u64, outcome: Outcome, days: u64| {
            let mut commit = build::trigger();
            let ago = moa_core::time::Span::minutes(60 * 24 * days);
            let decided_at = Millis(at.0.saturating_sub_unsigned(ago.0));
            let (key, run) = ("a".to_owned(), None);
            let last = Last { key, at: build::NOW, outcome, run, decided_at };
            (commit.expected, commit.state.last) = (expected, Some(last));
            (commit.amendments, commit.messages) = (Vec::new(), Vec::new());
            let record = &mut commit.records[0];
            record.occurrence.key = format!("{expected}");
            record.occurrence.outcome = outcome;
            (record.occurrence.count, record.occurrence.decided_at) = (3, decided_at);
            commit.state.counts.insert(outcome, 3);
            let batch = moa_ports::store::Batch { triggers: vec![commit], ..build::batch(vec![]) };
            answer(|reply| store.commit(batch, reply)).expect("it is written");
        };
        let found = async || {
            let found = look(&store, Stuck::default()).await.findings;
            let missed = found.into_iter().filter(|finding| finding.rule == Rule::Missed);
            missed.map(|finding| finding.about).collect::<Vec<_>>()
        };
        write(0, Outcome::Missed, 0);
        assert_eq!(found().await, ["build/nightly"]);
        let row = store.triggers(&TriggerFilter { limit: 9, ..TriggerFilter::default() }).await;
        let row = row.expect("it is read").pop();
        let known = crate::triggers::Known { spec: row.clone().expect("one").spec, row };
        let missed = crate::view::trigger::missed_lately(&store, &known, at).await;
        assert_eq!(missed.expect("it is read"), 3);
        write(1, Outcome::Started, 0);
        assert_eq!(found().await, [""; 0]);
        write(2, Outcome::Missed, 2);
        assert_eq!(found().await, [""; 0], "it is long ago");
    }

    fn stuck(found: &Found) -> Vec<String> {
        let stuck = found.findings.iter().filter(|finding| finding.rule == Rule::Stuck);
        stuck.map(|finding| finding.about.clone()).collect()
    }

    #[tokio::test]
    async fn however_many_runs_are_old_the_stuck_ones_are_found_and_stay_found() {
        let (store, last) = many();
        let first = look(&store, Stuck::default()).await;
        assert_eq!(stuck(&first), [build::run(1).to_string()], "the oldest first");
        let known = vec![build::run(1)];
        let second = look(&store, Stuck { known, after: first.stuck_after }).await;
        assert_eq!(stuck(&second), [build::run(1).to_string(), last.to_string()]);
        assert_eq!(second.stuck_after, None, "the next one starts anew");
        let third = look(&store, Stuck { known: vec![last], after: None }).await;
        assert_eq!(stuck(&third), [build::run(1).to_string(), last.to_string()]);
    }

    /// Its steps are read in parts, and the one that is stuck stands in the last of them.
    #[tokio::test]
    async fn a_stuck_step_is_found_in_a_run_of_many_steps() {
        let store = MemoryStore::single();
        let run = build::create(build::row_in(build::run(1), RunStatus::Running));
        let last = 2 * STEPS_PART as u32;
        let mut steps: Vec<_> =
            (0..last).map(|inst| build::step(inst, StepStatus::Succeeded)).collect();
        let running = build::running(last, 1, moa_core::ids::NodeId(1));
        steps.push(moa_core::run::StepRow { started_at: Some(build::NOW), ..running });
        let batch = build::batch(vec![build::with_steps(run, steps)]);
        answer(|reply| store.commit(batch, reply)).expect("it is written");
        let found = look(&store, Stuck::default()).await;
        assert_eq!(stuck(&found), [build::run(1).to_string()]);
    }
}
