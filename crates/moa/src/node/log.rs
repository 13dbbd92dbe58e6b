//! The node's own log: `.moa/log/moa.log`, kept short by moving it aside when it has grown.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};

use crate::exit::{Failure, Result};

/// Bytes after which the log is moved aside.
const FILE_BYTES_MAX: u64 = 10 << 20;
/// Logs moved aside that are kept.
const FILES_KEPT: usize = 4;

/// How the log is written.
#[derive(Debug, Clone)]
pub struct Options {
    /// `error`, `warn`, `info`, `debug`, `trace`, or a filter of tracing.
    pub level: String,
    /// Whether lines are JSON.
    pub json: bool,
    /// Whether stderr gets it too, and in colour.
    pub stderr: Option<bool>,
}

/// Starts logging. Once for each process; a second call changes nothing.
pub fn start(folder: &Path, options: &Options) -> Result<()> {
    let filter = EnvFilter::try_new(&options.level).map_err(|e| {
        Failure::usage(format!("the log level {:?} isn't understood: {e}", options.level))
            .hint("use error, warn, info, debug or trace")
    })?;
    let file = RotatingFile::open(folder).map_err(|e| super::lock::unusable(folder, &e))?;
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
    Ok(())
}

/// A file that is moved aside when it has grown.
struct RotatingFile {
    folder: PathBuf,
    file: File,
    bytes: u64,
}

impl RotatingFile {
    fn open(folder: &Path) -> io::Result<Self> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let file = open(folder)?;
        let bytes = file.metadata()?.len();
        Ok(Self { folder: folder.into(), file, bytes })
    }

    fn rotate(&mut self) -> io::Result<()> {
        let name = |n: usize| match n {
            0 => self.folder.join("moa.log"),
            n => self.folder.join(format!("moa.{n}.log")),
        };
        for n in (0..FILES_KEPT).rev() {
            match std::fs::rename(name(n), name(n + 1)) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
        self.file = open(&self.folder)?;
        self.bytes = 0;
        Ok(())
    }
}

fn open(folder: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(folder.join("moa.log"))
}

impl Write for RotatingFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes + bytes.len() as u64 > FILE_BYTES_MAX && self.bytes > 0 {
            self.rotate()?;
        }
        let written = self.file.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_moved_aside_and_old_ones_go() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mut log = RotatingFile::open(dir.path()).expect("open");
        for i in 0..(FILES_KEPT + 3) {
            log.write_all(format!("{i}\n").as_bytes()).expect("write");
            log.bytes = FILE_BYTES_MAX;
        }
        let mut names: Vec<_> = std::fs::read_dir(dir.path())
            .expect("read")
            .map(|e| e.expect("entry").file_name().into_string().expect("UTF-8"))
            .collect();
        names.sort();
        assert_eq!(names.len(), FILES_KEPT + 1, "{names:?}");
        let newest = std::fs::read_to_string(dir.path().join("moa.log")).expect("read");
        assert_eq!(newest, format!("{}\n", FILES_KEPT + 2));
    }
}
