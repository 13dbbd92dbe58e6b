//! Keeps a project as its files say: a cheap look before each start of a run and every two seconds.
//!
//! Changed files are checked first. What is broken stays as it was when it was good.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use moa_core::ids::Name;

use crate::exit::{Failure, Result};
use crate::files::Beneath;
use crate::project::{self, Known, Layout, Loaded, Problems, Project};

/// A project that is kept up to date.
pub struct Watched {
    layout: Layout,
    /// What is good of it.
    pub project: Project,
    /// What is wrong with it.
    pub problems: Problems,
    /// Workflows whose file has errors.
    pub broken: BTreeSet<Name>,
    /// Those of them that use an agent whose file has errors.
    pub agentless: BTreeSet<Name>,
    /// Agents whose file has errors, and that file.
    pub broken_agents: BTreeMap<Name, String>,
    /// Whether it isn't known which workflows there are.
    pub unlisted: bool,
    /// Workflows whose version the store may not have yet.
    pub unkept: BTreeSet<Name>,
    known: BTreeMap<String, Option<Known>>,
}

/// What a look has found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    /// Workflows with a new version.
    pub workflows: Vec<Name>,
    /// Whether agents changed.
    pub agents: bool,
    /// Whether webhooks changed.
    pub webhooks: bool,
    /// Whether other settings changed; they hold from the next start on.
    pub settings: bool,
}

impl Watched {
    /// Starts with what was loaded.
    pub fn new(layout: Layout, loaded: Loaded) -> Self {
        let Loaded { project, problems, broken, agentless, broken_agents, unlisted, known, .. } =
            loaded;
        let unkept = BTreeSet::new();
        Self {
            layout,
            project,
            problems,
            broken,
            agentless,
            broken_agents,
            unlisted,
            unkept,
            known,
        }
    }

    /// Where the project is.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Looks whether files changed, and takes over what is good; `None` = nothing changed.
    pub fn look(&mut self) -> Result<Option<Change>> {
        if !self.has_changed()? {
            return Ok(None);
        }
        let loaded = project::load(&self.layout, Some(&self.project))?;
        let before = std::mem::replace(&mut self.project, loaded.project);
        self.problems = loaded.problems;
        self.broken = loaded.broken;
        self.agentless = loaded.agentless;
        self.unlisted = loaded.unlisted;
        let same_broken = self.broken_agents == loaded.broken_agents;
        self.broken_agents = loaded.broken_agents;
        self.known = loaded.known;
        let is_new = |name: &&Name| {
            let hash = |p: &Project| p.workflows.get(*name).map(|w| w.plan.hash);
            hash(&before) != hash(&self.project)
        };
        let workflows: Vec<Name> = self.project.workflows.keys().filter(is_new).cloned().collect();
        self.unkept.extend(workflows.iter().cloned());
        let same_agents = before.agents.len() == self.project.agents.len()
            && before.agents.iter().zip(&self.project.agents).all(|(a, b)| a == b);
        let (mut before, now) = (before.settings, &self.project.settings);
        let webhooks = before.webhooks != now.webhooks;
        before.webhooks.clone_from(&now.webhooks);
        // On which lines they stand is no setting.
        before.given.clone_from(&now.given);
        let settings = before != *now;
        Ok(Some(Change { workflows, agents: !same_agents || !same_broken, webhooks, settings }))
    }

    fn has_changed(&mut self) -> Result<bool> {
        let root = &self.layout.root;
        let known = &mut self.known;
        let mut look = || {
            let beneath = Beneath::new(root)?;
            let paths = project::paths(&beneath)?;
            let same_names =
                paths.len() == known.len() && paths.iter().all(|path| known.contains_key(path));
            Ok(!same_names || !known.iter_mut().all(|(path, known)| same(&beneath, path, known)))
        };
        let changed: std::io::Result<bool> = look();
        changed
            .map_err(|e| Failure::io(format!("can't look at the files of {}", root.display()), &e))
    }

    /// Puts a version in the place of a workflow whose file has been broken since the start.
    pub fn fall_back(&mut self, name: Name, served: project::Served) {
        self.project.workflows.entry(name).or_insert_with(|| Arc::new(served));
    }
}

/// Whether a file is as it was read; remembers what makes the next look quicker.
fn same(beneath: &Beneath, path: &str, known: &mut Option<Known>) -> bool {
    let path = Path::new(path);
    let Some(was) = known else { return beneath.read(path).is_err() };
    match beneath.stamp(path) {
        Ok(stamp) if stamp == was.stamp && !was.racy => return true,
        Ok(_) => {}
        Err(_) => return false,
    }
    match beneath.read(path) {
        Ok(content) if *blake3::hash(&content.bytes).as_bytes() == was.hash => {
            // Once the clock has moved on since the last change, the stamp alone tells.
            let racy = project::is_racy(&content.stamp);
            *known = Some(Known { stamp: content.stamp, racy, hash: was.hash });
            true
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(word: &str) -> String {
        format!("name: {word}\nsteps:\n  - run: echo {word}\n")
    }

    fn watched(root: &Path) -> Watched {
        let layout = Layout { root: root.into() };
        let loaded = project::load(&layout, None).expect("it can be read");
        assert!(!loaded.problems.has_errors(), "{}", loaded.problems.render(false));
        Watched::new(layout, loaded)
    }

    #[test]
    fn edits_are_taken_over_and_broken_ones_are_not() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let write = |path: &str, text: &str| {
            std::fs::write(dir.path().join(path), text).expect("it can be written");
        };
        std::fs::create_dir(dir.path().join("workflows")).expect("mkdir");
        write("moa.yaml", "");
        write("workflows/hello.yaml", &hello("one"));
        let mut watched = watched(dir.path());
        assert_eq!(watched.look().expect("a look"), None);
        let name = Name::new("hello").expect("a name");
        let first = watched.project.workflows[&name].plan.hash;

        // Of the same length, and maybe within one tick of the clock.
        write("workflows/hello.yaml", &hello("two"));
        let change = watched.look().expect("a look").expect("a change");
        assert_eq!(change.workflows, std::slice::from_ref(&name));
        let second = watched.project.workflows[&name].plan.hash;
        assert_ne!(first, second);

        write("workflows/hello.yaml", "steps: [");
        let change = watched.look().expect("a look").expect("a change");
        assert_eq!(change, Change::default());
        assert!(watched.problems.has_errors());
        assert_eq!(watched.project.workflows[&name].plan.hash, second);
        assert_eq!(watched.look().expect("a look"), None);

        write("workflows/hello.yaml", &hello("two"));
        let change = watched.look().expect("a look").expect("a change");
        assert_eq!(change, Change::default());
        assert!(!watched.problems.has_errors());

        // Webhooks hold at once, other settings from the next start on.
        write("moa.yaml", "webhooks: {a: {url: 'http://127.0.0.1:1/'}}\n");
        let change = watched.look().expect("a look").expect("a change");
        assert_eq!((change.webhooks, change.settings), (true, false));
        write("moa.yaml", "name: other\nwebhooks: {a: {url: 'http://127.0.0.1:1/'}}\n");
        let change = watched.look().expect("a look").expect("a change");
        assert_eq!((change.webhooks, change.settings), (false, true));

        std::fs::remove_file(dir.path().join("workflows/hello.yaml")).expect("rm");
        watched.look().expect("a look").expect("a change");
        assert!(watched.project.workflows.is_empty());
    }
}
