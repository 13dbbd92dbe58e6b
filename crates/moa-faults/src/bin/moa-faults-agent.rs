//! The agent of the fault tests: writes down, durably, that it begins and that it ends.
//!
//! `moa-faults-agent LEDGER MODE [NUMBER]`: `ok` succeeds, `flaky` fails its first attempt, `slow`
//! takes so many milliseconds, `large` gives back a text of so many bytes. Each line is appended in one write and made durable before the next
//! thing happens, so that the ledger says what was done whatever becomes of moa.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use serde_json::json;

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(e) => {
            eprintln!("moa-faults-agent: {e}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> io::Result<ExitCode> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let wrong = || io::Error::other("usage: moa-faults-agent LEDGER MODE [NUMBER]");
    let (path, mode) = (args.first().ok_or_else(wrong)?, args.get(1).ok_or_else(wrong)?);
    let number = args.get(2).map_or(Ok(0), |n| n.parse()).map_err(io::Error::other)?;
    let mut ledger = OpenOptions::new().append(true).create(true).open(path)?;
    let attempt: u32 = variable("MOA_ATTEMPT")?.parse().map_err(io::Error::other)?;
    write(&mut ledger, "begin", attempt)?;
    if mode == "slow" {
        std::thread::sleep(Duration::from_millis(number));
    }
    write(&mut ledger, "end", attempt)?;
    if mode == "flaky" && attempt == 1 {
        eprintln!("the first attempt fails");
        return Ok(ExitCode::FAILURE);
    }
    let text = if mode == "large" { "x".repeat(number as usize) } else { String::new() };
    println!("{}", json!({ "attempt": attempt, "text": text }));
    Ok(ExitCode::SUCCESS)
}

fn write(ledger: &mut File, mark: &str, attempt: u32) -> io::Result<()> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_err(io::Error::other)?;
    let line = json!({
        "mark": mark,
        "run": variable("MOA_RUN_ID")?,
        "step": variable("MOA_STEP")?,
        "attempt": attempt,
        "key": variable("MOA_IDEMPOTENCY_KEY")?,
        "pid": std::process::id(),
        "t": now.as_secs_f64(),
    });
    ledger.write_all(format!("{line}\n").as_bytes())?;
    ledger.sync_data()
}

fn variable(name: &str) -> io::Result<String> {
    std::env::var(name).map_err(|e| io::Error::other(format!("{name}: {e}")))
}
