//! Checks the write-ahead log that a killed node left, before SQLite reads it.
//!
//! Why: SQLite takes the log up to the first frame whose checksum is wrong and drops the rest
//! without a word. That is right for the end of the log after a power cut: a batch is synced before
//! the next one is written, so at most one batch can be incomplete there. If there are two or more
//! batches behind the first bad frame, what is bad had been synced once, and dropping the rest would
//! lose batches that were answered. Absent: damage within the last batch can't be told from a power
//! cut. The format: <https://sqlite.org/fileformat2.html#the_write_ahead_log>.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::error::Error;
use crate::raw;
use crate::schema::{PAGE_BYTES, beside};

const HEADER_BYTES: usize = 32;
const FRAME_BYTES: usize = 24 + PAGE_BYTES as usize;

/// How often a log is read again that looks damaged: a node may be writing it just now.
const REREADS_MAX: u32 = 8;

/// Refuses a log that lost batches in its middle.
pub(crate) fn check(database: &Path) -> Result<(), Error> {
    let log = beside(database, "-wal");
    let unavailable =
        |e: io::Error| Error::Unavailable { path: log.clone(), reason: e.to_string() };
    let mut last = None;
    for _ in 0..REREADS_MAX {
        let file = match File::open(&log) {
            Ok(file) => file,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(unavailable(e)),
        };
        let found = damage(BufReader::with_capacity(1 << 20, &file), database);
        let Some(found) = found.map_err(unavailable)? else { return Ok(()) };
        // Where a node writes, a frame may be read half before and half after it was written, or
        // frames of two logs, one begun anew over the other. Damage is what is read twice alike.
        let Found { check, place } = found;
        if last.as_ref() == Some(&place) {
            return Err(Error::Corrupt { path: database.to_owned(), check });
        }
        last = Some(place);
    }
    // Only a node that lives writes so much, and it checks what it reads.
    Ok(())
}

/// What is wrong with a log.
struct Found {
    check: String,
    /// The header, and the frame where it begins, as they were read.
    place: (Vec<u8>, Vec<u8>),
}

/// What is wrong with the log, if anything is.
fn damage(mut log: impl Read, database: &Path) -> io::Result<Option<Found>> {
    let mut header = [0; HEADER_BYTES];
    if !fill(&mut log, &mut header)? {
        return Ok(None);
    }
    let Some(mut sum) = Sum::of_header(&header) else {
        let found = header_damage(log, database)?;
        return Ok(found.map(|check| Found { check, place: (header.to_vec(), Vec::new()) }));
    };
    let mut frame = vec![0; FRAME_BYTES];
    let (mut number, mut bad, mut behind) = (0, None, 0);
    while fill(&mut log, &mut frame)? {
        number += 1;
        // Both salts of a frame of the log before are others; damage to one leaves the other.
        let ours = frame[8..12] == header[16..20] || frame[12..16] == header[20..24];
        let salted = frame[8..16] == header[16..24];
        if bad.is_none() && !(salted && sum.takes(&frame)) {
            bad = Some((number, frame.clone()));
        }
        if bad.is_some() && ours && word(&frame, 4) != 0 {
            behind += 1;
        }
    }
    Ok(bad.filter(|_| behind > 1).map(|(bad, frame)| {
        let check = format!(
            "frame {bad} of the write-ahead log is damaged, and {behind} batches stand behind"
        );
        Found { check, place: (header.to_vec(), frame) }
    }))
}

/// The header is bad, so SQLite would drop all of the log. That loses nothing if the database has
/// it all already (the header was being written for a new log), else it does.
fn header_damage(mut log: impl Read, database: &Path) -> io::Result<Option<String>> {
    let mut frame = vec![0; FRAME_BYTES];
    let mut salt = None;
    let (mut batch, mut pages) = (BTreeMap::new(), BTreeMap::new());
    while fill(&mut log, &mut frame)? {
        let page = word(&frame, 0);
        if page == 0
            || *salt.get_or_insert([word(&frame, 8), word(&frame, 12)])
                != [word(&frame, 8), word(&frame, 12)]
        {
            break;
        }
        batch.insert(page, frame[24..FRAME_BYTES - 8].to_vec());
        if word(&frame, 4) != 0 {
            pages.append(&mut batch);
        }
    }
    let file = raw::open(database)?;
    let mut found = vec![0; PAGE_BYTES as usize - 8];
    for (page, content) in pages {
        let offset = u64::from(page - 1) * u64::from(PAGE_BYTES);
        match file.read_exact_at(&mut found, offset) {
            Ok(()) if found == content => {}
            Err(e) if e.kind() != ErrorKind::UnexpectedEof => return Err(e),
            _ => {
                let check = "the header of the write-ahead log is damaged, and the log holds \
                             what the database has not";
                return Ok(Some(check.to_owned()));
            }
        }
    }
    Ok(None)
}

/// Fills the buffer; false at the end of the file.
fn fill(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match from.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == ErrorKind::UnexpectedEof => Ok(false),
        Err(e) => Err(e),
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// The log's running checksum.
struct Sum {
    big_endian: bool,
    a: u32,
    b: u32,
}

impl Sum {
    /// The sum behind the header, if the header is good.
    fn of_header(header: &[u8; HEADER_BYTES]) -> Option<Self> {
        let magic = word(header, 0);
        let good = magic & !1 == 0x377F_0682 && word(header, 8) == PAGE_BYTES;
        let mut sum = Self { big_endian: magic & 1 == 1, a: 0, b: 0 };
        sum.add(&header[..24]);
        (good && sum.is(header, 24)).then_some(sum)
    }

    /// Whether a frame is the next one; then it is added.
    fn takes(&mut self, frame: &[u8]) -> bool {
        self.add(&frame[..8]);
        self.add(&frame[24..]);
        self.is(frame, 16)
    }

    fn is(&self, bytes: &[u8], at: usize) -> bool {
        (self.a, self.b) == (word(bytes, at), word(bytes, at + 4))
    }

    fn add(&mut self, bytes: &[u8]) {
        let (pairs, _) = bytes.as_chunks::<8>();
        for pair in pairs {
            let [first, second] = [word(pair, 0), word(pair, 4)]
                .map(|w| if self.big_endian { w } else { w.swap_bytes() });
            self.a = self.a.wrapping_add(first).wrapping_add(self.b);
            self.b = self.b.wrapping_add(second).wrapping_add(self.a);
        }
    }
}
