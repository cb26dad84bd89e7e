//! `tojson`, as Python's `json.dumps` writes it.

use std::fmt::Write;

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Error, ErrorKind, State, Value};

/// How a value is written.
struct Style {
    ascii: bool,
    indent: Option<String>,
    item: String,
    key: String,
    sorted: bool,
}

/// The filter `tojson(ensure_ascii, indent, separators, sort_keys)`.
// minijinja passes arguments by value.
#[allow(clippy::needless_pass_by_value)]
pub(super) fn tojson(
    state: &State,
    value: &Value,
    ascii: Option<bool>,
    options: Kwargs,
) -> Result<String, Error> {
    let ascii = ascii.or(options.get("ensure_ascii")?).unwrap_or(false);
    let indent = match options.get::<Option<Value>>("indent")? {
        Some(indent) if indent.as_str().is_some() => indent.as_str().map(str::to_owned),
        Some(indent) if !indent.is_none() => {
            Some(" ".repeat(indent.as_i64().unwrap_or(0).clamp(0, 64) as usize))
        }
        _ => None,
    };
    let separators: Option<Vec<String>> = options.get("separators")?;
    let usual = if indent.is_some() { "," } else { ", " };
    let mut separators = separators.into_iter().flatten();
    let item = separators.next().unwrap_or_else(|| usual.into());
    let key = separators.next().unwrap_or_else(|| ": ".into());
    let sorted = options.get::<Option<bool>>("sort_keys")?.unwrap_or(false);
    options.assert_all_used()?;
    let mut out = String::new();
    write(&mut out, value, &Style { ascii, indent, item, key, sorted }, 0)?;
    state.consume_fuel(out.len() as u64 / 64)?;
    Ok(out)
}

/// Nested deeper than any data of a conversation.
const DEEPEST: usize = 200;

fn write(out: &mut String, value: &Value, style: &Style, depth: usize) -> Result<(), Error> {
    let wrong = |what: String| Error::new(ErrorKind::BadSerialization, what);
    if depth > DEEPEST {
        return Err(wrong("the value is nested too deeply for tojson".into()));
    }
    match value.kind() {
        ValueKind::None => out.push_str("null"),
        ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
        ValueKind::Number if value.is_integer() => out.push_str(&value.to_string()),
        ValueKind::Number => out.push_str(&float(f64::try_from(value.clone())?)),
        ValueKind::String => quote(out, value.as_str().unwrap_or_default(), style.ascii),
        ValueKind::Map => {
            let mut keys: Vec<Value> = value.try_iter()?.collect();
            if style.sorted {
                keys.sort();
            }
            let entries =
                keys.into_iter().map(|key| Ok((Some(name(&key)?), value.get_item(&key)?)));
            list(out, ['{', '}'], entries, style, depth)?;
        }
        ValueKind::Seq | ValueKind::Iterable => {
            let items = value.try_iter()?.map(|item| Ok((None, item)));
            list(out, ['[', ']'], items, style, depth)?;
        }
        kind => return Err(wrong(format!("{kind} has no form in JSON"))),
    }
    Ok(())
}

/// Items between brackets, each behind its key if it has one.
fn list(
    out: &mut String,
    [open, close]: [char; 2],
    items: impl Iterator<Item = Result<(Option<String>, Value), Error>>,
    style: &Style,
    depth: usize,
) -> Result<(), Error> {
    let line = |out: &mut String, depth: usize| {
        if let Some(indent) = &style.indent {
            out.push('\n');
            (0..depth).for_each(|_| out.push_str(indent));
        }
    };
    out.push(open);
    let mut empty = true;
    for item in items {
        let (key, value) = item?;
        if !empty {
            out.push_str(&style.item);
        }
        empty = false;
        line(out, depth + 1);
        if let Some(key) = key {
            quote(out, &key, style.ascii);
            out.push_str(&style.key);
        }
        write(out, &value, style, depth + 1)?;
    }
    if !empty {
        line(out, depth);
    }
    out.push(close);
    Ok(())
}

/// A key as text: numbers, truth values and none are written as in JSON.
fn name(key: &Value) -> Result<String, Error> {
    let mut text = String::new();
    match key.as_str() {
        Some(key) => text.push_str(key),
        None => write(
            &mut text,
            key,
            &Style {
                ascii: false,
                indent: None,
                item: ", ".into(),
                key: ": ".into(),
                sorted: false,
            },
            0,
        )?,
    }
    Ok(text)
}

fn quote(out: &mut String, text: &str, ascii: bool) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if c < ' ' || (ascii && !c.is_ascii()) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// A float as Python writes it: the shortest digits, with an exponent below 1e-4 and from 1e16 up.
fn float(x: f64) -> String {
    if !x.is_finite() {
        return if x.is_nan() {
            "NaN"
        } else if x > 0.0 {
            "Infinity"
        } else {
            "-Infinity"
        }
        .into();
    }
    let short = format!("{x:e}");
    let (digits, exponent) = short.split_once('e').unwrap_or((&short, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if x == 0.0 || (-4..16).contains(&exponent) {
        return format!("{x:?}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}
