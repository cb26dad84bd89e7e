//! Resamples, drawn and evaluated several at a time on all threads.
//!
//! A resample depends only on the seed and its number, so results do not depend on threads or
//! grouping.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use ff_kernels::{Work, dispatch};
use ff_tensor::{Device, Key};

use super::bootstrap::{Bootstrap, Counts, LANES};

/// The number of blocks of random numbers drawn at a time.
const BLOCKS: usize = 16;

impl Bootstrap<'_> {
    /// Draws resamples of the given number of rows and evaluates them: the results of `judge` on
    /// the counts of each lane, in the order of the resamples.
    pub(super) fn resample<T: Send>(
        self,
        rows: usize,
        resamples: usize,
        judge: impl Fn(&Counts) -> [T; LANES] + Sync,
    ) -> Vec<T> {
        let groups = resamples.div_ceil(LANES);
        let next = AtomicUsize::new(0);
        let judged = Mutex::new(Vec::with_capacity(groups));
        // One task per thread, which reuses its memory from group to group.
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

    /// Draws the resamples from `first` on: each into its own memory, small enough for the caches,
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

    /// Fills `counts` with the number of draws of each row in one resample of as many rows.
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
        // A number selects a row by multiplication; the probability of a row is off by at most rows
        // / 2³².
        let row = |bits: u32| ((u64::from(bits) * rows as u64) >> 32) as usize;
        // A row is drawn 255 times with a probability below 1e-500.
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

    /// Draws one number at a time.
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
