//! Encoders as ONNX graphs, with the inputs that `transformers` gives its own: `input_ids`,
//! `attention_mask` and, where the family has it, `token_type_ids`.

use crate::error::{Error, Result};
use crate::language::EncoderModel;
use crate::table::{OnnxExport, element_wise_node, in_one_file, written};
use ff_graph::Params;
use ff_interop::onnx::proto::AttributeProto;
use ff_interop::onnx::{DType, Data, GraphBuilder, Model, Session, Tensor};
use ff_nn::models::{EncoderConfig, EncoderHead, LanguageOptions};
use ff_ops::Activation;
use ff_tensor::Device;
use std::path::Path;

/// The lengths of the sequences that are compared.
const LENGTHS: [usize; 4] = [7, 1, 12, 4];

/// Writes an encoder as an ONNX file: `logits` of its head, or the vector of each token as
/// `last_hidden_state`. What was written is evaluated on made-up tokens, padding included, and
/// compared.
///
/// # Errors
/// The folder is not of such an encoder; its layers have no form in ONNX yet, by name; the file
/// cannot be written; or its outputs differ.
pub fn export_encoder_onnx(path: &Path, out: &Path, device: &Device) -> Result<OnnxExport> {
    let mut model = EncoderModel::open(path, device, &LanguageOptions::default())?;
    let config = model.config().clone();
    let graph = to_onnx(&config, model.parts().1.params())?;
    let bytes = in_one_file(&graph)?;
    let session = Session::on(Model::from_bytes(&bytes)?, device)?;
    let difference = compare(&mut model, &config, &session)?;
    written(out, &bytes, &graph, LENGTHS.len(), difference)
}

/// The name of the output.
fn output(config: &EncoderConfig) -> &'static str {
    if config.head == EncoderHead::None { "last_hidden_state" } else { "logits" }
}

fn compare(model: &mut EncoderModel, config: &EncoderConfig, session: &Session) -> Result<f64> {
    let most = config.longest();
    let (vocabulary, mut at) = (config.vocab_size as u64, 0u64);
    let mut token = |_: usize| {
        at += 1;
        // Any token but padding.
        let id = (at.wrapping_mul(0x9e37_79b9) >> 7) % vocabulary;
        let pad = config.pad_token.max(0) as u64;
        if id == pad { ((id + 1) % vocabulary) as u32 } else { id as u32 }
    };
    let sequences: Vec<Vec<u32>> =
        LENGTHS.iter().map(|&n| (0..n.min(most)).map(&mut token).collect()).collect();
    let tokens = sequences.iter().map(Vec::len).max().unwrap_or(0);
    let rows = sequences.len();
    let each = |f: &dyn Fn(&[u32], usize) -> i64| -> Result<Tensor> {
        let cells = sequences.iter().flat_map(|s| (0..tokens).map(move |i| f(s, i)));
        Ok(Tensor::new(&[rows, tokens], cells.collect::<Vec<i64>>())?)
    };
    let ids = each(&|s, i| s.get(i).map_or(i64::from(config.pad_token), |&id| id.into()))?;
    let mask = each(&|s, i| i64::from(i < s.len()))?;
    let mut inputs = vec![("input_ids".to_owned(), ids), ("attention_mask".into(), mask)];
    if config.token_types > 0 {
        inputs.push(("token_type_ids".into(), each(&|_, _| 0)?));
    }
    let found = session.run(inputs)?;
    let found = found.first().and_then(|(_, tensor)| tensor.data().floats()).unwrap_or_default();
    let (encoder, graph) = model.parts();
    graph.reset();
    let batch = crate::language::encoder_batch(graph, config, &sequences, 0)?;
    let expected = match config.head {
        EncoderHead::None => encoder.hidden(graph, &batch)?,
        _ => encoder.logits(graph, &batch)?,
    };
    let expected: Vec<f32> = expected.slice::<f32>()?.to_vec();
    if found.len() != expected.len() {
        return Ok(f64::INFINITY);
    }
    // What padding becomes means nothing.
    let by_token = config.head != EncoderHead::Sequence;
    let width = expected.len() / rows / if by_token { tokens } else { 1 };
    let real = |i: usize| {
        let cell = i / width;
        !by_token || cell % tokens < sequences[cell / tokens].len()
    };
    let pairs = expected.iter().zip(&found).enumerate().filter(|(i, _)| real(*i));
    let (mut largest, mut gap) = (1.0f64, 0.0f64);
    for (_, (&a, &b)) in pairs {
        let (a, d) = (f64::from(a), (f64::from(a) - b).abs());
        (largest, gap) =
            (largest.max(a.abs()), if d.is_nan() { f64::INFINITY } else { gap.max(d) });
    }
    Ok(gap / largest)
}

/// A graph under construction.
struct Net<'a> {
    graph: GraphBuilder,
    params: &'a Params,
    config: &'a EncoderConfig,
}

fn to_onnx(config: &EncoderConfig, params: &Params) -> Result<Model> {
    let plain = config.rope.is_none()
        && !config.gated
        && !config.fused_qkv
        && config.windows.iter().all(Option::is_none)
        && !config.head_layers().is_some_and(|head| head.weight.is_empty());
    if !plain || config.family.name == "modernbert" {
        return Err(Error::usage(format!(
            "{}: its rotary positions, windows and gated blocks have no form in ONNX yet; BERT, RoBERTa and DistilBERT have",
            config.family.name
        )));
    }
    let mut net = Net { graph: GraphBuilder::new(config.family.name), params, config };
    let open = [None, None];
    let [ids, mask] = ["input_ids", "attention_mask"]
        .map(|name| net.graph.input(name, DType::I64, &open, "[batch, tokens]"));
    let types = (config.token_types > 0)
        .then(|| net.graph.input("token_type_ids", DType::I64, &open, "[batch, tokens]"));
    let mut x = net.embed(&ids, types.as_deref())?;
    let bias = net.mask(&mask)?;
    for i in 0..config.layers {
        x = net.layer(&x, &bias, i)?;
    }
    let y = net.head(x, &mask)?;
    let dims: &[Option<usize>] = match config.head {
        EncoderHead::Sequence => &[None, Some(config.labels)],
        EncoderHead::None => &[None, None, Some(config.hidden_size)],
        EncoderHead::MaskedLm => &[None, None, Some(config.vocab_size)],
        EncoderHead::Tokens => &[None, None, Some(config.labels)],
    };
    let y = net.node("Identity", output(config), &[&y]);
    net.graph.output(&y, DType::F32, dims);
    if config.head != EncoderHead::None && config.head != EncoderHead::MaskedLm {
        let names = serde_json::to_string(&config.label_names()).unwrap_or_default();
        net.graph.metadata("feedforward.classes", names);
    }
    Ok(net.graph.build())
}

impl Net<'_> {
    fn node(&mut self, operator: &str, name: &str, inputs: &[&str]) -> String {
        self.graph.node(operator, name, inputs)
    }

    fn with(&mut self, operator: &str, name: &str, inputs: &[&str], a: AttributeProto) -> String {
        self.graph.node_with(operator, name, inputs, &[a])
    }

    fn put(&mut self, name: &str, dims: &[usize], data: impl Into<Data>) -> Result<String> {
        Ok(self.graph.constant(name, &Tensor::new(dims, data)?))
    }

    /// A parameter's shape and values.
    fn values(&self, name: &str) -> Result<(Vec<usize>, Vec<f32>)> {
        let missing = || Error::usage(format!("the model has no tensor `{name}`"));
        let id = self.params.id(name).ok_or_else(missing)?;
        let dims = self.params.info(id).spec.shape.dims().to_vec();
        Ok((dims, self.params.values::<f32>(id)?.to_vec()))
    }

    fn weight(&mut self, name: &str) -> Result<String> {
        let (dims, values) = self.values(name)?;
        self.put(name, &dims, values)
    }

    /// The row of each id.
    fn rows(&mut self, table: &str, ids: &str) -> Result<String> {
        let rows = self.weight(&format!("{table}.weight"))?;
        Ok(self.node("Gather", table, &[&rows, ids]))
    }

    /// x Wᵀ, of a weight `[out, in]` by its name.
    fn product(&mut self, x: &str, weight: &str) -> Result<String> {
        let (dims, w) = self.values(weight)?;
        let &[outputs, inputs] = &dims[..] else {
            return Err(Error::usage(format!("`{weight}` is no matrix")));
        };
        let turned: Vec<f32> =
            (0..w.len()).map(|i| w[i % outputs * inputs + i / outputs]).collect();
        let w = self.put(&format!("{weight}_transposed"), &[inputs, outputs], turned)?;
        Ok(self.node("MatMul", &format!("{weight}/product"), &[x, &w]))
    }

    /// x Wᵀ + b
    fn linear(&mut self, x: &str, name: &str) -> Result<String> {
        let y = self.product(x, &format!("{name}.weight"))?;
        if self.params.id(&format!("{name}.bias")).is_none() {
            return Ok(y);
        }
        let b = self.weight(&format!("{name}.bias"))?;
        Ok(self.node("Add", name, &[&y, &b]))
    }

    fn norm(&mut self, x: &str, name: &str) -> Result<String> {
        let (gamma, beta) =
            (self.weight(&format!("{name}.weight"))?, self.weight(&format!("{name}.bias"))?);
        let attributes = [
            AttributeProto::int("axis", -1),
            AttributeProto::float("epsilon", self.config.norm_eps as f32),
        ];
        let inputs = [x, gamma.as_str(), beta.as_str()];
        Ok(self.graph.node_with("LayerNormalization", name, &inputs, &attributes))
    }

    fn activation(&mut self, f: Activation, x: &str, name: &str) -> Result<String> {
        element_wise_node(&mut self.graph, f, x, name)
    }

    /// Tokens, sequence types and positions.
    fn embed(&mut self, ids: &str, types: Option<&str>) -> Result<String> {
        let [words, norm] = self.config.embedding_names();
        let scope = words.rsplit_once('.').map_or("embeddings", |(scope, _)| scope).to_owned();
        let mut x = self.rows(&words, ids)?;
        if let Some(types) = types {
            let kind = self.rows(&format!("{scope}.token_type_embeddings"), types)?;
            x = self.node("Add", "embeddings/typed", &[&x, &kind]);
        }
        let positions = self.positions(ids)?;
        let at = self.rows(&format!("{scope}.position_embeddings"), &positions)?;
        let x = self.node("Add", "embeddings/placed", &[&x, &at]);
        self.norm(&x, &norm)
    }

    /// 0, 1, … `[1, T]`, or counted from one past the padding token's id `[B, T]`.
    fn positions(&mut self, ids: &str) -> Result<String> {
        let one = self.put("positions/one", &[], vec![1i64])?;
        if !self.config.positions_behind_padding {
            let zero = self.put("positions/zero", &[], vec![0i64])?;
            let shape = self.node("Shape", "positions/shape", &[ids]);
            let axis = AttributeProto::int("axis", 0);
            let tokens = self.with("Gather", "positions/tokens", &[&shape, &one], axis);
            let row = self.node("Range", "positions/row", &[&zero, &tokens, &one]);
            let first = self.put("positions/first", &[1], vec![0i64])?;
            return Ok(self.node("Unsqueeze", "positions", &[&row, &first]));
        }
        let pad = self.put("positions/pad", &[], vec![i64::from(self.config.pad_token)])?;
        let padding = self.node("Equal", "positions/is_padding", &[ids, &pad]);
        let real = self.node("Not", "positions/is_real", &[&padding]);
        let to = AttributeProto::int("to", i64::from(DType::I64.code()));
        let real = self.with("Cast", "positions/real", &[&real], to);
        let count = self.node("CumSum", "positions/count", &[&real, &one]);
        let count = self.node("Mul", "positions/of_real", &[&count, &real]);
        Ok(self.node("Add", "positions", &[&count, &pad]))
    }

    /// What is added to scores: 0, or a large negative number for padding, `[B, 1, 1, T]`.
    fn mask(&mut self, mask: &str) -> Result<String> {
        let zero = self.put("mask/zero", &[], vec![0i64])?;
        let padding = self.node("Equal", "mask/is_padding", &[mask, &zero]);
        let least = self.put("mask/least", &[], vec![-1e30f32])?;
        let none = self.put("mask/none", &[], vec![0.0f32])?;
        let bias = self.node("Where", "mask/bias", &[&padding, &least, &none]);
        let axes = self.put("mask/axes", &[2], vec![1i64, 2])?;
        Ok(self.node("Unsqueeze", "mask", &[&bias, &axes]))
    }

    /// norm(x + attention(x)), then norm(x + f(x W₁ᵀ + b₁) W₂ᵀ + b₂).
    fn layer(&mut self, x: &str, mask: &str, i: usize) -> Result<String> {
        let names = self.config.layer_names(i);
        let y = self.attention(x, mask, &names.projections, i)?;
        let y = self.node("Add", &format!("layer.{i}/attended"), &[x, &y]);
        let x = self.norm(&y, &names.attention_norm)?;
        let [up, down] = &names.feedforward;
        let y = self.linear(&x, up)?;
        let y = self.activation(self.config.activation, &y, &format!("layer.{i}/activation"))?;
        let y = self.linear(&y, down)?;
        let y = self.node("Add", &format!("layer.{i}/fed"), &[&x, &y]);
        self.norm(&y, &names.feedforward_norm)
    }

    /// softmax(q kᵀ / √d + mask) v of each head, joined and projected.
    fn attention(&mut self, x: &str, mask: &str, names: &[String; 4], i: usize) -> Result<String> {
        let (heads, width) = (self.config.heads, self.config.hidden_size);
        let d = width / heads;
        let of = |part: &str| format!("layer.{i}/{part}");
        let split = self.put(&of("split"), &[4], vec![0i64, 0, heads as i64, d as i64])?;
        let part = |at: &mut Self, k: usize, order: [i64; 4], name: &str| -> Result<String> {
            let y = at.linear(x, &names[k])?;
            let y = at.node("Reshape", &of(&format!("{name}_split")), &[&y, &split]);
            Ok(at.with("Transpose", &of(name), &[&y], AttributeProto::list("perm", &order)))
        };
        let q = part(self, 0, [0, 2, 1, 3], "q")?;
        let k = part(self, 1, [0, 2, 3, 1], "k")?;
        let v = part(self, 2, [0, 2, 1, 3], "v")?;
        let scale = self.put(&of("scale"), &[], vec![(1.0 / (d as f64).sqrt()) as f32])?;
        let scores = self.node("MatMul", &of("scores"), &[&q, &k]);
        let scores = self.node("Mul", &of("scaled"), &[&scores, &scale]);
        let scores = self.node("Add", &of("masked"), &[&scores, mask]);
        let last = AttributeProto::int("axis", -1);
        let p = self.with("Softmax", &of("p"), &[&scores], last);
        let y = self.node("MatMul", &of("mixed"), &[&p, &v]);
        let order = AttributeProto::list("perm", &[0, 2, 1, 3]);
        let y = self.with("Transpose", &of("by_token"), &[&y], order);
        let flat = self.put(&of("flat"), &[3], vec![0i64, 0, width as i64])?;
        let y = self.node("Reshape", &of("joined"), &[&y, &flat]);
        self.linear(&y, &names[3])
    }

    /// The vector of each sequence: its first token's, or the mean without padding.
    fn pooled(&mut self, x: &str, mask: &str) -> Result<String> {
        let axis = AttributeProto::int("axis", 1);
        if !self.config.mean_pooled {
            let first = self.put("pooled/first", &[], vec![0i64])?;
            return Ok(self.with("Gather", "pooled", &[x, &first], axis));
        }
        let to = AttributeProto::int("to", i64::from(DType::F32.code()));
        let real = self.with("Cast", "pooled/real", &[mask], to);
        let last = self.put("pooled/last", &[1], vec![2i64])?;
        let real = self.node("Unsqueeze", "pooled/weights", &[&real, &last]);
        let x = self.node("Mul", "pooled/vectors", &[x, &real]);
        let axes = self.put("pooled/axes", &[1], vec![1i64])?;
        let flat = AttributeProto::int("keepdims", 0);
        let sum = self.with("ReduceSum", "pooled/sum", &[&x, &axes], flat.clone());
        let count = self.with("ReduceSum", "pooled/count", &[&real, &axes], flat);
        Ok(self.node("Div", "pooled", &[&sum, &count]))
    }

    fn head(&mut self, x: String, mask: &str) -> Result<String> {
        let Some(head) = self.config.head_layers() else { return Ok(x) };
        let mut x = match self.config.head {
            EncoderHead::Sequence => self.pooled(&x, mask)?,
            _ => x,
        };
        if let Some((name, f)) = &head.dense {
            x = self.linear(&x, name)?;
            x = self.activation(*f, &x, "head/activation")?;
        }
        if let Some(name) = &head.norm {
            x = self.norm(&x, name)?;
        }
        let y = self.product(&x, &head.weight)?;
        if self.params.id(&head.bias).is_none() {
            return Ok(y);
        }
        let b = self.weight(&head.bias)?;
        Ok(self.node("Add", "head/logits", &[&y, &b]))
    }
}
