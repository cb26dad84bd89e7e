//! Lines over a common axis, with gaps, bands, marks and references.

use super::{
    decimate,
    frame::{Entry, Frame},
    open, px,
    scale::{Axis, extent},
    text_width,
};
use crate::report::{
    data::Mark,
    html::{Esc, no_data, put},
    number,
};

/// Points that a line keeps at most.
const POINTS: usize = 1000;

/// One line of a chart.
pub(crate) struct Line<'a> {
    pub(crate) name: &'a str,
    pub(crate) colour: usize,
    pub(crate) x: &'a [f64],
    pub(crate) y: &'a [f64],
    /// Whether single points are marked, which suits a dozen of them.
    pub(crate) dots: bool,
}

/// The area between two lines.
pub(crate) struct Band<'a> {
    pub(crate) colour: usize,
    pub(crate) x: &'a [f64],
    pub(crate) low: &'a [f64],
    pub(crate) high: &'a [f64],
}

/// A chart of lines.
#[derive(Default)]
pub(crate) struct LineChart<'a> {
    /// What the chart shows, for readers who do not see it.
    pub(crate) label: &'a str,
    pub(crate) x_label: &'a str,
    pub(crate) y_label: &'a str,
    pub(crate) lines: Vec<Line<'a>>,
    pub(crate) log_y: bool,
    /// Fixed ranges; otherwise the data decides.
    pub(crate) x_range: Option<(f64, f64)>,
    pub(crate) y_range: Option<(f64, f64)>,
    pub(crate) marks: &'a [Mark],
    /// Dashed reference lines from point to point.
    pub(crate) references: Vec<[(f64, f64); 2]>,
    pub(crate) bands: Vec<Band<'a>>,
    /// Vertical whiskers as (colour, x, low, high).
    pub(crate) whiskers: Vec<(usize, f64, f64, f64)>,
    /// Whether the legend is left out, for a single line that the title names.
    pub(crate) bare: bool,
    /// Extra elements drawn last; they get the frame.
    pub(crate) over: Option<&'a dyn Fn(&Frame) -> String>,
}

impl LineChart<'_> {
    /// The chart as SVG, or a note when no point can be drawn.
    pub(crate) fn draw(&self, width: f64, height: f64) -> String {
        let Some(frame) = self.frame(width, height) else {
            return no_data("no finite value to draw");
        };
        let mut out = open("line", width, height, &self.summary());
        out.push_str(&frame.attributes());
        out.push('>');
        out.push_str(&frame.draw(self.x_label));
        for [a, b] in &self.references {
            if let (Some(a), Some(b)) = (frame.point(a.0, a.1), frame.point(b.0, b.1)) {
                put!(
                    &mut out,
                    "<path class=\"ref\" d=\"M{} {}L{} {}\"/>",
                    px(a.0),
                    px(a.1),
                    px(b.0),
                    px(b.1)
                );
            }
        }
        for band in &self.bands {
            out.push_str(&area(&frame, band));
        }
        for &(colour, x, low, high) in &self.whiskers {
            if let (Some((x, a)), Some((_, b))) = (frame.point(x, low), frame.point(x, high)) {
                put!(
                    &mut out,
                    "<path class=\"whisk soft s{colour}\" d=\"M{} {}V{}\"/>",
                    px(x),
                    px(a),
                    px(b)
                );
            }
        }
        self.draw_marks(&frame, &mut out);
        for (i, line) in self.lines.iter().enumerate() {
            put!(
                &mut out,
                "<g class=\"series s{} d{}\" data-name=\"{}\">{}</g>",
                line.colour,
                i + 1,
                Esc(line.name),
                trace(&frame, line)
            );
        }
        if let Some(over) = self.over {
            out.push_str(&over(&frame));
        }
        out.push_str("</svg>");
        out
    }

    fn frame(&self, width: f64, height: f64) -> Option<Frame> {
        let points = || {
            self.lines
                .iter()
                .flat_map(|l| l.x.iter().copied().zip(l.y.iter().copied()))
                .filter(|(x, y)| x.is_finite() && y.is_finite() && (!self.log_y || *y > 0.0))
        };
        let (x_low, x_high) = extent(points().map(|p| p.0))?;
        let bands = self.bands.iter().flat_map(|b| b.low.iter().chain(b.high).copied());
        let whiskers = self.whiskers.iter().flat_map(|w| [w.2, w.3]);
        let others = bands.chain(whiskers).filter(|y| !self.log_y || *y > 0.0);
        let (y_low, y_high) = extent(points().map(|p| p.1).chain(others))?;
        let (x_low, x_high) = self.x_range.unwrap_or((x_low, x_high));
        let x_target = (width / 70.0) as usize;
        let y_target = (height / 48.0) as usize;
        let y = match self.y_range {
            Some((low, high)) => Axis::linear(low, high, y_target),
            None if self.log_y => Axis::log(y_low, y_high, y_target),
            // Zero is shown when it costs little room.
            None if y_low > 0.0 && y_low < 0.35 * y_high => Axis::nice(0.0, y_high, y_target),
            None => Axis::nice(y_low, y_high, y_target),
        };
        let entries: Vec<Entry> = if self.bare {
            Vec::new()
        } else {
            let entry = |(i, l): (usize, &Line)| Entry {
                colour: l.colour,
                dash: i + 1,
                name: l.name.into(),
            };
            self.lines.iter().enumerate().map(entry).collect()
        };
        let x = Axis::linear(x_low, x_high, x_target);
        Some(Frame::new((width, height), x, y, self.y_label, &entries))
    }

    fn draw_marks(&self, frame: &Frame, out: &mut String) {
        let mut free_from = f64::NEG_INFINITY;
        for mark in self.marks.iter().take(8) {
            let Some(x) = frame.x_at(mark.x) else { continue };
            put!(
                out,
                "<path class=\"mark\" d=\"M{} {}V{}\"/>",
                px(x),
                px(frame.top),
                px(frame.bottom)
            );
            let width = text_width(&mark.label, 12.0) + 10.0;
            let fits_right = x + width <= frame.right;
            let start = if fits_right { x } else { x - width };
            if start >= free_from {
                let (class, at) =
                    if fits_right { ("strong", x + 5.0) } else { ("strong e", x - 5.0) };
                put!(
                    out,
                    "<text class=\"{class}\" x=\"{}\" y=\"{}\">{}</text>",
                    px(at),
                    px(frame.top + 11.0),
                    Esc(&mark.label)
                );
                free_from = start + width;
            }
        }
        // The value at the mark, on each line that has a point there.
        for line in &self.lines {
            for mark in self.marks.iter().take(8) {
                let at = line.x.iter().position(|x| *x == mark.x).and_then(|i| line.y.get(i));
                if let Some((x, y)) = at.and_then(|y| frame.point(mark.x, *y)) {
                    put!(
                        out,
                        "<circle class=\"ring s{}\" cx=\"{}\" cy=\"{}\" r=\"3.5\"/>",
                        line.colour,
                        px(x),
                        px(y)
                    );
                }
            }
        }
    }

    /// What the chart says, in words: where each line starts, ends and is lowest and highest.
    fn summary(&self) -> String {
        let mut out = format!("{}, over {}", self.label, self.x_label);
        for line in self.lines.iter().take(6) {
            let finite = || line.y.iter().copied().filter(|y| y.is_finite());
            if let (Some(first), Some(last), Some((low, high))) =
                (finite().next(), finite().next_back(), extent(finite()))
            {
                let [first, last, low, high] = [first, last, low, high].map(number::score);
                put!(&mut out, "; {}: from {first} to {last}, between {low} and {high}", line.name);
            }
        }
        out
    }
}

/// The path of a line: broken at gaps, a dot where a point stands alone.
fn trace(frame: &Frame, line: &Line) -> String {
    let n = line.x.len().min(line.y.len());
    let mut path = String::new();
    let mut dots = String::new();
    let (mut run, mut last) = (0usize, (0.0, 0.0));
    let mut dot = |(x, y): (f64, f64)| {
        put!(&mut dots, "<circle class=\"pt\" cx=\"{}\" cy=\"{}\" r=\"2.6\"/>", px(x), px(y));
    };
    for i in decimate::min_max(&line.y[..n], POINTS) {
        if let Some((x, y)) = frame.point(line.x[i], line.y[i]) {
            put!(&mut path, "{}{} {}", if run == 0 { 'M' } else { 'L' }, px(x), px(y));
            if line.dots && n <= 60 {
                dot((x, y));
            }
            (run, last) = (run + 1, (x, y));
        } else {
            if run == 1 {
                dot(last);
            }
            run = 0;
        }
    }
    if run == 1 {
        dot(last);
    }
    format!("<path class=\"ln\" d=\"{path}\"/>{dots}")
}

/// The area between two lines, over the points where both are drawn.
fn area(frame: &Frame, &Band { colour, x, low, high }: &Band) -> String {
    let n = x.len().min(low.len()).min(high.len());
    let kept: Vec<_> = decimate::spread(n, POINTS / 2)
        .into_iter()
        .filter_map(|i| Some((frame.point(x[i], low[i])?, frame.point(x[i], high[i])?)))
        .collect();
    if kept.len() < 2 {
        return String::new();
    }
    let mut path = String::new();
    let upper = kept.iter().map(|p| p.1);
    let lower = kept.iter().rev().map(|p| p.0);
    for (i, (x, y)) in upper.chain(lower).enumerate() {
        put!(&mut path, "{}{} {}", if i == 0 { 'M' } else { 'L' }, px(x), px(y));
    }
    format!("<path class=\"band s{colour}\" d=\"{path}Z\"/>")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(x: &[f64], y: &[f64]) -> String {
        let line = Line { name: "train", colour: 1, x, y, dots: false };
        LineChart { x_label: "epoch", lines: vec![line], ..LineChart::default() }.draw(400.0, 240.0)
    }

    #[test]
    fn gaps_break_the_line_and_lone_points_become_dots() {
        let svg = chart(&[1., 2., 3., 4., 5., 6.], &[1., 2., f64::NAN, 3., f64::INFINITY, 2.5]);
        let path = svg.split("class=\"ln\" d=\"").last().unwrap().split('"').next().unwrap();
        assert_eq!(path.matches('M').count(), 3, "{path}");
        assert_eq!(path.matches('L').count(), 1, "{path}");
        assert_eq!(svg.matches("<circle class=\"pt\"").count(), 2);
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }

    #[test]
    fn nothing_to_draw_is_said() {
        assert!(chart(&[], &[]).contains("No data"));
        assert!(chart(&[1.0], &[f64::NAN]).contains("No data"));
        assert!(chart(&[f64::NAN], &[1.0]).contains("No data"));
        let log = LineChart {
            log_y: true,
            lines: vec![Line { name: "", colour: 1, x: &[1.0, 2.0], y: &[0.0, -1.0], dots: false }],
            ..LineChart::default()
        };
        assert!(log.draw(400.0, 240.0).contains("No data"));
    }

    #[test]
    fn a_constant_and_a_single_point_are_drawn() {
        assert!(chart(&[1.0, 2.0], &[0.5, 0.5]).contains('L'));
        assert!(chart(&[1.0], &[0.5]).contains("<circle class=\"pt\""));
    }

    #[test]
    fn vectors_of_different_length_use_what_both_have() {
        assert!(chart(&[1.0, 2.0, 3.0], &[0.5, 0.7]).contains("class=\"ln\""));
    }

    #[test]
    fn a_long_series_stays_small() {
        let x: Vec<f64> = (0..1_000_000).map(f64::from).collect();
        let y: Vec<f64> = x.iter().map(|x| (x / 1e4).sin()).collect();
        assert!(chart(&x, &y).len() < 20_000);
    }
}
