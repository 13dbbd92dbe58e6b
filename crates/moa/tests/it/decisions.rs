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
    // Who may not decide sees what is asked for.
    let viewer = Browser::new(&project, &node, "viewer").page(&format!("/runs/{run}"));
    assert!(viewer.contains("minimum&quot;") && !viewer.contains("name=\"p."), "{viewer}");
    let decide = |fields: &str| {
        let fields = format!("signal=approve.ask&approved=true&comment=go+%3Con%3E&{fields}");
        approver.submit(&format!("/runs/{run}"), &format!("/runs/{run}/decide"), &fields)
    };
    for (fields, why) in [
        ("p.note=hi&p.count=", "it is needed"),
        ("p.count=0&p.note=hi", "0 is less than 1"),
        ("p.count=x&p.note=hi", "is not of type integer"),
        ("p.count=2&p.where=nowhere&p.note=hi", "is not one of"),
    ] {
        let refused = decide(fields).expect(400).body;
        assert!(refused.contains(why), "{fields}: {refused}");
        // It comes again as it was filled in, with what is wrong beside the field.
        assert!(refused.contains("value=\"hi\"") && refused.contains("-wrong\""), "{refused}");
        assert!(refused.contains("value=\"go &lt;on&gt;\""), "the comment: {refused}");
        assert!(
            refused.contains("value=\"approve.ask\"") && refused.contains("autofocus"),
            "{refused}"
        );
    }
    decide("p.note=a+b&p.count=2&p.where=%3Cthere%3E").expect(303);
    project.events().until("step.succeeded", "say");
    let shown = project.call(&["runs", "show", &run, "--json"]).expect(0).json();
    let steps = shown["steps"].as_array().expect("steps");
    let form = json!({"note": "a b", "count": 2, "where": "<there>"});
    assert_eq!(steps[0]["output"]["form"], form, "{shown}");
}

#[test]
fn a_form_that_fields_cannot_check_whole_is_text_and_approved_without_them() {
    let steps = "steps:\n  - id: ask\n    approve:\n      title: Deploy?\n      form:\n\
        \x20       type: object\n        required: [size]\n\
        \x20       properties: {size: {$ref: '#/$defs/Size'}}\n\
        \x20       $defs: {Size: {type: integer}}\n";
    let project = Project::with("asks", steps);
    let node = project.up();
    let run = project.call(&["run", "asks", "--detach", "-q"]).expect(0).out.trim().to_owned();
    project.events().until("step.waiting", "ask");
    let approver = Browser::new(&project, &node, "approver");
    let page = approver.page("/inbox");
    assert!(page.contains("$defs&quot;") && !page.contains("name=\"p."), "{page}");
    let (from, to) = (format!("/runs/{run}"), format!("/runs/{run}/decide"));
    let decide = |fields: &str| approver.send(&from, &to, fields);
    for (fields, why) in [
        ("signal=approve.ask&approved=true&attempt=first", "attempt"),
        ("signal=approve.ask&approved=maybe", "approved"),
        ("signal=approve.ask", "the decision is missing"),
        ("approved=true", "the signal is missing"),
    ] {
        let refused = decide(fields).expect(400).body;
        assert!(refused.contains(why), "{fields}: {refused}");
    }
    let other = decide("signal=approve.other&approved=true").expect(409).body;
    assert!(other.contains("no step asks for that"), "{other}");
    decide("signal=approve.ask&approved=true&comment=").expect(303);
    project.events().until("step.succeeded", "ask");
    let shown = project.call(&["runs", "show", &run, "--json"]).expect(0).json();
    let output = &shown["steps"][0]["output"];
    assert_eq!((&output["approved"], output.get("form")), (&json!(true), None), "{shown}");
}

#[test]
fn what_was_typed_outlives_every_refusal_of_an_answer() {
    let steps = "steps:\n\
        \x20 - {id: ask, approve: {title: 'go?', form: {note: string}}}\n\
        \x20 - {id: hear, wait_for: {signal: paid}, depends_on: []}\n";
    let project = Project::with("asks", steps);
    let node = project.up();
    let run = project.call(&["run", "asks", "--detach", "-q"]).expect(0).out.trim().to_owned();
    project.events().until_all(&[("step.waiting", "ask"), ("step.waiting", "hear")]);
    let (from, to) = (format!("/runs/{run}"), format!("/runs/{run}/decide"));
    let answer = "signal=approve.ask&approved=true&comment=so+%3Cit+is%3E&p.note=keep+me";
    // Who may send signals, and no longer decide.
    let operator = Browser::new(&project, &node, "operator");
    let refused = operator.submit(&from, &to, answer).expect(403).body;
    for said in
        ["It is not decided: ", "approver", "value=\"so &lt;it is&gt;\"", "value=\"keep me\""]
    {
        assert!(refused.contains(said), "{said}: {refused}");
    }
    // Of a signal nothing is decided.
    let deep = format!("signal=paid&payload={}{}", "%5B".repeat(105), "%5D".repeat(105));
    let refused = operator.submit(&from, &to, &deep).expect(409).body;
    let said = "The signal is not sent: <bdi>the signal is nested more than";
    assert!(refused.contains(said) && !refused.contains("decided"), "{refused}");
    assert!(refused.contains(&"[".repeat(105)), "{refused}");
    // Somebody else was faster.
    let admin = Browser::new(&project, &node, "admin");
    admin.submit(&from, &to, "signal=approve.ask&approved=true").expect(303);
    project.events().until("step.succeeded", "ask");
    let late = admin.submit(&from, &to, answer).expect(409).body;
    for said in
        ["The answer is not taken: ", "no step asks for that", "so &lt;it is&gt;", "keep me"]
    {
        assert!(late.contains(said), "{said}: {late}");
    }
    assert!(!late.contains("approve.ask"), "only what was typed: {late}");
}
