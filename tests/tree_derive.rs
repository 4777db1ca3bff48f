//! `#[derive(Tree)]`: paths, static fields, generics, and structs of every form.

use std::collections::BTreeMap;
use std::marker::PhantomData;

use onetrace::prelude::*;
use onetrace::tree::{leaves, paths, structure, unflatten};

fn leaf(i: i32) -> Tensor {
    Tensor::scalar(i, DType::I32)
}

fn values<T: Tree>(tree: &T) -> Vec<i32> {
    leaves(tree).iter().map(|leaf| leaf.item().unwrap()).collect()
}

/// Checks the paths of a tree, and that its leaves, the numbers 0, 1, 2 and so on, can be taken out
/// and put back, in and out of a trace.
#[track_caller]
fn check<T: Tree>(tree: &T, expected: &[&str]) {
    assert_eq!(paths(tree), expected);
    let numbers: Vec<i32> = (0..expected.len() as i32).collect();
    assert_eq!(values(tree), numbers);
    let doubled = tree::map(tree, |leaf| leaf * 2);
    assert_eq!(values(&doubled), numbers.iter().map(|i| 2 * i).collect::<Vec<_>>());
    assert_eq!(structure(&doubled), structure(tree));
    let back = unflatten(&doubled, leaves(tree)).unwrap();
    assert_eq!(values(&back), numbers);
    let jitted = jit(|tree: T| tree::map(&tree, |leaf| leaf + 1)).call(tree).unwrap();
    assert_eq!(values(&jitted), numbers.iter().map(|i| i + 1).collect::<Vec<_>>());
    assert_eq!(structure(&jitted), structure(tree));
}

#[derive(Clone, Debug, Tree)]
struct Dense {
    kernel: Tensor,
    bias: Option<Tensor>,
}

#[derive(Clone, Debug, Tree)]
struct Named {
    first: Tensor,
    r#type: Tensor,
    dense: Dense,
    layers: Vec<Dense>,
    pair: (Tensor, [Tensor; 2]),
    map: BTreeMap<String, Dense>,
    nothing: (),
}

#[test]
fn the_fields_of_a_struct_are_its_paths() {
    let dense = |i| Dense { kernel: leaf(i), bias: Some(leaf(i + 1)) };
    let tree = Named {
        first: leaf(0),
        r#type: leaf(1),
        dense: dense(2),
        layers: vec![dense(4), Dense { kernel: leaf(6), bias: None }],
        pair: (leaf(7), [leaf(8), leaf(9)]),
        map: BTreeMap::from([("b".to_owned(), dense(12)), ("a".to_owned(), dense(10))]),
        nothing: (),
    };
    check(
        &tree,
        &[
            "first",
            "type",
            "dense.kernel",
            "dense.bias",
            "layers.0.kernel",
            "layers.0.bias",
            "layers.1.kernel",
            "pair.0",
            "pair.1.0",
            "pair.1.1",
            "map.a.kernel",
            "map.a.bias",
            "map.b.kernel",
            "map.b.bias",
        ],
    );
}

#[derive(Clone, Debug, Tree)]
struct Tuple(Tensor, #[tree(static)] &'static str, Tensor);

#[derive(Clone, Debug, Tree)]
struct Newtype(Dense);

#[derive(Clone, Debug, PartialEq, Tree)]
struct Unit;

#[derive(Clone, Debug, Tree)]
struct Empty {}

#[test]
fn tuple_structs_and_unit_structs_are_trees() {
    // Positions are those of the fields, the static ones included.
    check(&Tuple(leaf(0), "relu", leaf(1)), &["0", "2"]);
    check(&Newtype(Dense { kernel: leaf(0), bias: None }), &["0.kernel"]);
    check(&(Unit, Empty {}, leaf(0)), &["2"]);
    assert_eq!(jit(|unit: Unit| unit).call(Unit).unwrap(), Unit);
}

#[derive(Clone, Debug, PartialEq)]
enum Activation {
    Tanh,
    Relu { slope: f32 },
}

#[derive(Clone, Debug, Tree)]
struct WithStatic {
    weight: Tensor,
    #[tree(static)]
    activation: Activation,
    #[tree(static)]
    sizes: Vec<usize>,
}

#[test]
fn static_fields_are_copied_and_are_a_part_of_the_structure() {
    let tree = WithStatic { weight: leaf(0), activation: Activation::Tanh, sizes: vec![1, 2] };
    check(&tree, &["weight"]);
    let mapped = tree::map(&tree, |leaf| leaf + 1);
    assert_eq!((mapped.activation, mapped.sizes), (Activation::Tanh, vec![1, 2]));
    let others = [
        WithStatic { activation: Activation::Relu { slope: 0.1 }, ..tree.clone() },
        WithStatic { sizes: vec![1, 3], ..tree.clone() },
    ];
    for other in others {
        assert_ne!(structure(&other), structure(&tree));
        // Inside a trace the static fields are there as they are.
        let run = jit(|tree: WithStatic| tree.weight + tree.sizes[1] as i32);
        assert_eq!(run.call(&other).unwrap().item::<i32>().unwrap(), other.sizes[1] as i32);
    }
}

#[derive(Clone, Debug, Tree)]
struct Pair<A, B = Tensor> {
    a: A,
    b: B,
}

#[derive(Clone, Debug, Tree)]
struct Stack<L, const N: usize>
where
    L: std::fmt::Debug,
{
    layers: [L; N],
}

/// What the type parameters of static fields stand for need not be trees.
#[derive(Clone, Debug, Tree)]
struct Config<T, F: Clone> {
    weight: T,
    #[tree(static)]
    activation: F,
    #[tree(static)]
    kind: PhantomData<F>,
}

#[derive(Clone, Debug, Tree)]
struct Borrowed<'a> {
    #[tree(static)]
    name: &'a str,
    x: Tensor,
}

#[test]
fn structs_with_parameters_are_trees() {
    check(&Pair { a: leaf(0), b: leaf(1) }, &["a", "b"]);
    check(&Pair { a: Unit, b: vec![leaf(0), leaf(1)] }, &["b.0", "b.1"]);
    check(&Pair { a: Pair { a: leaf(0), b: leaf(1) }, b: Some(leaf(2)) }, &["a.a", "a.b", "b"]);
    check(&Stack { layers: [leaf(0), leaf(1), leaf(2)] }, &["layers.0", "layers.1", "layers.2"]);
    check(&Stack::<Tensor, 0> { layers: [] }, &[]);
    let config = Config { weight: leaf(0), activation: Activation::Tanh, kind: PhantomData };
    check(&config, &["weight"]);
    let name = String::from("of this function");
    check(&Borrowed { name: &name, x: leaf(0) }, &["x"]);
}

#[test]
fn trees_that_differ_have_different_structures() {
    let some = Dense { kernel: leaf(0), bias: Some(leaf(1)) };
    let none = Dense { kernel: leaf(0), bias: None };
    assert_ne!(structure(&some), structure(&none));
    assert_ne!(structure(&vec![leaf(0)]), structure(&vec![leaf(0), leaf(1)]));
    // Empty parts that hold different things when they are filled are told apart by their type.
    assert_ne!(structure(&(None::<Tensor>, leaf(0))), structure(&(leaf(0), None::<Tensor>)));
    // The values of the leaves are no part of it.
    assert_eq!(structure(&some), structure(&Dense { kernel: leaf(5), bias: Some(leaf(6)) }));
}

#[test]
fn a_wrong_number_of_leaves_does_not_make_a_tree() {
    let tree = Dense { kernel: leaf(0), bias: Some(leaf(1)) };
    for count in [0, 1, 3] {
        let error = unflatten(&tree, vec![leaf(7); count]).unwrap_err();
        assert_eq!(error.kind(), onetrace::ErrorKind::Tree);
        assert!(
            error.to_string().contains(&format!("2 leaves, but {count} were given")),
            "{error}"
        );
    }
}

#[derive(Clone, Debug, Tree)]
struct Averaged {
    weights: Dense,
    #[tree(state)]
    average: Dense,
    #[tree(state)]
    steps: Option<Tensor>,
    count: Tensor,
    rngs: nn::Rngs,
}

/// What `f` tells of each leaf.
fn told<T: Tree, R>(tree: &T, f: impl Fn(&tree::Path, &Tensor) -> R) -> Vec<R> {
    tree::leaves_with_paths(tree).iter().map(|(path, leaf)| f(path, leaf)).collect()
}

#[test]
fn paths_tell_state_from_parameters() {
    use tree::Kind::{Param, RngCount, RngKey, State};
    let dense = |x: f32| Dense { kernel: Tensor::scalar(x, DType::F32), bias: Some(leaf(1)) };
    let tree = Averaged {
        weights: dense(1.0),
        average: dense(2.0),
        steps: Some(leaf(3)),
        count: leaf(4),
        rngs: nn::Rngs::new(0),
    };
    let kinds = [Param, Param, State, State, State, Param, RngKey, RngCount];
    assert_eq!(told(&tree, |path, _| path.kind()), kinds);
    let is_state = kinds.map(|kind| kind != Param);
    assert_eq!(told(&tree, |path, _| path.is_state()), is_state);
    // A parameter floats, too: a bias of integers and a count are none.
    let parameters = [true, false, false, false, false, false, false, false];
    assert_eq!(told(&tree, tree::is_parameter), parameters);
    assert_eq!(nn::parameter_count(&tree), 1);
    // Inside of other trees that is still so, and a stream stays one in a field of state.
    let inside = told(&(vec![tree.clone()], leaf(0)), |path, _| path.kind());
    assert_eq!(inside[..8], kinds);
    assert_eq!(inside[8], Param);
    #[derive(Clone, Tree)]
    struct Below(#[tree(state)] (nn::RngStream, Tensor));
    let below = Below((nn::RngStream::new(0), leaf(0)));
    assert_eq!(told(&below, |path, _| path.kind()), [RngKey, RngCount, State]);
    // To everything else state is a leaf: it goes through a map and a compiled function.
    let same = jit(|tree: Averaged| tree).call(&tree).unwrap();
    assert_eq!(told(&same, |path, _| path.kind()), kinds);
    let mut mapped = Vec::new();
    tree.map(&mut Default::default(), &mut |path, leaf| {
        mapped.push(path.kind());
        leaf.clone()
    });
    assert_eq!(mapped, kinds);
}

#[test]
fn modes_are_set_in_all_parts_of_a_tree() {
    type Parts = (Option<nn::Mode>, Vec<nn::Mode>, [nn::Mode; 2], BTreeMap<String, nn::Mode>);
    let train = nn::Mode::Train;
    let parts: Parts = (Some(train), vec![train], [train; 2], [("a".to_owned(), train)].into());
    let mut tree = Pair { a: parts, b: leaf(0) };
    let before = structure(&tree);
    nn::eval(&mut tree);
    assert!(!format!("{:?}", tree.a).contains("Train"), "{:?}", tree.a);
    // A function is compiled for each mode.
    assert_ne!(structure(&tree), before);
    nn::train(&mut tree);
    assert_eq!(structure(&tree), before);
}

mod elsewhere {
    /// The derive macro works without any import, whatever the names around it mean.
    #[derive(Clone, onetrace_derive::Tree)]
    pub struct NoImports {
        pub option: ::core::option::Option<onetrace::Tensor>,
    }

    #[allow(dead_code, reason = "they stand in the way of the derive macro's code")]
    mod shadows {
        pub struct Option;
        pub struct Clone;
    }
}

#[test]
fn the_derive_macro_needs_no_imports() {
    check(&elsewhere::NoImports { option: Some(leaf(0)) }, &["option"]);
}
