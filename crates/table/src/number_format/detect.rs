//! The number formats of a table's columns, told from their texts.

use std::collections::{BTreeMap, BTreeSet};

use super::parts::{Parts, is_like};
use super::{NumberFormat, is_plain, odd_texts};
use crate::config::{ColumnOptions, DataConfig, Task};
use crate::note::Note;
use crate::schema::{Kind, boolean_texts, set_kind, set_option};
use crate::table::{Column, Numbers, Table, TextValues, Values};
use crate::target::MAX_INTEGER_CLASSES;

/// Decimal sign and thousands separator of each format, the likeliest first.
const FORMATS: [(char, char); 6] =
    [('.', ','), (',', '.'), ('.', '\''), (',', '\''), ('.', ' '), (',', ' ')];

/// Cells after which a column is given up that holds hardly any number.
const PROBE: usize = 40;

/// Reads the columns of texts that are numbers in some format; gives the format of each.
pub(crate) fn read_columns(
    table: &mut Table,
    config: &DataConfig,
    delimiter: Option<char>,
    notes: &mut Vec<Note>,
) -> BTreeMap<String, NumberFormat> {
    let default = ColumnOptions::default();
    let mut found: Vec<(&Column, Found)> = Vec::new();
    for column in table.columns() {
        let options = config.columns.get(&column.name).map_or(&default, |options| &**options);
        if options.kind.is_some_and(|kind| kind != Kind::Number)
            || config.drop.contains(&column.name)
        {
            continue;
        }
        let Values::Text(texts) = &column.values else { continue };
        let decimal = options.decimal.or(config.decimal);
        let thousands = options.thousands.or(config.thousands);
        let Some(of) = Found::of(texts, decimal, thousands) else { continue };
        if config.target.as_ref() != Some(&column.name) || of.suits_target(texts, config.task) {
            found.push((column, of));
        }
    }
    // What one column leaves open another one tells, or the delimiter: where commas are decimal,
    // semicolons stand between fields.
    let commas = found.iter().filter(|(_, of)| !of.open && of.uses(',')).count();
    let points = found.iter().filter(|(_, of)| !of.open && of.uses('.')).count();
    let comma = commas > points || (commas == points && delimiter == Some(';'));
    let mut formats = BTreeMap::new();
    for (column, mut of) in found {
        if of.open && comma {
            of.format.decimal = ',';
            of.format.thousands = '.';
        }
        let Values::Text(texts) = &column.values else { continue };
        let Some(odd) = odd_texts(texts, &of.format) else { continue };
        of.format.missing_texts = odd;
        notes.push(of.note(&column.name));
        formats.insert(column.name.clone(), of.format);
    }
    table.convert(|column| match &column.values {
        Values::Text(texts) => Some(formats.get(&column.name)?.convert(texts).numbers()),
        _ => None,
    });
    if commas > 0 && config.decimal.is_none() {
        let suspects = table.columns().iter().filter(|column| {
            let own = config.columns.get(&column.name);
            own.is_none_or(|own| own.decimal.is_none() && own.thousands.is_none())
                && !formats.contains_key(&column.name)
                && may_be_thousands(&column.values)
        });
        for Column { name, .. } in suspects {
            let message = "read with a decimal point, while other columns have a decimal comma; if \
                           the point stands between thousands, say so";
            notes.push(Note::warn(message).column(name).undo(set_option(name, "thousands", ".")));
        }
    }
    formats
}

/// Whether numbers were read that could have three digits behind a separator of thousands.
fn may_be_thousands(values: &Values) -> bool {
    let Values::Number(numbers @ (Numbers::F64(_) | Numbers::F32(_) | Numbers::Decimal(_))) =
        values
    else {
        return false;
    };
    let (mut all, mut any) = (true, false);
    numbers.for_each(|x| {
        if !x.is_nan() {
            let thousandths = (x * 1e3).round();
            any |= x.fract() != 0.0;
            all &= (1.0..1000.0).contains(&x.abs()) && thousandths / 1e3 == x;
        }
    });
    all && any
}

/// What was found out about a column.
struct Found {
    format: NumberFormat,
    /// Whether the comma may be that of decimals or of thousands.
    open: bool,
    /// A text that shows it, and what it shows.
    example: String,
    evidence: Vec<String>,
}

impl Found {
    /// The format of a column's texts; `None` where they are no numbers, or plain ones.
    fn of(texts: &TextValues, decimal: Option<char>, thousands: Option<char>) -> Option<Self> {
        let forced = decimal.is_some() || thousands.is_some();
        let allowed = |(d, t): (char, char)| {
            decimal.is_none_or(|own| own == d) && thousands.is_none_or(|own| own == t)
        };
        // A separator that no listed format has together with the other one given.
        let own = (decimal.unwrap_or('.'), thousands.unwrap_or(','));
        let mut formats: Vec<(char, char)> = FORMATS.into_iter().filter(|f| allowed(*f)).collect();
        if formats.is_empty() {
            formats.push(own);
        }
        let mut counts = vec![0usize; formats.len()];
        let (mut seen, mut dressed, mut brackets) = (0, 0, 0);
        let (mut currencies, mut units) = (BTreeSet::new(), BTreeSet::new());
        let mut example = None;
        for text in (0..texts.len()).filter_map(|row| texts.get(row)) {
            seen += 1;
            let most = counts.iter().copied().max().unwrap_or(0);
            if seen > PROBE && most * 2 < seen {
                return None;
            }
            let Some(parts) = Parts::of(text) else { continue };
            let mut fits = false;
            for (count, (decimal, thousands)) in counts.iter_mut().zip(&formats) {
                let fit = parts.plain(*decimal, *thousands).is_some();
                *count += usize::from(fit);
                fits |= fit;
            }
            if !fits {
                continue;
            }
            currencies.extend(parts.currency);
            // Nothing needs no unit.
            if parts.unit.is_some() || parts.body != "0" {
                units.insert(parts.unit);
            }
            if currencies.len() > 1 || units.len() > 1 {
                return None;
            }
            brackets += usize::from(parts.brackets);
            if !is_plain(text) {
                dressed += 1;
                example.get_or_insert(text.trim());
            }
        }
        let most = counts.iter().copied().max().filter(|most| *most > 0)?;
        let labels = brackets == most;
        if labels || !(forced || dressed > 0) {
            return None;
        }
        if boolean_texts(texts).is_some() {
            return None;
        }
        let best =
            |format: (char, char)| formats.iter().position(|f| *f == format).map(|i| counts[i]);
        let (decimal, thousands) = formats[counts.iter().position(|count| *count == most)?];
        let comma =
            || (0..texts.len()).filter_map(|row| texts.get(row)).any(|text| text.contains(','));
        // Money has no three decimals.
        let open = currencies.is_empty()
            && (decimal, thousands) == ('.', ',')
            && best((',', '.')) == Some(most)
            && comma();
        let mut format = NumberFormat::new(decimal, thousands);
        format.currency = currencies.into_iter().next().map(String::from);
        format.unit = units.into_iter().next().flatten().map(String::from);
        let any = || (0..texts.len()).find_map(|row| texts.get(row)).unwrap_or_default().trim();
        let example = example.unwrap_or_else(any).to_owned();
        let mut evidence = Vec::new();
        let bodies =
            || (0..texts.len()).filter_map(|row| Parts::of(texts.get(row)?)).map(|p| p.body);
        if decimal == ',' && bodies().any(|body| body.contains(',')) {
            evidence.push("a decimal comma".to_owned());
        }
        if bodies().any(|body| body.contains(|c| is_like(c, thousands))) {
            evidence.push(match thousands {
                ' ' => "spaces between thousands".into(),
                mark => format!("`{mark}` between thousands"),
            });
        }
        evidence.extend(format.currency.iter().chain(&format.unit).map(|text| format!("`{text}`")));
        if brackets > 0 {
            evidence.push("brackets for negative ones".into());
        }
        Some(Self { format, open, example, evidence })
    }

    fn uses(&self, decimal: char) -> bool {
        let comma = self.evidence.iter().any(|evidence| evidence == "a decimal comma");
        if decimal == ',' { comma } else { self.format.thousands == ',' && !comma }
    }

    /// Classes keep their words: a target with a unit or a currency is a number only where it is a
    /// quantity.
    fn suits_target(&self, texts: &TextValues, task: Option<Task>) -> bool {
        if self.format.currency.is_none() && self.format.unit.is_none() {
            return true;
        }
        let different: BTreeSet<&str> = (0..texts.len()).filter_map(|row| texts.get(row)).collect();
        match task {
            Some(task) => task == Task::Regression,
            None => different.len() > MAX_INTEGER_CLASSES,
        }
    }

    fn note(&self, name: &str) -> Note {
        let example = &self.example;
        let plain = self.format.plain(example).unwrap_or_default();
        let with = match self.evidence.as_slice() {
            [] => String::new(),
            evidence => format!(" with {}", evidence.join(" and ")),
        };
        if self.open {
            let other = if self.format.decimal == ',' { '.' } else { ',' };
            let meant = if other == ',' { "a decimal comma" } else { "a comma between thousands" };
            let message = format!("`{example}` is read as {plain}; it may as well be {meant}");
            let undo = set_option(name, "decimal", &other.to_string());
            return Note::warn(message).column(name).undo(undo);
        }
        let odd = match self.format.missing_texts.as_slice() {
            [] => String::new(),
            odd => format!("; read as missing: `{}`", odd.join("`, `")),
        };
        Note::info(format!("numbers{with}: `{example}` is read as {plain}{odd}"))
            .column(name)
            .undo(set_kind(name, "category"))
    }
}
