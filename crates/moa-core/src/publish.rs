//! What may be published.

use std::fmt;

use crate::event::Published;
use crate::limits::{KEY_LENGTH_MAX, OUTPUT_DEPTH_MAX, SAID_BYTES_MAX, SIGNAL_BYTES_MAX};
use crate::machine::is_too_deep;

/// Why an event can't be published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Its type or its key is empty or too long.
    Named,
    /// Its source, subject or id is too long.
    Said,
    /// Its data are too large.
    TooLarge,
    /// Its data are nested too deep: what is kept could not be read again.
    TooDeep,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named => write!(f, "a type and a key have 1 to {KEY_LENGTH_MAX} bytes"),
            Self::Said => {
                write!(f, "a source, a subject and an id have at most {SAID_BYTES_MAX} bytes")
            }
            Self::TooLarge => write!(f, "the data are larger than {SIGNAL_BYTES_MAX} bytes"),
            Self::TooDeep => write!(f, "the data are nested more than {OUTPUT_DEPTH_MAX} deep"),
        }
    }
}

impl Published {
    /// Why it can't be published, whatever has been before; `None` = it can.
    pub fn fault(&self) -> Option<Fault> {
        let Self { event: kind, key, source, subject, id, by: _, data } = self;
        let fits = |text: &str| (1..=KEY_LENGTH_MAX).contains(&text.len());
        let mut said = [source, subject, id].into_iter().flatten();
        if !fits(kind) || !key.as_deref().is_none_or(fits) {
            Some(Fault::Named)
        } else if said.any(|text| text.len() > SAID_BYTES_MAX) {
            Some(Fault::Said)
        } else if is_too_deep(data) {
            Some(Fault::TooDeep)
        } else if data.to_string().len() > SIGNAL_BYTES_MAX {
            Some(Fault::TooLarge)
        } else {
            None
        }
    }
}
