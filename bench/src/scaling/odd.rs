//! Sizes not divisible by a tile: time(n) against time(the next multiple of 16).

use super::layer_seconds;
use crate::clock::Pace;
use crate::work::Error;
use ff_tensor::Device;
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;

/// The multiple for comparison: the number of f32 in a register.
const MULTIPLE: usize = 16;
/// The allowed ratio.
const ALLOWED: f64 = 1.1;
/// Rows of the table for each kind.
const WORST: usize = 5;
/// The other two sizes where only one is odd.
const OTHER: usize = 256;
/// Repetitions, interleaved, for pairs over the limit, to rule out disturbances.
const AGAIN: usize = 5;

const PACE: Pace = Pace {
    warm_up: Duration::from_millis(3),
    block: Duration::from_micros(1500),
    budget: Duration::from_millis(12),
};

/// A kind of shape: its name, and its sizes batch, in and out as functions of n.
type Kind = (&'static str, fn(usize) -> [usize; 3]);

const KINDS: [Kind; 4] = [
    ("square: batch, in and out are n", |n| [n, n, n]),
    ("batch is n", |n| [n, OTHER, OTHER]),
    ("in_features is n", |n| [OTHER, n, OTHER]),
    ("out_features is n", |n| [OTHER, OTHER, n]),
];

struct Ratio {
    n: usize,
    seconds: f64,
    next: f64,
}

impl Ratio {
    fn value(&self) -> f64 {
        self.seconds / self.next
    }
}

/// Measures all kinds, prints the worst of each, and returns the times of the squares.
pub(crate) fn measure(json: bool, device: &Device) -> Result<Vec<(usize, f64)>, Error> {
    if !json {
        head();
    }
    let mut square = Vec::new();
    for (i, (name, shape)) in KINDS.iter().enumerate() {
        let seconds = |n: usize| layer_seconds(device, shape(n), PACE);
        let mut times = BTreeMap::new();
        for n in sizes() {
            for n in [n, n.next_multiple_of(MULTIPLE)] {
                if let std::collections::btree_map::Entry::Vacant(place) = times.entry(n) {
                    place.insert(seconds(n)?);
                }
            }
        }
        let mut ratios = Vec::new();
        for n in sizes().filter(|n| n % MULTIPLE != 0) {
            let next = n.next_multiple_of(MULTIPLE);
            let mut ratio = Ratio { n, seconds: times[&n], next: times[&next] };
            if ratio.value() > ALLOWED {
                for _ in 0..AGAIN {
                    ratio.seconds = ratio.seconds.min(seconds(n)?);
                    ratio.next = ratio.next.min(seconds(next)?);
                }
            }
            ratios.push(ratio);
        }
        ratios.sort_by(|a, b| b.value().total_cmp(&a.value()));
        let over = ratios.iter().filter(|ratio| ratio.value() > ALLOWED).count();
        for (row, ratio) in ratios.iter().take(WORST).enumerate() {
            if json {
                let line = json!({
                    "part": "odd",
                    "kind": name,
                    "n": ratio.n,
                    "ratio": ratio.value(),
                    "us_min": ratio.seconds * 1e6,
                    "next_us_min": ratio.next * 1e6,
                    "over": over,
                    "of": ratios.len(),
                });
                println!("{line}");
                continue;
            }
            let (name, over) = if row == 0 {
                (*name, format!("{over} of {}", ratios.len()))
            } else {
                ("", String::new())
            };
            println!(
                "| {name} | {over} | {:.2} | {} | {:.1} | {:.1} |",
                ratio.value(),
                ratio.n,
                ratio.seconds * 1e6,
                ratio.next * 1e6
            );
        }
        if i == 0 {
            square = times.into_iter().filter(|&(n, _)| n <= 304).collect();
        }
    }
    Ok(square)
}

/// The words before the table, and its head.
fn head() {
    println!(
        "\nOne layer with bias and ReLU, forward and backward: time(n) / time(next multiple of \
         {MULTIPLE}), n from 1 to"
    );
    println!(
        "300, 511 to 514, 767 to 770 and 1023 to 1026; the other sizes are {OTHER} where one alone \
         is n.\n"
    );
    println!("| size n is | sizes over {ALLOWED} | worst | n | µs | next multiple, µs |");
    println!("|---|---:|---:|---:|---:|---:|");
}

fn sizes() -> impl Iterator<Item = usize> {
    (1..=300).chain(511..=514).chain(767..=770).chain(1023..=1026)
}
