//! Schemas of outputs, without a library for them: types and a maximum, as simulated workflows have.

use std::sync::Arc;

use moa_core::schema::{Breach, Check, Schemas};
use serde_json::{Value as Json, json};

use crate::random::Random;

/// Compiles the schemas of simulated workflows.
pub struct SimSchemas;

struct Simple(Json);

impl Schemas for SimSchemas {
    fn compile(&self, schema: &Json) -> Arc<dyn Check> {
        Arc::new(Simple(schema.clone()))
    }
}

impl Check for Simple {
    fn check(&self, value: &Json) -> Result<(), Vec<Breach>> {
        if meets(&self.0, value) {
            return Ok(());
        }
        let message = format!("{value} does not meet {}", self.0);
        Err(vec![Breach { pointer: String::new(), message }])
    }
}

/// A schema that outputs may meet or not.
pub fn random(random: &mut Random) -> Json {
    random
        .pick(&[
            json!({ "type": ["integer", "null"] }),
            json!({ "type": ["array", "object"] }),
            json!({ "maximum": 2 }),
        ])
        .clone()
}

/// Whether a value meets a schema of [`random`].
pub fn meets(schema: &Json, value: &Json) -> bool {
    let kind = match value {
        Json::Null => "null",
        Json::Bool(_) => "boolean",
        Json::Number(n) if n.is_f64() => "number",
        Json::Number(_) => "integer",
        Json::String(_) => "string",
        Json::Array(_) => "array",
        Json::Object(_) => "object",
    };
    let typed = schema["type"].as_array().is_none_or(|kinds| kinds.iter().any(|k| k == kind));
    let max = schema["maximum"].as_f64();
    typed && !matches!((value.as_f64(), max), (Some(n), Some(max)) if n > max)
}
