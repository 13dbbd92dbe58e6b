//! Whoever else answers: nobody, a web page, another host, somebody hostile.

use std::io::Write;
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};

use super::Elsewhere;
use super::breaks::read_request;
use crate::project::Project;

/// Gives these answers, one after another, the last again and again; tells the requests.
fn answers(answers: Vec<String>) -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let (sender, requests) = channel();
    std::thread::spawn(move || {
        let mut given = 0;
        for client in listener.incoming().map_while(Result::ok) {
            let Some(request) = read_request(&client) else { continue };
            let _ = sender.send(String::from_utf8_lossy(&request).into_owned());
            // The command may have had enough of it.
            let _ = (&client).write_all(answers[given.min(answers.len() - 1)].as_bytes());
            given += 1;
        }
    });
    (url, requests)
}

fn answer(status: &str, head: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n{head}\r\n{body}"
    )
}

const JSON: &str = "Content-Type: application/json\r\n";
const PROBLEM: &str = "Content-Type: application/problem+json\r\n";

#[test]
fn nobody_and_strangers_are_said_to_be_so() {
    let nobody = Elsewhere::at("http://127.0.0.1:9", "t");
    let said = nobody.call(&["runs", "list"]).expect(6);
    assert!(said.err.contains("http://127.0.0.1:9 can't be reached"), "{}", said.err);
    assert!(said.err.contains("the node is chosen by MOA_URL"), "{}", said.err);

    let page = answer("200 OK", "Content-Type: text/html\r\n", "<h1>hello</h1>");
    let (url, _) = answers(vec![page]);
    let said = Elsewhere::at(&url, "t").call(&["runs", "list"]).expect(5);
    assert!(said.err.contains("is no moa: it answers with a web page"), "{}", said.err);

    let old = r#"{"code":"not_found","detail":"there is no such path"}"#;
    let (url, _) = answers(vec![answer("404 Not Found", PROBLEM, old)]);
    let said = Elsewhere::at(&url, "t").call(&["runs", "list"]).expect(5);
    assert!(said.err.contains("is an older moa"), "{}", said.err);

    for (address, code) in [("ftp://x", 2), ("moa.example.com", 2), ("http://u:p@x", 2)] {
        let said = Elsewhere::at(address, "t").call(&["runs", "list"]).expect(code);
        assert!(said.err.contains("address"), "{}", said.err);
    }
}

#[test]
fn a_token_is_for_one_address_alone() {
    let (other, requests) = answers(vec![answer("200 OK", JSON, "[]")]);
    let to = answer("307 Temporary Redirect", &format!("Location: {other}/api/v1/rows\r\n"), "");
    let (url, first) = answers(vec![to]);
    let said = Elsewhere::at(&url, "secret-token").call(&["runs", "list"]).expect(5);
    assert!(said.err.contains("the token is for the first alone"), "{}", said.err);
    assert!(first.recv().expect("it was asked").contains("Bearer secret-token"));
    assert!(requests.try_recv().is_err(), "the other one was asked");
    assert!(!said.err.contains("secret-token"), "{}", said.err);
}

#[test]
fn a_busy_node_is_waited_for() {
    let busy = r#"{"code":"too_many_requests","detail":"too many requests"}"#;
    let (url, requests) = answers(vec![
        answer("429 Too Many Requests", &format!("{PROBLEM}Retry-After: 1\r\n"), busy),
        answer("200 OK", JSON, "[]"),
    ]);
    Elsewhere::at(&url, "t").call(&["runs", "list"]).expect(0);
    assert_eq!(requests.try_iter().count(), 2);
    let long = answer("429 Too Many Requests", &format!("{PROBLEM}Retry-After: 999999\r\n"), busy);
    let (url, _) = answers(vec![long]);
    let said = Elsewhere::at(&url, "t").call(&["runs", "list"]).expect(6);
    assert!(said.err.contains("too many requests"), "{}", said.err);
}

/// A page of secrets.
fn secrets(name: &str, next: &str) -> String {
    let secret = format!(
        "{{\"name\":\"{name}\",\"state\":\"set\",\"source\":null,\"error\":null,\"hidden\":[],\
         \"changed_at\":null,\"used_by\":[]}}"
    );
    answer("200 OK", JSON, &format!("{{\"secrets\":[{secret}],\"next\":{next}}}"))
}

#[test]
fn lists_are_read_to_their_end_if_they_have_one() {
    let pages = vec![secrets("ONE", "\"ONE\""), secrets("TWO", "null")];
    let (url, requests) = answers(pages);
    let said = Elsewhere::at(&url, "t").call(&["secrets", "list", "--json"]).expect(0).json();
    let names = said.as_array().expect("a list").iter().map(|row| row["name"].clone());
    assert_eq!(names.collect::<Vec<_>>(), ["ONE", "TWO"]);
    let asked: Vec<String> = requests.try_iter().collect();
    assert!(asked[0].starts_with("GET /api/v1/secrets?limit=500 "), "{asked:?}");
    assert!(asked[1].starts_with("GET /api/v1/secrets?limit=500&cursor=ONE "), "{asked:?}");

    let (url, _) = answers(vec![secrets("ONE", "\"ONE\"")]);
    let said = Elsewhere::at(&url, "t").call(&["secrets", "list"]).expect(5);
    assert!(said.err.contains("a list that has no end"), "{}", said.err);

    // A node of before pages.
    let (url, _) = answers(vec![answer("200 OK", JSON, "{\"secrets\":[]}")]);
    Elsewhere::at(&url, "t").call(&["secrets", "list"]).expect(0);
    for odd in ["[]", "{}", "{\"secrets\":7}", "\"x\""] {
        let (url, _) = answers(vec![answer("200 OK", JSON, odd)]);
        let said = Elsewhere::at(&url, "t").call(&["secrets", "list"]).expect(5);
        assert!(said.err.contains("isn't understood"), "{}", said.err);
    }
}

#[test]
fn no_terminal_obeys_what_a_node_says() {
    let evil = "\\u001b]0;evil\\u0007\\u001b[2J";
    let row = format!(
        "[{{\"run\":\"01a20056-8580-859b-b94d-81da82f824a1\",\"workflow\":\"w\",\"hash\":\"{}\",\
         \"status\":\"failed\",\"cause\":\"{evil}\",\"parent\":null,\"created_at\":0,\
         \"started_at\":null,\"finished_at\":null,\"error\":\"{evil}\"}}]",
        "0".repeat(64)
    );
    let (url, _) = answers(vec![answer("200 OK", JSON, &row)]);
    let said = Elsewhere::at(&url, "t").call(&["runs", "list", "-n", "1"]).expect(0);
    assert!(said.out.contains("evil") && !said.out.contains('\x1b'), "{:?}", said.out);

    let problem = format!(
        "{{\"code\":\"invalid_files\",\"detail\":\"{evil}\",\"text\":\"{evil}\",\
         \"place\":\"{evil}\",\"hints\":[\"{evil}\"]}}"
    );
    let (url, _) = answers(vec![answer("422 Unprocessable Entity", PROBLEM, &problem)]);
    let said = Elsewhere::at(&url, "t").call(&["runs", "list"]).expect(3);
    assert!(said.err.contains("evil") && !said.err.contains('\x1b'), "{:?}", said.err);
}

#[test]
fn a_wrong_token_and_none_are_told_apart() {
    let project = Project::with("hello", "steps: [{id: say, run: echo log}]\n");
    let node = project.up();
    let mut there = Elsewhere::new(&project, &node, "viewer");
    there.token = "moa_wrong".into();
    let said = there.call(&["runs", "list"]).expect(5);
    assert!(said.err.contains("does not know the token of MOA_TOKEN"), "{}", said.err);
    assert!(!said.err.contains("moa_wrong"), "{}", said.err);
    there.token.clear();
    let said = there.call(&["runs", "list"]).expect(5);
    assert!(said.err.contains("wants to know who asks"), "{}", said.err);
}
