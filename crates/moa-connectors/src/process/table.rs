//! The system's table of processes, as far as moa looks into it (Linux: `/proc`).

use std::fs::{self, File};
use std::io::Read as _;

/// One process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Row {
    pub pid: i32,
    pub zombie: bool,
    /// It is ending: its environment can't be read any more, its children are still its own.
    pub ending: bool,
    pub parent: i32,
    pub group: i32,
    pub session: i32,
    /// When it started, in ticks since the machine did. With the pid, its identity.
    pub start: u64,
}

/// The process with that number, if there is one.
pub(super) fn row(pid: i32) -> Option<Row> {
    // The name is at most 64 bytes, and of what follows only the first twenty numbers are wanted.
    let mut buffer = [0; 768];
    let mut file = File::open(format!("/proc/{pid}/stat")).ok()?;
    let n = file.read(&mut buffer).ok()?;
    parse(pid, &buffer[..n])
}

/// Among the flags: the process is ending (`PF_EXITING` of the kernel).
const EXITING: u32 = 4;

/// Reads `pid (name) state ppid pgrp session ...`; the name may hold anything, `)` too.
fn parse(pid: i32, line: &[u8]) -> Option<Row> {
    let name_end = line.iter().rposition(|b| *b == b')')?;
    let rest = std::str::from_utf8(line.get(name_end + 2..)?).ok()?;
    let mut fields = rest.split(' ');
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    let group = fields.next()?.parse().ok()?;
    let session = fields.next()?.parse().ok()?;
    // The flags are field 9 of the line, `starttime` is field 22; the session was field 6.
    let flags: u32 = fields.nth(2)?.parse().ok()?;
    let start = fields.nth(12)?.parse().ok()?;
    let (zombie, ending) = (matches!(state, "Z" | "X"), flags & EXITING != 0);
    Some(Row { pid, zombie, ending, parent, group, session, start })
}

/// The variables that a process was started with. Empty for zombies and processes of others.
pub(super) fn environment(pid: i32) -> Vec<u8> {
    fs::read(format!("/proc/{pid}/environ")).unwrap_or_default()
}

/// The value of a variable.
pub(super) fn variable<'a>(environment: &'a [u8], name: &str) -> Option<&'a str> {
    let value = environment
        .split(|b| *b == 0)
        .find_map(|entry| entry.strip_prefix(name.as_bytes())?.strip_prefix(b"="));
    std::str::from_utf8(value?).ok()
}

/// The number of every process.
pub(super) fn pids() -> Vec<i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// The number that was given to a process or thread last.
pub(super) fn last_pid() -> Option<i32> {
    let mut buffer = [0; 128];
    let n = File::open("/proc/loadavg").ok()?.read(&mut buffer).ok()?;
    let text = std::str::from_utf8(&buffer[..n]).ok()?;
    text.trim_end().rsplit(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_whatever_the_name() {
        let line = b"42 (a) b (c)) S 7 40 39 0 -1 4194308 1 2 3 4 5 6 7 8 20 0 1 0 987654 1 2";
        let expected = Row {
            pid: 42,
            zombie: false,
            ending: true,
            parent: 7,
            group: 40,
            session: 39,
            start: 987_654,
        };
        assert_eq!(parse(42, line), Some(expected));
        assert_eq!(parse(42, b"42 (a"), None);
    }

    #[test]
    fn this_process_is_found() {
        let own = i32::try_from(std::process::id()).expect("a pid");
        let row = row(own).expect("a row");
        assert!(!row.zombie && row.start > 0);
        assert!(pids().contains(&own));
        assert!(last_pid().is_some_and(|last| last > 0));
        let path = std::env::var("PATH").expect("a path");
        assert_eq!(variable(&environment(own), "PATH"), Some(path.as_str()));
    }
}
