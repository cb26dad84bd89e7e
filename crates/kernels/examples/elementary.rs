//! Nanoseconds per element of each elementary function of f32, one thread, arrays in the L1 cache;
//! the last column is the standard library's, element by element: `cargo run --release -p
//! ff-kernels --example elementary`.
#![allow(clippy::print_stdout, clippy::expect_used)]
// A closure passed directly is inlined; a function named in it is not.
#![allow(clippy::redundant_closure, clippy::redundant_closure_for_method_calls)]

use ff_kernels::{Float, map};
use ff_tensor::{Device, DeviceOptions, Isa};
use std::hint::black_box;
use std::time::Instant;

const LEN: usize = 4096;

/// The median of many runs, divided by the length.
fn nanoseconds(mut run: impl FnMut()) -> f64 {
    let mut times: Vec<f64> = (0..300)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed().as_secs_f64() * 1e9 / LEN as f64
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn row(
    name: &str,
    low: f32,
    high: f32,
    ours: impl Fn(f32) -> f32 + Sync + Copy,
    theirs: fn(f32) -> f32,
) {
    let x: Vec<f32> =
        (0..LEN).map(|i| low + (high - low) * (i * 1103 % LEN) as f32 / LEN as f32).collect();
    let mut y = vec![0.0f32; LEN];
    print!("{name:8}");
    for isa in [Isa::Avx512, Isa::Avx2, Isa::Plain] {
        match Device::open(DeviceOptions { threads: 1, isa: Some(isa) }) {
            Ok(device) => {
                let time =
                    nanoseconds(|| map(device.cpu(), black_box(&x), black_box(&mut y), ours));
                print!("{time:9.3}");
            }
            Err(_) => print!("{:>9}", "–"),
        }
    }
    let time = nanoseconds(|| {
        for (y, &x) in black_box(&mut y).iter_mut().zip(black_box(&x)) {
            *y = theirs(x);
        }
    });
    println!("{time:9.3}");
}

fn main() {
    println!("{:8}{:>9}{:>9}{:>9}{:>9}", "", "avx512", "avx2", "plain", "libm");
    row(
        "copy",
        -10.0,
        10.0,
        #[inline(always)]
        |x| x,
        |x| x,
    );
    row(
        "exp",
        -10.0,
        10.0,
        #[inline(always)]
        |x| Float::exp(x),
        f32::exp,
    );
    row(
        "exp_m1",
        -10.0,
        10.0,
        #[inline(always)]
        |x| Float::exp_m1(x),
        f32::exp_m1,
    );
    row(
        "ln",
        0.001,
        10.0,
        #[inline(always)]
        |x| Float::ln(x),
        f32::ln,
    );
    row(
        "ln_1p",
        -0.9,
        10.0,
        #[inline(always)]
        |x| Float::ln_1p(x),
        f32::ln_1p,
    );
    row(
        "tanh",
        -4.0,
        4.0,
        #[inline(always)]
        |x| Float::tanh(x),
        f32::tanh,
    );
    row(
        "sigmoid",
        -4.0,
        4.0,
        #[inline(always)]
        |x| x.sigmoid(),
        |x| 1.0 / (1.0 + (-x).exp()),
    );
    row(
        "erf",
        -4.0,
        4.0,
        #[inline(always)]
        |x| Float::erf(x),
        libm::erff,
    );
    row(
        "Φ",
        -4.0,
        4.0,
        #[inline(always)]
        |x| x.normal().0,
        |x| 0.5 * (1.0 + libm::erff(x * std::f32::consts::FRAC_1_SQRT_2)),
    );
}
