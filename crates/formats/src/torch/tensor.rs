//! Tensors over storages: a part of a storage, in any order of its dimensions.

use crate::pickle::{Failure, malformed};
use safetensors::Dtype;
use std::collections::HashMap;

/// A tensor as the pickle states it.
#[derive(Debug)]
pub(super) struct View {
    pub(super) name: String,
    pub(super) key: String,
    pub(super) dtype: Dtype,
    pub(super) size: usize,
    pub(super) offset: usize,
    pub(super) dims: Vec<usize>,
    pub(super) strides: Vec<usize>,
}

/// A tensor with its values, row by row.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) name: String,
    pub(super) dtype: Dtype,
    pub(super) dims: Vec<usize>,
    pub(super) bytes: Vec<u8>,
}

impl View {
    /// The tensor's values, from its storage.
    pub(super) fn of(self, storages: &HashMap<String, Vec<u8>>) -> Result<Stored, Failure> {
        let View { name, key, dtype, size, offset, dims, strides } = self;
        let storage = storages.get(&key).map(Vec::as_slice).unwrap_or_default();
        let outside = || malformed(format!("tensor `{name}` reaches beyond its storage"));
        let last = dims.iter().zip(&strides).try_fold(offset, |at, (&dim, &stride)| {
            at.checked_add(dim.saturating_sub(1).checked_mul(stride)?)
        });
        let values = dims.iter().try_fold(1usize, |n, &dim| n.checked_mul(dim));
        let (last, values) = last.zip(values).ok_or_else(outside)?;
        let end = last.checked_add(1).and_then(|end| end.checked_mul(size)).ok_or_else(outside)?;
        if values > 0 && end > storage.len() {
            return Err(outside());
        }
        // Expanded tensors repeat their storage; what is stored bounds what is read all the same.
        if values.checked_mul(size).is_none_or(|bytes| bytes > storage.len()) && values > 0 {
            return Err(malformed(format!(
                "tensor `{name}` repeats its storage; save a copy of it"
            )));
        }
        let mut bytes = Vec::with_capacity(values * size);
        let contiguous =
            dims.iter().zip(&strides).rev().try_fold(1, |expected, (&dim, &stride)| {
                (dim == 1 || stride == expected).then_some(expected * dim)
            });
        if values > 0 && contiguous.is_some() {
            bytes.extend_from_slice(&storage[offset * size..][..values * size]);
        } else if values > 0 {
            let mut index = vec![0; dims.len()];
            for _ in 0..values {
                let at = index.iter().zip(&strides).fold(offset, |at, (i, stride)| at + i * stride);
                bytes.extend_from_slice(&storage[at * size..][..size]);
                for d in (0..dims.len()).rev() {
                    index[d] += 1;
                    if index[d] < dims[d] {
                        break;
                    }
                    index[d] = 0;
                }
            }
        }
        Ok(Stored { name, dtype, dims, bytes })
    }
}
