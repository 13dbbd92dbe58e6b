//! What a program says: read as it comes, written to the attempt's log, and kept as far as it may be
//! the result.

use std::future::pending;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use moa_core::limits::OUTPUT_BYTES_MAX;
use moa_ports::agent::{AttemptLog, Stream};
use tokio::net::unix::pipe::Receiver;
use tokio::time::{Instant, sleep_until};

use super::result::is_json_so_far;

/// Bytes read at once.
const PIECE: usize = 16 << 10;
/// Pieces read before others get their turn.
const PIECES_MAX: usize = 16;
/// A program that says more than its log can hold is slowed down to this many bytes...
const FLOOD_BYTES: u64 = 1 << 20;
/// ...in this time, so that it doesn't use up the machine.
const FLOOD_PAUSE: Duration = Duration::from_millis(20);
/// Bytes kept of the end of each stream, for error messages.
const LAST_WORDS: usize = 1024;
/// Bytes of standard output in which a NUL makes it binary.
const BINARY_WITHIN: usize = 64 << 10;

/// The two pipes of a program.
pub(super) struct Pipes {
    out: Option<Receiver>,
    err: Option<Receiver>,
    pause: Option<Instant>,
    pub heard: Heard,
}

impl Pipes {
    /// Pipes whose content goes to `log`, which keeps `log_bytes_max`.
    ///
    /// # Errors
    /// They can't be watched.
    pub fn new(
        (out, err): (Option<OwnedFd>, Option<OwnedFd>),
        log: Arc<dyn AttemptLog>,
        log_bytes_max: u64,
    ) -> io::Result<Self> {
        Ok(Self {
            out: out.map(Receiver::from_owned_fd).transpose()?,
            err: err.map(Receiver::from_owned_fd).transpose()?,
            pause: None,
            heard: Heard::new(log, log_bytes_max),
        })
    }

    /// Whether nobody can write to them any more.
    pub fn closed(&self) -> bool {
        self.out.is_none() && self.err.is_none()
    }

    /// Waits until there is something to read, and reads it. Never returns when both are closed.
    pub async fn turn(&mut self) {
        if let Some(until) = self.pause {
            sleep_until(until).await;
            self.pause = None;
        }
        let stream = tokio::select! {
            () = readable(self.out.as_ref()) => Stream::Stdout,
            () = readable(self.err.as_ref()) => Stream::Stderr,
        };
        self.read(stream);
    }

    /// Reads until both are closed.
    pub async fn rest(&mut self) {
        while !self.closed() {
            self.turn().await;
        }
    }

    /// Reads what is there now.
    pub fn read_now(&mut self) {
        self.read(Stream::Stdout);
        self.read(Stream::Stderr);
    }

    fn read(&mut self, stream: Stream) {
        let pipe = match stream {
            Stream::Stdout => &mut self.out,
            Stream::Stderr => &mut self.err,
        };
        let mut piece = [0; PIECE];
        for _ in 0..PIECES_MAX {
            let Some(open) = pipe.as_ref() else { return };
            match open.try_read(&mut piece) {
                Ok(0) => *pipe = None,
                Ok(n) => {
                    if self.heard.take(stream, &piece[..n]) {
                        self.pause = Some(Instant::now() + FLOOD_PAUSE);
                        return;
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => *pipe = None,
            }
        }
    }
}

async fn readable(pipe: Option<&Receiver>) {
    match pipe {
        Some(pipe) => {
            if pipe.readable().await.is_err() {
                pending().await
            }
        }
        None => pending().await,
    }
}

/// What was heard of a program so far.
pub(super) struct Heard {
    log: Arc<dyn AttemptLog>,
    log_bytes_max: u64,
    total: u64,
    last: [Vec<u8>; 2],
    pub stdout: Captured,
    pub binary: bool,
}

/// Standard output, as far as it may be a result.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Captured {
    /// Nothing but blanks.
    Nothing,
    /// It begins as JSON does.
    Candidate(Vec<u8>),
    /// It is JSON as far as it was kept, and too large to be a result.
    TooLarge,
    /// It is no JSON.
    Text,
}

impl Heard {
    fn new(log: Arc<dyn AttemptLog>, log_bytes_max: u64) -> Self {
        Self {
            log,
            log_bytes_max,
            total: 0,
            last: Default::default(),
            stdout: Captured::Nothing,
            binary: false,
        }
    }

    /// Takes what came; says whether there was too much of it in too short a time.
    fn take(&mut self, stream: Stream, bytes: &[u8]) -> bool {
        self.log.write(stream, bytes);
        if stream == Stream::Stdout {
            if self.total < BINARY_WITHIN as u64 {
                self.binary |= bytes.contains(&0);
            }
            self.stdout.take(bytes);
        }
        let last = &mut self.last[usize::from(stream == Stream::Stderr)];
        let bytes_kept = &bytes[bytes.len().saturating_sub(LAST_WORDS)..];
        last.extend_from_slice(bytes_kept);
        if last.len() > 4 * LAST_WORDS {
            last.drain(..last.len() - LAST_WORDS);
        }
        let floods = |total: u64| total.saturating_sub(self.log_bytes_max) / FLOOD_BYTES;
        let before = floods(self.total);
        self.total += bytes.len() as u64;
        floods(self.total) > before
    }

    /// The last line that is not blank, of standard error or else of standard output, fit to be
    /// shown.
    pub fn last_words(&self) -> String {
        let line = |bytes: &Vec<u8>| {
            let text = crate::sanitize_for_terminal(bytes);
            let line = text.lines().rev().map(str::trim).find(|line| !line.is_empty());
            line.map(|line| line.chars().take(500).collect::<String>())
        };
        line(&self.last[1]).or_else(|| line(&self.last[0])).unwrap_or_default()
    }

    /// Adds a line of moa's own to the log.
    pub fn note(&self, text: &str) {
        self.log.write(Stream::Stderr, format!("[moa: {text}]\n").as_bytes());
    }
}

impl Captured {
    fn take(&mut self, bytes: &[u8]) {
        match self {
            Self::Nothing => {
                let blank = |b: &u8| matches!(b, b' ' | b'\t' | b'\r' | b'\n');
                let Some(start) = bytes.iter().position(|b| !blank(b)) else { return };
                let rest = &bytes[start..];
                let json = matches!(
                    rest[0],
                    b'{' | b'[' | b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n' | 0xef
                );
                *self = if json { Self::Candidate(rest.to_vec()) } else { Self::Text };
            }
            Self::Candidate(all) if all.len() + bytes.len() > OUTPUT_BYTES_MAX => {
                *self = if is_json_so_far(all) { Self::TooLarge } else { Self::Text };
            }
            Self::Candidate(all) => all.extend_from_slice(bytes),
            Self::TooLarge | Self::Text => {}
        }
    }
}
