//! Writing the file of a workflow or an agent for somebody who is not at this machine.
//!
//! The text is checked first, and the file must be what it is taken for. It is written whole or not at
//! all, and taken over at once, under the lock of the project. A text that is good by itself and that
//! the project as a whole refuses is taken back.

use std::io;
use std::path::Path;

use moa_core::ids::Name;
use moa_core::limits::FILE_BYTES_MAX;
use moa_core::workflow::NOTIFY_WORKFLOW;
use moa_server::control::{Edit, Expect, FileOf, Written};
use moa_spec::Source;

use super::{Node, aside, warning};
use crate::exit::{Exit, Failure, Result};
use crate::files::Beneath;
use crate::project::{self, Layout, Problems};
use crate::refresh::Watched;

/// A file of the project.
pub(super) struct File {
    pub path: String,
    /// What is in it; `None` = it is not there.
    pub text: Option<Vec<u8>>,
}

/// The identity of a text.
pub fn tag(text: &[u8]) -> String {
    blake3::hash(text).to_hex()[..32].to_owned()
}

/// The text of a file and its identity; `None` = it can't be read.
pub fn read(layout: &Layout, file: &FileOf) -> Option<(String, String)> {
    let beneath = Beneath::new(&layout.root).ok()?;
    let text = find(&beneath, file).ok()?.text.filter(|text| text.len() <= FILE_BYTES_MAX)?;
    let tag = tag(&text);
    Some((String::from_utf8(text).ok()?, tag))
}

/// The file as it is.
pub(super) fn find(beneath: &Beneath, file: &FileOf) -> Result<File> {
    let (folder, name) = (file.folder(), file.name());
    let mut found = Vec::new();
    for end in ["yaml", "yml"] {
        let path = format!("{folder}/{name}.{end}");
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
    let none = || File { path: format!("{folder}/{name}.yaml"), text: None };
    Ok(found.pop().unwrap_or_else(none))
}

/// Whether a file is what it is taken for.
pub(super) fn holds(expect: &Expect, tag: Option<&str>) -> bool {
    match expect {
        Expect::Nothing => tag.is_none(),
        Expect::Something => tag.is_some(),
        Expect::Tags(tags) => tag.is_some_and(|tag| tags.iter().any(|one| one == tag)),
    }
}

/// Refuses what is part of moa, and no file.
pub(super) fn refuse_own(file: &FileOf) -> Result<()> {
    match file.name().as_str() == NOTIFY_WORKFLOW {
        true => {
            let (word, name) = (file.word(), file.name());
            Err(Failure::refused(format!("the {word} {name} is part of moa")))
        }
        false => Ok(()),
    }
}

fn broken(problems: &Problems) -> Edit {
    Edit::Broken { diagnostics: problems.json(), text: problems.errors().render(false) }
}

/// What is wrong with a text, were it this file.
async fn check(
    layout: &Layout,
    watched: &Watched,
    file: &FileOf,
    path: &str,
    text: &str,
) -> Result<Problems> {
    match file {
        FileOf::Workflow(name) => {
            let (project, name) = (watched.project.clone(), name.clone());
            let text = text.to_owned();
            aside(move || Ok(project::check_text(&project, &name, text))).await
        }
        FileOf::Agent(_) => {
            // Its agents may stand in other files, and the settings may name some.
            let (layout, of, text) = (layout.clone(), path.to_owned(), text.to_owned());
            let work = move || project::with_file(&layout, &of, Some(&text));
            let (now, then) = aside(work).await?;
            let mut found = then.only(|of| of == path);
            let others =
                then.new_errors(&now).only(|of| of != path && !of.starts_with("workflows/"));
            found.diagnostics.extend(others.diagnostics);
            found.others.extend(others.others);
            Ok(found)
        }
    }
}

impl Node {
    /// Writes the file of a workflow or an agent.
    pub async fn put_file(
        &self,
        layout: &Layout,
        file: &FileOf,
        text: String,
        expect: &Expect,
    ) -> Result<Edit> {
        refuse_own(file)?;
        if text.len() > FILE_BYTES_MAX {
            return Err(Failure::usage(format!("a file has at most {FILE_BYTES_MAX} bytes")));
        }
        let mut watched = self.watched.lock().await;
        self.look(&mut watched).await?;
        let beneath = Beneath::new(&layout.root)
            .map_err(|e| Failure::io(format!("can't open {}", layout.root.display()), &e))?;
        let File { path, text: before } = find(&beneath, file)?;
        if before.as_ref().is_some_and(|before| before.len() > FILE_BYTES_MAX) {
            // Only its beginning was read: it could not be put back.
            let text = format!("{path} has more than {FILE_BYTES_MAX} bytes");
            return Err(Failure::refused(text).hint("see what it is, and delete it"));
        }
        let known = before.as_deref().map(tag);
        if !holds(expect, known.as_deref()) {
            return Ok(Edit::Differs(known));
        }
        let problems = check(layout, &watched, file, &path, &text).await?;
        if problems.has_errors() {
            return Ok(broken(&problems));
        }
        let wrong = |e: io::Error| Failure::io(format!("can't write {path}"), &e);
        let place = Path::new(&path);
        put(&beneath, place, before.is_some(), text.as_bytes()).map_err(wrong)?;
        // From here on the file is another one, and what is answered is what stands.
        let edited = Edited { path: &path, tag: tag(text.as_bytes()), before: before.as_deref() };
        if let Err(failure) = self.look_at_files(&mut watched) {
            take_back(&beneath, file, &edited)?;
            return Err(failure);
        }
        if let Some(problems) = refused(&watched, file, &path) {
            let refusal = broken(&problems);
            take_back(&beneath, file, &edited)?;
            self.look_again(&mut watched).await;
            return Ok(refusal);
        }
        let behind = self.look_again(&mut watched).await;
        let (hash, agents) = made(&watched, file, &path, &text)?;
        let warning = Self::hidden(&self.secrets, warning(&watched)).await;
        let warnings: Vec<String> = [behind, warning].into_iter().flatten().collect();
        Ok(Edit::Written(Written {
            created: before.is_none(),
            changed: known.as_deref() != Some(edited.tag.as_str()),
            tag: edited.tag,
            hash,
            agents,
            diagnostics: problems.json(),
            warning: (!warnings.is_empty()).then(|| warnings.join("\n")),
        }))
    }

    /// Looks once more; answers what the store has not taken yet. It is tried again by itself.
    pub(super) async fn look_again(&self, watched: &mut Watched) -> Option<String> {
        let failure = self.look(watched).await.err()?;
        tracing::warn!("a file was changed, and the store is behind it: {}", failure.message);
        let text = "it is done; the store will take it later, runs start with it then";
        Some(format!("{text}: {}", failure.message))
    }
}

/// Why the project as a whole refuses what was just written, if it does.
fn refused(watched: &Watched, file: &FileOf, path: &str) -> Option<Problems> {
    match file {
        FileOf::Workflow(name) if watched.broken.contains(name) => {
            Some(watched.problems.of_workflow(name))
        }
        FileOf::Agent(_) if watched.broken_agents.values().any(|file| file == path) => {
            Some(watched.problems.only(|of| of == path))
        }
        _ => None,
    }
}

/// What a file makes: the version of a workflow, or agents.
fn made(
    watched: &Watched,
    file: &FileOf,
    path: &str,
    text: &str,
) -> Result<(Option<String>, Vec<Name>)> {
    let gone = || Failure::new(Exit::Refused, "somebody has changed it at the same time");
    match file {
        FileOf::Workflow(name) => {
            let served = watched.project.workflows.get(name).ok_or_else(gone)?;
            Ok((Some(served.plan.hash.to_string()), Vec::new()))
        }
        FileOf::Agent(name) => {
            let (specs, _) = moa_spec::parse_agents(&Source::new(path, text), name);
            let agents: Vec<Name> = specs.into_iter().map(|spec| spec.id).collect();
            match agents.iter().all(|id| watched.project.agents.contains_key(id)) {
                true => Ok((None, agents)),
                false => Err(gone()),
            }
        }
    }
}

/// A file that was just written.
struct Edited<'a> {
    path: &'a str,
    /// What was written.
    tag: String,
    /// What was there before.
    before: Option<&'a [u8]>,
}

/// Puts back what was there before, unless somebody has changed it meanwhile.
///
/// # Errors
/// What was written stays, or what somebody else has written.
fn take_back(beneath: &Beneath, file: &FileOf, edited: &Edited<'_>) -> Result<()> {
    let Edited { path, tag: written, before } = edited;
    let now = find(beneath, file)?;
    if now.path != *path || now.text.as_deref().map(tag).as_ref() != Some(written) {
        let text = format!("somebody has changed {path} at the same time");
        return Err(Failure::refused(text).hint("what is there now stays; read it again"));
    }
    let place = Path::new(path);
    let done = match before {
        Some(before) => put(beneath, place, true, before),
        None => beneath.remove(place),
    };
    done.map_err(|e| {
        let text = format!("the new text is refused, but stays in {path}: it can't be put back");
        Failure::io(text, &e).hint("the node goes on with the version of before")
    })
}

fn put(beneath: &Beneath, path: &Path, is_there: bool, text: &[u8]) -> io::Result<()> {
    match is_there {
        true => beneath.replace(path, text),
        false => beneath.write(path, text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_written_is_taken_back() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let name = FileOf::Workflow(Name::new("hello").expect("a name"));
        let beneath = Beneath::new(dir.path());
        let beneath = beneath.expect("it can be opened");
        let path = "workflows/hello.yaml";
        let write = |text: &str| put(&beneath, Path::new(path), false, text.as_bytes());
        let now = || find(&beneath, &name).expect("it can be read").text;
        let edited = Edited { path, tag: tag(b"mine"), before: Some(b"old") };
        write("mine").expect("written");
        take_back(&beneath, &name, &edited).expect("nobody has changed it");
        assert_eq!(now().as_deref(), Some(&b"old"[..]));

        write("of somebody else").expect("written");
        for before in [Some(&b"old"[..]), None] {
            let edited = Edited { path, tag: tag(b"mine"), before };
            let refused = take_back(&beneath, &name, &edited).expect_err("it is another text");
            assert_eq!(refused.exit, Exit::Refused);
            assert_eq!(now().as_deref(), Some(&b"of somebody else"[..]));
        }
        write("mine").expect("written");
        let edited = Edited { path, tag: tag(b"mine"), before: None };
        take_back(&beneath, &name, &edited).expect("nobody has changed it");
        assert_eq!(now(), None);
    }
}
