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
        let cpu = stat.and_then(|all| Some((all.get(10)? + all.get(11)?) / ticks));
        let files = fs::read_dir("/proc/self/fd").ok().map(|files| files.count() as f64);
        Self { resident: bytes(1), virtual_bytes: bytes(0), cpu_seconds: cpu, files }
    }

    pub(super) fn encode(&self, out: &mut Out<'_>) -> Result<(), Error> {
        if let Some(seconds) = self.cpu_seconds {
            out.counter("process_cpu_seconds", "Work of all processors", seconds)?;
        }
        let gauges = [
            ("process_resident_memory_bytes", "Memory", self.resident),
            ("process_virtual_memory_bytes", "Address space", self.virtual_bytes),
            ("process_open_fds", "Open files", self.files),
        ];
        for (name, about, value) in gauges {
            if let Some(value) = value {
                out.gauge(name, about, value)?;
            }
        }
        Ok(())
    }
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
        assert!(process.files > Some(2.0));
        // It has worked for less than it has been there, and for some of it.
        let seconds = process.cpu_seconds.expect("it is told");
        assert!((0.0..3600.0).contains(&seconds), "{seconds}");
    }
}
