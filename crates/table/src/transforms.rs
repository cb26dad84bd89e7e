//! Columns into numbers: fitted on the training part, saved with the model, applied by column name.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use ff_settings::similar;
use ff_tensor::ThreadPool;
use serde::{Deserialize, Serialize};

use crate::error::{DataError, Result};
use crate::number_format::NumberFormat;
use crate::source::SourceOptions;
use crate::table::{Table, Values};
use crate::target::Target;
use crate::totals::Dropped;

mod category;
mod cells;
mod date;
mod encoder;
pub(crate) mod number;
mod scaler;
mod target;
mod text;
mod tile;
mod unfamiliar;

pub use category::{CategoryEncoder, Coding, OneHotLevel};
pub use cells::Cells;
pub use date::DateEncoder;
pub use encoder::Encoder;
pub use number::{BooleanEncoder, NumberEncoder};
pub use scaler::{NORMAL_QUANTILE, SMOOTH, Scaler};
pub use target::TargetTransform;
pub use text::{TextEncoder, Texts};
pub use unfamiliar::Unfamiliar;

pub(crate) use category::CategoryFit;
pub(crate) use number::RawFit;
pub(crate) use tile::{Met, Tile, Unreadable};

/// The format number of [`Transforms`] files.
pub const FORMAT: u32 = 1;

/// The mapping from rows to numbers: one [`Encoder`] a column and the target's [`TargetTransform`].
///
/// ```
/// use ff_table::{Column, DataConfig, Table, Transforms};
///
/// # let folder = std::env::temp_dir().join(format!("ff-table-transforms-{}", std::process::id()));
/// # std::fs::create_dir_all(&folder).unwrap();
/// # let rows: String = (0..60).map(|i| format!("{i}.5,{}\n", ["no", "yes"][i % 2])).collect();
/// # std::fs::write(folder.join("t.csv"), format!("x,y\n{rows}")).unwrap();
/// # let (path, target) = ("t.csv".into(), Some("y".into()));
/// # let config = DataConfig { path, target, ..Default::default() };
/// # let threads = ff_tensor::ThreadPool::new(1);
/// # let fitted = ff_table::prepare(&config, 0, &folder, &threads).unwrap().transforms;
/// # std::fs::remove_dir_all(&folder).unwrap();
/// let json = fitted.to_json();
/// let transforms = Transforms::from_json(&json).unwrap();
/// let new = Table::new(vec![Column::new("x", vec![1.0, 2.0].into())]).unwrap();
/// let encoded = transforms.encode(&new, &ff_tensor::ThreadPool::new(1)).unwrap();
/// assert_eq!((encoded.rows, encoded.n_numeric), (2, 1));
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Transforms {
    /// [`FORMAT`].
    pub format: u32,
    /// The columns, in the order of their features.
    pub columns: Vec<ColumnTransform>,
    /// The target.
    pub target: TargetTransform,
    /// The column of sample weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<String>,
    /// Texts that stand for a missing value.
    pub null_values: Vec<String>,
    /// How the file was read, as far as new files are read the same way.
    #[serde(default)]
    pub reading: SourceOptions,
    /// How columns of texts write their numbers, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub number_formats: BTreeMap<String, NumberFormat>,
}

/// A column and how it is encoded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ColumnTransform {
    /// The column's name.
    pub name: String,
    /// How it is encoded.
    pub encoder: Encoder,
}

/// Rows as numbers, ready for a network.
///
/// # Shapes
/// `numeric` is `[rows, n_numeric]` and `categorical` is `[rows, n_categorical]`, both row-major;
/// `target` and `weights` are `[rows]`. The ids of a text column count its texts from 1.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Encoded {
    /// The number of rows.
    pub rows: usize,
    /// Numbers, scaled and without gaps.
    pub numeric: Vec<f32>,
    /// The numbers of a row.
    pub n_numeric: usize,
    /// Ids for embeddings, each below its column's cardinality.
    pub categorical: Vec<i32>,
    /// The ids of a row.
    pub n_categorical: usize,
    /// The columns of texts, whose ids stand after all others.
    pub texts: Vec<Arc<Texts>>,
    /// The target, where it was there.
    pub target: Option<Target>,
    /// The sample weights, where a column of them was named.
    pub weights: Option<Vec<f32>>,
    /// The columns with cells that training met nothing like.
    pub unfamiliar: Vec<Unfamiliar>,
}

/// The range of a column's features among the numbers and the ids of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeatureRange {
    /// The column.
    pub column: String,
    /// Its numbers.
    pub numeric: std::ops::Range<usize>,
    /// Its ids.
    pub categorical: std::ops::Range<usize>,
}

/// Missing columns that a message names.
const MAX_PROBLEMS: usize = 20;

/// Rows that are encoded together, so that a tile of the row-major output stays in the cache while
/// the columns fill it.
const TILE: usize = 256;

/// Rows that a thread takes at a time.
const PIECE: usize = 64 * TILE;

impl Transforms {
    /// The numbers of a row.
    pub fn n_numeric(&self) -> usize {
        self.columns.iter().map(|column| column.encoder.numeric_width()).sum()
    }

    /// The ids of a row.
    pub fn n_categorical(&self) -> usize {
        self.columns.iter().map(|column| column.encoder.categorical_width()).sum()
    }

    /// The names of the numbers, in order: `age`, `age_missing`, `sex=male`, `born.year`.
    pub fn numeric_names(&self) -> Vec<String> {
        self.columns.iter().flat_map(|c| c.encoder.numeric_names(&c.name)).collect()
    }

    /// The names of the columns of category ids, in order.
    pub fn categorical_names(&self) -> Vec<String> {
        let ids = self.columns.iter().filter(|c| c.encoder.categorical_width() > 0);
        let ids = ids.filter(|column| !matches!(column.encoder, Encoder::Text(_)));
        ids.map(|column| column.name.clone()).collect()
    }

    /// The columns of texts, in order, by name.
    pub fn texts(&self) -> impl Iterator<Item = (&str, &TextEncoder)> {
        self.columns.iter().filter_map(|column| match &column.encoder {
            Encoder::Text(encoder) => Some((column.name.as_str(), encoder)),
            _ => None,
        })
    }

    /// The same without columns of texts, for a model that reads texts in another way.
    #[must_use]
    pub fn without_texts(&self) -> Self {
        let others = self.columns.iter().filter(|c| !matches!(c.encoder, Encoder::Text(_)));
        Self {
            format: self.format,
            columns: others.cloned().collect(),
            target: self.target.clone(),
            weight: self.weight.clone(),
            null_values: self.null_values.clone(),
            reading: self.reading.clone(),
            number_formats: self.number_formats.clone(),
        }
    }

    /// The number of different ids of each column of ids: the rows of its embedding.
    pub fn cardinalities(&self) -> Vec<usize> {
        self.columns
            .iter()
            .filter_map(|column| match &column.encoder {
                Encoder::Category(e) if e.coding == Coding::Embedding => Some(e.cardinality()),
                _ => None,
            })
            .collect()
    }

    /// The range of each column's features in a row: the values to permute for its importance.
    pub fn feature_ranges(&self) -> Vec<FeatureRange> {
        let (mut numeric, mut categorical) = (0, 0);
        let mut text = self.n_categorical() - self.texts().count();
        self.columns
            .iter()
            .map(|column| {
                let is_text = matches!(column.encoder, Encoder::Text(_));
                let ids = if is_text { &mut text } else { &mut categorical };
                let (n, c) = (numeric, *ids);
                numeric += column.encoder.numeric_width();
                *ids += column.encoder.categorical_width();
                FeatureRange {
                    column: column.name.clone(),
                    numeric: n..numeric,
                    categorical: c..*ids,
                }
            })
            .collect()
    }

    /// How to read files so that their cells mean what they meant at training, and each line is a
    /// row.
    pub fn source_options(&self) -> SourceOptions {
        SourceOptions {
            null_values: self.null_values.clone(),
            text_columns: self.number_formats.keys().cloned().collect(),
            names: self.columns.iter().map(|column| column.name.clone()).collect(),
            blank_rows: true,
            ..self.reading.clone()
        }
    }

    /// The rows of a table whose target can be judged, and the others by reason: those that
    /// training left out too, without a target or of a class that had a single row.
    pub fn judged(&self, table: &Table) -> (Vec<usize>, Vec<Dropped>) {
        self.target.judged(&self.plain(table))
    }

    /// Checks that a table with these columns can be encoded, by name.
    ///
    /// # Errors
    /// [`DataError::Mismatch`] with each column that lacks and the names that come near.
    pub fn check_columns(&self, place: &str, names: &[String]) -> Result<()> {
        let known: HashSet<&str> = names.iter().map(String::as_str).collect();
        let lacking = || self.columns.iter().filter(|column| !known.contains(column.name.as_str()));
        let own: HashSet<&str> = self.columns.iter().map(|column| column.name.as_str()).collect();
        let wanted = |name: &str| own.contains(name);
        let more = lacking().count().saturating_sub(MAX_PROBLEMS);
        let mut problems: Vec<String> = lacking()
            .take(MAX_PROBLEMS)
            .map(|column| {
                let free = names.iter().map(String::as_str).filter(|name| !wanted(name));
                let near: Vec<_> =
                    similar(&column.name, free).iter().map(|name| format!("`{name}`")).collect();
                let hint = if near.is_empty() {
                    String::new()
                } else {
                    format!(" (did you mean {}?)", near.join(" or "))
                };
                format!("column `{}` ({}) is missing{hint}", column.name, column.encoder.kind())
            })
            .collect();
        if problems.is_empty() {
            return Ok(());
        }
        if more > 0 {
            problems.push(format!("{more} more columns are missing"));
        }
        Err(DataError::Mismatch { place: place.into(), problems })
    }

    /// Encodes every row of a table; the target and the weights are left out.
    ///
    /// # Errors
    /// [`DataError::Mismatch`] with every column that is missing or of another kind.
    pub fn encode(&self, table: &Table, threads: &ThreadPool) -> Result<Encoded> {
        self.encode_rows(table, &(0..table.rows()).collect::<Vec<_>>(), false, threads)
    }

    /// Encodes every row of a table with its target and, if a column of them was named, its
    /// weights.
    ///
    /// # Errors
    /// [`DataError::Mismatch`] as [`Transforms::encode`]; [`DataError::Target`] for a target that
    /// is missing, of a class that was not learned, or no number.
    pub fn encode_with_target(&self, table: &Table, threads: &ThreadPool) -> Result<Encoded> {
        self.encode_rows(table, &(0..table.rows()).collect::<Vec<_>>(), true, threads)
    }

    /// Encodes some rows of a table, in the given order.
    ///
    /// # Errors
    /// As [`Transforms::encode_with_target`].
    pub fn encode_rows(
        &self,
        table: &Table,
        rows: &[usize],
        with_target: bool,
        threads: &ThreadPool,
    ) -> Result<Encoded> {
        let table = &*self.plain(table);
        self.check_columns(&table.source_name(), &table.names())?;
        let (n_numeric, n_categorical) = (self.n_numeric(), self.n_categorical());
        let mut encoded = Encoded {
            rows: rows.len(),
            numeric: vec![0.0; rows.len() * n_numeric],
            n_numeric,
            categorical: vec![0; rows.len() * n_categorical],
            n_categorical,
            texts: Vec::new(),
            target: None,
            weights: None,
            unfamiliar: Vec::new(),
        };
        let ranges = self.feature_ranges();
        let columns: Vec<_> = self
            .columns
            .iter()
            .filter_map(|column| Some((column, &table.column(&column.name)?.values)))
            .collect();
        let mut numeric = encoded.numeric.chunks_mut((PIECE * n_numeric).max(1));
        let mut categorical = encoded.categorical.chunks_mut((PIECE * n_categorical).max(1));
        let pieces: Vec<_> = rows
            .chunks(PIECE)
            .map(|rows| {
                let numeric = numeric.next().unwrap_or_default();
                (rows, numeric, categorical.next().unwrap_or_default())
            })
            .collect();
        let found = threads.map(pieces, |(rows, numeric, categorical)| {
            let mut met: Vec<Met> = columns.iter().map(|_| Met::default()).collect();
            for (tile, rows) in rows.chunks(TILE).enumerate() {
                let from = tile * TILE;
                let to = from + rows.len();
                for (i, (column, values)) in columns.iter().enumerate() {
                    let mut out = Tile {
                        numeric: &mut numeric[from * n_numeric..to * n_numeric],
                        n_numeric,
                        numeric_at: ranges[i].numeric.start,
                        categorical: &mut categorical[from * n_categorical..to * n_categorical],
                        n_categorical,
                        categorical_at: ranges[i].categorical.start,
                    };
                    column.encoder.encode(values, rows, &mut out, &mut met[i]);
                }
            }
            met
        });
        let mut met: Vec<Met> = columns.iter().map(|_| Met::default()).collect();
        for found in found {
            met.iter_mut().zip(found).for_each(|(all, found)| all.join(found));
        }
        for (i, (column, values)) in columns.iter().enumerate() {
            let Encoder::Text(encoder) = &column.encoder else { continue };
            let Some((texts, found)) = encoder.encode(values, rows, threads) else {
                return Err(DataError::config(
                    "data.text.max",
                    format!("the texts of `{}` have too many n-grams; set fewer", column.name),
                ));
            };
            let ids = encoded.categorical.iter_mut().skip(ranges[i].categorical.start);
            ids.step_by(n_categorical).zip(1..).for_each(|(id, text)| *id = text);
            encoded.texts.push(Arc::new(texts));
            met[i].join(found);
        }
        let problems: Vec<String> = columns
            .iter()
            .zip(&met)
            .filter_map(|((column, _), met)| Some((column, met.unreadable.as_ref()?)))
            .map(|(column, found)| {
                let more = match found.count - 1 {
                    0 => String::new(),
                    n => format!(" and {n} more rows"),
                };
                format!(
                    "column `{}` should hold {}, but {} {} holds `{}`{more}",
                    column.name,
                    column.encoder.expected(),
                    table.line_word(),
                    table.line(found.row),
                    found.text
                )
            })
            .collect();
        if !problems.is_empty() {
            return Err(DataError::Mismatch { place: table.source_name(), problems });
        }
        let met = columns.iter().zip(met);
        encoded.unfamiliar = met
            .filter_map(|((column, _), met)| {
                Unfamiliar::new(&column.name, column.encoder.range(), met)
            })
            .collect();
        if with_target {
            encoded.target = Some(self.target.encode(table, rows)?);
            encoded.weights =
                self.weight.as_ref().map(|name| weights(table, name, rows)).transpose()?;
        }
        Ok(encoded)
    }

    /// The table with plain numbers where its columns write them otherwise.
    fn plain<'a>(&self, table: &'a Table) -> Cow<'a, Table> {
        let is_text = |name: &String| {
            table.column(name).is_some_and(|column| matches!(column.values, Values::Text(_)))
        };
        if !self.number_formats.keys().any(is_text) {
            return Cow::Borrowed(table);
        }
        let mut table = table.clone();
        table.convert(|column| match &column.values {
            Values::Text(texts) => {
                Some(Values::Text(self.number_formats.get(&column.name)?.convert(texts)))
            }
            _ => None,
        });
        Cow::Owned(table)
    }

    /// The transforms as the text of `transforms.json`.
    pub fn to_json(&self) -> String {
        // Numbers and texts alone: there is nothing that JSON could refuse.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// Reads the text of `transforms.json`.
    ///
    /// # Errors
    /// [`DataError::Version`] for another format number, [`DataError::Format`] for a text that is
    /// none.
    pub fn from_json(text: &str) -> Result<Self> {
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        let path = Path::new("transforms.json");
        let broken = |e: serde_json::Error| {
            let hint = "The model's folder is incomplete or was edited: copy it again from its \
                        source, or train again.";
            DataError::format(path, e.to_string(), hint)
        };
        let Version { format } = serde_json::from_str(text).map_err(broken)?;
        if format != FORMAT {
            return Err(DataError::Version { found: format, expected: FORMAT });
        }
        let transforms: Self = serde_json::from_str(text).map_err(broken)?;
        transforms.validate().map_err(|message| {
            DataError::format(path, message, "The file was edited: train again.")
        })?;
        Ok(transforms)
    }

    /// Checks what serde cannot: sorted categories, scalings by finite numbers, a positive class
    /// that is there.
    fn validate(&self) -> Result<(), String> {
        for column in &self.columns {
            let fine = match &column.encoder {
                Encoder::Category(e) => e.is_valid(),
                Encoder::Number(e) => e.is_valid(),
                Encoder::Date(e) => e.is_valid(),
                Encoder::Text(e) => e.is_valid(),
                Encoder::Boolean(_) => true,
            };
            if !fine {
                return Err(format!("the encoder of column `{}` is damaged", column.name));
            }
        }
        let target = &self.target;
        let scale = target.mean.is_finite() && target.std > 0.0 && target.std.is_finite();
        let classes = !target.task.is_classification() || target.classes.len() >= 2;
        if !scale || !classes || target.positive.is_some_and(|at| at >= target.classes.len()) {
            return Err(format!("the target's `{}` is damaged", target.column));
        }
        Ok(())
    }
}

/// The sample weights of some rows.
pub(crate) fn weights(table: &Table, name: &str, rows: &[usize]) -> Result<Vec<f32>> {
    let Some(column) = table.column(name) else {
        return Err(DataError::NoColumn {
            place: table.source_name(),
            column: name.into(),
            role: "data.weight".into(),
            available: table.names(),
            note: String::new(),
        });
    };
    rows.iter()
        .map(|&row| match crate::target::value(&column.values, row) {
            Ok(Some(weight)) if weight >= 0.0 && (weight as f32).is_finite() => Ok(weight as f32),
            _ => Err(DataError::Value {
                place: table.place(row),
                column: name.into(),
                expected: "a weight of at least 0".into(),
                found: column.values.text(row).into_owned(),
                hint: "Correct it, or leave out data.weight.".into(),
            }),
        })
        .collect()
}
