//! A table of text that a person reads: columns as wide as their widest cell, numbers to the right.
//!
//! It knows nothing of what it shows. Width is counted in characters: close enough for names of
//! places in any script but the wide ones, where a column may look ragged.

use super::plain;

/// Where the text of a column stands in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// A table under construction: a head, then rows of as many cells.
pub(crate) struct Table {
    aligns: Vec<Align>,
    rows: Vec<Vec<String>>,
    widest: usize,
}

impl Table {
    /// A table with these columns.
    pub(crate) fn new<'a>(columns: impl IntoIterator<Item = (&'a str, Align)>) -> Table {
        let (head, aligns): (Vec<String>, Vec<Align>) =
            columns.into_iter().map(|(name, align)| (name.to_owned(), align)).unzip();
        Table { aligns, rows: vec![head], widest: usize::MAX }
    }

    /// The same table with no cell wider than `characters`; what is longer ends in `…`.
    pub(crate) fn cells_up_to(mut self, characters: usize) -> Table {
        self.widest = characters.max(1);
        self
    }

    /// Adds a row. A short row is filled with empty cells, and no row is longer than the head.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = impl Into<String>>) {
        let mut row: Vec<String> = cells.into_iter().map(Into::into).collect();
        row.resize(self.aligns.len(), String::new());
        self.rows.push(row);
    }

    /// The table as lines, each ending in a line feed. The head is underlined.
    pub(crate) fn render(&self) -> String {
        let rows: Vec<Vec<String>> =
            self.rows.iter().map(|row| row.iter().map(|cell| self.fit(cell)).collect()).collect();
        let widths: Vec<usize> = (0..self.aligns.len())
            .map(|column| rows.iter().map(|row| width(&row[column])).max().unwrap_or(0))
            .collect();
        let mut text = String::new();
        for (at, row) in rows.iter().enumerate() {
            self.line(&mut text, row, &widths);
            if at == 0 {
                let rule: Vec<String> = widths.iter().map(|width| "─".repeat(*width)).collect();
                self.line(&mut text, &rule, &widths);
            }
        }
        text
    }

    fn line(&self, text: &mut String, cells: &[String], widths: &[usize]) {
        let mut line = String::new();
        for (at, (cell, align)) in cells.iter().zip(&self.aligns).enumerate() {
            if at > 0 {
                line.push_str("  ");
            }
            let space = " ".repeat(widths[at] - width(cell));
            match align {
                Align::Left => line.extend([cell.as_str(), &space]),
                Align::Right => line.extend([space.as_str(), cell]),
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }

    /// A cell on one line, cut to the widest allowed.
    fn fit(&self, cell: &str) -> String {
        let cell = plain::line(cell);
        if width(&cell) <= self.widest {
            return cell.into_owned();
        }
        cell.chars().take(self.widest - 1).chain(['…']).collect()
    }
}

fn width(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new([("name", Align::Left), ("records", Align::Right)]);
        table.row(["airports", "28,298"]);
        table.row(["x", "1"]);
        let expected = "\
name      records
────────  ───────
airports   28,298
x               1
";
        assert_eq!(table.render(), expected);
    }

    #[test]
    fn a_long_cell_is_cut_and_says_so() {
        let mut table = Table::new([("é", Align::Left)]).cells_up_to(4);
        table.row(["abcd"]);
        table.row(["äbcde"]);
        assert_eq!(table.render(), "é\n────\nabcd\näbc…\n");
    }

    #[test]
    fn control_characters_cannot_reach_the_terminal() {
        let mut table = Table::new([("a", Align::Left)]);
        table.row(["x\u{1b}[31my\nz"]);
        assert_eq!(table.render().lines().count(), 3);
        assert!(!table.render().contains('\u{1b}'));
    }

    #[test]
    fn a_short_row_is_filled() {
        let mut table = Table::new([("a", Align::Left), ("b", Align::Left)]);
        table.row(["1"]);
        assert_eq!(table.render(), "a  b\n─  ─\n1\n");
    }
}
