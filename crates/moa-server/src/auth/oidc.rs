//! Sign-in with an OpenID Connect provider: the authorization code flow with PKCE, state and nonce.
//!
//! What belongs to a sign-in that is under way is in a cookie that only the way back gets, under a
//! key of this process: so nobody fills anything here, and what comes back to another browser than
//! the one that left is refused. The provider's word is its id token, checked as any JWT is
//! ([`super::jwt`]); nothing else that it answers is believed. Absent: its access tokens, which are
//! dropped.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use tokio::sync::Mutex;
use tokio::time::Instant;
use url::{Url, form_urlencoded};

use super::fetch::Fetch;
use super::jwt::keys::{KeySet, Source};
use super::jwt::{ClaimRules, Claims, Issuer, Keys, Refused, SecretOf};
use super::role::Role;
use super::scope::{Scope, Scopes};
use super::tokens::random_hex;

/// The path that begins a sign-in.
pub const START: &str = "/sign-in/oidc";
/// The path that the provider leads back to.
pub const BACK: &str = "/sign-in/oidc/callback";
/// How long a sign-in may take, in seconds.
pub const TAKES_MAX: u64 = 600;
/// How long what a provider says of itself is good for.
const GOOD: Duration = Duration::from_secs(3600);
/// How long it is not asked again when that went wrong.
const PAUSE: Duration = Duration::from_secs(5);
/// How far clocks may differ.
const LEEWAY: Duration = Duration::from_secs(30);
/// Bytes of a code or state at most.
const CODE_BYTES_MAX: usize = 4096;

/// How sign-in is set up.
#[derive(Clone)]
pub struct Options {
    /// The provider.
    pub issuer: String,
    /// How this client is called there.
    pub client_id: String,
    /// The name of its secret, and what gives its value.
    pub secret: Option<(String, SecretOf)>,
    /// How id tokens are signed.
    pub algorithm: Algorithm,
    /// What is asked for beside `openid`.
    pub scopes: Vec<String>,
    /// What the button says.
    pub label: Option<String>,
    /// What is read of claims.
    pub rules: ClaimRules,
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

/// Who has signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// Who, for good: the subject and its provider.
    pub id: String,
    /// What they are called.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// To what; empty = to everything.
    pub scopes: Vec<Scope>,
    /// Where they wanted to go.
    pub to: String,
}

/// What the way back carries.
#[derive(Debug, Default, Deserialize)]
pub struct Answer {
    #[serde(default)]
    code: Option<String>,
    #[serde(default)]
    state: Option<String>,
    #[serde(default)]
    iss: Option<String>,
    #[serde(default)]
    error: Option<String>,
}

/// What belongs to a sign-in that is under way.
#[derive(Debug, Serialize, Deserialize)]
struct UnderWay {
    state: String,
    nonce: String,
    verifier: String,
    to: String,
    /// In seconds since 1970.
    until: u64,
}

/// What a provider says of itself.
#[derive(Debug, Deserialize)]
struct Document {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Vec<String>,
}

#[derive(Debug)]
struct Provider {
    document: Document,
    tokens: Issuer,
    at: Instant,
}

/// Sign-in with a provider.
#[derive(Debug)]
pub struct Oidc {
    options: Options,
    fetch: Fetch,
    /// What cookies are marked with.
    key: [u8; 32],
    known: RwLock<Option<Arc<Provider>>>,
    asking: Mutex<Option<Instant>>,
}

impl Oidc {
    /// With a provider that is asked for what it is when somebody signs in.
    pub fn new(options: Options, fetch: Fetch) -> Self {
        let key = blake3::derive_key("moa 2026-11 sign-in cookies", random_hex::<32>().as_bytes());
        Self { options, fetch, key, known: RwLock::default(), asking: Mutex::default() }
    }

    /// What the button says.
    pub fn label(&self) -> String {
        let host = Url::parse(&self.options.issuer).ok();
        let host = host.as_ref().and_then(Url::host_str).unwrap_or("OpenID Connect");
        self.options.label.clone().unwrap_or_else(|| format!("Sign in with {host}"))
    }

    /// Begins a sign-in: where the browser goes, and the value of its cookie.
    ///
    /// # Errors
    /// The provider can't be asked.
    pub async fn begin(&self, back: &str, to: &str) -> Result<(String, String), Refused> {
        let provider = self.provider().await?;
        let under_way = UnderWay {
            state: random_hex::<32>(),
            nonce: random_hex::<32>(),
            verifier: random_hex::<32>(),
            to: to.to_owned(),
            until: now() + TAKES_MAX,
        };
        let digest = ring::digest::digest(&ring::digest::SHA256, under_way.verifier.as_bytes());
        let scopes =
            std::iter::once("openid").chain(self.options.scopes.iter().map(String::as_str));
        let scopes: Vec<&str> = scopes.collect();
        let wrong = |_| Refused::Unavailable("the provider's address is wrong".into());
        let mut url = Url::parse(&provider.document.authorization_endpoint).map_err(wrong)?;
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.options.client_id)
            .append_pair("redirect_uri", back)
            .append_pair("scope", &scopes.join(" "))
            .append_pair("state", &under_way.state)
            .append_pair("nonce", &under_way.nonce)
            .append_pair("code_challenge", &URL_SAFE_NO_PAD.encode(digest))
            .append_pair("code_challenge_method", "S256");
        Ok((url.into(), self.cookie(&under_way)))
    }

    /// Ends a sign-in: who it was. `cookie` is what the browser has.
    ///
    /// # Errors
    /// It is not the browser that began it, the provider says no, or its word is not good.
    pub async fn end(
        &self,
        back: &str,
        cookie: Option<&str>,
        answer: Answer,
    ) -> Result<Person, Refused> {
        let under_way = cookie.and_then(|cookie| self.under_way(cookie));
        let under_way = under_way.ok_or(Refused::Token("this browser began no sign-in"))?;
        let hash = |text: &str| blake3::hash(text.as_bytes());
        let state = answer.state.as_deref().unwrap_or_default();
        if hash(state) != hash(&under_way.state) {
            return Err(Refused::Token("it answers another sign-in"));
        }
        if answer.iss.as_ref().is_some_and(|iss| *iss != self.options.issuer) {
            return Err(Refused::Token("another provider answers"));
        }
        if let Some(error) = answer.error {
            let plain = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
            let word: String = error.chars().filter(|c| plain(*c)).take(60).collect();
            return Err(Refused::NoRole(format!("the provider says no: {word}")));
        }
        let code = answer.code.filter(|code| !code.is_empty() && code.len() <= CODE_BYTES_MAX);
        let code = code.ok_or(Refused::Token("it has no code"))?;
        let provider = self.provider().await?;
        let token = self.redeem(&provider.document, &code, back, &under_way.verifier).await?;
        let claims = provider.tokens.check(&token).await?;
        self.is_for_us(&claims, &under_way.nonce)?;
        let (subject, name) = self.options.rules.who(&claims)?;
        let role = self.options.rules.role(&claims)?;
        let scopes = match super::jwt::scopes(&claims) {
            Scopes::Unlimited => Vec::new(),
            Scopes::These(scopes) if scopes.is_empty() => {
                return Err(Refused::NoRole("its claim \"scope\" reaches nothing here".into()));
            }
            Scopes::These(scopes) => scopes,
        };
        let id = format!("{subject} of {}", self.options.issuer);
        Ok(Person { id, name, role, scopes, to: under_way.to })
    }

    /// Checks of an id token what is not checked of every JWT.
    fn is_for_us(&self, claims: &Claims, nonce: &str) -> Result<(), Refused> {
        let text = |claim: &str| claims.get(claim).and_then(Json::as_str);
        if text("nonce") != Some(nonce) {
            return Err(Refused::Token("its id token is of another sign-in"));
        }
        let several = claims.get("aud").and_then(Json::as_array).is_some_and(|aud| aud.len() > 1);
        let party = text("azp");
        if (several || party.is_some()) && party != Some(&self.options.client_id) {
            return Err(Refused::Token("its id token is for somebody else"));
        }
        Ok(())
    }

    /// Gives a code for an id token.
    async fn redeem(
        &self,
        document: &Document,
        code: &str,
        back: &str,
        verifier: &str,
    ) -> Result<String, Refused> {
        let client = &self.options.client_id;
        let secret = match &self.options.secret {
            Some((name, of)) => Some(of(name).map_err(Refused::Unavailable)?),
            None => None,
        };
        let methods = &document.token_endpoint_auth_methods_supported;
        let basic = methods.is_empty() || methods.iter().any(|one| one == "client_secret_basic");
        let encoded =
            |text: &str| -> String { form_urlencoded::byte_serialize(text.as_bytes()).collect() };
        let in_form = secret.as_ref().filter(|_| !basic);
        let in_head = secret.as_ref().filter(|_| basic);
        let fields = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", back),
            ("client_id", client),
            ("code_verifier", verifier),
        ];
        let fields = fields.into_iter();
        let fields = fields.chain(in_form.map(|secret| ("client_secret", secret.as_str())));
        let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let login = in_head.map(|secret| (encoded(client), encoded(secret)));
        let login = login.as_ref().map(|(user, secret)| (user.as_str(), secret.as_str()));
        let sent = self.fetch.post(&document.token_endpoint, form, login).await;
        let (status, body) = sent.map_err(|why| unavailable(&why))?;
        if status.is_client_error() {
            return Err(Refused::Token("the provider doesn't take the code"));
        }
        if !status.is_success() {
            return Err(unavailable(&format!("it answers {status}")));
        }
        #[derive(Deserialize)]
        struct Tokens {
            id_token: String,
        }
        let tokens: Result<Tokens, _> = serde_json::from_slice(&body);
        Ok(tokens.map_err(|_| Refused::Token("the provider answers without an id token"))?.id_token)
    }

    /// What the provider is, asked for when it isn't known, or not any more.
    async fn provider(&self) -> Result<Arc<Provider>, Refused> {
        let known = || {
            let known = self.known.read().unwrap_or_else(PoisonError::into_inner).clone();
            known.filter(|provider| provider.at.elapsed() < GOOD)
        };
        if let Some(provider) = known() {
            return Ok(provider);
        }
        let mut asked = self.asking.lock().await;
        if let Some(provider) = known() {
            return Ok(provider);
        }
        if asked.is_some_and(|at| at.elapsed() < PAUSE) {
            return Err(unavailable("it didn't answer just now"));
        }
        *asked = Some(Instant::now());
        let provider = Arc::new(self.ask().await.map_err(|why| {
            tracing::warn!(issuer = self.options.issuer, "the provider can't be asked: {why}");
            unavailable(&why)
        })?);
        *asked = None;
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Some(provider.clone());
        Ok(provider)
    }

    async fn ask(&self) -> Result<Provider, String> {
        let issuer = &self.options.issuer;
        let url = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        let text = self.fetch.get(&url).await?;
        let document: Document =
            serde_json::from_slice(&text).map_err(|e| format!("it is no provider: {e}"))?;
        if document.issuer != *issuer {
            return Err("it says that it is another one".into());
        }
        let insecure = issuer.starts_with("http://");
        for url in [&document.authorization_endpoint, &document.token_endpoint, &document.jwks_uri]
        {
            let scheme = Url::parse(url).map_err(|e| format!("it has a wrong address: {e}"))?;
            if scheme.scheme() != "https" && !(insecure && scheme.scheme() == "http") {
                return Err("it has an address that is not https".into());
            }
        }
        let source = Source::Url(document.jwks_uri.clone());
        let set = KeySet::new(source, self.options.algorithm, self.fetch.clone());
        let tokens = Issuer {
            issuer: issuer.clone(),
            audience: vec![self.options.client_id.clone()],
            algorithm: self.options.algorithm,
            keys: Keys::Set(Arc::new(set)),
            rules: self.options.rules.clone(),
            leeway: LEEWAY,
        };
        Ok(Provider { document, tokens, at: Instant::now() })
    }

    /// A cookie with a mark that only this process can make.
    fn cookie(&self, under_way: &UnderWay) -> String {
        let text = serde_json::to_vec(under_way).unwrap_or_default();
        let mark = blake3::keyed_hash(&self.key, &text);
        format!("{}.{}", URL_SAFE_NO_PAD.encode(&text), mark.to_hex())
    }

    fn under_way(&self, cookie: &str) -> Option<UnderWay> {
        let (text, mark) = cookie.split_once('.')?;
        let text = URL_SAFE_NO_PAD.decode(text).ok()?;
        // Hashes are compared in constant time.
        let is_own = blake3::keyed_hash(&self.key, &text) == blake3::Hash::from_hex(mark).ok()?;
        let under_way: UnderWay = is_own.then(|| serde_json::from_slice(&text).ok())??;
        (now() < under_way.until).then_some(under_way)
    }
}

fn unavailable(why: &str) -> Refused {
    Refused::Unavailable(format!("the provider can't be asked: {why}"))
}

fn now() -> u64 {
    u64::try_from(moa_view::now().0 / 1000).unwrap_or_default()
}
