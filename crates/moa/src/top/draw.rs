//! The screen: from what there is to see to cells, and nothing else.
//!
//! All text of others goes through [`text::safe_line`] here, whoever made it.

use moa_core::time::Millis;
use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Paragraph, Sparkline, Widget};

use super::data::Overview;
use super::state::{Mode, Pane, State};
use crate::text;
use crate::ui::Style as Look;
use crate::view::{now, run_style};

/// From here on, all parts stand beside each other.
const WIDE: u16 = 72;
const TALL: u16 = 18;

/// What keys do, beside what they are.
const KEYS: [(&str, &str); 11] = [
    ("q, Ctrl-C", "end"),
    ("Tab, left, right", "another part"),
    ("up, down, Page, Home, End", "another line"),
    ("Enter", "the run: its steps, and why it doesn't go on"),
    ("Esc", "back; no filter"),
    ("/", "only lines that contain a text"),
    ("p", "stand still; go on"),
    ("c", "cancel the run, after a question"),
    ("?", "this"),
    ("", ""),
    ("", "moa runs why RUN, moa runs logs RUN say more"),
];

/// How things look.
#[derive(Debug, Clone, Copy)]
pub struct Paint {
    /// Whether there are colours.
    pub color: bool,
    /// This moment.
    pub now: Millis,
}

impl Paint {
    /// Of this moment.
    pub fn new(color: bool) -> Self {
        Self { color, now: now() }
    }

    fn style(self, look: Look) -> Style {
        let style = Style::default();
        if !self.color {
            return style;
        }
        match look {
            Look::Plain => style,
            Look::Bold => style.add_modifier(Modifier::BOLD),
            Look::Dim => style.add_modifier(Modifier::DIM),
            Look::Red => style.fg(Color::Red),
            Look::Green => style.fg(Color::Green),
            Look::Yellow => style.fg(Color::Yellow),
            Look::Cyan => style.fg(Color::Cyan),
        }
    }

    fn span(self, look: Look, text: impl AsRef<str>) -> Span<'static> {
        Span::styled(text::safe_line(text.as_ref()).into_owned(), self.style(look))
    }

    fn age(self, at: Millis) -> String {
        text::relative(at, self.now)
    }
}

/// Draws all.
pub fn draw(state: &State, paint: Paint, area: Rect, buffer: &mut Buffer) {
    let rows = [Constraint::Length(2), Constraint::Fill(1), Constraint::Length(1)];
    let [head, body, foot] = Layout::vertical(rows).areas(area);
    match &state.data {
        Some(data) => draw_head(data, state, paint, head, buffer),
        None => Paragraph::new("looking …").render(head, buffer),
    }
    match &state.mode {
        Mode::Help => draw_help(paint, body, buffer),
        Mode::Detail { run, from } => {
            draw_detail(state, &format!("run {run}"), *from, paint, body, buffer);
        }
        _ => draw_parts(state, paint, body, buffer),
    }
    draw_foot(state, paint, foot, buffer);
}

fn draw_head(data: &Overview, state: &State, paint: Paint, area: Rect, buffer: &mut Buffer) {
    let rows = Layout::vertical([Constraint::Length(1), Constraint::Length(1)]);
    let [first, second] = rows.areas(area);
    let mut spans = vec![paint.span(Look::Bold, "moa"), paint.span(Look::Plain, " ")];
    spans.push(paint.span(Look::Plain, &data.place));
    match &data.node {
        None => spans.push(paint.span(Look::Yellow, "  no node runs: `moa up`")),
        Some(node) => {
            let up = text::duration(paint.now.since(node.since));
            let busy = format!("  up {up}  {} of {} at work", node.running, node.max_running);
            spans.push(paint.span(Look::Dim, busy));
            if let Some(why) = &node.degraded {
                spans.push(paint.span(Look::Red, format!("  can't write: {why}")));
            } else if node.stopping {
                spans.push(paint.span(Look::Yellow, "  is stopping"));
            }
        }
    }
    if state.paused {
        spans.push(paint.span(Look::Yellow, format!("  stands still since {}", data.at)));
    }
    Paragraph::new(Line::from(spans)).render(first, buffer);
    let parts = Layout::horizontal([Constraint::Fill(1), Constraint::Length(61)]);
    let narrow = Layout::horizontal([Constraint::Fill(1), Constraint::Length(0)]);
    let [left, right] = if area.width > 110 { parts } else { narrow }.areas(second);
    Paragraph::new(numbers(data, paint)).render(left, buffer);
    let style = paint.style(Look::Cyan);
    Sparkline::default().data(&data.ended).style(style).render(right, buffer);
}

/// Runs by status, and the last hour.
fn numbers(data: &Overview, paint: Paint) -> Line<'static> {
    let count = |status: &str| data.runs.get(status).copied().unwrap_or(0);
    let mut spans = Vec::new();
    for (status, look) in
        [("running", Look::Cyan), ("waiting", Look::Yellow), ("pending", Look::Plain)]
    {
        spans.push(paint.span(look, format!("{status} {}  ", count(status))));
    }
    let ended: u64 = data.ended.iter().sum();
    spans.push(paint.span(Look::Dim, format!("last hour: {ended} ended, ")));
    let look = if data.failed > 0 { Look::Red } else { Look::Dim };
    spans.push(paint.span(look, format!("{} failed  ", data.failed)));
    spans.push(paint.span(Look::Cyan, bars(&data.ended)));
    Line::from(spans)
}

/// The last hour in 12 characters.
fn bars(ended: &[u64]) -> String {
    let parts: Vec<u64> = ended.chunks(5).map(|part| part.iter().sum()).collect();
    let most = parts.iter().copied().max().unwrap_or(0).max(1);
    let bar = |n: &u64| match n {
        0 => ' ',
        n => ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'][((n * 8).div_ceil(most) - 1).min(7) as usize],
    };
    parts.iter().map(bar).collect()
}

fn draw_parts(state: &State, paint: Paint, area: Rect, buffer: &mut Buffer) {
    if area.width < WIDE || area.height < TALL {
        return draw_part(state, state.pane, paint, area, buffer);
    }
    let thirds = [Constraint::Fill(4), Constraint::Fill(4), Constraint::Fill(3)];
    let [upper, middle, lower] = Layout::vertical(thirds).areas(area);
    let halves = Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]);
    let [left, right] = halves.areas(upper);
    draw_part(state, Pane::Running, paint, left, buffer);
    draw_part(state, Pane::Waiting, paint, right, buffer);
    let [left, right] = halves.areas(middle);
    draw_part(state, Pane::Wrong, paint, left, buffer);
    draw_part(state, Pane::Next, paint, right, buffer);
    draw_part(state, Pane::Agents, paint, lower, buffer);
}

fn draw_part(state: &State, pane: Pane, paint: Paint, area: Rect, buffer: &mut Buffer) {
    let (title, nothing) = match pane {
        Pane::Running => ("Runs", "nothing runs"),
        Pane::Waiting => ("Waits for somebody", "nobody is waited for"),
        Pane::Wrong => ("Late or wrong", "nothing is late or wrong"),
        Pane::Next => ("Next", "no slot comes"),
        Pane::Agents => ("Agents", "no agents"),
    };
    let lines = state.data.as_ref().map(|data| lines_of(data, state, pane, paint));
    let lines = lines.unwrap_or_default();
    let has_keys = state.pane == pane;
    let look = if has_keys { Look::Bold } else { Look::Dim };
    let title = format!("{}{title} ({}) ", if has_keys { " ▸ " } else { " " }, lines.len());
    let block = Block::bordered().title(title).border_style(paint.style(look));
    let inside = block.inner(area);
    block.render(area, buffer);
    if lines.is_empty() {
        let line = Line::from(paint.span(Look::Dim, nothing));
        return Paragraph::new(line).render(inside, buffer);
    }
    let chosen = state.line(pane);
    let height = usize::from(inside.height).max(1);
    let first = (chosen + 1).saturating_sub(height);
    let shown = lines.into_iter().enumerate().skip(first).take(height);
    for ((index, line), row) in shown.zip(inside.rows()) {
        Paragraph::new(line).render(row, buffer);
        if has_keys && index == chosen {
            buffer.set_style(row, Style::default().add_modifier(Modifier::REVERSED));
        }
    }
}

/// The lines of a part that the filter passes.
fn lines_of(data: &Overview, state: &State, pane: Pane, paint: Paint) -> Vec<Line<'static>> {
    let dim = |text: String| paint.span(Look::Dim, text);
    match pane {
        Pane::Running => {
            let fit = data.running.iter().filter(|line| state.fits(&line.text()));
            fit.map(|line| {
                let status = line.status;
                Line::from(vec![
                    paint.span(run_style(status), format!("{:<8}", status.as_str())),
                    paint.span(Look::Plain, format!("{} ", line.workflow)),
                    dim(format!("{} {} {}", line.run.short(), paint.age(line.since), line.cause)),
                ])
            })
            .collect()
        }
        Pane::Waiting => {
            let fit = data.waiting.iter().filter(|line| state.fits(&line.text()));
            fit.map(|line| {
                Line::from(vec![
                    paint.span(Look::Yellow, format!("{} ", line.workflow)),
                    paint.span(Look::Plain, format!("{} ", line.step)),
                    dim(format!("{} {}", paint.age(line.since), line.reason)),
                ])
            })
            .collect()
        }
        Pane::Wrong => {
            let fit = data.wrong.iter().filter(|line| state.fits(&line.text()));
            fit.map(|line| {
                Line::from(vec![
                    paint.span(Look::Red, format!("{:<7}", line.kind)),
                    paint.span(Look::Plain, format!("{} ", line.what)),
                    dim(format!("{} {}", paint.age(line.since), line.why)),
                ])
            })
            .collect()
        }
        Pane::Next => {
            let fit = data.next.iter().filter(|line| state.fits(&line.schedule));
            fit.map(|line| {
                Line::from(vec![
                    paint.span(Look::Plain, format!("{} ", line.schedule)),
                    dim(format!("{} {}", paint.age(line.at), clock(line.at))),
                ])
            })
            .collect()
        }
        Pane::Agents => agents(data, state, paint),
    }
}

/// An instant in few characters: `11-23 08:00 UTC`.
fn clock(at: Millis) -> String {
    let whole = at.to_string();
    match (whole.get(5..10), whole.get(11..16)) {
        (Some(day), Some(time)) => format!("{day} {time} UTC"),
        _ => whole,
    }
}

fn agents(data: &Overview, state: &State, paint: Paint) -> Vec<Line<'static>> {
    const BAR: usize = 20;
    let fit = data.agents.iter().filter(|line| state.fits(line.agent.as_str()));
    fit.map(|line| {
        let of = line.at_once.map_or_else(|| "-".to_owned(), |most| most.to_string());
        let most = line.at_once.unwrap_or(0).max(line.running).max(1) as usize;
        let full = (line.running as usize * BAR).div_ceil(most).min(BAR);
        let look = if line.running as usize == most { Look::Yellow } else { Look::Green };
        let word = match (line.paused, line.ready) {
            (true, _) => paint.span(Look::Yellow, " paused"),
            (false, 0) => paint.span(Look::Plain, ""),
            (false, n) => paint.span(Look::Yellow, format!(" {n} wait")),
        };
        Line::from(vec![
            paint.span(Look::Plain, format!("{:<24} ", text::cut(line.agent.as_str(), 24))),
            paint.span(look, "█".repeat(full)),
            paint.span(Look::Dim, "·".repeat(BAR - full)),
            paint.span(Look::Plain, format!(" {} of {of}", line.running)),
            word,
        ])
    })
    .collect()
}

fn draw_detail(
    state: &State,
    title: &str,
    from: usize,
    paint: Paint,
    area: Rect,
    buffer: &mut Buffer,
) {
    let block = Block::bordered().title(format!(" {title} "));
    let block = block.border_style(paint.style(Look::Bold));
    let inside = block.inner(area);
    block.render(area, buffer);
    if state.detail.is_empty() {
        return Paragraph::new("looking …").render(inside, buffer);
    }
    for (line, row) in state.detail.iter().skip(from).zip(inside.rows()) {
        Paragraph::new(Line::from(paint.span(Look::Plain, line))).render(row, buffer);
    }
}

fn draw_help(paint: Paint, area: Rect, buffer: &mut Buffer) {
    let block = Block::bordered().title(" Keys ").border_style(paint.style(Look::Bold));
    let inside = block.inner(area);
    block.render(area, buffer);
    for ((key, does), row) in KEYS.iter().zip(inside.rows()) {
        let key = paint.span(Look::Bold, format!("{key:<27}"));
        Paragraph::new(Line::from(vec![key, paint.span(Look::Plain, *does)])).render(row, buffer);
    }
}

fn draw_foot(state: &State, paint: Paint, area: Rect, buffer: &mut Buffer) {
    let line = match (&state.mode, &state.said, &state.gone) {
        (Mode::Confirm { run }, ..) => {
            paint.span(Look::Yellow, format!("cancel run {run}? y: yes, any other key: no"))
        }
        (Mode::Filter, ..) => paint.span(Look::Bold, format!("/{}▏ Enter, Esc", state.filter)),
        (_, Some(said), _) => paint.span(Look::Yellow, said),
        (_, _, Some(gone)) => paint.span(Look::Red, format!("{gone}; trying again")),
        (Mode::Detail { .. }, ..) => {
            paint.span(Look::Dim, "Esc back  up, down  c cancel  p stand still  q end")
        }
        _ if !state.filter.is_empty() => {
            paint.span(Look::Bold, format!("only lines with {:?}; Esc: all", state.filter))
        }
        _ => paint.span(
            Look::Dim,
            "q end  Tab part  Enter run  / filter  p stand still  c cancel  ? all keys",
        ),
    };
    Paragraph::new(Line::from(line)).render(area, buffer);
}

/// A frame as text, without what a terminal would obey.
pub fn plain(state: &State, columns: u16, rows: u16) -> String {
    let area = Rect::new(0, 0, columns, rows);
    let mut buffer = Buffer::empty(area);
    draw(state, Paint::new(false), area, &mut buffer);
    let mut out = String::new();
    for row in area.rows() {
        let mut line = String::new();
        let mut skip = 0;
        for x in row.x..row.right() {
            let symbol = buffer[(x, row.y)].symbol();
            // The cells behind a wide character are part of it.
            if skip > 0 {
                skip -= 1;
                continue;
            }
            skip = text::width(symbol).saturating_sub(1);
            line.push_str(symbol);
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use moa_core::ids::RunId;
    use moa_core::run::RunStatus;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

    use super::super::data::{AgentLine, NextLine, NodeLine, RunLine, WaitLine, WrongLine};
    use super::super::state::Wish;
    use super::*;

    const NOW: Millis = Millis(1_795_000_000_000);

    fn ago(seconds: i64) -> Millis {
        Millis(NOW.0 - seconds * 1000)
    }

    fn name(text: &str) -> moa_core::ids::Name {
        moa_core::ids::Name::new(text).expect("a name")
    }

    fn busy() -> State {
        let run = |n: u128, workflow: &str, status| RunLine {
            run: RunId(n),
            workflow: name(workflow),
            status,
            cause: "schedule \x1b[2Jnightly".into(),
            since: ago(75),
        };
        let data = Overview {
            at: NOW,
            place: "/srv/shop".into(),
            node: Some(NodeLine {
                moa: "0.1.0".into(),
                since: ago(7300),
                running: 3,
                max_running: 8,
                degraded: None,
                stopping: false,
            }),
            runs: [("running".to_owned(), 2), ("waiting".to_owned(), 1)].into(),
            running: vec![
                run(1, "build-project", RunStatus::Running),
                run(2, "sales-report", RunStatus::Running),
                run(3, "release", RunStatus::Waiting),
            ],
            waiting: vec![WaitLine {
                run: RunId(3),
                workflow: name("release"),
                step: "go".into(),
                reason: "waits for an approval: release 1.2 \u{202e}?".into(),
                since: ago(3600),
            }],
            wrong: vec![WrongLine {
                kind: "failed",
                what: "deploy".into(),
                why: "exit code 3: 日本語のエラー".into(),
                run: Some(RunId(4)),
                since: ago(120),
            }],
            next: vec![NextLine { schedule: "nightly/1".into(), at: ago(-600) }],
            agents: vec![
                AgentLine {
                    agent: name("writer"),
                    running: 2,
                    ready: 5,
                    at_once: Some(2),
                    paused: false,
                },
                AgentLine {
                    agent: name("mailer"),
                    running: 0,
                    ready: 0,
                    at_once: None,
                    paused: true,
                },
            ],
            ended: (0..60).map(|n| n % 7).collect(),
            failed: 4,
        };
        State { data: Some(data), ..State::default() }
    }

    fn shown(state: &State, columns: u16, rows: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(columns, rows)).expect("a terminal");
        let paint = Paint { color: false, now: NOW };
        terminal.draw(|f| draw(state, paint, f.area(), f.buffer_mut())).expect("it is drawn");
        terminal.backend().to_string()
    }

    fn press(state: &mut State, code: KeyCode) -> Wish {
        state.key(KeyEvent::new(code, KeyModifiers::NONE))
    }

    #[test]
    fn the_overview_fits_on_a_small_terminal_and_on_a_smaller_one() {
        assert_snapshot!("small", shown(&busy(), 80, 24));
        assert_snapshot!("tiny", shown(&busy(), 40, 10));
        assert_snapshot!("wide", shown(&busy(), 140, 30));
        // No size is too small to be drawn on.
        for (columns, rows) in [(1, 1), (3, 2), (20, 3), (200, 1)] {
            shown(&busy(), columns, rows);
        }
    }

    #[test]
    fn nothing_of_what_is_shown_is_obeyed_by_a_terminal() {
        let text = plain(&busy(), 140, 30);
        assert!(!text.contains('\x1b') && !text.contains('\u{202e}'), "{text:?}");
        assert!(text.contains("schedule ␛[2Jnightly"), "{text}");
    }

    #[test]
    fn keys_choose_filter_and_ask() {
        let mut state = busy();
        press(&mut state, KeyCode::Down);
        assert_eq!(press(&mut state, KeyCode::Char('c')), Wish::None);
        assert_eq!(state.mode, Mode::Confirm { run: RunId(2) });
        assert_eq!(press(&mut state, KeyCode::Char('n')), Wish::None);
        press(&mut state, KeyCode::Char('c'));
        assert_eq!(press(&mut state, KeyCode::Char('y')), Wish::Cancel(RunId(2)));

        press(&mut state, KeyCode::Char('/'));
        for c in "release".chars() {
            press(&mut state, KeyCode::Char(c));
        }
        assert_eq!(press(&mut state, KeyCode::Enter), Wish::None);
        assert_eq!(press(&mut state, KeyCode::Enter), Wish::Look);
        assert_eq!(state.looked_at(), Some(RunId(3)));
        state.detail = vec!["release running".into(), "├─ ◷ go".into()];
        assert_snapshot!("detail", shown(&state, 60, 8));
        press(&mut state, KeyCode::Esc);
        assert_eq!(state.looked_at(), None);
        press(&mut state, KeyCode::Esc);
        assert_eq!(state.filter, "");

        press(&mut state, KeyCode::BackTab);
        assert_eq!(state.pane, Pane::Agents);
        press(&mut state, KeyCode::End);
        assert_eq!(state.line(Pane::Agents), 1);
        assert_eq!(press(&mut state, KeyCode::Char('c')), Wish::None);
        assert_eq!(state.said.as_deref(), Some("this is no run"));
        assert_eq!(press(&mut state, KeyCode::Char('p')), Wish::None);
        assert!(state.paused);
        press(&mut state, KeyCode::Char('?'));
        assert_snapshot!("help", shown(&state, 80, 16));
        press(&mut state, KeyCode::Esc);
        assert_eq!(press(&mut state, KeyCode::Char('q')), Wish::Quit);
        let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(state.key(interrupt), Wish::Quit);
    }

    #[test]
    fn a_line_that_is_gone_is_not_chosen() {
        let mut state = busy();
        press(&mut state, KeyCode::End);
        assert_eq!(state.line(Pane::Running), 2);
        if let Some(data) = &mut state.data {
            data.running.truncate(1);
        }
        press(&mut state, KeyCode::Enter);
        assert_eq!(state.looked_at(), Some(RunId(1)));
        state.data = None;
        press(&mut state, KeyCode::Esc);
        assert_eq!(press(&mut state, KeyCode::Enter), Wish::None);
    }
}
