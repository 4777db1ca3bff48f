//! Mistakes with operations that move elements: each is an error with the place of the call, which
//! says what is wrong, in a trace and outside of one.

mod common;

use common::error_of;
use common::host::{ints, sample};
use onetrace::prelude::*;
use onetrace::{ErrorKind, keepdims};

/// Start indices of a matrix.
fn origin() -> [Tensor; 2] {
    [ints(&[0], &[]), ints(&[0], &[])]
}

/// Mistakes, the kind of error and what its message must say.
#[test]
fn mistakes_are_errors_that_say_what_is_wrong() {
    use ErrorKind::{Argument, DType as Dtype, Shape};
    type Mistake = (fn(&Tensor) -> Tensor, ErrorKind, &'static [&'static str]);
    let mistakes: &[Mistake] = &[
        (|x| x.bitcast(DType::F64), Dtype, &["bitcast: ", "f32[2,3]", "32 bits", "f64 has 64"]),
        (
            |_| Tensor::zeros([2], DType::Bool).bitcast(DType::U8),
            Dtype,
            &["bitcast: bool[2]", "u8", "astype"],
        ),
        (|x| select(x, x, x), Dtype, &["select: the condition must be bool", "f32[2,3]"]),
        (|x| select(&x.gt(0.0), 1.0, 2.0), Dtype, &["select: ", "must be a tensor"]),
        (
            |x| select(&x.gt(0.0), x, x.astype(DType::F64)),
            Dtype,
            &["select: ", "f32[2,3] and f64[2,3]"],
        ),
        (|x| select(&x.gt(0.0), x, Tensor::zeros([4], DType::F32)), Shape, &["select: ", "f32[4]"]),
        (
            |x| concatenate(&[x, &x.t()], 0),
            Shape,
            &["concatenate: ", "axis 0", "tensor 0 is f32[2,3]", "tensor 1 is f32[3,2]"],
        ),
        (
            |x| concatenate(&[x, &x.astype(DType::I32)], 0),
            Dtype,
            &["concatenate: ", "tensor 1 is i32[2,3]"],
        ),
        (|x| concatenate(&[x], 2), Shape, &["concatenate: axis 2", "-2..2"]),
        (|_| concatenate::<Tensor>(&[], 0), Argument, &["concatenate: there must be at least one"]),
        (
            |x| concatenate(&[x.index(0).index(0)], 0),
            Shape,
            &["concatenate: axis 0", "a scalar has no axes"],
        ),
        (|x| stack(&[x, &x.t()], 0), Shape, &["stack: ", "tensor 1 is f32[3,2]"]),
        (|_| stack::<Tensor>(&[], 0), Argument, &["stack: there must be at least one"]),
        (|x| stack(&[x], 3), Shape, &["stack: axis 3 is out of range"]),
        (|x| x.tile([usize::MAX, 2]), Shape, &["tile: the result would be f32["]),
        (|x| x.repeat(usize::MAX, 0), Shape, &["repeat: the result would be f32["]),
        (|x| x.repeat(2, 2), Shape, &["repeat: axis 2 is out of range"]),
        (|x| x.roll(1, -3), Shape, &["roll: axis -3 is out of range"]),
        (|x| x.slice(&[0], &[1], &[1]), Shape, &["slice: f32[2,3]", "2 axes", "[0], [1] and [1]"]),
        (
            |x| x.slice(&[0, 2], &[2, 4], &[1, 1]),
            Shape,
            &["slice: 2..4", "axis 1", "f32[2,3]", "size 3"],
        ),
        (|x| x.slice(&[0, 2], &[2, 1], &[1, 1]), Shape, &["slice: 2..1"]),
        (|x| x.slice(&[0, 0], &[2, 3], &[1, 0]), Argument, &["slice: the stride of axis 1"]),
        (|x| x.slice(&[0, usize::MAX], &[2, usize::MAX], &[1, 1]), Shape, &["slice: "]),
        (
            |x| x.slice_in_dim(1..4, 1),
            Shape,
            &["slice_in_dim: 1..4", "axis 1 of f32[2,3]", "size 3"],
        ),
        (|x| x.slice_in_dim(-4.., 1), Shape, &["slice_in_dim: -4.. is no range"]),
        (|x| x.slice_in_dim(isize::MIN..=isize::MAX, 1), Shape, &["slice_in_dim: "]),
        (|x| x.slice_in_dim(.., 2), Shape, &["slice_in_dim: axis 2 is out of range"]),
        (|x| x.strided_slice_in_dim(.., 0, 1), Argument, &["strided_slice_in_dim: the stride"]),
        (|x| x.index(2), Shape, &["index: index 2 is out of range for axis 0 of f32[2,3]"]),
        (|x| x.index(isize::MIN), Shape, &["index: index -9223372036854775808"]),
        (
            |x| x.index(0).index(0).index(0),
            Shape,
            &["index: axis 0 is out of range", "a scalar has no axes"],
        ),
        (|x| x.index_in_dim(-4, -1, false), Shape, &["index_in_dim: index -4", "axis 1"]),
        (
            |x| x.split(2, 1).swap_remove(1),
            Shape,
            &["split: axis 1 of f32[2,3]", "2 parts", "split_at"],
        ),
        (|x| x.split(0, 1).swap_remove(0), Shape, &["split: ", "0 parts"]),
        (|x| x.split(usize::MAX, 1).swap_remove(9), Shape, &["split: "]),
        (|x| x.split_at(&[2, 1], 1).swap_remove(2), Shape, &["split_at: ", "[2, 1]", "at most 3"]),
        (|x| x.split_at(&[4], 1).swap_remove(1), Shape, &["split_at: ", "[4]"]),
        (|x| x.flip(2), Shape, &["flip: axis 2 is out of range"]),
        (|x| x.flip([0, -2]), Shape, &["flip: axis 0", "twice"]),
        (|x| x.flip(keepdims(0)), Argument, &["flip: only reductions take `keepdims`"]),
        (|x| x.pad(0.0, &[(0, 0, 0)]), Shape, &["pad: f32[2,3]", "2 axes", "there are 1"]),
        (
            |x| x.pad(0.0, &[(-1, -2, 0), (0, 0, 0)]),
            Shape,
            &["pad: axis 0 of f32[2,3]", "size -1", "(-1, -2, 0)"],
        ),
        (
            |x| x.pad(0.0, &[(isize::MAX, isize::MAX, usize::MAX), (0, 0, 0)]),
            Shape,
            &["pad: axis 0"],
        ),
        (
            |x| x.pad(x, &[(0, 0, 0), (0, 0, 0)]),
            Shape,
            &["pad: the value must be a scalar", "f32[2,3]"],
        ),
        (
            |x| x.pad(Tensor::zeros([], DType::I32), &[(0, 0, 0); 2]),
            Dtype,
            &["pad: ", "i32[] and f32[2,3]"],
        ),
        (|x| x.pad(0.0, &[(1 << 40, 0, 0), (1 << 40, 0, 0)]), Shape, &["pad: the result would be"]),
        (|x| x.squeeze(1), Shape, &["squeeze: ", "axis 1 of f32[2,3] has size 3"]),
        (|x| x.squeeze([0, 0]), Shape, &["squeeze: axis 0", "twice"]),
        (|x| x.expand_dims(3), Shape, &["expand_dims: axis 3 is out of range"]),
        (|x| x.expand_dims([0, -4]), Shape, &["expand_dims: axis 0", "twice"]),
        (|x| x.expand_dims(..), Argument, &["expand_dims: `..`"]),
        (|x| x.swapaxes(0, 2), Shape, &["swapaxes: axis 2 is out of range"]),
        (|x| x.moveaxis([0, 1], [0]), Argument, &["moveaxis: ", "[0, 1]", "[0]"]),
        (|x| x.moveaxis(0, 5), Shape, &["moveaxis: axis 5 is out of range"]),
        (
            |x| x.dynamic_slice(&[ints(&[0], &[])], &[1, 1]),
            Argument,
            &["dynamic_slice: f32[2,3]", "2 axes", "there are 1"],
        ),
        (|x| x.dynamic_slice(&origin(), &[1]), Shape, &["dynamic_slice: ", "[1]"]),
        (|x| x.dynamic_slice(&origin(), &[1, 4]), Shape, &["dynamic_slice: ", "size 4", "axis 1"]),
        (
            |x| x.dynamic_slice(&[ints(&[0], &[1]), ints(&[0], &[1])], &[1, 1]),
            Dtype,
            &["dynamic_slice: ", "i32[1], i32[1]"],
        ),
        (
            |x| x.dynamic_slice(&[ints(&[0], &[]), Tensor::zeros([], DType::U32)], &[1, 1]),
            Dtype,
            &["dynamic_slice: ", "i32[], u32[]"],
        ),
        (
            |x| x.dynamic_slice_in_dim(&x.index(0).index(0), 1, 0),
            Dtype,
            &["dynamic_slice: ", "f32[], f32[]"],
        ),
        (
            |x| x.dynamic_index_in_dim(&x.index(0).index(0).gt(0.0), 0, false),
            Dtype,
            &["dynamic_slice: ", "bool[], bool[]"],
        ),
        (
            |x| x.dynamic_index_in_dim(&ints(&[0], &[]), 2, false),
            Shape,
            &["dynamic_index_in_dim: axis 2 is out of range"],
        ),
        (
            |x| x.slice_in_dim(..0, 0).dynamic_index_in_dim(&ints(&[0], &[]), 0, false),
            Shape,
            &["dynamic_slice: ", "size 1", "f32[0,3]"],
        ),
        (
            |x| x.dynamic_update_slice(&Tensor::zeros([3, 1], DType::F32), &origin()),
            Shape,
            &["dynamic_update_slice: ", "f32[3,1]", "f32[2,3]"],
        ),
        (
            |x| x.dynamic_update_slice(&Tensor::zeros([1, 1], DType::I32), &origin()),
            Dtype,
            &["dynamic_update_slice: ", "i32[1,1]"],
        ),
        (
            |x| x.dynamic_update_index_in_dim(x, &ints(&[0], &[]), 0),
            Shape,
            &["dynamic_update_index_in_dim: ", "axis 0"],
        ),
        (
            |x| x.dynamic_update_index_in_dim(&x.index(0).index(0), &ints(&[0], &[]), 1),
            Shape,
            &["dynamic_update_index_in_dim: ", "f32[]"],
        ),
        (|x| x.take(&x.index(0), 0), Dtype, &["take: the indices must be integers", "f32[3]"]),
        (|x| x.take(&ints(&[0], &[]), 2), Shape, &["take: axis 2 is out of range"]),
        (
            |x| x.slice_in_dim(..0, 0).take(&ints(&[0], &[1]), 0),
            Shape,
            &["take: axis 0 of f32[0,3] has no elements"],
        ),
        (|x| x.take_clip(&x.index(0), 0), Dtype, &["take_clip: "]),
        (
            |x| x.take_along_axis(&ints(&[0], &[1]), 0),
            Shape,
            &["take_along_axis: ", "i32[1] and f32[2,3]"],
        ),
        (
            |x| x.take_along_axis(&ints(&[0, 1], &[1, 2]), 0),
            Shape,
            &["take_along_axis: ", "i32[1,2]", "except along axis 0"],
        ),
        (
            |x| x.scatter_add(&ints(&[0], &[1]), Tensor::zeros([2, 3], DType::F32)),
            Shape,
            &["scatter_add: ", "broadcast to f32[1,3]", "f32[2,3]"],
        ),
        (
            |x| x.scatter_add(&ints(&[0], &[1]), Tensor::zeros([3], DType::I32)),
            Dtype,
            &["scatter_add: ", "i32[3]"],
        ),
        (|x| x.scatter_max(x, 0.0), Dtype, &["scatter_max: the indices must be integers"]),
        (
            |x| x.index(0).index(0).scatter_set(&ints(&[0], &[]), 0.0),
            Shape,
            &["scatter_set: f32[] has no axis"],
        ),
        (|_| Tensor::arange(3, DType::Bool), Dtype, &["iota: ", "bool[3]"]),
        (
            |_| Tensor::arange(usize::MAX, DType::I32),
            Shape,
            &["iota: the result would be i32[18446744073709551615]"],
        ),
        (
            |_| Tensor::broadcasted_iota([2, 3], 2, DType::I32),
            Shape,
            &["broadcasted_iota: axis 2 is out of range"],
        ),
        (|_| Tensor::linspace(0.0, 1.0, 3, DType::I32), Dtype, &["linspace: ", "i32"]),
        (
            |_| Tensor::linspace(0.0, 1.0, usize::MAX, DType::F32),
            Shape,
            &["linspace: the result would be"],
        ),
        (|_| Tensor::eye(usize::MAX, DType::F32), Shape, &["eye: the result would be"]),
        (
            |_| Tensor::tri(usize::MAX, usize::MAX, isize::MIN, DType::F32),
            Shape,
            &["tri: the result would be"],
        ),
        (|x| x.index(0).tril(0), Shape, &["tril: ", "f32[3]"]),
        (|x| x.index(0).triu(0), Shape, &["triu: ", "f32[3]"]),
        (
            |x| x.one_hot(3, DType::F32),
            Dtype,
            &["one_hot: the indices must be integers", "f32[2,3]"],
        ),
        (
            |_| ints(&[0], &[1]).one_hot(usize::MAX, DType::F32),
            Shape,
            &["one_hot: the result would be"],
        ),
    ];
    let x = sample(&[2, 3], 0, DType::F32).tensor(DType::F32);
    for (mistake, kind, parts) in mistakes {
        let traced = jit(|x: Tensor| mistake(&x)).lower(&x).err().unwrap_or_else(|| {
            panic!("{parts:?} is no mistake when it is traced");
        });
        for error in [error_of(&mistake(&x)), traced] {
            assert_eq!(error.kind(), *kind, "{error}");
            for part in *parts {
                assert!(error.message().contains(part), "{part:?} is not in the message:\n{error}");
            }
            let location = error.location().map(|l| l.file()).unwrap_or_default();
            assert_eq!(location, file!(), "{error}");
        }
    }
}

/// Equations that are not well formed are refused, whatever their attributes are.
#[test]
fn the_parser_refuses_operations_that_do_not_fit() {
    let equations = [
        ("f32[]", "convert {dtype=f32} %0 %0", "convert: the number of inputs must be 1"),
        ("f64[2,3]", "bitcast {dtype=f64} %0", "bitcast: "),
        ("f32[2,3]", "select %0 %0 %0", "select: the condition must be bool"),
        ("f32[2,3]", "concatenate {axis=2} %0", "concatenate: axis 2"),
        ("f32[2,3]", "concatenate {axis=0}", "at least one tensor"),
        ("f32[4]", "iota {dtype=f32, shape=[4], axis=1}", "iota: axis 1"),
        ("bool[4]", "iota {dtype=bool, shape=[4], axis=0}", "iota: "),
        ("f32[2,3]", "slice {starts=[0], limits=[2, 3], strides=[1, 1]} %0", "slice: "),
        ("f32[2,3]", "slice {starts=[0, 0], limits=[2, 4], strides=[1, 1]} %0", "slice: 0..4"),
        ("f32[2,3]", "reverse {axes=[0, 0]} %0", "reverse: "),
        ("f32[2,3]", "reverse {axes=[2]} %0", "reverse: "),
        ("f32[2,3]", "pad {config=[(0, 0, 0)]} %0 %1", "pad: "),
        (
            "f32[2,3]",
            "pad {config=[(-9223372036854775808, -9223372036854775808, 0), (0, 0, 0)]} %0 %1",
            "pad: axis 0",
        ),
        (
            "f32[2,3]",
            "pad {config=[(0, 0, 18446744073709551615), (9223372036854775807, 0, 1)]} %0 %1",
            "pad: axis 0",
        ),
        ("f32[1,1]", "dynamic_slice {sizes=[1, 1]} %0 %2", "a start index for each"),
        ("f32[1,1]", "dynamic_slice {sizes=[1, 1]}", "no tensor"),
        ("f32[1,1]", "dynamic_slice {sizes=[1, 1]} %0 %2 %1", "start indices must be"),
        ("f32[2,3]", "dynamic_update_slice %0", "is missing"),
        ("f32[2,3]", "dynamic_update_slice %0 %1 %2 %2", "does not fit"),
        (
            "f32[3]",
            "gather {offset_axes=[0], collapsed_axes=[0], start_index_map=[0], slice_sizes=[1, 3]} %0 %2",
            "gather: the last axis of the indices",
        ),
        (
            "f32[5,3]",
            "gather {offset_axes=[1], collapsed_axes=[0], start_index_map=[2], slice_sizes=[1, 3]} %0 %3",
            "gather: the index vectors",
        ),
        (
            "f32[5,3]",
            "gather {offset_axes=[1], collapsed_axes=[0], start_index_map=[0], slice_sizes=[1, 4]} %0 %3",
            "do not fit",
        ),
        (
            "f32[5,3]",
            "gather {offset_axes=[1], collapsed_axes=[9], start_index_map=[0], slice_sizes=[1, 3]} %0 %3",
            "collapsed axes must ascend",
        ),
        (
            "f32[5,3]",
            "gather {offset_axes=[1], collapsed_axes=[0], start_index_map=[0], slice_sizes=[2, 3]} %0 %3",
            "must have size 1 in the slice",
        ),
        (
            "f32[5,3]",
            "gather {offset_axes=[], collapsed_axes=[0], start_index_map=[0], slice_sizes=[1, 3]} %0 %3",
            "one offset axis for each",
        ),
        (
            "f32[5,3]",
            "gather {offset_axes=[2], collapsed_axes=[0], start_index_map=[0], slice_sizes=[1, 3]} %0 %3",
            "offset axes must ascend",
        ),
        (
            "f32[2,3]",
            "scatter {combine=mul, window_axes=[1], inserted_axes=[0], scatter_axes=[0]} %0 %3 %4",
            "add, max, min or replace",
        ),
        (
            "f32[2,3]",
            "scatter {combine=add, window_axes=[1], inserted_axes=[7], scatter_axes=[0]} %0 %3 %4",
            "inserted axes must ascend",
        ),
        (
            "f32[2,3]",
            "scatter {combine=add, window_axes=[5], inserted_axes=[0], scatter_axes=[0]} %0 %3 %4",
            "window axes must ascend",
        ),
        (
            "f32[2,3]",
            "scatter {combine=add, window_axes=[0], inserted_axes=[0], scatter_axes=[0]} %0 %3 %4",
            "scatter: slices of sizes [5]",
        ),
        (
            "f32[2,3]",
            "scatter {combine=add, window_axes=[1], inserted_axes=[0], scatter_axes=[0]} %0 %3 %0",
            "must be those of the indices",
        ),
    ];
    for (aval, equation, part) in equations {
        let text = format!(
            "func @main(%0: f32[2,3], %1: f32[], %2: i32[], %3: i32[5,1], %4: f32[5,3]) -> () {{\n  \
             %5: {aval} = {equation}\n  return\n}}\n"
        );
        let error = onetrace::ir::parse::parse(&text).unwrap_err().to_string();
        assert!(error.contains(part), "{part:?} is not in the message for {equation}:\n{error}");
    }
}

/// What is made of a mistake carries it, even where it would be one more mistake by itself.
#[test]
fn the_first_mistake_is_the_one_reported() {
    let x = sample(&[2, 3], 0, DType::F32).tensor(DType::F32);
    let bad = x.index(7);
    for result in [
        bad.astype(DType::I32),
        bad.slice_in_dim(0..10, 0),
        bad.split(7, 0).swap_remove(6),
        bad.take(&ints(&[0], &[]), 5),
        x.take(&bad.astype(DType::I32), 0),
        x.slice_in_dim(..0, 0).scatter_add(&ints(&[0], &[]), &bad),
        concatenate(&[&x, &bad], 0),
        stack(&[&x, &bad], 0),
        select(&x.gt(0.0), &x, &bad),
        x.dynamic_index_in_dim(&bad, 0, false),
        x.pad(&bad, &[]),
    ] {
        assert!(error_of(&result).message().starts_with("index: index 7"), "{result:?}");
    }
}
