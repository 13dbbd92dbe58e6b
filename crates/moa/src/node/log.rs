//! The node's own log: a file that is moved aside each day and when it has grown, and standard error.

use std::io;
use std::path::Path;
use std::sync::Mutex;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};

use super::rotate::{Limits, RotatingFile};
use crate::exit::{Failure, Result};

/// How the log is written.
#[derive(Debug, Clone)]
pub struct Options {
    /// `error`, `warn`, `info`, `debug`, `trace`, or a filter of tracing.
    pub level: String,
    /// Whether lines are JSON.
    pub json: bool,
    /// Whether stderr gets it too, and in colour.
    pub stderr: Option<bool>,
    /// How much is kept.
    pub limits: Limits,
}

/// Starts logging to a file. Once for each process; a second call changes nothing. Answers what is
/// wrong with the file, if it can't be written: that keeps nobody from working.
pub fn start(path: &Path, options: &Options) -> Result<Option<String>> {
    let filter = EnvFilter::try_new(&options.level).map_err(|e| {
        Failure::usage(format!("the log level {:?} isn't understood: {e}", options.level))
            .hint("use error, warn, info, debug or trace")
    })?;
    let mut file = RotatingFile::new(path, options.limits);
    let wrong = file.try_open().err();
    let wrong = wrong.map(|e| format!("the log {} can't be written: {e}", path.display()));
    let file = fmt::layer().with_writer(Mutex::new(file)).with_ansi(false);
    // Its complaints would go to stderr by a macro that panics once stderr is closed.
    let file = file.log_internal_errors(false);
    let file = match options.json {
        true => file.json().flatten_event(true).boxed(),
        false => file.with_target(false).boxed(),
    };
    let stderr = options.stderr.map(|color| {
        fmt::layer()
            .with_writer(io::stderr)
            .with_ansi(color)
            .with_target(false)
            .log_internal_errors(false)
            .compact()
    });
    // The error says that logging has started already.
    let _ = tracing_subscriber::registry().with(file).with(stderr).with(filter).try_init();
    Ok(wrong)
}
