//! Project templates, embedded in the binary, and how a project is made of one: whole or not at all.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::exit::{Failure, Result};
use crate::project::SETTINGS_FILE;
use crate::text;

/// A project to start from.
pub struct Template {
    /// Its name.
    pub name: &'static str,
    files: &'static [File],
}

struct File {
    path: &'static str,
    program: bool,
    bytes: &'static [u8],
}

const TEMPLATES: &[Template] = include!(concat!(env!("OUT_DIR"), "/templates.rs"));

/// What stands in template files for the project's name.
const NAME_MARK: &str = "{{name}}";

/// What each template is for, in a line.
const ABOUT: &[(&str, &str)] = &[
    ("blank", "one workflow and one agent, to start from"),
    ("continuous-monitoring", "watches this machine and a service, and takes bad releases back"),
    ("data-pipeline", "ingests, cleans, validates, analyses and reports on a real CSV file"),
    (
        "project-build",
        "nineteen agents scaffold, build, test, scan and deploy a small real application",
    ),
    ("video-production", "a channel that makes, reviews and publishes six teaching videos a day"),
];

/// All templates: their names, and what they are for.
pub fn all() -> impl Iterator<Item = (&'static str, &'static str)> {
    let about = |name| ABOUT.iter().find(|(of, _)| *of == name).map_or("", |(_, about)| *about);
    names().map(move |name| (name, about(name)))
}

/// The names of all templates.
pub fn names() -> impl Iterator<Item = &'static str> {
    TEMPLATES.iter().map(|template| template.name)
}

/// The template of that name.
pub fn find(name: &str) -> Result<&'static Template> {
    TEMPLATES.iter().find(|template| template.name == name).ok_or_else(|| {
        let failure = Failure::usage(format!("there is no template {name}"));
        let all: Vec<&str> = names().collect();
        match text::nearest(name, all.iter().copied()) {
            Some(near) => failure.hint(format!("did you mean {near}?")),
            None => failure.hint(format!("there are: {}", all.join(", "))),
        }
    })
}

/// Makes the project `folder`, which must not exist or be empty; a folder that is there stays the same
/// one. All is written beside its place and moved there when it is whole, so that a crash leaves no
/// half of a project.
pub fn make(template: &Template, folder: &Path) -> Result<()> {
    let absolute = std::path::absolute(folder)
        .map_err(|e| Failure::io(format!("can't use {}", folder.display()), &e))?;
    let (Some(parent), Some(name)) = (absolute.parent(), absolute.file_name()) else {
        return Err(Failure::usage(format!("{} can't be a project", folder.display())));
    };
    let name = name.to_string_lossy();
    let there = match fs::read_dir(&absolute) {
        Ok(entries) => {
            let mut names = entries.flatten().map(|entry| entry.file_name());
            // Whoever keeps a project in a repository may have made that first.
            if names.any(|entry| entry != ".git" && !is_leftover(&entry, &name)) {
                if let Some(rest) = half_moved(&absolute, &name, template) {
                    let moved = move_content(&rest, &absolute).and_then(|()| sync(&absolute));
                    return moved.map_err(|e| cant_make(folder, &e));
                }
                return Err(Failure::refused(format!("{} is not empty", folder.display()))
                    .hint("choose another name, or empty it"));
            }
            true
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => false,
        Err(e) => return Err(Failure::io(format!("can't use {}", folder.display()), &e)),
    };
    let write = || {
        // A folder that is there stays the same one: somebody may be standing in it.
        let beside = if there { &absolute } else { parent };
        fs::create_dir_all(beside)?;
        forget_leftovers(beside, &name)?;
        let number = std::process::id();
        let temporary = beside.join(format!("{}{number}", prefix(&name)));
        // Under this name it is whole: whoever finds it can go on with moving it.
        let whole = beside.join(format!("{}{number}.{}", prefix(&name), template.name));
        let made = write_all(template, &temporary, &name)
            .and_then(|()| match there {
                true => {
                    fs::rename(&temporary, &whole)?;
                    sync(beside)?;
                    move_content(&whole, &absolute)
                }
                false => fs::rename(&temporary, &absolute),
            })
            .and_then(|()| sync(beside));
        if made.is_err() {
            // The first error is what matters.
            let _ = fs::remove_dir_all(&temporary);
            let _ = fs::remove_dir_all(&whole);
        }
        made
    };
    write().map_err(|e| cant_make(folder, &e))
}

fn cant_make(folder: &Path, error: &io::Error) -> Failure {
    Failure::io(format!("can't make {}", folder.display()), error)
}

fn sync(folder: &Path) -> io::Result<()> {
    fs::File::open(folder)?.sync_all()
}

/// What a process that was killed while it moved a project's content to its place had yet to move.
fn half_moved(folder: &Path, name: &str, template: &Template) -> Option<PathBuf> {
    let prefix = prefix(name);
    let entries = fs::read_dir(folder).ok()?.flatten();
    let mut found = entries.filter(|entry| {
        let entry = entry.file_name();
        let rest = entry.to_str().and_then(|entry| entry.strip_prefix(&prefix));
        let whole = rest.and_then(|rest| rest.split_once('.'));
        whole.is_some_and(|(pid, of)| of == template.name && !is_alive(pid))
    });
    Some(found.next()?.path())
}

/// Moves what is in a folder to the folder that it is in. The project's file is the last: without it,
/// there is no project.
fn move_content(from: &Path, to: &Path) -> io::Result<()> {
    let mut names = Vec::new();
    for entry in fs::read_dir(from)? {
        names.push(entry?.file_name());
    }
    names.sort_by_key(|name| name == SETTINGS_FILE);
    let mut moved = Vec::new();
    let go = || {
        for name in names {
            // Somebody may have put something there meanwhile.
            if to.join(&name).symlink_metadata().is_ok() {
                let text = format!("{} is there already", to.join(&name).display());
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
            }
            fs::rename(from.join(&name), to.join(&name))?;
            moved.push(name);
        }
        Ok(())
    };
    if let Err(error) = go() {
        for name in moved.iter().rev() {
            // The first error is what matters.
            let _ = fs::rename(to.join(name), from.join(name));
        }
        return Err(error);
    }
    fs::remove_dir(from)
}

fn is_leftover(entry: &OsStr, name: &str) -> bool {
    entry.to_str().is_some_and(|entry| entry.starts_with(&prefix(name)))
}

fn prefix(name: &str) -> String {
    format!(".{name}.moa-init-")
}

/// Removes what crashed processes left beside the place.
fn forget_leftovers(parent: &Path, name: &str) -> io::Result<()> {
    let prefix = prefix(name);
    for entry in fs::read_dir(parent)? {
        let entry = entry?;
        let file_name = entry.file_name();
        let Some(pid) = file_name.to_str().and_then(|n| n.strip_prefix(&prefix)) else { continue };
        if !is_alive(pid.split_once('.').map_or(pid, |(pid, _)| pid)) {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

fn is_alive(pid: &str) -> bool {
    let pid = pid.parse().ok().and_then(rustix::process::Pid::from_raw);
    pid.is_some_and(|pid| rustix::process::test_kill_process(pid).is_ok())
}

fn write_all(template: &Template, folder: &Path, name: &str) -> io::Result<()> {
    fs::create_dir(folder)?;
    let mut folders: Vec<PathBuf> = vec![folder.into()];
    for file in template.files {
        let path = folder.join(place(file.path));
        if let Some(parent) = path.parent().filter(|parent| !parent.exists()) {
            fs::create_dir_all(parent)?;
            folders.push(parent.into());
        }
        let mode = if file.program { 0o755 } else { 0o644 };
        let mut options = fs::OpenOptions::new();
        let mut out = options.create_new(true).write(true).mode(mode).open(&path)?;
        match std::str::from_utf8(file.bytes) {
            Ok(text) if text.contains(NAME_MARK) => {
                out.write_all(text.replace(NAME_MARK, &escaped(name)).as_bytes())?;
            }
            _ => out.write_all(file.bytes)?,
        }
        out.sync_all()?;
    }
    for folder in folders {
        fs::File::open(folder)?.sync_all()?;
    }
    Ok(())
}

/// Where a template's file belongs. A template can't hold a `.gitignore` of its own: git would obey
/// it where the template is kept.
fn place(path: &str) -> String {
    match path.strip_suffix("gitignore") {
        Some(start) if start.is_empty() || start.ends_with('/') => format!("{start}.gitignore"),
        _ => path.to_owned(),
    }
}

/// A folder's name as it may stand between double quotes in YAML, and anywhere in Markdown.
fn escaped(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '"' | '\\') && !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_template_says_what_it_is_for() {
        let silent: Vec<&str> = all().filter(|(_, about)| about.is_empty()).map(|t| t.0).collect();
        assert_eq!(silent, [""; 0]);
        assert!(ABOUT.iter().all(|(name, _)| find(name).is_ok()), "there are no others");
    }

    #[test]
    fn a_project_is_made_whole() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let folder = dir.path().join("my shop");
        let leftover = dir.path().join(".my shop.moa-init-999999999");
        fs::create_dir(&leftover).expect("mkdir");
        for name in names() {
            make(find(name).expect("it is there"), &folder).expect("it can be made");
            let settings = fs::read_to_string(folder.join("moa.yaml")).expect("settings");
            assert!(settings.contains("\"my shop\""), "{settings}");
            assert!(folder.join(".gitignore").is_file() && !folder.join("gitignore").exists());
            let again = make(find(name).expect("it is there"), &folder);
            assert_eq!(again.expect_err("it is there already").exit, crate::exit::Exit::Refused);
            fs::remove_dir_all(&folder).expect("rm");
        }
        assert!(!leftover.exists());
        assert_eq!(fs::read_dir(dir.path()).expect("ls").count(), 0);
    }

    #[test]
    fn a_folder_that_is_there_stays_the_same_one() {
        use std::os::unix::fs::MetadataExt as _;
        let dir = tempfile::tempdir().expect("a temporary folder");
        let shop = dir.path().join("shop");
        let id = || fs::metadata(&shop).expect("it is there").ino();
        let template = find("project-build").expect("it is there");
        fs::create_dir_all(shop.join(".git")).expect("mkdir");
        // A crash left something in it.
        fs::create_dir(shop.join(".shop.moa-init-999999999")).expect("mkdir");
        let before = id();
        make(template, &shop).expect("nothing of a project is in it");
        assert_eq!(id(), before);
        let entries = fs::read_dir(&shop).expect("ls").flatten();
        let mut names: Vec<_> = entries.map(|entry| entry.file_name()).collect();
        names.retain(|name| name.to_string_lossy().starts_with('.'));
        names.sort();
        assert_eq!(names, [".env.example", ".git", ".gitignore"]);
        assert!(shop.join("moa.yaml").is_file() && shop.join("agents").is_dir());
        assert!(make(template, &shop).is_err());
        assert_eq!(fs::read_dir(dir.path()).expect("ls").count(), 1);
    }

    #[test]
    fn what_was_killed_half_way_is_finished_and_what_fails_is_undone() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let shop = dir.path().join("shop");
        let template = find("project-build").expect("it is there");
        // As a kill leaves it: whole beside, and only a part of it in its place.
        let rest = shop.join(".shop.moa-init-999999999.project-build");
        fs::create_dir(&shop).expect("mkdir");
        write_all(template, &rest, "shop").expect("written");
        fs::rename(rest.join("agents"), shop.join("agents")).expect("moved");
        assert!(make(find("blank").expect("it is there"), &shop).is_err(), "it is another one");
        // Somebody's own file stays, and so does what was to be moved.
        fs::write(shop.join("workflows"), "mine").expect("write");
        assert!(make(template, &shop).is_err());
        assert_eq!(fs::read_dir(&shop).expect("ls").count(), 3);
        fs::remove_file(shop.join("workflows")).expect("rm");
        make(template, &shop).expect("it goes on");
        assert!(shop.join("moa.yaml").is_file() && shop.join("workflows").is_dir());
        assert!(shop.join("agents").is_dir() && !rest.exists());
    }

    #[test]
    fn an_unknown_template_gets_a_suggestion() {
        let error = find("data-pipline").err().expect("there is none");
        assert_eq!(error.hints, ["did you mean data-pipeline?"]);
    }
}
