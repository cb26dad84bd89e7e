//! Works with 1 to N threads, each beside the peak of as many.

use super::Roof;
use crate::clock::Pace;
use crate::work::Error;
use crate::works::works;
use serde_json::json;

/// The works: training steps, blocks, attention, the output head, a language model.
const WORKS: [&str; 9] = [
    "train/mnist-784-512-256-10-b128",
    "train/tab-50-256-256-2-b256",
    "ffn-f32/gpt2",
    "ffn-bf16/gpt2",
    "attention-f32/gpt2-b1-t1024",
    "attention-bf16/gpt2-b1-t1024",
    "head-f32/small",
    "head-bf16/small",
    "lm-f32/gpt2-4x128",
];
/// Every number of threads up to here, then doublings.
const EACH: usize = 8;

/// A work with several numbers of threads.
pub(crate) struct Curve {
    pub(crate) name: &'static str,
    pub(crate) points: Vec<Point>,
}

/// A work with one number of threads.
pub(crate) struct Point {
    pub(crate) threads: usize,
    pub(crate) seconds: f64,
    least: f64,
    flops: f64,
    /// The peak of as many threads for the work's arithmetic.
    peak: f64,
    bandwidth: f64,
}

impl Curve {
    /// The time of one thread divided by that of the point's.
    pub(crate) fn speed_up(&self, point: &Point) -> f64 {
        self.points[0].seconds / point.seconds
    }
}

/// 1 to `most`: each up to eight, then doublings, and `most` itself.
fn counts(most: usize) -> Vec<usize> {
    let doublings = (1..).map(|p| EACH << p).take_while(|&n| n < most);
    let mut counts: Vec<usize> = (1..=most.min(EACH)).chain(doublings).collect();
    if most > EACH {
        counts.push(most);
    }
    counts
}

pub(crate) fn measure(most: usize, pace: Pace) -> Result<Vec<Curve>, Error> {
    let mut curves: Vec<Curve> =
        WORKS.iter().map(|&name| Curve { name, points: Vec::new() }).collect();
    let works = works();
    for threads in counts(most) {
        let roof = Roof::measure(&crate::open(threads)?);
        for curve in &mut curves {
            let work = works.iter().find(|work| work.name == curve.name);
            let work = work.ok_or_else(|| format!("no work is called {}", curve.name))?;
            let timing = work.measure(threads, pace)?.timing;
            curve.points.push(Point {
                threads,
                seconds: timing.median,
                least: timing.min,
                flops: work.flops,
                peak: roof.peaks.of(work.arithmetic),
                bandwidth: roof.bandwidth,
            });
        }
    }
    Ok(curves)
}

/// Prints a table, or a line for each point.
pub(crate) fn print(json: bool, curves: &[Curve]) {
    if !json {
        println!(
            "\nThe same works with 1 to N threads, beside the peak and the memory of as many.\n"
        );
        println!(
            "| work | threads | µs | speed-up | GFLOP/s | peak, GFLOP/s | % of the peak | memory, GB/s |"
        );
        println!("|---|---:|---:|---:|---:|---:|---:|---:|");
    }
    for curve in curves {
        for point in &curve.points {
            let (rate, speed_up) = (point.flops / point.seconds, curve.speed_up(point));
            if json {
                let line = json!({
                    "part": "threads",
                    "work": curve.name,
                    "threads": point.threads,
                    "us": point.seconds * 1e6,
                    "us_min": point.least * 1e6,
                    "speed_up": speed_up,
                    "gflops": rate / 1e9,
                    "peak_gflops": point.peak / 1e9,
                    "peak_share": rate / point.peak,
                    "memory_gbs": point.bandwidth / 1e9,
                });
                println!("{line}");
                continue;
            }
            println!(
                "| {} | {} | {:.1} | {speed_up:.2} | {:.1} | {:.0} | {:.0} | {:.1} |",
                curve.name,
                point.threads,
                point.seconds * 1e6,
                rate / 1e9,
                point.peak / 1e9,
                100.0 * rate / point.peak,
                point.bandwidth / 1e9,
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_end_at_the_most() {
        assert_eq!(counts(1), [1]);
        assert_eq!(counts(2), [1, 2]);
        assert_eq!(counts(16), [1, 2, 3, 4, 5, 6, 7, 8, 16]);
        assert_eq!(counts(48), [1, 2, 3, 4, 5, 6, 7, 8, 16, 32, 48]);
    }

    #[test]
    fn every_work_exists() {
        let works = works();
        assert!(WORKS.iter().all(|name| works.iter().any(|work| work.name == *name)));
    }
}
