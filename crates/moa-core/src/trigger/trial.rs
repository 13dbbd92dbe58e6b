//! What a trigger would do with an event, without doing it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value as Json, json};

use super::fire::event_vars;
use super::record::{Origin, Outcome};
use super::spec::Source;
use super::vars::Vars;
use super::{Applied, Env, Trigger, Tx};
use crate::time::Millis;

/// What a trigger would do with an event.
#[derive(Debug, Clone, PartialEq)]
pub struct Trial {
    /// Whether it would start a run, now or with others.
    pub starts: bool,
    /// Whether it is what the trigger looks for.
    pub matches: bool,
    /// What would become of the occurrence; `None` = it would be passed over.
    pub outcome: Option<Outcome>,
    /// Why, for people.
    pub reason: Option<String>,
    /// The params of the run.
    pub params: Option<Json>,
}

impl Trial {
    /// The same once it is known why the run that it would start can't be: its workflow doesn't take the
    /// params.
    #[must_use]
    pub fn refused(self, reason: String) -> Self {
        Self { starts: false, outcome: Some(Outcome::Failed), reason: Some(reason), ..self }
    }
}

impl Trigger {
    /// What it would do with an event of this type. The trigger itself stays as it is.
    pub fn trial(&self, kind: &str, data: &Arc<Json>, now: Millis) -> Trial {
        let mut copy = self.clone();
        let known = BTreeMap::new();
        let env = Env { now, catch_up_from: None, known: &known, message: None };
        let mut tx = Tx::new(&mut copy, env);
        let mut vars = event_vars(kind, data, None, now);
        if self.spec.collect.is_some() {
            vars["events"] = json!([vars["event"]]);
        }
        let held = tx.held("trial".into(), now, Origin::Live, Arc::new(vars));
        let no = |outcome: Option<Outcome>, reason| Trial {
            starts: false,
            matches: outcome.is_some(),
            outcome,
            reason,
            params: None,
        };
        if let Source::Event { matches: Some(matches), .. } = &self.spec.source {
            match matches.eval_bool(&Vars::of(&self.spec, &held.vars)) {
                Ok(true) => {}
                Ok(false) => return no(None, Some(format!("{} is false", matches.source()))),
                Err(e) => return no(Some(Outcome::Failed), Some(format!("match: {e}"))),
            }
        }
        let params = match tx.params(&held) {
            Ok(params) => params,
            Err(reason) => return no(Some(Outcome::Failed), Some(reason)),
        };
        tx.fire(held);
        let Applied { records, .. } = tx.applied;
        let record = records.into_iter().find(|r| r.occurrence.key == "trial");
        let Some(record) = record.map(|r| r.occurrence) else { return no(None, None) };
        let starts = matches!(record.outcome, Outcome::Started | Outcome::Buffered);
        let (outcome, reason) = (Some(record.outcome), record.reason);
        Trial { starts, matches: true, outcome, reason, params: Some(params) }
    }
}
