//! Rotary position embedding.

mod angles;
mod long;

use angles::Angles;
use ff_graph::for_stored;
use ff_graph::{
    Case, CaseInput, Contract, Cx, Fill, Kept, Op, OpError, OpResult, Slot, Spec, check,
};
use ff_kernels::{Float, Stored, for_rows};
use ff_tensor::{DType, TensorMut, TensorRef};
pub use long::LongAngles;
use std::sync::Arc;

/// Rotary position embedding (Su et al., 2021): pairs of the first features of each head are
/// rotated by angles proportional to the position.
///
/// Forward, for pair i at position p, with θ = p·inv_freqᵢ: y₁ = s (x₁ cos θ − x₂ sin θ), y₂ = s
/// (x₂ cos θ + x₁ sin θ)
/// Backward:  dx₁ = s (dy₁ cos θ + dy₂ sin θ),  dx₂ = s (dy₂ cos θ − dy₁ sin θ)
///
/// Pair i consists of features i and i + rotary_dim/2, as in Hugging Face's `rotate_half`, or of 2i
/// and 2i + 1 if `interleaved`. Features from rotary_dim on are unchanged. Sequences with more
/// positions than a bound may have angles of their own.
///
/// Inputs: x and positions (i32). Kept: the positions.
///
/// # Shapes
/// x `[B, T, heads·head_dim]`, positions `[B, T]` → y like x
///
/// ```
/// use ff_graph::{Graph, Params};
/// use ff_ops::Rotary;
/// use ff_tensor::{DType, Device, Tensor};
/// let device = Device::default();
/// let mut graph = Graph::new(&device, Params::allocate(&device, DType::F32, vec![], false)?);
/// let x = graph.input(Tensor::from_slice(&device, &[1.0f32, 0.0], &[1, 1, 2]).unwrap());
/// let positions = graph.input(Tensor::from_slice(&device, &[1i32], &[1, 1]).unwrap());
/// let y = graph.apply(&Rotary::new(2, 10000.0).op(), &[&x, &positions])?;
/// assert_eq!(y.slice::<f32>()?, [1f32.cos(), 1f32.sin()]);
/// # Ok::<(), ff_graph::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Rotary {
    /// The number of features per head.
    pub head_dim: usize,
    /// The number of rotated features, even.
    pub rotary_dim: usize,
    /// Whether the features of a pair are adjacent.
    pub interleaved: bool,
    /// The angle per position of each pair.
    pub inv_freq: Arc<[f64]>,
    /// s, the factor of sines and cosines.
    pub scaling: f64,
    /// The angles of long sequences, where they differ.
    pub long: Option<LongAngles>,
}

impl Rotary {
    /// Rotates all features of a head, with angles base^(−2i/head_dim).
    pub fn new(head_dim: usize, base: f64) -> Self {
        let angle = |i: usize| base.powf(-2.0 * i as f64 / head_dim as f64);
        let inv_freq = (0..head_dim / 2).map(angle).collect();
        Self {
            head_dim,
            rotary_dim: head_dim / 2 * 2,
            interleaved: false,
            inv_freq,
            scaling: 1.0,
            long: None,
        }
    }

    /// The operation, ready for [`ff_graph::Graph::apply`].
    pub fn op(self) -> Arc<dyn Op> {
        Arc::new(self)
    }
}

impl Op for Rotary {
    fn name(&self) -> &'static str {
        "rotary"
    }

    fn contract(&self, x: &[Spec], need: &[bool]) -> OpResult<Contract> {
        check::inputs(x, 2, "x, positions")?;
        let Self { head_dim, rotary_dim, ref inv_freq, scaling, .. } = *self;
        let fits = rotary_dim <= head_dim && rotary_dim == 2 * inv_freq.len() && head_dim > 0;
        if !fits || !scaling.is_finite() || !inv_freq.iter().all(|f| f.is_finite()) {
            let message = format!(
                "heads of {head_dim} features, {rotary_dim} of them rotated by {} angles, scaled \
                 by {scaling}: expected two features per angle, at most as many as a head has, and \
                 finite values",
                inv_freq.len()
            );
            return Err(OpError::shape(message));
        }
        if let Some(long) = &self.long {
            long.check(inv_freq.len()).map_err(OpError::Shape)?;
        }
        if !(x[0].dtype.is_float() || x[0].dtype == DType::BF16) {
            return Err(OpError::dtype("f32, f64 or bf16", x[0].dtype));
        }
        if x[1].dtype != DType::I32 {
            let expected = "i32 for positions";
            return Err(OpError::dtype(expected, x[1].dtype));
        }
        let shape = x[0].shape;
        if shape.rank() == 0
            || !shape.last().is_multiple_of(head_dim)
            || x[1].shape != shape.without_last()
        {
            let message = format!(
                "x must be [B, T, heads·{head_dim}] with positions [B, T], found {shape} and {}",
                x[1].shape
            );
            return Err(OpError::shape(message));
        }
        let contract = Contract::new([x[0]]).cost(3 * shape.len(), 3 * shape.len());
        Ok(if need[0] { contract.keep_input(1) } else { contract })
    }

    fn forward(
        &self,
        cx: &Cx<'_>,
        x: &[TensorRef<'_>],
        y: &mut [TensorMut<'_>],
        _saved: &mut [TensorMut<'_>],
    ) -> OpResult {
        for_stored!(x[0].dtype(), S => {
            let positions = (x[1].slice::<i32>()?, x[1].shape().last());
            let width = x[0].shape().last();
            let (x, y) = (x[0].slice::<S>()?, y[0].slice_mut::<S>()?);
            self.turn(cx, positions, width, x, y, 1.0, false);
            Ok(())
        })
    }

    fn backward(
        &self,
        cx: &Cx<'_>,
        kept: &Kept<'_>,
        dy: &mut [Option<TensorMut<'_>>],
        dx: &mut [Slot<'_>],
    ) -> OpResult {
        for_stored!(kept.spec(0).dtype, S => {
            let Some(dy) = &mut dy[0] else { return Ok(()) };
            let dy = &*dy.slice_mut::<S>()?;
            let Some((dx, accumulate)) = dx[0].take::<S>()? else { return Ok(()) };
            let positions = (kept.input(1)?.slice::<i32>()?, kept.spec(1).shape.last());
            let width = kept.spec(0).shape.last();
            // The gradient of a rotation is the inverse rotation.
            self.turn(cx, positions, width, dy, dx, -1.0, accumulate);
            Ok(())
        })
    }
}

impl Rotary {
    /// y = x rotated, or y += if `accumulate` is set; `sense` is 1 forward and −1 backward.
    /// Positions are those of sequences of `length`.
    #[allow(clippy::too_many_arguments)]
    fn turn<S: Stored<Compute: Angles>>(
        &self,
        cx: &Cx<'_>,
        (positions, length): (&[i32], usize),
        width: usize,
        x: &[S],
        y: &mut [S],
        sense: f64,
        accumulate: bool,
    ) {
        /// The number of pairs whose angles are computed together.
        const PAIRS: usize = 128;
        let (pairs, scale) = (self.inv_freq.len(), self.scaling);
        // Pair i is (first(i), second(i)).
        let (step, apart) = if self.interleaved { (2, 1) } else { (1, pairs) };
        // The angles of each sequence, where they depend on it.
        let of_long = |long: &LongAngles| long.of(positions, length, &self.inv_freq);
        let of_sequences = self.long.as_ref().map(of_long).unwrap_or_default();
        for_rows(
            cx.cpu(),
            positions.len(),
            4 * width,
            [(y, width)],
            #[inline(always)]
            |t, [y]| {
                let x = &x[t * width..][..width];
                let position = f64::from(positions[t]);
                let (mut cos, mut sin) = ([S::Compute::ZERO; PAIRS], [S::Compute::ZERO; PAIRS]);
                let own = of_sequences.get(t / length.max(1)).unwrap_or(&self.inv_freq);
                for (part, freqs) in own.chunks(PAIRS).enumerate() {
                    let some = freqs.len();
                    S::Compute::angles(position, freqs, scale, sense, &mut cos, &mut sin);
                    let (cos, sin) = (&cos[..some], &sin[..some]);
                    for (x, y) in
                        x.chunks_exact(self.head_dim).zip(y.chunks_exact_mut(self.head_dim))
                    {
                        let from = part * PAIRS * step;
                        if step == 1 {
                            let (x, y) = (&x[from..], &mut y[from..]);
                            let (x1, x2) = (&x[..some], &x[apart..][..some]);
                            let (y1, y2) = y.split_at_mut(apart);
                            let (y1, y2) = (&mut y1[..some], &mut y2[..some]);
                            for i in 0..some {
                                let (a, b) = (x1[i].compute(), x2[i].compute());
                                let (u, v) = (a * cos[i] - b * sin[i], b * cos[i] + a * sin[i]);
                                y1[i] = put(u, y1[i], accumulate);
                                y2[i] = put(v, y2[i], accumulate);
                            }
                        } else {
                            let pairs = x[from..].as_chunks::<2>().0.iter();
                            let pairs = pairs.zip(y[from..].as_chunks_mut::<2>().0);
                            for ((x, y), (&cos, &sin)) in pairs.zip(cos.iter().zip(sin)) {
                                let (a, b) = (x[0].compute(), x[1].compute());
                                y[0] = put(a * cos - b * sin, y[0], accumulate);
                                y[1] = put(b * cos + a * sin, y[1], accumulate);
                            }
                        }
                    }
                }
                let heads = x.chunks_exact(self.head_dim).zip(y.chunks_exact_mut(self.head_dim));
                for (x, y) in heads.filter(|_| self.rotary_dim < self.head_dim) {
                    for (y, x) in y[self.rotary_dim..].iter_mut().zip(&x[self.rotary_dim..]) {
                        *y = put(x.compute(), *y, accumulate);
                    }
                }
            },
        );
    }
}

#[inline(always)]
fn put<S: Stored>(value: S::Compute, there: S, accumulate: bool) -> S {
    S::from_compute(if accumulate { there.compute() + value } else { value })
}

pub(crate) fn cases() -> Vec<Case> {
    let case = |name: &str, op: Rotary, dims: [usize; 3]| {
        // Position 0 rotates by nothing; a non-finite value must not be multiplied by sin 0 = 0.
        let positions = Fill::Indices(vec![1, 2, 3, 7, 100, 5, 1000]);
        let inputs =
            vec![CaseInput::normal(dims), CaseInput::constant([dims[0], dims[1]], positions)];
        Case::new(format!("rotary/{name}"), op.op(), inputs)
    };
    let interleaved = Rotary { interleaved: true, ..Rotary::new(6, 100.0) };
    let partial = Rotary { head_dim: 7, ..Rotary::new(4, 10000.0) };
    vec![
        case("half_split", Rotary::new(6, 10000.0), [2, 4, 12]),
        case("interleaved", interleaved.clone(), [2, 4, 12]),
        case("partial", partial.clone(), [1, 5, 14]),
        case("partial_interleaved", Rotary { interleaved: true, ..partial }, [1, 5, 14]),
        case("scaled", Rotary { scaling: 1.25, ..Rotary::new(4, 500.0) }, [1, 3, 4]),
        case("none_turned", Rotary { head_dim: 3, ..Rotary::new(0, 1.0) }, [1, 2, 3]),
        case("one", Rotary::new(2, 10.0), [1, 1, 2]),
        case("no_rows", interleaved, [2, 0, 6]),
        case("many_pairs", Rotary::new(266, 10000.0), [1, 3, 266]),
        // Positions up to 7 in the first sequence, up to 1000 in the second.
        case(
            "long_table",
            Rotary {
                long: Some(LongAngles::Table { above: 8, inv_freq: [0.5, 0.125].into() }),
                ..Rotary::new(4, 500.0)
            },
            [2, 4, 8],
        ),
        case(
            "long_base",
            Rotary {
                long: Some(LongAngles::Base { above: 8, base: 500.0, factor: 2.0 }),
                ..Rotary::new(4, 500.0)
            },
            [2, 4, 8],
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Run, tensor};

    #[test]
    fn angles_of_distant_positions_keep_their_digits() {
        let positions = [0, 1, 2, 3, 17, 1000, 131_071, 1_048_575, -5, i32::MAX, i32::MIN];
        let pairs = 48;
        let op = Rotary::new(2 * pairs, 10000.0);
        // The first of each pair is 1, the second 0, so that y holds cos and sin.
        let row: Vec<f32> = (0..2 * pairs).map(|i| if i < pairs { 1.0 } else { 0.0 }).collect();
        let x = tensor(&row.repeat(positions.len()), &[1, positions.len(), 2 * pairs]);
        let run = Run::new(&op.clone().op(), &[x, tensor(&positions, &[1, positions.len()])]);
        let y = run.unwrap().output::<f32>(0);
        for (row, position) in y.chunks(2 * pairs).zip(positions) {
            for (i, freq) in op.inv_freq.iter().enumerate() {
                let angle = f64::from(position) * freq;
                // One rounding of the reduced angle, two of the result, and that of a large angle
                // in f64.
                let bound = 1.5 * f64::from(f32::EPSILON) + angle.abs() * 2.0 * f64::EPSILON;
                for (found, expected) in [(row[i], angle.cos()), (row[pairs + i], angle.sin())] {
                    let error = (f64::from(found) - expected).abs();
                    assert!(error <= bound, "position {position}, pair {i}: {error:e}");
                }
            }
        }
    }

    #[test]
    fn wrong_sizes_are_named() {
        let x = Spec::new([1, 2, 6], DType::F32);
        let positions = Spec::new([1, 2], DType::I32);
        let message = |op: Rotary, x: &[Spec]| op.contract(x, &[true; 2]).unwrap_err().to_string();
        let op = Rotary::new(3, 10.0);
        assert!(op.contract(&[x, positions], &[true; 2]).is_ok());
        let odd = Rotary { rotary_dim: 3, ..op.clone() };
        assert!(message(odd, &[x, positions]).contains("expected two features per angle"));
        assert!(message(Rotary::new(4, 10.0), &[x, positions]).contains("heads·4"));
        assert!(message(op.clone(), &[x, Spec::new([2, 2], DType::I32)]).contains("positions"));
        assert!(message(op, &[x, Spec::new([1, 2], DType::F32)]).contains("i32"));
    }
}
