//! A million rows of 50 columns: time and memory, run by hand.
// A helper of a test may fail it, as the test itself may; small tables are written as formatted
// text.
#![allow(clippy::unwrap_used, clippy::panic, clippy::format_collect, clippy::format_push_string)]

use std::io::{BufWriter, Write};
use std::time::Instant;

use ff_table::{DataConfig, prepare};
use ff_tensor::ThreadPool;

const ROWS: usize = 1_000_000;
const COLUMNS: usize = 50;

/// The most memory that this process has held, in MiB.
#[cfg(target_os = "linux")]
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

#[test]
#[ignore = "writes a file of 460 MB; run it alone and optimised"]
#[cfg(target_os = "linux")]
fn a_million_rows_fit_into_two_gibibytes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.csv");
    let mut file = BufWriter::new(std::fs::File::create(&path).unwrap());
    let names: Vec<String> = (0..COLUMNS).map(|i| format!("x{i}")).collect();
    writeln!(file, "{},y", names.join(",")).unwrap();
    let mut state = 1u64;
    for _ in 0..ROWS {
        let mut sum = 0.0;
        for _ in 0..COLUMNS {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let x = (state >> 33) as f64 / 2f64.powi(31) * 20.0 - 10.0;
            sum += x;
            write!(file, "{x:.6},").unwrap();
        }
        writeln!(file, "{}", u8::from(sum > 0.0)).unwrap();
    }
    drop(file);
    let bytes = std::fs::metadata(&path).unwrap().len();
    let started = Instant::now();
    let table = ff_table::read_table(&path, &ff_table::SourceOptions::default()).unwrap();
    let seconds = started.elapsed().as_secs_f64();
    println!("read: {seconds:.2} s, {:.0} MB/s, peak {} MiB", bytes as f64 / 1e6 / seconds, peak());
    drop(table);
    let config = DataConfig { path, target: Some("y".into()), ..DataConfig::default() };
    let started = Instant::now();
    let data = prepare(&config, 0, folder.path(), &ThreadPool::new(2)).unwrap();
    println!("prepared: {:.2} s, peak {} MiB", started.elapsed().as_secs_f64(), peak());
    assert_eq!(data.totals.used, ROWS);
    assert!(peak() < 2048 - 512, "half a gibibyte is left for training: {} MiB", peak());
}
