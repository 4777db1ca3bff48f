//! Simplification changes no value. `tests/simplify.rs` has what it does.

use onetrace::prelude::*;

/// Loops in loops and a branch, in which some of everything is invariant, passed on, handed on and
/// computed twice. Integers wrap, so that values can be compared exactly.
#[test]
fn values_are_what_a_plain_loop_computes() {
    let program = |(a, b, xs): (Tensor, Tensor, Tensor)| {
        let step = |(c, kept): (Tensor, Tensor), x: Tensor| {
            let fixed = (&a * &kept + 3u32) ^ (&a * &kept);
            let inner = |(d, limit): (Tensor, Tensor), ()| {
                let even = (&d & 1u32).eq(0u32);
                let grown = cond(even, |d: Tensor| d * &fixed, |d| d + &a * &kept, d);
                ((grown + &limit, limit.clone()), limit)
            };
            let ((d, limit), limits) = Scan::new().length(3).run(inner, (c, &b ^ &kept), ());
            let small = |(i, end, _): (Tensor, Tensor, Tensor)| i.lt(end);
            let add = |(i, end, e): (Tensor, Tensor, Tensor)| (i + 1u32, end, e * &fixed + &x);
            let start = (Tensor::scalar(0, DType::U32), &b & 3u32, d);
            let (_, _, e) = while_loop(small, add, start);
            ((e.clone(), kept.clone()), (x, kept, limits.sum(..), limit, e))
        };
        Scan::new().reverse(true).run(step, (b.clone(), a.clone()), xs)
    };
    let plain = |a: u32, b: u32, xs: &[u32]| {
        let (mut c, mut rows) = (b, vec![[0u32; 5]; xs.len()]);
        for (row, &x) in rows.iter_mut().zip(xs).rev() {
            let product = a.wrapping_mul(a);
            let fixed = product.wrapping_add(3) ^ product;
            let limit = b ^ a;
            let mut d = c;
            for _ in 0..3 {
                let grown =
                    if d & 1 == 0 { d.wrapping_mul(fixed) } else { d.wrapping_add(product) };
                d = grown.wrapping_add(limit);
            }
            for _ in 0..b & 3 {
                d = d.wrapping_mul(fixed).wrapping_add(x);
            }
            c = d;
            *row = [x, a, limit.wrapping_mul(3), limit, c];
        }
        (c, rows)
    };
    let compiled = jit(program);
    for (a, b) in [(7, 5), (0, 2), (u32::MAX, 8), (12_345, 3)] {
        let xs = [1u32, 4, 9, 1 << 31, 77];
        let scalar = |x: u32| Tensor::scalar(i64::from(x), DType::U32);
        let arguments = (scalar(a), scalar(b), Tensor::new(&xs, [5]));
        let ((last, kept), (x, y, limits, limit, e)) = compiled.call(&arguments).unwrap();
        let (expected, rows) = plain(a, b, &xs);
        assert_eq!((last.item::<u32>().unwrap(), kept.item::<u32>().unwrap()), (expected, a));
        for (i, column) in [x, y, limits, limit, e].iter().enumerate() {
            let wanted: Vec<u32> = rows.iter().map(|row| row[i]).collect();
            assert_eq!(column.to_vec::<u32>().unwrap(), wanted, "{a} {b}, column {i}");
        }
    }
}

/// What leaves a loop is computed even if the loop makes no step, which must not be seen.
#[test]
fn a_loop_of_no_step_computes_nothing_that_is_seen() {
    let f = jit(|(n, zero, x): (Tensor, Tensor, Tensor)| {
        fori_loop(0, n, |_, c: Tensor| c / (&zero / &zero) + (&zero - 1.0).sqrt(), x)
    });
    let i32 = |i| Tensor::scalar(i, DType::I32);
    let f32 = |x| Tensor::scalar(x, DType::F32);
    assert_eq!(f.call((i32(0), f32(0.0), f32(2.0))).unwrap().item::<f32>().unwrap(), 2.0);
    assert!(f.call((i32(1), f32(0.0), f32(2.0))).unwrap().item::<f32>().unwrap().is_nan());
    let whole = jit(|(n, zero, x): (Tensor, Tensor, Tensor)| {
        fori_loop(0, n, |_, c: Tensor| c + &x / &zero, x.clone())
    });
    assert_eq!(whole.call((i32(0), i32(0), i32(7))).unwrap().item::<i32>().unwrap(), 7);
}

#[test]
fn memory_that_is_donated_may_be_that_of_a_carry_that_is_passed_on() {
    let step = jit(|(state, other): ((Tensor, Tensor), Tensor)| {
        let step = |(a, b): (Tensor, Tensor), ()| ((a, &b + &other), ());
        Scan::new().length(4).run(step, state, ()).0
    })
    .donate(&[0]);
    let ones = || Tensor::ones([3], DType::F32);
    let mut state = (ones(), ones());
    for _ in 0..2 {
        state = step.call((state, ones())).unwrap();
    }
    assert_eq!(state.0.to_vec::<f32>().unwrap(), [1.0; 3]);
    assert_eq!(state.1.to_vec::<f32>().unwrap(), [9.0; 3]);
}
