//! The messages of mistakes with layers, recurrent networks and lifted transformations: each states the
//! rule, names the leaf and both sides, says how to mend it, and has the place in the user's code.
//!
//! In the messages below, the code of a line stands in place of its number.

mod common;

use common::messages::{expect_error, zeros};
use expect_test::expect;
use nn::{Filter, RnnCell, StateAxis};
use onetrace::ErrorKind::{self, Argument, Shape};
use onetrace::prelude::*;

fn rngs() -> nn::Rngs {
    nn::Rngs::new(0)
}

fn checked(x: Tensor) -> Result<()> {
    x.check()
}

// Layers.

#[test]
fn a_norm_of_the_wrong_number_of_features() {
    let layer = nn::LayerNorm::new(&mut rngs(), 4);
    let result = checked(layer.call(&zeros([2, 3])));
    expect_error(
        result,
        Shape,
        expect![[r#"
        LayerNorm: the input must have 4 features on its last axis, but it is f32[2,3]
          at `let result = checked(layer.call(&zeros([2, 3])));`"#]],
    );
    let mut layer = nn::BatchNorm::config(4).axis(1).build(&mut rngs());
    let result = checked(layer.call(&zeros([4])));
    expect_error(
        result,
        Shape,
        expect![[r#"
            BatchNorm: the input must have 4 features on axis 1, but it is f32[4]
              at `let result = checked(layer.call(&zeros([4])));`"#]],
    );
    // What failed changes no statistics.
    assert_eq!(layer.mean.to_vec::<f32>().unwrap(), [0.0; 4]);
}

#[test]
fn a_norm_of_another_dtype() {
    let layer = nn::RmsNorm::new(&mut rngs(), 4);
    let result = checked(layer.call(&Tensor::zeros([2, 4], DType::F64)));
    expect_error(
        result,
        ErrorKind::DType,
        expect![[r#"
        RmsNorm: the input must have dtype f32, as the parameters have, but it is f64[2,4]; convert it with `astype`, or build the layer with `param_dtype`
          at `let result = checked(layer.call(&Tensor::zeros([2, 4], DType::F64)));`"#]],
    );
    let plain = nn::LayerNorm::config(4).use_scale(false).use_bias(false).build(&mut rngs());
    let result = checked(plain.call(&Tensor::zeros([2, 4], DType::I32)));
    expect_error(
        result,
        ErrorKind::DType,
        expect![[r#"
            LayerNorm: the input must have a floating dtype, as the parameters have, but it is i32[2,4]; convert it with `astype`, or build the layer with `param_dtype`
              at `let result = checked(plain.call(&Tensor::zeros([2, 4], DType::I32)));`"#]],
    );
}

#[test]
fn an_embedding_of_numbers_that_are_no_integers() {
    let embed = nn::Embed::new(&mut rngs(), 5, 3);
    let result = checked(embed.call(&zeros([2])));
    expect_error(
        result,
        ErrorKind::DType,
        expect![[r#"
            Embed: the input must be integers, the numbers of vectors, but it is f32[2]
              at `let result = checked(embed.call(&zeros([2])));`"#]],
    );
    let result = checked(embed.attend(&zeros([2, 5])));
    expect_error(
        result,
        Shape,
        expect![[r#"
            Embed: the input must have 3 features on its last axis, but it is f32[2,5]
              at `let result = checked(embed.attend(&zeros([2, 5])));`"#]],
    );
}

#[test]
fn dropout_at_a_rate_that_is_no_probability() {
    for rate in [1.5, -0.1, f64::NAN] {
        let result = checked(nn::Dropout::new(&mut rngs(), rate).call(&zeros([2])));
        assert!(result.unwrap_err().message().contains(&rate.to_string()));
    }
    let result = checked(nn::Dropout::new(&mut rngs(), 1.5).call(&zeros([2])));
    expect_error(
        result,
        Argument,
        expect![[r#"
            Dropout: the rate is the probability to drop an element, so it must be in [0, 1], but it is 1.5
              at `let result = checked(nn::Dropout::new(&mut rngs(), 1.5).call(&zeros([2])));`"#]],
    );
    let mut dropout = nn::Dropout::new(&mut rngs(), 0.5).broadcast_dims(&[2]);
    let result = checked(dropout.call(&zeros([2, 3])));
    expect_error(
        result,
        Shape,
        expect![[r#"
            Dropout: broadcast_dims: axis 2 is out of range for a tensor of rank 2: it must be in -2..2
              at `let result = checked(dropout.call(&zeros([2, 3])));`"#]],
    );
    let result = checked(dropout.call(&Tensor::zeros([2], DType::I32)));
    expect_error(
        result,
        ErrorKind::DType,
        expect![[r#"
            Dropout: the input must have a floating dtype, but it is i32[2]; convert it with `astype`
              at `let result = checked(dropout.call(&Tensor::zeros([2], DType::I32)));`"#]],
    );
}

#[test]
fn a_mistake_in_the_middle_of_a_sequence_of_layers() {
    let rngs = &mut rngs();
    let layers = (nn::Linear::new(rngs, 3, 4), nn::Activation::Tanh, nn::Linear::new(rngs, 3, 4));
    let result = checked(nn::Sequential::new(layers).call(&zeros([3])));
    expect_error(
        result,
        Shape,
        expect![[r#"
        Linear: the input must have 3 features on its last axis, but it is f32[4]
          at `let result = checked(nn::Sequential::new(layers).call(&zeros([3])));`"#]],
    );
}

// Sequences.

fn rnn() -> nn::Rnn<nn::GruCell> {
    nn::Rnn::new(nn::GruCell::new(&mut rngs(), 3, 4))
}

#[test]
fn what_is_no_sequence() {
    expect_error(
        checked(rnn().call(&zeros([3]))),
        Shape,
        expect![[r#"
            Rnn: the input must be a sequence, shape [batch.., time, features] or, with time_major, [time, batch.., features], but it is f32[3]
              at `checked(rnn().call(&zeros([3]))),`"#]],
    );
    expect_error(
        checked(rnn().call(&zeros([2, 7, 5]))),
        Shape,
        expect![[r#"
            GruCell: the input must have 3 features on its last axis, but it is f32[2,5]; if this is the step of a scan: it goes over axis 0 of the sequence and hands the rest to the step, so a sequence is (time, .., features); transpose one that is (features, time)
              at `checked(rnn().call(&zeros([2, 7, 5]))),`"#]],
    );
    expect_error(
        checked(rnn().unroll(0).call(&zeros([7, 3]))),
        Argument,
        expect![[r#"
            Rnn: unroll must be at least 1 (the number of steps in one iteration), but it is 0
              at `checked(rnn().unroll(0).call(&zeros([7, 3]))),`"#]],
    );
}

#[test]
fn lengths_that_do_not_fit_the_batch() {
    let run = |lengths: &Tensor| {
        let (h, ys) = rnn().call_with(&zeros([2, 7, 3]), nn::RnnArgs::new().seq_lengths(lengths));
        assert_eq!(h.shape(), [2, 4]);
        checked(h).and(checked(ys))
    };
    expect_error(
        run(&Tensor::zeros([3], DType::I32)),
        Shape,
        expect![[r#"
            Rnn: seq_lengths must be integers of the shape of the batch axes, [2], but they are i32[3] for the input f32[2,7,3]
              at `let (h, ys) = rnn().call_with(&zeros([2, 7, 3]), nn::RnnArgs::new().seq_lengths(lengths));`"#]],
    );
    expect_error(
        run(&zeros([2])),
        Shape,
        expect![[r#"
            Rnn: seq_lengths must be integers of the shape of the batch axes, [2], but they are f32[2] for the input f32[2,7,3]
              at `let (h, ys) = rnn().call_with(&zeros([2, 7, 3]), nn::RnnArgs::new().seq_lengths(lengths));`"#]],
    );
}

#[test]
fn a_first_carry_that_is_not_the_cells() {
    let cells = vec![nn::LstmCell::new(&mut rngs(), 3, 4), nn::LstmCell::new(&mut rngs(), 4, 4)];
    let stacked = nn::StackedRnnCells { cells };
    let init = vec![(zeros([4]), zeros([1, 4]))];
    let result = checked(stacked.step(init.clone(), zeros([3])).1);
    expect_error(
        result,
        Argument,
        expect![[r#"
            StackedRnnCells: the carry must have a part for each of the 2 cells, but it has 1
              at `let result = checked(stacked.step(init.clone(), zeros([3])).1);`"#]],
    );
    let args = nn::RnnArgs::new().initial_carry(init);
    let (carry, ys) = nn::Rnn::new(stacked).call_with(&zeros([7, 3]), args);
    // The failed carry has the tree of the cell's own.
    assert_eq!(carry.len(), 2);
    expect_error(
        checked(ys),
        ErrorKind::Tree,
        expect![[r#"
            Rnn: the initial carry must have the type of the cell's own, but it does not:
              initial_carry.0.1: f32[4] for the cell, f32[1,4] in what was given — different rank; drop axis 0
              initial_carry.1.0: f32[4] for the cell, missing in what was given
              initial_carry.1.1: f32[4] for the cell, missing in what was given
              at `let (carry, ys) = nn::Rnn::new(stacked).call_with(&zeros([7, 3]), args);`"#]],
    );
}

/// A cell that counts its steps, once for the whole batch.
#[derive(Clone, Tree)]
struct Counting {}

impl RnnCell for Counting {
    type Carry = Tensor;

    fn step(&self, count: Tensor, x: Tensor) -> (Tensor, Tensor) {
        (count + 1, x)
    }

    fn initial_carry(&self, _: &[usize]) -> Tensor {
        Tensor::scalar(0, DType::I32)
    }
}

#[test]
fn lengths_for_a_carry_that_the_batch_shares() {
    let args = nn::RnnArgs::new().seq_lengths(&Tensor::zeros([2], DType::I32));
    let (_, ys) = nn::Rnn::new(Counting {}).call_with(&zeros([2, 7, 3]), args);
    expect_error(
        checked(ys),
        Shape,
        expect![[r#"
            Rnn: with seq_lengths each sequence of the batch has a carry of its own, so every leaf must begin with the batch axes [2], but carry is i32[]
              at `let (_, ys) = nn::Rnn::new(Counting {}).call_with(&zeros([2, 7, 3]), args);`"#]],
    );
}

#[test]
fn directions_that_cannot_be_merged() {
    let there = nn::Rnn::new(nn::GruCell::new(&mut rngs(), 3, 4));
    let back = nn::Rnn::new(nn::GruCell::new(&mut rngs(), 3, 5));
    let both = nn::Bidirectional::new(there, back).merge_fn(|a, b| a + b);
    let result = checked(both.call(&zeros([7, 3])));
    expect_error(
        result,
        Shape,
        expect![[r#"
            add: the shapes of f32[7,4] and f32[7,5] cannot be broadcast together: aligned at the last axis, sizes must be equal or one
              at `let result = checked(both.call(&zeros([7, 3])));`"#]],
    );
}

// Lifted transformations.

#[derive(Clone, Tree)]
struct Model {
    dense: nn::Linear,
    #[tree(state)]
    steps: Vec<Tensor>,
    mode: nn::Mode,
}

fn model() -> Model {
    Model {
        dense: nn::Linear::new(&mut rngs(), 3, 3),
        steps: vec![Tensor::scalar(0, DType::I32)],
        mode: nn::Mode::Train,
    }
}

/// The error of a scan whose step does this to the module.
#[track_caller]
fn scan_error(change: impl FnOnce(&mut Model, &Tensor) + Clone) -> Result<()> {
    let mut model = model();
    let before = tree::structure(&model);
    let step = |model: &mut Model, h: Tensor, x: Tensor| {
        change(model, &x);
        (h, ())
    };
    let (h, ()) = nn::scan(step, &mut model, zeros([3]), zeros([7, 3]));
    // After a mistake the module is as it was.
    tree::check(&model).unwrap();
    assert_eq!(tree::structure(&model), before);
    assert_eq!(model.steps[0].item::<i32>().unwrap(), 0);
    checked(h)
}

#[test]
fn a_step_that_changes_what_is_broadcast() {
    let result = scan_error(|model, x| {
        model.dense.kernel = &model.dense.kernel * 0.5;
        model.dense.bias = Some(x.clone());
    });
    expect_error(
        result,
        ErrorKind::Tree,
        expect![[r#"
            nn::scan: what is broadcast is the same for every step and must stay as it is, but it is changed:
              module.dense.kernel: f32[3,3]
              module.dense.bias: f32[3]
              carry it (mark the field #[tree(state)], or give it StateAxis::Carry), or give it an axis
              at `let result = scan_error(|model, x| {`"#]],
    );
}

#[test]
fn a_step_that_changes_the_tree_of_the_module() {
    let result = scan_error(|model, _| model.steps.push(Tensor::scalar(1, DType::I32)));
    expect_error(
        result,
        ErrorKind::Tree,
        expect![[r#"
            nn::scan: the module must have the same type before and after a step, but it changes:
              module.steps.1: missing before, i32[] after
              at `let result = scan_error(|model, _| model.steps.push(Tensor::scalar(1, DType::I32)));`"#]],
    );
    let result = scan_error(|model, _| model.dense.bias = None);
    expect_error(
        result,
        ErrorKind::Tree,
        expect![[r#"
            nn::scan: the module must have the same type before and after a step, but it changes:
              module.dense.bias: f32[3] before, missing after
              at `let result = scan_error(|model, _| model.dense.bias = None);`"#]],
    );
    let result = scan_error(|model, _| nn::eval(model));
    expect_error(
        result,
        ErrorKind::Tree,
        expect![[r#"
            nn::scan: the module must have the same type before and after a step, but it changes:
              module: the static fields differ
              at `let result = scan_error(|model, _| nn::eval(model));`"#]],
    );
}

#[test]
fn a_step_that_changes_the_type_of_state() {
    let result = scan_error(|model, x| model.steps[0] = model.steps[0].astype(DType::F32) + x);
    expect_error(
        result,
        ErrorKind::Tree,
        expect![[r#"
            nn::scan: the module must have the same type before and after a step, but it changes:
              module.steps.0: i32[] before, f32[3] after — different dtype; convert the value after with `.astype(DType::I32)`
                (value after made at `let result = scan_error(|model, x| model.steps[0] = model.steps[0].astype(DType::F32) + x);`)
              at `let result = scan_error(|model, x| model.steps[0] = model.steps[0].astype(DType::F32) + x);`"#]],
    );
}

#[test]
fn a_mistake_in_the_step() {
    let result = scan_error(|model, x| model.steps[0] = &model.steps[0] + x);
    expect_error(
        result,
        ErrorKind::DType,
        expect![[r#"
            add: the operands must have the same dtype, but they are i32[3] and f32[3]: convert one of them with `astype`
              at `let result = scan_error(|model, x| model.steps[0] = &model.steps[0] + x);`
              in the nn::scan at `let result = scan_error(|model, x| model.steps[0] = &model.steps[0] + x);`"#]],
    );
}

/// The error of a scan over layers of these numbers of kernels, biases and steps.
#[track_caller]
fn layers_error([kernels, biases, steps]: [usize; 3], scan: nn::Scan) -> Result<()> {
    let dense = nn::Linear { kernel: zeros([kernels, 3, 3]), bias: Some(zeros([biases, 3])) };
    let mut layers = Model { dense, steps: vec![zeros([])], mode: nn::Mode::Train };
    let step = |layer: &mut Model, x: Tensor, _: Tensor| (layer.dense.call(&x), ());
    checked(scan.run(step, &mut layers, zeros([3]), zeros([steps])).0)
}

#[test]
fn layers_of_sizes_that_differ() {
    let scan = || nn::Scan::new().state_axes([(Filter::Param, StateAxis::Axis(0))]);
    layers_error([4, 4, 4], scan()).unwrap();
    let result = layers_error([4, 5, 4], scan());
    expect_error(
        result,
        Shape,
        expect![[r#"
            nn::scan: the leading axes of all leaves of xs must be the same, but they are:
              xs.module.dense.kernel: f32[4,3,3]
              xs.module.dense.bias: f32[5,3]
              xs: f32[4]
              at `let result = layers_error([4, 5, 4], scan());`"#]],
    );
    let result = layers_error([4, 4, 4], scan().length(3));
    expect_error(
        result,
        Shape,
        expect![[r#"
            nn::scan: the leading axis of every leaf of xs must be the length, 3, but they are:
              xs.module.dense.kernel: f32[4,3,3]
              xs.module.dense.bias: f32[4,3]
              xs: f32[4]
              at `let result = layers_error([4, 4, 4], scan().length(3));`"#]],
    );
    let result = layers_error([4, 4, 4], nn::Scan::new().state_axes(StateAxis::Axis(0)));
    expect_error(
        result,
        Shape,
        expect![[r#"
            nn::scan: module.steps.0: axis 0 is out of range: a scalar has no axes
              at `let result = layers_error([4, 4, 4], nn::Scan::new().state_axes(StateAxis::Axis(0)));`"#]],
    );
    let axes = [(Filter::Path("dense.kernel".into()), StateAxis::Axis(-4))];
    let result = layers_error([4, 4, 4], nn::Scan::new().state_axes(axes));
    expect_error(
        result,
        Shape,
        expect![[r#"
            nn::scan: module.dense.kernel: axis -4 is out of range for a tensor of rank 3: it must be in -3..3
              at `let result = layers_error([4, 4, 4], nn::Scan::new().state_axes(axes));`"#]],
    );
}

#[test]
fn streams_that_are_split_into_nobody_knows_how_many() {
    let scan = nn::Scan::new().split_rngs(Filter::All);
    let step = |rngs: &mut nn::Rngs, (): (), (): ()| ((), rngs.dropout());
    let ((), keys) = scan.run(step, &mut rngs(), (), ());
    expect_error(
        checked(keys),
        Argument,
        expect![[r#"
            nn::scan: split_rngs: nothing tells into how many keys to split the streams: give the length of the scan, or the axis_size of the vmap
              at `let ((), keys) = scan.run(step, &mut rngs(), (), ());`"#]],
    );
    let make = |rngs: &mut nn::Rngs, ()| rngs.params();
    let result = checked(nn::Vmap::new().split_rngs(Filter::All).run(make, &mut rngs(), ()));
    expect_error(
        result,
        Argument,
        expect![[r#"
            nn::vmap: split_rngs: nothing tells into how many keys to split the streams: give the length of the scan, or the axis_size of the vmap
              at `let result = checked(nn::Vmap::new().split_rngs(Filter::All).run(make, &mut rngs(), ()));`"#]],
    );
}

#[test]
fn a_batch_of_modules_that_cannot_be() {
    let layers = || nn::Linear { kernel: zeros([2, 3, 3]), bias: Some(zeros([2, 3])) };
    let call = |layer: &mut nn::Linear, x: Tensor| layer.call(&x);
    let result = checked(nn::vmap(call, &mut layers(), zeros([5, 3])));
    expect_error(
        result,
        Shape,
        expect![[r#"
            vmap: there must be the same number of members along every axis, but:
              arg.0.kernel: f32[2,3,3] has 2 along axis 0
              arg.0.bias: f32[2,3] has 2 along axis 0
              arg.1: f32[5,3] has 5 along axis 0
              at `let result = checked(nn::vmap(call, &mut layers(), zeros([5, 3])));`
              what is the same for all members is `SAME`: `in_axes((0, SAME))`
              in vmap"#]],
    );
    let carried = nn::Vmap::new().state_axes(StateAxis::Carry);
    let result = checked(carried.run(call, &mut layers(), zeros([2, 3])));
    expect_error(
        result,
        Argument,
        expect![[r#"
            nn::vmap: StateAxis::Carry is for steps that follow one another: the members of a batch do not; give the leaves an axis
              at `let result = checked(carried.run(call, &mut layers(), zeros([2, 3])));`"#]],
    );
    let broadcast = nn::Vmap::new().state_axes(StateAxis::Broadcast);
    let change = |layer: &mut nn::Linear, x: Tensor| {
        layer.bias = layer.bias.clone().map(|bias| bias * 2.0);
        x
    };
    let mut shared = nn::Linear::new(&mut rngs(), 3, 3);
    let result = checked(broadcast.run(change, &mut shared, zeros([2, 3])));
    expect_error(
        result,
        ErrorKind::Tree,
        expect![[r#"
            nn::vmap: what is broadcast is the same for every member and must stay as it is, but it is changed:
              module.bias: f32[3]
              give it an axis
              at `let result = checked(broadcast.run(change, &mut shared, zeros([2, 3])));`
              in vmap"#]],
    );
    let grow = |layer: &mut nn::Linear, x: Tensor| {
        layer.bias = Some(zeros([4]));
        x
    };
    let result = checked(nn::vmap(grow, &mut layers(), zeros([2, 3])));
    expect_error(
        result,
        ErrorKind::Tree,
        expect![[r#"
            nn::vmap: the function must not change the type of the module, but it does:
              module.bias: f32[3] before, f32[4] after — different shape
                (value after made at `Tensor::zeros(shape, DType::F32)`)
              at `let result = checked(nn::vmap(grow, &mut layers(), zeros([2, 3])));`
              in vmap"#]],
    );
}

#[test]
fn gradients_that_cannot_be() {
    let mut model = model();
    let outputs = |model: &mut Model, x: Tensor| {
        model.steps[0] = &model.steps[0] + 1;
        model.dense.call(&x)
    };
    let (value, gradient) = nn::value_and_grad(outputs)(&mut model, zeros([2, 3]));
    assert!(tree::check(&gradient).is_err());
    assert_eq!(model.steps[0].item::<i32>().unwrap(), 0);
    expect_error(
        checked(value),
        Shape,
        expect![[r#"
            nn::value_and_grad: the function must return a scalar, shape [], but it returns f32[2,3]: reduce it with `sum` or `mean`, or use `vjp` or `jacrev`
              at `let (value, gradient) = nn::value_and_grad(outputs)(&mut model, zeros([2, 3]));`
              in nn::value_and_grad"#]],
    );
    let forget = |model: &mut Model, x: Tensor| {
        model.steps.clear();
        model.dense.call(&x).sum(..)
    };
    let gradient = nn::grad(forget)(&mut model, zeros([2, 3]));
    expect_error(
        tree::check(&gradient),
        ErrorKind::Tree,
        expect![[r#"
            nn::grad: the function must not change the type of the module, but it does:
              module.steps.0: i32[] before, missing after
              at `let gradient = nn::grad(forget)(&mut model, zeros([2, 3]));`
              in nn::grad"#]],
    );
    assert_eq!(model.steps.len(), 1);
}

#[test]
fn compiled_functions_that_cannot_be() {
    let mut model = model();
    let widen = |model: &mut Model, x: Tensor| {
        model.dense.kernel = model.dense.kernel.astype(DType::F64);
        x
    };
    let result = nn::jit(widen).call(&mut model, zeros([3]));
    expect_error(
        result,
        ErrorKind::Tree,
        expect![[r#"
            nn::jit: the function must not change the type of the module, but it does:
              module.dense.kernel: f32[3,3] before, f64[3,3] after — different dtype; convert the value after with `.astype(DType::F32)`
                (value after made at `model.dense.kernel = model.dense.kernel.astype(DType::F64);`)
              at `let result = nn::jit(widen).call(&mut model, zeros([3]));`"#]],
    );
    assert_eq!(model.dense.kernel.dtype(), DType::F32);
    let result =
        nn::jit(|model: &mut Model, x: Tensor| model.dense.call(&x)).call(&mut model, zeros([4]));
    expect_error(
        result,
        Shape,
        expect![[r#"
            Linear: the input must have 3 features on its last axis, but it is f32[4]
              at `nn::jit(|model: &mut Model, x: Tensor| model.dense.call(&x)).call(&mut model, zeros([4]));`"#]],
    );
}
