//! Layers, recurrent networks over sequences and lifted transformations against Flax: parameters,
//! values, gradients with respect to every parameter, and the state afterwards.

mod common;

use common::{
    EXACT, Golden, Tolerance, assert_close_in, for_each_in_parallel, numbers, ramp_tensor,
};
use nn::{Filter, RnnCell, StateAxis};
use onetrace::prelude::*;
use onetrace::tree::leaves_with_paths;
use serde_json::Value;

const PARAMETER: Tolerance = Tolerance { relative: 0.0, absolute: 2e-6 };
const RESULT: Tolerance = Tolerance { relative: 1e-6, absolute: 2e-6 };
const GRADIENT: Tolerance = Tolerance { relative: 1e-5, absolute: 5e-6 };

fn case<'a>(golden: &'a Golden, name: &str) -> &'a Value {
    golden.cases.iter().find(|case| case["name"] == name).unwrap_or_else(|| panic!("no {name}"))
}

fn integer(case: &Value, key: &str) -> usize {
    case[key].as_u64().unwrap_or_else(|| panic!("{key} of {case}")) as usize
}

fn truth(case: &Value, key: &str) -> bool {
    case[key].as_bool().unwrap_or_else(|| panic!("{key} of {case}"))
}

fn sizes(case: &Value, key: &str) -> Vec<usize> {
    case[key].as_array().unwrap().iter().map(|d| d.as_u64().unwrap() as usize).collect()
}

/// The module with the parameters that the case has under `prefix`; with `drawn`, its own must be
/// those, to the rounding of the QR of the reference.
fn with_parameters<M: Tree>(golden: &Golden, name: &str, module: M, drawn: bool) -> M {
    let mut wanted: Vec<String> = golden.keys(name);
    wanted.retain(|key| key.starts_with("params/"));
    let mut found = Vec::new();
    let module = module.map(&mut Default::default(), &mut |path, leaf| {
        if !tree::is_parameter(path, leaf) {
            return leaf.clone();
        }
        let key = format!("params/{path}");
        let value = golden.array(name, &key);
        if drawn {
            assert_close_in(&format!("{name} {key}"), leaf, &value, PARAMETER);
        }
        found.push(key);
        value
    });
    found.sort();
    assert_eq!(found, wanted, "{name}");
    module
}

/// The loss that the gradients are of.
fn weighted<R: Tree>(outputs: &R) -> Tensor {
    let leaves = tree::leaves(outputs).into_iter().enumerate();
    let terms = leaves.map(|(i, out)| (&out * ramp_tensor(out.shape(), 100 + i as u32)).sum(..));
    terms.reduce(|a, b| a + b).unwrap()
}

fn check_leaves<T: Tree>(golden: &Golden, name: &str, prefix: &str, tree: &T, tol: Tolerance) {
    let leaves = leaves_with_paths(tree);
    let keys = golden.keys(name);
    for key in keys.iter().filter_map(|key| key.strip_prefix(prefix)) {
        let found = leaves.iter().find(|(path, _)| path.to_string() == key);
        let (_, leaf) = found.unwrap_or_else(|| panic!("{name}: no leaf {key}"));
        let expected = golden.array(name, &format!("{prefix}{key}"));
        let tolerance = if leaf.dtype().is_float() { tol } else { EXACT };
        assert_close_in(&format!("{name} {prefix}{key}"), leaf, &expected, tolerance);
    }
}

/// Checks what `f` makes of a module and `x`: its outputs, which are called `outputs`, the gradients
/// and the state afterwards. Returns the module as it is then.
fn check_run<M: Tree, R: Tree>(
    golden: &Golden,
    name: &str,
    (module, x): (M, Tensor),
    outputs: &[&str],
    f: impl Fn(&mut M, Tensor) -> R,
) -> M {
    // The input is differentiated by, too: it is a part of the module.
    let loss = |(module, x): &mut (M, Tensor), ()| {
        let outputs = f(module, x.clone());
        (weighted(&outputs), outputs)
    };
    let step = |pair: &mut (M, Tensor), ()| nn::value_and_grad_with_aux(loss)(pair, ());
    let mut pair = (module, x);
    let ((_, results), gradient) = nn::jit(step).call(&mut pair, ()).unwrap();
    let results = tree::leaves(&results);
    assert_eq!(results.len(), outputs.len(), "{name}");
    for (output, result) in outputs.iter().zip(results) {
        let expected = golden.array(name, output);
        assert_close_in(&format!("{name} {output}"), &result, &expected, RESULT);
    }
    check_leaves(golden, name, "grads/", &gradient.0, GRADIENT);
    assert!(golden.keys(name).iter().any(|key| key.starts_with("grads/") || key == "dx"));
    if let Some(dx) = golden.find(name, "dx") {
        assert_close_in(&format!("{name} dx"), &gradient.1, &dx, GRADIENT);
    }
    check_leaves(golden, name, "state/", &pair.0, RESULT);
    // What is not a parameter has a gradient of zeros, and parameters stay as they were.
    for (path, leaf) in leaves_with_paths(&gradient.0) {
        let zeros = || numbers(&leaf).iter().all(|&x| x == 0.0);
        assert!(tree::is_parameter(&path, &leaf) || zeros(), "{name}: {path}");
    }
    check_leaves(golden, name, "params/", &pair.0, EXACT);
    pair.0
}

#[test]
fn layers_are_those_of_flax() {
    let golden = Golden::read("nn");
    macro_rules! check_layer {
        ($name:literal, $make:expr) => {{
            let name = concat!("layer/", $name);
            let seed = integer(case(&golden, name), "seed") as i64;
            #[allow(clippy::redundant_closure_call, reason = "a closure for each layer")]
            let module = $make(&mut nn::Rngs::new(seed));
            check_leaves(&golden, name, "drawn/", &module, PARAMETER);
            let module = with_parameters(&golden, name, module, false);
            let x = golden.array(name, "x");
            check_run(&golden, name, (module, x), &["y"], |layer, x| layer.forward(&x))
        }};
    }
    use nn::{BatchNorm, Embed, Layer, LayerNorm, RmsNorm, Rngs, init};
    for (name, embed) in [
        ("layer/embed", check_layer!("embed", |rngs: &mut Rngs| Embed::new(rngs, 7, 4))),
        ("layer/embed_one", check_layer!("embed_one", |rngs: &mut Rngs| Embed::new(rngs, 1, 4))),
    ] {
        let wild = embed.call(&Tensor::new(&[0i32, -1, 3, 99, 6, -8], [2, 3]));
        assert_close_in(name, &wild, &golden.array(name, "wild"), EXACT);
        let attended = embed.attend(&ramp_tensor(&[2, 4], 7));
        assert_close_in(name, &attended, &golden.array(name, "attended"), RESULT);
    }
    check_layer!("layer_norm", |rngs: &mut Rngs| LayerNorm::new(rngs, 6));
    check_layer!("layer_norm_plain", |rngs: &mut Rngs| {
        LayerNorm::config(6).use_bias(false).use_scale(false).build(rngs)
    });
    check_layer!("layer_norm_epsilon", |rngs: &mut Rngs| {
        LayerNorm::config(6).epsilon(1e-2).scale_init(init::normal(1.0)).build(rngs)
    });
    check_layer!("rms_norm", |rngs: &mut Rngs| RmsNorm::new(rngs, 6));
    check_layer!("rms_norm_plain", |rngs: &mut Rngs| {
        RmsNorm::config(6).use_scale(false).epsilon(1e-3).build(rngs)
    });
    check_layer!("batch_norm", |rngs: &mut Rngs| BatchNorm::new(rngs, 6));
    check_layer!("batch_norm_momentum", |rngs: &mut Rngs| {
        BatchNorm::config(6).momentum(0.5).epsilon(1e-2).build(rngs)
    });
    check_layer!("batch_norm_axis", |rngs: &mut Rngs| {
        BatchNorm::config(3).axis(1).use_bias(false).build(rngs)
    });
    check_layer!("batch_norm_eval", |rngs: &mut Rngs| {
        BatchNorm::config(6).use_running_average(true).build(rngs)
    });
}

#[test]
fn masks_of_dropout_are_those_of_flax() {
    let golden = Golden::read("nn");
    let cases: Vec<&Value> = golden.cases.iter().filter(|case| !case["rate"].is_null()).collect();
    assert_eq!(cases.len(), 6);
    for case in cases {
        let name = case["name"].as_str().unwrap();
        let seed = integer(case, "seed") as i64;
        let mut rngs = nn::Rngs::new(seed);
        if truth(case, "own_stream") {
            rngs = rngs.with_stream("dropout", seed + 100);
        }
        // Another layer draws from the default stream first.
        nn::Linear::new(&mut rngs, 1, 1);
        let dims = case["broadcast_dims"].as_array().unwrap().iter();
        let dims: Vec<isize> = dims.map(|dim| dim.as_i64().unwrap() as isize).collect();
        let rate = case["rate"].as_f64().unwrap();
        let made = nn::Dropout::new(&mut rngs, rate).broadcast_dims(&dims);
        let next_key = rngs.dropout();
        assert_close_in(name, &next_key, &golden.array(name, "next_key"), EXACT);
        let shape = sizes(case, "shape");
        let x = ramp_tensor(&shape, name[8..].parse().unwrap()) + 2.0;
        let run = nn::jit(|dropout: &mut nn::Dropout, x: Tensor| dropout.call(&x));
        for compiled in [false, true] {
            let mut dropout = made.clone();
            for i in 0..3 {
                let y = match compiled {
                    true => run.call(&mut dropout, &x).unwrap(),
                    false => dropout.call(&x),
                };
                let what = format!("{name} y{i}");
                let expected = golden.array(name, &format!("y{i}"));
                assert_close_in(&what, &y, &expected, RESULT);
                // The mask itself is exact.
                let zeros = |t: &Tensor| numbers(t).iter().map(|&y| y == 0.0).collect::<Vec<_>>();
                assert_eq!(zeros(&y), zeros(&expected), "{what}");
            }
            check_leaves(&golden, name, "state/", &dropout, EXACT);
            let keyed = dropout.call_with_key(&x, &random::key(9));
            assert_close_in(name, &keyed, &golden.array(name, "keyed"), RESULT);
        }
    }
}

#[derive(Clone, Tree)]
struct Mlp {
    layers: (nn::Linear, nn::BatchNorm, nn::Dropout, nn::Linear),
}

#[test]
fn a_network_with_all_kinds_of_leaves_trains_as_in_flax() {
    let golden = Golden::read("nn");
    let rngs = &mut nn::Rngs::new(3);
    let layers = (
        nn::Linear::new(rngs, 3, 8),
        nn::BatchNorm::new(rngs, 8),
        nn::Dropout::new(rngs, 0.2),
        nn::Linear::new(rngs, 8, 2),
    );
    let module = with_parameters(&golden, "mlp", Mlp { layers }, true);
    check_run(&golden, "mlp", (module, ramp_tensor(&[6, 3], 0)), &["y"], |mlp, x| {
        let (linear, norm, dropout, last) = &mut mlp.layers;
        last.call(&dropout.call(&norm.call(&linear.call(&x)).gelu()))
    });
}

/// The lengths of the padded sequences.
fn lengths() -> Tensor {
    Tensor::new(&[5i32, 0, 3, 1], [4])
}

fn check_rnn<C: RnnCell + Tree>(golden: &Golden, case: &Value, cell: C) {
    let name = case["name"].as_str().unwrap();
    let unroll = integer(case, "unroll");
    let rnn = nn::Rnn::new(cell)
        .time_major(truth(case, "time_major"))
        .reverse(truth(case, "reverse"))
        .keep_order(truth(case, "keep_order"))
        .unroll(unroll);
    let rnn = with_parameters(golden, name, rnn, true);
    let batch = sizes(case, "batch");
    let shape = match truth(case, "time_major") {
        true => [&[5], &batch[..], &[3]].concat(),
        false => [&batch[..], &[5, 3]].concat(),
    };
    let x = ramp_tensor(&shape, integer(case, "salt") as u32);
    let parts = case["parts"].as_array().unwrap().iter();
    let parts: Vec<String> = parts.map(|part| format!("last.{}", part.as_str().unwrap())).collect();
    let outputs: Vec<&str> = parts.iter().map(String::as_str).chain(["ys"]).collect();
    check_run(golden, name, (rnn, x), &outputs, |rnn, x| {
        let mut args = nn::RnnArgs::new();
        if truth(case, "ramped_carry") {
            let mut salts = 200..;
            let ramp = |leaf: &Tensor| ramp_tensor(leaf.shape(), salts.next().unwrap());
            args = args.initial_carry(tree::map(&rnn.cell.initial_carry(&batch), ramp));
        }
        if truth(case, "padded") {
            args = args.seq_lengths(&lengths());
        }
        rnn.call_with(&x, args)
    });
}

#[test]
fn sequences_are_those_of_flax() {
    let golden = Golden::read("nn");
    let cases: Vec<&Value> = golden.cases.iter().filter(|case| !case["cell"].is_null()).collect();
    assert_eq!(cases.len(), 48);
    for_each_in_parallel(&cases, |case| {
        let rngs = &mut nn::Rngs::new(integer(case, "seed") as i64);
        match case["cell"].as_str().unwrap() {
            "gru" => check_rnn(&golden, case, nn::GruCell::new(rngs, 3, 4)),
            "lstm" => check_rnn(&golden, case, nn::LstmCell::new(rngs, 3, 4)),
            "optimized_lstm" => check_rnn(&golden, case, nn::OptimizedLstmCell::new(rngs, 3, 4)),
            "simple" => check_rnn(&golden, case, nn::SimpleCell::new(rngs, 3, 4)),
            other => panic!("no cell is called {other}"),
        }
    });
}

#[test]
fn both_directions_are_those_of_flax() {
    let golden = Golden::read("nn");
    let cases: Vec<&Value> = golden.cases.iter().filter(|case| !case["merged"].is_null()).collect();
    assert_eq!(cases.len(), 8);
    for_each_in_parallel(&cases, |case| {
        let name = case["name"].as_str().unwrap();
        let rngs = &mut nn::Rngs::new(integer(case, "seed") as i64);
        let there = nn::Rnn::new(nn::GruCell::new(rngs, 3, 4));
        // What a module says of directions and order of its own does not count.
        let back = nn::Rnn::new(nn::SimpleCell::new(rngs, 3, 4)).time_major(true);
        let mut both = nn::Bidirectional::new(there, back).time_major(truth(case, "time_major"));
        if case["merged"] == "sum" {
            both = both.merge_fn(|a, b| a + b);
        }
        let both = with_parameters(&golden, name, both, true);
        let shape = if truth(case, "time_major") { [5, 4, 3] } else { [4, 5, 3] };
        let x = ramp_tensor(&shape, integer(case, "seed") as u32);
        let outputs = ["last.there", "last.back", "ys"];
        check_run(&golden, name, (both, x), &outputs, |both, x| {
            let init = (ramp_tensor(&[4, 4], 200), ramp_tensor(&[4, 4], 201));
            let args = nn::RnnArgs::new().initial_carry(init);
            let padded = truth(case, "padded");
            both.call_with(&x, if padded { args.seq_lengths(&lengths()) } else { args })
        });
    });
}

#[derive(Clone, Tree)]
struct Block {
    dense: nn::Linear,
    norm: nn::BatchNorm,
    dropout: nn::Dropout,
}

impl Block {
    fn new(rngs: &mut nn::Rngs) -> Block {
        Block {
            dense: nn::Linear::new(rngs, 4, 4),
            norm: nn::BatchNorm::config(4).momentum(0.9).build(rngs),
            dropout: nn::Dropout::new(rngs, 0.25),
        }
    }

    fn call(&mut self, x: &Tensor) -> Tensor {
        self.dropout.call(&self.norm.call(&self.dense.call(x)).relu()) + x
    }
}

#[test]
fn a_scan_over_layers_is_that_of_flax() {
    let golden = Golden::read("nn");
    let name = "scan/layers";
    let mut rngs = nn::Rngs::new(11);
    let stack = nn::Vmap::new().axis_size(4).split_rngs(Filter::All);
    let blocks = stack.run(|rngs: &mut nn::Rngs, ()| Block::new(rngs), &mut rngs, ());
    check_leaves(&golden, name, "made/", &blocks, EXACT);
    let next_key = rngs.stream("default").next_key();
    assert_close_in(name, &next_key, &golden.array(name, "next_key"), EXACT);
    let blocks = with_parameters(&golden, name, blocks, true);
    let x = ramp_tensor(&[6, 4], 0);
    let deep = nn::Scan::new().state_axes(StateAxis::Axis(0));
    check_run(&golden, name, (blocks, x), &["y"], |blocks, x| {
        deep.clone().run(|block: &mut Block, x, ()| (block.call(&x), ()), blocks, x, ()).0
    });
}

#[derive(Clone, Tree)]
struct Recurrent {
    dense: nn::Linear,
    norm: nn::BatchNorm,
    dropout: nn::Dropout,
    #[tree(state)]
    steps: Tensor,
}

#[test]
fn a_scan_that_carries_state_is_that_of_flax() {
    let golden = Golden::read("nn");
    for k in [0, 1] {
        let name = format!("scan/state/{k}");
        let rngs = &mut nn::Rngs::new(k);
        let module = Recurrent {
            dense: nn::Linear::new(rngs, 4, 4),
            norm: nn::BatchNorm::config(4).momentum(0.8).build(rngs),
            dropout: nn::Dropout::new(rngs, 0.25),
            steps: Tensor::scalar(0, DType::I32),
        };
        let module = with_parameters(&golden, &name, module, true);
        let x = ramp_tensor(&[7, 5, 4], k as u32);
        let reverse = truth(case(&golden, &name), "reverse");
        check_run(&golden, &name, (module, x), &["h", "ys"], |module, xs| {
            let step = |module: &mut Recurrent, h: Tensor, x: Tensor| {
                module.steps = &module.steps + 1;
                let h = module.norm.call(&module.dense.call(&(h + x)));
                let h = module.dropout.call(&h).tanh();
                (h.clone(), h * 2.0)
            };
            let zeros = Tensor::zeros([5, 4], DType::F32);
            nn::Scan::new().reverse(reverse).run(step, module, zeros, xs)
        });
    }
}

#[derive(Clone, Tree)]
struct Noise {
    rngs: nn::RngStream,
    other: nn::RngStream,
}

#[test]
fn keys_of_split_streams_are_those_of_flax() {
    let golden = Golden::read("nn");
    let name = "scan/split_rngs";
    let mut rngs = nn::Rngs::new(5).with_stream("noise", 6);
    let mut module =
        Noise { rngs: rngs.stream("noise").fork(), other: rngs.stream("other").fork() };
    let scan = nn::Scan::new().split_rngs(Filter::PathContains("rngs".into()));
    let step = |module: &mut Noise, (): (), _x: Tensor| {
        let keys = (module.rngs.next_key(), module.rngs.next_key(), module.other.next_key());
        ((), keys)
    };
    let xs = Tensor::zeros([3], DType::F32);
    let ((), (first, second, other)) = scan.run(step, &mut module, (), xs);
    for (key, value) in [("first", first), ("second", second), ("other", other)] {
        assert_close_in(key, &value, &golden.array(name, key), EXACT);
    }
    check_leaves(&golden, name, "state/", &module, EXACT);
}
