//! Interim, until the branch `losses` brings its own.
#![allow(missing_docs, unused, clippy::all)]
use crate::*;
use std::sync::Arc;
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MixtureOfExperts { pub top_k: usize, pub softmax_first: bool, pub normalize: bool, pub activation: Activation, pub bf16: bool }
impl Default for MixtureOfExperts { fn default() -> Self { Self { top_k: 1, softmax_first: true, normalize: true, activation: Activation::Silu, bf16: false } } }
impl MixtureOfExperts { pub fn op(self) -> Arc<dyn Op> { Scale::op(1.0) } }
