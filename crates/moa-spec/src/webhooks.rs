//! The section `webhooks` of the settings, checked: who is called when something happens.

use std::collections::BTreeMap;

use moa_core::ids::Name;
use serde::Serialize;

use crate::codes;
use crate::model::settings::{SettingsFile, SubscriptionFile};
use crate::notify::{Notify, Webhook, receiver};
use crate::read::{At, Cx};
use crate::scalar::name;

/// How the channels are called by which webhooks are delivered.
const CHANNEL: &str = "webhook-";
/// Bytes of a webhook's name at most, so that its channel has one too.
const NAME_BYTES_MAX: usize = 50;
/// Types when nothing is said of them: the ends of runs.
const ENDS: [&str; 3] = ["run.succeeded", "run.failed", "run.cancelled"];

/// Who is called when something happens.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Subscription {
    /// Where, and how it is signed.
    #[serde(flatten)]
    pub receiver: Webhook,
    /// Patterns of the types of events.
    pub types: Vec<String>,
    /// Only of runs of these workflows; empty = of all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub workflows: Vec<Name>,
    /// Whether it is called.
    pub active: bool,
}

/// The channel by which a webhook is delivered.
pub fn channel_of(webhook: &Name) -> Name {
    // Invariant: both parts are of letters that a name has, and together short enough.
    Name::new(&format!("{CHANNEL}{webhook}")).unwrap_or_else(|_| webhook.clone())
}

/// The webhook that a channel delivers, should there be one.
pub fn webhook_of(channel: &str) -> Option<Name> {
    Name::new(channel.strip_prefix(CHANNEL)?).ok()
}

/// Takes over the section.
pub(crate) fn take(
    file: &SettingsFile,
    notify: &Notify,
    all: &mut BTreeMap<Name, Subscription>,
    cx: &mut Cx,
) {
    for (key, file) in file.webhooks.iter().flat_map(|webhooks| &webhooks.0) {
        let Some(name) = name(&key.value, key.span.clone(), cx) else { continue };
        let subscription = one(file, cx);
        if name.as_str().len() > NAME_BYTES_MAX {
            let message = format!("the name of a webhook has at most {NAME_BYTES_MAX} bytes");
            cx.error(codes::WRONG_VALUE, key.span.clone(), message).help("shorten it");
            continue;
        }
        if notify.channels.contains_key(&channel_of(&name)) {
            let message = format!("the channel {CHANNEL}{name} is that of this webhook");
            let d = cx.error(codes::MISFIT, key.span.clone(), message);
            d.help("give the one in `notify.channels` another name");
        }
        all.insert(name, subscription);
    }
}

fn one(file: &SubscriptionFile, cx: &mut Cx) -> Subscription {
    let SubscriptionFile { url, secret, types, workflows, active, timeout, .. } = file;
    let types = types.as_ref().map_or_else(
        || ENDS.map(str::to_owned).to_vec(),
        |types| types.0.iter().map(|pattern| kind(pattern, cx)).collect(),
    );
    let workflows = workflows.iter().flat_map(|many| &many.0);
    Subscription {
        receiver: receiver(url, secret.as_ref(), timeout.as_ref(), cx),
        types,
        workflows: workflows.map(|name| name.value.0.clone()).collect(),
        active: active.as_ref().is_none_or(|active| active.value),
    }
}

/// A pattern of types.
fn kind(pattern: &At<String>, cx: &mut Cx) -> String {
    let fits = |c: char| c.is_ascii_lowercase() || "._*".contains(c);
    let text = &pattern.value;
    if text.is_empty() || !text.chars().all(fits) || text.matches('*').count() > 1 {
        let message = format!("{text:?} is no type of events");
        let d = cx.error(codes::WRONG_VALUE, pattern.span.clone(), message);
        d.help("write run.failed, run.* or *.failed; `moa events tail` shows types");
    }
    text.clone()
}
