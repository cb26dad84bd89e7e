//! The layers of an ensemble within one network: members that share a weight, and members with
//! weights of their own.

mod own;

pub use own::MemberLinear;
pub(crate) use own::cases as own_cases;

use crate::Activation;
use crate::activation::DerivativeFrom;
use ff_graph::{
    Case, CaseInput, Contract, Cx, FloatOp, Kept, Op, OpError, OpResult, Slot, Spec, check,
};
use ff_kernels::{Float, MatRef, for_columns, for_rows, for_wide_columns, gemm};
use ff_tensor::{CpuDevice, Shape, Tensor, TensorMut, TensorRef};
use std::sync::Arc;

/// The feedforward layer of a batch ensemble: k members share W, and each scales its inputs by r,
/// its sums by s, and adds its own b.
///
/// Forward, for member m:  zₘ = ((x ⊙ rₘ) Wᵀ) ⊙ sₘ + bₘ,  yₘ = f(zₘ)
/// Backward, with uₘ = (x ⊙ rₘ) Wᵀ, dz = dy ⊙ f′(z) and du = dz ⊙ s:
///   db = Σₙ dz,  ds = Σₙ dz ⊙ u,  dW = Σₘ duₘᵀ (x ⊙ rₘ),  v = du W,  dr = Σₙ v ⊙ x,  dx = v ⊙ r
///
/// An x that all members share has no dimension for them; its gradient is the sum over members.
///
/// Inputs: x, W, r, s, b. Kept: x, r, s, W, u, and what f′ needs: nothing for the identity, y where
/// that suffices, else z.
///
/// # Shapes
/// x `[N, k, in]` or `[N, in]`, W `[out, in]`, r `[k, in]`, s `[k, out]`, b `[k, out]` →
/// y `[N, k, out]`
///
/// Wen et al., "BatchEnsemble", 2020; for tables Gorishniy et al., "TabM", 2025.
///
/// ```
/// use ff_graph::{Op, Spec};
/// use ff_ops::{Activation, BatchEnsemble};
/// use ff_tensor::{DType, Shape};
/// let spec = |dims: &[usize]| Spec::new(Shape::new(dims).unwrap(), DType::F32);
/// let x = [spec(&[8, 2]), spec(&[4, 2]), spec(&[3, 2]), spec(&[3, 4]), spec(&[3, 4])];
/// let contract = BatchEnsemble::op(Activation::Relu).contract(&x, &[false; 5])?;
/// assert_eq!(contract.outputs[0], spec(&[8, 3, 4]));
/// # Ok::<(), ff_graph::OpError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BatchEnsemble {
    /// f.
    pub activation: Activation,
}

impl BatchEnsemble {
    /// The operation, ready for [`ff_graph::Graph::apply`].
    pub fn op(activation: Activation) -> Arc<dyn Op> {
        Arc::new(Self { activation })
    }
}

/// Rows, members, and features in and out.
#[derive(Clone, Copy)]
struct Sizes {
    rows: usize,
    members: usize,
    input: usize,
    output: usize,
    /// Whether x is one for all members.
    shared: bool,
}

impl Sizes {
    /// The sizes of x beside a parameter `[members, …]`.
    fn new(x: Shape, members: usize, input: usize, output: usize) -> OpResult<Self> {
        let (rows, shared) = match *x.dims() {
            [rows, features] if features == input => (rows, true),
            [rows, m, features] if (m, features) == (members, input) => (rows, false),
            _ => {
                return Err(OpError::shape(format!(
                    "x must be [N, {members}, {input}], or [N, {input}] for all members, found {x}"
                )));
            }
        };
        Ok(Self { rows, members, input, output, shared })
    }

    fn of(x: Shape, weight: Shape, r: Shape) -> OpResult<Self> {
        let &[output, input] = weight.dims() else {
            return Err(OpError::shape(format!("weight must be [out, in], found {weight}")));
        };
        let &[members, features] = r.dims() else {
            return Err(OpError::shape(format!("r must be [members, in], found {r}")));
        };
        if features != input || members == 0 {
            return Err(OpError::shape(format!("r must be [members, {input}], found {r}")));
        }
        Self::new(x, members, input, output)
    }
}

/// Checks a parameter's shape.
fn expect(what: &str, found: Shape, dims: &[usize]) -> OpResult {
    if found.dims() == dims {
        return Ok(());
    }
    Err(OpError::shape(format!("{what} must be {dims:?}, found {found}")))
}

impl FloatOp for BatchEnsemble {
    fn name(&self) -> &'static str {
        "batch_ensemble"
    }

    fn contract(&self, x: &[Spec], need: &[bool]) -> OpResult<Contract> {
        check::inputs(x, 5, "x, weight, r, s, bias")?;
        check::float(&x[0])?;
        for (what, spec) in ["weight", "r", "s", "bias"].into_iter().zip(&x[1..]) {
            check::same_dtype(what, spec, &x[0])?;
        }
        let sizes = Sizes::of(x[0].shape, x[1].shape, x[2].shape)?;
        let Sizes { rows, members, input, output, .. } = sizes;
        expect("s", x[3].shape, &[members, output])?;
        expect("bias", x[4].shape, &[members, output])?;
        let spec = |width: usize| x[0].with_shape([rows, members, width]);
        let (scaled, y) = (spec(input), spec(output));
        let product = 2 * rows * members * input * output;
        let flows_back = need[0] || need[2];
        let products = usize::from(flows_back) + usize::from(need[1]);
        let mut contract = Contract::new([y]).cost(product, product * products).scratch(scaled);
        if !need.contains(&true) {
            return Ok(contract);
        }
        for i in 0..4 {
            contract = contract.keep_input(i);
        }
        contract = contract.save(y);
        contract = match self.activation.derivative_from() {
            DerivativeFrom::Nothing => contract,
            DerivativeFrom::Output => contract.keep_output(0),
            DerivativeFrom::Input => contract.save(y),
        };
        Ok(if need[1] || flows_back { contract.dscratch(scaled) } else { contract })
    }

    fn forward<T: Float>(
        &self,
        cx: &Cx<'_>,
        x: &[TensorRef<'_>],
        y: &mut [TensorMut<'_>],
        saved: &mut [TensorMut<'_>],
    ) -> OpResult {
        let sizes = Sizes::of(*x[0].shape(), *x[1].shape(), *x[2].shape())?;
        let Sizes { rows, members, input, output, .. } = sizes;
        let (weight, r) = (x[1].slice::<T>()?, x[2].slice::<T>()?);
        let (s, b) = (x[3].slice::<T>()?, x[4].slice::<T>()?);
        let y = y[0].slice_mut::<T>()?;
        let (u, z) = saved.split_at_mut(saved.len().min(1));
        let u = u.first_mut().map(|u| u.slice_mut::<T>()).transpose()?;
        let z = z.first_mut().map(|z| z.slice_mut::<T>()).transpose()?;
        let cpu = cx.cpu();
        let mut scaled = Tensor::uninit(cx.device, [rows, members, input].into(), T::DTYPE)?;
        let scaled = scaled.slice_mut::<T>()?;
        scale_inputs(cpu, sizes, x[0].slice::<T>()?, r, scaled);
        let scaled = MatRef::new(scaled, rows * members, input);
        let weight = MatRef::new(weight, output, input).t();
        let width = members * output;
        let activation = self.activation;
        let Some(u) = u else {
            gemm(cpu, scaled, weight, y, false);
            for_rows(
                cpu,
                rows,
                8 * width,
                [(y, width)],
                #[inline(always)]
                |_, [y]| {
                    for ((y, &s), &b) in y.iter_mut().zip(s).zip(b) {
                        *y = *y * s + b;
                    }
                    activation.in_place(cpu, y);
                },
            );
            return Ok(());
        };
        gemm(cpu, scaled, weight, u, false);
        let u = &*u;
        let keep_z = z.is_some();
        let z = z.unwrap_or_default();
        let z_width = if keep_z { width } else { 0 };
        for_rows(
            cpu,
            rows,
            8 * width,
            [(y, width), (z, z_width)],
            #[inline(always)]
            |n, [y, z]| {
                let u = &u[n * width..][..width];
                for (((y, &u), &s), &b) in y.iter_mut().zip(u).zip(s).zip(b) {
                    *y = u * s + b;
                }
                if keep_z {
                    z.copy_from_slice(y);
                }
                activation.in_place(cpu, y);
            },
        );
        Ok(())
    }

    fn backward<T: Float>(
        &self,
        cx: &Cx<'_>,
        kept: &Kept<'_>,
        dy: &mut [Option<TensorMut<'_>>],
        dx: &mut [Slot<'_>],
    ) -> OpResult {
        let shape = |i: usize| kept.spec(i).shape;
        let sizes = Sizes::of(shape(0), shape(1), shape(2))?;
        let Sizes { rows, members, input, output, shared } = sizes;
        let Some(dy) = &mut dy[0] else { return Ok(()) };
        let dz = dy.slice_mut::<T>()?;
        let cpu = cx.cpu();
        let from = match self.activation.derivative_from() {
            DerivativeFrom::Nothing => None,
            DerivativeFrom::Output => Some(kept.output(0)?.slice::<T>()?),
            DerivativeFrom::Input => Some(kept.saved(1)?.slice::<T>()?),
        };
        let u = kept.saved(0)?.slice::<T>()?;
        let s = kept.input(3)?.slice::<T>()?;
        let (ds, db) = (dx[3].take::<T>()?, dx[4].take::<T>()?);
        let f = (self.activation, from);
        scale_sums(cpu, [rows, members * output], f, (u, s), dz, ds, db);
        let du = MatRef::new(&*dz, rows * members, output);
        let (dweight, dr, dinput) = (dx[1].take::<T>()?, dx[2].take::<T>()?, dx[0].take::<T>()?);
        if dweight.is_none() && dr.is_none() && dinput.is_none() {
            return Ok(());
        }
        let x = kept.input(0)?.slice::<T>()?;
        let r = kept.input(2)?.slice::<T>()?;
        let mut scaled = Tensor::uninit(cx.device, [rows, members, input].into(), T::DTYPE)?;
        let scaled = scaled.slice_mut::<T>()?;
        if let Some((dweight, accumulate)) = dweight {
            scale_inputs(cpu, sizes, x, r, scaled);
            let scaled = MatRef::new(&*scaled, rows * members, input);
            gemm(cpu, du.t(), scaled, dweight, accumulate);
        }
        if dr.is_none() && dinput.is_none() {
            return Ok(());
        }
        // v, in the place of the scaled inputs.
        let weight = MatRef::new(kept.input(1)?.slice::<T>()?, output, input);
        gemm(cpu, du, weight, scaled, false);
        let v = &*scaled;
        if shared {
            shared_inputs(cpu, sizes, [v, x, r], dr, dinput);
        } else {
            own_inputs(cpu, sizes, [v, x, r], dr, dinput);
        }
        Ok(())
    }
}

/// A gradient, and whether it is added to.
type Gradient<'a, T> = Option<(&'a mut [T], bool)>;

/// x ⊙ r for every member.
fn scale_inputs<T: Float>(cpu: &CpuDevice, sizes: Sizes, x: &[T], r: &[T], scaled: &mut [T]) {
    let Sizes { rows, members, input, shared, .. } = sizes;
    let width = members * input;
    for_rows(
        cpu,
        rows,
        2 * width,
        [(scaled, width)],
        #[inline(always)]
        |n, [scaled]| {
            if shared {
                let x = &x[n * input..][..input];
                let r = r.chunks_exact(input.max(1));
                for (scaled, r) in scaled.chunks_exact_mut(input.max(1)).zip(r) {
                    for ((scaled, &x), &r) in scaled.iter_mut().zip(x).zip(r) {
                        *scaled = x * r;
                    }
                }
            } else {
                let x = &x[n * width..][..width];
                for ((scaled, &x), &r) in scaled.iter_mut().zip(x).zip(r) {
                    *scaled = x * r;
                }
            }
        },
    );
}

/// With dz = dy ⊙ f′ from the argument of f′: ds = Σₙ dz ⊙ u and db = Σₙ dz, and dy becomes
/// du = dz ⊙ s.
fn scale_sums<T: Float>(
    cpu: &CpuDevice,
    [rows, width]: [usize; 2],
    (activation, from): (Activation, Option<&[T]>),
    (u, s): (&[T], &[T]),
    dy: &mut [T],
    ds: Gradient<'_, T>,
    db: Gradient<'_, T>,
) {
    let (ds, add_ds) = ds.unwrap_or_default();
    let (db, add_db) = db.unwrap_or_default();
    for_wide_columns(
        cpu,
        [width, WIDE],
        rows * 8,
        [dy, ds, db],
        #[inline(always)]
        |columns, [mut dy, mut ds, mut db]| {
            let s = &s[columns.clone()];
            let mut sums = ColumnSums::<T>::default();
            let mut others = ColumnSums::<T>::default();
            for n in 0..rows {
                let part = n * width + columns.start..n * width + columns.end;
                let dz = dy.row(n);
                if let Some(from) = from {
                    activation.scale_in_place(cpu, &from[part.clone()], dz);
                }
                sums.begin(n);
                others.begin(n);
                let both = sums.group.iter_mut().zip(&mut others.group);
                for (((sum, other), dz), (&u, &s)) in both.zip(dz).zip(u[part].iter().zip(s)) {
                    *sum += *dz * u;
                    *other += *dz;
                    *dz *= s;
                }
            }
            ds.put(&sums.finish()[..columns.len()], add_ds);
            db.put(&others.finish()[..columns.len()], add_db);
        },
    );
}

/// dr = Σₙ v ⊙ x and dx = v ⊙ r, where members have inputs of their own.
fn own_inputs<T: Float>(
    cpu: &CpuDevice,
    sizes: Sizes,
    [v, x, r]: [&[T]; 3],
    dr: Gradient<'_, T>,
    dx: Gradient<'_, T>,
) {
    let Sizes { rows, members, input, .. } = sizes;
    let width = members * input;
    let (dr, add_dr) = dr.unwrap_or_default();
    let (dx, add_dx) = dx.unwrap_or_default();
    for_wide_columns(
        cpu,
        [width, WIDE],
        rows * 6,
        [dr, dx],
        #[inline(always)]
        |columns, [mut dr, mut dx]| {
            let r = &r[columns.clone()];
            let mut sums = ColumnSums::<T>::default();
            for n in 0..rows {
                let part = n * width + columns.start..n * width + columns.end;
                let (v, x) = (&v[part.clone()], &x[part]);
                sums.begin(n);
                for (sum, (&v, &x)) in sums.group.iter_mut().zip(v.iter().zip(x)) {
                    *sum += v * x;
                }
                if dx.rows() == 0 {
                    continue;
                }
                let values = dx.row(n).iter_mut().zip(v.iter().zip(r));
                if add_dx {
                    for (dx, (&v, &r)) in values {
                        *dx += v * r;
                    }
                } else {
                    for (dx, (&v, &r)) in values {
                        *dx = v * r;
                    }
                }
            }
            dr.put(&sums.finish()[..columns.len()], add_dr);
        },
    );
}

/// dr = Σₙ v ⊙ x and dx = Σₘ v ⊙ r, where members share their inputs.
fn shared_inputs<T: Float>(
    cpu: &CpuDevice,
    sizes: Sizes,
    [v, x, r]: [&[T]; 3],
    dr: Gradient<'_, T>,
    dx: Gradient<'_, T>,
) {
    let Sizes { rows, members, input, .. } = sizes;
    let width = members * input;
    if let Some((dr, accumulate)) = dr {
        for_columns(
            cpu,
            width,
            rows * 4,
            [dr],
            #[inline(always)]
            |columns, [mut dr]| {
                let mut sums = ColumnSums::<T>::default();
                for n in 0..rows {
                    let v = &v[n * width..][columns.clone()];
                    let x = &x[n * input..][..input];
                    let x = columns.clone().map(|j| x[j % input]);
                    sums.begin(n);
                    for (sum, (&v, x)) in sums.group.iter_mut().zip(v.iter().zip(x)) {
                        *sum += v * x;
                    }
                }
                dr.put(&sums.finish()[..columns.len()], accumulate);
            },
        );
    }
    let Some((dx, accumulate)) = dx else { return };
    for_rows(
        cpu,
        rows,
        2 * width,
        [(dx, input)],
        #[inline(always)]
        |n, [dx]| {
            if !accumulate {
                dx.fill(T::ZERO);
            }
            let v = &v[n * width..][..width];
            for (v, r) in v.chunks_exact(input.max(1)).zip(r.chunks_exact(input.max(1))) {
                for ((dx, &v), &r) in dx.iter_mut().zip(v).zip(r) {
                    *dx += v * r;
                }
            }
        },
    );
}

/// The most columns of a task: two KiB of a row, which is read in order, and sums that fit into
/// the first-level cache.
const WIDE: usize = 512;

/// Sums of columns: rows are added in groups of 64 in the values' type, groups in f64, so that the
/// error grows with the number of groups.
struct ColumnSums<T> {
    group: [T; WIDE],
    total: [f64; WIDE],
}

impl<T: Float> Default for ColumnSums<T> {
    #[inline(always)]
    fn default() -> Self {
        Self { group: [T::ZERO; WIDE], total: [0.0; WIDE] }
    }
}

impl<T: Float> ColumnSums<T> {
    /// Before a row is added.
    #[inline(always)]
    fn begin(&mut self, row: usize) {
        if row.is_multiple_of(64) {
            self.close();
        }
    }

    #[inline(always)]
    fn close(&mut self) {
        for (total, group) in self.total.iter_mut().zip(&mut self.group) {
            *total += group.f64();
            *group = T::ZERO;
        }
    }

    #[inline(always)]
    fn finish(mut self) -> [f64; WIDE] {
        self.close();
        self.total
    }
}

pub(crate) fn cases() -> Vec<Case> {
    use Activation::{Identity, Relu, Silu, Tanh};
    let case = |name: &str, activation, shared: bool, [n, k, input, out]: [usize; 4]| {
        let x = if shared { vec![n, input] } else { vec![n, k, input] };
        let inputs = vec![
            CaseInput::normal(x),
            CaseInput::normal([out, input]),
            CaseInput::normal([k, input]),
            CaseInput::normal([k, out]),
            CaseInput::normal([k, out]),
        ];
        Case::new(format!("batch_ensemble/{name}"), BatchEnsemble::op(activation), inputs)
    };
    vec![
        case("identity", Identity, false, [5, 3, 4, 2]),
        case("identity_shared", Identity, true, [5, 3, 4, 2]),
        case("relu", Relu, false, [4, 2, 3, 5]),
        case("silu_shared", Silu, true, [4, 3, 3, 5]),
        case("tanh", Tanh, false, [3, 4, 2, 3]),
        case("one", Silu, false, [1, 1, 1, 1]),
        case("one_member_shared", Relu, true, [5, 1, 3, 4]),
        case("no_rows", Relu, false, [0, 2, 3, 4]),
        case("larger_than_a_tile", Silu, false, [5, 3, 9, 35]),
        case("more_columns_than_a_task", Relu, true, [2, 3, 23, 22]),
        case("more_rows_than_a_group", Relu, false, [70, 2, 2, 1]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use ff_tensor::DType;

    #[test]
    fn shapes_that_do_not_fit_are_named() {
        let spec = |dims: &[usize]| Spec::new(Shape::new(dims).unwrap(), DType::F32);
        let good = [spec(&[8, 3, 2]), spec(&[4, 2]), spec(&[3, 2]), spec(&[3, 4]), spec(&[3, 4])];
        let message = |i: usize, dims: &[usize]| {
            let mut x = good;
            x[i] = spec(dims);
            let op = BatchEnsemble::op(Activation::Relu);
            op.contract(&x, &[false; 5]).unwrap_err().to_string()
        };
        assert!(message(0, &[8, 2, 2]).contains("[N, 3, 2], or [N, 2]"));
        assert!(message(1, &[4]).contains("weight must be [out, in], found [4]"));
        assert!(message(2, &[3, 5]).contains("r must be [members, 2], found [3, 5]"));
        assert!(message(3, &[4, 3]).contains("s must be [3, 4], found [4, 3]"));
        assert!(message(4, &[4]).contains("bias must be [3, 4], found [4]"));
    }
}
