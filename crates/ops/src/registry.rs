use crate::RegressionLoss::{Huber, Mae, Mse};
use crate::loss::regression;
use ff_graph::Case;

/// An operation and its cases.
///
/// ```
/// let entry = ff_ops::registry().iter().find(|entry| entry.name == "softmax").unwrap();
/// assert!(!(entry.cases)().is_empty());
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// Its name.
    pub name: &'static str,
    /// The cases.
    pub cases: fn() -> Vec<Case>,
}

/// Every operation. A line here includes it in the gradient check, the parity fixtures, the
/// comparison of fast and plain paths, and `feedforward check`.
pub fn registry() -> &'static [Entry] {
    &[
        Entry { name: "activation", cases: crate::activation::cases },
        Entry { name: "adapted_experts", cases: crate::mixture::adapted_experts::cases },
        Entry { name: "add", cases: crate::arithmetic::add::cases },
        Entry { name: "attention", cases: crate::attention::cases },
        Entry { name: "attention_dropout", cases: crate::attention::dropout_cases },
        Entry { name: "batch_ensemble", cases: crate::linear::ensemble::cases },
        Entry { name: "batch_norm", cases: crate::norm::batch_norm::cases },
        Entry {
            name: "binary_cross_entropy_with_logits",
            cases: crate::loss::binary_cross_entropy_with_logits::cases,
        },
        Entry { name: "binary_focal", cases: crate::loss::binary_focal::cases },
        Entry { name: "concat", cases: crate::combine::concat::cases },
        Entry { name: "dora_factors", cases: crate::linear::dora::cases },
        Entry { name: "dropout", cases: crate::arithmetic::dropout::cases },
        Entry { name: "embedding", cases: crate::linear::embedding::cases },
        Entry { name: "embedding_bag", cases: crate::linear::embedding_bag::cases },
        Entry { name: "feedforward", cases: crate::linear::feedforward::cases },
        Entry { name: "feedforward_block", cases: crate::linear::feedforward_block::cases },
        Entry { name: "focal", cases: crate::loss::focal::cases },
        Entry { name: "gate", cases: crate::activation::gate::cases },
        // A small δ, so that both branches are taken.
        Entry { name: "huber", cases: || regression::cases(Huber { delta: 0.75 }) },
        Entry { name: "in_batch_ranking", cases: crate::loss::in_batch_ranking::cases },
        Entry { name: "kl_divergence", cases: crate::loss::kl_divergence::cases },
        Entry { name: "layer_norm", cases: crate::norm::layer_norm::cases },
        Entry { name: "linear_cross_entropy", cases: crate::loss::linear_cross_entropy::cases },
        Entry { name: "log_softmax", cases: crate::softmax::log_cases },
        Entry { name: "lora_linear", cases: crate::linear::lora::cases },
        Entry { name: "mae", cases: || regression::cases(Mae) },
        Entry { name: "mean_of_members", cases: crate::combine::mean_of_members::cases },
        Entry { name: "member_linear", cases: crate::linear::ensemble::own_cases },
        Entry { name: "mixture_of_experts", cases: crate::mixture::mixture_of_experts::cases },
        Entry { name: "mse", cases: || regression::cases(Mse) },
        Entry { name: "mul", cases: crate::arithmetic::mul::cases },
        Entry { name: "parametric_activation", cases: crate::activation::parametric::cases },
        Entry { name: "periodic", cases: crate::linear::periodic::cases },
        Entry { name: "piecewise_linear", cases: crate::linear::piecewise_linear::cases },
        Entry { name: "pool_tokens", cases: crate::combine::pool_tokens::cases },
        Entry { name: "preference", cases: crate::loss::preference::cases },
        Entry { name: "prelu", cases: crate::activation::prelu::cases },
        Entry { name: "replace_rows", cases: crate::linear::replace_rows::cases },
        Entry { name: "rms_norm", cases: crate::norm::rms_norm::cases },
        Entry { name: "rotary", cases: crate::attention::rotary::cases },
        Entry { name: "router_balance", cases: crate::mixture::router_balance::cases },
        Entry { name: "scale", cases: crate::arithmetic::scale::cases },
        Entry { name: "scale_rows", cases: crate::arithmetic::scale_rows::cases },
        Entry { name: "soft_cap", cases: crate::activation::soft_cap::cases },
        Entry { name: "softmax", cases: crate::softmax::cases },
        Entry { name: "softmax_cross_entropy", cases: crate::loss::softmax_cross_entropy::cases },
        Entry { name: "split", cases: crate::combine::split::cases },
    ]
}
