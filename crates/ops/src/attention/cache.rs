//! The key-value cache of generation.

use super::forward::Others;
use super::layout::{Heads, Inputs, Sizes};
use super::{Attention, NAME, Segments};
use ff_graph::{Error, OpError, OpResult, Result, for_stored};
use ff_kernels::Stored;
use ff_tensor::{DType, Device, Shape, Tensor, TensorRef};

/// The keys and values of one layer for up to `capacity` positions, allocated once.
///
/// ```
/// use ff_ops::{Attention, KeyValueCache};
/// use ff_tensor::{DType, Device, Tensor};
/// let device = Device::default();
/// let mut cache = KeyValueCache::new(&device, DType::F32, 1, 1, 8)?;
/// let token = |x: f32| Tensor::from_slice(&device, &[x], &[1, 1, 1]).unwrap();
/// cache.append(&token(0.0), &token(2.0))?;
/// cache.append(&token(0.0), &token(4.0))?;
/// let y = Attention::new(1, 1, 1).attend(&device, &token(1.0), &cache, [None; 3])?;
/// assert_eq!((cache.len(), y.slice::<f32>().unwrap()), (2, [3.0].as_slice()));
/// # Ok::<(), ff_graph::Error>(())
/// ```
#[derive(Debug)]
pub struct KeyValueCache {
    keys: Tensor,
    values: Tensor,
    len: usize,
}

impl KeyValueCache {
    /// A cache for sequences of `capacity` positions, each of `width` = kv_heads·head_dim values.
    ///
    /// # Errors
    /// If memory is exhausted, or attention does not support the type.
    pub fn new(
        device: &Device,
        dtype: DType,
        batch: usize,
        width: usize,
        capacity: usize,
    ) -> Result<Self> {
        named(|| {
            if !(dtype.is_float() || dtype == DType::BF16) {
                return Err(OpError::dtype("f32, f64 or bf16", dtype));
            }
            let shape = Shape::new(&[batch, capacity, width])?;
            let room = || Tensor::uninit(device, shape, dtype);
            Ok(Self { keys: room()?, values: room()?, len: 0 })
        })
    }

    /// The number of cached positions.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the cache is empty.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The maximum number of positions.
    pub fn capacity(&self) -> usize {
        self.keys.shape().dims()[1]
    }

    /// Removes all positions from `len` on.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Removes all positions.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Replaces the sequences by these of them, in this order: the cache of the ways to go on that
    /// a search keeps.
    ///
    /// # Errors
    /// There are fewer sequences, not as many are given, or memory is exhausted.
    pub fn select(&mut self, device: &Device, sequences: &[usize]) -> Result<()> {
        let &[batch, capacity, width] = self.keys.shape().dims() else { return Ok(()) };
        named(|| {
            if sequences.len() != batch || sequences.iter().any(|&from| from >= batch) {
                let message = format!("{sequences:?} of a cache of {batch} sequences");
                return Err(OpError::shape(message));
            }
            if sequences.iter().enumerate().all(|(i, &from)| i == from) {
                return Ok(());
            }
            let used = self.len * width;
            for part in [&mut self.keys, &mut self.values] {
                let mut selected = Tensor::uninit(device, *part.shape(), part.dtype())?;
                for_stored!(part.dtype(), S => {
                    let (from, to) = (part.slice::<S>()?, selected.slice_mut::<S>()?);
                    for (to, &i) in to.chunks_exact_mut((capacity * width).max(1)).zip(sequences) {
                        to[..used].copy_from_slice(&from[i * capacity * width..][..used]);
                    }
                    Ok::<(), OpError>(())
                })?;
                *part = selected;
            }
            Ok(())
        })
    }

    /// Appends the keys and values of the next T positions.
    ///
    /// # Shapes
    /// k and v `[B, T, kv_heads·head_dim]`
    ///
    /// # Errors
    /// If shapes or types do not match, or the cache is full.
    pub fn append(&mut self, k: &Tensor, v: &Tensor) -> Result<()> {
        named(|| {
            let added = self.check(k, 1)?;
            if v.shape() != k.shape() {
                let message = format!("keys {} with values {}", k.shape(), v.shape());
                return Err(OpError::shape(message));
            }
            self.put(added, (k, 0), (v, 0))
        })
    }

    /// Appends the keys and values of rows that hold q, k and v side by side.
    ///
    /// # Shapes
    /// qkv `[B, T, (heads + 2·kv_heads)·head_dim]`
    ///
    /// # Errors
    /// As for [`KeyValueCache::append`].
    pub fn append_fused(&mut self, qkv: &Tensor) -> Result<()> {
        named(|| {
            let added = self.check(qkv, 2)?;
            let (width, all) = (self.keys.shape().last(), qkv.shape().last());
            self.put(added, (qkv, all - 2 * width), (qkv, all - width))
        })
    }

    /// T, if rows hold `parts` times the cache's width or more.
    fn check(&self, x: &Tensor, parts: usize) -> OpResult<usize> {
        let (batch, width) = (self.keys.shape().dims()[0], self.keys.shape().last());
        let fits = |found: usize| if parts == 1 { found == width } else { found >= parts * width };
        let added = match x.shape().dims() {
            &[found, added, last] if found == batch && fits(last) => added,
            _ => {
                let message = format!(
                    "keys and values for a cache of {batch} sequences of width {width} must be \
                     [{batch}, T, …], found {}",
                    x.shape()
                );
                return Err(OpError::shape(message));
            }
        };
        if self.len + added > self.capacity() {
            let message = format!(
                "the cache holds {} of {} positions: no room for {added} more",
                self.len,
                self.capacity()
            );
            return Err(OpError::shape(message));
        }
        Ok(added)
    }

    fn put(&mut self, added: usize, k: (&Tensor, usize), v: (&Tensor, usize)) -> OpResult {
        let (at, capacity, width) = (self.len, self.capacity(), self.keys.shape().last());
        for (to, (from, first)) in [(&mut self.keys, k), (&mut self.values, v)] {
            if from.is_planned() || to.is_planned() {
                continue;
            }
            let row = from.shape().last();
            for_stored!(to.dtype(), S => {
                let from = from.slice::<S>()?;
                let to = to.slice_mut::<S>()?;
                copy_rows((from, row, first), to, (at, added, capacity, width));
                Ok(())
            })?;
        }
        self.len += added;
        Ok(())
    }
}

/// Adds the operation's name to errors, as the graph does.
fn named<T>(body: impl FnOnce() -> OpResult<T>) -> Result<T> {
    body().map_err(Error::of(NAME))
}

/// Copies the columns from `first` on of each row to the next free rows of its sequence.
fn copy_rows<S: Copy>(
    (from, row, first): (&[S], usize, usize),
    to: &mut [S],
    (at, added, capacity, width): (usize, usize, usize, usize),
) {
    if added * width == 0 {
        return;
    }
    let sequences = from.chunks_exact(added * row).zip(to.chunks_exact_mut(capacity * width));
    for (from, to) in sequences {
        let to = to[at * width..].chunks_exact_mut(width);
        for (from, to) in from.chunks_exact(row).zip(to) {
            to.copy_from_slice(&from[first..first + width]);
        }
    }
}

impl Attention {
    /// Attention of the last T positions of a cache to all of its positions, forward only, for
    /// generation.
    ///
    /// With `fused`, rows may hold q, k and v side by side; only q is read. The others are the
    /// segments of the keys, for [`Segments::Keys`], the scores by distance, and the sinks.
    ///
    /// # Shapes
    /// q `[B, T, heads·head_dim]` (or fused), segments `[B, S]` for the S cached positions, scores
    /// `[buckets, heads]`, sinks `[heads]` → y `[B, T, heads·head_dim]`
    ///
    /// # Errors
    /// If shapes or types do not match, or the attributes ask for [`Segments::Both`].
    pub fn attend(
        &self,
        device: &Device,
        q: &Tensor,
        cache: &KeyValueCache,
        others: [Option<TensorRef<'_>>; 3],
    ) -> Result<Tensor> {
        named(|| self.attend_in(device, q, cache, others))
    }

    fn attend_in(
        &self,
        device: &Device,
        q: &Tensor,
        cache: &KeyValueCache,
        [segments, table, sinks]: [Option<TensorRef<'_>>; 3],
    ) -> OpResult<Tensor> {
        self.validate()?;
        let Self { heads, kv_heads, head_dim: dim, .. } = *self;
        let (keys, capacity) = (cache.len, cache.capacity());
        let (wide, narrow) = (heads * dim, kv_heads * dim);
        let batch = cache.keys.shape().dims()[0];
        let queries = match q.shape().dims() {
            &[found, queries, width]
                if found == batch
                    && cache.keys.shape().last() == narrow
                    && (width == wide || self.fused && width == wide + 2 * narrow) =>
            {
                queries
            }
            _ => {
                let message = format!(
                    "queries {} and a cache {} do not match {heads} heads of {dim} features with \
                     {kv_heads} key heads",
                    q.shape(),
                    cache.keys.shape()
                );
                return Err(OpError::shape(message));
            }
        };
        if q.dtype() != cache.keys.dtype() {
            let message =
                format!("queries of {} with a cache of {}", q.dtype(), cache.keys.dtype());
            return Err(OpError::shape(message));
        }
        let wanted = match self.segments {
            Segments::None => false,
            Segments::Keys => true,
            Segments::Both => {
                return Err(OpError::shape("a cache holds one document, not several"));
            }
        };
        if segments.is_some() != wanted
            || segments.as_ref().is_some_and(|s| s.shape().dims() != [batch, keys])
        {
            let found = segments.as_ref().map_or("none".to_owned(), |s| s.shape().to_string());
            let message = format!(
                "with {:?} the keys' segments must be {}, found {found}",
                self.segments,
                if wanted { format!("[{batch}, {keys}]") } else { "left out".to_owned() }
            );
            return Err(OpError::shape(message));
        }
        if sinks.is_some() != self.sinks
            || sinks.as_ref().is_some_and(|sinks| sinks.shape().dims() != [heads])
        {
            let found = sinks.map_or("none".to_owned(), |sinks| sinks.shape().to_string());
            let message = format!("{} sinks of {heads} heads, found {found}", u8::from(self.sinks));
            return Err(OpError::shape(message));
        }
        let buckets = self.distances.map(|distances| [distances.count, heads]);
        let found = table.as_ref().map(|table| *table.shape());
        if found.as_ref().map(Shape::dims) != buckets.as_ref().map(|dims| &dims[..]) {
            let message = format!(
                "scores by distance of {} by {heads} heads, found {}",
                buckets.map_or(0, |[count, _]| count),
                found.map_or("none".to_owned(), |shape| shape.to_string())
            );
            return Err(OpError::shape(message));
        }
        let sizes = Sizes { batch, queries, keys, heads, kv_heads, dim };
        let shape = [batch, queries, wide].into();
        let mut y = Tensor::uninit(device, shape, q.dtype())?;
        if y.is_planned() {
            return Ok(y);
        }
        let segments = segments.map(|s| s.slice::<i32>()).transpose()?;
        if self.is_single(&sizes) && q.dtype() == DType::F32 {
            let rows = |values, row, len: usize| Heads::new(values, 0, (row, len * row), dim);
            let inputs = Inputs {
                q: rows(q.slice::<f32>()?, q.shape().last(), 1),
                k: rows(cache.keys.slice::<f32>()?, narrow, capacity),
                v: rows(cache.values.slice::<f32>()?, narrow, capacity),
            };
            let y_values = y.slice_mut::<f32>()?;
            let table = table.map(|table| table.slice::<f32>()).transpose()?;
            let sinks = sinks.map(|sinks| sinks.slice::<f32>()).transpose()?;
            let others = Others { segments: [segments, None], table, sinks, draws: None };
            self.attend_single(device.cpu(), &sizes, &inputs, others, y_values);
            return Ok(y);
        }
        for_stored!(q.dtype(), S => {
            let row = q.shape().last();
            let rows = |values, row, len: usize| Heads::new(values, 0, (row, len * row), dim);
            let inputs = Inputs {
                q: rows(q.slice::<S>()?, row, queries),
                k: rows(cache.keys.slice::<S>()?, narrow, capacity),
                v: rows(cache.values.slice::<S>()?, narrow, capacity),
            };
            let y = y.slice_mut::<S>()?;
            let table = table.map(|t| t.slice::<<S as Stored>::Compute>()).transpose()?;
            let sinks = sinks.map(|s| s.slice::<<S as Stored>::Compute>()).transpose()?;
            let others = Others { segments: [segments, None], table, sinks, draws: None };
            self.attend_to(device.cpu(), &sizes, &inputs, others, y, None);
            Ok(())
        })?;
        Ok(y)
    }
}
