//! How several votes become one decision. Pure: the machine collects the ballots, this counts them.

use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use crate::expr::Program;

/// The rules of a committee. Its members are the steps inside it, in order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Committee {
    /// Expression over a member's `output` that gives its vote: true = for, false = against, null =
    /// it abstains. Absent = the member's `output.approved`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vote: Option<Program>,
    /// One for each member.
    pub seats: Vec<Seat>,
    /// Votes for or against that there must be.
    pub quorum: u32,
    /// Share of the weight of the votes cast, above 0 and to 1, that must be for it.
    pub threshold: f64,
    /// Whether more than that share is needed, not just as much.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub strict: bool,
    /// Whether a rejection is a failure of the step.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fail_on_reject: bool,
}

/// What a member's vote is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seat {
    /// How much it counts; at least 1.
    pub weight: u32,
    /// Whether its vote against decides alone, and nothing is approved that it gave no vote on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub veto: bool,
}

/// What a member said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Vote {
    /// For it.
    For,
    /// Against it.
    Against,
    /// Neither.
    Abstain,
    /// It could not be asked, or gave no answer that is a vote: why.
    Absent(String),
}

/// What a committee decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Enough are for it.
    Approved,
    /// Too few are for it, or somebody with a veto is against it.
    Rejected,
    /// Too few votes to decide, or somebody with a veto gave none.
    NoQuorum,
}

/// The votes as counted.
#[derive(Debug, Clone, PartialEq)]
pub struct Tally {
    /// The decision.
    pub decision: Decision,
    /// Weight of the votes for it.
    pub weight_for: u64,
    /// Weight of the votes against it.
    pub weight_against: u64,
    /// Votes for or against.
    pub cast: u32,
    /// The first member whose veto decided.
    pub vetoed_by: Option<usize>,
    /// The first member with a veto that is absent, when it was for that alone that nothing was
    /// decided.
    pub veto_absent: Option<usize>,
}

impl Vote {
    /// The vote that a value is.
    ///
    /// # Errors
    /// The value itself, as text, when it is none.
    pub fn of(value: &Json) -> Result<Self, String> {
        match value {
            Json::Bool(true) => Ok(Self::For),
            Json::Bool(false) => Ok(Self::Against),
            Json::Null => Ok(Self::Abstain),
            other => Err(other.to_string()),
        }
    }

    fn word(&self) -> &'static str {
        match self {
            Self::For => "for",
            Self::Against => "against",
            Self::Abstain => "abstain",
            Self::Absent(_) => "absent",
        }
    }
}

impl Committee {
    /// Counts the votes, one for each member in order.
    pub fn tally(&self, votes: &[Vote]) -> Tally {
        let (mut weight_for, mut weight_against, mut cast, mut vetoed_by) = (0, 0, 0, None);
        for (ix, (seat, vote)) in self.seats.iter().zip(votes).enumerate() {
            match vote {
                Vote::For => weight_for += u64::from(seat.weight),
                Vote::Against => weight_against += u64::from(seat.weight),
                Vote::Abstain | Vote::Absent(_) => continue,
            }
            cast += 1;
            if seat.veto && *vote == Vote::Against {
                vetoed_by = vetoed_by.or(Some(ix));
            }
        }
        let total = weight_for + weight_against;
        let needed = self.threshold * total as f64;
        // Shares such as 2/3 are no binary fractions: as much as needed is measured with a margin
        // far below any weight.
        let margin = 1e-9 * total as f64;
        let enough = match self.strict {
            true => weight_for as f64 > needed + margin,
            false => weight_for as f64 >= needed - margin,
        };
        let decision = match () {
            () if vetoed_by.is_some() => Decision::Rejected,
            () if cast < self.quorum || total == 0 => Decision::NoQuorum,
            () if enough => Decision::Approved,
            () => Decision::Rejected,
        };
        // Who could have stopped it was not heard: to take that for a consent would make a reviewer
        // that crashes the way around a veto.
        let unheard = |(seat, vote): (&Seat, &Vote)| seat.veto && matches!(vote, Vote::Absent(_));
        let veto_absent = match decision {
            Decision::Approved => self.seats.iter().zip(votes).position(unheard),
            Decision::Rejected | Decision::NoQuorum => None,
        };
        let decision = if veto_absent.is_some() { Decision::NoQuorum } else { decision };
        Tally { decision, weight_for, weight_against, cast, vetoed_by, veto_absent }
    }

    /// The output of the step: the decision, and who voted how.
    pub fn output(&self, tally: &Tally, members: &[String], votes: &[Vote]) -> Json {
        let total = tally.weight_for + tally.weight_against;
        let share = if total == 0 { 0.0 } else { tally.weight_for as f64 / total as f64 };
        let votes = members.iter().zip(votes).zip(&self.seats).map(|((member, vote), seat)| {
            let mut line = json!({"member": member, "vote": vote.word(), "weight": seat.weight});
            if let Vote::Absent(why) = vote {
                line["why"] = why.as_str().into();
            }
            line
        });
        let mut output = json!({
            "approved": tally.decision == Decision::Approved,
            "decision": match tally.decision {
                Decision::Approved => "approved",
                Decision::Rejected => "rejected",
                Decision::NoQuorum => "no_quorum",
            },
            "share": (share * 1e4).round() / 1e4,
            "cast": tally.cast,
            "quorum": self.quorum,
            "threshold": self.threshold,
            "votes": votes.collect::<Vec<_>>(),
        });
        if let Some(member) = tally.vetoed_by.and_then(|ix| members.get(ix)) {
            output["vetoed_by"] = member.as_str().into();
        }
        output
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn committee(weights: &[u32], quorum: u32, threshold: f64) -> Committee {
        let seats = weights.iter().map(|w| Seat { weight: *w, veto: false }).collect();
        Committee { vote: None, seats, quorum, threshold, strict: false, fail_on_reject: false }
    }

    fn votes(text: &str) -> Vec<Vote> {
        let vote = |c| match c {
            'y' => Vote::For,
            'n' => Vote::Against,
            'a' => Vote::Abstain,
            _ => Vote::Absent("gone".into()),
        };
        text.chars().map(vote).collect()
    }

    fn decision(committee: &Committee, text: &str) -> Decision {
        committee.tally(&votes(text)).decision
    }

    #[test]
    fn the_threshold_is_a_share_of_the_votes_cast() {
        let mut three = committee(&[1, 1, 1], 1, 2.0 / 3.0);
        assert_eq!(decision(&three, "yyn"), Decision::Approved);
        assert_eq!(decision(&three, "ynn"), Decision::Rejected);
        assert_eq!(decision(&three, "yna"), Decision::Rejected);
        assert_eq!(decision(&three, "yaa"), Decision::Approved);
        three.strict = true;
        assert_eq!(decision(&three, "yyn"), Decision::Rejected);
        let mut half = committee(&[1, 1], 1, 0.5);
        assert_eq!(decision(&half, "yn"), Decision::Approved);
        half.strict = true;
        assert_eq!(decision(&half, "yn"), Decision::Rejected);
    }

    #[test]
    fn weights_count() {
        let weighted = committee(&[3, 1, 1], 1, 0.6);
        assert_eq!(decision(&weighted, "ynn"), Decision::Approved);
        assert_eq!(decision(&weighted, "nyy"), Decision::Rejected);
    }

    #[test]
    fn too_few_votes_decide_nothing() {
        let three = committee(&[1, 1, 1], 2, 0.5);
        assert_eq!(decision(&three, "yaa"), Decision::NoQuorum);
        assert_eq!(decision(&three, "y--"), Decision::NoQuorum);
        assert_eq!(decision(&three, "yya"), Decision::Approved);
        assert_eq!(decision(&committee(&[1], 0, 0.5), "a"), Decision::NoQuorum);
    }

    #[test]
    fn a_veto_decides_alone_even_without_a_quorum() {
        let mut three = committee(&[1, 1, 1], 3, 0.5);
        three.seats[2].veto = true;
        assert_eq!(decision(&three, "yyn"), Decision::Rejected);
        assert_eq!(decision(&three, "-an"), Decision::Rejected);
        assert_eq!(decision(&three, "yyy"), Decision::Approved);
        let tally = three.tally(&votes("yyn"));
        let names = ["a", "b", "c"].map(String::from);
        let output = three.output(&tally, &names, &votes("yyn"));
        assert_eq!(output["vetoed_by"], "c");
        assert_eq!(output["share"], 0.6667);
    }

    #[test]
    fn nothing_is_approved_that_a_veto_was_not_heard_on() {
        let mut three = committee(&[1, 1, 1], 2, 0.5);
        three.seats[2].veto = true;
        assert_eq!(decision(&three, "yy-"), Decision::NoQuorum);
        assert_eq!(three.tally(&votes("yy-")).veto_absent, Some(2));
        // It was heard, and leaves it to the others.
        assert_eq!(decision(&three, "yya"), Decision::Approved);
        // What is rejected anyway, or has no quorum anyway, is so for its own reason.
        assert_eq!(decision(&three, "nn-"), Decision::Rejected);
        assert_eq!(three.tally(&votes("nn-")).veto_absent, None);
        assert_eq!(three.tally(&votes("ya-")).veto_absent, None);
        assert_eq!(decision(&three, "-yy"), Decision::Approved);
    }
}
