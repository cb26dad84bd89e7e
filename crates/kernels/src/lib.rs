//! Arithmetic on slices and strided views, generic over f32 and f64.
//!
//! Every function gives bit-identical results for any number of threads: work is divided among
//! outputs, and the order of an output's additions depends only on the shape and the instruction
//! set.

mod columns;
mod dropout;
mod file_matrix;
mod float;
mod gemm;
mod maths;
mod packed;
mod peak;
mod planes;
mod reduce;
mod rows;
mod scratch;
mod simd;
mod vector;
mod views;
mod windows;

pub use columns::{
    Columns, MAX_COLUMNS, for_columns, for_wide_columns, scale_by, scale_sum_columns,
};
pub use dropout::{dropout, dropout_backward, dropout_mask_len};
pub use file_matrix::{
    dot_rows, file_product, file_product_back, file_product_back_bf16, file_product_bf16,
    file_rows, sum_rows,
};
pub use float::{Float, Stored};
pub use gemm::{
    BLOCK_WIDTH, Band, Bf16Operand, BlockFloat, BlockTrim, Epilogue, MatRef, gemm, gemm_bf16,
    gemm_reference, gemm_with,
};
pub use packed::{Packable, PackedMatrix};
pub use peak::{bf16_peak, fma_peak};
pub use planes::{Planes, plane_sums};
pub use reduce::{dot, map_sum, maximum, sum, sum_of, sum_of2, sum_pieces};
pub use rows::{
    copy, for_pieces, for_ranges, for_row_blocks, for_rows, map, map2, sum_columns, zip_into,
};
pub use simd::{Work, dispatch, dispatch_on};
pub use views::{MatMut, for_heads};
pub use windows::{Windows, window_sums};
