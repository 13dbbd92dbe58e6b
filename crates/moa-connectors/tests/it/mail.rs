//! Mail, by a server that speaks SMTP.

use std::collections::BTreeMap;

use moa_connectors::{Channel, Channels, Mail, MailTls, Secretive};
use moa_core::step::ErrorKind;
use moa_ports::agent::Task;
use serde_json::{Value as Json, json};

use crate::harness::{World, failed, name, output};
use crate::smtp_server::{Refusals, SmtpServer};

type Login = Option<(Secretive, Secretive)>;

fn world(server: &SmtpServer, tls: MailTls, login: Login) -> World {
    let mail = Mail {
        host: "127.0.0.1".into(),
        port: server.port,
        tls,
        login,
        from: "moa <moa@example.com>".into(),
        to: vec!["duty@example.com".into(), "Second <second@example.com>".into()],
    };
    let declared = BTreeMap::from([(name("duty"), Channel::Mail(Box::new(mail)))]);
    World::with_channels(Channels { declared })
}

fn send(world: &World, title: &str, message: &str) -> Task {
    let params =
        json!({"channel": "duty", "title": title, "message": message, "level": "critical"});
    let mut task = world.task("notify", params);
    task.action = "send".to_owned();
    task
}

/// The headers of a mail, with folded lines put together.
fn headers(mail: &str) -> Vec<String> {
    let (head, _) = mail.split_once("\r\n\r\n").expect("a body");
    head.replace("\r\n ", " ").replace("\r\n\t", " ").split("\r\n").map(str::to_owned).collect()
}

fn header<'a>(headers: &'a [String], name: &str) -> &'a str {
    let mut found = headers.iter().filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    let value = found.next().unwrap_or_else(|| panic!("no {name}: {headers:?}"));
    assert_eq!(found.next(), None, "{name} twice");
    value
}

#[test]
fn a_mail_says_what_happened_and_is_the_same_at_each_try() {
    let server = SmtpServer::new(&[], Refusals::new());
    let world = world(&server, MailTls::None, None);
    let task = send(&world, "Letters are late", "Two of three.\n.\nThe end");
    let sent: Json = output(world.run(task.clone()));
    assert_eq!((&sent["by"], &sent["to"][0]), (&json!("mail"), &json!("duty@example.com")));
    let first = server.session();
    let wanted = ["MAIL FROM:<moa@example.com>", "RCPT TO:<duty@example.com>"];
    assert!(wanted.iter().all(|w| first.commands.iter().any(|c| c.starts_with(w))));
    assert!(first.commands.iter().any(|c| c == "RCPT TO:<second@example.com>"));
    let mail = first.mail.expect("a mail");
    let head = headers(&mail);
    assert_eq!(header(&head, "Subject"), "[critical] Letters are late");
    assert_eq!(header(&head, "Auto-Submitted"), "auto-generated");
    assert!(header(&head, "Content-Type").starts_with("text/plain"));
    // A full stop alone on a line doesn't end the mail.
    assert!(mail.contains("Two of three.\r\n..\r\nThe end"), "{mail}");
    assert!(mail.contains("flow, step step, run "), "{mail}");

    output(world.run(task));
    let again = headers(&server.session().mail.expect("a mail"));
    assert_eq!(header(&again, "Message-ID"), header(&head, "Message-ID"));
}

#[test]
fn hostile_texts_make_no_headers_and_no_commands() {
    let server = SmtpServer::new(&[], Refusals::new());
    let world = world(&server, MailTls::None, None);
    let evil =
        "x\r\nBcc: victim@example.com\r\n\r\n<script>\u{1b}[2J\r\n.\r\nRCPT TO:<v@example.com>";
    output(world.run(send(&world, evil, evil)));
    let session = server.session();
    assert!(
        session.commands.iter().all(|c| !c.contains("<v@example.com>")),
        "{:?}",
        session.commands
    );
    let mail = session.mail.expect("a mail");
    let head = headers(&mail);
    assert!(!head.iter().any(|line| line.starts_with("Bcc")), "{head:?}");
    assert!(header(&head, "Subject").contains("x Bcc: victim@example.com <script>"), "{head:?}");
    assert!(!mail.contains('\u{1b}'), "{mail}");

    // Long ones are cut, in a subject more than in a body.
    let long = "ü".repeat(1 << 20);
    output(world.run(send(&world, &long, &long)));
    let mail = server.session().mail.expect("a mail");
    assert!(mail.len() < 1 << 20, "{} bytes", mail.len());
    assert!(header(&headers(&mail), "Subject").len() < 4000);
    assert!(mail.lines().all(|line| line.len() < 1000));
}

#[test]
fn what_the_server_says_tells_whether_to_try_again() {
    let refusing = |verb, with| {
        let server = SmtpServer::new(&[], Refusals::from([(verb, with)]));
        let world = world(&server, MailTls::None, None);
        let kind = if with.starts_with('5') { ErrorKind::Permanent } else { ErrorKind::Retryable };
        let why = failed(kind, world.run(send(&world, "t", "m")));
        assert!(why.starts_with("channel `duty`: ") && why.contains("why not"), "{why}");
    };
    refusing("RCPT", "550 5.1.1 why not");
    refusing("RCPT", "450 4.2.1 why not");
    refusing("DATA", "554 5.7.1 why not");
    refusing(".", "452 4.3.1 why not");
    refusing("MAIL", "421 4.3.2 why not");

    let mut gone = SmtpServer::new(&[], Refusals::new());
    gone.port = 1;
    let world = world(&gone, MailTls::None, None);
    failed(ErrorKind::Retryable, world.run(send(&world, "t", "m")));
}

#[test]
fn nothing_is_said_in_the_open_that_should_be_secret() {
    let secret = || Some((Secretive::Plain("moa".into()), Secretive::Secret(name("TOKEN"))));
    // Somebody in between takes the offer of STARTTLS out of the answer.
    let server = SmtpServer::new(&["AUTH PLAIN LOGIN"], Refusals::new());
    let world = world(&server, MailTls::Starttls, secret());
    failed(ErrorKind::Permanent, world.run(send(&world, "t", "m")));
    let session = server.session();
    let told = |verb: &str| session.commands.iter().any(|c| c.starts_with(verb));
    assert!(!told("AUTH") && !told("MAIL") && session.mail.is_none(), "{:?}", session.commands);

    // Or refuses it.
    let refusals = Refusals::from([("STARTTLS", "454 4.7.0 no TLS today")]);
    let server = SmtpServer::new(&["STARTTLS", "AUTH PLAIN"], refusals);
    let world = self::world(&server, MailTls::Starttls, secret());
    failed(ErrorKind::Retryable, world.run(send(&world, "t", "m")));
    assert!(server.session().commands.iter().all(|c| !c.starts_with("AUTH")));
}

#[test]
fn a_login_is_made_and_its_password_never_shown() {
    let login = || Some((Secretive::Plain("moa".into()), Secretive::Secret(name("TOKEN"))));
    let server = SmtpServer::new(&["AUTH PLAIN"], Refusals::new());
    let world = world(&server, MailTls::None, login());
    output(world.run(send(&world, "t", "m")));
    assert!(server.session().commands.iter().any(|c| c.starts_with("AUTH PLAIN ")));

    let refusals = Refusals::from([("AUTH", "535 5.7.8 not with topsecret-7f3c9e")]);
    let server = SmtpServer::new(&["AUTH PLAIN"], refusals);
    let world = self::world(&server, MailTls::None, login());
    let why = failed(ErrorKind::Permanent, world.run(send(&world, "t", "m")));
    assert!(why.contains("not with ***"), "{why}");

    let missing = Some((Secretive::Plain("moa".into()), Secretive::Secret(name("NONE"))));
    let world = self::world(&server, MailTls::None, missing);
    let why = failed(ErrorKind::Permanent, world.run(send(&world, "t", "m")));
    assert!(why.contains("there is no secret `NONE`"), "{why}");
}

#[test]
fn a_refused_password_is_told_at_once_whatever_the_server_does_then() {
    let login = || Some((Secretive::Plain("moa".into()), Secretive::Secret(name("TOKEN"))));
    // It asks for the name, refuses what it gets, and doesn't say goodbye.
    let refusals =
        Refusals::from([("AUTH", "334 VXNlcm5hbWU6"), ("BW9H", "535 5.7.8 wrong"), ("QUIT", "")]);
    let server = SmtpServer::new(&["AUTH LOGIN"], refusals);
    let world = world(&server, MailTls::None, login());
    let why = failed(ErrorKind::Permanent, world.run(send(&world, "t", "m")));
    assert!(why.contains("(535)") && why.contains("wrong"), "{why}");
    assert!(!server.session().commands.iter().any(|c| c.starts_with("MAIL")));
}

#[test]
fn a_server_that_says_nothing_to_a_login_is_not_waited_for_without_end() {
    let login = Some((Secretive::Plain("moa".into()), Secretive::Secret(name("TOKEN"))));
    let server = SmtpServer::new(&["AUTH PLAIN"], Refusals::from([("AUTH", "")]));
    let world = world(&server, MailTls::None, login);
    let why = failed(ErrorKind::Retryable, world.run(send(&world, "t", "m")));
    assert!(why.contains("no answer to the login"), "{why}");
}
