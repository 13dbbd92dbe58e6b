//! Bugs planted on purpose: proof that the simulator finds what it is there for.

/// One planted bug. Each stands between the node and the world, as if one of them were wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Plant {
    /// The store forgets a message that a commit sends.
    LostMessage,
    /// The store writes a commit that was made from an older version.
    StaleVersion,
    /// The shell answers a start before it is durable.
    EarlyAnswer,
    /// The worker does an attempt again that was cut off, without being asked.
    RepeatedAttempt,
    /// A late end of an attempt is taken for that of the one that runs now.
    NoFencing,
    /// The store says that timers are due before they are.
    EarlyTimer,
    /// An event is left out of the history.
    SwallowedEvent,
    /// One run too many gets a slot of a concurrency key.
    IgnoredLimit,
    /// The store says that it has written what it has not.
    LostWrite,
    /// The store does not look at idempotency keys.
    SecondStart,
    /// Attempts of dead nodes are never found.
    LeaseNeverLost,
    /// A node starts more attempts of an agent than it may.
    IgnoredAgentLimit,
    /// What was used of a rate is forgotten at the next look.
    ForgottenRate,
    /// A quota that is used up is forgotten at the next look.
    ForgottenQuota,
    /// What was spent of a budget is forgotten at the next look.
    ForgottenBudget,
    /// What is spent of a budget is written twice at times.
    DoubledUsage,
    /// A node does not hear that the breaker is open.
    ForgottenBreaker,
    /// A timer is not written.
    LostTimer,
    /// A row is not written.
    LostRow,
    /// A node that was asked for a few runs is given what is due of others.
    AnswersForAll,
    /// The start of a run by a trigger is not written.
    LostStart,
    /// What became of a slot is not written.
    LostSlot,
    /// It is forgotten when a trigger is due.
    LostDue,
    /// An occurrence starts two runs.
    SecondRun,
    /// Slots are started before they are due.
    EarlySlot,
    /// A node does not know that keys take turns.
    ForgottenTurns,
    /// Tasks of one of the fairness keys are not found in the store.
    HiddenKey,
    /// A slot of a paused trigger is written as started.
    PausedStart,
    /// Slots of days that don't count are written as if they did.
    CalendarStart,
    /// It is forgotten that a trigger is paused because its runs fail.
    ForgottenFailures,
    /// A node does not know what handles that a run's time is over.
    UnhandledTimeout,
    /// It is forgotten that a trigger is switched off.
    ForgottenSwitch,
    /// What an edit discards is not written.
    LostDiscard,
    /// A backfill is told that a run has failed which goes on.
    EarlyReprocess,
}

impl Plant {
    /// Every planted bug.
    pub const ALL: [Plant; 34] = [
        Self::LostMessage,
        Self::StaleVersion,
        Self::EarlyAnswer,
        Self::RepeatedAttempt,
        Self::NoFencing,
        Self::EarlyTimer,
        Self::SwallowedEvent,
        Self::IgnoredLimit,
        Self::LostWrite,
        Self::SecondStart,
        Self::LeaseNeverLost,
        Self::IgnoredAgentLimit,
        Self::ForgottenRate,
        Self::ForgottenQuota,
        Self::ForgottenBudget,
        Self::DoubledUsage,
        Self::ForgottenBreaker,
        Self::LostTimer,
        Self::LostRow,
        Self::AnswersForAll,
        Self::LostStart,
        Self::LostSlot,
        Self::LostDue,
        Self::SecondRun,
        Self::EarlySlot,
        Self::ForgottenTurns,
        Self::HiddenKey,
        Self::PausedStart,
        Self::CalendarStart,
        Self::ForgottenFailures,
        Self::UnhandledTimeout,
        Self::ForgottenSwitch,
        Self::LostDiscard,
        Self::EarlyReprocess,
    ];
}
