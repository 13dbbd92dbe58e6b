//! Triggers as people see them: what the files say, and what the store knows.

use std::sync::Arc;

use moa_core::time::Millis;
use moa_core::trigger::Source;
use moa_ports::triggers::TriggerRow;
use moa_spec::rule_document;
pub use moa_view::trigger::{Known, backfill, style, when};
use serde_json::{Map, Value as Json, json};

use crate::exit::{Exit, Failure, Result};
use crate::node::triggers;
use crate::place::Place;
use crate::project::Loaded;
use crate::reader::Reader;
use crate::text;

/// Which triggers a command is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// Those with a clock.
    Schedules,
    /// All of them.
    All,
}

impl Which {
    /// The word for one.
    pub fn word(self) -> &'static str {
        match self {
            Self::Schedules => "schedule",
            Self::All => "trigger",
        }
    }

    /// The command about them.
    pub fn command(self) -> &'static str {
        match self {
            Self::Schedules => "moa schedules",
            Self::All => "moa triggers",
        }
    }
}

/// The triggers of a project, in order of workflow and name. Those whose definition is gone are not
/// among them.
pub async fn known(place: &Place, reader: Option<&Reader>, which: Which) -> Result<Vec<Known>> {
    of(&place.load().await?, reader, which).await
}

/// The same of a project that is read already.
pub async fn of(loaded: &Loaded, reader: Option<&Reader>, which: Which) -> Result<Vec<Known>> {
    let mut wanted = triggers::wanted(&loaded.project);
    let rows = match reader {
        Some(reader) => triggers::all(&*reader.views).await?,
        None => Vec::new(),
    };
    let mut all = Vec::new();
    for mut row in rows {
        if row.spec.rule {
            if !row.state.removed {
                let workflow = &row.spec.workflow;
                // As a node finds it out when it looks at the files.
                row.state.orphaned = !loaded.unlisted
                    && !loaded.broken.contains(workflow)
                    && !loaded.project.workflows.contains_key(workflow);
                all.push(Known { spec: row.spec.clone(), row: Some(row) });
            }
            continue;
        }
        let broken = loaded.unlisted || loaded.broken.contains(&row.spec.workflow);
        match wanted.remove(&row.spec.id()) {
            Some(spec) => all.push(Known { spec: Arc::new(spec), row: Some(row) }),
            None if broken && !row.state.removed => {
                all.push(Known { spec: row.spec.clone(), row: Some(row) });
            }
            None => {}
        }
    }
    all.extend(wanted.into_values().map(|spec| Known { spec: Arc::new(spec), row: None }));
    all.retain(|known| which == Which::All || known.spec.schedule().is_some());
    all.sort_by_key(|known| known.spec.title());
    Ok(all)
}

/// The same, also of one that is removed: what became of its occurrences is kept for a while.
pub async fn find_past(
    place: &Place,
    reader: Option<&Reader>,
    which: Which,
    name: &str,
) -> Result<Known> {
    let failure = match find(place, reader, which, name).await {
        Err(failure) if failure.exit == Exit::NotFound => failure,
        found => return found,
    };
    let Some(reader) = reader else { return Err(failure) };
    let mut rows = triggers::all(&*reader.views).await?;
    rows.retain(|row| which == Which::All || row.spec.schedule().is_some());
    let of_workflow = |row: &&TriggerRow| !row.spec.rule && row.spec.workflow.as_str() == name;
    let titled = rows.iter().find(|row| row.spec.title() == name);
    let only = || Some(rows.iter().filter(of_workflow)).filter(|all| all.clone().count() == 1);
    let row = titled.or_else(|| only()?.next()).cloned();
    let row = row.ok_or(failure)?;
    Ok(Known { spec: row.spec.clone(), row: Some(row) })
}

/// The trigger that a person means: `WORKFLOW/NAME`, or the workflow when it has one only.
pub async fn find(
    place: &Place,
    reader: Option<&Reader>,
    which: Which,
    name: &str,
) -> Result<Known> {
    let loaded = place.load().await?;
    let mut all = of(&loaded, reader, which).await?;
    let titles: Vec<String> = all.iter().map(|known| known.spec.title()).collect();
    if let Some(at) = titles.iter().position(|title| title == name) {
        return Ok(all.swap_remove(at));
    }
    let of_workflow = |known: &&Known| !known.spec.rule && known.spec.workflow.as_str() == name;
    let mut of_workflow: Vec<Known> = all.iter().filter(of_workflow).cloned().collect();
    if of_workflow.len() > 1 {
        let names: Vec<String> = of_workflow.iter().map(|k| k.spec.title()).collect();
        let text = format!("{name} has several {}s: {}", which.word(), names.join(", "));
        return Err(Failure::usage(text).hint("name one of them"));
    }
    if let Some(only) = of_workflow.pop() {
        return Ok(only);
    }
    // Nobody knows what a file that is broken would say.
    let workflow = name.split_once('/').map_or(name, |(workflow, _)| workflow);
    if let Some(broken) = loaded.broken.iter().find(|broken| broken.as_str() == workflow) {
        return Err(loaded.problems.of_workflow(broken).failure(false));
    }
    let failure = Failure::not_found(format!("there is no {} {name}", which.word()));
    let files = all.iter().filter(|known| !known.spec.rule);
    let workflows = files.map(|known| known.spec.workflow.as_str());
    Err(match text::nearest(name, titles.iter().map(String::as_str).chain(workflows)) {
        Some(near) => failure.hint(format!("did you mean {near}?")),
        None => failure.hint(format!("`{} list` lists them", which.command())),
    })
}

/// A rule for programs. What it is and whether it is active has the names of the SQL view.
pub fn rule_json(rule: &Known, now: Millis) -> Json {
    let spec = &rule.spec;
    let params = match spec.params.source() {
        Json::Null => Json::Object(Map::new()),
        params => params.clone(),
    };
    let (event, condition) = match &spec.source {
        Source::Event { event, matches } => (event.as_str(), matches.as_ref().map(|m| m.source())),
        _ => ("", None),
    };
    let mut row = rule.json(now);
    let more = json!({
        "name": spec.name,
        "trigger": spec.title(),
        "trigger_event": event,
        "condition": condition,
        "action_type": "run_workflow",
        "action_config": {"workflow": spec.workflow, "params": params},
        "is_active": spec.enabled,
        "last_triggered": row["last_started"],
        "definition": rule_document(spec),
    });
    if let (Json::Object(row), Json::Object(more)) = (&mut row, more) {
        for key in ["kind", "enabled", "next", "last_started", "backfills"] {
            row.remove(key);
        }
        row.extend(more);
    }
    row
}
