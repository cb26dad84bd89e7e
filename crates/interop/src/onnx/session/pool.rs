//! Memory of values that no later node reads, for those to come: what the system gives and takes
//! back for each value costs more than many an operator.

use std::sync::{Mutex, PoisonError};

/// Buffers that are kept.
const MOST: usize = 64;

/// Smaller ones cost nothing.
const WORTH: usize = 1 << 10;

/// Buffers of `f32`.
#[derive(Debug, Default)]
pub(crate) struct Pool(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    buffers: Vec<Vec<f32>>,
    bytes: usize,
}

/// Elements whose buffers a pool may have.
pub(crate) trait Pooled: Sized {
    /// An empty buffer with room for so many elements.
    fn room(_pool: &Pool, n: usize) -> Vec<Self> {
        Vec::with_capacity(n)
    }
}

impl Pooled for f32 {
    fn room(pool: &Pool, n: usize) -> Vec<f32> {
        let mut v = pool.take(n);
        v.clear();
        v
    }
}

macro_rules! unpooled {
    ($($t:ty)*) => { $(impl Pooled for $t {})* };
}
unpooled!(u8 i8 u16 i16 i32 i64 String bool half::f16 f64 u32 u64 half::bf16);

impl Pool {
    /// So many values, whatever they are.
    pub(crate) fn take(&self, n: usize) -> Vec<f32> {
        if n >= WORTH {
            let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let fits = |v: &Vec<f32>| v.capacity() >= n && v.capacity() / 2 <= n;
            // What a buffer lacks of its capacity has to be filled.
            let best =
                (0..kept.buffers.len()).filter(|&i| fits(&kept.buffers[i])).min_by_key(|&i| {
                    let v = &kept.buffers[i];
                    (n.saturating_sub(v.len()), v.capacity())
                });
            if let Some(i) = best {
                let mut v = kept.buffers.swap_remove(i);
                kept.bytes -= 4 * v.capacity();
                drop(kept);
                v.resize(n, 0.0);
                return v;
            }
        }
        vec![0.0; n]
    }

    /// Keeps a buffer, unless those that are kept take more than so many bytes.
    pub(crate) fn give(&self, v: Vec<f32>, most: usize) {
        let bytes = 4 * v.capacity();
        if v.len() < WORTH {
            return;
        }
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.buffers.len() < MOST && kept.bytes.saturating_add(bytes) <= most {
            kept.bytes += bytes;
            kept.buffers.push(v);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Pool;

    #[test]
    fn buffers_come_back_where_they_fit() {
        let pool = Pool::default();
        pool.give(vec![1.0; 3000], usize::MAX);
        assert_eq!(pool.take(1200), [0.0; 1200]);
        assert_eq!(pool.take(2000), [1.0; 2000]);
        assert_eq!(pool.take(2000), [0.0; 2000]);
        pool.give(vec![1.0; 3000], 100);
        assert_eq!(pool.take(3000)[0], 0.0);
    }
}
