//! Benchmarks of `feedforward`: one line per work, with its share of the CPU's peak in the same
//! run.
//!
//! `bench/README.md` describes what is measured and how.
#![deny(unsafe_code)]
// Printing is the purpose of this program.
#![allow(clippy::print_stdout, clippy::print_stderr)]

// An allocator has unsafe methods; see the file.
#[allow(unsafe_code)]
mod allocator;
mod attention;
mod clock;
mod experts;
mod ffn;
mod fit;
mod gemm;
mod head;
mod infer;
mod language;
mod memory;
mod network;
mod peaks;
mod print;
mod read;
mod scaling;
mod svg;
mod train;
mod tune;
mod work;
mod works;

use clap::{Parser, Subcommand};
use clock::Pace;
use ff_tensor::{Device, DeviceOptions};
use peaks::Peaks;
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use work::Error;
use works::works;

/// Times feedforward's training and inference on this machine.
#[derive(Debug, Parser)]
#[command(name = "ff-bench", version)]
struct Arguments {
    /// Print one JSON object per line instead of a table.
    #[arg(long, global = true)]
    json: bool,
    /// Run only the works, or the parts of scaling, whose name contains this; separate several with
    /// commas.
    #[arg(long, value_name = "PATTERN", default_value = "", global = true)]
    only: String,
    /// The number of threads; 0 for one per core.
    #[arg(long, value_name = "N", default_value_t = 0, global = true)]
    threads: usize,
    /// The seconds of timing per work.
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0, global = true)]
    seconds: f64,
    /// List the works without running them.
    #[arg(long)]
    list: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure how the cost grows with batch, width, depth, tokens, sequence length, vocabulary and
    /// threads, beside the limits of the machine, and the cost of odd sizes.
    Scaling {
        /// The path of the plot.
        #[arg(long, value_name = "FILE", default_value = "target/scaling.svg")]
        out: PathBuf,
    },
    /// Measure the constants that suit this processor, and print its row of
    /// crates/tensor/src/tuning.rs.
    Tune {
        /// The number of rounds.
        #[arg(long, value_name = "N", default_value_t = 3)]
        rounds: usize,
    },
    /// Read a table into memory several times; one line of JSON.
    Read {
        /// The table.
        file: PathBuf,
        /// The number of rounds.
        #[arg(long, value_name = "N", default_value_t = 3)]
        rounds: usize,
    },
    /// Measure the nanoseconds to transfer a cache line between cores; with --within, wait until it
    /// takes at most that long.
    CoreToCore {
        /// The limit to wait for, in nanoseconds.
        #[arg(long, value_name = "NS")]
        within: Option<f64>,
        /// The maximum wait.
        #[arg(long, value_name = "SECONDS", default_value_t = 60.0)]
        patience: f64,
    },
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
    match &arguments.command {
        Some(Command::Scaling { out }) => {
            return scaling::run(
                arguments.threads,
                arguments.json,
                &|part| arguments.only.split(',').any(|pattern| part.contains(pattern)),
                Pace {
                    warm_up: Duration::from_millis(100),
                    ..Pace::seconds(0.2 * arguments.seconds)
                },
                out,
            );
        }
        Some(Command::Read { file, rounds }) => {
            return read::run(file, arguments.threads, *rounds);
        }
        Some(Command::Tune { rounds }) => {
            let pace = Pace {
                warm_up: Duration::from_millis(30),
                ..Pace::seconds(0.1 * arguments.seconds)
            };
            return tune::run(arguments.threads, arguments.json, *rounds, pace);
        }
        Some(Command::CoreToCore { within, patience }) => {
            let (within, start) = (within.unwrap_or(f64::INFINITY), Instant::now());
            let now = || peaks::core_to_core() * 1e9;
            let mut took = now();
            while took > within && start.elapsed().as_secs_f64() < *patience {
                std::thread::sleep(Duration::from_millis(500));
                took = now();
            }
            println!("{}", json!({ "core_to_core_ns": took.round() }));
            return Ok(());
        }
        None => {}
    }
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
    let pace = Pace::seconds(arguments.seconds);
    let peaks = Peaks::measure(&open(arguments.threads)?);
    let alone = works.len() == 1;
    print::head(arguments.json, &peaks);
    for work in &works {
        let measured = work.measure(arguments.threads, pace)?;
        print::work(arguments.json, work, &measured, &peaks, alone);
    }
    Ok(())
}

/// The CPU, with `threads` threads.
fn open(threads: usize) -> Result<Device, Error> {
    Ok(Device::open(DeviceOptions { threads, isa: None })?)
}
