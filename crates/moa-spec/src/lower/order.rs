//! Dependencies: who waits for whom, cycles, and the order of steps in the plan.
//!
//! Each item has two moments, its opening and its end. Children open after their parent opened, a
//! parent ends after its children ended, and who needs a step opens after that step ended.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::ops::Range;

use moa_core::workflow::NeedStatus;

use super::{Flat, Need, Opener, Order};
use crate::codes;
use crate::model::{NeedFile, NeedStatusText};
use crate::read::{At, Cx};
use crate::scalar::Short;

/// Cycles reported of one file.
const CYCLES_MAX: usize = 20;

/// Resolves dependencies into `needs` of the items, and gives each item its index in the plan.
pub(super) fn order(flat: &mut Flat, cx: &mut Cx) -> Order {
    resolve(flat, cx);
    let sorted = sort(flat, cx);
    // Bodies one after the other, each in sorted order: contiguous, as plans have to be.
    let mut places: Vec<usize> = (0..flat.items.len()).collect();
    let rank: HashMap<usize, usize> = sorted.iter().enumerate().map(|(r, ix)| (*ix, r)).collect();
    places.sort_by_key(|ix| (flat.items[*ix].body, rank.get(ix).copied().unwrap_or(usize::MAX)));
    let mut order = vec![0; flat.items.len()];
    for (step, item) in places.into_iter().enumerate() {
        order[item] = step as u32;
    }
    order
}

fn resolve(flat: &mut Flat, cx: &mut Cx) {
    let by_id: HashMap<String, usize> =
        flat.items.iter().enumerate().map(|(ix, i)| (i.id.to_string(), ix)).collect();
    for ix in 0..flat.items.len() {
        let step = flat.items[ix].step;
        let Some(list) = &step.depends_on else {
            if let Some(previous) = flat.items[ix].previous {
                let need = Need { item: previous, when: Vec::new(), span: None };
                flat.items[ix].needs.push(need);
            }
            continue;
        };
        let mut seen = HashSet::new();
        for need in &list.0 {
            let (id, when) = match need {
                Short::Short(id) => (id, Vec::new()),
                Short::Long(NeedFile { step, when, .. }) => (step, statuses(when.as_ref())),
            };
            let Some(target) = find(flat, &by_id, id, cx) else { continue };
            if !seen.insert(target) {
                let message = format!("`{}` stands twice in `depends_on`", id.value);
                let d = cx.error(codes::WRONG_VALUE, id.span.clone(), message);
                d.help("keep one of the two");
            } else if reachable(flat, ix, target, id, cx) {
                let span = Some(id.span.clone());
                flat.items[ix].needs.push(Need { item: target, when, span });
            }
        }
    }
}

fn statuses(when: Option<&crate::scalar::Many<At<NeedStatusText>>>) -> Vec<NeedStatus> {
    let statuses = when.into_iter().flat_map(|many| &many.0);
    statuses
        .map(|status| match status.value {
            NeedStatusText::Succeeded => NeedStatus::Succeeded,
            NeedStatusText::Failed => NeedStatus::Failed,
            NeedStatusText::Skipped => NeedStatus::Skipped,
            NeedStatusText::Cancelled => NeedStatus::Cancelled,
        })
        .collect()
}

fn find(
    flat: &Flat,
    by_id: &HashMap<String, usize>,
    id: &At<String>,
    cx: &mut Cx,
) -> Option<usize> {
    if let Some(ix) = by_id.get(&id.value) {
        return Some(*ix);
    }
    let message = format!("there is no step `{}`", id.value);
    let near = cx.nearest(&id.value, flat.items.iter().map(|i| i.id.as_str()));
    let d = cx.error(codes::UNKNOWN_STEP, id.span.clone(), message);
    match near {
        Some(near) => d.help(format!("did you mean `{near}`?")),
        None => d.help("the ids are those of `id:`; a step without has its action's name"),
    };
    None
}

/// Whether `ix` may depend on `target`; reports why not.
fn reachable(flat: &Flat, ix: usize, target: usize, id: &At<String>, cx: &mut Cx) -> bool {
    let (from, to) = (&flat.items[ix], &flat.items[target]);
    if ix == target {
        let message = format!("`{}` depends on itself", id.value);
        cx.error(codes::CYCLE, id.span.clone(), message).help("take it out");
        return false;
    }
    if let Some(up) = ancestors(flat, ix).find(|up| *up == target) {
        let up = &flat.items[up].id;
        let message = format!("`{}` depends on `{up}`, which contains it", from.id);
        let d = cx.error(codes::CYCLE, id.span.clone(), message);
        d.cause(format!("`{up}` ends only when the steps in it have ended")).help("take it out");
        return false;
    }
    if from.body == to.body {
        return true;
    }
    let message = format!("`{}` can't depend on `{}`", from.id, to.id);
    let inside = |body| match flat.bodies[body] {
        Opener::Loop(owner) => format!("inside the loop `{}`", flat.items[owner].id),
        Opener::Undo(owner) => format!("in `compensate` of `{}`", flat.items[owner].id),
        Opener::OnFailure => "in `on_failure`".into(),
        Opener::Finally => "in `finally`".into(),
        Opener::Main => "in the workflow's own steps".to_owned(),
    };
    let (here, there) = (inside(from.body), inside(to.body));
    let d = cx.error(codes::FOREIGN_BODY, id.span.clone(), message);
    d.cause(format!("`{}` stands {there}, `{}` {here}", to.id, from.id));
    let help = match (flat.bodies[from.body], flat.bodies[to.body]) {
        (_, Opener::Loop(owner)) => format!("depend on the loop: `{}`", flat.items[owner].id),
        (Opener::Loop(owner), _) => {
            format!("steps of a loop start with it: put this at `{}`", flat.items[owner].id)
        }
        _ => "take it out: such a list starts only when the steps before it are over".into(),
    };
    d.help(help);
    false
}

/// Parents of an item, and the owners of the bodies around it.
pub(super) fn ancestors<'a>(flat: &'a Flat, ix: usize) -> impl Iterator<Item = usize> + 'a {
    let up = move |ix: usize| {
        let item = &flat.items[ix];
        item.parent.or(match flat.bodies[item.body] {
            Opener::Loop(owner) | Opener::Undo(owner) => Some(owner),
            _ => None,
        })
    };
    std::iter::successors(up(ix), move |ix| up(*ix))
}

/// The graph of moments: `2 * item` opens it, `2 * item + 1` ends it.
struct Moments {
    after: Vec<Vec<u32>>,
    /// How many moments each one still waits for.
    waits: Vec<u32>,
}

impl Moments {
    fn new(flat: &Flat) -> Self {
        let count = 2 * flat.items.len();
        let mut moments = Self { after: vec![Vec::new(); count], waits: vec![0; count] };
        for (ix, item) in flat.items.iter().enumerate() {
            moments.edge(2 * ix, 2 * ix + 1);
            if let Some(parent) = item.parent {
                moments.edge(2 * parent, 2 * ix);
                moments.edge(2 * ix + 1, 2 * parent + 1);
            }
            for need in &item.needs {
                moments.edge(2 * need.item + 1, 2 * ix);
            }
        }
        moments
    }

    fn edge(&mut self, from: usize, to: usize) {
        self.after[from].push(to as u32);
        self.waits[to] += 1;
    }
}

/// Items in an order in which each stands behind what it waits for; where there is a choice, in the
/// order of the file. Reports cycles and goes on without the edge that closes each.
fn sort(flat: &Flat, cx: &mut Cx) -> Vec<usize> {
    let mut moments = Moments::new(flat);
    let mut ready: BinaryHeap<Reverse<usize>> = BinaryHeap::new();
    ready.extend((0..moments.waits.len()).filter(|m| moments.waits[*m] == 0).map(Reverse));
    let mut done = vec![false; moments.waits.len()];
    let mut sorted = Vec::with_capacity(flat.items.len());
    for _ in 0..=CYCLES_MAX {
        while let Some(Reverse(moment)) = ready.pop() {
            done[moment] = true;
            if moment.is_multiple_of(2) {
                sorted.push(moment / 2);
            }
            for next in std::mem::take(&mut moments.after[moment]) {
                let waits = &mut moments.waits[next as usize];
                *waits -= 1;
                if *waits == 0 {
                    ready.push(Reverse(next as usize));
                }
            }
        }
        let Some((from, to)) = report_cycle(flat, &done, cx) else { break };
        // Cut the edge, so that other cycles are found as well.
        let edge = moments.after[2 * from + 1].iter().position(|next| *next as usize == 2 * to);
        let Some(edge) = edge else { break };
        moments.after[2 * from + 1].remove(edge);
        moments.waits[2 * to] -= 1;
        if moments.waits[2 * to] == 0 {
            ready.push(Reverse(2 * to));
        }
    }
    sorted
}

/// Finds a cycle among what isn't done, reports it, and gives the dependency to cut: from, to.
fn report_cycle(flat: &Flat, done: &[bool], cx: &mut Cx) -> Option<(usize, usize)> {
    let start = (0..done.len()).find(|moment| !done[*moment])?;
    // Walk back from what waits to what it waits for, until a moment comes again.
    let mut path: Vec<usize> = Vec::new();
    let mut place: HashMap<usize, usize> = HashMap::new();
    let mut moment = start;
    let children = children(flat);
    while !place.contains_key(&moment) {
        place.insert(moment, path.len());
        path.push(moment);
        moment = waits_for(flat, &children, done, moment)?;
    }
    let mut cycle: Vec<usize> = path[place[&moment]..].to_vec();
    cycle.reverse();
    // Dependencies of the cycle: the end of one item before the opening of another.
    let pairs = (0..cycle.len()).map(|i| (cycle[i], cycle[(i + 1) % cycle.len()]));
    let edges: Vec<(usize, usize)> = pairs
        .filter(|(a, b)| a % 2 == 1 && b % 2 == 0 && a / 2 != b / 2)
        .map(|(a, b)| (a / 2, b / 2))
        .collect();
    let span_of = |(from, to): &(usize, usize)| -> Option<Range<usize>> {
        flat.items[*to].needs.iter().find(|n| n.item == *from).and_then(|n| n.span.clone())
    };
    let first = edges.iter().filter_map(&span_of).min_by_key(|s| s.start);
    let (from, to) = *edges.first()?;
    let span = first.unwrap_or_else(|| flat.items[to].span());
    let mut names: Vec<&str> =
        edges.iter().map(|(from, _)| flat.items[*from].id.as_str()).collect();
    let smallest = (0..names.len()).min_by_key(|i| edges[*i].0).unwrap_or(0);
    names.rotate_left(smallest);
    names.push(names[0]);
    let d = cx.error(codes::CYCLE, span, format!("a cycle: {}", names.join(" → ")));
    d.cause("each step waits for the one before the arrow; none of them can ever start");
    let implicit = edges.iter().find(|edge| span_of(edge).is_none());
    match implicit {
        Some((from, to)) => {
            let (from, to) = (&flat.items[*from].id, &flat.items[*to].id);
            d.help(format!(
                "`{to}` waits for `{from}` because it stands behind it; give `{to}` a `depends_on` \
                 of its own (`[]` = start at once), or take another one out"
            ))
        }
        None => d.help("take one of these out of `depends_on`"),
    };
    Some((from, to))
}

fn children(flat: &Flat) -> Vec<Vec<usize>> {
    let mut children = vec![Vec::new(); flat.items.len()];
    for (ix, item) in flat.items.iter().enumerate() {
        if let Some(parent) = item.parent {
            children[parent].push(ix);
        }
    }
    children
}

/// Something not done that `moment` waits for.
fn waits_for(flat: &Flat, children: &[Vec<usize>], done: &[bool], moment: usize) -> Option<usize> {
    let ix = moment / 2;
    let item = &flat.items[ix];
    let pending = |m: usize| (!done[m]).then_some(m);
    if moment.is_multiple_of(2) {
        let parent = item.parent.and_then(|p| pending(2 * p));
        return parent.or_else(|| item.needs.iter().find_map(|n| pending(2 * n.item + 1)));
    }
    pending(2 * ix).or_else(|| children[ix].iter().find_map(|c| pending(2 * c + 1)))
}
