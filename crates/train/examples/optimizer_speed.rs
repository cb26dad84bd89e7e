//! Microseconds of an optimiser's step, for networks of several sizes, threads and clipping:
//! `cargo run --release -p ff-train --example optimizer_speed`.
#![allow(clippy::print_stdout)]

use ff_graph::{ParamKind, ParamSpec, Params};
use ff_tensor::{DType, Device, DeviceOptions};
use ff_train::optim::{Optimizer, OptimizerConfig, OptimizerKind};
use std::error::Error;
use std::time::Instant;

fn layers(widths: &[usize]) -> Vec<ParamSpec> {
    let layer = |(i, pair): (usize, &[usize])| {
        let weight = ParamSpec::new(format!("{i}.weight"), [pair[1], pair[0]], ParamKind::Weight);
        [weight, ParamSpec::new(format!("{i}.bias"), [pair[1]], ParamKind::Bias)]
    };
    widths.windows(2).enumerate().flat_map(layer).collect()
}

fn median(
    widths: &[usize],
    threads: usize,
    config: &OptimizerConfig,
) -> Result<f64, Box<dyn Error>> {
    let device = Device::open(DeviceOptions { threads, isa: None })?;
    let mut params = Params::allocate(&device, DType::F32, layers(widths), true)?;
    for (i, g) in params.gradients::<f32>()?.iter_mut().enumerate() {
        *g = (i % 97) as f32 / 50.0 - 1.0;
    }
    let mut optimizer = Optimizer::new(config, &params, &device)?;
    let repeats = (20_000_000 / params.trainable_len()).clamp(7, 2001);
    let mut times = Vec::new();
    for _ in 0..repeats {
        let start = Instant::now();
        optimizer.step(&mut params, 64.0, 1e-3)?;
        times.push(start.elapsed().as_secs_f64() * 1e6);
    }
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}

fn main() -> Result<(), Box<dyn Error>> {
    let networks: [(&str, &[usize]); 3] = [
        ("9,610", &[64, 128, 10]),
        ("535,818", &[784, 512, 256, 10]),
        ("10,498,058", &[1024, 2048, 2048, 2048, 10]),
    ];
    for (name, widths) in networks {
        for threads in [1, 2] {
            for kind in [OptimizerKind::Adam, OptimizerKind::AdamW, OptimizerKind::Sgd] {
                let plain = OptimizerConfig::new(kind);
                let clipped = OptimizerConfig { clip_norm: Some(1.0), ..plain.clone() };
                let (plain, clipped) =
                    (median(widths, threads, &plain)?, median(widths, threads, &clipped)?);
                println!(
                    "{name:>10} parameters, {threads} threads, {kind:<6} {plain:10.2} µs, {clipped:10.2} µs clipped"
                );
            }
        }
    }
    Ok(())
}
