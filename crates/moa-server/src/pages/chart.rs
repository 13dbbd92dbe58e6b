//! Charts over time as drawings, each with the same numbers as a table for who doesn't see them.

use maud::{Markup, html};
use moa_core::time::{Millis, Span};

/// Height and width of a chart in units of the drawing.
const HEIGHT: f64 = 100.0;
const WIDTH: f64 = 600.0;
/// Room above the highest value.
const ROOM: f64 = 1.08;

/// One row of values of a chart.
pub struct Row {
    /// What it is.
    pub label: &'static str,
    /// How it looks: a class of the style sheet.
    pub class: &'static str,
    /// The values; `None` = nothing is known.
    pub values: Vec<Option<f64>>,
}

/// A chart.
pub struct Chart<'a> {
    /// What it shows.
    pub title: &'a str,
    /// What is to be said beside its title.
    pub beside: String,
    /// The begin of each value.
    pub at: &'a [Millis],
    /// What it shows, the first one lowest.
    pub rows: Vec<Row>,
    /// A value as people write it.
    pub say: fn(f64) -> String,
    /// Whether values stand on one another, as bars; lines otherwise.
    pub stacked: bool,
}

impl Chart<'_> {
    /// The highest value, or sum of values.
    fn most(&self) -> f64 {
        let sum = |i: usize| self.rows.iter().filter_map(|row| row.values.get(i)?.as_ref()).sum();
        let most = match self.stacked {
            true => (0..self.at.len()).map(sum).fold(0.0, f64::max),
            false => {
                let all = self.rows.iter().flat_map(|row| row.values.iter().flatten());
                all.copied().fold(0.0, f64::max)
            }
        };
        if most > 0.0 { most } else { 1.0 }
    }

    fn is_empty(&self) -> bool {
        self.rows.iter().all(|row| row.values.iter().flatten().all(|value| *value == 0.0))
    }

    /// All of it: title, legend, drawing, table.
    pub fn figure(&self) -> Markup {
        let key = format!("table {}", self.title);
        html! {
            figure class="chart card" {
                figcaption {
                    h2 { (self.title) span class="dim" { (self.beside) } }
                    @if self.rows.len() > 1 {
                        ul class="legend" {
                            @for row in &self.rows {
                                li { span class={ "swatch " (row.class) } aria-hidden="true" {}
                                    (row.label) }
                            }
                        }
                    }
                }
                (self.drawing())
                div class="axis" aria-hidden="true" {
                    @for at in self.marks() { span { (clock(at, self.is_of_days())) } }
                }
                details data-key=(key) {
                    summary { "As a table" }
                    (self.table())
                }
            }
        }
    }

    /// The drawing alone, with its highest value.
    fn drawing(&self) -> Markup {
        let most = self.most();
        html! {
            div class="plot" {
                span class="most dim" aria-hidden="true" {
                    @if !self.is_empty() { (( self.say)(most)) }
                }
                (self.svg(most, self.title))
                @if self.is_empty() { span class="none dim" { "Nothing in this time" } }
            }
        }
    }

    /// A small drawing for between texts.
    pub fn spark(&self) -> Markup {
        html! { div class="spark" { (self.svg(self.most(), self.title)) } }
    }

    fn svg(&self, most: f64, label: &str) -> Markup {
        let top = most * ROOM;
        let y = |value: f64| HEIGHT - (value / top) * HEIGHT;
        html! {
            svg role="img" aria-label=(label) viewBox={ "0 0 " (WIDTH) " " (HEIGHT) }
                preserveAspectRatio="none" {
                line class="ground" x1="0" x2=(WIDTH) y1=(HEIGHT) y2=(HEIGHT)
                    vector-effect="non-scaling-stroke" {}
                @if self.stacked { (self.stacks(&y)) }
                @else {
                    @for row in &self.rows {
                        @for path in paths(&row.values, self.step(), &y) {
                            @let alone = if is_point(&path) { " point" } else { "" };
                            path class={ "line " (row.class) (alone) } d=(path)
                                vector-effect="non-scaling-stroke" {}
                        }
                    }
                }
            }
        }
    }

    fn step(&self) -> f64 {
        WIDTH / self.at.len().max(1) as f64
    }

    fn stacks(&self, y: &dyn Fn(f64) -> f64) -> Markup {
        let step = self.step();
        let mut below = vec![0.0; self.at.len()];
        let mut bars = Vec::new();
        for row in &self.rows {
            for (i, (value, low)) in row.values.iter().zip(&mut below).enumerate() {
                let Some(value) = value.filter(|value| *value > 0.0) else { continue };
                let (bottom, top) = (y(*low), y(*low + value));
                *low += value;
                bars.push((row.class, i as f64 * step + step * 0.1, top, (bottom - top).max(0.8)));
            }
        }
        html! {
            @for (class, x, y, height) in bars {
                rect class=(class) x=(format!("{x:.1}")) y=(format!("{y:.1}"))
                    width=(format!("{:.1}", step * 0.8)) height=(format!("{height:.1}")) {}
            }
        }
    }

    /// Where the axis is marked.
    fn marks(&self) -> impl Iterator<Item = Millis> {
        let last = self.at.len().saturating_sub(1);
        [0, 1, 2, 3, 4].into_iter().filter_map(move |part| self.at.get(last * part / 4).copied())
    }

    /// Whether it goes over more than a day, so that the time of day alone would say too little.
    fn is_of_days(&self) -> bool {
        let ends = self.at.first().zip(self.at.last());
        ends.is_some_and(|(first, last)| last.since(*first) > Span::minutes(24 * 60))
    }

    fn table(&self) -> Markup {
        html! {
            div class="table" tabindex="0" {
                table {
                    caption class="unseen" { (self.title) }
                    thead { tr {
                        th scope="col" { "From" }
                        @for row in &self.rows { th scope="col" class="num" { (row.label) } }
                    } }
                    tbody {
                        @for (i, at) in self.at.iter().enumerate().rev() {
                            tr {
                                th scope="row" class="mono" { (at) }
                                @for row in &self.rows {
                                    td class="num" {
                                        @match row.values.get(i).copied().flatten() {
                                            Some(value) => ((self.say)(value)),
                                            None => "–",
                                        }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The lines of a row: a new one behind each gap. A value alone is a point, a line of no length.
fn paths(values: &[Option<f64>], step: f64, y: &dyn Fn(f64) -> f64) -> Vec<String> {
    let mut all = Vec::new();
    let mut path = String::new();
    for (i, value) in values.iter().enumerate() {
        match value {
            Some(value) => {
                let (x, y) = ((i as f64 + 0.5) * step, y(*value));
                if path.is_empty() {
                    path = format!("M{x:.1} {y:.1}");
                }
                path.push_str(&format!("L{x:.1} {y:.1}"));
            }
            None if path.is_empty() => {}
            None => all.push(std::mem::take(&mut path)),
        }
    }
    if !path.is_empty() {
        all.push(path);
    }
    all
}

/// Whether a line is of one value.
fn is_point(path: &str) -> bool {
    path.matches('L').count() == 1
}

/// An instant on an axis: `14:30`, or `11-21 14:30`.
fn clock(at: Millis, with_day: bool) -> String {
    let text = at.to_string();
    let part = |range| text.get(range).unwrap_or_default();
    match with_day {
        true => format!("{} {}", part(5..10), part(11..16)),
        false => part(11..16).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_parts_a_line() {
        let lines = paths(&[Some(1.0), Some(2.0), None, Some(3.0)], 10.0, &|value| value);
        assert_eq!(lines, ["M5.0 1.0L5.0 1.0L15.0 2.0", "M35.0 3.0L35.0 3.0"]);
        assert_eq!([is_point(&lines[0]), is_point(&lines[1])], [false, true]);
    }

    #[test]
    fn a_chart_says_its_numbers_as_a_table_too() {
        let at = [Millis(0), Millis(60_000)];
        let chart = |stacked| Chart {
            title: "Runs",
            beside: String::new(),
            at: &at,
            rows: vec![
                Row { label: "one", class: "c1", values: vec![Some(1.0), None] },
                Row { label: "two", class: "c2", values: vec![Some(2.0), Some(7.0)] },
            ],
            say: |value| format!("{value} runs"),
            stacked,
        };
        assert_eq!((chart(true).most(), chart(false).most()), (7.0, 7.0));
        let shown = chart(true).figure().into_string();
        assert_eq!(shown.matches("<rect").count(), 3, "{shown}");
        assert!(shown.contains("7 runs") && shown.contains("1970-01-01T00:01:00"), "{shown}");
        let lines = chart(false).figure().into_string();
        assert_eq!(lines.matches("<path").count(), 2, "{lines}");
    }
}
