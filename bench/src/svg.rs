//! Small line plots as one SVG file with colours for light and dark mode.
//!
//! The report's charts have no logarithmic x axis, which these panels need.

use std::fmt::Write as _;

const WIDTH: f64 = 430.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = 18.0;
const TOP: f64 = 54.0;
const BOTTOM: f64 = 46.0;
const COLUMNS: usize = 3;

const STYLE: &str = "svg{--ink:#1f2328;--soft:#6e7781;--grid:#d8dee4;--paper:#fff;--c1:#0b6bcb;--c2:#c2410c;--c3:#15803d;\
font-family:system-ui,sans-serif}@media(prefers-color-scheme:dark){svg{--ink:#e6edf3;--soft:#9198a1;--grid:#30363d;\
--paper:#0d1117;--c1:#58a6ff;--c2:#ff9b5e;--c3:#56d364}}text{fill:var(--soft);font-size:12px}.t{fill:var(--ink);\
font-size:14px;font-weight:600}.m{text-anchor:middle}.e{text-anchor:end}path{fill:none;\
stroke-width:1.8}.g{stroke:var(--grid);stroke-width:1}.s1{stroke:var(--c1)}.s2{stroke:var(--c2)}.s3{stroke:var(--c3)}.f1{fill:var(--c1)}.f2{fill:var(--c2)}\
.f3{fill:var(--c3)}.l{stroke:var(--soft);stroke-dasharray:5 4}";

/// A scale.
pub(crate) struct Axis {
    label: String,
    log: bool,
}

impl Axis {
    pub(crate) fn log(label: &str) -> Self {
        Self { label: label.to_owned(), log: true }
    }

    pub(crate) fn linear(label: &str) -> Self {
        Self { label: label.to_owned(), log: false }
    }

    fn of(&self, value: f64) -> f64 {
        if self.log { value.log10() } else { value }
    }

    /// Ticks between two values in the axis's own units: powers of ten, or of two within a decade;
    /// round steps on a linear axis.
    fn ticks(&self, low: f64, high: f64) -> Vec<f64> {
        if !self.log {
            let step = [10.0, 20.0, 50.0, 100.0, 200.0, 500.0]
                .into_iter()
                .find(|step| (high - low) / step <= 7.0)
                .unwrap_or(1000.0);
            let steps = (low / step).ceil() as i64..=(high / step).floor() as i64;
            return steps.map(|i| i as f64 * step).collect();
        }
        let decades = (low.ceil() as i32..=high.floor() as i32).map(|p| 10f64.powi(p));
        let decades: Vec<f64> = decades.collect();
        if decades.len() >= 3 {
            return decades;
        }
        let two = 2f64.log10();
        ((low / two).ceil() as i32..=(high / two).floor() as i32).map(|p| 2f64.powi(p)).collect()
    }
}

#[derive(PartialEq)]
enum Look {
    Line,
    Dots,
    Dotted,
    Limit,
}

/// A series of points.
pub(crate) struct Series {
    name: String,
    points: Vec<(f64, f64)>,
    look: Look,
}

impl Series {
    pub(crate) fn line(name: &str, points: Vec<(f64, f64)>) -> Self {
        Self { name: name.to_owned(), points, look: Look::Line }
    }

    /// Points without a line.
    pub(crate) fn dots(name: &str, points: Vec<(f64, f64)>) -> Self {
        Self { name: name.to_owned(), points, look: Look::Dots }
    }

    /// A line through its points.
    pub(crate) fn dotted(name: &str, points: Vec<(f64, f64)>) -> Self {
        Self { name: name.to_owned(), points, look: Look::Dotted }
    }

    /// A dashed line as a limit.
    pub(crate) fn limit(name: &str, points: Vec<(f64, f64)>) -> Self {
        Self { name: name.to_owned(), points, look: Look::Limit }
    }
}

/// One plot.
pub(crate) struct Panel {
    pub(crate) title: String,
    pub(crate) x: Axis,
    pub(crate) y: Axis,
    pub(crate) series: Vec<Series>,
}

/// All panels, three per row.
pub(crate) fn page(title: &str, panels: &[Panel]) -> String {
    let columns = panels.len().min(COLUMNS);
    let width = columns as f64 * WIDTH;
    let height = panels.len().div_ceil(COLUMNS) as f64 * HEIGHT;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         role=\"img\"><title>{title}</title><style>{STYLE}</style><rect width=\"100%\" height=\"100%\" \
         fill=\"var(--paper)\"/>"
    );
    for (i, panel) in panels.iter().enumerate() {
        let (x, y) = ((i % COLUMNS) as f64 * WIDTH, (i / COLUMNS) as f64 * HEIGHT);
        let _ = write!(out, "<g transform=\"translate({x} {y})\">{}</g>", panel.draw());
    }
    out.push_str("</svg>\n");
    out
}

impl Panel {
    fn draw(&self) -> String {
        let points = || self.series.iter().flat_map(|s| &s.points);
        let range = |values: &mut dyn Iterator<Item = f64>, padding: f64| {
            let (low, high) = values.fold((f64::MAX, f64::MIN), |(l, h), v| (l.min(v), h.max(v)));
            let pad = padding * (high - low).max(1e-9);
            (low - pad, high + pad)
        };
        let (x_low, x_high) = range(&mut points().map(|p| self.x.of(p.0)), 0.03);
        let (y_low, y_high) = range(&mut points().map(|p| self.y.of(p.1)), 0.05);
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        let at_x = |x: f64| LEFT + (self.x.of(x) - x_low) / (x_high - x_low) * (right - LEFT);
        let at_y = |y: f64| bottom - (self.y.of(y) - y_low) / (y_high - y_low) * (bottom - TOP);

        let mut out = format!("<text class=\"t\" x=\"{LEFT}\" y=\"20\">{}</text>", self.title);
        for x in self.x.ticks(x_low, x_high) {
            let (at, below) = (at_x(x), bottom + 16.0);
            let _ = write!(
                out,
                "<path class=\"g\" d=\"M{at:.1} {TOP}V{bottom}\"/><text class=\"m\" x=\"{at:.1}\" y=\"{below}\">{x}</text>"
            );
        }
        for y in self.y.ticks(y_low, y_high) {
            let (at, left, text) = (at_y(y), LEFT - 6.0, at_y(y) + 4.0);
            let _ = write!(
                out,
                "<path class=\"g\" d=\"M{LEFT} {at:.1}H{right}\"/><text class=\"e\" x=\"{left}\" y=\"{text:.1}\">{y}</text>"
            );
        }
        let (middle, below) = (f64::midpoint(LEFT, right), HEIGHT - 10.0);
        let _ = write!(
            out,
            "<text class=\"m\" x=\"{middle}\" y=\"{below}\">{}</text><text class=\"e\" x=\"{}\" y=\"{}\">{}</text>",
            self.x.label,
            LEFT - 6.0,
            TOP - 8.0,
            self.y.label
        );
        let mut legend = LEFT;
        for (i, series) in self.series.iter().enumerate() {
            let colour = i % 3 + 1;
            let mut path = String::new();
            for (j, &(x, y)) in series.points.iter().enumerate() {
                let _ =
                    write!(path, "{}{:.1} {:.1}", if j == 0 { 'M' } else { 'L' }, at_x(x), at_y(y));
            }
            let class =
                if series.look == Look::Limit { "l".to_owned() } else { format!("s{colour}") };
            if series.look != Look::Dots {
                let _ = write!(out, "<path class=\"{class}\" d=\"{path}\"/>");
            }
            if matches!(series.look, Look::Dots | Look::Dotted) {
                for &(x, y) in &series.points {
                    let (x, y) = (at_x(x), at_y(y));
                    let _ = write!(
                        out,
                        "<circle class=\"f{colour}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\"/>"
                    );
                }
            }
            let (end, text) = (legend + 18.0, legend + 23.0);
            let _ = write!(
                out,
                "<path class=\"{class}\" d=\"M{legend} 34H{end}\"/><text x=\"{text}\" y=\"38\">{}</text>",
                series.name
            );
            legend = text + 7.0 * series.name.len() as f64 + 12.0;
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_point_lies_inside_of_its_panel() {
        let series = vec![Series::dots("a", vec![(1.0, 5.0), (1000.0, 2e6)])];
        let panel = Panel { title: "t".into(), x: Axis::log("x"), y: Axis::log("y"), series };
        let svg = page("p", &[panel]);
        let coordinates = |key: &str| -> Vec<f64> {
            svg.split(key).skip(1).filter_map(|s| s.split('"').next()?.parse().ok()).collect()
        };
        let (x, y) = (coordinates("cx=\""), coordinates("cy=\""));
        assert_eq!((x.len(), y.len()), (2, 2));
        assert!(x.iter().all(|&x| (LEFT..WIDTH - RIGHT).contains(&x)), "{x:?}");
        assert!(y.iter().all(|&y| (TOP..HEIGHT - BOTTOM).contains(&y)), "{y:?}");
        assert!(x[0] < x[1] && y[0] > y[1], "larger is to the right and up");
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(Axis::log("").ticks(0.0, 3.0), [1.0, 10.0, 100.0, 1000.0]);
        assert_eq!(Axis::log("").ticks(0.0, 1.0), [1.0, 2.0, 4.0, 8.0]);
        assert_eq!(
            Axis::linear("").ticks(-5.0, 300.0),
            [0.0, 50.0, 100.0, 150.0, 200.0, 250.0, 300.0]
        );
    }
}
