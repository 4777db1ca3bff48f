//! The cells and the affine layer against Flax: parameters and the paths they have, carries and
//! outputs, with and without batch axes.

mod common;

use common::{Golden, Tolerance, assert_close_in, for_each_in_parallel, ramp_tensor};
use onetrace::prelude::*;
use onetrace::tree::{leaves, leaves_with_paths, unflatten};
use serde_json::Value;

const LECUN: Tolerance = Tolerance { relative: 0.0, absolute: 2e-7 };
/// The reference is less exact than ours: for the square kernels here, the QR that LAPACK computes
/// in `f32` lies up to 1.6e-6 from the one computed in `f64`. The tall matrices of a GRU's kernels
/// are better conditioned, and `golden_gru` holds them to 1e-6.
const ORTHOGONAL: Tolerance = Tolerance { relative: 0.0, absolute: 2e-6 };
const RESULT: Tolerance = Tolerance { relative: 0.0, absolute: 2e-6 };

fn sizes(value: &Value) -> Vec<usize> {
    value.as_array().unwrap().iter().map(|d| d.as_u64().unwrap() as usize).collect()
}

fn text<'a>(case: &'a Value, key: &str) -> &'a str {
    case[key].as_str().unwrap_or_else(|| panic!("{key} of {case}"))
}

/// Checks the parameters of a module: the same paths as in Flax, the same values. Returns the module
/// with the values of Flax, so that what it computes can be compared more closely than its kernels.
fn check_parameters<M: Tree>(golden: &Golden, case: &Value, module: &M) -> M {
    let name = text(case, "name");
    let draws = case["draws"].as_array().unwrap();
    let mut wanted: Vec<&str> = draws.iter().map(|draw| text(draw, "path")).collect();
    let parameters = leaves_with_paths(module);
    let mut paths: Vec<String> = parameters.iter().map(|(path, _)| path.to_string()).collect();
    wanted.sort_unstable();
    paths.sort_unstable();
    assert_eq!(paths, wanted, "{name}");
    for draw in draws {
        let path = text(draw, "path");
        let (_, value) = parameters.iter().find(|(p, _)| p.to_string() == path).unwrap();
        let expected = golden.array(name, &format!("params/{path}"));
        let tolerance = match text(draw, "initializer") {
            "orthogonal" => ORTHOGONAL,
            _ => LECUN,
        };
        assert_close_in(&format!("{name} {path}"), value, &expected, tolerance);
    }
    let path = |(path, _): &(tree::Path, Tensor)| format!("params/{path}");
    unflatten(module, parameters.iter().map(|leaf| golden.array(name, &path(leaf))).collect())
        .unwrap()
}

/// Scans a cell as the case says and checks the last carry, whose parts are called `parts`, and the
/// outputs.
fn check_run<C: nn::RnnCell>(golden: &Golden, case: &Value, d: usize, cell: &C, parts: &[&str]) {
    let name = text(case, "name");
    let batch = sizes(&case["batch"]);
    let t = case["t"].as_u64().unwrap() as usize;
    let zeros = cell.initial_carry(&batch);
    let salts = sizes(&case["carry_salts"]);
    let init = if salts.is_empty() {
        zeros
    } else {
        let ramps = leaves(&zeros)
            .iter()
            .zip(salts)
            .map(|(leaf, salt)| ramp_tensor(leaf.shape(), salt as u32))
            .collect();
        unflatten(&zeros, ramps).unwrap()
    };
    let x = ramp_tensor(&[&[t], &batch[..], &[d]].concat(), case["salt"].as_u64().unwrap() as u32);
    let forward =
        jit(|(init, x): (C::Carry, Tensor)| scan(|carry, x| cell.step(carry, x), init, x));
    let (carry, ys) = forward.call((init, x)).unwrap();
    for (part, value) in parts.iter().zip(leaves(&carry)) {
        let expected = golden.array(name, &format!("final.{part}"));
        assert_close_in(&format!("{name} final.{part}"), &value, &expected, RESULT);
    }
    assert_close_in(&format!("{name} ys"), &ys, &golden.array(name, "ys"), RESULT);
}

#[test]
fn modules_are_those_of_flax() {
    let golden = Golden::read("cells");
    let (params, runs): (Vec<&Value>, Vec<&Value>) =
        golden.cases.iter().partition(|case| case["kind"] == "params");
    for run in &runs {
        assert!(params.iter().any(|case| case["name"] == run["params"]), "{run} has no module");
    }
    for_each_in_parallel(&params, |case| {
        let (d, h) = (case["d"].as_u64().unwrap() as usize, case["h"].as_u64().unwrap() as usize);
        let rngs = &mut nn::Rngs::new(case["seed"].as_i64().unwrap());
        let own_runs: Vec<&Value> =
            runs.iter().copied().filter(|run| run["params"] == case["name"]).collect();
        assert!(!own_runs.is_empty(), "{case} has no run");
        macro_rules! check_cell {
            ($Cell:ident, $parts:expr) => {{
                let cell = check_parameters(&golden, case, &nn::$Cell::new(rngs, d, h));
                own_runs.iter().for_each(|run| check_run(&golden, run, d, &cell, $parts));
            }};
        }
        match text(case, "cell") {
            "gru" => check_cell!(GruCell, &["h"]),
            "simple" => check_cell!(SimpleCell, &["h"]),
            "lstm" => check_cell!(LstmCell, &["c", "h"]),
            "optimized_lstm" => check_cell!(OptimizedLstmCell, &["c", "h"]),
            "linear" => {
                let bias = case["draws"].get(1).map(|draw| text(draw, "initializer"));
                let config = nn::Linear::config(d, h).use_bias(bias.is_some());
                let layer = match bias {
                    Some("normal(1)") => config.bias_init(nn::init::normal(1.0)).build(rngs),
                    _ => config.build(rngs),
                };
                let layer = check_parameters(&golden, case, &layer);
                for run in own_runs {
                    let name = text(run, "name");
                    let shape = [sizes(&run["batch"]), vec![d]].concat();
                    let y = layer.call(&ramp_tensor(&shape, run["salt"].as_u64().unwrap() as u32));
                    assert_close_in(name, &y, &golden.array(name, "y"), RESULT);
                }
            }
            other => panic!("no module is called {other}"),
        }
    });
}
