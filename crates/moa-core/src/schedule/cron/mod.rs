//! Cron expressions: five fields (minute, hour, day of month, month, day of week), six (seconds
//! first) or seven (seconds first, years last).
//!
//! What: the text is parsed (`parse`) to bit sets (`fields`), which are searched from the year down
//! to the second (`search`). Why not a library: the rules of Vixie's cron about `*/n` in day fields
//! and about clock changes are part of moa's own language, and a next fire has to cost less than a
//! microsecond for a million schedules. Absent by intent: time zones (see the module `wall`).

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

mod fields;
mod parse;
mod search;

use fields::Fields;

/// A cron expression. Cheap to clone. Equal when the texts are. Serialised as its text.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cron {
    source: Arc<str>,
    fields: Arc<Fields>,
}

/// What is wrong with a cron expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct CronError {
    /// What is wrong, in one sentence.
    pub message: String,
    /// The bytes of the expression at fault.
    pub span: Range<usize>,
    /// What to do about it.
    pub hint: Option<String>,
}

impl CronError {
    fn new(span: Range<usize>, message: impl Into<String>) -> Self {
        Self { message: message.into(), span, hint: None }
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl Cron {
    /// Parses `text`: five, six or seven fields, or a short form such as `@daily`.
    ///
    /// # Errors
    /// The first mistake; also an expression that no date ever meets, such as `0 0 30 2 *`.
    pub fn parse(text: &str) -> Result<Self, CronError> {
        let fields = parse::parse(text)?;
        Ok(Self { source: text.into(), fields: Arc::new(fields) })
    }

    /// The text it was parsed from.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether its second, minute and hour are all fixed: none of the three begins with `*`. Such
    /// an expression names times of the day; any other one follows the clock as it runs. The
    /// difference matters when clocks are changed.
    pub fn is_fixed_time(&self) -> bool {
        !self.fields.wild
    }

    /// The first wall time at or after `from` that it names, if there is one before the year 10000.
    pub(super) fn next_wall(&self, from: i64) -> Option<i64> {
        self.fields.next(from)
    }

    /// The wall times that it names in one hour, beginning at `hour` (a whole hour): for each
    /// minute the set of its seconds.
    pub(super) fn hour(&self, hour: i64, minutes: &mut [u64; 60]) {
        self.fields.add_hour(hour, minutes);
    }
}

impl PartialEq for Cron {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}
impl Eq for Cron {}
impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)
    }
}
impl fmt::Debug for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.source)
    }
}
impl TryFrom<String> for Cron {
    type Error = CronError;
    fn try_from(text: String) -> Result<Self, CronError> {
        Self::parse(&text)
    }
}
impl From<Cron> for String {
    fn from(cron: Cron) -> Self {
        cron.source.to_string()
    }
}
