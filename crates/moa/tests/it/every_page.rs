//! Every page of the dashboard, and projects in which each of them has something to show.
//!
//! A new page gets a line in [`Busy::pages`]: what looks at all pages looks at it from then on.

use moa_server::auth::oidc;
use serde_json::{Value as Json, json};

use crate::http::Api;
use crate::notify::Receiving;
use crate::project::{Node, Project};

/// Routes of the dashboard that are no pages of their own.
const NO_PAGES: [&str; 7] = [
    "/assets/{name}",
    "/live",
    "/live/stream",
    "/events/stream",
    "/dashboard",
    oidc::START,
    oidc::BACK,
];

/// An agent of which an attempt runs until the file `go` is there, with limits of each kind.
const PRESS: &str = "name: Press\ndescription: Prints what it is given, one sheet at a time.\n\
    command: [sh, -c, 'until [ -e go ]; do sleep 0.05; done', press, --ink, black]\nconcurrency: 2\n\
    env: {COLOUR: black}\nlabels: {room: cellar}\ntier: 2\ntimeout: 10m\nrate_limit: 100/h\n\
    quota: 1000/day\n\
    circuit_breaker: {failures: 5, within: 10m, open_for: 1m}\n\
    actions: {print: {description: One sheet}}\n";

/// An agent that is asked over HTTP, at addresses of which one answers nobody.
const COURIER: &str = "http: {urls: ['http://127.0.0.1:1/parcels', 'http://127.0.0.1:2/parcels']}\n\
    timeout: 5s\nretry: {max_attempts: 1}\n";

/// How somebody comes to a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// Signed in, by its address.
    SignedIn,
    /// By its address, not signed in.
    Stranger,
    /// By a form of the page, which is sent with these fields.
    Form(&'static str, &'static [(&'static str, &'static str)]),
}

/// A page.
#[derive(Clone, Debug)]
pub struct Shown {
    /// The name of its picture.
    pub name: String,
    /// Its address; of a page that comes by a form the one of the form's page.
    pub path: String,
    /// How somebody comes to it.
    pub way: Way,
    /// The status of its answer.
    pub status: u16,
}

/// A page that somebody comes to signed in.
pub fn shown(name: &str, path: impl Into<String>) -> Shown {
    Shown { name: name.into(), path: path.into(), way: Way::SignedIn, status: 200 }
}

/// A project in which something of each kind has happened.
pub struct Busy {
    pub project: Project,
    pub node: Node,
    /// A run that has succeeded, with many steps.
    pub drill: String,
    /// One that has failed.
    pub broken: String,
    /// One that waits for a person.
    pub asks: String,
    /// One whose step is being worked on.
    pub prints: String,
}

impl Busy {
    pub fn new() -> Self {
        let project = Project::of_template("project-build");
        project.workflow("asks", "steps: [{id: release, approve: {title: 'Is it good?'}}]\n");
        project.workflow(
            "breaks",
            "schedule: {cron: '0 9 * * 1-5', timezone: Europe/Berlin}\n\
             steps: [{id: bad, run: 'echo no ink >&2; exit 3', retry: {max_attempts: 1}}]\n",
        );
        project.workflow("typo", "steps: [{id: x, ruin: 'true'}]\n");
        project.workflow("prints", "steps: [{id: print, agent: press, action: print}]\n");
        project.workflow("sends", "steps: [{id: send, agent: courier, action: send}]\n");
        project.write("agents/press.yaml", PRESS);
        project.write("agents/courier.yaml", COURIER);
        add_settings(&project);
        add_webhooks(&project);
        let node = project.up();
        project.call(&["run", "incident-drill", "-q"]);
        project.call(&["run", "breaks", "-q"]).expect(1);
        project.call(&["run", "sends", "-q"]).expect(1);
        let api = Api::with_role(&project, &node, "operator");
        let started = |workflow: &str, wanted: &str| {
            let asked = json!({"workflow": workflow});
            let said = api.post("/api/v1/runs", &asked).expect(201).json();
            let run = said["run"].as_str().expect("an id").to_owned();
            let is_so = |document: &Json| document["steps"][0]["status"] == wanted;
            api.until(&format!("/api/v1/runs/{run}/steps"), is_so);
            run
        };
        let (asks, prints) = (started("asks", "waiting"), started("prints", "running"));
        call_webhooks(&project, &api);
        for job in ["alerts", "samples", "metrics"] {
            project.call(&["jobs", "run", job]).expect(0);
        }
        let listed = |of: &str| {
            let path = format!("/api/v1/runs?workflow={of}&limit=1");
            let found = api.get(&path).expect(200).json();
            found["runs"][0]["run"].as_str().expect("a run").to_owned()
        };
        let over = api.post("/api/v1/runs", &json!({"workflow": "asks"})).expect(201).json();
        let over = over["run"].as_str().expect("an id");
        let why = json!({"reason": "It was the wrong one."});
        api.post(&format!("/api/v1/runs/{over}/cancel"), &why).expect(200);
        let (drill, broken) = (listed("incident-drill"), listed("breaks"));
        Self { project, node, drill, broken, asks, prints }
    }

    /// Every page, with what it shows in this project; pages of strangers first.
    pub fn pages(&self) -> Vec<Shown> {
        let stranger = |name, path: &str| Shown { way: Way::Stranger, ..shown(name, path) };
        let mut all = vec![
            stranger("sign-in", "/sign-in"),
            stranger("sign-in-link", "/sign-in?code=0123"),
            Shown {
                way: Way::Form("/sign-in", &[("token", "moa_wrong")]),
                status: 401,
                ..shown("sign-in-wrong", "/sign-in")
            },
        ];
        all.extend(fixed().map(|(name, path)| shown(name, path)));
        let Self { drill, broken, asks, prints, .. } = self;
        for part in ["", "/timeline", "/history", "/data", "/compare"] {
            all.push(shown(
                &format!("run{}", part.replace('/', "-")),
                format!("/runs/{drill}{part}"),
            ));
        }
        all.extend([
            shown("run-then", format!("/runs/{drill}?at=5")),
            shown("run-fork", format!("/runs/{drill}/fork")),
            shown("run-waits", format!("/runs/{asks}")),
            shown("run-running", format!("/runs/{prints}")),
            shown("run-failed", format!("/runs/{broken}")),
            shown("step-failed", format!("/runs/{broken}/steps/bad")),
            shown("bulk", format!("/runs/bulk?act=retry&run={broken}")),
            Shown { status: 404, ..shown("none", "/runs/ffffffff") },
        ]);
        let form = |name, path, action, fields| Shown {
            way: Way::Form(action, fields),
            ..shown(name, path)
        };
        all.extend([
            form("token", "/settings", "/settings/tokens", &[("name", "a new one")]),
            form(
                "agent-tested",
                "/agents/shell",
                "/agents/shell/test",
                &[("action", "run"), ("params", "{\"script\": \"echo it was here >&2; echo 42\"}")],
            ),
            form(
                "agent-test-failed",
                "/agents/courier",
                "/agents/courier/test",
                &[("action", "send")],
            ),
        ]);
        all
    }
}

/// Pages whose address is known before.
fn fixed() -> impl Iterator<Item = (&'static str, &'static str)> {
    [
        ("overview", "/"),
        ("runs", "/runs"),
        ("runs-none", "/runs?status=paused"),
        ("workflows", "/workflows"),
        ("workflow", "/workflows/incident-drill"),
        ("workflow-source", "/workflows/incident-drill/source"),
        ("workflow-broken", "/workflows/typo/source"),
        ("workflow-versions", "/workflows/incident-drill/versions"),
        ("schedules", "/schedules"),
        ("schedule", "/schedules/breaks%2F1"),
        ("backfill", "/schedules/breaks%2F1/backfill?from=2020-01-06&to=2020-01-10"),
        ("calendar", "/calendar"),
        ("agents", "/agents"),
        ("agent", "/agents/shell"),
        ("agent-running", "/agents/press"),
        ("agent-of-http", "/agents/courier"),
        ("inbox", "/inbox"),
        ("alerts", "/alerts"),
        ("events", "/events"),
        ("events-some", "/events?types=step.*&workflow=breaks&q=ink"),
        ("webhooks", "/webhooks"),
        ("webhook", "/webhooks/billing"),
        ("webhook-dead", "/webhooks/chat?dead=true"),
        ("webhook-gone", "/webhooks/ledger"),
        ("webhook-off", "/webhooks/later"),
        ("metrics", "/charts"),
        ("production", "/charts/production"),
        ("audit", "/audit"),
        ("audit-filtered", "/audit?action=run.cancel&outcome=done"),
        ("api", "/api/docs"),
        ("settings", "/settings"),
        ("configuration", "/settings/config"),
    ]
    .into_iter()
}

/// Settings beside those of the template, which may set some of them itself.
fn add_settings(project: &Project) {
    let settings = project.read("moa.yaml");
    let more = "alerts: {rules: {disk: {free: 1000TiB}}}\n\
        targets: {tasks_completed: {day: {minimum: 5, target: 900}}}\n";
    let is_new = |line: &&str| {
        let key = line.split(':').next().unwrap_or_default();
        !settings.lines().any(|own| own.starts_with(&format!("{key}:")))
    };
    let more: Vec<&str> = more.lines().filter(is_new).collect();
    project.write("moa.yaml", &format!("{settings}\n{}\n", more.join("\n")));
}

/// Receivers of which one takes what it is told, one refuses it, and one wants no more calls.
fn add_webhooks(project: &Project) {
    let one = |name: &str, answer: &'static str, more: &str| {
        let url = Receiving::new(move |_| Some(answer)).url;
        format!("  {name}: {{url: '{url}', types: [run.cancelled]{more}}}\n")
    };
    let all = [
        one("billing", "200 OK", ", workflows: [asks]"),
        one("chat", "400 Bad Request", ""),
        one("ledger", "410 Gone", ""),
        one("later", "200 OK", ", active: false"),
    ];
    let settings = project.read("moa.yaml");
    project.write("moa.yaml", &format!("{settings}\nwebhooks:\n{}", all.concat()));
}

/// Has them called, and waits until it is known what came of it.
fn call_webhooks(project: &Project, api: &Api) {
    for name in ["billing", "chat", "ledger"] {
        api.post(&format!("/api/v1/webhooks/{name}/test"), &json!({})).expect(202);
    }
    let is_over = |listed: &Json| {
        let all = listed["webhooks"].as_array().expect("webhooks").iter();
        all.filter(|one| one["active"] == true).all(|one| one["last"]["finished_at"].is_string())
    };
    api.until("/api/v1/webhooks", is_over);
    project.call(&["jobs", "run", "webhooks"]).expect(0);
}

/// A project in which nothing has happened yet, and the pages that say so.
pub fn new_project() -> (Project, Node, Vec<Shown>) {
    let project = Project::empty();
    project.write("moa.yaml", "name: new\n");
    let node = project.up();
    let nav = moa_server::pages::NAV
        .iter()
        .map(|(path, title, _)| shown(&format!("new-{}", title.to_lowercase()), *path));
    let more = [shown("new-calendar", "/calendar"), shown("new-production", "/charts/production")];
    let pages = nav.chain(more).collect();
    (project, node, pages)
}

/// The templates of the paths that pages have: rows of the table that the API's document has not.
fn routes() -> Vec<String> {
    let (_, document, table) = moa_server::table();
    let is_page = |row: &moa_server::routes::Row| {
        row.method == "GET" && !document.paths.paths.contains_key(&row.path)
    };
    let pages = table.into_iter().filter(is_page).map(|row| row.path);
    pages.filter(|path| !NO_PAGES.contains(&path.as_str())).collect()
}

/// Whether a path is one of a template's.
fn fits(template: &str, path: &str) -> bool {
    let (of, own) = (template.split('/'), path.split('/'));
    of.clone().count() == own.clone().count()
        && of.zip(own).all(|(part, text)| part.starts_with('{') || part == text)
}

#[test]
fn every_page_of_the_dashboard_is_looked_at() {
    let busy = Busy::new();
    let pages = busy.pages();
    let names: std::collections::BTreeSet<&str> = pages.iter().map(|p| p.name.as_str()).collect();
    assert_eq!(names.len(), pages.len(), "each has its own name");
    let routes = routes();
    assert!(routes.len() > 25, "{routes:#?}");
    let seen = |path: &str| {
        let path = path.split('?').next().unwrap_or_default();
        // What is written out goes before what is named.
        let all = routes.iter().filter(|route| fits(route, path));
        all.min_by_key(|route| route.matches('{').count()).cloned()
    };
    let seen: std::collections::BTreeSet<String> =
        pages.iter().filter_map(|page| seen(&page.path)).collect();
    let left: Vec<&String> = routes.iter().filter(|route| !seen.contains(*route)).collect();
    assert!(left.is_empty(), "pages that nothing looks at; add them to the list: {left:#?}");
}
