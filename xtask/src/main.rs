//! The chores of this repository, one word each: `cargo xtask tidy | test | ci | bench | faults | smoke`.
//!
//! Why Rust and not scripts: a chore is read, tested and linted like everything else. Why without
//! any dependency: it is the first thing that is built on a fresh machine. Absent: anything that
//! the product needs at run time. Start reading at [`main`]; `tidy` is what checks the code base.

mod bench;
mod ci;
mod command;
mod faults;
mod needs;
mod smoke;
mod test;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

const HELP: &str = "\
The chores of this repository.

Usage: cargo xtask CHORE

  tidy              check the rules that the compiler doesn't know (sizes, edges, words, leftovers)
  test [--quick]    install what tests need (as root, with apt-get), then pass all tests
                    --quick leaves out the tests that kill the real binary
                    what follows `--` goes to the test runner
  ci                format, lints, docs, tidy, test: what a change must pass
  bench [OPTIONS]   the numbers: durable steps a second, latency, memory, disk
                    --only B1,B3   these only
                    --json         one JSON object instead of a Markdown table
                    --quick        smaller sizes
                    --dir DIR      put the stores there (default: target/bench)
  smoke [--minutes N]
                    the templates that do real work, for N minutes (3) with the real binary
  faults [--all]    the tests that kill the real binary; --all: every crash point, not a sample
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let root = root();
    let Some((chore, rest)) = args.split_first() else {
        print!("{HELP}");
        return ExitCode::from(2);
    };
    let done = match chore.as_str() {
        "tidy" => tidy::run(&root),
        "test" => test::run(&root, rest),
        "ci" => ci::run(&root),
        "bench" => bench::run(&root, rest),
        "faults" => faults::run(&root, rest),
        "smoke" => smoke::run(&root, rest),
        "help" | "--help" | "-h" => {
            print!("{HELP}");
            Ok(())
        }
        other => {
            eprint!("there is no chore {other:?}\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("\nxtask {chore}: {why}");
            ExitCode::FAILURE
        }
    }
}

/// The root of the repository: the folder above this package.
fn root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}
