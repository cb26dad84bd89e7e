//! Positions that are computed, not learned.

use ff_graph::{Error, Graph, Result, Value};
use ff_tensor::Tensor;

/// For each token of `[B, T, features]`, from position `start` on: sines in the first half of the
/// features, cosines in the second (Vaswani et al., 2017).
pub(super) fn sinusoids(graph: &Graph, x: &Value, start: usize) -> Result<Value> {
    let spec = x.spec();
    let error = Error::of("sinusoids");
    let &[_, tokens, features] = spec.shape.dims() else {
        return Err(Error::shape("sinusoids", "vectors must be [B, T, features]"));
    };
    let mut table = Tensor::uninit(graph.device(), spec.shape, spec.dtype).map_err(&error)?;
    if !table.is_planned() {
        let half = features / 2;
        let rows = table.slice_mut::<f32>().map_err(&error)?.chunks_exact_mut(features);
        for (n, row) in rows.enumerate() {
            let position = (start + n % tokens) as f64;
            for i in 0..half {
                let angle = position / 10000f64.powf(2.0 * i as f64 / features as f64);
                (row[i], row[half + i]) = (angle.sin() as f32, angle.cos() as f32);
            }
        }
    }
    Ok(graph.input(table))
}
