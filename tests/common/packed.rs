//! What kernels of this library compute on CPUs: the text of a function, and its values.

use expect_test::Expect;
use onetrace::ir::{check, parse};
use onetrace::prelude::*;

/// Checks that `text` becomes this, and that nothing more is done a second time.
#[track_caller]
pub fn check(text: &str, expected: Expect) {
    let packed = parse::parse(text).unwrap().packed();
    check::check(&packed).unwrap();
    expected.assert_eq(&packed.to_string());
    assert_eq!(packed.packed(), packed, "a second time");
    assert_eq!(parse::parse(&packed.to_string()).unwrap(), packed, "as text");
}

/// Checks that the values are those of XLA's products, and that kernels of ours make some.
#[track_caller]
pub fn check_values<A: Tree, R: Tree>(what: &str, f: impl Fn(A) -> R + Clone, arguments: &A) {
    let ours = jit(f.clone()).lower(arguments).unwrap();
    let packed = ours.fissioned().packed().to_string();
    let kernels = ["panel_dot", "tall_dot"];
    assert!(kernels.iter().any(|kernel| packed.contains(kernel)), "{what}: nothing is packed");
    let ours = tree::leaves(&ours.compile().unwrap().call(arguments).unwrap());
    let theirs = tree::leaves(&jit(f).xla_only().call(arguments).unwrap());
    for (i, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
        let (ours, theirs) = (ours.to_vec::<f32>().unwrap(), theirs.to_vec::<f32>().unwrap());
        let largest = theirs.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
        for (ours, theirs) in ours.iter().zip(&theirs) {
            let near = (ours - theirs).abs() <= 2e-5 * largest;
            assert!(near, "{what}, result {i}: {ours}, not {theirs}");
        }
    }
}
