//! Whether a call was made by whom it says, and lately: the signatures of Standard Webhooks, GitHub and
//! Slack. Signatures are compared in constant time, over the bytes as they came.
//!
//! What names a delivery is always something that is signed: a call that somebody has listened to and
//! sends again, with whatever it says beside that, is the same delivery.

use axum::http::HeaderMap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use moa_core::time::Millis;
use ring::hmac;
use serde_json::Value;

use crate::auth::tokens::random_hex;
use crate::control::{Hook, Signature};

/// Signatures of one call that are looked at.
const SIGNATURES_MAX: usize = 16;
/// Bytes of the id of a delivery.
const ID_BYTES_MAX: usize = 200;

/// A call, as it came.
pub struct Call<'a> {
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// Its body.
    pub body: &'a [u8],
}

/// What a call turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is theirs.
    Good {
        /// What names it.
        delivery: String,
    },
    /// It is theirs, and asks whether somebody is here: Slack's question when an address is new.
    Challenge(String),
    /// It isn't, or nobody knows; why, without a secret.
    Bad(&'static str),
    /// Nobody can know: what it is to be checked with is none.
    Unusable,
}

impl Call<'_> {
    /// The value of a header that is there once.
    fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        let value = values.next()?.to_str().ok()?;
        values.next().is_none().then_some(value)
    }
}

/// Checks a call.
pub fn check(hook: &Hook, call: &Call<'_>, now: Millis) -> Verdict {
    let checked = match (hook.signature, &hook.secret) {
        (Signature::None, _) => return unsigned(call),
        (_, None) => Err("this webhook has no secret"),
        (Signature::Standard, Some(secret)) => standard(hook, secret, call, now),
        (Signature::Github, Some(secret)) => github(secret, call),
        (Signature::Slack, Some(secret)) => slack(hook, secret, call, now),
    };
    checked.unwrap_or_else(Verdict::Bad)
}

type Checked = Result<Verdict, &'static str>;

/// Nothing is signed: what the sender calls it counts.
fn unsigned(call: &Call<'_>) -> Verdict {
    let named = ["webhook-id", "idempotency-key", "x-github-delivery", "ce-id"];
    let name = named.into_iter().find_map(|name| call.header(name));
    let name = name.filter(|name| !name.is_empty() && name.len() <= ID_BYTES_MAX);
    Verdict::Good { delivery: name.map_or_else(random_hex::<16>, str::to_owned) }
}

fn standard(hook: &Hook, secret: &str, call: &Call<'_>, now: Millis) -> Checked {
    let id = call.header("webhook-id").ok_or("the header webhook-id is missing")?;
    if id.is_empty() || id.len() > ID_BYTES_MAX {
        return Err("the header webhook-id is empty or too long");
    }
    let second =
        call.header("webhook-timestamp").ok_or("the header webhook-timestamp is missing")?;
    is_recent(hook, second, now)?;
    let signed =
        call.header("webhook-signature").ok_or("the header webhook-signature is missing")?;
    let content = [id.as_bytes(), b".", second.as_bytes(), b".", call.body].concat();
    let given = signed.split(' ').filter_map(|one| one.strip_prefix("v1,")).take(SIGNATURES_MAX);
    let given: Vec<Vec<u8>> = given.filter_map(|one| STANDARD.decode(one).ok()).collect();
    let keys = standard_keys(secret);
    let good = |key: &Vec<u8>| given.iter().any(|given| fits(key, &content, given));
    if keys.iter().flatten().any(good) {
        return Ok(Verdict::Good { delivery: id.to_owned() });
    }
    // It may be signed with what should have been a key.
    if keys.is_empty() || keys.contains(&None) {
        return Ok(Verdict::Unusable);
    }
    Err("the signature is wrong")
}

/// Several keys with blanks between them, while one takes the place of another; `None` = it is none. With
/// an empty one everybody could sign.
fn standard_keys(secret: &str) -> Vec<Option<Vec<u8>>> {
    let keys = secret.split_whitespace().map(|key| match key.strip_prefix("whsec_") {
        Some(encoded) => STANDARD.decode(encoded).ok().filter(|key| !key.is_empty()),
        None => Some(key.as_bytes().to_vec()),
    });
    keys.collect()
}

fn github(secret: &str, call: &Call<'_>) -> Checked {
    let header = call.header("x-hub-signature-256");
    let header = header.ok_or("the header X-Hub-Signature-256 is missing")?;
    let given = header.strip_prefix("sha256=").and_then(of_hex);
    let given = given.ok_or("the header X-Hub-Signature-256 holds no signature")?;
    let good = secret.split_whitespace().any(|key| fits(key.as_bytes(), call.body, &given));
    // Its delivery id is not signed; the body is, and the signature stands for it.
    let delivery = header.to_ascii_lowercase();
    if good { Ok(Verdict::Good { delivery }) } else { Err("the signature is wrong") }
}

fn slack(hook: &Hook, secret: &str, call: &Call<'_>, now: Millis) -> Checked {
    let second = call.header("x-slack-request-timestamp");
    let second = second.ok_or("the header X-Slack-Request-Timestamp is missing")?;
    is_recent(hook, second, now)?;
    let header = call.header("x-slack-signature");
    let header = header.ok_or("the header X-Slack-Signature is missing")?;
    let given = header.strip_prefix("v0=").and_then(of_hex);
    let given = given.ok_or("the header X-Slack-Signature holds no signature")?;
    let content = [b"v0:", second.as_bytes(), b":", call.body].concat();
    if !secret.split_whitespace().any(|key| fits(key.as_bytes(), &content, &given)) {
        return Err("the signature is wrong");
    }
    let body: Value = serde_json::from_slice(call.body).unwrap_or_default();
    let text = |name: &str| body.get(name).and_then(Value::as_str);
    if text("type") == Some("url_verification") {
        return Ok(Verdict::Challenge(text("challenge").unwrap_or_default().to_owned()));
    }
    // An event that it sends again has another time and the same id; all else is named by what is signed.
    let event = text("event_id").filter(|id| !id.is_empty() && id.len() <= ID_BYTES_MAX);
    let delivery = event.map_or_else(|| header.to_ascii_lowercase(), str::to_owned);
    Ok(Verdict::Good { delivery })
}

/// Whether the time that is signed is near enough.
fn is_recent(hook: &Hook, second: &str, now: Millis) -> Result<(), &'static str> {
    let digits = !second.is_empty() && second.bytes().all(|b| b.is_ascii_digit());
    let at = second.parse::<i64>().ok().filter(|_| digits).ok_or("the time is no number")?;
    let apart = at.saturating_mul(1000).abs_diff(now.0);
    match apart <= hook.tolerance.0 {
        true => Ok(()),
        false => Err("it was signed too long ago, or a clock is wrong"),
    }
}

/// Whether a signature is that of a content; takes as long whatever it is.
fn fits(key: &[u8], content: &[u8], given: &[u8]) -> bool {
    hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, key), content, given).is_ok()
}

fn of_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| (byte as char).to_digit(16).map(|digit| digit as u8);
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| Some(digit(*pair.first()?)? << 4 | digit(*pair.get(1)?)?)).collect()
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};
    use moa_core::ids::Name;
    use moa_core::time::Span;
    use zeroize::Zeroizing;

    use super::*;

    fn hook(signature: Signature, secret: &str) -> Hook {
        Hook {
            trigger: Name::new("on_1").expect("a name"),
            event: "webhook.w.on_1".into(),
            signature,
            secret: Some(Zeroizing::new(secret.to_owned())),
            tolerance: Span::minutes(5),
        }
    }

    fn verdict(hook: &Hook, headers: &[(&'static str, &str)], body: &str, second: i64) -> Verdict {
        let pairs = headers.iter().map(|(name, value)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).expect("a value"))
        });
        let headers: HeaderMap = pairs.collect();
        let call = Call { headers: &headers, body: body.as_bytes() };
        check(hook, &call, Millis(second * 1000))
    }

    fn good(delivery: &str) -> Verdict {
        Verdict::Good { delivery: delivery.into() }
    }

    #[test]
    fn standard_webhooks_are_checked_as_the_specification_says() {
        // The example of the specification's reference libraries.
        let hook = hook(Signature::Standard, "other-secret whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let (id, second) = ("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330);
        let signed = "v1,AAAA v2,x v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        let headers = [
            ("webhook-id", id),
            ("webhook-timestamp", "1614265330"),
            ("webhook-signature", signed),
        ];
        let body = "{\"test\": 2432232314}";
        assert_eq!(verdict(&hook, &headers, body, second), good(id));
        assert_eq!(verdict(&hook, &headers, body, second + 300), good(id));
        let bad = |verdict: Verdict| assert!(matches!(verdict, Verdict::Bad(_)), "{verdict:?}");
        bad(verdict(&hook, &headers, body, second + 301));
        bad(verdict(&hook, &headers, body, second - 301));
        bad(verdict(&hook, &headers, "{\"test\": 2432232315}", second));
        for i in 0..3 {
            let mut fewer = headers.to_vec();
            fewer.remove(i);
            bad(verdict(&hook, &fewer, body, second));
            let mut twice = headers.to_vec();
            twice[i].1 = "";
            bad(verdict(&hook, &twice, body, second));
        }
        let renamed = [("webhook-id", "msg_2"), headers[1], headers[2]];
        bad(verdict(&hook, &renamed, body, second));
    }

    #[test]
    fn a_key_that_is_none_is_nobodys_fault_and_hides_no_other() {
        let key = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let second = 1_614_265_330;
        let headers = [
            ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
            ("webhook-timestamp", "1614265330"),
            ("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
        ];
        let said = |secret: &str| {
            let hook = hook(Signature::Standard, secret);
            verdict(&hook, &headers, "{\"test\": 2432232314}", second)
        };
        assert_eq!(
            said(&format!("whsec_no!base64 whsec_{key}")),
            good("msg_p5jXN8AQM9LWM0D4loKWxJek")
        );
        assert_eq!(said("whsec_no!base64"), Verdict::Unusable);
        assert_eq!(said(" "), Verdict::Unusable);
        assert_eq!(
            said("whsec_no!base64 another"),
            Verdict::Unusable,
            "which of them it is signed with"
        );
        let by_nobody = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, b""), &{
            let [id, second, _] = headers.map(|(_, value)| value.as_bytes());
            [id, b".", second, b".", b"{}"].concat()
        });
        let signed = format!("v1,{}", STANDARD.encode(by_nobody));
        let headers = [headers[0], headers[1], ("webhook-signature", signed.as_str())];
        for secret in ["whsec_", "whsec_ another"] {
            let hook = hook(Signature::Standard, secret);
            assert_eq!(verdict(&hook, &headers, "{}", second), Verdict::Unusable, "{secret}");
        }
    }

    #[test]
    fn github_is_checked_as_its_documentation_says() {
        // The example of GitHub's documentation.
        let hook =
            hook(Signature::Github, "It's a Secret to Everybody".split(' ').next().unwrap_or(""));
        let by_hand = |key: &str, body: &str| {
            let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
            let tag = hmac::sign(&key, body.as_bytes());
            let hex: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
            format!("sha256={hex}")
        };
        let documented = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        assert_eq!(by_hand("It's a Secret to Everybody", "Hello, World!"), documented);
        let signed = by_hand("It's", "Hello, World!");
        let headers = [("x-hub-signature-256", signed.as_str()), ("x-github-delivery", "1")];
        assert_eq!(verdict(&hook, &headers, "Hello, World!", 0), good(&signed));
        // Whoever replays it with another delivery id replays the same delivery.
        let again = [headers[0], ("x-github-delivery", "2")];
        assert_eq!(verdict(&hook, &again, "Hello, World!", 0), good(&signed));
        for wrong in ["sha256=", "sha256=zz", "sha1=00", documented, ""] {
            let headers = [("x-hub-signature-256", wrong)];
            let said = verdict(&hook, &headers, "Hello, World!", 0);
            assert!(matches!(said, Verdict::Bad(_)), "{wrong}");
        }
    }

    #[test]
    fn slack_is_checked_as_its_documentation_says() {
        // The example of Slack's documentation.
        let hook = hook(Signature::Slack, "8f742231b10e8888abcd99yyyzzz85a5");
        let body = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow\
            &channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner\
            &command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands\
            %2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN\
            &trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
        let signed = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503";
        let headers = [("x-slack-signature", signed), ("x-slack-request-timestamp", "1531420618")];
        assert_eq!(verdict(&hook, &headers, body, 1_531_420_618), good(signed));
        let late = verdict(&hook, &headers, body, 1_531_420_618 + 301);
        assert!(matches!(late, Verdict::Bad(_)));
        let other = [headers[0], ("x-slack-request-timestamp", "1531420619")];
        assert!(matches!(verdict(&hook, &other, body, 1_531_420_618), Verdict::Bad(_)));
    }

    #[test]
    fn what_is_not_signed_is_named_by_its_sender_or_new() {
        let hook = Hook { secret: None, ..hook(Signature::None, "") };
        assert_eq!(verdict(&hook, &[("webhook-id", "7")], "", 0), good("7"));
        let (a, b) = (verdict(&hook, &[], "", 0), verdict(&hook, &[], "", 0));
        assert_ne!(a, b);
    }
}
