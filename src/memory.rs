//! How much memory the machine has, and how much a program takes.

/// Bytes of memory of this machine, where the system tells; else more than any machine has.
///
/// What is known to need more is refused before anything is made of it.
pub fn host_memory() -> usize {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kibibytes = line.and_then(|rest| rest.trim().trim_end_matches("kB").trim().parse().ok());
    kibibytes.map_or(1 << 46, |k: usize| k.saturating_mul(1024))
}

/// The memory of a device that a compiled program takes while it runs, by XLA's buffer assignment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Memory {
    /// Bytes of the arguments.
    pub argument_bytes: u64,
    /// Bytes of the results.
    pub output_bytes: u64,
    /// Bytes for what is computed on the way.
    pub temp_bytes: u64,
    /// Bytes of donated arguments that results take over, counted as both above.
    pub alias_bytes: u64,
    /// Bytes of the machine code; 0 where the backend does not tell.
    pub code_bytes: u64,
    /// Bytes of all that is alive at the same time at most; 0 where the backend does not tell.
    pub peak_bytes: u64,
}
