//! candle.

use candle_core::{DType as Theirs, Device, Tensor as Value};
use ff_interop::onnx::{DType, Data, Tensor};
use std::collections::HashMap;
use std::path::Path;

/// The outputs of a model. Truth values are bytes there, and short integers long ones: they are
/// compared in the type that the model declares.
pub fn run(path: &Path, inputs: Vec<(String, Tensor)>) -> Result<Vec<Tensor>, String> {
    let model = candle_onnx::read_file(path).map_err(|e| e.to_string())?;
    let inputs = inputs.into_iter().map(|(name, tensor)| Ok((name, theirs(&tensor)?)));
    let inputs: HashMap<String, Value> = inputs.collect::<Result<_, String>>()?;
    let mut outputs =
        candle_onnx::simple_eval(&model, inputs).map_err(|e| e.to_string())?;
    let declared = model.graph.iter().flat_map(|graph| &graph.output);
    declared
        .map(|port| {
            let value = outputs.remove(&port.name).ok_or("an output is missing")?;
            ours(&value, declared_type(port))
        })
        .collect()
}

fn declared_type(port: &candle_onnx::onnx::ValueInfoProto) -> Option<DType> {
    use candle_onnx::onnx::type_proto::Value;
    match port.r#type.as_ref()?.value.as_ref()? {
        Value::TensorType(tensor) => DType::from_code(tensor.elem_type),
        _ => None,
    }
}

fn theirs(tensor: &Tensor) -> Result<Value, String> {
    let (dims, device) = (tensor.dims(), &Device::Cpu);
    let value = match tensor.data() {
        Data::Bool(v) => {
            Value::from_vec(v.iter().map(|&x| u8::from(x)).collect::<Vec<_>>(), dims, device)
        }
        Data::F32(v) => Value::from_vec(v.clone(), dims, device),
        Data::F64(v) => Value::from_vec(v.clone(), dims, device),
        Data::U8(v) => Value::from_vec(v.clone(), dims, device),
        Data::U32(v) => Value::from_vec(v.clone(), dims, device),
        Data::I64(v) => Value::from_vec(v.clone(), dims, device),
        Data::I32(v) => {
            Value::from_vec(v.iter().map(|&x| i64::from(x)).collect::<Vec<_>>(), dims, device)
        }
        other => return Err(format!("{} is no type here", other.dtype().name())),
    };
    value.map_err(|e| e.to_string())
}

fn ours(value: &Value, declared: Option<DType>) -> Result<Tensor, String> {
    let flat = value.flatten_all().map_err(|e| e.to_string())?;
    macro_rules! values {
        ($t:ty) => {
            flat.to_vec1::<$t>().map_err(|e| e.to_string())?
        };
    }
    let data: Data = match (value.dtype(), declared) {
        (Theirs::F32, _) => values!(f32).into(),
        (Theirs::F64, _) => values!(f64).into(),
        (Theirs::U8, Some(DType::Bool)) => {
            values!(u8).into_iter().map(|x| x != 0).collect::<Vec<_>>().into()
        }
        (Theirs::U8, _) => values!(u8).into(),
        (Theirs::U32, _) => values!(u32).into(),
        (Theirs::I64, Some(DType::I32)) => {
            values!(i64).into_iter().map(|x| x as i32).collect::<Vec<_>>().into()
        }
        (Theirs::I64, _) => values!(i64).into(),
        (other, _) => return Err(format!("{other:?} is no type here")),
    };
    Tensor::new(value.dims(), data).map_err(|e| e.to_string())
}
