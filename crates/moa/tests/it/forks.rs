//! New runs with other params, from the form of an ended run's page.

use serde_json::{Value as Json, json};

use crate::http::Api;
use crate::pages::Browser;
use crate::project::Project;

const PACK: &str = "params:\n\
    \x20 name: {type: string, required: true}\n\
    \x20 size: {type: integer, minimum: 1, default: 1}\n\
    \x20 notes: {type: string, required: false}\n\
    \x20 any: {required: false}\n\
    \x20 list: {type: array, required: false}\n\
    \x20 maybe: {type: [integer, 'null'], required: false}\n\
    steps:\n\
    \x20 - {id: one, run: 'echo one >> made'}\n\
    \x20 - {id: two, run: 'echo two >> made', depends_on: [one]}\n";

/// A run with params of each kind.
fn first(project: &Project) -> String {
    let args = ["name=<b>Ada</b>", "notes=one\ntwo", "list=[1,{\"a\":2}]"];
    let args: Vec<&str> = args.iter().flat_map(|arg| ["-p", arg]).collect();
    project.write("params.json", "{\"any\": \"5\"}");
    let all = [&["run", "pack", "-q", "--params", "params.json"][..], &args].concat();
    project.call(&all).expect(0);
    last(project)["run"].as_str().expect("an id").to_owned()
}

fn last(project: &Project) -> Json {
    project.call(&["runs", "show", "last", "--json"]).expect(0).json()
}

/// The fields of the form on a page, as a browser sends them: names and values.
fn fields(page: &str) -> Vec<(String, String)> {
    let form = page.split("<form").find(|form| form.contains("name=\"p.")).expect("a form");
    let form = form.split("</form>").next().expect("its end");
    let plain = |text: &str| {
        [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&amp;", "&")]
            .iter()
            .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
    };
    let mut all = Vec::new();
    for tag in form.split('<').skip(1) {
        let (head, inside) = tag.split_once('>').unwrap_or((tag, ""));
        let value = |name: &str| {
            let rest = head.split(&format!(" {name}=\"")).nth(1)?;
            Some(plain(rest.split('"').next()?))
        };
        let Some(name) = value("name").filter(|name| name != "csrf") else { continue };
        match head.split(' ').next() {
            Some("input") => all.push((name, value("value").unwrap_or_default())),
            // The first line break is the tag's; others come back as those of forms.
            Some("textarea") => {
                let text = plain(inside);
                let text = text.strip_prefix('\n').unwrap_or(&text);
                all.push((name, text.replace('\n', "\r\n")));
            }
            _ => {}
        }
    }
    all
}

/// A form's body, with some values changed.
fn body(fields: &[(String, String)], changes: &[(&str, &str)]) -> String {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in fields {
        let changed = changes.iter().find(|(of, _)| of == name);
        form.append_pair(name, changed.map_or(value, |(_, value)| value));
    }
    for (name, value) in changes {
        if !fields.iter().any(|(of, _)| of == name) {
            form.append_pair(name, value);
        }
    }
    form.finish()
}

#[test]
fn the_form_holds_what_the_run_had_and_a_new_one_differs_by_what_is_changed() {
    let project = Project::with("pack", PACK);
    let node = project.up();
    let run = first(&project);
    let had = last(&project)["params"].clone();
    assert_eq!((&had["any"], &had["notes"]), (&json!("5"), &json!("one\ntwo")));
    let operator = Browser::new(&project, &node, "operator");
    let api = Api::with_role(&project, &node, "viewer");
    let path = format!("/runs/{run}/fork");
    assert!(operator.page(&format!("/runs/{run}")).contains(&format!("href=\"{path}\"")));
    let page = operator.page(&path);
    assert!(page.contains("value=\"&lt;b&gt;Ada&lt;/b&gt;\""), "{page}");
    let fields = fields(&page);
    let made = |changes: &[(&str, &str)]| {
        let sent = operator.send(&path, &path, &body(&fields, changes)).expect(303);
        let to = sent.header("location").expect("the new run").to_owned();
        let new = to.trim_start_matches("/runs/").to_owned();
        api.ended(&new);
        api.get(&format!("/api/v1/runs/{new}/document")).expect(200).json()
    };
    let same = made(&[]);
    assert_eq!(same["params"], had, "what nobody changes stays, to the type of each value");
    assert_ne!(same["run"], run);
    assert_eq!(made(&[])["run"], same["run"], "sent twice, it makes one run");
    let other = made(&[("p.size", "3"), ("key", "other")]);
    let mut wanted = had.clone();
    wanted["size"] = 3.into();
    assert_eq!((&other["params"], &other["cause"]), (&wanted, &json!("api (link)")));
    let bare = made(&[("p.notes", ""), ("p.size", ""), ("key", "bare")]);
    assert_eq!((&bare["params"]["notes"], &bare["params"]["size"]), (&Json::Null, &json!(1)));
    let wrong = [("p.size", "0"), ("p.name", "<mine>"), ("p.notes", ""), ("from", "two")];
    let wrong = body(&self::fields(&page), &[&wrong[..], &[("key", "wrong")]].concat());
    let refused = operator.submit(&path, &path, &wrong).expect(400).body;
    for said in [
        "No run was started",
        "href=\"#p.size\"",
        "0 is less than 1",
        "value=\"&lt;mine&gt;\"",
        "value=\"0\"",
        "<option value=\"two\" selected>",
    ] {
        assert!(refused.contains(said), "{said}: {refused}");
    }
    assert!(!refused.contains("one\ntwo") && refused.contains("value=\"wrong\""), "{refused}");
    assert_eq!(refused.matches("aria-invalid").count(), 1, "what stays is right: {refused}");
    // Mended, it is sent as it stands there.
    let mended = body(&self::fields(&refused), &[("p.size", "4"), ("from", "")]);
    let sent = operator.send(&path, &path, &mended).expect(303);
    let new = sent.header("location").expect("the new run").trim_start_matches("/runs/");
    let mended = api.get(&format!("/api/v1/runs/{new}/document")).expect(200).json();
    let params = json!({"name": "<mine>", "size": 4, "any": "5", "list": had["list"]});
    assert_eq!(mended["params"], params);
    operator.send(&path, &path, &body(&fields, &[("p.name", ""), ("key", "none")])).expect(400);
}

#[test]
fn a_value_that_is_too_large_for_a_form_stays_as_it_was() {
    let project = Project::with("pack", PACK);
    let node = project.up();
    let list: Vec<Json> = (0..6000).map(|n| json!({"n": n, "s": "\"{}"})).collect();
    let notes = "é\n".repeat(4000);
    let had = json!({"name": "Ada", "size": 1, "list": list, "notes": notes});
    assert!(had.to_string().len() > 120 << 10);
    project.write("params.json", &had.to_string());
    project.call(&["run", "pack", "-q", "--params", "params.json"]).expect(0);
    let run = last(&project)["run"].as_str().expect("an id").to_owned();
    let operator = Browser::new(&project, &node, "operator");
    let api = Api::with_role(&project, &node, "viewer");
    let path = format!("/runs/{run}/fork");
    let page = operator.page(&path);
    assert!(page.contains("It stays as it was") && page.contains("too large for a form"), "{page}");
    let fields = fields(&page);
    let holds = |name: &str| fields.iter().any(|(of, _)| of == name);
    assert!(holds("p.notes") && !holds("p.list"), "what doesn't fit is left out");
    let made = |changes: &[(&str, &str)]| {
        let sent = operator.send(&path, &path, &body(&fields, changes)).expect(303);
        let new = sent.header("location").expect("the new run").trim_start_matches("/runs/");
        api.ended(new);
        api.get(&format!("/api/v1/runs/{new}/document")).expect(200).json()["params"].clone()
    };
    assert_eq!(made(&[]), had);
    let mut wanted = had.clone();
    wanted["name"] = "Bob".into();
    assert_eq!(made(&[("p.name", "Bob"), ("key", "other")]), wanted);
    // Nobody can name what the run did not have.
    let hostile = [("kept", "any"), ("key", "hostile")];
    assert_eq!(made(&hostile)["any"], Json::Null);
}

#[test]
fn from_a_step_on_the_new_run_takes_over_the_others() {
    let project = Project::with("pack", PACK);
    let node = project.up();
    let run = first(&project);
    let operator = Browser::new(&project, &node, "operator");
    let path = format!("/runs/{run}/fork");
    let step = operator.page(&format!("/runs/{run}/steps/two"));
    assert!(step.contains(&format!("href=\"{path}?from=two\"")), "{step}");
    let page = operator.page(&format!("{path}?from=two"));
    assert!(page.contains("<option value=\"two\" selected>"), "{page}");
    let sent = body(&fields(&page), &[("p.size", "2"), ("from", "two")]);
    let sent = operator.send(&path, &path, &sent).expect(303);
    let new = sent.header("location").expect("the new run").trim_start_matches("/runs/").to_owned();
    let api = Api::with_role(&project, &node, "viewer");
    api.ended(&new);
    assert_eq!(project.read("made"), "one\ntwo\ntwo\n", "the first step is not done again");
    let document = api.get(&format!("/api/v1/runs/{new}/document")).expect(200).json();
    assert_eq!((&document["forked_from"], &document["params"]["size"]), (&json!(run), &json!(2)));
    let none = body(&fields(&page), &[("from", "three"), ("key", "none")]);
    let refused = operator.submit(&path, &path, &none).expect(404).body;
    assert!(refused.contains("No run was started: ") && refused.contains("Ada"), "{refused}");
    operator.ask(&format!("{path}?from=three")).expect(404);
}

#[test]
fn who_may_not_start_runs_is_offered_no_new_one() {
    let project = Project::with("pack", PACK);
    project.workflow("asks", "steps: [{id: ask, approve: {title: 'go on?'}}]\n");
    let node = project.up();
    let run = first(&project);
    let viewer = Browser::new(&project, &node, "viewer");
    let path = format!("/runs/{run}/fork");
    assert!(!viewer.page(&format!("/runs/{run}")).contains(&path));
    viewer.ask(&path).expect(403);
    let operator = Browser::new(&project, &node, "operator");
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let headers = format!("{}{form}", operator.cookie);
    operator.api.send("POST", &path, &headers, "from=").refused(403, "csrf_missing");
    let api = Api::with_role(&project, &node, "operator");
    let open = api.post("/api/v1/runs", &json!({"workflow": "asks"})).expect(201).json();
    let open = open["run"].as_str().expect("an id");
    let page = operator.page(&format!("/runs/{open}/fork"));
    assert!(page.contains("It has not ended"), "{page}");
}

#[test]
fn defaults_that_are_too_large_for_a_form_hold_where_their_fields_are_left_empty() {
    let large: Vec<u32> = (100_000..160_000).collect();
    let text = format!(
        "params:\n  all: {{type: array, default: {large:?}}}\n  note: {{type: string, default: {}}}\n  \
         small: {{type: integer, default: 7}}\nsteps: [{{id: say, agent: noop, action: done}}]\n\
         outputs: {{n: 'size(params.all)', note: 'size(params.note)', small: params.small}}\n",
        "é".repeat(60_000)
    );
    let project = Project::with("large", &text);
    let node = project.up();
    let operator = Browser::new(&project, &node, "operator");
    let page = operator.page("/workflows/large");
    assert_eq!(page.matches("that is too large for a form").count(), 2, "{}", page.len());
    assert!(!page.contains("100000") && !page.contains("éé"), "{}", page.len());
    let start = |fields: &str| {
        let sent = operator.send("/workflows/large", "/workflows/large/start", fields).expect(303);
        let run = sent.header("location").expect("a run").trim_start_matches("/runs/").to_owned();
        operator.until(&format!("/runs/{run}"), "succeeded");
        let path = format!("/api/v1/runs/{run}/document");
        let had = operator.api.send("GET", &path, &operator.cookie, "").expect(200).json();
        let params = &had["params"];
        let all = params["all"].as_array().map(Vec::len);
        let note = params["note"].as_str().map(|note| note.chars().count());
        (all, note, params["small"].as_u64())
    };
    let usual = start("key=a&p.all=&p.note=&p.small=7");
    assert_eq!(usual, (Some(60_000), Some(60_000), Some(7)));
    let other = start("key=b&p.all=%5B1%5D&p.note=&p.small=8");
    assert_eq!(other, (Some(1), Some(60_000), Some(8)));
}

#[test]
fn the_form_hides_secrets_of_the_schemas_and_says_nothing_untrue_of_values() {
    let params = "params:\n  code: {type: string, pattern: '^hunter2two-[0-9]+$', required: true}\n\
        \x20 size: {type: integer, default: 2}\n";
    let project = Project::with("shop", &format!("{params}steps: [{{id: one, run: 'true'}}]\n"));
    project.write(".env", "PASS=hunter2two\n");
    project.write("agents/mailer.yaml", "command: [x]\nenv: {P: \"${{ secrets.PASS }}\"}\n");
    let node = project.up();
    project.call(&["run", "shop", "-q", "-p", "code=hunter2two-7"]).expect(0);
    let run = last(&project)["run"].as_str().expect("an id").to_owned();
    let operator = Browser::new(&project, &node, "operator");
    let path = format!("/runs/{run}/fork");
    let page = operator.page(&path);
    assert!(page.contains("***") && !page.contains("^hunter2two"), "{page}");
    // What fits is not said to be wrong because of what is hidden.
    let fields = fields(&page);
    let wrong = |changes: &[(&str, &str)]| {
        operator.submit(&path, &path, &body(&fields, changes)).expect(400).body
    };
    let other = wrong(&[("p.code", "hunter2two-8"), ("p.size", "many")]);
    assert_eq!(other.matches("aria-invalid").count(), 1, "{other}");
    assert!(other.contains("href=\"#p.size\"") && !other.contains("href=\"#p.code\""), "{other}");
    // What doesn't is.
    let wrong = wrong(&[("p.code", "guessed")]);
    assert!(wrong.contains("href=\"#p.code\"") && wrong.contains("is a secret"), "{wrong}");
    assert!(!wrong.contains("hunter2two"), "{wrong}");
    let made = body(&fields, &[("p.code", "hunter2two-9")]);
    operator.send(&path, &path, &made).expect(303);
}
