//! The job that deletes files: attempt logs and artifacts that are old or too many, and what was
//! left behind when a process died between deleting a run and deleting its files.
//!
//! Whether something is needed is asked of the store for each file, so nothing here has to be
//! remembered, and a crash at any point leaves work for the next time, never a loss.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use moa_core::ids::RunId;
use moa_core::time::{Millis, Span};
use moa_engine::Handle;
use moa_engine::jobs::retention::Forget;
use moa_engine::jobs::{Instants, Job};
use moa_ports::views::{Fate, Views};
use moa_spec::{ByAgeAndSize, Retention};
use serde_json::{Value as Json, json};

use crate::wire::{Kept, RunFolder, StateFiles};

/// What is newer than this is left alone even if nothing needs it: what was made for a result that
/// isn't committed yet looks the same.
const GRACE: Duration = Duration::from_secs(24 * 3600);
/// Files that the store is asked about at once.
const PART: usize = 500;

/// The job.
pub struct Files {
    /// What does it.
    pub old: OldFiles,
    /// The engine, to know whether results wait for the store.
    pub engine: Handle,
}

/// Deletes files.
pub struct OldFiles {
    /// The files.
    pub files: StateFiles,
    /// What became of the runs that they belong to.
    pub views: Arc<dyn Views>,
    /// How much is kept.
    pub limits: Retention,
}

/// What was deleted.
#[derive(Default)]
struct Deleted {
    count: u64,
    bytes: u64,
    failed: u64,
    first_error: Option<String>,
}

impl Deleted {
    fn note(&mut self, bytes: u64, done: io::Result<bool>) {
        match done {
            Ok(false) => {}
            Ok(true) => {
                self.count += 1;
                self.bytes += bytes;
            }
            Err(e) => {
                self.failed += 1;
                self.first_error.get_or_insert_with(|| e.to_string());
            }
        }
    }

    fn json(&self) -> Json {
        let mut json = json!({"count": self.count, "bytes": self.bytes});
        if self.failed > 0 {
            json["failed"] = self.failed.into();
            json["error"] = self.first_error.clone().into();
        }
        json
    }
}

/// Those of `kept` that may go, given what became of what they belong to.
fn old<T>(
    kept: Vec<(Kept<T>, Fate)>,
    limit: ByAgeAndSize,
    now: Millis,
    today: SystemTime,
) -> Vec<Kept<T>> {
    let before = limit.age.map(|age| Millis(now.0.saturating_sub_unsigned(age.0)));
    let mut old = Vec::new();
    let mut ended = Vec::new();
    for (kept, fate) in kept {
        match fate {
            Fate::Open => {}
            Fate::Unknown if is_fresh(kept.changed, today) => {}
            Fate::Unknown => old.push(kept),
            Fate::Ended(at) if before.is_some_and(|before| at < before) => old.push(kept),
            Fate::Ended(at) => ended.push((at, kept)),
        }
    }
    let Some(size) = limit.size else { return old };
    ended.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
    let mut total = 0u64;
    for (_, kept) in ended {
        total = total.saturating_add(kept.bytes);
        if total > size {
            old.push(kept);
        }
    }
    old
}

fn is_fresh(changed: SystemTime, now: SystemTime) -> bool {
    now.duration_since(changed).is_ok_and(|age| age < GRACE)
}

impl OldFiles {
    /// Deletes what is old now; answers what it did. No result may wait for the store meanwhile: it may
    /// refer to an artifact that the store doesn't know yet.
    ///
    /// # Errors
    /// What went wrong, for people.
    pub async fn delete(&self, now: Millis) -> Result<Json, String> {
        let logs = self.folders(RunFolder::Logs, now).await?;
        let work = self.folders(RunFolder::Work, now).await?;
        let artifacts = self.artifacts(now).await?;
        let done = json!({
            "logs": logs.json(),
            "work": work.json(),
            "artifacts": artifacts.json(),
        });
        Ok(done)
    }

    /// The fates of what files belong to, asked part by part.
    async fn fates(&self, runs: Vec<Kept<RunId>>) -> Result<Vec<(Kept<RunId>, Fate)>, String> {
        let mut all = Vec::with_capacity(runs.len());
        for part in runs.chunks(PART) {
            let ids: Vec<RunId> = part.iter().map(|kept| kept.of).collect();
            let fates = self.views.fates(&ids).await.map_err(|e| e.to_string())?;
            all.extend(part.iter().cloned().zip(fates));
        }
        Ok(all)
    }

    async fn folders(&self, kind: RunFolder, now: Millis) -> Result<Deleted, String> {
        let files = self.files.clone();
        let found = blocking(move || files.folders(kind)).await?;
        let limit = match kind {
            RunFolder::Logs => self.limits.logs,
            // What steps hand to each other is kept as long as the run.
            RunFolder::Work => ByAgeAndSize { age: None, size: None },
        };
        let old = old(self.fates(found).await?, limit, now, SystemTime::now());
        let files = self.files.clone();
        blocking(move || {
            let mut deleted = Deleted::default();
            for kept in old {
                deleted.note(kept.bytes, files.remove_folder(kind, kept.of));
            }
            Ok(deleted)
        })
        .await
    }

    async fn artifacts(&self, now: Millis) -> Result<Deleted, String> {
        let files = self.files.clone();
        let found = blocking(move || files.artifacts()).await?;
        let mut all = Vec::with_capacity(found.len());
        for part in found.chunks(PART) {
            let hashes: Vec<_> = part.iter().map(|kept| kept.of).collect();
            let fates = self.views.artifact_fates(&hashes).await.map_err(|e| e.to_string())?;
            all.extend(part.iter().cloned().zip(fates));
        }
        let today = SystemTime::now();
        let old = old(all, self.limits.artifacts, now, today);
        let files = self.files.clone();
        blocking(move || {
            let mut deleted = Deleted::default();
            for kept in old {
                // Stored again meanwhile: then it is needed.
                deleted.note(kept.bytes, files.remove_artifact(&kept.of, kept.changed));
            }
            let fragments = files.remove_fragments(today - GRACE)?;
            deleted.count += fragments as u64;
            Ok(deleted)
        })
        .await
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, String> {
    let done = tokio::task::spawn_blocking(work).await.map_err(|e| e.to_string())?;
    done.map_err(|e| e.to_string())
}

#[async_trait]
impl Job for Files {
    async fn activate(&self, at: Instants) -> Result<Json, String> {
        let now = at.engine;
        if let Some(why) = self.engine.status().await.degraded {
            return Err(format!("put off while the store takes nothing: {why}"));
        }
        self.old.delete(now).await
    }
}

/// Deletes the folders of runs that retention has deleted.
pub struct RunFolders(pub StateFiles);

#[async_trait]
impl Forget for RunFolders {
    async fn forget(&self, runs: Vec<RunId>) {
        let files = self.0.clone();
        let work = move || {
            for (run, kind) in runs.iter().flat_map(|run| RunFolder::ALL.map(|kind| (run, kind))) {
                // What can't be deleted now is met again by the job.
                if let Err(error) = files.remove_folder(kind, *run) {
                    tracing::debug!(%run, %error, "a folder of an old run can't be deleted");
                }
            }
            Ok(())
        };
        // It ends early only with the process.
        let _ = blocking(work).await;
    }
}

/// What of the settings the store's part of retention needs.
pub fn store_limits(settings: &Retention) -> moa_engine::jobs::retention::Limits {
    use moa_engine::jobs::retention::{Limit, Limits};
    let limit =
        |kept: moa_spec::ByAgeAndCount| Limit { age: kept.age, count: kept.count.map(u64::from) };
    let age = |kept: moa_spec::ByAge| -> Option<Span> { kept.age };
    Limits {
        succeeded: limit(settings.runs),
        failed: limit(settings.failed),
        history: age(settings.history),
        keys: age(settings.keys),
        occurrences: age(settings.occurrences),
        events: limit(settings.events),
        audit: limit(settings.audit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_is_old_or_too_much_or_nobodys() {
        let today = SystemTime::now();
        let day = Duration::from_secs(24 * 3600);
        let kept = |of: u32, bytes, age: u32| Kept { of, bytes, changed: today - day * age };
        let all = vec![
            (kept(1, 10, 99), Fate::Open),
            (kept(2, 10, 0), Fate::Unknown),
            (kept(3, 10, 2), Fate::Unknown),
            (kept(4, 10, 99), Fate::Ended(Millis(100))),
            (kept(5, 30, 99), Fate::Ended(Millis(500))),
            (kept(6, 40, 99), Fate::Ended(Millis(700))),
            (kept(7, 40, 99), Fate::Ended(Millis(600))),
        ];
        let gone = |limit| {
            let mut gone: Vec<u32> =
                old(all.clone(), limit, Millis(1000), today).into_iter().map(|k| k.of).collect();
            gone.sort_unstable();
            gone
        };
        assert_eq!(gone(ByAgeAndSize { age: None, size: None }), [3]);
        assert_eq!(gone(ByAgeAndSize { age: Some(Span(500)), size: None }), [3, 4]);
        assert_eq!(gone(ByAgeAndSize { age: Some(Span(500)), size: Some(80) }), [3, 4, 5]);
        assert_eq!(gone(ByAgeAndSize { age: None, size: Some(0) }), [3, 4, 5, 6, 7]);
    }
}
