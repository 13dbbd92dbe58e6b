//! What the memory store deletes, and what it knows of the fate of runs.

use moa_core::ids::RunId;
use moa_core::machine::TimerKey;
use moa_core::run::RunStatus;
use moa_core::step::StepStatus;
use moa_core::time::Millis;
use moa_core::workflow::NOTIFY_WORKFLOW;

use super::model::Model;
use crate::artifacts::ArtifactHash;
use crate::store::{Error, MessageId, Old, PruneAsk, PruneMark, Pruned, TaskQueue};
use crate::views::Fate;

impl Model {
    /// See [`crate::store::Store::prune`].
    pub fn prune(&mut self, ask: &PruneAsk) -> Result<Pruned, Error> {
        ask.check()?;
        match ask.what {
            Old::Keys => Ok(self.prune_keys(ask)),
            Old::Occurrences => Ok(self.prune_occurrences(ask)),
            Old::Published => Ok(self.prune_published(ask)),
            Old::Runs(status) => {
                let (old, next) = self.old(status, ask, Some(false));
                old.iter().for_each(|&id| self.delete(id));
                Ok(Pruned { runs: old, next, ..Pruned::default() })
            }
            Old::Notifications(status) => {
                let (old, next) = self.old(status, ask, Some(true));
                old.iter().for_each(|&id| self.delete(id));
                Ok(Pruned { runs: old, next, ..Pruned::default() })
            }
            Old::History(status) => {
                let (mut old, next) = self.old(status, ask, None);
                old.retain(|&id| {
                    let newest = self.runs.get(&id).map_or(0, |run| run.version);
                    self.forget_history(id, newest)
                });
                Ok(Pruned { runs: old, next, ..Pruned::default() })
            }
        }
    }

    /// The next runs that may be touched, and where to go on.
    fn old(
        &self,
        status: RunStatus,
        ask: &PruneAsk,
        notifications: Option<bool>,
    ) -> (Vec<RunId>, Option<PruneMark>) {
        let PruneMark(at, age) = ask.after.unwrap_or(PruneMark(Millis(i64::MIN), 0));
        let after = (status, at, age, RunId(u128::MAX));
        let old = self.finished.range(after..(status, ask.before, 0, RunId(0)));
        let old = old
            .filter(|entry| notifications.is_none_or(|only| self.is_notification(entry.3) == only));
        let old: Vec<_> = old.take(ask.limit).collect();
        let full = ask.limit > 0 && old.len() == ask.limit;
        let next = old.last().filter(|_| full).map(|last| PruneMark(last.1, last.2));
        let free = old.into_iter().map(|entry| entry.3).filter(|&id| !self.is_child_of_open(id));
        (free.collect(), next)
    }

    fn is_notification(&self, id: RunId) -> bool {
        self.runs.get(&id).is_some_and(|run| run.row.workflow.as_str() == NOTIFY_WORKFLOW)
    }

    fn is_child_of_open(&self, id: RunId) -> bool {
        let parent = self.runs.get(&id).and_then(|run| run.row.parent);
        parent.is_some_and(|parent| self.is_open(parent.run))
    }

    fn prune_keys(&mut self, ask: &PruneAsk) -> Pruned {
        let old = self.spent.range(..(ask.before, String::new())).take(ask.limit);
        let old: Vec<(Millis, String)> = old.cloned().collect();
        let full = ask.limit > 0 && old.len() == ask.limit;
        let next = old.last().filter(|_| full).map(|last| PruneMark(last.0, 0));
        for spent in &old {
            self.spent.remove(spent);
            self.keys.remove(&spent.1);
        }
        let posts = self.prune_posts(ask);
        let full = full || ask.limit > 0 && posts == ask.limit;
        let next = next.or_else(|| full.then_some(PruneMark(ask.before, 0)));
        Pruned { keys: old.len() + posts, next, ..Pruned::default() }
    }

    /// Deletes the history of a run before a version; answers whether there was any.
    fn forget_history(&mut self, id: RunId, before: u64) -> bool {
        let rows: Vec<_> = self.history_of.range((id, 0)..(id, before)).collect();
        let rows: Vec<(u64, u64)> = rows.iter().map(|&(key, seq)| (key.1, *seq)).collect();
        for (version, seq) in &rows {
            self.history.remove(seq);
            self.history_of.remove(&(id, *version));
        }
        !rows.is_empty()
    }

    fn delete(&mut self, id: RunId) {
        let Some(run) = self.runs.remove(&id) else { return };
        if let Some(at) = run.row.finished_at {
            self.finished.remove(&(run.row.status, at, run.age, id));
            self.spent.extend(run.idempotency_key.map(|key| (at, key)));
        }
        self.slots.forget(id);
        for step in run.steps.into_values() {
            if let Some((queue, key)) = TaskQueue::of(&step) {
                self.unqueue(&queue, (key, run.age, id, step.inst));
            }
            if step.status == StepStatus::Running {
                self.stop_running(step.node, id, step.inst);
            }
        }
        self.forget_history(id, u64::MAX);
        let keys: Vec<TimerKey> = self.timers_of(id).map(|(key, _)| key).collect();
        for key in keys {
            self.write_timer(id, key, None);
        }
        let messages: Vec<MessageId> = self.messages_of(id).collect();
        for message in messages {
            self.remove_message(message);
        }
        // A walk over all waits: a run that ended has none, so nothing is worth indexing.
        self.waits.retain(|wait| wait.1 != id);
        self.artifacts.retain(|_, runs| {
            runs.remove(&id);
            !runs.is_empty()
        });
    }

    /// See [`crate::views::Views::fates`].
    pub fn fate(&self, id: RunId) -> Fate {
        match self.runs.get(&id) {
            None => Fate::Unknown,
            Some(run) if !run.row.status.is_terminal() => Fate::Open,
            Some(run) => Fate::Ended(run.row.finished_at.unwrap_or_default()),
        }
    }

    /// See [`crate::views::Views::artifact_fates`].
    pub fn artifact_fate(&self, artifact: &ArtifactHash) -> Fate {
        let runs = self.artifacts.get(artifact).into_iter().flatten();
        runs.map(|&run| self.fate(run)).max().unwrap_or(Fate::Unknown)
    }

    /// See [`crate::views::Views::ended_beyond`].
    pub fn ended_beyond(
        &self,
        status: RunStatus,
        keep: u64,
        notifications: bool,
    ) -> Option<Millis> {
        let newest_first = self.finished.iter().rev().filter(|entry| entry.0 == status);
        let newest_first =
            newest_first.filter(|entry| self.is_notification(entry.3) == notifications);
        newest_first.skip(usize::try_from(keep).unwrap_or(usize::MAX)).map(|e| e.1).next()
    }
}
