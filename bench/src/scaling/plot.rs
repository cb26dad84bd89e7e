//! The sweeps as one plot.

use super::sweep::Sweep;
use crate::peaks::Peaks;
use crate::svg::{Axis, Panel, Series, page};

/// Five panels: three sweeps with the minimum time at the peak, the roofline, and every size from 1
/// to 300.
pub(crate) fn draw(
    sweeps: &[Sweep],
    square: &[(usize, f64)],
    peaks: &Peaks,
    bandwidth: f64,
) -> String {
    let mut panels: Vec<Panel> = sweeps
        .iter()
        .map(|sweep| {
            let at = |y: fn(&super::sweep::Point, f64) -> f64| {
                sweep.points.iter().map(|p| (p.size as f64, y(p, peaks.f32))).collect()
            };
            Panel {
                title: format!("A training step as {} grows", sweep.name),
                x: Axis::log(sweep.name),
                y: Axis::log("µs"),
                series: vec![
                    Series::dotted("measured", at(|p, _| p.seconds * 1e6)),
                    Series::limit("FLOP at the peak", at(|p, peak| p.flops / peak * 1e6)),
                ],
            }
        })
        .collect();
    panels.push(roofline(sweeps, peaks, bandwidth));
    let flops = |n: f64| 6.0 * n.powi(3);
    panels.push(Panel {
        title: "One layer n → n with n rows, forward and backward".into(),
        x: Axis::linear("n"),
        y: Axis::log("µs"),
        series: vec![
            Series::line("measured", square.iter().map(|&(n, s)| (n as f64, s * 1e6)).collect()),
            Series::limit(
                "FLOP at the peak",
                square
                    .iter()
                    .filter(|&&(n, _)| n >= 48)
                    .map(|&(n, _)| (n as f64, flops(n as f64) / peaks.f32 * 1e6))
                    .collect(),
            ),
        ],
    });
    page("How the cost of a training step grows", &panels)
}

fn roofline(sweeps: &[Sweep], peaks: &Peaks, bandwidth: f64) -> Panel {
    let mut series: Vec<Series> = sweeps
        .iter()
        .map(|sweep| {
            let points = sweep.points.iter();
            let place = |p: &super::sweep::Point| (p.flops / p.bytes, p.flops / p.seconds / 1e9);
            Series::dots(sweep.name, points.map(place).collect())
        })
        .collect();
    let intensities = || sweeps.iter().flat_map(|s| &s.points).map(|p| p.flops / p.bytes);
    let (low, high) = intensities().fold((f64::MAX, 0.0f64), |(l, h), x| (l.min(x), h.max(x)));
    let ridge = peaks.f32 / bandwidth;
    let roof = [low, ridge, high.max(2.0 * ridge)]
        .map(|x| (x, (x * bandwidth).min(peaks.f32) / 1e9))
        .to_vec();
    series.push(Series::limit("memory, FMA peak", roof));
    Panel {
        title: "Roofline".into(),
        x: Axis::log("FLOP per byte, if nothing stayed in a cache"),
        y: Axis::log("GFLOP/s"),
        series,
    }
}
