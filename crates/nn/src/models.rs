//! Networks, built from their configs.

pub use crate::decoder::{
    CausalLm, CausalLoss, DecoderConfig, DecoderLayerNames, DecoderNames, Family, FileTensor,
    LayerConfig, LayerRope, ModelCache, MoeConfig, TokenBatch, file_tensors, is_ignored,
    plain_file_tensors,
};
pub use crate::encoder::{
    Encoder, EncoderBatch, EncoderConfig, EncoderDropout, EncoderFamily, EncoderHead,
    EncoderHeadLayers, EncoderLayerNames, EncoderOutputs, EncoderProblem,
};
pub use crate::mlp::{Bags, Mlp, MlpConfig, MlpInput, Predictor};
pub use crate::seq2seq::{
    DecoderCache, EncoderDecoder, EncoderDecoderBatch, EncoderDecoderConfig, EncoderDecoderDropout,
    EncoderDecoderFamily, StackConfig,
};
pub use crate::transformer::{LanguageOptions, NormPlace, Rope, TransformerNorm};
