//! Writing the tree.

use super::order::{KeyOrder, Mapping, Spot};
use super::tree::{Kind, Lead, Tree};

/// Columns that a flow collection may reach; longer ones are written as blocks.
const WIDTH: usize = 100;

struct Emit<'t> {
    tree: &'t Tree,
    text: &'t str,
    order: &'t KeyOrder,
    out: String,
    /// The element whose lead has been written already.
    top: usize,
}

/// Writes the tree; `None` when something of it can't be written.
pub(super) fn emit(tree: &Tree, text: &str, order: &KeyOrder) -> Option<String> {
    let root = tree.root;
    let top = tree.elements_of(root).first().copied().unwrap_or(usize::MAX);
    let mut emit = Emit { tree, text, order, out: String::new(), top };
    let spot = order.start();
    if tree.elements_of(root).is_empty() {
        emit.inline_root(root)?;
    } else {
        emit.props_line(root);
        // What stands at the top is about the file, whichever key comes first.
        emit.lead(&tree.elements[tree.elements_of(root)[0]].lead, 0);
        emit.block(root, 0, spot, false)?;
    }
    let body = emit.out.trim_start_matches('\n');
    Some(format!("{}\n", body.trim_end()))
}

impl Emit<'_> {
    fn inline_root(&mut self, node: usize) -> Option<()> {
        self.value_after("", node, 0, None)?;
        self.lead(&self.tree.nodes[node].tail, 0);
        Some(())
    }

    fn props_line(&mut self, node: usize) {
        let props = &self.tree.nodes[node].props;
        if !props.is_empty() {
            self.out.push_str(props);
            self.out.push('\n');
        }
    }

    fn pad(&mut self, indent: usize) {
        self.out.extend(std::iter::repeat_n(' ', indent));
    }

    /// Comments and blank lines; never two blank lines, nor one at the beginning.
    fn lead(&mut self, lead: &[Lead], indent: usize) {
        for line in lead {
            match line {
                Lead::Blank => {
                    let fresh = self.out.is_empty() || self.out.ends_with("\n\n");
                    if !fresh {
                        self.out.push('\n');
                    }
                }
                Lead::Comment(text) => {
                    self.pad(indent);
                    self.out.push_str(text);
                    self.out.push('\n');
                }
            }
        }
    }

    /// What stands above an element; the first one of a nested block has no blank line there.
    fn lead_of(&self, element: usize, first_inside: bool) -> Vec<Lead> {
        let lead = &self.tree.elements[element].lead;
        if element == self.top {
            Vec::new()
        } else if first_inside {
            without_blanks(lead)
        } else {
            lead.clone()
        }
    }

    /// A collection as a block. `inline`: the first element stands on a line that has begun.
    fn block(&mut self, node: usize, indent: usize, spot: Spot, inline: bool) -> Option<()> {
        match &self.tree.nodes[node].kind {
            Kind::Map { elements, .. } => self.map(elements, indent, spot, inline)?,
            Kind::List { elements, .. } => self.list(elements, indent, spot)?,
            _ => return None,
        }
        let tail = &self.tree.nodes[node].tail;
        self.lead(tail, indent);
        Some(())
    }

    fn map(&mut self, elements: &[usize], indent: usize, spot: Spot, inline: bool) -> Option<()> {
        let keys = self.keys(elements)?;
        let given: Vec<&str> = keys.iter().map(String::as_str).collect();
        let mapping = self.order.mapping(spot, &given);
        for (i, at) in self.sorted(&given, &mapping).into_iter().enumerate() {
            let element = &self.tree.elements[elements[at]];
            if i > 0 || !inline {
                // The first element of a nested block has no blank line above it.
                let lead = self.lead_of(elements[at], i == 0 && indent > 0);
                self.lead(&lead, indent);
                self.pad(indent);
            }
            let key = &self.tree.nodes[element.key?];
            if key.span.is_empty() || self.text[key.span.clone()].contains('\n') {
                return None;
            }
            let props =
                if key.props.is_empty() { String::new() } else { format!("{} ", key.props) };
            let mut head = format!("{props}{}:", &self.text[key.span.clone()]);
            // An alias as a key would take the colon for part of its name.
            if head.starts_with('*') {
                head.insert(head.len() - 1, ' ');
            }
            self.out.push_str(&head);
            let inner = mapping.entry(given[at]);
            let (value, trail) = (element.value, element.trail.as_deref());
            self.value(value, indent, inner, trail)?;
        }
        Some(())
    }

    fn list(&mut self, elements: &[usize], indent: usize, spot: Spot) -> Option<()> {
        let inner = self.order.item(spot);
        for (i, ix) in elements.iter().enumerate() {
            let element = &self.tree.elements[*ix];
            let lead = self.lead_of(*ix, i == 0 && indent > 0);
            self.lead(&lead, indent);
            let value = element.value;
            let inline_map = self.as_block(value, indent + 2)
                && matches!(self.tree.nodes[value].kind, Kind::Map { .. })
                && self.tree.nodes[value].props.is_empty();
            if inline_map {
                // What stands above the first key, or behind the item, goes above the dash.
                let elements = self.tree.elements_of(value);
                let keys = self.keys(elements)?;
                let given: Vec<&str> = keys.iter().map(String::as_str).collect();
                let mapping = self.order.mapping(inner, &given);
                let first = self.sorted(&given, &mapping)[0];
                let above = without_blanks(&self.tree.elements[elements[first]].lead);
                self.lead(&above, indent);
                if let Some(trail) = &element.trail {
                    self.lead(&[Lead::Comment(trail.clone())], indent);
                }
                self.pad(indent);
                self.out.push_str("- ");
                self.block(value, indent + 2, inner, true)?;
            } else {
                self.pad(indent);
                self.out.push('-');
                self.value(value, indent, inner, element.trail.as_deref())?;
            }
        }
        Some(())
    }

    /// The texts of the keys of a mapping.
    fn keys(&self, elements: &[usize]) -> Option<Vec<String>> {
        let key = |e: &usize| {
            let node = &self.tree.nodes[self.tree.elements[*e].key?];
            let text = &self.text[node.span.clone()];
            Some(text.trim_matches(['"', '\'']).to_owned())
        };
        elements.iter().map(key).collect()
    }

    /// Positions of the keys in canonical order. Where anchors are, order may mean something.
    fn sorted(&self, given: &[&str], mapping: &Mapping) -> Vec<usize> {
        let mut sorted: Vec<usize> = (0..given.len()).collect();
        if !mapping.is_free() && !self.tree.has_anchors {
            sorted.sort_by_cached_key(|at| mapping.rank(given[*at]));
        }
        sorted
    }

    /// Whether a node is written as a block, its elements at `indent`.
    fn as_block(&self, node: usize, indent: usize) -> bool {
        if self.tree.elements_of(node).is_empty() {
            return false;
        }
        let span = self.tree.nodes[node].span.clone();
        let one_line = !self.text[span].contains('\n');
        let fits = || self.flow(node).is_some_and(|flow| indent + flow.chars().count() <= WIDTH);
        !(self.tree.is_flow(node) && one_line && !self.tree.has_comments(node) && fits())
    }

    /// A value behind `key:` or `-`, to the end of its last line.
    fn value(&mut self, node: usize, indent: usize, spot: Spot, trail: Option<&str>) -> Option<()> {
        let line_start = self.out.rfind('\n').map_or(0, |at| at + 1);
        let begun = self.out[line_start..].chars().count() + 1;
        if !self.as_block(node, begun) {
            return self.value_after(" ", node, indent, trail);
        }
        let props = &self.tree.nodes[node].props;
        if !props.is_empty() {
            self.out.push(' ');
            self.out.push_str(props);
        }
        if let Some(trail) = trail {
            self.out.push_str("  ");
            self.out.push_str(trail);
        }
        self.out.push('\n');
        self.block(node, indent + 2, spot, false)
    }

    /// A scalar, an alias or a flow collection.
    fn value_after(
        &mut self,
        space: &str,
        at: usize,
        indent: usize,
        trail: Option<&str>,
    ) -> Option<()> {
        let node = &self.tree.nodes[at];
        if !node.props.is_empty() {
            self.out.push_str(space);
            self.out.push_str(&node.props);
        }
        let source = &self.text[node.span.clone()];
        let trail = trail.map(|t| format!("  {t}")).unwrap_or_default();
        match &node.kind {
            Kind::Block => {
                self.out.push_str(space);
                self.block_scalar(source, indent, &trail)?;
                if source.lines().next().is_some_and(|header| header.contains('+')) {
                    // `+` keeps the blank lines that follow.
                    let rest = &self.text[node.span.end..];
                    let blank = &rest[..rest.len() - rest.trim_start().len()];
                    let kept = blank.matches('\n').count().saturating_sub(1);
                    self.out.extend(std::iter::repeat_n('\n', kept));
                }
                return Some(());
            }
            Kind::Inline => {
                let space = if source.is_empty() { "" } else { space };
                self.out.push_str(space);
                let mut lines = source.lines();
                self.out.push_str(lines.next().unwrap_or_default().trim_end());
                for line in lines {
                    self.out.push('\n');
                    let line = line.trim();
                    if !line.is_empty() {
                        self.pad(indent + 2);
                        self.out.push_str(line);
                    }
                }
            }
            _ => {
                self.out.push_str(space);
                let flow = self.flow(at)?;
                self.out.push_str(flow.strip_prefix(&node.props).unwrap_or(&flow).trim_start());
            }
        }
        self.out.push_str(&trail);
        self.out.push('\n');
        Some(())
    }

    /// `|` or `>`: the header, then its lines at `indent + 2`.
    fn block_scalar(&mut self, source: &str, indent: usize, trail: &str) -> Option<()> {
        let mut lines = source.lines();
        let header = lines.next()?;
        let header = header.split('#').next().unwrap_or(header).trim_end();
        let lines: Vec<&str> = lines.map(str::trim_end).collect();
        let width = |line: &&str| line.len() - line.trim_start_matches(' ').len();
        let explicit = header.chars().find(char::is_ascii_digit);
        // With an indentation indicator the first line may be indented further than the text.
        let base = match explicit {
            Some(_) => return None,
            None => lines.iter().find(|l| !l.is_empty()).map_or(0, width),
        };
        self.out.push_str(header);
        self.out.push_str(trail);
        self.out.push('\n');
        for line in lines {
            if !line.is_empty() {
                self.pad(indent + 2);
                self.out.push_str(line.get(base..)?);
            }
            self.out.push('\n');
        }
        Some(())
    }

    /// A flow collection on one line.
    fn flow(&self, node: usize) -> Option<String> {
        let props = &self.tree.nodes[node].props;
        let props = if props.is_empty() { String::new() } else { format!("{props} ") };
        let source = &self.text[self.tree.nodes[node].span.clone()];
        let body = match &self.tree.nodes[node].kind {
            Kind::Block => return None,
            Kind::Inline if source.contains('\n') => return None,
            Kind::Inline if source.is_empty() => "null".to_owned(),
            Kind::Inline => source.to_owned(),
            Kind::List { elements, .. } => {
                let items: Option<Vec<String>> =
                    elements.iter().map(|e| self.flow(self.tree.elements[*e].value)).collect();
                format!("[{}]", items?.join(", "))
            }
            Kind::Map { elements, .. } => {
                let entries: Option<Vec<String>> =
                    elements.iter().map(|e| self.flow_entry(*e)).collect();
                format!("{{{}}}", entries?.join(", "))
            }
        };
        Some(props + &body)
    }

    fn flow_entry(&self, element: usize) -> Option<String> {
        let element = &self.tree.elements[element];
        let key = self.flow(element.key?)?;
        let gap = if key.starts_with('*') { " " } else { "" };
        Some(format!("{key}{gap}: {}", self.flow(element.value)?))
    }
}

fn without_blanks(lead: &[Lead]) -> Vec<Lead> {
    let start = lead.iter().position(|l| *l != Lead::Blank).unwrap_or(lead.len());
    let end = lead.iter().rposition(|l| *l != Lead::Blank).map_or(start, |e| e + 1);
    lead[start..end].to_vec()
}
