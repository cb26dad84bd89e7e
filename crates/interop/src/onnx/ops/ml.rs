//! Operators of classical machine learning, `ai.onnx.ml`.

use super::super::data::Data;
use super::super::session::{Attribute, Call, Outcome};
use super::super::tensor::Tensor;
use super::{ML, Operator, of};
use std::collections::HashMap;

pub(super) const OPS: &[Operator] = &[of(
    ML,
    "LabelEncoder",
    &[
        "default_float",
        "default_int64",
        "default_string",
        "default_tensor",
        "keys_floats",
        "keys_int64s",
        "keys_strings",
        "keys_tensor",
        "values_floats",
        "values_int64s",
        "values_strings",
        "values_tensor",
    ],
    label_encoder,
)];

/// The elements of an attribute of several.
fn elements(value: &Attribute) -> Option<Data> {
    Some(match value {
        Attribute::Floats(v) => v.clone().into(),
        Attribute::Ints(v) => v.clone().into(),
        Attribute::Texts(v) => v.clone().into(),
        Attribute::Tensor(t) => t.data().clone(),
        Attribute::Float(x) => vec![*x].into(),
        Attribute::Int(x) => vec![*x].into(),
        Attribute::Text(x) => vec![x.clone()].into(),
        Attribute::Graph(_) => return None,
    })
}

/// A key that can be looked up: floats by their bits, NaN equal to itself.
#[derive(PartialEq, Eq, Hash)]
enum Key {
    Text(String),
    Bits(u64),
}

fn keys(data: &Data) -> Vec<Key> {
    match data {
        Data::Text(v) => v.iter().map(|text| Key::Text(text.clone())).collect(),
        other => {
            let bits = |x: f64| if x.is_nan() { f64::NAN.to_bits() } else { (x + 0.0).to_bits() };
            other.floats().unwrap_or_default().into_iter().map(|x| Key::Bits(bits(x))).collect()
        }
    }
}

fn label_encoder(c: &Call<'_>) -> Outcome {
    let x = c.input(0)?;
    let find = |part: &str, kinds: &[&str]| {
        let mut found = kinds.iter().filter_map(|kind| c.attribute(&format!("{part}_{kind}")));
        found.next().and_then(elements)
    };
    let kinds = ["tensor", "strings", "int64s", "floats"];
    let from = find("keys", &kinds).ok_or("its keys are missing")?;
    let to = find("values", &kinds).ok_or("its values are missing")?;
    if from.dtype() != x.dtype() || from.len() != to.len() {
        return Err(format!(
            "{} keys of {} and {} values do not map {}",
            from.len(),
            from.dtype().name(),
            to.len(),
            x.dtype().name()
        ));
    }
    let default = c.attribute("default_tensor").and_then(elements).or_else(|| {
        let name = match to {
            Data::Text(_) => "default_string",
            Data::I64(_) => "default_int64",
            _ => "default_float",
        };
        c.attribute(name).and_then(elements)
    });
    let default = default.unwrap_or_else(|| match to.dtype() {
        super::super::DType::Text => vec!["_Unused".to_owned()].into(),
        super::super::DType::I64 => vec![-1i64].into(),
        dtype => dtype.of_floats([-0.0].into_iter()).unwrap_or_else(|| dtype.zeros(1)),
    });
    let n = to.len();
    let all = to.joined(&default).ok_or("its default is of another type than its values")?;
    // The first of equal keys.
    let mut places: HashMap<Key, usize> = HashMap::new();
    for (i, key) in keys(&from).into_iter().enumerate() {
        places.entry(key).or_insert(i);
    }
    let at = keys(x.data()).into_iter().map(|key| places.get(&key).copied().unwrap_or(n));
    Ok(vec![Tensor::of(x.dims(), all.pick(at))?])
}
