//! scratch
use ff_kernels::{MatRef, gemm};
use ff_tensor::{Device, DeviceOptions};
use std::time::Instant;
fn main() {
    let threads: usize = std::env::args().nth(1).map_or(1, |a| a.parse().unwrap());
    let only: Option<usize> = std::env::args().nth(2).map(|a| a.parse().unwrap());
    let device = Device::open(DeviceOptions { threads, isa: None }).unwrap();
    let sizes = [
        (64, 128, 64),
        (64, 10, 128),
        (128, 64, 64),
        (64, 128, 10),
        (10, 128, 64),
        (128, 512, 784),
        (512, 784, 128),
        (128, 256, 512),
        (256, 512, 128),
        (128, 512, 256),
        (256, 256, 50),
        (256, 256, 256),
        (1024, 3072, 768),
        (1024, 768, 3072),
        (3072, 768, 1024),
        (512, 5632, 2048),
        (5632, 2048, 512),
        (2048, 2048, 2048),
    ];
    for (i, (m, n, k)) in sizes.into_iter().enumerate() {
        if only.is_some_and(|o| o != i) {
            continue;
        }
        for layout in 0..3 {
            let a = vec![0.5f32; m * k];
            let b = vec![0.25f32; n * k];
            let mut c = vec![0.0f32; m * n];
            let (va, vb) = match layout {
                0 => (MatRef::new(&a, m, k), MatRef::new(&b, n, k).t()),
                1 => (MatRef::new(&a, m, k), MatRef::new(&b, k, n)),
                _ => (MatRef::new(&a, k, m).t(), MatRef::new(&b, k, n)),
            };
            let reps = (2e9 / (2.0 * (m * n * k) as f64)).max(3.0) as usize;
            let mut times = vec![];
            for _ in 0..7 {
                let t = Instant::now();
                for _ in 0..reps {
                    gemm(device.cpu(), va, vb, &mut c, layout == 2);
                }
                times.push(t.elapsed().as_secs_f64() / reps as f64);
            }
            times.sort_by(f64::total_cmp);
            let t = times[3];
            print!(
                "{} {:>14} {:9.2} us {:6.1} GF/s",
                ["NT", "NN", "TN"][layout],
                format!("{m}x{n}x{k}"),
                t * 1e6,
                2.0 * (m * n * k) as f64 / t / 1e9
            );
            print!("    ");
        }
        println!();
    }
}
