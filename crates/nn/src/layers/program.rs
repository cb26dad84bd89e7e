use ff_graph::{Cx, Error, Op, ParamId, Params, Result};
use ff_kernels::{Float, MatRef, PackedMatrix};
use ff_ops::{Activate, Activation};
use ff_tensor::{Device, Key, Shape, TensorMut, TensorRef};
use smallvec::SmallVec;
use std::sync::Arc;

pub(crate) const NAME: &str = "predictor";

/// A network without a tape, compiled by its layers: steps over a few buffers of rows.
///
/// Steps are fused into the preceding product where possible: batch normalisations are folded into
/// its weights, cheap activations applied to its sums.
#[derive(Debug)]
pub struct Program<'a> {
    params: &'a Params,
    /// The layers' parameters, which have the same names.
    planned: &'a Params,
    values: Vec<Value>,
    steps: Vec<Step<Matrix>>,
    /// Whether each buffer holds a value still to be read.
    taken: Vec<bool>,
}

/// A value of a [`Program`], consumed by the next step; [`Program::keep`] returns a second handle.
#[derive(Debug)]
pub struct Slot(usize);

#[derive(Debug)]
struct Value {
    buffer: Buffer,
    width: usize,
    members: Members,
    /// The number of unconsumed handles.
    handles: usize,
    /// Whether there was ever more than one handle.
    kept: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Buffer {
    Input,
    Own(usize),
    Output,
}

/// y = f(x) or f(x, other), with y in a buffer of its own.
#[derive(Debug)]
struct Step<W> {
    kind: Kind<W>,
    x: Operand,
    y: Operand,
}

#[derive(Debug, Clone, Copy)]
struct Operand {
    buffer: Buffer,
    width: usize,
    members: Members,
}

/// The members of an ensemble that a row holds `width` values of each.
type Members = Option<usize>;

impl Operand {
    /// The values of a row.
    fn len(&self) -> usize {
        self.members.unwrap_or(1) * self.width
    }

    fn shape(&self, rows: usize) -> Shape {
        match self.members {
            Some(members) => [rows, members, self.width].into(),
            None => [rows, self.width].into(),
        }
    }
}

#[derive(Debug)]
enum Kind<W> {
    /// f(x Wᵀ + b)
    Product { weight: W, bias: Option<Vec<f32>>, fused: Fused },
    /// An operation with its parameters.
    Op { op: Arc<dyn Op>, params: Vec<(Vec<f32>, Shape)> },
    /// x + other
    Add(Operand),
    /// x ⊙ other
    Multiply(Operand),
}

/// A weight `[out, in]`, not yet packed.
#[derive(Debug)]
struct Matrix {
    values: Vec<f32>,
    rows: usize,
    cols: usize,
}

/// The activations that are free while the sums are in registers.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fused {
    Identity,
    Relu,
    LeakyRelu(f32),
}

impl<'a> Program<'a> {
    /// A program over rows of `width` values; `planned` are the layers' parameters.
    ///
    /// # Errors
    /// If a parameter is missing or has another shape.
    pub(crate) fn new(
        params: &'a Params,
        planned: &'a Params,
        width: usize,
    ) -> Result<(Self, Slot)> {
        let input = Value { buffer: Buffer::Input, width, members: None, handles: 1, kept: false };
        let (values, steps, taken) = (vec![input], Vec::new(), Vec::new());
        let program = Self { params, planned, values, steps, taken };
        planned.iter().try_for_each(|(id, _)| program.values(id).map(drop))?;
        Ok((program, Slot(0)))
    }

    /// The values of a parameter with its shape.
    ///
    /// # Errors
    /// If the parameter is missing, has another shape, or is not f32.
    pub fn values(&self, id: ParamId) -> Result<(&'a [f32], Shape)> {
        let spec = &self.planned.info(id).spec;
        let wrong = |message| Error::Param { name: spec.name.as_str().into(), message };
        let id = self.params.id(&spec.name);
        let id = id.ok_or_else(|| wrong("is not among the parameters".into()))?;
        let (found, dims) = (self.params.info(id).spec.shape, spec.shape.dims());
        if found.dims() != dims {
            return Err(wrong(format!("has shape {found}, the network expects {dims:?}")));
        }
        Ok((self.params.values::<f32>(id)?, found))
    }

    /// A second handle of a value, for one more step.
    pub fn keep(&mut self, x: &Slot) -> Slot {
        let value = &mut self.values[x.0];
        value.handles += 1;
        value.kept = true;
        Slot(x.0)
    }

    /// f(x Wᵀ + b).
    ///
    /// # Errors
    /// If a parameter is not f32.
    pub fn product(
        &mut self,
        x: Slot,
        weight: ParamId,
        bias: Option<ParamId>,
        activation: Activation,
    ) -> Result<Slot> {
        let (values, shape) = self.values(weight)?;
        let (rows, cols) = (shape.rows(), shape.last());
        let weight = Matrix { values: values.to_vec(), rows, cols };
        let bias = bias.map(|id| Ok(self.values(id)?.0.to_vec())).transpose()?;
        let y = self.push(Kind::Product { weight, bias, fused: Fused::Identity }, x, rows);
        Ok(self.activate(y, activation))
    }

    /// f(x).
    pub fn activate(&mut self, x: Slot, activation: Activation) -> Slot {
        let fusing = match activation {
            Activation::Identity => return x,
            Activation::Relu => Fused::Relu,
            Activation::LeakyRelu { slope } => Fused::LeakyRelu(slope as f32),
            _ => Fused::Identity,
        };
        if fusing != Fused::Identity
            && let Some((.., fused)) = self.product_of(&x)
        {
            *fused = fusing;
            return x;
        }
        let width = self.values[x.0].width;
        self.push(Kind::Op { op: Activate::op(activation), params: Vec::new() }, x, width)
    }

    /// A width-preserving operation over x and parameters.
    ///
    /// # Errors
    /// If a parameter is not f32.
    pub fn op(&mut self, x: Slot, op: &Arc<dyn Op>, params: &[ParamId]) -> Result<Slot> {
        let of = |&id: &ParamId| self.values(id).map(|(values, shape)| (values.to_vec(), shape));
        let params = params.iter().map(of).collect::<Result<_>>()?;
        let width = self.values[x.0].width;
        Ok(self.push(Kind::Op { op: Arc::clone(op), params }, x, width))
    }

    /// An operation that gives `width` values for each of some members.
    ///
    /// # Errors
    /// A parameter's values are not f32.
    pub(crate) fn members(
        &mut self,
        x: Slot,
        op: &Arc<dyn Op>,
        params: &[ParamId],
        members: usize,
        width: usize,
    ) -> Result<Slot> {
        let of = |&id: &ParamId| self.values(id).map(|(values, shape)| (values.to_vec(), shape));
        let params = params.iter().map(of).collect::<Result<_>>()?;
        Ok(self.push_for(Kind::Op { op: Arc::clone(op), params }, x, Some(members), width))
    }

    /// An operation without parameters that gives one value for those of all members.
    pub(crate) fn mean_of_members(&mut self, x: Slot, op: &Arc<dyn Op>) -> Slot {
        let width = self.values[x.0].width;
        let kind = Kind::Op { op: Arc::clone(op), params: Vec::new() };
        self.push_for(kind, x, None, width)
    }

    /// (x − mean) · gain / √(var + ε) + shift, folded into the preceding product, if any.
    ///
    /// # Errors
    /// If a parameter is not f32.
    pub(crate) fn batch_norm(
        &mut self,
        x: Slot,
        op: &Arc<dyn Op>,
        params: &[ParamId; 4],
        eps: f64,
    ) -> Result<Slot> {
        if self.product_of(&x).is_none() {
            return self.op(x, op, params);
        }
        let params = params.map(|id| self.values(id).map(|(values, _)| values.to_vec()));
        let [gain, shift, mean, var] = params;
        let (gain, shift, mean, var) = (gain?, shift?, mean?, var?);
        if let Some((weight, bias, _)) = self.product_of(&x) {
            *bias = Some(fold(weight, bias.as_deref(), [&gain, &shift, &mean, &var], eps));
        }
        Ok(x)
    }

    /// x + y.
    pub fn add(&mut self, x: Slot, y: Slot) -> Slot {
        self.combine(Kind::Add, x, y)
    }

    /// x ⊙ y.
    pub fn multiply(&mut self, x: Slot, y: Slot) -> Slot {
        self.combine(Kind::Multiply, x, y)
    }

    fn combine(&mut self, kind: impl Fn(Operand) -> Kind<Matrix>, x: Slot, y: Slot) -> Slot {
        let Value { buffer, width, members, .. } = self.values[y.0];
        let result = self.push(kind(Operand { buffer, width, members }), x, width);
        self.release(y);
        result
    }

    /// The product that computed x, if nothing else reads it and no activation follows yet.
    fn product_of(&mut self, x: &Slot) -> Option<(&mut Matrix, &mut Option<Vec<f32>>, &mut Fused)> {
        // The last value is the result of the last step.
        if self.values[x.0].kept || x.0 + 1 != self.values.len() {
            return None;
        }
        match &mut self.steps.last_mut()?.kind {
            Kind::Product { weight, bias, fused } if *fused == Fused::Identity => {
                Some((weight, bias, fused))
            }
            _ => None,
        }
    }

    /// A step that keeps the members.
    fn push(&mut self, kind: Kind<Matrix>, x: Slot, width: usize) -> Slot {
        let members = self.values[x.0].members;
        self.push_for(kind, x, members, width)
    }

    fn push_for(&mut self, kind: Kind<Matrix>, x: Slot, members: Members, width: usize) -> Slot {
        let free = self.taken.iter().position(|taken| !taken).unwrap_or(self.taken.len());
        self.taken.resize(self.taken.len().max(free + 1), false);
        self.taken[free] = true;
        let from = &self.values[x.0];
        let from = Operand { buffer: from.buffer, width: from.width, members: from.members };
        let y = Operand { buffer: Buffer::Own(free), width, members };
        self.steps.push(Step { kind, x: from, y });
        self.release(x);
        self.values.push(Value { buffer: y.buffer, width, members, handles: 1, kept: false });
        Slot(self.values.len() - 1)
    }

    /// Consumes a handle of a value.
    fn release(&mut self, Slot(x): Slot) {
        let value = &mut self.values[x];
        value.handles -= 1;
        if let (0, Buffer::Own(i)) = (value.handles, value.buffer) {
            self.taken[i] = false;
        }
    }

    /// The program with output x and packed weights.
    ///
    /// # Errors
    /// If memory is exhausted.
    pub(crate) fn finish(mut self, x: Slot, device: &Device) -> Result<Code> {
        if self.steps.is_empty() || x.0 + 1 != self.values.len() {
            let width = self.values[x.0].width;
            let op = Activate::op(Activation::Identity);
            self.push(Kind::Op { op, params: Vec::new() }, x, width);
        }
        if let Some(last) = self.steps.last_mut() {
            last.y.buffer = Buffer::Output;
        }
        let lens = self.values.iter().map(|value| value.width * value.members.unwrap_or(1));
        let widest = lens.max().unwrap_or(0);
        let pack = |step: Step<Matrix>| step.pack(device);
        let steps = self.steps.into_iter().map(pack).collect::<Result<_>>()?;
        Ok(Code { steps, buffers: self.taken.len(), widest })
    }
}

impl Step<Matrix> {
    fn pack(self, device: &Device) -> Result<Step<PackedMatrix<f32>>> {
        let Self { kind, x, y } = self;
        let kind = match kind {
            Kind::Product { weight: Matrix { values, rows, cols }, bias, fused } => {
                let weight = MatRef::new(&values, rows, cols).t();
                let weight = PackedMatrix::pack(device, weight).map_err(Error::of(NAME))?;
                Kind::Product { weight, bias, fused }
            }
            Kind::Op { op, params } => Kind::Op { op, params },
            Kind::Add(other) => Kind::Add(other),
            Kind::Multiply(other) => Kind::Multiply(other),
        };
        Ok(Step { kind, x, y })
    }
}

/// A program ready to run.
#[derive(Debug)]
pub(crate) struct Code {
    steps: Vec<Step<PackedMatrix<f32>>>,
    /// The number of buffers, of `widest` values per row.
    pub(crate) buffers: usize,
    pub(crate) widest: usize,
}

impl Code {
    /// The input and output features of every product.
    pub(crate) fn products(&self) -> impl Iterator<Item = (usize, usize)> {
        self.steps.iter().filter_map(|step| match &step.kind {
            Kind::Product { weight, .. } => Some(weight.shape()),
            // A batch ensemble's weight, once for each member.
            Kind::Op { params, .. } => match (params.first(), step.y.members) {
                (Some((_, shape)), Some(members)) if shape.rank() > 1 => Some((
                    shape.last(),
                    members * shape.rows()
                        / shape.dims()[..shape.rank() - 2].iter().product::<usize>().max(1),
                )),
                _ => None,
            },
            _ => None,
        })
    }

    /// Runs every step over rows of `input`.
    pub(crate) fn run(
        &self,
        device: &Device,
        buffers: &mut [Vec<f32>],
        rows: usize,
        input: &[f32],
        output: &mut [f32],
    ) -> Result<()> {
        for step in &self.steps {
            let Buffer::Own(i) = step.y.buffer else {
                step.run(device, rows, input, buffers, output)?;
                continue;
            };
            let mut y = std::mem::take(&mut buffers[i]);
            let result = step.run(device, rows, input, buffers, &mut y[..rows * step.y.len()]);
            buffers[i] = y;
            result?;
        }
        Ok(())
    }
}

impl Step<PackedMatrix<f32>> {
    fn run(
        &self,
        device: &Device,
        rows: usize,
        input: &[f32],
        buffers: &[Vec<f32>],
        y: &mut [f32],
    ) -> Result<()> {
        let read = |place: &Operand| match place.buffer {
            Buffer::Own(i) => &buffers[i][..rows * place.len()],
            _ => input,
        };
        let x = read(&self.x);
        let pairs = |other: &Operand| x.iter().zip(read(other));
        match &self.kind {
            Kind::Product { weight, bias, fused } => {
                let (cpu, bias) = (device.cpu(), bias.as_deref());
                match *fused {
                    Fused::Identity => weight.product(cpu, x, bias, y, |v| v),
                    Fused::Relu => weight.product(cpu, x, bias, y, |v| Float::maximum(v, 0.0)),
                    Fused::LeakyRelu(slope) => {
                        weight.product(cpu, x, bias, y, |v| if v <= 0.0 { v * slope } else { v });
                    }
                }
            }
            Kind::Op { op, params } => {
                let mut inputs: SmallVec<[TensorRef<'_>; 8]> =
                    SmallVec::from_elem(TensorRef::new(x.into(), self.x.shape(rows)), 1);
                let params = params.iter();
                inputs.extend(params.map(|(v, shape)| TensorRef::new(v.as_slice().into(), *shape)));
                let cx = Cx { device, training: false, key: Key::new(0), progress: 0.0 };
                let y = TensorMut::new(y.into(), self.y.shape(rows));
                op.forward(&cx, &inputs, &mut [y], &mut []).map_err(Error::of(op.name()))?;
            }
            Kind::Add(other) => {
                y.iter_mut().zip(pairs(other)).for_each(|(y, (a, b))| *y = a + b);
            }
            Kind::Multiply(other) => {
                y.iter_mut().zip(pairs(other)).for_each(|(y, (a, b))| *y = a * b);
            }
        }
        Ok(())
    }
}

/// Folds a batch normalisation into the rows of the preceding weight, and returns the new bias.
fn fold(weight: &mut Matrix, bias: Option<&[f32]>, norm: [&[f32]; 4], eps: f64) -> Vec<f32> {
    let [gain, shift, mean, var] = norm;
    let mut folded = Vec::with_capacity(gain.len());
    for j in 0..gain.len() {
        let scale = f64::from(gain[j]) / (f64::from(var[j]) + eps).sqrt();
        for w in &mut weight.values[j * weight.cols..][..weight.cols] {
            *w = (f64::from(*w) * scale) as f32;
        }
        let from = f64::from(bias.map_or(0.0, |bias| bias[j])) - f64::from(mean[j]);
        folded.push((from * scale + f64::from(shift[j])) as f32);
    }
    folded
}
