use crate::contract::OUTPUTS;
use crate::{Error, ParamId, Result, Spec};
use ff_tensor::{Element, Slice, Tensor};
use smallvec::SmallVec;

/// The engine's name in messages.
pub(crate) const GRAPH: &str = "graph";
/// The id of a value that needs a gradient but has no place on the tape.
pub(crate) const UNPLACED: u32 = u32::MAX;

/// The outputs of an operation.
pub type Values = SmallVec<[Value; OUTPUTS]>;

/// A value on the tape: a tensor or a parameter. Dropping it frees its memory unless the backward
/// pass needs it.
///
/// ```
/// use ff_graph::{Graph, Params};
/// use ff_tensor::{DType, Device, Tensor};
/// let device = Device::default();
/// let params = Params::allocate(&device, DType::F32, vec![], true)?;
/// let mut graph = Graph::new(&device, params);
/// let x = graph.input(Tensor::from_slice(&device, &[1.0f32, 2.0], &[1, 2]).unwrap());
/// assert_eq!(x.shape().dims(), [1, 2]);
/// # Ok::<(), ff_graph::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Value {
    pub(crate) tape: u32,
    /// The index of its gradient, if it needs one.
    pub(crate) id: Option<u32>,
    pub(crate) data: Data,
}

#[derive(Debug, Clone)]
pub(crate) enum Data {
    Tensor(Tensor),
    Param(ParamId, Spec),
}

impl Value {
    /// The sizes of its dimensions.
    pub fn shape(&self) -> &ff_tensor::Shape {
        match &self.data {
            Data::Tensor(tensor) => tensor.shape(),
            Data::Param(_, spec) => &spec.shape,
        }
    }

    /// Its shape and type.
    pub fn spec(&self) -> Spec {
        match &self.data {
            Data::Tensor(tensor) => Spec { shape: *tensor.shape(), dtype: tensor.dtype() },
            Data::Param(_, spec) => *spec,
        }
    }

    /// Whether a gradient will flow to the value.
    pub fn needs_grad(&self) -> bool {
        self.id.is_some()
    }

    /// The tensor; `None` for a parameter.
    pub fn tensor(&self) -> Option<&Tensor> {
        match &self.data {
            Data::Tensor(tensor) => Some(tensor),
            Data::Param(..) => None,
        }
    }

    pub(crate) fn param(&self) -> Option<ParamId> {
        match self.data {
            Data::Param(id, _) => Some(id),
            Data::Tensor(_) => None,
        }
    }

    /// The number in a value that holds exactly one, as f64.
    ///
    /// # Errors
    /// If the value holds more numbers or none, or belongs to a plan.
    pub fn item(&self) -> Result<f64> {
        let tensor = self.tensor().filter(|t| t.shape().len() == 1);
        let tensor = tensor.ok_or(Error::NotScalar(*self.shape()))?;
        if tensor.is_planned() {
            return Err(Error::of(GRAPH)(ff_tensor::Error::Planned));
        }
        match tensor.view().data() {
            Slice::F32([v]) => Ok(f64::from(*v)),
            Slice::F64([v]) => Ok(*v),
            Slice::I32([v]) => Ok(f64::from(*v)),
            _ => Err(Error::NotScalar(*self.shape())),
        }
    }

    /// The values.
    ///
    /// # Errors
    /// If the value is a parameter, of another type, or belongs to a plan.
    pub fn slice<T: Element>(&self) -> Result<&[T]> {
        let tensor =
            self.tensor().ok_or_else(|| Error::shape(GRAPH, "a parameter has no tensor"))?;
        tensor.slice().map_err(Error::of(GRAPH))
    }
}
