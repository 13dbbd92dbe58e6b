//! Records of running attempts: by them the next node finds what a killed one left behind, also
//! when that cleared its environment.
//!
//! `<state>/attempts/<node>-<slot>` holds a line of JSON while an attempt's program lives, and
//! nothing else at other times: the next attempt takes the slot over, so that a record costs two
//! small writes and no new file. A line is written whole or not at all (one write within one page).
//! Nothing is flushed: a record is about processes, which outlive a node but not the machine.
//! `<node>.alive` holds an instant at which the node lived; see [`Earlier::alive`].
//!
//! Absent: systems other than Linux, where nothing is written.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::Pid;
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;

use super::leftovers::{Origin, Which};
use super::table;

/// Bytes of a record.
const RECORD_BYTES_MAX: usize = 4096;
/// Files that are looked at: more were not written by moa.
const FILES_MAX: usize = 100_000;
/// Time between two instants at which a node says that it lives.
const BEAT: Duration = Duration::from_secs(1);

/// A program that was started for an attempt. It leads its group, so that has its number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub store: String,
    pub node: String,
    /// Which start of the machine, and which table of processes.
    pub boot: String,
    pub pid: i32,
    /// In ticks since the machine started.
    pub start: u64,
    pub session: i32,
    pub run: String,
    pub step: String,
    pub iteration: String,
    pub attempt: u32,
    /// Absent in those of earlier versions.
    #[serde(default)]
    pub agent: String,
}

impl Record {
    /// What the program was started for.
    pub fn origin(&self) -> Origin {
        let Self { run, step, attempt, agent, .. } = self.clone();
        Origin { run, step, attempt, agent }
    }
}

/// The folder of records beneath the state's.
fn folder(state_dir: &Path) -> PathBuf {
    state_dir.join("attempts")
}

/// This start of the machine, and the table of processes that this process sees.
fn boot() -> io::Result<String> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    let table = fs::read_link("/proc/self/ns/pid")?;
    Ok(format!("{} {}", boot.trim(), table.display()))
}

/// The records of this node.
pub(super) struct Records {
    folder: PathBuf,
    node: String,
    store: String,
    /// `None` = the system doesn't say; then nothing is recorded.
    boot: Option<String>,
    runtime: Handle,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    free: Vec<File>,
    slots: usize,
    live: usize,
    beating: bool,
    warned: bool,
}

/// A record that stands as long as this does.
pub(super) struct Recorded {
    records: Arc<Records>,
    slot: Option<File>,
}

impl Records {
    /// The records of `node` beneath `state_dir`.
    pub fn new(state_dir: &Path, node: String, store: String, runtime: Handle) -> Arc<Self> {
        let (folder, boot) = (folder(state_dir), boot().ok());
        Arc::new(Self { folder, node, store, boot, runtime, state: Mutex::default() })
    }

    /// Records a program that was just started and isn't reaped. When that is impossible (the disk is
    /// full), the log says so, once, and the attempt goes on without.
    pub fn enter(
        self: &Arc<Self>,
        pid: Pid,
        identity: &[(&str, String)],
        agent: &str,
    ) -> Option<Recorded> {
        let row = table::row(pid.as_raw_nonzero().get())?;
        let text = |name: &str| {
            let value = identity.iter().find(|(known, _)| *known == name);
            value.map(|(_, value)| value.clone()).unwrap_or_default()
        };
        let record = Record {
            store: self.store.clone(),
            node: self.node.clone(),
            boot: self.boot.clone()?,
            pid: row.pid,
            start: row.start,
            session: row.session,
            run: text("MOA_RUN_ID"),
            step: text("MOA_STEP"),
            iteration: text("MOA_ITERATION"),
            attempt: text("MOA_ATTEMPT").parse().unwrap_or(0),
            agent: agent.to_owned(),
        };
        match self.write(&record) {
            Ok(slot) => {
                self.beat();
                Some(Recorded { records: self.clone(), slot: Some(slot) })
            }
            Err(error) => {
                if !std::mem::replace(&mut self.lock().warned, true) {
                    tracing::warn!(%error, "running attempts can't be recorded");
                }
                None
            }
        }
    }

    fn write(&self, record: &Record) -> io::Result<File> {
        let line = format!("{}\n", serde_json::to_string(record)?);
        if line.len() > RECORD_BYTES_MAX {
            return Err(io::Error::other("the record would be too long"));
        }
        let free = self.lock().free.pop();
        let slot = free.map_or_else(|| self.make_slot(), Ok)?;
        if let Err(error) = slot.write_all_at(line.as_bytes(), 0) {
            self.give_back(slot);
            return Err(error);
        }
        self.lock().live += 1;
        Ok(slot)
    }

    fn make_slot(&self) -> io::Result<File> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        let mut state = self.lock();
        let path = self.slot_path(state.slots);
        let file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(path)?;
        state.slots += 1;
        Ok(file)
    }

    fn slot_path(&self, slot: usize) -> PathBuf {
        self.folder.join(format!("{}-{slot}", self.node))
    }

    fn alive_path(&self) -> PathBuf {
        self.folder.join(format!("{}.alive", self.node))
    }

    fn give_back(&self, slot: File) {
        // A slot that can't be emptied names a process that is gone, which the next node sees.
        if slot.set_len(0).is_ok() {
            self.lock().free.push(slot);
        }
    }

    /// Begins to say that this node lives, unless that is going on.
    fn beat(self: &Arc<Self>) {
        if std::mem::replace(&mut self.lock().beating, true) {
            return;
        }
        let records = self.clone();
        self.runtime.spawn(async move {
            while records.say_alive() {
                tokio::time::sleep(BEAT).await;
            }
        });
    }

    /// Writes down that the node lives now; says whether it is to be said again.
    fn say_alive(&self) -> bool {
        let mut state = self.lock();
        if state.live == 0 {
            state.beating = false;
            return false;
        }
        drop(state);
        let written = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(self.alive_path())
            .and_then(|file| file.write_all_at(format!("{:020}\n", now()).as_bytes(), 0));
        if let Err(error) = written {
            tracing::debug!(%error, "that the node lives can't be written down");
        }
        true
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Records {
    fn drop(&mut self) {
        let slots = self.lock().slots;
        (0..slots).for_each(|slot| drop(fs::remove_file(self.slot_path(slot))));
        let _ = fs::remove_file(self.alive_path());
    }
}

impl Drop for Recorded {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            self.records.lock().live -= 1;
            self.records.give_back(slot);
        }
    }
}

/// The time since the machine started, in the ticks in which it says when processes started.
fn now() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let ticks = rustix::param::clock_ticks_per_second();
    let (seconds, nanos) = (now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs());
    seconds * ticks + nanos * ticks / 1_000_000_000
}

/// What earlier nodes of a store wrote down.
#[derive(Default)]
pub(super) struct Earlier {
    /// Their records, of this start of the machine.
    pub records: Vec<Record>,
    /// By node: the last instant, in ticks, at which it said that it lived. Then every attempt that
    /// it has a record of lived too.
    pub alive: BTreeMap<String, u64>,
    files: Vec<(PathBuf, Record)>,
    /// The files with those instants.
    beats: BTreeMap<String, PathBuf>,
    others: Vec<PathBuf>,
}

impl Earlier {
    /// Reads what nodes other than `node` wrote. A file that isn't a record as moa writes it is
    /// reported and removed, and means nothing.
    pub fn read(state_dir: &Path, store: &str, node: &str) -> Self {
        let mut earlier = Self::default();
        let Ok(boot) = boot() else { return earlier };
        let entries = fs::read_dir(folder(state_dir)).into_iter().flatten().flatten();
        for entry in entries.take(FILES_MAX) {
            let (path, name) = (entry.path(), entry.file_name());
            let name = name.to_string_lossy();
            if let Some(of) = name.strip_suffix(".alive") {
                if of != node {
                    earlier.take_alive(of, path);
                }
            } else if name.rsplit_once('-').is_none_or(|(of, _)| of != node) {
                earlier.take_record(&name, path, store, &boot);
            }
        }
        earlier
    }

    fn take_alive(&mut self, of: &str, path: PathBuf) {
        let ticks = content(&path).and_then(|bytes| String::from_utf8(bytes).ok());
        if let Some(ticks) = ticks.and_then(|text| text.trim().parse().ok()) {
            // A time to come would vouch for anybody.
            self.alive.insert(of.to_owned(), now().min(ticks));
        }
        self.beats.insert(of.to_owned(), path);
    }

    fn take_record(&mut self, name: &str, path: PathBuf, store: &str, boot: &str) {
        let bytes = content(&path);
        if bytes.as_ref().is_some_and(Vec::is_empty) {
            return self.others.push(path);
        }
        let record = bytes.and_then(|bytes| serde_json::from_slice::<Record>(&bytes).ok());
        let good = |record: &Record| {
            record.pid > 1 && name.rsplit_once('-').is_some_and(|(of, _)| of == record.node)
        };
        let Some(record) = record.filter(good) else {
            let path_shown = path.display();
            tracing::warn!(path = %path_shown, "a record of a running attempt is damaged");
            return self.others.push(path);
        };
        if record.boot != boot {
            return self.others.push(path);
        }
        if record.store == store {
            self.records.push(record.clone());
            self.files.push((path, record));
        } else if !lives(&record) {
            // Of an attempt outside of any node that was killed. One that lives is somebody's.
            self.others.push(path);
        }
    }

    /// Removes what is of no use any more: all but the records of programs that live, and, of nodes
    /// with programs that were not meant, what it takes to find their groups.
    pub fn forget(mut self, which: Which<'_>) {
        let mut gone = Vec::new();
        for (path, record) in self.files {
            if !which(&record.origin()) {
                self.beats.remove(&record.node);
            } else if !lives(&record) {
                gone.push(path);
            }
        }
        for path in gone.into_iter().chain(self.beats.into_values()).chain(self.others) {
            if let Err(error) = fs::remove_file(&path) {
                tracing::warn!(path = %path.display(), %error, "an old record can't be removed");
            }
        }
    }
}

/// Whether the program of a record lives.
fn lives(record: &Record) -> bool {
    table::row(record.pid).is_some_and(|row| row.start == record.start && !row.zombie)
}

/// The content of a file, if it is one of a record's size. No link is followed, nothing waited for.
fn content(path: &Path) -> Option<Vec<u8>> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).unwrap_or_default();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    let size = file.take(RECORD_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).ok()?;
    (size <= RECORD_BYTES_MAX).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> [(&'static str, String); 2] {
        [("MOA_RUN_ID", "r".to_owned()), ("MOA_ATTEMPT", "3".to_owned())]
    }

    #[test]
    fn a_record_stands_as_long_as_the_attempt_and_its_slot_is_used_again() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        let dir = tempfile::tempdir().expect("a folder");
        let new = |node: &str| {
            let handle = runtime.handle().clone();
            Records::new(dir.path(), node.to_owned(), "store".to_owned(), handle)
        };
        let read = || Earlier::read(dir.path(), "store", "next").records;
        let own = rustix::process::getpid();
        let records = new("first");
        let (one, two) =
            (records.enter(own, &identity(), "one"), records.enter(own, &identity(), "one"));
        let found = read();
        assert_eq!(found.len(), 2);
        let row = table::row(own.as_raw_nonzero().get()).expect("a row");
        assert_eq!((found[0].pid, found[0].start, found[0].attempt), (row.pid, row.start, 3));
        assert_eq!(found[0].agent, "one");
        drop((one, two));
        assert_eq!(read(), []);
        let _again = records.enter(own, &identity(), "one");
        assert_eq!(fs::read_dir(dir.path().join("attempts")).expect("a list").count(), 2);
        assert_eq!(read().len(), 1);
        assert!(Earlier::read(dir.path(), "other", "next").records.is_empty());
        assert!(Earlier::read(dir.path(), "store", "first").records.is_empty());
    }

    #[test]
    fn a_full_disk_stops_no_attempt() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let dir = tempfile::tempdir().expect("a folder");
        fs::write(dir.path().join("attempts"), "in the way").expect("a file");
        let handle = runtime.handle().clone();
        let records = Records::new(dir.path(), "node".to_owned(), "store".to_owned(), handle);
        assert!(records.enter(rustix::process::getpid(), &identity(), "one").is_none());
    }
}
