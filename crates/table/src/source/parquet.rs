//! Apache Parquet: how its files are recognised, and the error where reading them was not built in.

#[cfg(feature = "parquet")]
mod read;

#[cfg(feature = "parquet")]
use read::open;

use super::format::{Blocks, Description, Source, SourceOptions};
use super::input::Input;
#[cfg(not(feature = "parquet"))]
use crate::error::DataError;
use crate::error::Result;

/// Apache Parquet.
pub(super) struct Parquet;

impl Source for Parquet {
    fn description(&self) -> Description {
        Description {
            name: "parquet",
            title: "Parquet",
            about: "Apache Parquet, flat columns.",
            extensions: &["parquet", "pq"],
            documents: true,
            ..Description::default()
        }
    }

    fn recognises(&self, head: &[u8]) -> bool {
        head.starts_with(b"PAR1")
    }

    fn blocks(&self, input: &Input, options: &SourceOptions) -> Result<Box<dyn Blocks>> {
        open(input, options, None)
    }

    fn column(&self, input: &Input, name: &str) -> Result<Box<dyn Blocks>> {
        let options = SourceOptions { null_values: Vec::new(), ..SourceOptions::default() };
        open(input, &options, Some(name))
    }
}

/// What stands in for the reader where it was not built in.
#[cfg(not(feature = "parquet"))]
fn open(input: &Input, _: &SourceOptions, _: Option<&str>) -> Result<Box<dyn Blocks>> {
    Err(DataError::without_parquet(input.path()))
}

#[cfg(all(test, not(feature = "parquet")))]
mod tests {
    use crate::{Column, SourceOptions, Table, TableWriter};

    #[test]
    fn without_parquet_an_error_names_the_feature() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("table.parquet");
        std::fs::write(&path, b"PAR1\0\0\0\0PAR1").unwrap();
        let threads = ff_tensor::ThreadPool::new(1);
        let error = crate::source::load(&path, &SourceOptions::default(), &threads).unwrap_err();
        assert!(error.to_string().contains("without the feature `parquet`"), "{error}");

        let mut writer = TableWriter::create(&path).unwrap();
        let block = Table::new(vec![Column::new("x", vec![1.0].into())]).unwrap();
        let error = writer.write(&block).unwrap_err();
        assert!(error.to_string().contains("without the feature `parquet`"), "{error}");
    }
}
