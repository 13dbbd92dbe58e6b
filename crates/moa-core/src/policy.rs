//! Small pure decisions about what crosses runs: order in the queue, admission of runs.

use crate::ids::RunId;
use crate::time::Millis;
use crate::workflow::{OnLimit, Priority};

/// How much longer a task must have waited to overtake one of the next higher priority.
pub const AGING_MS: i64 = 10 * 60 * 1000;

/// Place of a task in the queue; less is sooner. Priority first, then age; a task overtakes the next
/// higher priority once it has waited [`AGING_MS`] longer, so nothing starves. The key doesn't change
/// with time, so a plain index keeps the order.
pub fn queue_key(priority: Priority, ready_at: Millis) -> i64 {
    ready_at.0.saturating_add(priority as i64 * AGING_MS)
}

/// What a new run with a concurrency key does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// Takes a slot and starts.
    Start,
    /// Waits, pending.
    Queue,
    /// Isn't created.
    Skip,
    /// Waits, and these are cancelled first.
    QueueAfterCancelling(Vec<RunId>),
}

/// Decides about a new run, given who holds slots of its key and who waits for one (in order).
pub fn admit(on_limit: OnLimit, limit: u32, holders: &[RunId], queued: &[RunId]) -> Admission {
    if holders.len() < limit as usize && queued.is_empty() {
        return Admission::Start;
    }
    match on_limit {
        OnLimit::Queue => Admission::Queue,
        OnLimit::Skip => Admission::Skip,
        OnLimit::CancelRunning => Admission::QueueAfterCancelling(holders.to_vec()),
        OnLimit::ReplacePending => Admission::QueueAfterCancelling(queued.to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn low_priority_overtakes_after_the_aging_time() {
        let low = queue_key(Priority::Low, Millis(0));
        assert!(queue_key(Priority::Critical, Millis(0)) < low);
        assert!(queue_key(Priority::Critical, Millis(3 * AGING_MS - 1)) < low);
        assert!(queue_key(Priority::Critical, Millis(3 * AGING_MS + 1)) > low);
    }

    #[test]
    fn admission_follows_the_policy() {
        let (a, b, c) = (RunId(1), RunId(2), RunId(3));
        assert_eq!(admit(OnLimit::Queue, 2, &[a], &[]), Admission::Start);
        assert_eq!(admit(OnLimit::Queue, 1, &[a], &[]), Admission::Queue);
        assert_eq!(admit(OnLimit::Skip, 1, &[a], &[]), Admission::Skip);
        // A free slot belongs to who waits already.
        assert_eq!(admit(OnLimit::Queue, 2, &[a], &[b]), Admission::Queue);
        let cancelled = admit(OnLimit::CancelRunning, 1, &[a], &[b]);
        assert_eq!(cancelled, Admission::QueueAfterCancelling(vec![a]));
        let replaced = admit(OnLimit::ReplacePending, 1, &[a], &[b, c]);
        assert_eq!(replaced, Admission::QueueAfterCancelling(vec![b, c]));
    }
}
