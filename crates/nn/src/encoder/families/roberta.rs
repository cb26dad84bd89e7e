//! RoBERTa (Liu et al., 2019).

use super::{Activation, BERT_BLOCK, CLASSIFIER, EncoderConfig, EncoderFamily, Fields, HeadNames};
use super::{BERT_EMBEDDINGS, Names, read_bert};

pub(super) static FAMILY: EncoderFamily = EncoderFamily {
    name: "roberta",
    class: "Roberta",
    names: Names {
        body: "roberta",
        embeddings: BERT_EMBEDDINGS,
        final_norm: None,
        layers: "encoder.layer",
        block: BERT_BLOCK,
        masked: HeadNames {
            dense: Some(("lm_head.dense", Some(Activation::Gelu))),
            norm: Some("lm_head.layer_norm"),
            reads_mean: false,
            weight: "lm_head.decoder.weight",
            bias: "lm_head.bias",
        },
        sequence: HeadNames {
            dense: Some(("classifier.dense", Some(Activation::Tanh))),
            norm: None,
            reads_mean: false,
            weight: "classifier.out_proj.weight",
            bias: "classifier.out_proj.bias",
        },
        tokens: CLASSIFIER,
    },
    read,
};

fn read(fields: &Fields<'_>) -> EncoderConfig {
    let mut config = read_bert(fields, &FAMILY);
    config.pad_token = fields.count("pad_token_id").unwrap_or(1) as i32;
    config.positions_behind_padding = true;
    config
}
