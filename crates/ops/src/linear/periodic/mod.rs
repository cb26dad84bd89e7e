//! Periodic embeddings of numbers.

mod passes;

use ff_graph::{
    Case, CaseInput, Contract, Cx, FloatOp, Kept, Op, OpError, OpResult, Slot, Spec, check,
};
use ff_kernels::Float;
use ff_tensor::{TensorMut, TensorRef};
use std::sync::Arc;

/// A learned vector for each number from waves of learned frequencies c.
///
/// With the waves z, for k frequencies:
///
/// | form | z | y |
/// |---|---|---|
/// | [`PeriodicForm::Dense`] | cos(2π x c + φ) | V z + b, and x after it |
/// | [`PeriodicForm::Relu`] | cos(2π x c), then sin(2π x c) | relu(V z + b) |
///
/// Backward, with dh = dy where relu let it pass:  dV = Σ dh zᵀ,  db = Σ dh,  dz = Vᵀ dh,
///   dφ = −Σ sin ⊙ dz,  dc = Σ 2π x z′ ⊙ dz,  dx = 2π c · (z′ ⊙ dz), and dy of x itself,
///   with z′ = −sin, or −sin and then cos
///
/// Other columns pass through as they are. Inputs: x, c, φ (dense form only), V, b. Kept: x, c, φ,
/// V, and y of relu; waves are computed again.
///
/// # Shapes
/// x `[…, columns]`, for n embedded columns: c `[n, k]`, φ `[n, k]`, V `[n, m, waves]`, b `[n, m]`,
/// with k waves and y of m + 1 values, or 2k waves and y of m → y `[…, columns − n + n d]`
///
/// Holzmüller et al., "Better by default", 2024, for the dense form ("PBLD"), and Gorishniy et al.,
/// "On embeddings for numerical features in tabular deep learning", 2022, for the other ("PLR").
///
/// ```
/// use ff_graph::{Op, Spec};
/// use ff_ops::{Periodic, PeriodicForm};
/// use ff_tensor::{DType, Shape};
/// let spec = |dims: &[usize]| Spec::new(Shape::new(dims).unwrap(), DType::F32);
/// let x = [spec(&[9, 3]), spec(&[2, 16]), spec(&[2, 16]), spec(&[2, 3, 16]), spec(&[2, 3])];
/// let op = Periodic::op([true, false, true], PeriodicForm::Dense);
/// assert_eq!(op.contract(&x, &[false; 5])?.outputs[0], spec(&[9, 2 * 4 + 1]));
/// # Ok::<(), ff_graph::OpError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Periodic {
    /// Whether each column is embedded; the others pass through.
    pub embedded: Arc<[bool]>,
    /// The waves, and what becomes of them.
    pub form: PeriodicForm,
}

/// The waves of [`Periodic`], and what becomes of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeriodicForm {
    /// Cosines with phases, a linear layer, and the number itself.
    Dense,
    /// Cosines and sines, a linear layer and ReLU.
    Relu,
}

impl PeriodicForm {
    /// The waves of so many frequencies.
    pub fn waves(self, frequencies: usize) -> usize {
        if self == Self::Dense { frequencies } else { 2 * frequencies }
    }

    /// The values beside those of the linear layer.
    pub fn extra(self) -> usize {
        usize::from(self == Self::Dense)
    }
}

impl Periodic {
    /// The operation, ready for [`ff_graph::Graph::apply`].
    pub fn op(embedded: impl Into<Arc<[bool]>>, form: PeriodicForm) -> Arc<dyn Op> {
        Arc::new(Self { embedded: embedded.into(), form })
    }

    #[inline(always)]
    fn count(&self) -> usize {
        self.embedded.iter().filter(|&&embedded| embedded).count()
    }

    /// The values of a row of y, of vectors of width `d`.
    #[inline(always)]
    fn width(&self, d: usize) -> usize {
        self.embedded.len() + self.count() * d - self.count()
    }
}

impl FloatOp for Periodic {
    fn name(&self) -> &'static str {
        "periodic"
    }

    fn contract(&self, x: &[Spec], need: &[bool]) -> OpResult<Contract> {
        let dense = self.form == PeriodicForm::Dense;
        let names = ["x, frequencies, V, b", "x, frequencies, phases, V, b"];
        check::inputs(x, 4 + usize::from(dense), names[usize::from(dense)])?;
        check::float(&x[0])?;
        let (columns, n) = (self.embedded.len(), self.count());
        if x[0].shape.rank() == 0 || x[0].shape.last() != columns {
            return Err(OpError::shape(format!("x must be […, {columns}], found {}", x[0].shape)));
        }
        let last = |spec: &Spec| if spec.shape.rank() == 2 { spec.shape.last() } else { 0 };
        let (k, m) = (last(&x[1]), last(&x[x.len() - 1]));
        let mut expected = vec![("the frequencies", vec![n, k])];
        if dense {
            expected.push(("the phases", vec![n, k]));
        }
        expected.extend([("V", vec![n, m, self.form.waves(k)]), ("b", vec![n, m])]);
        for ((what, dims), spec) in expected.into_iter().zip(&x[1..]) {
            check::same_dtype(what, spec, &x[0])?;
            if spec.shape.dims() != dims {
                let message = format!("{what} must be {dims:?}, found {}", spec.shape);
                return Err(OpError::shape(message));
            }
        }
        let y = x[0].with_shape(x[0].shape.with_last(self.width(m + self.form.extra())));
        let work = x[0].shape.rows() * n * self.form.waves(k) * (2 * m + 20);
        let mut contract = Contract::new([y]).cost(work, 2 * work);
        if need.contains(&true) {
            contract = (0..x.len() - 1).fold(contract, Contract::keep_input);
            if !dense {
                contract = contract.keep_output(0);
            }
        }
        let sums = x[0].with_shape([n, passes::sums(k, m, self.form.waves(k))]);
        let grads = need[1..].contains(&true);
        Ok(if grads { contract.dscratch(sums) } else { contract })
    }

    fn forward<T: Float>(
        &self,
        cx: &Cx<'_>,
        x: &[TensorRef<'_>],
        y: &mut [TensorMut<'_>],
        _saved: &mut [TensorMut<'_>],
    ) -> OpResult {
        let rows = x[0].shape().rows();
        let params = passes::Params::of(self, &x[1..])?;
        params.forward(cx, rows, x[0].slice::<T>()?, y[0].slice_mut::<T>()?);
        Ok(())
    }

    fn backward<T: Float>(
        &self,
        cx: &Cx<'_>,
        kept: &Kept<'_>,
        dy: &mut [Option<TensorMut<'_>>],
        dx: &mut [Slot<'_>],
    ) -> OpResult {
        let Some(dy) = &mut dy[0] else { return Ok(()) };
        let dy = dy.slice_mut::<T>()?;
        let dy = &*dy;
        let y = match self.form {
            PeriodicForm::Dense => None,
            PeriodicForm::Relu => Some(kept.output(0)?.slice::<T>()?),
        };
        let x = kept.input(0)?.slice::<T>()?;
        let rows = passes::Rows { count: kept.spec(0).shape.rows(), x, dy, y };
        let inputs = (1..dx.len() - 1).map(|i| kept.input(i));
        let inputs = inputs.collect::<OpResult<smallvec::SmallVec<[_; 4]>>>()?;
        let params = passes::Params::of(self, &inputs)?;
        if let Some((dx, accumulate)) = dx[0].take::<T>()? {
            params.dx(cx, rows, dx, accumulate);
        }
        params.dparams(cx, rows, &mut dx[1..])
    }
}

pub(crate) fn cases() -> Vec<Case> {
    use PeriodicForm::{Dense, Relu};
    let case = |name: &str, form: PeriodicForm, embedded: &[bool], leading: &[usize], k, m| {
        let op = Periodic { embedded: embedded.into(), form };
        let n = op.count();
        let mut x = leading.to_vec();
        x.push(embedded.len());
        let mut inputs = vec![CaseInput::normal(x), CaseInput::normal([n, k])];
        if form == PeriodicForm::Dense {
            inputs.push(CaseInput::normal([n, k]));
        }
        inputs.push(CaseInput::normal([n, m, form.waves(k)]));
        inputs.push(CaseInput::normal([n, m]));
        Case::new(format!("periodic/{name}"), Arc::new(op), inputs)
    };
    vec![
        case("dense", Dense, &[true, true], &[9], 5, 3),
        case("relu", Relu, &[true, true], &[9], 4, 3),
        case("passing_through", Dense, &[false, true, false, true], &[7], 3, 2),
        case("relu_passing_through", Relu, &[true, false], &[7], 2, 5),
        case("folded", Dense, &[true, true], &[4, 3], 2, 1),
        case("one", Dense, &[true], &[1], 1, 1),
        case("no_rows", Relu, &[true], &[0], 2, 2),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Run, tensor};
    use ff_tensor::{DType, Shape};

    #[test]
    fn shapes_that_do_not_fit_are_named() {
        let spec = |dims: &[usize]| Spec::new(Shape::new(dims).unwrap(), DType::F32);
        let good = [spec(&[9, 2]), spec(&[1, 4]), spec(&[1, 4]), spec(&[1, 3, 4]), spec(&[1, 3])];
        let message = |i: usize, dims: &[usize]| {
            let mut x = good;
            x[i] = spec(dims);
            let op = Periodic::op([true, false], PeriodicForm::Dense);
            op.contract(&x, &[false; 5]).unwrap_err().to_string()
        };
        assert!(message(0, &[9, 3]).contains("x must be […, 2], found [9, 3]"));
        assert!(message(2, &[1, 5]).contains("the phases must be [1, 4], found [1, 5]"));
        assert!(message(3, &[1, 4, 3]).contains("V must be [1, 3, 4], found [1, 4, 3]"));
    }

    #[test]
    fn gradients_of_many_rows_are_the_sum_of_those_of_their_parts() {
        // 70 rows are two whole blocks and a part of one.
        let wave = |i: usize| ((i * 37 % 101) as f64 / 50.0 - 1.0) * 0.7;
        let values = |n: usize, from: usize| (from..from + n).map(wave).collect::<Vec<f64>>();
        let (rows, k, m) = (70, 3, 2);
        for form in [PeriodicForm::Dense, PeriodicForm::Relu] {
            let op = Periodic::op([true, false], form);
            let width = m + form.extra() + 1;
            let (x, dy) = (values(rows * 2, 0), values(rows * width, 900));
            let gradients = |from: usize, to: usize| {
                let mut inputs = vec![tensor(&x[2 * from..2 * to], &[to - from, 2])];
                inputs.push(tensor(&values(k, 500), &[1, k]));
                if form == PeriodicForm::Dense {
                    inputs.push(tensor(&values(k, 600), &[1, k]));
                }
                let waves = form.waves(k);
                inputs.push(tensor(&values(m * waves, 700), &[1, m, waves]));
                inputs.push(tensor(&values(m, 800), &[1, m]));
                let run = Run::new(&op, &inputs).unwrap();
                run.backward(&dy[width * from..width * to])
            };
            let whole = gradients(0, rows);
            let parts = [gradients(0, 20), gradients(20, 50), gradients(50, rows)];
            assert_eq!(whole[0], parts.iter().flat_map(|part| part[0].clone()).collect::<Vec<_>>());
            for (i, sum) in whole.iter().enumerate().skip(1) {
                for (j, value) in sum.iter().enumerate() {
                    let expected: f64 = parts.iter().map(|part| part[i][j]).sum();
                    assert!((value - expected).abs() < 1e-12, "{form:?} {i} {j}");
                }
            }
        }
    }

    #[test]
    fn nan_and_infinity_reach_only_their_own_vector() {
        let op = Periodic::op([true, true], PeriodicForm::Dense);
        let x = tensor(&[f32::NAN, 0.25, f32::INFINITY, 1.0], &[2, 2]);
        let ones = |dims: &[usize]| tensor(&vec![1f32; dims.iter().product()], dims);
        let zeros = tensor(&[0f32; 2], &[2, 1]);
        let inputs = [x, ones(&[2, 1]), zeros.clone(), ones(&[2, 1, 1]), zeros];
        let y = Run::new(&op, &inputs).unwrap().output::<f32>(0);
        assert!(y[0].is_nan() && y[1].is_nan() && y[4].is_nan() && y[5].is_infinite());
        // cos of a quarter and of a whole turn.
        assert_eq!((&y[2..4], &y[6..]), (&[0.0, 0.25][..], &[1.0, 1.0][..]));
    }
}
