//! From tables to batches: sources, schema, cleaning, splits, transforms.
//!
//! [`prepare`] does it all: it reads the file that a [`DataConfig`] names, finds out what its
//! columns and its target are, checks them, splits the rows, fits [`Transforms`] on the training
//! part alone and gives each part as [`Encoded`] numbers. New data goes the same way through
//! [`BlockReader`] and [`Transforms::encode`].
//!
//! ```
//! use ff_table::{DataConfig, prepare};
//! use ff_tensor::Device;
//!
//! # let folder = std::env::temp_dir().join(format!("ff-table-lib-{}", std::process::id()));
//! # std::fs::create_dir_all(&folder).unwrap();
//! let rows: String = (0..60)
//!     .map(|i| format!("{},{}\n", f64::from(i) * 0.37, ["no", "yes"][i as usize % 2]))
//!     .collect();
//! std::fs::write(folder.join("small.csv"), format!("x,answer\n{rows}")).unwrap();
//! let config = DataConfig {
//!     path: "small.csv".into(),
//!     target: Some("answer".into()),
//!     ..DataConfig::default()
//! };
//! let prepared = prepare(&config, 0, &folder, Device::default().cpu().threads()).unwrap();
//! assert_eq!((prepared.train.rows, prepared.valid.rows, prepared.test.rows), (42, 9, 9));
//! assert_eq!(prepared.transforms.numeric_names(), ["x"]);
//! # std::fs::remove_dir_all(&folder).unwrap();
//! ```
#![forbid(unsafe_code)]

mod checks;
mod config;
mod date;
mod error;
mod note;
mod number;
mod number_format;
mod prepare;
mod rng;
mod schema;
pub mod source;
mod split;
mod statistics;
mod table;
mod target;
mod totals;
mod transforms;
mod write;

pub use config::{
    CategoryConfig, ColumnConfig, ColumnOptions, DataConfig, Missing, NgramConfig, RowPolicy,
    Scaling, SplitConfig, SplitKind, Task,
};
pub use error::{DataError, Result};
pub use note::{Level, Note};
pub use number_format::NumberFormat;
pub use prepare::{EncodedParts, Prepared, prepare};
pub use schema::{ColumnSchema, ColumnStats, Histogram, Kind, NumberStats, Role, Schema};
pub use source::{BlockReader, Format, LeftOut, SourceInfo, SourceOptions, load, read_table};
pub use split::{Fold, Parts, forward_folds, grouped_folds, shuffled_folds, stratified_folds};
pub use table::{Bits, Column, Decimals, Integers, Numbers, Origin, Table, TextValues, Values};
pub use target::{Target, TargetSchema, balanced_class_weights};
pub use totals::{Dropped, Totals};
pub use transforms::{
    BooleanEncoder, CategoryEncoder, Cells, Coding, ColumnTransform, DateEncoder, Encoded, Encoder,
    FORMAT, FeatureRange, NORMAL_QUANTILE, NumberEncoder, OneHotLevel, SMOOTH, Scaler,
    TargetTransform, TextEncoder, Texts, Transforms, Unfamiliar,
};
pub use write::{ArrayWriter, ColumnTypes, TableWriter, class_values};
