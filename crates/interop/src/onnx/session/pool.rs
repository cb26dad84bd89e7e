//! Memory of values that no later node reads, for those to come: what the system gives and takes
//! back for each value costs more than many an operator.

use crate::onnx::data::Data;
use crate::onnx::tensor::Tensor;
use std::sync::{Arc, Mutex, PoisonError};

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

impl Pool {
    /// So many values, whatever they are.
    pub(crate) fn take(&self, n: usize) -> Vec<f32> {
        if n >= WORTH {
            let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let fits = |v: &Vec<f32>| v.len() >= n && v.len() / 2 <= n;
            let best = (0..kept.buffers.len())
                .filter(|&i| fits(&kept.buffers[i]))
                .min_by_key(|&i| kept.buffers[i].len());
            if let Some(i) = best {
                let mut v = kept.buffers.swap_remove(i);
                kept.bytes -= 4 * v.len();
                drop(kept);
                v.truncate(n);
                return v;
            }
        }
        vec![0.0; n]
    }

    /// Keeps a buffer, unless those that are kept take more than so many bytes.
    pub(crate) fn give(&self, mut v: Vec<f32>, most: usize) {
        if v.len() < WORTH {
            return;
        }
        v.resize(v.capacity(), 0.0);
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.buffers.len() < MOST && kept.bytes.saturating_add(4 * v.len()) <= most {
            kept.bytes += 4 * v.len();
            kept.buffers.push(v);
        }
    }

    /// Keeps the buffer of a value that nobody holds any more.
    pub(super) fn release(&self, tensor: Arc<Tensor>, most: usize) {
        let data = Arc::try_unwrap(tensor).ok().and_then(Tensor::sole_data);
        if let Some(Data::F32(v)) = data {
            self.give(v, most);
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
