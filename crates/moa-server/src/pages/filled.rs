//! What somebody has filled into a form that was refused: it is shown again with what was typed, and
//! with what is wrong beside each field.

use axum::response::{IntoResponse, Response};
use maud::{Markup, html};
use moa_core::ids::RunId;
use moa_core::workflow::ParamSpec;

use super::workflows::form::{PARAM, id_of};
use super::{Instead, parts};
use crate::auth::tokens::random_hex;
use crate::control::Fault;
use crate::error::{Code, Problem};

/// What became of a form, in the words of what it asks for.
pub struct Words {
    /// It was refused.
    pub refused: &'static str,
    /// A fault of the server: it may have been done all the same.
    pub in_doubt: &'static str,
    /// What to do about that.
    pub then: &'static str,
}

/// The name of the field with the idempotency key of a form.
const KEY: &str = "key";

/// The name of a field that says that what was sent before may have been done all the same.
const DOUBT: &str = "doubt";

/// The idempotency key that a form has sent, as the run is kept under it.
pub fn idempotency_key(sent: &[(String, String)]) -> Option<String> {
    let found = sent.iter().find(|(name, value)| name == KEY && !value.is_empty());
    found.map(|(_, key)| format!("form-{key}"))
}

/// Hidden fields because of which a form that is sent twice does one thing. `filled`: it was refused. It
/// keeps its key, whatever refused it: what it may have done all the same it must not do again, and a key
/// under which nothing was done does no harm. One that stands for another request does nothing any more.
pub fn key(filled: Option<&Filled>) -> Markup {
    let going_on = filled.filter(|filled| filled.other_run().is_none());
    let sent = going_on.map(|filled| filled.sent(KEY)).filter(|key| !key.is_empty());
    let key = sent.map_or_else(random_hex::<12>, str::to_owned);
    html! {
        input type="hidden" name=(KEY) value=(key);
        @if going_on.is_some_and(|filled| filled.is_in_doubt() || filled.was_in_doubt()) {
            input type="hidden" name=(DOUBT) value="yes";
        }
    }
}

/// A form that was refused.
pub struct Filled {
    sent: Vec<(String, String)>,
    problem: Problem,
    faults: Vec<Fault>,
}

impl Filled {
    /// What was sent with fields for `specs`, why it was refused, and which of them are at fault.
    pub fn new(
        specs: &[ParamSpec],
        sent: Vec<(String, String)>,
        problem: Problem,
        mut faults: Vec<Fault>,
    ) -> Self {
        // In the order of the fields; what has none is last.
        let place = |fault: &Fault| specs.iter().position(|spec| spec.name == fault.field);
        faults.sort_by_key(|fault| place(fault).unwrap_or(usize::MAX));
        Self { sent, problem, faults }
    }

    /// What was sent under the name of an input; nothing is empty.
    pub fn sent(&self, name: &str) -> &str {
        let found = self.sent.iter().find(|(key, _)| key == name);
        found.map_or("", |(_, value)| value.as_str())
    }

    /// What was typed into the field of a param.
    pub fn typed(&self, param: &str) -> &str {
        self.sent(&format!("{PARAM}{param}"))
    }

    /// What is wrong with a field.
    pub fn wrong(&self, field: &str) -> Vec<&str> {
        let of_field = self.faults.iter().filter(|fault| fault.field == field);
        of_field.map(|fault| fault.message.as_str()).collect()
    }

    /// Whether a field is the first that is wrong.
    pub fn is_first(&self, field: &str) -> bool {
        self.faults.first().is_some_and(|fault| fault.field == field)
    }

    /// Whether nobody knows if what the form asks for was done: a commit may be durable whose end the
    /// server has not seen.
    fn is_in_doubt(&self) -> bool {
        self.problem.code.status().is_server_error() || self.problem.code == Code::Timeout
    }

    /// Whether nobody knew it when the form was sent before.
    fn was_in_doubt(&self) -> bool {
        !self.sent(DOUBT).is_empty()
    }

    /// The run that was started under the key of the form, with something else in its fields.
    fn other_run(&self) -> Option<RunId> {
        let key = idempotency_key(&self.sent)?;
        let begin = format!("the idempotency key {key:?} belongs to run ");
        let rest = self.problem.detail.strip_prefix(&begin)?;
        rest.split(' ').next()?.parse().ok()
    }

    /// What stands above the form: what did not happen, and why; `id` is that of a field.
    pub fn summary(&self, words: &Words, id: impl Fn(&str) -> String) -> Markup {
        if let Some(run) = self.other_run() {
            return html! {
                div class="note bad" role="alert" {
                    p {
                        "This form has started a run already, with something else in its fields: "
                        (parts::run_link(run)) ". Sent again as it is now, it starts another one."
                    }
                }
            };
        }
        let not_done = match (self.is_in_doubt(), self.was_in_doubt()) {
            (true, _) => words.in_doubt,
            // It holds of this time alone.
            (false, true) => "This was refused",
            (false, false) => words.refused,
        };
        // What is said of commands is of no use here.
        let is_for_pages = |hint: &&String| !hint.contains("`moa ");
        let before = html! {
            @if self.was_in_doubt() { p { (words.in_doubt) " by what was sent before. " (words.then) } }
        };
        html! {
            div class="note bad" role="alert" {
                @if self.faults.is_empty() {
                    p { (not_done) ": " (parts::said(&self.problem.detail)) }
                    @if self.is_in_doubt() { p { (words.then) } } @else { (before) }
                    @for hint in self.problem.hints.iter().filter(is_for_pages) {
                        p class="dim" { (parts::said(hint)) }
                    }
                } @else {
                    p { (not_done) "." }
                    (before)
                    ul {
                        @for fault in &self.faults {
                            li {
                                @if fault.field.is_empty() { (parts::said(&fault.message)) }
                                @else {
                                    a href={ "#" (id(&fault.field)) } { (parts::line(&fault.field)) }
                                    ": " (parts::line(&fault.message))
                                }
                            }
                        }
                    }
                }
            }
        }
    }

    /// What was typed, where no form takes it any more.
    pub fn typed_before(&self) -> Markup {
        let is_typed = |(name, value): &&(String, String)| {
            let is_field =
                name.starts_with(PARAM) || ["comment", "payload"].contains(&name.as_str());
            is_field && !value.is_empty()
        };
        html! {
            @for (name, value) in self.sent.iter().filter(is_typed) {
                div class="field" {
                    label for={ "typed-" (id_of(name)) } {
                        (parts::line(name.strip_prefix(PARAM).unwrap_or(name)))
                    }
                    // The first line break belongs to the tag.
                    textarea id={ "typed-" (id_of(name)) } readonly { "\n" (value) }
                }
            }
        }
    }

    /// The answer to the form, with this page.
    pub fn answer(self, page: Markup) -> Response {
        let mut response = self.problem.into_response();
        response.extensions_mut().insert(Instead(page.into_string()));
        response
    }

    /// The answer to the form where it can't be shown again.
    pub fn plain(self) -> Problem {
        self.problem
    }
}
