//! Rows as JSON objects, one a line.

use std::io::{Result, Write};

use serde_json::{Number, Value};

use crate::table::{Table, Values};

/// Writes each row as an object with its columns as keys; missing and infinite numbers are null, as
/// JSON has neither.
pub(super) fn write(out: &mut impl Write, block: &Table) -> Result<()> {
    let keys: Vec<String> =
        block.columns().iter().map(|c| Value::from(c.name.as_str()).to_string()).collect();
    for row in 0..block.rows() {
        out.write_all(b"{")?;
        for (i, (key, column)) in keys.iter().zip(block.columns()).enumerate() {
            let comma = if i == 0 { "" } else { "," };
            write!(out, "{comma}{key}:")?;
            serde_json::to_writer(&mut *out, &value(&column.values, row))?;
        }
        out.write_all(b"}\n")?;
    }
    Ok(())
}

fn value(values: &Values, row: usize) -> Value {
    if values.is_missing(row) {
        return Value::Null;
    }
    match values {
        Values::Text(_) | Values::Date(_) => Value::from(values.text(row).as_ref()),
        Values::Bool(v) => v[row].map_or(Value::Null, Value::Bool),
        Values::Integer(v) => v.get(row).map_or(Value::Null, Value::from),
        Values::Number(v) => {
            let x = v.get(row);
            // Whole numbers are written without a point, as people write them.
            if x.fract() == 0.0 && x.abs() < 9.007_199_254_740_992e15 {
                return Value::from(x as i64);
            }
            // A single is written by its own shortest text, not by that of the double next to it.
            let text = values.text(row);
            let number = text.parse::<f64>().ok().and_then(Number::from_f64);
            number.map_or(Value::Null, Value::Number)
        }
    }
}
