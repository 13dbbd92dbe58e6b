//! The agents that there are, as they are now: swapped whole when files change, read at every start
//! of an attempt.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use jsonschema::{PatternOptions, Validator};
use moa_core::agent::{ActionSpec, AgentKind, AgentSpec};
use moa_core::ids::Name;
use moa_core::workflow::NOTIFY_WORKFLOW;
use serde_json::Value as Json;

/// Agents that are part of moa and take any action: id, title, what they do and what they are given.
/// Others bring their own description.
const BUILTINS: [(&str, &str, &str); 4] = [
    (
        "http",
        "Calls a URL",
        "Params: `url`, `method`, `headers`, `body`. `http: URL` is short for a step of it.",
    ),
    ("noop", "Does nothing", "Gives back its params."),
    (
        "notify",
        "Notifies people",
        "Params: `channel` (one of `notify.channels` in moa.yaml), `text`, `title`, `level`, `key`, \
         `about`. `notify: CHANNEL` is short for a step of it.",
    ),
    ("shell", "Runs a script", "Params: `script`, `cwd`. `run: SCRIPT` is short for a step of it."),
];

/// What delivers moa's own notices: the agent `notify`, by a name that no agent of a project can take.
fn messenger() -> Option<AgentSpec> {
    let about = "Delivers notices of moa itself.";
    let spec = builtin((NOTIFY_WORKFLOW, "Tells people", about))?;
    Some(AgentSpec { kind: AgentKind::Builtin("notify".to_owned()), ..spec })
}

/// The agents that are part of moa, in order of their ids.
pub fn builtins() -> impl Iterator<Item = AgentSpec> {
    BUILTINS.iter().copied().filter_map(builtin).chain(crate::youtube::spec())
}

/// The agents by id, shared by all that ask for them. Cheap to clone and to read.
#[derive(Clone)]
pub struct SharedAgents(Arc<RwLock<HashMap<Name, Arc<Entry>>>>);

impl SharedAgents {
    /// The agents that are part of moa, and `specs`.
    pub fn new(specs: impl IntoIterator<Item = Arc<AgentSpec>>) -> Self {
        let agents = Self(Arc::default());
        agents.replace(specs);
        agents
    }

    /// Makes `specs`, beside the agents that are part of moa, the agents that there are. Attempts
    /// that run keep the agent that they started with.
    pub fn replace(&self, specs: impl IntoIterator<Item = Arc<AgentSpec>>) {
        // A declared agent of the same id goes before one that is part of moa.
        let builtins = builtins().map(Arc::new);
        let all = builtins.chain(specs).chain(messenger().map(Arc::new));
        let all: Vec<Arc<AgentSpec>> = all.collect();
        let mut map = self.0.write().unwrap_or_else(PoisonError::into_inner);
        // What was compiled for an agent that didn't change is kept.
        *map = all
            .into_iter()
            .map(|spec| match map.get(&spec.id) {
                Some(old) if old.spec == spec => (spec.id.clone(), old.clone()),
                _ => (spec.id.clone(), Arc::new(Entry::new(spec))),
            })
            .collect();
    }

    /// The agent with that id.
    pub fn get(&self, id: &Name) -> Option<Arc<AgentSpec>> {
        self.entry(id).map(|entry| entry.spec.clone())
    }

    /// Every agent that workflows may use, in order of its id; those that are part of moa among them.
    pub fn all(&self) -> Vec<Arc<AgentSpec>> {
        let map = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let all = map.values().map(|entry| entry.spec.clone());
        let mut all: Vec<_> = all.filter(|spec| spec.id.as_str() != NOTIFY_WORKFLOW).collect();
        all.sort_by(|a, b| a.id.cmp(&b.id));
        all
    }

    pub(crate) fn entry(&self, id: &Name) -> Option<Arc<Entry>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }
}

impl Default for SharedAgents {
    fn default() -> Self {
        Self::new([])
    }
}

impl fmt::Debug for SharedAgents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.all().iter().map(|spec| &spec.id)).finish()
    }
}

fn builtin((id, title, about): (&str, &str, &str)) -> Option<AgentSpec> {
    Some(AgentSpec {
        id: Name::new(id).ok()?,
        name: Some(title.to_owned()),
        description: Some(about.to_owned()),
        tier: None,
        labels: Default::default(),
        actions: Default::default(),
        concurrency: None,
        limits: Default::default(),
        retry: None,
        timeout: None,
        once: false,
        env: Default::default(),
        kind: AgentKind::Builtin(id.to_owned()),
    })
}

/// An agent and what is compiled from it when first needed.
pub(crate) struct Entry {
    pub spec: Arc<AgentSpec>,
    schemas: HashMap<String, Schemas>,
}

#[derive(Default)]
struct Schemas {
    params: Schema,
    output: Schema,
}

/// A compiled schema, or why it can't be compiled.
type Schema = OnceLock<Result<Validator, String>>;

impl Entry {
    fn new(spec: Arc<AgentSpec>) -> Self {
        let schemas = spec.actions.keys().map(|action| (action.clone(), Schemas::default()));
        Self { schemas: schemas.collect(), spec }
    }

    /// Whether an attempt of `action` whose outcome is unknown must never be repeated.
    pub fn once(&self, action: &str) -> bool {
        is_once(&self.spec, action)
    }

    /// The declaration of `action`, if actions are declared.
    ///
    /// # Errors
    /// Actions are declared, and this is none of them.
    pub fn action(&self, action: &str) -> Result<Option<&ActionSpec>, String> {
        let actions = &self.spec.actions;
        if actions.is_empty() {
            return Ok(None);
        }
        actions.get(action).map(Some).ok_or_else(|| {
            let known: Vec<&str> = actions.keys().map(String::as_str).take(20).collect();
            let id = &self.spec.id;
            format!("agent `{id}` has no action `{action}`; it has: {}", known.join(", "))
        })
    }

    /// Checks params against the schema of the action, if it has one.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn check_params(&self, action: &str, params: &Json) -> Result<(), String> {
        let Some(schema) = self.spec.actions.get(action).and_then(|a| a.params.as_ref()) else {
            return Ok(());
        };
        let Some(schemas) = self.schemas.get(action) else { return Ok(()) };
        violations(&schemas.params, schema, params)
            .map_err(|why| format!("the params don't meet the schema of `{action}`: {why}"))
    }

    /// Checks an output against the schema of the action, if it has one.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check_output(&self, action: &str, output: &Json) -> Result<(), String> {
        let Some(schema) = self.spec.actions.get(action).and_then(|a| a.output.as_ref()) else {
            return Ok(());
        };
        let Some(schemas) = self.schemas.get(action) else { return Ok(()) };
        violations(&schemas.output, schema, output)
            .map_err(|why| format!("the output doesn't meet the schema of `{action}`: {why}"))
    }
}

/// Whether an attempt of `action` whose outcome is unknown must never be repeated.
pub fn is_once(spec: &AgentSpec, action: &str) -> bool {
    spec.once || spec.actions.get(action).is_some_and(|action| action.once)
}

/// The first three ways in which `value` breaks `schema`.
fn violations(compiled: &Schema, schema: &Json, value: &Json) -> Result<(), String> {
    let compile = || {
        // References to other documents are refused, and patterns take linear time.
        let options = jsonschema::options().offline();
        let options = options.with_pattern_options(PatternOptions::regex());
        options.build(schema).map_err(|e| format!("the schema itself is wrong: {e}"))
    };
    let validator = compiled.get_or_init(compile).as_ref().map_err(Clone::clone)?;
    let mut errors = validator.iter_errors(value).map(|e| {
        let at = e.instance_path().to_string();
        let at = if at.is_empty() { "/".to_owned() } else { at };
        let text: String = e.to_string().chars().take(300).collect();
        format!("at {at}: {text}")
    });
    let first: Vec<String> = errors.by_ref().take(3).collect();
    match (first.is_empty(), errors.next()) {
        (true, _) => Ok(()),
        (false, None) => Err(first.join("; ")),
        (false, Some(_)) => Err(format!("{}; and more", first.join("; "))),
    }
}
