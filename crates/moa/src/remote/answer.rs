//! What a node's answer says: rows, a refusal of moa, or that something else answers there.

use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::{CONTENT_TYPE, HeaderMap, LOCATION, RETRY_AFTER};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{Broken, Remote};
use crate::exit::{Exit, Failure, Result};
use crate::text;

/// Bytes of a refusal at most.
pub const PROBLEM_BYTES_MAX: usize = 1 << 20;
/// How long to wait when a node is busy and doesn't say.
const RETRY_AFTER_USUAL: Duration = Duration::from_secs(1);
/// Seconds that a node may say at most; nobody waits as long as that.
const RETRY_AFTER_MAX: u64 = 3600;

/// A refusal of moa.
#[derive(Debug, Deserialize)]
struct Problem {
    code: String,
    detail: String,
    #[serde(default)]
    place: Option<String>,
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    hints: Vec<String>,
}

/// The value of an answer.
pub fn read<T: DeserializeOwned>(
    remote: &Remote,
    path: &str,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<T> {
    let kind = media_type(headers);
    if kind != "application/json" {
        return Err(stranger(remote, &kind));
    }
    serde_json::from_slice(body).map_err(|e| not_understood(remote, path, &e))
}

/// An answer is not of the form that this moa knows.
pub fn not_understood(remote: &Remote, path: &str, error: &serde_json::Error) -> Failure {
    let text = format!("the answer of {}{path} isn't understood: {error}", remote.url());
    let hint = "is it another version of moa? use the same one on both sides";
    remote.chosen(Failure::refused(text).hint(hint))
}

/// What an answer says that it is.
pub fn media_type(headers: &HeaderMap) -> String {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Something answers there that is no node.
pub fn stranger(remote: &Remote, kind: &str) -> Failure {
    let what = match kind {
        "text/html" => "a web page".to_owned(),
        "" => "nothing that says what it is".to_owned(),
        other => text::safe_line(&text::cut(other, 60)).into_owned(),
    };
    let text = format!("{} is no moa: it answers with {what}", remote.url());
    let hint = "is the address right? a proxy may be in between, which wants a sign-in of its own";
    remote.chosen(Failure::refused(text).hint(hint))
}

/// What an answer means that is no success.
pub fn refusal(
    remote: &Remote,
    path: &str,
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
) -> Broken {
    if status.is_redirection() {
        return Broken::Refused(redirected(remote, headers));
    }
    let problem: Option<Problem> = serde_json::from_slice(body).ok();
    let Some(problem) = problem else {
        let failure = stranger(remote, &media_type(headers));
        return match status {
            // A proxy whose node is gone for the moment.
            StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT => Broken::Unknown(Failure {
                exit: Exit::Unavailable,
                message: format!("{} answers {status}: no node is behind it", remote.url()),
                ..failure
            }),
            _ => Broken::Refused(failure),
        };
    };
    let code = problem.code.clone();
    let failure = failure(problem);
    match code.as_str() {
        "too_many_requests" | "busy" => Broken::Busy(retry_after(headers), remote.chosen(failure)),
        "unauthenticated" => Broken::Refused(unknown_token(remote, failure)),
        "forbidden" => {
            let hint = "`moa token create NAME --role ROLE` on its machine makes a token that may";
            Broken::Refused(whose_token(remote, failure.hint(hint)))
        }
        "not_found" | "method_not_allowed" if path == "/api/v1/rows" => {
            let text = format!("{} is an older moa, which this one can't talk to", remote.url());
            let failure = Failure::refused(text);
            Broken::Refused(remote.chosen(failure.hint("use the same version on both sides")))
        }
        "not_found" | "method_not_allowed" if path == super::backup::PATH => {
            let text = format!("{} is an older moa, which sends no backups", remote.url());
            let failure = Failure::refused(text);
            Broken::Refused(remote.chosen(failure.hint("call `moa backup` on its machine")))
        }
        "unavailable" | "host_not_allowed" => Broken::Refused(remote.chosen(failure)),
        _ => Broken::Refused(failure),
    }
}

/// The same refusal as a local node's. What it says is shown, and obeyed by no terminal.
fn failure(problem: Problem) -> Failure {
    let exit = match problem.code.as_str() {
        "invalid_request" | "too_large" | "unsupported_media_type" => Exit::Usage,
        "invalid_files" => Exit::Invalid,
        "not_found" => Exit::NotFound,
        "unavailable" | "timeout" | "internal" | "too_many_requests" => Exit::Unavailable,
        "busy" => Exit::Busy,
        "store_damaged" => Exit::Damaged,
        "store_newer" => Exit::Newer,
        _ => Exit::Refused,
    };
    Failure {
        exit,
        message: problem.detail,
        place: problem.place,
        detail: problem.text.map(|text| text::safe(&text).into_owned()),
        hints: problem.hints,
    }
}

fn unknown_token(remote: &Remote, failure: Failure) -> Failure {
    match &remote.0.token {
        None => {
            let text = format!("{} wants to know who asks", remote.url());
            remote.chosen(Failure { message: text, hints: Vec::new(), ..failure }).hint(
                "give a token: --token-file FILE, MOA_TOKEN, or `moa context add`; \
                 `moa token create` on its machine makes one",
            )
        }
        Some(token) => {
            let text = format!("{} does not know the token of {}", remote.url(), token.from);
            let failure = Failure { message: text, hints: Vec::new(), ..failure };
            remote.chosen(failure).hint(
                "it may have expired or been revoked; `moa token create` on its machine makes \
                 another",
            )
        }
    }
}

fn whose_token(remote: &Remote, failure: Failure) -> Failure {
    match &remote.0.token {
        Some(token) => failure.hint(format!("the token is that of {}", token.from)),
        None => failure,
    }
}

fn redirected(remote: &Remote, headers: &HeaderMap) -> Failure {
    let to = headers.get(LOCATION).and_then(|to| to.to_str().ok()).unwrap_or("somewhere else");
    let to = text::safe_line(&text::cut(to, 200)).into_owned();
    let text = format!("{} sends to {to}, and the token is for the first alone", remote.url());
    remote.chosen(Failure::refused(text).hint("if that is right, name that address itself"))
}

fn retry_after(headers: &HeaderMap) -> Duration {
    let told = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let seconds = told.and_then(|text| text.trim().parse::<u64>().ok());
    seconds.map_or(RETRY_AFTER_USUAL, |s| Duration::from_secs(s.clamp(1, RETRY_AFTER_MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_at_least_a_second_and_told_in_seconds() {
        let of = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, text.parse().expect("a value"));
            retry_after(&headers).as_secs()
        };
        assert_eq!([of("7"), of("0"), of("tomorrow"), of("-1")], [7, 1, 1, 1]);
        assert_eq!(of(&u64::MAX.to_string()), RETRY_AFTER_MAX);
    }

    #[test]
    fn what_a_node_says_at_length_is_made_visible() {
        let problem = Problem {
            code: "invalid_files".into(),
            detail: "a".into(),
            place: None,
            text: Some("\x1b[2J".into()),
            hints: Vec::new(),
        };
        assert_eq!(failure(problem).detail.as_deref(), Some("␛[2J"));
    }
}
