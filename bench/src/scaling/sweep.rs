//! Whole training steps while one size of the network grows.

use crate::clock::{Clock, Pace};
use crate::network::Network;
use crate::peaks::Peaks;
use crate::train;
use crate::work::Error;
use ff_tensor::Device;

/// The base network: the sizes that stay fixed while one grows.
const BATCH: usize = 128;
const WIDTH: usize = 256;
const DEPTH: usize = 2;
const CLASSES: usize = 10;

/// One size of a sweep.
pub(crate) struct Point {
    pub(crate) size: usize,
    pub(crate) seconds: f64,
    pub(crate) flops: f64,
    /// The minimum traffic between memory and registers if nothing stays in a cache.
    pub(crate) bytes: f64,
}

/// A size that grows.
pub(crate) struct Sweep {
    pub(crate) name: &'static str,
    pub(crate) points: Vec<Point>,
}

pub(crate) fn all(device: &Device) -> Result<Vec<Sweep>, Error> {
    let powers = |from: u32, to: u32| (from..=to).map(|p| 1usize << p);
    let sweep = |name, sizes: Vec<[usize; 3]>, which: usize| -> Result<Sweep, Error> {
        let measured = sizes.into_iter().map(|sizes| point(device, sizes, sizes[which]));
        Ok(Sweep { name, points: measured.collect::<Result<_, _>>()? })
    };
    Ok(vec![
        sweep("batch", powers(0, 11).map(|n| [n, WIDTH, DEPTH]).collect(), 0)?,
        sweep("width", powers(4, 11).map(|n| [BATCH, n, DEPTH]).collect(), 1)?,
        sweep("depth", powers(0, 5).map(|n| [BATCH, WIDTH, n]).collect(), 2)?,
    ])
}

/// A network of `depth` layers of `width` over inputs of the same width.
fn point(device: &Device, [batch, width, depth]: [usize; 3], size: usize) -> Result<Point, Error> {
    let mut widths = vec![width; depth + 1];
    widths.push(CLASSES);
    let network = Network { name: "", widths: &widths, batch };
    let mut clock = Clock::new(Pace::seconds(0.2));
    train::run(&network, device, &mut clock)?;
    let weights: usize = widths.windows(2).map(|w| w[0] * w[1] + w[1]).sum();
    let activations: usize = batch * widths.iter().sum::<usize>();
    // Weights: read forward and backward, the gradient written, and Adam's pass, which reads four
    // values and writes three. Activations: written, read, and the same for their gradients.
    let bytes = (4 * (10 * weights + 4 * activations)) as f64;
    let seconds = clock.timing().median;
    Ok(Point { size, seconds, flops: network.training_flops(), bytes })
}

/// Prints a table for each sweep.
pub(crate) fn print(sweeps: &[Sweep], peaks: &Peaks) {
    println!(
        "Whole training steps of {WIDTH}-{WIDTH}-{WIDTH}-{CLASSES} at batch {BATCH}, one size \
         changed:\n"
    );
    println!("| growing | size | µs per step | GFLOP/s | % of the peak |");
    println!("|---|---:|---:|---:|---:|");
    for sweep in sweeps {
        for point in &sweep.points {
            let rate = point.flops / point.seconds;
            println!(
                "| {} | {} | {:.1} | {:.1} | {:.0} |",
                sweep.name,
                point.size,
                point.seconds * 1e6,
                rate / 1e9,
                100.0 * rate / peaks.f32
            );
        }
    }
}
