//! Rules of what has been used of agents' limits.

use moa_core::ids::Name;
use moa_core::limit::{AgentLimits, LimitState, Rate};
use moa_core::time::{Millis, Span};

use super::build::{self, batch, create, run};
use super::{Bench, Verdict, rules};
use crate::limit::{LimitRow, LimitWrite};
use crate::store::{Batch, CommitOutcome};

rules![
    what_is_used_is_kept_from_version_to_version,
    a_change_of_an_older_version_is_refused_with_the_attempts_it_counts,
    what_is_used_survives_a_restart,
];

/// So many attempts used.
fn used(attempts: i64) -> LimitState {
    let rates = vec![Rate { count: 9, span: Span::minutes(1) }];
    let limits = AgentLimits { rates, ..AgentLimits::default() };
    let mut state = LimitState::default();
    (0..attempts).for_each(|n| state.take(&limits, "post", Millis(1_000 + n)));
    state
}

fn write(agent: &str, expected: u64, state: LimitState) -> LimitWrite {
    let agent = Name::new(agent).expect("a name");
    LimitWrite { agent, expected, state, runs: Vec::new() }
}

fn row(agent: &str, version: u64, state: LimitState) -> LimitRow {
    LimitRow { agent: Name::new(agent).expect("a name"), version, state }
}

fn what_is_used_is_kept_from_version_to_version(bench: &mut Bench) -> Verdict {
    assert_eq!(bench.limits(), []);
    let first = vec![write("poster", 0, used(1)), write("caller", 0, used(4))];
    let outcome = bench.batch(Batch { limits: first, ..batch(Vec::new()) });
    assert_eq!(outcome.limits_refused, []);
    let second = vec![write("poster", 1, used(2))];
    let outcome = bench.batch(Batch { limits: second, ..batch(Vec::new()) });
    assert_eq!(outcome.limits_refused, []);
    assert_eq!(bench.limits(), [row("caller", 1, used(4)), row("poster", 2, used(2))]);
    Verdict::Passed
}

fn a_change_of_an_older_version_is_refused_with_the_attempts_it_counts(
    bench: &mut Bench,
) -> Verdict {
    bench.batch(Batch { limits: vec![write("poster", 0, used(1))], ..batch(Vec::new()) });
    let (counted, other) = (run(1), run(2));
    for stale in [0, 7] {
        let mut late = write("poster", stale, used(5));
        late.runs = vec![counted];
        let limits = vec![late, write("caller", stale / 7, used(stale as i64))];
        let commits = vec![create(build::row(counted)), create(build::row(other))];
        let outcome = bench.batch(Batch { limits, ..batch(commits) });
        assert_eq!(outcome.limits_refused, [Name::new("poster").expect("a name")]);
        assert_eq!(outcome.commits[0], CommitOutcome::Conflict);
        let again = matches!(outcome.commits[1], CommitOutcome::Applied { .. });
        assert_eq!(again, stale == 0, "another run's commit stands alone");
        assert_eq!(bench.version(counted), 0);
    }
    assert_eq!(bench.limits()[1], row("poster", 1, used(1)));
    Verdict::Passed
}

fn what_is_used_survives_a_restart(bench: &mut Bench) -> Verdict {
    bench.batch(Batch { limits: vec![write("poster", 0, used(3))], ..batch(Vec::new()) });
    if !bench.reopen() {
        return Verdict::Skipped("nothing survives a restart");
    }
    assert_eq!(bench.limits(), [row("poster", 1, used(3))]);
    Verdict::Passed
}
