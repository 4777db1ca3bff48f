//! The memory of reverse mode through a long scan is a choice: what is kept, by the shapes of what the
//! program computes and by XLA's own account.

mod common;

use std::collections::BTreeMap;

use common::all_avals;
use onetrace::ir::Func;
use onetrace::prelude::*;
use onetrace::{Checkpoint, Lowered};

const FEATURES: usize = 32;
const HIDDEN: usize = 64;

type Arguments = (nn::GruCell, Tensor);

/// The gradient of a function of the last state of a GRU, by its parameters.
fn gradient(checkpoint: Checkpoint, steps: usize) -> Lowered<Arguments, nn::GruCell> {
    let cell = nn::GruCell::new(&mut nn::Rngs::new(42), FEATURES, HIDDEN);
    let loss = |cell: nn::GruCell, x: Tensor| {
        let scan = Scan::new().checkpoint(checkpoint);
        let step = |h, x| (cell.step(h, x).0, ());
        scan.run(step, cell.initial_carry(&[]), x).0.square().sum(..)
    };
    let slope = jit(|(cell, x): Arguments| grad(|cell| loss(cell, x.clone()))(cell));
    slope.lower((cell, Tensor::zeros([steps, FEATURES], DType::F32))).unwrap()
}

/// How often each shape comes out of an operation of `func` or of one of its regions.
fn shapes(func: &Func) -> BTreeMap<Vec<usize>, usize> {
    let mut found = BTreeMap::new();
    for aval in all_avals(func) {
        *found.entry(aval.shape.to_vec()).or_default() += 1;
    }
    found
}

#[test]
fn without_checkpoints_every_step_is_kept() {
    let lowered = gradient(Checkpoint::None, 65_536);
    // The carry, and what the three gates leave.
    assert_eq!(shapes(lowered.simplified())[&vec![65_536, HIDDEN]], 9);
}

#[test]
fn with_checkpoints_chunks_are_kept() {
    for (checkpoint, steps, chunks) in
        [(Checkpoint::Sqrt, 256, 256), (Checkpoint::Every(64), 64, 1024)]
    {
        let lowered = gradient(checkpoint, 65_536);
        let shapes = shapes(lowered.simplified());
        let long: Vec<_> = shapes.iter().filter(|(shape, _)| shape.contains(&65_536)).collect();
        assert!(long.is_empty(), "nothing has an axis of all steps: {long:?}");
        let of = |size: usize| shapes.get(&vec![size, HIDDEN]).copied().unwrap_or(0);
        // One carry before each chunk, and in a chunk nine arrays of its steps.
        let expected = if steps == chunks { [10, 10] } else { [9, 1] };
        assert_eq!([of(steps), of(chunks)], expected, "{checkpoint:?}");
        // The HLO has no such array either, but for the argument and its view in chunks.
        let hlo = lowered.hlo().unwrap();
        assert!(!hlo.contains("f32[65536,64]"), "{hlo}");
    }
}

/// A length that √T does not divide is cut in parts of a length that divides it, if there is one.
#[test]
fn chunks_divide_the_steps_where_they_can() {
    let shapes = shapes(gradient(Checkpoint::Sqrt, 65_000).simplified());
    assert_eq!(shapes[&vec![260, 250, FEATURES]], 1);
    assert!(!shapes.keys().any(|shape| shape.contains(&65_000)));
    // 65,537 is a prime: 256 chunks of 256 steps, and one step behind them.
    let shapes = self::shapes(gradient(Checkpoint::Sqrt, 65_537).simplified());
    assert_eq!(shapes[&vec![256, 256, FEATURES]], 1);
    assert_eq!(shapes[&vec![1, HIDDEN]], 9);
}

/// Bytes for what the compiled program computes on the way.
fn temporaries(checkpoint: Checkpoint, steps: usize) -> f64 {
    gradient(checkpoint, steps).compile().unwrap().memory().unwrap().temp_bytes as f64
}

#[test]
fn memory_is_that_of_the_root_of_the_steps() {
    let [short, long] = [4_096, 65_536].map(|steps| temporaries(Checkpoint::Sqrt, steps));
    // Sixteen times the steps: four times as much, and less with what does not depend on the steps.
    assert!((2.5..4.2).contains(&(long / short)), "{short} {long}");
    // Without checkpoints there are the five arrays that fission stacks, and the cotangents of three
    // gates.
    let everything = temporaries(Checkpoint::None, 65_536);
    assert!(everything > 65_536.0 * 8.0 * 64.0 * 4.0, "{everything}");
    assert!(long < everything / 100.0, "{long} {everything}");
}
