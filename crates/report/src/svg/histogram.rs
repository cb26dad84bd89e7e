//! Histograms: binning values, drawing bins.

use super::{
    frame::Frame,
    open, px,
    scale::{Axis, extent, nice_step},
};
use crate::{
    html::{no_data, put},
    number,
};

/// Bins of round width over all finite values, as edges and counts.
///
/// The width follows Freedman and Diaconis, 2 · IQR / ∛n, between 8 and 48 bins.
pub(crate) fn bins(values: &[f64]) -> Option<(Vec<f64>, Vec<u64>)> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|x| x.is_finite()).collect();
    let (low, high) = extent(sorted.iter().copied())?;
    sorted.sort_unstable_by(f64::total_cmp);
    let quantile = |q: f64| sorted[((sorted.len() - 1) as f64 * q) as usize];
    let span = high - low;
    if span <= 0.0 || !span.is_finite() {
        let pad = if low == 0.0 { 0.5 } else { low.abs() * 0.05 };
        return Some((vec![low - pad, low + pad], vec![sorted.len() as u64]));
    }
    let width = 2.0 * (quantile(0.75) - quantile(0.25)) / (sorted.len() as f64).cbrt();
    let wanted = if width > 0.0 { (span / width).clamp(8.0, 48.0) } else { 24.0 };
    let step = nice_step(span, wanted as usize);
    let first = (low / step).floor();
    let n = ((high / step).floor() - first) as usize + 1;
    let edges: Vec<f64> = (0..=n).map(|i| (first + i as f64) * step).collect();
    let mut counts = vec![0; n];
    for x in sorted {
        let i = ((x / step).floor() - first) as usize;
        counts[i.min(n - 1)] += 1;
    }
    Some((edges, counts))
}

/// A histogram with labelled axes.
pub(crate) struct Histogram<'a> {
    pub(crate) label: &'a str,
    pub(crate) x_label: &'a str,
    pub(crate) y_label: &'a str,
    pub(crate) edges: &'a [f64],
    pub(crate) counts: &'a [u64],
    pub(crate) colour: usize,
    /// A dashed vertical line, such as zero for residuals.
    pub(crate) reference: Option<f64>,
}

impl Histogram<'_> {
    /// The chart as SVG, or a note if there is nothing to draw.
    pub(crate) fn draw(&self, width: f64, height: f64) -> String {
        let most = self.counts.iter().copied().max().unwrap_or(0);
        let range = extent(self.edges.iter().copied());
        let (Some((low, high)), true) = (range, most > 0 && self.edges.len() > 1) else {
            return no_data("nothing to count");
        };
        let x = Axis::linear(low, high, (width / 70.0) as usize);
        let mut y = Axis::nice(0.0, most as f64, (height / 48.0) as usize);
        // Counts are whole numbers: no tick at 2.5 rows.
        y.ticks.retain(|t| t.0.fract() == 0.0);
        for tick in &mut y.ticks {
            if let Some(whole) = tick.1.strip_suffix(".0") {
                tick.1 = whole.into();
            }
        }
        let frame = Frame::new((width, height), x, y, self.y_label, &[]);
        let mut out = open("histogram", width, height, self.label);
        out.push('>');
        out.push_str(&frame.draw(self.x_label));
        put!(&mut out, "<g class=\"s{}\">", self.colour);
        for (pair, &n) in self.edges.windows(2).zip(self.counts) {
            let corner = frame.point(pair[0], n as f64);
            let (Some((left, top)), Some(right), true) = (corner, frame.x_at(pair[1]), n > 0)
            else {
                continue;
            };
            put!(
                &mut out,
                "<rect class=\"bar\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\">\
                 <title>{} to {}: {}</title></rect>",
                px(left + 0.5),
                px(top),
                px((right - left - 1.0).max(0.5)),
                px(frame.bottom - top),
                number::significant(pair[0], 4),
                number::significant(pair[1], 4),
                number::count(n)
            );
        }
        out.push_str("</g>");
        if let Some(x) = self.reference.and_then(|x| frame.x_at(x)) {
            put!(
                &mut out,
                "<path class=\"ref\" d=\"M{} {}V{}\"/>",
                px(x),
                px(frame.top),
                px(frame.bottom)
            );
        }
        out.push_str("</svg>");
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_finite_value_is_counted_once() {
        let values: Vec<f64> = (0..1000).map(|i| (f64::from(i) * 0.37).sin() * 7.0).collect();
        let (edges, counts) = bins(&values).unwrap();
        assert_eq!(counts.iter().sum::<u64>(), 1000);
        assert_eq!(edges.len(), counts.len() + 1);
        assert!((8..=100).contains(&counts.len()), "{}", counts.len());
        assert!(edges[0] <= -6.99 && edges[edges.len() - 1] >= 6.99);
    }

    #[test]
    fn odd_inputs() {
        assert_eq!(bins(&[]), None);
        assert_eq!(bins(&[f64::NAN]), None);
        assert_eq!(bins(&[3.0; 5]).unwrap().1, [5]);
        assert_eq!(bins(&[0.0, f64::INFINITY]).unwrap().1, [1]);
        assert_eq!(bins(&[-1e308, 1e308]).unwrap().1.iter().sum::<u64>(), 2);
        // A distant outlier must not create millions of bins.
        let mut values = vec![1.0; 1000];
        values.push(1e9);
        assert!(bins(&values).unwrap().1.len() <= 100);
    }
}
