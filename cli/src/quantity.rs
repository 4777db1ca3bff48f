//! Quantities as people read them.

pub use onetrace::quantity::{binary, count};

/// A difference with its sign and with commas.
pub fn difference(from: u64, to: u64) -> String {
    let sign = if to < from { '-' } else { '+' };
    format!("{sign}{}", count(from.abs_diff(to)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_have_signs() {
        assert_eq!(difference(2000, 3), "-1,997");
        assert_eq!(difference(3, 3), "+0");
    }
}
