//! Files that come to folders: looked for every second, told to the triggers that watch for them.
//!
//! A file is told once it has not changed for a while. What was found is written beneath the state
//! folder before the trigger is told, and told again after a crash by the same key, which the trigger
//! knows then: nothing is lost, and nothing starts two runs. What could not be looked at counts as there
//! still: only a file that is seen to be gone is another one when it comes back.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
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

use crate::view::now;

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
    /// How often it had gone and come back.
    #[serde(default, skip_serializing_if = "is_zero")]
    again: u32,
    /// Since when it is gone, in milliseconds: it is remembered so that it is another one when it
    /// comes back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    gone: Option<i64>,
}

fn is_zero(n: &u32) -> bool {
    *n == 0
}

/// What a look at a folder has seen.
#[derive(Debug, Default)]
struct Seen {
    files: BTreeMap<String, Stamp>,
    /// Whether nothing else is there; else nobody knows.
    whole: bool,
    /// For people.
    remark: Option<String>,
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
            // Those that are switched off too: what comes meanwhile has to have an outcome.
            Ok(settings) if by == "file" => settings,
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
    let path = path_of(state, id);
    std::fs::create_dir_all(state.join(FOLDER))?;
    let new = path.with_extension("new");
    let mut file = std::fs::File::create(&new)?;
    file.write_all(&serde_json::to_vec(found)?)?;
    file.sync_all()?;
    std::fs::rename(new, path)
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
        let Ok(seen) = listed else { return Ok(()) };
        if let Some(remark) = seen.remark.as_ref().filter(|_| !self.warned) {
            tracing::warn!(pattern = self.settings.pattern, "{remark}");
        }
        self.warned = seen.remark.is_some();
        let mut changed = self.settle(&seen, Instant::now(), now());
        if changed {
            self.keep(id, state);
        }
        for (path, found) in self.found.iter_mut().filter(|(_, found)| !found.told) {
            let key = key(path, found);
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

    /// What has been found since the last look; answers whether anything is new. `wall` is the time.
    fn settle(&mut self, seen: &Seen, now: Instant, wall: Millis) -> bool {
        let mut changed = seen.whole && self.miss(seen, wall);
        for (path, stamp) in &seen.files {
            let known = self.found.get(path);
            let there = known.filter(|found| found.gone.is_none());
            if there.is_some_and(|found| found.stamp == *stamp || !self.settings.changes) {
                self.unsettled.remove(path);
                continue;
            }
            let again = known.map_or(0, |k| k.again.saturating_add(u32::from(k.gone.is_some())));
            let (was, since) = self.unsettled.entry(path.clone()).or_insert((*stamp, now));
            if was != stamp {
                (*was, *since) = (*stamp, now);
            }
            if now.duration_since(*since) >= self.settings.stable.to_std() {
                self.unsettled.remove(path);
                let found = Found { stamp: *stamp, told: false, again, gone: None };
                self.found.insert(path.clone(), found);
                changed = true;
            }
        }
        changed
    }

    /// What is there no more; answers whether that is new.
    fn miss(&mut self, seen: &Seen, wall: Millis) -> bool {
        self.unsettled.retain(|path, _| seen.files.contains_key(path));
        let before = self.found.len();
        // What the trigger has not heard of has never been.
        self.found.retain(|path, found| found.told || seen.files.contains_key(path));
        let mut changed = self.found.len() != before;
        for (path, found) in &mut self.found {
            if found.gone.is_none() && !seen.files.contains_key(path) {
                found.gone = Some(wall.0);
                changed = true;
            }
        }
        let gone = self.found.iter().filter_map(|(path, found)| Some((found.gone?, path)));
        let mut gone: Vec<(i64, String)> = gone.map(|(at, path)| (at, path.clone())).collect();
        gone.sort_unstable();
        for (_, path) in gone.iter().take(gone.len().saturating_sub(FILES_MAX)) {
            self.found.remove(path);
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
fn key(path: &str, found: &Found) -> String {
    let Stamp { at, size } = found.stamp;
    let again = match found.again {
        0 => String::new(),
        n => format!("#{n}"),
    };
    if path.len() > PATH_IN_KEY_MAX {
        return format!("{}@{at}-{size}{again}", blake3::hash(path.as_bytes()).to_hex());
    }
    format!("{path}@{at}-{size}{again}")
}

fn data(path: &str, stamp: Stamp) -> serde_json::Value {
    json!({
        "path": path,
        "name": path.rsplit('/').next().unwrap_or(path),
        "size": stamp.size,
        "modified_at": Millis(stamp.at).to_string(),
    })
}

/// The files that match, by their paths beneath the project.
fn list(root: &Path, pattern: &str, matcher: &GlobMatcher) -> Seen {
    let parts: Vec<&str> = pattern.split('/').collect();
    let special = |part: &&str| part.contains(['*', '?', '[', '{', '\\']);
    let fixed = parts.iter().take(parts.len() - 1).take_while(|part| !special(part)).count();
    let base = parts[..fixed].iter().fold(root.to_owned(), |path, part| path.join(part));
    match base.canonicalize() {
        Ok(base) if base.starts_with(root) && base.is_dir() => {}
        Ok(base) if base.starts_with(root) => return unseen(Some(unreadable(&"it is no folder"))),
        Ok(_) => return unseen(Some("the folder is outside of the project".to_owned())),
        // It may not have been made yet, and it may be on a disk that is not there now.
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return unseen(None),
        Err(e) => return unseen(Some(unreadable(&e))),
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
    let mut seen = Seen { whole: true, ..Seen::default() };
    for entry in walk {
        let stamped = entry.and_then(|entry| {
            let metadata = entry.file_type().is_file().then(|| entry.metadata()).transpose()?;
            Ok((entry, metadata))
        });
        let (entry, metadata) = match stamped {
            Ok((entry, Some(metadata))) => (entry, metadata),
            Ok((_, None)) => continue,
            // It went away while we looked.
            Err(e) if is_gone(&e) && e.depth() > 0 => continue,
            Err(e) => {
                (seen.whole, seen.remark) = (false, Some(unreadable(&e)));
                continue;
            }
        };
        let Ok(path) = entry.path().strip_prefix(root) else { continue };
        let Some(path) = path.to_str().filter(|path| matcher.is_match(path)) else { continue };
        if seen.files.len() == FILES_MAX {
            let remark = format!("more than {FILES_MAX} files match; the others are left out");
            (seen.whole, seen.remark) = (false, Some(remark));
            return seen;
        }
        let since = metadata.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        let at = since.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX));
        seen.files.insert(path.to_owned(), Stamp { at, size: metadata.len() });
    }
    seen
}

/// Nothing could be looked at.
fn unseen(remark: Option<String>) -> Seen {
    Seen { remark, ..Seen::default() }
}

fn unreadable(error: &dyn std::fmt::Display) -> String {
    format!("{error}; files that were there count as there still")
}

fn is_gone(error: &walkdir::Error) -> bool {
    error.io_error().is_some_and(|e| e.kind() == std::io::ErrorKind::NotFound)
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

    fn seen(files: &[(&str, u64)]) -> Seen {
        let files =
            files.iter().map(|(path, size)| ((*path).to_owned(), Stamp { at: 1, size: *size }));
        Seen { files: files.collect(), whole: true, remark: None }
    }

    /// The keys that the trigger is told.
    fn tell(folder: &mut Folder) -> Vec<String> {
        let untold = folder.found.iter_mut().filter(|(_, found)| !found.told);
        untold
            .map(|(path, found)| {
                found.told = true;
                key(path, found)
            })
            .collect()
    }

    const NOW: Millis = Millis(1_800_000_000_000);

    #[test]
    fn a_file_counts_once_when_it_has_not_changed_for_a_while() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let files = |size| seen(&[("a.md", size)]);
        for (changes, again) in [(false, false), (true, true)] {
            let mut folder = folder("*.md", changes);
            assert!(!folder.settle(&files(1), at(0), NOW));
            assert!(!folder.settle(&files(2), at(1), NOW), "it grows");
            assert!(!folder.settle(&files(2), at(2), NOW));
            assert!(folder.settle(&files(2), at(3), NOW));
            assert_eq!(tell(&mut folder), ["a.md@1-2"]);
            assert!(!folder.settle(&files(2), at(9), NOW));
            assert!(!folder.settle(&files(3), at(10), NOW));
            assert_eq!(folder.settle(&files(3), at(12), NOW), again);
            tell(&mut folder);
            assert!(folder.settle(&seen(&[]), at(20), NOW), "it is gone");
            assert!(!folder.settle(&seen(&[]), at(21), NOW));
            assert!(!folder.settle(&files(3), at(21), NOW));
            assert!(folder.settle(&files(3), at(23), NOW), "it is back");
            assert_eq!(tell(&mut folder), ["a.md@1-3#1"], "as another one");
        }
    }

    #[test]
    fn a_folder_that_can_t_be_looked_at_has_the_files_that_it_had() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut folder = folder("*.md", false);
        let both = seen(&[("a.md", 1), ("b.md", 1)]);
        folder.settle(&both, at(0), NOW);
        folder.settle(&both, at(2), NOW);
        assert_eq!(tell(&mut folder), ["a.md@1-1", "b.md@1-1"]);
        // Nothing of it can be read, then a part; what is new in that counts all the same.
        assert!(!folder.settle(&unseen(None), at(3), NOW));
        let part = Seen { whole: false, ..seen(&[("a.md", 1), ("c.md", 1)]) };
        assert!(!folder.settle(&part, at(4), NOW));
        assert!(!folder.settle(&unseen(None), at(5), NOW));
        assert!(folder.settle(&part, at(6), NOW));
        assert_eq!(tell(&mut folder), ["c.md@1-1"]);
        let all = seen(&[("a.md", 1), ("b.md", 1), ("c.md", 1)]);
        assert!(!folder.settle(&all, at(7), NOW));
        assert!(!folder.settle(&all, at(9), NOW), "none of them is new");
    }

    #[test]
    fn what_went_away_is_not_remembered_without_end() {
        let mut folder = folder("*", false);
        for n in 0..FILES_MAX + 5 {
            let (stamp, gone) = (Stamp { at: 1, size: 1 }, i64::try_from(n).ok());
            folder.found.insert(n.to_string(), Found { stamp, told: true, again: 0, gone });
        }
        folder.settle(&seen(&[]), Instant::now(), NOW);
        assert_eq!(folder.found.len(), FILES_MAX);
        assert!(!folder.found.contains_key("4") && folder.found.contains_key("5"));
    }

    #[test]
    fn what_can_t_be_looked_at_is_not_taken_for_gone() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let root = dir.path().canonicalize().expect("it is there");
        let look = |pattern: &str| list(&root, pattern, &folder(pattern, false).matcher);
        assert!(!look("in/*").whole, "there is no such folder");
        std::fs::create_dir(root.join("in")).expect("mkdir");
        assert!(look("in/*").whole);
        std::os::unix::fs::symlink("loop", root.join("loop")).expect("a link");
        let seen = look("loop/*");
        assert!(!seen.whole && seen.remark.is_some_and(|r| r.contains("count as there still")));
        std::fs::write(root.join("file"), "x").expect("it is written");
        assert!(!look("file/*").whole, "it is no folder");
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
            found.files.into_keys().collect::<Vec<_>>()
        };
        assert_eq!(find("in/*.md"), ["in/a.md"]);
        assert_eq!(find("in/**/*.md"), ["in/a.md", "in/deep/c.md"]);
        assert_eq!(find("**/*.{md,txt}"), ["in/a.md", "in/b.txt", "in/deep/c.md"]);
        assert_eq!(find("in/.h*"), ["in/.hidden.md"]);
        assert_eq!(find("out/*.md"), [""; 0]);
        assert_eq!(find("none/*"), [""; 0]);
    }
}
