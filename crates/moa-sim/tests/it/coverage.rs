//! A thousand seeds: nothing is wrong in them, and they go everywhere.

use crate::run::{all, number};

/// Pairs of (status, event) that are never reached, one a line: most can't be, as what happens to a
/// step that has ended. One that leaves the list is a way that the machine did not have before; one
/// that is new in it is a way that the simulator does not go any more.
const NEVER: &str = include_str!("never.txt");

#[test]
fn a_thousand_seeds_hold_and_go_everywhere() {
    let asked = number("MOA_SIM_SEEDS");
    let seeds: Vec<u64> = (0..asked.unwrap_or(1_000)).collect();
    let summary = all(&seeds);
    println!("{}\n\n{}", summary.line(), summary.coverage);
    summary.must_hold();
    if asked.is_none() {
        let never = summary.coverage.never_hit();
        println!("never:\n{}", never.join("\n"));
        assert_eq!(never, NEVER.lines().collect::<Vec<_>>(), "see the list above");
    }
}
