//! Encoders as ONNX graphs, with the inputs that `transformers` gives its own: `input_ids`,
//! `attention_mask` and, where the family has it, `token_type_ids`.

use super::TaskFile;
use crate::error::{Error, Result};
use crate::language::{EncoderModel, model_folder};
use crate::onnx::{Angles, Heads, LIMIT, Net, Norm, OnnxExport, OnnxFile, gap};
use ff_interop::onnx::proto::AttributeProto;
use ff_interop::onnx::{DType, Session, Tensor};
use ff_nn::models::{EncoderConfig, EncoderHead, EncoderLayerNames, LanguageOptions, NormPlace};
use ff_tensor::Device;
use std::path::Path;

/// The lengths of the sequences that are compared.
const LENGTHS: [usize; 4] = [7, 1, 12, 4];

/// Writes an encoder as an ONNX file: `logits` of its head, or the vector of each token as
/// `last_hidden_state`. What was written is evaluated on made-up tokens, padding included, and
/// compared.
///
/// # Errors
/// The folder is not of an encoder; a layer has no form in ONNX, by name; the file cannot be
/// written; or its outputs differ.
pub fn export_encoder_onnx(path: &Path, out: &Path, device: &Device) -> Result<OnnxExport> {
    export_within(path, out, device, LIMIT)
}

/// The same with tensors beside the graph beyond `limit` bytes.
pub(crate) fn export_within(
    path: &Path,
    out: &Path,
    device: &Device,
    limit: u64,
) -> Result<OnnxExport> {
    let task = TaskFile::read(&model_folder(path)?)?;
    if task.is_some_and(|task| task.head.is_some()) {
        return Err(Error::usage(format!(
            "{}: its head reads a vector of the texts and the other columns, and has no form in ONNX yet; a model of texts \
             alone, without model.hidden, has",
            path.display()
        )));
    }
    let mut model = EncoderModel::open(path, device, &LanguageOptions::default())?;
    let config = model.config().clone();
    let made = made_up(&mut model)?;
    let mut file = OnnxFile::begin(out, limit)?;
    if let Some(tokenizer) = model.tokenizer() {
        file.write_tokenizer(tokenizer.json())?;
    }
    let net = Net::of(&file, config.family.name, model.parts().1.params())?;
    let graph = Encoder { net, config: &config }.whole()?.graph;
    file.write(graph)?;
    // From here on the weights are those of the file.
    drop(model);
    let difference = made.compare(&config, &file.session(device)?)?;
    file.keep(LENGTHS.len(), difference)
}

/// The name of the output.
fn output(config: &EncoderConfig) -> &'static str {
    if config.head == EncoderHead::None { "last_hidden_state" } else { "logits" }
}

/// Made-up sequences and what the model makes of them.
struct MadeUp {
    sequences: Vec<Vec<u32>>,
    outputs: Vec<f32>,
}

fn made_up(model: &mut EncoderModel) -> Result<MadeUp> {
    let config = model.config().clone();
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
    let (encoder, graph) = model.parts();
    graph.reset();
    let batch = crate::language::encoder_batch(graph, &config, &sequences, 0)?;
    let outputs = match config.head {
        EncoderHead::None => encoder.hidden(graph, &batch)?,
        _ => encoder.logits(graph, &batch)?,
    };
    Ok(MadeUp { sequences, outputs: outputs.slice::<f32>()?.to_vec() })
}

impl MadeUp {
    fn compare(&self, config: &EncoderConfig, session: &Session) -> Result<f64> {
        let Self { sequences, outputs } = self;
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
        let found =
            found.first().and_then(|(_, tensor)| tensor.data().floats()).unwrap_or_default();
        if found.len() != outputs.len() {
            return Ok(f64::INFINITY);
        }
        // What padding becomes means nothing.
        let by_token = config.head != EncoderHead::Sequence;
        let width = outputs.len() / rows / if by_token { tokens } else { 1 };
        let real = |i: usize| {
            let cell = i / width;
            !by_token || cell % tokens < sequences[cell / tokens].len()
        };
        let pairs = outputs.iter().zip(&found).enumerate().filter(|(i, _)| real(*i));
        Ok(gap(pairs.map(|(_, (&a, &b))| (a, b as f32))))
    }
}

/// An encoder under construction.
struct Encoder<'a> {
    net: Net<'a>,
    config: &'a EncoderConfig,
}

/// What the layers share: of those that see all tokens, and of those that see near ones.
struct Shared {
    angles: [Option<Angles>; 2],
    masks: [String; 2],
}

impl<'a> Encoder<'a> {
    fn whole(mut self) -> Result<Net<'a>> {
        let config = self.config;
        let open = [None, None];
        let net = &mut self.net;
        let [ids, mask] = ["input_ids", "attention_mask"]
            .map(|name| net.graph.input(name, DType::I64, &open, "[batch, tokens]"));
        let types = (config.token_types > 0)
            .then(|| net.graph.input("token_type_ids", DType::I64, &open, "[batch, tokens]"));
        let positions = self.positions(&ids)?;
        let [table, mut x] = self.embed(&ids, types.as_deref(), &positions)?;
        let shared = self.shared(&mask, &positions)?;
        for i in 0..config.layers {
            x = self.layer(&x, &shared, i)?;
        }
        if let Some(name) = config.final_norm_name() {
            x = self.norm(&x, &name)?;
        }
        let y = self.head(x, &mask, [&table, &ids])?;
        let dims: &[Option<usize>] = match config.head {
            EncoderHead::Sequence => &[None, Some(config.labels)],
            EncoderHead::None => &[None, None, Some(config.hidden_size)],
            EncoderHead::MaskedLm => &[None, None, Some(config.vocab_size)],
            EncoderHead::Tokens => &[None, None, Some(config.labels)],
        };
        let net = &mut self.net;
        let y = net.node("Identity", output(config), &[&y]);
        net.graph.output(&y, DType::F32, dims);
        if config.head != EncoderHead::None && config.head != EncoderHead::MaskedLm {
            let names = serde_json::to_string(&config.label_names()).unwrap_or_default();
            net.graph.metadata("feedforward.classes", names);
        }
        Ok(self.net)
    }

    fn norm(&mut self, x: &str, name: &str) -> Result<String> {
        self.net.norm(x, name, Norm::Layer(self.config.norm_eps))
    }

    /// The table of tokens, and what tokens, sequence types and, where they are learned, positions
    /// give.
    fn embed(&mut self, ids: &str, types: Option<&str>, positions: &str) -> Result<[String; 2]> {
        let [words, norm] = self.config.embedding_names();
        let scope = words.rsplit_once('.').map_or("embeddings", |(scope, _)| scope).to_owned();
        let net = &mut self.net;
        let [table, mut x] = net.rows(&words, ids)?;
        if let Some(types) = types {
            let [_, kind] = net.rows(&format!("{scope}.token_type_embeddings"), types)?;
            x = net.node("Add", "embeddings/typed", &[&x, &kind]);
        }
        if self.config.rope.is_none() {
            let [_, at] = net.rows(&format!("{scope}.position_embeddings"), positions)?;
            x = net.node("Add", "embeddings/placed", &[&x, &at]);
        }
        Ok([table, self.norm(&x, &norm)?])
    }

    /// 0, 1, … `[1, T]`, or counted from one past the padding token's id `[B, T]`.
    fn positions(&mut self, ids: &str) -> Result<String> {
        let net = &mut self.net;
        let one = net.put("positions/one", &[], vec![1i64])?;
        if !self.config.positions_behind_padding {
            let zero = net.put("positions/zero", &[], vec![0i64])?;
            let shape = net.node("Shape", "positions/shape", &[ids]);
            let axis = AttributeProto::int("axis", 0);
            let tokens = net.with("Gather", "positions/tokens", &[&shape, &one], axis);
            let row = net.node("Range", "positions/row", &[&zero, &tokens, &one]);
            let first = net.whole("positions/first", &[0])?;
            return Ok(net.node("Unsqueeze", "positions", &[&row, &first]));
        }
        let pad = net.put("positions/pad", &[], vec![i64::from(self.config.pad_token)])?;
        let padding = net.node("Equal", "positions/is_padding", &[ids, &pad]);
        let real = net.node("Not", "positions/is_real", &[&padding]);
        let real = net.cast(&real, "positions/real", DType::I64);
        let count = net.node("CumSum", "positions/count", &[&real, &one]);
        let count = net.node("Mul", "positions/of_real", &[&count, &real]);
        Ok(net.node("Add", "positions", &[&count, &pad]))
    }

    /// What is added to scores: 0, or a large negative number for padding, `[B, 1, 1, T]`, and for
    /// tokens that are not near, `[B, 1, T, T]`; with the angles of rotary positions.
    fn shared(&mut self, mask: &str, positions: &str) -> Result<Shared> {
        let (config, net) = (self.config, &mut self.net);
        let zero = net.put("mask/zero", &[], vec![0i64])?;
        let padding = net.node("Equal", "mask/is_padding", &[mask, &zero]);
        let (least, none) = (net.number("mask/least", -1e30)?, net.number("mask/none", 0.0)?);
        let axes = net.whole("mask/axes", &[1, 2])?;
        let padding = net.node("Unsqueeze", "mask/padding", &[&padding, &axes]);
        let all = net.node("Where", "mask", &[&padding, &least, &none]);
        let mut shared = Shared { angles: [None, None], masks: [all.clone(), all] };
        if let Some(rope) = &config.rope {
            shared.angles[0] = Some(net.angles(positions, rope, "positions")?);
        }
        let Some(width) = config.windows.iter().copied().flatten().next() else {
            return Ok(shared);
        };
        if let Some(rope) = &config.local_rope {
            shared.angles[1] = Some(net.angles(positions, rope, "near_positions")?);
        }
        let last = net.whole("near/last", &[2])?;
        let rows = net.node("Unsqueeze", "near/queries", &[positions, &last]);
        let keys = net.whole("near/keys_axis", &[1])?;
        let columns = net.node("Unsqueeze", "near/keys", &[positions, &keys]);
        let apart = net.node("Sub", "near/difference", &[&columns, &rows]);
        let apart = net.node("Abs", "near/distance", &[&apart]);
        let width = net.put("near/width", &[], vec![width as i64])?;
        let far = net.node("Greater", "near/is_far", &[&apart, &width]);
        let far = net.node("Unsqueeze", "near/far", &[&far, &keys]);
        let hidden = net.node("Or", "near/hidden", &[&padding, &far]);
        shared.masks[1] = net.node("Where", "near/mask", &[&hidden, &least, &none]);
        Ok(shared)
    }

    /// norm(x + f(x)), or x + f(norm(x)), for a part f with its norm; none where it has no name.
    fn residual(
        &mut self,
        x: &str,
        norm: &str,
        scope: &str,
        f: impl FnOnce(&mut Self, &str) -> Result<String>,
    ) -> Result<String> {
        let before = self.config.norm_place == NormPlace::Before;
        let h = if before && !norm.is_empty() { self.norm(x, norm)? } else { x.to_owned() };
        let y = f(self, &h)?;
        let y = self.net.node("Add", scope, &[x, &y]);
        if before { Ok(y) } else { self.norm(&y, norm) }
    }

    fn layer(&mut self, x: &str, shared: &Shared, i: usize) -> Result<String> {
        let (config, names) = (self.config, self.config.layer_names(i));
        let attended = format!("layer.{i}/attended");
        let x = self.residual(x, &names.attention_norm, &attended, |encoder, x| {
            encoder.attention(x, shared, &names, i)
        })?;
        let fed = format!("layer.{i}/fed");
        self.residual(&x, &names.feedforward_norm, &fed, |encoder, x| {
            let layers = names.layers.each_ref().map(String::as_str);
            let (hidden, f) = (config.intermediate_size, config.activation);
            encoder.net.feedforward(x, layers, config.gated, hidden, f)
        })
    }

    fn attention(
        &mut self,
        x: &str,
        shared: &Shared,
        names: &EncoderLayerNames,
        i: usize,
    ) -> Result<String> {
        let (config, net) = (self.config, &mut self.net);
        let (heads, d) = (config.heads, config.hidden_size / config.heads);
        let scope = format!("layer.{i}");
        let of = |part: &str| format!("{scope}/{part}");
        let kind = usize::from(config.windows.get(i).is_some_and(Option::is_some));
        let features = config.hidden_size;
        let [own, ..] = &names.projections;
        let mut part = |k: usize, name: &str| -> Result<String> {
            let y = if config.fused_qkv {
                net.linear_part(x, own, k * features..(k + 1) * features, name)?
            } else {
                net.linear(x, &names.projections[k])?
            };
            let y = net.by_head(&y, heads, d, &of(&format!("{name}_heads")))?;
            match &shared.angles[kind] {
                Some(angles) if k < 2 => net.turned(&y, d, angles, &of(name)),
                _ => Ok(y),
            }
        };
        let (q, k, v) = (part(0, "q")?, part(1, "k")?, part(2, "v")?);
        let k = net.heads_first(&k, &of("k_first"));
        let v = net.heads_first(&v, &of("v_first"));
        let spec =
            Heads { count: heads, shared: heads, width: d, scale: None, cap: None, sinks: None };
        let y = net.attend([&q, &k, &v], &shared.masks[kind], &spec, &scope)?;
        net.linear(&y, &names.projections[3])
    }

    /// The vector of each sequence: its first token's, or the mean without padding.
    fn pooled(&mut self, x: &str, mask: &str) -> Result<String> {
        let net = &mut self.net;
        let axis = AttributeProto::int("axis", 1);
        if !self.config.mean_pooled {
            let first = net.put("pooled/first", &[], vec![0i64])?;
            return Ok(net.with("Gather", "pooled", &[x, &first], axis));
        }
        let real = net.cast(mask, "pooled/real", DType::F32);
        let last = net.whole("pooled/last", &[2])?;
        let real = net.node("Unsqueeze", "pooled/weights", &[&real, &last]);
        let x = net.node("Mul", "pooled/vectors", &[x, &real]);
        let axes = net.whole("pooled/axes", &[1])?;
        let flat = AttributeProto::int("keepdims", 0);
        let sum = net.with("ReduceSum", "pooled/sum", &[&x, &axes], flat.clone());
        let count = net.with("ReduceSum", "pooled/count", &[&real, &axes], flat);
        Ok(net.node("Div", "pooled", &[&sum, &count]))
    }

    fn head(&mut self, x: String, mask: &str, [table, ids]: [&str; 2]) -> Result<String> {
        let Some(head) = self.config.head_layers() else { return Ok(x) };
        let mut x = match self.config.head {
            EncoderHead::Sequence => self.pooled(&x, mask)?,
            _ => x,
        };
        if let Some((name, f)) = &head.dense {
            x = self.net.linear(&x, name)?;
            x = self.net.activation(*f, &x, "head/activation")?;
        }
        if let Some(name) = &head.norm {
            x = self.norm(&x, name)?;
        }
        let (config, net) = (self.config, &mut self.net);
        let y = if config.head == EncoderHead::MaskedLm && config.tied {
            net.product_with_table(&x, table, ids, [config.vocab_size, config.hidden_size])?
        } else {
            net.product(&x, &head.weight)?
        };
        if !net.has(&head.bias) {
            return Ok(y);
        }
        let b = net.weight(&head.bias)?;
        Ok(net.node("Add", "head/logits", &[&y, &b]))
    }
}
