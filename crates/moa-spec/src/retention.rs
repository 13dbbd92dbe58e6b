//! How long things are kept: the section `retention` of the settings.

use std::borrow::Cow;
use std::sync::Arc;

use moa_core::time::Span;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

use crate::model::settings::{ByAgeAndCountFile, ByAgeAndSizeFile, ByAgeFile, RetentionFile};
use crate::read::{At, Cx, Field};
use crate::scalar::{Duration, Size};
use crate::yaml::{Data, Node};

/// The word for no limit.
const UNLIMITED: &str = "unlimited";

/// A limit, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpTo<T>(pub Option<T>);

impl<T: Field> Field for UpTo<T> {
    fn read(node: &Arc<Node>, cx: &mut Cx) -> Option<Self> {
        if matches!(&node.data, Data::Text(text) if text == UNLIMITED) {
            return Some(Self(None));
        }
        T::read(node, cx).map(|limit| Self(Some(limit)))
    }
}

impl<T: Serialize> Serialize for UpTo<T> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Some(limit) => limit.serialize(s),
            None => s.serialize_str(UNLIMITED),
        }
    }
}

impl<T: JsonSchema> JsonSchema for UpTo<T> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        format!("UpTo{}", T::schema_name()).into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let limit = generator.subschema_for::<T>();
        json_schema!({"anyOf": [limit, {"const": UNLIMITED}]})
    }
}

/// How long things are kept. What is reached first counts; nothing of an open run is ever deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Retention {
    /// Runs that succeeded.
    pub runs: ByAgeAndCount,
    /// Runs that failed or were cancelled.
    pub failed: ByAgeAndCount,
    /// Events of ended runs.
    pub history: ByAge,
    /// Attempt logs of ended runs.
    pub logs: ByAgeAndSize,
    /// Artifacts that only ended runs need.
    pub artifacts: ByAgeAndSize,
    /// Idempotency keys of runs that are gone.
    pub keys: ByAge,
    /// What became of occurrences of triggers.
    pub occurrences: ByAge,
    /// Published events, from when they were.
    pub events: ByAgeAndCount,
    /// Entries of the audit log.
    pub audit: ByAgeAndCount,
}

/// Kept up to an age after its run's end; `None` = for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ByAge {
    /// The age.
    #[serde(serialize_with = "shown_age")]
    pub age: Option<Span>,
}

/// Kept up to an age, and up to a number of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ByAgeAndCount {
    /// The age.
    #[serde(serialize_with = "shown_age")]
    pub age: Option<Span>,
    /// How many, the newest first.
    #[serde(serialize_with = "shown")]
    pub count: Option<u32>,
}

/// Kept up to an age, and up to a size of all together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ByAgeAndSize {
    /// The age.
    #[serde(serialize_with = "shown_age")]
    pub age: Option<Span>,
    /// Bytes of all together, the newest first.
    #[serde(serialize_with = "shown")]
    pub size: Option<u64>,
}

fn shown<T: Serialize + Copy, S: Serializer>(limit: &Option<T>, s: S) -> Result<S::Ok, S::Error> {
    UpTo(*limit).serialize(s)
}

pub(crate) fn shown_age<S: Serializer>(age: &Option<Span>, s: S) -> Result<S::Ok, S::Error> {
    UpTo(age.map(Duration)).serialize(s)
}

const fn days(n: u64) -> Option<Span> {
    Some(Span::minutes(n * 24 * 60))
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            runs: ByAgeAndCount { age: days(30), count: Some(10_000) },
            failed: ByAgeAndCount { age: days(90), count: Some(10_000) },
            history: ByAge { age: days(90) },
            logs: ByAgeAndSize { age: days(30), size: Some(2 << 30) },
            artifacts: ByAgeAndSize { age: days(30), size: Some(10 << 30) },
            keys: ByAge { age: days(90) },
            occurrences: ByAge { age: days(90) },
            events: ByAgeAndCount { age: days(90), count: Some(100_000) },
            audit: ByAgeAndCount { age: None, count: None },
        }
    }
}

/// Takes over what the file gives.
pub(crate) fn take(file: &RetentionFile, retention: &mut Retention) {
    let Retention { runs, failed, history, logs, artifacts, keys, .. } = retention;
    let Retention { occurrences, events, audit, .. } = retention;
    let by_count =
        [(&file.runs, runs), (&file.failed, failed), (&file.events, events), (&file.audit, audit)];
    for (file, to) in by_count {
        if let Some(ByAgeAndCountFile { age, count, .. }) = file {
            set_age(age, &mut to.age);
            to.count = count.as_ref().map_or(to.count, |count| count.value.0);
        }
    }
    let by_age = [(&file.history, history), (&file.keys, keys), (&file.occurrences, occurrences)];
    for (file, to) in by_age {
        if let Some(ByAgeFile { age, .. }) = file {
            set_age(age, &mut to.age);
        }
    }
    for (file, to) in [(&file.logs, logs), (&file.artifacts, artifacts)] {
        if let Some(ByAgeAndSizeFile { age, size, .. }) = file {
            set_age(age, &mut to.age);
            to.size = size.as_ref().map_or(to.size, |UpToSize { value, .. }| value.0.map(|s| s.0));
        }
    }
}

type UpToSize = At<UpTo<Size>>;

fn set_age(file: &Option<At<UpTo<Duration>>>, to: &mut Option<Span>) {
    if let Some(age) = file {
        *to = age.value.0.map(|age| age.0);
    }
}
