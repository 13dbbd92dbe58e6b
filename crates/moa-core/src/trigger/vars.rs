//! What expressions of a trigger see: the occurrence, and what is constant.

use serde_json::{Value as Json, json};

use super::spec::TriggerSpec;
use crate::expr::{Scope, Value};
use crate::schedule::{Slot, Timetable};

/// The names in sight.
pub(super) struct Vars<'a> {
    spec: &'a TriggerSpec,
    vars: &'a Json,
}

impl<'a> Vars<'a> {
    pub fn of(spec: &'a TriggerSpec, vars: &'a Json) -> Self {
        Self { spec, vars }
    }
}

impl Scope for Vars<'_> {
    fn lookup(&self, name: &str) -> Option<Value> {
        let value = match name {
            "trigger" => json!({ "name": self.spec.name, "workflow": self.spec.workflow }),
            name => self.vars.get(name)?.clone(),
        };
        Some(Value::from_json(std::sync::Arc::new(value)))
    }

    fn names(&self) -> Vec<String> {
        let names = self.vars.as_object().into_iter().flat_map(|map| map.keys().cloned());
        names.chain(["trigger".to_owned()]).collect()
    }
}

/// What expressions see of a slot.
pub(super) fn slot(table: &Timetable, slot: Slot) -> Json {
    json!({ "slot": table.slot_value(slot) })
}
