//! Processes that an attempt left behind in sessions of their own (daemons).
//!
//! moa makes itself the parent of orphans (Linux: child subreaper). So when a program has ended, all
//! that it left are children of moa, or descendants of such. Which of moa's children belong to the
//! attempt is told by their group or by the `MOA_*` variables in their environment. To find them,
//! only the process numbers given out since the program started are looked at, which costs some
//! microseconds for an attempt that was short; for a long one the whole table is read once.
//!
//! A process that clears its environment and leaves its group and session is not found: whoever
//! really wants a process to outlive its step can do that. It is reaped when it ends.

use rustix::process::Pid;

/// Makes this process the parent of what its children leave behind.
pub(super) fn adopt_orphans() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::set_child_subreaper(Some(rustix::process::getpid())) {
        tracing::warn!(%error, "daemons that agents leave behind can't be found");
    }
}

/// What an attempt may leave behind.
#[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "they are only found on Linux"))]
pub(super) struct Stragglers {
    leader: i32,
    identity: [(&'static str, String); 6],
}

impl Stragglers {
    /// Those of the program `leader` whose environment holds `identity`.
    pub fn of(leader: Pid, identity: [(&'static str, String); 6]) -> Self {
        Self { leader: leader.as_raw_nonzero().get(), identity }
    }

    /// Kills and reaps them; to be called when the program is reaped.
    #[cfg(not(target_os = "linux"))]
    pub async fn end(self) {}
}

#[cfg(target_os = "linux")]
mod linux {
    use std::sync::{Mutex, PoisonError};
    use std::time::Duration;

    use rustix::process::{
        Pid, Signal, WaitOptions, getpgrp, getpid, kill_process, kill_process_group, waitpid,
    };
    use tokio::time::{Instant, sleep};

    use super::Stragglers;
    use crate::process::launch::LEADERS;
    use crate::process::table::{self, Row};

    /// So many numbers are looked at one by one; when there are more, the table is read.
    const NUMBERS_MAX: i32 = 512;
    /// How long to wait for killed processes to be gone.
    const PATIENCE: Duration = Duration::from_secs(2);

    /// Adopted processes that belong to no attempt as far as one can tell; reaped when they end.
    static ESCAPED: Mutex<Vec<i32>> = Mutex::new(Vec::new());

    impl Stragglers {
        /// Kills and reaps them; to be called when the program is reaped.
        pub async fn end(self) {
            let end = Instant::now() + PATIENCE;
            let mut pause = Duration::from_millis(1);
            reap_escaped();
            while self.kill(adopted_since(self.leader).await) {
                if Instant::now() >= end {
                    tracing::warn!(pid = self.leader, "processes of an attempt can't be killed");
                    return;
                }
                sleep(pause).await;
                pause = (pause * 2).min(Duration::from_millis(50));
            }
        }

        /// Kills those of `adopted` that are this attempt's, and reaps the dead. Says whether there
        /// may be more.
        fn kill(&self, adopted: Vec<Row>) -> bool {
            let mut more = false;
            for row in adopted {
                // The children of one that ends become this process's.
                more |= match self.judge(row) {
                    Whose::Dead => {
                        reap(row);
                        true
                    }
                    Whose::Ending => true,
                    Whose::Own => {
                        kill(row);
                        true
                    }
                    Whose::Other => false,
                };
            }
            more
        }

        fn judge(&self, row: Row) -> Whose {
            if row.zombie {
                return Whose::Dead;
            }
            if row.group == self.leader {
                return Whose::Own;
            }
            let environment = table::environment(row.pid);
            let is = |(name, value): &(&str, String)| {
                table::variable(&environment, name) == Some(value.as_str())
            };
            if self.identity.iter().all(is) {
                return Whose::Own;
            }
            if table::variable(&environment, "MOA_STORE_ID").is_some() {
                return Whose::Other;
            }
            // One that ends has no environment either. Whether it does is asked after that was read.
            if table::row(row.pid).is_none_or(|row| row.ending || row.zombie) {
                return Whose::Ending;
            }
            let mut escaped = ESCAPED.lock().unwrap_or_else(PoisonError::into_inner);
            if !escaped.contains(&row.pid) {
                escaped.push(row.pid);
            }
            Whose::Other
        }
    }

    /// Whose an adopted process is.
    enum Whose {
        /// It has ended.
        Dead,
        /// It is about to have ended.
        Ending,
        /// It belongs to the attempt.
        Own,
        /// It belongs to another attempt, or to none.
        Other,
    }

    fn kill(row: Row) {
        // It is a child of this process and not reaped, so the number is still its own.
        let Some(pid) = Pid::from_raw(row.pid) else { return };
        let _ = kill_process(pid, Signal::KILL);
        if !LEADERS.contains(row.group)
            && let Some(group) = Pid::from_raw(row.group)
        {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }

    fn reap(row: Row) {
        // Nobody starts a program meanwhile, so what isn't known now was adopted.
        let _gate = LEADERS.starting.write().unwrap_or_else(PoisonError::into_inner);
        if !LEADERS.contains(row.pid)
            && let Some(pid) = Pid::from_raw(row.pid)
        {
            let _ = waitpid(Some(pid), WaitOptions::NOHANG);
        }
    }

    fn reap_escaped() {
        let mut escaped = ESCAPED.lock().unwrap_or_else(PoisonError::into_inner);
        // A program that was just being started when it was seen looked like one of these.
        escaped.retain(|pid| !LEADERS.contains(*pid));
        if escaped.is_empty() {
            return;
        }
        // While one is being started is a bad time; the next attempt does it.
        let Ok(_gate) = LEADERS.starting.try_write() else { return };
        escaped.retain(|&pid| {
            let lives = |pid| matches!(waitpid(Some(pid), WaitOptions::NOHANG), Ok(None));
            !LEADERS.contains(pid) && Pid::from_raw(pid).is_some_and(lives)
        });
    }

    /// Children that this process did not start, of those that came into being after `first`.
    async fn adopted_since(first: i32) -> Vec<Row> {
        match table::last_pid() {
            Some(last) if (0..=NUMBERS_MAX).contains(&(last - first)) => adopted(first + 1..=last),
            _ => tokio::task::spawn_blocking(|| adopted(table::pids())).await.unwrap_or_default(),
        }
    }

    fn adopted(pids: impl IntoIterator<Item = i32>) -> Vec<Row> {
        let (own, own_group) = (getpid(), getpgrp());
        let rows = pids.into_iter().filter(|pid| !LEADERS.contains(*pid)).filter_map(table::row);
        // Programs started by other parts of this process are in its own group.
        rows.filter(|row| {
            row.parent == own.as_raw_nonzero().get()
                && row.group != own_group.as_raw_nonzero().get()
        })
        .collect()
    }
}
