//! Products at a step of a loop that are computed together: what becomes one call of the kernel, text in
//! and text out, the values, and that the tasks of such a loop run in order.

mod common;

use std::ffi::{CStr, c_char, c_void};

use expect_test::expect;
use onetrace::ir::parse;
use onetrace::prelude::*;

use common::packed::{check, check_values};

/// Two products of the carry, with matrices of `columns[i]` columns, which gives the step's y. The
/// second matrix is computed in the step, of what is the same at every step.
fn two_products(rows: &str, columns: [usize; 2]) -> String {
    let [n, m] = columns;
    let (x, w, v) = (format!("f32[{rows}64]"), format!("f32[64,{n}]"), format!("f32[64,{m}]"));
    let (y, z) = (format!("f32[{rows}{n}]"), format!("f32[{rows}{m}]"));
    let contract = rows.matches(',').count();
    let axes = format!("lhs_contract=[{contract}], rhs_contract=[0], lhs_batch=[], rhs_batch=[]");
    format!(
        "func @f(%0: {w}, %1: {v}, %2: {x}) -> ({x}, f32[5,{rows}{n}], f32[5,{rows}{m}]) {{
          %3: {x}, %4: f32[5,{rows}{n}], %5: f32[5,{rows}{m}] = scan {{length=5, reverse=false, unroll=1, constants=2, carry=1, body=func @step(%0: {w}, %1: {v}, %2: {x}) -> ({x}, {y}, {z}) {{
            %3: {y} = dot {{{axes}}} %2 %0
            %4: {v} = tanh %1
            %5: {z} = dot {{{axes}}} %2 %4
            %6: {x} = tanh %2
            return %6, %3, %5
          }}}} %0 %1 %2
          return %3, %4, %5
        }}"
    )
}

#[test]
fn products_of_the_same_rows_are_one() {
    check(
        &two_products("4,", [64, 96]),
        expect![[r#"
        func @f(%0: f32[64,64], %1: f32[64,96], %2: f32[4,64]) -> (f32[4,64], f32[5,4,64], f32[5,4,96]) {
          %3: f32[64,96] = tanh %1
          %4: f32[64,160] = concatenate {axis=1} %0 %3
          %5: f32[5,64,32] = panels {axis=0} %4
          %6: f32[4,64], %7: f32[5,4,64], %8: f32[5,4,96] = scan {length=5, reverse=false, unroll=1, constants=1, carry=1, body=func @step(%0: f32[5,64,32], %1: f32[4,64]) -> (f32[4,64], f32[4,64], f32[4,96]) {
            %2: f32[4,160] = panel_dot %1 %0
            %3: f32[4,64] = slice {starts=[0, 0], limits=[4, 64], strides=[1, 1]} %2
            %4: f32[4,96] = slice {starts=[0, 64], limits=[4, 160], strides=[1, 1]} %2
            %5: f32[4,64] = tanh %1
            return %5, %3, %4
          }} %5 %2
          return %6, %7, %8
        }
    "#]],
    );
}

#[test]
fn products_that_the_kernel_does_not_take_together_stay_apart() {
    // Columns that are no panels; of one row, fewer than are worth a thread.
    for (rows, columns) in [("4,", [64, 80]), ("", [64, 96])] {
        let text = two_products(rows, columns);
        let packed = parse::parse(&text).unwrap().packed().to_string();
        assert!(!packed.contains("slice"), "{packed}");
    }
    // Rows of several kinds, and matrices of which other axes are contracted.
    let step = |(w, h): (Tensor, Tensor)| {
        let step = |h: Tensor, ()| {
            let back = h.dot_general(&w, (&[1], &[1]), (&[], &[]));
            ((h.dot(&w) + back + h.tanh().dot(&w)).tanh(), ())
        };
        Scan::new().length(5).run(step, h, ()).0
    };
    // Fission would transpose a matrix, so that all of them are contracted along the same axis.
    let (w, h) = (Tensor::ones([64, 64], DType::F32), Tensor::ones([16, 64], DType::F32));
    let packed = jit(step).lower((w, h)).unwrap().simplified().packed().to_string();
    assert_eq!(packed.matches("= panel_dot").count(), 3, "{packed}");
    assert!(!packed.contains("slice"), "{packed}");
}

#[test]
fn weights_that_are_known_are_packed_together_when_the_program_is_compiled() {
    let cell = nn::LstmCell::new(&mut nn::Rngs::new(1), 32, 64);
    let last = |xs: Tensor| scan(|h, x| (cell.step(h, x).0, ()), cell.initial_carry(&[8]), xs).0;
    let xs = Tensor::ones([20, 8, 32], DType::F32);
    let packed = jit(last).lower(&xs).unwrap().fissioned().packed().to_string();
    assert_eq!(packed.matches("= panel_dot").count(), 2, "{packed}");
    assert!(packed.contains(r#"name="hi.kernel hf.kernel hg.kernel ho.kernel""#), "{packed}");
    assert!(!packed.contains("= panels"), "{packed}");
}

/// An LSTM and one sequence: its matrices are worth a second thread only together.
fn one_sequence() -> (nn::LstmCell, Tensor) {
    let cell = nn::LstmCell::new(&mut nn::Rngs::new(1), 16, 256);
    (cell, random::normal(&random::key(3), [20, 16], DType::F32))
}

/// The gradient of the sum of all outputs, squared.
fn gradient((cell, xs): (nn::LstmCell, Tensor)) -> (Tensor, nn::LstmCell) {
    let loss = |cell: nn::LstmCell| {
        let (_, ys) = scan(|h, x| cell.step(h, x), cell.initial_carry(&[]), xs.clone());
        ys.square().sum(..)
    };
    value_and_grad(loss)(cell)
}

#[test]
fn small_products_of_one_row_are_worth_it_together() {
    let packed = jit(gradient).lower(one_sequence()).unwrap().fissioned().packed().to_string();
    // That of the gates, and the sum of those of their cotangents.
    let calls: Vec<_> = packed.lines().filter(|line| line.contains("= panel_dot")).collect();
    assert_eq!(calls.len(), 2, "{packed}");
    let operands = calls.iter().map(|call| call.matches(" %").count() - 1);
    assert_eq!(operands.max(), Some(8), "{packed}");
}

#[test]
fn values_are_those_of_xla() {
    check_values("gradient of one sequence", gradient, &one_sequence());
}

/// How many loops this thread has made whose tasks run in order; none if XLA is not that of a wheel,
/// over which there is no shim.
fn loops_in_order() -> Option<i64> {
    unsafe extern "C" {
        fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
    }
    const NAME: &CStr = c"onetrace_loops_in_order";
    // SAFETY: the null library stands for all of the program, and the name ends with a zero. What is
    // found is the function of that name in `xla_extension/shim/wheel/tasks_in_order.cc`.
    let count = unsafe {
        let found = dlsym(std::ptr::null_mut(), NAME.as_ptr());
        (!found.is_null())
            .then(|| std::mem::transmute::<*mut c_void, extern "C" fn() -> i64>(found)())
    };
    let loaded = std::fs::read_to_string("/proc/self/maps").unwrap();
    assert_eq!(count.is_some(), loaded.contains("libtensorflow_cc"), "the shim is not linked");
    count
}

#[test]
fn loops_of_short_products_run_their_tasks_in_order() {
    let gradient_of = |features: usize, hidden: usize, batch: &[usize]| {
        let cell = nn::GruCell::new(&mut nn::Rngs::new(0), features, hidden);
        let first = cell.initial_carry(batch);
        let loss = move |(cell, xs): (nn::GruCell, Tensor)| {
            let of = |cell: nn::GruCell| {
                scan(|h, x| (cell.step(h, x).0, ()), first.clone(), xs.clone()).0.sum(..)
            };
            grad(of)(cell)
        };
        (loss, (cell, Tensor::ones([&[20], batch, &[features]].concat(), DType::F32)))
    };
    for (what, hidden, batch, wanted) in [
        ("packed matrices", 64, 8, 2),
        ("small products of XLA", 50, 8, 2),
        ("large products of XLA", 250, 32, 0),
    ] {
        let Some(before) = loops_in_order() else { return };
        let (gradient, arguments) = gradient_of(32, hidden, &[batch]);
        jit(gradient).lower(&arguments).unwrap().compile().unwrap();
        assert_eq!(loops_in_order().unwrap() - before, wanted, "{what}");
    }
}
