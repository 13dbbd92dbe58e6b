//! Signing in with an OpenID Connect provider: one that does as it should, and hostile ones.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value as Json, json};

use crate::http::{Answer, Api};
use crate::issuer::{Asked, Key, Said, Serving, b64, now};
use crate::project::{Node, Project};

const BROWSER: &str = "Accept: text/html\r\n";

/// What a provider does otherwise than it should.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Fault {
    None,
    Claims(&'static str),
    OtherKey,
    NoSignature,
    HmacOfKey,
    NoIdToken,
    NoJson,
    Slow,
    Endless,
    Broken,
}

/// A provider: what it has promised for each code.
struct Provider {
    key: Key,
    fault: Mutex<Fault>,
    groups: Mutex<Json>,
    codes: Mutex<BTreeMap<String, BTreeMap<String, String>>>,
}

impl Provider {
    fn answer(&self, own: &str, asked: &Asked) -> Said {
        let path = asked.path.split('?').next().unwrap_or_default();
        let fine = |body: Json| Said::Json(200, body.to_string());
        match path {
            "/.well-known/openid-configuration" => fine(json!({
                "issuer": own,
                "authorization_endpoint": format!("{own}/authorize?tenant=1"),
                "token_endpoint": format!("{own}/token"),
                "jwks_uri": format!("{own}/keys"),
            })),
            "/keys" => fine(json!({"keys": [self.key.jwk("k1")]})),
            "/token" => self.redeem(own, asked),
            _ => Said::Json(404, "{}".into()),
        }
    }

    fn redeem(&self, own: &str, asked: &Asked) -> Said {
        let fault = *self.fault.lock().expect("whole");
        match fault {
            Fault::Slow => return Said::Never,
            Fault::Endless => return Said::Endless,
            Fault::Broken => return Said::Json(500, "{}".into()),
            Fault::NoJson => return Said::Json(200, "id_token=x".into()),
            Fault::NoIdToken => return Said::Json(200, r#"{"access_token": "x"}"#.into()),
            _ => {}
        }
        let form = pairs(&asked.body);
        let login = format!("Basic {}", STANDARD.encode("moa:client-secret%2B"));
        let head = asked.head.to_ascii_lowercase();
        assert!(head.contains(&format!("authorization: {}", login.to_ascii_lowercase())), "{head}");
        assert_eq!(form["grant_type"], "authorization_code");
        // A code works once.
        let Some(wanted) = self.codes.lock().expect("whole").remove(&form["code"]) else {
            return Said::Json(400, r#"{"error": "invalid_grant"}"#.into());
        };
        let digest = ring::digest::digest(&ring::digest::SHA256, form["code_verifier"].as_bytes());
        let fits = b64(digest) == wanted["code_challenge"]
            && form["redirect_uri"] == wanted["redirect_uri"]
            && wanted["code_challenge_method"] == "S256";
        if !fits {
            return Said::Json(400, r#"{"error": "invalid_grant"}"#.into());
        }
        let mut claims = json!({
            "iss": own, "aud": "moa", "sub": "u-17", "exp": now() + 300, "iat": now(),
            "nonce": wanted["nonce"], "email": "ann@shop.test",
            "groups": *self.groups.lock().expect("whole"),
        });
        if let Fault::Claims(more) = fault {
            let more: Json = serde_json::from_str(more).expect("JSON");
            claims.as_object_mut().expect("a map").extend(more.as_object().expect("a map").clone());
        }
        let head = json!({"kid": "k1"});
        let token = match fault {
            Fault::OtherKey => Key::rsa(2).jwt(head, &claims),
            Fault::NoSignature => Key::None.jwt(head, &claims),
            Fault::HmacOfKey => Key::Hs(self.key.pem().into_bytes()).jwt(head, &claims),
            _ => self.key.jwt(head, &claims),
        };
        Said::Json(200, json!({"id_token": token, "access_token": "x"}).to_string())
    }

    /// Somebody signs in there: where they are led back to.
    fn consent(&self, url: &str) -> (String, BTreeMap<String, String>) {
        let asked = pairs(url.split_once('?').expect("a query").1);
        let code = format!("code-{}", self.codes.lock().expect("whole").len());
        self.codes.lock().expect("whole").insert(code.clone(), asked.clone());
        (code, asked)
    }
}

fn pairs(text: &str) -> BTreeMap<String, String> {
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (unquoted(name), unquoted(value))).collect()
}

fn unquoted(text: &str) -> String {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'+' => out.push(b' '),
            b'%' => {
                let digits = [bytes.next().expect("a digit"), bytes.next().expect("another")];
                let digits = std::str::from_utf8(&digits).expect("digits");
                out.push(u8::from_str_radix(digits, 16).expect("digits"));
            }
            byte => out.push(byte),
        }
    }
    String::from_utf8(out).expect("text")
}

struct World {
    project: Project,
    api: Api,
    node: Node,
    provider: Arc<Provider>,
    serving: Serving,
}

impl World {
    fn new(key: Key) -> Self {
        let algorithm = key.algorithm();
        let provider = Arc::new(Provider {
            key,
            fault: Mutex::new(Fault::None),
            groups: Mutex::new(json!(["staff", "ops"])),
            codes: Mutex::default(),
        });
        let shared = provider.clone();
        let serving = Serving::new(move |own, asked| shared.answer(own, asked));
        let project = Project::with("hello", "steps:\n  - run: echo hi\n");
        project.write(".env", "OIDC='client-secret+'\n");
        project.write(
            "moa.yaml",
            &format!(
                "server:\n  oidc:\n    issuer: {}\n    client_id: moa\n    scopes: [email]\n\
                 \x20   client_secret: '${{{{ secrets.OIDC }}}}'\n    algorithm: {algorithm}\n\
                 \x20   name_claim: email\n    role_claim: groups\n    label: 'Shop <SSO>'\n\
                 \x20   roles: {{ops: operator, staff: viewer}}\n",
                serving.url
            ),
        );
        let mut command = project.command(&["up"]);
        command.env("MOA_TEST_SERVER_WAIT_MS", "300");
        let node = Node::start(command);
        let api = Api::nobody(&node);
        Self { project, api, node, provider, serving }
    }

    fn get(&self, path: &str, cookie: &str) -> Answer {
        let cookie =
            if cookie.is_empty() { String::new() } else { format!("Cookie: {cookie}\r\n") };
        // Each from another address: one that is wrong often has to wait.
        self.api.another_address().send("GET", path, &format!("{BROWSER}{cookie}"), "")
    }

    /// Begins: the cookie, and the address of the provider.
    fn begin(&self, to: &str) -> (String, String) {
        let said = self.get(&format!("/sign-in/oidc?to={to}"), "").expect(303);
        let cookie = said.header("set-cookie").expect("a cookie");
        assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax"), "{cookie}");
        assert!(cookie.contains("Path=/sign-in/oidc/callback;"), "{cookie}");
        let cookie = cookie.split(';').next().expect("a pair").to_owned();
        (cookie, said.header("location").expect("where to").to_owned())
    }

    /// All of it; answers what the browser gets in the end.
    fn sign_in(&self) -> Answer {
        let (cookie, url) = self.begin("%2Fruns%3Fstatus%3Dfailed");
        let (code, asked) = self.provider.consent(&url);
        self.get(&format!("/sign-in/oidc/callback?code={code}&state={}", asked["state"]), &cookie)
    }
}

/// The session of an answer, for the `Cookie` header.
fn session(said: &Answer) -> Option<String> {
    let cookies = said.head.lines().filter_map(|line| line.split_once(": "));
    let set = cookies.filter(|(name, _)| name.eq_ignore_ascii_case("set-cookie"));
    let mut values = set.filter_map(|(_, value)| value.split(';').next());
    values.find(|value| !value.contains("_oidc=")).map(str::to_owned)
}

#[test]
fn a_browser_signs_in_with_a_provider_and_out() {
    for key in [Key::rsa(1), Key::es()] {
        let world = World::new(key);
        let page = world.get("/sign-in?to=%2Fruns", "").expect(200).body;
        assert!(page.contains("href=\"/sign-in/oidc?to=%2Fruns\">Shop &lt;SSO&gt;</a>"), "{page}");
        let (_, url) = world.begin("%2F");
        assert!(url.starts_with(&format!("{}/authorize?tenant=1&", world.serving.url)), "{url}");
        let asked = pairs(url.split_once('?').expect("a query").1);
        assert_eq!((&*asked["response_type"], &*asked["scope"]), ("code", "openid email"));
        assert!(asked["state"].len() >= 32 && asked["nonce"].len() >= 32);

        let said = world.sign_in().expect(200);
        assert!(said.body.contains("content=\"0;url=/runs?status=failed\""), "{}", said.body);
        let cookie = format!("Cookie: {}\r\n", session(&said).expect("a session"));
        let me = world.api.send("GET", "/api/v1/me", &cookie, "").expect(200).json();
        assert_eq!((&me["role"], &me["name"]), (&json!("operator"), &json!("ann@shop.test")));
        let log = world.project.call(&["audit", "list", "--json", "--action", "sign_in"]);
        let log = log.expect(0).json();
        let who = format!("oidc:u-17 of {} (ann@shop.test)", world.serving.url);
        assert_eq!(log[0]["who"], who, "{log}");

        let form = format!("{cookie}Content-Type: application/x-www-form-urlencoded\r\n");
        let csrf = format!("csrf={}", me["csrf"].as_str().expect("a token"));
        world.api.send("POST", "/sign-out", &form, &csrf).expect(303);
        world.api.send("GET", "/api/v1/me", &cookie, "").refused(401, "unauthenticated");
        assert_eq!(world.serving.count("/.well-known/openid-configuration"), 1, "it is kept");
        let kept = world.project.read(".moa/log/moa.log") + &world.project.read(".moa/tokens.json");
        assert!(!kept.contains("client-secret"), "{kept}");
    }
}

#[test]
fn what_comes_back_is_for_the_browser_that_left_and_once() {
    let world = World::new(Key::rsa(1));
    let (cookie, url) = world.begin("%2F");
    let (code, asked) = world.provider.consent(&url);
    let state = &asked["state"];
    let back = |query: &str, cookie: &str| {
        let said = world.get(&format!("/sign-in/oidc/callback?{query}"), cookie);
        assert_eq!(session(&said), None, "{query}");
        said.status
    };
    let fine = format!("code={code}&state={state}");
    let (other, _) = world.begin("%2F");
    let (name, value) = cookie.split_once('=').expect("a pair");
    let (text, mark) = value.split_once('.').expect("a mark");
    let forged = b64(json!({
        "state": state, "nonce": "n", "verifier": "v", "to": "/", "until": now() + 600,
    })
    .to_string());
    assert_eq!(back(&fine, ""), 401, "another browser");
    assert_eq!(back(&fine, &other), 401, "another sign-in of the same one");
    assert_eq!(back(&fine, &format!("{name}={forged}.{mark}")), 401, "a cookie of its own");
    assert_eq!(back(&fine, &format!("{name}={text}.{}", "0".repeat(64))), 401);
    assert_eq!(back(&format!("code={code}&state=0{state}"), &cookie), 401, "another state");
    assert_eq!(back(&format!("code={code}"), &cookie), 401, "no state");
    assert_eq!(back(&format!("state={state}"), &cookie), 401, "no code");
    assert_eq!(back(&format!("{fine}&iss=https://evil.example"), &cookie), 401, "a mix-up");
    assert_eq!(back(&format!("error=access_denied&state={state}"), &cookie), 403);
    assert_eq!(back(&format!("code=guessed&state={state}"), &cookie), 401, "a guessed code");
    assert_eq!(world.serving.count("/token"), 1, "nobody was asked about the rest");
    let said = world.get(&format!("/sign-in/oidc/callback?{fine}"), &cookie).expect(200);
    assert!(session(&said).is_some());
    assert_eq!(back(&fine, &cookie), 401, "the same once more");
}

#[test]
fn a_provider_that_does_otherwise_lets_nobody_in() {
    let world = World::new(Key::rsa(1));
    let faults = [
        (Fault::Claims(r#"{"nonce": "other"}"#), 401),
        (Fault::Claims(r#"{"nonce": null}"#), 401),
        (Fault::Claims(r#"{"aud": "shop"}"#), 401),
        (Fault::Claims(r#"{"aud": ["moa", "shop"]}"#), 401),
        (Fault::Claims(r#"{"aud": ["moa", "shop"], "azp": "shop"}"#), 401),
        (Fault::Claims(r#"{"azp": "shop"}"#), 401),
        (Fault::Claims(r#"{"iss": "https://evil.example"}"#), 401),
        (Fault::Claims(r#"{"exp": 1}"#), 401),
        (Fault::Claims(r#"{"nbf": 9999999999}"#), 401),
        (Fault::Claims(r#"{"sub": ""}"#), 401),
        (Fault::Claims(r#"{"groups": ["strangers"]}"#), 403),
        (Fault::OtherKey, 401),
        (Fault::NoSignature, 401),
        (Fault::HmacOfKey, 401),
        (Fault::NoIdToken, 401),
        (Fault::NoJson, 401),
        (Fault::Slow, 503),
        (Fault::Endless, 503),
        (Fault::Broken, 503),
    ];
    for (fault, status) in faults {
        *world.provider.fault.lock().expect("whole") = fault;
        let said = world.sign_in();
        assert_eq!(said.status, status, "{fault:?}");
        assert_eq!(session(&said), None, "{fault:?}");
    }
    *world.provider.fault.lock().expect("whole") =
        Fault::Claims(r#"{"aud": ["moa", "shop"], "azp": "moa"}"#);
    assert!(session(&world.sign_in().expect(200)).is_some());
}

#[test]
fn a_provider_that_is_away_or_another_one_is_said_to_be() {
    let project = Project::with("hello", "steps:\n  - run: echo hi\n");
    let other = Serving::new(|_, _| {
        let document = json!({
            "issuer": "https://evil.example", "jwks_uri": "https://evil.example/k",
            "authorization_endpoint": "https://evil.example/a",
            "token_endpoint": "https://evil.example/t",
        });
        Said::Json(200, document.to_string())
    });
    for issuer in [other.url.as_str(), "http://127.0.0.1:1"] {
        project.write(
            "moa.yaml",
            &format!("server: {{oidc: {{issuer: '{issuer}', client_id: moa}}}}\n"),
        );
        let node = project.up();
        let nobody = Api::nobody(&node);
        nobody.get("/sign-in/oidc").refused(503, "unavailable");
        nobody.get("/sign-in").expect(200);
        node.kill();
    }
    project.write("moa.yaml", "name: shop\n");
    let node = project.up();
    Api::nobody(&node).get("/sign-in/oidc").refused(404, "not_found");
}

#[test]
fn a_sign_in_begins_where_it_comes_back_to_and_leads_nowhere_else() {
    let world = World::new(Key::rsa(1));
    let port = world.api.address.rsplit_once(':').expect("a port").1;
    let host = format!("Host: localhost:{port}\r\n");
    let said = world.api.send("GET", "/sign-in/oidc?to=%2Fruns", &host, "").expect(303);
    let own = format!("http://{}/sign-in/oidc?to=%2Fruns", world.api.address);
    assert_eq!(said.header("location"), Some(own.as_str()));
    assert_eq!(said.header("set-cookie"), None);
    for to in ["%2F%2Fevil.example", "https%3A%2F%2Fevil.example", "%2F%5Cevil.example"] {
        let (cookie, url) = world.begin(to);
        let (code, asked) = world.provider.consent(&url);
        let path = format!("/sign-in/oidc/callback?code={code}&state={}", asked["state"]);
        let said = world.get(&path, &cookie).expect(200);
        assert!(said.body.contains("content=\"0;url=/\""), "{}", said.body);
    }
    drop(world.node);
}
