//! Measured numbers as people read them.

use std::time::Duration;

use crate::quantity::count;

/// Three significant digits, and all digits in front of the point: `0.123`, `1.23`, `12.3`,
/// `1,235`.
pub fn significant(number: f64) -> String {
    // Rounded first, so that 9.999 is 10.0 and not 10.00.
    let decimals = |number: f64| match number {
        n if n >= 99.95 => 0,
        n if n >= 9.995 => 1,
        n if n >= 0.9995 => 2,
        _ => 3,
    };
    match decimals(number) {
        0 => count(number.round() as u64),
        decimals => format!("{number:.decimals$}"),
    }
}

/// Milliseconds, without their unit.
pub fn milliseconds(time: Duration) -> String {
    significant(time.as_secs_f64() * 1e3)
}

/// Seconds in the unit that suits them: `71.0 µs`, `1.50 ms`, `14.2 s`.
pub fn seconds(seconds: f64) -> String {
    match seconds {
        s if s >= 0.9995 => format!("{} s", significant(s)),
        s if s >= 0.9995e-3 => format!("{} ms", significant(s * 1e3)),
        s => format!("{} µs", significant(s * 1e6)),
    }
}

/// Bytes in the unit that suits them: `512 B`, `1.50 kB`, `14.2 MB`.
pub fn bytes(bytes: f64) -> String {
    match bytes {
        b if b >= 0.9995e9 => format!("{} GB", significant(b / 1e9)),
        b if b >= 0.9995e6 => format!("{} MB", significant(b / 1e6)),
        b if b >= 0.9995e3 => format!("{} kB", significant(b / 1e3)),
        b => format!("{} B", count(b.round() as u64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_are_enough() {
        for (number, text) in [
            (0.0, "0.000"),
            (0.0125, "0.013"),
            (0.9999, "1.00"),
            (1.0, "1.00"),
            (9.999, "10.0"),
            (12.34, "12.3"),
            (99.96, "100"),
            (1234.5, "1,235"),
            (1234567.0, "1,234,567"),
        ] {
            assert_eq!(significant(number), text);
        }
    }

    #[test]
    fn units_suit_the_size() {
        assert_eq!(
            [1e-6, 0.9999e-3, 0.0142, 90.0].map(seconds),
            ["1.00 µs", "1.00 ms", "14.2 ms", "90.0 s"]
        );
        assert_eq!(
            [512.0, 1500.0, 2e6, 3e9].map(bytes),
            ["512 B", "1.50 kB", "2.00 MB", "3.00 GB"]
        );
    }
}
