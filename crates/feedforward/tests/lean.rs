//! A build without default features names the feature that a file needs:
//! `cargo test -p feedforward --no-default-features --test lean`.
#![cfg(not(any(feature = "parquet", feature = "language")))]
#![allow(clippy::unwrap_used)]

use ff_table::{Column, SourceOptions, Table, TableWriter, load};
use ff_tensor::ThreadPool;

#[test]
fn parquet_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("table.parquet");
    std::fs::write(&path, b"PAR1\0\0\0\0PAR1").unwrap();
    let error = load(&path, &SourceOptions::default(), &ThreadPool::new(1)).unwrap_err();
    assert!(error.to_string().contains("without the feature `parquet`"), "{error}");

    let mut writer = TableWriter::create(&path).unwrap();
    let block = Table::new(vec![Column::new("x", vec![1.0].into())]).unwrap();
    let error = writer.write(&block).unwrap_err();
    assert!(error.to_string().contains("without the feature `parquet`"), "{error}");
}

#[test]
fn recipes_of_language_models_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("recipe.toml");
    std::fs::write(&path, "[tokenizer]\nkind = 'bpe'\n").unwrap();
    let Err(error) = feedforward::open_recipe(&path, &[]) else { panic!("it was read") };
    assert!(error.to_string().contains("without the feature `language`"), "{error}");
    assert_eq!(feedforward::stated_command("[tokenizer]"), "pretrain");
}
