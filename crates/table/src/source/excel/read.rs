//! The first sheet of a workbook as a table.

use std::fs::File;
use std::io::{Cursor, Read, Seek, SeekFrom};
use std::path::Path;

use calamine::{Data, Reader};

use super::super::format::{SourceInfo, SourceOptions};
use super::super::names::unique;
use crate::error::{DataError, Result};
use crate::note::Note;
use crate::table::{Column, Origin, Table, TextValues, Values};

/// Excel's day 0 is 30 December 1899; that of the epoch has this number.
const EPOCH: f64 = 25_569.0;

/// Reads the first sheet.
pub(super) fn read(
    mut file: File,
    path: &Path,
    options: &SourceOptions,
    info: &mut SourceInfo,
) -> Result<Table> {
    let broken = |e: String| {
        let hint = "The file is cut or damaged: copy or write it again, or save the sheet as .csv.";
        DataError::format(path, format!("malformed workbook: {e}"), hint)
    };
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0))
        .and_then(|_| file.read_to_end(&mut bytes))
        .map_err(|e| DataError::io("read", path, e))?;
    let mut book = calamine::open_workbook_auto_from_rs(Cursor::new(bytes.as_slice()))
        .map_err(|e| broken(e.to_string()))?;
    let sheets = book.sheet_names();
    let empty = |header| DataError::Empty { path: path.to_owned(), header };
    let Some(sheet) = book.worksheet_range_at(0) else { return Err(empty(false)) };
    let sheet = sheet.map_err(|e| broken(e.to_string()))?;
    if let [first, _, ..] = sheets.as_slice() {
        let message = format!("{} sheets; the first, `{first}`, is read", sheets.len());
        info.notes.push(Note::info(message));
    }
    let rows: Vec<&[Data]> =
        sheet.rows().filter(|row| row.iter().any(|cell| *cell != Data::Empty)).collect();
    let Some((first, below)) = rows.split_first() else { return Err(empty(false)) };
    let texts = first.iter().all(|cell| matches!(cell, Data::String(_) | Data::Empty));
    let header = options.header.unwrap_or(texts);
    info.header = Some(header);
    let names: Vec<String> = if header {
        let names: Vec<String> = first.iter().map(|cell| text(cell).trim().to_owned()).collect();
        unique(names.iter().map(String::as_str), &mut info.notes)
    } else {
        (1..=first.len()).map(|i| format!("column_{i}")).collect()
    };
    let rows = if header { below } else { &rows };
    let rows = &rows[..rows.len().min(options.max_rows.unwrap_or(usize::MAX))];
    if rows.is_empty() {
        return Err(empty(header));
    }
    let columns = names.into_iter().enumerate().map(|(i, name)| {
        let cells: Vec<&Data> = rows.iter().map(|row| &row[i]).collect();
        let as_text = options.text_columns.contains(&name);
        Column::new(name, values(&cells, as_text, &options.null_values))
    });
    let above = u64::from(sheet.start().map_or(0, |(row, _)| row)) + u64::from(header);
    let origin = Origin::rows(path, above + 1);
    Ok(Table::with_origin(columns.collect(), rows.len(), origin).compact())
}

/// The values of a column: of the one kind that all its cells are of, or texts.
fn values(cells: &[&Data], as_text: bool, nulls: &[String]) -> Values {
    let present = || {
        let missing = |cell: &&Data| match cell {
            Data::Empty | Data::Error(_) => true,
            Data::String(text) => nulls.iter().any(|null| null == text.trim()),
            _ => false,
        };
        cells.iter().copied().filter(move |cell| !missing(cell))
    };
    let all = |of: fn(&Data) -> bool| !as_text && present().next().is_some() && present().all(of);
    if all(|cell| matches!(cell, Data::Bool(_))) {
        let truth = |cell: &&Data| if let Data::Bool(truth) = cell { Some(*truth) } else { None };
        return Values::Bool(cells.iter().map(truth).collect());
    }
    if all(|cell| matches!(cell, Data::Int(_) | Data::Float(_))) {
        let number = |cell: &&Data| match cell {
            Data::Int(x) => *x as f64,
            Data::Float(x) => *x,
            _ => f64::NAN,
        };
        return cells.iter().map(number).collect::<Vec<_>>().into();
    }
    if all(|cell| matches!(cell, Data::DateTime(date) if date.is_datetime())) {
        let seconds = |cell: &&Data| match cell {
            // A serial number is good to a few microseconds.
            Data::DateTime(date) => ((date.as_f64() - EPOCH) * 86_400.0 * 1e3).round() / 1e3,
            _ => f64::NAN,
        };
        return Values::Date(cells.iter().map(seconds).collect());
    }
    let mut texts = TextValues::default();
    for cell in cells {
        let text = text(cell);
        let missing = matches!(cell, Data::Empty | Data::Error(_))
            || nulls.iter().any(|null| null == text.trim());
        texts.push_if(&text, missing);
    }
    Values::Text(texts)
}

fn text(cell: &Data) -> String {
    match cell {
        Data::Empty | Data::Error(_) => String::new(),
        Data::Float(x) => crate::number::format_number(*x),
        Data::DateTime(date) => crate::date::format_seconds((date.as_f64() - EPOCH) * 86_400.0),
        other => other.to_string(),
    }
}
