//! Which tensors a file has for the parameters of a model.

use super::config::DecoderConfig;
use super::families::Family;
use ff_graph::Params;

/// A tensor of a file, and the part of a parameter that it is.
///
/// ```
/// let tensor = ff_nn::models::FileTensor {
///     name: "transformer.h.0.mlp.c_fc.weight".into(), dims: vec![8, 32], param: 4, offset: 0, transposed: true,
/// };
/// assert_eq!(tensor.len(), 256);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileTensor {
    /// Its name in the file.
    pub name: String,
    /// Its shape in the file.
    pub dims: Vec<usize>,
    /// The number of the parameter.
    pub param: usize,
    /// Where it starts in the parameter.
    pub offset: usize,
    /// Whether the file has columns where the parameter has rows.
    pub transposed: bool,
}

impl FileTensor {
    /// How many values it has.
    pub fn len(&self) -> usize {
        self.dims.iter().product()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes a tensor's values, as the file has them, into the parameter's.
    ///
    /// # Panics
    /// `values` or the parameter is shorter than it should be.
    pub fn read(&self, values: &[f32], param: &mut [f32]) {
        let to = &mut param[self.offset..][..self.len()];
        match self.dims[..] {
            [rows, cols] if self.transposed => transpose(values, rows, cols, to),
            _ => to.copy_from_slice(values),
        }
    }

    /// The tensor's values, as the file has them, from the parameter's.
    ///
    /// # Panics
    /// The parameter is shorter than it should be.
    pub fn write<'a>(&self, param: &'a [f32]) -> std::borrow::Cow<'a, [f32]> {
        let from = &param[self.offset..][..self.len()];
        match self.dims[..] {
            [rows, cols] if self.transposed => {
                let mut to = vec![0.0; from.len()];
                transpose(from, cols, rows, &mut to);
                to.into()
            }
            _ => from.into(),
        }
    }
}

/// `to` `[cols, rows]` from `[rows, cols]`, by squares that fit the first-level cache.
fn transpose(from: &[f32], rows: usize, cols: usize, to: &mut [f32]) {
    const SIDE: usize = 32;
    for i0 in (0..rows).step_by(SIDE) {
        for j0 in (0..cols).step_by(SIDE) {
            for i in i0..rows.min(i0 + SIDE) {
                for j in j0..cols.min(j0 + SIDE) {
                    to[j * rows + i] = from[i * cols + j];
                }
            }
        }
    }
}

/// The tensors that a folder of this model has, in the order of the parameters.
///
/// ```
/// use ff_nn::{Builder, models::{CausalLm, DecoderConfig, file_tensors}};
/// use ff_tensor::{DType, Device};
/// let config = DecoderConfig::parse(r#"{"model_type": "gpt2", "vocab_size": 10, "n_positions": 4, "n_embd": 6, "n_layer": 1,
///     "n_head": 2}"#).unwrap();
/// let mut builder = Builder::new();
/// CausalLm::new(&mut builder, &config, &Default::default());
/// let params = builder.build(&Device::default(), DType::F32, 0, false)?;
/// let tensors = file_tensors(&config, &params);
/// let qkv = tensors.iter().find(|t| t.name == "transformer.h.0.attn.c_attn.weight").unwrap();
/// assert_eq!((qkv.dims.as_slice(), qkv.transposed), ([6, 18].as_slice(), true));
/// # Ok::<(), ff_graph::Error>(())
/// ```
pub fn file_tensors(config: &DecoderConfig, params: &Params) -> Vec<FileTensor> {
    let mut tensors = Vec::new();
    for (param, info) in params.infos().iter().enumerate() {
        let (name, dims) = (&info.spec.name, info.spec.shape.dims());
        if let (Some((before, matrix)), &[experts, rows, cols]) = (expert_matrix(name), dims) {
            let matrix = match (config.family, matrix) {
                (Family::Mixtral, "gate_proj") => "w1",
                (Family::Mixtral, "up_proj") => "w3",
                (Family::Mixtral, "down_proj") => "w2",
                (_, matrix) => matrix,
            };
            tensors.extend((0..experts).map(|e| FileTensor {
                name: format!("{before}.experts.{e}.{matrix}.weight"),
                dims: vec![rows, cols],
                param,
                offset: e * rows * cols,
                transposed: false,
            }));
            continue;
        }
        let transposed = config.family == Family::Gpt2 && is_conv1d(name);
        let mut dims = dims.to_vec();
        if transposed {
            dims.reverse();
        }
        tensors.push(FileTensor { name: name.clone(), dims, param, offset: 0, transposed });
    }
    tensors
}

/// The tensors of a model whose files have its parameters as they are.
///
/// ```
/// # fn names(params: &ff_graph::Params) -> Vec<String> {
/// ff_nn::models::plain_file_tensors(params).into_iter().map(|tensor| tensor.name).collect()
/// # }
/// ```
pub fn plain_file_tensors(params: &Params) -> Vec<FileTensor> {
    let tensor = |(param, info): (usize, &ff_graph::ParamInfo)| {
        let (name, mut dims) = (info.spec.name.clone(), info.spec.shape.dims().to_vec());
        // Marian's files have a row of it.
        if name == "final_logits_bias" {
            dims.insert(0, 1);
        }
        FileTensor { name, dims, param, offset: 0, transposed: false }
    };
    params.infos().iter().enumerate().map(tensor).collect()
}

/// `PREFIX.experts.MATRIX.weight`.
fn expert_matrix(name: &str) -> Option<(&str, &str)> {
    let (before, after) = name.split_once(".experts.")?;
    Some((before, after.strip_suffix(".weight")?))
}

/// GPT-2's linear layers were convolutions of width 1, whose weights are `[in, out]`.
fn is_conv1d(name: &str) -> bool {
    ["c_attn.weight", "c_proj.weight", "c_fc.weight"].iter().any(|end| name.ends_with(end))
}

/// Whether a tensor of a file that belongs to no parameter is known and says nothing: masks and frequencies that old
/// versions stored, an output layer that is the table of embeddings.
///
/// ```
/// use ff_nn::models::{DecoderConfig, is_ignored};
/// let config = DecoderConfig::parse(r#"{"model_type": "gpt2", "vocab_size": 10, "n_positions": 4, "n_embd": 6, "n_layer": 1,
///     "n_head": 2}"#).unwrap();
/// assert!(is_ignored(&config, "h.0.attn.bias") && is_ignored(&config, "lm_head.weight"));
/// assert!(!is_ignored(&config, "h.0.attn.c_attn.bias"));
/// ```
pub fn is_ignored(config: &DecoderConfig, name: &str) -> bool {
    config.tied && name == "lm_head.weight"
        || name.ends_with(".rotary_emb.inv_freq")
        || config.family == Family::Gpt2
            && (name.ends_with(".attn.bias") || name.ends_with(".attn.masked_bias"))
}
