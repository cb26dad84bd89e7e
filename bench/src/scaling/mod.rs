//! Scaling of the cost: steps against batch, width and depth beside the limits of the machine, and
//! sizes not divisible by a tile.

mod odd;
mod plot;
mod sweep;

use crate::clock::{Clock, Pace};
use crate::network::normal_tensor;
use crate::peaks::Peaks;
use crate::work::Error;
use ff_graph::Graph;
use ff_nn::layers::Feedforward;
use ff_nn::{Builder, Layer};
use ff_ops::Activation;
use ff_tensor::{DType, Device};
use std::path::Path;

/// Measures everything, writes the plot and prints the tables.
pub(crate) fn run(device: &Device, peaks: &Peaks, out: &Path) -> Result<(), Error> {
    let bandwidth = crate::peaks::bandwidth(device);
    println!(
        "{} threads, {}; peak f32 {:.0} GFLOP/s, memory {:.1} GB/s\n",
        peaks.threads,
        peaks.isa,
        peaks.f32 / 1e9,
        bandwidth / 1e9
    );
    let sweeps = sweep::all(device)?;
    sweep::print(&sweeps, peaks);
    let square = odd::measure(device)?;
    let svg = plot::draw(&sweeps, &square, peaks, bandwidth);
    std::fs::write(out, svg)?;
    println!("\nThe picture is in {}.", out.display());
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
