//! A log file that is moved aside each day and when it has grown, and whose old ones go.
//!
//! Writing to it never fails for who logs: what a full disk doesn't take is counted, and the number is
//! told once there is room again. A file that somebody else has moved away or deleted is opened
//! anew. `NAME.YYYYMMDD.EXT` is what was written on a day (UTC), `NAME.YYYYMMDD-2.EXT` its next part.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use moa_core::time::{Millis, Span};

const DAY_MS: i64 = 86_400_000;
/// Time between two looks whether the file is still the one under its name.
const LOOK_EVERY: Span = Span(1_000);

/// How much of a log is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes after which it is moved aside.
    pub file_bytes: u64,
    /// How long what was moved aside is kept; `None` = for good.
    pub age: Option<Span>,
    /// How many files that were moved aside are kept.
    pub files: usize,
}

/// The log file.
pub struct RotatingFile {
    path: PathBuf,
    limits: Limits,
    clock: fn() -> Millis,
    open: Option<Open>,
    /// When it was last looked whether the file is there, or tried to open it.
    looked: Millis,
    /// Lines that could not be written.
    lost: u64,
}

struct Open {
    file: File,
    bytes: u64,
    day: i64,
    inode: (u64, u64),
}

/// This moment.
fn now() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

impl RotatingFile {
    /// A log at `path`, opened when the first line comes.
    pub fn new(path: &Path, limits: Limits) -> Self {
        let looked = Millis(i64::MIN);
        Self { path: path.to_owned(), limits, clock: now, open: None, looked, lost: 0 }
    }

    /// The same by another clock than the system's.
    #[cfg(test)]
    pub fn by_clock(path: &Path, limits: Limits, clock: fn() -> Millis) -> Self {
        Self { clock, ..Self::new(path, limits) }
    }

    /// Opens it now, to know whether that can be done.
    ///
    /// # Errors
    /// It can't; later lines try again.
    pub fn try_open(&mut self) -> io::Result<()> {
        let now = (self.clock)();
        self.looked = now;
        self.open = Some(self.open_file(now)?);
        Ok(())
    }

    fn open_file(&self, now: Millis) -> io::Result<Open> {
        if let Some(folder) = self.path.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&self.path)?;
        let meta = file.metadata()?;
        let written = Millis(meta.mtime().saturating_mul(1000));
        let day = if meta.len() == 0 { day_of(now) } else { day_of(written) };
        Ok(Open { bytes: meta.len(), day, inode: (meta.dev(), meta.ino()), file })
    }

    /// Writes one line, with all that has to be done before it.
    fn line(&mut self, bytes: &[u8]) -> io::Result<()> {
        let now = (self.clock)();
        // A clock that was set back is no reason to wait.
        if now >= self.looked.after(LOOK_EVERY) || now < self.looked {
            self.looked = now;
            if !self.is_in_place() {
                self.open = None;
            }
            if self.open.is_none() {
                self.try_open()?;
            }
        }
        let full = |open: &Open| {
            let grown = open.bytes + bytes.len() as u64 > self.limits.file_bytes;
            open.bytes > 0 && (grown || open.day != day_of(now))
        };
        if self.open.as_ref().is_some_and(full) {
            self.rotate(now)?;
        }
        let Some(open) = &mut self.open else { return Err(io::ErrorKind::NotFound.into()) };
        if self.lost > 0 {
            let note =
                format!("{} lines of this log are lost: they could not be written\n", self.lost);
            open.file.write_all(note.as_bytes())?;
            open.bytes += note.len() as u64;
            self.lost = 0;
        }
        open.file.write_all(bytes)?;
        open.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Whether the open file is the one under its name.
    fn is_in_place(&self) -> bool {
        let Some(open) = &self.open else { return false };
        fs::metadata(&self.path).is_ok_and(|meta| (meta.dev(), meta.ino()) == open.inode)
    }

    /// Moves the file aside and begins a new one.
    fn rotate(&mut self, now: Millis) -> io::Result<()> {
        let Some(open) = &self.open else { return Ok(()) };
        fs::rename(&self.path, self.aside(open.day))?;
        self.open = None;
        self.try_open()?;
        self.prune(now);
        Ok(())
    }

    /// The name under which the next file of a day is kept: behind all that are there.
    fn aside(&self, day: i64) -> PathBuf {
        let (stem, ending) = self.names();
        let parts = self.list_aside().into_iter().filter(|file| file.0 == day).map(|file| file.1);
        let part = parts.max().unwrap_or(0).saturating_add(1);
        let date = date(day);
        self.path.with_file_name(match part {
            1 => format!("{stem}.{date}{ending}"),
            n => format!("{stem}.{date}-{n}{ending}"),
        })
    }

    fn names(&self) -> (String, String) {
        let part = |part: Option<&std::ffi::OsStr>| {
            part.map(|part| part.to_string_lossy().into_owned()).unwrap_or_default()
        };
        let ending = part(self.path.extension());
        (part(self.path.file_stem()), if ending.is_empty() { ending } else { format!(".{ending}") })
    }

    /// Deletes files moved aside that are too old or too many. What can't be deleted stays.
    fn prune(&self, now: Millis) {
        let mut aside = self.list_aside();
        aside.sort();
        let many = aside.len().saturating_sub(self.limits.files);
        let first = self
            .limits
            .age
            .map_or(i64::MIN, |age| day_of(Millis(now.0.saturating_sub_unsigned(age.0))));
        for (n, (day, _, path)) in aside.iter().enumerate() {
            if n < many || *day < first {
                let _ = fs::remove_file(path);
            }
        }
    }

    /// The files moved aside: day, part, path.
    fn list_aside(&self) -> Vec<(i64, u32, PathBuf)> {
        let (stem, ending) = self.names();
        let Some(folder) = self.path.parent() else { return Vec::new() };
        let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
        let read = |entry: fs::DirEntry| {
            let name = entry.file_name();
            let inner = name.to_str()?.strip_prefix(&stem)?.strip_prefix('.')?;
            let inner = inner.strip_suffix(&ending)?;
            let (date, part) = inner.split_once('-').unwrap_or((inner, "1"));
            Some((day_of_date(date)?, part.parse().ok()?, entry.path()))
        };
        entries.filter_map(|entry| read(entry.ok()?)).collect()
    }
}

impl Write for RotatingFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.line(bytes).is_err() {
            self.lost += 1;
        }
        // Whoever logs has better things to do than to try again.
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn day_of(at: Millis) -> i64 {
    at.0.div_euclid(DAY_MS)
}

/// A day as `YYYYMMDD`.
fn date(day: i64) -> String {
    let at = jiff::Timestamp::from_millisecond(day.saturating_mul(DAY_MS)).unwrap_or_default();
    at.strftime("%Y%m%d").to_string()
}

fn day_of_date(text: &str) -> Option<i64> {
    let plain = text.len() == 8 && text.bytes().all(|b| b.is_ascii_digit());
    let date = plain.then(|| jiff::civil::Date::strptime("%Y%m%d", text).ok()).flatten()?;
    let at = date.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp();
    Some(day_of(Millis(at.as_millisecond())))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    thread_local! {
        static NOW: Cell<Millis> = const { Cell::new(Millis(0)) };
    }

    const NOON: Millis = Millis(1_765_454_400_000);

    fn at(days: i64, seconds: i64) -> Millis {
        Millis(NOON.0 + days * DAY_MS + seconds * 1000)
    }

    fn log(folder: &Path, file_bytes: u64) -> RotatingFile {
        NOW.set(NOON);
        let limits = Limits { file_bytes, age: Some(Span(3 * DAY_MS as u64)), files: 6 };
        let path = folder.join("logs/main.log");
        RotatingFile::by_clock(&path, limits, || NOW.get())
    }

    fn say(log: &mut RotatingFile, now: Millis, text: &str) {
        NOW.set(now);
        log.write_all(format!("{text}\n").as_bytes()).expect("it never fails");
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder.join("logs")).expect("a folder");
        let mut names: Vec<String> = entries
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    fn read(folder: &Path, name: &str) -> String {
        fs::read_to_string(folder.join("logs").join(name)).expect("a file")
    }

    #[test]
    fn each_day_has_a_file_and_old_ones_go() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut log = log(folder.path(), 1000);
        for day in 0..6 {
            say(&mut log, at(day, 0), &format!("day {day}"));
            say(&mut log, at(day, 5), "more");
        }
        let kept = ["main.20251213.log", "main.20251214.log", "main.20251215.log", "main.log"];
        assert_eq!(names(folder.path()), kept);
        assert_eq!(read(folder.path(), "main.20251214.log"), "day 3\nmore\n");
        assert_eq!(read(folder.path(), "main.log"), "day 5\nmore\n");
    }

    #[test]
    fn a_day_with_much_to_say_has_several_and_their_number_is_limited() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut log = log(folder.path(), 20);
        for n in 0..40 {
            say(&mut log, at(0, n), &format!("line {n:03}"));
        }
        let names = names(folder.path());
        assert_eq!(names.len(), 7, "{names:?}");
        assert!(names.contains(&"main.20251211-19.log".to_owned()), "{names:?}");
        assert_eq!(read(folder.path(), "main.log"), "line 038\nline 039\n");
    }

    #[test]
    fn a_restart_goes_on_with_the_file_of_today() {
        let folder = tempfile::tempdir().expect("a folder");
        say(&mut log(folder.path(), 1000), at(0, 0), "before");
        // The file was written now, whatever the clock of the test says.
        let today = now();
        let mut log = log(folder.path(), 1000);
        say(&mut log, today, "after");
        assert_eq!(read(folder.path(), "main.log"), "before\nafter\n");
        say(&mut log, Millis(today.0 + DAY_MS), "tomorrow");
        assert_eq!(read(folder.path(), "main.log"), "tomorrow\n");
    }

    #[test]
    fn a_file_moved_away_or_deleted_by_others_is_made_anew() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut log = log(folder.path(), 1000);
        say(&mut log, at(0, 0), "one");
        let path = folder.path().join("logs/main.log");
        fs::rename(&path, folder.path().join("logs/elsewhere")).expect("moved");
        say(&mut log, at(0, 2), "two");
        fs::remove_dir_all(folder.path().join("logs")).expect("removed");
        say(&mut log, at(0, 4), "three");
        assert_eq!(read(folder.path(), "main.log"), "three\n");
    }

    #[test]
    fn what_could_not_be_written_is_counted() {
        let folder = tempfile::tempdir().expect("a folder");
        // A file in the way of the folder: nothing can be written there.
        let in_the_way = folder.path().join("logs");
        fs::write(&in_the_way, "").expect("a file");
        let mut log = log(folder.path(), 1000);
        assert!(log.try_open().is_err());
        say(&mut log, at(0, 1), "one");
        say(&mut log, at(0, 2), "two");
        fs::remove_file(&in_the_way).expect("removed");
        say(&mut log, at(0, 4), "three");
        let text = read(folder.path(), "main.log");
        assert_eq!(text, "2 lines of this log are lost: they could not be written\nthree\n");
    }
}
