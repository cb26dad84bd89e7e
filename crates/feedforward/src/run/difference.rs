//! What differs between recipes.

use crate::words::setting;
use serde::Serialize;

/// A key of the recipe and each run's value as TOML; `None` where a run does not have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The key from the recipe's root.
    pub key: String,
    /// One value a run.
    pub values: Vec<Option<String>>,
}

/// Whether two recipes have the same values, whatever their comments say: those change between
/// versions.
pub(crate) fn same_values(before: &str, now: &str) -> bool {
    let parse = |text: &str| text.parse::<toml::Table>().ok().map(flat);
    match (parse(before), parse(now)) {
        (Some(before), Some(now)) => differences(&[before, now]).is_empty(),
        _ => before == now,
    }
}

/// The differences between two recipes in a few words: `train.epochs: 60 → 80, …`.
pub(crate) fn changes(before: &str, now: &str) -> String {
    let recipes: Result<Vec<_>, toml::de::Error> =
        [before, now].iter().map(|text| Ok(flat(toml::from_str(text)?))).collect();
    let Ok(recipes) = recipes else { return String::new() };
    let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "not set".into());
    let changes: Vec<String> = differences(&recipes)
        .iter()
        .take(5)
        .map(|d| {
            format!("{}: {}", d.key, d.values.iter().map(shown).collect::<Vec<_>>().join(" → "))
        })
        .collect();
    changes.join(", ")
}

/// A table's values by dotted key.
pub(crate) fn flat(table: toml::Table) -> Vec<(String, String)> {
    fn walk(prefix: &str, value: toml::Value, to: &mut Vec<(String, String)>) {
        match value {
            toml::Value::Table(table) => {
                for (key, value) in table {
                    let key = if prefix.is_empty() { key } else { format!("{prefix}.{key}") };
                    walk(&key, value, to);
                }
            }
            value => to.push((prefix.to_owned(), value.to_string())),
        }
    }
    let mut all = Vec::new();
    walk("", toml::Value::Table(table), &mut all);
    all
}

/// The keys whose values differ, in the order in which they are first met.
pub(crate) fn differences(recipes: &[Vec<(String, String)>]) -> Vec<Difference> {
    let mut keys: Vec<&str> = Vec::new();
    for (key, _) in recipes.iter().flatten() {
        if !keys.contains(&key.as_str()) {
            keys.push(key);
        }
    }
    let value = |recipe: &Vec<(String, String)>, key: &str| {
        recipe.iter().find(|(name, _)| name == key).map(|(_, value)| value.clone())
    };
    keys.into_iter()
        .map(|key| Difference {
            key: key.to_owned(),
            values: recipes.iter().map(|recipe| value(recipe, key)).collect(),
        })
        .filter(|difference| difference.values.windows(2).any(|pair| pair[0] != pair[1]))
        .map(|Difference { key, values }| Difference { key, values: shortened(values) })
        .collect()
}

/// Numbers without the noise of binary fractions, unless that would make different values equal.
fn shortened(values: Vec<Option<String>>) -> Vec<Option<String>> {
    let short: Vec<Option<String>> = values
        .iter()
        .map(|value| {
            let value = value.as_ref()?;
            let short = value.parse().ok().filter(|_| value.contains('.')).map(setting);
            Some(short.filter(|short| short.len() + 4 < value.len()).unwrap_or(value.clone()))
        })
        .collect();
    let alike = |i: usize, j: usize| short[i] == short[j] && values[i] != values[j];
    if (0..values.len()).any(|i| (0..i).any(|j| alike(i, j))) { values } else { short }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_listed() {
        let recipe = |text: &str| flat(toml::from_str(text).unwrap());
        let recipes = [
            recipe("a = 1\nmodel = { hidden = [2], x = 'same' }"),
            recipe("a = 1\nmodel = { hidden = [3], x = 'same', dropout = 0.5 }"),
        ];
        let found = differences(&recipes);
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(found.len(), 2);
        assert_eq!(
            (found[0].key.as_str(), &found[0].values),
            ("model.hidden", &vec![some("[2]"), some("[3]")])
        );
        assert_eq!(
            (found[1].key.as_str(), &found[1].values),
            ("model.dropout", &vec![None, some("0.5")])
        );
    }

    #[test]
    fn numbers_are_shown_as_people_write_them() {
        let texts = |values: [&str; 2]| values.map(|text| Some(text.to_owned())).to_vec();
        assert_eq!(shortened(texts(["0.0012000000000000001", "0.1"])), texts(["0.0012", "0.1"]));
        for kept in [["0.1", "0.10000000000000002"], ["1.0", "'0.30000000000000004'"]] {
            assert_eq!(shortened(texts(kept)), texts(kept));
        }
    }

    #[test]
    fn comments_are_no_difference_and_values_are() {
        let before = "# Epochs at most.\n[train]\nepochs = 5\n";
        let now = "# The most epochs.\n[train]\nepochs = 5\n";
        assert!(same_values(before, now));
        assert!(!same_values(before, &now.replace('5', "6")));
        assert!(!same_values(before, "[train]\nepochs = 5\nseed = 1\n"));
        assert!(!same_values(before, "[train"));
    }
}
