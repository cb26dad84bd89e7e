//! Numbers for people.

use std::path::Path;

use ff_settings::shell_word;

/// 4,002
pub(crate) fn count(value: impl TryInto<u64>) -> String {
    let digits = value.try_into().unwrap_or(u64::MAX).to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Three or four digits that matter: 0.982, 12.34, 1.2e-7.
pub(crate) fn score(value: f64) -> String {
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

/// 0.4 s, 12 s, 3 min 20 s, 2 h 5 min
pub(crate) fn duration(seconds: f64) -> String {
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

/// A curve in one line, at most so many characters wide: ▇▇▆▅▃▂▁▁▂, with its ends at `low` and `high`.
pub(crate) fn bars(values: &[f64], low: f64, high: f64, columns: usize) -> String {
    const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let columns = columns.min(values.len());
    let level = |i: usize| {
        let part = &values[i * values.len() / columns..(i + 1) * values.len() / columns];
        let mean = part.iter().sum::<f64>() / part.len() as f64;
        let share = if high > low { ((mean - low) / (high - low)).clamp(0.0, 1.0) } else { 0.0 };
        LEVELS[(share * 7.0).round() as usize]
    };
    (0..columns).map(level).collect()
}

/// A path as a shell takes it.
pub(crate) fn quoted_path(path: &Path) -> String {
    shell_word(&path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_exact_enough() {
        assert_eq!([0u64, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        let scores = [0.98214, 0.0, 12.3456, 99999.4, 1.25e-7, -0.5, f64::NAN, 123456.0].map(score);
        assert_eq!(
            scores,
            ["0.9821", "0.0000", "12.35", "99999", "1.250e-7", "-0.5000", "NaN", "1.235e5"]
        );
        let times = [0.0004, 0.05, 1.26, 59.6, 200.0, 7500.0].map(duration);
        assert_eq!(times, ["400 µs", "50 ms", "1.3 s", "1 min 0 s", "3 min 20 s", "2 h 5 min"]);
    }

    #[test]
    fn curves_fit_into_a_line() {
        assert_eq!(bars(&[0.0, 1.0, 2.0, 7.0, 9.0], 0.0, 7.0, 50), "▁▂▃██");
        assert_eq!(bars(&[0.0, 2.0, 7.0, 7.0], 0.0, 7.0, 2), "▂█");
        assert_eq!(bars(&[1.0, 1.0], 1.0, 1.0, 5), "▁▁");
        assert_eq!(bars(&[], 0.0, 1.0, 5), "");
    }

    #[test]
    fn paths_can_be_pasted() {
        assert_eq!(quoted_path(Path::new("runs/a-1")), "runs/a-1");
        assert_eq!(quoted_path(Path::new("my runs/it's")), "'my runs/it'\\''s'");
    }
}
