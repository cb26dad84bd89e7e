//! Models of tables as ONNX graphs, against ONNX Runtime's stored predictions.
#![cfg(feature = "onnx")]
#![allow(clippy::unwrap_used)]

use feedforward::interop::onnx::proto::TensorProto;
use feedforward::interop::onnx::{Data, Model, Session, Tensor};
use feedforward::table::{Cells, Predictions, SourceOptions, Table, TableModel, load, to_onnx};
use feedforward::tensor::{Device, ThreadPool};
use std::path::{Path, PathBuf};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/onnx").join(name)
}

fn read(name: &str, options: &SourceOptions) -> Table {
    load(&fixture(name), options, &ThreadPool::new(1)).unwrap().0
}

/// What ONNX Runtime 1.32 predicts for the rows, from the graph that this version wrote first.
fn expected() -> (Vec<String>, Vec<f64>) {
    let table = read("expected.csv", &SourceOptions::default());
    let rows = 0..table.rows();
    let labels = &table.columns()[0].values;
    let p = rows.clone().flat_map(|row| {
        table.columns()[1..].iter().map(move |c| c.values.text(row).parse::<f64>().unwrap())
    });
    (rows.map(|row| labels.text(row).into_owned()).collect(), p.collect())
}

fn largest(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter()
        .zip(b)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, |most, d| if d.is_nan() { d } else { most.max(d) })
}

#[test]
fn every_kind_of_column_predicts_as_in_onnx_runtime() {
    let mut model = TableModel::open(&fixture("model"), &Device::default()).unwrap();
    let table = read("rows.csv", &model.transforms().source_options());
    let (labels, p) = expected();
    let Predictions::Classes { predicted, probabilities } = model.predict(&table).unwrap() else {
        panic!("the model predicts classes");
    };
    let classes = model.file().classes.clone();
    assert!(predicted.iter().zip(&labels).all(|(&class, label)| classes[class] == *label));
    let own = largest(&probabilities, &p);
    assert!(own < 1e-5, "ONNX Runtime and the model differ by {own:e}");

    let graph = to_onnx(&model).unwrap();
    let graph = feedforward::interop::onnx::Model::from_bytes(&graph.to_bytes()).unwrap();
    let inputs = model.transforms().cells(&table).unwrap().into_iter().map(|(name, cells)| {
        let data: Data = match cells {
            Cells::Numbers(values) => values.into(),
            Cells::Texts(values) => values.into(),
        };
        (name, Tensor::new(&[table.rows(), 1], data).unwrap())
    });
    let outputs = Session::new(graph).unwrap().run(inputs.collect()).unwrap();
    let Data::Text(found) = outputs[0].1.data() else { panic!("labels are texts") };
    assert_eq!(*found, labels);
    let evaluated = largest(&outputs[1].1.data().floats().unwrap(), &p);
    assert!(evaluated < 1e-6, "ONNX Runtime and the evaluator differ by {evaluated:e}");
}

#[test]
fn what_onnx_cannot_say_is_refused_by_name() {
    let mut model = TableModel::open(&fixture("model"), &Device::default()).unwrap();
    model.file_mut().network.network.precision = feedforward::nn::Precision::Bf16;
    let message = to_onnx(&model).unwrap_err().to_string();
    assert!(message.contains("bf16"), "{message}");
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("m.onnx");
    assert!(feedforward::export_onnx(folder.path(), &out, &Device::default()).is_err());
    assert!(!out.exists());
}

/// What a table's graph takes is known at its end: tensors before the limit go to the file, too.
#[test]
fn tensors_of_a_table_go_beside_the_graph() {
    let folder = tempfile::tempdir().unwrap();
    let [inside, out] = ["inside.onnx", "out.onnx"].map(|name| folder.path().join(name));
    let device = Device::default();
    let whole = feedforward::export_onnx(&fixture("model"), &inside, &device).unwrap();
    let limit = whole.bytes as u64 / 4;
    feedforward::export_onnx_within(&fixture("model"), &out, &device, limit).unwrap();
    let [whole, beside] = [&inside, &out].map(|path| Model::open(path).unwrap());
    let tensors = &beside.proto().graph.as_ref().unwrap().initializer;
    let bytes = |tensor: &TensorProto| tensor.raw_data.as_ref().map_or(0, Vec::len);
    assert!(tensors.iter().all(|tensor| bytes(tensor) < 1024));
    assert!(tensors.iter().any(|tensor| tensor.data_location == 1));
    assert!(beside.with_its_data().unwrap().to_bytes() == whole.to_bytes());
}
