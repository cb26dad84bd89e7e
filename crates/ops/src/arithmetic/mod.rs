//! Sums, products and dropout, element by element.

pub(crate) mod add;
pub(crate) mod dropout;
pub(crate) mod mul;
pub(crate) mod scale;
pub(crate) mod scale_rows;
