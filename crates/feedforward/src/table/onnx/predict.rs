//! Predicting the rows of a table with a model of another program.

use super::{CLASSES, TRANSFORMS};
use crate::error::{Error, Result};
use crate::predict::{PredictOptions, PredictSummary, refuse_overwriting};
use crate::run::watch::Watcher;
use ff_interop::Foreign;
use ff_interop::onnx::{DType, Data, Port, Session, Tensor};
use ff_table::{
    BlockReader, Cells, Column, Format, SourceOptions, Table, TableWriter, Transforms, Values,
};
use ff_tensor::Device;
use ff_train::Event;
use std::path::Path;

/// Rows in memory at a time.
const BLOCK: usize = 8192;

/// Evaluates a model of another program on every row of a file and writes its columns, then those
/// of the outputs. An ONNX model that this program wrote takes the columns by name as they were at
/// training; any other has an input for each column, or one input of numbers, a column for each. An
/// input of several numbers beside others takes the columns `NAME_0`, `NAME_1` and so on.
///
/// # Errors
/// The model uses what is not evaluated, named with its node or layer; it has no layers; a column
/// is missing or of another kind; an output is no column; the file exists. No output is left
/// behind.
pub(in crate::table) fn predict_foreign(
    path: &Path,
    options: &PredictOptions,
    watcher: &mut dyn Watcher,
) -> Result<PredictSummary> {
    if options.spread {
        return Err(Error::usage(format!(
            "--spread is for a run: {} has the mean of its members only",
            path.display()
        )));
    }
    if options.interval.is_some() {
        return Err(Error::usage(format!(
            "--interval is for a run: {} has no scores of rows that it did not learn",
            path.display()
        )));
    }
    let device = Device::open(options.device)?;
    let model = match Foreign::open(path)? {
        Foreign::Graph(model) => *model,
        Foreign::Weights(_) => {
            return Err(Error::usage(format!(
                "{} holds weights without layers; save the whole model: torch.save(model, \
                 \"model.pt\"), model.save(\"model.keras\")",
                path.display()
            )));
        }
    };
    let session = Session::on(model, &device)?;
    let transforms = session.model().metadata(TRANSFORMS).map(Transforms::from_json).transpose()?;
    if options.proba && session.model().outputs().len() < 2 && transforms.is_some() {
        return Err(Error::usage("--proba is for classes; this model predicts numbers"));
    }
    refuse_overwriting(options)?;
    watcher.event(Event::Phase("predicting"));
    let reading = match &transforms {
        Some(transforms) => {
            crate::table::reading::source_options(transforms, &options.data, &options.set)?
        }
        None => SourceOptions { blank_rows: true, ..SourceOptions::default() },
    };
    let mut writer = match &options.out {
        Some(path) => TableWriter::create(path)?,
        None => TableWriter::stream(Box::new(std::io::stdout()), Format::CSV)?,
    };
    let mut reader = BlockReader::open(&options.data, &reading, BLOCK)?;
    let (mut rows, mut columns) = (0, Vec::new());
    while let Some(mut block) = reader.next_block()? {
        let inputs = match &transforms {
            Some(transforms) => inputs_of(transforms, &block)?,
            None => foreign_inputs(&session.model().inputs(), &block)?,
        };
        let outputs = session.run(inputs)?;
        columns.clear();
        for (name, values) in output_columns(&session, outputs, block.rows(), options.proba)? {
            columns.push(name.clone());
            block.push(Column::new(name, values)).map_err(|column| {
                Error::usage(format!(
                    "the data has a column `{}` already; rename it, so that the output has a place",
                    column.name
                ))
            })?;
        }
        rows += block.rows();
        writer.write(&block)?;
        if watcher.interrupted() {
            return Err(Error::usage("prediction was interrupted; nothing was written"));
        }
    }
    writer.finish()?;
    Ok(PredictSummary { rows, out: options.out.clone(), columns, unfamiliar: Vec::new() })
}

/// The inputs `[N, 1]` of a model that this program wrote.
pub(super) fn inputs_of(transforms: &Transforms, table: &Table) -> Result<Vec<(String, Tensor)>> {
    let cells = transforms.cells(table)?;
    cells
        .into_iter()
        .map(|(name, cells)| {
            let data: Data = match cells {
                Cells::Numbers(values) => values.into(),
                Cells::Texts(values) => values.into(),
            };
            Ok((name, Tensor::new(&[table.rows(), 1], data)?))
        })
        .collect()
}

/// The inputs of any other model.
fn foreign_inputs(ports: &[Port], table: &Table) -> Result<Vec<(String, Tensor)>> {
    let rows = table.rows();
    if let [port] = ports
        && let Some(dims @ [_, width]) = port.dims.as_deref()
        && table.column(&port.name).is_none()
    {
        if dims[1].is_some_and(|width| width != table.width()) {
            return Err(Error::usage(format!(
                "the model's input `{}` takes {} numbers a row, and {} has {} columns; keep those that it was trained on, in their order",
                port.name,
                width.unwrap_or(0),
                table.source_name(),
                table.width()
            )));
        }
        let columns = table
            .columns()
            .iter()
            .map(|column| numbers(column, table))
            .collect::<Result<Vec<_>>>()?;
        let values =
            (0..rows).flat_map(|row| columns.iter().map(move |column| column[row])).collect();
        return Ok(vec![(port.name.clone(), number_tensor(port, &[rows, columns.len()], values)?)]);
    }
    ports
        .iter()
        .map(|port| {
            if let Some([_, Some(width @ 2..)]) = port.dims.as_deref() {
                return several(port, *width, table);
            }
            let Some(column) = table.column(&port.name) else {
                return Err(Error::usage(format!(
                    "{} has no column `{}`, which the model takes ({})",
                    table.source_name(),
                    port.name,
                    port.kind()
                )));
            };
            let dims = match port.dims.as_ref().map_or(2, Vec::len) {
                1 => vec![rows],
                _ => vec![rows, 1],
            };
            let tensor = match port.dtype {
                Some(DType::Text) => {
                    let texts = (0..rows).map(|row| column.values.text(row).trim().to_owned());
                    Tensor::new(&dims, texts.collect::<Vec<_>>())?
                }
                _ => number_tensor(port, &dims, numbers(column, table)?)?,
            };
            Ok((port.name.clone(), tensor))
        })
        .collect()
}

/// An input of several numbers, from as many columns.
fn several(port: &Port, width: usize, table: &Table) -> Result<(String, Tensor)> {
    let columns = (0..width)
        .map(|k| {
            let name = format!("{}_{k}", port.name);
            let column = table.column(&name).ok_or_else(|| {
                Error::usage(format!(
                    "{} has no column `{name}`: the model's input `{}` takes {width} numbers, `{}_0` to `{}_{}`",
                    table.source_name(),
                    port.name,
                    port.name,
                    port.name,
                    width - 1
                ))
            })?;
            numbers(column, table)
        })
        .collect::<Result<Vec<_>>>()?;
    let values = (0..table.rows()).flat_map(|row| columns.iter().map(move |column| column[row]));
    Ok((port.name.clone(), number_tensor(port, &[table.rows(), width], values.collect())?))
}

/// The numbers of a column; NaN where one is missing.
fn numbers(column: &Column, table: &Table) -> Result<Vec<f64>> {
    (0..column.values.len())
        .map(|row| {
            if column.values.is_missing(row) {
                return Ok(f64::NAN);
            }
            let text = || column.values.text(row).trim().to_owned();
            let number = column.values.number(row).or_else(|| text().parse().ok());
            number.ok_or_else(|| {
                Error::usage(format!(
                    "column `{}` should hold numbers, but {} holds `{}`",
                    column.name,
                    table.place(row),
                    text()
                ))
            })
        })
        .collect()
}

fn number_tensor(port: &Port, dims: &[usize], values: Vec<f64>) -> Result<Tensor> {
    let dtype = port.dtype.unwrap_or(DType::F32);
    let data = dtype.numbers(values).ok_or_else(|| {
        Error::usage(format!(
            "the model's input `{}` ({}) takes no numbers",
            port.name,
            port.kind()
        ))
    })?;
    Ok(Tensor::new(dims, data)?)
}

/// The outputs as columns: those of this program under the names of `predict`, others under their
/// own, with the number of the column where there are several.
fn output_columns(
    session: &Session,
    outputs: Vec<(String, Tensor)>,
    rows: usize,
    proba: bool,
) -> Result<Vec<(String, Values)>> {
    let own = session.model().metadata(TRANSFORMS).is_some();
    let classes: Vec<String> = session
        .model()
        .metadata(CLASSES)
        .and_then(|json| serde_json::from_str(json).ok())
        .unwrap_or_default();
    let mut columns = Vec::new();
    for (i, (name, tensor)) in outputs.into_iter().enumerate() {
        let width = match *tensor.dims() {
            [n] if n == rows => 1,
            [n, width] if n == rows => width,
            ref dims => {
                let message = format!(
                    "the output `{name}` of shape {dims:?} has not one row for each of {rows}"
                );
                return Err(Error::usage(message));
            }
        };
        if own && i > 0 && !proba {
            continue;
        }
        let named = |k: usize| match (own, i) {
            (true, 0) => "prediction".into(),
            (true, _) => classes
                .get(k)
                .map_or_else(|| format!("{name}_{k}"), |class| format!("probability_{class}")),
            (false, _) if width == 1 => name.clone(),
            (false, _) => format!("{name}_{k}"),
        };
        for k in 0..width {
            let values: Values = match tensor.data() {
                Data::Text(texts) => {
                    texts.iter().skip(k).step_by(width).map(|text| Some(text.as_str())).collect()
                }
                data => data
                    .floats()
                    .unwrap_or_default()
                    .into_iter()
                    .skip(k)
                    .step_by(width)
                    .collect::<Vec<_>>()
                    .into(),
            };
            columns.push((named(k), values));
        }
    }
    Ok(columns)
}
