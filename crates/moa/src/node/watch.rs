//! Files that come to folders: looked for every second, told to the triggers that watch for them.
//!
//! A file is told once it has not changed for a while. What was found is written beneath the state
//! folder before the trigger is told, and told again after a crash by the same key, which the trigger
//! knows then: nothing is lost, and nothing starts two runs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use globset::{GlobBuilder, GlobMatcher};
use moa_core::time::{Millis, Span};
use moa_core::trigger::{Outcome, Source, TriggerAnswer, TriggerId, TriggerSpec};
use moa_engine::Handle;
use moa_engine::handle::Error;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::watch;
use walkdir::WalkDir;

use crate::files::Beneath;

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Files that one pattern matches at most.
const FILES_MAX: usize = 10_000;
/// Bytes of a path that stands in a key as it is.
const PATH_IN_KEY_MAX: usize = 400;
/// What was found, beneath the state folder.
const FOLDER: &str = "watch";

/// What a trigger says about files.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Settings {
    pattern: String,
    stable: Span,
    changes: bool,
}

/// A file at one look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Stamp {
    /// When it was changed, in milliseconds.
    at: i64,
    size: u64,
}

/// A file that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Found {
    stamp: Stamp,
    /// Whether the trigger has been told.
    told: bool,
}

/// What one trigger has found.
struct Folder {
    settings: Settings,
    matcher: GlobMatcher,
    found: BTreeMap<String, Found>,
    /// Files that may still change: as they were, and since when.
    unsettled: BTreeMap<String, (Stamp, Instant)>,
    warned: bool,
}

/// Looks at folders until dropped. `specs` are the triggers as the files of the project say.
pub async fn keep(
    root: PathBuf,
    state: PathBuf,
    engine: Handle,
    mut specs: watch::Receiver<Arc<Vec<TriggerSpec>>>,
) {
    let mut folders: BTreeMap<TriggerId, Folder> = BTreeMap::new();
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let specs_now =
        |specs: &mut watch::Receiver<Arc<Vec<TriggerSpec>>>| specs.borrow_and_update().clone();
    let first = specs_now(&mut specs);
    take_over(&mut folders, &first, &state);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            changed = specs.changed() => {
                if changed.is_err() {
                    return;
                }
                let now = specs_now(&mut specs);
                take_over(&mut folders, &now, &state);
            }
        }
        for (id, folder) in &mut folders {
            if folder.look(*id, &root, &state, &engine).await.is_err() {
                return;
            }
        }
    }
}

/// Makes the folders those of the triggers.
fn take_over(folders: &mut BTreeMap<TriggerId, Folder>, specs: &[TriggerSpec], state: &Path) {
    let mut wanted = BTreeSet::new();
    for spec in specs {
        let Source::Outside { by, settings } = &spec.source else { continue };
        let settings: Settings = match serde_json::from_value(settings.clone()) {
            Ok(settings) if by == "file" && spec.enabled => settings,
            _ => continue,
        };
        wanted.insert(spec.id());
        if folders.get(&spec.id()).is_some_and(|folder| folder.settings == settings) {
            continue;
        }
        let glob = GlobBuilder::new(&settings.pattern).literal_separator(true).build();
        // It was checked when the file was read.
        let Ok(glob) = glob else { continue };
        let matcher = glob.compile_matcher();
        let found = read(state, spec.id());
        let unsettled = BTreeMap::new();
        let folder = Folder { settings, matcher, found, unsettled, warned: false };
        folders.insert(spec.id(), folder);
    }
    folders.retain(|id, _| wanted.contains(id));
}

fn path_of(state: &Path, id: TriggerId) -> PathBuf {
    state.join(FOLDER).join(format!("{id}.json"))
}

fn read(state: &Path, id: TriggerId) -> BTreeMap<String, Found> {
    // What can't be read is found again, and told by the same keys.
    let text = std::fs::read_to_string(path_of(state, id)).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

fn write(state: &Path, id: TriggerId, found: &BTreeMap<String, Found>) -> std::io::Result<()> {
    let path = path_of(Path::new(""), id);
    Beneath::new(state)?.write(&path, &serde_json::to_vec(found)?)
}

/// The node is stopping.
struct Stopping;

impl Folder {
    async fn look(
        &mut self,
        id: TriggerId,
        root: &Path,
        state: &Path,
        engine: &Handle,
    ) -> Result<(), Stopping> {
        let (matcher, pattern) = (self.matcher.clone(), self.settings.pattern.clone());
        let base = root.to_owned();
        let listed = tokio::task::spawn_blocking(move || list(&base, &pattern, &matcher)).await;
        let Ok((files, remark)) = listed else { return Ok(()) };
        if let Some(remark) = remark.filter(|_| !self.warned) {
            self.warned = true;
            tracing::warn!(pattern = self.settings.pattern, "{remark}");
        }
        let mut changed = self.settle(&files, Instant::now());
        if changed {
            self.keep(id, state);
        }
        for (path, found) in self.found.iter_mut().filter(|(_, found)| !found.told) {
            let key = key(path, found.stamp);
            match engine.occurred(id, key, Arc::new(data(path, found.stamp))).await {
                // Nothing of a paused trigger is told until it goes on: then all of it starts.
                Ok(TriggerAnswer::Decided { outcome: Outcome::SkippedPaused, .. }) => break,
                // As many wait as may: the others are told as these start.
                Ok(TriggerAnswer::Later) => break,
                Ok(_) => found.told = true,
                Err(Error::Stopping) => return Err(Stopping),
                Err(error) => {
                    tracing::debug!(path, %error, "a file is told again at the next look");
                    continue;
                }
            }
            changed = true;
        }
        if changed {
            self.keep(id, state);
        }
        Ok(())
    }

    /// What has been found since the last look; answers whether anything is new.
    fn settle(&mut self, files: &BTreeMap<String, Stamp>, now: Instant) -> bool {
        let before = self.found.len();
        self.found.retain(|path, _| files.contains_key(path));
        let mut changed = self.found.len() != before;
        self.unsettled.retain(|path, _| files.contains_key(path));
        for (path, stamp) in files {
            let known = self.found.get(path);
            if known.is_some_and(|found| found.stamp == *stamp || !self.settings.changes) {
                self.unsettled.remove(path);
                continue;
            }
            let (was, since) = self.unsettled.entry(path.clone()).or_insert((*stamp, now));
            if was != stamp {
                (*was, *since) = (*stamp, now);
            }
            if now.duration_since(*since) >= self.settings.stable.to_std() {
                self.unsettled.remove(path);
                self.found.insert(path.clone(), Found { stamp: *stamp, told: false });
                changed = true;
            }
        }
        changed
    }

    fn keep(&self, id: TriggerId, state: &Path) {
        if let Err(error) = write(state, id, &self.found) {
            tracing::warn!(%error, "can't write what was found by {}", self.settings.pattern);
        }
    }
}

/// The name of a file as an occurrence.
fn key(path: &str, stamp: Stamp) -> String {
    let Stamp { at, size } = stamp;
    if path.len() > PATH_IN_KEY_MAX {
        return format!("{}@{at}-{size}", blake3::hash(path.as_bytes()).to_hex());
    }
    format!("{path}@{at}-{size}")
}

fn data(path: &str, stamp: Stamp) -> serde_json::Value {
    json!({
        "path": path,
        "name": path.rsplit('/').next().unwrap_or(path),
        "size": stamp.size,
        "modified_at": Millis(stamp.at).to_string(),
    })
}

/// The files that match, by their paths beneath the project, and a remark for people.
fn list(
    root: &Path,
    pattern: &str,
    matcher: &GlobMatcher,
) -> (BTreeMap<String, Stamp>, Option<String>) {
    let mut files = BTreeMap::new();
    let parts: Vec<&str> = pattern.split('/').collect();
    let special = |part: &&str| part.contains(['*', '?', '[', '{', '\\']);
    let fixed = parts.iter().take(parts.len() - 1).take_while(|part| !special(part)).count();
    let base = parts[..fixed].iter().fold(root.to_owned(), |path, part| path.join(part));
    let inside = base.canonicalize().is_ok_and(|base| base.starts_with(root));
    if !inside {
        let gone = !base.exists();
        let remark = (!gone).then(|| "the folder is outside of the project".to_owned());
        return (files, remark);
    }
    let depth = match pattern.contains("**") {
        true => usize::MAX,
        false => parts.len() - fixed,
    };
    let dotted = parts.iter().any(|part| part.starts_with('.'));
    let state = root.join(".moa");
    let walk = WalkDir::new(&base).min_depth(1).max_depth(depth).follow_links(false);
    let walk = walk.into_iter().filter_entry(|entry| {
        let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        entry.depth() == 0 || (entry.path() != state && (dotted || !hidden))
    });
    for entry in walk.filter_map(Result::ok).filter(|entry| entry.file_type().is_file()) {
        let Ok(path) = entry.path().strip_prefix(root) else { continue };
        let (Some(path), Ok(metadata)) = (path.to_str(), entry.metadata()) else { continue };
        if !matcher.is_match(path) {
            continue;
        }
        if files.len() == FILES_MAX {
            let remark = format!("more than {FILES_MAX} files match; the others are left out");
            return (files, Some(remark));
        }
        let since = metadata.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        let at = since.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX));
        files.insert(path.to_owned(), Stamp { at, size: metadata.len() });
    }
    (files, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(pattern: &str, changes: bool) -> Folder {
        let glob = GlobBuilder::new(pattern).literal_separator(true).build().expect("a pattern");
        let settings = Settings { pattern: pattern.into(), stable: Span::seconds(2), changes };
        let (found, unsettled) = (BTreeMap::new(), BTreeMap::new());
        Folder { settings, matcher: glob.compile_matcher(), found, unsettled, warned: false }
    }

    #[test]
    fn a_file_counts_once_when_it_has_not_changed_for_a_while() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let files = |size| BTreeMap::from([("a.md".to_owned(), Stamp { at: 1, size })]);
        for (changes, again) in [(false, false), (true, true)] {
            let mut folder = folder("*.md", changes);
            assert!(!folder.settle(&files(1), at(0)));
            assert!(!folder.settle(&files(2), at(1)), "it grows");
            assert!(!folder.settle(&files(2), at(2)));
            assert!(folder.settle(&files(2), at(3)));
            assert_eq!(folder.found["a.md"].stamp.size, 2);
            assert!(!folder.settle(&files(2), at(9)));
            assert!(!folder.settle(&files(3), at(10)));
            assert_eq!(folder.settle(&files(3), at(12)), again);
            assert!(folder.settle(&BTreeMap::new(), at(20)), "it is gone");
            assert!(!folder.settle(&files(3), at(21)));
            assert!(folder.settle(&files(3), at(23)), "it is back");
        }
    }

    #[test]
    fn patterns_find_what_they_say_and_nothing_outside() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let root = dir.path().canonicalize().expect("it is there").join("project");
        for path in
            ["in/a.md", "in/b.txt", "in/deep/c.md", "in/.hidden.md", ".moa/in/x.md", "../out/d.md"]
        {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("mkdir");
            std::fs::write(path, "x").expect("it is written");
        }
        std::os::unix::fs::symlink("../../out", root.join("in/link")).expect("a link");
        std::os::unix::fs::symlink("../out", root.join("out")).expect("a link");
        let find = |pattern: &str| {
            let found = list(&root, pattern, &folder(pattern, false).matcher);
            found.0.into_keys().collect::<Vec<_>>()
        };
        assert_eq!(find("in/*.md"), ["in/a.md"]);
        assert_eq!(find("in/**/*.md"), ["in/a.md", "in/deep/c.md"]);
        assert_eq!(find("**/*.{md,txt}"), ["in/a.md", "in/b.txt", "in/deep/c.md"]);
        assert_eq!(find("in/.h*"), ["in/.hidden.md"]);
        assert_eq!(find("out/*.md"), [""; 0]);
        assert_eq!(find("none/*"), [""; 0]);
    }
}
