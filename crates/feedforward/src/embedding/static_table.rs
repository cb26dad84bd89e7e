//! Static embeddings: a vector for each token, whatever stands beside it.

use super::modules::object;
use crate::error::{Error, Result};
use crate::files::write_text;
use ff_formats::{RawTensor, TensorFile, write_raw};
use ff_table::Texts;
use ff_text::Tokenizer;
use serde_json::Value;
use std::path::Path;

const MODEL: &str = "model.safetensors";
/// The names of the table in files of model2vec, and of sentence-transformers and wordllama.
const NAMES: [&str; 2] = ["embeddings", "embedding.weight"];

/// A table of vectors: a text is the mean of its tokens' rows.
#[derive(Debug)]
pub(crate) struct StaticTable {
    /// The rows `[rows, width]`.
    pub(crate) values: Vec<f32>,
    pub(crate) width: usize,
    /// A weight for each token.
    weights: Option<Vec<f32>>,
    /// The row of each token.
    rows: Option<Vec<usize>>,
    /// The token that model2vec leaves out.
    unknown: Option<u32>,
    /// What `config.json` says.
    pub(super) normalize: Option<bool>,
}

/// The rows and the width of the table, if a folder holds a table of vectors and nothing else.
pub(super) fn sizes(folder: &Path) -> Option<(usize, usize)> {
    if !folder.join("tokenizer.json").is_file() {
        return None;
    }
    let config = object(&folder.join("config.json")).ok()?;
    if config.get("model_type").is_some_and(|name| name != "model2vec") {
        return None;
    }
    let file = TensorFile::map(&folder.join(MODEL)).ok()?;
    NAMES.iter().find_map(|name| match *file.dims(name)? {
        [rows, width] => Some((rows, width)),
        _ => None,
    })
}

impl StaticTable {
    /// Reads `model.safetensors` of a folder of model2vec, sentence-transformers or wordllama.
    ///
    /// # Errors
    /// There is no table, or its parts do not fit the tokenizer.
    pub(crate) fn open(folder: &Path, tokenizer: &Tokenizer) -> Result<Self> {
        let path = folder.join(MODEL);
        let file = TensorFile::map(&path)?;
        let found = NAMES.iter().find_map(|name| Some((*name, file.dims(name)?.to_vec())));
        let Some((name, dims)) = found else {
            let message = "has no table of vectors (`embeddings` or `embedding.weight`)";
            return Err(Error::run(&path, message));
        };
        let &[rows, width] = dims.as_slice() else {
            return Err(Error::run(
                &path,
                format!("tensor `{name}` has shape {dims:?}, not two sizes"),
            ));
        };
        let values = file.floats(name, &dims)?;
        let vector = |name: &str| -> Result<Option<Vec<f32>>> {
            let Some(dims) = file.dims(name).map(<[usize]>::to_vec) else { return Ok(None) };
            Ok(Some(file.floats(name, &dims)?))
        };
        let config = object(&folder.join("config.json"))?;
        let weights = vector("weights")?;
        let mapping = file.raw("mapping").map(|tensor| integers(&tensor));
        let tokens = tokenizer.vocab_size();
        let too_few = |what: &str, found: usize| {
            let message = format!(
                "{what} {found} tokens, and the tokenizer has ids up to {}; they are of different models",
                tokens - 1
            );
            Err(Error::run(&path, message))
        };
        match (&mapping, &weights) {
            (None, _) if rows < tokens => return too_few("has vectors of", rows),
            (Some(mapping), _) if mapping.len() < tokens => {
                return too_few("maps", mapping.len());
            }
            (Some(mapping), _) if mapping.iter().any(|&row| row >= rows) => {
                return Err(Error::run(
                    &path,
                    format!("tensor `mapping` goes beyond its {rows} rows"),
                ));
            }
            (_, Some(weights)) if weights.len() < tokens => {
                return too_few("has weights of", weights.len());
            }
            _ => {}
        }
        let model2vec = config.get("model_type").is_some_and(|name| name == "model2vec");
        Ok(Self {
            values,
            width,
            weights,
            rows: mapping,
            unknown: tokenizer.special().unk.filter(|_| model2vec),
            normalize: config.get("normalize").and_then(Value::as_bool),
        })
    }

    /// The rows of the table and their weights that are the vector of each text, from the second
    /// on: the first text is empty. `None` if there are more than an index can hold.
    pub(crate) fn bags(&self, texts: &[Vec<u32>]) -> Option<Texts> {
        let mut bags = Texts::default();
        for ids in texts {
            let known = || ids.iter().filter(|id| Some(**id) != self.unknown);
            let n = known().count() as f32;
            for &id in known() {
                let row = self.rows.as_ref().map_or(id as usize, |rows| rows[id as usize]);
                let weight = self.weights.as_ref().map_or(1.0, |weights| weights[id as usize]);
                bags.indices.push(i32::try_from(row).ok()?);
                bags.values.push(weight / n);
            }
            bags.offsets.push(i32::try_from(bags.indices.len()).ok()?);
        }
        Some(bags)
    }

    /// Writes the table of a folder into another one, with other values where `values` has some.
    ///
    /// # Errors
    /// A file cannot be read or written.
    pub(crate) fn copy(from: &Path, to: &Path, values: Option<&[f32]>) -> Result<()> {
        let file = TensorFile::map(&from.join(MODEL))?;
        let mut tensors: Vec<RawTensor<'_>> =
            file.entries().filter_map(|entry| file.raw(&entry.name)).collect();
        let table = tensors.iter_mut().find(|tensor| NAMES.contains(&tensor.name.as_str()));
        if let (Some(values), Some(table)) = (values, table) {
            table.dtype = "F32".into();
            table.bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>().into();
        }
        std::fs::create_dir_all(to).map_err(ff_formats::Error::io(to, "making the folder"))?;
        write_raw(&to.join(MODEL), &tensors)?;
        let config = Value::Object(object(&from.join("config.json"))?);
        write_text(&to.join("config.json"), &format!("{config:#}\n"))
    }

    /// The mean of the rows of some tokens, zeros without any.
    pub(super) fn embed(&self, ids: &[u32], to: &mut [f32]) {
        let ids = ids.iter().filter(|id| Some(**id) != self.unknown);
        let mut sums = vec![0.0f64; self.width];
        let mut count = 0;
        for &id in ids {
            let row = self.rows.as_ref().map_or(id as usize, |rows| rows[id as usize]);
            let weight =
                self.weights.as_ref().map_or(1.0, |weights| f64::from(weights[id as usize]));
            let row = &self.values[row * self.width..][..self.width];
            sums.iter_mut().zip(row).for_each(|(sum, &x)| *sum += weight * f64::from(x));
            count += 1;
        }
        let n = f64::from(count.max(1));
        to.iter_mut().zip(sums).for_each(|(to, sum)| *to = (sum / n) as f32);
    }
}

/// The values of a tensor of integers; others lie beyond any table.
fn integers(tensor: &RawTensor<'_>) -> Vec<usize> {
    let index = |id: i64| usize::try_from(id).unwrap_or(usize::MAX);
    let bytes = &tensor.bytes;
    match tensor.dtype.as_str() {
        "I64" => bytes.as_chunks().0.iter().map(|b| index(i64::from_le_bytes(*b))).collect(),
        "I32" => bytes.as_chunks().0.iter().map(|b| index(i32::from_le_bytes(*b).into())).collect(),
        _ => vec![usize::MAX],
    }
}
