//! What goes wrong, as problem documents (RFC 9457): a stable code, what is wrong, what to do.
//!
//! A handler answers a [`Problem`]. It becomes a document at the outermost layer
//! ([`crate::outside`]), which knows the request: its id, its path, and whether a browser asked.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::{FormRejection, JsonRejection, PathRejection, QueryRejection};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use moa_view::exit::{Exit, Failure};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// How long to wait before something is asked again that there was no room for.
const BUSY_WAIT: Duration = Duration::from_secs(1);

/// The result of a handler.
pub type Result<T> = std::result::Result<T, Problem>;

/// What can go wrong. The words are part of the API: programs match them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The request is wrong: its JSON, its params, a run id.
    InvalidRequest,
    /// A file of the project is wrong.
    InvalidFiles,
    /// Nobody has said who asks, or not truly.
    Unauthenticated,
    /// Who asks may not.
    Forbidden,
    /// A request of a browser's session came without its CSRF token.
    CsrfMissing,
    /// The request names a host that this is not.
    HostNotAllowed,
    /// The request comes from a page of another site.
    OriginNotAllowed,
    /// There is no such thing.
    NotFound,
    /// The path takes other methods.
    MethodNotAllowed,
    /// The state doesn't allow it.
    Conflict,
    /// It is not what the request takes it for (`If-Match`): somebody has changed it meanwhile.
    PreconditionFailed,
    /// The request has to say what it takes the thing for: `If-Match`.
    PreconditionRequired,
    /// The body has more bytes than are read.
    TooLarge,
    /// The body is not what it has to be: JSON, as a rule.
    UnsupportedMediaType,
    /// Too many requests, or too many wrong tokens: wait.
    TooManyRequests,
    /// It took too long to send, or to answer.
    Timeout,
    /// A fault of moa's own; its log says more.
    Internal,
    /// The store can't be written, or the node is stopping.
    Unavailable,
    /// More is asked than can be answered at once: try again in a moment.
    Busy,
    /// The store is damaged.
    StoreDamaged,
    /// The store was written by a newer moa.
    StoreNewer,
}

impl Code {
    /// All of them.
    pub const ALL: [Code; 21] = [
        Code::InvalidRequest,
        Code::InvalidFiles,
        Code::Unauthenticated,
        Code::Forbidden,
        Code::CsrfMissing,
        Code::HostNotAllowed,
        Code::OriginNotAllowed,
        Code::NotFound,
        Code::MethodNotAllowed,
        Code::Conflict,
        Code::PreconditionFailed,
        Code::PreconditionRequired,
        Code::TooLarge,
        Code::UnsupportedMediaType,
        Code::TooManyRequests,
        Code::Timeout,
        Code::Internal,
        Code::Unavailable,
        Code::Busy,
        Code::StoreDamaged,
        Code::StoreNewer,
    ];

    /// The word that programs match.
    pub const fn as_str(self) -> &'static str {
        match self {
            Code::InvalidRequest => "invalid_request",
            Code::InvalidFiles => "invalid_files",
            Code::Unauthenticated => "unauthenticated",
            Code::Forbidden => "forbidden",
            Code::CsrfMissing => "csrf_missing",
            Code::HostNotAllowed => "host_not_allowed",
            Code::OriginNotAllowed => "origin_not_allowed",
            Code::NotFound => "not_found",
            Code::MethodNotAllowed => "method_not_allowed",
            Code::Conflict => "conflict",
            Code::PreconditionFailed => "precondition_failed",
            Code::PreconditionRequired => "precondition_required",
            Code::TooLarge => "too_large",
            Code::UnsupportedMediaType => "unsupported_media_type",
            Code::TooManyRequests => "too_many_requests",
            Code::Timeout => "timeout",
            Code::Internal => "internal",
            Code::Unavailable => "unavailable",
            Code::Busy => "busy",
            Code::StoreDamaged => "store_damaged",
            Code::StoreNewer => "store_newer",
        }
    }

    /// Whether it says that somebody may not.
    pub const fn is_refusal(self) -> bool {
        matches!(self, Code::Forbidden | Code::CsrfMissing)
    }

    /// Its status.
    pub const fn status(self) -> StatusCode {
        match self {
            Code::InvalidRequest => StatusCode::BAD_REQUEST,
            Code::InvalidFiles => StatusCode::UNPROCESSABLE_ENTITY,
            Code::Unauthenticated => StatusCode::UNAUTHORIZED,
            Code::Forbidden | Code::CsrfMissing | Code::OriginNotAllowed => StatusCode::FORBIDDEN,
            Code::HostNotAllowed => StatusCode::MISDIRECTED_REQUEST,
            Code::NotFound => StatusCode::NOT_FOUND,
            Code::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Code::Conflict => StatusCode::CONFLICT,
            Code::PreconditionFailed => StatusCode::PRECONDITION_FAILED,
            Code::PreconditionRequired => StatusCode::PRECONDITION_REQUIRED,
            Code::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Code::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Code::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
            Code::Timeout => StatusCode::REQUEST_TIMEOUT,
            Code::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Code::Unavailable | Code::Busy | Code::StoreDamaged | Code::StoreNewer => {
                StatusCode::SERVICE_UNAVAILABLE
            }
        }
    }

    /// What it means, for people.
    pub const fn title(self) -> &'static str {
        match self {
            Code::InvalidRequest => "The request is wrong",
            Code::InvalidFiles => "The project's files are wrong",
            Code::Unauthenticated => "Sign in first",
            Code::Forbidden => "Not allowed",
            Code::CsrfMissing => "The CSRF token is missing",
            Code::HostNotAllowed => "Not a host of this server",
            Code::OriginNotAllowed => "Not a page of this server",
            Code::NotFound => "Not found",
            Code::MethodNotAllowed => "Not a method of this path",
            Code::Conflict => "Not possible in this state",
            Code::PreconditionFailed => "Changed meanwhile",
            Code::PreconditionRequired => "Say what it is taken for",
            Code::TooLarge => "Too large",
            Code::UnsupportedMediaType => "Not a media type of this path",
            Code::TooManyRequests => "Too many requests",
            Code::Timeout => "Took too long",
            Code::Internal => "A fault of moa",
            Code::Unavailable => "Not possible now",
            Code::Busy => "Too much at once",
            Code::StoreDamaged => "The store is damaged",
            Code::StoreNewer => "The store is newer than this moa",
        }
    }

    /// The code of a status that came without one.
    pub fn of_status(status: StatusCode) -> Self {
        let fits = |code: &&Code| code.status() == status;
        match status {
            StatusCode::GATEWAY_TIMEOUT => Code::Timeout,
            _ if status.is_client_error() => {
                Code::ALL.iter().find(fits).copied().unwrap_or(Code::InvalidRequest)
            }
            StatusCode::SERVICE_UNAVAILABLE => Code::Unavailable,
            _ => Code::Internal,
        }
    }
}

/// Why a request was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The class.
    pub code: Code,
    /// What is wrong, in one sentence.
    pub detail: String,
    /// Where, when the detail doesn't say it.
    pub place: Option<String>,
    /// Text to show as it is: diagnostics with excerpts.
    pub text: Option<Box<str>>,
    /// What is wrong with a text, for programs. Rare, so it is small where it is none.
    pub diagnostics: Option<Arc<Vec<Value>>>,
    /// What to do.
    pub hints: Vec<String>,
    /// When to try again.
    pub retry_after: Option<Duration>,
}

/// A problem document (RFC 9457).
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ProblemDocument {
    /// `urn:moa:problem:` and the code.
    #[schema(example = "urn:moa:problem:not_found")]
    pub r#type: String,
    /// What the code means.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong.
    pub detail: String,
    /// The path that was asked for.
    pub instance: String,
    /// What programs match.
    pub code: Code,
    /// The id of the request, as in the log of moa.
    pub request: String,
    /// Where, when the detail doesn't say it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub place: Option<String>,
    /// Longer text, with line breaks: diagnostics with excerpts.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub text: Option<String>,
    /// What is wrong with a text that was sent, for programs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Object>)]
    pub diagnostics: Vec<Value>,
    /// What to do.
    pub hints: Vec<String>,
}

impl Problem {
    /// A problem.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self {
            code,
            detail,
            place: None,
            text: None,
            diagnostics: None,
            hints: Vec::new(),
            retry_after: None,
        }
    }

    /// The request is wrong.
    pub fn invalid(detail: impl Into<String>) -> Self {
        Self::new(Code::InvalidRequest, detail)
    }

    /// There is no such thing.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(Code::NotFound, detail)
    }

    /// More is asked than can be answered at once.
    pub fn busy(detail: impl Into<String>) -> Self {
        Self { retry_after: Some(BUSY_WAIT), ..Self::new(Code::Busy, detail) }
            .hint("try again in a moment")
    }

    /// Adds what to do.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// The document for a request.
    pub fn document(&self, instance: &str, request: &str) -> ProblemDocument {
        ProblemDocument {
            r#type: format!("urn:moa:problem:{}", self.code.as_str()),
            title: self.code.title().into(),
            status: self.code.status().as_u16(),
            detail: self.detail.clone(),
            instance: instance.into(),
            code: self.code,
            request: request.into(),
            place: self.place.clone(),
            text: self.text.as_deref().map(str::to_owned),
            diagnostics: self.diagnostics.as_deref().cloned().unwrap_or_default(),
            hints: self.hints.clone(),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.code.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        let code = match failure.exit {
            Exit::Usage => Code::InvalidRequest,
            Exit::Invalid => Code::InvalidFiles,
            Exit::NotFound => Code::NotFound,
            Exit::Unavailable => Code::Unavailable,
            Exit::Damaged => Code::StoreDamaged,
            Exit::Newer => Code::StoreNewer,
            Exit::Busy => Code::Busy,
            Exit::Ok | Exit::Failed | Exit::Refused | Exit::Interrupted => Code::Conflict,
        };
        let retry_after = (code == Code::Busy).then_some(BUSY_WAIT);
        let Failure { message, place, detail, hints, .. } = failure;
        let text = detail.map(String::into_boxed_str);
        Self { place, text, hints, retry_after, ..Self::new(code, message) }
    }
}

impl From<moa_ports::store::Error> for Problem {
    fn from(error: moa_ports::store::Error) -> Self {
        Failure::from(error).into()
    }
}

impl From<JsonRejection> for Problem {
    fn from(rejection: JsonRejection) -> Self {
        let problem = Self::new(Code::of_status(rejection.status()), rejection.body_text());
        match rejection {
            JsonRejection::MissingJsonContentType(_) => {
                problem.hint("send `Content-Type: application/json`")
            }
            // What is JSON, but not what is asked for, is a wrong request like any other.
            JsonRejection::JsonDataError(_) => Self { code: Code::InvalidRequest, ..problem },
            _ => problem,
        }
    }
}

macro_rules! rejections {
    ($($rejection:ty),*) => {$(
        impl From<$rejection> for Problem {
            fn from(rejection: $rejection) -> Self {
                let code = match rejection.status() {
                    StatusCode::UNPROCESSABLE_ENTITY => Code::InvalidRequest,
                    status => Code::of_status(status),
                };
                Self::new(code, rejection.body_text())
            }
        }
    )*};
}

rejections!(PathRejection, QueryRejection, FormRejection);

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn codes_are_words_of_their_own_and_of_their_json() {
        let words: BTreeSet<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(words.len(), Code::ALL.len());
        for code in Code::ALL {
            assert_eq!(serde_json::to_value(code).expect("it is JSON"), code.as_str());
            assert!(code.status().is_client_error() || code.status().is_server_error());
        }
    }

    #[test]
    fn a_status_without_a_code_gets_one_of_its_kind() {
        for code in Code::ALL {
            let found = Code::of_status(code.status());
            assert_eq!(found.status(), code.status(), "{code:?}");
        }
        assert_eq!(Code::of_status(StatusCode::IM_A_TEAPOT), Code::InvalidRequest);
        assert_eq!(Code::of_status(StatusCode::BAD_GATEWAY), Code::Internal);
    }
}
