//! The built-in agent `notify`, action `send`: tells people something, over a channel.
//!
//! Params: `channel`, `message` (or `text`), and if wanted `title` and `level`. A channel is declared
//! in the project's settings; one that isn't is a file of its name. The one kind of channel there is
//! so far is a *file*: each notification is a line of JSON, on the disk when the step succeeds, and
//! never there twice for the same step, however often it was tried.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use moa_core::ids::Name;
use moa_ports::agent::{Agent, Output, Task, TaskCtx, TaskError};
use serde_json::{Value as Json, json};

use crate::beneath::beneath;
use crate::prepare::{now, text_of};

/// The notification channels of a project, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Channels {
    /// Channels that are declared; any other name is the file `notifications/<name>.jsonl`.
    pub declared: BTreeMap<Name, Channel>,
}

/// Where notifications go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Channel {
    /// A file beneath the project's folder, to which lines of JSON are appended.
    File(PathBuf),
}

impl Channels {
    fn channel(&self, name: &Name) -> Channel {
        let default = || Channel::File(format!("notifications/{name}.jsonl").into());
        self.declared.get(name).cloned().unwrap_or_else(default)
    }

    /// Adds a notification to a channel of the project in `root`, unless it has one with that key, as
    /// `entry["key"]`, already. Blocks until it is on the disk.
    ///
    /// # Errors
    /// A channel outside the project; what the disk says.
    pub fn tell(&self, root: &Path, channel: &Name, key: &str, entry: &Json) -> io::Result<()> {
        let Channel::File(file) = self.channel(channel);
        let path = beneath(root, &file).ok_or_else(|| {
            io::Error::other(format!(
                "channel `{channel}`: {} is outside the project",
                file.display()
            ))
        })?;
        append_once(&path, key, entry)
    }
}

/// How much of the end of a file is searched for a notification that was sent already.
const SEARCHED_BYTES: u64 = 4 << 20;

/// The agent.
pub(crate) struct Notify {
    channels: Channels,
    /// One writer at a time for each file.
    files: Arc<Mutex<HashMap<PathBuf, Arc<Mutex<()>>>>>,
}

impl Notify {
    pub fn new(channels: Channels) -> Self {
        Self { channels, files: Arc::default() }
    }
}

#[async_trait]
impl Agent for Notify {
    async fn run(&self, ctx: TaskCtx, task: Arc<Task>) -> Result<Output, TaskError> {
        if task.action != "send" {
            let why = format!("agent `notify` has no action `{}`; it has: send", task.action);
            return Err(TaskError::Permanent(why));
        }
        let (channel, entry) = entry(&ctx.params, &task).map_err(TaskError::Permanent)?;
        let Channel::File(file) = self.channels.channel(&channel);
        let path = beneath(&ctx.project_dir, &file).ok_or_else(|| {
            let file = file.display();
            TaskError::Permanent(format!("channel `{channel}`: {file} is outside the project"))
        })?;
        let files = self.files.clone();
        let key = task.idempotency_key.clone();
        let appended = tokio::task::spawn_blocking(move || {
            let mut all = files.lock().unwrap_or_else(PoisonError::into_inner);
            let own = all.entry(path.clone()).or_default().clone();
            drop(all);
            let _alone = own.lock().unwrap_or_else(PoisonError::into_inner);
            append_once(&path, &key, &entry)
        });
        let appended = appended.await.unwrap_or_else(|e| Err(io::Error::other(e)));
        match appended {
            Ok(()) => {
                let sent = json!({ "channel": channel, "file": file.to_string_lossy() });
                Ok(Output { value: Some(Arc::new(sent)) })
            }
            Err(e) => Err(TaskError::Retryable(format!(
                "channel `{channel}`: can't write {}: {e}",
                file.display()
            ))),
        }
    }
}

/// The channel, and the line for it.
fn entry(params: &Json, task: &Task) -> Result<(Name, Json), String> {
    let text = |name: &str| match params.get(name) {
        None | Some(Json::Null) => None,
        Some(value) => Some(text_of(value.clone())),
    };
    let channel = text("channel").ok_or("a notification needs a `channel`")?;
    let name = Name::new(&channel).map_err(|e| format!("channel {channel:?}: {e}"))?;
    let message = text("message").or_else(|| text("text"));
    let known = ["channel", "message", "text", "title", "level"];
    let unknown = params.as_object().and_then(|p| p.keys().find(|k| !known.contains(&k.as_str())));
    if let Some(unknown) = unknown {
        return Err(format!(
            "a notification has no param `{unknown}`; it has `channel`, `message`, `title`, `level`"
        ));
    }
    // `notify: slack` alone says that something happened; what, is told by run and step.
    let message = message.unwrap_or_else(|| format!("{}: {}", task.workflow, task.step));
    let mut line = json!({
        "time": now().to_string(),
        "run": task.run.to_string(),
        "workflow": task.workflow,
        "step": task.step,
        "channel": name,
        "message": message,
    });
    for also in ["title", "level"] {
        if let Some(text) = text(also) {
            line[also] = text.into();
        }
    }
    line["key"] = task.idempotency_key.as_str().into();
    Ok((name, line))
}

/// Appends `line`, unless the file has one with that key already.
fn append_once(path: &Path, key: &str, line: &Json) -> io::Result<()> {
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
