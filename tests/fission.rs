//! What fission makes of loops, text in and text out. `tests/fission_values.rs` has the values.

use expect_test::{Expect, expect};
use onetrace::ir::{Func, check, parse};

/// A cell whose input is multiplied with a matrix so large that this is worth doing before the loop.
const RECURRENCE: &str = r#"func @f(%0 "w": f32[160,160], %1 "h": f32[160], %2 "xs": f32[5,160]) -> (f32[160]) {
  %3: f32[160] = scan {length=5, reverse=false, unroll=1, constants=1, carry=1, body=func @step(%0: f32[160,160], %1: f32[160], %2: f32[160]) -> (f32[160]) {
    %3: f32[160] = dot {lhs_contract=[0], rhs_contract=[0], lhs_batch=[], rhs_batch=[]} %2 %0
    %4: f32[160] = add %1 %3
    %5: f32[160] = tanh %4
    return %5
  }} %0 %1 %2
  return %3
}"#;

/// A cell with an output that the next step does not need.
const READOUT: &str = r#"func @f(%0 "w": f32[160,160], %1 "h": f32[160], %2 "xs": f32[5,160]) -> (f32[160], f32[5,160]) {
  %3: f32[160], %4: f32[5,160] = scan {length=5, reverse=false, unroll=1, constants=1, carry=1, body=func @step(%0: f32[160,160], %1: f32[160], %2: f32[160]) -> (f32[160], f32[160]) {
    %3: f32[160] = add %1 %2
    %4: f32[160] = tanh %3
    %5: f32[160] = dot {lhs_contract=[0], rhs_contract=[0], lhs_batch=[], rhs_batch=[]} %4 %0
    return %4, %5
  }} %0 %1 %2
  return %3, %4
}"#;

/// A sum of products of two vectors of each step.
const OUTER_PRODUCTS: &str = r#"func @f(%0 "sum": f32[16,16], %1 "xs": f32[5,16], %2 "ys": f32[5,16]) -> (f32[16,16]) {
  %3: f32[16,16] = scan {length=5, reverse=false, unroll=1, constants=0, carry=1, body=func @step(%0: f32[16,16], %1: f32[16], %2: f32[16]) -> (f32[16,16]) {
    %3: f32[16,16] = dot {lhs_contract=[], rhs_contract=[], lhs_batch=[], rhs_batch=[]} %1 %2
    %4: f32[16,16] = add %0 %3
    return %4
  }} %0 %1 %2
  return %3
}"#;

/// The text with something else in it.
#[track_caller]
fn with(text: &str, old: &str, new: &str) -> String {
    assert!(text.contains(old), "there is no {old} in {text}");
    text.replace(old, new)
}

/// What fission makes of `text`, to which nothing more is done a second time.
#[track_caller]
fn fissioned(text: &str) -> Func {
    let fissioned = parse::parse(text).unwrap().simplified().fissioned();
    check::check(&fissioned).unwrap();
    assert_eq!(fissioned.fissioned(), fissioned, "a second time");
    fissioned
}

/// Checks that `text` becomes this.
#[track_caller]
fn check(text: &str, expected: Expect) {
    expected.assert_eq(&fissioned(text).to_string());
}

/// Checks that `text` stays what it is.
#[track_caller]
fn check_stays(text: &str) {
    assert_eq!(fissioned(text).to_string(), parse::parse(text).unwrap().to_string());
}

/// Checks that with something else in `text` the same happens.
#[track_caller]
fn check_same_but(text: &str, old: &str, new: &str) {
    let expected = with(&fissioned(text).to_string(), old, new);
    assert_eq!(fissioned(&with(text, old, new)).to_string(), expected);
}

#[test]
fn products_of_the_xs_are_one_product_before_the_loop() {
    check(
        RECURRENCE,
        expect![[r#"
            func @f(%0 "w": f32[160,160], %1 "h": f32[160], %2 "xs": f32[5,160]) -> (f32[160]) {
              %3: f32[5,160] = dot {lhs_contract=[1], rhs_contract=[0], lhs_batch=[], rhs_batch=[]} %2 %0
              %4: f32[160] = scan {length=5, reverse=false, unroll=1, constants=0, carry=1, body=func @step(%0: f32[160], %1: f32[160]) -> (f32[160]) {
                %2: f32[160] = add %0 %1
                %3: f32[160] = tanh %2
                return %3
              }} %1 %3
              return %4
            }
        "#]],
    );
}

/// The gates of an LSTM are slices of a sum of products.
#[test]
fn slices_of_a_sum_are_sums_of_slices() {
    check(
        r#"func @f(%0 "w": f32[160,160], %1 "h": f32[80], %2 "xs": f32[5,160], %3 "b": f32[160]) -> (f32[80]) {
  %4: f32[80] = scan {length=5, reverse=false, unroll=1, constants=2, carry=1, body=func @step(%0: f32[160,160], %1: f32[160], %2: f32[80], %3: f32[160]) -> (f32[80]) {
    %4: f32[160] = dot {lhs_contract=[0], rhs_contract=[0], lhs_batch=[], rhs_batch=[]} %3 %0
    %5: f32[160] = concatenate {axis=0} %2 %2
    %6: f32[160] = mul %5 %1
    %7: f32[160] = add %4 %6
    %8: f32[80] = slice {starts=[0], limits=[80], strides=[1]} %7
    %9: f32[80] = slice {starts=[80], limits=[160], strides=[1]} %7
    %10: f32[80] = tanh %8
    %11: f32[80] = mul %10 %9
    return %11
  }} %0 %3 %1 %2
  return %4
}"#,
        expect![[r#"
            func @f(%0 "w": f32[160,160], %1 "h": f32[80], %2 "xs": f32[5,160], %3 "b": f32[160]) -> (f32[80]) {
              %4: f32[5,160] = dot {lhs_contract=[1], rhs_contract=[0], lhs_batch=[], rhs_batch=[]} %2 %0
              %5: f32[80] = slice {starts=[0], limits=[80], strides=[1]} %3
              %6: f32[80] = slice {starts=[80], limits=[160], strides=[1]} %3
              %7: f32[80] = scan {length=5, reverse=false, unroll=1, constants=2, carry=1, body=func @step(%0: f32[80], %1: f32[80], %2: f32[80], %3: f32[160]) -> (f32[80]) {
                %4: f32[160] = concatenate {axis=0} %2 %2
                %5: f32[80] = slice {starts=[0], limits=[80], strides=[1]} %3
                %6: f32[80] = slice {starts=[0], limits=[80], strides=[1]} %4
                %7: f32[80] = mul %6 %0
                %8: f32[80] = add %5 %7
                %9: f32[80] = slice {starts=[80], limits=[160], strides=[1]} %3
                %10: f32[80] = slice {starts=[80], limits=[160], strides=[1]} %4
                %11: f32[80] = mul %10 %1
                %12: f32[80] = add %9 %11
                %13: f32[80] = tanh %8
                %14: f32[80] = mul %13 %12
                return %14
              }} %5 %6 %1 %4
              return %7
            }
        "#]],
    );
}

#[test]
fn products_with_small_matrices_stay() {
    // A product with a matrix in the nearest cache is as fast as reading its result would be.
    check_stays(&with(RECURRENCE, "160", "16"));
}

/// A cell that multiplies 16 rows at each step.
const ROWS: &str = r#"func @f(%0 "w": f32[160,160], %1 "h": f32[16,160], %2 "xs": f32[5,16,160]) -> (f32[16,160]) {
  %3: f32[16,160] = scan {length=5, reverse=false, unroll=1, constants=1, carry=1, body=func @step(%0: f32[160,160], %1: f32[16,160], %2: f32[16,160]) -> (f32[16,160]) {
    %3: f32[16,160] = dot {lhs_contract=[1], rhs_contract=[0], lhs_batch=[], rhs_batch=[]} %2 %0
    %4: f32[16,160] = add %1 %3
    %5: f32[16,160] = tanh %4
    return %5
  }} %0 %1 %2
  return %3
}"#;

#[test]
fn products_with_many_rows_stay() {
    check_stays(ROWS);
}

#[test]
fn products_with_a_few_rows_leave_if_their_matrix_is_larger() {
    let eight = with(ROWS, "16,", "8,");
    check_stays(&eight);
    let product = "f32[5,8,224] = dot";
    assert!(fissioned(&with(&eight, "160", "224")).to_string().contains(product));
}

#[test]
fn what_only_the_ys_need_is_computed_after_the_loop() {
    check(
        READOUT,
        expect![[r#"
            func @f(%0 "w": f32[160,160], %1 "h": f32[160], %2 "xs": f32[5,160]) -> (f32[160], f32[5,160]) {
              %3: f32[160], %4: f32[5,160] = scan {length=5, reverse=false, unroll=1, constants=0, carry=1, body=func @step(%0: f32[160], %1: f32[160]) -> (f32[160], f32[160]) {
                %2: f32[160] = add %0 %1
                %3: f32[160] = tanh %2
                return %3, %3
              }} %1 %2
              %5: f32[5,160] = dot {lhs_contract=[1], rhs_contract=[0], lhs_batch=[], rhs_batch=[]} %4 %0
              return %3, %5
            }
        "#]],
    );
}

#[test]
fn what_is_made_of_a_stacked_value_is_not_stacked() {
    // Of three ys the cheapest to stack is what all are made of.
    check(
        r#"func @f(%0 "h": f32[4], %1 "xs": f32[5,4]) -> (f32[4], f32[5,4], f32[5,4], f32[5]) {
          %2: f32[4], %3: f32[5,4], %4: f32[5,4], %5: f32[5] = scan {length=5, reverse=false, unroll=1, constants=0, carry=1, body=func @step(%0: f32[4], %1: f32[4]) -> (f32[4], f32[4], f32[4], f32[]) {
            %2: f32[4] = add %0 %1
            %3: f32[4] = tanh %2
            %4: f32[4] = sin %3
            %5: f32[4] = mul %4 %1
            %6: f32[] = reduce {kind=sum, axes=[0]} %4
            return %3, %4, %5, %6
          }} %0 %1
          return %2, %3, %4, %5
        }"#,
        expect![[r#"
            func @f(%0 "h": f32[4], %1 "xs": f32[5,4]) -> (f32[4], f32[5,4], f32[5,4], f32[5]) {
              %2: f32[4], %3: f32[5,4] = scan {length=5, reverse=false, unroll=1, constants=0, carry=1, body=func @step(%0: f32[4], %1: f32[4]) -> (f32[4], f32[4]) {
                %2: f32[4] = add %0 %1
                %3: f32[4] = tanh %2
                %4: f32[4] = sin %3
                return %3, %4
              }} %0 %1
              %4: f32[5,4] = mul %3 %1
              %5: f32[5] = reduce {kind=sum, axes=[1]} %3
              return %2, %3, %4, %5
            }
        "#]],
    );
}

#[test]
fn a_small_value_is_stacked_and_not_the_large_ones_it_is_made_of() {
    check_stays(
        r#"func @f(%0 "h": f32[64], %1 "xs": f32[5,64]) -> (f32[64], f32[5]) {
          %2: f32[64], %3: f32[5] = scan {length=5, reverse=false, unroll=1, constants=0, carry=1, body=func @step(%0: f32[64], %1: f32[64]) -> (f32[64], f32[]) {
            %2: f32[64] = add %0 %1
            %3: f32[64] = tanh %2
            %4: f32[] = reduce {kind=sum, axes=[0]} %3
            return %3, %4
          }} %0 %1
          return %2, %3
        }"#,
    );
}

#[test]
fn a_sum_of_outer_products_is_one_product_over_the_steps() {
    check(
        OUTER_PRODUCTS,
        expect![[r#"
            func @f(%0 "sum": f32[16,16], %1 "xs": f32[5,16], %2 "ys": f32[5,16]) -> (f32[16,16]) {
              %3: f32[16,16] = dot {lhs_contract=[0], rhs_contract=[0], lhs_batch=[], rhs_batch=[]} %1 %2
              %4: f32[16,16] = add %0 %3
              return %4
            }
        "#]],
    );
}

#[test]
fn a_sum_of_products_over_rows_has_steps_and_rows_as_one_axis() {
    check(
        r#"func @f(%0 "sum": f32[16,16], %1 "xs": f32[5,3,16], %2 "ys": f32[5,3,16]) -> (f32[16,16]) {
          %3: f32[16,16] = scan {length=5, reverse=false, unroll=1, constants=0, carry=1, body=func @step(%0: f32[16,16], %1: f32[3,16], %2: f32[3,16]) -> (f32[16,16]) {
            %3: f32[16,16] = dot {lhs_contract=[0], rhs_contract=[0], lhs_batch=[], rhs_batch=[]} %1 %2
            %4: f32[16,16] = add %3 %0
            return %4
          }} %0 %1 %2
          return %3
        }"#,
        expect![[r#"
            func @f(%0 "sum": f32[16,16], %1 "xs": f32[5,3,16], %2 "ys": f32[5,3,16]) -> (f32[16,16]) {
              %3: f32[15,16] = reshape {shape=[15, 16]} %1
              %4: f32[15,16] = reshape {shape=[15, 16]} %2
              %5: f32[16,16] = dot {lhs_contract=[0], rhs_contract=[0], lhs_batch=[], rhs_batch=[]} %3 %4
              %6: f32[16,16] = add %0 %5
              return %6
            }
        "#]],
    );
}

#[test]
fn gradients_of_weights_are_products_over_the_stacked_states() {
    // Both factors are of the carry: one is stacked, and the other made of it and of the xs.
    check(
        r#"func @f(%0 "sum": f32[160,160], %1 "w": f32[160,160], %2 "h": f32[160], %3 "xs": f32[5,160]) -> (f32[160,160], f32[160]) {
          %4: f32[160,160], %5: f32[160] = scan {length=5, reverse=false, unroll=1, constants=1, carry=2, body=func @step(%0: f32[160,160], %1: f32[160,160], %2: f32[160], %3: f32[160]) -> (f32[160,160], f32[160]) {
            %4: f32[160] = dot {lhs_contract=[0], rhs_contract=[0], lhs_batch=[], rhs_batch=[]} %2 %0
            %5: f32[160] = sin %4
            %6: f32[160] = add %5 %3
            %7: f32[160,160] = dot {lhs_contract=[], rhs_contract=[], lhs_batch=[], rhs_batch=[]} %5 %6
            %8: f32[160,160] = add %1 %7
            return %8, %6
          }} %1 %0 %2 %3
          return %4, %5
        }"#,
        expect![[r#"
            func @f(%0 "sum": f32[160,160], %1 "w": f32[160,160], %2 "h": f32[160], %3 "xs": f32[5,160]) -> (f32[160,160], f32[160]) {
              %4: f32[160], %5: f32[5,160] = scan {length=5, reverse=false, unroll=1, constants=1, carry=1, body=func @step(%0: f32[160,160], %1: f32[160], %2: f32[160]) -> (f32[160], f32[160]) {
                %3: f32[160] = dot {lhs_contract=[0], rhs_contract=[0], lhs_batch=[], rhs_batch=[]} %1 %0
                %4: f32[160] = sin %3
                %5: f32[160] = add %4 %2
                return %5, %4
              }} %1 %2 %3
              %6: f32[5,160] = add %5 %3
              %7: f32[160,160] = dot {lhs_contract=[0], rhs_contract=[0], lhs_batch=[], rhs_batch=[]} %5 %6
              %8: f32[160,160] = add %0 %7
              return %8, %4
            }
        "#]],
    );
}

#[test]
fn sums_that_cost_more_to_stack_stay() {
    check_stays(
        r#"func @f(%0 "sum": f32[], %1 "h": f32[64], %2 "xs": f32[5,64]) -> (f32[], f32[64]) {
          %3: f32[], %4: f32[64] = scan {length=5, reverse=false, unroll=1, constants=0, carry=2, body=func @step(%0: f32[], %1: f32[64], %2: f32[64]) -> (f32[], f32[64]) {
            %3: f32[64] = add %1 %2
            %4: f32[64] = tanh %3
            %5: f32[] = reduce {kind=sum, axes=[0]} %4
            %6: f32[] = add %0 %5
            return %6, %4
          }} %0 %1 %2
          return %3, %4
        }"#,
    );
}

#[test]
fn sums_that_are_looked_at_stay() {
    check_stays(
        r#"func @f(%0 "sum": f32[16,16], %1 "xs": f32[5,16]) -> (f32[16,16], f32[5,16]) {
          %2: f32[16,16], %3: f32[5,16] = scan {length=5, reverse=false, unroll=1, constants=0, carry=1, body=func @step(%0: f32[16,16], %1: f32[16]) -> (f32[16,16], f32[16]) {
            %2: f32[16,16] = dot {lhs_contract=[], rhs_contract=[], lhs_batch=[], rhs_batch=[]} %1 %1
            %3: f32[16,16] = add %0 %2
            %4: f32[16] = reduce {kind=max, axes=[0]} %0
            return %3, %4
          }} %0 %1
          return %2, %3
        }"#,
    );
}

#[test]
fn sums_of_integers_stay() {
    check_stays(&with(OUTER_PRODUCTS, "f32", "i32"));
}

#[test]
fn a_sum_beside_a_sum_of_products_is_a_sum_over_the_rows_of_a_matrix() {
    check(
        r#"func @f(%0 "sum": f32[16], %1 "products": f32[8,16], %2 "xs": f32[5,8], %3 "gs": f32[5,16]) -> (f32[16], f32[8,16]) {
          %4: f32[16], %5: f32[8,16] = scan {length=5, reverse=false, unroll=1, constants=0, carry=2, body=func @step(%0: f32[16], %1: f32[8,16], %2: f32[8], %3: f32[16]) -> (f32[16], f32[8,16]) {
            %4: f32[16] = add %0 %3
            %5: f32[8,16] = dot {lhs_contract=[], rhs_contract=[], lhs_batch=[], rhs_batch=[]} %2 %3
            %6: f32[8,16] = add %1 %5
            return %4, %6
          }} %0 %1 %2 %3
          return %4, %5
        }"#,
        expect![[r#"
            func @f(%0 "sum": f32[16], %1 "products": f32[8,16], %2 "xs": f32[5,8], %3 "gs": f32[5,16]) -> (f32[16], f32[8,16]) {
              %4: f32[16] = reduce {kind=sum, axes=[0]} %3
              %5: f32[16] = add %0 %4
              %6: f32[8,16] = dot {lhs_contract=[0], rhs_contract=[0], lhs_batch=[], rhs_batch=[]} %2 %3
              %7: f32[8,16] = add %1 %6
              return %5, %7
            }
        "#]],
    );
}

#[test]
fn parts_are_summed_up_before_they_are_joined() {
    check(
        r#"func @f(%0 "sum": f32[32], %1 "products": f32[8,16], %2 "xs": f32[5,3,8], %3 "gs": f32[5,3,16]) -> (f32[32], f32[8,16]) {
          %4: f32[32], %5: f32[8,16] = scan {length=5, reverse=false, unroll=1, constants=0, carry=2, body=func @step(%0: f32[32], %1: f32[8,16], %2: f32[3,8], %3: f32[3,16]) -> (f32[32], f32[8,16]) {
            %4: f32[8,16] = dot {lhs_contract=[0], rhs_contract=[0], lhs_batch=[], rhs_batch=[]} %2 %3
            %5: f32[8,16] = add %1 %4
            %6: f32[3,16] = tanh %3
            %7: f32[3,32] = concatenate {axis=1} %3 %6
            %8: f32[32] = reduce {kind=sum, axes=[0]} %7
            %9: f32[32] = add %0 %8
            return %9, %5
          }} %0 %1 %2 %3
          return %4, %5
        }"#,
        expect![[r#"
            func @f(%0 "sum": f32[32], %1 "products": f32[8,16], %2 "xs": f32[5,3,8], %3 "gs": f32[5,3,16]) -> (f32[32], f32[8,16]) {
              %4: f32[5,3,16] = tanh %3
              %5: f32[5,48] = reshape {shape=[5, 48]} %3
              %6: f32[48] = reduce {kind=sum, axes=[0]} %5
              %7: f32[3,16] = reshape {shape=[3, 16]} %6
              %8: f32[5,48] = reshape {shape=[5, 48]} %4
              %9: f32[48] = reduce {kind=sum, axes=[0]} %8
              %10: f32[3,16] = reshape {shape=[3, 16]} %9
              %11: f32[3,32] = concatenate {axis=1} %7 %10
              %12: f32[32] = reduce {kind=sum, axes=[0]} %11
              %13: f32[32] = add %0 %12
              %14: f32[15,8] = reshape {shape=[15, 8]} %2
              %15: f32[15,16] = reshape {shape=[15, 16]} %3
              %16: f32[8,16] = dot {lhs_contract=[0], rhs_contract=[0], lhs_batch=[], rhs_batch=[]} %14 %15
              %17: f32[8,16] = add %1 %16
              return %13, %17
            }
        "#]],
    );
}

#[test]
fn a_loop_that_only_adds_up_stays_one() {
    check_stays(
        r#"func @f(%0 "sum": f32[16], %1 "xs": f32[5,16]) -> (f32[16]) {
          %2: f32[16] = scan {length=5, reverse=false, unroll=1, constants=0, carry=1, body=func @step(%0: f32[16], %1: f32[16]) -> (f32[16]) {
            %2: f32[16] = add %0 %1
            return %2
          }} %0 %1
          return %2
        }"#,
    );
}

#[test]
fn what_is_cheaply_made_for_all_steps_is_made_inside() {
    check(
        r#"func @f(%0 "k": f32[16], %1 "h": f32[16], %2 "xs": f32[5,16]) -> (f32[16]) {
          %3: f32[5,16] = broadcast {shape=[5,16], axes=[1]} %0
          %4: f32[5,16] = mul %2 %3
          %5: f32[5,16] = sub %2 %4
          %6: f32[16] = scan {length=5, reverse=false, unroll=1, constants=0, carry=1, body=func @step(%0: f32[16], %1: f32[16], %2: f32[16]) -> (f32[16]) {
            %3: f32[16] = mul %0 %1
            %4: f32[16] = add %3 %2
            %5: f32[16] = tanh %4
            return %5
          }} %1 %4 %5
          return %6
        }"#,
        expect![[r#"
            func @f(%0 "k": f32[16], %1 "h": f32[16], %2 "xs": f32[5,16]) -> (f32[16]) {
              %3: f32[16] = scan {length=5, reverse=false, unroll=1, constants=1, carry=1, body=func @step(%0: f32[16], %1: f32[16], %2: f32[16]) -> (f32[16]) {
                %3: f32[16] = mul %2 %0
                %4: f32[16] = sub %2 %3
                %5: f32[16] = mul %1 %3
                %6: f32[16] = add %5 %4
                %7: f32[16] = tanh %6
                return %7
              }} %0 %1 %2
              return %3
            }
        "#]],
    );
}

#[test]
fn padded_parts_are_joined_and_their_products_taken_apart() {
    // As in the gradient of gates that are slices of one product.
    check(
        r#"func @f(%0 "w": f32[8,16], %1 "h": f32[2,8], %2 "xs": f32[5,2,8]) -> (f32[2,8]) {
          %3: f32[2,8] = scan {length=5, reverse=false, unroll=1, constants=1, carry=1, body=func @step(%0: f32[8,16], %1: f32[2,8], %2: f32[2,8]) -> (f32[2,8]) {
            %3: f32[] = constant {value=f32[](0.0), name=""}
            %4: f32[2,8] = sin %1
            %5: f32[2,8] = mul %4 %2
            %6: f32[2,16] = pad {config=[(0, 0, 0), (0, 8, 0)]} %4 %3
            %7: f32[2,16] = pad {config=[(0, 0, 0), (8, 0, 0)]} %5 %3
            %8: f32[2,16] = add %6 %7
            %9: f32[2,8] = dot {lhs_contract=[1], rhs_contract=[1], lhs_batch=[], rhs_batch=[]} %8 %0
            return %9
          }} %0 %1 %2
          return %3
        }"#,
        expect![[r#"
            func @f(%0 "w": f32[8,16], %1 "h": f32[2,8], %2 "xs": f32[5,2,8]) -> (f32[2,8]) {
              %3: f32[8,8] = slice {starts=[0, 0], limits=[8, 8], strides=[1, 1]} %0
              %4: f32[8,8] = transpose {permutation=[1, 0]} %3
              %5: f32[8,8] = slice {starts=[0, 8], limits=[8, 16], strides=[1, 1]} %0
              %6: f32[8,8] = transpose {permutation=[1, 0]} %5
              %7: f32[2,8] = scan {length=5, reverse=false, unroll=1, constants=2, carry=1, body=func @step(%0: f32[8,8], %1: f32[8,8], %2: f32[2,8], %3: f32[2,8]) -> (f32[2,8]) {
                %4: f32[2,8] = sin %2
                %5: f32[2,8] = mul %4 %3
                %6: f32[2,8] = dot {lhs_contract=[1], rhs_contract=[0], lhs_batch=[], rhs_batch=[]} %4 %0
                %7: f32[2,8] = dot {lhs_contract=[1], rhs_contract=[0], lhs_batch=[], rhs_batch=[]} %5 %1
                %8: f32[2,8] = add %6 %7
                return %8
              }} %4 %6 %1 %2
              return %7
            }
        "#]],
    );
}

#[test]
fn a_matrix_is_transposed_before_the_loop() {
    check(
        r#"func @f(%0 "w": f32[8,8], %1 "h": f32[2,8], %2 "xs": f32[5,2,8]) -> (f32[2,8]) {
          %3: f32[2,8] = scan {length=5, reverse=false, unroll=1, constants=1, carry=1, body=func @step(%0: f32[8,8], %1: f32[2,8], %2: f32[2,8]) -> (f32[2,8]) {
            %3: f32[2,8] = dot {lhs_contract=[1], rhs_contract=[1], lhs_batch=[], rhs_batch=[]} %1 %0
            %4: f32[2,8] = add %3 %2
            %5: f32[2,8] = tanh %4
            return %5
          }} %0 %1 %2
          return %3
        }"#,
        expect![[r#"
            func @f(%0 "w": f32[8,8], %1 "h": f32[2,8], %2 "xs": f32[5,2,8]) -> (f32[2,8]) {
              %3: f32[8,8] = transpose {permutation=[1, 0]} %0
              %4: f32[2,8] = scan {length=5, reverse=false, unroll=1, constants=1, carry=1, body=func @step(%0: f32[8,8], %1: f32[2,8], %2: f32[2,8]) -> (f32[2,8]) {
                %3: f32[2,8] = dot {lhs_contract=[1], rhs_contract=[0], lhs_batch=[], rhs_batch=[]} %1 %0
                %4: f32[2,8] = add %3 %2
                %5: f32[2,8] = tanh %4
                return %5
              }} %3 %1 %2
              return %4
            }
        "#]],
    );
}

#[test]
fn without_fission_the_loop_stays() {
    check_stays(&with(RECURRENCE, "unroll=1", "unroll=1, fission=off"));
}

#[test]
fn effects_stay_in_the_loop() {
    check(
        r#"func @f(%0 "w": f32[160,160], %1 "h": f32[160], %2 "xs": f32[5,160]) -> (f32[160]) {
          %3: f32[160] = scan {length=5, reverse=false, unroll=1, constants=1, carry=1, body=func @step(%0: f32[160,160], %1: f32[160], %2: f32[160]) -> (f32[160]) {
            debug_print {format="{}", batch=[]} %2
            %3: f32[160] = dot {lhs_contract=[0], rhs_contract=[0], lhs_batch=[], rhs_batch=[]} %2 %0
            debug_print {format="{}", batch=[]} %3
            %4: f32[160] = add %1 %3
            %5: f32[160] = tanh %4
            return %5
          }} %0 %1 %2
          return %3
        }"#,
        expect![[r#"
            func @f(%0 "w": f32[160,160], %1 "h": f32[160], %2 "xs": f32[5,160]) -> (f32[160]) {
              %3: f32[5,160] = dot {lhs_contract=[1], rhs_contract=[0], lhs_batch=[], rhs_batch=[]} %2 %0
              %4: f32[160] = scan {length=5, reverse=false, unroll=1, constants=0, carry=1, body=func @step(%0: f32[160], %1: f32[160], %2: f32[160]) -> (f32[160]) {
                debug_print {format="{}", batch=[]} %1
                debug_print {format="{}", batch=[]} %2
                %3: f32[160] = add %0 %2
                %4: f32[160] = tanh %3
                return %4
              }} %1 %2 %3
              return %4
            }
        "#]],
    );
}

#[test]
fn an_effect_on_what_only_the_ys_need_keeps_it_in_the_loop() {
    let print = r#"debug_print {format="{}", batch=[]} %5"#;
    check_stays(&with(READOUT, "return %4, %5", &format!("{print}\nreturn %4, %5")));
}

#[test]
fn what_leaves_an_inner_loop_can_leave_the_outer_one() {
    check(
        r#"func @f(%0 "w": f32[224,224], %1 "h": f32[224], %2 "xs": f32[3,5,224]) -> (f32[224]) {
          %3: f32[224] = scan {length=3, reverse=false, unroll=1, constants=1, carry=1, body=func @outer(%0: f32[224,224], %1: f32[224], %2: f32[5,224]) -> (f32[224]) {
            %3: f32[224] = scan {length=5, reverse=false, unroll=1, constants=1, carry=1, body=func @inner(%0: f32[224,224], %1: f32[224], %2: f32[224]) -> (f32[224]) {
              %3: f32[224] = dot {lhs_contract=[0], rhs_contract=[0], lhs_batch=[], rhs_batch=[]} %2 %0
              %4: f32[224] = add %1 %3
              %5: f32[224] = tanh %4
              return %5
            }} %0 %1 %2
            return %3
          }} %0 %1 %2
          return %3
        }"#,
        expect![[r#"
            func @f(%0 "w": f32[224,224], %1 "h": f32[224], %2 "xs": f32[3,5,224]) -> (f32[224]) {
              %3: f32[3,5,224] = dot {lhs_contract=[2], rhs_contract=[0], lhs_batch=[], rhs_batch=[]} %2 %0
              %4: f32[224] = scan {length=3, reverse=false, unroll=1, constants=0, carry=1, body=func @outer(%0: f32[224], %1: f32[5,224]) -> (f32[224]) {
                %2: f32[224] = scan {length=5, reverse=false, unroll=1, constants=0, carry=1, body=func @inner(%0: f32[224], %1: f32[224]) -> (f32[224]) {
                  %2: f32[224] = add %0 %1
                  %3: f32[224] = tanh %2
                  return %3
                }} %0 %1
                return %2
              }} %1 %3
              return %4
            }
        "#]],
    );
}

#[test]
fn a_reversed_loop_keeps_its_order() {
    check_same_but(RECURRENCE, "reverse=false", "reverse=true");
}

#[test]
fn loops_of_one_step_stay() {
    check_stays(&with(&with(RECURRENCE, "length=5", "length=1"), "f32[5,", "f32[1,"));
}

#[test]
fn loops_of_no_steps_are_none() {
    check(
        &with(&with(READOUT, "length=5", "length=0"), "f32[5,", "f32[0,"),
        expect![[r#"
            func @f(%0 "w": f32[160,160], %1 "h": f32[160], %2 "xs": f32[0,160]) -> (f32[160], f32[0,160]) {
              %3: f32[0,160] = constant {value=f32[0,160](), name=""}
              return %1, %3
            }
        "#]],
    );
}

#[test]
fn products_before_the_loop_fit_in_the_memory() {
    // Five rows of 160 numbers.
    check_same_but(RECURRENCE, "unroll=1", "unroll=1, fission=3200");
}

#[test]
fn products_that_do_not_fit_in_the_memory_stay() {
    check_stays(&with(RECURRENCE, "unroll=1", "unroll=1, fission=3199"));
}

#[test]
fn sums_whose_factors_are_there_need_no_memory() {
    assert_eq!(
        fissioned(&with(OUTER_PRODUCTS, "unroll=1", "unroll=1, fission=0")),
        fissioned(OUTER_PRODUCTS)
    );
}

#[test]
fn factors_that_do_not_fit_in_the_memory_are_not_stacked() {
    check_stays(
        r#"func @f(%0 "sum": f32[16,16], %1 "h": f32[16], %2 "xs": f32[5,16]) -> (f32[16,16], f32[16]) {
          %3: f32[16,16], %4: f32[16] = scan {length=5, reverse=false, unroll=1, fission=100, constants=0, carry=2, body=func @step(%0: f32[16,16], %1: f32[16], %2: f32[16]) -> (f32[16,16], f32[16]) {
            %3: f32[16] = mul %1 %2
            %4: f32[16] = tanh %3
            %5: f32[16,16] = dot {lhs_contract=[], rhs_contract=[], lhs_batch=[], rhs_batch=[]} %4 %4
            %6: f32[16,16] = add %0 %5
            return %6, %4
          }} %0 %1 %2
          return %3, %4
        }"#,
    );
}

#[test]
fn what_products_need_is_not_computed_twice() {
    // The inner loop is one of all steps, and its result is also used in the outer one.
    check(
        r#"func @f(%0 "w": f32[160,160], %1 "h": f32[160], %2 "xs": f32[5,160]) -> (f32[160]) {
          %3: f32[160] = scan {length=5, reverse=false, unroll=1, constants=1, carry=1, body=func @step(%0: f32[160,160], %1: f32[160], %2: f32[160]) -> (f32[160]) {
            %3: f32[160] = scan {length=100, reverse=false, unroll=1, constants=0, carry=1, body=func @inner(%0: f32[160]) -> (f32[160]) {
              %1: f32[160] = sin %0
              return %1
            }} %2
            %4: f32[160] = dot {lhs_contract=[0], rhs_contract=[0], lhs_batch=[], rhs_batch=[]} %3 %0
            %5: f32[160] = add %3 %4
            %6: f32[160] = sub %1 %5
            %7: f32[160] = tanh %6
            return %7
          }} %0 %1 %2
          return %3
        }"#,
        expect![[r#"
            func @f(%0 "w": f32[160,160], %1 "h": f32[160], %2 "xs": f32[5,160]) -> (f32[160]) {
              %3: f32[5,160] = scan {length=100, reverse=false, unroll=1, constants=0, carry=1, body=func @inner(%0: f32[5,160]) -> (f32[5,160]) {
                %1: f32[5,160] = sin %0
                return %1
              }} %2
              %4: f32[5,160] = dot {lhs_contract=[1], rhs_contract=[0], lhs_batch=[], rhs_batch=[]} %3 %0
              %5: f32[5,160] = add %3 %4
              %6: f32[160] = scan {length=5, reverse=false, unroll=1, constants=0, carry=1, body=func @step(%0: f32[160], %1: f32[160]) -> (f32[160]) {
                %2: f32[160] = sub %0 %1
                %3: f32[160] = tanh %2
                return %3
              }} %1 %5
              return %6
            }
        "#]],
    );
}
