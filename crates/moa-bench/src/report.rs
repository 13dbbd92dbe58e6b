//! What was measured, as a table for people and as JSON for programs.

use std::fmt;

use anyhow::Result;
use serde_json::{Map, Value as Json, json};

/// One bench's result.
#[derive(Debug, Clone)]
pub struct Figure {
    /// The figure itself.
    value: f64,
    /// Its unit.
    unit: &'static str,
    /// What is aimed at, for people.
    aim: &'static str,
    /// What else was measured: names with their unit last.
    notes: Map<String, Json>,
}

impl Figure {
    /// A figure without notes.
    pub fn new(value: f64, unit: &'static str, aim: &'static str) -> Self {
        Self { value, unit, aim, notes: Map::new() }
    }

    /// The median of several rounds; least and most are noted.
    pub fn median(mut rounds: Vec<f64>, unit: &'static str, aim: &'static str) -> Self {
        rounds.sort_by(f64::total_cmp);
        let mut figure = Self::new(middle(&rounds), unit, aim);
        figure.note("min", rounds.first().copied().unwrap_or(0.0));
        figure.note("max", rounds.last().copied().unwrap_or(0.0));
        figure.note("rounds", rounds.len() as f64);
        figure
    }

    /// Adds something else that was measured.
    pub fn note(&mut self, name: &str, value: f64) {
        self.notes.insert(name.to_owned(), json!(rounded(value)));
    }

    /// The same notes under another figure.
    pub fn with_value(self, value: f64) -> Self {
        Self { value, ..self }
    }

    /// The figure itself.
    pub fn value(&self) -> f64 {
        self.value
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", shown(self.value), self.unit)
    }
}

/// The middle of sorted values.
pub fn middle(sorted: &[f64]) -> f64 {
    percentile(sorted, 0.5)
}

/// The value below which a share of the sorted values lies.
pub fn percentile(sorted: &[f64], share: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get((last as f64 * share).round() as usize).copied().unwrap_or(0.0)
}

/// All results, in order.
#[derive(Debug, Default)]
pub struct Report {
    rows: Vec<(&'static str, &'static str, Figure)>,
}

impl Report {
    /// Adds a bench's result.
    pub fn add(&mut self, id: &'static str, what: &'static str, figure: Figure) {
        self.rows.push((id, what, figure));
    }

    /// A Markdown table.
    pub fn table(&self) -> String {
        let mut text = String::from("| | what | figure | aim | what else |\n|-|-|-:|-|-|\n");
        for (id, what, figure) in &self.rows {
            let notes: Vec<String> = figure
                .notes
                .iter()
                .map(|(name, value)| format!("{name} {}", shown(value.as_f64().unwrap_or(0.0))))
                .collect();
            let (aim, notes) = (figure.aim, notes.join(", "));
            text.push_str(&format!("| {id} | {what} | {figure} | {aim} | {notes} |\n"));
        }
        text
    }

    /// One JSON object, keyed by the benches' ids.
    pub fn json(&self) -> Result<String> {
        let mut all = Map::new();
        for (id, what, figure) in &self.rows {
            let mut row = Map::new();
            row.insert("value".into(), json!(rounded(figure.value)));
            row.insert("unit".into(), json!(figure.unit));
            row.insert("what".into(), json!(what));
            row.insert("aim".into(), json!(figure.aim));
            row.extend(figure.notes.clone());
            all.insert((*id).to_owned(), Json::Object(row));
        }
        Ok(serde_json::to_string_pretty(&all)?)
    }
}

/// Four significant digits, and all digits of whole numbers.
fn rounded(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() || value.abs() >= 1000.0 {
        return value.round();
    }
    let digits = 3 - value.abs().log10().floor() as i32;
    let factor = 10f64.powi(digits);
    (value * factor).round() / factor
}

fn shown(value: f64) -> String {
    let value = rounded(value);
    if value.abs() < 1000.0 {
        return format!("{value}");
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) && !text.ends_with('-') {
            text.push(',');
        }
        text.push(c);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_shown_for_people() {
        let all = [(0.0, "0"), (0.123_456, "0.1235"), (999.94, "999.9"), (1234567.8, "1,234,568")];
        for (value, text) in all {
            assert_eq!(shown(value), text);
        }
    }

    #[test]
    fn the_median_is_the_middle() {
        let figure = Figure::median(vec![3.0, 1.0, 2.0], "s", "");
        assert_eq!(figure.value(), 2.0);
        assert_eq!(figure.notes["max"], json!(3.0));
    }
}
