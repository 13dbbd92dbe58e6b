//! Webhooks of workflows: what their files say, and the secrets that they are signed with.

use moa_core::ids::Name;
use moa_ports::agent::Secrets as _;
use moa_server::control::{Hook, Signature};
use zeroize::Zeroizing;

use super::Node;
use crate::exit::{Exit, Failure, Result};

impl Node {
    /// The webhooks of a workflow, as its file says, or said when it was good.
    pub async fn hooks(&self, workflow: &Name) -> Result<Vec<Hook>> {
        let watched = self.watched.lock().await;
        let served = watched.project.workflows.get(workflow).cloned();
        let is_broken = watched.broken.contains(workflow);
        drop(watched);
        let known = served.and_then(|served| served.triggers.clone().map(|t| t.hooks));
        let Some(known) = known else {
            return match is_broken {
                // Whoever sends it tries again: the file may be mended by then.
                true => Err(unusable("the file of this workflow has errors".into())),
                false => Ok(Vec::new()),
            };
        };
        known.into_iter().map(|hook| self.hook(hook)).collect()
    }

    fn hook(&self, hook: moa_spec::Hook) -> Result<Hook> {
        let secret = match &hook.secret {
            None => None,
            Some(name) => {
                let missing = || {
                    tracing::error!("a webhook is refused: there is no secret {name}");
                    unusable("this webhook can't be checked now".into())
                };
                let secret = self.secrets.get(name.as_str()).ok_or_else(missing)?;
                Some(Zeroizing::new(secret.trim().to_owned()))
            }
        };
        Ok(Hook {
            trigger: hook.trigger,
            event: hook.event,
            signature: match hook.signature {
                moa_spec::Signature::Standard => Signature::Standard,
                moa_spec::Signature::Github => Signature::Github,
                moa_spec::Signature::Slack => Signature::Slack,
                moa_spec::Signature::None => Signature::None,
            },
            secret,
            tolerance: hook.tolerance,
        })
    }
}

fn unusable(text: String) -> Failure {
    Failure::new(Exit::Unavailable, text)
}
