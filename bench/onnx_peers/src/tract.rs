//! tract.

use ff_interop::onnx::{Data, Tensor};
use std::path::Path;
use tract_onnx::prelude::{self as tract, *};

/// The outputs of a model.
pub fn run(path: &Path, inputs: Vec<(String, Tensor)>) -> Result<Vec<Tensor>, String> {
    let text = |e: tract::TractError| format!("{e:#}");
    let mut model = tract_onnx::onnx().model_for_path(path).map_err(text)?;
    let mut values = tract::TVec::new();
    for (i, (_, tensor)) in inputs.into_iter().enumerate() {
        let value = theirs(&tensor)?;
        let fact = tract::InferenceFact::dt_shape(value.datum_type(), value.shape());
        model.set_input_fact(i, fact).map_err(text)?;
        values.push(value.into_tvalue());
    }
    let plan = model.into_optimized().and_then(|m| m.into_runnable()).map_err(text)?;
    plan.run(values).map_err(text)?.iter().map(|value| ours(value)).collect()
}

macro_rules! types {
    ($($variant:ident: $t:ty,)*) => {
        fn theirs(tensor: &Tensor) -> Result<tract::Tensor, String> {
            let dims = tensor.dims();
            match tensor.data() {
                $(Data::$variant(v) => tract::Tensor::from_shape::<$t>(dims, v),)*
                other => return Err(format!("{} is no type here", other.dtype().name())),
            }
            .map_err(|e| e.to_string())
        }

        fn ours(value: &tract::Tensor) -> Result<Tensor, String> {
            $(if value.datum_type() == <$t as tract::Datum>::datum_type() {
                let values = value.to_plain_array_view::<$t>().map_err(|e| e.to_string())?;
                let values: Vec<$t> = values.iter().cloned().collect();
                return Tensor::new(value.shape(), values).map_err(|e| e.to_string());
            })*
            Err(format!("{:?} is no type here", value.datum_type()))
        }
    };
}

types! {
    Bool: bool,
    F32: f32,
    F64: f64,
    I8: i8,
    I16: i16,
    I32: i32,
    I64: i64,
    U8: u8,
    U16: u16,
    U32: u32,
    U64: u64,
}
