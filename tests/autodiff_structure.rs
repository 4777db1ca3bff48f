//! What the rules of operations record: no more products, copies and transpositions than there must
//! be.

mod common;

use common::{Tolerance, all_avals, assert_close_in, ramp_tensor};
use onetrace::ir::{Func, print};
use onetrace::prelude::*;
use onetrace::{SAME, Vmap, vmap};

/// The names of the operations that `f` is made of, in order, with the types of their results. Only
/// those in `shown` are told.
fn operations(shown: &[&str], inputs: &[Tensor], f: impl Fn(&[Tensor]) -> Vec<Tensor>) -> String {
    let lowered = jit(|inputs: Vec<Tensor>| f(&inputs)).lower(inputs.to_vec()).unwrap();
    let text = print::print(lowered.func(), print::Options::default());
    let equations = text.lines().filter_map(|line| line.trim().split_once(" = "));
    let told = equations.filter_map(|(results, equation)| {
        let name = equation.split([' ', '[']).next().unwrap();
        let types: Vec<&str> =
            results.split(", %").filter_map(|r| r.split_once(": ")).map(|(_, ty)| ty).collect();
        shown.contains(&name).then(|| format!("{name} {}", types.join(" ")))
    });
    told.collect::<Vec<_>>().join("\n")
}

const COPIES: &[&str] = &["dot", "transpose", "broadcast", "gather", "scatter"];

/// The cotangents of both operands of a product.
fn back(x: &[usize], y: &[usize]) -> String {
    let inputs = [ramp_tensor(x, 1), ramp_tensor(y, 2)];
    operations(&["dot", "transpose"], &inputs, |xs| {
        let (out, pullback) =
            vjp(|(x, y): (Tensor, Tensor)| x.dot(&y), (xs[0].clone(), xs[1].clone()));
        let (x, y) = pullback(Tensor::ones(out.shape(), DType::F32));
        vec![x, y]
    })
}

#[test]
fn products_go_back_by_one_product_each() {
    // The value, the cotangent of the right operand, that of the left one; nothing is transposed.
    assert_eq!(back(&[4], &[4, 3]), "dot f32[3]\ndot f32[4,3]\ndot f32[4]");
    assert_eq!(back(&[3, 4], &[4]), "dot f32[3]\ndot f32[4]\ndot f32[3,4]");
    assert_eq!(back(&[5, 4], &[4, 3]), "dot f32[5,3]\ndot f32[4,3]\ndot f32[5,4]");
}

#[test]
fn a_batch_of_one_operand_is_one_product() {
    let inputs = [ramp_tensor(&[5, 4], 1), ramp_tensor(&[4, 3], 2)];
    let batched = |xs: &[Tensor]| {
        let in_batches = Vmap::new().in_axes((0, SAME));
        let f = |(x, w): (Tensor, Tensor)| x.dot(&w);
        vec![in_batches.run(f, (xs[0].clone(), xs[1].clone()))]
    };
    assert_eq!(operations(COPIES, &inputs, batched), "dot f32[5,3]");
}

#[test]
fn a_batch_of_places_takes_from_one_tensor() {
    let table = ramp_tensor(&[7, 3], 1);
    let indices = Tensor::new(&[0i32, 6, 2, 2, 9, -1], [3, 2]);
    let taken = |xs: &[Tensor]| {
        let table = xs[0].clone();
        vec![vmap(|indices: Tensor| table.take_clip(&indices, 0))(xs[1].clone())]
    };
    assert_eq!(operations(COPIES, &[table, indices], taken), "gather f32[3,2,3]");
}

#[test]
fn a_batch_of_draws_is_what_each_is() {
    let keys = random::split(&random::key(7), 3);
    let tolerance = Tolerance { relative: 0.0, absolute: 2e-6 };
    type Draw = fn(Tensor) -> Tensor;
    let draws: [(&str, Draw); 6] = [
        ("normal", |key| random::normal(&key, [4, 2], DType::F32)),
        ("truncated_normal", |key| random::truncated_normal(&key, -1.0, 2.0, [5], DType::F32)),
        ("permutation", |key| random::permutation(&key, 6).astype(DType::F32)),
        ("categorical", |key| {
            random::categorical(&key, &ramp_tensor(&[3, 4], 1), -1).astype(DType::F32)
        }),
        ("lecun_normal", |key| nn::init::lecun_normal().init(&key, &[4, 6], DType::F32)),
        ("orthogonal", |key| nn::init::orthogonal().init(&key, &[4, 6], DType::F32)),
    ];
    for (name, draw) in draws {
        let batched = vmap(draw)(keys.clone());
        let each: Vec<Tensor> = (0..3).map(|i| draw(keys.index(i))).collect();
        assert_close_in(name, &batched, &stack(&each, 0), tolerance);
    }
}

/// Where extremes are tied, what comes back adds up to what was sent.
#[test]
fn ties_share_the_cotangent() {
    let x = Tensor::new(&[2.0f32, 5.0, 5.0, 5.0, 1.0, 1.0], [2, 3]);
    let gradient = grad(|x: Tensor| x.max(keepdims(1)).sum(..))(x);
    assert_eq!(gradient.to_vec::<f32>().unwrap(), [0.0, 0.5, 0.5, 1.0, 0.0, 0.0]);
}

/// The types of all values of a function, those of its regions included, that have an axis of that
/// size.
fn values_with_axis(func: &Func, size: usize) -> Vec<String> {
    let with_axis = all_avals(func).filter(|aval| aval.shape.contains(&size));
    with_axis.map(ToString::to_string).collect()
}

/// What the derivative needs of each step is kept for each step, and what is the same at every step
/// is computed once, before both loops.
#[test]
fn what_is_the_same_at_every_step_is_saved_once() {
    let k = ramp_tensor(&[3], 9).named("k");
    let loss = |(w, xs): (Tensor, Tensor)| {
        let step = |h: Tensor, x: Tensor| {
            let scale = w.tanh() * k.exp();
            ((h * &scale + x * w.sum(..)).sin(), ())
        };
        scan(step, Tensor::ones([3], DType::F32), xs).0.sum(..)
    };
    let arguments = (ramp_tensor(&[3], 1), ramp_tensor(&[7, 3], 2));
    let lowered = jit(grad(loss)).lower(&arguments).unwrap();
    let func = lowered.simplified();
    let names: Vec<&str> = func.equations().iter().map(|e| e.name()).collect();
    let count = |name: &str| names.iter().filter(|n| **n == name).count();
    assert_eq!((count("tanh"), count("exp"), count("scan")), (1, 1, 2), "{func}");
    let text = func.to_string();
    assert_eq!((text.matches(" tanh ").count(), text.matches(" exp ").count()), (1, 1), "{func}");
    // The carry before each step, the cosine, and the cotangents of the xs.
    assert_eq!(values_with_axis(func, 7), ["f32[7,3]"; 3], "{func}");
}

/// Weights that a step takes and gives as they are, as a module that is carried does, are the same at
/// every step too.
#[test]
fn what_is_carried_as_it_is_is_saved_once() {
    let loss = |(w, xs): (Tensor, Tensor)| {
        let step = |(w, h): (Tensor, Tensor), x: Tensor| {
            let h = (&h * w.tanh() + x).sin();
            ((w, h), ())
        };
        scan(step, (w, Tensor::ones([3], DType::F32)), xs).0.1.sum(..)
    };
    let arguments = (ramp_tensor(&[3], 1), ramp_tensor(&[7, 3], 2));
    let lowered = jit(grad(loss)).lower(&arguments).unwrap();
    let func = lowered.simplified();
    // The carry before each step, the cosine, and the cotangents of the xs.
    assert_eq!(values_with_axis(func, 7), ["f32[7,3]"; 3], "{func}");
    assert_eq!(func.to_string().matches(" tanh ").count(), 1, "{func}");
}

/// A million steps, there and back.
#[test]
fn reverse_mode_of_a_million_steps() {
    let steps = 1_000_000;
    let last = |a: Tensor| {
        let step = |h: Tensor, x: Tensor| (&a * h + x, ());
        scan(step, Tensor::scalar(0.0, DType::F64), Tensor::ones([steps], DType::F64)).0
    };
    // The sum of a geometric series, and its derivative.
    let (value, slope) = value_and_grad(last)(Tensor::scalar(0.5, DType::F64));
    assert_eq!(value.item::<f64>().unwrap(), 2.0);
    assert!((slope.item::<f64>().unwrap() - 4.0).abs() < 1e-12);
}

/// A carry and a constant that no gradient reaches leave nothing.
#[test]
fn what_no_gradient_reaches_is_not_kept() {
    let loss = |x: Tensor| {
        let step = |(h, count, noise): (Tensor, Tensor, Tensor), ()| {
            let noise = (&noise * 1.5).sin();
            ((&h * &x, &count + 1, noise), ())
        };
        let init = (Tensor::ones([3], DType::F32), Tensor::scalar(0, DType::I32), x.clone());
        let (h, count, noise) = Scan::new().length(7).run(step, init, ()).0;
        (h.sum(..), (count, onetrace::stop_gradient(noise)))
    };
    let lowered = jit(onetrace::grad_with_aux(loss)).lower(ramp_tensor(&[3], 1)).unwrap();
    // Only h before each step.
    assert_eq!(values_with_axis(lowered.simplified(), 7), ["f32[7,3]"], "{}", lowered.simplified());
}

/// Reverse mode through a scan is a program of one size, however long the scan is, and the step is
/// traced once.
#[test]
fn reverse_mode_of_a_gru_does_not_grow_with_the_steps() {
    let cell = nn::GruCell::new(&mut nn::Rngs::new(42), 32, 64);
    let size = |steps: usize, checkpoint: onetrace::Checkpoint| {
        let runs = std::cell::Cell::new(0);
        let loss = |cell: nn::GruCell, x: &Tensor| {
            let step = |h: Tensor, x: Tensor| {
                runs.set(runs.get() + 1);
                cell.step(h, x)
            };
            let scan = Scan::new().checkpoint(checkpoint);
            let (h, ys) = scan.run(step, cell.initial_carry(&[]), x.clone());
            h.square().sum(..) + ys.mean(..)
        };
        let both = |(cell, x): (nn::GruCell, Tensor)| value_and_grad(|cell| loss(cell, &x))(cell);
        let x = Tensor::zeros([steps, 32], DType::F32);
        let lowered = jit(both).lower((cell.clone(), x)).unwrap();
        assert_eq!(runs.get(), 1, "the step runs once");
        (lowered.simplified().equation_count(), lowered.stats().unwrap().instructions)
    };
    use onetrace::Checkpoint;
    for checkpoint in [Checkpoint::None, Checkpoint::Every(4), Checkpoint::Sqrt] {
        let small = size(8, checkpoint);
        assert_eq!(size(2_048, checkpoint), small, "{checkpoint:?}");
        let large = size(1_000_000, checkpoint);
        assert_eq!(large.0, small.0, "{checkpoint:?}");
        // What is computed for all steps at once is computed in chunks where it would take much
        // memory: a loop around the loop, and one behind it for the steps that are left over.
        assert_eq!(size(2_000_000, checkpoint), large, "{checkpoint:?}");
        assert!(large.1 <= 3 * small.1, "{checkpoint:?}: {} and {}", large.1, small.1);
    }
}
