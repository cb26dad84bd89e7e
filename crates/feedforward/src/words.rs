//! Numbers, lists and options as people read and paste them: in reports and on terminals.

pub use ff_settings::number as setting;
use ff_settings::{shell_word, significant};

/// A number of about four significant digits without trailing zeros: `0.4239`, `17.99`, `1e−9`.
pub(crate) fn number(x: f64) -> String {
    significant(x, 4).replace('-', "−")
}

/// A count with grouped thousands.
///
/// ```
/// assert_eq!(feedforward::words::count(4002u64), "4,002");
/// ```
pub fn count(n: impl TryInto<u64>) -> String {
    let digits = n.try_into().unwrap_or(u64::MAX).to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

/// A score with three or four significant digits.
///
/// ```
/// assert_eq!(feedforward::words::score(0.98214), "0.9821");
/// ```
pub fn score(value: f64) -> String {
    let size = value.abs();
    if !value.is_finite() {
        return value.to_string();
    }
    if size == 0.0 || (1e-3..1.0).contains(&size) {
        return format!("{value:.4}");
    }
    if (1.0..1e5).contains(&size) {
        let digits = 3usize.saturating_sub(size.log10() as usize);
        return format!("{value:.digits$}");
    }
    format!("{value:.3e}")
}

/// A time: `0.4 s`, `12 s`, `3 min 20 s`, `2 h 5 min`.
///
/// ```
/// assert_eq!(feedforward::words::duration(200.0), "3 min 20 s");
/// ```
pub fn duration(seconds: f64) -> String {
    if !seconds.is_finite() {
        return "unknown".into();
    }
    if seconds < 0.001 {
        return format!("{:.0} µs", seconds * 1e6);
    }
    if seconds < 0.1 {
        return format!("{:.0} ms", seconds * 1e3);
    }
    if seconds < 9.95 {
        return format!("{seconds:.1} s");
    }
    let whole = seconds.round() as u64;
    match (whole / 3600, whole / 60 % 60, whole % 60) {
        (0, 0, s) => format!("{s} s"),
        (0, m, s) => format!("{m} min {s} s"),
        (h, m, _) => format!("{h} h {m} min"),
    }
}

/// A number of bytes: `1.4 GB`.
///
/// ```
/// assert_eq!(feedforward::words::bytes(16_500), "16.5 KB");
/// ```
pub fn bytes(count: usize) -> String {
    let units = ["B", "KB", "MB", "GB", "TB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 || value >= 100.0 {
        format!("{value:.0} {}", units[unit])
    } else {
        format!("{value:.1} {}", units[unit])
    }
}

/// A number of floating-point operations: `1.2 MFLOP`.
///
/// ```
/// assert_eq!(feedforward::words::operations(1.25e6), "1.25 MFLOP");
/// ```
pub fn operations(count: f64) -> String {
    let units = ["", "k", "M", "G", "T", "P"];
    let mut value = count;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    let digits = if value >= 100.0 { 0 } else { usize::from(value < 10.0) + 1 };
    format!("{value:.digits$} {}FLOP", units[unit])
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
        let counts = [0u64, 999, 1000, 1_234_567].map(count);
        assert_eq!(counts, ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(
            [0, 999, 1000, 16_500, 123_456_789].map(bytes),
            ["0 B", "999 B", "1.0 KB", "16.5 KB", "123 MB"]
        );
        let scores = [0.98214, 0.0, 12.3456, 99999.4, 1.25e-7, -0.5, f64::NAN, 123456.0].map(score);
        assert_eq!(
            scores,
            ["0.9821", "0.0000", "12.35", "99999", "1.250e-7", "-0.5000", "NaN", "1.235e5"]
        );
        let times = [0.0004, 0.05, 1.26, 59.6, 200.0, 7500.0].map(duration);
        assert_eq!(times, ["400 µs", "50 ms", "1.3 s", "1 min 0 s", "3 min 20 s", "2 h 5 min"]);
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
