//! A decoder with its cache as nodes, by its specification.

use crate::error::Result;
use crate::onnx::{Angles, Heads, Net, Norm};
use ff_interop::onnx::proto::AttributeProto;
use ff_interop::onnx::{DType, Dim};
use ff_nn::layers::QueryKeyNorm;
use ff_nn::models::{
    DecoderConfig, DecoderLayerNames, LayerConfig, LayerRope, NormPlace, TransformerNorm,
};

/// The names of dimensions that vary, which Optimum gives them too.
const BATCH: Dim<'_> = Dim::Open("batch_size");
const TOKENS: Dim<'_> = Dim::Open("sequence_length");
const PAST: Dim<'_> = Dim::Open("past_sequence_length");
const ALL: Dim<'_> = Dim::Open("total_sequence_length");

/// A decoder under construction, with what its layers share.
struct Decoder<'a> {
    net: Net<'a>,
    config: &'a DecoderConfig,
    /// The angles of the model's positions, and of those of near layers.
    angles: [Option<Angles>; 2],
    /// What is added to the scores of layers with a window, by its width.
    masks: Vec<(Option<usize>, String)>,
}

/// Adds a decoder to a graph: `input_ids`, `attention_mask`, `position_ids` and
/// `past_key_values.N.key` and `.value` become `logits` and `present.N.key` and `.value`.
pub(super) fn add<'a>(net: Net<'a>, config: &'a DecoderConfig) -> Result<Net<'a>> {
    let mut decoder = Decoder { net, config, angles: [None, None], masks: Vec::new() };
    let names = config.names();
    let net = &mut decoder.net;
    let mut whole = |name: &str, dims: [Dim<'_>; 2], about: &str| {
        net.graph.input_of(name, DType::I64, &dims, about)
    };
    let ids = whole("input_ids", [BATCH, TOKENS], "the new tokens");
    let mask = whole(
        "attention_mask",
        [BATCH, ALL],
        "1 for tokens, 0 for padding, those of the cache first",
    );
    let positions = whole("position_ids", [BATCH, TOKENS], "the positions of the new tokens");
    let (kv, width) = (Dim::Fixed(config.kv_heads), Dim::Fixed(config.head_dim));
    let past: Vec<[String; 2]> = (0..config.layers.len())
        .map(|i| {
            ["key", "value"].map(|part| {
                let name = format!("past_key_values.{i}.{part}");
                net.graph.input_of(&name, DType::F32, &[BATCH, kv, PAST, width], "")
            })
        })
        .collect();
    let [table, mut x] = net.rows(&names.embedding, &ids)?;
    if config.embedding_scale != 1.0 {
        let scale = net.number("embeddings/scale", config.embedding_scale)?;
        x = net.node("Mul", "embeddings/scaled", &[&x, &scale]);
    }
    if config.rope.is_none() {
        let [_, at] = net.rows(&names.positions, &positions)?;
        x = net.node("Add", "embeddings/placed", &[&x, &at]);
    }
    decoder.place(&ids, &mask, &positions)?;
    let mut present = Vec::with_capacity(past.len());
    for (i, past) in past.iter().enumerate() {
        let (y, own) = decoder.layer(&x, i, past)?;
        x = y;
        present.extend(own);
    }
    let norm = decoder.norm_kind();
    let net = &mut decoder.net;
    let x = net.norm(&x, &names.norm, norm)?;
    let mut y = if config.tied {
        net.product_with_table(&x, &table, &ids, [config.vocab_size, config.hidden_size])?
    } else {
        net.product(&x, &format!("{}.weight", names.output))?
    };
    if let Some(cap) = config.logit_cap {
        y = net.soft_cap(&y, cap, "logits/bounded")?;
    }
    let y = net.node("Identity", "logits", &[&y]);
    net.graph.output_of(&y, DType::F32, &[BATCH, TOKENS, Dim::Fixed(config.vocab_size)]);
    for name in present {
        net.graph.output_of(&name, DType::F32, &[BATCH, kv, ALL, width]);
    }
    net.graph.metadata("feedforward.config", config.to_json());
    Ok(decoder.net)
}

impl Decoder<'_> {
    fn norm_kind(&self) -> Norm {
        match self.config.norm {
            TransformerNorm::Layer => Norm::Layer(self.config.norm_eps),
            TransformerNorm::Rms => Norm::Rms(self.config.norm_eps, self.config.norm_offset),
        }
    }

    /// The angles and masks that layers ask for: those of the new tokens among all.
    fn place(&mut self, ids: &str, mask: &str, positions: &str) -> Result<()> {
        let config = self.config;
        let kinds = [
            (LayerRope::Global, config.rope.as_ref(), "positions"),
            (LayerRope::Local, config.local_rope.as_ref(), "near_positions"),
        ];
        for (own, (kind, rope, scope)) in self.angles.iter_mut().zip(kinds) {
            let rope = rope.filter(|_| config.layers.iter().any(|layer| layer.rope == kind));
            *own = rope.map(|rope| self.net.angles(positions, rope, scope)).transpose()?;
        }
        let net = &mut self.net;
        let size = |net: &mut Net<'_>, x: &str, name: &str| -> Result<String> {
            let shape = net.node("Shape", &format!("mask/{name}_shape"), &[x]);
            let one = net.put(&format!("mask/{name}_axis"), &[], vec![1i64])?;
            let axis = AttributeProto::int("axis", 0);
            Ok(net.with("Gather", &format!("mask/{name}"), &[&shape, &one], axis))
        };
        let (all, new) = (size(net, mask, "all")?, size(net, ids, "new")?);
        let (zero, one) =
            (net.put("mask/zero", &[], vec![0i64])?, net.put("mask/one", &[], vec![1i64])?);
        let first = net.node("Sub", "mask/first", &[&all, &new]);
        let keys = net.node("Range", "mask/keys", &[&zero, &all, &one]);
        let queries = net.node("Range", "mask/query_row", &[&first, &all, &one]);
        let last = net.whole("mask/last", &[1])?;
        let queries = net.node("Unsqueeze", "mask/queries", &[&queries, &last]);
        let seen = net.node("LessOrEqual", "mask/not_later", &[&keys, &queries]);
        let padding = net.node("Equal", "mask/is_padding", &[mask, &zero]);
        let real = net.node("Not", "mask/is_token", &[&padding]);
        let axes = net.whole("mask/axes", &[1, 2])?;
        let real = net.node("Unsqueeze", "mask/tokens", &[&real, &axes]);
        let seen = net.node("And", "mask/seen", &[&seen, &real]);
        let (least, none) = (net.number("mask/least", -1e30)?, net.number("mask/none", 0.0)?);
        for window in config.layers.iter().map(|layer| layer.window) {
            if self.masks.iter().any(|(known, _)| *known == window) {
                continue;
            }
            let mut own = seen.clone();
            if let Some(width) = window {
                let scope = format!("mask/window_{width}");
                let net_width = net.put(&format!("{scope}/width"), &[], vec![width as i64])?;
                let before = net.node("Sub", &format!("{scope}/before"), &[&queries, &net_width]);
                let near = net.node("Greater", &format!("{scope}/is_near"), &[&keys, &before]);
                own = net.node("And", &format!("{scope}/seen"), &[&seen, &near]);
            }
            let name = window.map_or("mask".into(), |width| format!("mask/window_{width}"));
            self.masks.push((window, net.node("Where", &name, &[&own, &none, &least])));
        }
        Ok(())
    }

    /// A part f of a block with its residual and its norms.
    fn residual(
        &mut self,
        x: &str,
        [first, second]: &[String; 2],
        f: impl FnOnce(&mut Self, &str) -> Result<String>,
    ) -> Result<String> {
        let (place, norm) = (self.config.norm_place, self.norm_kind());
        let before = matches!(place, NormPlace::Before | NormPlace::Around);
        let h = if before { self.net.norm(x, first, norm)? } else { x.to_owned() };
        let mut y = f(self, &h)?;
        match place {
            NormPlace::Branch => y = self.net.norm(&y, first, norm)?,
            NormPlace::Around => y = self.net.norm(&y, second, norm)?,
            NormPlace::Before | NormPlace::After => {}
        }
        let y = self.net.node("Add", &format!("{first}/sum"), &[x, &y]);
        if place == NormPlace::After { self.net.norm(&y, first, norm) } else { Ok(y) }
    }

    /// A layer's output, and its keys and values with the new ones.
    fn layer(&mut self, x: &str, i: usize, past: &[String; 2]) -> Result<(String, [String; 2])> {
        let (config, names) = (self.config, self.config.layer_names(i));
        let layer = config.layers[i];
        let mut present = [String::new(), String::new()];
        let x = self.residual(x, &names.attention_norms, |decoder, x| {
            let (y, own) = decoder.attention(x, i, &layer, &names, past)?;
            present = own;
            Ok(y)
        })?;
        let x = self.residual(&x, &names.feedforward_norms, |decoder, x| {
            let net = &mut decoder.net;
            let f = config.activation;
            if let Some(moe) = config.moe.filter(|_| layer.experts) {
                return net.experts(x, &names.feedforward, &moe, f, config.hidden_size);
            }
            let layers = names.layers.each_ref().map(String::as_str);
            net.feedforward(x, layers, config.gated, config.intermediate_size, f)
        })?;
        Ok((x, present))
    }

    fn attention(
        &mut self,
        x: &str,
        i: usize,
        layer: &LayerConfig,
        names: &DecoderLayerNames,
        past: &[String; 2],
    ) -> Result<(String, [String; 2])> {
        let (config, net) = (self.config, &mut self.net);
        let (heads, kv, d) = (config.heads, config.kv_heads, config.head_dim);
        let of = |part: &str| format!("{}/{part}", names.attention);
        let (q, k, v) = (heads * d, kv * d, kv * d);
        let [own, k_name, v_name, out] = &names.projections;
        let [mut q, mut k, v] = if config.fused_qkv {
            [(0..q, "q"), (q..q + k, "k"), (q + k..q + k + v, "v")]
                .map(|(rows, part)| net.linear_part(x, own, rows, part))
        } else {
            [own, k_name, v_name].map(|name| net.linear(x, name))
        }
        .into_iter()
        .collect::<Result<Vec<_>>>()
        .and_then(|parts| {
            <[String; 3]>::try_from(parts)
                .map_err(|_| crate::Error::usage("attention has queries, keys and values"))
        })?;
        let eps = Norm::Rms(config.norm_eps, config.norm_offset);
        let [q_norm, k_norm] = ["q_norm", "k_norm"].map(|n| format!("{}.{n}", names.attention));
        if config.qk_norm == Some(QueryKeyNorm::Projection) {
            q = net.norm(&q, &q_norm, eps)?;
            k = net.norm(&k, &k_norm, eps)?;
        }
        let mut q = net.by_head(&q, heads, d, &of("q_heads"))?;
        let mut k = net.by_head(&k, kv, d, &of("k_heads"))?;
        let v = net.by_head(&v, kv, d, &of("v_heads"))?;
        if config.qk_norm == Some(QueryKeyNorm::Head) {
            q = net.norm(&q, &q_norm, eps)?;
            k = net.norm(&k, &k_norm, eps)?;
        }
        let angles = match layer.rope {
            LayerRope::Global => self.angles[0].as_ref(),
            LayerRope::Local => self.angles[1].as_ref(),
            LayerRope::None => None,
        };
        if let Some(angles) = angles {
            q = net.turned(&q, d, angles, &of("q"))?;
            k = net.turned(&k, d, angles, &of("k"))?;
        }
        let k = net.heads_first(&k, &of("k_first"));
        let v = net.heads_first(&v, &of("v_first"));
        let mut joined = |past: &str, new: &str, part: &str| {
            let axis = AttributeProto::int("axis", 2);
            net.with("Concat", &format!("present.{i}.{part}"), &[past, new], axis)
        };
        let present = [joined(&past[0], &k, "key"), joined(&past[1], &v, "value")];
        let sinks = config.sinks.then(|| format!("{}.sinks", names.attention));
        let heads = Heads {
            count: heads,
            shared: kv,
            width: d,
            scale: layer.scale,
            cap: config.score_cap,
            sinks: sinks.as_deref(),
        };
        let mask = self.masks.iter().find(|(window, _)| *window == layer.window);
        let mask = mask.map(|(_, name)| name.clone()).unwrap_or_default();
        let [k, v] = &present;
        let y = net.attend([&q, k, v], &mask, &heads, &names.attention)?;
        Ok((net.linear(&y, out)?, present))
    }
}
