//! The life of a step: its statuses, and which may follow which.
//!
//! [`StepStatus::may_become`] is the only place that knows what is legal. It is used when an event
//! is applied, when rows are loaded, and to print the diagram of the docs.

use serde::{Deserialize, Serialize};

/// Status of a step in a run.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum StepStatus {
    /// Its needs are not terminal yet.
    #[default]
    Pending = 0,
    /// Its task can be claimed.
    Ready = 1,
    /// An attempt runs, under a lease.
    Running = 2,
    /// It waits for something other than a slot: see [`WaitReason`].
    Waiting = 3,
    /// It did what it should.
    Succeeded = 4,
    /// It failed for good.
    Failed = 5,
    /// It wasn't run: see the reason.
    Skipped = 6,
    /// It was cancelled.
    Cancelled = 7,
}

impl StepStatus {
    /// Every status, in order of its number.
    pub const ALL: [StepStatus; 8] = [
        Self::Pending,
        Self::Ready,
        Self::Running,
        Self::Waiting,
        Self::Succeeded,
        Self::Failed,
        Self::Skipped,
        Self::Cancelled,
    ];

    /// Whether it never changes again.
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Skipped | Self::Cancelled)
    }

    /// The status with that number, as stores keep it.
    pub fn from_number(n: u8) -> Option<Self> {
        Self::ALL.get(usize::from(n)).copied()
    }

    /// Its name, as everywhere outside.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Ready => "ready",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether a step of this status may become `next`.
    pub fn may_become(self, next: StepStatus) -> bool {
        use StepStatus::*;
        match (self, next) {
            (Pending, Ready | Running | Waiting | Succeeded | Failed | Skipped | Cancelled) => true,
            (Ready, Running | Waiting | Failed | Skipped | Cancelled) => true,
            (Running, Ready | Waiting | Succeeded | Failed | Cancelled) => true,
            (Waiting, Ready | Running | Waiting | Succeeded | Failed | Skipped | Cancelled) => true,
            (Pending, Pending) | (Ready, Pending | Ready | Succeeded) => false,
            (Running, Pending | Running | Skipped) => false,
            (Waiting, Pending) => false,
            (Succeeded | Failed | Skipped | Cancelled, _) => false,
        }
    }
}

/// What a waiting step waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum WaitReason {
    /// The delay before the next attempt.
    Backoff = 1,
    /// The agent said when to come back.
    RateLimited = 2,
    /// A person's decision.
    Approval = 3,
    /// A signal to the run.
    Signal = 4,
    /// An event emitted anywhere.
    Event = 5,
    /// A timer of its own (`sleep`).
    Timer = 6,
    /// A run of another workflow.
    Child = 7,
    /// The steps inside it.
    Children = 8,
    /// A person, because the outcome of an action that must not be repeated is unknown.
    UnknownOutcome = 9,
}

impl WaitReason {
    /// The reason with that number, as stores keep it.
    pub fn from_number(n: u8) -> Option<Self> {
        use WaitReason::*;
        [Backoff, RateLimited, Approval, Signal, Event, Timer, Child, Children, UnknownOutcome]
            .get(usize::from(n).checked_sub(1)?)
            .copied()
    }

    /// Whether only a person ends this wait.
    pub fn asks(self) -> bool {
        matches!(self, Self::Approval | Self::Signal | Self::UnknownOutcome)
    }

    /// Its name, as everywhere outside.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Backoff => "backoff",
            Self::RateLimited => "rate_limited",
            Self::Approval => "approval",
            Self::Signal => "signal",
            Self::Event => "event",
            Self::Timer => "timer",
            Self::Child => "child",
            Self::Children => "children",
            Self::UnknownOutcome => "unknown_outcome",
        }
    }
}

/// Why a step was skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum SkipReason {
    /// Its condition was false.
    Condition = 1,
    /// Another branch was taken.
    Branch = 2,
    /// A step that it needs failed, was cancelled, or was itself skipped for this reason.
    UpstreamFailed = 3,
    /// `run_if` did not hold.
    RunIf = 4,
    /// A wait's time was over, and `on_timeout: skip`.
    Timeout = 5,
    /// The container that it stands in was skipped.
    Container = 6,
}

impl SkipReason {
    /// The reason with that number, as stores keep it.
    pub fn from_number(n: u8) -> Option<Self> {
        use SkipReason::*;
        [Condition, Branch, UpstreamFailed, RunIf, Timeout, Container]
            .get(usize::from(n).checked_sub(1)?)
            .copied()
    }

    /// Its name, as everywhere outside.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Condition => "condition",
            Self::Branch => "branch",
            Self::UpstreamFailed => "upstream_failed",
            Self::RunIf => "run_if",
            Self::Timeout => "timeout",
            Self::Container => "container",
        }
    }
}

/// Why an attempt or a step failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepError {
    /// The class, for programs.
    pub kind: ErrorKind,
    /// What happened, for people; at most `limits::ERROR_BYTES_MAX`.
    pub message: String,
}

/// Classes of failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// The agent failed and may be asked again.
    Retryable,
    /// The agent says that asking again is no use.
    Permanent,
    /// The attempt took longer than its timeout.
    Timeout,
    /// The task was ready for longer than its queue timeout.
    QueueTimeout,
    /// The node that ran the attempt died, or its lease was lost.
    Lost,
    /// An action that must not be repeated ended with an unknown outcome.
    UnknownOutcome,
    /// An expression or a template of the workflow could not be evaluated.
    Expression,
    /// The output doesn't meet its schema or a limit.
    Output,
    /// A step inside it failed.
    Children,
    /// The run that it started failed, or could not be started.
    Child,
    /// A wait's time was over.
    WaitTimeout,
    /// A person said no, or a committee.
    Rejected,
    /// Too few members of a committee voted.
    NoQuorum,
    /// A loop's or a run's limit was reached.
    Limit,
    /// The budget of its agent was used up, so the attempt was not made.
    BudgetExceeded,
    /// The attempt was cancelled.
    Cancelled,
}

impl StepError {
    /// An error whose message is cut to its limit on a character boundary.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: cut_message(message.into()) }
    }
}

/// What is said of something that failed, cut to its limit on a character boundary.
pub fn cut_message(mut message: String) -> String {
    let max = crate::limits::ERROR_BYTES_MAX;
    if message.len() > max {
        let cut = (0..=max).rev().find(|&i| message.is_char_boundary(i)).unwrap_or(0);
        message.truncate(cut);
        message.push('…');
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminal_statuses_never_change() {
        for from in StepStatus::ALL.into_iter().filter(|s| s.is_terminal()) {
            for to in StepStatus::ALL {
                assert!(!from.may_become(to), "{from:?} -> {to:?}");
            }
        }
    }

    #[test]
    fn numbers_round_trip() {
        for status in StepStatus::ALL {
            assert_eq!(StepStatus::from_number(status as u8), Some(status));
        }
        for n in 1..=9 {
            assert_eq!(WaitReason::from_number(n).map(|r| r as u8), Some(n));
        }
        for n in 1..=6 {
            assert_eq!(SkipReason::from_number(n).map(|r| r as u8), Some(n));
        }
        assert_eq!(StepStatus::from_number(8), None);
    }
}
