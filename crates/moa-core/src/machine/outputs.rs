//! What `outputs:` make of what a step or a run has to give, and whether that is as declared.

use std::sync::Arc;

use serde_json::{Map, Value as Json};

use crate::event::InstIx;
use crate::limits::OUTPUT_BYTES_MAX;
use crate::schema::{Schemas, broken};
use crate::step::{ErrorKind, StepError};
use crate::workflow::Output;

use super::begin::expression_error;
use super::start::is_too_large;
use super::tx::{PlanStepRef, Tx};
use super::vars::Vars;

impl Tx<'_> {
    /// Applies the step's `outputs:` mapping.
    pub fn map_outputs(
        &self,
        inst: InstIx,
        plan: &PlanStepRef,
        output: Option<Arc<Json>>,
    ) -> Result<Option<Arc<Json>>, StepError> {
        if plan.outputs.is_empty() {
            return Ok(output);
        }
        let vars = Vars::of_step(self.run, inst).with("output", output.unwrap_or_default());
        mapped(&plan.outputs, &vars, self.env.schemas, "the output").map(Some)
    }

    /// A step that is not an agent's did what it should: it succeeds, if its output is as declared.
    pub fn succeed_mapped(&mut self, inst: InstIx, output: Option<Arc<Json>>) {
        let plan = self.plan(inst);
        match self.map_outputs(inst, &plan, output) {
            Ok(output) => self.succeed(inst, output),
            Err(error) => self.fail(inst, error),
        }
    }

    /// The run's output.
    pub fn run_output(&self) -> Result<Option<Arc<Json>>, StepError> {
        let outputs = &self.run.graph.outputs;
        if outputs.is_empty() {
            return Ok(None);
        }
        let vars = Vars::of_run(self.run);
        mapped(outputs, &vars, self.env.schemas, "the run's output").map(Some)
    }
}

fn mapped(
    outputs: &[Output],
    vars: &Vars<'_>,
    schemas: &dyn Schemas,
    what: &str,
) -> Result<Arc<Json>, StepError> {
    let mut map = Map::new();
    for Output { name, value, .. } in outputs {
        let found = value
            .eval(vars)
            .map_err(|e| expression_error(&format!("outputs.{name}"), value.source(), &e))?;
        map.insert(name.clone(), found.to_json());
    }
    let mapped = Json::Object(map);
    if is_too_large(&mapped) {
        let message = format!("outputs: larger than {OUTPUT_BYTES_MAX} bytes");
        return Err(StepError::new(ErrorKind::Output, message));
    }
    let mut breaches = Vec::new();
    for Output { name, schema, .. } in outputs {
        let Some(schema) = schema else { continue };
        let Err(found) = schema.check(schemas, &mapped[name]) else { continue };
        // The pointer is into the output as a whole; a name has nothing that a pointer escapes.
        breaches.extend(found.into_iter().map(|mut breach| {
            breach.pointer.insert_str(0, &format!("/{name}"));
            breach
        }));
    }
    match breaches.is_empty() {
        true => Ok(Arc::new(mapped)),
        false => Err(broken(what, &breaches)),
    }
}

#[cfg(test)]
mod tests;
