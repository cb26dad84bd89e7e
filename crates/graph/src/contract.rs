use ff_tensor::{DType, Shape};
use smallvec::SmallVec;

/// The number of inputs stored inline: an operation with more inputs allocates when run.
pub const MAX_INPUTS: usize = 8;
/// The number of outputs stored inline.
pub(crate) const OUTPUTS: usize = 3;

/// A few shapes with their types, stored inline.
pub type Specs = SmallVec<[Spec; OUTPUTS]>;

/// Shape and type of a value.
///
/// ```
/// use ff_graph::Spec;
/// use ff_tensor::DType;
/// let x = Spec::new([64, 10], DType::F32);
/// assert_eq!((x.shape.rows(), x.bytes()), (64, 2560));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spec {
    /// The sizes of the dimensions.
    pub shape: Shape,
    /// The type of the values.
    pub dtype: DType,
}

impl Spec {
    /// A shape and a type.
    pub fn new(shape: impl Into<Shape>, dtype: DType) -> Self {
        Self { shape: shape.into(), dtype }
    }

    /// The size in bytes.
    pub fn bytes(&self) -> usize {
        self.shape.len() * self.dtype.bytes()
    }

    /// The same type in another shape.
    #[must_use]
    pub fn with_shape(&self, shape: impl Into<Shape>) -> Self {
        Self { shape: shape.into(), dtype: self.dtype }
    }
}

/// The declaration of an operation for inputs of given shapes: the single source of shape checks,
/// allocation, the memory plan and the operation count.
///
/// ```
/// use ff_graph::{Contract, Spec};
/// use ff_tensor::DType;
/// let y = Spec::new([2, 3], DType::F32);
/// let contract = Contract::new([y]).keep_output(0).cost(6, 12);
/// assert_eq!(contract.outputs[0], y);
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Contract {
    /// The outputs.
    pub outputs: Specs,
    /// Values written by forward for backward, besides inputs and outputs.
    pub saved: Specs,
    /// Floating-point operations of the forward pass.
    pub flops: u64,
    /// Floating-point operations of the backward pass, for the gradients needed.
    pub dflops: u64,
    pub(crate) scratch: Scratch,
    pub(crate) dscratch: Scratch,
    pub(crate) keep_inputs: u32,
    pub(crate) keep_outputs: u32,
    pub(crate) constant_outputs: u32,
}

impl Contract {
    /// A contract with these outputs that keeps nothing.
    pub fn new(outputs: impl IntoIterator<Item = Spec>) -> Self {
        Self { outputs: outputs.into_iter().collect(), ..Self::default() }
    }

    /// Backward reads input `i`. Parameters are always readable and take no memory.
    #[must_use]
    pub fn keep_input(mut self, i: usize) -> Self {
        self.keep_inputs |= 1 << i;
        self
    }

    /// Backward reads output `i`.
    #[must_use]
    pub fn keep_output(mut self, i: usize) -> Self {
        self.keep_outputs |= 1 << i;
        self
    }

    /// Backward reads a value that forward writes besides its outputs.
    #[must_use]
    pub fn save(mut self, spec: Spec) -> Self {
        self.saved.push(spec);
        self
    }

    /// Scratch memory of the forward pass, from the pool of the device: at most eight tensors.
    #[must_use]
    pub fn scratch(mut self, spec: Spec) -> Self {
        add_scratch(&mut self.scratch, &spec);
        self
    }

    /// Scratch memory of the backward pass: at most eight tensors.
    #[must_use]
    pub fn dscratch(mut self, spec: Spec) -> Self {
        add_scratch(&mut self.dscratch, &spec);
        self
    }

    /// The bytes of each scratch tensor, forward first.
    pub fn scratch_bytes(&self) -> impl Iterator<Item = usize> {
        self.scratch.iter().chain(&self.dscratch).flatten().copied()
    }

    /// Output `i` passes no gradient back: a count or a statistic.
    #[must_use]
    pub fn constant_output(mut self, i: usize) -> Self {
        self.constant_outputs |= 1 << i;
        self
    }

    /// Floating-point operations of both passes.
    #[must_use]
    pub fn cost(mut self, flops: usize, dflops: usize) -> Self {
        self.flops = flops as u64;
        self.dflops = dflops as u64;
        self
    }
}

/// The bytes of up to eight tensors.
pub(crate) type Scratch = [Option<usize>; 8];

fn add_scratch(scratch: &mut Scratch, spec: &Spec) {
    let free = scratch.iter_mut().find(|bytes| bytes.is_none());
    debug_assert!(free.is_some(), "at most eight scratch tensors");
    if let Some(free) = free {
        *free = Some(spec.bytes());
    }
}
