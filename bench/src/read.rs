//! Whole files of tables read into memory, beside the readers that `reader_speed.py` times.

use crate::memory;
use crate::work::Error;
use ff_table::{SourceOptions, load};
use ff_tensor::ThreadPool;
use serde_json::json;
use std::path::Path;
use std::time::Instant;

/// Reads a file several times and prints one line of JSON: the seconds of the median and the peak
/// of resident memory above that before the first.
pub(crate) fn run(path: &Path, threads: usize, rounds: usize) -> Result<(), Error> {
    let threads = match threads {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        n => n,
    };
    let pool = ThreadPool::new(threads);
    let before = memory::restart_peak();
    let (mut seconds, mut shape) = (Vec::new(), [0, 0]);
    for _ in 0..rounds.max(1) {
        let start = Instant::now();
        let (table, _) = load(path, &SourceOptions::default(), &pool)?;
        seconds.push(start.elapsed().as_secs_f64());
        shape = [table.rows(), table.width()];
    }
    seconds.sort_by(f64::total_cmp);
    let peak = before.and_then(|before| Some(memory::peak()?.saturating_sub(before)));
    let line = json!({
        "seconds": seconds[seconds.len() / 2],
        "peak_bytes": peak,
        "rows": shape[0],
        "columns": shape[1],
        "threads": threads,
    });
    println!("{line}");
    Ok(())
}
