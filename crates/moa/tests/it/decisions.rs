//! Approvals that take more than a yes: their forms, as the dashboard shows and checks them.

use serde_json::json;

use crate::pages::Browser;
use crate::project::Project;

#[test]
fn an_approval_is_decided_with_its_form() {
    let steps = "steps:\n  - id: ask\n    approve:\n      title: Deploy?\n      form:\n\
        \x20       note: string\n        count: {type: integer, minimum: 1, required: true}\n\
        \x20       where: {enum: [here, '<there>'], default: here}\n\
        \x20 - {id: say, run: \"echo '${{ ask.output.form.count + 1 }}'\", depends_on: [ask]}\n";
    let project = Project::with("asks", steps);
    let node = project.up();
    let run = project.call(&["run", "asks", "--detach", "-q"]).expect(0).out.trim().to_owned();
    project.events().until("step.waiting", "ask");
    let approver = Browser::new(&project, &node, "approver");
    for path in ["/inbox".to_owned(), format!("/runs/{run}")] {
        let page = approver.page(&path);
        assert!(page.contains("name=\"p.note\"") && page.contains("type=\"number\""), "{page}");
        assert!(
            page.contains("value=\"&lt;there&gt;\"") && page.contains("formnovalidate"),
            "{page}"
        );
        assert!(!page.contains("minimum&quot;"), "not as text: {page}");
    }
    let decide = |fields: &str| {
        let fields = format!("signal=approve.ask&approved=true&comment=&{fields}");
        approver.send(&format!("/runs/{run}"), &format!("/runs/{run}/decide"), &fields)
    };
    for (fields, why) in [
        ("p.note=hi&p.count=", "the field `count` is missing"),
        ("p.count=0", "`count`"),
        ("p.count=x", "`count`"),
        ("p.count=2&p.where=nowhere", "`where`"),
    ] {
        let refused = decide(fields).expect(400).body;
        assert!(refused.contains(why), "{fields}: {refused}");
    }
    decide("p.note=a+b&p.count=2&p.where=%3Cthere%3E").expect(303);
    project.events().until("step.succeeded", "say");
    let shown = project.call(&["runs", "show", &run, "--json"]).expect(0).json();
    let steps = shown["steps"].as_array().expect("steps");
    let form = json!({"note": "a b", "count": 2, "where": "<there>"});
    assert_eq!(steps[0]["output"]["form"], form, "{shown}");
}
