//! Mail, over an SMTP server. Plain text; what anybody wrote stands in the body, or in one line of
//! the subject, and never in a header of its own.

use std::error::Error as _;
use std::time::Duration;

use async_trait::async_trait;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::transport::smtp::{Error, extension::ClientId};
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use moa_ports::agent::TaskError;
use serde_json::{Value as Json, json};

use super::{Deliver, Note, Secretive, Tools, text};

/// How long the server may take for each of its answers, and for all.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(90);
/// Characters of a subject, and of a body.
const SUBJECT_CHARS_MAX: usize = 200;
const BODY_CHARS_MAX: usize = 100_000;

/// Mail over an SMTP server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// The server.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is kept secret.
    pub tls: MailTls,
    /// Who logs in, and the password.
    pub login: Option<(Secretive, Secretive)>,
    /// The sender's address.
    pub from: String,
    /// Who gets it.
    pub to: Vec<String>,
}

/// How a connection to a mail server is kept secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailTls {
    /// By STARTTLS; a server that doesn't offer it gets nothing.
    Starttls,
    /// From the first byte on.
    Tls,
    /// Not at all.
    None,
}

#[async_trait]
impl Deliver for Mail {
    async fn deliver(&self, note: &Note, tools: &Tools) -> Result<Json, TaskError> {
        let message = self.message(note)?;
        let transport = self.transport(tools)?;
        let sent = tokio::time::timeout(TIMEOUT, transport.send(message)).await;
        match sent {
            Ok(Ok(_)) => Ok(json!({ "by": "mail", "to": self.to })),
            Ok(Err(error)) => Err(classify(&error)),
            Err(_) => Err(TaskError::Retryable(format!(
                "the mail server didn't take it within {TIMEOUT:?}"
            ))),
        }
    }
}

impl Mail {
    fn transport(&self, tools: &Tools) -> Result<AsyncSmtpTransport<Tokio1Executor>, TaskError> {
        let parameters = || {
            let made = TlsParameters::new(self.host.clone());
            made.map_err(|e| TaskError::Retryable(format!("no TLS: {}", told(&e))))
        };
        let tls = match self.tls {
            MailTls::Starttls => Tls::Required(parameters()?),
            MailTls::Tls => Tls::Wrapper(parameters()?),
            MailTls::None => Tls::None,
        };
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&self.host)
            .port(self.port)
            .tls(tls)
            .hello_name(ClientId::Ipv4(std::net::Ipv4Addr::LOCALHOST))
            .timeout(Some(ANSWER_TIMEOUT));
        if let Some((user, password)) = &self.login {
            let (user, password) = (tools.reveal(user)?, tools.reveal(password)?);
            builder = builder.credentials(Credentials::new(user, password));
        }
        Ok(builder.build())
    }

    fn message(&self, note: &Note) -> Result<Message, TaskError> {
        let from = mailbox(&self.from)?;
        // The same at each try, so that whoever gets it twice shows it once.
        let id = blake3::hash(format!("{}\0{}", note.channel, note.key).as_bytes()).to_hex();
        let id = format!("<{}@{}>", &id.as_str()[..32], from.email.domain());
        let subject = text::shortened(&note.headline(), SUBJECT_CHARS_MAX, |_| 1);
        let message = text::shortened(&note.message, BODY_CHARS_MAX, |_| 1);
        let body = format!("{}\n\n-- \n{}\n", text::lines(&message), note.origin());
        // Answering machines leave it alone.
        let auto = HeaderName::new_from_ascii_str("Auto-Submitted");
        let auto = HeaderValue::new(auto, "auto-generated".to_owned());
        let time = std::time::UNIX_EPOCH
            + Duration::from_millis(u64::try_from(note.time.0).unwrap_or_default());
        let mut builder = Message::builder()
            .from(from)
            .subject(subject)
            .message_id(Some(id))
            .date(time)
            .raw_header(auto)
            .header(ContentType::TEXT_PLAIN);
        for to in &self.to {
            builder = builder.to(mailbox(to)?);
        }
        builder.body(body).map_err(|e| TaskError::Permanent(format!("the mail can't be made: {e}")))
    }
}

fn mailbox(address: &str) -> Result<Mailbox, TaskError> {
    address
        .parse()
        .map_err(|e| TaskError::Permanent(format!("{address:?} is no address of mail: {e}")))
}

fn classify(error: &Error) -> TaskError {
    let why = told(error);
    match error.is_permanent() || error.is_client() {
        true => TaskError::Permanent(why),
        false => TaskError::Retryable(why),
    }
}

/// The error with what caused it, in one line.
fn told(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text::one_line(&text)
}
