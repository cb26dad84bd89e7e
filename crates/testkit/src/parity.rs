//! Comparison with values and gradients of other frameworks, stored in small files.

use crate::CheckResult;
use crate::fill::{Data, fill};
use crate::paths::F32_TOLERANCE;
use crate::run::Run;
use ff_graph::Case;
use ff_tensor::{DType, Device};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::collections::{BTreeMap, HashMap};

/// The tolerance of an f64 result against another framework, relative to the largest value of the
/// tensor: both round each term of their sums of up to a few hundred terms and evaluate functions
/// to a few units in the last place of 2.2e-16.
pub const PARITY_TOLERANCE: f64 = 1e-12;

/// An error in a file of fixtures.
///
/// ```
/// let error = ff_testkit::Fixtures::parse(b"nothing").unwrap_err();
/// assert!(error.to_string().starts_with("not a fixture file: "));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FixtureError {
    /// The file is not a safetensors file.
    #[error("not a fixture file: {0}")]
    Malformed(#[from] safetensors::SafeTensorError),
    /// A tensor has a type not used by cases.
    #[error("tensor `{name}`: expected f64 or i32, found {found:?}")]
    DType {
        /// The tensor.
        name: String,
        /// Its type.
        found: Dtype,
    },
    /// A case failed to run for the shapes of its outputs.
    #[error("case `{case}`: {source}")]
    Engine {
        /// The case.
        case: String,
        /// The error.
        source: ff_graph::Error,
    },
}

/// Cases with results of another framework.
///
/// One safetensors file: for a case `relu/small`, the tensors `relu/small/x0`, `x1`, … are inputs
/// (f64 or i32), `y0`, … outputs, `dy0`, … their gradients and `dx0`, … the inputs' gradients; its
/// metadata holds the operation under the case's name, as Rust prints it.
///
/// ```
/// use ff_testkit::{Fixtures, fixture_inputs, parity_check};
/// let cases = (ff_ops::registry()[0].cases)();
/// // The input of the scripts: inputs and gradients of outputs, without results.
/// let fixtures = Fixtures::parse(&fixture_inputs(&cases[..1])?)?;
/// assert!(fixtures.contains(&cases[0].name));
/// assert!(!parity_check(&cases[0], &fixtures).passed());
/// # Ok::<(), ff_testkit::FixtureError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Fixtures {
    tensors: BTreeMap<String, Stored>,
    notes: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq)]
struct Stored {
    dims: Vec<usize>,
    data: Data,
}

impl Fixtures {
    /// Reads the bytes of a safetensors file.
    ///
    /// # Errors
    /// If the file is malformed, or holds types other than f64 and i32.
    pub fn parse(bytes: &[u8]) -> Result<Self, FixtureError> {
        let (_, metadata) = SafeTensors::read_metadata(bytes)?;
        let notes = metadata.metadata().clone().unwrap_or_default().into_iter().collect();
        let file = SafeTensors::deserialize(bytes)?;
        let stored = |(name, view): (String, TensorView<'_>)| {
            let data = match view.dtype() {
                Dtype::F64 => Data::Float(
                    view.data().as_chunks().0.iter().map(|b| f64::from_le_bytes(*b)).collect(),
                ),
                Dtype::I32 => Data::Int(
                    view.data().as_chunks().0.iter().map(|b| i32::from_le_bytes(*b)).collect(),
                ),
                found => return Err(FixtureError::DType { name, found }),
            };
            Ok((name, Stored { dims: view.shape().to_vec(), data }))
        };
        let tensors = file.tensors().into_iter().map(stored).collect::<Result<_, _>>()?;
        Ok(Self { tensors, notes })
    }

    /// Whether the case has a fixture.
    pub fn contains(&self, case: &str) -> bool {
        self.notes.contains_key(case)
    }

    /// The names of all cases.
    pub fn cases(&self) -> impl Iterator<Item = &str> {
        self.notes.keys().map(String::as_str).filter(|name| name.contains('/'))
    }

    /// The framework of the results, with its version.
    pub fn framework(&self) -> Option<&str> {
        self.notes.get("framework").map(String::as_str)
    }

    fn get(&self, case: &str, kind: &str, i: usize) -> Option<&Stored> {
        self.tensors.get(&format!("{case}/{kind}{i}"))
    }
}

/// Compares a case with the results of another framework: outputs and gradients in f64 within
/// [`PARITY_TOLERANCE`] and in f32 within [`F32_TOLERANCE`].
///
/// The fixture must contain every output with a gradient, and the gradient of every input that the
/// case differentiates.
pub fn parity_check(case: &Case, fixtures: &Fixtures) -> CheckResult {
    const CHECK: &str = "parity";
    let mut result = CheckResult::new(&case.name);
    let stale = |what: String| format!("{what}; regenerate the fixtures with the scripts");
    let op = format!("{:?}", case.op);
    match fixtures.notes.get(&case.name) {
        Some(note) if *note == op => {}
        Some(note) => {
            let message = stale(format!("the fixture is for {note}, the case for {op}"));
            result.promise(CHECK, message);
            return result;
        }
        None => {
            result.promise(CHECK, "there is no fixture of this name");
            return result;
        }
    }
    let mut data = Vec::new();
    for (i, input) in case.inputs.iter().enumerate() {
        match fixtures.get(&case.name, "x", i) {
            Some(x) if x.dims == input.dims => data.push(x.data.clone()),
            Some(x) => {
                let message = format!(
                    "input {i} has shape {:?} in the fixture, {:?} in the case",
                    x.dims, input.dims
                );
                result.promise(CHECK, stale(message));
                return result;
            }
            None => {
                result.promise(CHECK, stale(format!("the fixture has no x{i}")));
                return result;
            }
        }
    }
    let dy: Vec<Vec<f64>> = (0..)
        .map_while(|j| fixtures.get(&case.name, "dy", j))
        .filter_map(|dy| dy.data.floats().map(<[f64]>::to_vec))
        .collect();
    let device = Device::default();
    for (dtype, tolerance) in [(DType::F64, PARITY_TOLERANCE), (DType::F32, F32_TOLERANCE)] {
        let run = Run { dtype, dy: Some(&dy), ..Run::new(case) };
        let outcome = match run.on(&device, &data) {
            Ok(outcome) => outcome,
            Err(error) => {
                result.engine(CHECK, error);
                return result;
            }
        };
        let outputs = outcome.y.iter().zip(&outcome.differentiable).enumerate();
        let outputs = outputs.map(|(j, ((shape, y), &needed))| {
            (format!("y{j}"), "y", j, shape.dims().to_vec(), y.as_slice(), needed)
        });
        let gradients = outcome.dx.iter().enumerate().filter_map(|(i, dx)| {
            let dims = case.inputs[i].dims.clone();
            Some((format!("dx{i}"), "dx", i, dims, dx.as_deref()?, true))
        });
        for (name, kind, i, dims, found, needed) in outputs.chain(gradients) {
            match fixtures.get(&case.name, kind, i) {
                Some(Stored { data: Data::Float(expected), dims: stored }) if *stored == dims => {
                    let tensor = format!("{name} in {dtype}");
                    let error = result.compare(CHECK, &tensor, &dims, (expected, found), tolerance);
                    if dtype == DType::F64 {
                        result.worst = result.worst.max(error);
                    }
                }
                Some(stored) => {
                    let message = format!("{name} has shape {dims:?}, stored is {:?}", stored.dims);
                    result.promise(CHECK, message);
                }
                None if needed => result.promise(CHECK, format!("the fixture has no {name}")),
                None => {}
            }
        }
    }
    result
}

/// The input of the fixture scripts: a safetensors file with the inputs of cases and the gradients
/// of their outputs.
///
/// The metadata holds each operation under the case's name, as Rust prints it, and under
/// `CASE/grad` a 1 for every differentiated input and a 0 for every other one.
///
/// # Errors
/// If a case fails to run.
pub fn fixture_inputs(cases: &[Case]) -> Result<Vec<u8>, FixtureError> {
    let mut tensors: BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)> = BTreeMap::new();
    let mut notes = HashMap::new();
    for case in cases {
        let data = fill(case, 0);
        let outcome = Run::new(case).on(&Device::default(), &data);
        let outcome =
            outcome.map_err(|source| FixtureError::Engine { case: case.name.clone(), source })?;
        for (i, (data, input)) in data.iter().zip(&case.inputs).enumerate() {
            let (dtype, bytes) = match data {
                Data::Float(values) => (Dtype::F64, float_bytes(values)),
                Data::Int(values) => {
                    (Dtype::I32, values.iter().flat_map(|v| v.to_le_bytes()).collect())
                }
            };
            let name = format!("{}/x{i}", case.name);
            tensors.insert(name, (dtype, input.dims.clone(), bytes));
        }
        for (j, (shape, y)) in outcome.y.iter().enumerate() {
            if outcome.differentiable[j] {
                let dy = crate::fill::weights(&case.name, j, y.len());
                let value = (Dtype::F64, shape.dims().to_vec(), float_bytes(&dy));
                tensors.insert(format!("{}/dy{j}", case.name), value);
            }
        }
        let grad = case.inputs.iter().map(|x| if x.grad { '1' } else { '0' }).collect();
        notes.insert(format!("{}/grad", case.name), grad);
        notes.insert(case.name.clone(), format!("{:?}", case.op));
    }
    let views = tensors
        .iter()
        .map(|(name, (dtype, dims, bytes))| {
            Ok((name, TensorView::new(*dtype, dims.clone(), bytes)?))
        })
        .collect::<Result<Vec<_>, FixtureError>>()?;
    Ok(safetensors::serialize(views, Some(notes))?)
}

fn float_bytes(values: &[f64]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}
