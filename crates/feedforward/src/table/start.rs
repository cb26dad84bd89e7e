//! Training on from the weights of another program's network.

use crate::error::{Error, Result};
use ff_formats::TensorFile;
use ff_graph::{ParamId, Params};
use ff_table::{Encoder, Scaler, Transforms};
use std::collections::BTreeMap;
use std::path::Path;

/// The key of the columns' names in the file's metadata, as a JSON list; without it, the columns of
/// a table have the order of the network's inputs.
pub(super) const COLUMNS: &str = "columns";

/// Puts the weights of a file into a network; a plan has none and only compares sizes. The file's
/// network takes numbers in the unit of their column and gives one in the target's unit, or logits;
/// the first and the last layer become those of scaled columns and targets, so that the function is
/// the same.
///
/// # Errors
/// The file is none, is of a network of other sizes, or a column is no plain number.
pub(super) fn apply(
    path: &Path,
    transforms: &Transforms,
    params: &mut Params,
    planning: bool,
) -> Result<()> {
    let file = TensorFile::open(path)?;
    check(path, &file, transforms, params)?;
    let (order, scales) = inputs(path, &file, transforms)?;
    if planning {
        return Ok(());
    }
    let target = &transforms.target;
    let numbers = !target.task.is_classification();
    if numbers && target.log {
        let message = "data.target_log learns another number than the network of `start` gives; remove one of the two";
        return Err(Error::usage(message));
    }
    let mut values = BTreeMap::new();
    for info in params.infos() {
        let of_file = file.f32(&info.spec.name, info.spec.shape.dims())?;
        values.insert(info.spec.name.clone(), of_file.into_iter().map(f64::from).collect());
    }
    let first = if file.contains("layers.0.weight") { "layers.0" } else { "output" };
    scale_inputs(&mut values, first, &order, &scales);
    if numbers {
        for (part, shift) in [("output.weight", 0.0), ("output.bias", target.mean)] {
            for x in values.get_mut(part).into_iter().flatten() {
                *x = (*x - shift) / target.std;
            }
        }
    }
    for i in 0..params.infos().len() {
        let own = values.remove(&params.infos()[i].spec.name).unwrap_or_default();
        let to = params.values_mut::<f32>(ParamId::new(i))?;
        to.iter_mut().zip(own).for_each(|(to, x)| *to = x as f32);
    }
    Ok(())
}

/// The layer x Wᵀ + b as one of (x − shift) / scale, and of columns in another order.
fn scale_inputs(
    values: &mut BTreeMap<String, Vec<f64>>,
    layer: &str,
    order: &[usize],
    scales: &[(f64, f64)],
) {
    let Some(weight) = values.get_mut(&format!("{layer}.weight")) else { return };
    let old = weight.clone();
    let width = order.len().max(1);
    for (row, old) in weight.chunks_exact_mut(width).zip(old.chunks_exact(width)) {
        for (j, w) in row.iter_mut().enumerate() {
            *w = old[order[j]] * scales[j].1;
        }
    }
    let bias = values.get_mut(&format!("{layer}.bias")).into_iter().flatten();
    for (b, old) in bias.zip(old.chunks_exact(width)) {
        *b += order.iter().zip(scales).map(|(&from, (shift, _))| old[from] * shift).sum::<f64>();
    }
}

/// Checks that the network's weights are those of the file, number by number: the state of an
/// optimiser belongs to them.
///
/// # Errors
/// Columns or the target are scaled, or the columns have another order.
pub(super) fn check_unscaled(path: &Path, transforms: &Transforms) -> Result<()> {
    let (order, scales) = inputs(path, &TensorFile::open(path)?, transforms)?;
    let problem = if scales.iter().any(|scale| *scale != (0.0, 1.0)) {
        "columns in their own units: set data.scaling = \"none\""
    } else if (transforms.target.mean, transforms.target.std) != (0.0, 1.0) {
        "a target in its own unit: set data.target_scaling = false"
    } else if !order.iter().copied().eq(0..order.len()) {
        "the columns in the order of the network's inputs: put those of the table in that order"
    } else {
        return Ok(());
    };
    Err(Error::usage(format!(
        "the optimiser's state belongs to {problem}; or remove `start_optimizer` to start without it"
    )))
}

/// Compares the parameters of a network with the tensors of a file.
fn check(path: &Path, file: &TensorFile, transforms: &Transforms, params: &Params) -> Result<()> {
    for info in params.infos() {
        let (name, dims) = (&info.spec.name, info.spec.shape.dims());
        if file.dims(name) == Some(dims) {
            continue;
        }
        let message = match file.dims(name) {
            Some(found) => format!(
                "its `{name}` has the shape {found:?}, and the recipe's network for this table needs {dims:?}: \
                 {} numbers a row, {} classes",
                transforms.n_numeric(),
                transforms.target.classes.len()
            ),
            None => format!("it has no `{name}`, which the recipe's network needs"),
        };
        let hint = "start from it with the recipe that `feedforward import` wrote, and a table of the same columns";
        return Err(Error::run(path, format!("{message}; {hint}")));
    }
    let known = |name: &str| params.infos().iter().any(|info| info.spec.name == name);
    match file.entries().find(|entry| !known(&entry.name)) {
        Some(entry) => Err(Error::run(
            path,
            format!(
                "its `{}` has no place in the recipe's network; give [model] the layers of the file",
                entry.name
            ),
        )),
        None => Ok(()),
    }
}

/// Which input of the file's network each column is, and the column's shift and scale.
#[allow(clippy::type_complexity)]
fn inputs(
    path: &Path,
    file: &TensorFile,
    transforms: &Transforms,
) -> Result<(Vec<usize>, Vec<(f64, f64)>)> {
    let names: Option<Vec<String>> =
        file.metadata(COLUMNS)
            .map(serde_json::from_str)
            .transpose()
            .map_err(|e| Error::run(path, format!("its list of columns is damaged: {e}")))?;
    let mut order = Vec::new();
    let mut scales = Vec::new();
    for (at, column) in transforms.columns.iter().enumerate() {
        let name = &column.name;
        let from = match &names {
            None => Some(at),
            Some(names) => names.iter().position(|own| own == name),
        };
        let Some(from) = from else {
            let names = names.unwrap_or_default().join("`, `");
            return Err(Error::usage(format!(
                "the network of {} has no input `{name}`; its inputs are `{names}`: leave the column out (data.drop)",
                path.display()
            )));
        };
        let scale = match &column.encoder {
            Encoder::Number(e) if !e.log && !e.flag && e.clip.is_none() => match e.scaler {
                Scaler::None => Some((0.0, 1.0)),
                Scaler::Linear { shift, scale } => Some((shift, scale)),
                _ => None,
            },
            Encoder::Boolean(e) if !e.flag => Some((0.0, 1.0)),
            _ => None,
        };
        let scale = scale.ok_or_else(|| {
            Error::usage(format!(
                "column `{name}` enters as {}, and the network of {} takes plain numbers: set data.columns.{name} = \"number\", \
                 data.missing_flag = false and a data.scaling of standard, minmax, robust or none",
                column.encoder.kind(),
                path.display()
            ))
        })?;
        order.push(from);
        scales.push(scale);
    }
    Ok((order, scales))
}
