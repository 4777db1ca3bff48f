//! Quantities as people read them, for what is shown on a page or a terminal.

/// A number with commas between its thousands: `2,048`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number of bytes in the largest binary unit that is not more than it: `72.0 KiB`.
pub fn binary(bytes: u64) -> String {
    let units = ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let unit = (bytes.max(1).ilog2() / 10) as usize;
    match unit {
        0 => format!("{bytes} bytes"),
        _ => format!("{:.1} {}", bytes as f64 / 1024f64.powi(unit as i32), units[unit]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_separated() {
        let text = [0, 12, 123, 1234, 1_234_567].map(count);
        assert_eq!(text, ["0", "12", "123", "1,234", "1,234,567"]);
        assert_eq!(count(u64::MAX), "18,446,744,073,709,551,615");
    }

    #[test]
    fn bytes_have_units() {
        let text = [0, 1023, 1024, 73_728, u64::MAX].map(binary);
        assert_eq!(text, ["0 bytes", "1023 bytes", "1.0 KiB", "72.0 KiB", "16.0 EiB"]);
    }
}
