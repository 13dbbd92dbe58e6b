//! What a program says that it has spent: JSON objects in the file `$MOA_USAGE`.
//!
//! A program may write one, `{"usd": 0.12, "tokens": 5321}`, or append one for each of its calls:
//! they are added up. It counts however the attempt ends. What can't be read counts as nothing and is
//! told in the log: an attempt that did its work doesn't fail for it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use moa_core::ids::RunId;
use moa_core::limit::Usage;
use moa_core::limits::USAGE_BYTES_MAX;
use moa_ports::agent::{AttemptLog, Stream, Task};
use serde_json::Value as Json;

use super::result::{Unread, read_bytes};

/// Where the program is to write it, beside the file of its result.
pub(super) fn path(output: &Path) -> PathBuf {
    output.with_extension("usage")
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
        let (usage, wrong) = match read_bytes(&self.path, USAGE_BYTES_MAX) {
            Ok(None) => return,
            Ok(Some(bytes)) => parse(&bytes),
            Err(Unread::Other(why)) => (Usage::NONE, Some(why)),
            Err(Unread::TooLarge(bytes)) => {
                let why = format!("it has {bytes} bytes, more than the {USAGE_BYTES_MAX} allowed");
                (Usage::NONE, Some(why))
            }
        };
        if !usage.is_nothing() {
            self.log.spent(usage);
        }
        if let Some(why) = wrong {
            let line = format!("[moa: what it has spent is not counted: $MOA_USAGE: {why}]\n");
            self.log.write(Stream::Stderr, line.as_bytes());
            let (run, step) = (self.run, &self.step);
            tracing::warn!(run.id = %run, step, reason = why, "an attempt's usage is not counted");
        }
        let removed = std::fs::remove_file(&self.path);
        let _ = removed.or_else(|_| std::fs::remove_dir(&self.path));
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
