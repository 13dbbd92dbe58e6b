//! Reads the database file page by page and checks every seal, beside SQLite.
//!
//! At a start a small file is scanned before anything else, a large one on a thread of its own
//! while moa works already: nothing damaged is ever served, because every page is checked when
//! SQLite reads it; the scan finds what nobody has read yet.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::error::Error;
use crate::raw;
use crate::schema::PAGE_BYTES;
use crate::seal::{self, Damage};

/// Bytes read at once.
const CHUNK_BYTES: usize = 1 << 20;
/// How often a page is read again that looks damaged: a checkpoint may be writing it just now.
const REREADS_MAX: u32 = 5;

/// Bytes of the file; 0 when there is none.
pub(crate) fn size(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |meta| meta.len())
}

/// Scans a file that nobody writes to; the first damage is an error.
pub(crate) fn whole(path: &Path) -> Result<(), Error> {
    let stop = AtomicBool::new(false);
    let mut first = None;
    let scanned = pages(path, Beside::Nobody, &stop, &mut |page, damage| {
        first.get_or_insert((page, damage));
        stop.store(true, Ordering::Relaxed);
    });
    scanned.map_err(|e| Error::Unavailable { path: path.to_owned(), reason: e.to_string() })?;
    match first {
        None => Ok(()),
        Some((page, damage)) => Err(Error::Corrupt {
            path: path.to_owned(),
            check: format!("page {page} {}", damage.as_str()),
        }),
    }
}

/// Who may write to the file meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Beside {
    /// Nobody.
    Nobody,
    /// A store: a page that it is writing just now looks damaged, and is read again.
    Store,
}

/// Scans a file, and reports each damaged page (counted from 1). Ends early when told to stop.
pub(crate) fn pages(
    path: &Path,
    beside: Beside,
    stop: &AtomicBool,
    report: &mut dyn FnMut(u64, Damage),
) -> std::io::Result<()> {
    let file = match raw::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
    };
    let pages = file.metadata()?.len().div_ceil(u64::from(PAGE_BYTES));
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut page = 0;
    while page < pages {
        let found = read_at(&file, &mut chunk, page * u64::from(PAGE_BYTES))?;
        if found == 0 {
            break;
        }
        for bytes in chunk[..found].chunks(PAGE_BYTES as usize) {
            if stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            if let Err(damage) = check(bytes, page) {
                let damage = match beside {
                    Beside::Nobody => Some(damage),
                    Beside::Store => again(&file, page, damage, stop)?,
                };
                if let Some(damage) = damage {
                    report(page + 1, damage);
                }
            }
            page += 1;
        }
    }
    Ok(())
}

fn check(bytes: &[u8], page: u64) -> Result<bool, Damage> {
    // The page that SQLite locks bytes of is never written.
    if page == (1 << 30) / u64::from(PAGE_BYTES) {
        return Ok(false);
    }
    if bytes.len() < PAGE_BYTES as usize { Err(Damage::Missing) } else { seal::check(bytes, page) }
}

/// Reads a page again that looks damaged, and answers what is wrong if it stays so.
fn again(
    file: &File,
    page: u64,
    mut damage: Damage,
    stop: &AtomicBool,
) -> std::io::Result<Option<Damage>> {
    let mut bytes = vec![0; PAGE_BYTES as usize];
    for round in 0..REREADS_MAX {
        if stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(1 << round));
        let found = read_at(file, &mut bytes, page * u64::from(PAGE_BYTES))?;
        match check(&bytes[..found], page) {
            Ok(_) => return Ok(None),
            Err(found) => damage = found,
        }
    }
    Ok(Some(damage))
}

/// Fills the buffer as far as the file goes.
fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}
