//! What it means when YouTube doesn't do what it was asked.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use moa_core::time::{Millis, Span};
use moa_ports::agent::TaskError;
use serde_json::Value as Json;

/// After midnight, the clocks of both sides may differ by this.
const MARGIN: Span = Span::minutes(1);
/// Where the service says "not so fast" without a time.
const PAUSE_DEFAULT: Span = Span::minutes(1);
/// YouTube limits the uploads of a channel over the last day; what was uploaded first leaves first.
const UPLOAD_LIMIT_PAUSE: Span = Span::minutes(6 * 60);
const SHOWN_CHARS_MAX: usize = 300;

/// The task's error for an answer that is no success. `unasked` is how long the service itself says
/// to wait.
pub(super) fn judge(status: u16, body: &[u8], unasked: Option<Span>, now: Millis) -> TaskError {
    let answer: Json = serde_json::from_slice(body).unwrap_or_default();
    let error = &answer["error"];
    let reason = error["errors"][0]["reason"].as_str().unwrap_or_default();
    let said = error["message"].as_str().unwrap_or_default();
    let shown: String = said.chars().take(SHOWN_CHARS_MAX).collect();
    let shown = crate::sanitize_for_terminal(shown.as_bytes());
    let message = match (reason, shown.as_str()) {
        ("", "") => format!("YouTube answered HTTP {status}"),
        (reason, shown) => format!("YouTube answered HTTP {status} {reason}: {shown}"),
    };
    let limited = |after: Span| TaskError::RateLimited { message: message.clone(), after };
    match (status, reason) {
        (_, "quotaExceeded" | "dailyLimitExceeded" | "dailyLimitExceededUnreg") => {
            limited(until_quota(now))
        }
        (_, "uploadLimitExceeded") => limited(unasked.unwrap_or(UPLOAD_LIMIT_PAUSE)),
        (_, "rateLimitExceeded" | "userRateLimitExceeded" | "servingLimitExceeded") | (429, _) => {
            limited(unasked.unwrap_or(PAUSE_DEFAULT))
        }
        (408 | 500.., _) => match unasked {
            Some(after) => limited(after),
            None => TaskError::Retryable(message),
        },
        _ => TaskError::Permanent(message),
    }
}

/// Time until the quota of the next day: a little after midnight in California.
fn until_quota(now: Millis) -> Span {
    let midnight = || {
        let zone = TimeZone::get("America/Los_Angeles").ok()?;
        let today = Timestamp::from_millisecond(now.0).ok()?.to_zoned(zone);
        let tomorrow = today.tomorrow().ok()?.start_of_day().ok()?;
        Some(Millis(tomorrow.timestamp().as_millisecond()))
    };
    // The zone is part of the program; the hour stands for a time outside of all calendars.
    let wait = midnight().map_or(Span::minutes(60), |at| at.since(now));
    Span(wait.0 + MARGIN.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(reason: &str) -> Vec<u8> {
        let error =
            serde_json::json!({"errors": [{"reason": reason}], "message": "said \u{1b}[0m so"});
        serde_json::json!({ "error": error }).to_string().into_bytes()
    }

    fn at(text: &str) -> Millis {
        Millis(text.parse::<Timestamp>().expect("a time").as_millisecond())
    }

    #[test]
    fn quota_is_back_after_midnight_in_california() {
        let wait = |now: &str| match judge(403, &body("quotaExceeded"), None, at(now)) {
            TaskError::RateLimited { after, .. } => after.0 / 60_000,
            other => panic!("{other}"),
        };
        assert_eq!(wait("2026-01-15T12:00:00Z"), 20 * 60 + 1); // midnight there is 08:00Z
        assert_eq!(wait("2026-07-15T12:00:00Z"), 19 * 60 + 1); // in summer 07:00Z
        assert_eq!(wait("2026-07-15T06:59:00Z"), 2);
        // The night when the clocks go forward has 23 hours.
        assert_eq!(wait("2026-03-08T08:00:00Z"), 23 * 60 + 1);
        assert_eq!(wait("2026-11-01T07:00:00Z"), 25 * 60 + 1);
    }

    #[test]
    fn refusals_have_their_classes() {
        let class = |status, reason: &str, unasked| match judge(
            status,
            &body(reason),
            unasked,
            at("2026-01-15T12:00:00Z"),
        ) {
            TaskError::Permanent(_) => "never".to_owned(),
            TaskError::Retryable(_) => "later".to_owned(),
            TaskError::RateLimited { after, .. } => format!("in {} s", after.0 / 1000),
            other => other.to_string(),
        };
        let ten = Some(Span::seconds(10));
        assert_eq!(class(403, "rateLimitExceeded", None), "in 60 s");
        assert_eq!(class(429, "", ten), "in 10 s");
        assert_eq!(class(400, "uploadLimitExceeded", None), "in 21600 s");
        assert_eq!(class(403, "forbidden", None), "never");
        assert_eq!(class(400, "invalidTitle", None), "never");
        assert_eq!(class(503, "backendError", None), "later");
        assert_eq!(class(503, "", ten), "in 10 s");
        assert_eq!(
            judge(404, b"<html>", None, at("2026-01-15T12:00:00Z")).to_string(),
            "YouTube answered HTTP 404"
        );
        let shown = judge(400, &body("invalidTitle"), None, Millis(0)).to_string();
        assert!(!shown.contains('\u{1b}') && shown.contains("said"), "{shown}");
    }
}
