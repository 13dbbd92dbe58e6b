//! What the command line asks for.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

/// What the command line asks for.
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
    /// Parses the arguments; makes the folder.
    pub fn parse(mut args: impl Iterator<Item = String>) -> Result<Self> {
        let dir = PathBuf::from("target/bench");
        let mut options = Self { only: Vec::new(), json: false, quick: false, dir };
        while let Some(arg) = args.next() {
            let mut value = || args.next().with_context(|| format!("{arg} needs a value"));
            match arg.as_str() {
                "--only" => {
                    let ids = value()?;
                    options.only.extend(ids.split(',').map(|id| id.trim().to_uppercase()));
                }
                "--json" => options.json = true,
                "--quick" => options.quick = true,
                "--dir" => options.dir = value()?.into(),
                _ => bail!("unknown option {arg:?}; there are --only, --json, --quick, --dir"),
            }
        }
        if let Some(id) = options.only.iter().find(|id| crate::BENCHES.iter().all(|b| b.0 != *id)) {
            bail!("there is no bench {id:?}; there are B1 to B16");
        }
        std::fs::create_dir_all(&options.dir).context("the bench folder")?;
        Ok(options)
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
