//! Gradients through every recurrent cell after 1, 10 and 1,000 steps, by each parameter, the sequence
//! and the first carry, against Flax: `tests/golden/cell_gradients.safetensors`.

mod common;

use common::{Golden, for_each_in_parallel, numbers, ramp_tensor};
use onetrace::nn::RnnCell;
use onetrace::prelude::*;
use onetrace::tree::{leaves, leaves_with_paths, paths, unflatten};
use serde_json::Value;

/// How far the gradient by one leaf may lie from Flax's: the norm of the difference, relative to the
/// norm of Flax's. Both round each operation to `f32`; after 1,000 steps Flax's own lie up to 1.3e-6
/// from those in double precision, as `exact` of each case tells.
const OFF: f64 = 1e-5;

fn relative_difference(actual: &Tensor, expected: &Tensor) -> f64 {
    assert_eq!(actual.aval(), expected.aval());
    let (a, e) = (numbers(actual), numbers(expected));
    let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
    let expected = norm(&mut e.iter().copied());
    assert!(expected > 0.0, "the expected gradient is zero: nothing is compared");
    norm(&mut a.iter().zip(&e).map(|(a, e)| a - e)) / expected
}

/// Ramps with the next salts, as the script draws them.
struct Ramps(u32);

impl Ramps {
    fn next(&mut self, shape: &[usize]) -> Tensor {
        self.0 += 1;
        ramp_tensor(shape, self.0)
    }

    /// A tree with one for each leaf of `template`.
    fn tree<T: Tree>(&mut self, template: &T) -> T {
        tree::map(template, |leaf| self.next(leaf.shape()))
    }
}

fn check<C: RnnCell + Tree>(golden: &Golden, case: &Value, cell: C) {
    let name = case["name"].as_str().unwrap();
    let batch: Vec<usize> = match case["batch"].as_array().unwrap().is_empty() {
        true => vec![],
        false => vec![3],
    };
    let t = case["t"].as_u64().unwrap() as usize;
    let ramps = &mut Ramps(0);

    // Parameters are drawn in Flax's order of them, which is that of their names.
    let own = paths(&cell);
    let names: Vec<&str> =
        case["params"].as_array().unwrap().iter().flat_map(Value::as_str).collect();
    assert_eq!(names.len(), own.len(), "{name}");
    let mut values = leaves(&cell);
    for path in names {
        let i = own.iter().position(|p| p == path).unwrap_or_else(|| panic!("{name}: no {path}"));
        values[i] = ramps.next(values[i].shape()) * 0.5;
    }
    let cell = unflatten(&cell, values).unwrap();
    let x = ramps.next(&[&[t], &batch[..], &[4]].concat());
    let carry = ramps.tree(&cell.initial_carry(&batch));
    let w = ramps.next(&[&[t], &batch[..], &[8]].concat());
    let v = ramps.tree(&carry);

    let loss = |(cell, x, carry): (C, Tensor, C::Carry)| {
        let (last, ys) = scan(|carry, x| cell.step(carry, x), carry, x);
        let parts = leaves(&last).into_iter().zip(leaves(&v));
        parts.fold((&w * ys).mean(..), |sum, (c, v)| sum + (c * v).sum(..))
    };
    let (value, (by_cell, by_x, by_carry)) =
        jit(value_and_grad(loss)).call((cell, x, carry)).unwrap();

    let (value, expected) = (numbers(&value)[0], numbers(&golden.array(name, "loss"))[0]);
    assert!((value - expected).abs() <= 1e-5 * expected.abs(), "{name}: {value}, not {expected}");
    let params = leaves_with_paths(&by_cell).into_iter().map(|(path, g)| (path.to_string(), g));
    let parts = case["carry"].as_array().unwrap().iter().map(|part| part.as_str().unwrap());
    let parts = parts.zip(leaves(&by_carry)).map(|(part, g)| (format!("carry.{part}"), g));
    let all: Vec<(String, Tensor)> = params.chain([("x".to_owned(), by_x)]).chain(parts).collect();
    assert_eq!(all.len() + 1, golden.keys(name).len(), "{name}");
    for (path, gradient) in all {
        let off = relative_difference(&gradient, &golden.array(name, &format!("grad/{path}")));
        assert!(off <= OFF, "{name}: the gradient by {path} is off by {off:.1e}");
    }
}

#[test]
fn gradients_of_cells_are_those_of_flax() {
    let golden = Golden::read("cell_gradients");
    assert_eq!(golden.cases.len(), 24);
    for_each_in_parallel(&golden.cases, |case| {
        let rngs = &mut nn::Rngs::new(0);
        match case["cell"].as_str().unwrap() {
            "gru" => check(&golden, case, nn::GruCell::new(rngs, 4, 8)),
            "lstm" => check(&golden, case, nn::LstmCell::new(rngs, 4, 8)),
            "optimized_lstm" => check(&golden, case, nn::OptimizedLstmCell::new(rngs, 4, 8)),
            "simple" => check(&golden, case, nn::SimpleCell::new(rngs, 4, 8)),
            other => panic!("no cell is called {other}"),
        }
    });
}
