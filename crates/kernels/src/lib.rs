//! Arithmetic on slices and strided views, generic over f32 and f64.
//!
//! Every function here gives the same bits for any number of threads: work is divided among outputs, and the order in
//! which one output's terms are added depends on the shape and the instruction set alone.

mod float;
mod gemm;
mod rows;
mod simd;

pub use float::Float;
pub use gemm::{MatRef, gemm, gemm_reference};
pub use rows::{for_rows, map, map2, sum, sum_columns, zip_into};
pub use simd::dispatch;
