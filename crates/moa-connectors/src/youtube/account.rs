//! Who uploads: credentials from secrets, and access tokens made of them.
//!
//! `account: NAME` in the params chooses the secrets `NAME_CLIENT_ID`, `NAME_CLIENT_SECRET` and
//! `NAME_REFRESH_TOKEN`; without it, NAME is `YOUTUBE`. `NAME_API_URL` and `NAME_TOKEN_URL` lead to
//! other servers than Google's, a proxy or one for tests. Tokens are sent over TLS only, or to this
//! machine.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use moa_ports::agent::{Secrets, TaskError};
use reqwest::{Client, Url};
use serde_json::{Value as Json, json};

use crate::http::{chain, read_body};
use crate::redact::Redactor;

const API_URL: &str = "https://www.googleapis.com/";
const TOKEN_URL: &str = "https://oauth2.googleapis.com/token";
const ANSWER_BYTES_MAX: usize = 64 << 10;
const TIMEOUT: Duration = Duration::from_secs(60);
/// A token is no longer used when it has less than this to live.
const TOKEN_REST_MIN: Duration = Duration::from_secs(60);
const NEEDED: [&str; 3] = ["CLIENT_ID", "CLIENT_SECRET", "REFRESH_TOKEN"];

/// The beginning of the names of the account's secrets.
pub(super) fn prefix(params: &Json) -> Result<String, TaskError> {
    match params.get("account") {
        None | Some(Json::Null) => Ok("YOUTUBE".to_owned()),
        Some(Json::String(name)) => Ok(name.clone()),
        Some(_) => Err(TaskError::Permanent("`account` must be a text".to_owned())),
    }
}

/// Whether the account has what an upload needs.
pub(super) fn status(secrets: &dyn Secrets, prefix: &str) -> Json {
    let missing = missing(secrets, prefix);
    json!({"configured": missing.is_empty(), "missing": missing})
}

fn missing(secrets: &dyn Secrets, prefix: &str) -> Vec<String> {
    let names = NEEDED.iter().map(|name| format!("{prefix}_{name}"));
    names.filter(|name| get(secrets, name).is_none()).collect()
}

/// An empty secret is none.
fn get(secrets: &dyn Secrets, name: &str) -> Option<String> {
    secrets.get(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
}

/// An account on YouTube.
pub(super) struct Account {
    prefix: String,
    client_id: String,
    client_secret: String,
    refresh_token: String,
    pub api_url: Url,
    token_url: Url,
}

impl Account {
    pub fn new(secrets: &dyn Secrets, prefix: String) -> Result<Self, TaskError> {
        let missing = missing(secrets, &prefix);
        if !missing.is_empty() {
            let names = missing.join(", ");
            return Err(TaskError::Permanent(format!(
                "there is no secret {names}; set it in .env to upload to YouTube"
            )));
        }
        let secret = |name: &str| get(secrets, &format!("{prefix}_{name}")).unwrap_or_default();
        let url = |name: &str, default: &str| {
            let text = get(secrets, &format!("{prefix}_{name}"));
            address(&format!("{prefix}_{name}"), text.as_deref().unwrap_or(default))
        };
        Ok(Self {
            client_id: secret("CLIENT_ID"),
            client_secret: secret("CLIENT_SECRET"),
            refresh_token: secret("REFRESH_TOKEN"),
            api_url: url("API_URL", API_URL)?,
            token_url: url("TOKEN_URL", TOKEN_URL)?,
            prefix,
        })
    }

    /// Whether the access token may be sent there: to the API itself, or to another of its hosts.
    pub fn trusts(&self, url: &Url) -> bool {
        let same = url.scheme() == self.api_url.scheme()
            && url.host() == self.api_url.host()
            && url.port_or_known_default() == self.api_url.port_or_known_default();
        let google = |url: &Url| {
            url.host_str().is_some_and(|h| h == "googleapis.com" || h.ends_with(".googleapis.com"))
        };
        same || (url.scheme() == "https" && google(url) && google(&self.api_url))
    }

    /// An error without secrets.
    pub fn clean(&self, error: TaskError) -> TaskError {
        let secrets = [&self.client_secret, &self.refresh_token].map(String::as_str);
        let redactor = Redactor::new(secrets);
        let text = |text: String| redactor.text(&text).into_owned();
        match error {
            TaskError::Retryable(why) => TaskError::Retryable(text(why)),
            TaskError::Permanent(why) => TaskError::Permanent(text(why)),
            TaskError::RateLimited { message, after } => {
                TaskError::RateLimited { message: text(message), after }
            }
            TaskError::Timeout(why) => TaskError::Timeout(text(why)),
            TaskError::Output(why) => TaskError::Output(text(why)),
            TaskError::CutShort(why) => TaskError::CutShort(text(why)),
            TaskError::Unknown(why) => TaskError::Unknown(text(why)),
            TaskError::Cancelled => TaskError::Cancelled,
        }
    }

    /// A new access token, and how long it lives.
    async fn refresh(&self, client: &Client) -> Result<(String, Duration), TaskError> {
        let form = [
            ("client_id", self.client_id.as_str()),
            ("client_secret", &self.client_secret),
            ("refresh_token", &self.refresh_token),
            ("grant_type", "refresh_token"),
        ];
        let mut body = Url::parse("form:").map_err(|e| TaskError::Permanent(e.to_string()))?;
        body.query_pairs_mut().extend_pairs(form);
        let request = client
            .post(self.token_url.clone())
            .timeout(TIMEOUT)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body.query().unwrap_or_default().to_owned());
        let retryable = |e: &reqwest::Error| {
            TaskError::Retryable(format!("no access token could be fetched: {}", chain(e)))
        };
        let response = request.send().await.map_err(|e| retryable(&e))?;
        let status = response.status().as_u16();
        let (body, _) = read_body(response, ANSWER_BYTES_MAX).await.map_err(|e| retryable(&e))?;
        let answer: Json = serde_json::from_slice(&body).unwrap_or_default();
        match (status, answer["access_token"].as_str()) {
            (200, Some(token)) => {
                let lives = answer["expires_in"].as_u64().unwrap_or(3600);
                Ok((token.to_owned(), Duration::from_secs(lives)))
            }
            _ => Err(self.refused(status, &answer)),
        }
    }

    fn refused(&self, status: u16, answer: &Json) -> TaskError {
        let code = answer["error"].as_str().unwrap_or("no reason given");
        let prefix = &self.prefix;
        match (status, code) {
            (429 | 500.., _) => TaskError::Retryable(format!("no access token: HTTP {status}")),
            (_, "invalid_grant") => TaskError::Permanent(format!(
                "Google no longer accepts {prefix}_REFRESH_TOKEN (it was revoked, or has expired); \
                 make a new one"
            )),
            _ => TaskError::Permanent(format!(
                "Google refuses the credentials {prefix}_…: HTTP {status}, {code}"
            )),
        }
    }
}

fn address(name: &str, text: &str) -> Result<Url, TaskError> {
    let wrong = |why: &str| TaskError::Permanent(format!("{name} can't be used: {why}"));
    let url = Url::parse(text).map_err(|e| wrong(&e.to_string()))?;
    let here = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
    match url.scheme() {
        "https" => Ok(url),
        "http" if here => Ok(url),
        _ => Err(wrong("credentials are sent over https only")),
    }
}

/// Access tokens that still live, by account.
#[derive(Default)]
pub(super) struct Tokens(Mutex<HashMap<blake3::Hash, Token>>);

struct Token {
    value: String,
    until: Instant,
}

impl Tokens {
    /// A token that lives.
    pub async fn get(&self, client: &Client, account: &Account) -> Result<String, TaskError> {
        let key = Self::key(account);
        let now = Instant::now();
        let known = |token: &Token| (token.until > now).then(|| token.value.clone());
        if let Some(token) = self.lock().get(&key).and_then(known) {
            return Ok(token);
        }
        let (value, lives) = account.refresh(client).await?;
        let until = now + lives.saturating_sub(TOKEN_REST_MIN);
        self.lock().insert(key, Token { value: value.clone(), until });
        Ok(value)
    }

    /// The API doesn't accept `token` any more.
    pub fn forget(&self, account: &Account, token: &str) {
        let mut tokens = self.lock();
        let key = Self::key(account);
        if tokens.get(&key).is_some_and(|known| known.value == token) {
            tokens.remove(&key);
        }
    }

    fn key(account: &Account) -> blake3::Hash {
        let parts = [&account.client_id, &account.refresh_token, account.token_url.as_str()];
        blake3::hash(parts.join("\0").as_bytes())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<blake3::Hash, Token>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(api: &str) -> Account {
        Account {
            prefix: "YOUTUBE".to_owned(),
            client_id: "id".to_owned(),
            client_secret: "secret-a".to_owned(),
            refresh_token: "secret-b".to_owned(),
            api_url: Url::parse(api).expect("a URL"),
            token_url: Url::parse(TOKEN_URL).expect("a URL"),
        }
    }

    #[test]
    fn tokens_go_to_google_or_to_the_api_alone() {
        let google = account(API_URL);
        let trusts = |url: &str| google.trusts(&Url::parse(url).expect("a URL"));
        assert!(trusts("https://www.googleapis.com/upload/x"));
        assert!(trusts("https://youtube.googleapis.com/upload/x"));
        assert!(!trusts("http://www.googleapis.com/upload/x"));
        assert!(!trusts("https://googleapis.com.evil.example/x"));
        assert!(!trusts("https://evilgoogleapis.com/x"));
        let local = account("http://127.0.0.1:8080/");
        let trusts = |url: &str| local.trusts(&Url::parse(url).expect("a URL"));
        assert!(trusts("http://127.0.0.1:8080/session"));
        assert!(!trusts("http://127.0.0.1:8081/session"));
        assert!(!trusts("https://www.googleapis.com/session"));
    }

    #[test]
    fn addresses_without_tls_are_on_this_machine() {
        assert!(address("X", "http://localhost:1").is_ok() && address("X", "https://a.b").is_ok());
        for bad in ["http://example.org", "ftp://localhost", "file:///etc/passwd", "x"] {
            assert!(address("X", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn errors_hold_no_secrets() {
        let error = TaskError::Permanent("it said secret-a and secret-b".to_owned());
        let clean = account(API_URL).clean(error);
        assert_eq!(clean, TaskError::Permanent("it said *** and ***".to_owned()));
    }
}
