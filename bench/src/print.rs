//! Output of works as lines, for people and scripts.

use crate::peaks::Peaks;
use crate::work::{Measured, Work};
use serde_json::json;

/// The header line.
pub(crate) fn head(json: bool, peaks: &Peaks) {
    if json {
        let line = json!({
            "peak_f32_gflops": round(peaks.f32 / 1e9, 1),
            "peak_bf16_gflops": peaks.bf16.map(|peak| round(peak / 1e9, 1)),
            "threads": peaks.threads,
            "isa": peaks.isa.to_string(),
            "core_to_core_ns": round(peaks.core_to_core * 1e9, 0),
        });
        println!("{line}");
        return;
    }
    let bf16 = peaks.bf16.map_or("no bf16 instructions".to_owned(), |peak| {
        format!("bf16 {:.0} GFLOP/s", peak / 1e9)
    });
    println!(
        "{} threads, {}; peak f32 {:.0} GFLOP/s, {bf16}; core to core {:.0} ns",
        peaks.threads,
        peaks.isa,
        peaks.f32 / 1e9,
        peaks.core_to_core * 1e9
    );
    println!(
        "{:<34} {:>11} {:>11} {:>9} {:>7} {:>10} {:>9}",
        "work", "median µs", "least µs", "GFLOP/s", "% peak", "B/step", "peak MiB"
    );
}

/// The line of one work. Resident memory is only meaningful for a work alone in its process.
pub(crate) fn work(json: bool, work: &Work, measured: &Measured, peaks: &Peaks, alone: bool) {
    let timing = &measured.timing;
    let us = timing.median * 1e6;
    let gflops = work.flops / timing.median / 1e9;
    let share = work.flops / timing.median / peaks.of(work.arithmetic);
    if json {
        let line = json!({
            "work": work.name,
            "us": round(us, 3),
            "us_min": round(timing.min * 1e6, 3),
            "flops": work.flops,
            "gflops": round(gflops, 2),
            "peak_share": round(share, 4),
            "bytes_per_step": round(timing.bytes_per_step, 1),
            "peak_bytes": measured.peak_bytes,
            "resident_bytes": measured.resident.filter(|_| alone),
            "blocks": timing.blocks,
            "steps": timing.steps,
        });
        println!("{line}");
        return;
    }
    println!(
        "{:<34} {us:>11.2} {:>11.2} {gflops:>9.1} {:>7.1} {:>10.1} {:>9.1}",
        work.name,
        timing.min * 1e6,
        100.0 * share,
        timing.bytes_per_step,
        measured.peak_bytes as f64 / f64::from(1 << 20),
    );
}

fn round(value: f64, digits: i32) -> f64 {
    let unit = 10f64.powi(digits);
    (value * unit).round() / unit
}
