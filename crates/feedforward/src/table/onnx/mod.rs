//! A trained model as an ONNX graph that takes raw columns.

mod check;
mod columns;
pub(crate) mod network;
mod predict;
#[cfg(feature = "keras")]
mod training;

use super::model::{TableModel, find_model};
use crate::error::{Error, Result};
use crate::onnx::{OnnxExport, OnnxFile, judge};
use ff_formats::write_output;
use ff_interop::onnx::{DType, Data, GraphBuilder, Model, Session, Tensor};
use ff_nn::Precision;
use ff_table::Encoder;
use ff_tensor::Device;
use std::path::Path;

pub(super) use predict::predict_foreign;

/// The key of the transforms in the metadata: how this program turns a table into the inputs.
const TRANSFORMS: &str = "feedforward.transforms";
/// The key of the classes, as a JSON list.
const CLASSES: &str = "feedforward.classes";

/// Writes the model of a table's run as [`crate::export_onnx_within`] says.
pub(crate) fn export_table_within(
    run: &Path,
    out: &Path,
    device: &Device,
    limit: u64,
) -> Result<OnnxExport> {
    let mut model = open(run, device)?;
    let mut file = OnnxFile::begin(out, limit)?;
    file.write(into_onnx(&model, file.builder(&model.file().target, 0)?)?)?;
    let session = file.session(device)?;
    let (rows, difference) = check::compare(&mut model, &session, false)?;
    file.keep(rows, difference)
}

/// Writes the model of a run for Keras 3: inputs are columns, the output is `probabilities` or
/// `prediction`, and `metadata.json` names the classes. Where the last checkpoint has the model's
/// weights, the file has the optimiser with its state and the loss, so that Keras goes on training;
/// otherwise the outcome says why not. The file is read again, evaluated, and compared, as
/// [`crate::export_onnx`] does. Where `out` ends in `.weights.h5`, only its weights are kept.
///
/// # Errors
/// As [`crate::export_onnx`]; Keras has no counterpart of a node, named, or does not open files of
/// such a name.
#[cfg(feature = "keras")]
pub fn export_keras(run: &Path, out: &Path, device: &Device) -> Result<OnnxExport> {
    let weights_alone = keras_kind(out)?;
    let mut model = open(run, device)?;
    refuse_texts(&model, "Keras")?;
    let graph = to_onnx(&model)?;
    let file = model.file();
    let output = if file.classes.is_empty() { "prediction" } else { "probabilities" };
    let (continued, notes) = match training::continued(run, &mut open(run, device)?, output) {
        Ok(continued) => (Some((continued.training, continued.line)), continued.notes),
        Err(error) => (None, vec![format!("the optimiser is not in the file: {error}")]),
    };
    let (training, optimizer) = continued.unzip();
    let bytes = ff_interop::keras::export(&graph, &[output], &about(&model), training.as_ref())?;
    let graph = ff_interop::keras::Model::from_bytes(bytes.clone())?.to_onnx()?;
    let session = Session::new(graph.clone())?;
    let (rows, difference) = check::compare(&mut model, &session, false)?;
    let kept = if weights_alone { ff_interop::keras::weights_file(&bytes)? } else { bytes };
    let exported = written(out, &kept, &graph, rows, difference)?;
    Ok(OnnxExport { optimizer, notes, ..exported })
}

/// Whether a name is that of weights alone.
///
/// # Errors
/// It is that of a format which is not written.
#[cfg(feature = "keras")]
fn keras_kind(out: &Path) -> Result<bool> {
    let name = out.file_name().map(|name| name.to_string_lossy().to_lowercase());
    let name = name.unwrap_or_default();
    let ends = |ending: &str| name.strip_suffix(ending).is_some();
    let why = if ends(".weights.npz") {
        "Keras does not open weights as .npz itself"
    } else if ends(".weights.json") {
        "weights are written in one file"
    } else if (ends(".h5") || ends(".hdf5")) && !ends(".weights.h5") {
        "the old format (.h5) has no form for operations between layers, of which the preprocessing is made"
    } else {
        return Ok(ends(".weights.h5"));
    };
    Err(Error::usage(format!(
        "{}: {why}; name the file NAME.keras, or NAME.weights.h5 for the weights alone",
        out.display()
    )))
}

/// Writes the model of a run for TensorFlow Lite, which has neither doubles nor texts: inputs are
/// `float32`, or the `int32` positions of categories; the output is `probabilities` or
/// `prediction`. The metadata `feedforward` says what each input takes. The file is read again,
/// evaluated, and compared, as [`crate::export_onnx`] does.
///
/// # Errors
/// As [`crate::export_onnx`]; a column or a node has no counterpart, by name.
pub fn export_tflite(run: &Path, out: &Path, device: &Device) -> Result<OnnxExport> {
    let mut model = open(run, device)?;
    refuse_texts(&model, "TensorFlow Lite")?;
    let graph = to_single(&model)?;
    let file = model.file();
    let output = if file.classes.is_empty() { "prediction" } else { "probabilities" };
    let mut notes = about(&model);
    notes["columns"] = columns::single::about(model.transforms());
    let bytes = ff_interop::tflite::export(&graph, &[output], &notes.to_string())?;
    let session = Session::new(ff_interop::tflite::from_bytes(&bytes)?)?;
    let (rows, difference) = check::compare(&mut model, &session, true)?;
    written(out, &bytes, session.model(), rows, difference)
}

/// What a file says of its outputs.
fn about(model: &TableModel) -> serde_json::Value {
    let file = model.file();
    serde_json::json!({
        "version": env!("CARGO_PKG_VERSION"),
        "target": file.target,
        "task": file.task.to_string(),
        "classes": file.classes,
        "positive": file.positive,
        "threshold": file.threshold,
    })
}

/// The model of a table's run.
fn open(run: &Path, device: &Device) -> Result<TableModel> {
    if run.is_file() {
        return Err(language(run));
    }
    let (folder, _) = find_model(run)?;
    let config = crate::files::read_text(&folder.join("config.json"))?;
    if serde_json::from_str(&config).is_ok_and(|c: serde_json::Value| c.get("model_type").is_some())
    {
        return Err(language(run));
    }
    TableModel::open(&folder, device)
}

/// Writes a file of another format that predicts as the model does.
fn written(
    out: &Path,
    bytes: &[u8],
    graph: &Model,
    rows: usize,
    difference: f64,
) -> Result<OnnxExport> {
    judge(difference)?;
    write_output(out, |file| std::io::Write::write_all(file, bytes))?;
    Ok(OnnxExport { bytes: bytes.len(), ..OnnxExport::of(&graph.summary(), rows, difference) })
}

fn language(path: &Path) -> Error {
    Error::usage(format!(
        "{} is a language model; this version writes models of tables in this format (language models: --to huggingface or gguf)",
        path.display()
    ))
}

/// The graph of a model: an input `[N, 1]` for each column; the outputs are `label` `[N]` and
/// `probabilities` `[N, classes]`, or `prediction` `[N, 1]`.
///
/// # Errors
/// It computes in bf16, or its networks read different columns.
pub fn to_onnx(model: &TableModel) -> Result<Model> {
    Ok(into_onnx(model, GraphBuilder::new(&model.file().target))?.build())
}

/// The same into a builder.
fn into_onnx(model: &TableModel, mut graph: GraphBuilder) -> Result<GraphBuilder> {
    refuse(model)?;
    let file = model.file();
    let inputs = columns::inputs(&mut graph, model.transforms());
    let mut all = Vec::new();
    for network in model.each_network() {
        let features = columns::encode(&mut graph, network.transforms(), &inputs)?;
        let outputs = network::outputs(&mut graph, network, &features)?;
        all.push(if file.classes.is_empty() {
            number(&mut graph, network, &outputs, DType::F64)?
        } else {
            outputs
        });
    }
    if file.classes.is_empty() {
        let outputs = mean_of_numbers(&mut graph, &all)?;
        let y = graph.node("Identity", "prediction", &[&outputs]);
        graph.output(&y, DType::F64, &[None, Some(1)]);
    } else {
        let outputs = mean(&mut graph, &all);
        classification(&mut graph, model, &outputs)?;
    }
    graph.metadata("feedforward.target", file.target.as_str());
    graph.metadata("feedforward.task", file.task.to_string());
    graph.metadata(TRANSFORMS, model.transforms().to_json());
    Ok(graph)
}

/// The mean of the outputs of networks.
fn mean(graph: &mut GraphBuilder, outputs: &[String]) -> String {
    if let [one] = outputs {
        return one.clone();
    }
    let names: Vec<&str> = outputs.iter().map(String::as_str).collect();
    graph.node("Mean", "networks/mean", &names)
}

/// The same for numbers in double precision, of which ONNX Runtime has no `Mean`.
fn mean_of_numbers(graph: &mut GraphBuilder, outputs: &[String]) -> Result<String> {
    if outputs.len() < 2 {
        return Ok(mean(graph, outputs));
    }
    let mut sum = outputs[0].clone();
    for output in &outputs[1..] {
        sum = graph.node("Add", "networks/sum", &[&sum, output]);
    }
    let count = Tensor::new(&[], vec![outputs.len() as f64])?;
    let count = graph.constant("networks/count", &count);
    Ok(graph.node("Div", "networks/mean", &[&sum, &count]))
}

/// The same in single precision: see [`export_tflite`].
fn to_single(model: &TableModel) -> Result<Model> {
    refuse(model)?;
    let file = model.file();
    let mut graph = GraphBuilder::new("feedforward");
    let inputs = columns::single::inputs(&mut graph, model.transforms())?;
    let mut all = Vec::new();
    for network in model.each_network() {
        let features = columns::single::encode(&mut graph, network.transforms(), &inputs)?;
        let outputs = network::outputs(&mut graph, network, &features)?;
        all.push(if file.classes.is_empty() {
            number(&mut graph, network, &outputs, DType::F32)?
        } else {
            outputs
        });
    }
    let outputs = mean(&mut graph, &all);
    let (name, width) = match file.classes.len() {
        0 => ("prediction", 1),
        n => ("probabilities", n),
    };
    let y = graph.node("Identity", name, &[&outputs]);
    graph.output(&y, DType::F32, &[None, Some(width)]);
    Ok(graph.build())
}

fn refuse(model: &TableModel) -> Result<()> {
    let columns = |model: &TableModel| -> Vec<(String, bool)> {
        let columns = model.transforms().columns.iter();
        columns.map(|c| (c.name.clone(), c.encoder.takes_numbers())).collect()
    };
    if model.each_network().any(|network| columns(network) != columns(model)) {
        return Err(Error::usage(
            "the networks of the model (train.bags) read different columns, and a graph has one set of inputs; \
             export one of them: the folders network-2 and so on",
        ));
    }
    if model.file().network.network.precision == Precision::Bf16 {
        return Err(Error::usage(
            "the model computes in bf16, whose roundings an ONNX graph does not repeat; train with \
             model.precision = \"f32\" to export",
        ));
    }
    Ok(())
}

/// Says that a format has nothing that takes texts apart.
fn refuse_texts(model: &TableModel, format: &str) -> Result<()> {
    let text = |encoder: &Encoder| matches!(encoder, Encoder::Text(_));
    let Some(column) = model.transforms().columns.iter().find(|c| text(&c.encoder)) else {
        return Ok(());
    };
    Err(Error::usage(format!(
        "column `{}` is a text, and {format} has nothing that finds its words and n-grams as this program does; export \
         with --to onnx, or train without it (--set data.columns.{}=drop)",
        column.name, column.name
    )))
}

/// Probabilities `[N, classes]` become the outputs.
fn classification(graph: &mut GraphBuilder, model: &TableModel, p: &str) -> Result<()> {
    let file = model.file();
    let n = file.classes.len();
    // The likeliest class; the first of equals.
    let attributes = [attribute::int("axis", 1), attribute::int("keepdims", 0)];
    let best = match file.threshold {
        None => graph.node_with("ArgMax", "label/class", &[p], &attributes),
        Some(threshold) => {
            let positive = file.positive.unwrap_or(1);
            let yes = constant(graph, "label/positive", &[], vec![positive as i64])?;
            let no = if n == 2 {
                constant(graph, "label/negative", &[], vec![1 - positive as i64])?
            } else {
                // The likeliest of the others: below 0, the positive class is none of them.
                let below: Vec<f32> =
                    (0..n).map(|class| if class == positive { -2.0 } else { 0.0 }).collect();
                let below = constant(graph, "label/below", &[n], below)?;
                let others = graph.node("Add", "label/others", &[p, &below]);
                graph.node_with("ArgMax", "label/other", &[&others], &attributes)
            };
            let one = graph.node_with(
                "Gather",
                "label/probability",
                &[p, &yes],
                &[attribute::int("axis", 1)],
            );
            let double = attribute::int("to", i64::from(DType::F64.code()));
            let one = graph.node_with("Cast", "label/probability_double", &[&one], &[double]);
            let threshold = constant(graph, "label/threshold", &[], vec![threshold])?;
            let above = graph.node("GreaterOrEqual", "label/is_positive", &[&one, &threshold]);
            graph.node("Where", "label/class", &[&above, &yes, &no])
        }
    };
    let whole: Option<Vec<i64>> = file.classes.iter().map(|class| whole_number(class)).collect();
    let (names, dtype) = match whole {
        Some(whole) => (constant(graph, "label/names", &[n], whole)?, DType::I64),
        None => (constant(graph, "label/names", &[n], file.classes.clone())?, DType::Text),
    };
    let label = graph.node("Gather", "label", &[&names, &best]);
    graph.output(&label, dtype, &[None]);
    let p = graph.node("Identity", "probabilities", &[p]);
    graph.output(&p, DType::F32, &[None, Some(n)]);
    graph.metadata(CLASSES, serde_json::to_string(&file.classes).unwrap_or_default());
    Ok(())
}

/// A class that is an integer, written as integers are.
fn whole_number(class: &str) -> Option<i64> {
    class.parse().ok().filter(|x: &i64| x.to_string() == class)
}

/// Standardised numbers `[N, 1]` in the target's unit, of a type.
fn number(graph: &mut GraphBuilder, model: &TableModel, y: &str, dtype: DType) -> Result<String> {
    let target = &model.transforms().target;
    let value = |graph: &mut GraphBuilder, name: &str, x: f64| {
        let data = if dtype == DType::F64 { vec![x].into() } else { Data::F32(vec![x as f32]) };
        constant(graph, name, &[], data)
    };
    let y = match dtype {
        DType::F64 => {
            let double = attribute::int("to", i64::from(DType::F64.code()));
            graph.node_with("Cast", "target/standardised", &[y], &[double])
        }
        _ => y.to_owned(),
    };
    let std = value(graph, "target/std", target.std)?;
    let mean = value(graph, "target/mean", target.mean)?;
    let y = graph.node("Mul", "target/scaled", &[&y, &std]);
    let mut y = graph.node("Add", "target/value", &[&y, &mean]);
    if target.log {
        let exp = graph.node("Exp", "target/exp", &[&y]);
        let one = value(graph, "target/one", 1.0)?;
        y = graph.node("Sub", "target/from_log", &[&exp, &one]);
    }
    if let Some([low, high]) = target.range {
        let low = value(graph, "target/low", low)?;
        let high = value(graph, "target/high", high)?;
        let above = graph.node("Max", "target/above_low", &[&y, &low]);
        y = graph.node("Min", "target/clamped", &[&above, &high]);
    }
    Ok(y)
}

fn constant(
    graph: &mut GraphBuilder,
    name: &str,
    dims: &[usize],
    data: impl Into<ff_interop::onnx::Data>,
) -> Result<String> {
    Ok(graph.constant(name, &Tensor::new(dims, data)?))
}

/// The attributes of nodes.
mod attribute {
    use ff_interop::onnx::Tensor;
    pub(super) use ff_interop::onnx::proto::AttributeProto;

    pub(super) fn int(name: &str, value: i64) -> AttributeProto {
        AttributeProto::int(name, value)
    }

    pub(super) fn float(name: &str, value: f64) -> AttributeProto {
        AttributeProto::float(name, value as f32)
    }

    pub(super) fn text(name: &str, value: &str) -> AttributeProto {
        AttributeProto::text(name, value)
    }

    pub(super) fn texts(name: &str, values: Vec<String>) -> AttributeProto {
        AttributeProto::texts(name, values)
    }

    pub(super) fn list(name: &str, values: &[i64]) -> AttributeProto {
        AttributeProto::list(name, values)
    }

    pub(super) fn tensor(name: &str, value: &Tensor) -> AttributeProto {
        AttributeProto::tensor(name, value)
    }
}
