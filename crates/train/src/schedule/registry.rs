//! Every schedule: its type and its name in a recipe.

use super::shape::registry;

registry! {
    #[default] constant::Constant = "constant",
    step::Step = "step",
    exponential::Exponential = "exponential",
    cosine::Cosine = "cosine",
    coslog::Coslog = "coslog",
    linear::Linear = "linear",
    polynomial::Polynomial = "polynomial",
    one_cycle::OneCycle = "one_cycle",
    warmup_stable_decay::WarmupStableDecay = "warmup_stable_decay",
    plateau::Plateau = "plateau",
}
