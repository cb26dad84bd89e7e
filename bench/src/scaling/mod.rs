//! Scaling of the cost: training steps, blocks, attention and the output head against their sizes
//! and the number of threads, beside the limits of the machine, and sizes not divisible by a tile.

mod odd;
mod plot;
mod sweep;
mod threads;

use crate::clock::{Clock, Pace};
use crate::network::normal_tensor;
use crate::peaks::Peaks;
use crate::work::{Arithmetic, Error};
use ff_graph::Graph;
use ff_nn::layers::Feedforward;
use ff_nn::{Builder, Layer};
use ff_ops::Activation;
use ff_tensor::{DType, Device};
use serde_json::json;
use std::path::Path;

/// The ceilings of the machine with a number of threads.
pub(crate) struct Roof {
    pub(crate) peaks: Peaks,
    /// Bytes per second from memory.
    pub(crate) bandwidth: f64,
}

impl Roof {
    fn measure(device: &Device) -> Self {
        Self { peaks: Peaks::measure(device), bandwidth: crate::peaks::bandwidth(device) }
    }

    /// The least seconds for these operations and this traffic with memory.
    fn seconds(&self, arithmetic: Arithmetic, flops: f64, bytes: f64) -> f64 {
        (flops / self.peaks.of(arithmetic)).max(bytes / self.bandwidth)
    }

    /// The ceilings as a line, for people or scripts.
    fn print(&self, json: bool) {
        let (peaks, memory) = (&self.peaks, self.bandwidth / 1e9);
        if json {
            let line = json!({
                "processor": ff_tensor::processor_id(),
                "threads": peaks.threads,
                "isa": peaks.isa.to_string(),
                "peak_f32_gflops": peaks.f32 / 1e9,
                "peak_bf16_gflops": peaks.bf16.map(|peak| peak / 1e9),
                "memory_gbs": memory,
            });
            println!("{line}");
            return;
        }
        let bf16 = peaks.bf16.map_or("no bf16 instructions".to_owned(), |peak| {
            format!("bf16 {:.0} GFLOP/s", peak / 1e9)
        });
        println!(
            "{} threads, {}, {}; peak f32 {:.0} GFLOP/s, {bf16}, memory {memory:.1} GB/s",
            peaks.threads,
            ff_tensor::processor_id(),
            peaks.isa,
            peaks.f32 / 1e9,
        );
    }
}

/// Measures the parts whose name is `wanted`, writes the plot and prints tables, or a line for each
/// measurement.
pub(crate) fn run(
    threads: usize,
    json: bool,
    wanted: &dyn Fn(&str) -> bool,
    pace: Pace,
    out: &Path,
) -> Result<(), Error> {
    let device = crate::open(threads)?;
    let roof = Roof::measure(&device);
    roof.print(json);
    let sweeps = sweep::all(threads, wanted, pace)?;
    sweep::print(json, &sweeps, &roof);
    let mut curves = Vec::new();
    if wanted("threads") {
        curves = threads::measure(device.cpu().threads().count(), pace)?;
        threads::print(json, &curves);
    }
    let square = if wanted("odd") { odd::measure(json, &device)? } else { Vec::new() };
    if sweeps.is_empty() && curves.is_empty() && square.is_empty() {
        let parts = sweep::NAMES.join(", ");
        return Err(
            format!("no part of scaling has such a name; there are {parts}, threads, odd").into()
        );
    }
    std::fs::write(out, plot::draw(&sweeps, &curves, &square, &roof))?;
    if !json {
        println!("\nThe picture is in {}.", out.display());
    }
    Ok(())
}

/// Seconds of forward and backward of one layer with a bias: `batch` rows, `from` → `to` features.
fn layer_seconds(device: &Device, [batch, from, to]: [usize; 3], pace: Pace) -> Result<f64, Error> {
    let mut builder = Builder::new();
    let layer = Feedforward::new(&mut builder, from, to, Activation::Relu);
    let mut graph = Graph::new(device, builder.build(device, DType::F32, 0, true)?);
    let x = normal_tensor(device, [batch, from])?;
    let mut clock = Clock::new(pace);
    while clock.go_on() {
        graph.reset();
        let x = graph.variable(x.clone());
        let y = layer.forward(&mut graph, x)?;
        graph.backward_from(y, None)?;
    }
    // The fastest block: disturbances only make a measurement slower.
    Ok(clock.timing().min)
}
