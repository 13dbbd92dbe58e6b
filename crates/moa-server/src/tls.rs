//! TLS from the first byte on, with a certificate and a key of two PEM files.
//!
//! The files are looked at with each connection: a certificate that was renewed is served without a
//! restart. Where the new files can't be used (half of them are there yet, say), what was read before
//! goes on. Who speaks plain HTTP here is told so, and no request of theirs is looked at.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use zeroize::Zeroizing;

use crate::error::{Code, Problem};

/// What the library calls a certificate of an authority that a server shows as its own.
pub const AUTHORITY_AS_SERVER: &str = "CaUsedAsEndEntity";
/// Bytes of a file at most: a chain is some KiB.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// The first byte of a TLS connection: a handshake follows.
const HANDSHAKE: u8 = 0x16;
/// Bytes that are read, and thrown away, of who speaks something else.
const REST_BYTES_MAX: u64 = 256 << 10;

/// Why a certificate or its key can't be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file can't be read.
    #[error("{} can't be read: {error}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A file doesn't hold what it has to.
    #[error("{} holds no {what} that can be used: {why}", path.display())]
    Unfit {
        /// Which file.
        path: PathBuf,
        /// What it has to hold.
        what: &'static str,
        /// Why not.
        why: String,
    },
    /// The key is not of the certificate.
    #[error("the key {} is not of the certificate {}", key.display(), cert.display())]
    Mismatch {
        /// The file of the certificate.
        cert: PathBuf,
        /// The file of the key.
        key: PathBuf,
    },
    /// Others can get at the key.
    #[error("other users can read the key {}, or change it", .0.display())]
    Open(PathBuf),
}

impl Error {
    /// What to do.
    pub fn hint(&self) -> String {
        match self {
            Error::Io { .. } => "name PEM files in moa.yaml: `server: {tls: {cert, key}}`".into(),
            Error::Unfit { .. } => {
                "cert: the certificate, then those between it and the root, as PEM; key: its private \
                 key as PEM, without a passphrase"
                    .into()
            }
            Error::Mismatch { .. } => "name the certificate and the key that were made together".into(),
            Error::Open(path) => {
                let path = path.display();
                format!("`chmod 600 {path}`; it must belong to the user of the node, or to root")
            }
        }
    }
}

/// What makes TLS of connections.
#[derive(Clone)]
pub struct Tls(TlsAcceptor, Arc<Certs>);

impl Tls {
    /// With a certificate (chain) and its key.
    ///
    /// # Errors
    /// They can't be used.
    pub fn new(cert: PathBuf, key: PathBuf) -> Result<Self, Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let stamps = Stamps::of(&cert, &key);
        let now = read(&cert, &key, &provider)?;
        let held = Mutex::new(Held { now: Arc::new(now), stamps });
        let certs = Certs { cert, key, provider: provider.clone(), held };
        let versions = [&rustls::version::TLS13, &rustls::version::TLS12];
        let config =
            ServerConfig::builder_with_provider(provider).with_protocol_versions(&versions);
        // The provider has suites of both versions.
        let config = config.map_err(|e| Error::Unfit {
            path: certs.cert.clone(),
            what: "certificate",
            why: e.to_string(),
        })?;
        let certs = Arc::new(certs);
        let mut config = config.with_no_client_auth().with_cert_resolver(certs.clone());
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self(TlsAcceptor::from(Arc::new(config)), certs))
    }

    /// What is odd about the certificate, if programs refuse it that others take: one of an authority may
    /// issue those of servers, and not be one.
    pub fn oddity(&self) -> Option<String> {
        let certs = &self.1;
        let now = certs.now();
        if !is_authority(now.cert.first()?, &certs.provider) {
            return None;
        }
        Some(format!(
            "{} is the certificate of an authority (CA:TRUE): commands of moa on other machines, and other \
             programs, refuse it; have it issue one for this node",
            certs.cert.display()
        ))
    }

    /// A connection once its handshake is done; `None` = it was something else, and was told so.
    ///
    /// # Errors
    /// It broke, or the handshake failed.
    pub async fn accept(&self, mut stream: TcpStream) -> io::Result<Option<TlsStream<TcpStream>>> {
        let mut first = [0];
        if stream.peek(&mut first).await? == 1 && first[0] != HANDSHAKE {
            refuse_plain(&mut stream).await?;
            return Ok(None);
        }
        self.0.accept(stream).await.map(Some)
    }
}

/// Tells who speaks plain HTTP.
async fn refuse_plain(stream: &mut TcpStream) -> io::Result<()> {
    let problem = Problem::new(Code::InvalidRequest, "this port speaks TLS").hint("use https://");
    let body = serde_json::to_string(&problem.document("/", "-"))?;
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\nContent-Type: application/problem+json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    // What is not read would make the end of the connection a reset, which takes the answer along.
    tokio::io::copy(&mut stream.take(REST_BYTES_MAX), &mut tokio::io::sink()).await?;
    Ok(())
}

/// The certificate as it is now.
#[derive(Debug)]
struct Certs {
    cert: PathBuf,
    key: PathBuf,
    provider: Arc<CryptoProvider>,
    held: Mutex<Held>,
}

#[derive(Debug)]
struct Held {
    now: Arc<CertifiedKey>,
    /// How the files were when they were read last.
    stamps: Stamps,
}

impl Certs {
    fn now(&self) -> Arc<CertifiedKey> {
        let stamps = Stamps::of(&self.cert, &self.key);
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.stamps != stamps {
            held.stamps = stamps;
            match read(&self.cert, &self.key, &self.provider) {
                Ok(now) => {
                    tracing::info!("the certificate of the server is another one now");
                    held.now = Arc::new(now);
                }
                Err(error) => {
                    tracing::error!(%error, "the new certificate can't be used; the old one goes on");
                }
            }
        }
        held.now.clone()
    }
}

impl ResolvesServerCert for Certs {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.now())
    }
}

/// How files are: another content has another one, and other rights too. `None` = it can't be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamps([Option<(u64, u64, [i64; 4])>; 2]);

impl Stamps {
    fn of(cert: &Path, key: &Path) -> Self {
        Self([cert, key].map(|path| {
            let m = fs::metadata(path).ok()?;
            // What was unfit for its rights may be fit later: that changes the inode alone.
            Some((m.ino(), m.size(), [m.mtime(), m.mtime_nsec(), m.ctime(), m.ctime_nsec()]))
        }))
    }
}

fn read(cert: &Path, key: &Path, provider: &CryptoProvider) -> Result<CertifiedKey, Error> {
    let unfit = |path: &Path, what, why: String| Error::Unfit { path: path.into(), what, why };
    let text = content(cert, false)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let chain = chain.map_err(|e| unfit(cert, "certificate", e.to_string()))?;
    if chain.is_empty() {
        return Err(unfit(cert, "certificate", "there is no BEGIN CERTIFICATE".into()));
    }
    let text = content(key, true)?;
    let own = PrivateKeyDer::from_pem_slice(&text).map_err(|e| {
        let sealed = text.windows(9).any(|word| word == b"ENCRYPTED");
        let why = if sealed { "it has a passphrase".into() } else { e.to_string() };
        unfit(key, "private key", why)
    })?;
    CertifiedKey::from_der(chain, own, provider).map_err(|e| match e {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            Error::Mismatch { cert: cert.into(), key: key.into() }
        }
        rustls::Error::InvalidCertificate(_) => unfit(cert, "certificate", e.to_string()),
        _ => unfit(key, "private key", e.to_string()),
    })
}

/// Whether a certificate is one of an authority, so that clients that look don't take it for a server's.
fn is_authority(own: &CertificateDer<'static>, provider: &Arc<CryptoProvider>) -> bool {
    let mut roots = RootCertStore::empty();
    if roots.add(own.clone()).is_err() {
        return false;
    }
    let verifier =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
    // What it is comes before whom it names.
    let (Ok(verifier), Ok(name)) = (verifier, ServerName::try_from("localhost")) else {
        return false;
    };
    let said = verifier.verify_server_cert(own, &[], &name, &[], UnixTime::now());
    said.is_err_and(|error| error.to_string().contains(AUTHORITY_AS_SERVER))
}

/// What is in a file; a private one must not be open to others.
fn content(path: &Path, private: bool) -> Result<Zeroizing<Vec<u8>>, Error> {
    let failed = |error| Error::Io { path: path.into(), error };
    let file = File::open(path).map_err(failed)?;
    let meta = file.metadata().map_err(failed)?;
    if !meta.is_file() {
        return Err(failed(io::Error::other("it is not a regular file")));
    }
    let own = meta.uid() == rustix::process::geteuid().as_raw() || meta.uid() == 0;
    // A group of its own may read it, as tools that renew certificates have it.
    if private && (meta.mode() & 0o027 != 0 || !own) {
        return Err(Error::Open(path.into()));
    }
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}
