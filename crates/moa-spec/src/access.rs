//! Who may use the API without a token of moa's own: the sections `jwt` and `oidc` of `server`,
//! checked.

use moa_core::ids::Name;
use moa_core::time::Span;
use serde::Serialize;

use crate::codes;
pub use crate::model::access::{JwtAlgorithm, RoleText};
use crate::model::access::{JwtFile, OidcFile};
use crate::model::notify::Secretive;
use crate::read::{At, Cx};
use crate::scalar::{Entries, shown_span};

/// How far clocks may differ, and how far at most.
const LEEWAY_DEFAULT: Span = Span::seconds(30);
const LEEWAY_MAX: Span = Span::minutes(10);

/// Somebody whose JWTs are believed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct JwtIssuer {
    /// The claim `iss`.
    pub issuer: String,
    /// Values of `aud`, one of which is enough.
    pub audience: Vec<String>,
    /// How they are signed.
    pub algorithm: JwtAlgorithm,
    /// What they are checked with.
    pub keys: JwtKeys,
    /// What is read of the claims.
    pub claims: ClaimRules,
    /// How far clocks may differ.
    #[serde(serialize_with = "shown_span")]
    pub leeway: Span,
}

/// What a signature is checked with.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum JwtKeys {
    /// A secret of this name.
    Secret(Name),
    /// The public key of a PEM file, relative to the project.
    Pem(String),
    /// A JSON Web Key Set of an address.
    Url(String),
    /// A JSON Web Key Set of a file, relative to the project.
    File(String),
}

/// What is read of claims.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClaimRules {
    /// The claim that says what somebody is called.
    pub name: String,
    /// The claim with roles or groups.
    pub role: String,
    /// What its values allow, the first that fits; empty = they are the roles themselves.
    pub roles: Vec<(String, RoleText)>,
}

/// Sign-in with an OpenID Connect provider.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Oidc {
    /// The provider, without a slash at its end unless it has one.
    pub issuer: String,
    /// How this client is called there.
    pub client_id: String,
    /// The secret of this name.
    pub client_secret: Option<Name>,
    /// How id tokens are signed.
    pub algorithm: JwtAlgorithm,
    /// What is asked for beside `openid`.
    pub scopes: Vec<String>,
    /// What the button says.
    pub label: Option<String>,
    /// What is read of the claims.
    pub claims: ClaimRules,
}

impl JwtIssuer {
    /// The secret that it needs.
    pub fn secret(&self) -> Option<&Name> {
        match &self.keys {
            JwtKeys::Secret(name) => Some(name),
            JwtKeys::Pem(_) | JwtKeys::Url(_) | JwtKeys::File(_) => None,
        }
    }
}

/// Checks an issuer.
pub(crate) fn jwt(file: &JwtFile, cx: &mut Cx) -> Option<JwtIssuer> {
    let keys = keys(file, cx);
    if file.audience.0.is_empty() {
        let message = "an issuer needs an audience".into();
        let d = cx.error(codes::WRONG_VALUE, file.issuer.span.clone(), message);
        d.help("write `audience: moa`, or what the issuer puts into `aud` for this server");
    }
    let leeway = file.leeway.as_ref().map_or(LEEWAY_DEFAULT, |leeway| leeway.value.0);
    if let Some(at) = file.leeway.as_ref().filter(|_| leeway > LEEWAY_MAX) {
        let message = "clocks that differ by more than 10m are wrong".into();
        cx.error(codes::WRONG_VALUE, at.span.clone(), message).help("write 30s, say");
    }
    Some(JwtIssuer {
        issuer: file.issuer.value.clone(),
        audience: file.audience.0.iter().map(|one| one.value.clone()).collect(),
        algorithm: file.algorithm.value,
        keys: keys?,
        claims: claims(&file.name_claim, &file.role_claim, file.roles.as_ref()),
        leeway,
    })
}

fn keys(file: &JwtFile, cx: &mut Cx) -> Option<JwtKeys> {
    let is_shared = file.algorithm.value == JwtAlgorithm::Hs256;
    let span = file.algorithm.span.clone();
    let keys = match (&file.secret, &file.key, &file.jwks) {
        (Some(secret), None, None) if is_shared => {
            return secret_of(secret, cx).map(JwtKeys::Secret);
        }
        (None, Some(key), None) if !is_shared => Some(JwtKeys::Pem(key.value.clone())),
        (None, None, Some(jwks)) if !is_shared => Some(match jwks.value.contains("://") {
            true => JwtKeys::Url(address(jwks, cx)?),
            false => JwtKeys::File(jwks.value.clone()),
        }),
        _ => None,
    };
    if keys.is_none() {
        let message = match is_shared {
            true => "HS256 is checked with `secret`, and with nothing else",
            false => "this algorithm is checked with one of `key` and `jwks`",
        };
        let d = cx.error(codes::WRONG_VALUE, span, message.into());
        d.help("secret: ${{ secrets.NAME }}; key: a PEM file; jwks: an https address or a file");
    }
    keys
}

/// Checks sign-in with a provider.
pub(crate) fn oidc(file: &OidcFile, cx: &mut Cx) -> Option<Oidc> {
    let algorithm = file.algorithm.as_ref().map_or(JwtAlgorithm::Rs256, |at| at.value);
    if let Some(at) = file.algorithm.as_ref().filter(|at| at.value == JwtAlgorithm::Hs256) {
        let message = "id tokens are signed with a key of the provider".into();
        cx.error(codes::WRONG_VALUE, at.span.clone(), message).help("write RS256, ES256 or EdDSA");
    }
    for scope in file.scopes.iter().flatten() {
        if scope.value.is_empty() || !scope.value.bytes().all(|b| b.is_ascii_graphic()) {
            let message = format!("{:?} is not a scope", scope.value);
            cx.error(codes::WRONG_VALUE, scope.span.clone(), message)
                .help("write [profile, email]");
        }
    }
    let scopes = file.scopes.as_ref();
    let scopes = scopes.map(|all| all.iter().map(|one| one.value.clone()).collect());
    let secret = file.client_secret.as_ref().map(|secret| secret_of(secret, cx));
    Some(Oidc {
        issuer: address(&file.issuer, cx)?,
        client_id: file.client_id.value.clone(),
        client_secret: match secret {
            Some(secret) => Some(secret?),
            None => None,
        },
        algorithm,
        scopes: scopes.unwrap_or_else(|| vec!["profile".into()]),
        label: file.label.as_ref().map(|label| label.value.clone()),
        claims: claims(&file.name_claim, &file.role_claim, file.roles.as_ref()),
    })
}

fn claims(
    name: &Option<At<String>>,
    role: &Option<At<String>>,
    roles: Option<&Entries<At<RoleText>>>,
) -> ClaimRules {
    let text = |at: &Option<At<String>>, default: &str| {
        at.as_ref().map_or_else(|| default.to_owned(), |at| at.value.clone())
    };
    let roles = roles.iter().flat_map(|roles| &roles.0);
    ClaimRules {
        name: text(name, "sub"),
        role: text(role, "roles"),
        roles: roles.map(|(value, role)| (value.value.clone(), role.value)).collect(),
    }
}

fn secret_of(secret: &At<Secretive>, cx: &mut Cx) -> Option<Name> {
    match &secret.value {
        Secretive::Secret(name) => Some(name.clone()),
        Secretive::Plain(_) => {
            let message = "a secret does not stand in this file".into();
            let d = cx.error(codes::WRONG_VALUE, secret.span.clone(), message);
            d.help("write ${{ secrets.NAME }}");
            None
        }
    }
}

/// An https address; http is for this machine.
fn address(at: &At<String>, cx: &mut Cx) -> Option<String> {
    let url = &at.value;
    let local = ["127.0.0.1", "[::1]", "localhost"];
    let is_local = url.strip_prefix("http://").is_some_and(|rest| {
        let host = rest.split('/').next().unwrap_or_default();
        let host =
            host.rsplit_once(':').filter(|(host, _)| local.contains(host)).map_or(host, |h| h.0);
        local.contains(&host)
    });
    let rest = url.strip_prefix("https://").unwrap_or_default();
    let is_https = rest.bytes().all(|b| b.is_ascii_graphic()) && !rest.is_empty();
    if is_local || (is_https && !rest.contains(['@', '#', '"', '<', '>'])) {
        return Some(url.clone());
    }
    let message = format!("{url:?} is not an https address");
    let d = cx.error(codes::WRONG_VALUE, at.span.clone(), message);
    d.help("write https://HOST/PATH; http is for this machine alone");
    None
}
