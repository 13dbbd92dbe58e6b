//! TLS of a node's API: real certificates, real handshakes.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::http::{Answer, Api};
use crate::project::{Node, Project, Said};
use crate::remote::Elsewhere;

/// Who signs certificates.
pub struct Authority {
    cert: rcgen::Certificate,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let cert = params.self_signed(&key).expect("a certificate");
        Self { cert, issuer: Issuer::new(params, key) }
    }

    /// A certificate and its key, as PEM.
    fn signs(&self, names: &[&str]) -> (String, String) {
        let names = names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(names).expect("names");
        let cert = params.signed_by(&key, &self.issuer).expect("a certificate");
        (cert.pem(), key.serialize_pem())
    }

    /// Somebody who trusts it alone.
    fn client(&self, versions: &[&'static rustls::SupportedProtocolVersion]) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.cert.der().clone()).expect("a root");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect("versions");
        Arc::new(config.with_root_certificates(roots).with_no_client_auth())
    }
}

type Stream = StreamOwned<ClientConnection, TcpStream>;

fn connect(address: &str, config: &Arc<ClientConfig>, name: &str) -> Result<Stream, String> {
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let mut connection = ClientConnection::new(config.clone(), name).expect("a client");
    let mut stream = TcpStream::connect(address).expect("it listens");
    while connection.is_handshaking() {
        connection.complete_io(&mut stream).map_err(|e| e.to_string())?;
    }
    Ok(StreamOwned::new(connection, stream))
}

fn ask(mut stream: Stream, request: &str) -> Answer {
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut answer = Vec::new();
    // It need not say that it ends.
    let _ = stream.read_to_end(&mut answer);
    Answer::read(&String::from_utf8_lossy(&answer))
}

fn write(project: &Project, file: &str, text: &str) {
    project.write(&format!("{file}.new"), text);
    let (new, file) = (project.root.join(format!("{file}.new")), project.root.join(file));
    std::fs::set_permissions(&new, PermissionsExt::from_mode(0o600)).expect("chmod");
    std::fs::rename(new, file).expect("renamed");
}

fn project(cert: &str, key: &str) -> Project {
    let project = Project::with("hello", "steps:\n  - run: echo hi\n");
    write(&project, "tls.pem", cert);
    write(&project, "tls.key", key);
    project.write(
        "moa.yaml",
        "name: shop\nserver: {hosts: [moa.test], tls: {cert: tls.pem, key: tls.key}}\n",
    );
    project
}

fn address(node: &Node) -> String {
    let line = node.said.lines().find_map(|line| line.trim().strip_prefix("dashboard"));
    let url = line.expect("it says where").trim();
    url.strip_prefix("https://").expect("it says that it speaks TLS").to_owned()
}

const BOTH: [&rustls::SupportedProtocolVersion; 2] =
    [&rustls::version::TLS12, &rustls::version::TLS13];

#[test]
fn a_node_speaks_tls_and_nothing_else_on_its_port() {
    let authority = Authority::new();
    let (cert, key) = authority.signs(&["moa.test"]);
    let project = project(&cert, &key);
    let node = project.up();
    let address = address(&node);
    for version in BOTH {
        let stream = connect(&address, &authority.client(&[version]), "moa.test").expect("shaken");
        let request = "GET /sign-in HTTP/1.1\r\nHost: moa.test\r\nConnection: close\r\n\r\n";
        let answer = ask(stream, request).expect(200);
        assert_eq!(answer.header("strict-transport-security"), Some("max-age=31536000"));
    }
    let client = authority.client(&BOTH);
    // For localhost it would hold for whatever else listens there.
    let stream = connect(&address, &client, "moa.test").expect("shaken");
    let answer =
        ask(stream, "GET /sign-in HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    assert_eq!(answer.expect(200).header("strict-transport-security"), None);

    let link = project.call(&["open", "--print"]).expect(0).out;
    assert!(link.starts_with(&format!("https://{address}/sign-in?code=")), "{link}");
    let code = link.trim().rsplit_once("code=").expect("a code").1;
    let body = format!("code={code}");
    let request = format!(
        "POST /sign-in HTTP/1.1\r\nHost: moa.test\r\nOrigin: https://moa.test\r\n\
         Connection: close\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let signed = ask(connect(&address, &client, "moa.test").expect("shaken"), &request).expect(303);
    let cookie = signed.header("set-cookie").expect("a cookie");
    assert!(cookie.starts_with("__Host-moa_session_") && cookie.ends_with("; Secure"), "{cookie}");

    // Who speaks plain HTTP is told, and gets nothing else.
    let plain = Api::at(address.clone()).get("/api/v1/me").expect(400).json();
    assert_eq!(plain["detail"], "this port speaks TLS");
    assert!(connect(&address, &client, "other.test").is_err(), "it has no certificate for that");
}

#[test]
fn commands_know_a_node_elsewhere_by_its_certificate() {
    let (authority, other) = (Authority::new(), Authority::new());
    let (cert, key) = authority.signs(&["127.0.0.1"]);
    let project = project(&cert, &key);
    let node = project.up();
    let token = project.call(&["token", "create", "t", "--role", "operator", "-q"]).expect(0).out;
    let there = Elsewhere::at(&format!("https://{}", address(&node)), token.trim());
    let kept = |name: &str, authority: &Authority| {
        let file = there.path(name);
        std::fs::write(&file, authority.cert.pem()).expect("it can be written");
        file.to_str().expect("UTF-8").to_owned()
    };
    let (right, wrong) = (kept("right.pem", &authority), kept("wrong.pem", &other));
    let run = there.call(&["run", "hello", "--watch", "--ca-cert", &right]).expect(0);
    assert!(run.out.contains("succeeded"), "{}", run.out);
    let by_variable = |file: &str| {
        let mut command = there.command(&["runs", "list", "--json"]);
        Said::from(command.env("MOA_CA_CERT", file).output().expect("it can be started"))
    };
    assert_eq!(by_variable(&right).expect(0).json().as_array().map(Vec::len), Some(1));
    // Whoever else answers is not talked to, and is told no token.
    for said in [there.call(&["runs", "list"]), by_variable(&wrong)] {
        let said = said.expect(6);
        assert!(said.err.contains("certificate") && said.err.contains("--ca-cert"), "{}", said.err);
    }
    let localhost = there.url.replace("127.0.0.1", "localhost");
    let elsewhere = Elsewhere::at(&localhost, &there.token);
    let said = elsewhere.call(&["runs", "list", "--ca-cert", &right]).expect(6);
    assert!(said.err.contains("the certificate is for another name"), "{}", said.err);
    let plain = Elsewhere::at(&there.url.replace("https", "http"), &there.token);
    assert!(plain.call(&["runs", "list"]).err.contains("this port speaks TLS"));
    // A context keeps the file, wherever it is used from.
    let add = ["context", "add", "lab", "--url", &there.url, "--token", &there.token, "--use"];
    let here =
        |args: &[&str]| Said::from(there.bare(args).output().expect("it can be started")).expect(0);
    here(&[&add[..], &["--ca-cert", "right.pem"]].concat());
    let mut command = there.bare(&["runs", "list"]);
    let said = command.current_dir("/").output().expect("it can be started");
    Said::from(said).expect(0);
}

#[test]
fn a_node_that_shows_the_certificate_of_an_authority_is_told_of_it_on_both_sides() {
    // As `openssl req -x509` makes it, which says CA:TRUE unless it is told otherwise.
    let own = |is_ca: IsCa| {
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("a name");
        params.is_ca = is_ca;
        let key = KeyPair::generate().expect("a key");
        let cert = params.self_signed(&key).expect("a certificate");
        (cert.pem(), key.serialize_pem())
    };
    let told = |(cert, key): (String, String)| {
        let project = project(&cert, &key);
        let node = project.up();
        let token = project.call(&["token", "create", "t", "--role", "viewer", "-q"]).expect(0).out;
        let there = Elsewhere::at(&format!("https://{}", address(&node)), token.trim());
        std::fs::write(there.path("ca.pem"), cert).expect("it can be written");
        (node.said.clone(), there.call(&["runs", "list", "--ca-cert", "ca.pem"]))
    };
    let (warned, said) = told(own(IsCa::Ca(BasicConstraints::Unconstrained)));
    assert!(warned.contains("tls.pem is the certificate of an authority"), "{warned}");
    let said = said.expect(6).err;
    assert!(said.contains("its certificate is one of an authority"), "{said}");
    assert!(said.contains("CA:FALSE") && said.contains("server.tls.cert"), "{said}");
    assert!(!said.contains("EndEntity"), "{said}");
    // What that says makes one that is taken.
    let (warned, said) = told(own(IsCa::ExplicitNoCa));
    assert!(!warned.contains("authority"), "{warned}");
    said.expect(0);
}

#[test]
fn handshakes_that_go_nowhere_take_no_place_of_others() {
    let authority = Authority::new();
    let (cert, key) = authority.signs(&["localhost"]);
    let project = project(&cert, &key);
    let mut command = project.command(&["up"]);
    // They are waited for an hour: nobody is let in because of an end of that.
    command.env("MOA_TEST_SERVER_WAIT_MS", "3600000").env("MOA_TEST_SERVER_CONNECTIONS", "32");
    let node = Node::start(command);
    let address = address(&node);
    let begun = [0x16, 0x03, 0x01, 0x02, 0x00, 0x01];
    let crowd: Vec<TcpStream> = (0..150)
        .map(|n| {
            let mut stream = TcpStream::connect(&address).expect("it listens");
            // It may have been ended.
            let _ = stream.write_all(&begun[..n % (begun.len() + 1)]);
            stream
        })
        .collect();
    let client = authority.client(&[&rustls::version::TLS13]);
    for _ in 0..3 {
        let request = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        ask(connect(&address, &client, "localhost").expect("a handshake"), request).expect(200);
    }
    drop(crowd);
}

#[test]
fn old_versions_of_tls_are_refused() {
    let (cert, key) = Authority::new().signs(&["moa.test"]);
    let project = project(&cert, &key);
    let node = project.up();
    // A hello of TLS 1.1 with one of its suites.
    let mut hello = vec![0x03, 0x02];
    hello.extend([7; 32]);
    hello.extend([0, 0, 2, 0x00, 0x2f, 1, 0]);
    let mut record = vec![0x16, 0x03, 0x01, 0, u8::try_from(hello.len() + 4).expect("short")];
    record.extend([1, 0, 0, u8::try_from(hello.len()).expect("short")]);
    record.extend(hello);
    let mut stream = TcpStream::connect(address(&node)).expect("it listens");
    stream.write_all(&record).expect("it reads");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert_eq!(answer.first(), Some(&0x15), "an alert, and no handshake: {answer:?}");
}

#[test]
fn a_certificate_that_is_renewed_is_served_without_a_restart() {
    let (first, second) = (Authority::new(), Authority::new());
    let (cert, key) = first.signs(&["moa.test"]);
    let project = project(&cert, &key);
    let node = project.up();
    let address = address(&node);
    let trusts =
        |authority: &Authority| connect(&address, &authority.client(&BOTH), "moa.test").map(drop);
    trusts(&first).expect("the first one");
    let (cert, key) = second.signs(&["moa.test"]);
    // Half of it, and then nonsense: what was there goes on.
    write(&project, "tls.pem", &cert);
    trusts(&first).expect("still the first one");
    write(&project, "tls.key", "nonsense");
    trusts(&first).expect("still the first one");
    write(&project, "tls.key", &key);
    trusts(&second).expect("the second one");
    assert!(trusts(&first).is_err());
}

#[test]
fn what_can_not_be_used_is_said_before_anything_starts() {
    let authority = Authority::new();
    let (cert, key) = authority.signs(&["moa.test"]);
    let (_, other) = authority.signs(&["moa.test"]);
    let refused = |cert: &str, key: &str, mode: u32, words: &str| {
        let project = project(cert, key);
        let path = project.root.join("tls.key");
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("chmod");
        let said: Said = project.call(&["up"]).expect(5);
        assert!(said.err.contains(words), "{words}: {}", said.err);
        assert!(!said.err.contains(&key[40..60.min(key.len())]), "{}", said.err);
    };
    let sealed = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n\
        -----END ENCRYPTED PRIVATE KEY-----\n";
    refused(&cert, &other, 0o600, "is not of the certificate");
    refused(&cert, sealed, 0o600, "it has a passphrase");
    refused("nonsense", &key, 0o600, "there is no BEGIN CERTIFICATE");
    refused(&cert, &cert, 0o600, "holds no private key that can be used");
    refused(&cert, &key, 0o644, "other users can read the key");
    let project = project(&cert, &key);
    std::fs::remove_file(project.root.join("tls.pem")).expect("removed");
    let said = project.call(&["up"]).expect(5);
    assert!(said.err.contains("tls.pem can't be read"), "{}", said.err);
    project.write("moa.yaml", "server: {tls: {cert: tls.pem}}\n");
    let said = project.call(&["up"]).expect(3);
    assert!(said.err.contains("TLS takes both"), "{}", said.err);
}
