//! How a secret is sealed: with a key of its own, which is wrapped by the master key.
//!
//! Both by AES-256-GCM, with the secret's name as associated data: a sealed secret that is put in the
//! place of another one can't be opened. The form, version 1: `moas`, 1, the master key's id (8
//! bytes), nonce (12) and wrapped key (48), nonce (12) and sealed value. A change of the master key
//! wraps the small keys anew and leaves the values as they are. Absent: where keys come from, and
//! protection from an older sealed value being put back (the audit log shows each change).

use std::fmt;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom as _, SystemRandom};
use zeroize::Zeroizing;

/// Bytes of a key.
pub const KEY_BYTES: usize = 32;
/// Bytes that name a key.
const ID_BYTES: usize = 8;
/// Bytes that AES-GCM adds.
const TAG_BYTES: usize = 16;
const MAGIC: &[u8; 4] = b"moas";
const VERSION: u8 = 1;
/// Bytes before the sealed value.
const HEAD_BYTES: usize = MAGIC.len() + 1 + ID_BYTES + WRAPPED_BYTES + NONCE_LEN;
const WRAPPED_BYTES: usize = NONCE_LEN + KEY_BYTES + TAG_BYTES;

/// Names a key; says nothing of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyId([u8; ID_BYTES]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A key that wraps the keys of secrets.
pub struct MasterKey {
    key: Zeroizing<[u8; KEY_BYTES]>,
    id: KeyId,
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MasterKey({})", self.id)
    }
}

/// Why a secret can't be sealed or opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It was sealed with a key that isn't there.
    #[error("it is sealed with another key ({0})")]
    OtherKey(KeyId),
    /// It is not as it was written.
    #[error("it is damaged: {0}")]
    Damaged(&'static str),
    /// It was sealed by a newer moa.
    #[error("it was sealed by a newer moa (form {0})")]
    Newer(u8),
    /// The system gives no random numbers.
    #[error("the system gives no random numbers")]
    NoRandom,
}

impl MasterKey {
    /// A key of these bytes.
    pub fn new(key: Zeroizing<[u8; KEY_BYTES]>) -> Self {
        let hash = blake3::derive_key("moa 2025 id of a key of secrets", &*key);
        let mut id = [0; ID_BYTES];
        id.copy_from_slice(&hash[..ID_BYTES]);
        Self { key, id: KeyId(id) }
    }

    /// A new one.
    pub fn random() -> Result<Self, Error> {
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        SystemRandom::new().fill(&mut *key).map_err(|_| Error::NoRandom)?;
        Ok(Self::new(key))
    }

    /// Its name.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// As text: 64 hexadecimal digits.
    pub fn to_hex(&self) -> Zeroizing<String> {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let digits = self.key.iter().flat_map(|b| [b >> 4, b & 15]);
        let mut text = Zeroizing::new(String::with_capacity(2 * KEY_BYTES));
        digits.for_each(|digit| text.push(DIGITS[usize::from(digit)].into()));
        text
    }

    /// From its text; `None` = it is no key.
    pub fn from_hex(text: &str) -> Option<Self> {
        let digits = text.trim().as_bytes();
        if digits.len() != 2 * KEY_BYTES {
            return None;
        }
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |c: u8| char::from(c).to_digit(16).and_then(|d| u8::try_from(d).ok());
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Some(Self::new(key))
    }
}

/// What is authenticated beside what is sealed.
fn context(what: &str, name: &str) -> Aad<Vec<u8>> {
    Aad::from(format!("moa secret {VERSION} {what}\0{name}").into_bytes())
}

fn cipher(key: &[u8; KEY_BYTES]) -> Result<LessSafeKey, Error> {
    let key = UnboundKey::new(&AES_256_GCM, key).map_err(|_| Error::Damaged("the key's length"))?;
    Ok(LessSafeKey::new(key))
}

/// Adds a nonce and the sealed `plain` to `out`. A nonce is never used twice with one key: those of
/// secrets seal one value each, and the master key far fewer than random ones allow.
fn encrypt(
    key: &[u8; KEY_BYTES],
    aad: Aad<Vec<u8>>,
    plain: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    let mut nonce = [0; NONCE_LEN];
    SystemRandom::new().fill(&mut nonce).map_err(|_| Error::NoRandom)?;
    // The plain text stands here no longer than it takes.
    let mut sealed = Zeroizing::new(plain.to_vec());
    let nonce_of = Nonce::assume_unique_for_key(nonce);
    let tag = cipher(key)?.seal_in_place_separate_tag(nonce_of, aad, &mut sealed);
    let tag = tag.map_err(|_| Error::Damaged("it is too long to be sealed"))?;
    out.extend_from_slice(&nonce);
    out.extend_from_slice(&sealed);
    out.extend_from_slice(tag.as_ref());
    Ok(())
}

/// Opens a nonce and what follows it.
fn decrypt(
    key: &[u8; KEY_BYTES],
    aad: Aad<Vec<u8>>,
    sealed: &[u8],
    what: &'static str,
) -> Result<Zeroizing<Vec<u8>>, Error> {
    let (nonce, rest) = sealed.split_first_chunk().ok_or(Error::Damaged("it is cut off"))?;
    let mut buffer = Zeroizing::new(rest.to_vec());
    let opened = cipher(key)?.open_in_place(Nonce::assume_unique_for_key(*nonce), aad, &mut buffer);
    let length = opened.map_err(|_| Error::Damaged(what))?.len();
    buffer.truncate(length);
    Ok(buffer)
}

/// Seals a secret.
pub fn seal(key: &MasterKey, name: &str, value: &str) -> Result<Vec<u8>, Error> {
    let own = MasterKey::random()?;
    let mut out = head(key, name, &own.key)?;
    encrypt(&own.key, context("value", name), value.as_bytes(), &mut out)?;
    Ok(out)
}

/// All but the value.
fn head(key: &MasterKey, name: &str, own: &[u8; KEY_BYTES]) -> Result<Vec<u8>, Error> {
    let mut out = Vec::with_capacity(HEAD_BYTES + TAG_BYTES);
    out.extend_from_slice(MAGIC);
    out.push(VERSION);
    out.extend_from_slice(&key.id.0);
    encrypt(&key.key, context("key", name), own, &mut out)?;
    Ok(out)
}

/// A sealed secret in its parts.
struct Parts<'a> {
    id: KeyId,
    wrapped: &'a [u8],
    value: &'a [u8],
}

fn parts(sealed: &[u8]) -> Result<Parts<'_>, Error> {
    let rest = sealed.strip_prefix(MAGIC).ok_or(Error::Damaged("it does not begin as one"))?;
    let (&version, rest) = rest.split_first().ok_or(Error::Damaged("it is cut off"))?;
    if version != VERSION {
        return Err(Error::Newer(version));
    }
    if sealed.len() < HEAD_BYTES + TAG_BYTES {
        return Err(Error::Damaged("it is cut off"));
    }
    let (id, rest) = rest.split_first_chunk().ok_or(Error::Damaged("it is cut off"))?;
    let (wrapped, value) = rest.split_at(WRAPPED_BYTES);
    Ok(Parts { id: KeyId(*id), wrapped, value })
}

/// With which key a secret is sealed.
pub fn key_of(sealed: &[u8]) -> Result<KeyId, Error> {
    Ok(parts(sealed)?.id)
}

/// The secret's own key.
fn unwrap(
    key: &MasterKey,
    name: &str,
    parts: &Parts<'_>,
) -> Result<Zeroizing<[u8; KEY_BYTES]>, Error> {
    if parts.id != key.id {
        return Err(Error::OtherKey(parts.id));
    }
    let what = "its key does not open";
    let opened = decrypt(&key.key, context("key", name), parts.wrapped, what)?;
    let mut own = Zeroizing::new([0; KEY_BYTES]);
    match opened.len() == KEY_BYTES {
        true => own.copy_from_slice(&opened),
        false => return Err(Error::Damaged(what)),
    }
    Ok(own)
}

/// Opens a sealed secret.
pub fn open(key: &MasterKey, name: &str, sealed: &[u8]) -> Result<Zeroizing<String>, Error> {
    let parts = parts(sealed)?;
    let own = unwrap(key, name, &parts)?;
    let value = decrypt(&own, context("value", name), parts.value, "its value does not open")?;
    let text = std::str::from_utf8(&value).map_err(|_| Error::Damaged("its value is no text"))?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// The same secret, sealed for another master key. It is opened, so that damage isn't carried on.
pub fn rewrap(
    from: &MasterKey,
    to: &MasterKey,
    name: &str,
    sealed: &[u8],
) -> Result<Vec<u8>, Error> {
    open(from, name, sealed)?;
    let parts = parts(sealed)?;
    let own = unwrap(from, name, &parts)?;
    let mut out = head(to, name, &own)?;
    out.extend_from_slice(parts.value);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUE: &str = "hunter22 with äöü";

    #[test]
    fn only_the_key_and_the_name_open_a_secret() {
        let (key, other) = (MasterKey::random().expect("r"), MasterKey::random().expect("r"));
        let sealed = seal(&key, "TOKEN", VALUE).expect("it is sealed");
        assert_eq!(open(&key, "TOKEN", &sealed).expect("it opens").as_str(), VALUE);
        assert_eq!(key_of(&sealed), Ok(key.id()));
        assert_eq!(open(&other, "TOKEN", &sealed), Err(Error::OtherKey(key.id())));
        assert_eq!(open(&key, "OTHER", &sealed), Err(Error::Damaged("its key does not open")));
        let hunter = |bytes: &[u8]| bytes.windows(6).any(|part| part == b"hunter");
        assert!(!hunter(&sealed));
        assert_ne!(sealed, seal(&key, "TOKEN", VALUE).expect("it is sealed"));
        assert!(!format!("{key:?}").contains(key.to_hex().as_str()));
    }

    #[test]
    fn every_changed_byte_is_noticed() {
        let key = MasterKey::random().expect("random");
        let sealed = seal(&key, "TOKEN", VALUE).expect("it is sealed");
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(open(&key, "TOKEN", &changed).is_err(), "byte {at}");
            assert!(open(&key, "TOKEN", &sealed[..at]).is_err(), "cut at {at}");
        }
        assert!(matches!(parts(b"moas\x02"), Err(Error::Newer(2))));
    }

    #[test]
    fn another_key_wraps_the_same_value() {
        let (key, next) = (MasterKey::random().expect("r"), MasterKey::random().expect("r"));
        let sealed = seal(&key, "TOKEN", VALUE).expect("it is sealed");
        let again = rewrap(&key, &next, "TOKEN", &sealed).expect("it is wrapped");
        assert_eq!(open(&next, "TOKEN", &again).expect("it opens").as_str(), VALUE);
        assert!(open(&key, "TOKEN", &again).is_err());
        assert_eq!(again[HEAD_BYTES..], sealed[HEAD_BYTES..]);
        let mut damaged = sealed;
        *damaged.last_mut().expect("a byte") ^= 1;
        assert!(rewrap(&key, &next, "TOKEN", &damaged).is_err());
    }

    #[test]
    fn keys_are_64_digits() {
        let key = MasterKey::random().expect("random");
        let text = format!("{}\n", *key.to_hex());
        assert_eq!(MasterKey::from_hex(&text).map(|key| key.id()), Some(key.id()));
        for wrong in ["", "12", &"g".repeat(64), &"é".repeat(32)] {
            assert!(MasterKey::from_hex(wrong).is_none(), "{wrong}");
        }
    }
}
