//! BERT (Devlin et al., 2019).

use super::{Activation, BERT_BLOCK, CLASSIFIER, EncoderConfig, EncoderFamily, Fields, HeadNames};
use super::{BERT_EMBEDDINGS, Names, read_bert};

pub(super) static FAMILY: EncoderFamily = EncoderFamily {
    name: "bert",
    class: "Bert",
    names: Names {
        body: "bert",
        embeddings: BERT_EMBEDDINGS,
        final_norm: None,
        layers: "encoder.layer",
        block: BERT_BLOCK,
        masked: HeadNames {
            dense: Some(("cls.predictions.transform.dense", None)),
            norm: Some("cls.predictions.transform.LayerNorm"),
            reads_mean: false,
            weight: "cls.predictions.decoder.weight",
            bias: "cls.predictions.bias",
        },
        sequence: HeadNames {
            dense: Some(("bert.pooler.dense", Some(Activation::Tanh))),
            ..CLASSIFIER
        },
        tokens: CLASSIFIER,
    },
    read,
};

fn read(fields: &Fields<'_>) -> EncoderConfig {
    read_bert(fields, &FAMILY)
}
