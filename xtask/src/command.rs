//! Running other programs: what is run is shown, how long it took is shown, and a failure says what
//! failed. Absent: capturing and parsing of output beyond one line.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A command of `cargo` at the root of the repository.
pub fn cargo(root: &Path, args: &[&str]) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.current_dir(root).args(args);
    // This process was itself started by cargo; what cargo told it must not reach other packages.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text == "CARGO_MANIFEST_DIR" {
            command.env_remove(&name);
        }
    }
    command
}

/// Runs a command with its output shown; the error says what failed and how.
pub fn run(mut command: Command) -> Result<(), String> {
    let shown = show(&command);
    eprintln!("$ {shown}");
    let status = command.status().map_err(|e| format!("can't start {shown}: {e}"))?;
    if status.success() { Ok(()) } else { Err(format!("{shown}: {status}")) }
}

/// The standard output of a command that succeeded.
pub fn output(root: &Path, program: &str, args: &[&str]) -> Option<String> {
    let done = Command::new(program)
        .args(args)
        .current_dir(root)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    done.status.success().then(|| String::from_utf8_lossy(&done.stdout).into_owned())
}

/// Whether a program of that name is in `PATH` (or where administrators' programs are).
pub fn exists(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let beside = ["/usr/sbin", "/sbin"].map(std::path::PathBuf::from);
    std::env::split_paths(&path).chain(beside).any(|dir| dir.join(program).is_file())
}

/// Runs a named part of a chore and prints how long it took, whatever came of it.
pub fn timed<T>(
    name: &str,
    part: impl FnOnce() -> Result<T, String>,
) -> (Result<T, String>, Duration) {
    eprintln!("\n== {name}");
    let start = Instant::now();
    let done = part();
    let took = start.elapsed();
    let how = if done.is_ok() { "ok" } else { "FAILED" };
    eprintln!("== {name}: {how} after {}", seconds(took));
    (done, took)
}

/// A length of time for people: `7.3 s`, `2 min 05 s`.
pub fn seconds(time: Duration) -> String {
    let all = time.as_secs_f64();
    if all < 60.0 {
        format!("{all:.1} s")
    } else {
        format!("{} min {:02} s", time.as_secs() / 60, time.as_secs() % 60)
    }
}

fn show(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let name = program.file_name().unwrap_or(command.get_program()).to_string_lossy();
    let args = command.get_args().map(|a| a.to_string_lossy());
    std::iter::once(name).chain(args).collect::<Vec<_>>().join(" ")
}
