//! A node's view of its inputs and attributes.

use super::{Attribute, Call, Pool};
use crate::onnx::data::{DType, Data};
use crate::onnx::tensor::Tensor;
use ff_kernels::{MatRef, PackedMatrix};
use ff_tensor::CpuDevice;
use std::sync::Arc;

impl Call<'_> {
    /// The device's CPU.
    pub(crate) fn cpu(&self) -> &CpuDevice {
        self.run.device.cpu()
    }

    /// So many values, whatever they are.
    pub(crate) fn room(&self, n: usize) -> Vec<f32> {
        self.run.pool.take(n)
    }

    /// So many zeros.
    pub(crate) fn zeros(&self, n: usize) -> Vec<f32> {
        let mut v = self.run.pool.take(n);
        v.fill(0.0);
        v
    }

    /// Gives back what [`Call::room`] gave.
    pub(crate) fn done(&self, v: Vec<f32>) {
        self.run.pool.give(v, self.run.memory);
    }

    /// The memory of former values.
    pub(crate) fn pool(&self) -> &Pool {
        self.run.pool
    }

    pub(crate) fn opset(&self) -> i64 {
        self.node.opset
    }

    /// How many outputs are asked for.
    pub(crate) fn outputs(&self) -> usize {
        self.node.outputs.len()
    }

    pub(crate) fn len(&self) -> usize {
        self.inputs.len()
    }

    pub(crate) fn get(&self, i: usize) -> Option<&Tensor> {
        self.inputs.get(i)?.as_deref()
    }

    pub(crate) fn input(&self, i: usize) -> Result<&Tensor, String> {
        self.get(i).ok_or_else(|| format!("its input {i} is missing"))
    }

    /// Every input.
    pub(crate) fn all(&self) -> Result<Vec<&Tensor>, String> {
        (0..self.len()).map(|i| self.input(i)).collect()
    }

    pub(crate) fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.node.attributes.get(name)
    }

    pub(crate) fn float(&self, name: &str, default: f64) -> Result<f64, String> {
        match self.attribute(name) {
            None => Ok(default),
            Some(Attribute::Float(x)) => Ok(f64::from(*x)),
            Some(_) => Err(format!("its attribute `{name}` is no number")),
        }
    }

    pub(crate) fn int(&self, name: &str, default: i64) -> Result<i64, String> {
        Ok(self.maybe_int(name)?.unwrap_or(default))
    }

    pub(crate) fn maybe_int(&self, name: &str) -> Result<Option<i64>, String> {
        match self.attribute(name) {
            None => Ok(None),
            Some(Attribute::Int(x)) => Ok(Some(*x)),
            Some(_) => Err(format!("its attribute `{name}` is no integer")),
        }
    }

    pub(crate) fn text<'s>(&'s self, name: &str, default: &'s str) -> Result<&'s str, String> {
        match self.attribute(name) {
            None => Ok(default),
            Some(Attribute::Text(x)) => Ok(x),
            Some(_) => Err(format!("its attribute `{name}` is no text")),
        }
    }

    pub(crate) fn ints(&self, name: &str) -> Result<Option<Vec<i64>>, String> {
        match self.attribute(name) {
            None => Ok(None),
            Some(Attribute::Ints(x)) => Ok(Some(x.clone())),
            Some(_) => Err(format!("its attribute `{name}` is no list of integers")),
        }
    }

    /// Integers that older versions have as an attribute and newer ones as an input.
    pub(crate) fn ints_or_input(&self, name: &str, i: usize) -> Result<Option<Vec<i64>>, String> {
        if let Some(tensor) = self.get(i) {
            return ints(tensor).map(Some);
        }
        self.ints(name)
    }

    /// The axis of an attribute, from 0 to `rank` − 1.
    pub(crate) fn axis(&self, name: &str, default: i64, rank: usize) -> Result<usize, String> {
        axis(self.int(name, default)?, rank)
    }

    /// The type that an attribute names.
    pub(crate) fn dtype(&self, name: &str) -> Result<Option<DType>, String> {
        let Some(code) = self.maybe_int(name)? else { return Ok(None) };
        let found = i32::try_from(code).ok().and_then(DType::from_code);
        found
            .map(Some)
            .ok_or_else(|| format!("elements of type {code} are not evaluated by this version"))
    }

    /// Evaluates the graph of an attribute on inputs.
    pub(crate) fn graph(
        &self,
        name: &str,
        inputs: Vec<Arc<Tensor>>,
    ) -> Result<Vec<Tensor>, String> {
        let Some(Attribute::Graph(plan)) = self.attribute(name) else {
            return Err(format!("its attribute `{name}` is no graph"));
        };
        if inputs.len() != plan.inputs.len() {
            return Err(format!(
                "its graph `{name}` has {} inputs, not {}",
                plan.inputs.len(),
                inputs.len()
            ));
        }
        let mut values = vec![None; plan.names.len()];
        for (&slot, tensor) in plan.inputs.iter().zip(inputs) {
            values[slot] = Some(tensor);
        }
        for &(there, here) in &plan.captured {
            values[here].clone_from(&self.outer[there]);
        }
        let outputs = plan.evaluate(values, self.run).map_err(|e| e.to_string())?;
        Ok(outputs.into_iter().map(Arc::unwrap_or_clone).collect())
    }

    /// An input that never changes, packed for products; `view` gives the matrix `[K, N]` of it.
    pub(crate) fn packed<'m>(
        &self,
        i: usize,
        view: impl FnOnce() -> MatRef<'m, f32>,
    ) -> Option<&PackedMatrix<f32>> {
        let (fixed, packed) = self.node.fixed.get(i)?;
        if !fixed || !self.run.keeps_packed {
            return None;
        }
        packed.get_or_init(|| PackedMatrix::pack(self.run.device, view()).ok()).as_ref()
    }

    /// An input, to share with a graph.
    pub(crate) fn shared(&self, i: usize) -> Result<Arc<Tensor>, String> {
        self.inputs.get(i).cloned().flatten().ok_or_else(|| format!("its input {i} is missing"))
    }
}

/// An axis, counted from the end if negative.
pub(crate) fn axis(axis: i64, rank: usize) -> Result<usize, String> {
    let from = if axis < 0 { axis + rank as i64 } else { axis };
    usize::try_from(from)
        .ok()
        .filter(|&a| a < rank)
        .ok_or_else(|| format!("axis {axis} is none of a tensor of {rank} dimensions"))
}

/// The integers of a tensor.
pub(crate) fn ints(tensor: &Tensor) -> Result<Vec<i64>, String> {
    match tensor.data() {
        Data::I64(v) => Ok(v.clone()),
        Data::I32(v) => Ok(v.iter().map(|&x| i64::from(x)).collect()),
        other => Err(format!("integers are expected, found {}", other.dtype().name())),
    }
}
