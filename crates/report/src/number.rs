//! Readable numbers: few digits, thin grouping, a real minus sign, units.

/// A value with about `digits` significant digits, no trailing noise: `0.828`, `1,234`, `3.2e−7`.
pub(crate) fn significant(x: f64, digits: usize) -> String {
    if let Some(word) = not_finite(x) {
        return word.into();
    }
    if x == 0.0 {
        return "0".into();
    }
    // The exponent after rounding: with three digits, 0.9996 is 1.00, not 1.000.
    let rounded = format!("{:.*e}", digits.saturating_sub(1), x);
    let magnitude: i32 = rounded.rsplit('e').next().and_then(|e| e.parse().ok()).unwrap_or(0);
    if !(-4..15).contains(&magnitude) {
        return scientific(x, digits);
    }
    let decimals = (digits as i32 - 1 - magnitude).max(0) as usize;
    fixed(x, decimals)
}

/// A value with a given number of decimals, grouped by thousands.
pub(crate) fn fixed(x: f64, decimals: usize) -> String {
    if let Some(word) = not_finite(x) {
        return word.into();
    }
    let plain = format!("{:.*}", decimals, x.abs());
    let (whole, rest) = plain.split_once('.').unwrap_or((&plain, ""));
    let is_zero = plain.bytes().all(|b| matches!(b, b'0' | b'.'));
    let mut out = String::from(if x < 0.0 && !is_zero { "−" } else { "" });
    out.push_str(&grouped(whole));
    if !rest.is_empty() {
        out.push('.');
        out.push_str(rest);
    }
    out
}

/// A score: three decimals if sufficient, more digits for small and fewer for large values.
pub(crate) fn score(x: f64) -> String {
    match x.abs() {
        a if !a.is_finite() || a == 0.0 => significant(x, 3),
        a if a >= 100.0 => fixed(x, 1),
        a if a >= 10.0 => fixed(x, 2),
        a if a >= 0.01 => fixed(x, 3),
        _ => significant(x, 2),
    }
}

/// A count with grouped thousands.
pub(crate) fn count(n: u64) -> String {
    grouped(&n.to_string())
}

/// A share in per cent; an em dash if the whole is 0.
pub(crate) fn percent(part: f64, whole: f64) -> String {
    let share = 100.0 * part / whole;
    match share {
        s if !s.is_finite() => "—".into(),
        s if s > 0.0 && s < 0.1 => "< 0.1 %".into(),
        s if s > 99.9 && s < 100.0 => "> 99.9 %".into(),
        s if s > 0.0 && s < 100.0 && !(10.0..=99.0).contains(&s) => format!("{} %", fixed(s, 1)),
        s => format!("{} %", fixed(s, 0)),
    }
}

/// A number of bytes with a decimal prefix.
pub(crate) fn bytes(x: f64) -> String {
    prefixed(x, "B")
}

/// A number with a decimal prefix and a unit: `1.2 M`, `3.4 GB`.
pub(crate) fn prefixed(x: f64, unit: &str) -> String {
    if let Some(word) = not_finite(x) {
        return word.into();
    }
    let (mut value, mut step) = (x, 0);
    // With three digits, 999.5 would be 1,000, so it takes the next prefix.
    while value.abs() >= 999.5 && step < 6 {
        value /= 1000.0;
        step += 1;
    }
    let prefix = ["", "k", "M", "G", "T", "P", "E"][step];
    let digits =
        if step == 0 && value.fract() == 0.0 { fixed(value, 0) } else { significant(value, 3) };
    let unit = format!("{prefix}{unit}");
    if unit.is_empty() { digits } else { format!("{digits} {unit}") }
}

/// A duration in a suitable unit.
pub(crate) fn seconds(x: f64) -> String {
    if let Some(word) = not_finite(x) {
        return word.into();
    }
    match x {
        s if s <= 0.0 => "0 s".into(),
        s if s < 1e-3 => format!("{} µs", significant(s * 1e6, 2)),
        s if s < 0.9995 => format!("{} ms", significant(s * 1e3, 3)),
        s if s < 59.95 => format!("{} s", significant(s, 3)),
        s if s < 3599.5 => format!("{} min {:02} s", s.round() as u64 / 60, s.round() as u64 % 60),
        s => {
            let minutes = (s / 60.0).round() as u64;
            format!("{} h {:02} min", count(minutes / 60), minutes % 60)
        }
    }
}

fn not_finite(x: f64) -> Option<&'static str> {
    match x {
        x if x.is_nan() => Some("NaN"),
        x if x == f64::INFINITY => Some("∞"),
        x if x == f64::NEG_INFINITY => Some("−∞"),
        _ => None,
    }
}

pub(crate) fn scientific(x: f64, digits: usize) -> String {
    format!("{:.*e}", digits.saturating_sub(1), x).replace('-', "−")
}

fn grouped(digits: &str) -> String {
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn significant_digits() {
        for (x, want) in [
            (0.0, "0"),
            (0.82812, "0.828"),
            (1234.4, "1,234"),
            (-0.5, "−0.500"),
            (0.9996, "1.00"),
            (3.21e-7, "3.21e−7"),
            (1e20, "1.00e20"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "−∞"),
        ] {
            assert_eq!(significant(x, 3), want);
        }
        assert_eq!(fixed(-0.0001, 2), "0.00", "a zero has no sign");
    }

    #[test]
    fn units() {
        assert_eq!(bytes(999.0), "999 B");
        assert_eq!(bytes(999_600.0), "1.00 MB");
        assert_eq!(bytes(2_340_000.0), "2.34 MB");
        assert_eq!(prefixed(4002.0, ""), "4.00 k");
        assert_eq!(seconds(0.000_25), "250 µs");
        assert_eq!(seconds(0.0123), "12.3 ms");
        assert_eq!(seconds(59.97), "1 min 00 s");
        assert_eq!(seconds(3_661.0), "1 h 01 min");
        assert_eq!(seconds(f64::INFINITY), "∞");
    }

    #[test]
    fn shares_and_counts() {
        assert_eq!(percent(1.0, 0.0), "—");
        assert_eq!(percent(0.0, 5.0), "0 %");
        assert_eq!(percent(1.0, 1e6), "< 0.1 %");
        assert_eq!(percent(999_999.0, 1e6), "> 99.9 %");
        assert_eq!(percent(342.0, 891.0), "38 %");
        assert_eq!(percent(7.0, 7.0), "100 %");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(count(123), "123");
    }
}
