//! JWTs of issuers that the settings name.
//!
//! How tokens of an issuer are signed is fixed by the settings; what a token says about itself
//! decides nothing but which of the issuer's keys is tried. Its audience, its issuer and its end are
//! checked, and it says who asks and what they may do by its claims.

pub mod crypto;
pub mod keys;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::{Algorithm, DecodingKey, Validation, dangerous, decode, decode_header};
use moa_core::time::Millis;
use serde_json::{Map, Value as Json};
use zeroize::Zeroizing;

use self::keys::KeySet;
use super::role::Role;
use super::scope::{Scope, Scopes};
use super::{Identity, Via};

/// Bytes of a token at most.
const TOKEN_BYTES_MAX: usize = 16 << 10;
/// Bytes of a secret of HS256 at least: as many as its hashes have.
const SECRET_BYTES_MIN: usize = 32;
/// Bytes of a name that claims give, at most.
const NAME_BYTES_MAX: usize = 200;

/// What gives the value of a secret of the project, or says why there is none.
pub type SecretOf = Arc<dyn Fn(&str) -> Result<Zeroizing<String>, String> + Send + Sync>;

/// Claims of a token that was checked.
pub type Claims = Map<String, Json>;

/// Why somebody is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// The token is not good; why is for the log.
    Token(&'static str),
    /// It is good, and allows nothing here.
    NoRole(String),
    /// It can't be told: what it is checked with can't be had.
    Unavailable(String),
}

/// What a signature is checked with.
pub enum Keys {
    /// A secret of the project.
    Secret(String, SecretOf),
    /// A public key.
    Public(Box<DecodingKey>),
    /// A key set.
    Set(Arc<KeySet>),
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secret(name, _) => f.debug_tuple("Secret").field(name).finish(),
            Self::Public(_) => f.write_str("Public"),
            Self::Set(set) => f.debug_tuple("Set").field(set).finish(),
        }
    }
}

/// What is read of claims.
#[derive(Debug, Clone)]
pub struct ClaimRules {
    /// The claim that says what somebody is called.
    pub name: String,
    /// The claim with roles or groups, `a.b` for one inside another.
    pub role: String,
    /// What its values allow, the first that fits; `*` = everybody. Empty = values are roles.
    pub roles: Vec<(String, Role)>,
}

/// Somebody whose tokens are believed.
#[derive(Debug)]
pub struct Issuer {
    /// The claim `iss`.
    pub issuer: String,
    /// Values of `aud`, one of which is enough.
    pub audience: Vec<String>,
    /// How tokens are signed.
    pub algorithm: Algorithm,
    /// What they are checked with.
    pub keys: Keys,
    /// What is read of their claims.
    pub rules: ClaimRules,
    /// How far clocks may differ.
    pub leeway: Duration,
}

/// The public key of a PEM file, for an algorithm.
///
/// # Errors
/// It holds none that can be used.
pub fn public_key(pem: &[u8], algorithm: Algorithm) -> Result<DecodingKey, String> {
    let key = match algorithm {
        Algorithm::RS256 => DecodingKey::from_rsa_pem(pem),
        Algorithm::ES256 => DecodingKey::from_ec_pem(pem),
        Algorithm::EdDSA => DecodingKey::from_ed_pem(pem),
        _ => return Err(format!("{algorithm:?} has no public key")),
    };
    if pem.windows(11).any(|word| word == b"PRIVATE KEY") {
        return Err("it is a private key; the public one is enough".into());
    }
    key.map_err(|error| error.to_string())
}

/// Whether a token looks like a JWT.
pub fn looks_like_one(token: &str) -> bool {
    token.bytes().filter(|byte| *byte == b'.').count() == 2
}

/// Who sends a token, by the first of these issuers that it is of.
///
/// # Errors
/// It is of none, or is not good.
pub async fn identify(issuers: &[Issuer], token: &str) -> Result<Identity, Refused> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(Refused::Token("it is too long"));
    }
    let claimed: Claims =
        dangerous::insecure_decode_claims(token).map_err(|_| Refused::Token("it is no JWT"))?;
    let issuer = claimed.get("iss").and_then(Json::as_str);
    let mut refused = Refused::Token("its issuer is not known");
    for one in issuers.iter().filter(|one| issuer == Some(&one.issuer)) {
        match one.check(token).await {
            Ok(claims) => return identity(one, &claims),
            Err(why) => refused = why,
        }
    }
    Err(refused)
}

fn identity(issuer: &Issuer, claims: &Claims) -> Result<Identity, Refused> {
    let (subject, name) = issuer.rules.who(claims)?;
    let role = issuer.rules.role(claims)?;
    let scopes = scopes(claims);
    // A time beyond all years is none that ends sooner.
    let until = claims.get("exp").and_then(Json::as_f64).unwrap_or_default() * 1000.0;
    let leeway = i64::try_from(issuer.leeway.as_millis()).unwrap_or_default();
    let until = Millis((until as i64).saturating_add(leeway));
    let id = format!("{subject} of {}", issuer.issuer);
    Ok(Identity { id, name, role, own_role: role, scopes, via: Via::Jwt { until } })
}

impl Issuer {
    /// Checks a token; answers its claims.
    ///
    /// # Errors
    /// It is not good, or what it is checked with can't be had.
    pub async fn check(&self, token: &str) -> Result<Claims, Refused> {
        crypto::install();
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Refused::Token("it is too long"));
        }
        let header = decode_header(token).map_err(|_| Refused::Token("its header is wrong"))?;
        if header.alg != self.algorithm {
            return Err(Refused::Token("it is signed in another way than its issuer does"));
        }
        // What is critical to the issuer and not understood here can't be passed over.
        if is_critical(token) {
            return Err(Refused::Token("it demands what is not understood"));
        }
        let key = match &self.keys {
            Keys::Public(key) => DecodingKey::clone(key),
            Keys::Set(set) => set.find(header.kid.as_deref()).await?,
            Keys::Secret(name, of) => {
                let secret = of(name).map_err(Refused::Unavailable)?;
                if secret.len() < SECRET_BYTES_MIN {
                    let why = format!("the secret {name} has less than {SECRET_BYTES_MIN} bytes");
                    return Err(Refused::Unavailable(why));
                }
                DecodingKey::from_secret(secret.as_bytes())
            }
        };
        let mut wanted = Validation::new(self.algorithm);
        wanted.set_audience(&self.audience);
        wanted.set_issuer(&[&self.issuer]);
        wanted.set_required_spec_claims(&["exp", "iss", "aud"]);
        wanted.validate_nbf = true;
        wanted.leeway = self.leeway.as_secs();
        let token = decode::<Claims>(token, &key, &wanted).map_err(|error| {
            tracing::debug!(%error, issuer = self.issuer, "a JWT is not good");
            Refused::Token("it is not good")
        })?;
        Ok(token.claims)
    }
}

/// Whether the header of a token has `crit`.
fn is_critical(token: &str) -> bool {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let header = token.split('.').next().unwrap_or_default();
    let header = URL_SAFE_NO_PAD.decode(header).ok();
    let header: Option<Claims> = header.and_then(|text| serde_json::from_slice(&text).ok());
    header.is_none_or(|header| header.contains_key("crit"))
}

impl ClaimRules {
    /// The subject, and what they are called.
    ///
    /// # Errors
    /// There is no subject, or it is none that can be written down.
    pub fn who(&self, claims: &Claims) -> Result<(String, String), Refused> {
        let text = |claim: &str| {
            let text = at(claims, claim).and_then(Json::as_str)?;
            let fits = !text.is_empty() && text.len() <= NAME_BYTES_MAX;
            (fits && !text.chars().any(char::is_control)).then(|| text.to_owned())
        };
        let subject = text("sub").ok_or(Refused::Token("it has no subject"))?;
        let name = text(&self.name).unwrap_or_else(|| subject.clone());
        Ok((subject, name))
    }

    /// What they may do.
    ///
    /// # Errors
    /// Nothing.
    pub fn role(&self, claims: &Claims) -> Result<Role, Refused> {
        let values: Vec<&str> = match at(claims, &self.role) {
            Some(Json::String(text)) => text.split(' ').collect(),
            Some(Json::Array(list)) => list.iter().filter_map(Json::as_str).collect(),
            _ => Vec::new(),
        };
        let role = match self.roles.is_empty() {
            true => values.iter().find_map(|value| value.parse().ok()),
            false => {
                let fits = |value: &str| value == "*" || values.contains(&value);
                self.roles.iter().find(|(value, _)| fits(value)).map(|(_, role)| *role)
            }
        };
        role.ok_or_else(|| Refused::NoRole(format!("its claim {:?} gives no role here", self.role)))
    }
}

/// What the claim `scope` narrows a token to: its words with `moa:` in front. Without any the others
/// are of other services, and nothing is narrowed; one that isn't known reaches nothing.
pub fn scopes(claims: &Claims) -> Scopes {
    let words: Vec<&str> = match claims.get("scope") {
        Some(Json::String(text)) => text.split(' ').collect(),
        Some(Json::Array(list)) => list.iter().filter_map(Json::as_str).collect(),
        _ => Vec::new(),
    };
    let own: Vec<&str> = words.iter().filter_map(|word| word.strip_prefix("moa:")).collect();
    match own.is_empty() {
        true => Scopes::Unlimited,
        false => Scopes::These(own.iter().filter_map(|word| word.parse::<Scope>().ok()).collect()),
    }
}

/// A claim, or one inside others: `realm_access.roles`.
fn at<'a>(claims: &'a Claims, path: &str) -> Option<&'a Json> {
    if let Some(value) = claims.get(path) {
        return Some(value);
    }
    let mut parts = path.split('.');
    let first = claims.get(parts.next()?)?;
    parts.try_fold(first, |value, part| value.get(part))
}
