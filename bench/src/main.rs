//! How fast `feedforward` is: one line a work, with the share of the peak that the processor reaches in the same run.
//!
//! `bench/README.md` says what is measured and how.
#![deny(unsafe_code)]
// Printing is what this program is for.
#![allow(clippy::print_stdout, clippy::print_stderr)]

// An allocator has unsafe methods; see the file.
#[allow(unsafe_code)]
mod allocator;
mod clock;
mod ffn;
mod fit;
mod gemm;
mod infer;
mod memory;
mod network;
mod peaks;
mod print;
mod train;
mod work;

use clap::Parser;
use ff_tensor::{Device, DeviceOptions};
use peaks::Peaks;
use std::process::ExitCode;
use std::time::Duration;
use work::{Error, works};

/// Times feedforward's training and inference on this machine.
#[derive(Debug, Parser)]
#[command(name = "ff-bench", version)]
struct Arguments {
    /// One JSON object a line instead of a table.
    #[arg(long)]
    json: bool,
    /// Only the works whose name contains this; several with commas between.
    #[arg(long, value_name = "PATTERN", default_value = "")]
    only: String,
    /// How many threads to use; 0 for one per core.
    #[arg(long, value_name = "N", default_value_t = 0)]
    threads: usize,
    /// How long to time each work.
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0)]
    seconds: f64,
    /// Only list the works.
    #[arg(long)]
    list: bool,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ff-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Error> {
    let mut works = works();
    works.retain(|work| arguments.only.split(',').any(|pattern| work.name.contains(pattern)));
    if works.is_empty() {
        return Err(
            format!("no work's name contains `{}`; --list shows them", arguments.only).into()
        );
    }
    if arguments.list {
        for work in &works {
            println!("{}", work.name);
        }
        return Ok(());
    }
    let budget = Duration::try_from_secs_f64(arguments.seconds)?;
    let peaks = Peaks::measure(&open(arguments.threads)?);
    let alone = works.len() == 1;
    print::head(arguments.json, &peaks);
    for work in &works {
        let measured = work.measure(arguments.threads, budget)?;
        print::work(arguments.json, work, &measured, &peaks, alone);
    }
    Ok(())
}

/// The processor, with so many threads.
fn open(threads: usize) -> Result<Device, Error> {
    Ok(Device::open(DeviceOptions { threads, isa: None })?)
}
