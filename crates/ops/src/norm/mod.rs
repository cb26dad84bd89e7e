//! Normalisation.

pub(crate) mod batch_norm;
pub(crate) mod layer_norm;
pub(crate) mod rms_norm;

use ff_kernels::{Float, MAX_COLUMNS, for_columns};
use ff_tensor::CpuDevice;

/// dw = Σₙ dy ⊙ (x − μ) r over all rows, or dw += if `accumulate` is set; μ is 0 without `means`.
#[inline(always)]
fn weight_gradient<T: Float>(
    cpu: &CpuDevice,
    (x, dy): (&[T], &[T]),
    (means, rstd): (Option<&[T]>, &[T]),
    dweight: &mut [T],
    accumulate: bool,
) {
    let (rows, width) = (rstd.len(), dweight.len());
    for_columns(
        cpu,
        width,
        4 * rows,
        [dweight],
        #[inline(always)]
        |columns, [mut dweight]| {
            let mut sums = [0.0; MAX_COLUMNS];
            for (i, &rstd) in rstd.iter().enumerate() {
                let part = i * width + columns.start..i * width + columns.end;
                let mean = means.map_or(T::ZERO, |means| means[i]);
                for ((s, &x), &dy) in sums.iter_mut().zip(&x[part.clone()]).zip(&dy[part]) {
                    *s += (dy * ((x - mean) * rstd)).f64();
                }
            }
            dweight.put(&sums, accumulate);
        },
    );
}
