//! The measurements as one plot.

use super::Roof;
use super::sweep::{Point, Sweep};
use super::threads::Curve;
use crate::svg::{Axis, Panel, Series, page};
use crate::work::Arithmetic;

/// A panel for each sweep beside the roofline's time, the roofline, threads, and every size from 1
/// to 300.
pub(crate) fn draw(
    sweeps: &[Sweep],
    curves: &[Curve],
    square: &[(usize, f64)],
    roof: &Roof,
) -> String {
    let mut panels: Vec<Panel> = sweeps.iter().map(|sweep| growth(sweep, roof)).collect();
    if !sweeps.is_empty() {
        panels.push(roofline(sweeps, roof));
    }
    if !curves.is_empty() {
        panels.push(threads(curves));
    }
    if !square.is_empty() {
        panels.push(squares(square, roof));
    }
    page("How the cost of a step grows", &panels)
}

fn growth(sweep: &Sweep, roof: &Roof) -> Panel {
    let of = |arithmetic, y: &dyn Fn(&Point) -> f64| -> Vec<(f64, f64)> {
        let points = sweep.points.iter().filter(|p| p.arithmetic == arithmetic);
        points.map(|p| (p.size as f64, y(p) * 1e6)).collect()
    };
    let mut series = Vec::new();
    for arithmetic in [Arithmetic::F32, Arithmetic::Bf16] {
        let measured = of(arithmetic, &|p| p.seconds);
        if !measured.is_empty() {
            series.push(Series::dotted(arithmetic.name(), measured));
        }
    }
    let limit = of(Arithmetic::F32, &|p| roof.seconds(p.arithmetic, p.flops, p.bytes));
    series.push(Series::limit("roofline, f32", limit));
    Panel { title: sweep.title.to_owned(), x: Axis::log(sweep.axis), y: Axis::log("µs"), series }
}

fn roofline(sweeps: &[Sweep], roof: &Roof) -> Panel {
    let points = |names: &[&str]| -> Vec<(f64, f64)> {
        let sweeps = sweeps.iter().filter(|s| names.iter().any(|name| s.name.starts_with(name)));
        let points = sweeps.flat_map(|s| &s.points).filter(|p| p.arithmetic == Arithmetic::F32);
        points.map(|p| (p.flops / p.bytes, p.flops / p.seconds / 1e9)).collect()
    };
    let groups = [
        ("steps", points(&["step"])),
        ("blocks, head", points(&["block", "head"])),
        ("attention", points(&["attention", "cache"])),
    ];
    let intensities = || groups.iter().flat_map(|group| &group.1).map(|p| p.0);
    let (low, high) = intensities().fold((f64::MAX, 0.0f64), |(l, h), x| (l.min(x), h.max(x)));
    let ridge = roof.peaks.f32 / roof.bandwidth;
    let line = [low.min(ridge), ridge, high.max(2.0 * ridge)]
        .map(|x| (x, (x * roof.bandwidth).min(roof.peaks.f32) / 1e9));
    let filled = groups.into_iter().filter(|group| !group.1.is_empty());
    let mut series: Vec<Series> = filled.map(|(name, points)| Series::dots(name, points)).collect();
    series.push(Series::limit("roof", line.to_vec()));
    Panel {
        title: "Roofline, f32".into(),
        x: Axis::log("FLOP per byte, if nothing stayed in a cache"),
        y: Axis::log("GFLOP/s"),
        series,
    }
}

fn threads(curves: &[Curve]) -> Panel {
    let mut series = Vec::new();
    for (prefix, name) in
        [("train/mnist", "step"), ("ffn-f32", "block"), ("attention-f32", "attention")]
    {
        let Some(curve) = curves.iter().find(|curve| curve.name.starts_with(prefix)) else {
            continue;
        };
        let points = curve.points.iter().map(|p| (p.threads as f64, curve.speed_up(p)));
        series.push(Series::dotted(name, points.collect()));
    }
    let counts = curves[0].points.iter().map(|p| p.threads as f64);
    series.push(Series::limit("ideal", counts.map(|n| (n, n)).collect()));
    Panel {
        title: "Speed-up by threads".into(),
        x: Axis::log("threads"),
        y: Axis::log("times"),
        series,
    }
}

fn squares(square: &[(usize, f64)], roof: &Roof) -> Panel {
    let at_peak = |n: usize| 6.0 * (n as f64).powi(3) / roof.peaks.f32 * 1e6;
    let large = square.iter().filter(|&&(n, _)| n >= 48);
    Panel {
        title: "One layer n → n with n rows, forward and backward".into(),
        x: Axis::linear("n"),
        y: Axis::log("µs"),
        series: vec![
            Series::line("measured", square.iter().map(|&(n, s)| (n as f64, s * 1e6)).collect()),
            Series::limit(
                "FLOP at the peak",
                large.map(|&(n, _)| (n as f64, at_peak(n))).collect(),
            ),
        ],
    }
}
