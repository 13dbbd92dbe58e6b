//! A mail server: speaks SMTP (RFC 5321) on a socket of this machine, keeps what it takes, and
//! refuses what it is told to refuse.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};

use crate::harness::SAFETY_NET;

/// What a client said, and the mail that it sent, as it came.
pub struct Session {
    pub commands: Vec<String>,
    pub mail: Option<String>,
}

/// What the server answers with instead of yes, by verb: `RCPT`, `DATA`, or `.` for the mail itself.
/// Empty = it says nothing.
pub type Refusals = BTreeMap<&'static str, &'static str>;

pub struct SmtpServer {
    pub port: u16,
    sessions: Receiver<Session>,
}

impl SmtpServer {
    /// One that offers `extensions` and refuses so.
    pub fn new(extensions: &'static [&'static str], refusals: Refusals) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (sender, sessions) = channel();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (sender, refusals) = (sender.clone(), refusals.clone());
                let stream = stream.expect("a connection");
                std::thread::spawn(move || converse(stream, extensions, &refusals, &sender));
            }
        });
        Self { port, sessions }
    }

    /// The next session that has ended.
    pub fn session(&self) -> Session {
        self.sessions.recv_timeout(SAFETY_NET).expect("a session")
    }
}

fn converse(stream: TcpStream, extensions: &[&str], refusals: &Refusals, sender: &Sender<Session>) {
    let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
    let mut writer = stream;
    let mut session = Session { commands: Vec::new(), mail: None };
    let mut say = |text: &str| writer.write_all(format!("{text}\r\n").as_bytes()).is_ok();
    say("220 mail.test ESMTP");
    let mut line = String::new();
    while reader.read_line(&mut line).is_ok_and(|n| n > 0) {
        let command = std::mem::take(&mut line).trim_end().to_owned();
        let verb = command.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
        session.commands.push(command);
        let refusal = refusals.get(verb.as_str());
        match (verb.as_str(), refusal) {
            (_, Some(&"")) => true,
            (_, Some(refusal)) => say(refusal),
            ("EHLO", None) => {
                for extension in extensions {
                    say(&format!("250-{extension}"));
                }
                say("250 8BITMIME")
            }
            ("AUTH", None) => say("235 2.7.0 welcome"),
            ("DATA", None) => {
                say("354 go on");
                let mut mail = String::new();
                while reader.read_line(&mut mail).is_ok_and(|n| n > 0)
                    && !mail.ends_with("\r\n.\r\n")
                {}
                session.mail = Some(mail);
                say(refusals.get(".").unwrap_or(&"250 2.0.0 taken"))
            }
            ("QUIT", None) => {
                say("221 bye");
                break;
            }
            _ => say("250 ok"),
        };
    }
    let _ = sender.send(session);
}
