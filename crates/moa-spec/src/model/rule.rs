//! A rule, key by key.

use super::on::OnFile;
use crate::read::At;
use crate::record;
use crate::scalar::NameText;

record! {
    /// A rule: a trigger that is created, changed and deleted while moa runs, by `moa rules`.
    pub struct RuleFile as "a rule" {
        /// Its name among the project's rules.
        name: Option<At<NameText>>,
        /// The workflow whose runs it starts.
        run: At<NameText>,
        /// What starts them: an entry as in `on` of a workflow, with `event`.
        on: OnFile,
    }
}
