//! The channels by which people are told: the section `notify` of the settings, checked.

use std::collections::BTreeMap;

use moa_core::ids::Name;
use moa_core::time::Span;
use serde::Serialize;

use crate::codes;
use crate::model::notify::{ChannelFile, MailFile, NotifyFile, SlackFile, WebhookFile};
pub use crate::model::notify::{MailTls, Secretive};
use crate::read::{At, Cx};
use crate::scalar::{Duration, name, shown_span};
use crate::settings::writable;

/// How long the receiver of a webhook may take, and how long at most.
const WEBHOOK_TIMEOUT_DEFAULT: Span = Span::seconds(10);
const WEBHOOK_TIMEOUT_MAX: Span = Span::minutes(2);
/// Who gets a mail, at most.
const RECIPIENTS_MAX: usize = 100;

/// Where notifications go.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Notify {
    /// The channels by name.
    pub channels: BTreeMap<Name, Channel>,
}

/// One notification channel.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    /// The file that each notification is added to, relative to the project.
    File(String),
    /// An incoming webhook of Slack.
    Slack(Slack),
    /// Mail.
    Mail(Box<Mail>),
    /// A POST with JSON.
    Webhook(Webhook),
}

impl Channel {
    /// The secrets that it needs.
    pub fn secrets(&self) -> impl Iterator<Item = &Name> {
        let all: Vec<&Secretive> = match self {
            Self::File(_) => Vec::new(),
            Self::Slack(slack) => vec![&slack.url],
            Self::Mail(mail) => mail.login.iter().flat_map(|(user, key)| [user, key]).collect(),
            Self::Webhook(webhook) => webhook.secret.iter().chain([&webhook.url]).collect(),
        };
        all.into_iter().filter_map(Secretive::secret)
    }
}

impl Secretive {
    /// The secret that it names, if it names one.
    pub fn secret(&self) -> Option<&Name> {
        match self {
            Self::Plain(_) => None,
            Self::Secret(name) => Some(name),
        }
    }
}

impl Webhook {
    /// The secrets that it needs.
    pub fn secrets(&self) -> impl Iterator<Item = &Name> {
        self.secret.iter().chain([&self.url]).filter_map(Secretive::secret)
    }
}

/// An incoming webhook of Slack.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Slack {
    /// Its address.
    pub url: Secretive,
}

/// Mail over an SMTP server.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Mail {
    /// The server.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is kept secret.
    pub tls: MailTls,
    /// Who logs in, and the password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub login: Option<(Secretive, Secretive)>,
    /// The sender's address.
    pub from: String,
    /// Who gets it.
    pub to: Vec<String>,
}

/// A POST with JSON.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Webhook {
    /// The address.
    pub url: Secretive,
    /// What it is signed with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<Secretive>,
    /// How long the receiver may take to answer.
    #[serde(serialize_with = "shown_span")]
    pub timeout: Span,
}

/// Takes over the section.
pub(crate) fn take(file: &NotifyFile, notify: &mut Notify, cx: &mut Cx) {
    for (key, channel) in file.channels.iter().flat_map(|channels| &channels.0) {
        let name = name(&key.value, key.span.clone(), cx);
        if let (Some(name), Some(channel)) = (name, self::channel(key, channel, cx)) {
            notify.channels.insert(name, channel);
        }
    }
}

fn channel(key: &At<String>, file: &ChannelFile, cx: &mut Cx) -> Option<Channel> {
    let path = file.file.as_ref().map(|path| {
        writable(path, "notifications/slack.jsonl", "", cx);
        Channel::File(path.value.clone())
    });
    let slack = file.slack.as_ref().map(|file| slack(file, cx));
    let mail = file.mail.as_ref().map(|file| mail(file, cx));
    let webhook = file.webhook.as_ref().map(|file| webhook(file, cx));
    let mut kinds: Vec<Channel> = [path, slack, mail, webhook].into_iter().flatten().collect();
    if kinds.len() == 1 {
        return kinds.pop();
    }
    if kinds.is_empty() && file.place.unknown | !file.place.keys.is_empty() {
        // What is wrong with the one that is there was said.
        return None;
    }
    let found = if kinds.is_empty() { "none" } else { "several" };
    let message = format!("the channel {:?} has {found} of file, slack, mail, webhook", key.value);
    let d = cx.error(codes::WRONG_VALUE, key.span.clone(), message);
    d.help("give it exactly one, such as file: notifications/team.jsonl");
    None
}

/// A value that must not stand in the file.
fn secret(value: &At<Secretive>, what: &str, cx: &mut Cx) -> Secretive {
    if let Secretive::Plain(_) = value.value {
        let message = format!("{what} is a secret, and stands here for everybody to read");
        let d = cx.error(codes::WRONG_VALUE, value.span.clone(), message);
        d.cause("moa.yaml is a file that is shared");
        d.help("write ${{ secrets.NAME }}, and NAME=... into the project's .env");
    }
    value.value.clone()
}

fn slack(file: &SlackFile, cx: &mut Cx) -> Channel {
    Channel::Slack(Slack { url: secret(&file.url, "the address of a Slack webhook", cx) })
}

fn webhook(file: &WebhookFile, cx: &mut Cx) -> Channel {
    let WebhookFile { url, secret, timeout, .. } = file;
    Channel::Webhook(receiver(url, secret.as_ref(), timeout.as_ref(), cx))
}

/// A receiver of POSTs.
pub(crate) fn receiver(
    url: &At<Secretive>,
    key: Option<&At<Secretive>>,
    timeout: Option<&At<Duration>>,
    cx: &mut Cx,
) -> Webhook {
    address_of_webhook(url, cx);
    let timeout = timeout.map_or(WEBHOOK_TIMEOUT_DEFAULT, |given| {
        if given.value.0 > WEBHOOK_TIMEOUT_MAX || given.value.0.0 == 0 {
            let message = "a receiver gets up to 2m to answer".into();
            cx.error(codes::WRONG_VALUE, given.span.clone(), message).help("write 10s");
        }
        given.value.0
    });
    Webhook {
        url: url.value.clone(),
        secret: key.map(|key| secret(key, "what a webhook is signed with", cx)),
        timeout,
    }
}

/// An address that stands in the file: it is one, and has no login in it.
fn address_of_webhook(url: &At<Secretive>, cx: &mut Cx) {
    let Secretive::Plain(text) = &url.value else { return };
    let rest = ["http://", "https://"].iter().find_map(|scheme| text.strip_prefix(scheme));
    let Some(rest) = rest else {
        let message = format!("{text:?} is no address of a webhook");
        let d = cx.error(codes::WRONG_VALUE, url.span.clone(), message);
        d.help("write https://HOST/PATH, or ${{ secrets.NAME }}");
        return;
    };
    if rest.split(['/', '?', '#', '\\']).next().is_some_and(|host| host.contains('@')) {
        secret(url, "an address with a login in it", cx);
    }
}

fn mail(file: &MailFile, cx: &mut Cx) -> Channel {
    let at_465 = file.port.as_ref().is_some_and(|port| port.value == 465);
    let by_port = if at_465 { MailTls::Tls } else { MailTls::Starttls };
    let tls = file.tls.as_ref().map_or(by_port, |tls| tls.value);
    let usual = match tls {
        MailTls::Starttls => 587,
        MailTls::Tls => 465,
        MailTls::None => 25,
    };
    if let Some(given) = file.tls.as_ref().filter(|tls| tls.value == MailTls::None)
        && !is_here(&file.host.value)
        && !file.allow_plaintext.as_ref().is_some_and(|allow| allow.value)
    {
        let message = "mail would go to another machine for everybody to read".into();
        let d = cx.error(codes::WRONG_VALUE, given.span.clone(), message);
        d.help("leave `tls` out; or write `allow_plaintext: true`, if the network is yours");
    }
    let password = file.password.as_ref().map(|value| secret(value, "a password", cx));
    let login = match (&file.username, password) {
        (Some(user), Some(password)) => Some((user.value.clone(), password)),
        (None, None) => None,
        (user, _) => {
            let span = user.as_ref().or(file.password.as_ref()).map(|value| value.span.clone());
            let message = "a login needs both `username` and `password`".into();
            cx.error(codes::WRONG_VALUE, span.unwrap_or_default(), message);
            None
        }
    };
    if file.to.0.is_empty() || file.to.0.len() > RECIPIENTS_MAX {
        let message = format!("a mail goes to 1 to {RECIPIENTS_MAX} addresses");
        cx.error(codes::WRONG_VALUE, file.from.span.clone(), message);
    }
    for at in file.to.0.iter().chain([&file.from]) {
        address(at, cx);
    }
    Channel::Mail(Box::new(Mail {
        host: file.host.value.clone(),
        port: file.port.as_ref().map_or(usual, |port| port.value),
        tls,
        login,
        from: file.from.value.clone(),
        to: file.to.0.iter().map(|to| to.value.clone()).collect(),
    }))
}

/// Whether a host is this machine.
fn is_here(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    let address: Option<std::net::IpAddr> = address.parse().ok();
    host.eq_ignore_ascii_case("localhost") || address.is_some_and(|ip| ip.is_loopback())
}

/// Reports what can't be an address of mail. The last word has the library that sends it.
fn address(at: &At<String>, cx: &mut Cx) {
    let text = &at.value;
    let bare = text.rsplit_once('<').map_or(text.as_str(), |(_, rest)| rest.trim_end_matches('>'));
    let parts = bare.rsplit_once('@');
    let good = parts.is_some_and(|(user, host)| !user.is_empty() && !host.is_empty());
    if !good || text.chars().any(char::is_control) {
        let message = format!("{text:?} is no address of mail");
        let d = cx.error(codes::WRONG_VALUE, at.span.clone(), message);
        d.help("write NAME@HOST, or Title <NAME@HOST>");
    }
}
