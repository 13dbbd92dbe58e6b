//! Processes that outlived the node that started them.
//!
//! A node that was killed leaves its agents running. Before the engine tries their steps again, they
//! are found by their environment (`MOA_STORE_ID` is this store, `MOA_NODE` another node) and ended, so
//! that two copies of a step never live. Processes are held by descriptors (pidfd), so a number that
//! was given to somebody else meanwhile is never signalled. Absent: other systems than Linux, where
//! nothing is found.

/// A process that an earlier node left behind, and that was ended.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Leftover {
    /// Its number.
    pub pid: i32,
    /// When it started, in clock ticks since the machine did.
    pub start_time: u64,
    /// The run that it worked for, as in its environment.
    pub run: String,
    /// The step.
    pub step: String,
    /// The attempt; 0 when it can't be told.
    pub attempt: u32,
}

/// Ends every process that nodes of this store other than `node` left behind: SIGTERM, a moment of
/// grace, SIGKILL to whole groups. Returns when they are gone, with what was found. Blocks for some
/// seconds at most; to be called before lost attempts are tried again.
#[cfg(not(target_os = "linux"))]
pub fn end_leftovers(_store_id: &str, _node: moa_core::ids::NodeId) -> Vec<Leftover> {
    Vec::new()
}

#[cfg(target_os = "linux")]
pub use linux::end_leftovers;

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::BTreeSet;
    use std::os::fd::OwnedFd;
    use std::time::{Duration, Instant};

    use moa_core::ids::NodeId;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::process::{
        Pid, PidfdFlags, Signal, getpgrp, getpid, kill_process_group, pidfd_open, pidfd_send_signal,
    };

    use super::Leftover;
    use crate::process::table::{self, Row};

    /// Time between SIGTERM and SIGKILL.
    const GRACE: Duration = Duration::from_secs(2);
    /// Time for the killed to be gone, and rounds of looking for more of them.
    const PATIENCE: Duration = Duration::from_secs(2);
    const ROUNDS_MAX: usize = 20;
    /// How often newer numbers are looked at in one round.
    const SCANS_MAX: usize = 1000;

    /// Ends every process that nodes of this store other than `node` left behind: SIGTERM, a moment
    /// of grace, SIGKILL to whole groups. Returns when they are gone, with what was found. Blocks
    /// for some seconds at most; to be called before lost attempts are tried again.
    pub fn end_leftovers(store_id: &str, node: NodeId) -> Vec<Leftover> {
        let node = node.to_string();
        let spared = own_line();
        let mut ended = BTreeSet::new();
        for round in 0..ROUNDS_MAX {
            let (signal, patience) =
                if round == 0 { (Signal::TERM, GRACE) } else { (Signal::KILL, PATIENCE) };
            let found = find(store_id, &node, &spared, signal);
            if found.is_empty() {
                break;
            }
            wait_until_gone(&found, patience);
            ended.extend(found.into_iter().map(|held| held.leftover));
        }
        ended.into_iter().collect()
    }

    /// A leftover, held so that its number can't become anybody else's unnoticed.
    struct Held {
        fd: OwnedFd,
        row: Row,
        leftover: Leftover,
    }

    impl Held {
        fn signal(&self, signal: Signal, spared: &Spared) {
            let sent = pidfd_send_signal(&self.fd, signal);
            // A group is killed whole, so that nobody in it can start another meanwhile. The
            // process was just alive, so the group's number is still its own.
            if sent.is_ok()
                && signal == Signal::KILL
                && !spared.groups.contains(&self.row.group)
                && let Some(group) = Pid::from_raw(self.row.group)
            {
                let _ = kill_process_group(group, signal);
            }
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

    /// Sends `signal` to every leftover, and gives them. When none is given, there was none: whoever
    /// ends while the table is read was found, or has a successor with a newer number, and the
    /// newer numbers are looked at until there are none.
    fn find(store_id: &str, node: &str, spared: &Spared, signal: Signal) -> Vec<Held> {
        let mut found = Vec::new();
        let mut seen = table::last_pid().unwrap_or_default();
        let mut pids = table::pids();
        for _ in 0..SCANS_MAX {
            for pid in pids {
                if !spared.pids.contains(&pid)
                    && let Some(held) = hold(pid, store_id, node)
                {
                    held.signal(signal, spared);
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

    fn hold(pid: i32, store_id: &str, node: &str) -> Option<Held> {
        let environment = table::environment(pid);
        let is_left = |environment: &[u8]| {
            table::variable(environment, "MOA_STORE_ID") == Some(store_id)
                && table::variable(environment, "MOA_NODE").is_some_and(|other| other != node)
        };
        if !is_left(&environment) {
            return None;
        }
        let row = table::row(pid).filter(|row| !row.zombie)?;
        let fd = pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
        // What the descriptor holds is what was looked at, if it still looks the same.
        let again = table::row(pid)?;
        if again.start != row.start || !is_left(&table::environment(pid)) {
            return None;
        }
        let text = |name: &str| table::variable(&environment, name).unwrap_or_default().to_owned();
        let leftover = Leftover {
            pid,
            start_time: row.start,
            run: text("MOA_RUN_ID"),
            step: text("MOA_STEP"),
            attempt: text("MOA_ATTEMPT").parse().unwrap_or(0),
        };
        Some(Held { fd, row, leftover })
    }

    fn wait_until_gone(found: &[Held], patience: Duration) {
        let end = Instant::now() + patience;
        for held in found {
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
