//! Columns in memory as a format.

use ff_tensor::ThreadPool;
use xxhash_rust::xxh3::Xxh3;

use super::format::{Blocks, Description, Source, SourceInfo, SourceOptions, Whole};
use super::input::Input;
use crate::error::{DataError, Result};
use crate::table::{Origin, Table, TextValues, Values};

/// Columns in memory as a format.
pub(super) struct Columns;

impl Source for Columns {
    fn description(&self) -> Description {
        Description { name: "memory", title: "memory", ..Description::default() }
    }

    fn recognises(&self, _head: &[u8]) -> bool {
        false
    }

    fn blocks(&self, input: &Input, options: &SourceOptions) -> Result<Box<dyn Blocks>> {
        Whole::blocks(self, input, options)
    }

    fn load(
        &self,
        input: &Input,
        options: &SourceOptions,
        info: &mut SourceInfo,
        _threads: &ThreadPool,
    ) -> Result<Table> {
        let path = input.path();
        let empty = || DataError::Empty { path: path.to_owned(), header: true };
        let table = input.columns().filter(|table| table.rows() > 0).ok_or_else(empty)?;
        (info.hash, info.bytes) = (hash(table), table.bytes() as u64);
        let mut table = table.clone().compact().originating(Origin::rows(path, 1));
        table.convert(|column| match &column.values {
            Values::Text(texts) => Some(Values::Text(marked(texts, &options.null_values))),
            _ => None,
        });
        Ok(table)
    }
}

/// The same texts, those missing that are among `nulls`.
fn marked(texts: &TextValues, nulls: &[String]) -> TextValues {
    let mut marked = TextValues::default();
    for row in 0..texts.len() {
        match texts.get(row) {
            Some(text) if nulls.iter().all(|null| null != text.trim()) => marked.push(text),
            _ => marked.push_missing(texts.raw(row)),
        }
    }
    marked
}

/// XXH3-128 of the names and the values.
fn hash(table: &Table) -> String {
    let mut hasher = Xxh3::new();
    for column in table.columns() {
        hasher.update(column.name.as_bytes());
        hasher.update(&[0xff]);
        for row in 0..table.rows() {
            match &column.values {
                Values::Number(numbers) => hasher.update(&numbers.get(row).to_le_bytes()),
                Values::Date(dates) => hasher.update(&dates[row].to_le_bytes()),
                values if values.is_missing(row) => hasher.update(&[0xfe]),
                values => {
                    hasher.update(values.text(row).as_bytes());
                    hasher.update(&[0xff]);
                }
            }
        }
    }
    format!("{:032x}", hasher.digest128())
}
