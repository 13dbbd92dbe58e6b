//! Channels over which notifications go, as people see them.

use std::collections::BTreeMap;

use moa_core::ids::Name;
use moa_spec::Channel;
use moa_view::node::ChannelLine;
use serde_json::{Value as Json, json};

use crate::exit::Failure;
use crate::text;

/// All of them, by name.
pub fn lines(channels: &BTreeMap<Name, Channel>) -> Vec<ChannelLine> {
    let line = |(name, channel): (&Name, &Channel)| {
        let (kind, to) = kind(channel);
        ChannelLine { channel: name.clone(), kind_of: kind.into(), to }
    };
    channels.iter().map(line).collect()
}

/// What kind of channel it is, and where it goes; secrets are named, not shown.
fn kind(channel: &Channel) -> (&'static str, String) {
    let shown = |value: &moa_spec::Secretive| {
        let value = serde_json::to_value(value).unwrap_or_default();
        value.as_str().unwrap_or_default().to_owned()
    };
    match channel {
        Channel::File(path) => ("file", path.clone()),
        Channel::Slack(slack) => ("slack", shown(&slack.url)),
        Channel::Mail(mail) => {
            ("mail", format!("{} by {}:{}", mail.to.join(", "), mail.host, mail.port))
        }
        Channel::Webhook(webhook) => ("webhook", shown(&webhook.url)),
    }
}

/// What the agent `notify` is to send when a channel is tried.
pub fn params_of_test(channel: &Name, message: &str) -> Json {
    json!({"channel": channel, "message": message, "title": "A test of moa", "level": "info"})
}

/// There is no such channel.
pub fn unknown<'a>(name: &Name, known: impl Iterator<Item = &'a Name>) -> Failure {
    let known: Vec<&str> = known.map(Name::as_str).collect();
    let failure = Failure::not_found(format!("there is no channel {name}"));
    match text::nearest(name.as_str(), known.iter().copied()) {
        Some(near) => failure.hint(format!("did you mean {near}?")),
        None if known.is_empty() => failure.hint("`notify.channels` in moa.yaml names channels"),
        None => failure.hint(format!("there are: {}", known.join(", "))),
    }
}
