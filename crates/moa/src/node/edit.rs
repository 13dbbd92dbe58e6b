//! Writing the file of a workflow for somebody who is not at this machine.
//!
//! The text is checked first, and the file must be what it is taken for. It is written whole or not at
//! all, and taken over at once, under the lock of the project. A text that is good by itself and that
//! the project as a whole refuses is taken back.

use std::io;
use std::path::Path;

use moa_core::ids::Name;
use moa_core::limits::FILE_BYTES_MAX;
use moa_core::workflow::NOTIFY_WORKFLOW;
use moa_server::control::{Edit, Expect, Written};

use super::{Node, warning};
use crate::exit::{Exit, Failure, Result};
use crate::files::Beneath;
use crate::project::{self, Layout, Problems};

/// The file of a workflow.
struct File {
    path: String,
    /// What is in it; `None` = it is not there.
    text: Option<Vec<u8>>,
}

/// The identity of a text.
pub fn tag(text: &[u8]) -> String {
    blake3::hash(text).to_hex()[..32].to_owned()
}

/// The text of a workflow's file and its identity; `None` = it can't be read.
pub fn read(layout: &Layout, name: &Name) -> Option<(String, String)> {
    let beneath = Beneath::new(&layout.root).ok()?;
    let text = find(&beneath, name).ok()?.text?;
    let tag = tag(&text);
    Some((String::from_utf8(text).ok()?, tag))
}

fn find(beneath: &Beneath, name: &Name) -> Result<File> {
    let mut found = Vec::new();
    for end in ["yaml", "yml"] {
        let path = format!("workflows/{name}.{end}");
        match beneath.read(Path::new(&path)) {
            Ok(content) => found.push(File { path, text: Some(content.bytes) }),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(Failure::io(format!("can't read {path}"), &e)),
        }
    }
    if found.len() > 1 {
        let text = format!("there are two files for {name}: which one is meant isn't known");
        return Err(Failure::refused(text).hint("delete one of them"));
    }
    let none = || File { path: format!("workflows/{name}.yaml"), text: None };
    Ok(found.pop().unwrap_or_else(none))
}

/// Whether a file is what it is taken for.
fn holds(expect: &Expect, tag: Option<&str>) -> bool {
    match expect {
        Expect::Nothing => tag.is_none(),
        Expect::Something => tag.is_some(),
        Expect::Tags(tags) => tag.is_some_and(|tag| tags.iter().any(|one| one == tag)),
    }
}

fn broken(problems: &Problems) -> Edit {
    Edit::Broken { diagnostics: problems.json(), text: problems.errors().render(false) }
}

impl Node {
    /// Writes the file of a workflow.
    pub async fn put_workflow(
        &self,
        layout: &Layout,
        name: &Name,
        text: String,
        expect: &Expect,
    ) -> Result<Edit> {
        if name.as_str() == NOTIFY_WORKFLOW {
            return Err(Failure::refused(format!("the workflow {name} is part of moa")));
        }
        if text.len() > FILE_BYTES_MAX {
            return Err(Failure::usage(format!("a file has at most {FILE_BYTES_MAX} bytes")));
        }
        let mut watched = self.watched.lock().await;
        self.look(&mut watched).await?;
        let beneath = Beneath::new(&layout.root)
            .map_err(|e| Failure::io(format!("can't open {}", layout.root.display()), &e))?;
        let File { path, text: before } = find(&beneath, name)?;
        let known = before.as_deref().map(tag);
        if !holds(expect, known.as_deref()) {
            return Ok(Edit::Differs(known));
        }
        let problems = project::check_text(&watched.project, name, text.clone());
        if problems.has_errors() {
            return Ok(broken(&problems));
        }
        let wrong = |e: io::Error| Failure::io(format!("can't write {path}"), &e);
        let place = Path::new(&path);
        put(&beneath, place, before.is_some(), text.as_bytes()).map_err(wrong)?;
        self.look(&mut watched).await?;
        if watched.broken.contains(name) {
            let refusal = broken(&watched.problems.of_workflow(name));
            match &before {
                Some(before) => put(&beneath, place, true, before).map_err(wrong)?,
                None => beneath.remove(place).map_err(wrong)?,
            }
            self.look(&mut watched).await?;
            return Ok(refusal);
        }
        let served = watched.project.workflows.get(name);
        let gone = || Failure::new(Exit::Refused, "somebody has changed it at the same time");
        let hash = served.map(|served| served.plan.hash.to_string()).ok_or_else(gone)?;
        let tag = tag(text.as_bytes());
        Ok(Edit::Written(Written {
            created: before.is_none(),
            changed: known.as_deref() != Some(tag.as_str()),
            tag,
            hash,
            diagnostics: problems.json(),
            warning: warning(&watched),
        }))
    }
}

fn put(beneath: &Beneath, path: &Path, is_there: bool, text: &[u8]) -> io::Result<()> {
    match is_there {
        true => beneath.replace(path, text),
        false => beneath.write(path, text),
    }
}
