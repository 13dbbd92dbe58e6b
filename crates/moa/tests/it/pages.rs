//! The dashboard, as a browser without scripts gets it from a real node.

use serde_json::json;

use crate::http::{Answer, Api, pause};
use crate::project::{Node, Project};

/// Names, outputs and errors that would be markup if nobody took care.
const HOSTILE: &str = "steps:\n\
    \x20 - {id: first, run: \"echo '<script>alert(1)</script>'; echo '<b>log</b>' >&2\"}\n\
    \x20 - {id: bad, run: \"echo '<img src=x onerror=alert(2)>' >&2; exit 2\", depends_on: [first]}\n";
const ASKS: &str = "name: '<i>asks</i>'\n\
    steps:\n  - {id: release, approve: {title: '<script>alert(3)</script>'}}\n";

/// A browser that is signed in.
pub struct Browser {
    pub api: Api,
    pub cookie: String,
}

impl Browser {
    pub fn new(project: &Project, node: &Node, role: &str) -> Self {
        let api = Api::nobody(node);
        let link = project.call(&["open", "--print", "--role", role]).expect(0).out;
        let code = link.trim().rsplit_once("code=").expect("a code").1.to_owned();
        let form = "Content-Type: application/x-www-form-urlencoded\r\n";
        let signed = api.send("POST", "/sign-in", form, &format!("code={code}")).expect(303);
        let cookie = signed.header("set-cookie").expect("a cookie");
        let cookie = format!("Cookie: {}\r\n", cookie.split(';').next().expect("a pair"));
        Self { api, cookie }
    }

    pub fn ask(&self, path: &str) -> Answer {
        let headers = format!("{}Accept: text/html\r\n", self.cookie);
        self.api.send("GET", path, &headers, "")
    }

    pub fn page(&self, path: &str) -> String {
        let page = loop {
            // Who asks very often is told to wait a bit.
            let page = self.ask(path);
            if page.status != 429 {
                break page.expect(200);
            }
            pause();
        };
        assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"), "{path}");
        let policy = page.header("content-security-policy").expect("a policy");
        assert!(policy.contains("script-src 'self';") && !policy.contains("unsafe"), "{policy}");
        is_plain(path, &page.body);
        page.body
    }

    /// A page once it says so.
    pub fn until(&self, path: &str, words: &str) -> String {
        loop {
            let body = self.page(path);
            if body.contains(words) {
                return body;
            }
            pause();
        }
    }

    /// Sends the form with this action on a page, changed by `fields`.
    pub fn send(&self, page: &str, action: &str, fields: &str) -> Answer {
        self.send_for("*/*", page, action, fields)
    }

    /// The same, with a page as the answer.
    pub fn submit(&self, page: &str, action: &str, fields: &str) -> Answer {
        self.send_for("text/html", page, action, fields)
    }

    fn send_for(&self, accept: &str, page: &str, action: &str, fields: &str) -> Answer {
        let body = self.page(page);
        let wanted = format!("action=\"{action}\"");
        let fits = |form: &&str| form.contains(&wanted) && form.contains("name=\"csrf\"");
        let form = body.split("<form").find(fits);
        let form = form.unwrap_or_else(|| panic!("{page} has no form for {action}"));
        let csrf = form.split("name=\"csrf\" value=\"").nth(1).expect("a CSRF token");
        let csrf = csrf.split('"').next().expect("its end");
        let headers = format!(
            "{}Accept: {accept}\r\nOrigin: http://{}\r\nContent-Type: application/x-www-form-urlencoded\r\n",
            self.cookie, self.api.address
        );
        self.api.send("POST", action, &headers, &format!("csrf={csrf}&{fields}"))
    }
}

/// No script, style or handler stands in a page, whatever people and agents wrote.
#[track_caller]
fn is_plain(path: &str, body: &str) {
    for script in body.match_indices("<script").map(|(at, _)| &body[at..]) {
        assert!(script.starts_with("<script src=\"/assets/"), "{path}: {}", &script[..60]);
    }
    for tag in body.split('<').skip(1).filter_map(|tag| tag.split('>').next()) {
        let mut quoted = false;
        let bare: String = tag
            .chars()
            .filter(|c| {
                quoted ^= *c == '"';
                !quoted
            })
            .collect();
        for attribute in bare.split_whitespace().skip(1) {
            let is_handler = attribute.starts_with("on") && attribute.contains('=');
            assert!(!is_handler && !attribute.starts_with("style"), "{path}: <{tag}>");
        }
        assert!(!tag.starts_with("style") && !tag.starts_with("img"), "{path}: <{tag}>");
    }
    for place in ["href=\"http", "src=\"http", "action=\"http", "=\"//"] {
        assert!(!body.contains(place), "{path} leads elsewhere");
    }
}

fn shop() -> (Project, Node) {
    let project = Project::with("hostile", HOSTILE);
    project.write("workflows/asks.yaml", ASKS);
    let node = project.up();
    (project, node)
}

fn started(api: &Api, workflow: &str) -> String {
    let said = api.post("/api/v1/runs", &json!({"workflow": workflow})).expect(201).json();
    said["run"].as_str().expect("an id").to_owned()
}

/// The parts of a run's page.
fn parts(run: &str) -> [String; 6] {
    ["", "/timeline", "/history", "/data", "/compare", "?at=1"]
        .map(|part| format!("/runs/{run}{part}"))
}

#[test]
fn what_agents_and_people_write_stays_text_on_every_page() {
    let (project, node) = shop();
    let api = Api::with_role(&project, &node, "operator");
    let run = started(&api, "hostile");
    assert_eq!(api.ended(&run)["status"], "failure");
    let browser = Browser::new(&project, &node, "admin");
    for path in ["/", "/runs", "/inbox", "/runs?status=failed", "/runs?q=%3Cscript%3E"] {
        browser.page(path);
    }
    parts(&run).iter().for_each(|path| drop(browser.page(path)));
    let step = browser.page(&format!("/runs/{run}/steps/bad"));
    assert!(step.contains("&lt;img src=x onerror=alert(2)&gt;"), "the error and the log are shown");
    let first = browser.page(&format!("/runs/{run}/steps/first"));
    assert!(first.contains("&lt;script&gt;alert(1)&lt;/script&gt;"), "the output is shown");
    assert!(first.contains("&lt;b&gt;log&lt;/b&gt;"), "the log is shown");
    let list = browser.page("/runs");
    assert!(list.contains(&format!("/runs/{run}\"")) && list.contains("✗"), "{list}");
    browser.ask("/runs/last/steps/none").expect(404);
    browser.ask("/runs/ffffffff").expect(404);
}

#[test]
fn a_step_that_holds_others_does_not_wait_on_the_timeline() {
    let holds = "steps:\n\
        - {id: both, parallel: [{run: 'true'}, {run: 'true'}]}\n";
    let project = Project::with("holds", holds);
    let node = project.up();
    let api = Api::with_role(&project, &node, "operator");
    let run = started(&api, "holds");
    api.ended(&run);
    let page = Browser::new(&project, &node, "viewer").page(&format!("/runs/{run}/timeline"));
    let bars: Vec<&str> = page.split("class=\"bar\"").skip(1).collect();
    assert_eq!(bars.len(), 3, "{page}");
    let has = |class: &str| bars.iter().map(|bar| bar.contains(class)).collect::<Vec<_>>();
    assert_eq!(has("rect class=\"group\""), [true, false, false], "{page}");
    assert_eq!(has("rect class=\"wait\""), [false, true, true], "{page}");
    assert!(page.contains("a step that holds others"), "the legend names it");
}

#[test]
fn a_run_says_how_many_of_its_steps_were_done() {
    let fails = "steps:\n\
        \x20 - {id: first, run: 'true'}\n\
        \x20 - {id: beside, run: 'true'}\n\
        \x20 - {id: bad, run: exit 2, retry: never, depends_on: [first, beside]}\n\
        \x20 - {id: after, run: 'true', depends_on: [bad]}\n";
    let project = Project::with("fails", fails);
    let node = project.up();
    let api = Api::with_role(&project, &node, "operator");
    let run = started(&api, "fails");
    let counted = json!(
        {"totalSteps": 4, "successfulSteps": 2, "failedSteps": 1, "skippedSteps": 1}
    );
    assert_eq!(api.ended(&run)["metrics"], counted);
    let page = Browser::new(&project, &node, "viewer").page(&format!("/runs/{run}"));
    let said = page.split("<dt>Progress</dt><dd>").nth(1).and_then(|rest| rest.split('<').next());
    assert_eq!(said, Some("3 of 4 steps, 1 skipped"));
}

#[test]
fn a_page_has_its_json_and_tells_when_it_has_changed() {
    let (project, node) = shop();
    let api = Api::with_role(&project, &node, "approver");
    let run = started(&Api::with_role(&project, &node, "operator"), "asks");
    let browser = Browser::new(&project, &node, "approver");
    for path in ["/", "/runs", "/inbox", &format!("/runs/{run}")] {
        let body = browser.page(path);
        let json = body.split("href=\"/api/v1/").nth(1).and_then(|rest| rest.split('"').next());
        let json = format!("/api/v1/{}", json.expect("a page has its JSON").replace("&amp;", "&"));
        api.get(&json).expect(200).json();
    }
    browser.until(&format!("/runs/{run}"), "name=\"approved\"");
    let live = |page: &str| {
        let body = browser.page(page);
        let value = |name: &str| {
            let rest = body.split(&format!("{name}=\"")).nth(1)?;
            Some(rest.split('"').next()?.replace("&amp;", "&"))
        };
        value("data-live").zip(value("data-now"))
    };
    let path = format!("/runs/{run}");
    let (ask, now) = live(&path).expect("it may change");
    let mark = |ask: &str| browser.api.send("GET", ask, &browser.cookie, "").expect(200).json();
    assert_eq!(mark(&ask)["now"], now);
    let (all, before) = live("/inbox").expect("it may change");
    assert_eq!(mark(&all)["now"], before);
    let form = "signal=approve.release&approved=true&comment=fine";
    browser.send("/inbox", &format!("/runs/{run}/decide"), form).expect(303);
    let result = api.ended(&run);
    assert_eq!(result["steps"][0]["output"]["by"], "link");
    assert_ne!(mark(&ask)["now"], now);
    assert_ne!(mark(&all)["now"], before);
    assert_eq!(live(&path), None, "an ended run never changes");
}

#[test]
fn nobody_sees_what_they_may_not_do() {
    let (project, node) = shop();
    let operator = Browser::new(&project, &node, "operator");
    let viewer = Browser::new(&project, &node, "viewer");
    let run = started(&Api::with_role(&project, &node, "operator"), "asks");
    let ended = started(&Api::with_role(&project, &node, "operator"), "hostile");
    Api::with_role(&project, &node, "viewer").ended(&ended);
    for run in [&run, &ended] {
        for path in parts(run).iter().map(String::as_str).chain(["/", "/runs", "/inbox"]) {
            let body = viewer.page(path);
            let forms = body.matches("method=\"post\"").count();
            assert_eq!(forms, 1, "{path}: a viewer may only sign out");
        }
    }
    let inbox = operator.until("/inbox", "takes the role approver");
    assert!(!inbox.contains("name=\"approved\""));
    let path = format!("/runs/{run}");
    let change = format!("{path}/change");
    operator.send(&path, &change, "change=pause").expect(303);
    assert!(operator.page(&path).contains("it is paused"));
    operator.send(&path, &change, "change=cancel&reason=enough").expect(303);
    operator.until(&path, "it was cancelled: enough");
    operator.send(&path, &format!("{path}/repeat"), "from=").expect(303);
    let again = operator.send(
        &format!("/runs/{ended}/steps/bad"),
        &format!("/runs/{ended}/repeat"),
        "from=bad&step=true",
    );
    let new = again.expect(303).header("location").expect("the new run").to_owned();
    assert!(operator.page(&new).contains(&format!("/runs/{ended}")), "it says what it repeats");
    operator.send(&new, "/sign-out", "").expect(303);
    operator.ask("/runs").expect(303);
}

#[test]
fn a_browser_sends_its_origin_with_forms() {
    let (_project, node) = shop();
    let page = Api::nobody(&node).get("/sign-in").expect(200);
    // With `no-referrer` it would send `null`, and every form would be refused.
    assert_eq!(page.header("referrer-policy"), Some("same-origin"));
}

#[test]
fn a_form_starts_one_run_with_the_params_that_were_given() {
    let text = "name: '<b>Pack</b>'\nversion: '1'\nparams:\n\
        \x20 count: {type: integer, minimum: 1, default: 2}\n\
        \x20 mode: {type: string, enum: [fast, '<slow>'], required: true}\n\
        steps:\n  - {id: pack, run: \"echo '<script>'\"}\n";
    let project = Project::with("pack", text);
    let node = project.up();
    let operator = Browser::new(&project, &node, "operator");
    let (page, start) = ("/workflows/pack", "/workflows/pack/start");
    let form = "p.count=3&p.mode=fast&key=once&priority=";
    let first = operator.send(page, start, form).expect(303);
    let path = first.header("location").expect("the run").to_owned();
    let again = operator.send(page, start, form).expect(303);
    assert_eq!(again.header("location"), Some(path.as_str()), "the same form starts one run");
    let api = Api::with_role(&project, &node, "viewer");
    let run = path.trim_start_matches("/runs/");
    let document = api.get(&format!("/api/v1/runs/{run}/document")).expect(200).json();
    assert_eq!(document["params"], json!({"count": 3, "mode": "fast"}));
    assert_eq!(document["cause"], "api (link)");
    api.ended(run);
    operator.send(page, start, "p.count=0&p.mode=fast").expect(400);
    operator.send(page, start, "p.mode=").expect(400);
    let viewer = Browser::new(&project, &node, "viewer");
    assert!(!viewer.page(page).contains("/start"), "a viewer starts nothing");
    project
        .workflow("pack", &text.replace("version: '1'", "version: '2'").replace("fast", "quick"));
    operator.until("/workflows/pack", "quick");
    let kept = api.get("/api/v1/workflows/pack/versions").expect(200).json();
    let hash = |i: usize| kept["versions"][i]["hash"].as_str().expect("a hash").to_owned();
    let two = format!("/workflows/pack/versions?from={}&to={}", hash(1), hash(0));
    let differs = viewer.page(&two);
    assert!(differs.contains("line add") && differs.contains("line bad"), "{differs}");
    let old = format!("/workflows/pack/source?version={}", hash(1));
    assert!(viewer.page(&old).contains("&lt;slow&gt;"));
    for path in ["/workflows", "/workflows/pack/source", "/workflows/pack/versions"] {
        viewer.page(path);
    }
    project.workflow("pack", "steps: 7\n");
    viewer.until("/workflows/pack", "what was good last is served");
    viewer.ask("/workflows/none").expect(404);
}

#[test]
fn the_calendar_has_every_day_of_a_busy_schedule() {
    let busy = "schedule: {cron: '*/5 * * * *', timezone: UTC}\nsteps: [{run: 'true'}]\n";
    let project = Project::with("busy", busy);
    project.workflow("busier", &busy.replace("*/5", "*"));
    let node = project.up();
    let browser = Browser::new(&project, &node, "viewer");
    let page = browser.until("/calendar", "300+×");
    // Today and the last day are shown in part.
    assert!(page.matches(">288× <").count() >= 12, "{page}");
    assert!(page.matches(">300+× <").count() >= 12, "{page}");
}

#[test]
fn the_calendar_has_fourteen_whole_days_also_of_a_zone_that_is_a_day_behind() {
    // 25 hours behind: there it is never today yet.
    let text = "schedule: {cron: '0 * * * *', timezone: Pacific/Pago_Pago}\n\
        steps: [{run: 'true'}]\n";
    let project = Project::with("far", text);
    project.write("moa.yaml", "timezone: Pacific/Kiritimati\n");
    let node = project.up();
    let browser = Browser::new(&project, &node, "viewer");
    browser.until("/calendar", "24× <");
    let api = Api::with_role(&project, &node, "viewer");
    let said = api.get("/api/v1/calendar").expect(200).json();
    let days = said["days"].as_array().expect("days");
    let slots: Vec<u64> =
        days.iter().filter_map(|day| day["schedules"][0]["slots"].as_u64()).collect();
    assert_eq!((days.len(), slots), (14, vec![24; 14]), "{said}");
}

#[test]
fn schedules_are_paused_started_and_filled_from_their_pages() {
    let text = "schedule: {cron: '0 9 * * *', timezone: Europe/Berlin}\n\
        steps:\n  - {id: report, run: 'true'}\n";
    let project = Project::with("report", text);
    project.write("moa.yaml", "timezone: Pacific/Kiritimati\n");
    let node = project.up();
    let operator = Browser::new(&project, &node, "operator");
    let list = operator.until("/schedules", "/schedules/report");
    let path = list.split("href=\"/schedules/report").nth(1).expect("it is listed");
    let path = format!("/schedules/report{}", path.split('"').next().expect("its end"));
    let act = format!("{path}/act");
    assert!(operator.page(&path).contains("T09:00:00+0"), "its next slots are told");
    operator.send(&path, &act, "act=pause&reason=<b>audit</b>").expect(303);
    let paused = operator.page(&path);
    assert!(paused.contains("&lt;b&gt;audit&lt;/b&gt;") && paused.contains("Resume"), "{paused}");
    operator.send(&path, &act, "act=resume").expect(303);
    operator.send(&path, &act, "act=start&key=one").expect(303);
    operator.until(&path, "<td class=\"nowrap started\">started</td>");
    let range = "from=2020-01-01&to=2020-01-04&reprocess=none&at_once=2";
    let backfill = format!("{path}/backfill");
    let dry = format!("{backfill}?{range}");
    assert!(operator.page(&dry).contains("3 of 3 slots would be started"));
    operator.send(&dry, &backfill, &format!("{range}&key=once&reverse=false")).expect(303);
    assert!(operator.page(&path).contains("of 3 started"));
    let viewer = Browser::new(&project, &node, "viewer");
    for page in ["/schedules", &path, "/calendar", "/"] {
        assert_eq!(viewer.page(page).matches("method=\"post\"").count(), 1, "{page}");
    }
    assert!(viewer.page("/calendar").contains("today is that of Pacific/Kiritimati"));
    viewer.ask(&backfill).expect(403);
    operator.ask(&format!("{path}?outcome=none")).expect(400);
    operator.ask("/schedules/none").expect(404);
}

#[test]
fn what_an_attempt_was_given_is_shown_and_where_a_run_failed() {
    let project = Project::with(
        "hand",
        "params: {name: {type: string, default: Ada}}\nsteps:\n\
         \x20 - {id: one, run: \"echo '{\\\"n\\\": 41}'\"}\n\
         \x20 - {id: two, run: \"echo ${{ params.name }} ${{ steps.one.output.n + 1 }}; exit 7\", \
         depends_on: [one], retry: never}\n",
    );
    let node = project.up();
    let viewer = Browser::new(&project, &node, "viewer");
    project.call(&["run", "hand", "-q"]).expect(1);
    let page = viewer.page("/runs/last");
    let run = project.call(&["runs", "show", "last", "--json"]).expect(0).json();
    let run = run["run"].as_str().expect("an id").to_owned();
    assert!(page.contains(&format!("href=\"/runs/{run}/steps/two#error\"")), "{page}");
    let step = viewer.page(&format!("/runs/{run}/steps/two"));
    assert!(step.contains("echo Ada 42; exit 7"), "{step}");
    assert!(step.contains("id=\"error\"") && step.contains("params.name"), "{step}");
}

#[test]
fn mistakes_are_marked_in_the_text_that_has_them() {
    let project = Project::with("hello", "steps: [{run: 'true'}]\n");
    let node = project.up();
    let viewer = Browser::new(&project, &node, "viewer");
    let line = "<span id=\"L2\" title=\"";
    assert!(!viewer.page("/workflows/hello/source").contains(line));
    project.workflow("hello", "steps:\n  - {rum: 'true'}\n");
    let page = viewer.until("/workflows/hello/source", "Its file has mistakes");
    assert!(page.contains(line) && page.contains("rum"), "{page}");
    assert!(page.contains("the version before"), "{page}");
    project.workflow("new", "steps:\n  - {rum: 'true'}\n");
    let page = viewer.until("/workflows", "/workflows/new");
    assert!(page.contains("new"), "{page}");
    let page = viewer.page("/workflows/new/source");
    assert!(page.contains(line) && page.contains("it can't run"), "{page}");
    drop(node);
}

#[test]
fn runs_are_looked_through_and_a_filter_is_kept_for_all() {
    let project =
        Project::with("greet", "params: {name: {type: string}}\nsteps: [{run: 'true'}]\n");
    project.workflow("broken", "steps: [{run: 'echo no ink >&2; exit 3', retry: never}]\n");
    let node = project.up();
    let operator = Browser::new(&project, &node, "operator");
    project.call(&["run", "greet", "-p", "name=Ada <Lovelace>", "-q"]).expect(0);
    project.call(&["run", "greet", "-p", "name=Grace", "-q"]).expect(0);
    project.call(&["run", "broken", "-q"]).expect(1);
    let rows = |body: &str| body.matches("<tr data-to=\"/runs/").count();
    let count = |query: &str| rows(&operator.page(&format!("/runs{query}")));
    let asked = ["", "?q=lovelace", "?q=LOVELACE+greet", "?q=greet", "?q=brok&status=failed"];
    assert_eq!(asked.map(count), [3, 1, 1, 2, 1]);
    let nothing = operator.page("/runs?q=%3Cb%3Epear");
    assert!(nothing.contains("Nothing fits") && nothing.contains("&lt;b&gt;pear"), "{nothing}");
    let listed = |args: &[&str]| {
        let all = project.call(&[&["runs", "list", "--json"], args].concat()).expect(0).json();
        all.as_array().map(Vec::len)
    };
    assert_eq!(listed(&["--search", "no ink"]), Some(1), "the error is looked through");
    assert_eq!(listed(&["--search", "ada", "--limit", "0"]), Some(1));
    let api = Api::with_role(&project, &node, "viewer");
    let long = "x".repeat(201);
    api.get(&format!("/api/v1/runs?q={long}")).refused(400, "invalid_request");
    project.call(&["runs", "list", "--search", &long]).expect(2);

    let page = "/runs?status=failed&q=no+ink";
    let fields = "view=No+%3Cink%3E&status=failed&workflow=&parent=&q=no+ink";
    let saved = operator.send(page, "/runs/views", fields).expect(303);
    assert_eq!(saved.header("location"), Some(page));
    let viewer = Browser::new(&project, &node, "viewer");
    let body = viewer.page("/runs");
    let chip = "href=\"/runs?status=failed&amp;q=no+ink\"";
    assert!(body.contains(chip) && body.contains("No &lt;ink&gt;"), "{body}");
    assert_eq!(rows(&viewer.page(page)), 1);
    assert!(!body.contains("/runs/views"), "a viewer saves none");
    let views = api.get("/api/v1/views").expect(200).json();
    assert_eq!(views["views"][0]["filter"]["q"], "no ink", "{views}");
    assert_eq!(views["views"][0]["by"], "api (link)");
    let put = |name: &str, filter: serde_json::Value| {
        let headers = "Content-Type: application/json\r\n";
        let api = Api::with_role(&project, &node, "operator");
        api.send("PUT", &format!("/api/v1/views/{name}"), headers, &filter.to_string())
    };
    put("all", json!({})).refused(400, "invalid_request");
    // As it can be written in the list; kept as what it means now.
    put("of", json!({"parent": "last"})).expect(201);
    let views = api.get("/api/v1/views").expect(200).json();
    let last = project.call(&["runs", "show", "last", "--json"]).expect(0).json();
    assert_eq!(views["views"][1]["filter"]["parent"], last["run"], "{views}");
    put("bad", json!({"parent": "ffffffff"})).refused(404, "not_found");
    put("bad", json!({"status": "lost"})).refused(400, "invalid_request");
    put(&"x".repeat(61), json!({"status": "open"})).refused(400, "invalid_request");
    node.stop();
    // They outlive the node.
    let node = project.up();
    let operator = Browser::new(&project, &node, "operator");
    assert!(operator.page("/runs").contains("No &lt;ink&gt;"));
    operator.send(page, "/runs/views/delete", "view=No+%3Cink%3E").expect(303);
    assert!(!operator.page("/runs").contains("No &lt;ink&gt;"));
    let admin = Api::with_role(&project, &node, "admin");
    let acts = admin.get("/api/v1/audit?action=view.*").expect(200).json();
    let acts: Vec<_> =
        acts["acts"].as_array().expect("acts").iter().map(|a| &a["action"]).collect();
    assert_eq!(acts, ["view.delete", "view.put", "view.put"]);
}

#[test]
fn an_agent_is_tested_and_drained_from_its_page() {
    let project = Project::with("hello", "steps: [{run: 'true'}]\n");
    let says = "shell: |\n  echo '<b>log</b>' >&2\n  echo '{\"said\": \"<i>out</i>\"}'\nactions: {say: {}}\n";
    project.write("agents/speaker.yaml", says);
    let node = project.up();
    let page = "/agents/speaker";
    let admin = Browser::new(&project, &node, "admin");
    let fields = "action=say&params=%7B%22n%22%3A%201%7D";
    let tested = admin.send(page, "/agents/speaker/test", fields).expect(200).body;
    is_plain("the test", &tested);
    assert!(tested.contains("&lt;i&gt;out&lt;/i&gt;") && tested.contains("&lt;b&gt;log&lt;/b&gt;"));
    admin.send(page, "/agents/speaker/test", "action=say&params=7").expect(400);
    let operator = Browser::new(&project, &node, "operator");
    let body = operator.page(page);
    assert!(body.contains("Newest test") && !body.contains("/agents/speaker/test"), "{body}");
    operator.send(page, "/agents/speaker/act", "act=drain&reason=<b>new</b>").expect(303);
    let drained = operator.page(page);
    assert!(drained.contains("Resume") && drained.contains("&lt;b&gt;new&lt;/b&gt;"), "{drained}");
    assert!(!drained.contains(">Drain<"), "{drained}");
    operator.send(page, "/agents/speaker/act", "act=resume").expect(303);
    let viewer = Browser::new(&project, &node, "viewer");
    assert_eq!(viewer.page(page).matches("method=\"post\"").count(), 1);
}

#[test]
fn agents_events_and_settings_are_shown_to_those_who_may() {
    let (project, node) = shop();
    let api = Api::with_role(&project, &node, "operator");
    let run = started(&api, "hostile");
    api.ended(&run);
    let admin = Browser::new(&project, &node, "admin");
    let viewer = Browser::new(&project, &node, "viewer");
    for path in ["/agents", "/agents/shell", "/events", "/settings"] {
        let body = viewer.page(path);
        assert_eq!(body.matches("method=\"post\"").count(), 1, "{path}");
        let json = body.split("href=\"/api/v1/").nth(1).and_then(|rest| rest.split('"').next());
        api.get(&format!("/api/v1/{}", json.expect("its JSON"))).expect(200).json();
    }
    assert!(admin.page("/settings").contains("<h2>Secrets</h2>"));
    assert!(!viewer.page("/settings").contains("<h2>Secrets</h2>"), "their names are not for all");
    project.call(&["run", "asks", "--detach"]).expect(0);
    assert!(admin.page("/audit").contains("run.start"), "what was asked for on the socket is told");
    viewer.ask("/audit").expect(403);
    assert!(!viewer.page("/").contains("/audit"));
    let failures = admin.page("/events?types=step.failed");
    assert!(failures.contains("&lt;img src=x") && !failures.contains("run.created"), "{failures}");
    assert!(admin.page("/events?before=1").contains("No such event"));
    let made = admin.send("/settings", "/settings/tokens", "name=ci&role=viewer&expires_in=1d");
    let token = made.expect(200).body;
    let token = token.split("<pre class=\"value once\" tabindex=\"0\">").nth(1).expect("the token");
    let token = token.split('<').next().expect("its end");
    let header = format!("Authorization: Bearer {token}\r\n");
    let me = admin.api.send("GET", "/api/v1/me", &header, "").expect(200).json();
    assert_eq!((&me["name"], &me["role"]), (&json!("ci"), &json!("viewer")));
    let settings = admin.page("/settings");
    assert!(!settings.contains(token), "it is shown once");
    let revoke = settings.split("action=\"/settings/tokens/").find(|rest| rest.contains("/revoke"));
    let id = revoke.and_then(|rest| rest.split('/').next()).expect("an id").to_owned();
    assert!(settings.contains("ci") && !id.is_empty());
    let list = api.get("/api/v1/tokens");
    list.expect(403);
    admin
        .send(
            "/settings",
            &format!("/settings/tokens/{}/revoke", me["id"].as_str().unwrap_or(&id)),
            "",
        )
        .expect(303);
    admin.api.send("GET", "/api/v1/me", &header, "").refused(401, "unauthenticated");
}

#[test]
fn several_runs_are_changed_at_once_after_a_look() {
    let (project, node) = shop();
    let api = Api::with_role(&project, &node, "operator");
    let [one, two] = ["asks", "asks"].map(|workflow| started(&api, workflow));
    let ended = started(&api, "hostile");
    api.ended(&ended);
    let operator = Browser::new(&project, &node, "operator");
    assert!(operator.page("/runs").contains("name=\"run\""));
    let ask = format!("/runs/bulk?act=cancel&run={one}&run={two}&run={ended}");
    assert!(operator.page(&ask).contains("stays as it is"), "the ended one");
    let fields = format!("act=cancel&run={one}&run={two}&run={ended}");
    let said = operator.send(&ask, "/runs/bulk", &fields).expect(200).body;
    assert_eq!(said.matches(">done<").count(), 2, "{said}");
    assert!(said.contains("stays as it is: it is failed"), "{said}");
    for run in [&one, &two] {
        assert_eq!(api.ended(run)["status"], "failure");
    }
    let retry = format!("/runs/bulk?act=retry&run={ended}");
    let said = operator.send(&retry, "/runs/bulk", &format!("act=retry&run={ended}")).expect(200);
    let new = said.body.split("repeated by").nth(1).expect("a new run");
    let new = new.split("href=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a link");
    let compared = operator.page(&format!("{new}/compare"));
    assert!(compared.contains(&ended), "with the run that it repeats");
    let viewer = Browser::new(&project, &node, "viewer");
    assert!(!viewer.page("/runs").contains("checkbox"));
    viewer.ask(&ask).expect(403);
    operator.ask("/runs/bulk?act=explode").expect(400);
}

/// A project in which something is wrong at once, and in which everything is counted.
fn wrong() -> (Project, Node) {
    let project = Project::with("hostile", HOSTILE);
    project.write(
        "moa.yaml",
        "name: shop\ntargets: {tasks_failed: {day: {minimum: 5, maximum: 9}}}\n\
         notify: {channels: {hook: {webhook: {url: 'https://hooks.invalid/T0/hushed'}}}}\n\
         alerts: {rules: {disk: {free: 1000TiB}}}\n",
    );
    let node = project.up();
    (project, node)
}

#[test]
fn alerts_are_noticed_and_settled_on_their_page() {
    let (project, node) = wrong();
    project.call(&["jobs", "run", "alerts"]).expect(0);
    let viewer = Browser::new(&project, &node, "viewer");
    let seen = viewer.page("/alerts");
    assert!(seen.contains("disk/state") && seen.contains("critical"), "{seen}");
    assert_eq!(seen.matches("method=\"post\"").count(), 1, "a viewer only looks");
    assert!(viewer.page("/").contains("There is little room on the disk"));
    let operator = Browser::new(&project, &node, "operator");
    let ack = "act=ack&alert=disk%2Fstate&note=%3Cb%3Eon+it%3C%2Fb%3E";
    operator.send("/alerts", "/alerts", ack).expect(303);
    let noticed = operator.page("/alerts");
    assert!(noticed.contains("&lt;b&gt;on it&lt;/b&gt;"), "{noticed}");
    assert!(!noticed.contains("value=\"ack\""), "once is enough");
    operator.send("/alerts", "/alerts", "act=resolve&alert=disk%2Fstate").expect(303);
    project.call(&["jobs", "run", "alerts"]).expect(0);
    let over = operator.page("/alerts");
    assert!(over.contains("Nothing is wrong") && over.contains("api (link)"), "{over}");
    let audit = Browser::new(&project, &node, "admin").page("/audit");
    assert!(audit.contains("alert.acknowledge") && audit.contains("alert.resolve"), "{audit}");
}

#[test]
fn charts_production_and_settings_say_what_the_api_says() {
    let (project, node) = wrong();
    let api = Api::with_role(&project, &node, "admin");
    api.ended(&started(&api, "hostile"));
    project.call(&["jobs", "run", "samples"]).expect(0);
    let admin = Browser::new(&project, &node, "admin");
    for range in ["1h", "24h", "7d"] {
        let charts = admin.page(&format!("/charts?range={range}"));
        assert!(charts.contains("1 errors of 2") && charts.contains("/agents/shell"), "{charts}");
        let history = api.get(&format!("/api/v1/metrics/history?range={range}")).expect(200).json();
        assert_eq!(
            (&history["total"]["errors"], &history["total"]["failed"]),
            (&json!(1), &json!(1))
        );
    }
    admin.ask("/charts?range=2h").expect(400);
    let production = admin.page("/charts/production");
    assert!(production.contains("tasks_failed") && production.contains("at least 5"));
    assert!(admin.page("/").contains("at least 5"), "production stands on the overview");
    let config = admin.page("/settings/config");
    assert!(config.contains("moa.yaml:1") && config.contains("hooks.invalid"), "{config}");
    let told = api.get("/api/v1/config?limit=500").expect(200).body;
    for text in [&config, &told] {
        assert!(!text.contains("hushed"), "an address may hold a token");
    }
    let viewer = Browser::new(&project, &node, "viewer");
    viewer.ask("/settings/config").expect(403);
    assert!(!viewer.page("/settings").contains("/settings/config"));
}

#[test]
fn charts_go_on_over_a_restart() {
    let (project, node) = wrong();
    let api = Api::with_role(&project, &node, "viewer");
    project.call(&["run", "hostile", "-q"]).expect(1);
    project.call(&["jobs", "run", "samples"]).expect(0);
    let total = |api: &Api| {
        api.get("/api/v1/metrics/history").expect(200).json()["total"]["failed"].clone()
    };
    assert_eq!(total(&api), 1);
    node.kill();
    let node = project.up();
    assert_eq!(total(&Api::with_role(&project, &node, "viewer")), 1);
}

#[test]
fn the_inbox_has_what_waits_for_people_however_much_else_is_open() {
    let (project, node) = shop();
    project.workflow("sleeps", "steps: [{id: nap, sleep: 1h}]\n");
    let api = Api::with_role(&project, &node, "operator");
    let old: Vec<String> = (0..21).map(|_| started(&api, "asks")).collect();
    // More than any look at the newest open runs would reach.
    (0..70).for_each(|_| drop(started(&api, "sleeps")));
    let browser = Browser::new(&project, &node, "approver");
    let first = browser.until("/inbox", "21 questions");
    assert_eq!(first.matches("name=\"approved\" value=\"true\"").count(), 20, "a page has 20 runs");
    let newest = old.last().expect("a run");
    assert!(first.contains(newest) && !first.contains(&old[0]), "the newest first");
    let next = first.split("href=\"/inbox?before=").nth(1).expect("there are more");
    let next = format!("/inbox?before={}", next.split('"').next().expect("its end"));
    assert!(browser.page(&next).contains(&old[0]), "the oldest is on the second page");
    let listed = api.get("/api/v1/runs?status=open&asks=true&limit=500").expect(200).json();
    assert_eq!(listed["runs"].as_array().map(Vec::len), Some(21));
    let numbers = browser.page("/");
    assert!(numbers.contains("for a person</span><span class=\"value waiting\">21<"), "{numbers}");
    let form = "signal=approve.release&approved=true";
    browser.send(&next, &format!("/runs/{}/decide", old[0]), form).expect(303);
    api.ended(&old[0]);
    assert!(browser.page("/inbox").contains("20 questions"));
    browser.ask("/inbox?before=nothing").expect(400);
}

#[test]
fn an_agent_is_paused_and_resumed_on_its_page() {
    let (project, node) = shop();
    let operator = Browser::new(&project, &node, "operator");
    let (page, act) = ("/agents/shell", "/agents/shell/act");
    operator.send(page, act, "act=pause&reason=%3Cb%3Eaudit%3C%2Fb%3E").expect(303);
    let paused = operator.page(page);
    assert!(paused.contains("&lt;b&gt;audit&lt;/b&gt;") && paused.contains("Resume"), "{paused}");
    let api = Api::with_role(&project, &node, "operator");
    let health = api.get("/api/v1/agents/shell/health").expect(200).json();
    assert_eq!(health["status"], "paused");
    let run = started(&api, "hostile");
    operator.send(page, act, "act=resume").expect(303);
    api.ended(&run);
    project.call(&["jobs", "run", "samples"]).expect(0);
    assert!(operator.page(page).contains("50%"), "one of its two attempts failed");
    operator.send(page, act, "act=explode").expect(400);
    operator.ask("/agents/none").expect(404);
}

#[test]
fn a_stream_says_which_runs_have_changed() {
    let (project, node) = shop();
    let browser = Browser::new(&project, &node, "viewer");
    let mut stream = std::net::TcpStream::connect(&browser.api.address).expect("it listens");
    let head = format!("GET /live/stream HTTP/1.1\r\nHost: {}\r\n", browser.api.address);
    let asked = format!("{head}{}\r\n", browser.cookie);
    std::io::Write::write_all(&mut stream, asked.as_bytes()).expect("it reads");
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(stream)).map_while(Result::ok);
    assert!(lines.any(|line| line.starts_with("content-type: text/event-stream")));
    let run = started(&Api::with_role(&project, &node, "operator"), "asks");
    assert!(lines.any(|line| line.starts_with("data:") && line.contains(&run)));
    let nobody = Api::nobody(&node).get("/live/stream");
    assert_eq!(nobody.status, 401, "{nobody:?}");
}

/// The pages that every page leads to, and others that need no name.
pub fn paths_of_all() -> Vec<String> {
    let nav = moa_server::pages::NAV.iter().map(|(path, ..)| (*path).to_owned());
    nav.chain(["/calendar".to_owned()]).collect()
}

#[test]
fn a_step_that_never_started_says_since_when_it_is_ready_and_why_it_waits() {
    let step = |id: &str| format!("  - {{id: {id}, agent: press, action: print}}\n");
    let steps = ["one", "two"].map(step).concat();
    let project = Project::with("prints", &format!("mode: graph\nsteps:\n{steps}"));
    let until = "until [ -e go ]; do sleep 0.02; done";
    project.write("agents/press.yaml", &format!("command: [sh, -c, '{until}']\nconcurrency: 1\n"));
    let node = project.up();
    project.call(&["run", "prints", "--detach"]).expect(0);
    let browser = Browser::new(&project, &node, "viewer");
    let api = Api::with_role(&project, &node, "viewer");
    let run = api.get("/api/v1/runs").expect(200).json()["runs"][0]["run"].clone();
    let run = format!("/runs/{}", run.as_str().expect("a run"));
    browser.until(&format!("{run}/steps/one"), "status running");
    // The head of the page says when the run started.
    let step = |page: String, name: &str| {
        let head = format!("<h2>{name}</h2>");
        page.split_once(&head).expect("its head").1.to_owned()
    };
    let one = step(browser.page(&format!("{run}/steps/one")), "one");
    assert!(one.contains("<dt>Started</dt>") && !one.contains("Ready since"), "{one}");
    let two = step(browser.page(&format!("{run}/steps/two")), "two");
    assert!(two.contains("<dt>Ready since</dt>") && !two.contains("<dt>Started</dt>"), "{two}");
    assert!(two.contains("it waits for a free slot: press runs 1 attempts"), "{two}");
    let list = browser.page(&run);
    let row = |name: &str| {
        let start = format!("<tr data-to=\"{run}/steps/{name}\"");
        let rest = list.split_once(&start).expect("its row").1;
        rest.split_once("</tr>").expect("its end").0.to_owned()
    };
    assert!(row("one").contains("data-since") && !row("two").contains("data-since"), "{list}");
    project.write("go", "");
    let two = step(browser.until(&format!("{run}/steps/two"), "status succeeded"), "two");
    assert!(two.contains("<dt>Started</dt>") && !two.contains("Ready since"), "{two}");
}
