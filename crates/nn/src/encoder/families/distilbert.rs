//! DistilBERT (Sanh et al., 2019).

use super::super::common::{BERT_EMBEDDINGS, Keys, common};
use super::{Activation, CLASSIFIER, EncoderConfig, EncoderFamily, Fields, HeadNames, Names};
use crate::transformer::BlockNames;

pub(super) static FAMILY: EncoderFamily = EncoderFamily {
    name: "distilbert",
    class: "DistilBert",
    names: Names {
        body: "distilbert",
        embeddings: BERT_EMBEDDINGS,
        final_norm: None,
        layers: "transformer.layer",
        block: BlockNames {
            attention: "attention",
            attention_norm: "sa_layer_norm",
            projections: ["q_lin", "k_lin", "v_lin", "out_lin"],
            cross: None,
            feedforward: "ffn",
            feedforward_norm: "output_layer_norm",
            second_norms: ["", ""],
            layers: ["", "lin1", "lin2"],
        },
        masked: HeadNames {
            dense: Some(("vocab_transform", None)),
            norm: Some("vocab_layer_norm"),
            reads_mean: false,
            weight: "vocab_projector.weight",
            bias: "vocab_projector.bias",
        },
        sequence: HeadNames {
            dense: Some(("pre_classifier", Some(Activation::Relu))),
            ..CLASSIFIER
        },
        tokens: CLASSIFIER,
    },
    read,
};

const KEYS: Keys = Keys {
    hidden: "dim",
    heads: "n_heads",
    intermediate: "hidden_dim",
    layers: "n_layers",
    activation: "activation",
};

fn read(fields: &Fields<'_>) -> EncoderConfig {
    common(fields, &FAMILY, &KEYS)
}
