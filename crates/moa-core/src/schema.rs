//! JSON Schemas that values must meet, without anything that knows JSON Schema: the plan carries
//! them, and whoever runs the machine brings what compiles them.

use std::fmt;
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value as Json;

use crate::step::{ErrorKind, StepError};

/// Compiles schemas. A part of the machine's world, so it is as pure as the machine: the same schema
/// and the same value give the same answer, in bounded time, whatever they are.
pub trait Schemas: Send + Sync {
    /// Compiles a schema. One that can't be used becomes a check that says so of every value.
    fn compile(&self, schema: &Json) -> Arc<dyn Check>;
}

/// A compiled schema.
pub trait Check: Send + Sync {
    /// Whether a value meets the schema.
    ///
    /// # Errors
    /// The ways in which it doesn't: at least one, and not all of many.
    fn check(&self, value: &Json) -> Result<(), Vec<Breach>>;
}

/// One way in which a value breaks its schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breach {
    /// JSON pointer to the part at fault; `""` = the value itself.
    pub pointer: String,
    /// What is wrong with it: what was found, and what was expected.
    pub message: String,
}

/// How many breaches an error tells of.
const TOLD_MAX: usize = 3;

/// A schema, and what it was compiled to when it was first needed.
#[derive(Clone)]
pub struct Schema {
    json: Arc<Json>,
    compiled: OnceLock<Arc<dyn Check>>,
}

impl Schema {
    /// A schema that isn't compiled yet.
    pub fn new(json: Json) -> Self {
        Self { json: Arc::new(json), compiled: OnceLock::new() }
    }

    /// The schema as JSON.
    pub fn json(&self) -> &Json {
        &self.json
    }

    /// Checks a value. `schemas` compiles the schema the first time; copies made later share that.
    ///
    /// # Errors
    /// See [`Check::check`].
    pub fn check(&self, schemas: &dyn Schemas, value: &Json) -> Result<(), Vec<Breach>> {
        self.compiled.get_or_init(|| schemas.compile(&self.json)).check(value)
    }
}

/// Two schemas are the same when their JSON is.
impl PartialEq for Schema {
    fn eq(&self, other: &Self) -> bool {
        self.json == other.json
    }
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Schema").field(&self.json).finish()
    }
}

impl Serialize for Schema {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        self.json.serialize(s)
    }
}

impl<'de> Deserialize<'de> for Schema {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Json::deserialize(d).map(Self::new)
    }
}

/// For where there are no schemas: every check fails, so that none is passed over.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoSchemas;

impl Schemas for NoSchemas {
    fn compile(&self, _: &Json) -> Arc<dyn Check> {
        Arc::new(Self)
    }
}

impl Check for NoSchemas {
    fn check(&self, _: &Json) -> Result<(), Vec<Breach>> {
        let message = "nothing here can check schemas".to_owned();
        Err(vec![Breach { pointer: String::new(), message }])
    }
}

/// The error of an output that breaks its schema. `what` names it: "the output".
pub(crate) fn broken(what: &str, breaches: &[Breach]) -> StepError {
    let told = breaches.iter().take(TOLD_MAX).map(|b| format!("at {}: {}", b.pointer, b.message));
    let mut told = told.collect::<Vec<_>>().join("; ");
    if breaches.len() > TOLD_MAX {
        told.push_str("; and more");
    }
    StepError::new(ErrorKind::Output, format!("{what} doesn't meet its schema: {told}"))
}
