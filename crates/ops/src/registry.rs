use ff_graph::Case;

/// An operation and the cases that check it.
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

/// Every operation. One line here is what makes the gradient check, the parity fixtures, the comparison of fast and plain
/// paths and `feedforward check` run on it.
///
/// ```
/// assert!(ff_ops::registry().iter().any(|entry| entry.name == "feedforward"));
/// ```
pub fn registry() -> &'static [Entry] {
    &[
        Entry { name: "activation", cases: crate::activation::cases },
        Entry { name: "add", cases: crate::add::cases },
        Entry { name: "attention", cases: crate::attention::cases },
        Entry { name: "batch_norm", cases: crate::batch_norm::cases },
        Entry {
            name: "binary_cross_entropy_with_logits",
            cases: crate::binary_cross_entropy_with_logits::cases,
        },
        Entry { name: "binary_focal", cases: crate::binary_focal::cases },
        Entry { name: "concat", cases: crate::concat::cases },
        Entry { name: "dropout", cases: crate::dropout::cases },
        Entry { name: "embedding", cases: crate::embedding::cases },
        Entry { name: "feedforward", cases: crate::feedforward::cases },
        Entry { name: "feedforward_block", cases: crate::feedforward_block::cases },
        Entry { name: "focal", cases: crate::focal::cases },
        Entry { name: "huber", cases: crate::huber::cases },
        Entry { name: "kl_divergence", cases: crate::kl_divergence::cases },
        Entry { name: "layer_norm", cases: crate::layer_norm::cases },
        Entry { name: "linear_cross_entropy", cases: crate::linear_cross_entropy::cases },
        Entry { name: "log_softmax", cases: crate::softmax::log_cases },
        Entry { name: "mae", cases: crate::mae::cases },
        Entry { name: "mixture_of_experts", cases: crate::mixture_of_experts::cases },
        Entry { name: "mse", cases: crate::mse::cases },
        Entry { name: "mul", cases: crate::mul::cases },
        Entry { name: "pool_tokens", cases: crate::pool_tokens::cases },
        Entry { name: "prelu", cases: crate::prelu::cases },
        Entry { name: "rms_norm", cases: crate::rms_norm::cases },
        Entry { name: "rotary", cases: crate::rotary::cases },
        Entry { name: "router_balance", cases: crate::router_balance::cases },
        Entry { name: "scale", cases: crate::scale::cases },
        Entry { name: "scale_rows", cases: crate::scale_rows::cases },
        Entry { name: "softmax", cases: crate::softmax::cases },
        Entry { name: "softmax_cross_entropy", cases: crate::softmax_cross_entropy::cases },
    ]
}
