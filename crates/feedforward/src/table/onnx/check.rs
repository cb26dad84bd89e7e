//! Comparing a written graph with its model on rows made up for the purpose.

use super::predict::inputs_of;
use crate::error::Result;
use crate::table::model::{Predictions, TableModel};
use ff_interop::onnx::{Data, Session, Tensor};
use ff_table::{Column, Encoder, Table, TextEncoder, Values};

/// Rows beyond those of the longest column's values.
const ROWS: usize = 64;
/// The most rows.
const MOST: usize = 4096;

/// Compares a model with its graph, which takes `single` precision or doubles and texts: the number
/// of rows that were compared, and the largest difference of a probability, or of a
/// number in units of the target's standard deviation (of its logarithm's where that is learned).
pub(super) fn compare(
    model: &mut TableModel,
    session: &Session,
    single: bool,
) -> Result<(usize, f64)> {
    let table = made_up(model);
    let table = if single { rounded(&table) } else { table };
    // In the order of the columns, whatever a format made of their names.
    let ports = session.model().inputs();
    let inputs = if single {
        super::columns::single::tensors(model.transforms(), &table)?
    } else {
        inputs_of(model.transforms(), &table)?
    };
    let inputs = inputs.into_iter().zip(&ports);
    let inputs = inputs.map(|((_, tensor), port)| (port.name.clone(), tensor)).collect();
    let outputs = session.run(inputs)?;
    let found = |name: &str| {
        let output = outputs.iter().find(|(found, _)| found == name);
        output.and_then(|(_, tensor)| tensor.data().floats()).unwrap_or_default()
    };
    let predictions = model.predict(&table)?;
    let (expected, found): (Vec<f64>, Vec<f64>) = match &predictions {
        Predictions::Classes { probabilities, predicted } => {
            let named = outputs.iter().find(|(name, _)| name == "label");
            let labels = named.map(|(_, tensor)| labels(tensor));
            let classes = &model.file().classes;
            // A tie may fall either way; any other label is an error.
            let n = classes.len();
            let wrong = predicted.iter().enumerate().any(|(row, &class)| {
                let p = &probabilities[row * n..][..n];
                let label = labels.as_ref().map(|labels| labels.get(row));
                label.is_some_and(|label| label != Some(&classes[class])) && !near_tie(model, p)
            });
            if wrong {
                return Ok((table.rows(), f64::INFINITY));
            }
            (probabilities.clone(), found("probabilities"))
        }
        Predictions::Values(values) => {
            let target = &model.transforms().target;
            let learned =
                |y: f64| (if target.log { y.ln_1p() } else { y } - target.mean) / target.std;
            let found = found("prediction");
            (values.iter().map(|&y| learned(y)).collect(), found.into_iter().map(learned).collect())
        }
    };
    if expected.len() != found.len() {
        return Ok((table.rows(), f64::INFINITY));
    }
    // Numbers far from the training range are as far from each other as their digits allow.
    let difference =
        |(a, b): (&f64, &f64)| if a == b { 0.0 } else { (a - b).abs() / a.abs().max(1.0) };
    let pairs = expected.iter().zip(&found).map(difference);
    let worst =
        pairs.fold(0.0, |worst: f64, d| if d.is_nan() { f64::INFINITY } else { worst.max(d) });
    Ok((table.rows(), worst))
}

/// The same rows with numbers that single precision has.
fn rounded(table: &Table) -> Table {
    let columns = table.columns().iter().map(|column| {
        let Values::Number(_) = column.values else { return column.clone() };
        let number = |row| column.values.number(row).map_or(f64::NAN, |x| f64::from(x as f32));
        let values: Vec<f64> = (0..table.rows()).map(number).collect();
        Column::new(column.name.clone(), values.into())
    });
    Table::new(columns.collect()).unwrap_or_default()
}

/// Whether the two likeliest classes are equally likely, or the threshold is hit.
fn near_tie(model: &TableModel, p: &[f64]) -> bool {
    let file = model.file();
    if let Some(threshold) = file.threshold
        && (p[file.positive.unwrap_or(1)] - threshold).abs() < 1e-5
    {
        return true;
    }
    let mut sorted = p.to_vec();
    sorted.sort_by(f64::total_cmp);
    matches!(sorted[..], [.., a, b] if b - a < 1e-5)
}

/// Labels as texts.
fn labels(tensor: &Tensor) -> Vec<String> {
    match tensor.data() {
        Data::Text(v) => v.clone(),
        Data::I64(v) => v.iter().map(i64::to_string).collect(),
        _ => Vec::new(),
    }
}

/// A column for each of the model: every category, an unseen one, gaps, numbers in and out of the
/// training range. Rows mix them by steps without a common factor, so that values meet.
fn made_up(model: &TableModel) -> Table {
    let transforms = model.transforms();
    let most = transforms.columns.iter().map(|column| match &column.encoder {
        Encoder::Category(e) => e.values.len() + 2,
        _ => 0,
    });
    let rows = most.max().unwrap_or(0).clamp(ROWS, MOST);
    let columns = transforms.columns.iter().enumerate().map(|(i, column)| {
        let at = |row: usize| row * (2 * i + 1) + i;
        let number = |row: usize, [low, high]: [f64; 2]| {
            let width = (high - low).max(1e-3);
            match at(row) % 13 {
                0 => f64::NAN,
                1 => low,
                2 => high,
                3 => high + 2.0 * width,
                4 => low - 2.0 * width,
                k => low + width * ((at(row) * 37 + k) % 101) as f64 / 100.0,
            }
        };
        let values: Values = match &column.encoder {
            Encoder::Number(e) => {
                let range = e.range.unwrap_or([-1.0, 1.0]);
                (0..rows)
                    .map(|row| if at(row) % 61 == 60 { f64::INFINITY } else { number(row, range) })
                    .collect::<Vec<_>>()
                    .into()
            }
            Encoder::Date(e) => {
                let range = e.range.unwrap_or([0.0, 4e9]);
                Values::Date((0..rows).map(|row| number(row, range)).collect())
            }
            Encoder::Boolean(e) => {
                let texts = [Some(e.no.as_str()), Some(e.yes.as_str()), None];
                (0..rows).map(|row| texts[at(row) % 3]).collect()
            }
            Encoder::Category(e) => {
                let n = e.values.len();
                let cell = |row: usize| match at(row) % (n + 2) {
                    k if k < n => Some(e.values[k].as_str()),
                    k if k == n => None,
                    _ => {
                        Some(if e.numeric { "-987654321.5" } else { "a value of no training row" })
                    }
                };
                (0..rows).map(cell).collect()
            }
            Encoder::Text(e) => {
                let texts: Vec<Option<String>> = (0..rows).map(|row| text(e, at(row))).collect();
                texts.iter().map(Option::as_deref).collect()
            }
        };
        Column::new(column.name.clone(), values)
    });
    Table::new(columns.collect()).unwrap_or_default()
}

/// A text of known n-grams, in either case, and of words that no training row has; `None` at times.
fn text(encoder: &TextEncoder, i: usize) -> Option<String> {
    let grams: Vec<&String> = encoder.words.iter().chain(&encoder.characters).collect();
    // Marks that stand alone are words for this program only.
    let plain = |gram: &str| gram.is_ascii() || gram.chars().all(char::is_alphanumeric);
    let mut words = Vec::new();
    for k in 0..(i % 13) * 3 {
        let gram = grams[(i * 31 + k * k * 17 + k) % grams.len()];
        match k % 7 {
            5 => words.push("unheard-of, Zürich!".to_owned()),
            6 => words.push(gram.to_ascii_uppercase()),
            _ => words.push(gram.clone()),
        }
        words.retain(|gram| plain(gram) || gram.starts_with("unheard"));
    }
    (!i.is_multiple_of(13)).then(|| words.join(if i.is_multiple_of(3) { "  " } else { " " }))
}
