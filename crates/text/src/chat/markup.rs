//! Texts that a template marks as safe: where Python joins one with another text by `+`, it
//! escapes HTML in the other.

use minijinja::{AutoEscape, Environment, Error, Output, State, Value};

/// The filter that each printed expression gets, since printing escapes nothing.
const PRINTED: &str = "__printed";
/// Blocks whose result minijinja would mark as safe, or that hold other syntax.
const BLOCKS: [&str; 5] = ["macro", "call", "filter", "raw", "autoescape"];

/// The template prepared for such joins, where it has them: with the filter of [`escape_joined`]
/// around everything it prints.
///
/// Templates that also have what Python never escapes and minijinja then would (`~`, `join`,
/// captured blocks, macros) stay as they are, without escapes.
pub(super) fn printed(source: &str) -> Option<String> {
    let (mut out, mut rest, mut safe) = (String::new(), source, false);
    while let Some(at) =
        rest.find("{#").into_iter().chain(rest.find("{%")).chain(rest.find("{{")).min()
    {
        out.push_str(&rest[..at]);
        let tag = &rest[at..];
        if tag.starts_with("{#") {
            let len = tag.find("#}").map_or(tag.len(), |end| end + 2);
            out.push_str(&tag[..len]);
            rest = &tag[len..];
            continue;
        }
        let print = tag.starts_with("{{");
        let (inner, after) = tag[2..].split_at(end_of(&tag[2..], if print { "}}" } else { "%}" })?);
        let code = without_texts(inner);
        let mut words =
            code.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|w| !w.is_empty());
        safe |= code.split('|').skip(1).any(|filter| {
            let name = filter.trim_start();
            name.strip_prefix("safe")
                .is_some_and(|end| !end.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
        });
        if code.contains('~') || words.clone().any(|word| word == "join") {
            return None;
        }
        if print {
            let start = usize::from(inner.starts_with(['-', '+']));
            let end = usize::from(inner.len() > start && inner.ends_with(['-', '+']));
            let (open, rest) = inner.split_at(start);
            let (value, close) = rest.split_at(rest.len() - end);
            out.extend(["{{", open, "(", value, ")|", PRINTED, close, "}}"]);
        } else {
            let name = words.next().unwrap_or_default();
            if BLOCKS.contains(&name) || (name == "set" && !code.contains('=')) {
                return None;
            }
            out.push_str(&tag[..inner.len() + 4]);
        }
        rest = &after[2..];
    }
    out.push_str(rest);
    safe.then_some(out)
}

/// Where the code of a tag ends; delimiters inside of texts and of maps are none.
fn end_of(code: &str, delimiter: &str) -> Option<usize> {
    let (mut quote, mut open_maps) = (None, 0);
    let mut chars = code.char_indices();
    while let Some((at, c)) = chars.next() {
        match quote {
            Some(_) if c == '\\' => drop(chars.next()),
            Some(open) if c == open => quote = None,
            None if c == '"' || c == '\'' => quote = Some(c),
            None if c == '{' => open_maps += 1,
            None if c == '}' && open_maps > 0 => open_maps -= 1,
            None if code[at..].starts_with(delimiter) => return Some(at),
            _ => (),
        }
    }
    None
}

/// Code with its texts empty.
fn without_texts(code: &str) -> String {
    let (mut out, mut quote) = (String::new(), None);
    let mut chars = code.chars();
    while let Some(c) = chars.next() {
        match quote {
            Some(_) if c == '\\' => drop(chars.next()),
            Some(open) if c == open => quote = None,
            Some(_) => continue,
            None if c == '"' || c == '\'' => quote = Some(c),
            None => (),
        }
        if quote.is_none() || c == '"' || c == '\'' {
            out.push(c);
        }
    }
    out
}

/// Joins of texts marked as safe with others escape HTML as `markupsafe` does.
pub(super) fn escape_joined(env: &mut Environment<'static>) {
    env.set_auto_escape_callback(|_| AutoEscape::Custom("joined".into()));
    env.add_filter(PRINTED, |value: &Value| Value::from_safe_string(value.to_string()));
    env.set_formatter(format);
}

/// Writes a printed value, or one side of a join.
fn format(out: &mut Output, _: &mut State, value: &Value) -> Result<(), Error> {
    let text = value.to_string();
    if value.is_safe() {
        return Ok(out.write_str(&text)?);
    }
    let mut rest = text.as_str();
    while let Some(at) = rest.find(['&', '<', '>', '"', '\'']) {
        out.write_str(&rest[..at])?;
        out.write_str(match rest.as_bytes()[at] {
            b'&' => "&amp;",
            b'<' => "&lt;",
            b'>' => "&gt;",
            b'"' => "&#34;",
            _ => "&#39;",
        })?;
        rest = &rest[at + 1..];
    }
    Ok(out.write_str(rest)?)
}
