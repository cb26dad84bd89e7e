//! The types of a table that comes in blocks of texts, so that typed formats keep its numbers.

use crate::number::{is_code, parse_number};
use crate::table::{Integers, Numbers, Table, Values};

/// The type of each column over all blocks of a file: a first pass observes, a second one gives
/// every block the same types.
///
/// Numbers, integers and truth values are typed; texts, codes with leading zeros and integers that
/// no type holds stay texts.
///
/// ```
/// use ff_table::{Column, ColumnTypes, Table, Values};
///
/// let texts = |texts: &[&str]| texts.iter().map(|text| Some(*text)).collect::<Values>();
/// let block = Table::new(vec![
///     Column::new("n", texts(&["1", "20"])),
///     Column::new("zip", texts(&["01067", "10115"])),
/// ]);
/// let (mut types, block) = (ColumnTypes::default(), block.unwrap());
/// types.observe(&block);
/// let typed = types.apply(block);
/// assert!(matches!(typed.column("n").unwrap().values, Values::Integer(_)));
/// assert!(matches!(typed.column("zip").unwrap().values, Values::Text(_)));
/// ```
#[derive(Debug, Default)]
pub struct ColumnTypes {
    kinds: Vec<Seen>,
}

/// What a column held so far.
#[derive(Clone, Copy, Debug)]
struct Seen {
    kind: Kind,
    /// Whether it had an integer that no double holds.
    large: bool,
}

/// What all values of a column are so far, from the narrowest type to the widest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// No value yet.
    Nothing,
    Bool,
    Integer,
    Number,
    Date,
    Text,
}

/// Integers up to this are doubles too.
const EXACT: i64 = 1 << 53;

impl Kind {
    /// The type of a text, and whether it is an integer that no double holds.
    fn of_text(text: &str) -> (Self, bool) {
        let text = text.trim();
        if text.eq_ignore_ascii_case("true") || text.eq_ignore_ascii_case("false") {
            return (Self::Bool, false);
        }
        if is_code(text.as_bytes()) {
            return (Self::Text, false);
        }
        if let Ok(integer) = text.parse::<i64>() {
            return (Self::Integer, integer.abs() > EXACT);
        }
        let digits = text.trim_start_matches(['-', '+']).bytes().all(|byte| byte.is_ascii_digit());
        match parse_number(text.as_bytes()) {
            Some(x) if x.is_finite() && !digits => (Self::Number, false),
            _ => (Self::Text, false),
        }
    }

    fn join(self, other: Self) -> Self {
        match (self, other) {
            (Self::Nothing, kind) | (kind, Self::Nothing) => kind,
            (a, b) if a == b => a,
            (Self::Integer, Self::Number) | (Self::Number, Self::Integer) => Self::Number,
            _ => Self::Text,
        }
    }
}

impl ColumnTypes {
    /// Takes in the values of a block.
    pub fn observe(&mut self, block: &Table) {
        self.kinds.resize(block.width(), Seen { kind: Kind::Nothing, large: false });
        for (seen, column) in self.kinds.iter_mut().zip(block.columns()) {
            let mut see = |(found, large): (Kind, bool)| {
                seen.kind = seen.kind.join(found);
                seen.large |= large;
            };
            match &column.values {
                Values::Text(texts) => (0..texts.len())
                    .filter_map(|row| texts.get(row))
                    .for_each(|text| see(Kind::of_text(text))),
                Values::Number(_) => see((Kind::Number, false)),
                Values::Integer(_) => see((Kind::Integer, false)),
                Values::Bool(_) => see((Kind::Bool, false)),
                Values::Date(_) => see((Kind::Date, false)),
            }
            if seen.large && seen.kind == Kind::Number {
                seen.kind = Kind::Text;
            }
        }
    }

    /// A block with the types of all that were observed.
    #[must_use]
    pub fn apply(&self, block: Table) -> Table {
        let kinds = self.kinds.iter();
        block.map_values(kinds, |seen, values| typed(seen.kind, values))
    }
}

fn typed(kind: Kind, values: Values) -> Values {
    let rows = 0..values.len();
    let number = |row| match values.number(row) {
        None => values.label(row).and_then(|label| parse_number(label.as_bytes())),
        number => number,
    };
    match (kind, &values) {
        (Kind::Integer, Values::Text(texts)) => Values::Integer(
            rows.map(|row| texts.get(row)?.trim().parse().ok()).collect::<Integers>(),
        ),
        (Kind::Number, Values::Text(_) | Values::Integer(_)) => {
            let numbers = rows.map(|row| number(row).unwrap_or(f64::NAN)).collect();
            Values::Number(Numbers::F64(numbers))
        }
        (Kind::Bool, Values::Text(texts)) => Values::Bool(
            rows.map(|row| Some(texts.get(row)?.trim().eq_ignore_ascii_case("true"))).collect(),
        ),
        (Kind::Text, Values::Text(_)) => values,
        (Kind::Text, _) => {
            let texts: Vec<Option<_>> = rows.map(|row| values.label(row)).collect();
            texts.iter().map(|text| text.as_deref()).collect()
        }
        // A column of numbers in singles in one block may hold doubles in another.
        (Kind::Number, Values::Number(numbers)) => {
            Values::Number(Numbers::F64(rows.map(|row| numbers.get(row)).collect()))
        }
        _ => values,
    }
}

/// The names of classes as values of the narrowest type that holds all of them.
pub fn class_values(classes: &[String], rows: &[usize]) -> Values {
    let texts: Values = rows.iter().map(|&class| classes.get(class).map(String::as_str)).collect();
    let kind = classes.iter().map(|class| Kind::of_text(class)).fold(
        Kind::Nothing,
        |kind, (found, large)| if large { Kind::Text } else { kind.join(found) },
    );
    typed(kind, texts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Column;

    fn typed_as(blocks: &[&[&str]]) -> Values {
        let table = |texts: &&[&str]| {
            let values = texts.iter().map(|text| Some(*text).filter(|text| !text.is_empty()));
            Table::new(vec![Column::new("x", values.collect())]).unwrap()
        };
        let mut types = ColumnTypes::default();
        for block in blocks {
            types.observe(&table(block));
        }
        types.apply(table(&blocks[0])).columns()[0].values.clone()
    }

    #[test]
    fn all_blocks_decide_a_columns_type() {
        assert!(matches!(typed_as(&[&["1", ""], &["3"]]), Values::Integer(_)));
        assert!(matches!(typed_as(&[&["1"], &["2.5"]]), Values::Number(_)));
        assert!(matches!(typed_as(&[&["1"], &["a"]]), Values::Text(_)));
        assert!(matches!(typed_as(&[&["True", "FALSE"]]), Values::Bool(_)));
        assert!(matches!(typed_as(&[&["True"], &["1"]]), Values::Text(_)));
    }

    #[test]
    fn what_a_type_would_change_stays_a_text() {
        for text in ["01067", "9223372036854775808", "inf", "nan", "12345678901234567890.5x"] {
            assert!(matches!(typed_as(&[&[text]]), Values::Text(_)), "{text}");
        }
        // 2^53 + 1 is an integer, and no number.
        assert_eq!(typed_as(&[&["9007199254740993"]]).text(0), "9007199254740993");
        assert_eq!(typed_as(&[&["9007199254740993", "0.5"]]).text(0), "9007199254740993");
    }

    #[test]
    fn classes_keep_their_type() {
        let classes = |names: [&str; 2]| class_values(&names.map(String::from), &[1, 0]);
        assert!(matches!(classes(["0", "1"]), Values::Integer(_)));
        assert!(matches!(classes(["0.5", "1"]), Values::Number(_)));
        assert!(matches!(classes(["false", "true"]), Values::Bool(_)));
        assert!(matches!(classes(["01", "02"]), Values::Text(_)));
        assert_eq!(classes(["no", "yes"]).text(0), "yes");
    }
}
