//! Curves and paths for people.

use std::path::Path;

use ff_settings::shell_word;

/// A curve in one line, at most so many characters wide: ▇▇▆▅▃▂▁▁▂, with its ends at `low` and
/// `high`.
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
