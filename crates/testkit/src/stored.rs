//! PyTorch's results for most operations, embedded so that every machine can compare with them.

use crate::{CheckResult, Fixtures, parity_check};
use ff_graph::Case;

macro_rules! files {
    ($($op:ident)*) => {
        &[$((
            stringify!($op),
            include_bytes!(concat!("../fixtures/torch/", stringify!($op), ".safetensors")),
        )),*]
    };
}

/// The fixtures of operations by name: all but the three large files, which only tests read.
const EMBEDDED: &[(&str, &[u8])] = files! {
    activation adapted_experts add attention_dropout batch_ensemble batch_norm binary_cross_entropy_with_logits binary_focal concat
    dora_factors dropout embedding embedding_bag feedforward focal gate huber in_batch_ranking kl_divergence layer_norm linear_cross_entropy
    log_softmax lora_linear mae mean_of_members member_linear mse mul parametric_activation periodic
    piecewise_linear pool_tokens preference prelu replace_rows rms_norm rotary router_balance scale scale_rows soft_cap softmax
    softmax_cross_entropy split
};

/// Compares a case with the embedded results of PyTorch; `None` without any.
pub(crate) fn stored_check(case: &Case) -> Option<CheckResult> {
    let (op, _) = case.name.split_once('/')?;
    let (_, bytes) = EMBEDDED.iter().find(|(name, _)| *name == op)?;
    match Fixtures::parse(bytes) {
        Ok(fixtures) => fixtures.contains(&case.name).then(|| parity_check(case, &fixtures)),
        Err(error) => {
            let mut result = CheckResult::new(&case.name);
            result.promise("parity", error.to_string());
            Some(result)
        }
    }
}
