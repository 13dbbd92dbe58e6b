//! What this machine can do at this moment, and what a process uses of it.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// How long the disk is asked.
const DISK_TIME: Duration = Duration::from_millis(300);
/// How long the kernel is asked for processes.
const SPAWN_TIME: Duration = Duration::from_millis(700);

/// Appends of 4 KiB, each made durable, that the disk under `dir` does in a second.
pub fn fdatasyncs_per_second(dir: &Path) -> Result<f64> {
    let path = dir.join("fdatasync.probe");
    let mut file = File::create(&path).context("the probe file")?;
    let (start, mut count) = (Instant::now(), 0u32);
    while start.elapsed() < DISK_TIME {
        file.write_all(&[7; 4096])?;
        file.sync_data()?;
        count += 1;
    }
    let rate = f64::from(count) / start.elapsed().as_secs_f64();
    fs::remove_file(path)?;
    Ok(rate)
}

/// Processes of /bin/true that so many threads start and await in a second.
pub fn spawns_per_second(threads: u32) -> Result<f64> {
    let start = Instant::now();
    let one = || -> Result<u32> {
        let mut count = 0;
        while start.elapsed() < SPAWN_TIME {
            Command::new("/bin/true").status().context("/bin/true")?;
            count += 1;
        }
        Ok(count)
    };
    let total = std::thread::scope(|scope| -> Result<u32> {
        let all: Vec<_> = (0..threads).map(|_| scope.spawn(one)).collect();
        let counts = all.into_iter().map(|t| t.join().expect("the thread only counts"));
        counts.sum()
    })?;
    Ok(f64::from(total) / start.elapsed().as_secs_f64())
}

/// Resident memory of a process in bytes.
pub fn resident_bytes(pid: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib * 1024.0)
}

/// Processor time that a process has used.
pub fn cpu_time(pid: u32) -> Result<Duration> {
    // Time in nanoseconds on the processor, for each of its threads.
    let mut total = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = fs::read_to_string(task?.path().join("schedstat"))?;
        let nanos: u64 = text.split_whitespace().next().context("empty schedstat")?.parse()?;
        total += nanos;
    }
    Ok(Duration::from_nanos(total))
}

/// Bytes of all files in a folder.
pub fn folder_bytes(dir: &Path) -> Result<f64> {
    let mut bytes = 0;
    for entry in fs::read_dir(dir)? {
        bytes += entry?.metadata()?.len();
    }
    Ok(bytes as f64)
}
