//! The report: one self-contained HTML page from plain data.
//!
//! [`render`] turns a [`ReportData`] into a page that opens without network, in light and dark, on a phone,
//! on a desktop and on paper, and stays under 2 MB whatever comes in: series are thinned, tables are capped
//! with a note, texts are clipped. All text is escaped, since column names and cells come from files that
//! nobody has checked. [`figure`] gives single charts as `.svg` files.
//!
//! The module is pure: it reads nothing, writes nothing and knows no other module's types.
#![forbid(unsafe_code)]

pub mod data;
mod html;
mod number;
mod page;
mod sections;
mod svg;

pub use data::*;
pub use page::render;

/// The charts that [`figure`] can draw by themselves.
///
/// ```
/// use ff_report::{Figure, ReportData, figure};
///
/// assert_eq!(figure(&ReportData::default(), Figure::Confusion), None, "nothing to draw");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Figure {
    /// The chart of the given position in `ReportData::curves`; 0 is usually the loss.
    Curve(usize),
    /// The confusion matrix.
    Confusion,
    /// The ROC curves.
    Roc,
    /// The precision–recall curves.
    PrecisionRecall,
    /// The calibration curve.
    Calibration,
    /// Predicted against true values.
    Predicted,
    /// The histogram of residuals.
    Residuals,
    /// Permutation importance.
    Importance,
}

/// One chart of a report as a standalone `.svg` file, or `None` when the report has no such data.
///
/// The file carries its colours and follows the viewer's light or dark mode.
///
/// ```
/// use ff_report::{Curves, Figure, Panel, ReportData, Series, figure};
///
/// let loss = Panel::new("Loss", "epoch", "cross-entropy")
///     .with(Series::new("train", vec![1.0, 2.0], vec![0.9, 0.5]));
/// let data = ReportData {
///     curves: Some(Curves { panels: vec![loss], ..Curves::default() }),
///     ..ReportData::default()
/// };
/// let file = figure(&data, Figure::Curve(0)).unwrap_or_default();
/// assert!(file.starts_with("<svg xmlns="));
/// ```
pub fn figure(data: &ReportData, which: Figure) -> Option<String> {
    let (title, svg) = sections::single(data, which)?;
    svg::standalone(&title, &svg)
}

#[cfg(test)]
mod tests;
