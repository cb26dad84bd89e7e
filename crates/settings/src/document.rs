//! A TOML document as a tree, with the position of every key and value.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use crate::{Problem, RecipeError, SET, Source};

/// The position of a key or a value in its text.
#[derive(Debug, Clone)]
pub(crate) struct Position {
    pub(crate) source: Arc<Source>,
    pub(crate) span: Range<usize>,
}

impl Position {
    pub(crate) fn problem(&self, message: impl Into<String>) -> Problem {
        Problem::new(message).at(&self.source, Some(self.span.clone()))
    }

    /// Whether it is from the command line, where shells often remove quotes.
    pub(crate) fn is_set(&self) -> bool {
        self.source.name == SET
    }

    pub(crate) fn text(&self) -> &str {
        self.source.text.get(self.span.clone()).unwrap_or_default()
    }
}

/// A value and its position.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) position: Position,
    pub(crate) value: Value,
}

#[derive(Debug, Clone)]
pub(crate) enum Value {
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(String),
    Date(toml::value::Datetime),
    List(Vec<Node>),
    Table(Table),
}

/// Keys in alphabetical order, each with its own position.
pub(crate) type Table = BTreeMap<String, (Position, Node)>;

/// The tree of a recipe, with the overrides of the command line.
#[derive(Debug, Clone)]
pub(crate) struct Document {
    pub(crate) source: Arc<Source>,
    pub(crate) root: Node,
}

impl Document {
    /// Parses TOML.
    pub(crate) fn parse(text: &str, origin: &str) -> Result<Self, RecipeError> {
        let source = Arc::new(Source::new(origin, text));
        let (table, errors) = DeTable::parse_recoverable(text);
        RecipeError::check(errors.iter().map(|error| syntax(error, &source, 0)).collect())?;
        let position = Position { source: Arc::clone(&source), span: table.span() };
        let root =
            Node { value: Value::Table(tree_of_table(table.get_ref(), &source, 0)?), position };
        Ok(Self { source, root })
    }

    /// Applies one `key=value` of the command line; `key=` removes the key.
    pub(crate) fn set(&mut self, text: &str) -> Result<(), RecipeError> {
        let source = Arc::new(Source::new(SET, text));
        let whole = Position { source: Arc::clone(&source), span: 0..text.len() };
        let Some(equals) = equals_sign(text) else {
            return Err(RecipeError::new(
                whole
                    .problem("expected key=value")
                    .help("write --set KEY=VALUE, such as --set train.epochs=5"),
            ));
        };
        let keys = split_key(&text[..equals]).map_err(|span| {
            let position = Position { source: Arc::clone(&source), span };
            RecipeError::new(position.problem("this is not a key").help(
                "write a path such as train.epochs; quote names with dots: data.columns.\"a.b\"",
            ))
        })?;
        let value = set_value(&source, equals + 1)?;
        put(&mut self.root, &keys, value, &source)
    }

    /// The value of a dotted key such as `optimizer.groups[0].match`, or of the nearest enclosing
    /// table.
    pub(crate) fn find(&self, key: &str) -> (Option<&Node>, bool) {
        let mut node = &self.root;
        let mut found = None;
        for part in split_key(key).unwrap_or_default() {
            let Value::Table(table) = &node.value else { return (found, false) };
            // Names may contain brackets; only if no such name exists do they index a list.
            let (name, indices) = match part.name.split_once('[') {
                Some(split) if !table.contains_key(&part.name) => split,
                _ => (part.name.as_str(), ""),
            };
            let Some((_, next)) = table.get(name) else { return (found, false) };
            node = next;
            for index in indices.split(['[', ']']).filter_map(|i| i.parse::<usize>().ok()) {
                let Value::List(items) = &node.value else { return (Some(node), false) };
                let Some(item) = items.get(index) else { return (Some(node), false) };
                node = item;
            }
            found = Some(node);
        }
        (found, found.is_some())
    }

    /// The tree as plain TOML.
    pub(crate) fn to_toml(&self) -> toml::Value {
        to_toml(&self.root)
    }
}

fn to_toml(node: &Node) -> toml::Value {
    match &node.value {
        Value::Bool(v) => toml::Value::Boolean(*v),
        Value::Integer(v) => toml::Value::Integer(*v),
        Value::Float(v) => toml::Value::Float(*v),
        Value::Text(v) => toml::Value::String(v.clone()),
        Value::Date(v) => toml::Value::Datetime(*v),
        Value::List(items) => toml::Value::Array(items.iter().map(to_toml).collect()),
        Value::Table(table) => toml::Value::Table(
            table.iter().map(|(key, (_, node))| (key.clone(), to_toml(node))).collect(),
        ),
    }
}

fn syntax(error: &toml::de::Error, source: &Arc<Source>, shift: usize) -> Problem {
    let span = error.span().map(|span| span.start + shift..span.end + shift);
    Problem::new(format!("invalid TOML: {}", error.message())).at(source, span)
}

fn tree_of_table(
    table: &DeTable<'_>,
    source: &Arc<Source>,
    shift: usize,
) -> Result<Table, RecipeError> {
    let mut tree = Table::new();
    for (key, value) in table {
        let span = key.span().start + shift..key.span().end + shift;
        let position = Position { source: Arc::clone(source), span };
        let node = tree_of(value.get_ref(), value.span(), source, shift)?;
        tree.insert(key.get_ref().to_string(), (position, node));
    }
    Ok(tree)
}

fn tree_of(
    value: &DeValue<'_>,
    span: Range<usize>,
    source: &Arc<Source>,
    shift: usize,
) -> Result<Node, RecipeError> {
    let position =
        Position { source: Arc::clone(source), span: span.start + shift..span.end + shift };
    let too_large = |what: &str| RecipeError::new(position.problem(format!("{what} is too large")));
    let value = match value {
        DeValue::Boolean(v) => Value::Bool(*v),
        DeValue::Integer(v) => Value::Integer(
            i64::from_str_radix(v.as_str(), v.radix()).map_err(|_| too_large("the number"))?,
        ),
        DeValue::Float(v) => Value::Float(v.as_str().parse().map_err(|_| too_large("the number"))?),
        DeValue::String(v) => Value::Text(v.to_string()),
        DeValue::Datetime(v) => Value::Date(*v),
        DeValue::Array(items) => Value::List(
            items
                .iter()
                .map(|item| tree_of(item.get_ref(), item.span(), source, shift))
                .collect::<Result<_, _>>()?,
        ),
        DeValue::Table(table) => Value::Table(tree_of_table(table, source, shift)?),
    };
    Ok(Node { position, value })
}

/// One part of a dotted key.
#[derive(Debug, Clone, PartialEq)]
struct KeyPart {
    name: String,
    span: Range<usize>,
}

/// The position of the `=` that ends the key: the first one outside quotes.
fn equals_sign(text: &str) -> Option<usize> {
    let mut quote = None;
    text.char_indices().find_map(|(i, c)| {
        match quote {
            Some(open) if open == c => quote = None,
            None if c == '"' || c == '\'' => quote = Some(c),
            None if c == '=' => return Some(i),
            _ => {}
        }
        None
    })
}

/// The parts of a dotted key; quoted names may contain dots, unquoted ones anything else.
fn split_key(text: &str) -> Result<Vec<KeyPart>, Range<usize>> {
    let mut parts = Vec::new();
    let mut start = 0;
    let mut quote = None;
    let ends = text.char_indices().filter(|&(_, c)| {
        let outside = quote.is_none();
        if quote == Some(c) {
            quote = None;
        } else if outside && (c == '"' || c == '\'') {
            quote = Some(c);
        }
        outside && c == '.'
    });
    let ends: Vec<usize> = ends.map(|(i, _)| i).chain([text.len()]).collect();
    for end in ends {
        let raw = &text[start..end];
        let name = raw.trim();
        let inner = [b'"', b'\''].iter().find_map(|&q| {
            let q = char::from(q);
            name.strip_prefix(q)?.strip_suffix(q)
        });
        if name.is_empty() || (inner.is_none() && name.starts_with(['"', '\''])) {
            return Err(start..end.max(start));
        }
        let at = start + (raw.len() - raw.trim_start().len());
        parts.push(KeyPart { name: inner.unwrap_or(name).to_owned(), span: at..at + name.len() });
        start = end + 1;
    }
    Ok(parts)
}

/// The value of a `--set`: TOML, or a bare word, which is a string; `None` if empty.
fn set_value(source: &Arc<Source>, start: usize) -> Result<Option<Node>, RecipeError> {
    let raw = &source.text[start..];
    let text = raw.trim();
    let at = start + (raw.len() - raw.trim_start().len());
    if text.is_empty() {
        return Ok(None);
    }
    match DeValue::parse(text) {
        Ok(value) => tree_of(value.get_ref(), 0..text.len(), source, at).map(Some),
        Err(error) if text.starts_with(['[', '{', '"', '\'']) => {
            let problem = syntax(&error, source, at);
            Err(RecipeError::new(problem.help("strings inside lists and tables need quotes")))
        }
        Err(_) => Ok(Some(Node {
            position: Position { source: Arc::clone(source), span: at..at + text.len() },
            value: Value::Text(text.to_owned()),
        })),
    }
}

fn put(
    root: &mut Node,
    keys: &[KeyPart],
    value: Option<Node>,
    source: &Arc<Source>,
) -> Result<(), RecipeError> {
    let position =
        |span: &Range<usize>| Position { source: Arc::clone(source), span: span.clone() };
    let mut node = root;
    for (i, part) in keys.iter().enumerate() {
        let Value::Table(table) = &mut node.value else {
            let names: Vec<&str> = keys[..i].iter().map(|k| k.name.as_str()).collect();
            let parent = names.join(".");
            return Err(RecipeError::new(
                position(&part.span)
                    .problem(format!("`{parent}` is a value, not a table of keys"))
                    .help(format!("set the whole table: --set '{parent}={{ {} = … }}'", part.name)),
            ));
        };
        if i + 1 == keys.len() {
            match value {
                Some(value) => {
                    table.insert(part.name.clone(), (position(&part.span), value));
                }
                None => {
                    table.remove(&part.name);
                }
            }
            return Ok(());
        }
        let entry = table.entry(part.name.clone()).or_insert_with(|| {
            let node = Node { position: position(&part.span), value: Value::Table(Table::new()) };
            (position(&part.span), node)
        });
        node = &mut entry.1;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_sets(text: &str, sets: &[&str]) -> Result<toml::Value, RecipeError> {
        let mut document = Document::parse(text, "recipe.toml")?;
        sets.iter().try_for_each(|set| document.set(set))?;
        Ok(document.to_toml())
    }

    #[test]
    fn overrides_replace_add_and_remove() {
        let value = with_sets(
            "[train]\nepochs = 3\nseed = 1",
            &[
                "train.epochs=5",
                "model.hidden=[128, 64]",
                "train.seed=",
                "data.columns.\"a.b\"=drop",
            ],
        );
        let expected: toml::Value = toml::from_str(
            "train.epochs = 5\nmodel.hidden = [128, 64]\ndata.columns.\"a.b\" = 'drop'",
        )
        .unwrap();
        assert_eq!(value.unwrap(), expected);
    }

    #[test]
    fn bare_words_are_text_and_the_rest_is_toml() {
        let value =
            with_sets("", &["a=gelu", "b=1e-3", "c=true", "d= sepal length ", "e='1'", "f=x=y"]);
        let expected: toml::Value =
            toml::from_str("a='gelu'\nb=1e-3\nc=true\nd='sepal length'\ne='1'\nf='x=y'").unwrap();
        assert_eq!(value.unwrap(), expected);
    }

    #[test]
    fn a_bad_override_says_what_to_write() {
        for (set, message) in [
            ("train.epochs", "--set train.epochs: expected key=value"),
            ("=5", "this is not a key"),
            ("a..b=5", "this is not a key"),
            ("a.\"b=5", "expected key=value"),
            ("a=[1, 2", "invalid TOML"),
            ("x.y=1", "`x` is a value, not a table"),
        ] {
            let error = with_sets("x = 1", &[set]).unwrap_err().to_string();
            assert!(error.contains(message), "{set}: {error}");
        }
    }

    #[test]
    fn every_value_knows_its_place() {
        let text = "a.b = 1\n[[groups]]\nx = 1\n[[groups]]\nx = 25\n";
        let document = Document::parse(text, "r").unwrap();
        assert_eq!(document.find("groups[1].x").0.unwrap().position.text(), "25");
        assert_eq!(document.find("a.b").0.unwrap().position.span, 6..7);
        let (near, exact) = document.find("groups[1].y");
        assert!(!exact && near.is_some());
        assert!(document.find("nothing").0.is_none());
    }

    #[test]
    fn integers_of_every_base_and_floats_are_read() {
        let value = with_sets("a = 0xff\nb = 1_000\nc = -inf\nd = 1_0.5e2", &[]).unwrap();
        assert_eq!(value["a"].as_integer(), Some(255));
        assert_eq!(value["b"].as_integer(), Some(1000));
        assert_eq!(value["c"].as_float(), Some(f64::NEG_INFINITY));
        assert_eq!(value["d"].as_float(), Some(1050.0));
        assert!(with_sets("a = 99999999999999999999", &[]).is_err());
    }
}
