//! Who asks, and whether they may.
//!
//! A token is always needed, also from this machine: any page that a browser shows and any program of
//! any user can reach a port of the loopback. Programs send a token with each request. A browser
//! signs in once, with a one-time link or a token, and gets a session in a cookie that it sends to
//! this site alone; what it changes needs a CSRF token too. [`guard`] looks at hosts and origins.
//! Absent by intent: passwords.

pub mod fetch;
pub mod guard;
pub mod jwt;
pub mod limiter;
pub mod links;
pub mod may;
pub mod oidc;
pub mod refusals;
pub mod role;
pub mod scope;
pub mod tokens;

use std::convert::Infallible;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, to_bytes};
use axum::extract::{FromRequestParts, RawPathParams, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, header};
use axum::middleware::Next;
use axum::response::Response;
use governor::clock::Clock;
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use moa_core::time::{Millis, Span};
use moa_view::now;

use self::limiter::Limiter;
use self::links::Links;
use self::oidc::Oidc;
use self::refusals::{Refusal, Refusals};
use self::role::{Access, Role};
use self::scope::{Area, Asked, Scope, Scopes};
use self::tokens::{Entry, Kind, New, Tokens};
use crate::App;
use crate::error::{Code, Problem, Result};
use crate::newcomers::Arrival;
use crate::serve::Peer;

/// How long a browser stays signed in.
pub const SESSION_KEPT: Span = Span::minutes(7 * 24 * 60);
/// How long a token holds that somebody makes who has signed in, when they don't say.
pub const PERSONS_TOKEN_KEPT: Span = Span::minutes(90 * 24 * 60);

/// When a token is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ends {
    /// Nobody said: what a person made ends by itself, what a program made as its maker does.
    Usual,
    /// When somebody ends it.
    Never,
    /// After this time.
    After(Span),
}

impl Ends {
    /// Reads `30d` or `never`; nothing = nobody said.
    ///
    /// # Errors
    /// It is none of these.
    pub fn read(text: &str) -> Result<Self> {
        match text.trim() {
            "" => Ok(Self::Usual),
            "never" => Ok(Self::Never),
            span => {
                match span.parse() {
                    Ok(span) => Ok(Self::After(span)),
                    Err(e) => Err(Problem::invalid(format!("expires_in: {e}"))
                        .hint("write 30d, say, or never")),
                }
            }
        }
    }
}

/// The header that carries the CSRF token.
pub const CSRF_HEADER: &str = "x-csrf-token";
/// The field of a form that carries it.
pub const CSRF_FIELD: &str = "csrf";
/// Bytes of a form at most.
pub const FORM_BYTES_MAX: usize = 256 << 10;
/// How many of the requests of a second may come at once.
const TWICE: NonZeroU32 = NonZeroU32::new(2).expect("not zero");
/// Sessions that one token opens at once, and in each minute after that: each is a line of the audit
/// log.
const SIGN_INS: NonZeroU32 = NonZeroU32::new(30).expect("not zero");

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The id of the token or session.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// What they may do with what they ask for now.
    pub role: Role,
    /// What they may do at the most: more than that where only the scope `read` admits them.
    pub own_role: Role,
    /// To what.
    pub scopes: Scopes,
    /// How they said who they are.
    pub via: Via,
}

/// How somebody said who they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Via {
    /// With a token in the request.
    Token,
    /// With the cookie of a browser's session.
    Session {
        /// What its changes have to carry.
        csrf: String,
    },
    /// With a JWT in the request.
    Jwt {
        /// When it ends.
        until: Millis,
    },
}

impl Identity {
    /// Who did it, as histories say it.
    pub fn cause(&self) -> String {
        format!("api ({})", self.name)
    }

    /// The CSRF token, for who has a session.
    pub fn csrf(&self) -> Option<&str> {
        match &self.via {
            Via::Token | Via::Jwt { .. } => None,
            Via::Session { csrf } => Some(csrf),
        }
    }

    /// Refuses who may not do what `least` may.
    ///
    /// # Errors
    /// [`Code::Forbidden`].
    pub fn must_be(&self, least: Role) -> Result<()> {
        match self.role.includes(least) {
            true => Ok(()),
            false => Err(forbidden(Access::Least(least), self.role)),
        }
    }
}

/// Who asks, when somebody said so; put into each request.
#[derive(Debug, Clone)]
pub struct Caller(pub Option<Identity>);

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> std::result::Result<Self, Infallible> {
        Ok(parts.extensions.get::<Caller>().cloned().unwrap_or(Caller(None)))
    }
}

impl<S: Sync> FromRequestParts<S> for Identity {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        let caller = parts.extensions.get::<Caller>().and_then(|caller| caller.0.clone());
        caller.ok_or_else(unauthenticated)
    }
}

/// What the server knows of who may ask.
#[derive(Debug)]
pub struct Auth {
    /// Tokens and sessions.
    pub tokens: Arc<Tokens>,
    /// One-time links.
    pub links: Links,
    /// Whose JWTs are believed.
    issuers: Vec<jwt::Issuer>,
    /// Sign-in with a provider.
    pub oidc: Option<Oidc>,
    /// What is refused, until it is in the audit log.
    pub refusals: Refusals,
    wrong: Limiter,
    requests: DefaultKeyedRateLimiter<String>,
    sign_ins: DefaultKeyedRateLimiter<String>,
    cookie: String,
    secure: bool,
}

impl Auth {
    /// With the tokens of a state folder. `secure` = browsers come through TLS. `rate` = requests of
    /// one caller in each second; twice as many at once.
    pub fn new(
        folder: &Path,
        port: u16,
        secure: bool,
        rate: u32,
        (issuers, oidc): (Vec<jwt::Issuer>, Option<Oidc>),
    ) -> Self {
        let rate = NonZeroU32::new(rate).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::per_second(rate).allow_burst(rate.saturating_mul(TWICE));
        Self {
            tokens: Arc::new(Tokens::new(folder)),
            links: Links::new(folder),
            issuers,
            oidc,
            refusals: Refusals::default(),
            wrong: Limiter::default(),
            requests: RateLimiter::keyed(quota),
            sign_ins: RateLimiter::keyed(Quota::per_minute(SIGN_INS)),
            // Cookies know no ports: several projects on one machine must not sign each other out.
            cookie: match secure {
                true => format!("__Host-moa_session_{port}"),
                false => format!("moa_session_{port}"),
            },
            secure,
        }
    }

    /// The cookie that opens a session in a browser.
    pub fn cookie(&self, secret: &str) -> String {
        let secure = if self.secure { "; Secure" } else { "" };
        let age = SESSION_KEPT.0 / 1000;
        let name = &self.cookie;
        format!("{name}={secret}; Path=/; Max-Age={age}; HttpOnly; SameSite=Strict{secure}")
    }

    /// The cookie that takes a session away from a browser.
    pub fn no_cookie(&self) -> String {
        let secure = if self.secure { "; Secure" } else { "" };
        format!("{}=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict{secure}", self.cookie)
    }

    /// A session to be opened, for [`crate::control::Control::make_token`].
    pub fn session_of(
        name: String,
        (role, scopes): (Role, Vec<Scope>),
        of: Option<String>,
        owner: Option<String>,
    ) -> New {
        let expires_at = Some(now().after(SESSION_KEPT));
        New { kind: Kind::Session, name, role, scopes, expires_at, of, owner }
    }

    /// A token that somebody asks for: it reaches no further than who asks, and holds no longer than the
    /// token or JWT that they came with. One that a narrowed token makes ends with its maker too.
    ///
    /// What a person makes who has signed in ends by itself, unless an admin wants it otherwise.
    ///
    /// # Errors
    /// It would reach further, or who asks is nobody any more.
    pub fn token_for(
        &self,
        who: &Identity,
        (name, role): (String, Role),
        scopes: Vec<Scope>,
        ends: Ends,
    ) -> Result<New> {
        who.scopes.must_cover(&scopes)?;
        who.must_be(role)?;
        let expires_at = match ends {
            Ends::After(span) => Some(now().after(span)),
            Ends::Never => {
                who.must_be(Role::Admin)?;
                None
            }
            Ends::Usual => {
                matches!(who.via, Via::Session { .. }).then(|| now().after(PERSONS_TOKEN_KEPT))
            }
        };
        let (end, maker) = match who.via {
            Via::Jwt { until } => (Some(until), None),
            Via::Token | Via::Session { .. } => self.end_of(&who.id)?,
        };
        let expires_at = [expires_at, end].into_iter().flatten().min();
        let of = maker.filter(|_| who.scopes.list().is_some());
        Ok(New { kind: Kind::Token, name, role, scopes, expires_at, of, owner: None })
    }

    /// Who asks for a link: what it opens ends with what they came with.
    ///
    /// # Errors
    /// They ask too often, are nobody any more, or came with a JWT: what a session of it makes could
    /// not end with it, since nothing here knows it.
    pub fn maker_of_link(&self, who: &Identity) -> Result<links::Maker> {
        if matches!(who.via, Via::Jwt { .. }) {
            let problem = Problem::new(Code::Forbidden, "a JWT signs no browser in");
            return Err(problem.hint("make a token with it, and ask for a link with that"));
        }
        self.sign_in_place(&who.id)?;
        let (until, of) = self.end_of(&who.id)?;
        let scopes = who.scopes.list().map(<[Scope]>::to_vec).unwrap_or_default();
        Ok(links::Maker { id: who.id.clone(), name: who.name.clone(), scopes, of, until })
    }

    /// What the code of a link opens, and what the audit log calls the link; `None` = it works no more,
    /// or who asked for it is nobody any more.
    ///
    /// # Errors
    /// The tokens can't be read.
    pub fn take_link(&self, code: &str) -> Result<Option<(New, String)>> {
        let Some((grant, link)) = self.links.take(code, Instant::now()) else { return Ok(None) };
        let Some(maker) = grant.maker else {
            let (name, owner) = ("link".to_owned(), Some("link".to_owned()));
            return Ok(Some((Self::session_of(name, (grant.role, Vec::new()), None, owner), link)));
        };
        let (now, entries) = (now(), self.tokens.list()?);
        let holds = |of: &String| {
            let found = entries.iter().find(|entry| entry.id == *of);
            found.is_some_and(|entry| !tokens::is_over(entry, now))
        };
        if !maker.of.as_ref().is_none_or(holds) || maker.until.is_some_and(|until| until <= now) {
            return Ok(None);
        }
        let links::Maker { id, name, scopes, of, until } = maker;
        let owner = of.is_none().then_some(id);
        let session = Self::session_of(name, (grant.role, scopes), of, owner);
        let expires_at = [session.expires_at, until].into_iter().flatten().min();
        Ok(Some((New { expires_at, ..session }, link)))
    }

    /// When what somebody came with ends, and which entry that is: of a session its token.
    fn end_of(&self, id: &str) -> Result<(Option<Millis>, Option<String>)> {
        let entries = self.tokens.list()?;
        let known = |id: &str| entries.iter().find(|entry| entry.id == id);
        let own = known(id).ok_or_else(unauthenticated)?;
        let maker = match &own.of {
            Some(of) if own.kind == Kind::Session => known(of).ok_or_else(unauthenticated)?,
            _ => own,
        };
        // A person who signs in with a link or a provider again may make it again.
        let is_person = maker.kind == Kind::Session && maker.scopes.is_empty();
        Ok((maker.expires_at.filter(|_| !is_person), Some(maker.id.clone())))
    }

    /// Whether somebody still is who they were: nobody revoked it, and it is not over.
    pub fn holds(&self, who: &Identity) -> bool {
        let now = now();
        if let Via::Jwt { until } = who.via {
            return now < until;
        }
        let known = |id: &str, entries: &[Entry]| {
            entries.iter().find(|entry| entry.id == id && !tokens::is_over(entry, now)).cloned()
        };
        let Ok(entries) = self.tokens.list() else { return false };
        let Some(entry) = known(&who.id, &entries) else { return false };
        entry.of.is_none_or(|of| known(&of, &entries).is_some())
    }

    /// Refuses an address that was wrong, and notes that it was.
    pub fn wrong(&self, address: IpAddr, what: &str) -> Problem {
        let now = Instant::now();
        self.note_refusal(
            Asker::new(None, address),
            "sign_in",
            what,
            "it is not known, or not any more",
        );
        if let Some(wait) = self.wrong.wait(network(address), now) {
            let text = "too many wrong tokens came from this address";
            let problem = Problem::new(Code::TooManyRequests, text);
            return Problem { retry_after: Some(wait), ..problem };
        }
        self.wrong.failed(network(address), now);
        tracing::warn!(%address, "somebody came with {what} that is not known, or not any more");
        Problem::new(Code::Unauthenticated, format!("{what} is not known, or not any more"))
            .hint("`moa token create` makes a token; `moa open` opens the dashboard")
    }

    /// Has a refusal written down.
    pub fn note_refusal(&self, asker: Asker, action: &'static str, object: &str, why: &str) {
        let (object, why) = (object.to_owned(), why.to_owned());
        let refusal = Refusal { asker, action, object, why, times: 1 };
        self.refusals.note(refusal, Instant::now());
    }

    /// The problem of somebody whom an issuer's word doesn't let in.
    pub fn refused(&self, refused: jwt::Refused, address: IpAddr, what: &str) -> Problem {
        match refused {
            jwt::Refused::Token(why) => {
                tracing::info!(%address, "{what} is refused: {why}");
                self.wrong(address, what)
            }
            jwt::Refused::NoRole(why) => {
                self.note_refusal(Asker::new(None, address), "sign_in", what, &why);
                Problem::new(Code::Forbidden, why)
                    .hint("the settings say which claims give which roles")
            }
            jwt::Refused::Unavailable(why) => Problem::new(Code::Unavailable, why),
        }
    }

    /// The name of a cookie that belongs to this server, as [`Auth::cookie`] has one.
    pub fn cookie_of_sign_in(&self) -> String {
        format!("{}_oidc", self.cookie.trim_start_matches("__Host-"))
    }

    /// A cookie for the way back from a provider, which leads here from another site; empty = it is
    /// taken away.
    pub fn sign_in_cookie(&self, value: &str) -> String {
        let secure = if self.secure { "; Secure" } else { "" };
        let age = if value.is_empty() { 0 } else { oidc::TAKES_MAX };
        let (name, path) = (self.cookie_of_sign_in(), oidc::BACK);
        format!("{name}={value}; Path={path}; Max-Age={age}; HttpOnly; SameSite=Lax{secure}")
    }

    /// Who sends these headers.
    async fn identify(&self, headers: &HeaderMap, address: IpAddr) -> Result<Option<Identity>> {
        let now = now();
        let mut given = headers.get_all(header::AUTHORIZATION).iter();
        if let Some(value) = given.next() {
            // Whoever stands in front may have looked at the other one.
            if given.next().is_some() {
                return Err(Problem::invalid("the request has two Authorization headers"));
            }
            let token = value.to_str().ok().and_then(bearer).ok_or_else(|| {
                Problem::new(Code::Unauthenticated, "the Authorization header holds no token")
                    .hint("send `Authorization: Bearer TOKEN`")
            })?;
            if !self.issuers.is_empty() && jwt::looks_like_one(token) {
                let who = jwt::identify(&self.issuers, token).await;
                return who.map(Some).map_err(|refused| self.refused(refused, address, "a JWT"));
            }
            let Some(entry) = self.tokens.find(token, Kind::Token, now)? else {
                return Err(self.wrong(address, "a token"));
            };
            self.note_use(&entry, now).await;
            let Entry { id, name, role, scopes, .. } = entry;
            let scopes = scopes.into();
            return Ok(Some(Identity { id, name, role, own_role: role, scopes, via: Via::Token }));
        }
        let Some(secret) = self.session(headers) else { return Ok(None) };
        // A browser keeps the cookie of a session that is over; it is a stranger like any other.
        let Some(entry) = self.tokens.find(secret, Kind::Session, now)? else { return Ok(None) };
        self.note_use(&entry, now).await;
        let via = Via::Session { csrf: csrf_of(secret) };
        let Entry { id, name, role, scopes, .. } = entry;
        Ok(Some(Identity { id, name, role, own_role: role, scopes: scopes.into(), via }))
    }

    fn session<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str> {
        cookie_of(headers, &self.cookie)
    }

    async fn note_use(&self, entry: &Entry, now: Millis) {
        if !Tokens::is_use_news(entry, now) {
            return;
        }
        let (tokens, id) = (self.tokens.clone(), entry.id.clone());
        let noted = blocking(move || tokens.used(&id, now)).await;
        if let Err(problem) = noted {
            // Whoever asks may still be answered.
            tracing::warn!("the use of a token can't be noted: {}", problem.detail);
        }
    }

    fn take_place(&self, who: &str) -> Result<()> {
        take(&self.requests, who, "too many requests at once")
    }

    /// Refuses an owner who signs in too often.
    ///
    /// # Errors
    /// [`Code::TooManyRequests`].
    pub fn sign_in_place(&self, owner: &str) -> Result<()> {
        take(&self.sign_ins, owner, "it signs in too often")
    }
}

/// Callers that a limiter remembers; who is not at its limit is forgotten then.
const LIMITER_KEYS_MAX: usize = 10_000;

fn take(limiter: &DefaultKeyedRateLimiter<String>, who: &str, text: &str) -> Result<()> {
    if limiter.len() > LIMITER_KEYS_MAX {
        limiter.retain_recent();
    }
    limiter.check_key(&who.to_owned()).map_err(|not_until| {
        let wait = not_until.wait_time_from(limiter.clock().now());
        // Clients are told whole seconds: those in which the wait is over.
        let wait = Duration::from_secs(wait.as_secs() + u64::from(wait.subsec_nanos() > 0));
        Problem { retry_after: Some(wait), ..Problem::new(Code::TooManyRequests, text) }
    })
}

/// Whom an address stands for: one of IPv6 for its network, of which one client may have 2^64.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(of) => {
            let bits = of.to_bits() & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from_bits(bits))
        }
        v4 => v4,
    }
}

/// The value of a cookie.
pub fn cookie_of<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|c| c.to_str().ok());
    let mut pairs = cookies.flat_map(|c| c.split(';')).filter_map(|c| c.trim().split_once('='));
    pairs.find(|(own, _)| *own == name).map(|(_, value)| value)
}

/// The token of an `Authorization` header.
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// The CSRF token of a session: only who knows the session can make it.
fn csrf_of(secret: &str) -> String {
    let key = blake3::derive_key("moa 2026-11 CSRF token of a session", secret.as_bytes());
    key[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Does something with files where it holds nobody up.
///
/// # Errors
/// As the work says.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::result::Result<T, tokens::Error> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => Ok(done?),
        Err(_) => Err(Problem::new(Code::Internal, "the work on the tokens has died")),
    }
}

impl From<tokens::Error> for Problem {
    fn from(error: tokens::Error) -> Self {
        let text = error.to_string();
        match error {
            tokens::Error::Unknown(_) => Problem::not_found(text),
            tokens::Error::Name(_) => Problem::invalid(text),
            tokens::Error::Full => {
                Problem::new(Code::Conflict, text).hint("revoke those that nobody needs")
            }
            tokens::Error::Io { .. } => Problem::new(Code::Unavailable, text),
            tokens::Error::Broken { .. } => Problem::new(Code::Unavailable, text)
                .hint("mend the file, or delete it and make new tokens"),
        }
    }
}

/// The refusal of whom nobody knows.
pub fn unauthenticated() -> Problem {
    Problem::new(Code::Unauthenticated, "a token is needed")
        .hint("send `Authorization: Bearer TOKEN`; `moa token create` makes a token")
        .hint("`moa open` opens the dashboard in a browser")
}

fn forbidden(access: Access, role: Role) -> Problem {
    let text = format!("this takes the role {access}, and yours is {role}");
    Problem::new(Code::Forbidden, text)
}

/// Who asks, and from where, for whoever writes down who did what.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Asker {
    /// `token:ID (NAME)` or `session:ID (NAME)`; `nobody` before anybody said who they are.
    pub who: String,
    /// `http ADDRESS`.
    pub from: String,
}

tokio::task_local! {
    static ASKER: Asker;
}

impl Asker {
    fn new(who: Option<&Identity>, address: IpAddr) -> Self {
        let who = match who {
            None => "nobody".into(),
            Some(Identity { id, name, via: Via::Token, .. }) => format!("token:{id} ({name})"),
            Some(Identity { id, name, via: Via::Jwt { .. }, .. }) => format!("jwt:{id} ({name})"),
            Some(Identity { id, name, .. }) => format!("session:{id} ({name})"),
        };
        Self { who, from: format!("http {address}") }
    }

    /// Somebody who is just saying who they are, from an address.
    pub fn named(who: String, address: IpAddr) -> Self {
        Self { who, from: format!("http {address}") }
    }

    /// Does something in the name of this one.
    pub async fn asks<T>(self, work: impl Future<Output = T>) -> T {
        ASKER.scope(self, work).await
    }

    /// Who asks for the request that is being answered; `None` outside of one.
    pub fn current() -> Option<Self> {
        ASKER.try_with(Clone::clone).ok()
    }
}

/// Finds out who asks, for every route.
pub async fn identify(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let address = Peer::of(request.extensions()).ip();
    let auth = app.auth();
    // A webhook shows by its signature who sends it; its other headers are none of ours.
    let is_hook = request.uri().path().starts_with(crate::hooks::PATH);
    let who = match is_hook {
        true => Ok(None),
        false => auth.identify(request.headers(), address).await,
    };
    let who = match who {
        Ok(who) => who,
        Err(problem) => return axum::response::IntoResponse::into_response(problem),
    };
    let key = who.as_ref().map_or_else(|| network(address).to_string(), |who| who.id.clone());
    if let Err(problem) = auth.take_place(&key) {
        return axum::response::IntoResponse::into_response(problem);
    }
    if who.is_some()
        && let Some(arrival) = request.extensions().get::<Arc<Arrival>>()
    {
        arrival.is_known();
    }
    let asker = Asker::new(who.as_ref(), address);
    request.extensions_mut().insert(Caller(who));
    request.extensions_mut().insert(app.clone());
    let asked = format!("{} {}", request.method(), request.uri().path());
    let refused = who_may_not(&request);
    let response = ASKER.scope(asker.clone(), next.run(request)).await;
    // Who signs in and may not is written down as that.
    let problem = response.extensions().get::<Problem>();
    if let Some(problem) = problem.filter(|problem| refused && problem.code.is_refusal()) {
        auth.note_refusal(asker, "access", &asked, &problem.detail);
    }
    response
}

/// Whether somebody is known who may be refused something.
fn who_may_not(request: &Request) -> bool {
    request.extensions().get::<Caller>().is_some_and(|caller| caller.0.is_some())
}

/// Refuses whom a route does not admit.
///
/// # Errors
/// Nobody said who asks, they may not, or a change of a session came without its CSRF token.
pub async fn require(
    (access, area): (Access, Area),
    params: RawPathParams,
    request: Request,
    next: Next,
) -> Result<Response> {
    if access == Access::Public {
        return Ok(next.run(request).await);
    }
    let caller = request.extensions().get::<Caller>().and_then(|caller| caller.0.clone());
    let who = caller.ok_or_else(unauthenticated)?;
    let who = scope::judge(access, area, who, Asked::of(&request, params)).await?;
    let is_safe = [Method::GET, Method::HEAD, Method::OPTIONS].contains(request.method());
    let request = match &who.via {
        Via::Session { csrf } if !is_safe => with_csrf(csrf, request).await?,
        _ => request,
    };
    if !is_safe {
        let (method, path) = (request.method(), request.uri().path());
        tracing::info!(by = who.id, role = %who.role, "{method} {path}");
    }
    let mut request = request;
    request.extensions_mut().insert(Caller(Some(who)));
    Ok(next.run(request).await)
}

/// Refuses a request that does not carry the CSRF token of its session.
async fn with_csrf(csrf: &str, request: Request) -> Result<Request> {
    let missing = || {
        Problem::new(Code::CsrfMissing, "a change needs the CSRF token of the session")
            .hint("send it as `X-CSRF-Token`; /api/v1/me tells it")
    };
    if let Some(given) = request.headers().get(CSRF_HEADER) {
        return if is_same(given.as_bytes(), csrf) { Ok(request) } else { Err(missing()) };
    }
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    if !kind.is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded")) {
        return Err(missing());
    }
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, FORM_BYTES_MAX)
        .await
        .map_err(|_| Problem::new(Code::TooLarge, "the form is too large, or was cut off"))?;
    let field = format!("{CSRF_FIELD}=");
    let mut fields = body.split(|byte| *byte == b'&');
    let given = fields.find_map(|pair| pair.strip_prefix(field.as_bytes()));
    match given.is_some_and(|given| is_same(given, csrf)) {
        true => Ok(Request::from_parts(parts, Body::from(body))),
        false => Err(missing()),
    }
}

/// Compares in a time that tells nothing: hashes are compared in constant time.
fn is_same(given: &[u8], wanted: &str) -> bool {
    blake3::hash(given) == blake3::hash(wanted.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_network_are_one_caller() {
        let of = |text: &str| network(text.parse().expect("an address")).to_string();
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(of("2001:db8:1:2:ffff::1"), of("2001:db8:1:2::"));
        assert_ne!(of("2001:db8:1:3::1"), of("2001:db8:1:2::1"));
        assert_eq!(of("::ffff:10.1.2.3"), "10.1.2.3");
        assert_ne!(of("10.1.2.3"), of("10.1.2.4"));
    }
}
