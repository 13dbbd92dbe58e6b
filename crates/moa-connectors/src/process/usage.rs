//! What a program says that it has spent: JSON objects in the file `$MOA_USAGE`.
//!
//! A program may write one, `{"usd": 0.12, "tokens": 5321}`, or append one for each of its calls:
//! they are added up. It counts however the attempt ends. What can't be read counts as nothing and is
//! told in the log: an attempt that did its work doesn't fail for it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use moa_core::event::InstIx;
use moa_core::ids::{NodeId, RunId};
use moa_core::limit::Usage;
use moa_core::limits::USAGE_BYTES_MAX;
use moa_ports::agent::{AttemptLog, Stream, Task};
use serde_json::Value as Json;

use super::result::{Unread, read_bytes};

/// How its file ends.
const EXTENSION: &str = "usage";
/// How long a file stays that an attempt of an earlier node has left. What it says is counted by the start that
/// finds that attempt lost: the first one, or one soon after that, when it dies as well.
const LEFT_FOR: Duration = Duration::from_secs(24 * 3600);
/// Files of earlier nodes that are looked at; more were not left by attempts.
const FILES_MAX: usize = 100_000;

/// Where the program is to write it, beside the file of its result.
pub(super) fn path(output: &Path) -> PathBuf {
    output.with_extension(EXTENSION)
}

/// Whether a file is one of these.
pub(super) fn is_usage(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == EXTENSION)
}

/// What attempts of nodes other than `node` wrote into `$MOA_USAGE` before their node died; run, step and
/// number of each. To be called once their processes are gone. The files stay for a day, so that the next
/// start may count them if this one can't.
pub fn left_usage(state_dir: &Path, node: NodeId) -> BTreeMap<(RunId, InstIx, u32), Usage> {
    let mut left = BTreeMap::new();
    let own = node.to_string();
    let files = std::fs::read_dir(super::scratch(state_dir)).into_iter().flatten().flatten();
    for file in files.take(FILES_MAX) {
        let (name, path) = (file.file_name().to_string_lossy().into_owned(), file.path());
        if !is_usage(&path) || name.starts_with(&own) {
            continue;
        }
        let (usage, wrong) = read(&path).unwrap_or_default();
        if let Some(why) = wrong {
            tracing::warn!(file = name, reason = why, "an attempt's usage is not counted");
        }
        if let Some(attempt) = attempt_of(&name).filter(|_| !usage.is_nothing()) {
            left.insert(attempt, usage);
        }
        let age = file.metadata().and_then(|about| about.modified()).map(|at| at.elapsed());
        if !matches!(age, Ok(Ok(age)) if age < LEFT_FOR) {
            remove(&path);
        }
    }
    left
}

/// The attempt that a file was named for.
fn attempt_of(name: &str) -> Option<(RunId, InstIx, u32)> {
    let mut parts = name.strip_suffix(EXTENSION)?.split('.').skip(1);
    let run = parts.next()?.parse().ok()?;
    Some((run, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// What a file says, and what is wrong with it; nothing when there is none.
fn read(path: &Path) -> Option<(Usage, Option<String>)> {
    match read_bytes(path, USAGE_BYTES_MAX) {
        Ok(None) => None,
        Ok(Some(bytes)) => Some(parse(&bytes)),
        Err(Unread::Other(why)) => Some((Usage::NONE, Some(why))),
        Err(Unread::TooLarge(bytes)) => {
            let why = format!("it has {bytes} bytes, more than the {USAGE_BYTES_MAX} allowed");
            Some((Usage::NONE, Some(why)))
        }
    }
}

fn remove(path: &Path) {
    let removed = std::fs::remove_file(path);
    let _ = removed.or_else(|_| std::fs::remove_dir(path));
}

/// The file, which is read and removed with it: also when nobody waits for the attempt any more.
pub(super) struct UsageFile {
    path: PathBuf,
    log: Arc<dyn AttemptLog>,
    run: RunId,
    step: String,
}

impl UsageFile {
    pub fn new(output: &Path, log: Arc<dyn AttemptLog>, task: &Task) -> Self {
        Self { path: path(output), log, run: task.run, step: task.step.clone() }
    }
}

impl Drop for UsageFile {
    fn drop(&mut self) {
        let Some((usage, wrong)) = read(&self.path) else { return remove(&self.path) };
        if !usage.is_nothing() {
            self.log.spent(usage);
        }
        if let Some(why) = wrong {
            let line = format!("[moa: what it has spent is not counted: $MOA_USAGE: {why}]\n");
            self.log.write(Stream::Stderr, line.as_bytes());
            let (run, step) = (self.run, &self.step);
            tracing::warn!(run.id = %run, step, reason = why, "an attempt's usage is not counted");
        }
        remove(&self.path);
    }
}

/// The sum of the objects, and what is wrong with the first one that can't be taken; those before it
/// count.
fn parse(bytes: &[u8]) -> (Usage, Option<String>) {
    let mut all = Usage::NONE;
    for one in serde_json::Deserializer::from_slice(bytes).into_iter::<Json>() {
        let one = one.map_err(|e| e.to_string()).and_then(|json| Usage::of_json(&json));
        match one.and_then(|usage| all.plus(usage).meant()) {
            Ok(sum) => all = sum,
            Err(why) => return (all, Some(why)),
        }
    }
    (all, None)
}

#[cfg(test)]
mod tests {
    use moa_core::limit::Usd;

    use super::*;

    #[test]
    fn files_are_named_for_their_attempts() {
        let run = RunId(7 << 70);
        let name = format!("00ab-12.{run}.3.2.usage");
        assert_eq!(attempt_of(&name), Some((run, 3, 2)));
        for other in ["00ab-12.usage", "00ab-12.x.3.2.usage", "usage", "a.b", ""] {
            assert_eq!(attempt_of(other), None, "{other}");
        }
    }

    #[test]
    fn several_are_added_up_and_the_first_wrong_one_ends_it() {
        let usage = |usd, tokens| Usage { usd: Usd(usd), tokens };
        assert_eq!(parse(b"{\"usd\": 0.12, \"tokens\": 5}"), (usage(120_000, 5), None));
        assert_eq!(parse(b"{\"usd\": 1}\n{\"tokens\": 2}{}\n"), (usage(1_000_000, 2), None));
        for wrong in ["{\"usd\"", "[1]", "{\"usd\": -1}", "7", "\u{fffd}", "{\"usd\": 1e12}"] {
            let (counted, why) = parse(format!("{{\"tokens\": 2}}\n{wrong}").as_bytes());
            assert_eq!((counted, why.is_some()), (usage(0, 2), true), "{wrong}");
        }
        let deep = "[".repeat(60_000);
        assert!(parse(deep.as_bytes()).1.is_some());
    }
}
