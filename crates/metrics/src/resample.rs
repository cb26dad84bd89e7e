//! Resamples drawn and judged several at a time, on all threads.
//!
//! A resample depends on the seed and its number alone, so which thread draws it, and beside which
//! others, never shows.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use ff_kernels::{Work, dispatch};
use ff_tensor::{Device, Key};

use super::Bootstrap;

/// Resamples side by side: one pass over the rows serves all of them, each in a lane of the vector
/// registers, so that every lane's sums run in the order of the rows.
pub(super) const LANES: usize = 8;

/// The number of draws of each row, in each of some resamples.
pub(super) type Counts = [[u8; LANES]];

/// Blocks of random numbers drawn at a time.
const BLOCKS: usize = 16;

impl Bootstrap<'_> {
    /// Draws resamples of as many rows and judges them: what `judge` makes of each lane's counts,
    /// in the order of the resamples.
    pub(super) fn resample<T: Send>(
        self,
        rows: usize,
        resamples: usize,
        judge: impl Fn(&Counts) -> [T; LANES] + Sync,
    ) -> Vec<T> {
        let groups = resamples.div_ceil(LANES);
        let next = AtomicUsize::new(0);
        let judged = Mutex::new(Vec::with_capacity(groups));
        // A task for each thread, which keeps its memory from group to group.
        let work = |_| {
            let mut drawn = vec![0; rows * LANES];
            let mut counts = vec![[0; LANES]; rows];
            loop {
                let group = next.fetch_add(1, Ordering::Relaxed);
                if group >= groups {
                    return;
                }
                self.draw_group(group * LANES, &mut drawn, &mut counts);
                let values = judge(&counts);
                judged.lock().unwrap_or_else(PoisonError::into_inner).push((group, values));
            }
        };
        match self.threads {
            Some(threads) => threads.run(threads.count().min(groups), &work),
            None => work(0),
        }
        let mut judged: Vec<(usize, [T; LANES])> =
            judged.into_inner().unwrap_or_else(PoisonError::into_inner);
        judged.sort_by_key(|(group, _)| *group);
        judged.into_iter().flat_map(|(_, values)| values).take(resamples).collect()
    }

    /// Draws the resamples from `first` on: each into memory of its own, which the caches hold,
    /// then side by side.
    fn draw_group(self, first: usize, drawn: &mut [u8], counts: &mut Counts) {
        let rows = counts.len();
        for (lane, drawn) in drawn.chunks_exact_mut(rows.max(1)).enumerate() {
            self.draw(first + lane, drawn);
        }
        let lane = |l: usize| &drawn[l * rows..(l + 1) * rows];
        let lanes: [&[u8]; LANES] = std::array::from_fn(lane);
        for (row, counts) in counts.iter_mut().enumerate() {
            *counts = std::array::from_fn(|l| lanes[l][row]);
        }
    }

    /// Fills `counts` with how often each row is drawn in one resample of as many rows.
    pub(super) fn draw(self, resample: usize, counts: &mut [u8]) {
        let key = Key::new(self.seed).with_name("bootstrap").with(resample as u64);
        dispatch(Device::default().cpu(), Draw { key, counts });
    }
}

struct Draw<'a> {
    key: Key,
    counts: &'a mut [u8],
}

impl Work for Draw<'_> {
    type Output = ();
    #[inline(always)]
    fn run(self) {
        let Self { key, counts } = self;
        counts.fill(0);
        let rows = counts.len();
        // A number picks a row by a multiplication; a row's chance is off by at most rows / 2³².
        let row = |bits: u32| ((u64::from(bits) * rows as u64) >> 32) as usize;
        // A row drawn 255 times has a chance below 1e-500.
        let mut count = |row: usize| counts[row] = counts[row].saturating_add(1);
        let whole = rows / (4 * BLOCKS) * BLOCKS;
        for block in (0..whole).step_by(BLOCKS) {
            for bits in key.blocks::<BLOCKS>(block as u64) {
                bits.map(row).into_iter().for_each(&mut count);
            }
        }
        let mut left = rows - 4 * whole;
        for block in whole.. {
            if left == 0 {
                break;
            }
            let bits = key.block(block as u64).into_iter().take(left);
            left -= bits.len();
            bits.map(row).for_each(&mut count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Draws number by number.
    fn plain(seed: u64, resample: u64, rows: usize) -> Vec<u8> {
        let key = Key::new(seed).with_name("bootstrap").with(resample);
        let mut counts = vec![0; rows];
        for i in 0..rows as u64 {
            counts[((u64::from(key.bits(i)) * rows as u64) >> 32) as usize] += 1;
        }
        counts
    }

    #[test]
    fn lanes_hold_what_single_numbers_draw() {
        let bootstrap = Bootstrap { resamples: 11, seed: 3, ..Bootstrap::default() };
        for rows in [1, 3, 63, 64, 65, 1000] {
            let judge = |counts: &Counts| {
                std::array::from_fn(|l| counts.iter().map(|lanes| lanes[l]).collect::<Vec<u8>>())
            };
            let found = bootstrap.resample(rows, 11, judge);
            assert_eq!(found.len(), 11);
            for (i, counts) in found.iter().enumerate() {
                assert_eq!(*counts, plain(3, i as u64, rows), "{rows} rows, resample {i}");
                assert_eq!(counts.iter().map(|&n| usize::from(n)).sum::<usize>(), rows);
            }
        }
    }
}
