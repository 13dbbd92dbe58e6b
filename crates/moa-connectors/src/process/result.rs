//! The result of a program that succeeded.

use std::fs::OpenOptions;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;

use moa_core::limits::OUTPUT_BYTES_MAX;
use moa_ports::agent::{Output, TaskError};
use serde_json::Value as Json;

use super::pipes::{Captured, Heard};
use crate::output::{self, Error, is_meant, too_large};

/// What to do about a standard output that was not taken.
const INSTEAD: &str = "write the result to the file $MOA_OUTPUT, and all else to standard error";

/// The result: what is in the file at `path`, else what was heard.
///
/// # Errors
/// `Output`, when what was meant as a result isn't one.
pub(super) fn read(path: &Path, heard: &mut Heard, strict: bool) -> Result<Output, TaskError> {
    if let Some(bytes) = read_file(path)? {
        return output::parse(&bytes).map(given).map_err(|e| {
            TaskError::Output(format!("the result in $MOA_OUTPUT can't be taken: {e}"))
        });
    }
    match from_stdout(heard) {
        Ok(value) => Ok(given(value)),
        Err(why) if strict => Err(TaskError::Output(format!(
            "standard output can't be taken as the result: {why}; {INSTEAD}"
        ))),
        Err(why) => {
            heard.note(&format!("standard output was not taken as a result: {why}"));
            Ok(Output::default())
        }
    }
}

/// Why what is in the file at `path` so far can't become a result any more, if it is too large.
pub(super) fn excess(path: &Path) -> Option<String> {
    // No link is followed here, as none is when the result is read.
    let about = path.symlink_metadata().ok()?;
    let most = OUTPUT_BYTES_MAX as u64;
    (about.is_file() && about.len() > most).then(|| {
        let most = OUTPUT_BYTES_MAX >> 20;
        format!(
            "the attempt was ended: it wrote more than the {most} MiB allowed to $MOA_OUTPUT; \
             write it to another file and give back its path"
        )
    })
}

fn given(value: Json) -> Output {
    Output { value: Some(value).filter(|value| !value.is_null()).map(Arc::new) }
}

/// The content of the file, if there is one and it isn't empty.
fn read_file(path: &Path) -> Result<Option<Vec<u8>>, TaskError> {
    match read_bytes(path, OUTPUT_BYTES_MAX) {
        Ok(bytes) => Ok(bytes),
        Err(Unread::TooLarge(bytes)) => {
            let size = usize::try_from(bytes).unwrap_or(usize::MAX);
            Err(TaskError::Output(too_large(size)))
        }
        Err(Unread::Other(why)) => {
            let why = format!("the result in $MOA_OUTPUT can't be read: {why}");
            Err(TaskError::Output(why))
        }
    }
}

/// Why a file is not read.
pub(super) enum Unread {
    /// It has so many bytes.
    TooLarge(u64),
    /// In words.
    Other(String),
}

impl Unread {
    fn of(error: &io::Error) -> Self {
        Self::Other(error.to_string())
    }
}

/// The content of a file that a program may have made, if there is one and it isn't empty.
///
/// # Errors
/// Why it can't be read, or that it has more than `bytes_max` bytes.
pub(super) fn read_bytes(path: &Path, bytes_max: usize) -> Result<Option<Vec<u8>>, Unread> {
    // The program may have put anything there: no link is followed, and nothing is waited for.
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).unwrap_or_default();
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Unread::of(&e)),
    };
    let about = file.metadata().map_err(|e| Unread::of(&e))?;
    if !about.is_file() {
        return Err(Unread::Other("it is no regular file".to_owned()));
    }
    if about.len() > bytes_max as u64 {
        return Err(Unread::TooLarge(about.len()));
    }
    let mut bytes = Vec::new();
    let mut some = file.take(bytes_max as u64 + 1);
    some.read_to_end(&mut bytes).map_err(|e| Unread::of(&e))?;
    let blank = bytes.iter().all(u8::is_ascii_whitespace);
    Ok(Some(bytes).filter(|_| !blank))
}

/// The value that standard output is; null when it wasn't meant to be one.
///
/// An output that begins as an object was meant to be a result. One that begins as anything else
/// may be plain text: `[info] starting`, `3 files copied`, `true love`.
fn from_stdout(heard: &mut Heard) -> Result<Json, String> {
    match std::mem::replace(&mut heard.stdout, Captured::Nothing) {
        Captured::Text | Captured::Candidate(_) if heard.binary => Err("it is binary".to_owned()),
        Captured::Nothing | Captured::Text => Ok(Json::Null),
        Captured::TooLarge => Err(format!(
            "it begins as JSON and has more than the {} MiB allowed",
            OUTPUT_BYTES_MAX >> 20
        )),
        Captured::Candidate(bytes) => match output::parse(&bytes) {
            Ok(value) => Ok(value),
            Err(e) if is_meant(&bytes, &e) => Err(e.to_string()),
            Err(_) => Ok(Json::Null),
        },
    }
}

/// Whether bytes of which there are more to come are the beginning of a JSON value, or were meant to
/// be one. A log may begin as JSON does, too.
pub(super) fn is_json_so_far(bytes: &[u8]) -> bool {
    match output::parse(bytes) {
        Ok(_) | Err(Error::Half { .. }) => true,
        // A number that goes on and on is out of range for the reader, not half.
        Err(_) if matches!(bytes[0], b'-' | b'0'..=b'9') => {
            bytes.iter().all(|b| matches!(b, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'))
        }
        Err(error) => is_meant(bytes, &error),
    }
}
