//! A project: `moa.yaml`, `workflows/*.yaml`, `agents/*.yaml`, `calendars/*.ics`, read and checked
//! as a whole.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use moa_connectors::Redactor;
use moa_core::agent::AgentSpec;
use moa_core::ids::Name;
use moa_core::schedule::Calendars;
use moa_core::workflow::{NOTIFY_WORKFLOW, ParamSpec, Plan, notify_workflow};
use moa_spec::{
    Diagnostic, ParamError, Settings, Source, Triggers, Workflow, WorkflowSummary, WorkflowTest,
};
use moa_view::rows::ProjectFile;
use serde_json::{Map, Value as Json, json};

use crate::exit::{Exit, Failure, Result};
use crate::files::{Beneath, Content, Stamp};
use crate::text;
use crate::view;

/// The settings file, by which a project's folder is known.
pub const SETTINGS_FILE: &str = "moa.yaml";
/// The code of a diagnostic that names an agent that isn't there.
const UNKNOWN_AGENT: &str = "MOA0401";

/// Where a project is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Its folder, absolute.
    pub root: PathBuf,
}

impl Layout {
    /// The project in `folder`, or else the nearest one above this process's folder.
    pub fn find(folder: Option<&Path>) -> Result<Self> {
        if let Some(folder) = folder {
            let root = std::fs::canonicalize(folder)
                .map_err(|e| Failure::io(format!("can't open {}", folder.display()), &e))?;
            if !root.join(SETTINGS_FILE).is_file() {
                let text = format!("{} is not a project: it has no moa.yaml", folder.display());
                return Err(Failure::not_found(text).hint("`moa init NAME` makes a project"));
            }
            return Ok(Self { root });
        }
        let here = std::env::current_dir()
            .map_err(|e| Failure::io("can't tell the current folder", &e))?;
        let root = here.ancestors().find(|dir| dir.join(SETTINGS_FILE).is_file());
        let root = root.ok_or_else(|| {
            let text = format!("there is no moa.yaml in {} or above", here.display());
            Failure::not_found(text)
                .hint("`moa init NAME` makes a project, `--project DIR` names one")
        })?;
        Ok(Self { root: root.into() })
    }

    /// The folder of its state.
    pub fn state(&self) -> PathBuf {
        self.root.join(".moa")
    }
}

/// What a project says, as far as it is good.
#[derive(Debug, Clone, Default)]
pub struct Project {
    /// Settings.
    pub settings: Settings,
    /// Agents by id; without those that are part of moa.
    pub agents: BTreeMap<Name, Arc<AgentSpec>>,
    /// Workflows by id.
    pub workflows: BTreeMap<Name, Arc<Served>>,
    /// The days of calendars by name.
    pub calendars: Calendars,
}

/// A workflow that can be run.
#[derive(Debug, Clone)]
pub struct Served {
    /// What the engine executes.
    pub plan: Plan,
    /// The text that it was made from.
    pub source: Source,
    /// Its tests.
    pub tests: Vec<WorkflowTest>,
    /// What starts its runs; `None` = not known: the version is one that the store has.
    pub triggers: Option<Triggers>,
}

/// A project as read.
#[derive(Debug, Default)]
pub struct Loaded {
    /// What is good of it; what is broken stands here as it was before, if it was.
    pub project: Project,
    /// What is wrong with it.
    pub problems: Problems,
    /// Workflows whose file has errors.
    pub broken: BTreeSet<Name>,
    /// Workflows with errors that use an agent whose file has errors.
    pub agentless: BTreeSet<Name>,
    /// Agents that can't be used because their file has errors, and that file.
    pub broken_agents: BTreeMap<Name, String>,
    /// Whether the settings have errors.
    pub settings_broken: bool,
    /// Whether it isn't known which workflows there are.
    pub unlisted: bool,
    /// Its files as they were read; `None` = can't be read.
    pub known: BTreeMap<String, Option<Known>>,
}

/// A file as it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// What tells quickly that it has not changed.
    pub stamp: Stamp,
    /// Hash of its content.
    pub hash: [u8; 32],
    /// Whether it was so new that a change may not show in the stamp.
    pub racy: bool,
}

/// What is wrong with a project.
#[derive(Debug, Clone, Default)]
pub struct Problems {
    /// Mistakes in files.
    pub diagnostics: Vec<Diagnostic>,
    /// The files that they are in.
    pub sources: Vec<Source>,
    /// Files that can't be read at all.
    pub others: Vec<Other>,
}

/// A file that can't be read, or should not be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Other {
    /// The file, relative to the project.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: String,
}

impl Problems {
    /// Whether anything keeps a file from being used.
    pub fn has_errors(&self) -> bool {
        !self.others.is_empty() || moa_spec::has_errors(&self.diagnostics)
    }

    /// Errors and warnings, counted.
    pub fn counts(&self) -> (usize, usize) {
        let errors = self.diagnostics.iter().filter(|d| d.is_error()).count();
        (errors + self.others.len(), self.diagnostics.len() - errors)
    }

    /// What is wrong with the files for which `wanted` holds.
    pub fn only(&self, wanted: impl Fn(&str) -> bool) -> Self {
        Self {
            diagnostics: self.diagnostics.iter().filter(|d| wanted(&d.path)).cloned().collect(),
            sources: self.sources.clone(),
            others: self.others.iter().filter(|o| wanted(&o.path)).cloned().collect(),
        }
    }

    /// What is wrong with a workflow, and with the settings and agents that it may use.
    pub fn of_workflow(&self, name: &Name) -> Self {
        let path = format!("workflows/{name}.");
        self.only(|p| p.starts_with(&path) || !p.starts_with("workflows/"))
    }

    /// Only what keeps files from being used.
    pub fn errors(&self) -> Self {
        let mut errors = self.clone();
        errors.diagnostics.retain(Diagnostic::is_error);
        errors
    }

    /// What keeps files from being used and did not do so in `before`.
    pub fn new_errors(&self, before: &Self) -> Self {
        let mut errors = self.errors();
        errors.diagnostics.retain(|found| !before.diagnostics.contains(found));
        errors.others.retain(|other| !before.others.contains(other));
        errors
    }

    /// For people: with excerpts, causes and fixes.
    pub fn render(&self, color: bool) -> String {
        let mut out = String::new();
        for other in &self.others {
            let Other { path, message, help } = other;
            let word = crate::ui::paint(color, crate::ui::Style::Red, "error");
            let (path, message) = (text::safe_line(path), text::safe_line(message));
            out.push_str(&format!("{word}: {message}\n --> {path}\n  = help: {help}\n\n"));
        }
        out.push_str(&moa_spec::render(&self.diagnostics, &self.sources, color));
        out
    }

    /// For programs.
    pub fn json(&self) -> Vec<Json> {
        let others = self.others.iter().map(|other| {
            json!({
                "code": null, "severity": "error", "path": other.path, "line": 1, "column": 1,
                "message": other.message, "help": other.help,
            })
        });
        let diagnostics = self.diagnostics.iter().map(|d| {
            let mut value = serde_json::to_value(d).unwrap_or_default();
            value["span"] = json!([d.span.start, d.span.end]);
            value
        });
        others.chain(diagnostics).collect()
    }

    /// As the failure of a command.
    pub fn failure(&self, color: bool) -> Failure {
        let (errors, _) = self.counts();
        let text = format!("{} in the project's files", text::plural(errors, "error"));
        let failure = Failure::new(Exit::Invalid, text).detail(self.errors().render(color));
        match self.diagnostics.iter().find(|d| d.is_error()) {
            Some(d) => failure.hint(format!("`moa explain {}` says more", d.code)),
            None => failure,
        }
    }

    fn other(&mut self, path: &str, message: impl Into<String>, help: impl Into<String>) {
        let (message, help) = (message.into(), help.into());
        self.others.push(Other { path: path.into(), message, help });
    }
}

/// A file of a project.
struct File {
    path: String,
    stem: Name,
    source: Source,
}

/// Reads and checks a project. What is broken is taken from `last`, what it was when it was good.
pub fn load(layout: &Layout, last: Option<&Project>) -> Result<Loaded> {
    let beneath = Beneath::new(&layout.root)
        .map_err(|e| Failure::io(format!("can't open {}", layout.root.display()), &e))?;
    let mut loaded = Loaded::default();
    load_settings(&beneath, last, &mut loaded);
    load_rest(&beneath, last, &mut loaded);
    Ok(loaded)
}

/// The same of files that came from elsewhere. Without the settings file, nothing is said of it.
pub fn load_texts(files: Vec<ProjectFile>) -> Loaded {
    let texts = Texts(files.into_iter().map(|file| (file.path, file.text)).collect());
    let mut loaded = Loaded::default();
    match texts.0.contains_key(SETTINGS_FILE) {
        true => load_settings(&texts, None, &mut loaded),
        false => loaded.settings_broken = true,
    }
    load_rest(&texts, None, &mut loaded);
    loaded
}

fn load_rest(files: &dyn Files, last: Option<&Project>, loaded: &mut Loaded) {
    load_agents(files, last, loaded);
    load_calendars(files, last, loaded);
    load_workflows(files, last, loaded);
    check_metrics(loaded);
}

/// The files of a project as they are; the settings file only when it is asked for.
pub fn texts(layout: &Layout, settings: bool) -> Result<Vec<ProjectFile>> {
    let failed = |e: &std::io::Error| {
        Failure::io(format!("can't read the files of {}", layout.root.display()), e)
    };
    let beneath = Beneath::new(&layout.root).map_err(|e| failed(&e))?;
    let paths = paths(&beneath).map_err(|e| failed(&e))?;
    let wanted = paths.into_iter().filter(|path| settings || path != SETTINGS_FILE);
    let file = |path: String| {
        let content = beneath.read(Path::new(&path)).ok();
        let text = content.and_then(|content| String::from_utf8(content.bytes).ok());
        ProjectFile { path, text }
    };
    Ok(wanted.map(file).collect())
}

/// Takes secrets out of a file, which stays what it is: where its text without them would say something
/// else (`***` alone is an alias), or would name something else, it becomes JSON, which is YAML.
pub fn redact(file: &mut ProjectFile, redactor: &Redactor) {
    let Some(text) = &file.text else { return };
    let Cow::Owned(clean) = redactor.text(text) else { return };
    let read = |text: &str| moa_spec::document(&Source::new(file.path.clone(), text)).0;
    let shown = match read(text) {
        // With errors, it is only looked at.
        None => clean,
        Some(mut document) => {
            redactor.document(&mut document);
            if read(&clean).as_ref() == Some(&document) { clean } else { document.to_string() }
        }
    };
    file.text = Some(shown);
}

/// Leaves out of the file of an agent what only those may see who may start runs: what is left is
/// JSON, which is YAML. One with errors is left out as a whole.
pub fn for_viewers(file: &mut ProjectFile) {
    if !file.path.starts_with("agents/") {
        return;
    }
    let text = file.text.take().unwrap_or_default();
    let (document, _) = moa_spec::document(&Source::new(file.path.clone(), text));
    file.text = document.map(|mut agent| {
        moa_view::agent::for_viewers(&mut agent);
        agent.to_string()
    });
}

/// Where the files of a project are read.
trait Files {
    /// The names in a folder, sorted; none when there is no such folder.
    fn names(&self, folder: &str) -> std::io::Result<Vec<String>>;

    /// A file.
    fn content(&self, path: &str) -> std::io::Result<Content>;
}

impl Files for Beneath {
    fn names(&self, folder: &str) -> std::io::Result<Vec<String>> {
        self.list(Path::new(folder))
    }

    fn content(&self, path: &str) -> std::io::Result<Content> {
        self.read(Path::new(path))
    }
}

/// Files that came from elsewhere, by path.
struct Texts(BTreeMap<String, Option<String>>);

impl Files for Texts {
    fn names(&self, folder: &str) -> std::io::Result<Vec<String>> {
        let inside = |path: &String| {
            let (of, name) = path.split_once('/')?;
            (of == folder && !name.contains('/')).then(|| name.to_owned())
        };
        Ok(self.0.keys().filter_map(inside).collect())
    }

    fn content(&self, path: &str) -> std::io::Result<Content> {
        let text = self.0.get(path).cloned().flatten();
        let text = text.ok_or_else(|| std::io::Error::other("its node can't read it"))?;
        let stamp = Stamp { ctime: 0, mtime: 0, size: text.len() as u64, inode: 0 };
        Ok(Content { bytes: text.into_bytes(), stamp })
    }
}

/// What counters name has to be there, sound or not.
fn check_metrics(loaded: &mut Loaded) {
    let Loaded { project, broken, broken_agents, problems, settings_broken, .. } = loaded;
    let settings = problems.sources.iter().find(|source| source.path == SETTINGS_FILE);
    let Some(source) = settings.filter(|_| !*settings_broken) else { return };
    let mut workflows: BTreeSet<Name> = project.workflows.keys().cloned().collect();
    workflows.extend(broken.iter().cloned());
    workflows.insert(notify_workflow());
    let builtin = moa_spec::BUILTIN_AGENTS.iter().filter_map(|id| Name::new(id).ok());
    let mut agents: BTreeSet<Name> = project.agents.keys().cloned().chain(builtin).collect();
    agents.extend(broken_agents.keys().cloned());
    problems.diagnostics.extend(moa_spec::check_metrics(source, &workflows, &agents));
}

/// The paths of a project's files.
pub fn paths(beneath: &Beneath) -> std::io::Result<Vec<String>> {
    let mut paths = vec![SETTINGS_FILE.to_owned()];
    for folder in ["agents", "calendars", "workflows"] {
        let names = beneath.list(Path::new(folder))?;
        let ours = names.iter().filter(|name| is_ours(folder, name));
        paths.extend(ours.map(|name| format!("{folder}/{name}")));
    }
    Ok(paths)
}

/// Whether a name in a folder is a file for us.
fn is_ours(folder: &str, name: &str) -> bool {
    if folder == "calendars" { is_calendar(name) } else { is_yaml(name) }
}

/// Whether a name is a calendar; not those that editors leave beside it.
fn is_calendar(name: &str) -> bool {
    name.ends_with(".ics") && !name.starts_with(['.', '#', '~'])
}

/// Whether a name is a file for us; not those that editors leave beside it.
fn is_yaml(name: &str) -> bool {
    let yaml = name.ends_with(".yaml") || name.ends_with(".yml");
    yaml && !name.starts_with(['.', '#', '~'])
}

fn load_settings(beneath: &dyn Files, last: Option<&Project>, loaded: &mut Loaded) {
    let Some(source) = read(beneath, SETTINGS_FILE, loaded) else {
        loaded.settings_broken = true;
        loaded.project.settings = last.map(|p| p.settings.clone()).unwrap_or_default();
        return;
    };
    let (settings, diagnostics) = moa_spec::parse_settings(&source);
    loaded.problems.diagnostics.extend(diagnostics);
    loaded.problems.sources.push(source);
    loaded.settings_broken |= settings.is_none();
    let before = || last.map(|p| p.settings.clone()).unwrap_or_default();
    loaded.project.settings = settings.unwrap_or_else(before);
}

fn load_agents(beneath: &dyn Files, last: Option<&Project>, loaded: &mut Loaded) {
    let mut broken = false;
    let mut agents: BTreeMap<Name, (Arc<AgentSpec>, String)> = BTreeMap::new();
    for file in read_folder(beneath, "agents", loaded, &mut broken) {
        let (specs, diagnostics) = moa_spec::parse_agents(&file.source, &file.stem);
        let has_errors = moa_spec::has_errors(&diagnostics);
        loaded.problems.diagnostics.extend(diagnostics);
        if has_errors {
            broken = true;
            let ids = specs.into_iter().map(|spec| spec.id).chain([file.stem]);
            loaded.broken_agents.extend(ids.map(|id| (id, file.path.clone())));
            loaded.problems.sources.push(file.source);
            continue;
        }
        for spec in specs {
            if let Some((_, first)) = agents.get(&spec.id) {
                let found = moa_spec::stands_twice(&file.source, &spec.id, first);
                loaded.problems.diagnostics.push(found);
                broken = true;
                continue;
            }
            agents.insert(spec.id.clone(), (Arc::new(spec), file.path.clone()));
        }
        loaded.problems.sources.push(file.source);
    }
    // A broken file takes out its own agents alone, and not even those that were good before.
    if let Some(last) = last.filter(|_| broken) {
        loaded.project.agents.clone_from(&last.agents);
    }
    loaded.project.agents.extend(agents.into_iter().map(|(id, (spec, _))| (id, spec)));
    let Loaded { broken_agents, project, .. } = loaded;
    broken_agents.retain(|id, _| last.is_some() || !project.agents.contains_key(id));
}

fn load_calendars(beneath: &dyn Files, last: Option<&Project>, loaded: &mut Loaded) {
    let mut broken = false;
    for file in read_folder(beneath, "calendars", loaded, &mut broken) {
        let (days, found) = moa_spec::parse_calendar(&file.source);
        loaded.problems.diagnostics.extend(found);
        loaded.problems.sources.push(file.source);
        match days {
            Some(days) => {
                loaded.project.calendars.insert(file.stem, Arc::new(days));
            }
            None => broken = true,
        }
    }
    // A broken file takes nothing away that was good before.
    for (name, days) in last.filter(|_| broken).iter().flat_map(|last| &last.calendars) {
        loaded.project.calendars.entry(name.clone()).or_insert_with(|| days.clone());
    }
}

fn load_workflows(beneath: &dyn Files, last: Option<&Project>, loaded: &mut Loaded) {
    let mut unreadable = false;
    let files = read_folder(beneath, "workflows", loaded, &mut unreadable);
    loaded.unlisted = unreadable && files.is_empty() && loaded.broken.is_empty();
    let parsed: Vec<_> =
        files.iter().map(|file| moa_spec::parse_workflow(&file.source, &file.stem).0).collect();
    let mut context = moa_spec::Project::default();
    let agents = loaded.project.agents.iter();
    context.agents = agents.map(|(id, spec)| (id.clone(), (**spec).clone())).collect();
    context.calendars.clone_from(&loaded.project.calendars);
    if !loaded.settings_broken {
        let channels = loaded.project.settings.notify.channels.keys();
        context.channels = Some(channels.map(Name::to_string).collect());
    }
    for (file, workflow) in files.iter().zip(&parsed) {
        // A broken one takes any params, so that its callers aren't blamed.
        let summary = workflow.as_ref().map_or_else(WorkflowSummary::default, |w| w.summary());
        context.workflows.insert(file.stem.clone(), summary);
    }
    for file in files {
        let File { stem, source, .. } = file;
        let (workflow, mut found) = moa_spec::validate_workflow(&source, &stem, &context);
        if blame_agents(&mut found, &loaded.broken_agents) {
            loaded.agentless.insert(stem.clone());
        }
        let broken = moa_spec::has_errors(&found);
        loaded.problems.diagnostics.extend(found);
        loaded.problems.sources.push(source.clone());
        match workflow.filter(|_| !broken) {
            Some(workflow) => {
                let plan = moa_spec::compile(&workflow);
                let Workflow { tests, triggers, .. } = workflow;
                let served = Served { plan, source, tests, triggers: Some(triggers) };
                loaded.project.workflows.insert(stem, Arc::new(served));
            }
            None => {
                loaded.broken.insert(stem);
            }
        }
    }
    for name in &loaded.broken {
        if let Some(good) = last.and_then(|p| p.workflows.get(name)) {
            loaded.project.workflows.insert(name.clone(), good.clone());
        }
    }
}

/// Diagnostics of a text, were it the file of this workflow.
pub fn check_text(project: &Project, name: &Name, text: String) -> Problems {
    let source = Source::new(format!("workflows/{name}.yaml"), text);
    let mut context = moa_spec::Project::default();
    let agents = project.agents.iter();
    context.agents = agents.map(|(id, spec)| (id.clone(), (**spec).clone())).collect();
    context.calendars.clone_from(&project.calendars);
    let channels = project.settings.notify.channels.keys();
    context.channels = Some(channels.map(Name::to_string).collect());
    let others = project.workflows.iter().map(|(id, served)| (id, &served.source));
    for (id, source) in others.chain([(name, &source)]) {
        let workflow = moa_spec::parse_workflow(source, id).0;
        let summary = workflow.map_or_else(WorkflowSummary::default, |w| w.summary());
        context.workflows.insert(id.clone(), summary);
    }
    let (_, diagnostics) = moa_spec::validate_workflow(&source, name, &context);
    Problems { diagnostics, sources: vec![source], others: Vec::new() }
}

/// What is wrong with the files of a project, and what would be, had one of them this text; `None` =
/// were it not there. Nothing is taken from before: a file with errors is as if it were out.
///
/// # Errors
/// The files can't be read.
pub fn with_file(layout: &Layout, path: &str, text: Option<&str>) -> Result<(Problems, Problems)> {
    let now = texts(layout, true)?;
    let mut then: Vec<ProjectFile> = now.iter().filter(|file| file.path != path).cloned().collect();
    if let Some(text) = text {
        then.push(ProjectFile { path: path.into(), text: Some(text.into()) });
    }
    Ok((load_texts(now).problems, load_texts(then).problems))
}

/// Makes diagnostics of agents that aren't there point to the file that they should be in; answers
/// whether there is one.
fn blame_agents(found: &mut [Diagnostic], broken: &BTreeMap<Name, String>) -> bool {
    let mut any = false;
    for diagnostic in found.iter_mut().filter(|d| d.code == UNKNOWN_AGENT) {
        let named = |id: &Name| diagnostic.message.contains(&format!("`{id}`"));
        if let Some((_, path)) = broken.iter().find(|(id, _)| named(id)) {
            diagnostic.help = Some(format!("mend {path}: it has errors, so its agents are out"));
            any = true;
        }
    }
    any
}

/// The files of a folder that are for us. What can't be read is a problem, and not among them.
fn read_folder(
    beneath: &dyn Files,
    folder: &str,
    loaded: &mut Loaded,
    broken: &mut bool,
) -> Vec<File> {
    let names = beneath.names(folder).unwrap_or_else(|e| {
        *broken = true;
        loaded.problems.other(folder, format!("can't be read: {e}"), "make it a folder");
        Vec::new()
    });
    let mut files: Vec<File> = Vec::new();
    for name in names.iter().filter(|name| is_ours(folder, name)) {
        let path = format!("{folder}/{name}");
        let stem = name.rsplit_once('.').map_or(name.as_str(), |(stem, _)| stem);
        let source = read(beneath, &path, loaded);
        let stem = match Name::new(stem) {
            Ok(stem) => stem,
            Err(e) => {
                let text = format!("its name is the id, and {stem:?} can't be one: {e}");
                loaded.problems.other(&path, text, "rename the file");
                *broken = true;
                continue;
            }
        };
        if ["workflows", "agents"].contains(&folder) && stem.as_str() == NOTIFY_WORKFLOW {
            let text =
                format!("the {} {NOTIFY_WORKFLOW} is part of moa", &folder[..folder.len() - 1]);
            loaded.problems.other(&path, text, "rename the file");
            *broken = true;
            continue;
        }
        match source {
            Some(source) if files.iter().any(|f| f.stem == stem) => {
                *broken = true;
                let first = files.extract_if(.., |f| f.stem == stem);
                take_out_both(folder, first.collect(), File { path, stem, source }, loaded);
            }
            Some(source) => files.push(File { path, stem, source }),
            None => {
                *broken = true;
                if folder == "workflows" {
                    loaded.broken.insert(stem);
                } else if folder == "agents" {
                    loaded.broken_agents.insert(stem, path);
                }
            }
        }
    }
    files
}

/// Notes that there are two files for the same name. None is used, since nobody can tell which was
/// meant.
fn take_out_both(folder: &str, first: Vec<File>, second: File, loaded: &mut Loaded) {
    let File { path, stem, source } = second;
    for other in first {
        let found = moa_spec::stands_twice(&source, &stem, &other.path);
        loaded.problems.diagnostics.push(found);
        loaded.problems.sources.push(other.source);
    }
    loaded.problems.sources.push(source);
    if folder == "workflows" {
        loaded.broken.insert(stem);
    } else if folder == "agents" {
        loaded.broken_agents.insert(stem, path);
    }
}

/// Reads one file; what is wrong with it becomes a problem.
fn read(beneath: &dyn Files, path: &str, loaded: &mut Loaded) -> Option<Source> {
    let content = match beneath.content(path) {
        Ok(content) => content,
        Err(e) => {
            loaded.known.insert(path.into(), None);
            let help = "it must be a readable file inside the project";
            loaded.problems.other(path, format!("can't be read: {e}"), help);
            return None;
        }
    };
    let racy = is_racy(&content.stamp);
    let hash = blake3::hash(&content.bytes).into();
    loaded.known.insert(path.into(), Some(Known { stamp: content.stamp, hash, racy }));
    match Source::from_bytes(path, content.bytes) {
        Ok(source) => Some(source),
        Err(diagnostic) => {
            loaded.problems.diagnostics.push(*diagnostic);
            None
        }
    }
}

/// Whether a file changed so recently that the next change may have the same stamp.
pub fn is_racy(stamp: &Stamp) -> bool {
    let changed = stamp.ctime.max(stamp.mtime) / 1_000_000;
    i128::from(view::now().0) - changed < 2000
}

/// The params of a run: texts become values as their declarations say, then all are checked, and
/// defaults filled in.
pub fn check_params(
    plan: &Plan,
    params: Map<String, Json>,
    texts: &[(String, String)],
) -> Result<Map<String, Json>> {
    checked(&plan.params, params, texts).map_err(|errors| {
        let messages: Vec<&str> = errors.iter().map(|e| e.message.as_str()).collect();
        let text = format!("the params don't fit: {}", messages.join("; "));
        let mut failure = Failure::usage(text);
        failure.hints.extend(errors.iter().filter_map(|e| e.help.clone()));
        failure.hint(format!("`moa workflows show {}` lists the params", plan.workflow))
    })
}

/// The same of a form that somebody fills in.
pub fn check_fields(
    fields: &[ParamSpec],
    texts: &[(String, String)],
) -> std::result::Result<Map<String, Json>, Vec<ParamError>> {
    checked(fields, Map::new(), texts)
}

fn checked(
    specs: &[ParamSpec],
    mut params: Map<String, Json>,
    texts: &[(String, String)],
) -> std::result::Result<Map<String, Json>, Vec<ParamError>> {
    let mut errors = Vec::new();
    for (name, value) in texts {
        let spec = specs.iter().find(|spec| spec.name == *name);
        let value = match spec {
            Some(spec) => moa_spec::param_from_text(spec, value),
            None => Ok(moa_spec::free_param(value)),
        };
        match value {
            Ok(value) => {
                params.insert(name.clone(), value);
            }
            Err(error) => errors.push(error),
        }
    }
    let checked = moa_spec::check_against(specs, &params);
    let known: BTreeSet<String> = errors.iter().map(|e| e.name.clone()).collect();
    let checked = checked.map_err(|more| {
        errors.extend(more.into_iter().filter(|e| !known.contains(&e.name)));
    });
    match checked {
        Ok(params) if errors.is_empty() => Ok(params),
        _ => Err(errors),
    }
}

/// The failure of naming a workflow that isn't there.
pub fn unknown_workflow<'a>(name: &str, known: impl IntoIterator<Item = &'a Name>) -> Failure {
    let known: Vec<&str> = known.into_iter().map(Name::as_str).collect();
    let failure = Failure::not_found(format!("there is no workflow {name}"));
    match text::nearest(name, known.iter().copied()) {
        Some(near) => failure.hint(format!("did you mean {near}?")),
        None if known.is_empty() => failure.hint("put workflow files into workflows/"),
        None => failure.hint(format!("there are: {}", known.join(", "))),
    }
}
