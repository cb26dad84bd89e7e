//! Texts and their n-grams.

use super::super::data::Data;
use super::super::session::{Attribute, Call, Outcome};
use super::super::tensor::{Tensor, count};
use super::walk::{Walk, broadcast};
use super::{Operator, op};
use std::collections::HashMap;

pub(super) const OPS: &[Operator] = &[
    op("StringConcat", &[], |c| {
        let (a, b) = (c.input(0)?, c.input(1)?);
        let to = broadcast(&[a.dims(), b.dims()])?;
        let (x, y) = (texts(a)?, texts(b)?);
        let pairs = Walk::broadcast(a.dims(), &to).zip(Walk::broadcast(b.dims(), &to));
        let joined: Vec<String> = pairs.map(|(i, j)| format!("{}{}", x[i], y[j])).collect();
        Ok(vec![Tensor::of(&to, joined.into())?])
    }),
    op(
        "StringNormalizer",
        &["case_change_action", "is_case_sensitive", "locale", "stopwords"],
        normalise,
    ),
    op(
        "TfIdfVectorizer",
        &[
            "max_gram_length",
            "max_skip_count",
            "min_gram_length",
            "mode",
            "ngram_counts",
            "ngram_indexes",
            "pool_int64s",
            "pool_strings",
            "weights",
        ],
        ngrams,
    ),
];

pub(super) fn texts(x: &Tensor) -> Result<&[String], String> {
    match x.data() {
        Data::Text(v) => Ok(v),
        other => Err(format!("texts are expected, found {}", other.dtype().name())),
    }
}

/// Leaves out stop words and changes the case; one empty text where none is left.
fn normalise(c: &Call<'_>) -> Outcome {
    let x = c.input(0)?;
    let stops: &[String] = match c.attribute("stopwords") {
        Some(Attribute::Texts(words)) => words,
        _ => &[],
    };
    let exact = c.int("is_case_sensitive", 0)? != 0;
    let key = |text: &str| if exact { text.to_owned() } else { text.to_lowercase() };
    let stops: Vec<String> = stops.iter().map(|word| key(word)).collect();
    let change: fn(&str) -> String = match c.text("case_change_action", "NONE")? {
        "LOWER" => str::to_lowercase,
        "UPPER" => str::to_uppercase,
        "NONE" => str::to_owned,
        other => {
            return Err(format!(
                "its attribute `case_change_action` is `{other}`, which is none of the standard's"
            ));
        }
    };
    let kept = texts(x)?.iter().filter(|text| !stops.contains(&key(text)));
    let mut kept: Vec<String> = kept.map(|text| change(text)).collect();
    if kept.is_empty() {
        kept.push(String::new());
    }
    let dims = match *x.dims() {
        [_] => vec![kept.len()],
        [1, _] => vec![1, kept.len()],
        ref dims => return Err(format!("one row of texts is expected, found {dims:?}")),
    };
    Ok(vec![Tensor::of(&dims, kept.into())?])
}

/// How often each n-gram of a pool occurs in a row, with gaps between its parts, weighted.
fn ngrams(c: &Call<'_>) -> Outcome {
    let x = c.input(0)?;
    let list =
        |name: &str| c.ints(name)?.ok_or_else(|| format!("its attribute `{name}` is missing"));
    let place = |i: i64| usize::try_from(i).map_err(|_| format!("{i} is no position"));
    let (min, max) = (place(c.int("min_gram_length", 1)?)?, place(c.int("max_gram_length", 1)?)?);
    let skips = place(c.int("max_skip_count", 0)?)?;
    let starts = list("ngram_counts")?.into_iter().map(place).collect::<Result<Vec<_>, _>>()?;
    let indexes = list("ngram_indexes")?.into_iter().map(place).collect::<Result<Vec<_>, _>>()?;
    let weights = match c.attribute("weights") {
        Some(Attribute::Floats(weights)) => weights.clone(),
        _ => vec![1.0; indexes.len()],
    };
    let words = |data: &Data| -> Vec<String> {
        match data {
            Data::Text(v) => v.clone(),
            other => other.integers().unwrap_or_default().iter().map(i128::to_string).collect(),
        }
    };
    let pool = match (c.attribute("pool_strings"), c.attribute("pool_int64s")) {
        (Some(Attribute::Texts(v)), _) => v.clone(),
        (_, Some(Attribute::Ints(v))) => words(&v.clone().into()),
        _ => return Err("its pool is missing".into()),
    };
    // Words by number; those outside the pool have none.
    let mut numbers: HashMap<&str, u32> = HashMap::new();
    let pool: Vec<u32> = pool
        .iter()
        .map(|word| {
            let next = numbers.len() as u32;
            *numbers.entry(word).or_insert(next)
        })
        .collect();
    let row = x.dims().last().copied().unwrap_or(1);
    if min == 0
        || max < min
        || weights.len() < indexes.len()
        || starts.len() < max
        || max > row.max(max)
        || max > 1 << 16
    {
        return Err("its lengths, counts and weights do not go together".into());
    }
    // The number of each n-gram among all of the pool.
    let mut known: HashMap<&[u32], usize> = HashMap::new();
    let mut number = 0;
    for (i, &start) in starts.iter().enumerate() {
        let end = starts.get(i + 1).copied().unwrap_or(pool.len());
        let part = pool.get(start..end).ok_or("its counts exceed the pool")?;
        for gram in part.chunks_exact(i + 1) {
            known.insert(gram, number);
            number += 1;
        }
    }
    if number > indexes.len() {
        return Err("its pool has more n-grams than positions".into());
    }
    let width = indexes.iter().max().map_or(0, |most| most + 1);
    let dims = match x.dims() {
        [] | [_] => vec![width],
        [n, _] => vec![*n, width],
        dims => return Err(format!("rows of words are expected, found {dims:?}")),
    };
    let mut y = vec![0.0f32; count(&dims)?];
    let all: Vec<u32> = words(x.data())
        .iter()
        .map(|word| numbers.get(word.as_str()).copied().unwrap_or(u32::MAX))
        .collect();
    let mode = c.text("mode", "")?;
    let mut gram = Vec::new();
    for (words, y) in all.chunks(row.max(1)).zip(y.chunks_mut(width.max(1))) {
        let mut seen: HashMap<usize, f32> = HashMap::new();
        for n in min..=max {
            for step in 1..=if n == 1 { 1 } else { skips + 1 } {
                let span = (n - 1) * step;
                for start in 0..words.len().saturating_sub(span) {
                    gram.clear();
                    gram.extend((0..n).map(|i| words[start + i * step]));
                    if let Some(&found) = known.get(&gram[..]) {
                        *seen.entry(found).or_default() += 1.0;
                    }
                }
            }
        }
        for (gram, n) in seen {
            y[indexes[gram]] = match mode {
                "TF" => n,
                "IDF" => weights[gram],
                "TFIDF" => n * weights[gram],
                other => {
                    return Err(format!(
                        "its attribute `mode` is `{other}`, which is none of the standard's"
                    ));
                }
            };
        }
    }
    Ok(vec![Tensor::of(&dims, y.into())?])
}
