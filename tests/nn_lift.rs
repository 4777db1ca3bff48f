//! Laws of lifted transformations and of recurrent networks over sequences: they give what a plain loop in
//! Rust gives, and are one While loop.

mod common;

use std::cell::Cell;

use common::{EXACT, Tolerance, assert_close_in, ramp_tensor};
use nn::{Filter, RnnCell, StateAxis};
use onetrace::prelude::*;
use onetrace::{Checkpoint, SAME};

const CLOSE: Tolerance = Tolerance { relative: 1e-5, absolute: 2e-6 };

#[track_caller]
fn assert_trees_close<T: Tree>(what: &str, actual: &T, expected: &T) {
    assert_eq!(tree::structure(actual), tree::structure(expected), "{what}");
    let pairs = tree::leaves_with_paths(actual).into_iter().zip(tree::leaves(expected));
    for ((path, actual), expected) in pairs {
        let tolerance = if actual.dtype().is_float() { CLOSE } else { EXACT };
        assert_close_in(&format!("{what}: {path}"), &actual, &expected, tolerance);
    }
}

#[derive(Clone, Tree)]
struct Block {
    dense: nn::Linear,
    norm: nn::BatchNorm,
    dropout: nn::Dropout,
    #[tree(state)]
    calls: Tensor,
}

impl Block {
    fn new(rngs: &mut nn::Rngs) -> Block {
        Block {
            dense: nn::Linear::new(rngs, 3, 3),
            norm: nn::BatchNorm::config(3).momentum(0.9).build(rngs),
            dropout: nn::Dropout::new(rngs, 0.4),
            calls: Tensor::scalar(0, DType::I32),
        }
    }

    fn call(&mut self, x: &Tensor) -> Tensor {
        self.calls = &self.calls + 1;
        self.dropout.call(&self.norm.call(&self.dense.call(x))).tanh() + x
    }
}

fn step(block: &mut Block, h: Tensor, x: Tensor) -> (Tensor, Tensor) {
    let h = block.call(&(h + x));
    (h.clone(), h)
}

/// Four blocks, stacked, made with keys that are split.
fn blocks() -> Block {
    let make = nn::Vmap::new().axis_size(4).split_rngs(Filter::All);
    make.run(|rngs: &mut nn::Rngs, ()| Block::new(rngs), &mut nn::Rngs::new(1), ())
}

/// The i-th of stacked modules.
fn member(blocks: &Block, i: isize) -> Block {
    tree::map(blocks, |leaf| leaf.index(i))
}

fn stacked(members: &[Block]) -> Block {
    let mut i = 0;
    tree::map(&members[0], |_| {
        let leaves: Vec<Tensor> = members.iter().map(|m| tree::leaves(m)[i].clone()).collect();
        i += 1;
        stack(&leaves, 0)
    })
}

#[test]
fn a_scan_is_a_loop_that_changes_the_module() {
    let xs = ramp_tensor(&[7, 5, 3], 0);
    let zeros = Tensor::zeros([5, 3], DType::F32);
    for reverse in [false, true] {
        let mut expected = Block::new(&mut nn::Rngs::new(0));
        let mut h = zeros.clone();
        for i in 0..7 {
            (h, _) = step(&mut expected, h, xs.index(if reverse { 6 - i } else { i }));
        }
        let scans = [
            nn::Scan::new(),
            nn::Scan::new().unroll(3).length(7),
            nn::Scan::new().checkpoint(Checkpoint::Sqrt),
        ];
        for scan in scans {
            let scan = scan.reverse(reverse);
            let mut eager = Block::new(&mut nn::Rngs::new(0));
            let (last, ys) = scan.clone().run(step, &mut eager, zeros.clone(), xs.clone());
            assert_trees_close("eager", &eager, &expected);
            assert_trees_close("eager", &last, &h);
            assert_eq!(ys.shape(), [7, 5, 3]);
            let mut compiled = Block::new(&mut nn::Rngs::new(0));
            let run = nn::jit(|block: &mut Block, xs: Tensor| {
                scan.clone().run(step, block, zeros.clone(), xs).0
            });
            assert_trees_close("compiled", &run.call(&mut compiled, &xs).unwrap(), &h);
            assert_trees_close("compiled", &compiled, &expected);
        }
    }
}

#[test]
fn gradients_of_a_scan_are_those_of_the_loop() {
    let xs = ramp_tensor(&[5, 4, 3], 0);
    let zeros = Tensor::zeros([4, 3], DType::F32);
    let looped = |block: &mut Block, xs: Tensor| {
        let mut h = zeros.clone();
        for i in 0..5 {
            (h, _) = step(block, h, xs.index(i));
        }
        h.square().sum(..)
    };
    let mut expected = Block::new(&mut nn::Rngs::new(2));
    let unrolled = nn::jit(|block: &mut Block, xs: Tensor| nn::value_and_grad(looped)(block, xs));
    let wanted = unrolled.call(&mut expected, &xs).unwrap();
    for checkpoint in [Checkpoint::None, Checkpoint::Every(2)] {
        let scanned = |block: &mut Block, xs: Tensor| {
            let scan = nn::Scan::new().checkpoint(checkpoint);
            scan.run(step, block, zeros.clone(), xs).0.square().sum(..)
        };
        let run = nn::jit(|block: &mut Block, xs: Tensor| nn::value_and_grad(scanned)(block, xs));
        let mut block = Block::new(&mut nn::Rngs::new(2));
        let found = run.call(&mut block, &xs).unwrap();
        assert_trees_close("value and gradient", &found, &wanted);
        assert_trees_close("state", &block, &expected);
        // Without compiling, too, and with the gradient alone.
        let mut block = Block::new(&mut nn::Rngs::new(2));
        assert_trees_close("eager", &nn::grad(scanned)(&mut block, xs.clone()), &wanted.1);
        assert_trees_close("eager", &block, &expected);
    }
}

#[test]
fn layers_with_an_axis_are_a_loop_over_layers() {
    let x = ramp_tensor(&[6, 3], 0);
    for reverse in [false, true] {
        let mut h = x.clone();
        let mut members: Vec<Block> = (0..4).map(|i| member(&blocks(), i)).collect();
        for i in 0..4 {
            h = members[if reverse { 3 - i } else { i }].call(&h);
        }
        let expected = stacked(&members);
        let mut layers = blocks();
        let deep = nn::Scan::new().state_axes(StateAxis::Axis(0)).reverse(reverse);
        let call = |block: &mut Block, x: Tensor, ()| (block.call(&x), ());
        let (y, ()) = deep.run(call, &mut layers, x.clone(), ());
        assert_trees_close("value", &y, &h);
        assert_trees_close("state", &layers, &expected);
    }
}

#[test]
fn each_leaf_has_the_axis_of_the_first_rule_that_matches() {
    // Kernels stacked along the last axis, one bias for all layers.
    let kernels = ramp_tensor(&[3, 3, 4], 0);
    let bias = ramp_tensor(&[3], 1);
    let mut layers = (nn::Linear { kernel: kernels.clone(), bias: Some(bias.clone()) }, 0).0;
    let axes = [
        (Filter::PathContains("kernel".into()), StateAxis::Axis(-1)),
        (Filter::Path("kernel".into()), StateAxis::Carry),
        (Filter::All, StateAxis::Broadcast),
    ];
    let scan = nn::Scan::new().state_axes(axes);
    let call = |layer: &mut nn::Linear, x: Tensor, ()| {
        let y = layer.call(&x);
        layer.kernel = &layer.kernel * 2.0;
        (y, ())
    };
    let x = ramp_tensor(&[3], 2);
    let (y, ()) = scan.run(call, &mut layers, x.clone(), ());
    let mut expected = x;
    for i in 0..4 {
        expected = expected.dot(&kernels.index_in_dim(i, -1, false)) + &bias;
    }
    assert_trees_close("value", &y, &expected);
    assert_trees_close("kernels", &layers.kernel, &(kernels * 2.0));
    assert_trees_close("bias", &layers.bias.unwrap(), &bias);
}

#[test]
fn a_parameter_may_be_carried() {
    // Gradient descent inside of the loop: the step trains the module.
    let mut layer = nn::Linear::new(&mut nn::Rngs::new(0), 3, 1);
    let loss = |layer: &mut nn::Linear, x: Tensor| (layer.call(&x) - 1.0).square().mean(..);
    let train = |layer: &mut nn::Linear, (): (), x: Tensor| {
        let (value, gradient) = nn::value_and_grad(loss)(layer, x);
        layer.kernel = &layer.kernel - gradient.kernel * 0.1;
        ((), value)
    };
    let xs = ramp_tensor(&[50, 8, 3], 0);
    let before = layer.kernel.clone();
    let scan = nn::Scan::new().state_axes(StateAxis::Carry);
    let ((), losses) = scan.run(train, &mut layer, (), xs);
    let losses = losses.to_vec::<f32>().unwrap();
    assert!(losses[49] < 0.9 * losses[0], "{losses:?}");
    assert_ne!(layer.kernel.to_vec::<f32>().unwrap(), before.to_vec::<f32>().unwrap());
}

#[test]
fn a_deep_stack_is_one_loop_and_returns_only_what_changes() {
    let make = nn::Vmap::new().axis_size(6).split_rngs(Filter::All);
    let rngs = &mut nn::Rngs::new(0);
    let layers = make.run(|rngs: &mut nn::Rngs, ()| nn::Linear::new(rngs, 3, 3), rngs, ());
    let forward = nn::jit(|layers: &mut nn::Linear, x: Tensor| {
        let deep = nn::Scan::new().state_axes(StateAxis::Axis(0));
        deep.run(|layer: &mut nn::Linear, x, ()| (layer.call(&x).tanh(), ()), layers, x, ()).0
    });
    let hlo = forward.lower(&layers, ramp_tensor(&[3], 0)).unwrap().hlo().unwrap();
    assert_eq!(hlo.matches(" while(").count(), 1, "{hlo}");
    // The stacked parameters are read, and not written anew.
    assert!(!hlo.contains("dynamic-update-slice"), "{hlo}");
    let entry = hlo.split("ENTRY").nth(1).unwrap();
    let root = entry.lines().find(|line| line.contains("ROOT")).unwrap();
    assert!(!root.contains("f32[6,3,3]"), "{root}");
}

#[test]
fn captured_modules_are_constants() {
    let layer = nn::Linear::new(&mut nn::Rngs::new(0), 3, 3);
    let forward = jit(|xs: Tensor| {
        let step = |layer: &mut nn::Linear, h: Tensor, x: Tensor| (layer.call(&(h + x)), ());
        nn::scan(step, &mut layer.clone(), Tensor::zeros([3], DType::F32), xs).0
    });
    let hlo = forward.lower(ramp_tensor(&[9, 3], 0)).unwrap().hlo().unwrap();
    let entry = hlo.split("ENTRY").nth(1).unwrap();
    assert_eq!(entry.matches("parameter(").count(), 1, "{entry}");
    assert!(hlo.contains("f32[3,3]{1,0} constant("), "{hlo}");
}

#[test]
fn a_batch_of_modules_is_a_loop_over_modules() {
    let xs = ramp_tensor(&[5, 4, 3], 0);
    let mut members: Vec<Block> = (0..4).map(|i| member(&blocks(), i)).collect();
    let mut expected = Vec::new();
    for (i, block) in members.iter_mut().enumerate() {
        expected.push(block.call(&xs.index_in_dim(i as isize, 1, false)));
    }
    let mut ensemble = blocks();
    let call = |block: &mut Block, x: Tensor| block.call(&x);
    let ys = nn::Vmap::new().in_axes(1).out_axes(-1).run(call, &mut ensemble, xs.clone());
    assert_trees_close("values", &ys, &stack(&expected, -1));
    assert_trees_close("state", &ensemble, &stacked(&members));
    // The same data for all.
    let mut ensemble = blocks();
    let ys = nn::Vmap::new().in_axes(SAME).run(call, &mut ensemble, xs.index(0));
    let mut first = member(&blocks(), 2);
    assert_trees_close("the same data", &ys.index(2), &first.call(&xs.index(0)));
}

#[test]
fn gradients_of_each_example_are_a_batch_of_gradients() {
    let layer = nn::Linear::new(&mut nn::Rngs::new(0), 3, 2);
    let loss = |layer: &mut nn::Linear, x: Tensor| layer.call(&x).tanh().square().sum(..);
    let of_example = |x: Tensor| nn::grad(loss)(&mut layer.clone(), x);
    let xs = ramp_tensor(&[5, 3], 0);
    let all = jit(vmap(of_example)).call(&xs).unwrap();
    for i in 0..5 {
        let one = of_example(xs.index(i));
        assert_trees_close("example", &tree::map(&all, |leaf| leaf.index(i)), &one);
    }
}

#[test]
fn gradients_of_gradients() {
    #[derive(Clone, Tree)]
    struct Cube {
        w: Tensor,
        #[tree(state)]
        seen: Tensor,
    }
    let scalar = |x: f64| Tensor::scalar(x, DType::F64);
    let f = |m: &mut Cube, x: Tensor| {
        m.seen = &m.seen + 1.0;
        &m.w * &m.w * &m.w * x
    };
    let slope = |m: &mut Cube, x: Tensor| nn::grad(f)(m, x).w;
    let mut module = Cube { w: scalar(2.0), seen: scalar(0.0) };
    let (value, second) = nn::value_and_grad(slope)(&mut module, scalar(5.0));
    assert_eq!(value.item::<f64>().unwrap(), 60.0);
    assert_eq!(second.w.item::<f64>().unwrap(), 60.0);
    assert_eq!(second.seen.item::<f64>().unwrap(), 0.0);
    assert_eq!(module.seen.item::<f64>().unwrap(), 1.0);
}

#[test]
fn a_module_without_parameters_has_a_gradient_of_zeros() {
    let mut dropout = nn::Dropout::new(&mut nn::Rngs::new(0), 0.5);
    let f = |dropout: &mut nn::Dropout, x: Tensor| (dropout.call(&x).sum(..), x);
    let x = Tensor::ones([4], DType::F32);
    let ((_, aux), gradient) = nn::value_and_grad_with_aux(f)(&mut dropout, x);
    assert_eq!(aux.shape(), [4]);
    assert_eq!(gradient.rngs.key.to_vec::<u32>().unwrap(), [0, 0]);
    assert_eq!(dropout.rngs.count.item::<u32>().unwrap(), 1);
    let x = Tensor::ones([4], DType::F32);
    assert_eq!(nn::grad_with_aux(f)(&mut dropout, x).1.shape(), [4]);
}

#[test]
fn a_compiled_function_is_traced_once_for_all_weights_and_once_for_each_mode() {
    let traces = Cell::new(0);
    let run = nn::jit(|model: &mut (nn::Linear, nn::Dropout), x: Tensor| {
        traces.set(traces.get() + 1);
        model.1.call(&model.0.call(&x))
    });
    let x = Tensor::ones([2, 3], DType::F32);
    let mut results = Vec::new();
    for seed in 0..3 {
        let rngs = &mut nn::Rngs::new(seed);
        let mut model = (nn::Linear::new(rngs, 3, 64), nn::Dropout::new(rngs, 0.5));
        results.push(run.call(&mut model, &x).unwrap().to_vec::<f32>().unwrap());
        assert_eq!(model.1.rngs.count.item::<u32>().unwrap(), 1);
    }
    assert_ne!(results[0], results[1]);
    assert_eq!(traces.get(), 1);
    let rngs = &mut nn::Rngs::new(0);
    let mut model = (nn::Linear::new(rngs, 3, 64), nn::Dropout::new(rngs, 0.5));
    nn::eval(&mut model);
    let y = run.call(&mut model, &x).unwrap();
    assert_trees_close("eval", &y, &model.0.call(&x));
    assert_eq!(traces.get(), 2);
    assert_eq!(model.1.rngs.count.item::<u32>().unwrap(), 0);
}

// Recurrent networks over sequences.

#[derive(Clone, Tree)]
struct Memory {
    h: Tensor,
    both: (Vec<Tensor>, Option<Tensor>),
}

/// A cell of a user, with a nested carry and gates of one number for each member of the batch.
#[derive(Clone, Tree)]
struct Own {
    dense: nn::Linear,
}

impl RnnCell for Own {
    type Carry = Memory;

    fn step(&self, carry: Memory, x: Tensor) -> (Memory, Tensor) {
        let h = (self.dense.call(&x) + &carry.h).tanh();
        let norm = h.square().sum(-1) + &carry.both.0[0];
        let sum = carry.both.1.map(|sum| sum + 1);
        (Memory { h: h.clone(), both: (vec![norm], sum) }, h * 2.0)
    }

    fn initial_carry(&self, batch: &[usize]) -> Memory {
        let h = Tensor::zeros([batch, &[4]].concat(), DType::F32);
        let sum = Tensor::zeros(batch, DType::I32);
        Memory { h, both: (vec![Tensor::zeros(batch, DType::F32)], Some(sum)) }
    }
}

#[test]
fn padded_steps_leave_the_carry_alone() {
    let cell = Own { dense: nn::Linear::new(&mut nn::Rngs::new(0), 3, 4) };
    let x = ramp_tensor(&[2, 3, 6, 3], 0);
    // The lengths of a batch with two axes; one is zero, one is more than there is.
    let lengths = [0usize, 6, 3, 1, 5, 9];
    let given: Vec<u32> = lengths.map(|n| n as u32).to_vec();
    for (reverse, time_major) in [(false, false), (true, false), (false, true), (true, true)] {
        let rnn = nn::Rnn::new(cell.clone()).reverse(reverse).keep_order(true);
        let rnn = rnn.time_major(time_major);
        let lengths_of = Tensor::new(&given, [2, 3]);
        let args = nn::RnnArgs::new().seq_lengths(&lengths_of);
        let sequence = if time_major { x.moveaxis(2, 0) } else { x.clone() };
        let (last, ys) = rnn.call_with(&sequence, args);
        let ys = if time_major { ys.moveaxis(0, 2) } else { ys };
        for (i, &length) in lengths.iter().enumerate() {
            let (row, column) = ((i / 3) as isize, (i % 3) as isize);
            let at = |t: &Tensor| t.index(row).index(column);
            let valid = at(&x).slice_in_dim(0..length.min(6), 0);
            let alone = nn::Rnn::new(cell.clone()).reverse(reverse).keep_order(true);
            let (expected, outputs) = alone.call_with(&valid, nn::RnnArgs::new());
            let what = format!("length {length}, reverse {reverse}");
            assert_trees_close(&what, &tree::map(&last, at), &expected);
            assert_trees_close(&what, &at(&ys).slice_in_dim(0..length.min(6), 0), &outputs);
        }
    }
}

#[test]
fn a_sequence_without_steps_gives_back_the_carry() {
    let rnn = nn::Rnn::new(nn::GruCell::new(&mut nn::Rngs::new(0), 3, 4)).reverse(true);
    let init = ramp_tensor(&[2, 4], 0);
    let x = Tensor::zeros([2, 0, 3], DType::F32);
    for args in
        [nn::RnnArgs::new(), nn::RnnArgs::new().seq_lengths(&Tensor::zeros([2], DType::I64))]
    {
        let (last, ys) = rnn.call_with(&x, args.initial_carry(init.clone()));
        assert_close_in("carry", &last, &init, EXACT);
        assert_eq!(ys.shape(), [2, 0, 4]);
    }
}

#[test]
fn the_carries_of_a_padded_sequence_are_not_stored() {
    let rnn = nn::Rnn::new(nn::GruCell::new(&mut nn::Rngs::new(0), 3, 4)).time_major(true);
    let last = jit(|(x, lengths): (Tensor, Tensor)| {
        rnn.call_with(&x, nn::RnnArgs::new().seq_lengths(&lengths)).0
    });
    let inputs = (Tensor::zeros([50, 2, 3], DType::F32), Tensor::zeros([2], DType::I32));
    let hlo = last.lower(inputs).unwrap().hlo().unwrap();
    assert_eq!(hlo.matches(" while(").count(), 1, "{hlo}");
    assert!(hlo.contains("select(") && !hlo.contains("conditional("), "{hlo}");
    // Nothing that the loop makes is as long as the sequence: nobody uses the outputs.
    let looped = hlo.lines().find(|line| line.contains(" while(")).unwrap();
    assert_eq!(looped.matches("f32[50,2,4]").count(), 0, "{hlo}");
}

#[test]
fn stacked_cells_are_layers_one_after_the_other() {
    let rngs = &mut nn::Rngs::new(0);
    let cells = vec![nn::LstmCell::new(rngs, 3, 4), nn::LstmCell::new(rngs, 4, 4)];
    let x = ramp_tensor(&[2, 7, 3], 0);
    let stacked = nn::Rnn::new(nn::StackedRnnCells { cells: cells.clone() });
    let (carry, ys) = stacked.call_with(&x, nn::RnnArgs::new());
    let mut layers: Vec<nn::Rnn<nn::LstmCell>> = cells.into_iter().map(nn::Rnn::new).collect();
    let (first, h) = layers[0].call_with(&x, nn::RnnArgs::new());
    let (second, expected) = layers[1].call_with(&h, nn::RnnArgs::new());
    assert_trees_close("outputs", &ys, &expected);
    assert_trees_close("carries", &carry, &vec![first, second]);
    // Modules over sequences are layers as others are.
    assert_trees_close("layers", &nn::Layer::forward(&mut layers, &x), &expected);
    let paths = tree::paths(&stacked);
    assert_eq!(paths[0], "cell.cells.0.ii.kernel");
}

#[test]
fn the_recurrent_bias_is_that_of_pytorch() {
    let config = nn::CellConfig::new(3, 4).recurrent_bias(true).bias_init(nn::init::normal(1.0));
    let cell = nn::GruCell::from_config(&mut nn::Rngs::new(0), &config);
    let paths = ["dense_i.kernel", "dense_i.bias", "dense_h.kernel", "dense_h.bias"];
    assert_eq!(tree::paths(&cell), paths);
    let (h, x) = (ramp_tensor(&[2, 4], 0), ramp_tensor(&[2, 3], 1));
    let (next, _) = cell.step(h.clone(), x.clone());
    // The formulas in the documentation of `torch.nn.GRU`.
    let part = |layer: &nn::Linear, x: &Tensor, gate: usize| {
        let of = |t: &Tensor| t.slice_in_dim(4 * gate..4 * gate + 4, -1);
        x.dot(&of(&layer.kernel)) + of(layer.bias.as_ref().unwrap())
    };
    let [r, z] = [0, 1]
        .map(|gate| (part(&cell.dense_i, &x, gate) + part(&cell.dense_h, &h, gate)).sigmoid());
    let n = (part(&cell.dense_i, &x, 2) + r * part(&cell.dense_h, &h, 2)).tanh();
    assert_trees_close("carry", &next, &((1.0 - &z) * n + &z * h));
    // Without it there is none, and the draws are those of Flax.
    let plain = nn::GruCell::new(&mut nn::Rngs::new(0), 3, 4);
    assert!(plain.dense_h.bias.is_none());
}
