//! Processes that outlived the node that started them.
//!
//! A node that was killed leaves its agents running. Before the engine tries their steps again, they
//! are found and ended, so that two copies of a step never live. A process is such a leftover when
//!
//! - its environment says so (`MOA_STORE_ID` is this store, `MOA_NODE` another node);
//! - or a record of the other node names it: number, start and boot all fit (see `records`);
//! - or it is in the group of such a program, and that the group is still the same one is certain;
//! - or it descends from a leftover that lives.
//!
//! A node that leaves some runs alone leaves their processes alone too: which are ended is for the
//! caller to say. Processes are held by descriptors (pidfd), so a number that was given to somebody else meanwhile is
//! never signalled. Not found: a process that cleared its environment, left its group, and whose parent
//! has ended. Absent: other systems than Linux, where nothing is found.

/// A process that an earlier node left behind.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Leftover {
    /// Its number.
    pub pid: i32,
    /// When it started, in clock ticks since the machine did.
    pub start_time: u64,
    /// What it worked for.
    pub of: Origin,
}

/// What a process worked for, as in its environment or its record.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    /// The run.
    pub run: String,
    /// The step.
    pub step: String,
    /// The attempt; 0 when it can't be told.
    pub attempt: u32,
    /// The agent; empty when it can't be told.
    pub agent: String,
}

/// Which of the processes that were left behind are meant.
pub type Which<'a> = &'a dyn Fn(&Origin) -> bool;

/// Finds nothing.
#[cfg(not(target_os = "linux"))]
pub(super) fn end(
    _state_dir: &std::path::Path,
    _store_id: &str,
    _node: moa_core::ids::NodeId,
    _which: Which<'_>,
) -> Vec<Leftover> {
    Vec::new()
}

/// Finds nothing.
#[cfg(not(target_os = "linux"))]
pub(super) fn find(
    _state_dir: &std::path::Path,
    _store_id: &str,
    _node: moa_core::ids::NodeId,
) -> Vec<Leftover> {
    Vec::new()
}

#[cfg(target_os = "linux")]
pub(super) use linux::{end, find};

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::{BTreeMap, BTreeSet};
    use std::os::fd::OwnedFd;
    use std::path::Path;
    use std::time::{Duration, Instant};

    use moa_core::ids::NodeId;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::process::{
        Pid, PidfdFlags, Signal, getpgrp, getpid, kill_process_group, pidfd_open, pidfd_send_signal,
    };

    use super::{Leftover, Origin, Which};
    use crate::process::records::{Earlier, Record};
    use crate::process::table::{self, Row};

    /// Time between SIGTERM and SIGKILL.
    const GRACE: Duration = Duration::from_secs(2);
    /// Time for the killed to be gone, and rounds of looking for more of them.
    const PATIENCE: Duration = Duration::from_secs(2);
    const ROUNDS_MAX: usize = 20;
    /// How often newer numbers are looked at in one round.
    const SCANS_MAX: usize = 1000;

    /// Ends what earlier nodes left, as far as it is meant, and says what that was.
    pub fn end(state_dir: &Path, store_id: &str, node: NodeId, which: Which<'_>) -> Vec<Leftover> {
        let node = node.to_string();
        let mut search = Search::new(state_dir, store_id, &node, which);
        let mut ended = BTreeSet::new();
        for round in 0..ROUNDS_MAX {
            let (signal, patience) =
                if round == 0 { (Signal::TERM, GRACE) } else { (Signal::KILL, PATIENCE) };
            // First, because who loses its parent can't be told by it any more.
            search.find_kin();
            search.kin.values().for_each(|held| search.signal(held, signal));
            let found = search.find(Some(signal));
            if found.is_empty() && search.kin.is_empty() {
                break;
            }
            let all = || found.iter().chain(search.kin.values());
            wait_until_gone(all(), patience);
            ended.extend(all().map(|held| held.leftover.clone()));
        }
        search.earlier.forget(which);
        ended.into_iter().collect()
    }

    /// Says what earlier nodes left, and touches none of it.
    pub fn find(state_dir: &Path, store_id: &str, node: NodeId) -> Vec<Leftover> {
        let node = node.to_string();
        let mut search = Search::new(state_dir, store_id, &node, &|_| true);
        search.find_kin();
        let found = search.find(None);
        found.iter().chain(search.kin.values()).map(|held| held.leftover.clone()).collect()
    }

    /// A leftover, held so that its number can't become anybody else's unnoticed.
    struct Held {
        fd: OwnedFd,
        row: Row,
        leftover: Leftover,
    }

    impl Held {
        /// Holds a process that was just seen in that row.
        fn new(row: Row, of: &Origin) -> Option<Self> {
            let fd = pidfd_open(Pid::from_raw(row.pid)?, PidfdFlags::empty()).ok()?;
            // What the descriptor holds is what was looked at, if it still looks the same.
            let again = table::row(row.pid).filter(|again| !again.zombie)?;
            let leftover = Leftover { pid: row.pid, start_time: row.start, of: of.clone() };
            (again.start == row.start).then_some(Self { fd, row, leftover })
        }

        fn lives(&self) -> bool {
            let row = table::row(self.row.pid);
            row.is_some_and(|row| row.start == self.row.start && !row.zombie)
        }
    }

    /// This process, its ancestors, and their groups: never signalled, even when moa was started by
    /// an agent.
    struct Spared {
        pids: BTreeSet<i32>,
        groups: BTreeSet<i32>,
    }

    fn own_line() -> Spared {
        let mut spared = Spared {
            pids: BTreeSet::new(),
            groups: BTreeSet::from([getpgrp().as_raw_nonzero().get()]),
        };
        let mut pid = getpid().as_raw_nonzero().get();
        while pid > 0 && spared.pids.insert(pid) {
            let Some(row) = table::row(pid) else { break };
            spared.groups.insert(row.group);
            pid = row.parent;
        }
        spared
    }

    struct Search<'a> {
        store_id: &'a str,
        node: &'a str,
        which: Which<'a>,
        spared: Spared,
        earlier: Earlier,
        /// Leftovers found otherwise than by their environment, and what descends from any; by number.
        kin: BTreeMap<i32, Held>,
    }

    impl<'a> Search<'a> {
        fn new(state_dir: &Path, store_id: &'a str, node: &'a str, which: Which<'a>) -> Self {
            let earlier = Earlier::read(state_dir, store_id, node);
            Self { store_id, node, which, spared: own_line(), earlier, kin: BTreeMap::new() }
        }

        /// What a process works for by its environment, when an earlier node of this store started
        /// it and it is meant.
        fn by_environment(&self, pid: i32) -> Option<Origin> {
            let environment = table::environment(pid);
            let is_left = table::variable(&environment, "MOA_STORE_ID") == Some(self.store_id)
                && table::variable(&environment, "MOA_NODE").is_some_and(|of| of != self.node);
            let text = |name| table::variable(&environment, name).unwrap_or_default().to_owned();
            let origin = is_left.then(|| Origin {
                run: text("MOA_RUN_ID"),
                step: text("MOA_STEP"),
                attempt: text("MOA_ATTEMPT").parse().unwrap_or(0),
                agent: text("MOA_AGENT"),
            });
            origin.filter(self.which)
        }

        fn signal(&self, held: &Held, signal: Signal) {
            let sent = pidfd_send_signal(&held.fd, signal);
            let group = held.row.group;
            // A group is killed whole, so that nobody in it can start another meanwhile. The
            // process was just alive, so the group's number is still its own; but it may have joined
            // somebody else's.
            let is_ours = group == held.row.pid
                || self.kin.contains_key(&group)
                || self.by_environment(group).is_some();
            if sent.is_ok()
                && signal == Signal::KILL
                && is_ours
                && !self.spared.groups.contains(&group)
                && let Some(group) = Pid::from_raw(group)
            {
                let _ = kill_process_group(group, signal);
            }
        }

        /// Finds every leftover that its environment gives away and that isn't among the kin, sends
        /// `signal` to it if there is one, and gives them. When none is given, there was none: whoever ends while the table is
        /// read was found, or has a successor with a newer number, and the newer numbers are looked
        /// at until there are none.
        fn find(&self, signal: Option<Signal>) -> Vec<Held> {
            let mut found = Vec::new();
            let mut seen = table::last_pid().unwrap_or_default();
            let mut pids = table::pids();
            for _ in 0..SCANS_MAX {
                for pid in pids {
                    if !self.spared.pids.contains(&pid)
                        && !self.kin.contains_key(&pid)
                        && let Some(held) = self.hold(pid)
                    {
                        if let Some(signal) = signal {
                            self.signal(&held, signal);
                        }
                        found.push(held);
                    }
                }
                let last = table::last_pid().unwrap_or_default();
                if last == seen {
                    break;
                }
                // After the highest number come low ones again.
                pids = if last > seen { (seen + 1..=last).collect() } else { table::pids() };
                seen = last;
            }
            found
        }

        fn hold(&self, pid: i32) -> Option<Held> {
            let of = self.by_environment(pid)?;
            let row = table::row(pid).filter(|row| !row.zombie)?;
            let held = Held::new(row, &of)?;
            // Another program may have taken its place between the two looks.
            self.by_environment(pid).map(|_| held)
        }

        /// Holds the leftovers that records and parents give away, and lets go of those that have
        /// ended.
        fn find_kin(&mut self) {
            self.kin.retain(|_, held| held.lives());
            let rows: BTreeMap<i32, Row> = table::pids()
                .into_iter()
                .filter_map(table::row)
                .map(|row| (row.pid, row))
                .collect();
            let mut ours: Vec<(Row, Origin)> = Vec::new();
            for row in rows.values() {
                if let Some(of) = self.origin(row, &rows) {
                    ours.push((*row, of));
                }
            }
            let mut children: BTreeMap<i32, Vec<Row>> = BTreeMap::new();
            for row in rows.values() {
                children.entry(row.parent).or_default().push(*row);
            }
            let mut seen: BTreeSet<i32> = self.spared.pids.clone();
            while let Some((row, of)) = ours.pop() {
                if !seen.insert(row.pid) {
                    continue;
                }
                for child in children.remove(&row.pid).into_iter().flatten() {
                    ours.push((child, of.clone()));
                }
                if !self.kin.contains_key(&row.pid)
                    && let Some(held) = Held::new(row, &of)
                {
                    self.kin.insert(row.pid, held);
                }
            }
        }

        /// What a process works for, by what is known of it alone, if that is meant.
        fn origin(&self, row: &Row, rows: &BTreeMap<i32, Row>) -> Option<Origin> {
            if let Some(held) = self.kin.get(&row.pid) {
                return Some(held.leftover.of.clone());
            }
            let is_its = |record: &&Record| {
                let is_leader = row.pid == record.pid && row.start == record.start;
                is_leader || row.group == record.pid && self.is_same_group(record, rows)
            };
            let record = self.earlier.records.iter().find(is_its);
            match record.map(Record::origin) {
                Some(origin) => Some(origin).filter(self.which),
                None => self.by_environment(row.pid),
            }
        }

        /// Whether the group with a recorded program's number is the one that this led.
        ///
        /// It is while the program is in the table, alive or not. After that it is when somebody is in
        /// it who was so already while the program lived for certain: for as long as there is somebody
        /// in a group, nobody else gets its number.
        fn is_same_group(&self, record: &Record, rows: &BTreeMap<i32, Row>) -> bool {
            if let Some(leader) = rows.get(&record.pid) {
                return leader.start == record.start;
            }
            let alive = self.earlier.alive.get(&record.node).copied().unwrap_or(0);
            let vouches = |row: &&Row| {
                row.group == record.pid
                    && row.session == record.session
                    && (record.start..alive).contains(&row.start)
            };
            rows.values().find(vouches).is_some()
        }
    }

    fn wait_until_gone<'a>(all: impl Iterator<Item = &'a Held>, patience: Duration) {
        let end = Instant::now() + patience;
        for held in all {
            loop {
                let left = end.saturating_duration_since(Instant::now());
                let left = Timespec::try_from(left).unwrap_or_default();
                let mut fds = [PollFd::new(&held.fd, PollFlags::IN)];
                match poll(&mut fds, Some(&left)) {
                    Err(rustix::io::Errno::INTR) => {}
                    _ => break,
                }
            }
        }
    }
}
