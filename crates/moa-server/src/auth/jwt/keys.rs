//! Keys of a JSON Web Key Set, kept as long as they are good for.
//!
//! A token with a key id that is not known makes the set be asked for again, because issuers change
//! their keys; who invents ids can make that happen a few times and then seldom. Where the set can't
//! be had, the keys of before go on for a day.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey};
use serde::Deserialize;
use serde_json::Value as Json;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::Refused;
use crate::auth::fetch::{ANSWER_BYTES_MAX, Fetch};

/// How long a set is good for.
const GOOD: Duration = Duration::from_secs(3600);
/// How long it goes on where no other can be had.
const GOES_ON: Duration = Duration::from_secs(24 * 3600);
/// Keys of a set that are looked at.
const KEYS_MAX: usize = 100;
/// How often it is asked for at once, and how long it takes to be allowed once more.
const ASKS: NonZeroU32 = NonZeroU32::new(3).expect("not zero");
const ASK_EVERY: Duration = Duration::from_secs(30);

/// Where a set comes from.
#[derive(Debug, Clone)]
pub enum Source {
    /// An address.
    Url(String),
    /// A file.
    File(PathBuf),
}

/// A key set.
#[derive(Debug)]
pub struct KeySet {
    source: Source,
    algorithm: Algorithm,
    fetch: Fetch,
    known: RwLock<Option<Arc<Known>>>,
    asking: Mutex<()>,
    asks: DefaultDirectRateLimiter,
}

#[derive(Debug)]
struct Known {
    keys: Vec<(Option<String>, DecodingKey)>,
    at: Instant,
}

impl Known {
    /// The key of an id; without one, the only key there is.
    fn find(&self, id: Option<&str>) -> Option<DecodingKey> {
        let key = match id {
            Some(id) => self.keys.iter().find(|(key, _)| key.as_deref() == Some(id)),
            None => self.keys.first().filter(|_| self.keys.len() == 1),
        };
        key.map(|(_, key)| key.clone())
    }
}

impl KeySet {
    /// A set of which nothing is known yet; its keys are used for this algorithm alone.
    pub fn new(source: Source, algorithm: Algorithm, fetch: Fetch) -> Self {
        let quota = Quota::with_period(ASK_EVERY).unwrap_or(Quota::per_minute(ASKS));
        Self {
            source,
            algorithm,
            fetch,
            known: RwLock::default(),
            asking: Mutex::default(),
            asks: RateLimiter::direct(quota.allow_burst(ASKS)),
        }
    }

    fn known(&self) -> Option<Arc<Known>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The key of an id.
    ///
    /// # Errors
    /// There is none, or the set can't be had.
    pub async fn find(&self, id: Option<&str>) -> Result<DecodingKey, Refused> {
        let before = self.known();
        let is_good = |known: &Known| known.at.elapsed() < GOOD;
        if let Some(known) = before.as_deref().filter(|known| is_good(known))
            && let Some(key) = known.find(id)
        {
            return Ok(key);
        }
        let _one = self.asking.lock().await;
        let now = self.known();
        let asked_since = now.as_ref().map(|known| known.at) != before.map(|known| known.at);
        let mut failed = None;
        if !asked_since && self.asks.check().is_ok() {
            match self.ask().await {
                Ok(known) => {
                    let known = Some(Arc::new(known));
                    *self.known.write().unwrap_or_else(PoisonError::into_inner) = known;
                }
                Err(why) => {
                    tracing::warn!(source = ?self.source, "a key set can't be had: {why}");
                    failed = Some(why);
                }
            }
        }
        let now = self.known();
        let usable = now.as_deref().filter(|known| known.at.elapsed() < GOES_ON);
        match (usable.map(|known| known.find(id)), failed) {
            (Some(Some(key)), _) => Ok(key),
            (Some(None), None) => Err(Refused::Token("its key is not in the set")),
            (_, why) => {
                let why = why.unwrap_or_else(|| "it was asked for often in vain".into());
                Err(Refused::Unavailable(format!("the keys of the issuer can't be had: {why}")))
            }
        }
    }

    async fn ask(&self) -> Result<Known, String> {
        let text = match &self.source {
            Source::Url(url) => self.fetch.get(url).await?,
            Source::File(path) => {
                let path = path.clone();
                let read = tokio::task::spawn_blocking(move || read(&path)).await;
                read.map_err(|e| e.to_string())?.map_err(|e| e.to_string())?
            }
        };
        let keys = keys(&text, self.algorithm)?;
        Ok(Known { keys, at: Instant::now() })
    }
}

fn read(path: &std::path::Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read;
    let mut text = Vec::new();
    std::fs::File::open(path)?.take(ANSWER_BYTES_MAX as u64).read_to_end(&mut text)?;
    Ok(text)
}

/// The keys of a set that can check signatures of this kind; others are passed over.
fn keys(text: &[u8], algorithm: Algorithm) -> Result<Vec<(Option<String>, DecodingKey)>, String> {
    #[derive(Deserialize)]
    struct Set {
        keys: Vec<Json>,
    }
    let set: Set = serde_json::from_slice(text).map_err(|e| format!("it is no key set: {e}"))?;
    let mut keys = Vec::new();
    for jwk in set.keys.into_iter().take(KEYS_MAX) {
        let Ok(jwk) = serde_json::from_value::<Jwk>(jwk) else { continue };
        if let Some(key) = usable(&jwk, algorithm) {
            keys.push((jwk.common.key_id, key));
        }
    }
    match keys.is_empty() {
        true => Err(format!("it has no key for {algorithm:?}")),
        false => Ok(keys),
    }
}

fn usable(jwk: &Jwk, algorithm: Algorithm) -> Option<DecodingKey> {
    let family = match (&jwk.algorithm, algorithm) {
        (AlgorithmParameters::RSA(_), Algorithm::RS256) => AlgorithmFamily::Rsa,
        (AlgorithmParameters::EllipticCurve(_), Algorithm::ES256) => AlgorithmFamily::Ec,
        (AlgorithmParameters::OctetKeyPair(_), Algorithm::EdDSA) => AlgorithmFamily::Ed,
        // A secret that everybody can read is none.
        _ => return None,
    };
    let signs = jwk.common.public_key_use.as_ref().is_none_or(|u| *u == PublicKeyUse::Signature);
    let named = jwk.common.key_algorithm.as_ref().map(ToString::to_string);
    let fits = named.is_none_or(|name| name == format!("{algorithm:?}"));
    let key = DecodingKey::from_jwk(jwk).ok()?;
    (signs && fits && key.family() == family).then_some(key)
}
