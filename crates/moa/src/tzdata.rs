//! Time zones in the place of those compiled in, where the environment says so.

use std::io::Read;
use std::path::PathBuf;

use moa_core::schedule::Zone;
use walkdir::WalkDir;

use crate::exit::{Failure, Result};

/// Names the folder.
const VARIABLE: &str = "MOA_TZDATA";
/// Bytes of one file; the largest there is has a few thousand.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// What such a file begins with.
const MAGIC: &[u8] = b"TZif";
/// Folders of other versions of the same zones.
const OTHERS: [&str; 2] = ["posix", "right"];

/// Takes the zones of the folder that `MOA_TZDATA` names, if it does.
pub fn take_over() -> Result<()> {
    let Some(folder) = std::env::var_os(VARIABLE).filter(|folder| !folder.is_empty()) else {
        return Ok(());
    };
    let folder = PathBuf::from(folder);
    let walk = WalkDir::new(&folder).follow_links(true).max_depth(4).into_iter();
    let ours = |entry: &walkdir::DirEntry| {
        entry.depth() != 1 || !OTHERS.iter().any(|other| entry.file_name() == *other)
    };
    let mut zones = Vec::new();
    for entry in walk.filter_entry(ours).filter_map(std::result::Result::ok) {
        let name = entry.path().strip_prefix(&folder).ok().and_then(|path| path.to_str());
        let Some(name) = name.filter(|_| entry.file_type().is_file()) else { continue };
        let mut data = Vec::new();
        let read = std::fs::File::open(entry.path())
            .and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut data));
        if read.is_ok() && data.starts_with(MAGIC) {
            zones.push((name.to_owned(), data));
        }
    }
    if zones.is_empty() {
        let text = format!("{VARIABLE} names {}, which has no time zones", folder.display());
        return Err(Failure::usage(text)
            .hint("name a folder such as /usr/share/zoneinfo, or leave it unset"));
    }
    Zone::give(zones).map_err(|wrong| {
        Failure::usage(format!("{VARIABLE}: {wrong}")).hint("leave it unset to use moa's own data")
    })
}
