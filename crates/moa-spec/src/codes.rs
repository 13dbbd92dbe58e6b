//! The codes of diagnostics, each with its page.

/// A stable code, such as `MOA0101`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Code(pub(crate) &'static str);

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal,)*) => {
        $($(#[$doc])* pub(crate) const $name: Code = Code($code);)*

        /// Every code with its page in Markdown: what it means, an example, the fix.
        pub fn error_pages() -> &'static [(&'static str, &'static str)] {
            &[$(($code, include_str!(concat!("pages/", $code, ".md"))),)*]
        }
    };
}

codes! {
    /// The file is too large.
    TOO_LARGE = "MOA0001",
    /// The file is not UTF-8 text.
    NOT_UTF8 = "MOA0002",
    /// The YAML is broken.
    SYNTAX = "MOA0003",
    /// A key stands twice in one mapping.
    DUPLICATE_KEY = "MOA0004",
    /// The file has too many nodes after its aliases are expanded.
    TOO_MANY_NODES = "MOA0005",
    /// The file is nested too deeply.
    TOO_DEEP = "MOA0006",
    /// The file holds several YAML documents.
    SEVERAL_DOCUMENTS = "MOA0007",
    /// A YAML feature that is not used here.
    FOREIGN_YAML = "MOA0008",
    /// The file is empty.
    EMPTY = "MOA0009",
    /// More mistakes than are shown.
    TOO_MANY_MISTAKES = "MOA0010",
    /// A file that can't be formatted without loss.
    CANT_FORMAT = "MOA0011",
    /// An unknown key.
    UNKNOWN_KEY = "MOA0101",
    /// A key is missing.
    MISSING_KEY = "MOA0102",
    /// A value of the wrong type.
    WRONG_TYPE = "MOA0103",
    /// A value that is not allowed here.
    WRONG_VALUE = "MOA0104",
    /// Not a duration or an instant.
    NOT_A_DURATION = "MOA0105",
    /// Not a size.
    NOT_A_SIZE = "MOA0106",
    /// Not a name.
    BAD_NAME = "MOA0107",
    /// Not a step id.
    BAD_STEP_ID = "MOA0108",
    /// Keys that do not go together.
    MISFIT = "MOA0109",
    /// A step that does nothing.
    NO_KIND = "MOA0110",
    /// Two steps have the same id.
    DUPLICATE_STEP = "MOA0201",
    /// A step that does not exist.
    UNKNOWN_STEP = "MOA0202",
    /// A dependency into or out of a loop.
    FOREIGN_BODY = "MOA0203",
    /// Steps wait for each other.
    CYCLE = "MOA0204",
    /// Too many steps.
    TOO_MANY_STEPS = "MOA0205",
    /// A loop without max_iterations.
    NO_MAX_ITERATIONS = "MOA0206",
    /// A declared param is wrong.
    BAD_PARAM = "MOA0207",
    /// A test that cannot pass.
    BAD_TEST = "MOA0208",
    /// An expression is broken.
    EXPRESSION = "MOA0301",
    /// An expression names something that does not exist.
    UNKNOWN_REFERENCE = "MOA0302",
    /// Nothing produces this name.
    UNPRODUCED_NAME = "MOA0303",
    /// A secret where secrets may not be.
    SECRET_OUT_OF_PLACE = "MOA0304",
    /// An expression uses a step that may not have finished.
    TOO_EARLY = "MOA0305",
    /// Two steps produce the same name.
    TWO_PRODUCERS = "MOA0306",
    /// ${{ }} where it is not evaluated.
    STRAY_TEMPLATE = "MOA0307",
    /// An expression that can't succeed.
    MISFIT_TYPES = "MOA0308",
    /// An agent that does not exist.
    UNKNOWN_AGENT = "MOA0401",
    /// An action that the agent does not have.
    UNKNOWN_ACTION = "MOA0402",
    /// A workflow that does not exist.
    UNKNOWN_WORKFLOW = "MOA0403",
    /// Params that do not fit the action.
    BAD_ACTION_PARAMS = "MOA0404",
    /// Params that do not fit the workflow.
    BAD_CHILD_PARAMS = "MOA0405",
    /// A secret that no source has.
    NO_SECRET = "MOA0406",
    /// Workflows that call each other without end.
    CALL_CYCLE = "MOA0407",
    /// A channel that does not exist.
    UNKNOWN_CHANNEL = "MOA0408",
    /// Two files for one thing.
    STANDS_TWICE = "MOA0409",
    /// An agent needs exactly one kind.
    BAD_AGENT_KIND = "MOA0501",
    /// A command line that cannot be split.
    BAD_COMMAND = "MOA0502",
    /// Not a URL.
    BAD_URL = "MOA0503",
    /// Not a cron expression.
    BAD_CRON = "MOA0601",
    /// A time zone that does not exist.
    UNKNOWN_ZONE = "MOA0602",
    /// Not an interval.
    BAD_INTERVAL = "MOA0603",
    /// Not a rule for days.
    BAD_DAY_RULE = "MOA0604",
    /// A schedule that is never due.
    NEVER_DUE = "MOA0605",
    /// Two schedules have the same id.
    DUPLICATE_SCHEDULE = "MOA0606",
    /// Params of a schedule that do not fit the workflow.
    BAD_SCHEDULE_PARAMS = "MOA0607",
    /// A key without effect.
    NO_EFFECT = "MOA0608",
    /// A calendar that does not exist.
    UNKNOWN_CALENDAR = "MOA0609",
    /// Not a calendar.
    BAD_CALENDAR = "MOA0610",
    /// Workflows that wait for each other.
    TRIGGER_CYCLE = "MOA0611",
    /// Not a pattern of files.
    BAD_PATTERN = "MOA0612",
    /// Accepted, but without effect in this version.
    NOT_YET = "MOA0902",
}
