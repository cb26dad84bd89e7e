//! The flat arena of parameters.

use crate::{Error, OpResult, Result, Spec, for_float, for_stored};
use ff_kernels::Stored;
use ff_tensor::{DType, Device, Element, FileMatrix, Shape, Slice, Tensor, TensorMut, TensorRef};
use std::collections::HashMap;
use std::ops::Range;

/// The part of the arena that holds a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Segment {
    /// Values, gradients and optimiser state.
    Trainable,
    /// Values only: weights that fine-tuning leaves unchanged.
    Frozen,
    /// Statistics updated by forward, such as batch norm's running mean; saved with the model.
    State,
    /// Values in the form of their file, outside of the arena (see [`Params::set_file`]).
    File,
}

impl Segment {
    /// Whether values never change, so that they are read again and not saved.
    pub fn is_frozen(self) -> bool {
        matches!(self, Self::Frozen | Self::File)
    }
}

/// The kind of a parameter, which selects its optimiser group: by default only matrices decay.
///
/// ```
/// use ff_graph::{ParamKind, ParamSpec, Segment};
/// assert_eq!(ParamSpec::new("running_mean", [8], ParamKind::Statistic).segment, Segment::State);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ParamKind {
    /// A matrix multiplied by inputs.
    Weight,
    /// An added term.
    Bias,
    /// The gain of a normalisation, the slope of an activation.
    Gain,
    /// A table of vectors.
    Embedding,
    /// A statistic.
    Statistic,
}

/// A parameter to allocate.
///
/// ```
/// use ff_graph::{ParamKind, ParamSpec, Segment};
/// let spec = ParamSpec::new("layers.0.weight", [128, 64], ParamKind::Weight);
/// assert_eq!(spec.segment, Segment::Trainable);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct ParamSpec {
    /// The name in files, as in PyTorch's `state_dict`.
    pub name: String,
    /// The shape; matrices are `[out, in]`.
    pub shape: Shape,
    /// The kind.
    pub kind: ParamKind,
    /// The part of the arena.
    pub segment: Segment,
}

impl ParamSpec {
    /// A trainable parameter, or state if the kind is a statistic.
    pub fn new(name: impl Into<String>, shape: impl Into<Shape>, kind: ParamKind) -> Self {
        let segment = match kind {
            ParamKind::Statistic => Segment::State,
            _ => Segment::Trainable,
        };
        Self { name: name.into(), shape: shape.into(), kind, segment }
    }
}

/// The number of a parameter, an index into [`Params::infos`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ParamId(pub(crate) u32);

impl ParamId {
    /// The id of the parameter with specification `index`.
    pub fn new(index: usize) -> Self {
        Self(index as u32)
    }

    /// The number of its specification.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// A parameter and its range in its segment.
///
/// ```
/// use ff_graph::{ParamInfo, ParamKind, ParamSpec};
/// let info = ParamInfo { spec: ParamSpec::new("bias", [3], ParamKind::Bias), offset: 6 };
/// assert_eq!(info.range(), 6..9);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct ParamInfo {
    /// The specification.
    pub spec: ParamSpec,
    /// The start of its values in the segment.
    pub offset: usize,
}

impl ParamInfo {
    /// The range of its values in the segment.
    pub fn range(&self) -> Range<usize> {
        self.offset..self.offset + self.spec.shape.len()
    }
}

/// All parameters of a model, each segment one flat array: clipping, averaging, checkpoints and the
/// optimiser are passes over one slice.
///
/// ```
/// use ff_graph::{ParamKind, ParamSpec, Params};
/// use ff_tensor::{Device, DType};
/// let specs = vec![ParamSpec::new("weight", [2, 3], ParamKind::Weight)];
/// let mut params = Params::allocate(&Device::default(), DType::F32, specs, true)?;
/// let id = params.id("weight").unwrap();
/// params.values_mut::<f32>(id)?[0] = 1.0;
/// assert_eq!(params.flat::<f32>()?, [1.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
/// # Ok::<(), ff_graph::Error>(())
/// ```
#[derive(Debug)]
pub struct Params {
    dtype: DType,
    infos: Vec<ParamInfo>,
    by_name: HashMap<String, ParamId>,
    trainable: Tensor,
    frozen: Tensor,
    state: Tensor,
    /// The matrices of [`Segment::File`], by the parameter's number.
    files: Vec<Vec<FileMatrix>>,
    grads: Option<Tensor>,
    /// Whether a parameter's gradient was written since the last `clear_gradients`. The first write
    /// replaces the old one, so that gradients are never zero-filled.
    touched: Vec<bool>,
}

const PARAMS: &str = "params";

impl Params {
    /// Zeros for every parameter; gradients only for a model to be trained.
    ///
    /// # Errors
    /// If two parameters share a name, or memory is exhausted.
    pub fn allocate(
        device: &Device,
        dtype: DType,
        specs: Vec<ParamSpec>,
        with_gradients: bool,
    ) -> Result<Self> {
        let mut sizes = [0usize; 4];
        let mut by_name = HashMap::with_capacity(specs.len());
        let mut infos = Vec::with_capacity(specs.len());
        for (i, spec) in specs.into_iter().enumerate() {
            if by_name.insert(spec.name.clone(), ParamId::new(i)).is_some() {
                return Err(Error::Param {
                    name: spec.name,
                    message: "is there twice; each layer needs a name of its own".into(),
                });
            }
            let offset = sizes[spec.segment as usize];
            sizes[spec.segment as usize] += spec.shape.len();
            infos.push(ParamInfo { spec, offset });
        }
        let zeros =
            |len: usize| Tensor::zeros(device, [len].into(), dtype).map_err(Error::of(PARAMS));
        let [trainable, frozen, state, _] = sizes;
        Ok(Self {
            dtype,
            touched: vec![false; infos.len()],
            files: vec![Vec::new(); infos.len()],
            infos,
            by_name,
            trainable: zeros(trainable)?,
            frozen: zeros(frozen)?,
            state: zeros(state)?,
            grads: if with_gradients { Some(zeros(trainable)?) } else { None },
        })
    }

    /// The type of all values.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Every parameter in order; a [`ParamId`] is an index into it.
    pub fn infos(&self) -> &[ParamInfo] {
        &self.infos
    }

    /// A parameter with its range.
    pub fn info(&self, id: ParamId) -> &ParamInfo {
        &self.infos[id.0 as usize]
    }

    /// The parameter of this name.
    pub fn id(&self, name: &str) -> Option<ParamId> {
        self.by_name.get(name).copied()
    }

    /// Every parameter with its id.
    pub fn iter(&self) -> impl Iterator<Item = (ParamId, &ParamInfo)> {
        self.infos.iter().enumerate().map(|(i, info)| (ParamId::new(i), info))
    }

    /// The number of trained values.
    pub fn trainable_len(&self) -> usize {
        self.trainable.shape().len()
    }

    /// The number of values saved with the model, statistics included.
    pub fn len(&self) -> usize {
        [&self.trainable, &self.frozen, &self.state].iter().map(|t| t.shape().len()).sum()
    }

    /// Whether there is no parameter.
    pub fn is_empty(&self) -> bool {
        self.infos.is_empty()
    }

    /// Whether gradients are allocated.
    pub fn has_gradients(&self) -> bool {
        self.grads.is_some()
    }

    pub(crate) fn spec(&self, id: ParamId) -> Spec {
        Spec { shape: self.info(id).spec.shape, dtype: self.dtype }
    }

    /// Gives a parameter of [`Segment::File`] its values: a matrix, or those of a stack.
    ///
    /// # Errors
    /// If the parameter is in another segment, or has another shape.
    pub fn set_file(&mut self, id: ParamId, stack: Vec<FileMatrix>) -> Result<()> {
        let spec = &self.info(id).spec;
        let fits = match spec.shape.dims() {
            [before @ .., rows, cols] => {
                let fits = |matrix: &FileMatrix| [matrix.rows(), matrix.cols()] == [*rows, *cols];
                stack.len() == before.iter().product() && stack.iter().all(fits)
            }
            _ => false,
        };
        if spec.segment != Segment::File || !fits {
            let message = format!("of shape {} cannot be {stack:?}", spec.shape);
            return Err(Error::Param { name: spec.name.clone(), message });
        }
        self.files[id.0 as usize] = stack;
        Ok(())
    }

    fn segment(&self, id: ParamId) -> Result<&Tensor> {
        match self.info(id).spec.segment {
            Segment::Trainable => Ok(&self.trainable),
            Segment::Frozen => Ok(&self.frozen),
            Segment::State => Ok(&self.state),
            Segment::File => Err(Error::of(PARAMS)(ff_tensor::Error::InFile)),
        }
    }

    /// The values of a parameter with its shape.
    ///
    /// # Panics
    /// If it is in [`Segment::File`] and has no values yet.
    pub fn view(&self, id: ParamId) -> TensorRef<'_> {
        self.all_values().view(id)
    }

    fn all_values(&self) -> ParamValues<'_> {
        ParamValues {
            infos: &self.infos,
            segments: [&self.trainable, &self.frozen, &self.state],
            files: &self.files,
        }
    }

    /// The values of a parameter.
    ///
    /// # Errors
    /// If they are of another type.
    pub fn values<T: Element>(&self, id: ParamId) -> Result<&[T]> {
        Ok(&read::<T>(self.segment(id)?)?[self.info(id).range()])
    }

    /// The values of a parameter, mutable.
    ///
    /// # Errors
    /// If they are of another type.
    pub fn values_mut<T: Element>(&mut self, id: ParamId) -> Result<&mut [T]> {
        let range = self.info(id).range();
        let segment = match self.info(id).spec.segment {
            Segment::Trainable => &mut self.trainable,
            Segment::Frozen => &mut self.frozen,
            Segment::State => &mut self.state,
            Segment::File => return Err(Error::of(PARAMS)(ff_tensor::Error::InFile)),
        };
        Ok(&mut write::<T>(segment)?[range])
    }

    /// The values of all trainable parameters, concatenated.
    ///
    /// # Errors
    /// If they are of another type.
    pub fn flat<T: Element>(&self) -> Result<&[T]> {
        read(&self.trainable)
    }

    /// The values of all trainable parameters, mutable.
    ///
    /// # Errors
    /// If they are of another type.
    pub fn flat_mut<T: Element>(&mut self) -> Result<&mut [T]> {
        write(&mut self.trainable)
    }

    /// All statistics, concatenated.
    ///
    /// # Errors
    /// If they are of another type.
    pub fn state<T: Element>(&self) -> Result<&[T]> {
        read(&self.state)
    }

    /// All statistics, mutable.
    ///
    /// # Errors
    /// If they are of another type.
    pub fn state_mut<T: Element>(&mut self) -> Result<&mut [T]> {
        write(&mut self.state)
    }

    /// The gradient of all trainable parameters; zeros for those not involved.
    ///
    /// # Errors
    /// If they are of another type, or gradients are not allocated.
    pub fn gradients<T: Element>(&mut self) -> Result<&mut [T]> {
        self.settle::<T>()?;
        Ok(self.flat_and_gradients::<T>()?.1)
    }

    /// Values and gradients of all trainable parameters, for the optimiser's pass.
    ///
    /// # Errors
    /// If they are of another type, or gradients are not allocated.
    pub fn flat_and_gradients<T: Element>(&mut self) -> Result<(&mut [T], &mut [T])> {
        self.settle::<T>()?;
        let grads = self.grads.as_mut().ok_or_else(no_gradients)?;
        Ok((write(&mut self.trainable)?, write(grads)?))
    }

    /// Adds to a parameter's gradient; the others are unchanged.
    pub(crate) fn add_to_gradient(&mut self, id: ParamId, from: &Tensor) -> Result<()> {
        let range = self.info(id).range();
        let grads = self.grads.as_mut().ok_or_else(no_gradients)?;
        add(grads, range, from).map_err(Error::of(PARAMS))
    }

    /// Zeroes the gradients not written in this step, left over from an earlier one.
    fn settle<T: Element>(&mut self) -> Result<()> {
        let grads = self.grads.as_mut().ok_or_else(no_gradients)?;
        let grads = write::<T>(grads)?;
        for (info, touched) in self.infos.iter().zip(&mut self.touched) {
            if info.spec.segment == Segment::Trainable && !*touched {
                grads[info.range()].fill(T::default());
                *touched = true;
            }
        }
        Ok(())
    }

    /// Discards all gradients: the next one of each parameter replaces the old one.
    pub fn clear_gradients(&mut self) {
        self.touched.fill(false);
    }

    /// Trainable parameters without a gradient since the last [`Params::clear_gradients`].
    pub fn untouched(&self) -> impl Iterator<Item = &str> {
        self.infos
            .iter()
            .zip(&self.touched)
            .filter(|(info, touched)| info.spec.segment == Segment::Trainable && !**touched)
            .map(|(info, _)| info.spec.name.as_str())
    }

    pub(crate) fn touch(&mut self, id: ParamId) -> bool {
        std::mem::replace(&mut self.touched[id.0 as usize], true)
    }

    /// The values, and for each of `ids` (sorted by offset, without repeats) the gradient to write,
    /// passed to `give` with the number beside the id.
    pub(crate) fn split<'a>(
        &'a mut self,
        ids: &[(ParamId, usize)],
        mut give: impl FnMut(usize, TensorMut<'a>),
    ) -> Result<ParamValues<'a>> {
        if !ids.is_empty() {
            let grads = self.grads.as_mut().ok_or_else(no_gradients)?;
            let view = grads.view_mut().map_err(Error::of(PARAMS))?;
            for_float!(PARAMS, self.dtype, T => {
                let mut rest: &'a mut [T] = view.into_slice().map_err(Error::of(PARAMS))?;
                let mut start = 0;
                for &(id, number) in ids {
                    let info = &self.infos[id.0 as usize];
                    let (_, tail) = rest.split_at_mut(info.offset - start);
                    let (values, tail) = tail.split_at_mut(info.spec.shape.len());
                    rest = tail;
                    start = info.range().end;
                    give(number, TensorMut::new(values.into(), info.spec.shape));
                }
                Ok(())
            })?;
        }
        Ok(ParamValues {
            infos: &self.infos,
            segments: [&self.trainable, &self.frozen, &self.state],
            files: &self.files,
        })
    }
}

/// The values of all parameters while gradients are being written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ParamValues<'a> {
    infos: &'a [ParamInfo],
    segments: [&'a Tensor; 3],
    files: &'a [Vec<FileMatrix>],
}

impl<'a> ParamValues<'a> {
    pub(crate) fn name(&self, id: ParamId) -> &'a str {
        &self.infos[id.0 as usize].spec.name
    }

    pub(crate) fn view(&self, id: ParamId) -> TensorRef<'a> {
        let info = &self.infos[id.0 as usize];
        if info.spec.segment == Segment::File {
            // The view checks that the file was read.
            return TensorRef::new(Slice::File(&self.files[id.0 as usize]), info.spec.shape);
        }
        let segment = self.segments[info.spec.segment as usize];
        TensorRef::new(
            segment.view().data().range(info.offset, info.spec.shape.len()),
            info.spec.shape,
        )
    }
}

fn read<T: Element>(tensor: &Tensor) -> Result<&[T]> {
    tensor.slice().map_err(Error::of(PARAMS))
}

fn write<T: Element>(tensor: &mut Tensor) -> Result<&mut [T]> {
    tensor.slice_mut().map_err(Error::of(PARAMS))
}

/// Adds a tensor to a part of another.
pub(crate) fn add(to: &mut Tensor, part: Range<usize>, from: &Tensor) -> OpResult {
    for_stored!(from.dtype(), S => {
        let to = &mut to.slice_mut::<S>()?[part];
        for (to, from) in to.iter_mut().zip(from.slice::<S>()?) {
            *to = S::from_compute(to.compute() + from.compute());
        }
        Ok(())
    })
}

fn no_gradients() -> Error {
    Error::Param {
        name: "*".into(),
        message: "the model was made without gradients; build it for training".into(),
    }
}
