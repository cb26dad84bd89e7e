//! What this program and this machine are: the paste for a bug report.

use std::fmt;

use ff_tensor::{Device, Isa};
use serde::Serialize;

/// Version, CPU, memory and devices.
///
/// ```
/// let environment = feedforward::environment();
/// assert!(environment.threads >= 1);
/// assert!(environment.to_string().starts_with("feedforward "));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Environment {
    /// The version of feedforward.
    pub version: String,
    /// `release`, or `debug`, which is many times slower.
    pub build: String,
    /// The kind of machine it was built for: `x86_64-linux`.
    pub target: String,
    /// The operating system in its own words, where it has some.
    pub system: Option<String>,
    /// The name of the CPU, where the system tells.
    pub processor: Option<String>,
    /// CPU features that kernels use or could use.
    pub cpu_features: Vec<String>,
    /// The kernels that are used unless `--isa` says otherwise.
    pub kernels: String,
    /// Whether these multiply bf16 with CPU instructions; otherwise as f32.
    pub bf16: bool,
    /// Threads that are used unless `--threads` says otherwise: the cores this process may use.
    pub threads: usize,
    /// The machine's memory, where the system tells.
    pub memory_bytes: Option<usize>,
    /// What of it is free.
    pub available_bytes: Option<usize>,
    /// The devices that this build can use.
    pub devices: Vec<String>,
    /// Variables of the environment that change what the program does.
    pub variables: Vec<(String, String)>,
}

/// Variables that change what the program does.
const VARIABLES: [&str; 4] = ["NO_COLOR", "CLICOLOR_FORCE", "TERM", "RUST_BACKTRACE"];

/// Looks at this program and this machine.
pub fn environment() -> Environment {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let memory = read("/proc/meminfo");
    let processor = field(&read("/proc/cpuinfo"), "model name", ':');
    let system = field(&read("/etc/os-release"), "PRETTY_NAME", '=');
    Environment {
        version: env!("CARGO_PKG_VERSION").into(),
        build: if cfg!(debug_assertions) { "debug" } else { "release" }.into(),
        target: format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
        system: system.map(|name| name.trim_matches('"').to_owned()),
        processor,
        cpu_features: cpu_features().into_iter().map(String::from).collect(),
        kernels: Isa::detect().to_string(),
        bf16: Device::default().cpu().has_bf16(),
        threads: std::thread::available_parallelism().map_or(1, usize::from),
        memory_bytes: kilobytes(&memory, "MemTotal"),
        available_bytes: kilobytes(&memory, "MemAvailable"),
        devices: vec!["cpu".into()],
        variables: VARIABLES
            .iter()
            .filter_map(|&name| Some((name.to_owned(), std::env::var(name).ok()?)))
            .collect(),
    }
}

/// The value of a line `key: value`.
fn field(text: &str, key: &str, separator: char) -> Option<String> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(separator)?;
        (name.trim() == key).then(|| value.trim().to_owned())
    })
}

fn kilobytes(text: &str, key: &str) -> Option<usize> {
    let value = field(text, key, ':')?;
    Some(value.split(' ').next()?.parse::<usize>().ok()? * 1024)
}

#[cfg(target_arch = "x86_64")]
fn cpu_features() -> Vec<&'static str> {
    macro_rules! detected {
        ($($name:tt),*) => {
            [$(($name, is_x86_feature_detected!($name))),*]
        };
    }
    let features = detected!(
        "sse4.2",
        "avx",
        "f16c",
        "fma",
        "avx2",
        "avx512f",
        "avx512vl",
        "avx512dq",
        "avx512bw",
        "avx512vnni",
        "avx512bf16",
        "avx512fp16"
    );
    let amx = Isa::detect() == Isa::Amx;
    let features = features.into_iter().chain([("amx-tile", amx), ("amx-bf16", amx)]);
    features.filter(|&(_, has)| has).map(|(name, _)| name).collect()
}

#[cfg(not(target_arch = "x86_64"))]
fn cpu_features() -> Vec<&'static str> {
    Vec::new()
}

impl fmt::Display for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unknown = || "not known".to_owned();
        let bytes = |count: Option<usize>| count.map_or_else(unknown, crate::words::bytes);
        writeln!(f, "feedforward {} ({})", self.version, self.build)?;
        let system = self.system.clone().unwrap_or_else(unknown);
        writeln!(f, "system      {} · {system}", self.target)?;
        writeln!(f, "processor   {}", self.processor.clone().unwrap_or_else(unknown))?;
        writeln!(f, "features    {}", self.cpu_features.join(" "))?;
        let bf16 = if self.bf16 { "with" } else { "without" };
        writeln!(f, "kernels     {}, {bf16} instructions for bf16", self.kernels)?;
        writeln!(f, "threads     {}", self.threads)?;
        let (all, free) = (bytes(self.memory_bytes), bytes(self.available_bytes));
        writeln!(f, "memory      {all}, {free} free")?;
        write!(f, "devices     {}", self.devices.join(" "))?;
        if !self.variables.is_empty() {
            let list: Vec<String> =
                self.variables.iter().map(|(name, value)| format!("{name}={value}")).collect();
            write!(f, "\nvariables   {}", list.join(" "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let text = "MemTotal:       24576 kB\nMemTotalX: 1 kB\nmodel name\t: A B\n";
        assert_eq!(kilobytes(text, "MemTotal"), Some(24576 * 1024));
        assert_eq!(field(text, "model name", ':').as_deref(), Some("A B"));
        assert_eq!(kilobytes(text, "MemFree"), None);
    }

    #[test]
    fn the_kernels_are_among_the_features() {
        let environment = environment();
        let has = |name: &str| environment.cpu_features.iter().any(|feature| feature == name);
        assert!(!environment.bf16 || has("avx512bf16"));
        match environment.kernels.as_str() {
            "plain" => {}
            "avx2" => assert!(has("avx2")),
            "avx512" => assert!(has("avx512f")),
            other => assert!(other == "amx" && has("amx-bf16") && environment.bf16),
        }
    }
}
