//! An operator at work: its inputs and options.

use super::flat::Table;
use super::net::{Net, Value};
use crate::onnx::proto::AttributeProto;
use crate::onnx::{DType, Error, Result};

/// An operator at work.
pub(super) struct Call<'a, 'b> {
    pub(super) net: &'b mut Net<'a>,
    pub(super) name: &'static str,
    pub(super) inputs: &'b [i32],
    pub(super) options: Option<Table<'a>>,
    pub(super) outputs: &'b [i32],
}

impl Call<'_, '_> {
    /// An error that names the operator and its output.
    pub(super) fn unsupported(&self, message: impl std::fmt::Display) -> Error {
        let output = self.outputs.first().and_then(|&i| usize::try_from(i).ok());
        let output = output.and_then(|i| self.net.tensors.get(i)).map_or("", |t| t.name);
        Error::Unsupported(format!("operator {} of `{output}`: {message}", self.name))
    }

    pub(super) fn bad(&self, message: impl std::fmt::Display) -> Error {
        Error::Malformed(self.unsupported(message).to_string())
    }

    /// The number of an input's tensor.
    pub(super) fn place(&self, i: usize) -> Result<Option<usize>> {
        match self.inputs.get(i) {
            None | Some(-1) => Ok(None),
            Some(&at) => {
                let at = usize::try_from(at).ok().filter(|&at| at < self.net.tensors.len());
                at.map(Some).ok_or_else(|| self.bad("an input is no tensor"))
            }
        }
    }

    pub(super) fn maybe(&mut self, i: usize) -> Result<Option<Value>> {
        self.place(i)?.map(|at| self.net.value(at)).transpose()
    }

    pub(super) fn input(&mut self, i: usize) -> Result<Value> {
        self.maybe(i)?.ok_or_else(|| self.bad(format!("its input {i} is missing")))
    }

    /// An input whose numbers are to be known.
    pub(super) fn ints(&mut self, i: usize) -> Result<Vec<i64>> {
        self.known(i)?.ok_or_else(|| self.unsupported("it takes computed sizes or axes"))
    }

    /// The numbers of a stored input; `None` where it is computed.
    pub(super) fn known(&mut self, i: usize) -> Result<Option<Vec<i64>>> {
        let at = self.place(i)?.ok_or_else(|| self.bad(format!("its input {i} is missing")))?;
        if !self.net.stored(at) {
            return Ok(None);
        }
        let numbers = self.net.constant(at)?.data().floats();
        let numbers = numbers.ok_or_else(|| self.bad("its sizes are no numbers"))?;
        Ok(Some(numbers.into_iter().map(|x| x as i64).collect()))
    }

    /// A stored input with its elements.
    pub(super) fn stored(&mut self, i: usize) -> Result<crate::onnx::Tensor> {
        let at = self.place(i)?.filter(|&at| self.net.stored(at));
        match at {
            Some(at) => self.net.constant(at),
            None => Err(self.unsupported("its weights are computed")),
        }
    }

    pub(super) fn int(&self, field: usize, default: i32) -> Result<i64> {
        let value = self.options.map(|o| o.int(field, default)).transpose();
        value.map(|v| i64::from(v.unwrap_or(default))).map_err(|e| self.bad(e))
    }

    pub(super) fn byte(&self, field: usize) -> Result<u8> {
        let value = self.options.map(|o| o.byte(field)).transpose();
        value.map(Option::unwrap_or_default).map_err(|e| self.bad(e))
    }

    pub(super) fn flag(&self, field: usize) -> Result<bool> {
        Ok(self.byte(field)? != 0)
    }

    pub(super) fn float(&self, field: usize) -> Result<f32> {
        let value = self.options.map(|o| o.float(field)).transpose();
        value.map(Option::unwrap_or_default).map_err(|e| self.bad(e))
    }

    pub(super) fn list(&mut self, values: &[i64]) -> Result<Value> {
        self.net.put_data("sizes", &[values.len()], values.to_vec())
    }

    /// The activation that an operator ends with.
    pub(super) fn fused(&mut self, x: Value, field: usize) -> Result<Value> {
        Ok(match self.byte(field)? {
            0 => x,
            1 => self.net.node("Relu", &[&x], &[]),
            2 => self.clip(&x, -1.0, 1.0)?,
            3 => self.clip(&x, 0.0, 6.0)?,
            4 => self.net.node("Tanh", &[&x], &[]),
            other => return Err(self.unsupported(format!("it ends with the activation {other}"))),
        })
    }

    pub(super) fn clip(&mut self, x: &Value, low: f64, high: f64) -> Result<Value> {
        let (low, high) = (self.net.number(x.dtype, low)?, self.net.number(x.dtype, high)?);
        Ok(self.net.node("Clip", &[x, &low, &high], &[]))
    }

    pub(super) fn unary(&mut self, operator: &str) -> Result<Value> {
        let x = self.input(0)?;
        Ok(self.net.node(operator, &[&x], &[]))
    }

    pub(super) fn binary(&mut self, operator: &str) -> Result<Value> {
        let (a, b) = (self.input(0)?, self.input(1)?);
        Ok(self.net.node(operator, &[&a, &b], &[]))
    }

    pub(super) fn arithmetic(&mut self, operator: &str) -> Result<Value> {
        let y = self.binary(operator)?;
        self.fused(y, 0)
    }

    pub(super) fn compare(&mut self, operator: &str) -> Result<Value> {
        Ok(Value { dtype: DType::Bool, ..self.binary(operator)? })
    }

    pub(super) fn reduce(&mut self, operator: &str) -> Result<Value> {
        let x = self.input(0)?;
        let axes = self.ints(1)?;
        let axes = self.list(&axes)?;
        let keep = AttributeProto::int("keepdims", i64::from(self.flag(0)?));
        Ok(self.net.node(operator, &[&x, &axes], &[keep]))
    }

    pub(super) fn best(&mut self, operator: &str) -> Result<Value> {
        let x = self.input(0)?;
        let [axis] = self.ints(1)?[..] else { return Err(self.bad("its axis is no number")) };
        let attributes = [AttributeProto::int("axis", axis), AttributeProto::int("keepdims", 0)];
        let y = Value { dtype: DType::I64, ..self.net.node(operator, &[&x], &attributes) };
        // TensorType: int32 is 2.
        Ok(if self.byte(0)? == 2 { self.net.cast(&y, DType::I32) } else { y })
    }

    /// A shape: stored, or computed.
    pub(super) fn shape(&mut self, i: usize) -> Result<Value> {
        if let Some(sizes) = self.known(i)? {
            return self.list(&sizes);
        }
        let value = self.input(i)?;
        Ok(self.net.cast(&value, DType::I64))
    }

    pub(super) fn axis(&self, axis: i64, rank: usize) -> Result<i64> {
        let rank = rank as i64;
        let axis = if axis < 0 { axis + rank } else { axis };
        if (0..rank).contains(&axis) {
            Ok(axis)
        } else {
            Err(self.bad("its axis is none of the input's"))
        }
    }

    pub(super) fn transpose(&mut self, x: &Value, order: &[i64]) -> Value {
        self.net.node("Transpose", &[x], &[AttributeProto::list("perm", order)])
    }

    pub(super) fn reshape(&mut self, x: &Value, sizes: &[i64]) -> Result<Value> {
        let sizes = self.list(sizes)?;
        Ok(self.net.node("Reshape", &[x, &sizes], &[]))
    }
}
