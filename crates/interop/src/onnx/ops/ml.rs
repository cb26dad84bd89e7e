//! Operators of classical machine learning, `ai.onnx.ml`.

use super::super::data::{DType, Data};
use super::super::session::{Attribute, Call, Outcome, ints};
use super::super::tensor::Tensor;
use super::shape::{floats, tensor};
use super::{ML, Operator, of};
use std::collections::HashMap;

pub(super) const OPS: &[Operator] = &[
    of(ML, "ArrayFeatureExtractor", &[], |c| {
        let (x, at) = (c.input(0)?, ints(c.input(1)?)?);
        let width = x.dims().last().copied().ok_or("rows of numbers are expected")?;
        let at: Option<Vec<usize>> =
            at.iter().map(|&i| usize::try_from(i).ok().filter(|&i| i < width)).collect();
        let at = at.ok_or("a position is none of a row")?;
        let rows = x.data().len() / width.max(1);
        let dims = match x.dims() {
            [_] => vec![1, at.len()],
            dims => [&dims[..dims.len() - 1], &[at.len()]].concat(),
        };
        let from = (0..rows).flat_map(|row| at.iter().map(move |i| row * width + i));
        Ok(vec![Tensor::of(&dims, x.data().pick(from))?])
    }),
    of(ML, "Binarizer", &["threshold"], |c| {
        let threshold = c.float("threshold", 0.0)?;
        super::elementwise::map(c.input(0)?, move |x| f64::from(u8::from(x > threshold)))
    }),
    of(
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
    ),
    of(ML, "Normalizer", &["norm"], |c| {
        let (mut values, _) = floats(c.input(0)?)?;
        let width = c.input(0)?.dims().last().copied().unwrap_or(1).max(1);
        let norm: fn(&[f64]) -> f64 = match c.text("norm", "MAX")? {
            "L1" => |v| v.iter().map(|x| x.abs()).sum(),
            "L2" => |v| v.iter().map(|x| x * x).sum::<f64>().sqrt(),
            "MAX" => |v| v.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            other => {
                return Err(format!(
                    "its attribute `norm` is `{other}`, which is none of the standard's"
                ));
            }
        };
        for row in values.chunks_mut(width) {
            let size = norm(row);
            if size != 0.0 {
                for x in row.iter_mut() {
                    *x /= size;
                }
            }
        }
        Ok(vec![tensor(c.input(0)?.dims(), DType::F32, values)?])
    }),
    // (x − offset) · scale of each column.
    of(ML, "Scaler", &["offset", "scale"], |c| {
        let list = |name: &str, default: f32| match c.attribute(name) {
            Some(Attribute::Floats(v)) if !v.is_empty() => v.clone(),
            _ => vec![default],
        };
        let (offset, scale) = (list("offset", 0.0), list("scale", 1.0));
        let (mut values, _) = floats(c.input(0)?)?;
        let width = c.input(0)?.dims().last().copied().unwrap_or(1).max(1);
        if [offset.len(), scale.len()].iter().any(|&n| n != 1 && n != width) {
            return Err(format!("offsets and scales are not one for each of {width} columns"));
        }
        for (i, x) in values.iter_mut().enumerate() {
            let own = |v: &[f32]| f64::from(v[if v.len() == 1 { 0 } else { i % width }]);
            *x = (*x - own(&offset)) * own(&scale);
        }
        Ok(vec![tensor(c.input(0)?.dims(), DType::F32, values)?])
    }),
];

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
