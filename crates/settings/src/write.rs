//! Writes settings as TOML, with a comment on every key.

use std::fmt::Write;

use serde_json::Value as Json;

use crate::expect::Definitions;

/// The column of comments, if the value leaves room.
const COMMENT_COLUMN: usize = 32;

/// The maximum length of lines; a longer comment precedes its key.
const WIDTH: usize = 110;

/// Writes tables with the descriptions of the schema.
pub(crate) fn write(settings: &toml::Table, schema: &Json, title: &str) -> String {
    let writer = Writer { definitions: Definitions(schema.get("$defs").and_then(Json::as_object)) };
    let mut text = format!("# {title}\n");
    writer.table(settings, schema, "", &mut text);
    text
}

struct Writer<'s> {
    definitions: Definitions<'s>,
}

impl<'s> Writer<'s> {
    fn table(&self, table: &toml::Table, schema: &'s Json, path: &str, text: &mut String) {
        let expected = self.definitions.expected(schema);
        let Some(known) = expected.tables.first() else { return };
        let properties = known.get("properties").and_then(Json::as_object);
        let names: Vec<&str> = match properties {
            Some(properties) => properties.keys().map(String::as_str).collect(),
            None => table.keys().map(String::as_str).collect(),
        };
        let free = Json::Bool(true);
        let others = known.get("additionalProperties").unwrap_or(&free);
        let schema_of = |name: &str| properties.and_then(|p| p.get(name)).unwrap_or(others);
        let mut unset = Vec::new();
        for &name in &names {
            match table.get(name) {
                None => unset.push(name),
                Some(value) if !is_section(value, self, schema_of(name)) => {
                    line(name, value, &self.comment_on(schema_of(name)), text);
                }
                Some(_) => {}
            }
        }
        if !unset.is_empty() && !path.is_empty() {
            comment(&format!("also: {}", unset.join(", ")), text);
        }
        for &name in &names {
            let path = if path.is_empty() { key(name) } else { format!("{path}.{}", key(name)) };
            match table.get(name) {
                Some(value) if !is_section(value, self, schema_of(name)) => {}
                Some(toml::Value::Table(section)) if section.is_empty() => {}
                Some(toml::Value::Table(section)) => {
                    let _ = write!(text, "\n[{path}]");
                    let description = description(schema_of(name));
                    let _ = if description.is_empty() {
                        writeln!(text)
                    } else {
                        writeln!(text, "  # {description}")
                    };
                    self.table(section, schema_of(name), &path, text);
                }
                Some(toml::Value::Array(sections)) => {
                    let items = self.definitions.expected(schema_of(name)).list;
                    let items = items.and_then(|list| list.get("items")).unwrap_or(others);
                    for section in sections.iter().filter_map(toml::Value::as_table) {
                        let _ = writeln!(text, "\n[[{path}]]");
                        self.table(section, items, &path, text);
                    }
                }
                _ => {}
            }
        }
    }
}

impl<'s> Writer<'s> {
    /// The description of a key, followed by its allowed words unless the description lists them.
    fn comment_on(&self, schema: &'s Json) -> String {
        let description = description(schema);
        let words = self.definitions.expected(schema).words;
        if words.iter().all(|word| description.contains(word)) {
            description.to_owned()
        } else {
            format!("{description}: {}", words.join(", "))
        }
    }
}

/// Whether a value gets a header: tables with named keys and lists of tables do; a choice between a
/// table and another value stays on one line.
fn is_section(value: &toml::Value, writer: &Writer<'_>, schema: &Json) -> bool {
    match value {
        toml::Value::Table(_) => {
            let expected = writer.definitions.expected(schema);
            expected.tables.len() == 1 && !expected.takes_text()
        }
        toml::Value::Array(items) => !items.is_empty() && items.iter().all(toml::Value::is_table),
        _ => false,
    }
}

fn line(name: &str, value: &toml::Value, description: &str, text: &mut String) {
    let line = format!("{} = {}", key(name), inline(value));
    if let toml::Value::Array(items) = value
        && line.chars().count() > WIDTH
    {
        if !description.is_empty() {
            comment(description, text);
        }
        let _ = writeln!(text, "{} = [", key(name));
        wrapped("   ", items.iter().map(|item| inline(item) + ","), text);
        text.push_str("]\n");
        return;
    }
    if description.is_empty() {
        text.push_str(&line);
    } else {
        let padding = COMMENT_COLUMN.saturating_sub(line.chars().count()).max(2);
        let end = line.chars().count() + padding + 2 + description.chars().count();
        if end <= WIDTH {
            let _ = write!(text, "{line}{:padding$}# {description}", "");
        } else {
            comment(description, text);
            text.push_str(&line);
        }
    }
    text.push('\n');
}

/// A comment on lines of its own, wrapped.
fn comment(words: &str, text: &mut String) {
    wrapped("#", words.split(' '), text);
}

/// Lines that begin with a margin, filled with words.
fn wrapped(margin: &str, words: impl Iterator<Item: AsRef<str>>, text: &mut String) {
    let mut line = margin.to_owned();
    for word in words {
        let word = word.as_ref();
        if line.chars().count() + 1 + word.chars().count() > WIDTH {
            let _ = writeln!(text, "{line}");
            margin.clone_into(&mut line);
        }
        line.push(' ');
        line.push_str(word);
    }
    let _ = writeln!(text, "{line}");
}

/// The schema of a key.
fn description(schema: &Json) -> &str {
    let text = schema.get("description").and_then(Json::as_str).unwrap_or_default();
    text.strip_suffix('.').unwrap_or(text)
}

/// A value on one line.
fn inline(value: &toml::Value) -> String {
    match value {
        toml::Value::Array(items) => {
            let items: Vec<String> = items.iter().map(inline).collect();
            format!("[{}]", items.join(", "))
        }
        toml::Value::Table(table) => {
            let items: Vec<String> = table
                .iter()
                .map(|(name, value)| format!("{} = {}", key(name), inline(value)))
                .collect();
            format!("{{ {} }}", items.join(", "))
        }
        // Numbers in the usual notation: 0.001 and 1e-8, never 0.00000001.
        toml::Value::Float(v) if v.is_finite() && *v != 0.0 && !(1e-4..1e9).contains(&v.abs()) => {
            format!("{v:e}")
        }
        other => other.to_string(),
    }
}

fn key(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !name.is_empty() && name.chars().all(plain) {
        name.to_owned()
    } else {
        toml::Value::String(name.to_owned()).to_string()
    }
}
