//! Where the newest entry of the audit log is noted outside of the store, so that entries taken off
//! its end are missed: `.moa/audit.head` after each change, and a line an hour in
//! `audit_YYYYMMDD.jsonl` beside the health reports, to be shipped elsewhere.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use jiff::civil::Date;
use moa_core::time::Millis;
use moa_ports::audit::AuditHead;
use serde::{Deserialize, Serialize};

use crate::files::Beneath;

/// The file of the newest head, in the project's state.
const HEAD: &str = "audit.head";
/// Bytes of a file of anchors that are read.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// The newest entry at some time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anchor {
    /// When it was noted, RFC 3339.
    pub timestamp: String,
    /// The entry.
    #[serde(flatten)]
    pub head: AuditHead,
}

impl Anchor {
    /// The newest entry, noted at this time.
    pub fn new(head: AuditHead, at: Millis) -> Self {
        Self { timestamp: at.to_string(), head }
    }
}

/// A file of anchors, and what is in it, or why it can't be read.
pub type Anchors = (String, Result<Vec<Anchor>, String>);

/// Notes the newest entry. That is behind the store when the process dies just here, which is no
/// fault: an anchor says what must be there at least.
pub fn note(state: &Path, head: AuditHead) {
    let write = || -> io::Result<()> {
        let text = serde_json::to_string(&Anchor::new(head, crate::view::now()))?;
        let temporary = state.join(format!("{HEAD}.new"));
        let mut options = fs::OpenOptions::new();
        let mut file =
            options.create(true).truncate(true).write(true).mode(0o600).open(&temporary)?;
        writeln!(file, "{text}")?;
        fs::rename(&temporary, state.join(HEAD))
    };
    if let Err(error) = write() {
        tracing::warn!(%error, "the newest entry of the audit log can't be noted in .moa/{HEAD}");
    }
}

/// Adds the newest entry to the file of a day, unless its last line says the same.
pub fn add(root: &Path, folder: &Path, day: Date, anchor: &Anchor) -> Result<(), String> {
    let path = folder.join(name_of(day));
    let shown = path.display().to_string();
    let wrong = |e: io::Error| format!("can't write {shown}: {e}");
    let beneath = Beneath::new(root).map_err(wrong)?;
    let mut bytes = match beneath.read(&path) {
        Ok(content) => content.bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(e) => return Err(wrong(e)),
    };
    let text = String::from_utf8_lossy(&bytes);
    let last = text.lines().last().and_then(|line| serde_json::from_str::<Anchor>(line).ok());
    if last.is_some_and(|last| last.head == anchor.head) {
        return Ok(());
    }
    let line = serde_json::to_string(anchor).map_err(|e| e.to_string())?;
    bytes.extend_from_slice(line.as_bytes());
    bytes.push(b'\n');
    beneath.write(&path, &bytes).map_err(wrong)
}

fn name_of(day: Date) -> String {
    format!("audit_{}.jsonl", day.strftime("%Y%m%d"))
}

/// The anchors of a file, with its name; a line that is none is told.
pub fn read(path: &Path) -> Result<Vec<Anchor>, String> {
    let shown = path.display();
    let wrong = |e: io::Error| format!("can't read {shown}: {e}");
    let mut text = String::new();
    let file = fs::File::open(path).map_err(wrong)?;
    io::Read::read_to_string(&mut io::Read::take(file, FILE_BYTES_MAX), &mut text)
        .map_err(wrong)?;
    let mut anchors = Vec::new();
    for (n, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()) {
        let anchor = serde_json::from_str(line);
        anchors.push(anchor.map_err(|e| format!("line {n} of {shown} is no anchor: {e}"))?);
    }
    Ok(anchors)
}

/// All anchors that a project has: those of its state, and those beside its health reports. With
/// each, the file that it is in; a file that can't be read is told instead.
pub fn all(root: &Path, state: &Path, folder: &Path) -> Vec<Anchors> {
    let mut all = Vec::new();
    let head = state.join(HEAD);
    if head.exists() {
        all.push((format!(".moa/{HEAD}"), read(&head)));
    }
    let names = Beneath::new(root).and_then(|beneath| beneath.list(folder)).unwrap_or_default();
    for name in names.iter().filter(|n| n.starts_with("audit_") && n.ends_with(".jsonl")) {
        let path = folder.join(name);
        all.push((path.display().to_string(), read(&root.join(&path))));
    }
    all
}
