//! How much memory there is.

/// Bytes of memory of this machine, where the system tells.
pub fn size() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let kibibytes = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = kibibytes.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// Why an array that takes this many bytes cannot be made, if it cannot.
pub fn refusal(bytes: u128) -> Option<String> {
    let size = size().unwrap_or(i64::MAX as u64);
    (bytes > u128::from(size))
        .then(|| format!("{bytes} bytes are needed, but this machine has {size} bytes of memory"))
}
