//! Somebody who signs JWTs, with real keys, and serves what goes with it over real HTTP.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
    RsaKeyPair, RsaPublicKeyComponents,
};
use serde_json::{Value as Json, json};

pub fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Seconds since 1970.
pub fn now() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    i64::try_from(now.expect("it is later").as_secs()).expect("not so late")
}

/// What signs.
pub enum Key {
    Rsa(Box<RsaKeyPair>),
    Es(Box<EcdsaKeyPair>),
    Ed(Box<Ed25519KeyPair>),
    Hs(Vec<u8>),
    /// `none`: no signature at all.
    None,
}

impl Key {
    /// One of two RSA keys, which nobody uses for anything.
    pub fn rsa(n: u8) -> Self {
        let der: &[u8] = match n {
            1 => include_bytes!("keys/rsa_1.der"),
            _ => include_bytes!("keys/rsa_2.der"),
        };
        Self::Rsa(Box::new(RsaKeyPair::from_pkcs8(der).expect("a key")))
    }

    pub fn es() -> Self {
        let random = SystemRandom::new();
        let kind = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let der = EcdsaKeyPair::generate_pkcs8(kind, &random).expect("a key");
        let key = EcdsaKeyPair::from_pkcs8(kind, der.as_ref(), &random).expect("a key");
        Self::Es(Box::new(key))
    }

    pub fn ed() -> Self {
        let der = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("a key");
        Self::Ed(Box::new(Ed25519KeyPair::from_pkcs8(der.as_ref()).expect("a key")))
    }

    pub fn algorithm(&self) -> &'static str {
        match self {
            Self::Rsa(_) => "RS256",
            Self::Es(_) => "ES256",
            Self::Ed(_) => "EdDSA",
            Self::Hs(_) => "HS256",
            Self::None => "none",
        }
    }

    fn sign(&self, text: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, text, &mut signature).expect("signed");
                signature
            }
            Self::Es(key) => key.sign(&random, text).expect("signed").as_ref().to_vec(),
            Self::Ed(key) => key.sign(text).as_ref().to_vec(),
            Self::Hs(secret) => {
                let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret);
                ring::hmac::sign(&key, text).as_ref().to_vec()
            }
            Self::None => Vec::new(),
        }
    }

    /// A token with this header beside `alg`.
    pub fn jwt(&self, header: Json, claims: &Json) -> String {
        let mut head = json!({"alg": self.algorithm(), "typ": "JWT"});
        let more = header.as_object().expect("a map").clone();
        head.as_object_mut().expect("a map").extend(more);
        let text = format!("{}.{}", b64(head.to_string()), b64(claims.to_string()));
        format!("{text}.{}", b64(self.sign(text.as_bytes())))
    }

    /// The public key as PEM.
    pub fn pem(&self) -> String {
        let (kind, der) = match self {
            Self::Rsa(key) => ("RSA PUBLIC KEY", key.public_key().as_ref().to_vec()),
            Self::Es(key) => {
                let head = "3059301306072a8648ce3d020106082a8648ce3d030107034200";
                ("PUBLIC KEY", [&unhex(head), key.public_key().as_ref()].concat())
            }
            Self::Ed(key) => {
                let head = "302a300506032b6570032100";
                ("PUBLIC KEY", [&unhex(head), key.public_key().as_ref()].concat())
            }
            Self::Hs(_) | Self::None => panic!("it has no public key"),
        };
        format!("-----BEGIN {kind}-----\n{}\n-----END {kind}-----\n", STANDARD.encode(der))
    }

    /// The public key as one of a key set.
    pub fn jwk(&self, id: &str) -> Json {
        let mut jwk = match self {
            Self::Rsa(key) => {
                let public = RsaPublicKeyComponents::<Vec<u8>>::from(key.public());
                json!({"kty": "RSA", "n": b64(public.n), "e": b64(public.e)})
            }
            Self::Es(key) => {
                let (x, y) = key.public_key().as_ref()[1..].split_at(32);
                json!({"kty": "EC", "crv": "P-256", "x": b64(x), "y": b64(y)})
            }
            Self::Ed(key) => json!({"kty": "OKP", "crv": "Ed25519", "x": b64(key.public_key())}),
            Self::Hs(secret) => json!({"kty": "oct", "k": b64(secret)}),
            Self::None => json!({}),
        };
        jwk["kid"] = id.into();
        jwk["alg"] = self.algorithm().into();
        jwk["use"] = "sig".into();
        jwk
    }
}

fn unhex(text: &str) -> Vec<u8> {
    let pairs = (0..text.len()).step_by(2);
    pairs.map(|i| u8::from_str_radix(&text[i..i + 2], 16).expect("digits")).collect()
}

/// A request as it came.
pub struct Asked {
    pub path: String,
    pub head: String,
    pub body: String,
}

/// What is answered.
pub enum Said {
    /// A status and a body of JSON.
    Json(u16, String),
    /// Nothing, for good.
    Never,
    /// Bytes without end.
    Endless,
}

/// A server of HTTP that answers as a test says.
pub struct Serving {
    pub url: String,
    /// The paths that were asked for.
    pub asked: Arc<Mutex<Vec<String>>>,
}

impl Serving {
    /// `answer` is given its own address too.
    pub fn new(answer: impl Fn(&str, &Asked) -> Said + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (answer, own, log) = (Arc::new(answer), url.clone(), asked.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (answer, own, log) = (answer.clone(), own.clone(), log.clone());
                std::thread::spawn(move || converse(stream.ok()?, &*answer, &own, &log));
            }
        });
        Self { url, asked }
    }

    pub fn count(&self, path: &str) -> usize {
        self.asked.lock().expect("whole").iter().filter(|one| one.as_str() == path).count()
    }
}

fn converse(
    stream: TcpStream,
    answer: &dyn Fn(&str, &Asked) -> Said,
    own: &str,
    log: &Mutex<Vec<String>>,
) -> Option<()> {
    let mut read = BufReader::new(stream.try_clone().ok()?);
    let mut write = stream;
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if read.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let length = head.to_ascii_lowercase();
    let length =
        length.split("content-length: ").nth(1).and_then(|l| l.lines().next()?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    read.read_exact(&mut body).ok()?;
    let path = head.split(' ').nth(1)?.to_owned();
    log.lock().ok()?.push(path.split('?').next()?.to_owned());
    let asked = Asked { path, head, body: String::from_utf8(body).ok()? };
    match answer(own, &asked) {
        Said::Json(status, body) => {
            let head = "Content-Type: application/json\r\nConnection: close\r\n";
            let answer = format!(
                "HTTP/1.1 {status} X\r\n{head}Content-Length: {}\r\n\r\n{body}",
                body.len()
            );
            write.write_all(answer.as_bytes()).ok()?;
        }
        Said::Never => {
            // Until the other side gives up.
            let _ = read.read(&mut [0]);
        }
        Said::Endless => {
            write.write_all(b"HTTP/1.1 200 X\r\nContent-Type: application/json\r\n\r\n").ok()?;
            while write.write_all(&[b' '; 64 << 10]).is_ok() {}
        }
    }
    Some(())
}
