//! Arithmetic on slices: matrix products with fused epilogues, vector maths, reductions.
