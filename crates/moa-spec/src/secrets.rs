//! Secrets that files use and nobody has.
//!
//! Whether a secret is there is a matter of the machine, not of the file: so this is asked apart from
//! the checks of a file, and its answers are warnings. Absent by intent: values of secrets.

use moa_core::ids::Name;

use crate::codes;
use crate::diagnostic::Diagnostic;
use crate::read::Cx;
use crate::source::Source;
use crate::{agents, workflow};

/// A file that may use secrets.
#[derive(Debug, Clone, Copy)]
pub enum SecretsOf<'a> {
    /// A workflow file of that id.
    Workflow(&'a Name),
    /// A file of agents, with its stem.
    Agents(&'a Name),
}

/// Warns of each use of a secret for which `has` says no. Nothing else of the file is reported.
pub fn missing_secrets(
    source: &Source,
    file: SecretsOf,
    has: &dyn Fn(&str) -> bool,
) -> Vec<Diagnostic> {
    let mut first = Cx::new(source);
    match file {
        SecretsOf::Workflow(id) => drop(workflow::read_into(id, None, &mut first)),
        SecretsOf::Agents(stem) => drop(agents::read(stem, &mut first)),
    }
    let mut uses = std::mem::take(&mut first.secrets);
    uses.sort_by_key(|one| one.span.start);
    uses.dedup_by_key(|one| one.span.clone());
    let mut cx = Cx::new(source);
    for one in uses.iter().filter(|one| !has(&one.value)) {
        let name = &one.value;
        let message = format!("there is no secret `{name}`");
        let d = cx.warn(codes::NO_SECRET, one.span.clone(), message);
        d.cause("a run that needs it is refused, and a step that uses it fails");
        d.help(format!("add a line {name}=... to .env, or set the variable MOA_SECRET_{name}"));
    }
    cx.finish()
}
