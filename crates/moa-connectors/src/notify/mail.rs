//! Mail, over an SMTP server. Plain text; what anybody wrote stands in the body, or in one line of
//! the subject, and never in a header of its own.

use std::error::Error as _;
use std::time::Duration;

use async_trait::async_trait;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message};
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, TlsParameters};
use lettre::transport::smtp::commands::Auth;
use lettre::transport::smtp::{Error, extension::ClientId};
use moa_ports::agent::TaskError;
use serde_json::{Value as Json, json};

use super::{Deliver, Note, Secretive, Tools, text};

/// How long the server may take to be there, for the login, for all of the mail, for the goodbye.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
const MAIL_TIMEOUT: Duration = Duration::from_secs(60);
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(2);
/// The ways to log in, and questions of a server that are answered.
const MECHANISMS: [Mechanism; 2] = [Mechanism::Plain, Mechanism::Login];
const CHALLENGES_MAX: usize = 10;
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
        let login = match &self.login {
            Some((user, password)) => Some((tools.reveal(user)?, tools.reveal(password)?)),
            None => None,
        };
        let mut connection = self.connect().await?;
        if let Some((user, password)) = login {
            let credentials = Credentials::new(user, password);
            within(ANSWER_TIMEOUT, "the login", log_in(&mut connection, &credentials)).await?;
        }
        let (envelope, bytes) = (message.envelope().clone(), message.formatted());
        within(MAIL_TIMEOUT, "the mail", connection.send(&envelope, &bytes)).await?;
        // It has the mail: how it takes the goodbye changes nothing.
        let _ = tokio::time::timeout(GOODBYE_TIMEOUT, connection.abort()).await;
        Ok(json!({ "by": "mail", "to": self.to }))
    }
}

/// Waits for the server, but not without end: a connection alone says nothing.
async fn within<T>(
    limit: Duration,
    what: &str,
    step: impl Future<Output = Result<T, Error>>,
) -> Result<T, TaskError> {
    match tokio::time::timeout(limit, step).await {
        Ok(done) => done.map_err(|error| classify(&error)),
        Err(_) => {
            let why = format!("the mail server gave no answer to {what} within {limit:?}");
            Err(TaskError::Retryable(why))
        }
    }
}

/// Logs in. Unlike the library's own, it takes no for an answer at once: it doesn't wait for a
/// goodbye of a server that has refused.
async fn log_in(
    connection: &mut AsyncSmtpConnection,
    credentials: &Credentials,
) -> Result<(), Error> {
    let offered = connection.server_info().get_auth_mechanism(&MECHANISMS);
    let Some(mechanism) = offered else {
        // Says so.
        return connection.auth(&MECHANISMS, credentials).await.map(drop);
    };
    let mut response = connection.command(Auth::new(mechanism, credentials.clone(), None)?).await?;
    for _ in 0..CHALLENGES_MAX {
        if !response.has_code(334) {
            return Ok(());
        }
        let answer = Auth::new_from_response(mechanism, credentials.clone(), &response)?;
        response = connection.command(answer).await?;
    }
    Ok(())
}

impl Mail {
    /// A connection that is as secret as it has to be.
    async fn connect(&self) -> Result<AsyncSmtpConnection, TaskError> {
        let parameters = || {
            let made = TlsParameters::new(self.host.clone());
            made.map_err(|e| TaskError::Retryable(format!("no TLS: {}", told(&e))))
        };
        let wrapper = match self.tls {
            MailTls::Tls => Some(parameters()?),
            MailTls::Starttls | MailTls::None => None,
        };
        let hello = ClientId::Ipv4(std::net::Ipv4Addr::LOCALHOST);
        let server = (self.host.as_str(), self.port);
        let limit = Some(ANSWER_TIMEOUT);
        let connecting = AsyncSmtpConnection::connect_tokio1(server, limit, &hello, wrapper, None);
        let mut connection = within(ANSWER_TIMEOUT, "the connection", connecting).await?;
        if self.tls == MailTls::Starttls {
            let encrypting = connection.starttls(parameters()?, &hello);
            within(ANSWER_TIMEOUT, "STARTTLS", encrypting).await?;
        }
        Ok(connection)
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
