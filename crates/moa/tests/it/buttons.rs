//! Nobody is offered what they would be refused, and everybody what they would not.

use std::collections::{BTreeMap, BTreeSet};

use crate::every_page::{Busy, Way};
use crate::http::{Answer, Api, pause};
use crate::project::{Node, Project};

const FORM: &str = "Content-Type: application/x-www-form-urlencoded\r\n";

/// Roles and scopes of which each reaches something else.
const PEOPLE: [(&str, &[&str]); 18] = [
    ("admin", &[]),
    ("operator", &[]),
    ("approver", &[]),
    ("viewer", &[]),
    ("admin", &["read"]),
    ("operator", &["runs"]),
    ("operator", &["workflows"]),
    ("operator", &["read", "agents"]),
    ("operator", &["agents:press"]),
    ("admin", &["agents", "alerts"]),
    ("operator", &["read", "runs:breaks", "triggers:breaks"]),
    ("operator", &["runs:breaks", "workflows:breaks"]),
    ("approver", &["read", "runs:asks"]),
    ("approver", &["runs"]),
    ("admin", &["node", "tokens"]),
    ("admin", &["node", "secrets"]),
    ("operator", &["triggers", "metrics"]),
    ("viewer", &["runs", "events", "audit"]),
];

/// Somebody who has signed in with a token.
struct Person<'a> {
    node: &'a Node,
    cookie: String,
    what: String,
    /// What was answered to what buttons ask for.
    asked: BTreeMap<(String, String), bool>,
}

impl<'a> Person<'a> {
    fn new(project: &Project, node: &'a Node, (role, scopes): (&str, &[&str])) -> Self {
        let token = match scopes {
            [] => Api::with_role(project, node, role),
            scopes => Api::with_scopes(project, node, role, scopes),
        };
        let body = format!("token={}", token.token());
        let signed = Api::nobody(node).send("POST", "/sign-in", FORM, &body).expect(303);
        let cookie = signed.header("set-cookie").expect("a cookie");
        let cookie = cookie.split(';').next().expect("a pair");
        let cookie = format!("Cookie: {cookie}\r\n");
        Self { node, cookie, what: format!("{role} {scopes:?}"), asked: BTreeMap::new() }
    }

    fn ask(&self, method: &str, path: &str) -> Answer {
        loop {
            let said = Api::nobody(self.node).send(method, path, &self.cookie, "");
            if said.status != 429 {
                return said;
            }
            pause();
        }
    }

    /// Whether a button's request is let in. What would change something comes without its CSRF token,
    /// which is looked at last: so nothing is done.
    fn is_let_in(&mut self, method: &str, path: &str) -> bool {
        let key = (method.to_owned(), path.to_owned());
        if let Some(known) = self.asked.get(&key) {
            return *known;
        }
        let said = self.ask(method, path);
        let is_let_in = match (method, said.status) {
            ("GET", status) => status != 403,
            (_, 403) => said.json()["code"] == "csrf_missing",
            (_, status) => panic!("{method} {path} without a CSRF token: {status}"),
        };
        self.asked.insert(key, is_let_in);
        is_let_in
    }
}

/// The value of an attribute of a tag.
fn attribute(tag: &str, name: &str) -> Option<String> {
    let (_, rest) = tag.split_once(&format!(" {name}=\""))?;
    Some(rest.split('"').next()?.replace("&amp;", "&"))
}

/// Where the buttons of a page go: each form, and each link that looks like a button or belongs to the
/// way through the pages.
fn buttons(path: &str, body: &str) -> BTreeSet<(&'static str, String)> {
    let of =
        |start: &'static str| body.split(start).skip(1).filter_map(|tag| tag.split('>').next());
    let forms = of("<form").map(|tag| {
        let method = match attribute(tag, "method").as_deref() {
            Some("post") => "POST",
            _ => "GET",
        };
        (method, attribute(tag, "action").expect("an action"))
    });
    let links = of("<a").filter(|tag| {
        let class = attribute(tag, "class").unwrap_or_default();
        class.split(' ').any(|word| word == "button") || attribute(tag, "data-go").is_some()
    });
    let links = links.filter_map(|tag| attribute(tag, "href")).map(|to| {
        let bare = path.split('?').next().unwrap_or_default();
        ("GET", if to.starts_with('?') { format!("{bare}{to}") } else { to })
    });
    forms.chain(links).collect()
}

#[test]
fn nobody_is_offered_what_they_would_be_refused() {
    let busy = Busy::new();
    let pages: Vec<String> = busy
        .pages()
        .into_iter()
        .filter(|page| page.way == Way::SignedIn && page.status == 200)
        .map(|page| page.path)
        .collect();
    let mut most: BTreeMap<String, BTreeSet<(&str, String)>> = BTreeMap::new();
    let mut wrong = Vec::new();
    for person in PEOPLE {
        let mut person = Person::new(&busy.project, &busy.node, person);
        for path in &pages {
            let said = person.ask("GET", path);
            if said.status != 200 {
                assert_eq!(said.status, 403, "{} on {path}: {}", person.what, said.body);
                continue;
            }
            let offered = buttons(path, &said.body);
            for (method, to) in &offered {
                if !person.is_let_in(method, to) {
                    wrong.push(format!("{} on {path}: offered {method} {to}", person.what));
                }
            }
            // The first one may do everything.
            for (method, to) in most.entry(path.clone()).or_insert_with(|| offered.clone()).clone()
            {
                // Who answers what is looked at closer by the handler.
                let is_told = to.ends_with("/decide");
                let is_missing = !is_told && !offered.contains(&(method, to.clone()));
                if is_missing && person.is_let_in(method, &to) {
                    wrong.push(format!("{} on {path}: not offered {method} {to}", person.what));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of them\n{}", wrong.len(), wrong.join("\n"));
    let all: BTreeSet<&(&str, String)> = most.values().flatten().collect();
    let changes = all.iter().filter(|(method, _)| *method == "POST").count();
    assert!(changes > 12, "{all:#?}");
}
