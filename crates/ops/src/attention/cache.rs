use super::NAME;
use crate::{Error, Result};
use ff_tensor::{DType, Device, Shape, Tensor};

/// Keys and values seen so far.
#[derive(Debug)]
pub struct KeyValueCache {
    keys: Tensor,
    values: Tensor,
    batch: usize,
    width: usize,
    capacity: usize,
    len: usize,
}

impl KeyValueCache {
    /// Empty.
    ///
    /// # Errors
    /// Memory.
    pub fn new(device: &Device, batch: usize, width: usize, capacity: usize) -> Result<Self> {
        let make = || Tensor::zeros(device, Shape::from([batch, capacity, width]), DType::F32).map_err(Error::of(NAME));
        Ok(Self { keys: make()?, values: make()?, batch, width, capacity, len: 0 })
    }
    /// Tokens.
    pub fn len(&self) -> usize {
        self.len
    }
    /// Whether empty.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
    /// Room.
    pub fn capacity(&self) -> usize {
        self.capacity
    }
    pub(super) fn keys(&self) -> &[f32] {
        self.keys.slice().unwrap_or(&[])
    }
    pub(super) fn values(&self) -> &[f32] {
        self.values.slice().unwrap_or(&[])
    }
    /// Forget.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }
    /// Adds.
    ///
    /// # Errors
    /// Full.
    pub fn append(&mut self, k: &Tensor, v: &Tensor) -> Result<()> {
        let t = k.shape().dims()[1];
        if self.len + t > self.capacity {
            return Err(Error::shape(NAME, format!("the cache has room for {} tokens", self.capacity)));
        }
        for (to, from) in [(&mut self.keys, k), (&mut self.values, v)] {
            let from = from.slice::<f32>().map_err(Error::of(NAME))?;
            let to = to.slice_mut::<f32>().map_err(Error::of(NAME))?;
            for b in 0..self.batch {
                let at = (b * self.capacity + self.len) * self.width;
                to[at..at + t * self.width].copy_from_slice(&from[b * t * self.width..(b + 1) * t * self.width]);
            }
        }
        self.len += t;
        Ok(())
    }
}
