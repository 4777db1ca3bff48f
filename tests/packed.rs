//! Products by kernels of this library: what becomes one, text in and text out, and that the values are
//! those of XLA's products.

mod common;

use std::sync::Arc;

use expect_test::expect;
use onetrace::ir::parse;
use onetrace::prelude::*;

use common::packed::{check, check_values};

/// Checks that nothing of `text` is packed.
#[track_caller]
fn check_unchanged(text: &str) {
    let func = parse::parse(text).unwrap();
    assert_eq!(func.packed(), func);
}

/// A scan that multiplies the carry, of type `carry`, with the matrix, of type `matrix`, whose axis
/// `axis` is contracted, and with one that differs from step to step.
fn product_with(carry: &str, carry_axis: usize, matrix: &str, axis: usize, steps: usize) -> String {
    format!(
        "func @f(%0: {matrix}, %1: {carry}) -> ({carry}) {{
          %2: {carry} = scan {{length={steps}, reverse=false, unroll=1, constants=1, carry=1, body=func @step(%0: {matrix}, %1: {carry}) -> ({carry}) {{
            %2: {carry} = dot {{lhs_contract=[{carry_axis}], rhs_contract=[{axis}], lhs_batch=[], rhs_batch=[]}} %1 %0
            return %2
          }}}} %0 %1
          return %2
        }}"
    )
}

#[test]
fn a_matrix_is_packed_once_before_the_loop() {
    check(
        &product_with("f32[16,64]", 1, "f32[64,64]", 0, 5),
        expect![[r#"
            func @f(%0: f32[64,64], %1: f32[16,64]) -> (f32[16,64]) {
              %2: f32[2,64,32] = panels {axis=0} %0
              %3: f32[16,64] = scan {length=5, reverse=false, unroll=1, constants=1, carry=1, body=func @step(%0: f32[2,64,32], %1: f32[16,64]) -> (f32[16,64]) {
                %2: f32[16,64] = panel_dot %1 %0
                return %2
              }} %2 %1
              return %3
            }
        "#]],
    );
}

#[test]
fn a_matrix_whose_rows_are_summed_along_is_packed_too() {
    check(
        &product_with("f32[4,4,64]", 2, "f32[64,64]", 1, 5),
        expect![[r#"
            func @f(%0: f32[64,64], %1: f32[4,4,64]) -> (f32[4,4,64]) {
              %2: f32[2,64,32] = panels {axis=1} %0
              %3: f32[4,4,64] = scan {length=5, reverse=false, unroll=1, constants=1, carry=1, body=func @step(%0: f32[2,64,32], %1: f32[4,4,64]) -> (f32[4,4,64]) {
                %2: f32[4,4,64] = panel_dot %1 %0
                return %2
              }} %2 %1
              return %3
            }
        "#]],
    );
}

/// A scan whose step adds up two products of matrices of `columns` columns, and a third `more`.
fn sum_of_products(columns: usize, more: &str) -> String {
    let (x, w) = (format!("f32[16,{columns}]"), format!("f32[{columns},{columns}]"));
    let axes = "lhs_contract=[1], rhs_contract=[0], lhs_batch=[], rhs_batch=[]";
    format!(
        "func @f(%0: {w}, %1: {w}, %2: {x}, %3: f32[5,16,{columns}]) -> ({x}, f32[5,16,{columns}]) {{
          %4: {x}, %5: f32[5,16,{columns}] = scan {{length=5, reverse=false, constants=2, carry=1, body=func @step(%0: {w}, %1: {w}, %2: {x}, %3: {x}) -> ({x}, {x}) {{
            %4: {x} = dot {{{axes}}} %2 %0
            %5: {x} = dot {{{axes}}} %3 %1
            %6: {x} = add %4 %5
            {more}
          }}}} %0 %1 %2 %3
          return %4, %5
        }}"
    )
}

#[test]
fn a_sum_of_products_is_one_call() {
    check(
        &sum_of_products(256, "return %6, %6"),
        expect![[r#"
            func @f(%0: f32[256,256], %1: f32[256,256], %2: f32[16,256], %3: f32[5,16,256]) -> (f32[16,256], f32[5,16,256]) {
              %4: f32[8,256,32] = panels {axis=0} %0
              %5: f32[8,256,32] = panels {axis=0} %1
              %6: f32[16,256], %7: f32[5,16,256] = scan {length=5, reverse=false, constants=2, carry=1, body=func @step(%0: f32[8,256,32], %1: f32[8,256,32], %2: f32[16,256], %3: f32[16,256]) -> (f32[16,256], f32[16,256]) {
                %4: f32[16,256] = panel_dot %2 %0 %3 %1
                return %4, %4
              }} %4 %5 %2 %3
              return %6, %7
            }
        "#]],
    );
}

#[test]
fn products_that_something_else_needs_and_narrow_ones_are_calls_of_their_own() {
    for (columns, more) in [(256, "return %6, %4"), (128, "return %6, %6")] {
        let packed = parse::parse(&sum_of_products(columns, more)).unwrap().packed().to_string();
        assert_eq!(packed.matches("panel_dot %").count(), 2, "{packed}");
    }
}

#[test]
fn a_transposed_matrix_is_packed_along_its_other_axis() {
    let text = product_with("f32[16,64]", 1, "f32[64,64]", 0, 5)
        .replace("} %0 %1\n", "} %3 %1\n")
        .replace("          %2: f32[16,64] = scan", "          %3: f32[64,64] = transpose {permutation=[1, 0]} %0\n          %2: f32[16,64] = scan");
    check(
        &text,
        expect![[r#"
        func @f(%0: f32[64,64], %1: f32[16,64]) -> (f32[16,64]) {
          %2: f32[2,64,32] = panels {axis=1} %0
          %3: f32[16,64] = scan {length=5, reverse=false, unroll=1, constants=1, carry=1, body=func @step(%0: f32[2,64,32], %1: f32[16,64]) -> (f32[16,64]) {
            %2: f32[16,64] = panel_dot %1 %0
            return %2
          }} %2 %1
          return %3
        }
    "#]],
    );
}

#[test]
fn what_the_kernel_does_not_do_stays() {
    for (carry, carry_axis, matrix, axis, steps) in [
        // Another dtype; columns that are no panels; the first axis of the rows; little work; few
        // steps; a single row with a matrix that is in the nearest caches.
        ("f64[16,64]", 1, "f64[64,64]", 0, 5),
        ("f32[16,80]", 1, "f32[80,80]", 0, 5),
        ("f32[64,64]", 0, "f32[64,64]", 0, 5),
        ("f32[2,32]", 1, "f32[32,32]", 0, 5),
        ("f32[16,64]", 1, "f32[64,64]", 0, 3),
        ("f32[64]", 0, "f32[64,64]", 0, 5),
    ] {
        check_unchanged(&product_with(carry, carry_axis, matrix, axis, steps));
    }
    // A matrix that differs from step to step, and a product in no loop.
    check_unchanged(
        "func @f(%0: f32[64,64], %1: f32[5,64,64]) -> (f32[64,64]) {
          %2: f32[64,64] = scan {length=5, reverse=false, unroll=1, constants=0, carry=1, body=func @step(%0: f32[64,64], %1: f32[64,64]) -> (f32[64,64]) {
            %2: f32[64,64] = dot {lhs_contract=[1], rhs_contract=[0], lhs_batch=[], rhs_batch=[]} %0 %1
            return %2
          }} %0 %1
          return %2
        }",
    );
    check_unchanged(
        "func @f(%0: f32[64,64], %1: f32[64,64]) -> (f32[64,64]) {
          %2: f32[64,64] = dot {lhs_contract=[1], rhs_contract=[0], lhs_batch=[], rhs_batch=[]} %0 %1
          return %2
        }",
    );
}

#[test]
fn a_large_matrix_is_packed_for_one_row_and_on_either_side() {
    let func = "func @f(%0: f32[512,512], %1: f32[512]) -> (f32[512]) {
      %2: f32[512] = scan {length=5, reverse=false, unroll=1, constants=1, carry=1, body=func @step(%0: f32[512,512], %1: f32[512]) -> (f32[512]) {
        %2: f32[512] = dot {lhs_contract=[1], rhs_contract=[0], lhs_batch=[], rhs_batch=[]} %0 %1
        return %2
      }} %0 %1
      return %2
    }";
    check(
        func,
        expect![[r#"
            func @f(%0: f32[512,512], %1: f32[512]) -> (f32[512]) {
              %2: f32[16,512,32] = panels {axis=1} %0
              %3: f32[512] = scan {length=5, reverse=false, unroll=1, constants=1, carry=1, body=func @step(%0: f32[16,512,32], %1: f32[512]) -> (f32[512]) {
                %2: f32[512] = panel_dot %1 %0
                return %2
              }} %2 %1
              return %3
            }
        "#]],
    );
}

/// A product of `x` and `y` along their rows.
fn product_along_rows(x: &str, y: &str, result: &str) -> String {
    format!(
        "func @f(%0: {x}, %1: {y}) -> ({result}) {{
          %2: {result} = dot {{lhs_contract=[0], rhs_contract=[0], lhs_batch=[], rhs_batch=[]}} %0 %1
          return %2
        }}"
    )
}

#[test]
fn a_product_of_tall_matrices_along_their_rows_has_a_kernel() {
    check(
        &product_along_rows("f32[2048,33]", "f32[2048,64]", "f32[33,64]"),
        expect![[r#"
        func @f(%0: f32[2048,33], %1: f32[2048,64]) -> (f32[33,64]) {
          %2: f32[33,64] = tall_dot %0 %1
          return %2
        }
    "#]],
    );
}

#[test]
fn matrices_are_not_joined_to_be_multiplied_and_products_not_to_be_joined() {
    let axes = "lhs_contract=[0], rhs_contract=[0], lhs_batch=[], rhs_batch=[]";
    check(
        &format!(
            "func @f(%0: f32[256,8,64], %1: f32[256,8,32], %2: f32[256,8,64], %3: f32[2048,32]) -> (f32[64,128]) {{
              %4: f32[256,8,96] = concatenate {{axis=2}} %1 %2
              %5: f32[2048,64] = reshape {{shape=[2048, 64]}} %0
              %6: f32[2048,96] = reshape {{shape=[2048, 96]}} %4
              %7: f32[64,96] = dot {{{axes}}} %5 %6
              %8: f32[64,32] = dot {{{axes}}} %5 %3
              %9: f32[64,128] = concatenate {{axis=1}} %7 %8
              return %9
            }}"
        ),
        expect![[r#"
            func @f(%0: f32[256,8,64], %1: f32[256,8,32], %2: f32[256,8,64], %3: f32[2048,32]) -> (f32[64,128]) {
              %4: f32[2048,64] = reshape {shape=[2048, 64]} %0
              %5: f32[2048,32] = reshape {shape=[2048, 32]} %1
              %6: f32[2048,64] = reshape {shape=[2048, 64]} %2
              %7: f32[64,128] = tall_dot %4 %5 %6 %3
              return %7
            }
        "#]],
    );
    // Parts that are no panels are multiplied together; products of two matrices, those joined
    // along their rows, and those that something else needs are not joined.
    for (text, expected) in [
        (
            format!(
                "func @f(%0: f32[2048,64], %1: f32[2048,48], %2: f32[2048,16]) -> (f32[64,64]) {{
                  %3: f32[2048,64] = concatenate {{axis=1}} %1 %2
                  %4: f32[64,64] = dot {{{axes}}} %0 %3
                  return %4
                }}"
            ),
            "tall_dot %0 %3\n",
        ),
        (
            format!(
                "func @f(%0: f32[2048,64], %1: f32[2048,64]) -> (f32[64,128]) {{
                  %2: f32[64,64] = dot {{{axes}}} %0 %1
                  %3: f32[64,64] = dot {{{axes}}} %1 %0
                  %4: f32[64,128] = concatenate {{axis=1}} %2 %3
                  return %4
                }}"
            ),
            "concatenate {axis=1} %2 %3\n",
        ),
        (
            format!(
                "func @f(%0: f32[2048,64], %1: f32[2048,64]) -> (f32[128,64]) {{
                  %2: f32[64,64] = dot {{{axes}}} %0 %0
                  %3: f32[64,64] = dot {{{axes}}} %0 %1
                  %4: f32[128,64] = concatenate {{axis=0}} %2 %3
                  return %4
                }}"
            ),
            "concatenate {axis=0} %2 %3\n",
        ),
        (
            format!(
                "func @f(%0: f32[2048,64], %1: f32[2048,64]) -> (f32[64,64], f32[64,128]) {{
                  %2: f32[64,64] = dot {{{axes}}} %0 %0
                  %3: f32[64,64] = dot {{{axes}}} %0 %1
                  %4: f32[64,128] = concatenate {{axis=1}} %2 %3
                  return %2, %4
                }}"
            ),
            "concatenate {axis=1} %2 %3\n",
        ),
    ] {
        let packed = parse::parse(&text).unwrap().packed().to_string();
        assert!(packed.contains("tall_dot") && packed.contains(expected), "{packed}");
    }
}

#[test]
fn what_the_kernel_of_tall_matrices_does_not_do_stays() {
    for (x, y, result) in [
        // Another dtype; columns that are no panels; few rows; little work.
        ("f64[2048,64]", "f64[2048,64]", "f64[64,64]"),
        ("f32[2048,64]", "f32[2048,65]", "f32[64,65]"),
        ("f32[128,512]", "f32[128,512]", "f32[512,512]"),
        ("f32[256,32]", "f32[256,32]", "f32[32,32]"),
    ] {
        check_unchanged(&product_along_rows(x, y, result));
    }
    // Along the columns of one, and for each column by itself.
    check_unchanged(
        &product_along_rows("f32[2048,64]", "f32[64,2048]", "f32[64,64]")
            .replace("rhs_contract=[0]", "rhs_contract=[1]"),
    );
    check_unchanged(
        &product_along_rows("f32[8192,256]", "f32[8192,256]", "f32[256]")
            .replace("lhs_batch=[], rhs_batch=[]", "lhs_batch=[1], rhs_batch=[1]"),
    );
}

#[test]
fn loops_in_loops_and_while_loops_have_packed_matrices() {
    let w = random::normal(&random::key(0), [64, 64], DType::F32) * 0.1;
    let nested = |(w, h): (Tensor, Tensor)| {
        let inner = |h: Tensor| {
            Scan::new().length(6).run(|h: Tensor, ()| (h.matmul(&w).tanh(), ()), h, ()).0
        };
        Scan::new().length(4).run(|h: Tensor, ()| (inner(h) + 1.0, ()), h, ()).0
    };
    let steps = |(w, h): (Tensor, Tensor)| {
        while_loop(|h: Tensor| h.sum(..).lt(1e3), |h| h.matmul(&w).tanh() + &h, h)
    };
    let h = Tensor::ones([16, 64], DType::F32);
    let nested = jit(nested).lower((w.clone(), h.clone())).unwrap().fissioned().packed();
    let steps = jit(steps).lower((w, h)).unwrap().fissioned().packed();
    for (what, func) in [("nested", nested), ("while", steps)] {
        let text = func.to_string();
        assert_eq!(text.matches("= panel_dot").count(), 1, "{what}: {text}");
        // The matrix is packed by the function itself, not in a loop.
        let packing = func.equations().iter().filter(|equation| equation.name() == "panels");
        assert_eq!(packing.count(), 1, "{what}: {text}");
    }
}

#[test]
fn values_are_those_of_xla_for_any_number_of_rows_and_columns() {
    // Blocks of 8, 4, 2 and 1 rows, one panel and many, and depths that are no power of two; one
    // thread, and several. The steps take the panels from the first and from the last one in turns.
    for (rows, depth, columns) in [
        (&[2][..], 512, 32),
        (&[3], 171, 96),
        (&[7], 75, 64),
        (&[15], 33, 352),
        (&[16], 256, 768),
        (&[3, 5], 100, 160),
        (&[129], 65, 64),
        (&[1], 600, 1024),
        (&[], 600, 1024),
        (&[], 1000, 544),
    ] {
        let key = |i| random::key(i);
        let shape = |last: usize| [rows, &[last]].concat();
        let w = random::normal(&key(0), [depth, columns], DType::F32);
        let back = random::normal(&key(1), [depth, columns], DType::F32) * 0.01;
        let xs = random::normal(&key(2), shape(columns), DType::F32);
        let loop_ = move |(w, back, x): (Tensor, Tensor, Tensor)| {
            // The second product sums along the rows of its matrix.
            let step = |h: Tensor, ()| {
                let up = h.dot(&w).tanh();
                let last = up.rank() - 1;
                let down = (up * &x).dot_general(&back, (&[last], &[1]), (&[], &[]));
                (down.tanh(), ())
            };
            let first = Tensor::ones(shape(depth), DType::F32) * 0.1;
            Scan::new().length(5).run(step, first, ()).0
        };
        let what = format!("{rows:?} rows, {depth} by {columns}");
        check_values(&what, loop_, &(w, back, xs));
    }
}

#[test]
fn products_along_rows_are_those_of_xla_for_any_number_of_rows_and_columns() {
    // Blocks of rows that are full and not, several depths that are packed, and one; panels of
    // several matrices, more than are packed at a time; parts for several threads.
    for (depth, rows, columns) in [
        (300, 1, &[4096][..]),
        (256, 7, &[640]),
        (1000, 13, &[96, 32]),
        (777, 8, &[32, 32, 160]),
        (2048, 200, &[64, 64]),
        (512, 257, &[576]),
        (4096, 300, &[1088, 32]),
    ] {
        let random = |i, columns| random::normal(&random::key(i), [depth, columns], DType::F32);
        let x = random(0, rows);
        let ys: Vec<Tensor> = (1..).zip(columns).map(|(i, &n)| random(i, n)).collect();
        let product = |(x, ys): (Tensor, Vec<Tensor>)| {
            x.dot_general(&concatenate(&ys, 1), (&[0], &[0]), (&[], &[]))
        };
        check_values(&format!("{depth}, {rows} by {columns:?}"), product, &(x, ys));
    }
}

/// Of wide cells the products of the gates' cotangents are one call.
#[test]
fn gradients_of_cells_are_those_of_xla() {
    gradients_are_those_of_xla(64);
    gradients_are_those_of_xla(256);
}

fn gradients_are_those_of_xla(hidden: usize) {
    let xs = random::normal(&random::key(3), [20, 8, 32], DType::F32);
    let cell = nn::LstmCell::new(&mut nn::Rngs::new(1), 32, hidden);
    let loss = |(cell, xs): (nn::LstmCell, Tensor)| {
        let first = cell.initial_carry(&[8]);
        let of = |cell: nn::LstmCell| {
            let (_, ys) = scan(|h, x| cell.step(h, x), first.clone(), xs.clone());
            ys.square().sum(..)
        };
        value_and_grad(of)(cell)
    };
    check_values("LSTM", loss, &(cell.clone(), xs.clone()));
    // Weights that are known when the program is compiled are packed then.
    let known = move |xs: Tensor| scan(|h, x| cell.step(h, x), cell.initial_carry(&[8]), xs).1;
    check_values("constants", known, &xs);
}

/// With one row, threads of XLA's pool go on with one of the programs.
#[test]
fn many_threads_can_run_the_same_program() {
    many_threads_run_a_program(32, 256);
    many_threads_run_a_program(1, 512);
}

fn many_threads_run_a_program(rows: usize, features: usize) {
    let w = random::normal(&random::key(0), [features, features], DType::F32) * 0.05;
    let last = jit(move |h: Tensor| {
        Scan::new().length(50).run(|h: Tensor, ()| (h.matmul(&w).tanh(), ()), h, ()).0
    });
    let h = Tensor::ones([rows, features], DType::F32);
    let expected = last.call(&h).unwrap().to_vec::<f32>().unwrap();
    let last = Arc::new(last);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..10 {
                    assert_eq!(last.call(&h).unwrap().to_vec::<f32>().unwrap(), expected);
                }
            });
        }
    });
}

#[test]
fn operands_of_another_type_are_no_program() {
    let func = parse::parse(&product_with("f32[16,64]", 1, "f32[64,64]", 0, 5)).unwrap().packed();
    let text = func.to_string();
    for wrong in ["f32[2,65,32]", "f32[2,64,16]", "f64[2,64,32]", "f32[128,32]"] {
        let text = text.replace("f32[2,64,32]", wrong);
        assert!(parse::parse(&text).is_err(), "{wrong}");
    }
    for (panels, wrong) in [
        ("panels {axis=0} %0", "panels {axis=2} %0"),
        ("%0: f32[64,64]", "%0: f32[64,65]"),
        ("%0: f32[64,64]", "%0: f64[64,64]"),
        ("%0: f32[64,64]", "%0: f32[4096]"),
    ] {
        let text = func.to_string();
        assert!(text.contains(panels), "{text}");
        assert!(parse::parse(&text.replace(panels, wrong)).is_err(), "{wrong}");
    }
    let sum = parse::parse(&sum_of_products(256, "return %6, %6")).unwrap().packed().to_string();
    for (operands, wrong) in [
        ("panel_dot %2 %0 %3 %1", "panel_dot %2 %0 %3"),
        ("panel_dot %2 %0 %3 %1", "panel_dot"),
        ("%1: f32[8,256,32], %2", "%1: f32[9,256,32], %2"),
    ] {
        assert!(sum.contains(operands), "{sum}");
        assert!(parse::parse(&sum.replace(operands, wrong)).is_err(), "{wrong}");
    }
    let tall = product_along_rows("f32[2048,33]", "f32[2048,64]", "f32[33,64]");
    let tall = parse::parse(&tall).unwrap().packed().to_string();
    for (operands, wrong) in [
        ("tall_dot %0 %1", "tall_dot %0"),
        ("tall_dot %0 %1", "tall_dot"),
        ("%1: f32[2048,64]", "%1: f32[2047,64]"),
        ("%1: f32[2048,64]", "%1: f32[2048,63]"),
        ("%1: f32[2048,64]", "%1: f64[2048,64]"),
        ("%1: f32[2048,64]", "%1: f32[2048,2,32]"),
        ("%0: f32[2048,33]", "%0: f32[2048]"),
    ] {
        assert!(tall.contains(operands), "{tall}");
        assert!(parse::parse(&tall.replace(operands, wrong)).is_err(), "{wrong}");
    }
}
