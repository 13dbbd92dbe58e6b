//! `committee`: from its keys to the rules in the plan.

use moa_core::committee::{Committee, Seat};
use moa_core::workflow::StepKind;

use super::{Flat, Item};
use crate::codes;
use crate::model::{CommitteeFile, OnReject, Quorum};
use crate::read::{At, Cx};

/// Makes the rules, and reports those that no vote could meet.
pub(super) fn committee(flat: &Flat, item: &Item, cx: &mut Cx) -> Option<StepKind> {
    let file = item.step.committee.as_deref()?;
    let members: Vec<&str> = members(flat, item);
    let mut seats = vec![Seat { weight: 1, veto: false }; members.len()];
    for (name, weight) in file.weights.iter().flat_map(|w| &w.0) {
        let Some(seat) = seat_of(name, &members, cx) else { continue };
        if weight.value == 0 {
            let message = "a vote of weight 0 would not count".into();
            let d = cx.error(codes::WRONG_VALUE, weight.span.clone(), message);
            d.help("write 1 or more, or leave the member out");
        }
        seats[seat].weight = weight.value.max(1);
    }
    for name in file.veto.iter().flat_map(|v| &v.0) {
        if let Some(seat) = seat_of(name, &members, cx) {
            seats[seat].veto = true;
        }
    }
    let quorum = quorum(file, members.len() as u32, cx);
    let on_reject = file.on_reject.as_ref().map(|r| r.value);
    Some(StepKind::Committee(Box::new(Committee {
        vote: file.vote.as_ref().map(|v| v.program.clone()),
        seats,
        quorum,
        threshold: file.threshold.as_ref().map_or(0.5, |t| t.value.0),
        strict: file.threshold.is_none(),
        fail_on_reject: on_reject == Some(OnReject::Fail),
    })))
}

/// The ids of the members, in order.
fn members<'a>(flat: &'a Flat, committee: &Item) -> Vec<&'a str> {
    let at = flat.items.iter().position(|item| std::ptr::eq(item, committee));
    let inside = flat.items.iter().filter(|item| item.parent.is_some() && item.parent == at);
    inside.map(|item| item.id.as_str()).collect()
}

fn seat_of(name: &At<String>, members: &[&str], cx: &mut Cx) -> Option<usize> {
    let found = members.iter().position(|member| *member == name.value);
    if found.is_none() {
        let near = cx.nearest(&name.value, members.iter().copied());
        let message = format!("the committee has no member `{}`", name.value);
        let d = cx.error(codes::UNKNOWN_STEP, name.span.clone(), message);
        match near {
            Some(near) => d.help(format!("did you mean `{near}`?")),
            None => d.help(format!("its members are: {}", members.join(", "))),
        };
    }
    found
}

fn quorum(file: &CommitteeFile, members: u32, cx: &mut Cx) -> u32 {
    let Some(quorum) = &file.quorum else { return Quorum::Majority.of(members) };
    let count = quorum.value.of(members);
    if count == 0 || count > members {
        let message = format!("a quorum of {count}, and there are {members} members");
        let d = cx.error(codes::WRONG_VALUE, quorum.span.clone(), message);
        d.help("write a number from 1 to the number of members, `majority` or `all`");
    }
    count
}
