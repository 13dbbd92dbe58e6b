//! Where the steps of a workflow stand in its drawing: layers from left to right.
//!
//! A step stands right of all that it needs (K. Sugiyama et al., 1981). What a container or a loop
//! holds is laid out by itself and then stands in its box. A line that passes a layer gets a place in
//! it, so that it goes around the boxes. Pure: the same plan gives the same drawing, so nothing jumps
//! while a run goes on.

use std::collections::BTreeMap;

use moa_core::workflow::{BodyIx, Plan, StepIx, StepKind};

/// Width of a character, about.
const CHAR: f64 = 7.3;
const BOX_MIN: f64 = 96.0;
const BOX_MAX: f64 = 220.0;
const BOX_HEIGHT: f64 = 42.0;
/// Between layers.
const ACROSS: f64 = 44.0;
/// Between boxes of a layer.
const DOWN: f64 = 14.0;
/// Around what a box holds.
const INSIDE: f64 = 12.0;
/// Height of the title of a box that holds others.
const TITLE: f64 = 26.0;
/// How often the order of layers and the heights in them are improved.
const SWEEPS: usize = 6;

/// A step in its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Placed {
    /// The step.
    pub step: StepIx,
    /// Left edge.
    pub x: f64,
    /// Upper edge.
    pub y: f64,
    /// Width.
    pub width: f64,
    /// Height.
    pub height: f64,
    /// Whether it holds others.
    pub holds: bool,
}

/// A line from a step to one that needs it.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// Where it goes through, at least two points.
    pub points: Vec<(f64, f64)>,
    /// Whether it is followed however the step ends.
    pub always: bool,
}

/// A drawing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Layout {
    /// Width.
    pub width: f64,
    /// Height.
    pub height: f64,
    /// Steps; what holds others comes before them.
    pub steps: Vec<Placed>,
    /// Lines.
    pub lines: Vec<Line>,
    /// Titles of parts, with the places of their baselines.
    pub titles: Vec<(&'static str, f64, f64)>,
}

impl Layout {
    /// The drawing of a plan.
    pub fn new(plan: &Plan) -> Self {
        let mut whole = scope(plan, top_of(plan, 0));
        for (body, title) in [(plan.on_failure, "on_failure"), (plan.finally, "finally")] {
            let Some(body) = body else { continue };
            let part = scope(plan, top_of(plan, body));
            let y = whole.height + 44.0;
            whole.titles.push((title, 0.0, y - 10.0));
            whole.put(part, 0.0, y);
        }
        whole
    }

    /// Takes another drawing in.
    fn put(&mut self, other: Layout, x: f64, y: f64) {
        self.width = self.width.max(x + other.width);
        self.height = self.height.max(y + other.height);
        self.steps.extend(other.steps.into_iter().map(|s| Placed { x: s.x + x, y: s.y + y, ..s }));
        self.lines.extend(other.lines.into_iter().map(|mut line| {
            line.points.iter_mut().for_each(|p| *p = (p.0 + x, p.1 + y));
            line
        }));
    }
}

/// The steps of a body that stand in no other step of it.
fn top_of(plan: &Plan, body: BodyIx) -> Vec<StepIx> {
    let Some(range) = plan.bodies.get(usize::from(body)) else { return Vec::new() };
    let all = range.start..range.start + range.count;
    all.filter(|ix| plan.step(*ix).parent.is_none()).collect()
}

/// What a step holds.
fn held_by(plan: &Plan, step: StepIx) -> Vec<StepIx> {
    let own = plan.step(step);
    match &own.kind {
        StepKind::Foreach { body, .. } | StepKind::While { body, .. } => top_of(plan, *body),
        _ => {
            let range = plan.bodies[usize::from(own.body)];
            let all = range.start..range.start + range.count;
            all.filter(|ix| plan.step(*ix).parent == Some(step)).collect()
        }
    }
}

/// A place in a layer: a step, or a line that passes.
struct Cell {
    /// The member; `None` = a line.
    member: Option<usize>,
    height: f64,
    y: f64,
    before: Vec<usize>,
    behind: Vec<usize>,
}

struct Layers {
    cells: Vec<Cell>,
    layers: Vec<Vec<usize>>,
}

/// Lays out steps that stand beside each other.
fn scope(plan: &Plan, members: Vec<StepIx>) -> Layout {
    if members.is_empty() {
        return Layout::default();
    }
    let inner: Vec<Layout> = members.iter().map(|step| scope(plan, held_by(plan, *step))).collect();
    let sizes: Vec<(f64, f64)> =
        members.iter().zip(&inner).map(|(step, inner)| size(plan, *step, inner)).collect();
    let edges = edges(plan, &members);
    let (mut layers, paths) = Layers::new(&sizes, &edges, members.len());
    layers.order();
    layers.place();
    layers.draw(&members, inner, &sizes, &paths)
}

fn size(plan: &Plan, step: StepIx, inner: &Layout) -> (f64, f64) {
    let own = plan.step(step);
    let deed = moa_view::deed(own);
    let chars = own.id.as_str().chars().count().max(deed.chars().count().min(24));
    let width = (chars as f64 * CHAR + 42.0).clamp(BOX_MIN, BOX_MAX);
    match inner.steps.is_empty() {
        true => (width, BOX_HEIGHT),
        false => {
            let height = inner.height + INSIDE * 2.0 + TITLE;
            ((inner.width + INSIDE * 2.0).max(width), height)
        }
    }
}

/// Lines between members, by their places: from, to, whether it is always followed.
fn edges(plan: &Plan, members: &[StepIx]) -> Vec<(usize, usize, bool)> {
    let places: BTreeMap<StepIx, usize> =
        members.iter().enumerate().map(|(place, step)| (*step, place)).collect();
    let member = |step: StepIx| {
        let mut at = Some(step);
        while let Some(ix) = at {
            if let Some(place) = places.get(&ix) {
                return Some(*place);
            }
            at = plan.step(ix).parent;
        }
        None
    };
    let mut edges = Vec::new();
    for (to, step) in members.iter().enumerate() {
        for need in &plan.step(*step).needs {
            if let Some(from) = member(need.step).filter(|from| *from < to) {
                edges.push((from, to, !need.when.is_empty()));
            }
        }
    }
    edges.dedup();
    edges
}

impl Layers {
    /// Each member behind all that it needs. Also tells the cells that each line goes through.
    fn new(
        sizes: &[(f64, f64)],
        edges: &[(usize, usize, bool)],
        members: usize,
    ) -> (Self, Vec<(Vec<usize>, bool)>) {
        let mut layer = vec![0_usize; members];
        for (from, to, _) in edges {
            // Members stand in an order in which needs come first, and lines in that of their ends.
            layer[*to] = layer[*to].max(layer[*from] + 1);
        }
        let cell = |member, height| Cell {
            member,
            height,
            y: 0.0,
            before: Vec::new(),
            behind: Vec::new(),
        };
        let mut cells: Vec<Cell> =
            sizes.iter().enumerate().map(|(i, s)| cell(Some(i), s.1)).collect();
        let mut layers = vec![Vec::new(); layer.iter().max().map_or(0, |most| most + 1)];
        for (member, layer) in layer.iter().enumerate() {
            layers[*layer].push(member);
        }
        let mut paths = Vec::new();
        for (from, to, always) in edges {
            let mut path = vec![*from];
            for passed in layers.iter_mut().take(layer[*to]).skip(layer[*from] + 1) {
                cells.push(cell(None, 4.0));
                passed.push(cells.len() - 1);
                path.push(cells.len() - 1);
            }
            path.push(*to);
            for pair in path.windows(2) {
                cells[pair[0]].behind.push(pair[1]);
                cells[pair[1]].before.push(pair[0]);
            }
            paths.push((path, *always));
        }
        (Self { cells, layers }, paths)
    }

    /// Orders each layer by where its neighbours stand, so that few lines cross.
    fn order(&mut self) {
        for sweep in 0..SWEEPS {
            let forward = sweep % 2 == 0;
            let count = self.layers.len();
            for i in 0..count {
                let at = if forward { i } else { count - 1 - i };
                let mut places = vec![0.0; self.cells.len()];
                for layer in &self.layers {
                    for (place, cell) in layer.iter().enumerate() {
                        places[*cell] = place as f64 / layer.len() as f64;
                    }
                }
                let middle = |cell: &usize| {
                    let own = &self.cells[*cell];
                    let near = if forward { &own.before } else { &own.behind };
                    match near.is_empty() {
                        true => places[*cell],
                        false => near.iter().map(|c| places[*c]).sum::<f64>() / near.len() as f64,
                    }
                };
                let mut layer = self.layers[at].clone();
                layer.sort_by(|a, b| middle(a).total_cmp(&middle(b)));
                self.layers[at] = layer;
            }
        }
    }

    /// Gives each cell its height: near its neighbours, in order, without touching others.
    fn place(&mut self) {
        for sweep in 0..=SWEEPS {
            for at in 0..self.layers.len() {
                let layer = self.layers[at].clone();
                let wanted: Vec<f64> = layer.iter().map(|cell| self.wanted(*cell, sweep)).collect();
                let mut least = f64::MIN;
                for (cell, wanted) in layer.iter().zip(&wanted) {
                    let half = self.cells[*cell].height / 2.0;
                    let y = wanted.max(least + half);
                    self.cells[*cell].y = y;
                    least = y + half + DOWN;
                }
                let off: f64 = layer.iter().zip(&wanted).map(|(c, w)| w - self.cells[*c].y).sum();
                let off = off / layer.len().max(1) as f64;
                layer.iter().for_each(|cell| self.cells[*cell].y += off);
            }
        }
        let top = self.cells.iter().map(|c| c.y - c.height / 2.0).fold(f64::MAX, f64::min);
        self.cells.iter_mut().for_each(|cell| cell.y -= top);
    }

    fn wanted(&self, cell: usize, sweep: usize) -> f64 {
        let own = &self.cells[cell];
        let near: Vec<usize> = match sweep {
            0 => own.before.clone(),
            _ => own.before.iter().chain(&own.behind).copied().collect(),
        };
        match near.is_empty() {
            true => own.y,
            false => near.iter().map(|c| self.cells[*c].y).sum::<f64>() / near.len() as f64,
        }
    }

    fn draw(
        &self,
        members: &[StepIx],
        mut inner: Vec<Layout>,
        sizes: &[(f64, f64)],
        paths: &[(Vec<usize>, bool)],
    ) -> Layout {
        let mut drawn = Layout::default();
        let mut spans = vec![(0.0, 0.0); self.cells.len()];
        let mut x = 0.0;
        for layer in &self.layers {
            let widths = layer.iter().filter_map(|c| self.cells[*c].member).map(|m| sizes[m].0);
            let width = widths.fold(0.0, f64::max);
            for cell in layer {
                let own = &self.cells[*cell];
                let Some(member) = own.member else {
                    spans[*cell] = (x, x + width);
                    continue;
                };
                let (wide, height) = sizes[member];
                let (left, y) = (x + (width - wide) / 2.0, own.y - height / 2.0);
                spans[*cell] = (left, left + wide);
                let held = std::mem::take(&mut inner[member]);
                let holds = !held.steps.is_empty();
                let step = members[member];
                drawn.steps.push(Placed { step, x: left, y, width: wide, height, holds });
                drawn.put(held, left + INSIDE, y + TITLE + INSIDE / 2.0);
                drawn.width = drawn.width.max(left + wide);
                drawn.height = drawn.height.max(y + height);
            }
            x += width + ACROSS;
        }
        for (path, always) in paths {
            let mut points = Vec::new();
            for (i, cell) in path.iter().enumerate() {
                let ((left, right), y) = (spans[*cell], self.cells[*cell].y);
                if i > 0 {
                    points.push((left, y));
                }
                if i + 1 < path.len() {
                    points.push((right, y));
                }
            }
            drawn.lines.push(Line { points, always: *always });
        }
        drawn
    }
}
