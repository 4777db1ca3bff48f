//! The numbers of the command line.
//!
//! Seed, size and steps are read as floating-point numbers and truncated towards zero, as the
//! function `scan_rnn_forward` of the library takes them. Each function here is a value parser of
//! clap, which puts the argument and the value in front of the message.

use onetrace::{Fission, Unroll, host_memory};

fn finite(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "must be a number".to_owned())?;
    if value.is_finite() { Ok(value.trunc()) } else { Err("must be a finite number".to_owned()) }
}

/// A seed: any number that a signed 64-bit integer can hold.
pub fn seed(text: &str) -> Result<i64, String> {
    // An integer is taken as it is written, because not every one is a float.
    if let Ok(seed) = text.parse() {
        return Ok(seed);
    }
    let value = finite(text)?;
    // 2^63 is the first float that is too large; the largest float below it is an integer.
    let limit = -(i64::MIN as f64);
    if (-limit..limit).contains(&value) {
        Ok(value as i64)
    } else {
        Err(format!("must be from {} to {}", i64::MIN, i64::MAX))
    }
}

/// A number of features: at least 1.
pub fn hidden(text: &str) -> Result<usize, String> {
    let value = finite(text)?;
    if value >= 1.0 { Ok(value as usize) } else { Err("must be at least 1".to_owned()) }
}

/// A number of steps: at least 0. What is more than the sequence has, also infinity, is all of it.
pub fn steps(text: &str) -> Result<usize, String> {
    let value: f64 = text.parse().map_err(|_| "must be a number".to_owned())?;
    if value.is_nan() {
        return Err("must be a number, not NaN".to_owned());
    }
    if value.trunc() >= 0.0 { Ok(value as usize) } else { Err("must be at least 0".to_owned()) }
}

/// How many there are of something: at least 1.
pub fn count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("must be at least 1".to_owned()),
        Ok(count) => Ok(count),
        Err(_) => Err("must be a whole number of at least 1".to_owned()),
    }
}

/// How much may leave a loop: `auto`, `off` or a number of bytes.
pub fn fission(text: &str) -> Result<Fission, String> {
    match text {
        "auto" => Ok(Fission::Auto),
        "off" => Ok(Fission::Off),
        _ => {
            let refused = |_| "must be auto, off or a whole number of bytes".to_owned();
            text.parse().map(Fission::Within).map_err(refused)
        }
    }
}

/// How many steps an iteration makes: `auto` or at least 1.
pub fn unroll(text: &str) -> Result<Unroll, String> {
    match text {
        "auto" => Ok(Unroll::Auto),
        _ => count(text).map(Unroll::Steps).map_err(|error| format!("{error}, or auto")),
    }
}

/// A time in seconds: any number of at least 0.
pub fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds.is_finite() && seconds >= 0.0 => Ok(seconds),
        _ => Err("must be a number of seconds of at least 0".to_owned()),
    }
}

/// A seed of a random sequence: any unsigned 64-bit integer.
pub fn input_seed(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("must be a whole number from 0 to {}", u64::MAX))
}

/// Time steps and features of a sequence, as in `2048x32`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Size {
    pub time: usize,
    pub features: usize,
}

/// The size of a random sequence: at least one feature, and not more data than memory holds, also
/// in a single row.
pub fn size(text: &str) -> Result<Size, String> {
    let parts = text.split_once('x');
    let parsed =
        parts.and_then(|(t, d)| Some(Size { time: t.parse().ok()?, features: d.parse().ok()? }));
    let Some(size) = parsed else {
        return Err("must be time steps and features, such as 2048x32".to_owned());
    };
    if size.features == 0 {
        return Err("must have at least one feature".to_owned());
    }
    // A sequence of no steps still has a type, and parameters that are as large as a row of it.
    let numbers = size.time.max(1).saturating_mul(size.features);
    let (needed, memory) = (numbers.saturating_mul(size_of::<f32>()), host_memory());
    if needed > memory {
        return Err(format!(
            "is too large: {needed} bytes are needed, but this machine has {memory} bytes of memory"
        ));
    }
    Ok(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_truncated_towards_zero() {
        assert_eq!(hidden("64.9"), Ok(64));
        assert_eq!(hidden("1e3"), Ok(1000));
        assert_eq!(steps("0.99"), Ok(0));
        assert_eq!(steps("-0.99"), Ok(0));
        assert_eq!(seed("-1.5"), Ok(-1));
    }

    #[test]
    fn every_integer_seed_is_exact() {
        assert_eq!(seed("9007199254740993"), Ok(9_007_199_254_740_993));
        assert_eq!(seed("9223372036854775807"), Ok(i64::MAX));
        assert_eq!(seed("9223372036854775296"), Ok(9_223_372_036_854_775_296));
        assert_eq!(seed("-9223372036854775808"), Ok(i64::MIN));
        assert!(seed("9223372036854775808").is_err());
        assert!(seed("1e300").is_err());
    }

    #[test]
    fn steps_past_the_end_are_no_mistake() {
        assert_eq!(steps("inf"), Ok(usize::MAX));
        assert_eq!(steps("1e300"), Ok(usize::MAX));
    }

    #[test]
    fn sizes_are_two_numbers() {
        assert_eq!(size("0x3"), Ok(Size { time: 0, features: 3 }));
        for bad in ["3", "3x", "x3", "3x0", "3x-1", "3x4x5"] {
            assert!(size(bad).is_err(), "{bad}");
        }
        for large in ["18446744073709551615x2", "0x18446744073709551615", "0x4611686018427387904"] {
            assert!(size(large).unwrap_err().starts_with("is too large: "), "{large}");
        }
    }
}
