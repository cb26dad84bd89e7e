//! A training step of a language model: forward, loss, backward, clipping, AdamW, in the loop of
//! `pretrain`.

use crate::clock::Clock;
use crate::train;
use crate::work::{Arithmetic, Error, Work};
use feedforward::language::objective::{LanguageObjective, Windows};
use ff_graph::Graph;
use ff_nn::models::{CausalLm, DecoderConfig, LanguageOptions};
use ff_nn::{Builder, Precision};
use ff_tensor::{DType, Device, Key, Rng};

/// Transformers' GPT-2 in three sizes: that of nanoGPT's CPU example, a medium one, and the
/// original.
struct Model {
    name: &'static str,
    vocab: usize,
    layers: usize,
    heads: usize,
    width: usize,
    context: usize,
    batch: usize,
}

const MODELS: [Model; 3] = [
    Model {
        name: "gpt2-4x128",
        vocab: 65,
        layers: 4,
        heads: 4,
        width: 128,
        context: 64,
        batch: 12,
    },
    Model {
        name: "gpt2-6x384",
        vocab: 65,
        layers: 6,
        heads: 6,
        width: 384,
        context: 256,
        batch: 4,
    },
    Model {
        name: "gpt2-124m",
        vocab: 50257,
        layers: 12,
        heads: 12,
        width: 768,
        context: 64,
        batch: 4,
    },
];

pub(crate) fn works() -> Vec<Work> {
    let kinds =
        [("f32", Precision::F32, Arithmetic::F32), ("bf16", Precision::Bf16, Arithmetic::Bf16)];
    let works = kinds.iter().flat_map(|&(kind, precision, arithmetic)| {
        MODELS.iter().map(move |model| Work {
            name: format!("lm-{kind}/{}", model.name),
            arithmetic,
            flops: model.flops(),
            run: Box::new(move |device, clock| model.run(precision, device, clock)),
        })
    });
    works.collect()
}

impl Model {
    /// The products of a step: three for each product with a weight, and attention's scores and
    /// sums, half of which the causal mask removes.
    fn flops(&self) -> f64 {
        let tokens = (self.batch * self.context) as f64;
        let weights = self.layers * 12 * self.width * self.width + self.vocab * self.width;
        let attention = self.layers * self.context * self.width * 2;
        6.0 * tokens * (weights as f64 + attention as f64 / 2.0)
    }

    fn run(&self, precision: Precision, device: &Device, clock: &mut Clock) -> Result<(), Error> {
        let config = DecoderConfig::parse(&format!(
            r#"{{"model_type": "gpt2", "vocab_size": {}, "n_positions": {}, "n_embd": {}, "n_layer": {}, "n_head": {}}}"#,
            self.vocab, self.context, self.width, self.layers, self.heads
        ))?;
        let mut builder = Builder::new();
        let options = LanguageOptions { precision, ..LanguageOptions::default() };
        let model = CausalLm::new(&mut builder, &config, &options);
        let graph = Graph::new(device, builder.build(device, DType::F32, 0, true)?);
        let mut rng = Rng::new(Key::new(1));
        let tokens: Vec<i32> = (0..100 * self.batch * self.context)
            .map(|_| rng.below(self.vocab as u64) as i32)
            .collect();
        let windows = Windows { context: self.context, random: true, ..Windows::default() };
        let mut objective = LanguageObjective::new(&model, windows, &tokens, None, self.batch);
        train::fit_adamw(graph, &mut objective, self.batch, clock)
    }
}
