//! Memory of the process and of the machine, as Linux tells it.

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
