//! What the command line asks for.

use std::path::PathBuf;

use crate::BENCHES;

/// The options, as errors name them.
const NAMES: &str = "--only IDS, --json, --quick, --dir DIR, --help";

const HELP: &str = "\
The numbers of moa: durable steps a second, latency, memory, disk

Usage: cargo xtask bench [OPTIONS], or moa-bench [OPTIONS]

Options:
  --only IDS  Only these benches, with commas between them [default: all]
  --json      One JSON object instead of a Markdown table
  --quick     Smaller sizes and fewer rounds: it works, but the figures say little
  --dir DIR   Where stores are made; a real disk, not a memory one [default: target/bench]
  --help, -h  This text

Examples:
  cargo xtask bench
  cargo xtask bench --only B1,B3 --json
  moa-bench --quick --dir /mnt/disk/bench

Exit codes: 0 measured, 1 a bench failed, 2 the options are wrong
";

/// What the command line asks for.
pub enum Asked {
    /// To be told what can be asked for.
    Help,
    /// To measure.
    Measure(Options),
}

/// How to measure.
#[derive(Debug)]
pub struct Options {
    /// These benches only; empty = all.
    only: Vec<String>,
    /// One JSON object instead of a table.
    pub json: bool,
    /// Smaller sizes, fewer rounds.
    pub quick: bool,
    /// Where stores are made.
    pub dir: PathBuf,
}

impl Options {
    /// Reads the arguments.
    ///
    /// # Errors
    /// One line about what is wrong with them.
    pub fn read(mut args: impl Iterator<Item = String>) -> Result<Asked, String> {
        let dir = PathBuf::from("target/bench");
        let mut options = Self { only: Vec::new(), json: false, quick: false, dir };
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
            match arg.as_str() {
                "--only" => {
                    let ids = value()?;
                    options.only.extend(ids.split(',').map(|id| id.trim().to_uppercase()));
                }
                "--json" => options.json = true,
                "--quick" => options.quick = true,
                "--dir" => options.dir = value()?.into(),
                "--help" | "-h" => return Ok(Asked::Help),
                _ => return Err(format!("unknown option {arg:?}; there are {NAMES}")),
            }
        }
        if let Some(id) = options.only.iter().find(|id| BENCHES.iter().all(|b| b.0 != *id)) {
            let all: Vec<&str> = BENCHES.iter().map(|bench| bench.0).collect();
            return Err(format!("there is no bench {id:?}; there are {}", all.join(", ")));
        }
        Ok(Asked::Measure(options))
    }

    /// Whether this bench is asked for.
    pub fn wants(&self, id: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|o| o == id)
    }

    /// One of two sizes.
    pub fn size<T>(&self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }
}

/// What can be asked for: the options, and the benches.
pub fn help() -> String {
    let benches = BENCHES.iter().map(|(id, what, _)| format!("  {id:<4} {what}\n"));
    format!("{HELP}\nBenches:\n{}", benches.collect::<String>())
}
