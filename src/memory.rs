//! How much memory the machine has.

/// Bytes of memory of this machine, where the system tells; else more than any machine has.
///
/// What is known to need more is refused before anything is made of it.
pub fn host_memory() -> usize {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kibibytes = line.and_then(|rest| rest.trim().trim_end_matches("kB").trim().parse().ok());
    kibibytes.map_or(1 << 46, |k: usize| k.saturating_mul(1024))
}
