//! The process as the system sees it: the numbers that every exporter has. Read from `/proc`; where
//! there is none, they are left out.

use std::fmt::Error;
use std::fs;

use super::Out;

/// A process in numbers; `None` = this system doesn't tell.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Process {
    /// Bytes in memory.
    pub resident: Option<f64>,
    /// Bytes of address space.
    pub virtual_bytes: Option<f64>,
    /// Seconds of work of all processors.
    pub cpu_seconds: Option<f64>,
    /// Open files.
    pub files: Option<f64>,
    /// Open files at most.
    pub files_max: Option<f64>,
    /// When it started, in seconds since 1970.
    pub started: Option<f64>,
    /// Threads.
    pub threads: Option<f64>,
}

impl Process {
    /// This process.
    pub fn read() -> Self {
        let text = |name: &str| fs::read_to_string(format!("/proc/self/{name}")).ok();
        let pages = text("statm").map(|text| numbers(&text)).unwrap_or_default();
        let page = rustix::param::page_size() as f64;
        let bytes = |at: usize| pages.get(at).map(|pages| pages * page);
        // Fields are counted from behind the name, which may hold anything.
        let stat = text("stat").and_then(|t| Some(numbers(t.rsplit_once(')')?.1.get(2..)?)));
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        let cpu = stat.as_ref().and_then(|all| Some((all.get(10)? + all.get(11)?) / ticks));
        let threads = stat.as_ref().and_then(|all| all.get(16).copied());
        let files = fs::read_dir("/proc/self/fd").ok().map(|files| files.count() as f64);
        // Since the machine was started, which another file tells.
        let since = stat.and_then(|all| Some(all.get(18)? / ticks));
        let machine = fs::read_to_string("/proc/stat").ok();
        let machine = machine.and_then(|text| after(&text, "btime "));
        let limits = text("limits").and_then(|text| after(&text, "Max open files"));
        Self {
            resident: bytes(1),
            virtual_bytes: bytes(0),
            cpu_seconds: cpu,
            files,
            files_max: limits,
            started: machine.zip(since).map(|(machine, since)| machine + since),
            threads,
        }
    }

    pub(super) fn encode(&self, out: &mut Out<'_>) -> Result<(), Error> {
        if let Some(seconds) = self.cpu_seconds {
            out.counter("process_cpu_seconds", "Work of all processors", seconds)?;
        }
        let gauges = [
            ("process_resident_memory_bytes", "Memory", self.resident),
            ("process_virtual_memory_bytes", "Address space", self.virtual_bytes),
            ("process_open_fds", "Open files", self.files),
            ("process_max_fds", "Open files at most", self.files_max),
            ("process_start_time_seconds", "When it started, since 1970", self.started),
            ("process_threads", "Threads", self.threads),
        ];
        for (name, about, value) in gauges {
            if let Some(value) = value {
                out.gauge(name, about, value)?;
            }
        }
        Ok(())
    }
}

/// The first number behind a word that begins a line; none when it is no number.
fn after(text: &str, word: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(word))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// The fields of a line; what is no number counts as 0.
fn numbers(text: &str) -> Vec<f64> {
    text.split_ascii_whitespace().map(|field| field.parse().unwrap_or(0.0)).collect()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_process_knows_itself() {
        let process = Process::read();
        assert!(process.resident > Some(1e5), "{process:?}");
        assert!(process.virtual_bytes > process.resident);
        assert!(process.files > Some(2.0) && process.files_max > process.files, "{process:?}");
        assert!(process.threads >= Some(1.0), "{process:?}");
        // By the same clock, but for what the start of the machine is rounded to.
        let now = moa_view::now().0 as f64 / 1000.0;
        let started = process.started.expect("it is told");
        assert!(started > 1e9 && started <= now + 2.0, "{started} of {now}");
        // It has worked for less than it has been there, and for some of it.
        let seconds = process.cpu_seconds.expect("it is told");
        assert!((0.0..3600.0).contains(&seconds), "{seconds}");
    }
}
