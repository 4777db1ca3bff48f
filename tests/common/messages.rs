//! Messages of mistakes under snapshot.

use expect_test::Expect;
use onetrace::ErrorKind;
use onetrace::prelude::*;

/// `text` with each place in the file of a test told by the code that stands there, so that the
/// snapshots do not change when lines move.
pub fn with_code(text: &str) -> String {
    let mut out = String::new();
    for (i, line) in text.split_inclusive('\n').enumerate() {
        let places: Vec<&str> = line.split("tests/").collect();
        out += places[0];
        for place in &places[1..] {
            out +=
                &code_at(place).unwrap_or_else(|| format!("line {i}: no place in tests/{place}"));
        }
    }
    out
}

/// The code that `place`, a file, line and column and what follows, begins with.
fn code_at(place: &str) -> Option<String> {
    let (file, rest) = place.split_once(':')?;
    let (number, rest) = rest.split_once(':')?;
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(file);
    let source = std::fs::read_to_string(path).ok()?;
    let code = source.lines().nth(number.parse::<usize>().ok()? - 1)?.trim();
    let rest = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    Some(format!("`{code}`{rest}"))
}

/// Checks that `result` is an error of this kind with this message.
#[track_caller]
pub fn expect_error<T>(result: Result<T>, kind: ErrorKind, expected: Expect) {
    let Err(error) = result else { panic!("there is no error") };
    assert_eq!(error.kind(), kind, "{error}");
    expected.assert_eq(&with_code(&error.to_string()));
}

/// `f32` zeros.
pub fn zeros<const N: usize>(shape: [usize; N]) -> Tensor {
    Tensor::zeros(shape, DType::F32)
}

/// A carry with leaves in a vector and an option, and a static field.
#[derive(Clone, Debug, Tree)]
pub struct Carry {
    pub h: Tensor,
    pub memory: Vec<Tensor>,
    pub last: Option<Tensor>,
    #[tree(static)]
    pub steps: usize,
}

/// A carry with one tensor in the vector and none in the option.
pub fn carry() -> Carry {
    Carry { h: zeros([64]), memory: vec![zeros([2, 3])], last: None, steps: 0 }
}
