//! What is no channel any more, or is switched off: nothing is delivered over it, and nothing that was
//! to be counts as delivered.

use async_trait::async_trait;
use moa_ports::agent::TaskError;
use serde_json::Value as Json;

use super::{Deliver, Note, Tools};

/// A channel that delivers nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Off {
    /// Why, for people.
    pub why: String,
    /// Whether it may be back soon, so that it is worth another try.
    pub may_return: bool,
}

#[async_trait]
impl Deliver for Off {
    async fn deliver(&self, _note: &Note, _tools: &Tools) -> Result<Json, TaskError> {
        let why = self.why.clone();
        Err(if self.may_return { TaskError::Retryable(why) } else { TaskError::Permanent(why) })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use moa_core::ids::Name;
    use moa_core::time::{Millis, Span};

    use super::super::{Channel, Channels, Shared};
    use super::Off;

    #[test]
    fn a_webhook_that_was_just_taken_away_may_be_back_and_is_given_up_later() {
        let name = |text| Name::new(text).expect("a name");
        let file = Channel::File("there".into());
        let there = || Channels { declared: BTreeMap::from([(name("webhook-a"), file.clone())]) };
        let (mut shared, start) = (Shared::default(), Millis(1_000_000));
        let may_return = |shared: &Shared, name: &Name, at| match shared.channel(name, at) {
            Channel::Off(Off { may_return, .. }) => Some(may_return),
            _ => None,
        };
        let (a, b) = (name("webhook-a"), name("webhook-b"));
        shared.replace(there(), start);
        shared.replace(Channels::default(), start);
        // Another change meanwhile, of something else.
        shared.replace(Channels::default(), start.after(Span::seconds(30)));
        let last = Millis(start.0 + 59_999);
        assert_eq!(may_return(&shared, &a, last), Some(true));
        assert_eq!(may_return(&shared, &a, start.after(Span::minutes(1))), Some(false));
        assert_eq!(may_return(&shared, &b, start), Some(false));
        shared.replace(there(), last);
        assert_eq!(shared.channel(&a, last), file);
        // Others are files of their name.
        assert!(matches!(shared.channel(&name("ops"), last), Channel::File(_)));
    }
}
