//! The files of a test.

use ff_interop::onnx::{DType, Error, Model, Tensor};
use std::fs;
use std::path::Path;

/// A stored input or output.
pub(crate) fn tensor(folder: &Path, kind: &str, i: usize) -> Result<Option<Tensor>, Error> {
    match fs::read(folder.join(format!("{kind}_{i}.pb"))) {
        Ok(bytes) => Tensor::from_bytes(&bytes).map(Some),
        Err(_) => Ok(None),
    }
}

/// The inputs by name.
pub(crate) fn inputs(folder: &Path, model: &Model) -> Result<Vec<(String, Tensor)>, Error> {
    let graph = model.proto().graph.clone().unwrap_or_default();
    let mut inputs = Vec::new();
    for (i, port) in graph.input.iter().enumerate() {
        if let Some(tensor) = tensor(folder, "input", i)? {
            inputs.push((port.name.clone(), tensor));
        }
    }
    Ok(inputs)
}

/// How an output differs from what is expected.
pub(crate) fn difference(
    folder: &Path,
    i: usize,
    name: &str,
    found: &Tensor,
) -> Result<Option<String>, Error> {
    let Some(expected) = tensor(folder, "output", i)? else { return Ok(None) };
    let tolerance = fs::read_to_string(folder.join("tolerance")).unwrap_or_default();
    let mut tolerance = tolerance.split_whitespace().map_while(|text| text.parse::<f64>().ok());
    let (relative, absolute) = (tolerance.next().unwrap_or(1e-3), tolerance.next().unwrap_or(1e-7));
    if found.dtype() != expected.dtype() || found.dims() != expected.dims() {
        return Ok(Some(format!(
            "{name} is {} {:?}, not {} {:?}",
            found.dtype().name(),
            found.dims(),
            expected.dtype().name(),
            expected.dims()
        )));
    }
    let (Some(a), Some(b)) = (found.data().floats(), expected.data().floats()) else {
        let same = found.data() == expected.data();
        let message = || format!("{name} differs: {:?}, not {:?}", found.data(), expected.data());
        return Ok((!same).then(message));
    };
    // Two units in the last place: the expected values of short floats were rounded at each step.
    let relative = match found.dtype() {
        DType::F16 => relative.max(f64::powi(2.0, -9)),
        DType::BF16 => relative.max(f64::powi(2.0, -6)),
        _ => relative,
    };
    let close = |(a, b): (&f64, &f64)| {
        a == b || a.is_nan() && b.is_nan() || (a - b).abs() <= absolute + relative * b.abs()
    };
    let at = a.iter().zip(&b).position(|pair| !close(pair));
    Ok(at.map(|at| format!("{name}[{at}] is {}, not {}", a[at], b[at])))
}
