//! The tensors of a file for the parameters of a model.

use super::config::{DecoderConfig, Names};
use ff_graph::Params;

/// A tensor of a file, as a part of a parameter.
///
/// ```
/// let tensor = ff_nn::models::FileTensor {
///     name: "transformer.h.0.mlp.c_fc.weight".into(),
///     dims: vec![8, 32],
///     param: 4,
///     offset: 0,
///     transposed: true,
///     alternating: false,
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
    /// Its start within the parameter.
    pub offset: usize,
    /// Whether the file has the transpose of the parameter, or of each matrix of a stack.
    pub transposed: bool,
    /// Whether the outputs of the first and of the second half of the parameter's alternate in the
    /// file.
    pub alternating: bool,
}

impl FileTensor {
    /// The number of its values.
    pub fn len(&self) -> usize {
        self.dims.iter().product()
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Copies a tensor's values from the file's order into the parameter.
    ///
    /// # Panics
    /// `values` or the parameter is shorter than it should be.
    pub fn read(&self, values: &[f32], param: &mut [f32]) {
        let to = &mut param[self.offset..][..self.len()];
        if self.transposed {
            let (rows, cols) = self.matrix();
            for (from, to) in values.chunks(rows * cols).zip(to.chunks_mut(rows * cols)) {
                transpose(from, rows, cols, to);
            }
        } else {
            to.copy_from_slice(values);
        }
        if self.alternating {
            self.reorder(to, |row, half| row % half * 2 + row / half);
        }
    }

    /// The shape of a matrix of the file.
    fn matrix(&self) -> (usize, usize) {
        match self.dims[..] {
            [.., rows, cols] => (rows, cols),
            _ => (1, self.len().max(1)),
        }
    }

    /// Takes the outputs of each matrix of the parameter from other ones of it.
    fn reorder(&self, values: &mut [f32], from: impl Fn(usize, usize) -> usize) {
        let (rows, cols) = self.matrix();
        // A vector of biases has no inputs.
        let (outputs, inputs) = if self.transposed { (cols, rows) } else { (cols, 1) };
        for matrix in values.chunks_mut(outputs * inputs) {
            let old = matrix.to_vec();
            for (row, to) in matrix.chunks_mut(inputs).enumerate() {
                to.copy_from_slice(&old[from(row, outputs / 2) * inputs..][..inputs]);
            }
        }
    }

    /// The tensor's values in the file's order.
    ///
    /// # Panics
    /// The parameter is shorter than it should be.
    pub fn write<'a>(&self, param: &'a [f32]) -> std::borrow::Cow<'a, [f32]> {
        let mut from: std::borrow::Cow<'a, [f32]> = param[self.offset..][..self.len()].into();
        if self.alternating {
            self.reorder(from.to_mut(), |row, half| row % 2 * half + row / 2);
        }
        if !self.transposed {
            return from;
        }
        let (rows, cols) = self.matrix();
        let mut to = vec![0.0; from.len()];
        for (from, to) in from.chunks(rows * cols).zip(to.chunks_mut(rows * cols)) {
            transpose(from, cols, rows, to);
        }
        to.into()
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

/// The tensors of a model's folder, in the order of the parameters.
///
/// ```
/// use ff_nn::{Builder, models::{CausalLm, DecoderConfig, file_tensors}};
/// use ff_tensor::{DType, Device};
/// let config = DecoderConfig::parse(r#"{"model_type": "gpt2", "vocab_size": 10, "n_positions": 4,
///     "n_embd": 6, "n_layer": 1, "n_head": 2}"#).unwrap();
/// let mut builder = Builder::new();
/// CausalLm::new(&mut builder, &config, &Default::default());
/// let params = builder.build(&Device::default(), DType::F32, 0, false)?;
/// let tensors = file_tensors(&config, &params);
/// let qkv = tensors.iter().find(|t| t.name == "transformer.h.0.attn.c_attn.weight").unwrap();
/// assert_eq!((qkv.dims.as_slice(), qkv.transposed), ([6, 18].as_slice(), true));
/// # Ok::<(), ff_graph::Error>(())
/// ```
pub fn file_tensors(config: &DecoderConfig, params: &Params) -> Vec<FileTensor> {
    let names = &config.family.names;
    let mut tensors = Vec::new();
    for (param, info) in params.infos().iter().enumerate() {
        let (name, dims) = (&info.spec.name, info.spec.shape.dims());
        if let Some(tensor) = names.stacked_with.and_then(|router| stacked(name, dims, router)) {
            tensors.push(FileTensor { param, ..tensor });
            continue;
        }
        if let (Some((before, matrix)), &[experts, rows, cols]) = (expert_matrix(name), dims) {
            let ours = Names::LLAMA.experts.iter().zip(names.experts);
            let matrix = ours.fold(matrix, |m, (&our, their)| if m == our { their } else { m });
            tensors.extend((0..experts).map(|e| FileTensor {
                name: format!("{before}.experts.{e}.{matrix}.weight"),
                dims: vec![rows, cols],
                param,
                offset: e * rows * cols,
                transposed: false,
                alternating: false,
            }));
            continue;
        }
        let transposed = names.transposed.iter().any(|end| name.ends_with(end));
        let mut dims = dims.to_vec();
        if transposed {
            dims.reverse();
        }
        let name = name.clone();
        tensors.push(FileTensor { name, dims, param, offset: 0, transposed, alternating: false });
    }
    tensors
}

/// The tensors of a model whose files hold its parameters unchanged.
pub fn plain_file_tensors(params: &Params) -> Vec<FileTensor> {
    let tensor = |(param, info): (usize, &ff_graph::ParamInfo)| {
        let (name, mut dims) = (info.spec.name.clone(), info.spec.shape.dims().to_vec());
        // Marian's files hold it as a matrix of one row.
        if name == "final_logits_bias" {
            dims.insert(0, 1);
        }
        FileTensor { name, dims, param, offset: 0, transposed: false, alternating: false }
    };
    params.infos().iter().enumerate().map(tensor).collect()
}

/// The tensor of a file for all experts of a layer, or for their router.
fn stacked(name: &str, dims: &[usize], router: &str) -> Option<FileTensor> {
    let tensor = |name, dims, transposed, alternating| FileTensor {
        name,
        dims,
        param: 0,
        offset: 0,
        transposed,
        alternating,
    };
    if let Some((before, end)) = name.split_once(".mlp.gate.") {
        return Some(tensor(format!("{before}.mlp.{router}.{end}"), dims.to_vec(), false, false));
    }
    let (before, rest) = name.split_once(".experts.")?;
    let (matrix, end) = rest.split_once('.')?;
    let alternating = matrix == "gate_up_proj";
    if let ("weight", &[experts, outputs, inputs]) = (end, dims) {
        let name = format!("{before}.experts.{matrix}");
        return Some(tensor(name, vec![experts, inputs, outputs], true, alternating));
    }
    let name = format!("{before}.experts.{matrix}_bias");
    Some(tensor(name, dims.to_vec(), false, alternating))
}

/// `PREFIX.experts.MATRIX.weight`.
fn expert_matrix(name: &str) -> Option<(&str, &str)> {
    let (before, after) = name.split_once(".experts.")?;
    Some((before, after.strip_suffix(".weight")?))
}

impl DecoderConfig {
    /// Whether files of the family hold linear layers as `[in, out]`.
    ///
    /// ```
    /// let json = r#"{"model_type": "gpt2", "vocab_size": 10, "n_positions": 4, "n_embd": 6,
    ///     "n_layer": 1, "n_head": 2}"#;
    /// assert!(ff_nn::models::DecoderConfig::parse(json)?.has_transposed_files());
    /// # Ok::<(), ff_nn::ConfigError>(())
    /// ```
    pub fn has_transposed_files(&self) -> bool {
        !self.family.names.transposed.is_empty()
    }

    /// The table of embeddings and the output layer in this model's files.
    ///
    /// ```
    /// let json = r#"{"model_type": "gpt2", "vocab_size": 10, "n_positions": 4, "n_embd": 6,
    ///     "n_layer": 1, "n_head": 2}"#;
    /// let config = ff_nn::models::DecoderConfig::parse(json)?;
    /// assert_eq!(config.tied_tensors(), ["transformer.wte.weight", "lm_head.weight"]);
    /// # Ok::<(), ff_nn::ConfigError>(())
    /// ```
    pub fn tied_tensors(&self) -> [String; 2] {
        let names = &self.family.names;
        [format!("{}.{}.weight", names.body, names.embedding), "lm_head.weight".into()]
    }
}

/// Whether a tensor without a parameter may be ignored: masks and frequencies of old versions, an
/// output layer that is the table of embeddings.
///
/// ```
/// use ff_nn::models::{DecoderConfig, is_ignored};
/// let config = DecoderConfig::parse(r#"{"model_type": "gpt2", "vocab_size": 10, "n_positions": 4,
///     "n_embd": 6, "n_layer": 1, "n_head": 2}"#).unwrap();
/// assert!(is_ignored(&config, "h.0.attn.bias") && is_ignored(&config, "lm_head.weight"));
/// assert!(!is_ignored(&config, "h.0.attn.c_attn.bias"));
/// ```
pub fn is_ignored(config: &DecoderConfig, name: &str) -> bool {
    config.tied && name == "lm_head.weight"
        || config.family.names.ignored.iter().any(|end| name.ends_with(end))
}
