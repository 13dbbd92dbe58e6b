//! `committee`: its members are asked at the same time; their votes become one decision.

use std::sync::Arc;

use serde_json::Value as Json;

use crate::committee::{Committee, Decision, Vote};
use crate::event::InstIx;
use crate::step::{ErrorKind, StepStatus};

use super::begin::expression_error;
use super::tx::Tx;
use super::vars::Vars;

impl Tx<'_> {
    /// Every member has voted, or can't.
    pub fn committee_done(&mut self, inst: InstIx, committee: &Committee, members: &[InstIx]) {
        let votes: Vec<Vote> = members.iter().map(|m| self.vote(*m, committee)).collect();
        let names: Vec<String> = members.iter().map(|m| self.run.step_name(*m)).collect();
        let tally = committee.tally(&votes);
        let output = committee.output(&tally, &names, &votes);
        let (kind, message) = match tally.decision {
            Decision::NoQuorum => {
                let (cast, all, quorum) = (tally.cast, members.len(), committee.quorum);
                let why = missing(&names, &votes);
                let message = match tally.veto_absent {
                    Some(member) => {
                        let member = &names[member];
                        format!("{member} has a veto, and gave no vote; {why}")
                    }
                    None => format!("{cast} of {all} members voted, the quorum is {quorum}; {why}"),
                };
                (ErrorKind::NoQuorum, message)
            }
            Decision::Rejected if committee.fail_on_reject => {
                let message = match tally.vetoed_by {
                    Some(member) => format!("rejected by the veto of {}", names[member]),
                    None => format!("rejected: a share of {} was for it", output["share"]),
                };
                (ErrorKind::Rejected, message)
            }
            _ => return self.succeed_mapped(inst, Some(Arc::new(output))),
        };
        self.fail_with(inst, kind, message);
    }

    /// The vote of a member that has ended.
    fn vote(&self, member: InstIx, committee: &Committee) -> Vote {
        let row = &self.run.steps[member as usize].row;
        // A person who said no, or a committee of its own that did: that is a vote, however the step
        // ended by it.
        if row.error.as_ref().is_some_and(|e| e.kind == ErrorKind::Rejected) {
            return Vote::Against;
        }
        if row.status != StepStatus::Succeeded {
            let why = row.error.as_ref().map_or(row.status.as_str(), |e| e.message.as_str());
            return Vote::Absent(why.to_owned());
        }
        self.cast(member, committee).unwrap_or_else(Vote::Absent)
    }

    fn cast(&self, member: InstIx, committee: &Committee) -> Result<Vote, String> {
        let output = self.run.steps[member as usize].row.output.clone().unwrap_or_default();
        let value = match &committee.vote {
            None => output.get("approved").cloned().unwrap_or_else(|| Json::from("nothing")),
            Some(program) => {
                let vars = Vars::of_step(self.run, member).with("output", output);
                let value = program.eval(&vars);
                value.map_err(|e| expression_error("vote", program.source(), &e).message)?.to_json()
            }
        };
        Vote::of(&value).map_err(|found| format!("its vote is {found}, not true, false or null"))
    }
}

/// Who gave no vote, and why.
fn missing(names: &[String], votes: &[Vote]) -> String {
    let line = |(name, vote): (&String, &Vote)| match vote {
        Vote::Absent(why) => Some(format!("{name}: {why}")),
        Vote::Abstain => Some(format!("{name} abstains")),
        Vote::For | Vote::Against => None,
    };
    names.iter().zip(votes).filter_map(line).collect::<Vec<_>>().join("; ")
}
