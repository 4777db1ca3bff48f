//! What simplification makes of functions, text in and text out. `tests/simplify_values.rs` has the
//! values.

use expect_test::{Expect, expect};
use onetrace::ir::{Func, check, parse};
use onetrace::prelude::*;

/// What simplification makes of `text`, which is as simple as it gets.
#[track_caller]
fn simplified(text: &str) -> Func {
    let simple = parse::parse(text).unwrap().simplified();
    check::check(&simple).unwrap();
    assert_eq!(simple.simplified(), simple, "a second time");
    simple
}

/// Checks that `text` becomes this.
#[track_caller]
fn check(text: &str, expected: Expect) {
    expected.assert_eq(&simplified(text).to_string());
}

/// Checks that `text` stays what it is.
#[track_caller]
fn check_stays(text: &str) {
    assert_eq!(simplified(text).to_string(), parse::parse(text).unwrap().to_string());
}

#[test]
fn what_is_computed_twice_is_computed_once() {
    check(
        "func @f(%0: f32[2], %1: f32[2]) -> (f32[2]) {
            %2: f32[2] = tanh %0
            %3: f32[2] = tanh %1
            %4: f32[2] = tanh %0
            %5: f32[2] = mul %4 %3
            %6: f32[2] = mul %2 %3
            %7: f32[2] = mul %3 %2
            %8: f32[2] = add %5 %6
            %9: f32[2] = add %8 %7
            return %9
        }",
        expect![[r#"
            func @f(%0: f32[2], %1: f32[2]) -> (f32[2]) {
              %2: f32[2] = tanh %0
              %3: f32[2] = tanh %1
              %4: f32[2] = mul %2 %3
              %5: f32[2] = mul %3 %2
              %6: f32[2] = add %4 %4
              %7: f32[2] = add %6 %5
              return %7
            }
        "#]],
    );
}

#[test]
fn constants_of_the_same_bits_and_name_are_one() {
    check(
        r#"func @f() -> (f32[], f32[], f32[], f32[], i32[]) {
            %0: f32[] = constant {value=f32[](0.0), name=""}
            %1: f32[] = constant {value=f32[](-0.0), name=""}
            %2: f32[] = constant {value=f32[](0.0), name=""}
            %3: f32[] = constant {value=f32[](0.0), name="k"}
            %4: i32[] = constant {value=i32[](0), name=""}
            return %0, %1, %2, %3, %4
        }"#,
        expect![[r#"
            func @f() -> (f32[], f32[], f32[], f32[], i32[]) {
              %0: f32[] = constant {value=f32[](0.0), name=""}
              %1: f32[] = constant {value=f32[](-0.0), name=""}
              %2: f32[] = constant {value=f32[](0.0), name="k"}
              %3: i32[] = constant {value=i32[](0), name=""}
              return %0, %1, %0, %2, %3
            }
        "#]],
    );
}

#[test]
fn operations_with_other_attributes_are_others() {
    check_stays(
        "func @f(%0: f32[2,2]) -> (f32[2,2], f32[2,2], f32[2], f32[2]) {
            %1: f32[2,2] = transpose {permutation=[0, 1]} %0
            %2: f32[2,2] = transpose {permutation=[1, 0]} %0
            %3: f32[2] = reduce {kind=sum, axes=[0]} %0
            %4: f32[2] = reduce {kind=sum, axes=[1]} %0
            return %1, %2, %3, %4
        }",
    );
}

#[test]
fn what_nobody_uses_goes() {
    // The second carry feeds itself alone, and the third only the second.
    check(
        "func @f(%0: f32[], %1: f32[3], %2: f32[]) -> (f32[]) {
            %3: f32[] = exp %2
            %4: f32[], %5: f32[], %6: f32[], %7: f32[3] = scan {length=3, reverse=false, unroll=1, constants=0, carry=3, body=func @body(%0: f32[], %1: f32[], %2: f32[], %3: f32[]) -> (f32[], f32[], f32[], f32[]) {
                %4: f32[] = add %0 %3
                %5: f32[] = mul %1 %2
                %6: f32[] = sin %2
                return %4, %5, %6, %5
            }} %0 %0 %3 %1
            return %4
        }",
        expect![[r#"
            func @f(%0: f32[], %1: f32[3], %2: f32[]) -> (f32[]) {
              %3: f32[] = scan {length=3, reverse=false, unroll=1, constants=0, carry=1, body=func @body(%0: f32[], %1: f32[]) -> (f32[]) {
                %2: f32[] = add %0 %1
                return %2
              }} %0 %1
              return %3
            }
        "#]],
    );
}

#[test]
fn calls_become_what_they_do() {
    check(
        "func @f(%0: f32[2]) -> (f32[2]) {
            %1: f32[2] = call {function=func @g(%0: f32[2]) -> (f32[2]) {
                %1: f32[2] = tanh %0
                return %1
            }} %0
            %2: f32[2] = stop_gradient %0
            %3: f32[2] = checkpoint {save=nothing, again=false, function=func @h(%0: f32[2]) -> (f32[2]) {
                %1: f32[2] = tanh %0
                return %1
            }} %2
            %4: f32[2] = add %1 %3
            return %4
        }",
        expect![[r#"
            func @f(%0: f32[2]) -> (f32[2]) {
              %1: f32[2] = tanh %0
              %2: f32[2] = add %1 %1
              return %2
            }
        "#]],
    );
}

/// What reverse mode computes again stays apart, or it would be kept.
#[test]
fn what_is_computed_again_on_purpose_stays() {
    check(
        "func @f(%0: f32[2]) -> (f32[2]) {
            %1: f32[2] = tanh %0
            %2: f32[2] = checkpoint {save=nothing, again=true, function=func @h(%0: f32[2]) -> (f32[2]) {
                %1: f32[2] = tanh %0
                %2: f32[2] = tanh %0
                %3: f32[2] = add %1 %2
                return %3
            }} %0
            %3: f32[2] = add %1 %2
            return %3
        }",
        expect![[r#"
            func @f(%0: f32[2]) -> (f32[2]) {
              %1: f32[2] = tanh %0
              %2: f32[2] = checkpoint {save=nothing, again=true, function=func @h(%0: f32[2]) -> (f32[2]) {
                %1: f32[2] = tanh %0
                %2: f32[2] = add %1 %1
                return %2
              }} %0
              %3: f32[2] = add %1 %2
              return %3
            }
        "#]],
    );
}

#[test]
fn branches_are_simplified_by_themselves() {
    check(
        "func @f(%0: i32[], %1: f32[2]) -> (f32[2]) {
            %2: f32[2] = tanh %1
            %3: f32[2] = switch {captures=[0, 0], branches=[func @a(%0: f32[2]) -> (f32[2]) {
                %1: f32[2] = tanh %0
                %2: f32[2] = tanh %0
                %3: f32[2] = add %1 %2
                return %3
            }, func @b(%0: f32[2]) -> (f32[2]) {
                return %0
            }]} %0 %1
            %4: f32[2] = add %2 %3
            return %4
        }",
        expect![[r#"
            func @f(%0: i32[], %1: f32[2]) -> (f32[2]) {
              %2: f32[2] = tanh %1
              %3: f32[2] = switch {captures=[0, 0], branches=[func @a(%0: f32[2]) -> (f32[2]) {
                %1: f32[2] = tanh %0
                %2: f32[2] = add %1 %1
                return %2
              }, func @b(%0: f32[2]) -> (f32[2]) {
                return %0
              }]} %0 %1
              %4: f32[2] = add %2 %3
              return %4
            }
        "#]],
    );
}

#[test]
fn what_is_the_same_at_every_step_leaves_the_loop() {
    // The scalar is repeated inside, where that costs nothing.
    check(
        "func @f(%0: f32[2], %1: f32[], %2: f32[2], %3: f32[5,2]) -> (f32[2]) {
            %4: f32[2] = scan {length=5, reverse=false, unroll=1, constants=2, carry=1, body=func @body(%0: f32[2], %1: f32[], %2: f32[2], %3: f32[2]) -> (f32[2]) {
                %4: f32[2] = tanh %0
                %5: f32[] = exp %1
                %6: f32[2] = broadcast {shape=[2], axes=[]} %5
                %7: f32[2] = broadcast {shape=[2], axes=[]} %1
                %8: f32[2] = mul %2 %4
                %9: f32[2] = mul %8 %6
                %10: f32[2] = mul %9 %7
                %11: f32[2] = add %10 %3
                return %11
            }} %0 %1 %2 %3
            return %4
        }",
        expect![[r#"
            func @f(%0: f32[2], %1: f32[], %2: f32[2], %3: f32[5,2]) -> (f32[2]) {
              %4: f32[2] = tanh %0
              %5: f32[] = exp %1
              %6: f32[2] = scan {length=5, reverse=false, unroll=1, constants=3, carry=1, body=func @body(%0: f32[], %1: f32[], %2: f32[2], %3: f32[2], %4: f32[2]) -> (f32[2]) {
                %5: f32[2] = broadcast {shape=[2], axes=[]} %1
                %6: f32[2] = broadcast {shape=[2], axes=[]} %0
                %7: f32[2] = mul %3 %2
                %8: f32[2] = mul %7 %5
                %9: f32[2] = mul %8 %6
                %10: f32[2] = add %9 %4
                return %10
              }} %1 %5 %4 %2 %3
              return %6
            }
        "#]],
    );
}

#[test]
fn constants_stay_in_the_loop_and_what_is_computed_of_them_leaves() {
    check(
        r#"func @f(%0: f32[2], %1: f32[5,3]) -> (f32[2]) {
            %2: f32[2] = scan {length=5, reverse=false, unroll=1, constants=0, carry=1, body=func @body(%0: f32[2], %1: f32[3]) -> (f32[2]) {
                %2: f32[2,3] = constant {value=f32[2,3](1.0, 2.0, 3.0, 4.0, 5.0, 6.0), name="w"}
                %3: f32[3,2] = transpose {permutation=[1, 0]} %2
                %4: f32[2] = dot {lhs_contract=[0], rhs_contract=[0], lhs_batch=[], rhs_batch=[]} %1 %3
                %5: f32[2] = constant {value=f32[2](1.0, 2.0), name="k"}
                %6: f32[2] = exp %5
                %7: f32[2] = mul %0 %6
                %8: f32[2] = add %7 %4
                return %8
            }} %0 %1
            return %2
        }"#,
        expect![[r#"
            func @f(%0: f32[2], %1: f32[5,3]) -> (f32[2]) {
              %2: f32[2] = constant {value=f32[2](1.0, 2.0), name="k"}
              %3: f32[2] = exp %2
              %4: f32[2] = scan {length=5, reverse=false, unroll=1, constants=1, carry=1, body=func @body(%0: f32[2], %1: f32[2], %2: f32[3]) -> (f32[2]) {
                %3: f32[2,3] = constant {value=f32[2,3](1.0, 2.0, 3.0, 4.0, 5.0, 6.0), name="w"}
                %4: f32[3,2] = transpose {permutation=[1, 0]} %3
                %5: f32[2] = dot {lhs_contract=[0], rhs_contract=[0], lhs_batch=[], rhs_batch=[]} %2 %4
                %6: f32[2] = mul %1 %0
                %7: f32[2] = add %6 %5
                return %7
              }} %3 %0 %1
              return %4
            }
        "#]],
    );
}

#[test]
fn what_is_invariant_leaves_all_loops_that_it_is_invariant_in() {
    // The innermost loop multiplies by tanh of an argument and by exp of the outer carry. The loop in
    // the middle is the same at every step of the outer one, but for what it begins with.
    check(
        "func @f(%0: f32[], %1: f32[]) -> (f32[]) {
            %2: f32[] = scan {length=5, reverse=false, unroll=1, constants=1, carry=1, body=func @outer(%0: f32[], %1: f32[]) -> (f32[]) {
                %2: f32[] = scan {length=7, reverse=false, unroll=1, constants=2, carry=1, body=func @inner(%0: f32[], %1: f32[], %2: f32[]) -> (f32[]) {
                    %3: f32[] = tanh %0
                    %4: f32[] = exp %1
                    %5: f32[] = mul %2 %3
                    %6: f32[] = mul %5 %4
                    return %6
                }} %0 %1 %1
                return %2
            }} %0 %1
            return %2
        }",
        expect![[r#"
            func @f(%0: f32[], %1: f32[]) -> (f32[]) {
              %2: f32[] = tanh %0
              %3: f32[] = scan {length=5, reverse=false, unroll=1, constants=1, carry=1, body=func @outer(%0: f32[], %1: f32[]) -> (f32[]) {
                %2: f32[] = exp %1
                %3: f32[] = scan {length=7, reverse=false, unroll=1, constants=2, carry=1, body=func @inner(%0: f32[], %1: f32[], %2: f32[]) -> (f32[]) {
                  %3: f32[] = mul %2 %0
                  %4: f32[] = mul %3 %1
                  return %4
                }} %0 %2 %1
                return %3
              }} %2 %1
              return %3
            }
        "#]],
    );
}

#[test]
fn a_loop_that_is_invariant_leaves_as_a_whole() {
    check(
        "func @f(%0: f32[], %1: f32[]) -> (f32[]) {
            %2: f32[] = scan {length=5, reverse=false, unroll=1, constants=1, carry=1, body=func @outer(%0: f32[], %1: f32[]) -> (f32[]) {
                %2: f32[] = scan {length=7, reverse=false, unroll=1, constants=0, carry=1, body=func @inner(%0: f32[]) -> (f32[]) {
                    %1: f32[] = sin %0
                    return %1
                }} %0
                %3: f32[] = add %1 %2
                return %3
            }} %0 %1
            return %2
        }",
        expect![[r#"
            func @f(%0: f32[], %1: f32[]) -> (f32[]) {
              %2: f32[] = scan {length=7, reverse=false, unroll=1, constants=0, carry=1, body=func @inner(%0: f32[]) -> (f32[]) {
                %1: f32[] = sin %0
                return %1
              }} %0
              %3: f32[] = scan {length=5, reverse=false, unroll=1, constants=1, carry=1, body=func @outer(%0: f32[], %1: f32[]) -> (f32[]) {
                %2: f32[] = add %1 %0
                return %2
              }} %2 %1
              return %3
            }
        "#]],
    );
}

#[test]
fn a_carry_that_is_passed_on_is_a_constant() {
    // The inner loop passes %1 on, so that the outer one does, and what is computed of it leaves.
    check(
        "func @f(%0: f32[], %1: f32[]) -> (f32[], f32[]) {
            %2: f32[], %3: f32[] = scan {length=5, reverse=false, unroll=1, constants=0, carry=2, body=func @outer(%0: f32[], %1: f32[]) -> (f32[], f32[]) {
                %2: f32[], %3: f32[] = scan {length=7, reverse=false, unroll=1, constants=0, carry=2, body=func @inner(%0: f32[], %1: f32[]) -> (f32[], f32[]) {
                    %2: f32[] = sin %1
                    %3: f32[] = mul %0 %2
                    return %3, %1
                }} %0 %1
                return %2, %3
            }} %0 %1
            return %2, %3
        }",
        expect![[r#"
            func @f(%0: f32[], %1: f32[]) -> (f32[], f32[]) {
              %2: f32[] = sin %1
              %3: f32[] = scan {length=5, reverse=false, unroll=1, constants=1, carry=1, body=func @outer(%0: f32[], %1: f32[]) -> (f32[]) {
                %2: f32[] = scan {length=7, reverse=false, unroll=1, constants=1, carry=1, body=func @inner(%0: f32[], %1: f32[]) -> (f32[]) {
                  %2: f32[] = mul %1 %0
                  return %2
                }} %0 %1
                return %2
              }} %2 %0
              return %3, %1
            }
        "#]],
    );
}

#[test]
fn a_loop_that_only_passes_on_is_no_loop() {
    check(
        "func @f(%0: f32[], %1: f32[5]) -> (f32[], f32[5]) {
            %2: f32[], %3: f32[5] = scan {length=5, reverse=true, unroll=1, constants=0, carry=1, body=func @body(%0: f32[], %1: f32[]) -> (f32[], f32[]) {
                return %0, %1
            }} %0 %1
            return %2, %3
        }",
        expect![[r#"
            func @f(%0: f32[], %1: f32[5]) -> (f32[], f32[5]) {
              return %0, %1
            }
        "#]],
    );
}

#[test]
fn carries_that_change_places_stay_carries() {
    check_stays(
        "func @f(%0: f32[], %1: f32[]) -> (f32[], f32[]) {
            %2: f32[], %3: f32[] = scan {length=5, reverse=false, unroll=1, constants=0, carry=2, body=func @body(%0: f32[], %1: f32[]) -> (f32[], f32[]) {
                return %1, %0
            }} %0 %1
            return %2, %3
        }",
    );
}

#[test]
fn a_y_is_not_stacked_if_it_is_there_already() {
    // One of the xs, the same at every step, computed of what is the same, and another y.
    check(
        "func @f(%0: f32[], %1: f32[], %2: f32[5]) -> (f32[], f32[5], f32[5], f32[5], f32[5], f32[5]) {
            %3: f32[], %4: f32[5], %5: f32[5], %6: f32[5], %7: f32[5], %8: f32[5] = scan {length=5, reverse=true, unroll=1, constants=1, carry=1, body=func @body(%0: f32[], %1: f32[], %2: f32[]) -> (f32[], f32[], f32[], f32[], f32[], f32[]) {
                %3: f32[] = mul %1 %2
                %4: f32[] = exp %0
                return %3, %2, %0, %4, %1, %1
            }} %0 %1 %2
            return %3, %4, %5, %6, %7, %8
        }",
        expect![[r#"
            func @f(%0: f32[], %1: f32[], %2: f32[5]) -> (f32[], f32[5], f32[5], f32[5], f32[5], f32[5]) {
              %3: f32[] = exp %0
              %4: f32[], %5: f32[5] = scan {length=5, reverse=true, unroll=1, constants=0, carry=1, body=func @body(%0: f32[], %1: f32[]) -> (f32[], f32[]) {
                %2: f32[] = mul %0 %1
                return %2, %0
              }} %1 %2
              %6: f32[5] = broadcast {shape=[5], axes=[]} %0
              %7: f32[5] = broadcast {shape=[5], axes=[]} %3
              return %4, %2, %6, %7, %5, %5
            }
        "#]],
    );
}

#[test]
fn what_is_handed_to_a_loop_twice_is_one_in_it() {
    check(
        "func @f(%0: f32[], %1: f32[5]) -> (f32[]) {
            %2: f32[] = scan {length=5, reverse=false, unroll=1, constants=2, carry=1, body=func @body(%0: f32[], %1: f32[], %2: f32[], %3: f32[], %4: f32[]) -> (f32[]) {
                %5: f32[] = mul %0 %3
                %6: f32[] = mul %1 %4
                %7: f32[] = add %5 %6
                %8: f32[] = add %2 %7
                return %8
            }} %0 %0 %0 %1 %1
            return %2
        }",
        expect![[r#"
            func @f(%0: f32[], %1: f32[5]) -> (f32[]) {
              %2: f32[] = scan {length=5, reverse=false, unroll=1, constants=1, carry=1, body=func @body(%0: f32[], %1: f32[], %2: f32[]) -> (f32[]) {
                %3: f32[] = mul %0 %2
                %4: f32[] = add %3 %3
                %5: f32[] = add %1 %4
                return %5
              }} %0 %0 %1
              return %2
            }
        "#]],
    );
}

#[test]
fn a_loop_of_no_step_gives_what_it_began_with() {
    check(
        "func @f(%0: f32[], %1: f32[0,2]) -> (f32[], f32[0,2], f32[0]) {
            %2: f32[], %3: f32[0,2], %4: f32[0] = scan {length=0, reverse=false, unroll=1, constants=0, carry=1, body=func @body(%0: f32[], %1: f32[2]) -> (f32[], f32[2], f32[]) {
                %2: f32[] = exp %0
                return %2, %1, %0
            }} %0 %1
            return %2, %3, %4
        }",
        expect![[r#"
            func @f(%0: f32[], %1: f32[0,2]) -> (f32[], f32[0,2], f32[0]) {
              %2: f32[0,2] = constant {value=f32[0,2](), name=""}
              %3: f32[0] = constant {value=f32[0](), name=""}
              return %0, %2, %3
            }
        "#]],
    );
}

#[test]
fn a_while_loop_carries_and_computes_no_more_than_it_must() {
    // The limit is carried, and passed on; its root and the step's factor are the same every time.
    check(
        "func @f(%0: f32[], %1: f32[], %2: f32[]) -> (f32[], f32[]) {
            %3: f32[], %4: f32[] = while {max_steps=none, condition_captures=0, body_captures=1, condition=func @condition(%0: f32[], %1: f32[]) -> (bool[]) {
                %2: f32[] = sqrt %1
                %3: bool[] = lt %0 %2
                return %3
            }, body=func @body(%0: f32[], %1: f32[], %2: f32[]) -> (f32[], f32[]) {
                %3: f32[] = exp %0
                %4: f32[] = mul %1 %3
                return %4, %2
            }} %2 %0 %1
            return %3, %4
        }",
        expect![[r#"
            func @f(%0: f32[], %1: f32[], %2: f32[]) -> (f32[], f32[]) {
              %3: f32[] = sqrt %1
              %4: f32[] = exp %2
              %5: f32[] = while {max_steps=none, condition_captures=1, body_captures=1, condition=func @condition(%0: f32[], %1: f32[]) -> (bool[]) {
                %2: bool[] = lt %1 %0
                return %2
              }, body=func @body(%0: f32[], %1: f32[]) -> (f32[]) {
                %2: f32[] = mul %1 %0
                return %2
              }} %3 %4 %0
              return %5, %1
            }
        "#]],
    );
}

/// A while loop may make no step, and a loop in it might not end.
#[test]
fn a_loop_does_not_leave_a_while_loop() {
    check_stays(
        "func @f(%0: f32[], %1: f32[]) -> (f32[]) {
            %2: f32[] = while {max_steps=none, condition_captures=0, body_captures=1, condition=func @condition(%0: f32[]) -> (bool[]) {
                %1: bool[] = lt %0 %0
                return %1
            }, body=func @body(%0: f32[], %1: f32[]) -> (f32[]) {
                %2: f32[] = while {max_steps=none, condition_captures=0, body_captures=0, condition=func @always(%0: f32[]) -> (bool[]) {
                    %1: bool[] = eq %0 %0
                    return %1
                }, body=func @inner(%0: f32[]) -> (f32[]) {
                    %1: f32[] = neg %0
                    return %1
                }} %0
                %3: f32[] = add %1 %2
                return %3
            }} %1 %0
            return %2
        }",
    );
}

/// No rule of arithmetic is used: each of these has another value where there is a NaN, an infinity, a
/// negative zero or a rounding.
#[test]
fn numbers_are_not_computed_otherwise() {
    check_stays(
        r#"func @f(%0: f32[], %1: f32[]) -> (f32[], f32[], f32[], f32[], f32[]) {
            %2: f32[] = constant {value=f32[](0.0), name=""}
            %3: f32[] = mul %0 %2
            %4: f32[] = add %0 %2
            %5: f32[] = sub %0 %0
            %6: f32[] = div %0 %0
            %7: f32[] = add %0 %1
            %8: f32[] = sub %7 %1
            return %3, %4, %5, %6, %8
        }"#,
    );
}

/// What was recorded can be looked at, and so can what is compiled.
#[test]
fn both_forms_can_be_seen() {
    let lowered =
        jit(|x: Tensor| x.tanh() + x.tanh()).lower(Tensor::ones([2], DType::F32)).unwrap();
    assert_eq!(lowered.func().equations().len(), 3);
    assert_eq!(lowered.simplified().equations().len(), 2);
    assert_eq!(lowered.func().simplified(), *lowered.simplified());
    assert_eq!(lowered.hlo().unwrap().matches(" tanh(").count(), 1);
}
