//! A file: each notification is a line of JSON, on the disk when the attempt succeeds, and never
//! there twice with the same key, however often it was tried.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use moa_ports::agent::TaskError;
use serde_json::{Value as Json, json};

use super::{Deliver, Note, Tools};
use crate::beneath::beneath;

/// How much of the end of a file is searched for a notification that was sent already.
const SEARCHED_BYTES: u64 = 4 << 20;

/// One writer at a time for each file.
#[derive(Default)]
pub(super) struct Files(Mutex<HashMap<PathBuf, Arc<Mutex<()>>>>);

#[async_trait]
impl Deliver for PathBuf {
    async fn deliver(&self, note: &Note, tools: &Tools) -> Result<Json, TaskError> {
        let path = beneath(&tools.project_dir, self).ok_or_else(|| {
            TaskError::Permanent(format!("{} is outside the project", self.display()))
        })?;
        let own = {
            let mut all = tools.files.0.lock().unwrap_or_else(PoisonError::into_inner);
            all.entry(path.clone()).or_default().clone()
        };
        let (key, line) = (note.key.clone(), line(note));
        let appended = tokio::task::spawn_blocking(move || {
            let _alone = own.lock().unwrap_or_else(PoisonError::into_inner);
            append_once(&path, &key, &line)
        });
        let appended = appended.await.unwrap_or_else(|e| Err(io::Error::other(e)));
        appended
            .map_err(|e| TaskError::Retryable(format!("can't write {}: {e}", self.display())))?;
        Ok(json!({ "file": self.to_string_lossy() }))
    }
}

/// What is written of a notification.
fn line(note: &Note) -> Json {
    let mut line = note.document();
    line["key"] = note.key.as_str().into();
    line
}

/// Appends `line` to a file of notifications, unless it has one with that key, as `line["key"]`,
/// already. Blocks until it is on the disk.
///
/// # Errors
/// What the disk says.
pub fn append_once(path: &Path, key: &str, line: &Json) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let is_new = !path.exists();
    let mut file = File::options().create(true).read(true).append(true).open(path)?;
    let size = file.metadata()?.len();
    file.seek(SeekFrom::Start(size.saturating_sub(SEARCHED_BYTES)))?;
    let mut end = Vec::new();
    (&file).take(SEARCHED_BYTES).read_to_end(&mut end)?;
    let sent = |line: &[u8]| {
        let line: Option<Json> = serde_json::from_slice(line).ok();
        line.is_some_and(|line| line.get("key").and_then(Json::as_str) == Some(key))
    };
    let quoted = Json::from(key).to_string();
    let mut lines = end.split(|b| *b == b'\n');
    if lines.any(|line| contains(line, quoted.as_bytes()) && sent(line)) {
        return file.sync_all();
    }
    // A line that was cut off by a crash is ended first, so that it spoils nothing but itself.
    let torn = end.last().is_some_and(|last| *last != b'\n');
    let text = format!("{}{line}\n", if torn { "\n" } else { "" });
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    match path.parent() {
        Some(folder) if is_new => File::open(folder)?.sync_all(),
        _ => Ok(()),
    }
}

fn contains(line: &[u8], part: &[u8]) -> bool {
    line.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_appended_once_even_after_a_crash() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("a/b.jsonl");
        let send =
            |key: &str| append_once(&path, key, &json!({ "key": key, "message": "\"two\"" }));
        send("one").expect("sent");
        send("two").expect("sent");
        send("one").expect("sent before");
        let text = fs::read_to_string(&path).expect("a file");
        assert_eq!(text.lines().count(), 2, "{text}");

        fs::write(&path, &text[..text.len() - 5]).expect("cut off");
        send("two").expect("sent");
        let text = fs::read_to_string(&path).expect("a file");
        let whole: Vec<Json> = text.lines().flat_map(serde_json::from_str).collect();
        assert_eq!((text.lines().count(), whole.len()), (3, 2), "{text}");
        assert_eq!(whole[1]["key"], "two");
    }
}
