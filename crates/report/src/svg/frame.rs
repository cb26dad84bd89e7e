//! The frame of a plot: margins, grid, tick labels, axis labels, legend.

use super::{fit, px, scale::Axis, text_width};
use crate::html::{Esc, put};

const TEXT: f64 = 12.0;
const ROW: f64 = 18.0;

/// The rectangle of a plot and its scales.
pub(crate) struct Frame {
    pub(crate) width: f64,
    pub(crate) height: f64,
    pub(crate) left: f64,
    pub(crate) right: f64,
    pub(crate) top: f64,
    pub(crate) bottom: f64,
    pub(crate) x: Axis,
    pub(crate) y: Axis,
    head: String,
}

/// One entry of a legend: series colour (1 to 6), dash (1 to 6) and name.
pub(crate) struct Entry {
    pub(crate) colour: usize,
    pub(crate) dash: usize,
    pub(crate) name: String,
}

impl Frame {
    /// A frame of the given size; the label of the vertical axis and the legend are above the plot.
    pub(crate) fn new(
        (width, height): (f64, f64),
        x: Axis,
        y: Axis,
        y_label: &str,
        entries: &[Entry],
    ) -> Self {
        let (head, rows) = head(width, y_label, entries);
        let widest = y.ticks.iter().map(|t| text_width(&t.1, TEXT)).fold(14.0, f64::max);
        Self {
            width,
            height,
            left: widest + 10.0,
            right: width - 10.0,
            top: if rows == 0 { 10.0 } else { rows as f64 * ROW + 8.0 },
            bottom: height - 40.0,
            x,
            y,
            head,
        }
    }

    /// The position of a point; `None` for NaN or outside the axes.
    pub(crate) fn point(&self, x: f64, y: f64) -> Option<(f64, f64)> {
        Some((self.x_at(x)?, self.y_at(y)?))
    }

    pub(crate) fn x_at(&self, x: f64) -> Option<f64> {
        Some(self.left + self.x.at(x)? * (self.right - self.left))
    }

    pub(crate) fn y_at(&self, y: f64) -> Option<f64> {
        Some(self.bottom - self.y.at(y)? * (self.bottom - self.top))
    }

    /// Grid, axes and labels; everything else is drawn over it.
    pub(crate) fn draw(&self, x_label: &str) -> String {
        let mut out = self.head.clone();
        for (y, label) in &self.y.ticks {
            let Some(at) = self.y_at(*y) else { continue };
            put!(
                &mut out,
                "<path class=\"grid\" d=\"M{} {}H{}\"/>",
                px(self.left),
                px(at),
                px(self.right)
            );
            put!(
                &mut out,
                "<text class=\"e\" x=\"{}\" y=\"{}\">{label}</text>",
                px(self.left - 6.0),
                px(at + 4.0)
            );
        }
        let mut free_from = f64::NEG_INFINITY;
        for (x, label) in &self.x.ticks {
            let Some(at) = self.x_at(*x) else { continue };
            put!(&mut out, "<path class=\"base\" d=\"M{} {}v4\"/>", px(at), px(self.bottom));
            let half = text_width(label, TEXT) / 2.0;
            if at - half < free_from {
                continue;
            }
            free_from = at + half + 6.0;
            // A label at the end moves inwards, to stay within the edge.
            let centre = at.min(self.width - half);
            put!(
                &mut out,
                "<text class=\"m\" x=\"{}\" y=\"{}\">{label}</text>",
                px(centre),
                px(self.bottom + 17.0)
            );
        }
        put!(
            &mut out,
            "<path class=\"base\" d=\"M{} {}H{}\"/>",
            px(self.left),
            px(self.bottom),
            px(self.right)
        );
        let room = self.right - self.left;
        put!(
            &mut out,
            "<text class=\"m\" x=\"{}\" y=\"{}\">{}</text>",
            px(f64::midpoint(self.left, self.right)),
            px(self.height - 5.0),
            Esc(&fit(x_label, TEXT, room))
        );
        out
    }

    /// Attributes for the script to map pointer positions to values.
    pub(crate) fn attributes(&self) -> String {
        let axis = |a: &Axis| format!("{},{},{}", a.low, a.high, u8::from(a.log));
        format!(
            " data-box=\"{},{},{},{}\" data-x=\"{}\" data-y=\"{}\"",
            px(self.left),
            px(self.top),
            px(self.right),
            px(self.bottom),
            axis(&self.x),
            axis(&self.y)
        )
    }
}

/// The label of the vertical axis and the legend; in one row if both fit.
fn head(width: f64, y_label: &str, entries: &[Entry]) -> (String, usize) {
    let mut out = String::new();
    let label_width = if y_label.is_empty() { 0.0 } else { text_width(y_label, TEXT) + 16.0 };
    let widths: Vec<f64> =
        entries.iter().map(|e| 26.0 + text_width(&clipped(&e.name), TEXT) + 12.0).collect();
    let total: f64 = widths.iter().sum();
    let shared = label_width + total <= width;
    let mut row = 1;
    if !y_label.is_empty() {
        put!(&mut out, "<text x=\"0\" y=\"13\">{}</text>", Esc(&fit(y_label, TEXT, width)));
    }
    if entries.is_empty() {
        return (out, usize::from(!y_label.is_empty()));
    }
    let mut x = if shared { width - total } else { 0.0 };
    if !shared && !y_label.is_empty() {
        row += 1;
    }
    for (entry, w) in entries.iter().zip(widths) {
        if x > 0.0 && x + w - 12.0 > width {
            (x, row) = (0.0, row + 1);
        }
        let y = row as f64 * ROW - 5.0;
        put!(
            &mut out,
            "<path class=\"ln s{} d{}\" d=\"M{} {}h18\"/><text x=\"{}\" y=\"{}\">{}</text>",
            entry.colour,
            entry.dash,
            px(x),
            px(y - 4.0),
            px(x + 24.0),
            px(y),
            Esc(&clipped(&entry.name))
        );
        x += w;
    }
    (out, row)
}

fn clipped(name: &str) -> String {
    fit(name, TEXT, 150.0)
}
