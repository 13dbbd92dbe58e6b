//! Attempt logs: what an attempt says to people, in a file of limited length.
//!
//! One file for each attempt, `<state>/logs/<run>/<step>[.<iteration>].<attempt>.log`, made when
//! the first byte is written. Standard output and standard error stand in it as they came, raw,
//! secrets redacted. It is written live, so `tail -f` works.
//!
//! A file never grows over the limit of the settings: about half of that is kept of the beginning,
//! for good; of what follows the newest part is kept, about a quarter of the limit or more, behind a
//! line that says how many bytes were left out. Readers find that line without knowing the limit,
//! which may be another one by then: the beginning has a round number of bytes, see [`Shape`]. They
//! ask by *offsets of the stream*, which don't move when bytes are left out. Readers that show a log
//! pass it through [`crate::sanitize_for_terminal`].

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use moa_core::ids::RunId;
use moa_core::limit::Usage;
use moa_core::limits::{ATTEMPT_LOG_BYTES_MAX, ATTEMPT_LOG_BYTES_MIN};
use moa_ports::agent::{AttemptLog, Secrets, Stream};

use crate::redact::{Redacting, Redactor};

/// Bytes of the line between the beginning and the end.
const MARKER: u64 = 48;

/// How much of a log is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Bytes of the beginning that are kept for good: 4, 5, 6 or 7 times a power of two.
    head: u64,
    /// Bytes of the end that are kept when room is made.
    kept: u64,
    /// Bytes that may stand behind the marker.
    tail: u64,
}

impl Shape {
    /// The shape of logs of `bytes_max`; a limit that no settings may have is the nearest that they may.
    pub fn new(bytes_max: u64) -> Self {
        let bytes_max = bytes_max.clamp(ATTEMPT_LOG_BYTES_MIN, ATTEMPT_LOG_BYTES_MAX);
        let half = bytes_max / 2;
        // The three highest bits.
        let below = half.ilog2() - 2;
        let head = half >> below << below;
        let tail = bytes_max - head - MARKER;
        // So that a piece as long as what is kept fits beside it.
        Self { head, kept: tail / 2, tail }
    }

    /// Every `head` that a log of so many bytes can have.
    fn heads(size: u64) -> impl Iterator<Item = u64> {
        let powers = (ATTEMPT_LOG_BYTES_MIN / 8).ilog2()..;
        let heads = powers.flat_map(|power| (4..8).map(move |bits| bits << power));
        heads.take_while(move |head| head + MARKER <= size.min(ATTEMPT_LOG_BYTES_MAX))
    }
}

/// Where bytes of a log were left out, and how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cut {
    head: u64,
    out: u64,
}

const MARKER_START: &[u8] = b"\n[moa: ";
const MARKER_END: &[u8] = b" bytes left out here]\n";

/// Where the log of an attempt is.
pub fn log_path(
    state_dir: &Path,
    run: RunId,
    step: &str,
    iteration: &str,
    attempt: u32,
) -> PathBuf {
    let clean = |text: &str, also: char| -> String {
        let legal = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-' || c == also;
        text.chars().map(|c| if legal(c) { c } else { '_' }).collect()
    };
    let mut name = clean(step, '_');
    if !iteration.is_empty() {
        name = format!("{name}.{}", clean(iteration, '.'));
    }
    log_dir(state_dir, run).join(format!("{name}.{attempt}.log"))
}

/// The folder of a run's attempt logs.
pub fn log_dir(state_dir: &Path, run: RunId) -> PathBuf {
    state_dir.join("logs").join(run.to_string())
}

/// One attempt log of a run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogFile {
    /// The step's id.
    pub step: String,
    /// Where in its loops: `""`, `"3"`, `"3.0"`.
    pub iteration: String,
    /// The attempt.
    pub attempt: u32,
    /// The file.
    pub path: PathBuf,
    /// Bytes of the file.
    pub bytes: u64,
}

/// The attempt logs of a run, by step, iteration and attempt. None when it has no logs.
///
/// # Errors
/// The folder can't be read.
pub fn list_logs(state_dir: &Path, run: RunId) -> io::Result<Vec<LogFile>> {
    let entries = match fs::read_dir(log_dir(state_dir, run)) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let mut logs = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let Some(stem) = name.to_str().and_then(|n| n.strip_suffix(".log")) else { continue };
        let Some((rest, attempt)) = stem.rsplit_once('.') else { continue };
        let Ok(attempt) = attempt.parse() else { continue };
        let (step, iteration) = rest.split_once('.').unwrap_or((rest, ""));
        logs.push(LogFile {
            step: step.to_owned(),
            iteration: iteration.to_owned(),
            attempt,
            path: entry.path(),
            bytes: entry.metadata()?.len(),
        });
    }
    logs.sort();
    Ok(logs)
}

/// A piece of an attempt's log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogPart {
    /// Bytes of the stream that were left out right before `bytes`.
    pub left_out: u64,
    /// The bytes, raw.
    pub bytes: Vec<u8>,
    /// Where to go on reading.
    pub next: u64,
}

/// At most `max` bytes of a log, from offset `from` of what the attempt wrote. An empty part with
/// `next == from` means that there is nothing more yet.
///
/// # Errors
/// The file can't be read; `NotFound` when nothing was written.
pub fn read_log(path: &Path, from: u64, max: usize) -> io::Result<LogPart> {
    let file = File::open(path)?;
    // The end may be moved while it is read; then the marker changes, and it is read again.
    for _ in 0..8 {
        let before = cut(&file)?;
        let part = read_part(&file, before, from, max)?;
        if cut(&file)? == before {
            return Ok(part);
        }
    }
    Ok(LogPart { next: from, ..LogPart::default() })
}

fn read_part(file: &File, cut: Option<Cut>, from: u64, max: usize) -> io::Result<LogPart> {
    let size = file.metadata()?.len();
    let (start, limit, left_out) = match cut {
        None => (from, size, 0),
        Some(Cut { head, .. }) if from < head => (from, head, 0),
        Some(Cut { head, out }) if from < head + out => (head + MARKER, size, head + out - from),
        Some(Cut { out, .. }) => (from - out + MARKER, size, 0),
    };
    let length = limit.saturating_sub(start).min(max as u64);
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(max)];
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_at(&mut bytes[filled..], start + filled as u64) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    bytes.truncate(filled);
    Ok(LogPart { left_out, next: from + left_out + filled as u64, bytes })
}

/// What the marker says, if there is one.
fn cut(file: &File) -> io::Result<Option<Cut>> {
    let mut marker = [0; MARKER as usize];
    for head in Shape::heads(file.metadata()?.len()) {
        match file.read_exact_at(&mut marker, head) {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => break,
            other => other?,
        }
        if let Some(out) = left_out(&marker) {
            return Ok(Some(Cut { head, out }));
        }
    }
    Ok(None)
}

/// How many bytes a marker says were left out; `None` when it is none.
fn left_out(marker: &[u8]) -> Option<u64> {
    let number = marker.strip_prefix(MARKER_START)?.strip_suffix(MARKER_END)?;
    let number: u64 = std::str::from_utf8(number).ok()?.trim().parse().ok()?;
    // A program may have written such a line itself: no sum of it and a length may overflow.
    Some(number).filter(|number| *number <= u64::MAX / 4)
}

fn marker(out: u64) -> Vec<u8> {
    let digits = MARKER as usize - MARKER_START.len() - MARKER_END.len();
    let mut line = MARKER_START.to_vec();
    line.extend_from_slice(format!("{out:>digits$}").as_bytes());
    line.extend_from_slice(MARKER_END);
    line
}

/// Writes the log of one attempt. Never fails the attempt: when the disk doesn't take it, the rest
/// of the log is lost, which the node's own log says.
pub struct LogWriter {
    path: PathBuf,
    /// Finds the secrets that the attempt was given.
    used: Arc<Redactor>,
    /// Where those are that it may have from elsewhere.
    secrets: Arc<dyn Secrets>,
    /// Finds all of them; made when something is written first.
    redactor: OnceLock<Redactor>,
    state: Mutex<State>,
    usage: Mutex<Usage>,
}

#[derive(Debug)]
struct State {
    shape: Shape,
    file: Option<File>,
    broken: bool,
    /// Bytes of the beginning written.
    head: u64,
    /// Bytes behind the beginning (and the marker) now.
    tail: u64,
    left_out: u64,
    streams: [Redacting; 2],
}

impl fmt::Debug for LogWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogWriter").field("path", &self.path).finish_non_exhaustive()
    }
}

impl LogWriter {
    /// A log at `path`; no file is made before something is written.
    /// No secret is in it, neither of those that the attempt was given (`used`) nor of the others.
    pub fn new(
        path: PathBuf,
        used: Arc<Redactor>,
        secrets: Arc<dyn Secrets>,
        shape: Shape,
    ) -> Self {
        let streams = Default::default();
        let state =
            State { shape, file: None, broken: false, head: 0, tail: 0, left_out: 0, streams };
        let (redactor, state, usage) = (OnceLock::new(), Mutex::new(state), Mutex::default());
        Self { path, used, secrets, redactor, state, usage }
    }

    /// What takes all secrets out of what is said of the attempt.
    pub fn redactor(&self) -> &Redactor {
        self.redactor.get_or_init(|| {
            let known = self.secrets.known();
            self.used.and(known.iter().map(|secret| secret.as_str()))
        })
    }

    /// What the attempt has said by now that it has spent.
    pub fn usage(&self) -> Usage {
        *self.usage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what redaction held back; to be called once, when the attempt has ended.
    pub fn finish(&self) {
        // Nothing was written else.
        let Some(redactor) = self.redactor.get().filter(|redactor| !redactor.is_empty()) else {
            return;
        };
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut out = Vec::new();
        for stream in &mut state.streams {
            stream.finish(redactor, &mut out);
        }
        self.append(&mut state, &out);
    }

    fn append(&self, state: &mut State, bytes: &[u8]) {
        if bytes.is_empty() || state.broken {
            return;
        }
        if let Err(error) = state.append(&self.path, bytes) {
            state.broken = true;
            tracing::warn!(path = %self.path.display(), %error, "an attempt's log can't be written");
        }
    }
}

impl AttemptLog for LogWriter {
    fn write(&self, stream: Stream, bytes: &[u8]) {
        let redactor = self.redactor();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if redactor.is_empty() {
            return self.append(&mut state, bytes);
        }
        let mut out = Vec::with_capacity(bytes.len());
        let which = usize::from(stream == Stream::Stderr);
        state.streams[which].push(redactor, bytes, &mut out);
        self.append(&mut state, &out);
    }

    fn spent(&self, usage: Usage) {
        let mut all = self.usage.lock().unwrap_or_else(PoisonError::into_inner);
        *all = all.plus(usage);
    }
}

impl State {
    fn append(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        if self.file.is_none() {
            self.file = Some(create(path)?);
        }
        let room = usize::try_from(self.shape.head - self.head).unwrap_or(usize::MAX);
        let (head, rest) = bytes.split_at(bytes.len().min(room));
        if !head.is_empty() {
            self.write_at(head, self.head)?;
            self.head += head.len() as u64;
        }
        for piece in rest.chunks(self.shape.kept as usize) {
            if self.tail + piece.len() as u64 > self.shape.tail {
                self.make_room()?;
            }
            self.write_at(piece, self.tail_start() + self.tail)?;
            self.tail += piece.len() as u64;
        }
        Ok(())
    }

    fn tail_start(&self) -> u64 {
        self.shape.head + if self.left_out > 0 { MARKER } else { 0 }
    }

    /// Leaves out the older part of the tail. Rewrites what is kept, so a long stream is written
    /// twice at most.
    fn make_room(&mut self) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let start = self.tail_start() + self.tail - self.shape.kept;
        let mut kept = vec![0; self.shape.kept as usize];
        file.read_exact_at(&mut kept, start)?;
        self.left_out += self.tail - self.shape.kept;
        let mut whole = marker(self.left_out);
        whole.append(&mut kept);
        file.write_all_at(&whole, self.shape.head)?;
        self.tail = self.shape.kept;
        file.set_len(self.tail_start() + self.tail)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.file.as_ref().map_or(Ok(()), |file| file.write_all_at(bytes, at))
    }
}

fn create(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    OpenOptions::new().create(true).truncate(true).read(true).write(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use moa_core::limits::ATTEMPT_LOG_BYTES_DEFAULT;
    use zeroize::Zeroizing;

    use super::*;

    /// Secrets that are known by name.
    struct Known(&'static [&'static str]);

    impl Secrets for Known {
        fn get(&self, _: &str) -> Option<Zeroizing<String>> {
            None
        }

        fn known(&self) -> Vec<Zeroizing<String>> {
            self.0.iter().map(|secret| Zeroizing::new((*secret).to_owned())).collect()
        }
    }

    fn writer(dir: &Path, bytes_max: u64) -> LogWriter {
        writer_with(dir, bytes_max, &[])
    }

    fn writer_with(dir: &Path, bytes_max: u64, known: &'static [&'static str]) -> LogWriter {
        let (path, known) = (dir.join("logs/a.log"), Arc::new(Known(known)));
        LogWriter::new(path, Arc::new(Redactor::new(["given-to-it"])), known, Shape::new(bytes_max))
    }

    #[test]
    fn no_secret_is_in_a_log_whether_it_was_given_to_the_attempt_or_not() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let log = writer_with(dir.path(), 1 << 20, &["from-elsewhere"]);
        for piece in ["a given-", "to-it b from-else", "where c\n"] {
            log.write(Stream::Stdout, piece.as_bytes());
        }
        log.finish();
        let (said, _) = whole(&log.path, 1 << 20);
        let mark = crate::redact::MARK;
        assert_eq!(String::from_utf8_lossy(&said), format!("a {mark} b {mark} c\n"));
    }

    fn whole(path: &Path, step: usize) -> (Vec<u8>, u64) {
        let (mut all, mut from, mut out) = (Vec::new(), 0, 0);
        loop {
            let part = read_log(path, from, step).expect("the log can be read");
            if part.next == from {
                return (all, out);
            }
            out += part.left_out;
            all.extend_from_slice(&part.bytes);
            from = part.next;
        }
    }

    #[test]
    fn no_file_without_a_byte() {
        let dir = tempfile::tempdir().expect("a folder");
        let log = writer(dir.path(), ATTEMPT_LOG_BYTES_DEFAULT);
        log.write(Stream::Stdout, b"");
        assert!(!dir.path().join("logs").exists());
        log.write(Stream::Stdout, b"out ");
        log.write(Stream::Stderr, b"err");
        assert_eq!(whole(&log.path, 3), (b"out err".to_vec(), 0));
    }

    /// Writes numbered lines of 16 bytes, thrice as many as `bytes_max` holds.
    fn flood(log: &LogWriter, bytes_max: u64) -> u64 {
        let lines = 3 * bytes_max / 16;
        let mut piece = Vec::new();
        for n in 0..lines {
            piece.extend_from_slice(line(n).as_bytes());
            if n % 5000 == 4999 || n + 1 == lines {
                log.write(Stream::Stdout, &piece);
                piece.clear();
            }
        }
        lines
    }

    fn line(n: u64) -> String {
        format!("{n:015}\n")
    }

    #[test]
    fn head_and_newest_part_of_a_flood_are_kept_whatever_the_limit() {
        // The default, the least, and one that is not round.
        for bytes_max in [ATTEMPT_LOG_BYTES_DEFAULT, ATTEMPT_LOG_BYTES_MIN, 1_000_000] {
            let dir = tempfile::tempdir().expect("a folder");
            let log = writer(dir.path(), bytes_max);
            let Shape { head, kept, .. } = Shape::new(bytes_max);
            let lines = flood(&log, bytes_max);
            let size = fs::metadata(&log.path).expect("a file").len();
            assert!(size <= bytes_max, "{size}");
            let (bytes, out) = whole(&log.path, 1 << 20);
            assert_eq!(bytes.len() as u64 + out, lines * 16);
            assert!(bytes.len() as u64 >= head + kept && head >= bytes_max / 5 * 2);
            assert!(bytes.starts_with(line(0).as_bytes()));
            assert!(bytes[..head as usize].ends_with(line(head / 16 - 1).as_bytes()));
            assert!(bytes.ends_with(line(lines - 1).as_bytes()));
            let file = fs::read(&log.path).expect("the file");
            let marked = String::from_utf8_lossy(&file[head as usize..(head + MARKER) as usize]);
            assert!(marked.contains(&format!(" {out} bytes left out here")), "{marked}");
        }
    }

    #[test]
    fn a_marker_is_found_for_every_limit() {
        let mut bytes_max = ATTEMPT_LOG_BYTES_MIN;
        while bytes_max <= ATTEMPT_LOG_BYTES_MAX {
            let shape = Shape::new(bytes_max);
            let Shape { head, kept, tail } = shape;
            assert!(Shape::heads(head + MARKER + kept).any(|other| other == head), "{bytes_max}");
            assert!(kept < tail && head + MARKER + tail == bytes_max, "{bytes_max}");
            bytes_max += bytes_max / 37 + 1;
        }
    }

    #[test]
    fn a_line_that_only_looks_like_a_marker_breaks_nothing() {
        let dir = tempfile::tempdir().expect("a folder");
        let log = writer(dir.path(), 1 << 20);
        let Shape { head, .. } = Shape::new(ATTEMPT_LOG_BYTES_MIN);
        log.write(Stream::Stdout, &vec![b'x'; head as usize]);
        let longest = marker(9_999_999_999_999_999_999);
        log.write(Stream::Stdout, &longest);
        log.write(Stream::Stdout, &vec![b'y'; 4096]);
        let (bytes, out) = whole(&log.path, 100);
        assert_eq!((bytes.len(), out), (head as usize + longest.len() + 4096, 0));
    }

    #[test]
    fn names_of_files_are_never_paths_and_can_be_listed() {
        let dir = tempfile::tempdir().expect("a folder");
        let run = RunId(7);
        for (step, iteration, attempt) in [("a", "", 1), ("a", "3.0", 2), ("../b", "", 1)] {
            let path = log_path(dir.path(), run, step, iteration, attempt);
            assert!(path.starts_with(log_dir(dir.path(), run)));
            create(&path).expect("a file");
        }
        let logs = list_logs(dir.path(), run).expect("a list");
        let names: Vec<_> =
            logs.iter().map(|l| format!("{}|{}|{}", l.step, l.iteration, l.attempt)).collect();
        assert_eq!(names, ["___b||1", "a||1", "a|3.0|2"]);
        assert!(list_logs(dir.path(), RunId(8)).expect("no list").is_empty());
    }
}
