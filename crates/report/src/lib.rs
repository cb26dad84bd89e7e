//! The report: one self-contained HTML page from plain data.
//!
//! [`render`] turns a [`ReportData`] into a page that opens without network, in light and dark, on
//! a phone, on a desktop and on paper, and stays under 2 MB for any data: series are thinned,
//! tables are capped with a note, texts are clipped. All text is escaped, since column names and
//! cells come from unchecked files.
//!
//! The crate is pure: it reads and writes no files, and depends on no other crate of the workspace.
#![forbid(unsafe_code)]

pub mod data;
mod html;
mod number;
mod page;
mod sections;
mod svg;

pub use data::*;
pub use page::render;

#[cfg(test)]
mod tests;
