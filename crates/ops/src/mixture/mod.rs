//! Mixtures of experts.

pub(crate) mod adapted_experts;
pub(crate) mod mixture_of_experts;
pub(crate) mod router_balance;
