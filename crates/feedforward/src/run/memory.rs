//! What the process and the machine hold, read from where Linux says it.

use crate::{Error, Result};

/// The most memory the process has held, in bytes; 0 where the system does not say.
pub(crate) fn process_peak_bytes() -> usize {
    kilobytes("/proc/self/status", "VmHWM:").unwrap_or(0)
}

/// What the machine could give, in bytes; `None` where the system does not say.
pub(crate) fn available_bytes() -> Option<usize> {
    kilobytes("/proc/meminfo", "MemAvailable:")
}

fn kilobytes(path: &str, key: &str) -> Option<usize> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(key))?;
    Some(line.split_whitespace().nth(1)?.parse::<usize>().ok()? * 1024)
}

/// Refuses a plan that cannot fit, before anything is allocated.
pub(crate) fn refuse_if_too_large(planned: usize) -> Result<()> {
    match available_bytes() {
        Some(available) if planned > available => Err(Error::usage(format!(
            "this run needs {} of memory and {} are free; make model.hidden or train.batch_size smaller (a smaller batch \
             with train.accumulate gives the same steps)",
            bytes(planned),
            bytes(available)
        ))),
        _ => Ok(()),
    }
}

/// A number of bytes for people: `1.4 GB`.
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

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn sizes_are_readable() {
        assert_eq!(
            [0, 999, 1000, 16_500, 123_456_789].map(bytes),
            ["0 B", "999 B", "1.0 KB", "16.5 KB", "123 MB"]
        );
    }
}
