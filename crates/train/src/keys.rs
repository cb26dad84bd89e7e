//! Recipe tables that name a kind, such as `[optimizer]` and `[schedule]`: each kind states its own
//! keys once, with documentation, default and range. Reading, checking and the JSON schema follow.

use ff_settings::{ConfigError, Range};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{DeserializeOwned, Error as _, value::StrDeserializer};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value as Json;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::marker::PhantomData;

/// A value as written in a recipe, before the type of its key is known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// true or false
    Flag(bool),
    /// a whole number
    Integer(i64),
    /// a number
    Number(f64),
    /// a text
    Word(String),
    /// a list
    List(Vec<Value>),
}

/// A type of setting.
pub trait Setting: Clone + PartialEq + JsonSchema {
    /// The expected value in messages, as in "expected a number".
    const EXPECTED: &'static str;

    /// The setting of a value; `None` if it has another type.
    fn of(value: &Value) -> Option<Self>;

    /// The value of this setting; `None` if omitted.
    fn value(&self) -> Option<Value>;

    /// Checks the range.
    ///
    /// # Errors
    /// If the setting lies outside the range.
    fn check(&self, key: &str, range: Range) -> Result<(), ConfigError> {
        let _ = (key, range);
        Ok(())
    }

    /// The JSON schema of an optional key.
    fn schema(generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<Option<Self>>()
    }
}

impl Setting for f64 {
    const EXPECTED: &'static str = "a number";

    fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Number(x) => Some(*x),
            Value::Integer(n) => Some(*n as f64),
            _ => None,
        }
    }

    fn value(&self) -> Option<Value> {
        Some(Value::Number(*self))
    }

    fn check(&self, key: &str, range: Range) -> Result<(), ConfigError> {
        range.check(key, *self)
    }
}

impl Setting for u64 {
    const EXPECTED: &'static str = "a whole number";

    fn of(value: &Value) -> Option<Self> {
        if let Value::Integer(n) = value { u64::try_from(*n).ok() } else { None }
    }

    fn value(&self) -> Option<Value> {
        i64::try_from(*self).ok().map(Value::Integer)
    }

    fn check(&self, key: &str, range: Range) -> Result<(), ConfigError> {
        range.check(key, *self as f64)
    }
}

impl Setting for bool {
    const EXPECTED: &'static str = "true or false";

    fn of(value: &Value) -> Option<Self> {
        if let Value::Flag(flag) = value { Some(*flag) } else { None }
    }

    fn value(&self) -> Option<Value> {
        Some(Value::Flag(*self))
    }
}

impl Setting for [f64; 2] {
    const EXPECTED: &'static str = "a list of 2 numbers";

    fn of(value: &Value) -> Option<Self> {
        match value {
            Value::List(pair) if pair.len() == 2 => Some([f64::of(&pair[0])?, f64::of(&pair[1])?]),
            _ => None,
        }
    }

    fn value(&self) -> Option<Value> {
        Some(Value::List(self.iter().map(|x| Value::Number(*x)).collect()))
    }

    fn check(&self, key: &str, range: Range) -> Result<(), ConfigError> {
        self.iter().try_for_each(|x| range.check(key, *x))
    }
}

impl<T: Setting> Setting for Vec<T> {
    const EXPECTED: &'static str = "a list";

    fn of(value: &Value) -> Option<Self> {
        if let Value::List(items) = value { items.iter().map(T::of).collect() } else { None }
    }

    fn value(&self) -> Option<Value> {
        self.iter().map(T::value).collect::<Option<_>>().map(Value::List)
    }

    fn check(&self, key: &str, range: Range) -> Result<(), ConfigError> {
        self.iter().try_for_each(|x| x.check(key, range))
    }
}

/// An optional setting, with a default that depends on others.
impl<T: Setting> Setting for Option<T> {
    const EXPECTED: &'static str = T::EXPECTED;

    fn of(value: &Value) -> Option<Self> {
        T::of(value).map(Some)
    }

    fn value(&self) -> Option<Value> {
        self.as_ref().and_then(T::value)
    }

    fn check(&self, key: &str, range: Range) -> Result<(), ConfigError> {
        self.as_ref().map_or(Ok(()), |x| x.check(key, range))
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        T::schema(generator)
    }
}

/// Reads a variant of an enum by its serde name.
pub(crate) fn word_of<T: DeserializeOwned>(value: &Value) -> Option<T> {
    let Value::Word(word) = value else { return None };
    let deserializer = StrDeserializer::<serde::de::value::Error>::new(word);
    T::deserialize(deserializer).ok()
}

/// The serde name of a variant.
pub(crate) fn value_of_word(word: &impl Serialize) -> Option<Value> {
    serde_json::to_value(word).ok()?.as_str().map(|word| Value::Word(word.to_owned()))
}

/// Makes enums of words settings: `words!(LineSearch: "strong_wolfe or none")`.
macro_rules! words {
    ($type:ty: $expected:literal) => {
        impl $crate::keys::Setting for $type {
            const EXPECTED: &'static str = $expected;

            fn of(value: &$crate::keys::Value) -> Option<Self> {
                $crate::keys::word_of(value)
            }

            fn value(&self) -> Option<$crate::keys::Value> {
                $crate::keys::value_of_word(self)
            }
        }
    };
}
pub(crate) use words;

/// A key of a kind, with everything needed to read, check and document it.
#[derive(Debug)]
pub struct Key {
    /// The name in recipes.
    pub name: &'static str,
    /// The meaning, in sentences.
    pub(crate) about: &'static str,
    /// The default in documentation, if it is not a value.
    pub(crate) shown: Option<&'static str>,
    pub(crate) default: fn() -> Option<Value>,
    /// The value in the type of its key, or the expectation.
    pub(crate) parse: fn(&Value) -> Result<Value, &'static str>,
    pub(crate) check: fn(&Value) -> Result<(), ConfigError>,
    pub(crate) schema: fn(&mut SchemaGenerator) -> Schema,
}

impl Key {
    fn default_text(&self) -> Option<String> {
        match self.shown {
            Some(text) => Some(text.to_owned()),
            None => (self.default)().as_ref().map(text_of),
        }
    }
}

/// A value in documentation: 0.001, 1e-8, [0.9, 0.999].
fn text_of(value: &Value) -> String {
    match value {
        Value::Flag(flag) => flag.to_string(),
        Value::Integer(n) => n.to_string(),
        Value::Number(x) => number_text(*x),
        Value::Word(word) => word.clone(),
        Value::List(items) => {
            format!("[{}]", items.iter().map(text_of).collect::<Vec<_>>().join(", "))
        }
    }
}

/// A number in the usual notation: 0.01 but 1e-3.
pub(crate) fn number_text(x: f64) -> String {
    if x != 0.0 && (x.abs() < 0.01 || x.abs() >= 1e4) { format!("{x:e}") } else { format!("{x}") }
}

/// The settings of one kind, each with a default; declared by `keyed!`.
pub trait Keyed: Default {
    /// The documentation; its first paragraph describes the kind in the schema.
    const ABOUT: &'static str;
    /// The keys, in the order of the fields.
    const KEYS: &'static [Key];

    /// The settings given in a recipe; the others at their defaults.
    fn read<K>(given: &Given<K>) -> Self;

    /// The keys of a recipe with these settings.
    fn give<K>(&self) -> Given<K>;
}

/// Declares the settings of a kind, one line per key below its documentation:
///
/// ```text
/// name: type = default, in range, shown "how the documentation writes the default";
/// ```
macro_rules! keyed {
    (
        $(#[doc = $about:literal])+
        pub struct $name:ident {
            $(
                $(#[doc = $doc:literal])+
                $key:ident: $type:ty = $default:expr
                    $(, in $range:expr)? $(, shown $shown:literal)?;
            )*
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, PartialEq)]
        pub struct $name { $($(#[doc = $doc])+ pub $key: $type,)* }

        impl Default for $name {
            fn default() -> Self {
                Self { $($key: $default,)* }
            }
        }

        impl $crate::keys::Keyed for $name {
            const ABOUT: &'static str = concat!($($about, "\n"),+);
            const KEYS: &'static [$crate::keys::Key] = &[$(
                $crate::keys::Key {
                    name: stringify!($key),
                    about: concat!($($doc),+),
                    shown: [$(Some($shown),)? None][0],
                    default: || $crate::keys::Setting::value(&Self::default().$key),
                    parse: |value| {
                        let setting = <$type as $crate::keys::Setting>::of(value);
                        let value = setting.and_then(|x| $crate::keys::Setting::value(&x));
                        value.ok_or(<$type as $crate::keys::Setting>::EXPECTED)
                    },
                    check: |value| {
                        let range = [$($range,)? ff_settings::Range::Any][0];
                        <$type as $crate::keys::Setting>::of(value).map_or(Ok(()), |x| {
                            $crate::keys::Setting::check(&x, stringify!($key), range)
                        })
                    },
                    schema: |generator| <$type as $crate::keys::Setting>::schema(generator),
                },
            )*];

            fn read<K>(given: &$crate::keys::Given<K>) -> Self {
                let _ = given;
                Self { $($key: given.get(stringify!($key)).unwrap_or($default),)* }
            }

            fn give<K>(&self) -> $crate::keys::Given<K> {
                #[allow(unused_mut)] // a kind may have no keys
                let mut given = $crate::keys::Given::default();
                $(if self.$key != $default {
                    given.set(stringify!($key), $crate::keys::Setting::value(&self.$key));
                })*
                given
            }
        }
    };
}
pub(crate) use keyed;

/// The allowed `kind`s of a table.
pub trait Kind: Copy + PartialEq + 'static {
    /// Every kind.
    const EVERY: &'static [Self];

    /// The name in recipes.
    fn name(self) -> &'static str;

    /// The keys.
    fn keys(self) -> &'static [Key];

    /// The first paragraph of the documentation.
    fn about(self) -> String;
}

/// Declares an enum of kinds; the settings of each are the [`Keyed`] type of the same name.
macro_rules! kinds {
    (
        $(#[doc = $about:literal])+
        pub enum $Kind:ident { $($(#[$attribute:meta])* $Name:ident = $name:literal,)+ }
    ) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
        pub enum $Kind {
            $(
                $(#[$attribute])*
                #[doc = concat!("`", $name, "`: [`", stringify!($Name), "`]")]
                $Name,
            )+
        }

        impl $Kind {
            /// Every kind.
            pub const ALL: [Self; [$($name,)+].len()] = [$(Self::$Name,)+];

            /// The name in recipes.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$Name => $name,)+ }
            }
        }

        impl $crate::keys::Kind for $Kind {
            const EVERY: &'static [Self] = &Self::ALL;

            fn name(self) -> &'static str {
                self.name()
            }

            fn keys(self) -> &'static [$crate::keys::Key] {
                match self { $(Self::$Name => <$Name as $crate::keys::Keyed>::KEYS,)+ }
            }

            fn about(self) -> String {
                let text = match self { $(Self::$Name => <$Name as $crate::keys::Keyed>::ABOUT,)+ };
                $crate::keys::first_paragraph(text)
            }
        }

        impl std::fmt::Display for $Kind {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }

        impl serde::Serialize for $Kind {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.name())
            }
        }

        impl<'de> serde::Deserialize<'de> for $Kind {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let name = String::deserialize(deserializer)?;
                let found = Self::ALL.iter().find(|kind| kind.name() == name).copied();
                found.ok_or_else(|| serde::de::Error::unknown_variant(&name, &[$($name,)+]))
            }
        }

        impl schemars::JsonSchema for $Kind {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($Kind).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                $crate::keys::kinds_schema::<Self>(concat!($($about, "\n"),+))
            }
        }
    };
}
pub(crate) use kinds;

/// The text of the first paragraph of a documentation.
pub(crate) fn first_paragraph(text: &str) -> String {
    let lines = text.lines().map(str::trim).take_while(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join(" ")
}

pub(crate) fn kinds_schema<K: Kind>(about: &str) -> Schema {
    let description = first_paragraph(about);
    let kind = |kind: &K| {
        let (name, about) = (kind.name(), kind.about());
        serde_json::json!({ "type": "string", "const": name, "description": about })
    };
    let kinds: Vec<Json> = K::EVERY.iter().map(kind).collect();
    schemars::json_schema!({ "description": description, "oneOf": kinds })
}

/// The keys of kinds in the flat table of a recipe: the part of a config that [`Keyed::read`] turns
/// into settings.
#[derive(Debug, Clone, PartialEq)]
pub struct Given<K> {
    values: BTreeMap<&'static str, Value>,
    kind: PhantomData<K>,
}

impl<K> Default for Given<K> {
    fn default() -> Self {
        Self { values: BTreeMap::new(), kind: PhantomData }
    }
}

impl<K> Given<K> {
    pub(crate) fn get<T: Setting>(&self, key: &str) -> Option<T> {
        self.values.get(key).and_then(T::of)
    }

    pub(crate) fn set(&mut self, key: &'static str, value: Option<Value>) {
        if let Some(value) = value {
            self.values.insert(key, value);
        }
    }
}

impl<K: Kind> Given<K> {
    /// Checks that every given key belongs to the kind and is in range.
    pub(crate) fn check(&self, kind: K) -> Result<(), ConfigError> {
        for (key, _) in every_key::<K>() {
            let Some(value) = self.values.get(key.name) else { continue };
            let Some(own) = kind.keys().iter().find(|own| own.name == key.name) else {
                let names: Vec<&str> =
                    kinds_with::<K>(key.name).map(|(kind, _)| kind.name()).collect();
                let names = names.join(", ");
                let message = format!("does not apply to {}, only to {names}", kind.name());
                return Err(ConfigError::new(key.name, message));
            };
            (own.check)(value)?;
        }
        Ok(())
    }
}

/// Every key once, in the order of the kinds, with its first declaration.
fn every_key<K: Kind>() -> impl Iterator<Item = (&'static Key, K)> {
    let all = K::EVERY.iter().flat_map(|kind| kind.keys().iter().map(|key| (key, *kind)));
    all.filter(|(key, kind)| {
        kinds_with::<K>(key.name).next().is_some_and(|(first, _)| first == *kind)
    })
}

/// The kinds with a key, and their declarations of it.
fn kinds_with<K: Kind>(name: &str) -> impl Iterator<Item = (K, &'static Key)> {
    K::EVERY.iter().filter_map(move |kind| {
        kind.keys().iter().find(|key| key.name == name).map(|key| (*kind, key))
    })
}

impl<K: Kind> Serialize for Given<K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let order = every_key::<K>().map(|(key, _)| key.name);
        serializer.collect_map(order.filter_map(|name| Some((name, self.values.get(name)?))))
    }
}

impl<'de, K: Kind> Deserialize<'de> for Given<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut given = Self::default();
        for (name, value) in BTreeMap::<String, Value>::deserialize(deserializer)? {
            let Some((key, _)) = every_key::<K>().find(|(key, _)| key.name == name) else {
                return Err(D::Error::custom(format!("unknown field `{name}`")));
            };
            let expected = |expected| D::Error::custom(format!("`{name}`: expected {expected}"));
            given.set(key.name, Some((key.parse)(&value).map_err(expected)?));
        }
        Ok(given)
    }
}

impl<K: Kind> JsonSchema for Given<K> {
    fn schema_name() -> Cow<'static, str> {
        "Given".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let properties: serde_json::Map<String, Json> = every_key::<K>()
            .map(|(key, _)| {
                let mut schema = (key.schema)(generator);
                schema.insert("description".into(), describe::<K>(key.name).into());
                (key.name.to_owned(), schema.to_value())
            })
            .collect();
        schemars::json_schema!({ "type": "object", "properties": properties })
    }
}

/// The meaning of a key for each of its kinds, with its defaults.
fn describe<K: Kind>(name: &str) -> String {
    let mut meanings: Vec<(&str, Vec<(K, &Key)>)> = Vec::new();
    for (kind, key) in kinds_with::<K>(name) {
        match meanings.iter_mut().find(|(about, _)| *about == key.about) {
            Some((_, kinds)) => kinds.push((kind, key)),
            None => meanings.push((key.about, vec![(kind, key)])),
        }
    }
    let texts = meanings.iter().map(|(about, kinds)| {
        let names: Vec<&str> = kinds.iter().map(|(kind, _)| kind.name()).collect();
        let defaults = kinds.iter().filter_map(|(k, key)| Some((k.name(), key.default_text()?)));
        let about = about.trim();
        format!("{}: {about}{}", names.join(", "), default_sentence(defaults))
    });
    texts.collect::<Vec<_>>().join(" ")
}

/// " Default: 1; 2 for b and c." from the default of each kind.
pub(crate) fn default_sentence<'n>(defaults: impl Iterator<Item = (&'n str, String)>) -> String {
    let mut values: Vec<(String, Vec<&str>)> = Vec::new();
    for (kind, text) in defaults {
        match values.iter_mut().find(|(value, _)| *value == text) {
            Some((_, kinds)) => kinds.push(kind),
            None => values.push((text, vec![kind])),
        }
    }
    // The most frequent default comes first, without the names of its kinds.
    let Some(most) = (0..values.len()).rev().max_by_key(|&i| values[i].1.len()) else {
        return String::new();
    };
    let (usual, _) = values.remove(most);
    let others = values.iter().map(|(value, kinds)| format!("; {value} for {}", and(kinds)));
    format!(" Default: {usual}{}.", others.collect::<String>())
}

fn and(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [name] => (*name).to_owned(),
        [names @ .., last] => format!("{} and {last}", names.join(", ")),
    }
}
