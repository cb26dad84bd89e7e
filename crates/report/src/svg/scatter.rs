//! Clouds of points: predicted against true, residuals against predicted.

use super::{
    decimate,
    frame::Frame,
    open, px,
    scale::{Axis, extent},
};
use crate::html::{no_data, put};

/// The maximum number of points; more would only blur.
pub(crate) const POINTS: usize = 1500;

/// A cloud of points with a reference line.
pub(crate) struct Scatter<'a> {
    pub(crate) label: &'a str,
    pub(crate) x_label: &'a str,
    pub(crate) y_label: &'a str,
    pub(crate) x: &'a [f64],
    pub(crate) y: &'a [f64],
    pub(crate) colour: usize,
    pub(crate) reference: Reference,
}

/// The line of a perfect model.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Reference {
    /// `y = x`; both axes then have the same range.
    Diagonal,
    /// `y = 0`.
    Zero,
    /// No line.
    None {
        /// Whether the horizontal axis is logarithmic.
        log_x: bool,
    },
}

impl Scatter<'_> {
    /// The chart as SVG, or a note if no point is finite.
    pub(crate) fn draw(&self, width: f64, height: f64) -> String {
        let finite = |(x, y): &(f64, f64)| x.is_finite() && y.is_finite();
        let points: Vec<(f64, f64)> =
            self.x.iter().copied().zip(self.y.iter().copied()).filter(finite).collect();
        let (Some(xs), Some(ys)) =
            (extent(points.iter().map(|p| p.0)), extent(points.iter().map(|p| p.1)))
        else {
            return no_data("no finite value to draw");
        };
        let (x_target, y_target) = ((width / 80.0) as usize, (height / 48.0) as usize);
        let (x, y) = match self.reference {
            Reference::Diagonal => {
                let (low, high) = (xs.0.min(ys.0), xs.1.max(ys.1));
                let (low, high) = padded(low, high);
                (Axis::linear(low, high, x_target), Axis::linear(low, high, x_target))
            }
            Reference::Zero => {
                let far = ys.0.abs().max(ys.1.abs());
                let (low, high) = padded(xs.0, xs.1);
                (Axis::linear(low, high, x_target), Axis::linear(-1.05 * far, 1.05 * far, y_target))
            }
            Reference::None { log_x } => {
                let (low, high) = padded(ys.0, ys.1);
                let x = if log_x {
                    Axis::log(xs.0 / 1.1, xs.1 * 1.1, x_target)
                } else {
                    let (low, high) = padded(xs.0, xs.1);
                    Axis::linear(low, high, x_target)
                };
                (x, Axis::linear(low, high, y_target))
            }
        };
        let frame = Frame::new((width, height), x, y, self.y_label, &[]);
        let mut out = open("scatter", width, height, self.label);
        out.push('>');
        out.push_str(&frame.draw(self.x_label));
        let ends = match self.reference {
            Reference::Diagonal => Some([(frame.x.low, frame.x.low), (frame.x.high, frame.x.high)]),
            Reference::Zero => Some([(frame.x.low, 0.0), (frame.x.high, 0.0)]),
            Reference::None { .. } => None,
        };
        let many = if points.len() > 500 { " many" } else { "" };
        let radius = if points.len() > 500 { 2.2 } else { 2.8 };
        put!(&mut out, "<g class=\"cloud{many} s{}\">", self.colour);
        for i in decimate::spread(points.len(), POINTS) {
            if let Some((x, y)) = frame.point(points[i].0, points[i].1) {
                put!(&mut out, "<circle cx=\"{}\" cy=\"{}\" r=\"{radius}\"/>", px(x), px(y));
            }
        }
        out.push_str("</g>");
        let ends = ends.map(|ends| ends.map(|(x, y)| frame.point(x, y)));
        if let Some([Some(a), Some(b)]) = ends {
            put!(
                &mut out,
                "<path class=\"ref\" d=\"M{} {}L{} {}\"/>",
                px(a.0),
                px(a.1),
                px(b.0),
                px(b.1)
            );
        }
        out.push_str("</svg>");
        out
    }
}

/// Some room on both sides, so that no point lies on the frame.
fn padded(low: f64, high: f64) -> (f64, f64) {
    let pad = (high - low) * 0.04;
    (low - pad, high + pad)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cloud(x: &[f64], y: &[f64], reference: Reference) -> String {
        let (label, x_label, y_label) = ("l", "x", "y");
        Scatter { label, x_label, y_label, x, y, colour: 1, reference }.draw(400.0, 300.0)
    }

    #[test]
    fn points_that_are_not_finite_are_skipped() {
        let svg = cloud(&[1.0, f64::NAN, 3.0], &[1.0, 2.0, f64::INFINITY], Reference::Diagonal);
        assert_eq!(svg.matches("<circle").count(), 1);
        assert!(cloud(&[f64::NAN], &[1.0], Reference::Zero).contains("No data"));
    }

    #[test]
    fn many_points_are_thinned() {
        let x: Vec<f64> = (0..100_000).map(f64::from).collect();
        let svg = cloud(&x, &x, Reference::Diagonal);
        assert_eq!(svg.matches("<circle").count(), POINTS);
    }
}
