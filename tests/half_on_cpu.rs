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
        // The outputs are the states, which the steps go on with as well.
        let states = |(cell, xs): (nn::GruCell, Tensor)| {
            scan(|h, x| cell.step(h, x), Tensor::zeros([16], dtype), xs).1
        };
        let gradient = |(cell, xs): (nn::GruCell, Tensor)| {
            let loss = |cell| states((cell, xs.clone())).square().sum(..);
            tree::leaves(&grad(loss)(cell)).remove(0)
        };
        let programs: [&dyn Fn((nn::GruCell, Tensor)) -> Tensor; 2] = [&states, &gradient];
        for program in programs {
            let lowered = jit(program).lower((cell.clone(), xs.clone())).unwrap();
            let hlo = lowered.compile().unwrap().optimized_hlo().unwrap();
            let bodies = hlo.split("\n\n").filter(|text| text.contains("dynamic-update-slice("));
            let bodies: Vec<&str> = bodies.collect();
            assert!(!bodies.is_empty(), "{dtype}: nothing is stacked");
            for body in bodies {
                let converts = |line: &&str| {
                    line.contains(&format!("[{STEPS},")) && line.contains(" convert(")
                };
                assert_eq!(body.lines().find(converts), None, "{dtype}, in {body}");
            }
        }
    }
}

/// XLA:CPU would compile a loop as small as this to one function, which does not round between the
/// operations of a step.
#[test]
fn small_loops_round_as_their_steps_do_one_by_one() {
    const STEPS: usize = 50;
    // Single precision has all values of half precision.
    let exact = |x: &Tensor| x.astype(DType::F32).to_vec::<f32>().unwrap();
    for dtype in [DType::BF16, DType::F16] {
        let momentum = |(p, m): (Tensor, Tensor), gradient: Tensor| {
            let m = m * 0.9 + gradient;
            (p + &m * -0.1, m)
        };
        let gradients = random::normal(&random::key(0), [STEPS, 6], dtype);
        let start = (Tensor::ones([6], dtype), Tensor::zeros([6], dtype));
        let step = |state, gradient| {
            let (p, m) = momentum(state, gradient);
            ((p.clone(), m), p)
        };
        let all = jit(|xs: Tensor| scan(step, start.clone(), xs)).call(&gradients).unwrap();
        let last = jit(|xs: Tensor| scan(|state, x| (momentum(state, x), ()), start.clone(), xs).0);
        let last = last.call(&gradients).unwrap();
        let one = jit(|(state, gradient)| momentum(state, gradient));
        let mut state = start.clone();
        for t in 0..STEPS {
            state = one.call((state, gradients.index(t as isize))).unwrap();
            let (row, expected) = (all.1.index(t as isize), &state.0);
            assert_eq!(exact(&row), exact(expected), "{dtype}, step {t}");
        }
        assert_eq!(exact(&all.0.0), exact(&state.0), "{dtype}");
        assert_eq!(exact(&last.0), exact(&state.0), "{dtype}, without outputs");
    }
}
