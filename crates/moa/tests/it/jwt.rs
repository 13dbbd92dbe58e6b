//! JWTs of issuers: good ones, and every other kind.

use std::sync::{Arc, Mutex};

use serde_json::{Value as Json, json};

use crate::http::{Answer, Api};
use crate::issuer::{Key, Said, Serving, b64, now};
use crate::project::{Node, Project};

const SECRET: &str = "a-secret-of-more-than-thirty-two-bytes";

/// A node that believes four issuers, one for each kind of key.
struct World {
    project: Project,
    node: Node,
    rsa: Key,
    es: Key,
    ed: Key,
    hs: Key,
    set: Arc<Mutex<Json>>,
    serving: Serving,
}

impl World {
    fn new() -> Self {
        let (rsa, es, ed) = (Key::rsa(1), Key::es(), Key::ed());
        let hs = Key::Hs(SECRET.as_bytes().to_vec());
        let set = Arc::new(Mutex::new(json!({"keys": [rsa.jwk("other"), es.jwk("one")]})));
        let shared = set.clone();
        let serving =
            Serving::new(move |_, _| Said::Json(200, shared.lock().expect("whole").to_string()));
        let project = Project::with("hello", "steps:\n  - run: echo hi\n");
        project.write("rsa.pem", &rsa.pem());
        project.write("ed.json", &json!({"keys": [ed.jwk("ed"), {"kty": "odd"}]}).to_string());
        project.write(".env", &format!("HS={SECRET}\n"));
        project.write(
            "moa.yaml",
            &format!(
                "server:\n  jwt:\n\
                 \x20   - {{issuer: rsa, audience: [moa, other], algorithm: RS256, key: rsa.pem}}\n\
                 \x20   - issuer: es\n      audience: moa\n      algorithm: ES256\n\
                 \x20     jwks: {}/keys\n      role_claim: realm.groups\n      name_claim: email\n\
                 \x20     roles: {{bosses: admin, '*': viewer}}\n\
                 \x20   - {{issuer: ed, audience: moa, algorithm: EdDSA, jwks: ed.json}}\n\
                 \x20   - {{issuer: hs, audience: moa, algorithm: HS256, secret: '${{{{ secrets.HS }}}}'}}\n",
                serving.url
            ),
        );
        let node = project.up();
        Self { project, node, rsa, es, ed, hs, set, serving }
    }

    fn me(&self, token: &str) -> Answer {
        let header = format!("Authorization: Bearer {token}\r\n");
        // Who was wrong too often from one address is not told how wrong they are.
        Api::nobody(&self.node).another_address().send("GET", "/api/v1/me", &header, "")
    }

    /// Refused as a wrong token, whatever is wrong with it.
    #[track_caller]
    fn refused(&self, what: &str, token: &str) {
        let said = self.me(token);
        assert_eq!(said.status, 401, "{what}: {}", said.body);
        said.refused(401, "unauthenticated");
    }
}

/// Claims of an operator that are good for an hour.
fn claims(issuer: &str) -> Json {
    json!({
        "iss": issuer, "aud": "moa", "sub": "ann", "roles": ["operator"], "exp": now() + 3600,
    })
}

fn with(mut claims: Json, more: Json) -> Json {
    let more = more.as_object().expect("a map").clone();
    claims.as_object_mut().expect("a map").extend(more);
    claims
}

#[test]
fn jwts_of_every_kind_of_key_say_who_asks() {
    let world = World::new();
    let role = |token: &str| world.me(token).expect(200).json()["role"].clone();
    assert_eq!(role(&world.rsa.jwt(json!({}), &claims("rsa"))), "operator");
    assert_eq!(role(&world.ed.jwt(json!({"kid": "ed"}), &claims("ed"))), "operator");
    assert_eq!(role(&world.ed.jwt(json!({}), &claims("ed"))), "operator", "the only key");
    assert_eq!(role(&world.hs.jwt(json!({}), &claims("hs"))), "operator");
    // Groups and names are taken from the claims that the settings name.
    let grouped = with(claims("es"), json!({"realm": {"groups": ["x", "bosses"]}, "email": "a@b"}));
    let me = world.me(&world.es.jwt(json!({"kid": "one"}), &grouped)).expect(200).json();
    assert_eq!(
        (&me["role"], &me["name"], &me["csrf"]),
        (&json!("admin"), &json!("a@b"), &Json::Null)
    );
    assert_eq!(role(&world.es.jwt(json!({"kid": "one"}), &claims("es"))), "viewer");
    // Several audiences, of which one is enough, on both sides.
    let several = with(claims("rsa"), json!({"aud": ["x", "other"]}));
    assert_eq!(role(&world.rsa.jwt(json!({}), &several)), "operator");
    // Clocks may differ a bit.
    let late = with(claims("rsa"), json!({"exp": now() - 5, "nbf": now() + 5}));
    assert_eq!(role(&world.rsa.jwt(json!({}), &late)), "operator");
}

#[test]
fn who_a_jwt_names_is_who_did_it() {
    let world = World::new();
    let token = world.rsa.jwt(json!({}), &claims("rsa"));
    let headers = format!("Authorization: Bearer {token}\r\nContent-Type: application/json\r\n");
    let api = Api::nobody(&world.node);
    api.send("POST", "/api/v1/runs", &headers, r#"{"workflow":"hello"}"#).expect(201);
    api.send("POST", "/api/v1/tokens", &headers, r#"{"name":"x","role":"admin"}"#)
        .refused(403, "forbidden");
    // A session would outlive it, and what that makes would too.
    for scope in ["", "moa:runs:hello", "moa:nothing-of-ours"] {
        let narrow = with(claims("rsa"), json!({"scope": scope, "roles": ["admin"]}));
        let token = world.rsa.jwt(json!({}), &narrow);
        let headers =
            format!("Authorization: Bearer {token}\r\nContent-Type: application/json\r\n");
        api.send("POST", "/api/v1/sign-in-links", &headers, "{}").refused(403, "forbidden");
    }
    let log = world.project.call(&["audit", "list", "--json"]).expect(0).json();
    let mut log = log.as_array().expect("acts").clone();
    log.retain(|act| act["action"] == "run.start");
    let log = json!(log);
    assert_eq!(log[0]["who"], "jwt:ann of rsa (ann)", "{log}");
    assert!(!log.to_string().contains(&token), "{log}");
}

#[test]
fn what_is_not_a_good_jwt_lets_nobody_in() {
    let world = World::new();
    let (rsa, fine) = (&world.rsa, claims("rsa"));
    let good = rsa.jwt(json!({}), &fine);
    world.me(&good).expect(200);

    // The algorithm is the issuer's, not the token's.
    world.refused("no signature", &Key::None.jwt(json!({}), &fine));
    let nones = ["None", "NONE", "nOnE"];
    for word in nones {
        world.refused(word, &Key::None.jwt(json!({"alg": word}), &fine));
    }
    let cut = good.rsplit_once('.').expect("parts").0;
    world.refused("the signature cut off", &format!("{cut}."));
    let confused = Key::Hs(rsa.pem().into_bytes());
    world.refused("HS256 with the public key as PEM", &confused.jwt(json!({}), &fine));
    let confused = Key::Hs(rsa.pem().trim().as_bytes().to_vec());
    world.refused("HS256 with it trimmed", &confused.jwt(json!({}), &fine));
    world.refused("RS256 that is HS256", &confused.jwt(json!({"alg": "RS256"}), &fine));
    world.refused("another algorithm", &world.es.jwt(json!({}), &fine));
    world.refused("another key", &Key::rsa(2).jwt(json!({}), &fine));
    let own = Key::rsa(2);
    let brought = json!({"jwk": own.jwk("own"), "jku": format!("{}/keys", world.serving.url)});
    world.refused("a key that it brings along", &own.jwt(brought, &fine));
    world.refused("what is critical", &rsa.jwt(json!({"crit": ["b64"], "b64": false}), &fine));
    world.refused("an empty secret", &Key::Hs(Vec::new()).jwt(json!({}), &claims("hs")));

    // Claims.
    let wrong = [
        ("over", json!({"exp": now() - 60})),
        ("over for long", json!({"exp": 0})),
        ("no end that is a number", json!({"exp": "2999-01-01"})),
        ("not yet", json!({"nbf": now() + 600})),
        ("for somebody else", json!({"aud": "shop"})),
        ("for a part of a name", json!({"aud": "mo"})),
        ("for nobody", json!({"aud": []})),
        ("of another issuer", json!({"iss": "rsa2"})),
        ("of no issuer", json!({"iss": null})),
        ("without a subject", json!({"sub": ""})),
        ("a subject that is no text", json!({"sub": {"a": 1}})),
        ("a subject that commands terminals", json!({"sub": "ann\u{1b}[2J"})),
    ];
    for (what, more) in wrong {
        world.refused(what, &rsa.jwt(json!({}), &with(fine.clone(), more)));
    }
    for claim in ["exp", "aud", "iss", "sub"] {
        let mut less = fine.clone();
        less.as_object_mut().expect("a map").remove(claim);
        world.refused(claim, &rsa.jwt(json!({}), &less));
    }

    // Changed after it was signed.
    let parts: Vec<&str> = good.split('.').collect();
    let raised = b64(with(fine.clone(), json!({"roles": ["admin"]})).to_string());
    world.refused("a role of its own", &format!("{}.{raised}.{}", parts[0], parts[2]));
    let huge = with(fine.clone(), json!({"x": "x".repeat(20_000)}));
    world.refused("huge", &rsa.jwt(json!({}), &huge));
    for odd in ["a.b.c", "..", "e30.e30.", "e30.e30.e30", "!.!.!"] {
        world.refused(odd, odd);
    }
    world.me(&good).expect(200);
}

#[test]
fn a_good_jwt_without_a_role_is_somebody_who_may_nothing() {
    let world = World::new();
    for roles in [json!([]), json!("nothing"), json!(["Admin"]), json!({"admin": true}), json!(7)] {
        let claims = with(claims("rsa"), json!({"roles": roles}));
        world.me(&world.rsa.jwt(json!({}), &claims)).refused(403, "forbidden");
    }
}

#[test]
fn the_claim_scope_narrows_a_jwt() {
    let world = World::new();
    let ask = |scope: Json, path: &str| {
        let token = world.rsa.jwt(json!({}), &with(claims("rsa"), json!({"scope": scope})));
        let header = format!("Authorization: Bearer {token}\r\n");
        Api::nobody(&world.node).send("GET", path, &header, "")
    };
    let me = ask(json!("openid moa:runs:hello moa:agents"), "/api/v1/me").expect(200).json();
    assert_eq!(me["scopes"], json!(["runs:hello", "agents"]));
    ask(json!("openid moa:agents"), "/api/v1/agents").expect(200);
    ask(json!(["moa:agents"]), "/api/v1/agents").expect(200);
    ask(json!("moa:agents"), "/api/v1/workflows").refused(403, "forbidden");
    // What nobody knows reaches nothing; what is for others says nothing.
    ask(json!("moa:everything"), "/api/v1/agents").refused(403, "forbidden");
    ask(json!("moa:"), "/api/v1/agents").refused(403, "forbidden");
    ask(json!("openid profile"), "/api/v1/agents").expect(200);
}

#[test]
fn keys_that_change_are_asked_for_and_those_of_strangers_seldom() {
    let world = World::new();
    let token = |key: &Key, id: &str| key.jwt(json!({"kid": id}), &claims("es"));
    world.me(&token(&world.es, "one")).expect(200);
    world.me(&token(&world.es, "one")).expect(200);
    assert_eq!(world.serving.count("/keys"), 1);
    let next = Key::es();
    *world.set.lock().expect("whole") = json!({"keys": [next.jwk("two")]});
    world.me(&token(&next, "two")).expect(200);
    world.refused("a key that is gone", &token(&world.es, "one"));
    for n in 0..50 {
        world.refused("an id of nobody", &token(&world.es, &format!("k{n}")));
    }
    // A key set that is another thing now takes nothing away.
    *world.set.lock().expect("whole") = json!({"keys": "none"});
    world.refused("an id of nobody", &token(&next, "three"));
    world.me(&token(&next, "two")).expect(200);
    assert!(world.serving.count("/keys") <= 4, "{}", world.serving.count("/keys"));
}

#[test]
fn a_key_set_that_can_not_be_had_is_no_fault_of_the_token() {
    for said in [|| Said::Never, || Said::Endless, || Said::Json(500, "{}".into())] {
        let es = Key::es();
        let serving = Serving::new(move |_, _| said());
        let project = Project::with("hello", "steps:\n  - run: echo hi\n");
        project.write(
            "moa.yaml",
            &format!(
                "server: {{jwt: [{{issuer: es, audience: moa, algorithm: ES256, jwks: '{}/'}}]}}\n",
                serving.url
            ),
        );
        let mut command = project.command(&["up"]);
        command.env("MOA_TEST_SERVER_WAIT_MS", "300");
        let node = Node::start(command);
        let header = format!("Authorization: Bearer {}\r\n", es.jwt(json!({}), &claims("es")));
        let said = Api::nobody(&node).send("GET", "/api/v1/me", &header, "");
        said.refused(503, "unavailable");
    }
}

#[test]
fn settings_that_would_let_strangers_in_are_mistakes() {
    let project = Project::with("hello", "steps:\n  - run: echo hi\n");
    let rsa = Key::rsa(1);
    project.write("rsa.pem", &rsa.pem());
    project.write("es.pem", &Key::es().pem());
    let refused = |issuer: &str, words: &str| {
        project.write("moa.yaml", &format!("server: {{jwt: [{{issuer: x, {issuer}}}]}}\n"));
        let said = project.call(&["up"]).expect(3);
        assert!(said.err.contains(words), "{issuer}: {}", said.err);
    };
    refused("audience: moa, algorithm: none", "RS256");
    refused("audience: [], algorithm: RS256, key: rsa.pem", "an issuer needs an audience");
    refused("audience: moa, algorithm: RS256", "one of `key` and `jwks`");
    refused("audience: moa, algorithm: HS256, key: rsa.pem", "HS256 is checked with `secret`");
    refused("audience: moa, algorithm: HS256, secret: shared", "does not stand in this file");
    refused("audience: moa, algorithm: RS256, secret: '${{ secrets.X }}'", "one of `key`");
    refused("audience: moa, algorithm: RS256, jwks: 'http://idp.example/keys'", "not an https");
    refused("audience: moa, algorithm: RS256, key: es.pem", "holds no public key for");
    refused("audience: moa, algorithm: RS256, key: rsa.pem, leeway: 1d", "clocks that differ");
}
