//! The table of works.

use crate::work::Work;
use crate::{attention, experts, ffn, fit, gemm, head, infer, language, train};

/// All works, family by family. A new work is one entry in its family's `works()`.
pub(crate) fn works() -> Vec<Work> {
    [
        train::works(),
        infer::works(),
        ffn::works(),
        attention::works(),
        experts::works(),
        head::works(),
        fit::works(),
        gemm::works(),
        language::works(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
