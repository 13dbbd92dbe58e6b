//! A damaged file is refused or found out; it is never served as truth.

use std::path::Path;

use moa_ports::store::Error as StoreError;
use moa_ports::suite::{block_on, build};
use moa_ports::views::Views;
use moa_sqlite::{Error, Options, SqliteStore};

use crate::fixture::{Everything, Sqlite, commit, everything, fill, folder, version};

const PAGE: usize = 4096;

/// The bytes of a closed database with some hundred pages, and all that is in it.
fn sound() -> (Vec<u8>, Everything) {
    let mut sqlite = Sqlite::new();
    fill(sqlite.get(), 36);
    let all = everything(sqlite.get()).expect("it is read");
    sqlite.close();
    (std::fs::read(sqlite.path()).expect("a file"), all)
}

/// Opens a damaged database that is checked whole first: it must be refused, with file and check.
fn must_be_refused(path: &Path, what: &str) {
    let error = match SqliteStore::open(path, Options::default()) {
        Ok(_) => panic!("{what}: it was opened"),
        Err(error) => error,
    };
    let text = error.to_string();
    assert!(text.contains(&path.display().to_string()), "{what}: {text}");
    match error {
        Error::Corrupt { check, .. } => {
            assert!(!check.is_empty() && text.ends_with(&check), "{what}: {text}");
        }
        // Damage of the one field that says whose file it is.
        Error::NotOurs { .. } => {}
        other => panic!("{what}: {other}"),
    }
}

/// Opens it without checking: whatever is read must be as before, or be called damaged.
fn must_not_lie(path: &Path, all: &Everything, what: &str) {
    let options = Options { scan_at_open_bytes_max: 0, ..Options::default() };
    let store = match SqliteStore::open(path, options) {
        Ok(store) => store,
        Err(Error::Corrupt { .. } | Error::NotOurs { .. }) => return,
        Err(other) => panic!("{what}: {other}"),
    };
    match everything(&store) {
        Ok(found) => assert!(found == *all, "{what}: something else is served"),
        Err(StoreError::Corrupt { .. }) => {
            // From then on nothing is written.
            let new = build::create(build::row(build::run(999)));
            let written = commit(&store, vec![new]);
            assert!(matches!(written, Err(StoreError::Corrupt { .. })), "{what}: {written:?}");
            assert!(store.damaged().is_some_and(|text| text.contains("moa.db")), "{what}");
        }
        Err(other) => panic!("{what}: {other}"),
    }
}

fn with_damage(bytes: &[u8], all: &Everything, what: &str) {
    let folder = folder();
    let path = folder.path().join("moa.db");
    std::fs::write(&path, bytes).expect("it is written");
    must_be_refused(&path, what);
    must_not_lie(&path, all, what);
}

#[test]
fn a_flipped_bit_anywhere_is_found() {
    let (bytes, all) = sound();
    assert!(bytes.len() > 50 * PAGE, "{} bytes", bytes.len());
    for page in 0..bytes.len() / PAGE {
        // In each page another place, the ends among them.
        let bit = match page % 16 {
            0 => 0,
            1 => PAGE * 8 - 1,
            _ => (moa_core::ids::mix(page as u64) % (PAGE as u64 * 8)) as usize,
        };
        let mut damaged = bytes.clone();
        damaged[page * PAGE + bit / 8] ^= 1 << (bit % 8);
        with_damage(&damaged, &all, &format!("bit {bit} of page {}", page + 1));
    }
}

#[test]
fn a_flipped_bit_in_the_header_is_found() {
    let (bytes, all) = sound();
    for byte in 0..100 {
        let mut damaged = bytes.clone();
        damaged[byte] ^= 1 << (byte % 8);
        with_damage(&damaged, &all, &format!("byte {byte} of the header"));
    }
}

#[test]
fn a_page_of_zeros_is_found() {
    let (bytes, all) = sound();
    for page in 0..bytes.len() / PAGE {
        let mut damaged = bytes.clone();
        damaged[page * PAGE..][..PAGE].fill(0);
        with_damage(&damaged, &all, &format!("zeros in page {}", page + 1));
    }
}

#[test]
fn a_file_that_was_cut_is_found() {
    let (bytes, all) = sound();
    for cut in [1, 7, PAGE / 2, PAGE, PAGE + 1, 10 * PAGE, bytes.len() - PAGE, bytes.len() - 50] {
        with_damage(&bytes[..bytes.len() - cut], &all, &format!("{cut} bytes cut off"));
    }
}

#[test]
fn an_empty_file_and_a_log_without_its_file_are_damage() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("moa.db");
    let open = || moa_sqlite::SqliteStore::open(&path, moa_sqlite::Options::default()).map(drop);
    std::fs::write(&path, b"").expect("an empty file");
    assert!(matches!(open(), Err(moa_sqlite::Error::Corrupt { .. })), "never made anew");
    std::fs::remove_file(&path).expect("it is there");
    std::fs::write(folder.path().join("moa.db-wal"), b"left over").expect("a log");
    assert!(matches!(open(), Err(moa_sqlite::Error::Corrupt { .. })), "never made anew");
    std::fs::remove_file(folder.path().join("moa.db-wal")).expect("it is there");
    open().expect("a first start");
}

#[test]
fn a_page_of_another_time_is_found_by_the_doctor() {
    // A page with a good seal in the wrong place; two pages swapped.
    let (bytes, all) = sound();
    let mut damaged = bytes.clone();
    damaged.copy_within(20 * PAGE..21 * PAGE, 30 * PAGE);
    with_damage(&damaged, &all, "page 21 in the place of page 31");
}

#[test]
fn the_doctor_names_every_damaged_page() {
    let (mut bytes, _) = sound();
    for page in [9, 17] {
        bytes[page * PAGE + 100] ^= 1;
    }
    let folder = folder();
    let path = folder.path().join("moa.db");
    std::fs::write(&path, &bytes).expect("it is written");
    let views = SqliteStore::open_read_only(&path).expect("its header is good");
    let lines = block_on(views.verify()).expect("it is checked");
    assert_eq!(lines.len(), 2, "{lines:?}");
    for (line, page) in lines.iter().zip(["page 10 ", "page 18 "]) {
        assert!(line.contains("moa.db") && line.contains(page), "{line}");
    }
}

#[test]
fn a_copy_from_before_restores_it() {
    let (bytes, all) = sound();
    let folder = folder();
    let path = folder.path().join("moa.db");
    let mut damaged = bytes.clone();
    damaged[5 * PAGE] ^= 4;
    std::fs::write(&path, &damaged).expect("it is written");
    must_be_refused(&path, "before");
    std::fs::write(&path, &bytes).expect("it is written");
    let store = SqliteStore::open(&path, Options::default()).expect("it opens");
    assert_eq!(everything(&store), Ok(all));
    assert_eq!(block_on(store.verify()), Ok(Vec::new()));
}

#[test]
fn a_large_file_is_checked_while_it_works() {
    // Not at the start, but nobody needs to read the damaged page for it to be found.
    let (mut bytes, _) = sound();
    // One of the pages of a long output.
    let page = bytes.chunks(PAGE).position(|page| page[5..PAGE - 8].iter().all(|&b| b == b'o'));
    let page = page.expect("a page with nothing but output");
    bytes[page * PAGE + 7] ^= 1;
    let folder = folder();
    let path = folder.path().join("moa.db");
    std::fs::write(&path, &bytes).expect("it is written");
    let options = Options { scan_at_open_bytes_max: 0, ..Options::default() };
    let store = SqliteStore::open(&path, options).expect("it opens at once");
    // Each call is a round trip to the store's thread; the scan needs far less than so many.
    let found = (0..100_000).any(|_| version(&store, 500).is_err());
    assert!(found, "the scan found nothing");
    let page = format!("page {} ", page + 1);
    assert!(store.damaged().is_some_and(|text| text.contains(&page)));
    let written = commit(&store, vec![build::create(build::row(build::run(999)))]);
    assert!(matches!(written, Err(StoreError::Corrupt { .. })), "{written:?}");
}

#[test]
fn a_page_that_the_log_has_whole_is_not_damaged() {
    // A power cut in the middle of a checkpoint: the file has half of a page, the log all of it.
    let sqlite = Sqlite::new();
    fill(sqlite.get(), 20);
    let all = everything(sqlite.get()).expect("it is read");
    let (_folder, path) = sqlite.as_killed();
    let mut pages = std::fs::read(&path).expect("a file");
    let log = std::fs::read(path.with_file_name("moa.db-wal")).expect("a log");
    let in_log: Vec<usize> = log[32..]
        .chunks_exact(24 + PAGE)
        .map(|frame| u32::from_be_bytes([frame[0], frame[1], frame[2], frame[3]]) as usize)
        .collect();
    assert!(in_log.len() > 20, "{} pages in the log", in_log.len());
    for page in in_log {
        if let Some(page) = pages.get_mut((page - 1) * PAGE + PAGE / 2..page * PAGE) {
            page.fill(0xEE);
        }
    }
    std::fs::write(&path, pages).expect("it is written");
    let views = SqliteStore::open_read_only(&path).expect("its header is good");
    assert_eq!(block_on(views.verify()), Ok(Vec::new()));
    let store = SqliteStore::open(&path, Options::default()).expect("it opens");
    assert_eq!(everything(&store), Ok(all));
    assert_eq!(block_on(store.verify()), Ok(Vec::new()));
}

#[test]
fn a_damaged_log_loses_no_batch_that_was_answered() {
    let sqlite = Sqlite::new();
    fill(sqlite.get(), 8);
    let all = everything(sqlite.get()).expect("it is read");
    let (_folder, path) = sqlite.as_killed();
    let log = path.with_file_name("moa.db-wal");
    let (database, good) = (std::fs::read(&path), std::fs::read(&log).expect("a log"));
    let frames = (good.len() - 32) / (24 + PAGE);
    let (mut refused, mut last_only) = (0, 0);
    for frame in 0..frames {
        for byte in [0, 5, 9, 17, 24 + frame % PAGE] {
            let mut damaged = good.clone();
            damaged[32 + frame * (24 + PAGE) + byte] ^= 1 << (frame % 8);
            std::fs::write(&path, database.as_ref().expect("a file")).expect("it is written");
            std::fs::write(&log, damaged).expect("it is written");
            let what = format!("byte {byte} of frame {frame} of {frames}");
            match SqliteStore::open(&path, Options::default()) {
                Ok(store) => {
                    // Nothing but the last batch, which a power cut could have left like this.
                    let found = everything(&store).expect("it is read");
                    assert!(found.1.len() + 1 >= all.1.len(), "{what}");
                    last_only += 1;
                }
                Err(Error::Corrupt { check, .. }) => {
                    assert!(check.contains("write-ahead log"), "{what}: {check}");
                    assert!(SqliteStore::open_read_only(&path).is_err());
                    refused += 1;
                }
                Err(other) => panic!("{what}: {other}"),
            }
        }
    }
    assert!(refused > 8 * last_only, "{refused} refused, {last_only} not");
    // The header: the whole log would be dropped.
    for byte in [0, 8, 16, 24] {
        let mut damaged = good.clone();
        damaged[byte] ^= 1;
        std::fs::write(&path, database.as_ref().expect("a file")).expect("it is written");
        std::fs::write(&log, &damaged).expect("it is written");
        let opened = SqliteStore::open(&path, Options::default()).map(drop);
        assert!(matches!(opened, Err(Error::Corrupt { .. })), "byte {byte}: {opened:?}");
        // When the database has it all, nothing is lost.
        std::fs::write(&log, &good).expect("it is written");
        drop(SqliteStore::open(&path, Options::default()).expect("it opens"));
        std::fs::write(&log, &damaged).expect("it is written");
        let store = SqliteStore::open(&path, Options::default()).expect("it opens");
        assert_eq!(everything(&store), Ok(all.clone()));
    }
}
