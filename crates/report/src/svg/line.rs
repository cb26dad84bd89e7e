//! Lines over a common axis, with gaps, bands, marks and references.

use super::{
    decimate, fit,
    frame::{Entry, Frame},
    open, px,
    scale::{Axis, extent},
    text_width,
};
use crate::{
    data::Mark,
    html::{Esc, no_data, put},
    number,
};

/// The maximum number of points per line.
const POINTS: usize = 1000;
/// The span of smoothing of a noisy line, as a fraction of its length.
pub(crate) const SPANS: usize = 50;
/// The maximum number of marks.
const MARKS: usize = 8;

/// One line of a chart.
pub(crate) struct Line<'a> {
    pub(crate) name: &'a str,
    pub(crate) colour: usize,
    pub(crate) x: &'a [f64],
    pub(crate) y: &'a [f64],
    /// Whether single points are marked, suitable for a dozen of them.
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
    /// The description of the chart, for screen readers.
    pub(crate) label: &'a str,
    pub(crate) x_label: &'a str,
    pub(crate) y_label: &'a str,
    pub(crate) lines: Vec<Line<'a>>,
    pub(crate) log_y: bool,
    /// Fixed ranges; `None` for those of the data.
    pub(crate) x_range: Option<(f64, f64)>,
    pub(crate) y_range: Option<(f64, f64)>,
    pub(crate) marks: &'a [Mark],
    /// Dashed reference lines from point to point.
    pub(crate) references: Vec<[(f64, f64); 2]>,
    pub(crate) bands: Vec<Band<'a>>,
    /// Vertical whiskers as (colour, x, low, high).
    pub(crate) whiskers: Vec<(usize, f64, f64, f64)>,
    /// Whether to omit the legend, for a single line named by the title.
    pub(crate) bare: bool,
    /// Extra elements, drawn last over the frame.
    pub(crate) over: Option<&'a dyn Fn(&Frame) -> String>,
}

impl LineChart<'_> {
    /// The chart as SVG, or a note if no point can be drawn.
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
        self.mark_lines(&frame, &mut out);
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
        self.mark_labels(&frame, &mut out);
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
        // The axis includes missing values: a run that ended in NaN shows its whole length.
        let xs = self.lines.iter().flat_map(|l| l.x.iter().take(l.y.len()).copied());
        let (x_low, x_high) = extent(xs)?;
        let bands = self.bands.iter().flat_map(|b| b.low.iter().chain(b.high).copied());
        let whiskers = self.whiskers.iter().flat_map(|w| [w.2, w.3]);
        let others = bands.chain(whiskers).filter(|y| !self.log_y || *y > 0.0);
        let (y_low, y_high) = extent(points().map(|p| p.1).chain(others))?;
        let (x_low, x_high) = self.x_range.unwrap_or((x_low, x_high));
        let x_target = (width / 76.0) as usize;
        let y_target = (height / 48.0) as usize;
        let y = match self.y_range {
            Some((low, high)) => Axis::linear(low, high, y_target),
            None if self.log_y => Axis::log(y_low, y_high, y_target),
            // Zero is included if it takes little room.
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
        let mut x = Axis::linear(x_low, x_high, x_target);
        if self.x_range.is_none() && points().all(|p| p.0.fract() == 0.0) {
            x = x.whole(x_target);
        }
        Some(Frame::new((width, height), x, y, self.y_label, &entries))
    }

    /// Vertical lines at the marks, below everything else.
    fn mark_lines(&self, frame: &Frame, out: &mut String) {
        for x in self.marks.iter().take(MARKS).filter_map(|m| frame.x_at(m.x)) {
            let (x, top, bottom) = (px(x), px(frame.top), px(frame.bottom));
            put!(out, "<path class=\"mark\" d=\"M{x} {top}V{bottom}\"/>");
        }
    }

    /// The names of marks, and a ring on each line with a point there, above everything else.
    fn mark_labels(&self, frame: &Frame, out: &mut String) {
        let mut free_from = f64::NEG_INFINITY;
        for mark in self.marks.iter().take(MARKS) {
            let Some(x) = frame.x_at(mark.x) else { continue };
            for line in &self.lines {
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
            let label = fit(&mark.label, 12.0, 120.0);
            let width = text_width(&label, 12.0) + 12.0;
            let right = x + width <= frame.right;
            let start = if right { x } else { x - width };
            if start < free_from {
                continue;
            }
            free_from = start + width;
            put!(
                out,
                "<text class=\"strong halo{}\" x=\"{}\" y=\"{}\">{}</text>",
                if right { "" } else { " e" },
                px(if right { x + 6.0 } else { x - 6.0 }),
                px(frame.top + 11.0),
                Esc(&label)
            );
        }
    }

    /// The chart in words: start, end, minimum and maximum of each line.
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

/// A line as paths: noisy ones as a faint trace under a smoothed one.
fn trace(frame: &Frame, line: &Line) -> String {
    let n = line.x.len().min(line.y.len());
    let (x, y) = (&line.x[..n], &line.y[..n]);
    let raw = path(frame, x, y, line.dots && n <= 60);
    if !is_noisy(y) {
        return raw;
    }
    let smooth = smoothed(y, n / SPANS);
    format!("<g class=\"raw\">{raw}</g>{}", path(frame, x, &smooth, false))
}

/// The path of a line: broken at gaps, with dots for isolated points.
fn path(frame: &Frame, x: &[f64], y: &[f64], dots: bool) -> String {
    let mut path = String::new();
    let mut circles = String::new();
    let (mut run, mut last) = (0usize, (0.0, 0.0));
    let mut dot = |(x, y): (f64, f64)| {
        put!(&mut circles, "<circle class=\"pt\" cx=\"{}\" cy=\"{}\" r=\"2.6\"/>", px(x), px(y));
    };
    // More points than pixels would only enlarge the file.
    let limit = POINTS.min((frame.width * 1.2) as usize);
    for i in decimate::min_max(y, limit) {
        if let Some(at) = frame.point(x[i], y[i]) {
            put!(&mut path, "{}{} {}", if run == 0 { 'M' } else { 'L' }, px(at.0), px(at.1));
            if dots {
                dot(at);
            }
            (run, last) = (run + 1, at);
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
    format!("<path class=\"ln\" d=\"{path}\"/>{circles}")
}

/// Whether a line is too noisy to show its trend: it is long and moves by more than a sixtieth of
/// its range, about four pixels, from point to point.
pub(crate) fn is_noisy(y: &[f64]) -> bool {
    let Some((low, high)) = extent(y.iter().copied()).filter(|_| y.len() > 200) else {
        return false;
    };
    let moves = y.windows(2).map(|w| (w[1] - w[0]).abs()).filter(|d| d.is_finite());
    let (sum, n) = moves.fold((0.0, 0.0), |(sum, n), d| (sum + d, n + 1.0));
    sum / n > (high - low) / 60.0
}

/// The centred moving average over `span` points, fewer at the ends and beside gaps, so that it
/// neither lags nor is biased.
fn smoothed(y: &[f64], span: usize) -> Vec<f64> {
    let mut out = y.to_vec();
    let mut from = 0;
    for run in y.split(|y| !y.is_finite()) {
        let mut sums = vec![0.0];
        sums.extend(run.iter().scan(0.0, |sum, y| {
            *sum += y;
            Some(*sum)
        }));
        for i in 0..run.len() {
            let half = (span / 2).min(i).min(run.len() - 1 - i);
            out[from + i] = (sums[i + half + 1] - sums[i - half]) / (2 * half + 1) as f64;
        }
        from += run.len() + 1;
    }
    out
}

/// The area between two lines, over points with both values.
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
    fn a_run_that_ends_in_nan_shows_how_far_it_went() {
        let svg = chart(&[0.0, 10.0, 20.0], &[1.0, 2.0, f64::NAN]);
        assert!(svg.contains("data-x=\"0,20,0\""), "{svg}");
    }

    #[test]
    fn vectors_of_different_length_use_what_both_have() {
        assert!(chart(&[1.0, 2.0, 3.0], &[0.5, 0.7]).contains("class=\"ln\""));
    }

    #[test]
    fn noise_is_smoothed_and_trends_are_not() {
        let trend: Vec<f64> = (0..1000).map(|i| (-f64::from(i) / 100.0).exp()).collect();
        assert!(!is_noisy(&trend) && !is_noisy(&[1.0, 5.0, 1.0]));
        let noise: Vec<f64> = (0..1000).map(|i| f64::from(i * 7919 % 1000)).collect();
        assert!(is_noisy(&noise));
        let smooth = smoothed(&noise, 20);
        assert!(smooth[100..900].iter().all(|y| (200.0..800.0).contains(y)), "{smooth:?}");
        let gap = smoothed(&[1.0, 3.0, 8.0, f64::NAN, 5.0], 3);
        assert_eq!((gap[0], gap[1], gap[2], gap[4]), (1.0, 4.0, 8.0, 5.0));
        assert!(gap[3].is_nan());
        let line: Vec<f64> = (0..9).map(f64::from).collect();
        assert_eq!(smoothed(&line, 5), line, "a straight line has no lag");
    }

    #[test]
    fn a_long_series_stays_small() {
        let x: Vec<f64> = (0..1_000_000).map(f64::from).collect();
        let y: Vec<f64> = x.iter().map(|x| (x / 1e4).sin()).collect();
        assert!(chart(&x, &y).len() < 20_000);
    }
}
