//! A GRU against Flax: for 253 combinations of seed, sizes, length and direction, the
//! parameters that `nnx.GRUCell` draws and the final carry of its scan.

mod common;

use common::{Golden, Tolerance, assert_close_in, for_each_in_parallel, ramp_tensor};
use onetrace::prelude::*;
use serde_json::Value;

const LECUN: Tolerance = Tolerance { relative: 0.0, absolute: 2e-7 };
const ORTHOGONAL: Tolerance = Tolerance { relative: 0.0, absolute: 1e-6 };
const FINAL: Tolerance = Tolerance { relative: 0.0, absolute: 2e-6 };

fn number(case: &Value, key: &str) -> usize {
    case[key].as_u64().unwrap_or_else(|| panic!("{key} of {case}")) as usize
}

#[test]
fn the_golden_data_has_two_hundred_combinations() {
    assert!(Golden::read("gru").cases.len() >= 200);
}

#[test]
fn parameters_and_final_carry_are_those_of_flax() {
    let golden = Golden::read("gru");
    for_each_in_parallel(&golden.cases, |case| {
        let name = case["name"].as_str().unwrap();
        let seed = case["seed"].as_i64().unwrap();
        let (d, h, t) = (number(case, "d"), number(case, "h"), number(case, "t"));
        let cell = nn::GruCell::new(&mut nn::Rngs::new(seed), d, h);
        for (path, kernel, tolerance) in [
            ("dense_i.kernel", &cell.dense_i.kernel, LECUN),
            ("dense_h.kernel", &cell.dense_h.kernel, ORTHOGONAL),
        ] {
            if case["kernels"] == true {
                assert_close_in(
                    &format!("{name} {path}"),
                    kernel,
                    &golden.array(name, path),
                    tolerance,
                );
            }
            let flat = kernel.reshape([-1]);
            let stride = (flat.size() / 64).max(1);
            let head = flat.slice_in_dim(0..flat.size().min(64), 0);
            let strided = flat.strided_slice_in_dim(0..flat.size(), stride, 0);
            let strided = strided.slice_in_dim(0..strided.size().min(64), 0);
            for (part, values) in [("head", head), ("strided", strided)] {
                let expected = golden.array(name, &format!("{path}.{part}"));
                assert_close_in(&format!("{name} {path}.{part}"), &values, &expected, tolerance);
            }
        }

        let reverse = case["reverse"] == true;
        let forward = jit(|x: Tensor| {
            let init = cell.initial_carry(&[]);
            Scan::new().reverse(reverse).run(|h, x| cell.step(h, x), init, x).0
        });
        let x = ramp_tensor(&[t, d], number(case, "salt") as u32);
        let last = forward.call(&x).unwrap();
        assert_close_in(&format!("{name} final"), &last, &golden.array(name, "final"), FINAL);
    });
}

#[test]
fn the_seed_problem_as_a_function_gives_the_same() {
    let golden = Golden::read("gru");
    let forward = golden.cases.iter().filter(|case| case["reverse"] == false);
    for case in forward.step_by(9) {
        let name = case["name"].as_str().unwrap();
        let (d, h, t) = (number(case, "d"), number(case, "h"), number(case, "t"));
        let x = ramp_tensor(&[t, d], number(case, "salt") as u32);
        let seed = case["seed"].as_f64().unwrap();
        // Numbers are truncated, and steps past the end take the whole sequence.
        let last = nn::scan_rnn_forward(seed + 0.4, &x, h as f64 + 0.9, t as f64 + 7.5).unwrap();
        assert_close_in(name, &last, &golden.array(name, "final"), FINAL);
    }
}
