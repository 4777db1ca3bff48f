//! Loops in half precision, as a CPU computes them. `tests/fission_values.rs` compares their values.

use expect_test::expect;
use onetrace::ir::{check, parse};
use onetrace::prelude::*;

/// A loop that multiplies a carry with a matrix and stacks what comes out.
const LOOP: &str = "func @f(%0: bf16[64,64], %1: bf16[16,64]) -> (bf16[16,64], bf16[5,16,64]) {
  %2: bf16[16,64], %3: bf16[5,16,64] = scan {length=5, reverse=false, constants=1, carry=1, body=func @step(%0: bf16[64,64], %1: bf16[16,64]) -> (bf16[16,64], bf16[16,64]) {
    %2: bf16[16,64] = dot {lhs_contract=[1], rhs_contract=[0], lhs_batch=[], rhs_batch=[]} %1 %0
    %3: bf16[16,64] = tanh %2
    return %3, %2
  }} %0 %1
  return %2, %3
}";

#[test]
fn a_loop_stacks_single_precision_and_multiplies_with_a_matrix_that_was_converted_before() {
    let func = parse::parse(LOOP).unwrap().packed();
    check::check(&func).unwrap();
    expect![[r#"
        func @f(%0: bf16[64,64], %1: bf16[16,64]) -> (bf16[16,64], bf16[5,16,64]) {
          %2: f32[64,64] = convert {dtype=f32} %0
          %3: f32[2,64,32] = panels {axis=0} %2
          %4: bf16[16,64], %5: f32[5,16,64] = scan {length=5, reverse=false, constants=1, carry=1, body=func @step(%0: f32[2,64,32], %1: bf16[16,64]) -> (bf16[16,64], f32[16,64]) {
            %2: f32[16,64] = convert {dtype=f32} %1
            %3: f32[16,64] = panel_dot %2 %0
            %4: bf16[16,64] = convert {dtype=bf16} %3
            %5: bf16[16,64] = tanh %4
            %6: f32[16,64] = convert {dtype=f32} %4
            return %5, %6
          }} %3 %1
          %6: bf16[5,16,64] = convert {dtype=bf16} %5
          return %4, %6
        }
    "#]].assert_eq(&func.to_string());
    assert_eq!(func.packed(), func, "a second time");
}

/// XLA:CPU would convert the whole stack at every step.
#[test]
fn no_step_touches_all_that_is_stacked() {
    const STEPS: usize = 77;
    for dtype in [DType::BF16, DType::F16] {
        let cell = nn::GruCell::new(&mut nn::Rngs::new(0), 8, 16);
        let cell = tree::map(&cell, |leaf| leaf.astype(dtype));
        let xs = Tensor::ones([STEPS, 8], dtype);
        let gradient = |(cell, xs): (nn::GruCell, Tensor)| {
            let loss = |cell: nn::GruCell| {
                let first = Tensor::zeros([16], dtype);
                scan(|h, x| cell.step(h, x), first, xs.clone()).1.square().sum(..)
            };
            grad(loss)(cell)
        };
        let compiled = jit(gradient).lower((cell, xs)).unwrap().compile().unwrap();
        let hlo = compiled.optimized_hlo().unwrap();
        let bodies = hlo.split("\n\n").filter(|text| text.contains("dynamic-update-slice("));
        let bodies: Vec<&str> = bodies.collect();
        assert!(!bodies.is_empty(), "{dtype}: nothing is stacked");
        for body in bodies {
            let converts =
                |line: &&str| line.contains(&format!("[{STEPS},")) && line.contains(" convert(");
            assert_eq!(body.lines().find(converts), None, "{dtype}, in {body}");
        }
    }
}
