//! Which element a comment belongs to.
//!
//! A comment on a line with something else belongs to that. A comment on a line of its own belongs to
//! the next element, unless it is indented like the list or mapping that has just ended: then it
//! stays at the end of that.

use super::tree::{Comment, Kind, Lead, Tree};
use crate::source::Lines;

struct Attach<'t> {
    text: &'t str,
    lines: Lines,
    /// The element that each node is the value of.
    elements: Vec<Option<usize>>,
}

/// Attaches every comment of the tree. `None` when one has no place.
pub(super) fn attach(tree: &mut Tree, text: &str) -> Option<()> {
    let mut elements = vec![None; tree.nodes.len()];
    for (ix, element) in tree.elements.iter().enumerate() {
        elements[element.value] = Some(ix);
    }
    let at = Attach { text, lines: Lines::new(text), elements };
    let comments = std::mem::take(&mut tree.comments);
    let mut placed: Vec<(Place, &Comment)> = Vec::with_capacity(comments.len());
    for comment in &comments {
        let place = if at.is_own_line(comment) {
            at.own_line(tree, comment)
        } else {
            at.trailing(tree, comment)
        };
        placed.push((place, comment));
    }
    for (place, comment) in placed {
        let line = at.lines.line_of(comment.at);
        let text = comment.text.clone();
        match place {
            Place::Trail(element) => {
                let trail = &mut tree.elements[element].trail;
                if trail.is_some() {
                    return None;
                }
                *trail = Some(text);
            }
            Place::Lead(element) => {
                let lead = &mut tree.elements[element].lead;
                if at.blank_before(line) {
                    lead.push(Lead::Blank);
                }
                lead.push(Lead::Comment(text));
            }
            Place::Tail(node) => {
                let tail = &mut tree.nodes[node].tail;
                if at.blank_before(line) {
                    tail.push(Lead::Blank);
                }
                tail.push(Lead::Comment(text));
            }
        }
    }
    // Of the elements that begin on one line, the outermost has the blank line.
    let mut last = usize::MAX;
    for element in &mut tree.elements {
        let line = at.lines.line_of(element.span.start);
        if line != last && at.blank_before(line) {
            element.lead.push(Lead::Blank);
        }
        last = line;
    }
    Some(())
}

enum Place {
    /// Behind the element, on its line.
    Trail(usize),
    /// Before the element.
    Lead(usize),
    /// Behind the last element of the collection.
    Tail(usize),
}

impl Attach<'_> {
    fn is_own_line(&self, comment: &Comment) -> bool {
        let line = self.lines.range(self.text, self.lines.line_of(comment.at));
        self.text[line.start..comment.at].trim_matches(['\u{feff}', ' ', '\t']).is_empty()
    }

    fn column(&self, at: usize) -> usize {
        at - self.lines.range(self.text, self.lines.line_of(at)).start
    }

    fn blank_before(&self, line: usize) -> bool {
        line > 0 && self.text[self.lines.range(self.text, line - 1)].trim().is_empty()
    }

    /// The last element that begins before a byte, and those that it stands in, outwards.
    fn chain<'a>(&'a self, tree: &'a Tree, at: usize) -> impl Iterator<Item = usize> + 'a {
        let count = tree.elements.partition_point(|e| e.span.start < at);
        let up = move |e: &usize| self.elements[tree.elements[*e].owner];
        std::iter::successors(count.checked_sub(1), up)
    }

    /// The first element that begins behind a byte; of those that begin together, the outermost.
    fn next(&self, tree: &Tree, at: usize) -> Option<usize> {
        let next = tree.elements.partition_point(|e| e.span.start <= at);
        (next < tree.elements.len()).then_some(next)
    }

    /// The innermost flow collection that the comment stands inside of.
    fn flow_around(&self, tree: &Tree, at: usize) -> Option<usize> {
        let inside = |node: &usize| {
            let span = &tree.nodes[*node].span;
            tree.is_flow(*node) && span.start < at && at < span.end
        };
        let mut values = self.chain(tree, at).map(|e| tree.elements[e].value);
        values.find(inside).or(Some(tree.root).filter(inside))
    }

    fn own_line(&self, tree: &Tree, comment: &Comment) -> Place {
        let at = comment.at;
        if let Some(flow) = self.flow_around(tree, at) {
            let inside = tree.elements_of(flow);
            let next = inside.partition_point(|e| tree.elements[*e].span.start <= at);
            return inside.get(next).map_or(Place::Tail(flow), |e| Place::Lead(*e));
        }
        let next = self.next(tree, at);
        let floor = next.map(|e| self.collection_column(tree, tree.elements[e].owner));
        let column = self.column(at);
        // Block collections that ended before the comment and whose columns it has reached.
        let owners = self.chain(tree, at).map(|e| tree.elements[e].owner);
        let ended = owners.filter(|n| !tree.is_flow(*n) && tree.nodes[*n].span.end <= at);
        let tail = ended
            .map(|n| (self.collection_column(tree, n), n))
            .filter(|(c, _)| *c <= column && floor.is_none_or(|f| *c > f))
            .max();
        match (tail, next) {
            (Some((_, node)), _) => Place::Tail(node),
            (None, Some(next)) => Place::Lead(next),
            (None, None) => Place::Tail(tree.root),
        }
    }

    /// The column of the elements of a block collection: of the dashes, or of the keys.
    fn collection_column(&self, tree: &Tree, node: usize) -> usize {
        let start = tree.elements_of(node).first().map_or(0, |e| tree.elements[*e].span.start);
        if matches!(tree.nodes[node].kind, Kind::Map { .. }) {
            return self.column(start);
        }
        self.column(self.text[..start].rfind('-').unwrap_or(start))
    }

    fn trailing(&self, tree: &Tree, comment: &Comment) -> Place {
        let at = comment.at;
        let line = self.lines.line_of(at);
        let line_start = self.lines.range(self.text, line).start;
        let first = tree.elements.partition_point(|e| e.span.start < line_start);
        let here = first..tree.elements.partition_point(|e| e.span.start < at);
        if let Some(outermost) = here.clone().find(|e| tree.elements[*e].span.end <= at) {
            return Place::Trail(outermost);
        }
        if let Some(innermost) = here.last() {
            let value = tree.elements[innermost].value;
            if !tree.is_flow(value) {
                return Place::Trail(innermost);
            }
            // Behind the opening bracket: above the first element.
            return match tree.elements_of(value).first() {
                Some(first) => Place::Lead(*first),
                None => Place::Tail(value),
            };
        }
        // The last line of something that began further up.
        let ending = self.chain(tree, at).filter(|e| {
            let end = tree.elements[*e].span.end;
            end <= at && self.lines.line_of(end.saturating_sub(1)) == line
        });
        if let Some(outermost) = ending.last() {
            return Place::Trail(outermost);
        }
        self.next(tree, at).map_or(Place::Tail(tree.root), Place::Lead)
    }
}
