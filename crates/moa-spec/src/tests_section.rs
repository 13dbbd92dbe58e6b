//! The `tests:` of a workflow: params, mocked outcomes, expectations.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use moa_core::ids::StepId;
use moa_core::time::Span;
use moa_core::workflow::Plan;
use serde::Serialize;
use serde_json::{Map, Value as Json};

use crate::codes;
use crate::model::{FailKind, OutcomeFile, TestFile, WorkflowFile};
use crate::params::check_params;
use crate::read::Cx;
use crate::scalar::Short;
use crate::suggest::nearest;
use crate::yaml::{Data, Node};

/// One example of a run, for `moa test`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WorkflowTest {
    /// What it shows.
    pub name: String,
    /// Params of the run, as given.
    pub params: Map<String, Json>,
    /// Outcomes by step, used one after the other; the last one is repeated.
    pub mock: BTreeMap<StepId, Vec<MockOutcome>>,
    /// What has to hold when the run is over.
    pub expect: Expect,
    /// Line of the file, from 1.
    pub line: u32,
    /// The bytes of the test in the file.
    #[serde(skip)]
    pub span: Range<usize>,
}

/// What a mocked step does, and after how long.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MockOutcome {
    /// Virtual time that it takes.
    pub after: Span,
    /// How it ends.
    pub result: MockResult,
}

/// How a mocked step ends.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MockResult {
    /// It succeeds with this output.
    Output(Json),
    /// It fails.
    Fail {
        /// How.
        kind: FailKind,
        /// What the error says.
        message: String,
    },
    /// The signal, event or decision that it waits for comes, with this payload.
    Signal(Json),
}

/// What has to hold when a tested run is over.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Expect {
    /// Status of the run: `success`, `failure` or `cancelled`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// Steps that have to end in this order; others may end between them.
    pub order: Vec<StepId>,
    /// Output of the run; keys that are not named don't matter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outputs: Option<Json>,
    /// Text that the run's error has to hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// How long the run may take, in virtual time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub virtual_duration: Option<(Comparison, Span)>,
    /// Values of steps: `steps.ID.FIELD`.
    pub steps: Vec<StepExpectation>,
}

/// One value of a step that a test expects.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepExpectation {
    /// The step.
    pub step: StepId,
    /// The field: `status`, `attempts`, `output`, `error`, or a path such as `output.path`.
    pub field: String,
    /// The value that it has to have.
    pub value: Json,
}

/// How a duration is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Comparison {
    /// `<`
    Less,
    /// `<=`
    AtMost,
    /// `==`
    Equal,
    /// `>=`
    AtLeast,
    /// `>`
    More,
}

impl Comparison {
    /// Whether `left` compares so to `right`.
    pub fn holds(self, left: Span, right: Span) -> bool {
        match self {
            Self::Less => left < right,
            Self::AtMost => left <= right,
            Self::Equal => left == right,
            Self::AtLeast => left >= right,
            Self::More => left > right,
        }
    }
}

const STATUSES: [&str; 3] = ["success", "failure", "cancelled"];
const EXPECT_KEYS: [&str; 5] = ["status", "order", "outputs", "error", "virtual_duration"];
const STEP_FIELDS: [&str; 5] = ["status", "attempts", "output", "error", "iterations"];

/// The plan that tests are checked against.
struct Steps<'p> {
    plan: &'p Plan,
    by_id: HashMap<&'p str, &'p StepId>,
}

/// Checks the tests of a file against its plan.
pub(crate) fn tests(file: &WorkflowFile, plan: &Plan, cx: &mut Cx) -> Vec<WorkflowTest> {
    let by_id = plan.steps.iter().map(|step| (step.id.as_str(), &step.id)).collect();
    let steps = Steps { plan, by_id };
    let mut tests: Vec<WorkflowTest> = Vec::new();
    let mut seen: HashMap<String, u32> = HashMap::new();
    for test in file.tests.iter().flatten() {
        let test = one(test, &steps, cx);
        if let Some(first) = seen.get(&test.name) {
            let message = format!("two tests have the name {:?}", test.name);
            let d = cx.error(codes::BAD_TEST, test.span.clone(), message);
            d.cause(format!("the one on line {first} has it already"));
        } else {
            seen.insert(test.name.clone(), test.line);
        }
        tests.push(test);
    }
    tests
}

fn one(file: &TestFile, steps: &Steps, cx: &mut Cx) -> WorkflowTest {
    let params = params(file, steps, cx);
    let mut mock = BTreeMap::new();
    for (id, outcomes) in file.mock.iter().flat_map(|m| &m.0) {
        let outcomes: Vec<_> = outcomes.0.iter().filter_map(|o| outcome(o, cx)).collect();
        if let Some(step) = step(&id.value, id.span.clone(), steps, cx) {
            mock.insert(step, outcomes);
        }
    }
    let expect = file.expect.as_ref().map(|raw| expect(&raw.node, steps, cx)).unwrap_or_default();
    WorkflowTest {
        name: file.name.value.0.clone(),
        params,
        mock,
        expect,
        line: cx.line(file.place.span.start),
        span: file.place.span.clone(),
    }
}

fn params(file: &TestFile, steps: &Steps, cx: &mut Cx) -> Map<String, Json> {
    let Some(raw) = &file.params else {
        if let Err(errors) = check_params(steps.plan, &Map::new()) {
            for error in errors {
                let d = cx.error(codes::BAD_TEST, file.name.span.clone(), error.message);
                d.help = error.help.filter(|help| !help.contains("--param"));
            }
        }
        return Map::new();
    };
    let Json::Object(params) = &raw.json else {
        cx.wrong_type(&raw.node, "a mapping of params");
        return Map::new();
    };
    if let Err(errors) = check_params(steps.plan, params) {
        for error in errors {
            let node = raw.node.get(&error.name).unwrap_or(&raw.node);
            let d = cx.error(codes::BAD_TEST, node.span.clone(), error.message);
            d.help = error.help.filter(|help| !help.contains("--param"));
        }
    }
    params.clone()
}

fn step(id: &str, span: Range<usize>, steps: &Steps, cx: &mut Cx) -> Option<StepId> {
    if let Some(step) = steps.by_id.get(id) {
        return Some((*step).clone());
    }
    let near = cx.nearest(id, steps.plan.steps.iter().map(|s| s.id.as_str()));
    let d = cx.error(codes::BAD_TEST, span, format!("there is no step `{id}`"));
    if let Some(near) = near {
        d.help(format!("did you mean `{near}`?"));
    }
    None
}

fn outcome(file: &OutcomeFile, cx: &mut Cx) -> Option<MockOutcome> {
    let after = file.after.as_ref().map_or(Span(0), |a| a.value.0);
    let result = match (&file.output, &file.fail, &file.signal) {
        (Some(output), None, None) => MockResult::Output(output.json.clone()),
        (None, Some(fail), None) => failure(fail),
        (None, None, Some(signal)) => MockResult::Signal(signal.json.clone()),
        // `output:` without a value is an output of null.
        (None, None, None) => MockResult::Output(Json::Null),
        _ => {
            let message = "an outcome is one of `output`, `fail` and `signal`".into();
            cx.error(codes::MISFIT, file.place.span.clone(), message).help("keep one of them");
            return None;
        }
    };
    Some(MockOutcome { after, result })
}

fn failure(fail: &Short<crate::read::At<String>, crate::model::FailFile>) -> MockResult {
    let kinds = [
        ("retryable", FailKind::Retryable),
        ("permanent", FailKind::Permanent),
        ("timeout", FailKind::Timeout),
        ("rate_limited", FailKind::RateLimited),
        ("lost", FailKind::Lost),
        ("cancelled", FailKind::Cancelled),
    ];
    match fail {
        Short::Short(text) => {
            let kind = kinds.iter().find(|(name, _)| *name == text.value).map(|(_, kind)| *kind);
            let message = text.value.clone();
            MockResult::Fail { kind: kind.unwrap_or(FailKind::Retryable), message }
        }
        Short::Long(long) => MockResult::Fail {
            kind: long.kind.as_ref().map_or(FailKind::Retryable, |k| k.value),
            message: long.message.as_ref().map_or("mocked failure".into(), |m| m.value.clone()),
        },
    }
}

fn expect(node: &Node, steps: &Steps, cx: &mut Cx) -> Expect {
    let mut expect = Expect::default();
    let Data::Map(entries) = &node.data else {
        cx.wrong_type(node, "a mapping of expectations");
        return expect;
    };
    for (key, value) in entries {
        match key.text.as_str() {
            "status" => {
                let status = cx.str(value, "a status").unwrap_or_default();
                if STATUSES.contains(&status) {
                    expect.status = Some(status.to_owned());
                } else {
                    cx.wrong_choice(value, "a status of a run", &STATUSES);
                }
            }
            "order" => expect.order = order(value, steps, cx),
            "outputs" => expect.outputs = Some(value.to_json()),
            "error" => expect.error = cx.str(value, "text").map(Into::into),
            "virtual_duration" => expect.virtual_duration = duration(value, cx),
            "steps" => nested(value, steps, &mut expect, cx),
            path => match path.strip_prefix("steps.").and_then(|p| p.split_once('.')) {
                Some((id, field)) => {
                    let at = key.span.clone();
                    field_of(id, field, at, value, steps, &mut expect, cx);
                }
                None => {
                    let message = format!("a test can't expect `{path}`");
                    let d = cx.error(codes::UNKNOWN_KEY, key.span.clone(), message);
                    match nearest(path, EXPECT_KEYS) {
                        Some(near) => d.help(format!("did you mean `{near}`?")),
                        None => d.help(
                            "expect status, order, outputs, error, virtual_duration or \
                                        steps.ID.FIELD",
                        ),
                    };
                }
            },
        }
    }
    expect
}

fn nested(node: &Node, steps: &Steps, expect: &mut Expect, cx: &mut Cx) {
    let Data::Map(by_id) = &node.data else {
        cx.wrong_type(node, "a mapping of step ids");
        return;
    };
    for (id, fields) in by_id {
        let Data::Map(fields) = &fields.data else {
            cx.wrong_type(fields, "a mapping of fields");
            continue;
        };
        for (field, value) in fields {
            let at = id.span.clone();
            field_of(&id.text, &field.text, at, value, steps, expect, cx);
        }
    }
}

fn field_of(
    id: &str,
    field: &str,
    span: Range<usize>,
    value: &Node,
    steps: &Steps,
    expect: &mut Expect,
    cx: &mut Cx,
) {
    let name = field.split('.').next().unwrap_or_default();
    if !STEP_FIELDS.contains(&name) {
        let d = cx.error(codes::BAD_TEST, span.clone(), format!("a step has no field `{name}`"));
        match nearest(name, STEP_FIELDS) {
            Some(near) => d.help(format!("did you mean `{near}`?")),
            None => d.help(format!("write one of: {}", STEP_FIELDS.join(", "))),
        };
    }
    if let Some(step) = step(id, span, steps, cx) {
        let field = field.to_owned();
        expect.steps.push(StepExpectation { step, field, value: value.to_json() });
    }
}

fn order(node: &Node, steps: &Steps, cx: &mut Cx) -> Vec<StepId> {
    let Data::List(items) = &node.data else {
        cx.wrong_type(node, "a list of step ids");
        return Vec::new();
    };
    let ids = items.iter().filter_map(|item| {
        let id = cx.str(item, "the id of a step")?.to_owned();
        step(&id, item.span.clone(), steps, cx)
    });
    ids.collect()
}

fn duration(node: &Node, cx: &mut Cx) -> Option<(Comparison, Span)> {
    let text = cx.str(node, "a comparison such as \"< 30m\"")?.trim();
    let operators = [
        ("<=", Comparison::AtMost),
        (">=", Comparison::AtLeast),
        ("==", Comparison::Equal),
        ("<", Comparison::Less),
        (">", Comparison::More),
    ];
    let found = operators.iter().find_map(|(op, c)| text.strip_prefix(op).map(|rest| (*c, rest)));
    let (comparison, rest) = found.unwrap_or((Comparison::Equal, text));
    match rest.trim().parse() {
        Ok(span) => Some((comparison, span)),
        Err(_) => {
            let message = format!("{text:?} is not a comparison with a duration");
            let d = cx.error(codes::NOT_A_DURATION, node.span.clone(), message);
            d.help("write \"< 30m\", \"<= 1h\", \"== 5m\" or \"> 10s\"");
            None
        }
    }
}
