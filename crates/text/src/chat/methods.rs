//! Python's methods of texts, lists and maps.

use minijinja::formatting::{FormatStyle, format};
use minijinja::value::{Kwargs, Rest, StringInput, ValueKind, from_args};
use minijinja::{Error, ErrorKind, State, Value, filters};

type Result<T> = std::result::Result<T, Error>;

/// Calls a method that minijinja does not know.
pub(super) fn call(
    state: &mut State,
    value: &Value,
    method: &str,
    args: &[Value],
) -> Result<Value> {
    match (value.kind(), value.as_str()) {
        (_, Some(text)) => text_method(state, value, text, method, args),
        (ValueKind::Map, _) => map_method(value, method, args),
        (ValueKind::Seq | ValueKind::Iterable, _) => list_method(value, method, args),
        _ => Err(ErrorKind::UnknownMethod.into()),
    }
}

fn text_method(
    state: &State,
    value: &Value,
    text: &str,
    method: &str,
    args: &[Value],
) -> Result<Value> {
    // What a method makes is charged to the template before it is made.
    state.consume_fuel(1 + text.len() as u64 / 64)?;
    let all = |test: fn(char) -> bool| -> Result<Value> {
        let () = from_args(args)?;
        Ok((!text.is_empty() && text.chars().all(test)).into())
    };
    let cased = |test: fn(char) -> bool| -> Result<Value> {
        let () = from_args(args)?;
        let mut letters = text.chars().filter(|c| c.is_lowercase() || c.is_uppercase()).peekable();
        Ok((letters.peek().is_some() && letters.all(test)).into())
    };
    // Both ends of a text without certain characters.
    let strip = |start: bool, end: bool| -> Result<Value> {
        let (chars,): (Option<String>,) = from_args(args)?;
        let out = |c: char| chars.as_ref().map_or_else(|| is_space(c), |chars| chars.contains(c));
        let text = if start { text.trim_start_matches(out) } else { text };
        Ok(if end { text.trim_end_matches(out) } else { text }.into())
    };
    Ok(match method {
        "upper" => text.to_uppercase().into(),
        "lower" => text.to_lowercase().into(),
        "title" => title(text).into(),
        "capitalize" => filters::capitalize(StringInput::new(state, value)?),
        "isupper" => cased(char::is_uppercase)?,
        "islower" => cased(char::is_lowercase)?,
        "isspace" => all(is_space)?,
        "isdigit" | "isnumeric" | "isdecimal" => all(char::is_numeric)?,
        "isalnum" => all(char::is_alphanumeric)?,
        "isalpha" => all(char::is_alphabetic)?,
        "isascii" => text.is_ascii().into(),
        "strip" => strip(true, true)?,
        "lstrip" => strip(true, false)?,
        "rstrip" => strip(false, true)?,
        "startswith" => any(args, |prefix| text.starts_with(prefix))?,
        "endswith" => any(args, |suffix| text.ends_with(suffix))?,
        "removeprefix" => {
            let (prefix,): (&str,) = from_args(args)?;
            text.strip_prefix(prefix).unwrap_or(text).into()
        }
        "removesuffix" => {
            let (suffix,): (&str,) = from_args(args)?;
            text.strip_suffix(suffix).unwrap_or(text).into()
        }
        "replace" => {
            let (old, new, count): (&str, &str, Option<i64>) = from_args(args)?;
            let most = usize::try_from(count.unwrap_or(-1)).unwrap_or(usize::MAX);
            let places = text.matches(old).take(most).count();
            state.consume_fuel((places * new.len()) as u64 / 64)?;
            text.replacen(old, new, most).into()
        }
        "split" => split(text, args, false)?,
        "rsplit" => split(text, args, true)?,
        "splitlines" => {
            let (keep,): (Option<bool>,) = from_args(args)?;
            let lines = text.split_inclusive('\n');
            let cut = |line: &str| line.trim_end_matches('\n').trim_end_matches('\r').to_owned();
            lines
                .map(|line| if keep == Some(true) { line.to_owned() } else { cut(line) })
                .map(Value::from)
                .collect()
        }
        "partition" | "rpartition" => {
            let (sep,): (&str,) = from_args(args)?;
            let (parts, [a, b, c]) = match method {
                "partition" => (text.split_once(sep), [text, "", ""]),
                _ => (text.rsplit_once(sep), ["", "", text]),
            };
            parts.map_or((a, b, c), |(before, after)| (before, sep, after)).into()
        }
        "count" => {
            let (what,): (&str,) = from_args(args)?;
            text.matches(what).count().into()
        }
        "find" | "rfind" | "index" | "rindex" => {
            let (what,): (&str,) = from_args(args)?;
            let at = if method.starts_with('r') { text.rfind(what) } else { text.find(what) };
            match at {
                Some(at) => text[..at].chars().count().into(),
                None if method.ends_with("find") => (-1).into(),
                None => return Err(Error::new(ErrorKind::InvalidOperation, "substring not found")),
            }
        }
        "join" => {
            let (items,): (&Value,) = from_args(args)?;
            let items: Vec<String> = items.try_iter()?.map(|item| item.to_string()).collect();
            state.consume_fuel((items.len() * text.len()) as u64 / 64)?;
            items.join(text).into()
        }
        "format" => format(FormatStyle::StrFormat, text, args)?.into(),
        _ => return Err(ErrorKind::UnknownMethod.into()),
    })
}

fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// Each letter behind a letter in lower case, and each other one in upper case.
fn title(text: &str) -> String {
    let mut inside = false;
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if inside {
            out.extend(c.to_lowercase());
        } else {
            out.extend(c.to_uppercase());
        }
        inside = c.is_alphabetic();
    }
    out
}

/// Whether a text, or one of several, passes a test.
fn any(args: &[Value], test: impl Fn(&str) -> bool) -> Result<Value> {
    let (wanted, Rest(_)): (&Value, Rest<Value>) = from_args(args)?;
    if let Some(text) = wanted.as_str() {
        return Ok(test(text).into());
    }
    Ok(wanted.try_iter()?.any(|text| text.as_str().is_some_and(&test)).into())
}

/// Parts between separators, or between spaces where there is none; at most `maxsplit` cuts.
fn split(text: &str, args: &[Value], from_the_end: bool) -> Result<Value> {
    let (sep, most, named): (Option<&str>, Option<i64>, Kwargs) = from_args(args)?;
    let (sep, most) = (sep.or(named.get("sep")?), most.or(named.get("maxsplit")?));
    named.assert_all_used()?;
    let most = usize::try_from(most.unwrap_or(-1)).unwrap_or(usize::MAX - 1);
    let mut parts: Vec<&str> = match (sep, from_the_end) {
        (Some(""), _) => return Err(Error::new(ErrorKind::InvalidOperation, "empty separator")),
        (Some(sep), false) => text.splitn(most + 1, sep).collect(),
        (Some(sep), true) => text.rsplitn(most + 1, sep).collect(),
        (None, _) => words(text, most, from_the_end),
    };
    if from_the_end {
        parts.reverse();
    }
    Ok(parts.into_iter().map(Value::from).collect())
}

fn words(text: &str, most: usize, from_the_end: bool) -> Vec<&str> {
    let trim = |text| -> &str {
        if from_the_end {
            str::trim_end_matches(text, is_space)
        } else {
            str::trim_start_matches(text, is_space)
        }
    };
    let (mut words, mut rest) = (Vec::new(), trim(text));
    while words.len() < most && !rest.is_empty() {
        let (word, left) = if from_the_end {
            let at = rest
                .rfind(is_space)
                .map_or(0, |at| at + rest[at..].chars().next().map_or(1, char::len_utf8));
            (&rest[at..], &rest[..at])
        } else {
            rest.split_at(rest.find(is_space).unwrap_or(rest.len()))
        };
        words.push(word);
        rest = trim(left);
    }
    if !rest.is_empty() {
        words.push(rest);
    }
    words
}

fn map_method(value: &Value, method: &str, args: &[Value]) -> Result<Value> {
    match method {
        "get" => {
            let (key, default): (&Value, Option<Value>) = from_args(args)?;
            let found = value.get_item(key)?;
            Ok(if found.is_undefined() {
                default.unwrap_or_else(|| Value::from(()))
            } else {
                found
            })
        }
        "keys" => {
            let () = from_args(args)?;
            Ok(value.try_iter()?.collect())
        }
        "values" => {
            let () = from_args(args)?;
            value.try_iter()?.map(|key| value.get_item(&key)).collect()
        }
        "items" => {
            let () = from_args(args)?;
            value
                .try_iter()?
                .map(|key| Ok(Value::from((key.clone(), value.get_item(&key)?))))
                .collect()
        }
        _ => changed(method),
    }
}

fn list_method(value: &Value, method: &str, args: &[Value]) -> Result<Value> {
    let what = || -> Result<&Value> { from_args::<(&Value,)>(args).map(|(what,)| what) };
    match method {
        "count" => {
            let what = what()?;
            Ok(value.try_iter()?.filter(|item| item == what).count().into())
        }
        "index" => {
            let what = what()?;
            let at = value.try_iter()?.position(|item| item == *what);
            at.map(Value::from).ok_or_else(|| {
                Error::new(ErrorKind::InvalidOperation, "the value is not in the list")
            })
        }
        _ => changed(method),
    }
}

/// Methods that change a value are refused, as `transformers` refuses them.
fn changed(method: &str) -> Result<Value> {
    const CHANGING: [&str; 12] = [
        "append",
        "clear",
        "extend",
        "insert",
        "pop",
        "popitem",
        "remove",
        "reverse",
        "setdefault",
        "sort",
        "update",
        "add",
    ];
    if CHANGING.contains(&method) {
        let message = format!("`{method}` would change a value, which a chat template may not");
        return Err(Error::new(ErrorKind::InvalidOperation, message));
    }
    Err(ErrorKind::UnknownMethod.into())
}
