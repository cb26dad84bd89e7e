//! Numbers, lists and options as people read and paste them.

use ff_settings::shell_word;

/// A number of about four significant digits without trailing zeros: `0.4239`, `17.99`, `1e−9`.
pub(crate) fn number(x: f64) -> String {
    if !x.is_finite() || x == 0.0 {
        return format!("{x}").replace('-', "−");
    }
    let magnitude = x.abs().log10().floor() as i32;
    let text = if (-4..9).contains(&magnitude) {
        let decimals = (3 - magnitude).max(0) as usize;
        let text = format!("{x:.decimals$}");
        if text.contains('.') {
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        } else {
            text
        }
    } else {
        let text = format!("{x:.3e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        format!("{}e{exponent}", digits.trim_end_matches('0').trim_end_matches('.'))
    };
    text.replace('-', "−")
}

/// A count with grouped thousands.
pub(crate) fn count(n: usize) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

/// `1 epoch`, `2 epochs`.
pub(crate) fn plural(n: usize, word: &str) -> String {
    format!("{} {word}{}", count(n), if n == 1 { "" } else { "s" })
}

/// The first few of some names, and how many more there are.
pub(crate) fn list(names: &[&str], most: usize) -> String {
    let shown = names[..names.len().min(most)].join(", ");
    match names.len() - names.len().min(most) {
        0 => shown,
        n => format!("{shown} and {} more", count(n)),
    }
}

/// `key=value` as an option ready to paste; a plain word needs no quotes.
pub(crate) fn set(assignment: &str) -> String {
    let bare = assignment.split_once("=\"").and_then(|(key, value)| {
        let word = value.strip_suffix('"')?;
        let plain = word.starts_with(|c: char| c.is_ascii_alphabetic())
            && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            && !matches!(word, "true" | "false" | "inf" | "nan");
        (plain && !key.contains('"')).then(|| format!("{key}={word}"))
    });
    format!("--set {}", shell_word(bare.as_deref().unwrap_or(assignment)))
}

/// The moment in universal time, to the second.
pub(crate) fn now() -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let seconds = since.map_or(0, |since| since.as_secs());
    let text = ff_table::Values::Date(vec![seconds as f64]).text(0).replace('T', " ");
    if text.is_empty() { text } else { text + " UTC" }
}

/// The name that a recipe has for a value of an enum.
pub(crate) fn name(value: &impl serde::Serialize) -> String {
    let json = serde_json::to_value(value).unwrap_or_default();
    json.as_str().map_or_else(|| json.to_string(), |text| text.replace('_', " "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        for (x, want) in [
            (0.0, "0"),
            (0.123_456, "0.1235"),
            (-2.5, "−2.5"),
            (1001.0, "1001"),
            (123_456.7, "123457"),
            (1e-9, "1e−9"),
            (2.345e12, "2.345e12"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(number(x), want);
        }
        assert_eq!(count(1_797), "1,797");
        assert_eq!(list(&["a", "b", "c"], 2), "a, b and 1 more");
    }

    #[test]
    fn options_can_be_pasted() {
        assert_eq!(set("data.columns.pclass=\"number\""), "--set data.columns.pclass=number");
        assert_eq!(set("data.positive=\"true\""), "--set 'data.positive=\"true\"'");
        assert_eq!(set("data.columns.\"a b\"=\"drop\""), "--set 'data.columns.\"a b\"=\"drop\"'");
        assert_eq!(set("model.hidden=[1,2]"), "--set 'model.hidden=[1,2]'");
    }

    #[test]
    fn the_moment_is_a_moment() {
        let now = now();
        assert!(now.len() >= 14 && now.starts_with("20") && now.ends_with(" UTC"), "{now}");
    }
}
