//! Two runs beside each other, and a run as it was: for people, programs and on the command line.

use serde_json::{Value as Json, json};

use crate::http::Api;
use crate::pages::Browser;
use crate::project::Project;

/// A workflow whose runs differ by their params, in a value, a state and a number of attempts.
const PACK: &str = "params:\n  name: {type: string}\n  size: {type: integer, default: 1}\n\
    steps:\n\
    \x20 - {id: same, run: 'echo always'}\n\
    \x20 - {id: label, run: \"printf '{\\\"size\\\":%s,\\\"to\\\":\\\"%s\\\",\\\"a\\\":1}' \
        ${{ params.size }} '${{ params.name }}'\", depends_on: [same]}\n\
    \x20 - {id: big, condition: params.size > 1, run: \"echo '\\\"big\\\"'\"}\n\
    \x20 - {id: tried, run: \"echo try >&2; [ ${{ params.size }} = 1 ] || [ -e tried ] || { touch tried; exit 1; }\", \
        retry: {max_attempts: 2, delay: 1ms}}\n";

/// Two ended runs of it, the older one first.
fn two(project: &Project) -> [String; 2] {
    let args = [["name=Ada", "size=1"], ["name=<b>Bob</b>", "size=2"]];
    args.map(|[name, size]| {
        project.call(&["run", "pack", "-p", name, "-p", size, "-q"]).expect(0);
        let run = project.call(&["runs", "show", "last", "--json"]).expect(0).json();
        run["run"].as_str().expect("an id").to_owned()
    })
}

#[test]
fn what_differs_between_two_runs_is_told_to_people_and_programs() {
    let project = Project::with("pack", PACK);
    let node = project.up();
    let [old, new] = two(&project);
    let api = Api::with_role(&project, &node, "viewer");
    let path = format!("/api/v1/runs/{new}/compare");
    let found = api.get(&path).expect(200).json();
    assert_eq!(found, api.get(&format!("{path}?with={old}")).expect(200).json());
    let change = |path: &str| {
        let all = found["changes"].as_array().expect("changes");
        let found = all.iter().find(|change| change["path"] == path);
        found.map(|change| (change["left"].clone(), change["right"].clone()))
    };
    let bob = json!("<b>Bob</b>");
    assert_eq!(change("/params/name"), Some((json!("Ada"), bob.clone())));
    assert_eq!(change("/steps/label/output/to"), Some((json!("Ada"), bob)));
    assert_eq!(change("/steps/label/output/a"), None);
    assert_eq!(change("/steps/big/status"), Some((json!("skipped"), json!("succeeded"))));
    assert_eq!(change("/steps/big/output"), Some((Json::Null, json!("big"))));
    assert_eq!(change("/steps/tried/attempts"), Some((json!(1), json!(2))));
    let steps: Vec<(&str, bool)> = found["steps"]
        .as_array()
        .expect("steps")
        .iter()
        .map(|step| (step["step"].as_str().expect("a name"), step["differs"] == true))
        .collect();
    let wanted = [("label", true), ("big", true), ("tried", true), ("same", false)];
    assert_eq!(steps, wanted, "those that differ first");

    let viewer = Browser::new(&project, &node, "viewer");
    let page = viewer.page(&format!("/runs/{new}/compare"));
    assert!(page.contains("3 steps differ") && page.contains("1 step is the same"), "{page}");
    let marked = |class: &str, text: &str| {
        page.split(&format!("class=\"line {class}\""))
            .skip(1)
            .any(|rest| rest.split("\n</span>").next().is_some_and(|line| line.ends_with(text)))
    };
    assert!(marked("bad", "</span>  &quot;to&quot;: &quot;Ada&quot;"), "{page}");
    assert!(marked("add", "</span>  &quot;to&quot;: &quot;&lt;b&gt;Bob&lt;/b&gt;&quot;"), "{page}");
    assert!(page.contains("1 attempt there, 2 attempts here"), "{page}");
    assert!(page.contains(&format!("href=\"{path}?with={old}\"")), "its JSON");
    let same = viewer.page(&format!("/runs/{new}/compare?with={new}"));
    assert!(same.contains("Nothing differs") && same.contains("4 steps are the same"), "{same}");
    let first = viewer.page(&format!("/runs/{old}/compare"));
    assert!(first.contains("There is no older run"), "{first}");
    api.get(&format!("/api/v1/runs/{old}/compare")).refused(404, "not_found");
    viewer.ask(&format!("/runs/{new}/compare?with=ffffffff")).expect(404);
    api.get(&format!("{path}?with=ffffffff")).refused(404, "not_found");

    let said = project.call(&["runs", "compare", &new]).expect(1).out;
    for line in ["-   \"name\": \"Ada\",", "+   \"name\": \"<b>Bob</b>\",", "1 step is the same"] {
        assert!(said.contains(line), "{line}: {said}");
    }
    assert_eq!(project.call(&["runs", "compare", &new, "--json"]).expect(1).json(), found);
    project.call(&["runs", "compare", &new, "--with", &new]).expect(0);
    for args in [&["runs", "compare", &old][..], &["runs", "compare", &old, "--json"]] {
        let none = project.call(args).expect(4);
        assert!(none.err.contains("no other run of this workflow"), "{}", none.err);
    }
    project.call(&["runs", "compare", &new, "--with", "ffffffff"]).expect(4);
}

#[test]
fn why_a_step_was_skipped_is_told_in_the_words_of_the_other_pages() {
    let fails = "params:\n  fail: {type: boolean}\n\
        steps:\n\
        \x20 - {id: bad, run: \"! ${{ params.fail }}\", retry: never}\n\
        \x20 - {id: after, run: 'true', depends_on: [bad]}\n";
    let project = Project::with("fails", fails);
    let node = project.up();
    project.call(&["run", "fails", "-p", "fail=true", "-q"]).expect(1);
    project.call(&["run", "fails", "-p", "fail=false", "-q"]).expect(0);
    let words = "a step that it needs failed";
    let viewer = Browser::new(&project, &node, "viewer");
    let page = viewer.page("/runs/last/compare");
    assert!(page.contains(&format!("<p>Skipped there: {words}.</p>")), "{page}");
    assert!(!page.contains("upstream_failed") && !page.contains("no reason"), "{page}");
    let found = project.call(&["runs", "compare", "last", "--json"]).expect(1).json();
    let step = found["steps"].as_array().and_then(|all| all.iter().find(|s| s["step"] == "after"));
    let left = &step.expect("the step")["left"];
    assert_eq!(left["reason"], "upstream_failed", "programs keep its name");
    assert_eq!(left["why"], Json::Null, "and get no other");
    let said = project.call(&["runs", "compare", "last"]).expect(1).out;
    assert!(said.contains(&format!("skipped ({words})")), "{said}");
}

#[test]
fn another_priority_is_a_difference_that_is_shown() {
    let project = Project::with("say", "steps: [{id: one, run: 'echo one'}]\n");
    let node = project.up();
    let api = Api::with_role(&project, &node, "operator");
    for priority in ["low", "high"] {
        let new = json!({"workflow": "say", "priority": priority});
        let run = api.post("/api/v1/runs", &new).expect(201).json();
        api.ended(run["run"].as_str().expect("an id"));
    }
    let found = api.get("/api/v1/runs/last/compare").expect(200).json();
    let wanted = json!([{"path": "/priority", "left": "low", "right": "high", "cut": false}]);
    assert_eq!((&found["equal"], &found["changes"]), (&json!(false), &wanted));
    let sides = (&found["left"]["priority"], &found["right"]["priority"]);
    assert_eq!(sides, (&json!("low"), &json!("high")));
    let said = project.call(&["runs", "compare", "last"]).expect(1).out;
    assert!(
        said.contains("~ priority low → high") && said.contains("1 step is the same"),
        "{said}"
    );
    let page = Browser::new(&project, &node, "viewer").page("/runs/last/compare");
    assert!(page.contains("<dt>Priority</dt><dd>low there, high here</dd>"), "{page}");
}

#[test]
fn of_very_many_steps_that_differ_the_first_are_told_in_lines() {
    let items: Vec<usize> = (0..105).collect();
    let each = format!(
        "params:\n  name: {{type: string}}\n\
         steps:\n\
         \x20 - id: each\n    foreach: {{in: '{items:?}', as: n}}\n    \
         steps: [{{id: one, run: ': ${{{{ params.name }}}}'}}]\n"
    );
    let project = Project::with("each", &each);
    let node = project.up();
    for name in ["name=Ada", "name=Bob"] {
        project.call(&["run", "each", "-p", name, "-q"]).expect(0);
    }
    let said = project.call(&["runs", "compare", "last"]).expect(1).out;
    assert_eq!(said.matches("~ one[").count(), 105, "all are named: {said}");
    assert_eq!(said.matches("Bob").count(), 50 + 1, "of the first ones, and of the params");
    let page = Browser::new(&project, &node, "viewer").page("/runs/last/compare");
    assert_eq!(page.matches("Bob").count(), 100 + 1, "{page}");
    let found = project.call(&["runs", "compare", "last", "--json"]).expect(1).json();
    let changes = found["changes"].as_array().expect("changes");
    assert!(changes.len() > 105 && found["left_out"] == 0, "{found}");
}

#[test]
fn a_run_is_compared_with_no_run_that_may_not_be_seen() {
    let project = Project::with("pack", PACK);
    project.workflow("other", "steps: [{id: one, run: 'echo hushed'}]\n");
    let node = project.up();
    let [_, run] = two(&project);
    project.call(&["run", "other", "-q"]).expect(0);
    let other = project.call(&["runs", "show", "last", "--json"]).expect(0).json();
    let other = other["run"].as_str().expect("an id");
    let scoped = Api::with_scopes(&project, &node, "viewer", &["runs:pack"]);
    scoped.get(&format!("/api/v1/runs/{run}/compare")).expect(200);
    let refused = scoped.get(&format!("/api/v1/runs/{run}/compare?with={other}"));
    assert!(
        [403, 404].contains(&refused.status) && !refused.body.contains("hushed"),
        "{refused:?}"
    );
}

/// The version of a run after the first event of this type, about this step if one is given.
fn version(api: &Api, run: &str, kind: &str, step: Option<&str>) -> u64 {
    let history = api.get(&format!("/api/v1/runs/{run}/history")).expect(200).json();
    let events = history["events"].as_array().expect("events").clone();
    let found = events.into_iter().find(|event| {
        event["type"] == format!("moa.{kind}") && step.is_none_or(|step| event["subject"] == step)
    });
    found.expect("it happened")["runversion"].as_u64().expect("a version")
}

#[test]
fn a_step_is_shown_as_it_was_at_an_event() {
    let project = Project::with("pack", PACK);
    project.workflow("asks", "steps:\n  - {id: ask, approve: {title: 'go on?'}}\n");
    let node = project.up();
    let operator = Browser::new(&project, &node, "operator");
    let api = Api::with_role(&project, &node, "approver");
    let started = Api::with_role(&project, &node, "operator");
    let started = started.post("/api/v1/runs", &json!({"workflow": "asks"})).expect(201).json();
    let run = started["run"].as_str().expect("an id");
    let steps = format!("/api/v1/runs/{run}/steps");
    api.until(&steps, |all| all["steps"][0]["status"] == "waiting");
    let signal = json!({"name": "approve.ask", "payload": {"approved": true}});
    api.post(&format!("/api/v1/runs/{run}/signal"), &signal).expect(200);
    api.ended(run);
    let at = version(&api, run, "step.waiting", Some("ask"));
    let then = operator.page(&format!("/runs/{run}?at={at}"));
    let step = format!("/runs/{run}/steps/ask");
    let link = format!("href=\"{step}?at={at}\"");
    assert_eq!(then.matches(&link).count(), 2, "from the drawing and from the list: {then}");
    let page = operator.page(&format!("{step}?at={at}"));
    assert!(page.contains(&format!("As it was at version {at}")), "{page}");
    assert!(page.contains(&format!("href=\"{step}\">Now</a>")), "{page}");
    assert!(page.contains(&format!("href=\"{step}?at={}\">One on", at + 1)), "{page}");
    assert!(page.contains("<h2>ask</h2><span class=\"status waiting\">"), "{page}");
    assert!(!page.contains("data-since"), "no clock goes on: {page}");
    assert_eq!(page.matches("method=\"post\"").count(), 1, "the past can't be changed: {page}");
    let told = api.get(&format!("{steps}/ask?at={at}")).expect(200).json();
    assert_eq!((&told["version"], &told["step"]["status"]), (&json!(at), &json!("waiting")));
    let now = operator.page(&step);
    assert!(now.contains("<h2>ask</h2><span class=\"status succeeded\">"), "{now}");
    assert!(now.contains("Run again from here"), "{now}");
    let whole = api.get(&format!("/api/v1/runs/{run}/document?at={at}")).expect(200).json();
    assert_eq!((&whole["version"], &whole["status"]), (&json!(at), &json!("waiting")));
    for part in ["", "/timeline", "/data"] {
        let page = operator.page(&format!("/runs/{run}{part}?at={at}"));
        assert!(page.contains("As it was at version") && !page.contains("data-since"), "{page}");
    }
    operator.ask(&format!("{step}?at=10000")).expect(404);
    operator.ask(&format!("/runs/{run}/steps/none?at={at}")).expect(404);
    api.get(&format!("{steps}/none")).refused(404, "not_found");
}

#[test]
fn of_a_step_of_the_past_later_attempts_are_not_told() {
    let project = Project::with("pack", PACK);
    let node = project.up();
    let [_, run] = two(&project);
    let api = Api::with_role(&project, &node, "viewer");
    let at = version(&api, &run, "step.started", Some("tried"));
    let step = format!("/api/v1/runs/{run}/steps/tried");
    let attempts = |query: &str| {
        let told = api.get(&format!("{step}{query}")).expect(200).json();
        let all = told["step"]["attempts"].as_array().expect("attempts").clone();
        all.iter().map(|one| one["outcome"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(attempts(&format!("?at={at}")), [Json::Null], "one, which goes on");
    assert_eq!(attempts(""), ["failed", "succeeded"]);
    let viewer = Browser::new(&project, &node, "viewer");
    let page = viewer.page(&format!("/runs/{run}/steps/tried?at={at}"));
    assert!(!page.contains("?attempt=") && page.contains("It went on"), "{page}");
    assert!(viewer.page(&format!("/runs/{run}/steps/tried")).contains("?attempt=1"));
}

#[test]
fn logs_are_shown_when_the_history_is_deleted() {
    let project = Project::with("pack", PACK);
    project.write("moa.yaml", "name: shop\nretention: {history: {age: 1s}}\n");
    let node = project.up();
    let [_, run] = two(&project);
    let api = Api::with_role(&project, &node, "viewer");
    let path = format!("/api/v1/runs/{run}/history");
    while api.get(&path).expect(200).body.contains("moa.step.started") {
        project.call(&["jobs", "run", "retention"]).expect(0);
    }
    let viewer = Browser::new(&project, &node, "viewer");
    let step = format!("/runs/{run}/steps/tried");
    for (query, number) in [("?attempt=1", 1), ("?attempt=2", 2), ("", 2)] {
        let page = viewer.page(&format!("{step}{query}"));
        let said = page.split(&format!("Log of attempt {number}")).nth(1).expect("its log");
        assert!(said.contains("try\n</pre>"), "{said}");
    }
    assert!(!viewer.page(&format!("{step}?attempt=3")).contains("Log of attempt"));
}

#[test]
fn a_step_that_came_later_was_not_there_yet() {
    let each = "steps:\n  - {id: first, run: 'true'}\n  - id: each\n    depends_on: [first]\n    foreach: {in: '[1, 2]', as: n}\n    \
        steps: [{id: one, run: 'echo ${{ n }}'}]\n";
    let project = Project::with("each", each);
    let node = project.up();
    project.call(&["run", "each", "-q"]).expect(0);
    let viewer = Browser::new(&project, &node, "viewer");
    let page = viewer.page("/runs/last/steps/one%5B1%5D?at=1");
    assert!(page.contains("It was not there yet") && page.contains(">Now</a>"), "{page}");
    assert!(viewer.page("/runs/last/steps/one%5B1%5D").contains("echo 2"));
}
