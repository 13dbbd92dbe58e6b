//! `webhook` of an entry of `on`: how a call from outside shows who makes it.

use moa_core::ids::Name;
use moa_core::time::Span;
use moa_core::trigger::TriggerSpec;

use crate::codes;
use crate::model::notify::Secretive;
use crate::model::on::{HookFile, SignatureText};
use crate::read::Cx;

/// How old a webhook may be when its author doesn't say.
const TOLERANCE: Span = Span::minutes(5);

/// A webhook that starts runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// Its trigger's name among those of its workflow.
    pub trigger: Name,
    /// The type of the event that it is to the trigger.
    pub event: String,
    /// How it is signed.
    pub signature: Signature,
    /// The secret that it is signed with; `None` = it isn't signed.
    pub secret: Option<Name>,
    /// How old it may be, by the time that is signed.
    pub tolerance: Span,
}

/// How a webhook is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signature {
    /// As Standard Webhooks are.
    Standard,
    /// As GitHub does it.
    Github,
    /// As Slack does it.
    Slack,
    /// Not at all.
    None,
}

/// The type of the event that a webhook is to its trigger.
pub(super) fn event(workflow: &Name, name: &Name) -> String {
    format!("webhook.{workflow}.{name}")
}

/// Lowers it; `spec` is its trigger.
pub(super) fn hook(file: &HookFile, spec: &TriggerSpec, cx: &mut Cx) -> Option<Hook> {
    let signature = match file.signature.as_ref().map(|text| text.value) {
        None | Some(SignatureText::Standard) => Signature::Standard,
        Some(SignatureText::Github) => Signature::Github,
        Some(SignatureText::Slack) => Signature::Slack,
        Some(SignatureText::None) => Signature::None,
    };
    let place = file.place.span.clone();
    let secret = match (signature, &file.secret) {
        (Signature::None, None) => None,
        (Signature::None, Some(secret)) => {
            let message = "`secret` means nothing with `signature: none`".into();
            let d = cx.error(codes::MISFIT, secret.span.clone(), message);
            d.help("take it out, or say how the webhook is signed");
            return None;
        }
        (_, None) => {
            let message = "this webhook doesn't say what it is signed with".into();
            let d = cx.error(codes::MISSING_KEY, place, message);
            d.cause("without a signature whoever reaches the address starts runs");
            d.help("write `secret: ${{ secrets.NAME }}`, or `signature: none` if that is wanted");
            return None;
        }
        (_, Some(secret)) => match &secret.value {
            Secretive::Secret(name) => Some(name.clone()),
            Secretive::Plain(_) => {
                let message = "a secret doesn't stand in a file of the project".into();
                let d = cx.error(codes::WRONG_VALUE, secret.span.clone(), message);
                d.help("write `${{ secrets.NAME }}`, and set it with `moa secrets set NAME`");
                return None;
            }
        },
    };
    if let (Some(span), Signature::Github | Signature::None) =
        (file.place.key("tolerance"), signature)
    {
        let message = "`tolerance` means nothing here: no time is signed".into();
        cx.error(codes::MISFIT, span, message).help("take it out");
    }
    Some(Hook {
        trigger: spec.name.clone(),
        event: event(&spec.workflow, &spec.name),
        signature,
        secret,
        tolerance: file.tolerance.as_ref().map_or(TOLERANCE, |span| span.value.0),
    })
}
