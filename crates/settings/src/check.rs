//! A document against its schema: reports every unknown key, wrong type and unknown word, with the
//! nearest valid name.

use serde_json::{Map, Value as Json};

use crate::document::{Document, Node, Position, Table, Value};
use crate::expect::{Definitions, Expected, one_of};
use crate::{Problem, RecipeError, nearest};

/// Checks a document, and repairs what shells are known to change on the command line (lost quotes,
/// one-item lists).
///
/// # Errors
/// All violations of the schema.
pub(crate) fn check(
    document: &mut Document,
    schema: &Json,
    synonyms: &[(&str, &str)],
) -> Result<(), RecipeError> {
    let definitions = Definitions(schema.get("$defs").and_then(Json::as_object));
    let mut checker = Checker { schema, synonyms, definitions, problems: Vec::new() };
    checker.node(schema, &mut document.root, "");
    RecipeError::check(checker.problems)
}

/// Every key of the schema outside tables with free names, as dotted paths.
pub fn keys(schema: &Json) -> Vec<String> {
    let definitions = Definitions(schema.get("$defs").and_then(Json::as_object));
    let mut keys = Vec::new();
    collect(definitions, schema, "", &mut keys);
    keys
}

fn collect(definitions: Definitions<'_>, schema: &Json, path: &str, to: &mut Vec<String>) {
    for table in definitions.expected(schema).tables {
        for (name, property) in properties(table) {
            let key = join(path, name);
            collect(definitions, property, &key, to);
            to.push(key);
        }
    }
}

struct Checker<'s> {
    schema: &'s Json,
    synonyms: &'s [(&'s str, &'s str)],
    definitions: Definitions<'s>,
    problems: Vec<Problem>,
}

impl<'s> Checker<'s> {
    fn node(&mut self, schema: &'s Json, node: &mut Node, path: &str) {
        let expected = self.definitions.expected(schema);
        if expected.anything {
            return;
        }
        if node.position.is_set() {
            repair(&expected, node);
        }
        let fits = match &mut node.value {
            Value::Bool(_) => expected.boolean,
            Value::Integer(v) => expected.integer.map_or(expected.number, |least| *v >= least),
            Value::Float(_) => expected.number,
            Value::Text(text) => {
                expected.text
                    || expected.words.contains(&text.as_str())
                    || (expected.character && text.chars().count() == 1)
            }
            Value::List(items) => match expected.list {
                Some(list) => return self.list(list, items, &node.position, path),
                None => false,
            },
            Value::Table(table) if !expected.tables.is_empty() => {
                return self.table(&expected.tables, table, &node.position, path);
            }
            Value::Date(_) | Value::Table(_) => false,
        };
        if !fits {
            self.problems.push(self.misfit(&expected, node, schema, path));
        }
    }

    fn list(
        &mut self,
        list: &'s Map<String, Json>,
        items: &mut [Node],
        position: &Position,
        path: &str,
    ) {
        let bound = |name: &str| list.get(name).and_then(Json::as_u64).map(|n| n as usize);
        let (least, most) = (bound("minItems"), bound("maxItems"));
        if least.is_some_and(|n| items.len() < n) || most.is_some_and(|n| items.len() > n) {
            let count = match (least, most) {
                (Some(least), Some(most)) if least == most => format!("{least}"),
                (Some(least), _) => format!("at least {least}"),
                (None, most) => format!("at most {}", most.unwrap_or_default()),
            };
            let message = format!("`{path}`: expected a list of {count}, found {}", items.len());
            self.problems.push(position.problem(message).key(path));
            return;
        }
        if let Some(schema) = list.get("items") {
            for (i, item) in items.iter_mut().enumerate() {
                self.node(schema, item, &format!("{path}[{i}]"));
            }
        }
    }

    fn table(
        &mut self,
        schemas: &[&'s Map<String, Json>],
        table: &mut Table,
        position: &Position,
        path: &str,
    ) {
        // Of several tables, the one with the most of these keys is assumed.
        let score = |s: &&&Map<String, Json>| {
            properties(s).filter(|(name, _)| table.contains_key(name.as_str())).count()
        };
        let Some(schema) = schemas.iter().max_by_key(score) else { return };
        let names: Vec<&str> =
            schemas.iter().flat_map(|s| properties(s)).map(|(name, _)| name.as_str()).collect();
        let known = schema.get("properties").and_then(Json::as_object);
        let others = schema.get("additionalProperties");
        for (name, (key_place, node)) in table.iter_mut() {
            let key = join(path, name);
            match (known.and_then(|known| known.get(name)), others) {
                (Some(property), _) => self.node(property, node, &key),
                (None, Some(Json::Bool(false))) => {
                    let help = self.unknown_key(name, &names, path);
                    let problem = key_place.problem(format!("unknown key `{key}`"));
                    self.problems.push(problem.key(key).help(help));
                }
                (None, Some(other)) => self.node(other, node, &key),
                (None, None) => {}
            }
        }
        let required = schema.get("required").and_then(Json::as_array);
        for name in required.into_iter().flatten().filter_map(Json::as_str) {
            if !table.contains_key(name) {
                let message = format!("`{}` is missing", join(path, name));
                self.problems.push(position.problem(message).key(join(path, name)));
            }
        }
    }

    /// A suggestion: the likely key, its likely place, or the keys allowed here.
    fn unknown_key(&self, name: &str, names: &[&str], path: &str) -> String {
        if let Some(near) = nearest(name, names) {
            return format!("did you mean `{near}`?");
        }
        let keys = keys(self.schema);
        let synonym = self.synonyms.iter().find(|(other, _)| *other == name).map(|(_, ours)| *ours);
        let elsewhere = keys.iter().find(|key| key.rsplit('.').next() == Some(name));
        if let Some(found) = synonym.or(elsewhere.map(String::as_str)) {
            return match found.rsplit_once('.') {
                Some((table, key)) if table == path => format!("did you mean `{key}`?"),
                Some((table, key)) => format!("did you mean `{key}` in the table [{table}]?"),
                None => format!("did you mean the table [{found}]?"),
            };
        }
        let mut names = names.to_vec();
        names.sort_unstable();
        let table = if path.is_empty() { "a recipe".into() } else { format!("[{path}]") };
        format!("the keys of {table} are {}", names.join(", "))
    }

    fn misfit(&self, expected: &Expected<'_>, node: &Node, schema: &Json, path: &str) -> Problem {
        let found = match &node.value {
            Value::Bool(v) => format!("{v}"),
            Value::Integer(v) if expected.integer.is_some() => format!("{v}"),
            Value::Integer(v) => format!("the number {v}"),
            Value::Float(v) => format!("the number {v}"),
            Value::Text(v) => format!("the string \"{v}\""),
            Value::Date(v) => format!("the date {v}"),
            Value::List(_) => "a list".into(),
            Value::Table(_) => "a table".into(),
        };
        let only_words = !expected.words.is_empty() && !expected.text && !expected.character;
        if let (Value::Text(text), true) = (&node.value, only_words) {
            let problem = node.position.problem(format!("`{path}`: unknown value \"{text}\""));
            let words = expected.words.iter().map(|word| format!("`{word}`"));
            // A choice between tables of one key each, as in `threshold`.
            let tables = expected.tables.iter().filter(|_| expected.tables.len() > 1);
            let keys = tables.flat_map(|table| properties(table));
            let keys = keys.map(|(name, _)| format!("{{ {name} = … }}"));
            let words: Vec<String> = words.chain(keys).collect();
            return problem.key(path).help(match nearest(text, &expected.words) {
                Some(near) => format!("did you mean `{near}`? Allowed are {}", one_of(&words)),
                None => format!("allowed are {}", one_of(&words)),
            });
        }
        let what = expected.describe(self.definitions);
        let problem = node.position.problem(format!("`{path}`: expected {what}, found {found}"));
        let help = help_with(expected, node, schema);
        let problem = problem.key(path);
        if let Some(help) = help { problem.help(help) } else { problem }
    }
}

/// The replacement to suggest, if obvious.
fn help_with(expected: &Expected<'_>, node: &Node, schema: &Json) -> Option<String> {
    let written = node.position.text();
    let example = schema.get("default").filter(|d| d.as_array().is_some_and(|d| !d.is_empty()));
    match &node.value {
        Value::Table(_) | Value::List(_) => None,
        _ if expected.list.is_some() => Some(match example {
            Some(example) => format!("write a list, such as {example}"),
            None => format!("write a list, such as [{written}]"),
        }),
        Value::Text(text) if expected.boolean && matches!(text.as_str(), "true" | "false") => {
            Some(format!("write {text} without quotes"))
        }
        Value::Text(text)
            if (expected.number || expected.integer.is_some()) && text.parse::<f64>().is_ok() =>
        {
            Some(format!("write {text} without quotes"))
        }
        Value::Bool(_) | Value::Integer(_) | Value::Float(_) | Value::Date(_) if expected.text => {
            Some(format!("write it in quotes: \"{written}\""))
        }
        Value::Float(v) if expected.integer.is_some() && *v >= 0.0 && v.fract() == 0.0 => {
            Some(format!("write {v}"))
        }
        _ => None,
    }
}

/// Undoes a shell's changes to a value of the command line: `positive=1` for a string, `hidden=64`
/// for a one-item list, `epochs=1e3` for a whole number.
fn repair(expected: &Expected<'_>, node: &mut Node) {
    let written = node.position.text().to_owned();
    let scalar = !matches!(node.value, Value::List(_) | Value::Table(_));
    let number_fits = expected.number || expected.integer.is_some();
    match node.value {
        Value::Bool(_) | Value::Integer(_) | Value::Float(_) | Value::Date(_)
            if expected.takes_text()
                && !(matches!(node.value, Value::Bool(_)) && expected.boolean)
                && !(matches!(node.value, Value::Integer(_) | Value::Float(_)) && number_fits) =>
        {
            node.value = Value::Text(written);
        }
        Value::Float(v)
            if expected.integer.is_some()
                && !expected.number
                && v.fract() == 0.0
                && v.abs() < 2f64.powi(53) =>
        {
            node.value = Value::Integer(v as i64);
        }
        _ if scalar && expected.list.is_some() && !expected.takes_text() && !number_fits => {
            let item = Node { position: node.position.clone(), value: node.value.clone() };
            node.value = Value::List(vec![item]);
        }
        _ => {}
    }
}

fn properties(schema: &Map<String, Json>) -> impl Iterator<Item = (&String, &Json)> {
    schema.get("properties").and_then(Json::as_object).into_iter().flatten()
}

fn join(path: &str, name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let name = if name.chars().all(plain) { name.to_owned() } else { format!("{name:?}") };
    if path.is_empty() { name } else { format!("{path}.{name}") }
}
