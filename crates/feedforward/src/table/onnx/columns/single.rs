//! The transforms on `float`, for programs without doubles and texts: numbers, truth values as 0
//! and 1, and categories as positions.

use super::{Encoding, Features};
use crate::error::{Error, Result};
use crate::table::onnx::constant;
use ff_interop::onnx::{DType, Data, GraphBuilder, Tensor};
use ff_table::{
    BooleanEncoder, CategoryEncoder, Cells, Coding, ColumnTransform, Encoder, NumberEncoder,
    Scaler, Table, Transforms,
};
use serde_json::{Value as Json, json};

/// What a missing category is.
const MISSING: i32 = -1;

/// Makes an input of each column, `float` or, for categories, `int32`.
///
/// # Errors
/// A column has no form in single precision, by name.
pub(in crate::table::onnx) fn inputs(
    graph: &mut GraphBuilder,
    transforms: &Transforms,
) -> Result<Vec<String>> {
    let input = |column: &ColumnTransform| {
        let dtype = match &column.encoder {
            Encoder::Number(e) if matches!(e.scaler, Scaler::None | Scaler::Linear { .. }) => {
                DType::F32
            }
            Encoder::Boolean(_) => DType::F32,
            Encoder::Category(_) => DType::I32,
            Encoder::Number(_) => {
                return Err(refused(
                    column,
                    "this scaling has no form in single precision; train with data.scaling = \"standard\"",
                ));
            }
            Encoder::Date(_) => {
                return Err(refused(column, "single precision cannot hold moments"));
            }
            Encoder::Text(_) => return Err(refused(column, "there are no operators on texts")),
        };
        Ok(graph.input(&column.name, dtype, &[None, Some(1)], ""))
    };
    transforms.columns.iter().map(input).collect()
}

fn refused(column: &ColumnTransform, why: &str) -> Error {
    Error::usage(format!(
        "column `{}` is a {}: {why}; leave it out (--set data.columns.{}=drop), or export as ONNX (--to onnx)",
        column.name,
        column.encoder.kind(),
        column.name
    ))
}

/// What each input takes: its name, its kind, and the values of a category in the order of their
/// positions.
pub(in crate::table::onnx) fn about(transforms: &Transforms) -> Json {
    let column = |column: &ColumnTransform| {
        let takes = match &column.encoder {
            Encoder::Boolean(e) => format!("1 for {}, 0 for {}, NaN where missing", e.yes, e.no),
            Encoder::Category(_) => {
                "the position of the value in `values`, -1 where missing, any other number for another value".into()
            }
            _ => "a number, NaN where missing".to_owned(),
        };
        let mut found =
            json!({ "name": column.name, "kind": column.encoder.kind(), "takes": takes });
        if let Encoder::Category(e) = &column.encoder {
            found["values"] = json!(e.values);
        }
        found
    };
    transforms.columns.iter().map(column).collect()
}

/// A table's rows as these inputs.
///
/// # Errors
/// A column is missing, or a cell is of another kind.
pub(in crate::table::onnx) fn tensors(
    transforms: &Transforms,
    table: &Table,
) -> Result<Vec<(String, Tensor)>> {
    let cells = transforms.cells(table)?;
    let columns = transforms.columns.iter().zip(cells);
    columns
        .map(|(column, (name, cells))| {
            let data: Data = match (&column.encoder, cells) {
                (Encoder::Category(e), cells) => {
                    positions(e, cells, &transforms.null_values).into()
                }
                (Encoder::Boolean(e), Cells::Texts(texts)) => {
                    let truth = |text: &String| truth(e, text);
                    texts.iter().map(truth).collect::<Vec<f32>>().into()
                }
                (_, Cells::Numbers(values)) => {
                    values.into_iter().map(|x| x as f32).collect::<Vec<_>>().into()
                }
                (_, Cells::Texts(texts)) => texts.into(),
            };
            Ok((name, Tensor::new(&[table.rows(), 1], data)?))
        })
        .collect()
}

fn truth(encoder: &BooleanEncoder, text: &str) -> f32 {
    let is = |words: [&str; 3]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    if is([&encoder.yes, "true", "1"]) {
        1.0
    } else if is([&encoder.no, "false", "0"]) {
        0.0
    } else {
        f32::NAN
    }
}

fn positions(encoder: &CategoryEncoder, cells: Cells, nulls: &[String]) -> Vec<i32> {
    let n = encoder.values.len() as i32;
    let at = |found: Option<usize>| found.map_or(n, |at| at as i32);
    match cells {
        Cells::Numbers(values) => {
            let known: Vec<f64> =
                encoder.values.iter().map(|v| v.parse().unwrap_or(f64::NAN)).collect();
            let one = |x: f64| {
                let known = || at(known.iter().position(|&own| own == x));
                if x.is_nan() { MISSING } else { known() }
            };
            values.into_iter().map(one).collect()
        }
        Cells::Texts(texts) => {
            let one = |text: &String| match encoder.values.iter().position(|own| own == text) {
                None if text.is_empty() || nulls.iter().any(|null| null.trim() == text) => MISSING,
                found => at(found),
            };
            texts.iter().map(one).collect()
        }
    }
}

/// Makes the features of the inputs, as [`super::encode`] does.
pub(in crate::table::onnx) fn encode(
    graph: &mut GraphBuilder,
    transforms: &Transforms,
    inputs: &[String],
) -> Result<Features> {
    let mut at =
        Encoding { graph, pieces: Vec::new(), width: 0, order: vec![0; transforms.n_numeric()] };
    let ranges = transforms.feature_ranges();
    let (mut numbers, mut ids) = (Vec::new(), Vec::new());
    for ((column, input), range) in transforms.columns.iter().zip(inputs).zip(&ranges) {
        let start = range.numeric.start;
        match &column.encoder {
            Encoder::Number(encoder) => numbers.push((input.as_str(), encoder, start)),
            Encoder::Boolean(encoder) => at.single_boolean(input, encoder, start)?,
            Encoder::Category(encoder) => {
                let id = at.single_category(input, encoder)?;
                match encoder.coding {
                    Coding::Embedding => ids.push(id),
                    Coding::OneHot => at.one_hot(input, &id, encoder, start)?,
                }
            }
            // Refused before.
            Encoder::Date(_) | Encoder::Text(_) => {}
        }
    }
    at.single_numbers(&numbers)?;
    Ok(Features { numeric: at.joined()?, ids, texts: Vec::new() })
}

impl Encoding<'_> {
    fn single_row(&mut self, name: &str, values: Vec<f64>) -> Result<String> {
        let values: Vec<f32> =
            values.into_iter().map(|x| (x as f32).clamp(f32::MIN, f32::MAX)).collect();
        constant(self.graph, name, &[1, values.len()], values)
    }

    fn single(&mut self, name: &str, x: f32) -> Result<String> {
        constant(self.graph, name, &[], vec![x])
    }

    /// All columns of numbers at once, with the column's input, its encoder and its place in a row.
    fn single_numbers(&mut self, columns: &[(&str, &NumberEncoder, usize)]) -> Result<()> {
        if columns.is_empty() {
            return Ok(());
        }
        let names: Vec<&str> = columns.iter().map(|(input, _, _)| *input).collect();
        let axis = [super::attribute::int("axis", 1)];
        let x = match names[..] {
            [one] => one.to_owned(),
            _ => self.graph.node_with("Concat", "numbers/raw", &names, &axis),
        };
        let of = |f: &dyn Fn(&NumberEncoder) -> f64| {
            columns.iter().map(|(_, e, _)| f(e)).collect::<Vec<_>>()
        };
        let mut missing = self.node("IsNaN", "numbers/is_nan", &[&x]);
        let size = self.node("Abs", "numbers/size", &[&x]);
        let nothing =
            [("infinite", f32::INFINITY), ("largest", f32::MAX), ("fill_of_netcdf", 9.969_21e36)];
        for (name, value) in nothing {
            let value = self.single(&format!("numbers/{name}"), value)?;
            let same = self.node("Equal", &format!("numbers/is_{name}"), &[&size, &value]);
            missing = self.node("Or", &format!("numbers/or_{name}"), &[&missing, &same]);
        }
        let logs = columns.iter().any(|(_, e, _)| e.log);
        if logs {
            let bound = of(&|e| if e.log { -1.0 } else { f64::NEG_INFINITY });
            let bound = self.single_row("numbers/log_bound", bound)?;
            let below = self.node("LessOrEqual", "numbers/has_no_log", &[&x, &bound]);
            missing = self.node("Or", "numbers/missing", &[&missing, &below]);
        }
        let low = self.single_row("numbers/low", of(&|e| e.bounds()[0]))?;
        let high = self.single_row("numbers/high", of(&|e| e.bounds()[1]))?;
        let y = self.node("Max", "numbers/above_low", &[&x, &low]);
        let mut y = self.node("Min", "numbers/within", &[&y, &high]);
        if logs {
            let one = self.single("numbers/one", 1.0)?;
            let mask: Vec<bool> = columns.iter().map(|(_, e, _)| e.log).collect();
            let mask = constant(self.graph, "numbers/log", &[1, mask.len()], mask)?;
            let plus = self.node("Add", "numbers/plus_one", &[&y, &one]);
            let log = self.node("Log", "numbers/log_plus_one", &[&plus]);
            y = self.node("Where", "numbers/or_log", &[&mask, &log, &y]);
        }
        let linear = |e: &NumberEncoder| match e.scaler {
            Scaler::Linear { shift, scale } => [shift, scale],
            _ => [0.0, 1.0],
        };
        // A shift in two parts, so that its digits are kept.
        let shift = of(&|e| linear(e)[0]);
        let rest = shift.iter().map(|&x| x - f64::from(x as f32)).collect();
        let shift = self.single_row("numbers/shift", shift)?;
        let rest = self.single_row("numbers/shift_rest", rest)?;
        let scale = self.single_row("numbers/scale", of(&|e| linear(e)[1]))?;
        let y = self.node("Sub", "numbers/near", &[&y, &shift]);
        let y = self.node("Sub", "numbers/shifted", &[&y, &rest]);
        let y = self.node("Div", "numbers/scaled", &[&y, &scale]);
        let fill = of(&|e| {
            let [shift, scale] = linear(e);
            ((if e.log { e.fill.ln_1p() } else { e.fill }) - shift) / scale
        });
        let fill = self.single_row("numbers/fill", fill)?;
        let y = self.node("Where", "numbers/filled", &[&missing, &fill, &y]);
        let limit = |e: &NumberEncoder| e.clip.unwrap_or(f64::from(f32::MAX));
        let least = self.single_row("numbers/least", of(&|e| -limit(e)))?;
        let most = self.single_row("numbers/most", of(&limit))?;
        let y = self.node("Max", "numbers/above_least", &[&y, &least]);
        let y = self.node("Min", "numbers", &[&y, &most]);
        self.add(y, &columns.iter().map(|(_, _, start)| *start).collect::<Vec<_>>());
        let flagged: Vec<usize> = (0..columns.len()).filter(|&i| columns[i].1.flag).collect();
        if !flagged.is_empty() {
            let index: Vec<i64> = flagged.iter().map(|&i| i as i64).collect();
            let index = constant(self.graph, "numbers/flagged", &[index.len()], index)?;
            let flags = self.cast(&missing, DType::F32, "numbers/gaps");
            let flags = self.graph.node_with("Gather", "numbers/flags", &[&flags, &index], &axis);
            let places: Vec<usize> = flagged.iter().map(|&i| columns[i].2 + 1).collect();
            self.add(flags, &places);
        }
        Ok(())
    }

    /// 0 or 1 with gaps filled, and a flag.
    fn single_boolean(
        &mut self,
        input: &str,
        encoder: &BooleanEncoder,
        start: usize,
    ) -> Result<()> {
        let name = |part: &str| format!("{input}/{part}");
        let missing = self.node("IsNaN", &name("is_missing"), &[input]);
        let fill = self.single(&name("fill"), encoder.fill as f32)?;
        let filled = self.node("Where", &name("number"), &[&missing, &fill, input]);
        self.add(filled, &[start]);
        if encoder.flag {
            let flag = self.cast(&missing, DType::F32, &name("flag"));
            self.add(flag, &[start + 1]);
        }
        Ok(())
    }

    /// The ids `[N]` of a category's positions: 0 for rare and unseen values.
    fn single_category(&mut self, input: &str, encoder: &CategoryEncoder) -> Result<String> {
        let name = |part: &str| format!("{input}/{part}");
        let n = encoder.values.len() as i32;
        let value =
            |at: &mut Self, part: &str, x: i32| constant(at.graph, &name(part), &[], vec![x]);
        let zero = value(self, "zero", 0)?;
        let one = value(self, "one", 1)?;
        let count = value(self, "count", n)?;
        let gap = value(self, "gap", MISSING)?;
        let gap_id = value(self, "gap_id", if encoder.missing { n + 1 } else { 0 })?;
        let below = self.node("Less", &name("is_below"), &[input, &zero]);
        let above = self.node("GreaterOrEqual", &name("is_above"), &[input, &count]);
        let other = self.node("Or", &name("is_other"), &[&below, &above]);
        let next = self.node("Add", &name("next"), &[input, &one]);
        let id = self.node("Where", &name("known_id"), &[&other, &zero, &next]);
        let missing = self.node("Equal", &name("is_missing"), &[input, &gap]);
        let id = self.node("Where", &name("id_column"), &[&missing, &gap_id, &id]);
        let flat = constant(self.graph, &name("flat"), &[1], vec![-1i64])?;
        Ok(self.node("Reshape", &name("id"), &[&id, &flat]))
    }
}
