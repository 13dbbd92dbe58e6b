//! Listings: aligned columns on a terminal, tab-separated fields without one.

use crate::text;
use crate::ui::{Style, Ui};

/// One field of a row.
#[derive(Debug, Clone)]
pub struct Cell {
    shown: String,
    exact: String,
    style: Style,
}

impl Cell {
    /// A field that is the same everywhere. What came from outside is made terminal-safe.
    pub fn new(text: impl AsRef<str>) -> Self {
        let shown = text::safe_line(text.as_ref()).into_owned();
        Self { exact: shown.clone(), shown, style: Style::Plain }
    }

    /// A field that a terminal shows as `shown` and a program gets as `exact`.
    pub fn pair(shown: impl AsRef<str>, exact: impl AsRef<str>) -> Self {
        Self { exact: text::safe_line(exact.as_ref()).into_owned(), ..Self::new(shown) }
    }

    /// The same field in a style.
    pub fn style(mut self, style: Style) -> Self {
        self.style = style;
        self
    }
}

impl<T: AsRef<str>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::new(text)
    }
}

/// A listing.
pub struct Table {
    header: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A listing with these columns.
    pub fn new(header: &[&'static str]) -> Self {
        Self { header: header.to_vec(), rows: Vec::new() }
    }

    /// Adds a row; it has one field for each column.
    pub fn row(&mut self, cells: Vec<Cell>) {
        debug_assert_eq!(cells.len(), self.header.len(), "a row has one field for each column");
        self.rows.push(cells);
    }

    /// Writes it; `nothing` is said on a terminal when it is empty.
    pub fn print(&self, ui: &Ui, nothing: &str) {
        if !ui.out_tty() {
            for row in &self.rows {
                let fields: Vec<&str> = row.iter().map(|c| c.exact.as_str()).collect();
                ui.line(&fields.join("\t"));
            }
            return;
        }
        if self.rows.is_empty() {
            return ui.note(nothing);
        }
        let columns = ui.size().map_or(usize::MAX, |(columns, _)| columns);
        for line in self.lines(columns, ui.out_color()) {
            ui.line(&line);
        }
    }

    /// Aligned lines of at most `columns`: the last column is cut.
    fn lines(&self, columns: usize, color: bool) -> Vec<String> {
        let header: Vec<Cell> =
            self.header.iter().map(|h| Cell::new(h).style(Style::Bold)).collect();
        let all = || std::iter::once(&header).chain(&self.rows);
        let count = self.header.len();
        let widths: Vec<usize> = (0..count)
            .map(|i| all().map(|row| text::width(&row[i].shown)).max().unwrap_or(0))
            .collect();
        let before: usize = widths[..count.saturating_sub(1)].iter().map(|w| w + 2).sum();
        let room = columns.saturating_sub(before).max(8);
        all()
            .map(|row| {
                let mut line = String::new();
                for (i, cell) in row.iter().enumerate() {
                    let last = i + 1 == count;
                    let shown =
                        if last { text::cut(&cell.shown, room) } else { (&cell.shown).into() };
                    line.push_str(&crate::ui::paint(color, cell.style, &shown));
                    if !last {
                        let gap = widths[i] + 2 - text::width(&shown);
                        line.extend(std::iter::repeat_n(' ', gap));
                    }
                }
                line.trim_end().to_owned()
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_the_last_one_is_cut() {
        let mut table = Table::new(&["ID", "STATUS", "ERROR"]);
        table.row(vec!["1".into(), "succeeded".into(), "".into()]);
        table.row(vec!["12345".into(), "failed".into(), "a rather long message".into()]);
        let lines = table.lines(30, false);
        assert_eq!(lines[0], "ID     STATUS     ERROR");
        assert_eq!(lines[1], "1      succeeded");
        assert_eq!(lines[2], "12345  failed     a rather lo…");
    }
}
