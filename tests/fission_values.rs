//! Fission changes no value but for the order of sums. `tests/fission.rs` has what it does.

use half::{bf16, f16};
use onetrace::nn::{GruCell, LstmCell, OptimizedLstmCell, Rngs, RnnCell, SimpleCell};
use onetrace::prelude::*;
use onetrace::{Checkpoint, Fission, Lowered};

/// So many that the kernels are large enough to be multiplied with before the loop.
const FEATURES: usize = 384;
const HIDDEN: usize = 128;
const STEPS: usize = 7;

/// What is computed of a cell and a sequence.
const PROGRAMS: [&str; 11] = [
    "last state",
    "ys",
    "last state, reversed",
    "last state, unrolled by three",
    "gradient",
    "gradient, reversed",
    "gradient with checkpoints",
    "gradient of the sequence",
    "tangent",
    "members",
    "gradients of members",
];

fn program<C>(name: &str, scan: &Scan, cell: C, xs: Tensor, batch: &[usize]) -> Vec<Tensor>
where
    C: RnnCell + Tree + 'static,
{
    let run = |scan: Scan, cell: &C, xs: Tensor| {
        let first = tree::map(&cell.initial_carry(batch), |leaf| leaf.astype(xs.dtype()));
        scan.run(|carry, x| cell.step(carry, x), first, xs)
    };
    let loss = |scan: Scan, cell: &C, xs: Tensor| {
        let (last, ys) = run(scan, cell, xs);
        let last = tree::leaves(&last).iter().map(|leaf| leaf.sum(..)).reduce(|a, b| a + b);
        last.unwrap() + ys.square().sum(..)
    };
    let gradient = |scan: Scan| {
        tree::leaves(&grad(|cell: C| loss(scan.clone(), &cell, xs.clone()))(cell.clone()))
    };
    let members = || stack(&[xs.clone(), -&xs, &xs * 0.5], 0);
    match name {
        "last state" => tree::leaves(&run(scan.clone(), &cell, xs).0),
        "ys" => vec![run(scan.clone(), &cell, xs).1],
        "last state, reversed" => tree::leaves(&run(scan.clone().reverse(true), &cell, xs).0),
        "last state, unrolled by three" => tree::leaves(&run(scan.clone().unroll(3), &cell, xs).0),
        "gradient" => gradient(scan.clone()),
        "gradient, reversed" => gradient(scan.clone().reverse(true)),
        "gradient with checkpoints" => gradient(scan.clone().checkpoint(Checkpoint::Every(3))),
        "gradient of the sequence" => {
            vec![grad(|xs| loss(scan.clone(), &cell, xs))(xs.clone())]
        }
        "tangent" => {
            let (value, tangent) =
                onetrace::jvp(|xs| loss(scan.clone(), &cell, xs), xs.clone(), xs.sin());
            vec![value, tangent]
        }
        "members" => {
            vec![vmap(|xs| run(scan.clone(), &cell, xs).1)(members())]
        }
        "gradients of members" => {
            let of_one = |xs: Tensor| {
                tree::leaves(&grad(|cell: C| loss(scan.clone(), &cell, xs.clone()))(cell.clone()))
            };
            vmap(of_one)(members())
        }
        _ => unreachable!("{name}"),
    }
}

/// Asserts that tensors agree, to parts of the largest element of each: but for the order of sums,
/// and in half precision for the rounding of each sum.
#[track_caller]
fn assert_close(what: &str, a: &[Tensor], b: &[Tensor]) {
    assert_eq!(a.len(), b.len(), "{what}");
    for (a, b) in a.iter().zip(b) {
        let tolerance = match a.dtype() {
            DType::BF16 => 4.0 * f32::from(bf16::EPSILON),
            DType::F16 => 4.0 * f32::from(f16::EPSILON),
            _ => 1e-5,
        };
        let [a, b] = [a, b].map(|x| x.astype(DType::F32).to_vec::<f32>().unwrap());
        let size = b.iter().fold(0.0_f32, |size, x| size.max(x.abs()));
        let far = a.iter().zip(&b).fold(0.0_f32, |far, (a, b)| far.max((a - b).abs()));
        assert!(far <= tolerance * size, "{what}: {far} away, of {size}");
    }
}

fn check<C: RnnCell + Tree + 'static>(new: fn(&mut Rngs, usize, usize) -> C, batches: &[&[usize]]) {
    check_in(DType::F32, new, batches);
}

fn check_in<C: RnnCell + Tree + 'static>(
    dtype: DType,
    new: fn(&mut Rngs, usize, usize) -> C,
    batches: &[&[usize]],
) {
    let cell = tree::map(&new(&mut Rngs::new(0), FEATURES, HIDDEN), |leaf| leaf.astype(dtype));
    for &batch in batches {
        let shape = [&[STEPS], batch, &[FEATURES]].concat();
        let xs = random::normal(&random::key(1), shape, DType::F32).astype(dtype);
        for name in PROGRAMS {
            let what = format!("{name}, {dtype}, batch {batch:?}");
            let lower = |fission: Fission| -> Lowered<(C, Tensor), Vec<Tensor>> {
                let scan = Scan::new().fission(fission);
                let f = jit(move |(cell, xs): (C, Tensor)| program(name, &scan, cell, xs, batch));
                f.lower((cell.clone(), xs.clone())).unwrap()
            };
            let [auto, off] = [Fission::Auto, Fission::Off].map(lower);
            assert!(auto.fissioned() != auto.simplified(), "{what}: nothing leaves the loops");
            assert!(off.fissioned() == off.simplified(), "{what}: fission is off");
            let arguments = (cell.clone(), xs.clone());
            let [auto, off] =
                [auto, off].map(|lowered| lowered.compile().unwrap().call(&arguments).unwrap());
            assert_close(&what, &auto, &off);
        }
    }
}

#[test]
fn simple_cells() {
    check(SimpleCell::new, &[&[], &[2]]);
}

#[test]
fn gru_cells() {
    check(GruCell::new, &[&[2]]);
}

#[test]
fn cells_in_half_precision() {
    for dtype in [DType::BF16, DType::F16] {
        check_in(dtype, GruCell::new, &[&[], &[2]]);
    }
}

#[test]
fn lstm_cells() {
    check(LstmCell::new, &[&[]]);
    // Its gates are slices of a sum, of which a part leaves the loop.
    check(OptimizedLstmCell::new, &[&[]]);
}

/// The gradient of a while loop with a bound is made of scans, which fission works on, too.
#[test]
fn bounded_while_loops() {
    let w = random::normal(&random::key(2), [HIDDEN, HIDDEN], DType::F32) * 0.1;
    let h = random::normal(&random::key(3), [HIDDEN], DType::F32);
    let by_while = |w: Tensor| {
        let body = |(n, h): (Tensor, Tensor)| (n + 1, h.dot(&w).tanh());
        let goes_on = |(n, _): (Tensor, Tensor)| n.lt(STEPS as i32);
        let start = (Tensor::scalar(0, DType::I32), h.clone());
        While::new().max_steps(2 * STEPS).run(goes_on, body, start).1.square().sum(..)
    };
    let by_scan = |w: Tensor| {
        let scan = Scan::new().length(STEPS).fission(Fission::Off);
        scan.run(|h: Tensor, ()| (h.dot(&w).tanh(), ()), h.clone(), ()).0.square().sum(..)
    };
    let slope = jit(|w| grad(by_while)(w)).call(&w).unwrap();
    let expected = jit(|w| grad(by_scan)(w)).call(&w).unwrap();
    assert_close("gradient", &[slope], &[expected]);
}
