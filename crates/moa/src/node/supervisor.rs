//! Talks to the supervisor that started the node, if one listens: systemd's notification protocol.
//!
//! It is told when the node is ready, that it stops, and, where a watchdog is set, that the node makes
//! progress. The last one is said only after the engine's thread and the store's writing thread have
//! answered: a node that hangs goes silent and is started again. A store that refuses to write (a full
//! disk) answers, and is no reason for that: starting again would not help.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;

use super::Node;

/// Tells the supervisor; nothing happens where none listens.
fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "the supervisor can't be told");
    }
}

/// The node can be talked to.
pub fn ready(about: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(about)]);
}

/// It stops, and takes up to so long from now.
pub fn stopping(about: &str, wait: Duration) {
    let micros = u32::try_from(wait.as_micros()).unwrap_or(u32::MAX);
    let extend = NotifyState::ExtendTimeoutUsec(micros);
    tell(&[NotifyState::Stopping, NotifyState::Status(about), extend]);
}

/// Says again and again that the node makes progress, as long as it does; returns at once where no
/// watchdog is set.
pub async fn keep_alive(node: Arc<Node>) {
    let Some(limit) = sd_notify::watchdog_enabled().filter(|limit| !limit.is_zero()) else {
        return;
    };
    // Twice within the limit, as systemd advises.
    let every = limit / 2;
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match answers(every, node.is_well()).await {
            true => tell(&[NotifyState::Watchdog]),
            false => tracing::error!("the node makes no progress; the supervisor is not told"),
        }
    }
}

/// Whether something is answered in time, and with yes.
async fn answers(limit: Duration, question: impl Future<Output = bool>) -> bool {
    tokio::time::timeout(limit, question).await.unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn silence_is_no_answer() {
        let soon = Duration::from_millis(10);
        assert!(answers(soon, async { true }).await);
        assert!(!answers(soon, async { false }).await);
        assert!(!answers(soon, std::future::pending()).await);
    }
}
