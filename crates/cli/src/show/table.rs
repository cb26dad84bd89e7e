//! Columns of text.

use crate::terminal::{Style, Terminal};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// Rows of cells with a head.
#[derive(Debug)]
pub(crate) struct TextTable {
    columns: Vec<(String, Align)>,
    rows: Vec<(Vec<String>, Option<Style>)>,
}

impl TextTable {
    pub(crate) fn new(columns: &[(&str, Align)]) -> Self {
        let columns = columns.iter().map(|(name, align)| ((*name).to_owned(), *align)).collect();
        Self { columns, rows: Vec::new() }
    }

    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push((cells, None));
    }

    pub(crate) fn styled(&mut self, cells: Vec<String>, style: Style) {
        self.rows.push((cells, Some(style)));
    }

    /// The lines, indented; the last column is not padded.
    pub(crate) fn lines(&self, terminal: &Terminal) -> Vec<String> {
        let widths: Vec<usize> = (0..self.columns.len())
            .map(|i| {
                let cells = self.rows.iter().filter_map(|(row, _)| row.get(i)).map(String::as_str);
                let cells = cells.chain([self.columns[i].0.as_str()]);
                cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
            })
            .collect();
        let line = |cells: &[String]| {
            let mut text = String::from(" ");
            for (i, (cell, width)) in cells.iter().zip(&widths).enumerate() {
                let padding = " ".repeat(width - cell.chars().count());
                text.push(' ');
                match self.columns[i].1 {
                    Align::Left => text.extend([cell.as_str(), &padding]),
                    Align::Right => text.extend([padding.as_str(), cell]),
                }
                text.push(' ');
            }
            text.trim_end().to_owned()
        };
        let head: Vec<String> = self.columns.iter().map(|(name, _)| name.clone()).collect();
        let mut lines = Vec::with_capacity(self.rows.len() + 1);
        if head.iter().any(|name| !name.is_empty()) {
            lines.push(terminal.dim(line(&head)));
        }
        for (row, style) in &self.rows {
            let text = line(row);
            lines.push(match style {
                Some(style) => terminal.paint(*style, text),
                None => text,
            });
        }
        lines
    }
}
