//! Evaluates a case that `scripts/onnx_models.py` stored: a folder with the model's name, inputs
//! and the expected outputs. Prints the milliseconds of the fastest of several runs and the largest
//! difference.
#![allow(missing_docs, clippy::print_stdout)]

use ff_interop::onnx::{Error, Session, Tensor};
use ff_interop::open_graph;
use ff_tensor::{Device, DeviceOptions};
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (folder, threads) = match &arguments[..] {
        [folder] => (folder, 1),
        [folder, threads] => (folder, threads.parse().unwrap_or(1)),
        _ => {
            println!("usage: time_models FOLDER [THREADS]");
            return ExitCode::from(2);
        }
    };
    match measure(Path::new(folder), threads) {
        Ok((time, difference)) => {
            println!("{:.4} {difference:.3e}", 1000.0 * time.as_secs_f64());
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(folder: &Path, threads: usize) -> Result<(Duration, f64), Error> {
    let name = fs::read_to_string(folder.join("model")).unwrap_or_default();
    let model = open_graph(&folder.join("../..").join(name.trim()))?;
    let options = DeviceOptions { threads, ..DeviceOptions::default() };
    let device = Device::open(options).map_err(|e| Error::Input(e.to_string()))?;
    let session = Session::on(model, &device)?;
    let tensor = |kind: &str, i: usize| match fs::read(folder.join(format!("{kind}_{i}.pb"))) {
        Ok(bytes) => Tensor::from_bytes(&bytes).map(Some),
        Err(_) => Ok(None),
    };
    let mut inputs = Vec::new();
    for (i, port) in session.model().inputs().into_iter().enumerate() {
        if let Some(tensor) = tensor("input", i)? {
            inputs.push((port.name, tensor));
        }
    }
    let outputs = session.run(inputs.clone())?;
    let mut difference = 0.0f64;
    for (i, (name, found)) in outputs.iter().enumerate() {
        let Some(expected) = tensor("output", i)? else { continue };
        if found.dims() != expected.dims() {
            let message = format!("{name} is {:?}, not {:?}", found.dims(), expected.dims());
            return Err(Error::Input(message));
        }
        let values = |x: &Tensor| x.data().floats().unwrap_or_default();
        for (a, b) in values(found).into_iter().zip(values(&expected)) {
            let off = (a - b).abs();
            difference = if off.is_nan() { f64::INFINITY } else { difference.max(off) };
        }
    }
    let mut times = Vec::new();
    let started = Instant::now();
    while times.len() < 5 || started.elapsed() < Duration::from_secs(1) && times.len() < 1000 {
        let inputs = inputs.clone();
        let begin = Instant::now();
        session.run(inputs)?;
        times.push(begin.elapsed());
    }
    times.sort_unstable();
    Ok((times[0], difference))
}
