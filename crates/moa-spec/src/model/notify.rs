//! The section `notify` of the settings: the channels by which people are told.

use std::borrow::Cow;
use std::sync::Arc;

use moa_core::ids::Name;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

use crate::choice;
use crate::codes;
use crate::read::{At, Cx, Field};
use crate::record;
use crate::scalar::{Duration, Entries, Many};
use crate::yaml::Node;

record! {
    /// Where notifications go.
    pub struct NotifyFile as "`notify`" {
        /// The channels by name.
        channels: Option<Entries<ChannelFile>>,
    }

    /// One notification channel: exactly one of these keys.
    pub struct ChannelFile as "a channel" {
        /// A file that each notification is added to as a line of JSON.
        file: Option<At<String>>,
        /// An incoming webhook of Slack, or of what understands the same.
        slack: Option<SlackFile>,
        /// Mail, over an SMTP server.
        mail: Option<MailFile>,
        /// A POST with JSON, signed as Standard Webhooks are.
        webhook: Option<WebhookFile>,
    }

    /// An incoming webhook of Slack.
    pub struct SlackFile as "`slack`" {
        /// Its address, which is a secret: `${{ secrets.NAME }}`.
        url: At<Secretive>,
    }

    /// Mail over an SMTP server.
    pub struct MailFile as "`mail`" {
        /// The server.
        host: At<String>,
        /// Its port; 587 when not given, 465 with `tls: tls`, 25 with `tls: none`.
        port: Option<At<u16>>,
        /// How the connection is kept secret; `starttls` when not given, `tls` at port 465.
        tls: Option<At<MailTls>>,
        /// Whether mails and a password may go to another machine for everybody to read.
        allow_plaintext: Option<At<bool>>,
        /// Who logs in: a text, or `${{ secrets.NAME }}`; nobody when not given.
        username: Option<At<Secretive>>,
        /// The password: `${{ secrets.NAME }}`.
        password: Option<At<Secretive>>,
        /// The sender's address.
        from: At<String>,
        /// Who gets it: an address, or a list of them.
        to: Many<At<String>>,
    }

    /// A POST with JSON.
    pub struct WebhookFile as "`webhook`" {
        /// The address: a text, or `${{ secrets.NAME }}`.
        url: At<Secretive>,
        /// What it is signed with: `${{ secrets.NAME }}`; not signed when not given.
        secret: Option<At<Secretive>>,
        /// How long the receiver may take to answer; 10s when not given.
        timeout: Option<At<Duration>>,
    }
}

choice! {
    /// How a connection to a mail server is kept secret.
    pub enum MailTls as "how mail is kept secret" {
        /// By STARTTLS, which the server must offer.
        Starttls = "starttls",
        /// From the first byte on.
        Tls = "tls",
        /// Not at all: for servers of this machine.
        None = "none",
    }
}

/// A text, or the name of a secret that is put in its place when it is needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Secretive {
    /// A text.
    Plain(String),
    /// The secret of this name.
    Secret(Name),
}

impl Field for Secretive {
    fn read(node: &Arc<Node>, cx: &mut Cx) -> Option<Self> {
        let text = cx.str(node, "text")?.to_owned();
        if !text.contains("${{") {
            return Some(Self::Plain(text));
        }
        let inner = text.trim().strip_prefix("${{").and_then(|text| text.strip_suffix("}}"));
        let name = inner.and_then(|name| Name::new(name.trim().strip_prefix("secrets.")?).ok());
        if name.is_none() {
            let message = format!("{text:?} names no secret");
            let d = cx.error(codes::WRONG_VALUE, node.span.clone(), message);
            d.help("write ${{ secrets.NAME }}, and nothing beside it");
        }
        let name = name?;
        let (value, span) = (name.to_string(), node.span.clone());
        cx.secrets.push(At { value, span });
        Some(Self::Secret(name))
    }
}

impl Serialize for Secretive {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Plain(text) => s.serialize_str(text),
            Self::Secret(name) => s.collect_str(&format_args!("${{{{ secrets.{name} }}}}")),
        }
    }
}

impl JsonSchema for Secretive {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "TextOrSecret".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "examples": ["${{ secrets.NAME }}"]})
    }
}
