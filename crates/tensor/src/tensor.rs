use crate::{
    Buffer, DType, Device, Element, Error, FileMatrix, MAX_RANK, Pool, Result, Shape, Slice,
    SliceMut,
};
use std::sync::Arc;

/// A contiguous, row-major array; clones share the values, and shared values are never written.
///
/// ```
/// use ff_tensor::{Device, Tensor};
/// let x = Tensor::from_slice(&Device::default(), &[1.0f32, 2.0, 3.0, 4.0], &[2, 2])?;
/// assert_eq!(x.shape().dims(), [2, 2]);
/// assert_eq!(x.slice::<f32>()?[3], 4.0);
/// # Ok::<(), ff_tensor::Error>(())
/// ```
#[derive(Debug)]
pub struct Tensor {
    /// `None` only while dropping.
    buffer: Option<Arc<Buffer>>,
    shape: Shape,
    dtype: DType,
}

impl Clone for Tensor {
    fn clone(&self) -> Self {
        Self { buffer: self.buffer.clone(), shape: self.shape, dtype: self.dtype }
    }
}

impl Drop for Tensor {
    fn drop(&mut self) {
        if let Some(buffer) = self.buffer.take() {
            Pool::give(buffer);
        }
    }
}

impl Tensor {
    /// A tensor with the arbitrary old contents of its buffer, all to be overwritten by the caller.
    ///
    /// # Errors
    /// If memory is exhausted.
    #[inline]
    pub fn uninit(device: &Device, shape: Shape, dtype: DType) -> Result<Self> {
        let bytes = shape.len().checked_mul(dtype.bytes());
        let bytes = bytes
            .ok_or_else(|| Error::Shape { shape: shape.dims().to_vec(), max_rank: MAX_RANK })?;
        Ok(Self { buffer: Some(device.pool().take(bytes)?), shape, dtype })
    }

    /// A tensor of zeros.
    ///
    /// # Errors
    /// If memory is exhausted.
    #[inline]
    pub fn zeros(device: &Device, shape: Shape, dtype: DType) -> Result<Self> {
        let mut tensor = Self::uninit(device, shape, dtype)?;
        if !tensor.is_planned() {
            tensor.view_mut()?.zero();
        }
        Ok(tensor)
    }

    /// A tensor with a copy of these values.
    ///
    /// # Errors
    /// If the number of values is not that of the shape.
    pub fn from_slice<T: Element>(device: &Device, values: &[T], dims: &[usize]) -> Result<Self> {
        let shape = Shape::new(dims)?;
        if shape.len() != values.len() {
            return Err(Error::Length { shape: shape.dims().to_vec(), found: values.len() });
        }
        let mut tensor = Self::uninit(device, shape, T::DTYPE)?;
        if !tensor.is_planned() {
            tensor.slice_mut::<T>()?.copy_from_slice(values);
        }
        Ok(tensor)
    }

    /// The sizes of the dimensions.
    #[inline]
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The type of the values.
    #[inline]
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The same values in another shape.
    ///
    /// # Errors
    /// If the number of values differs.
    pub fn reshape(&self, shape: Shape) -> Result<Self> {
        if shape.len() != self.shape.len() {
            return Err(Error::Length { shape: shape.dims().to_vec(), found: self.shape.len() });
        }
        let mut tensor = self.clone();
        tensor.shape = shape;
        Ok(tensor)
    }

    /// The values.
    ///
    /// # Errors
    /// If the values are of another type.
    #[inline]
    pub fn slice<T: Element>(&self) -> Result<&[T]> {
        if self.dtype != T::DTYPE {
            return Err(Error::DType { expected: T::DTYPE, found: self.dtype });
        }
        if self.is_planned() { Err(Error::Planned) } else { Ok(self.values()) }
    }

    /// The values, mutable.
    ///
    /// # Errors
    /// If the values are of another type, or shared with another tensor.
    #[inline]
    pub fn slice_mut<T: Element>(&mut self) -> Result<&mut [T]> {
        if self.dtype != T::DTYPE {
            return Err(Error::DType { expected: T::DTYPE, found: self.dtype });
        }
        if self.is_planned() { Err(Error::Planned) } else { self.values_mut().ok_or(Error::Shared) }
    }

    /// Whether the tensor belongs to a plan, with a size but no values.
    #[inline]
    pub fn is_planned(&self) -> bool {
        self.buffer.as_ref().is_some_and(|buffer| buffer.is_planned())
    }

    /// A shared view.
    ///
    /// # Panics
    /// If the tensor is planned, see [`Tensor::is_planned`].
    pub fn view(&self) -> TensorRef<'_> {
        let data = match self.dtype {
            DType::F32 => Slice::F32(self.values()),
            DType::F64 => Slice::F64(self.values()),
            DType::BF16 => Slice::BF16(self.values()),
            DType::I32 => Slice::I32(self.values()),
            DType::U8 => Slice::U8(self.values()),
        };
        TensorRef { data, shape: self.shape }
    }

    /// An exclusive view.
    ///
    /// # Errors
    /// If the values are shared with another tensor, or do not exist (see [`Tensor::is_planned`]).
    pub fn view_mut(&mut self) -> Result<TensorMut<'_>> {
        if self.is_planned() {
            return Err(Error::Planned);
        }
        let shape = self.shape;
        let data = match self.dtype {
            DType::F32 => self.values_mut().map(SliceMut::F32),
            DType::F64 => self.values_mut().map(SliceMut::F64),
            DType::BF16 => self.values_mut().map(SliceMut::BF16),
            DType::I32 => self.values_mut().map(SliceMut::I32),
            DType::U8 => self.values_mut().map(SliceMut::U8),
        };
        Ok(TensorMut { data: data.ok_or(Error::Shared)?, shape })
    }

    fn values<T: Element>(&self) -> &[T] {
        self.buffer.as_ref().map_or(&[], |buffer| buffer.slice(0, self.shape.len()))
    }

    fn values_mut<T: Element>(&mut self) -> Option<&mut [T]> {
        let len = self.shape.len();
        Some(Arc::get_mut(self.buffer.as_mut()?)?.slice_mut(0, len))
    }
}

/// A shared borrow of values with their shape: a tensor's, or a range of the parameter arena.
///
/// ```
/// use ff_tensor::TensorRef;
/// let view = TensorRef::new([1.0f32, 2.0].as_slice().into(), [2, 1].into());
/// assert_eq!(view.slice::<f32>()?, [1.0, 2.0]);
/// # Ok::<(), ff_tensor::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct TensorRef<'a> {
    data: Slice<'a>,
    shape: Shape,
}

impl<'a> TensorRef<'a> {
    /// A view of these values.
    ///
    /// # Panics
    /// If the number of values is not that of the shape.
    #[inline]
    pub fn new(data: Slice<'a>, shape: Shape) -> Self {
        assert_eq!(data.len(), shape.len(), "a view of shape {shape}");
        Self { data, shape }
    }

    /// The sizes of the dimensions.
    #[inline]
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The type of the values.
    #[inline]
    pub fn dtype(&self) -> DType {
        self.data.dtype()
    }

    /// The values, whatever their type.
    #[inline]
    pub fn data(&self) -> Slice<'a> {
        self.data
    }

    /// The values.
    ///
    /// # Errors
    /// If the values are of another type.
    #[inline]
    pub fn slice<T: Element>(&self) -> Result<&'a [T]> {
        T::of_slice(self.data)
    }

    /// The matrix, if its values are in the form of their file.
    #[inline]
    pub fn file(&self) -> Option<&'a FileMatrix> {
        match self.file_stack()? {
            [matrix] => Some(matrix),
            _ => None,
        }
    }

    /// The matrices of a stack, one for each index before the last two, if their values are in the
    /// form of their file.
    #[inline]
    pub fn file_stack(&self) -> Option<&'a [FileMatrix]> {
        match self.data {
            Slice::File(stack) => Some(stack),
            _ => None,
        }
    }
}

/// An exclusive borrow of values with their shape: the output of a kernel.
///
/// ```
/// use ff_tensor::TensorMut;
/// let mut values = [0.0f32; 2];
/// let mut view = TensorMut::new(values.as_mut_slice().into(), [2].into());
/// view.slice_mut::<f32>()?[1] = 5.0;
/// assert_eq!(values, [0.0, 5.0]);
/// # Ok::<(), ff_tensor::Error>(())
/// ```
#[derive(Debug)]
pub struct TensorMut<'a> {
    data: SliceMut<'a>,
    shape: Shape,
}

impl<'a> TensorMut<'a> {
    /// A view of these values.
    ///
    /// # Panics
    /// If the number of values is not that of the shape.
    #[inline]
    pub fn new(data: SliceMut<'a>, shape: Shape) -> Self {
        assert_eq!(data.len(), shape.len(), "a view of shape {shape}");
        Self { data, shape }
    }

    /// The sizes of the dimensions.
    #[inline]
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The type of the values.
    #[inline]
    pub fn dtype(&self) -> DType {
        self.data.dtype()
    }

    /// The values, mutable.
    ///
    /// # Errors
    /// If the values are of another type.
    #[inline]
    pub fn slice_mut<T: Element>(&mut self) -> Result<&mut [T]> {
        T::of_slice_mut(self.data.reborrow())
    }

    /// The values, with the lifetime of the view.
    ///
    /// # Errors
    /// If the values are of another type.
    #[inline]
    pub fn into_slice<T: Element>(self) -> Result<&'a mut [T]> {
        T::of_slice_mut(self.data)
    }

    /// The same values, shared.
    #[inline]
    pub fn view(&self) -> TensorRef<'_> {
        TensorRef { data: self.data.as_slice(), shape: self.shape }
    }

    /// A shorter borrow of the same values.
    #[inline]
    pub fn reborrow(&mut self) -> TensorMut<'_> {
        TensorMut { data: self.data.reborrow(), shape: self.shape }
    }

    /// Sets all values to zero.
    #[inline]
    pub fn zero(&mut self) {
        self.data.zero();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_values_cannot_be_written() {
        let mut x = Tensor::zeros(&Device::default(), [3].into(), DType::F32).unwrap();
        let other = x.clone();
        assert_eq!(x.slice_mut::<f32>(), Err(Error::Shared));
        drop(other);
        x.slice_mut::<f32>().unwrap()[0] = 1.0;
        assert_eq!(x.slice::<f32>().unwrap(), [1.0, 0.0, 0.0]);
    }

    #[test]
    fn an_empty_tensor_has_no_values() {
        let x = Tensor::from_slice::<f32>(&Device::default(), &[], &[0, 4]).unwrap();
        assert_eq!(x.slice::<f32>().unwrap().len(), 0);
        assert_eq!(x.shape().rows(), 0);
    }
}
