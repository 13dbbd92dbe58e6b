//! Notification channels.

/// The notification channels of a project.
#[derive(Debug, Clone, Default)]
pub struct Channels;
