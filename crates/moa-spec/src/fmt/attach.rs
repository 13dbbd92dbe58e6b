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
}

/// Attaches every comment of the tree. `None` when one has no place.
pub(super) fn attach(tree: &mut Tree, text: &str) -> Option<()> {
    let at = Attach { text, lines: Lines::new(text) };
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
    let mut last_of_tail: Vec<Option<usize>> = vec![None; tree.nodes.len()];
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
                last_of_tail[node] = Some(line);
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

    /// The innermost flow collection that the comment stands inside of.
    fn flow_around(&self, tree: &Tree, at: usize) -> Option<usize> {
        let around = (0..tree.nodes.len())
            .filter(|n| tree.is_flow(*n) && tree.nodes[*n].span.start < at)
            .filter(|n| at < tree.nodes[*n].span.end);
        around.max_by_key(|n| tree.nodes[*n].span.start)
    }

    fn own_line(&self, tree: &Tree, comment: &Comment) -> Place {
        let at = comment.at;
        if let Some(flow) = self.flow_around(tree, at) {
            let inside = tree.elements_of(flow);
            let next = inside.iter().find(|e| tree.elements[**e].span.start > at);
            return next.map_or(Place::Tail(flow), |e| Place::Lead(*e));
        }
        // Elements stand in order of their values' beginnings; an item stands before its first key.
        let next = tree
            .elements
            .iter()
            .enumerate()
            .filter(|(_, e)| e.span.start > at)
            .min_by_key(|(ix, e)| (e.span.start, *ix))
            .map(|(ix, _)| ix);
        let floor = next.map(|e| self.collection_column(tree, tree.elements[e].owner));
        let column = self.column(at);
        // Collections that ended before the comment and whose columns it has reached.
        let ended = (0..tree.nodes.len()).filter(|n| {
            let node = &tree.nodes[*n];
            let block = !tree.is_flow(*n) && !tree.elements_of(*n).is_empty();
            block && node.span.end <= at && self.is_last_before(tree, *n, at)
        });
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

    /// Whether nothing begins between the end of a collection and the comment.
    fn is_last_before(&self, tree: &Tree, node: usize, at: usize) -> bool {
        let end = tree.nodes[node].span.end;
        let first = tree.elements.partition_point(|e| e.span.start < end);
        tree.elements[first..].iter().all(|e| e.span.start < end || e.span.start > at)
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
        let before = |e: &&usize| tree.elements[**e].span.start < at;
        let here: Vec<usize> = (0..tree.elements.len())
            .filter(|e| {
                let start = tree.elements[*e].span.start;
                before(&e) && self.lines.line_of(start) == line
            })
            .collect();
        let complete = |e: &usize| tree.elements[*e].span.end <= at;
        if let Some(outermost) = here.iter().find(|e| complete(e)) {
            return Place::Trail(*outermost);
        }
        if let Some(innermost) = here.last() {
            let element = &tree.elements[*innermost];
            let flow = tree.is_flow(element.value);
            if !flow {
                return Place::Trail(*innermost);
            }
            // Behind the opening bracket: above the first element.
            return match tree.elements_of(element.value).first() {
                Some(first) => Place::Lead(*first),
                None => Place::Tail(element.value),
            };
        }
        // The last line of something that began further up.
        let ending = (0..tree.elements.len()).find(|e| {
            let end = tree.elements[*e].span.end;
            end <= at && self.lines.line_of(end.saturating_sub(1)) == line
        });
        if let Some(element) = ending {
            return Place::Trail(element);
        }
        let next = tree.elements.iter().enumerate().filter(|(_, e)| e.span.start > at);
        match next.min_by_key(|(ix, e)| (e.span.start, *ix)) {
            Some((ix, _)) => Place::Lead(ix),
            None => Place::Tail(tree.root),
        }
    }
}
