//! The families of encoders, one per file.

use super::common::{BERT_BLOCK, BERT_EMBEDDINGS, CLASSIFIER, bert as read_bert};
use super::config::{EncoderConfig, EncoderFamily, HeadNames, Names};
use crate::transformer::fields::Fields;
use ff_ops::Activation;

macro_rules! families {
    ($($file:ident),* $(,)?) => {
        $(mod $file;)*
        pub(super) static ALL: &[&EncoderFamily] = &[$(&$file::FAMILY),*];
    };
}

families![bert, roberta, distilbert, modernbert];
