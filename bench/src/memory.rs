//! The memory of the process according to Linux; `None` elsewhere.

use std::fs;

/// The peak of resident memory since the last [`restart_peak`], in bytes.
pub(crate) fn peak() -> Option<u64> {
    status("VmHWM:")
}

/// Resets the peak to the resident memory now, and returns it.
pub(crate) fn restart_peak() -> Option<u64> {
    fs::write("/proc/self/clear_refs", "5").ok()?;
    status("VmRSS:")
}

fn status(key: &str) -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #[test]
    fn memory_that_was_touched_shows() {
        let Some(before) = super::restart_peak() else { return };
        let memory = vec![1u8; 64 << 20];
        assert!(std::hint::black_box(&memory)[5] == 1);
        let peak = super::peak().unwrap_or_default();
        assert!(peak >= before + (60 << 20), "{before} became {peak}");
    }
}
