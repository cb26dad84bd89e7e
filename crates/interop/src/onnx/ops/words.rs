//! Texts split into words, characters and parts.

use super::super::build::MICROSOFT;
use super::super::session::{Attribute, Call, Outcome};
use super::super::tensor::Tensor;
use super::text::texts;
use super::{Operator, of, op};
use regex::{Regex, RegexBuilder};

/// The most memory of a compiled expression, in bytes.
const EXPRESSION: usize = 1 << 26;

pub(super) const OPS: &[Operator] = &[
    op("RegexFullMatch", &["pattern"], |c| {
        let whole = expression(&format!(r"\A(?:{})\z", c.text("pattern", "")?))?;
        let x = c.input(0)?;
        let found: Vec<bool> = texts(x)?.iter().map(|text| whole.is_match(text)).collect();
        Ok(vec![Tensor::of(x.dims(), found.into())?])
    }),
    op("StringSplit", &["delimiter", "maxsplit"], split),
    of(
        MICROSOFT,
        "Tokenizer",
        &["mark", "mincharnum", "pad_value", "separators", "tokenexp"],
        tokenize,
    ),
];

fn expression(pattern: &str) -> Result<Regex, String> {
    let built =
        RegexBuilder::new(pattern).size_limit(EXPRESSION).dfa_size_limit(EXPRESSION).build();
    built.map_err(|e| format!("its expression is not understood: {e}"))
}

/// Parts between delimiters, or between white space without one; and their numbers.
fn split(c: &Call<'_>) -> Outcome {
    let (x, delimiter) = (c.input(0)?, c.text("delimiter", "")?);
    let most = usize::try_from(c.int("maxsplit", -1)?).unwrap_or(usize::MAX);
    let parts = |text: &String| -> Vec<String> {
        let mut parts = Vec::new();
        let mut rest = text.as_str();
        if delimiter.is_empty() {
            rest = rest.trim_start();
            while parts.len() < most
                && let Some(at) = rest.find(char::is_whitespace)
            {
                parts.push(rest[..at].to_owned());
                rest = rest[at..].trim_start();
            }
        } else {
            while parts.len() < most
                && let Some((part, behind)) = rest.split_once(delimiter)
            {
                parts.push(part.to_owned());
                rest = behind;
            }
        }
        // Nothing has no parts.
        if !rest.is_empty() || !(delimiter.is_empty() || text.is_empty()) {
            parts.push(rest.to_owned());
        }
        parts
    };
    let rows: Vec<Vec<String>> = texts(x)?.iter().map(parts).collect();
    let numbers: Vec<i64> = rows.iter().map(|row| row.len() as i64).collect();
    let numbers = Tensor::of(x.dims(), numbers.into())?;
    Ok(vec![padded(x.dims(), rows, "")?, numbers])
}

/// The matches of an expression, or characters, as ONNX Runtime's `Tokenizer` finds them.
fn tokenize(c: &Call<'_>) -> Outcome {
    let x = c.input(0)?;
    let least = usize::try_from(c.int("mincharnum", 1)?).unwrap_or(0);
    let by_expression = match (c.text("tokenexp", "")?, c.attribute("separators")) {
        ("", Some(Attribute::Texts(separators))) if separators[..] == [String::new()] => None,
        ("", _) => {
            return Err("it splits at separators, which this version does not evaluate".into());
        }
        (tokens, None) => Some(expression(tokens)?),
        _ => return Err("it has both an expression and separators".into()),
    };
    let marked = c.int("mark", 0)? != 0;
    let tokens = |text: &String| -> Vec<String> {
        let found: Vec<&str> = match &by_expression {
            Some(tokens) => tokens.find_iter(text).map(|found| found.as_str()).collect(),
            None => text.split("").filter(|c| !c.is_empty()).collect(),
        };
        let found = found.into_iter().filter(|token| token.chars().count() >= least);
        let (start, end) = (marked.then_some("\u{2}"), marked.then_some("\u{3}"));
        start.into_iter().chain(found).chain(end).map(str::to_owned).collect()
    };
    let rows = texts(x)?.iter().map(tokens).collect();
    Ok(vec![padded(x.dims(), rows, c.text("pad_value", "")?)?])
}

/// Rows of texts as the last dimension.
fn padded(dims: &[usize], mut rows: Vec<Vec<String>>, pad: &str) -> Result<Tensor, String> {
    let width = rows.iter().map(Vec::len).max().unwrap_or(0);
    for row in &mut rows {
        row.resize(width, pad.to_owned());
    }
    let all: Vec<String> = rows.into_iter().flatten().collect();
    Tensor::of(&[dims, &[width]].concat(), all.into())
}
