//! The names of a file's columns, made different from each other.

use std::collections::{HashMap, HashSet};

use crate::note::Note;

/// The names that columns go by: empty ones are numbered, repeated ones get a suffix, with a note
/// for each.
pub(super) fn unique<'a>(
    names: impl Iterator<Item = &'a str>,
    notes: &mut Vec<Note>,
) -> Vec<String> {
    let mut taken = HashSet::new();
    let mut next: HashMap<String, usize> = HashMap::new();
    names
        .enumerate()
        .map(|(i, name)| {
            let mut name =
                if name.is_empty() { format!("column_{}", i + 1) } else { name.to_owned() };
            if taken.contains(&name) {
                let suffix = next.entry(name.clone()).or_insert(2);
                while taken.contains(&format!("{name}_{suffix}")) {
                    *suffix += 1;
                }
                let unique = format!("{name}_{suffix}");
                notes.push(
                    Note::warn(format!("a second column of this name is called `{unique}`"))
                        .column(name),
                );
                name = unique;
            }
            taken.insert(name.clone());
            name
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::unique;

    #[test]
    fn every_name_is_there_once() {
        let mut notes = Vec::new();
        let names = ["a", "", "a", "a_2", "a", "b", ""];
        let found = unique(names.into_iter(), &mut notes);
        assert_eq!(found, ["a", "column_2", "a_2", "a_2_2", "a_3", "b", "column_7"]);
        assert_eq!(notes.len(), 3);
        assert_eq!(notes[2].to_string(), "a: a second column of this name is called `a_3`");
    }
}
