//! A plan as a drawing: Mermaid and DOT.

use moa_core::workflow::{BodyIx, MAIN, Plan, PlanStep, StepIx, StepKind};

/// The plan as a Mermaid flowchart.
pub fn graph_mermaid(plan: &Plan) -> String {
    let mut out = String::from("flowchart TD\n");
    Mermaid { graph: Graph::new(plan), out: &mut out }.all();
    out
}

/// The plan in Graphviz's language.
pub fn graph_dot(plan: &Plan) -> String {
    let mut out = format!("digraph \"{}\" {{\n", dot_text(plan.workflow.as_str()));
    out.push_str("  compound=true;\n  node [shape=box, style=rounded, fontname=\"sans-serif\"];\n");
    out.push_str("  edge [fontname=\"sans-serif\", fontsize=10];\n");
    Dot { graph: Graph::new(plan), out: &mut out }.all();
    out.push_str("}\n");
    out
}

/// Who stands in whom.
struct Graph<'p> {
    plan: &'p Plan,
    /// Steps directly inside each step: children, and the steps of its loop.
    inside: Vec<Vec<StepIx>>,
}

/// A list of steps of its own.
struct Section {
    title: &'static str,
    body: BodyIx,
}

impl<'p> Graph<'p> {
    fn new(plan: &'p Plan) -> Self {
        let mut inside = vec![Vec::new(); plan.steps.len()];
        for (ix, step) in plan.steps.iter().enumerate() {
            let owner = plan.bodies.get(usize::from(step.body)).and_then(|b| b.owner);
            let owner = owner.filter(|o| Self::loop_body(plan.step(*o)) == Some(step.body));
            if let Some(up) = step.parent.or(owner) {
                inside[up as usize].push(ix as StepIx);
            }
        }
        Self { plan, inside }
    }

    fn loop_body(step: &PlanStep) -> Option<BodyIx> {
        match step.kind {
            StepKind::Foreach { body, .. } | StepKind::While { body, .. } => Some(body),
            _ => None,
        }
    }

    /// Steps of a body that stand in no other step.
    fn top(&self, body: BodyIx) -> Vec<StepIx> {
        let steps = self.plan.body_steps(body);
        steps.filter(|(_, s)| s.parent.is_none()).map(|(ix, _)| ix).collect()
    }

    fn sections(&self) -> Vec<Section> {
        let lists = [("on failure", self.plan.on_failure), ("finally", self.plan.finally)];
        lists.into_iter().filter_map(|(title, body)| Some(Section { title, body: body? })).collect()
    }

    fn is_group(&self, ix: StepIx) -> bool {
        !self.inside[ix as usize].is_empty()
    }

    /// The lines of a step's label.
    fn label(&self, ix: StepIx) -> Vec<String> {
        let step = self.plan.step(ix);
        let mut lines = vec![step.id.to_string()];
        lines.extend(match &step.kind {
            StepKind::Task { agent, action, .. } => Some(format!("{agent}: {action}")),
            StepKind::Group => None,
            StepKind::Committee(_) => Some("committee".into()),
            StepKind::If { cases, .. } if cases.len() == 1 => Some(cases[0].source().to_owned()),
            StepKind::If { .. } => None,
            StepKind::Foreach { items, var, .. } => Some(format!("{var} in {}", items.source())),
            StepKind::While { condition, until, .. } => {
                let word = if *until { "until" } else { "while" };
                Some(format!("{word} {}", condition.source()))
            }
            StepKind::Child { workflow, version, .. } => Some(match version {
                Some(version) => format!("workflow {workflow}@{version}"),
                None => format!("workflow {workflow}"),
            }),
            StepKind::WaitSignal { name, .. } => Some(format!("signal {}", plain(name.source()))),
            StepKind::WaitEvent { event, .. } => Some(format!("event {event}")),
            StepKind::Approve { request, .. } => {
                Some(plain(request.source().get("title").unwrap_or(&serde_json::Value::Null)))
            }
            StepKind::Sleep { until } => Some(plain(until.source())),
            StepKind::Emit { event, .. } => Some(format!("emit {event}")),
        });
        lines.extend(step.condition.as_ref().map(|c| format!("if {}", c.source())));
        lines.retain(|line| !line.is_empty());
        lines
    }

    /// What stands at the edge from a container to a child of it.
    fn branch(&self, parent: StepIx, child: StepIx) -> Option<String> {
        let branch = self.plan.step(child).branch;
        match &self.plan.step(parent).kind {
            StepKind::If { default, .. } if *default == Some(branch) => Some("else".into()),
            StepKind::If { cases, .. } if cases.len() == 1 => Some("then".into()),
            StepKind::If { cases, .. } => Some(cases.get(usize::from(branch))?.source().to_owned()),
            _ => None,
        }
    }

    /// Children that start with their container: those that need none of their siblings.
    fn first_inside(&self, ix: StepIx) -> impl Iterator<Item = StepIx> + '_ {
        self.inside[ix as usize].iter().copied().filter(|c| self.plan.step(*c).needs.is_empty())
    }
}

fn plain(json: &serde_json::Value) -> String {
    match json {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// Text that fits a label: one line, not too long.
fn short(text: &str) -> String {
    let line: String =
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(60).collect();
    if text.chars().count() > 60 { format!("{line}…") } else { line }
}

struct Mermaid<'p, 'o> {
    graph: Graph<'p>,
    out: &'o mut String,
}

impl Mermaid<'_, '_> {
    fn all(&mut self) {
        for ix in self.graph.top(MAIN) {
            self.step(ix, 1);
        }
        for Section { title, body } in self.graph.sections() {
            self.line(1, &format!("subgraph b{body}[\"{title}\"]"));
            for ix in self.graph.top(body) {
                self.step(ix, 2);
            }
            self.line(1, "end");
        }
        for (ix, step) in self.graph.plan.steps.iter().enumerate() {
            let Some(body) = step.compensate else { continue };
            self.line(1, &format!("subgraph b{body}[\"undo {}\"]", step.id));
            for ix in self.graph.top(body) {
                self.step(ix, 2);
            }
            self.line(1, "end");
            let from = self.name(ix as StepIx);
            self.line(1, &format!("{from} -.-> b{body}"));
        }
        for (ix, step) in self.graph.plan.steps.iter().enumerate() {
            for need in &step.needs {
                let edge = format!("{} --> {}", self.name(need.step), self.name(ix as StepIx));
                self.line(1, &edge);
            }
        }
    }

    fn line(&mut self, depth: usize, text: &str) {
        self.out.push_str(&"  ".repeat(depth));
        self.out.push_str(text);
        self.out.push('\n');
    }

    fn name(&self, ix: StepIx) -> String {
        format!("{}{ix}", if self.graph.is_group(ix) { "g" } else { "s" })
    }

    fn step(&mut self, ix: StepIx, depth: usize) {
        let label = self.graph.label(ix).iter().map(|l| mermaid_text(l)).collect::<Vec<_>>();
        let label = label.join("<br/>");
        let (open, close) = match self.graph.plan.step(ix).kind {
            StepKind::If { .. } => ("{\"", "\"}"),
            StepKind::Foreach { .. } | StepKind::While { .. } => ("([\"", "\"])"),
            StepKind::Approve { .. } | StepKind::WaitSignal { .. } | StepKind::WaitEvent { .. } => {
                ("[/\"", "\"/]")
            }
            _ => ("[\"", "\"]"),
        };
        if !self.graph.is_group(ix) {
            self.line(depth, &format!("s{ix}{open}{label}{close}"));
            return;
        }
        let title = mermaid_text(self.graph.plan.step(ix).id.as_str());
        self.line(depth, &format!("subgraph g{ix}[\"{title}\"]"));
        self.line(depth + 1, &format!("s{ix}{open}{label}{close}"));
        for child in self.graph.inside[ix as usize].clone() {
            self.step(child, depth + 1);
        }
        let first: Vec<StepIx> = self.graph.first_inside(ix).collect();
        for child in first {
            let name = self.name(child);
            let edge = match self.graph.branch(ix, child) {
                Some(text) => format!("s{ix} -->|\"{}\"| {name}", mermaid_text(&text)),
                None => format!("s{ix} --> {name}"),
            };
            self.line(depth + 1, &edge);
        }
        self.line(depth, "end");
    }
}

fn mermaid_text(text: &str) -> String {
    let mut out = String::new();
    for c in short(text).chars() {
        match c {
            '"' => out.push_str("#quot;"),
            '<' => out.push_str("#lt;"),
            '>' => out.push_str("#gt;"),
            '#' => out.push_str("#35;"),
            '&' => out.push_str("#amp;"),
            '`' => out.push_str("#96;"),
            c => out.push(c),
        }
    }
    out
}

struct Dot<'p, 'o> {
    graph: Graph<'p>,
    out: &'o mut String,
}

impl Dot<'_, '_> {
    fn all(&mut self) {
        for ix in self.graph.top(MAIN) {
            self.step(ix, 1);
        }
        for Section { title, body } in self.graph.sections() {
            self.section(body, title);
        }
        for (ix, step) in self.graph.plan.steps.iter().enumerate() {
            let Some(body) = step.compensate else { continue };
            self.section(body, &format!("undo {}", step.id));
            if let Some(first) = self.graph.top(body).first() {
                let edge = format!("s{ix} -> s{first} [style=dashed, lhead=cluster_b{body}];");
                self.line(1, &edge);
            }
        }
        for (ix, step) in self.graph.plan.steps.iter().enumerate() {
            for need in &step.needs {
                let mut ends = Vec::new();
                if self.graph.is_group(need.step) {
                    ends.push(format!("ltail=cluster_{}", need.step));
                }
                if self.graph.is_group(ix as StepIx) {
                    ends.push(format!("lhead=cluster_{ix}"));
                }
                let ends =
                    if ends.is_empty() { "".into() } else { format!(" [{}]", ends.join(", ")) };
                self.line(1, &format!("s{} -> s{ix}{ends};", need.step));
            }
        }
    }

    fn line(&mut self, depth: usize, text: &str) {
        self.out.push_str(&"  ".repeat(depth));
        self.out.push_str(text);
        self.out.push('\n');
    }

    fn section(&mut self, body: BodyIx, title: &str) {
        self.line(1, &format!("subgraph cluster_b{body} {{"));
        self.line(2, &format!("label=\"{}\"; style=dashed;", dot_text(title)));
        for ix in self.graph.top(body) {
            self.step(ix, 2);
        }
        self.line(1, "}");
    }

    fn step(&mut self, ix: StepIx, depth: usize) {
        let label = self.graph.label(ix).iter().map(|l| dot_text(l)).collect::<Vec<_>>();
        let label = label.join("\\n");
        let shape = match self.graph.plan.step(ix).kind {
            StepKind::If { .. } => ", shape=diamond, style=solid",
            StepKind::Foreach { .. } | StepKind::While { .. } => ", shape=ellipse, style=solid",
            StepKind::Approve { .. } | StepKind::WaitSignal { .. } | StepKind::WaitEvent { .. } => {
                ", shape=parallelogram, style=solid"
            }
            _ => "",
        };
        if !self.graph.is_group(ix) {
            self.line(depth, &format!("s{ix} [label=\"{label}\"{shape}];"));
            return;
        }
        self.line(depth, &format!("subgraph cluster_{ix} {{"));
        self.line(depth + 1, "label=\"\"; style=rounded;");
        self.line(depth + 1, &format!("s{ix} [label=\"{label}\"{shape}];"));
        for child in self.graph.inside[ix as usize].clone() {
            self.step(child, depth + 1);
        }
        let first: Vec<StepIx> = self.graph.first_inside(ix).collect();
        for child in first {
            let label = match self.graph.branch(ix, child) {
                Some(text) => format!(" [label=\"{}\"]", dot_text(&text)),
                None => String::new(),
            };
            self.line(depth + 1, &format!("s{ix} -> s{child}{label};"));
        }
        self.line(depth, "}");
    }
}

fn dot_text(text: &str) -> String {
    short(text).replace('\\', "\\\\").replace('"', "\\\"")
}
