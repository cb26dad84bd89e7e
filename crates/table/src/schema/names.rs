//! Hints in a column's name.

use crate::error::are_numbered;

/// Last words of names of codes: their integers name things rather than count them.
const CODES: [&str; 22] = [
    "class",
    "code",
    "type",
    "kind",
    "category",
    "cat",
    "group",
    "zone",
    "region",
    "sector",
    "department",
    "cluster",
    "color",
    "colour",
    "gender",
    "sex",
    "zip",
    "zipcode",
    "postcode",
    "status",
    "species",
    "brand",
];

/// Last words of names of identifiers.
const IDENTIFIERS: [&str; 14] = [
    "id", "ids", "idx", "index", "key", "uuid", "guid", "rowid", "row", "no", "nr", "num",
    "serial", "number",
];

/// Whether the name says that the integers are codes: `pclass`, `product_type`, `zipCode`.
pub(crate) fn names_a_code(name: &str) -> bool {
    let lower = name.to_lowercase();
    last_word(name).is_some_and(|word| CODES.contains(&word.as_str()))
        || ["class", "code", "type"].iter().any(|end| lower.ends_with(end))
}

/// Whether the name says that the values tell rows apart: `id`, `PassengerId`, `row_number`.
pub(crate) fn names_an_identifier(name: &str) -> bool {
    last_word(name).is_some_and(|word| IDENTIFIERS.contains(&word.as_str()))
}

/// Names that libraries give to the index of a data frame once it is a column: pandas, readr, R.
const INDEX_NAMES: [&str; 5] = ["level_0", "rownames", "row_names", "row.names", "...1"];

/// Which columns are the index of a data frame by their names: pandas writes `__index_level_0__` to
/// Parquet and a first column without a name to CSV, which becomes `Unnamed: 0` once read and
/// written again.
pub(crate) fn is_index(names: &[String]) -> Vec<bool> {
    let unnamed = |i: usize, name: &str| i == 0 && name == "column_1" && !are_numbered(names);
    let is = |(i, name): (usize, &String)| {
        is_index_level(name)
            || name.starts_with("Unnamed: 0")
            || INDEX_NAMES.contains(&name.as_str())
            || unnamed(i, name)
    };
    names.iter().enumerate().map(is).collect()
}

/// Whether pandas gave this name to an index in Parquet or Arrow.
pub(crate) fn is_index_level(name: &str) -> bool {
    let level = name.strip_prefix("__index_level_").and_then(|rest| rest.strip_suffix("__"));
    level.is_some_and(|level| level.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The columns that belong to a numbered series of at least three, such as `pixel0`, `pixel1`, …:
/// they are measured alike, so a few distinct values in one of them do not make it a category.
pub(crate) fn is_series(names: &[String]) -> Vec<bool> {
    let stem = |name: &str| {
        let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
        (stem.len() < name.len()).then(|| stem.to_owned())
    };
    let mut counts = std::collections::HashMap::new();
    for name in names {
        if let Some(stem) = stem(name) {
            *counts.entry(stem).or_insert(0usize) += 1;
        }
    }
    names.iter().map(|name| stem(name).is_some_and(|stem| counts[&stem] >= 3)).collect()
}

/// The last word of a name in snake, kebab, camel or plain case, in lower case.
fn last_word(name: &str) -> Option<String> {
    let part = name.rsplit(|c: char| !c.is_alphanumeric()).find(|part| !part.is_empty())?;
    let chars: Vec<char> = part.chars().collect();
    let start = (1..chars.len())
        .rev()
        .find(|&i| chars[i].is_uppercase() && !chars[i - 1].is_uppercase())
        .unwrap_or(0);
    Some(chars[start..].iter().collect::<String>().to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell() {
        for name in ["pclass", "product_type", "zipCode", "Sex", "postal code"] {
            assert!(names_a_code(name), "{name}");
        }
        for name in ["classes_taken", "age", "typed", "pixel0"] {
            assert!(!names_a_code(name), "{name}");
        }
        for name in ["id", "PassengerId", "customer-ID", "row_number"] {
            assert!(names_an_identifier(name), "{name}");
        }
        for name in ["humid", "identity", "age", "paid", ""] {
            assert!(!names_an_identifier(name), "{name}");
        }
    }

    #[test]
    fn an_index_has_its_names() {
        let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let is = |list: &[&str]| is_index(&names(list));
        assert_eq!(is(&["column_1", "x", "Unnamed: 0.1"]), [true, false, true]);
        assert_eq!(is(&["column_1", "column_2"]), [false, false], "a file without a header");
        assert_eq!(is(&["x", "column_2", "__index_level_0__"]), [false, false, true]);
        assert_eq!(is(&["__index_level_x__", "Unnamed: 3"]), [false, false]);
    }

    #[test]
    fn a_series_has_three() {
        let names = ["x0", "x1", "x2", "y1", "y2", "age"].map(String::from);
        assert_eq!(is_series(&names), [true, true, true, false, false, false]);
    }
}
