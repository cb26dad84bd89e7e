//! The file and line that a row came from.

use std::path::{Path, PathBuf};

/// The files and lines of a table's rows, kept as a list of jumps: most rows lie one line below the
/// row before.
///
/// ```
/// let origin = ff_table::Origin::default();
/// assert_eq!(origin.place(4), "the table, row 5");
/// ```
#[derive(Clone, Debug)]
pub struct Origin {
    segments: Vec<Segment>,
}

#[derive(Clone, Debug)]
struct Segment {
    start: usize,
    path: Option<PathBuf>,
    word: &'static str,
    /// `(row within the segment, line)`, ascending; rows between follow line by line.
    jumps: Vec<(usize, u64)>,
}

impl Default for Origin {
    fn default() -> Self {
        Self { segments: vec![Segment { start: 0, path: None, word: "row", jumps: vec![(0, 1)] }] }
    }
}

impl Origin {
    /// Rows of a binary file, counted from `first`.
    pub(crate) fn rows(path: &Path, first: u64) -> Self {
        Self::of(path, "row", vec![(0, first)])
    }

    /// Rows of a text file, at these lines.
    pub(crate) fn lines(path: &Path, lines: Lines) -> Self {
        Self::of(path, "line", lines.jumps)
    }

    fn of(path: &Path, word: &'static str, jumps: Vec<(usize, u64)>) -> Self {
        Self { segments: vec![Segment { start: 0, path: Some(path.to_owned()), word, jumps }] }
    }

    pub(crate) fn append(&mut self, start: usize, other: &Self) {
        self.segments
            .extend(other.segments.iter().map(|s| Segment { start: start + s.start, ..s.clone() }));
    }

    /// The origin of the rows from `row` on.
    pub(crate) fn after(&self, row: usize) -> Self {
        let mut segments = Vec::new();
        for (i, segment) in self.segments.iter().enumerate() {
            let end = self.segments.get(i + 1).map_or(usize::MAX, |next| next.start);
            if end <= row {
                continue;
            }
            let skipped = row.saturating_sub(segment.start);
            let mut jumps = vec![(0, self.line(segment.start + skipped))];
            jumps.extend(
                segment
                    .jumps
                    .iter()
                    .filter(|(at, _)| *at > skipped)
                    .map(|(at, l)| (at - skipped, *l)),
            );
            let start = segment.start.saturating_sub(row);
            segments.push(Segment { start, jumps, ..segment.clone() });
        }
        Self { segments }
    }

    fn segment(&self, row: usize) -> Option<&Segment> {
        let after = self.segments.partition_point(|segment| segment.start <= row);
        self.segments.get(after.saturating_sub(1))
    }

    /// The line or row number in the file, from 1.
    pub fn line(&self, row: usize) -> u64 {
        let Some(segment) = self.segment(row) else { return row as u64 + 1 };
        let local = row - segment.start.min(row);
        let after = segment.jumps.partition_point(|(at, _)| *at <= local);
        match segment.jumps.get(after.saturating_sub(1)) {
            Some((at, line)) => line + local.saturating_sub(*at) as u64,
            None => local as u64 + 1,
        }
    }

    /// `line` or `row`.
    pub fn word(&self, row: usize) -> &'static str {
        self.segment(row).map_or("row", |segment| segment.word)
    }

    /// The file, as a message shows it.
    pub fn name(&self, row: usize) -> String {
        match self.segment(row).and_then(|segment| segment.path.as_ref()) {
            Some(path) if path.as_os_str() == "-" => "standard input".into(),
            Some(path) => format!("`{}`", path.display()),
            None => "the table".into(),
        }
    }

    /// The file and line of a row, as a message shows it.
    pub fn place(&self, row: usize) -> String {
        format!("{}, {} {}", self.name(row), self.word(row), self.line(row))
    }
}

/// Collects the lines that rows start on.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    jumps: Vec<(usize, u64)>,
    rows: usize,
    next: u64,
}

impl Lines {
    pub(crate) fn push(&mut self, line: u64) {
        if line != self.next || self.jumps.is_empty() {
            self.jumps.push((self.rows, line));
        }
        self.rows += 1;
        self.next = line + 1;
    }

    /// Appends the lines of the rows that follow, counted from `above` lines further down.
    pub(crate) fn append(&mut self, other: &Self, above: u64) {
        for &(row, line) in &other.jumps {
            let line = line + above;
            if row > 0 || line != self.next || self.jumps.is_empty() {
                self.jumps.push((self.rows + row, line));
            }
        }
        if other.rows > 0 {
            self.next = other.next + above;
        }
        self.rows += other.rows;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_follow_jumps_and_segments() {
        let mut lines = Lines::default();
        for line in [2, 3, 4, 8, 9, 12] {
            lines.push(line);
        }
        assert_eq!(lines.jumps, [(0, 2), (3, 8), (5, 12)]);
        let mut origin = Origin::lines(Path::new("a.csv"), lines);
        origin.append(6, &Origin::rows(Path::new("b.npy"), 1));
        let found: Vec<_> = (0..8).map(|row| origin.line(row)).collect();
        assert_eq!(found, [2, 3, 4, 8, 9, 12, 1, 2]);
        assert_eq!(origin.place(5), "`a.csv`, line 12");
        assert_eq!(origin.place(7), "`b.npy`, row 2");
        for from in 0..8 {
            let rest = origin.after(from);
            let moved: Vec<_> = (from..8).map(|row| rest.line(row - from)).collect();
            assert_eq!(moved, found[from..]);
        }
    }
}
