//! Tables, as plain text or as Markdown.

use comfy_table::presets::{ASCII_MARKDOWN, NOTHING};
use comfy_table::{Cell, CellAlignment};

/// Where a column's cells stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Texts.
    Left,
    /// Numbers.
    Right,
}

/// Rows under a header, as plain text for a terminal or as a table of Markdown.
#[derive(Clone, Debug)]
pub struct Table {
    columns: Vec<(String, Align)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// No rows yet.
    pub fn new<N: Into<String>>(columns: impl IntoIterator<Item = (N, Align)>) -> Self {
        Self {
            columns: columns.into_iter().map(|(name, align)| (name.into(), align)).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row, one cell per column.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) -> &mut Self {
        self.rows.push(cells.into_iter().collect());
        self
    }

    /// Lines without borders and without blanks at their ends; no newline after the last.
    pub fn text(&self) -> String {
        let mut table = self.built(NOTHING);
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
    }

    /// A table of Markdown; cells are taken as Markdown already. No newline after the last line.
    pub fn markdown(&self) -> String {
        self.built(ASCII_MARKDOWN).trim_fmt()
    }

    fn built(&self, style: comfy_table::TableStyle) -> comfy_table::Table {
        let mut table = comfy_table::Table::new();
        table.load_style(style);
        table.set_header(self.columns.iter().map(|(name, _)| name));
        let cells = |row: &Vec<String>| row.iter().map(Cell::new).collect::<Vec<_>>();
        table.add_rows(self.rows.iter().map(cells));
        for (column, (_, align)) in table.column_iter_mut().zip(&self.columns) {
            column.set_cell_alignment(match align {
                Align::Left => CellAlignment::Left,
                Align::Right => CellAlignment::Right,
            });
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_right_and_texts_left() {
        let mut table =
            Table::new([("teacher", Align::Right), ("status", Align::Left), ("reason", Align::Left)]);
        table.row(["7".to_owned(), "done".to_owned(), String::new()]);
        table.row(["12345678".to_owned(), "failed".to_owned(), "a long reason, on one line".to_owned()]);
        let expected =
            " teacher  status  reason\n       7  done\n12345678  failed  a long reason, on one line";
        assert_eq!(table.text(), expected);
        let markdown = table.markdown();
        assert!(markdown.starts_with('|'), "{markdown}");
        assert_eq!(markdown.lines().count(), 4, "{markdown}");
    }
}
