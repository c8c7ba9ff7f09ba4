//! Forms of output that several commands share: which one is wanted, data as JSON or YAML, tables.

use clap::ValueEnum;
use serde_json::Value;

use crate::yaml;

/// Form of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    Yaml,
    Json,
    Table,
}

impl Output {
    /// A value for programs, or whatever people are to see of it.
    pub(super) fn text(self, value: &Value, table: impl FnOnce() -> String) -> String {
        match self {
            Self::Yaml => yaml::write(value),
            Self::Json => format!("{value:#}\n"),
            Self::Table => table(),
        }
    }
}

/// What stands in a cell about which nothing is known.
pub(super) const NOTHING: &str = "-";

/// Rows under a heading; columns are as wide as they must be.
pub(super) struct Table {
    lines: Vec<Line>,
}

enum Line {
    Row(Vec<String>),
    /// A remark about the row above.
    Remark(String),
}

impl Table {
    pub(super) fn new(heading: &[&str]) -> Self {
        Self { lines: vec![Line::Row(heading.iter().map(|&cell| cell.to_owned()).collect())] }
    }

    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.lines.push(Line::Row(cells.into_iter().collect()));
    }

    pub(super) fn remark(&mut self, text: &str) {
        self.lines.push(Line::Remark(text.to_owned()));
    }

    pub(super) fn text(&self) -> String {
        let mut widths: Vec<usize> = Vec::new();
        for line in &self.lines {
            let Line::Row(cells) = line else { continue };
            widths.resize(widths.len().max(cells.len()), 0);
            for (width, cell) in widths.iter_mut().zip(cells) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let show = |line: &Line| match line {
            Line::Remark(text) => format!("  {text}\n"),
            Line::Row(cells) => {
                let cells = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}  "));
                format!("{}\n", cells.collect::<String>().trim_end())
            }
        };
        self.lines.iter().map(show).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_remarks_take_no_part() {
        let mut table = Table::new(&["NAME", "N"]);
        table.row(["metal-long".to_owned(), "1".to_owned()]);
        table.remark("because of something that is much longer than a column");
        table.row(["é".to_owned(), "22".to_owned()]);
        let lines: Vec<String> = table.text().lines().map(str::to_owned).collect();
        assert_eq!(lines[0], "NAME        N");
        assert_eq!(lines[1], "metal-long  1");
        assert_eq!(lines[2], "  because of something that is much longer than a column");
        assert_eq!(lines[3], "é           22");
    }
}
