//! The choice of a processor's constants: each candidate on the works that it divides.

use crate::clock::{Clock, Pace};
use crate::network::Network;
use crate::work::{Error, Work};
use crate::{gemm, infer, train};
use ff_tensor::{Device, DeviceOptions, Tuning, processor_id};
use serde_json::json;

/// A constant and the works that depend on it.
struct Part {
    name: &'static str,
    constant: fn(&mut Tuning) -> &mut usize,
    candidates: &'static [usize],
    works: Vec<Work>,
}

/// The least gain for which the default is left, in time.
const WORTHWHILE: f64 = 0.02;

/// Small networks, whose products are close to the least work of a thread.
static SMALL: [Network<'static>; 7] = [
    Network { name: "16-32-32-2", widths: &[16, 32, 32, 2], batch: 256 },
    Network { name: "20-64-64-1", widths: &[20, 64, 64, 1], batch: 128 },
    Network { name: "64-128-10", widths: &[64, 128, 10], batch: 64 },
    Network { name: "50-96-96-2", widths: &[50, 96, 96, 2], batch: 128 },
    Network { name: "128-128-128-10", widths: &[128, 128, 128, 10], batch: 32 },
    Network { name: "256-256-10", widths: &[256, 256, 10], batch: 32 },
    Network { name: "50-128-128-2", widths: &[50, 128, 128, 2], batch: 256 },
];

fn parts() -> Vec<Part> {
    let predictions = [1, 8, 32]
        .into_iter()
        .flat_map(|rows| [&SMALL[1], &SMALL[2], &SMALL[4], &SMALL[6]].map(|n| infer::work(n, rows)))
        .collect();
    let mut products = gemm::works();
    products.retain(|work| {
        let (kind, size) = work.name.split_once('/').unwrap_or_default();
        matches!(kind, "gemm-nt" | "gemm-bf16-nt")
            && matches!(size, "512x512x512" | "1024x3072x768" | "2048x2048x2048")
    });
    vec![
        Part {
            name: "product_work",
            constant: |tuning| &mut tuning.product_work,
            candidates: &[1 << 15, 1 << 16, 3 << 15, 1 << 17, 3 << 16, 129 << 11, 1 << 19, 1 << 20],
            works: SMALL.iter().map(train::work).collect(),
        },
        Part {
            name: "layer_work",
            constant: |tuning| &mut tuning.layer_work,
            candidates: &[1 << 15, 1 << 16, 1 << 17, 1 << 18, 1 << 19],
            works: predictions,
        },
        Part {
            name: "block_bytes",
            constant: |tuning| &mut tuning.block_bytes,
            candidates: &[200 << 10, 400 << 10, 600 << 10, 800 << 10],
            works: products,
        },
    ]
}

/// The time of each work for each candidate: the best of the rounds' medians.
fn times(part: &Part, threads: usize, rounds: usize, pace: Pace) -> Result<Vec<Vec<f64>>, Error> {
    let mut best = vec![vec![f64::INFINITY; part.works.len()]; part.candidates.len()];
    for _ in 0..rounds {
        // Candidates in turn: what else the machine does meets all of them.
        for (at, work) in part.works.iter().enumerate() {
            for (&candidate, best) in part.candidates.iter().zip(&mut best) {
                let mut tuning = Tuning::DEFAULT;
                *(part.constant)(&mut tuning) = candidate;
                let options = DeviceOptions { threads, isa: None };
                let mut clock = Clock::new(pace);
                (work.run)(&Device::open_tuned(options, tuning)?, &mut clock)?;
                best[at] = best[at].min(clock.timing().median);
            }
        }
    }
    Ok(best)
}

/// For each candidate, the geometric mean of its times relative to the fastest candidate's.
fn costs(times: &[Vec<f64>]) -> Vec<f64> {
    let works = times.first().map_or(0, Vec::len);
    let fastest: Vec<f64> = (0..works)
        .map(|work| times.iter().map(|times| times[work]).fold(f64::INFINITY, f64::min))
        .collect();
    times
        .iter()
        .map(|times| {
            let logs = times.iter().zip(&fastest).map(|(time, fastest)| (time / fastest).ln());
            (logs.sum::<f64>() / works.max(1) as f64).exp()
        })
        .collect()
}

/// The candidate to take: the cheapest, or the default if nothing is worthwhile.
fn choice(candidates: &[usize], costs: &[f64], default: usize) -> usize {
    let usual = candidates.iter().position(|&c| c == default).map(|at| costs[at]);
    let cheapest = candidates.iter().zip(costs).min_by(|a, b| a.1.total_cmp(b.1));
    match (cheapest, usual) {
        (Some((&candidate, &cost)), Some(usual)) if cost < usual * (1.0 - WORTHWHILE) => candidate,
        _ => default,
    }
}

/// Measures all parts and prints the row of this processor.
pub(crate) fn run(threads: usize, json: bool, rounds: usize, pace: Pace) -> Result<(), Error> {
    let mut row = Tuning::DEFAULT;
    for part in parts() {
        let times = times(&part, threads, rounds, pace)?;
        let costs = costs(&times);
        let constant = (part.constant)(&mut row);
        *constant = choice(part.candidates, &costs, *constant);
        print(json, &part, &times, &costs, *constant);
    }
    let Tuning { product_work, layer_work, block_bytes } = row;
    let processor = processor_id();
    if json {
        println!(
            "{}",
            json!({
                "processor": processor,
                "product_work": product_work,
                "layer_work": layer_work,
                "block_bytes": block_bytes,
            })
        );
    } else {
        println!("The row of crates/tensor/src/tuning.rs:");
        println!(
            "(\"{processor}\", Tuning {{ product_work: {product_work}, layer_work: {layer_work}, \
             block_bytes: {block_bytes} }}),"
        );
    }
    Ok(())
}

fn print(json: bool, part: &Part, times: &[Vec<f64>], costs: &[f64], chosen: usize) {
    if json {
        for ((&candidate, times), &cost) in part.candidates.iter().zip(times).zip(costs) {
            let us: serde_json::Map<_, _> = part
                .works
                .iter()
                .zip(times)
                .map(|(work, time)| (work.name.clone(), json!(time * 1e6)))
                .collect();
            println!(
                "{}",
                json!({ "constant": part.name, "value": candidate, "cost": cost, "us": us })
            );
        }
        return;
    }
    print!("{:<34}", format!("{}, µs", part.name));
    for candidate in part.candidates {
        print!(" {candidate:>10}");
    }
    println!();
    for (at, work) in part.works.iter().enumerate() {
        print!("{:<34}", work.name);
        for times in times {
            print!(" {:>10.2}", times[at] * 1e6);
        }
        println!();
    }
    print!("{:<34}", "mean cost");
    for cost in costs {
        print!(" {cost:>10.3}");
    }
    println!("\nchosen: {chosen}\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_left_for_a_gain_alone() {
        let times = [vec![2.0, 1.0], vec![1.0, 1.0], vec![4.0, 2.0]];
        let costs = costs(&times);
        assert!((costs[0] - 2f64.sqrt()).abs() < 1e-12 && costs[1] == 1.0, "{costs:?}");
        assert_eq!(choice(&[1, 2, 3], &costs, 1), 2);
        assert_eq!(choice(&[1, 2, 3], &[1.01, 1.0, 2.0], 1), 1, "one per cent is noise");
        assert_eq!(choice(&[1, 2, 3], &costs, 7), 7, "a default that was not measured stays");
    }

    #[test]
    fn every_default_is_a_candidate() {
        for part in parts() {
            let mut tuning = Tuning::DEFAULT;
            assert!(part.candidates.contains((part.constant)(&mut tuning)), "{}", part.name);
            assert!(!part.works.is_empty(), "{}", part.name);
        }
    }
}
