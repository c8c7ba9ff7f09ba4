//! Forms of output that several commands share: which one is wanted, data as JSON or YAML, tables and what stands in them.

use clap::ValueEnum;
use jiff::Timestamp;
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

/// Job names are free text, and a terminal obeys what is not text.
pub(super) fn one_line(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

/// How long something is there, in its largest unit.
pub(super) fn age(since: Timestamp, now: Timestamp) -> String {
    match now.duration_since(since).as_secs().max(0) {
        seconds @ 0..120 => format!("{seconds}s"),
        seconds @ 120..7200 => format!("{}m", seconds / 60),
        seconds @ 7200..172_800 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", seconds / 86400),
    }
}

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

    #[test]
    fn an_age_is_told_in_its_largest_unit_and_never_negative() {
        for (seconds, words) in [(-5, "0s"), (119, "119s"), (120, "2m"), (7200, "2h"), (200_000, "2d")] {
            assert_eq!(age(Timestamp::UNIX_EPOCH, Timestamp::from_second(seconds).unwrap()), words);
        }
    }
}
