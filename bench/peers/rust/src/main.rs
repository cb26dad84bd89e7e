//! The Rust peers: `ff-bench-peers burn|candle [--only A,B] [--seconds S]`, one JSON object per
//! line, like `ff-bench --json`.

mod burn_peer;
mod candle_peer;

use std::time::{Duration, Instant};

/// Name, widths, rows of a training step.
pub const NETWORKS: [(&str, &[usize], usize); 3] = [
    ("digits-64-128-10", &[64, 128, 10], 64),
    ("mnist-784-512-256-10", &[784, 512, 256, 10], 128),
    ("tab-50-256-256-2", &[50, 256, 256, 2], 256),
];

/// A feedforward block: two matrices with biases and GELU, or three without and SwiGLU.
#[derive(Clone, Copy)]
pub struct Block {
    pub tokens: usize,
    pub width: usize,
    pub hidden: usize,
    pub gated: bool,
}

pub const BLOCKS: [(&str, Block); 2] = [
    ("gpt2", Block { tokens: 1024, width: 768, hidden: 3072, gated: false }),
    ("llama", Block { tokens: 512, width: 2048, hidden: 5632, gated: true }),
];

/// So small that the weights hardly move, and no peer memorises the random labels.
pub const LEARNING_RATE: f64 = 1e-6;

/// A step, set up and ready to be repeated.
pub type Step = Box<dyn FnMut()>;
/// The name of a work, and its setup.
pub type Work = (String, Box<dyn Fn() -> Step>);

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let value = |name: &str| {
        arguments.iter().position(|a| a == name).and_then(|i| arguments.get(i + 1)).cloned()
    };
    let works = match arguments.get(1).map(String::as_str) {
        Some("burn") => burn_peer::works(),
        Some("candle") => candle_peer::works(),
        _ => {
            eprintln!("usage: ff-bench-peers burn|candle [--only A,B] [--seconds S]");
            std::process::exit(2);
        }
    };
    let only = value("--only").unwrap_or_default();
    let seconds = value("--seconds").and_then(|s| s.parse().ok()).unwrap_or(1.0);
    for (name, make) in works {
        if only.split(',').any(|pattern| name.contains(pattern)) {
            let (median, least) = measure(make(), Duration::from_secs_f64(seconds));
            println!(
                "{{\"work\": \"{name}\", \"us\": {:.3}, \"us_min\": {:.3}}}",
                median * 1e6,
                least * 1e6
            );
        }
    }
}

/// Seconds per step in the median and the fastest block: warm-up, then blocks of about 10 ms, as in
/// `ff-bench`.
fn measure(mut step: Step, budget: Duration) -> (f64, f64) {
    step();
    let start = Instant::now();
    let mut steps = 0u32;
    while steps == 0 || start.elapsed() < Duration::from_millis(500) {
        step();
        steps += 1;
    }
    let one = start.elapsed().as_secs_f64() / f64::from(steps);
    let block = ((0.010 / one) as usize).max(1);
    let mut times = Vec::new();
    let start = Instant::now();
    while times.len() < 5 || start.elapsed() < budget {
        let before = Instant::now();
        (0..block).for_each(|_| step());
        times.push(before.elapsed().as_secs_f64() / block as f64);
    }
    times.sort_by(f64::total_cmp);
    (times[times.len() / 2], times[0])
}
