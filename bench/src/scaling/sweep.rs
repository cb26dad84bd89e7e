//! Costs while one size grows: training steps, blocks, attention, and the output head.

use super::Roof;
use crate::attention::Shape;
use crate::clock::Pace;
use crate::ffn::{self, Block};
use crate::head::Head;
use crate::network::Network;
use crate::train;
use crate::work::{Arithmetic, Error, Work};
use serde_json::json;

/// The base network: the sizes that stay fixed while one grows.
const BATCH: usize = 128;
const WIDTH: usize = 256;
const DEPTH: usize = 2;
const CLASSES: usize = 10;
/// GPT-2's attention: the heads and the features of each.
const HEADS: usize = 12;
const DIM: usize = 64;
/// Tokens of the blocks whose width grows, and of the heads.
const TOKENS: usize = 1024;

/// A size before it is measured: the work, and the least traffic between memory and registers if
/// nothing stays in a cache.
struct Case {
    size: usize,
    bytes: f64,
    work: Work,
}

/// One measured size of a sweep.
pub(crate) struct Point {
    pub(crate) size: usize,
    pub(crate) arithmetic: Arithmetic,
    pub(crate) seconds: f64,
    pub(crate) least: f64,
    pub(crate) flops: f64,
    pub(crate) bytes: f64,
}

/// A size that grows.
pub(crate) struct Sweep {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    /// What the size counts.
    pub(crate) axis: &'static str,
    pub(crate) points: Vec<Point>,
}

/// A sweep before it is measured: name, title, axis, cases.
type Plan = (&'static str, &'static str, &'static str, fn() -> Vec<Case>);

/// The names of the sweeps.
pub(crate) const NAMES: [&str; 8] = [
    "step-batch",
    "step-width",
    "step-depth",
    "block-tokens",
    "block-width",
    "attention-length",
    "cache-length",
    "head-vocabulary",
];

const PLANS: [Plan; 8] = [
    (NAMES[0], "A training step by batch", "rows", || {
        powers(0, 11).map(|n| step(n, [n, WIDTH, DEPTH])).collect()
    }),
    (NAMES[1], "A training step by width", "units", || {
        powers(4, 11).map(|n| step(n, [BATCH, n, DEPTH])).collect()
    }),
    (NAMES[2], "A training step by depth", "layers", || {
        powers(0, 5).map(|n| step(n, [BATCH, WIDTH, n])).collect()
    }),
    (NAMES[3], "GPT-2's block by tokens", "tokens", || {
        kinds(&[1, 4, 16, 64, 256, 1024, 4096], |tokens, bf16| {
            block(tokens, Block { tokens, bf16, ..ffn::GPT2 })
        })
    }),
    (NAMES[4], "A block of 1024 tokens by width", "width", || {
        kinds(&[64, 128, 256, 512, 1024, 2048], |width, bf16| {
            block(width, Block { tokens: TOKENS, width, hidden: 4 * width, bf16, ..ffn::GPT2 })
        })
    }),
    (NAMES[5], "Attention by sequence length", "positions", || {
        kinds(&[16, 64, 256, 1024, 4096], attention)
    }),
    (NAMES[6], "One query by length of the cache", "positions", || {
        [64, 256, 1024, 4096, 16384].map(cache).into()
    }),
    (NAMES[7], "The output head by vocabulary", "classes", || {
        kinds(&[256, 1024, 4096, 16384, 65536], head)
    }),
];

fn powers(from: u32, to: u32) -> impl Iterator<Item = usize> {
    (from..=to).map(|p| 1usize << p)
}

/// All sizes in f32, then in bf16.
fn kinds(sizes: &[usize], case: fn(usize, bool) -> Case) -> Vec<Case> {
    let of = |bf16| sizes.iter().map(move |&size| case(size, bf16));
    of(false).chain(of(true)).collect()
}

fn arithmetic(bf16: bool) -> Arithmetic {
    if bf16 { Arithmetic::Bf16 } else { Arithmetic::F32 }
}

/// Forward, loss, backward and Adam of `depth` layers of `width` over inputs of the same width.
fn step(size: usize, [batch, width, depth]: [usize; 3]) -> Case {
    let mut widths = vec![width; depth + 1];
    widths.push(CLASSES);
    let weights: usize = widths.windows(2).map(|w| w[0] * w[1] + w[1]).sum();
    let activations: usize = batch * widths.iter().sum::<usize>();
    let flops = Network { name: "", widths: &widths, batch }.training_flops();
    let work = Work {
        name: "step".to_owned(),
        arithmetic: Arithmetic::F32,
        flops,
        run: Box::new(move |device, clock| {
            train::run(&Network { name: "", widths: &widths, batch }, device, clock)
        }),
    };
    // Weights: read forward and backward, the gradient written, and Adam's pass, which reads four
    // values and writes three. Activations: written, read, and the same for their gradients.
    Case { size, bytes: (4 * (10 * weights + 4 * activations)) as f64, work }
}

fn block(size: usize, block: Block) -> Case {
    let work = Work {
        name: "block".to_owned(),
        arithmetic: arithmetic(block.bf16),
        flops: block.flops(),
        run: Box::new(move |device, clock| block.run(device, clock)),
    };
    let weights = 2 * block.width * block.hidden;
    let activations = block.tokens * (2 * block.width + block.hidden);
    let each = if block.bf16 { 2 } else { 4 };
    // Weights in f32: read forward and backward, the gradient read and written. Activations as in
    // a training step.
    Case { size, bytes: (4 * 4 * weights + each * 4 * activations) as f64, work }
}

/// One sequence.
fn attention(length: usize, bf16: bool) -> Case {
    let shape = Shape { batch: 1, length, heads: HEADS, dim: DIM, bf16 };
    let work = Work {
        name: "attention".to_owned(),
        arithmetic: arithmetic(bf16),
        flops: shape.flops(),
        run: Box::new(move |device, clock| shape.train(device, clock)),
    };
    // q, k, v and y forward; all four, dy, dq, dk and dv backward.
    let each = if bf16 { 2 } else { 4 };
    Case { size: length, bytes: (each * 12 * length * HEADS * DIM) as f64, work }
}

/// A step of generation.
fn cache(length: usize) -> Case {
    let shape = Shape { batch: 1, length, heads: HEADS, dim: DIM, bf16: false };
    let work = Work {
        name: "cache".to_owned(),
        arithmetic: Arithmetic::F32,
        flops: shape.generate_flops(),
        run: Box::new(move |device, clock| shape.generate(device, clock)),
    };
    Case { size: length, bytes: (4 * 2 * length * HEADS * DIM) as f64, work }
}

/// A linear layer from GPT-2's width, and cross-entropy.
fn head(classes: usize, bf16: bool) -> Case {
    let head = Head { name: "", tokens: TOKENS, width: HEADS * DIM, classes, bf16 };
    let work = Work {
        name: "head".to_owned(),
        arithmetic: arithmetic(bf16),
        flops: head.flops(),
        run: Box::new(move |device, clock| head.run(device, clock)),
    };
    let each = if bf16 { 2 } else { 4 };
    // The weight in f32 as in a block; the input read twice, its gradient written. No logits.
    let bytes = 4 * 4 * classes * head.width + each * 3 * head.tokens * head.width;
    Case { size: classes, bytes: bytes as f64, work }
}

/// Measures the sweeps whose name is wanted.
pub(crate) fn all(
    threads: usize,
    wanted: &dyn Fn(&str) -> bool,
    pace: Pace,
) -> Result<Vec<Sweep>, Error> {
    let mut sweeps = Vec::new();
    for (name, title, axis, cases) in PLANS.into_iter().filter(|plan| wanted(plan.0)) {
        let mut points = Vec::new();
        for Case { size, bytes, work } in cases() {
            let timing = work.measure(threads, pace)?.timing;
            points.push(Point {
                size,
                arithmetic: work.arithmetic,
                seconds: timing.median,
                least: timing.min,
                flops: work.flops,
                bytes,
            });
        }
        sweeps.push(Sweep { name, title, axis, points });
    }
    Ok(sweeps)
}

/// Prints a table of all sweeps, or a line for each point.
pub(crate) fn print(json: bool, sweeps: &[Sweep], roof: &Roof) {
    if !json && !sweeps.is_empty() {
        println!(
            "\nOne size changed: training steps of {WIDTH}-{WIDTH}-{WIDTH}-{CLASSES} at batch \
             {BATCH}; GPT-2's block,\nattention and head ({} wide, {TOKENS} tokens, {HEADS} heads \
             of {DIM}, one sequence), forward and\nbackward; one query to a cache.\n",
            HEADS * DIM
        );
        println!(
            "| part | arithmetic | size | µs | GFLOP/s | % of the peak | FLOP/byte | roofline, µs |"
        );
        println!("|---|---|---:|---:|---:|---:|---:|---:|");
    }
    for sweep in sweeps {
        for point in &sweep.points {
            let rate = point.flops / point.seconds;
            let share = rate / roof.peaks.of(point.arithmetic);
            let limit = roof.seconds(point.arithmetic, point.flops, point.bytes);
            if json {
                let line = json!({
                    "part": sweep.name,
                    "arithmetic": point.arithmetic.name(),
                    "size": point.size,
                    "threads": roof.peaks.threads,
                    "us": point.seconds * 1e6,
                    "us_min": point.least * 1e6,
                    "flops": point.flops,
                    "bytes": point.bytes,
                    "gflops": rate / 1e9,
                    "peak_share": share,
                    "roofline_us": limit * 1e6,
                });
                println!("{line}");
                continue;
            }
            println!(
                "| {} | {} | {} | {:.1} | {:.1} | {:.0} | {:.1} | {:.1} |",
                sweep.name,
                point.arithmetic.name(),
                point.size,
                point.seconds * 1e6,
                rate / 1e9,
                100.0 * share,
                point.flops / point.bytes,
                limit * 1e6,
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_grow_and_cost_more() {
        for (name, _, _, cases) in PLANS {
            let cases = cases();
            for pair in cases.windows(2).filter(|w| w[0].work.arithmetic == w[1].work.arithmetic) {
                let [a, b] = pair else { continue };
                assert!(
                    a.size < b.size && a.work.flops < b.work.flops && a.bytes < b.bytes,
                    "{name}"
                );
            }
        }
    }
}
