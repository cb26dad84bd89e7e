//! The values that a JSON schema allows in one place, collected from its references and
//! alternatives.

use serde_json::{Map, Value as Json};

/// The allowed kinds of a value; kinds that are `None`, `false` or empty are not allowed.
#[derive(Debug, Default)]
pub(crate) struct Expected<'s> {
    pub(crate) anything: bool,
    pub(crate) boolean: bool,
    /// The least allowed whole number.
    pub(crate) integer: Option<i64>,
    pub(crate) number: bool,
    pub(crate) text: bool,
    pub(crate) character: bool,
    /// The allowed words, in the order of the schema.
    pub(crate) words: Vec<&'s str>,
    /// The schema of an array.
    pub(crate) list: Option<&'s Map<String, Json>>,
    /// The schemas of objects; several if a key distinguishes them.
    pub(crate) tables: Vec<&'s Map<String, Json>>,
}

/// The targets of `$ref`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Definitions<'s>(pub(crate) Option<&'s Map<String, Json>>);

impl<'s> Definitions<'s> {
    /// Collects the values that a schema allows.
    pub(crate) fn expected(self, schema: &'s Json) -> Expected<'s> {
        let mut expected = Expected::default();
        self.gather(schema, &mut expected, 0);
        expected
    }

    fn gather(self, schema: &'s Json, to: &mut Expected<'s>, depth: usize) {
        // References in schemas of types are never circular without a table in between.
        let Some(schema) = schema.as_object().filter(|s| !s.is_empty() && depth < 16) else {
            to.anything = true;
            return;
        };
        let reference = schema.get("$ref").and_then(Json::as_str);
        if let Some(name) = reference.and_then(|r| r.strip_prefix("#/$defs/")) {
            if let Some(target) = self.0.and_then(|definitions| definitions.get(name)) {
                self.gather(target, to, depth + 1);
            }
            return;
        }
        for alternatives in ["anyOf", "oneOf", "allOf"] {
            for alternative in
                schema.get(alternatives).and_then(Json::as_array).into_iter().flatten()
            {
                self.gather(alternative, to, depth + 1);
            }
        }
        let words = schema.get("enum").and_then(Json::as_array).into_iter().flatten();
        let words: Vec<&str> = words.chain(schema.get("const")).filter_map(Json::as_str).collect();
        let types: Vec<&str> = match schema.get("type") {
            Some(Json::String(one)) => vec![one],
            Some(Json::Array(many)) => many.iter().filter_map(Json::as_str).collect(),
            _ => Vec::new(),
        };
        for kind in types {
            match kind {
                "boolean" => to.boolean = true,
                "integer" => {
                    let least = schema.get("minimum").and_then(Json::as_f64).map(|m| m as i64);
                    to.integer = Some(least.unwrap_or(i64::MIN));
                }
                "number" => to.number = true,
                "string" if !words.is_empty() => {}
                "string" if schema.get("maxLength").and_then(Json::as_u64) == Some(1) => {
                    to.character = true;
                }
                "string" => to.text = true,
                "array" => to.list = Some(schema),
                "object" => to.tables.push(schema),
                _ => {}
            }
        }
        to.words.extend(words);
    }
}

impl Expected<'_> {
    /// Whether some string is allowed.
    pub(crate) fn takes_text(&self) -> bool {
        self.text || self.character || !self.words.is_empty()
    }

    /// The expected values, as part of a sentence.
    pub(crate) fn describe(&self, definitions: Definitions<'_>) -> String {
        let mut parts: Vec<String> = Vec::new();
        if self.boolean {
            parts.push("true or false".into());
        }
        match self.integer {
            Some(i64::MIN) => parts.push("a whole number".into()),
            Some(least) => parts.push(format!("a whole number of at least {least}")),
            None => {}
        }
        if self.number {
            parts.push("a number".into());
        }
        if self.text {
            parts.push("a string".into());
        }
        if self.character {
            parts.push("one character".into());
        }
        if !self.words.is_empty() {
            let words: Vec<String> = self.words.iter().map(|w| format!("\"{w}\"")).collect();
            parts.push(one_of(&words));
        }
        if let Some(list) = self.list {
            let items = list.get("items").map(|items| definitions.expected(items));
            parts.push(match items {
                Some(items) if items.integer.is_some() => "a list of whole numbers".into(),
                Some(items) if items.number => "a list of numbers".into(),
                Some(items) if items.text => "a list of strings".into(),
                Some(items) if !items.tables.is_empty() => "a list of tables".into(),
                _ => "a list".into(),
            });
        }
        if !self.tables.is_empty() {
            parts.push("a table of keys".into());
        }
        parts.join(", or ")
    }
}

/// `a`, `a or b`, `a, b or c`.
pub(crate) fn one_of(words: &[String]) -> String {
    match words {
        [] => String::new(),
        [one] => one.clone(),
        [most @ .., last] => format!("{} or {last}", most.join(", ")),
    }
}
