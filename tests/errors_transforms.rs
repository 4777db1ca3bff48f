//! The messages of mistakes with derivatives, batches and rules of the user's own: each states the rule, names
//! the leaf and both sides, says what helps, and has the place in the user's code.
//!
//! In the messages below, the code of a line stands in place of its number.

mod common;

use common::messages::{expect_error, zeros};
use expect_test::expect;
use onetrace::ErrorKind::{self, Argument, Shape};
use onetrace::prelude::*;
use onetrace::{
    Checkpoint, SAME, Vmap, checkpoint, custom_jvp, custom_vjp, hessian, hvp, jacfwd, jacrev,
    linearize,
};

#[derive(Clone, Debug, Tree)]
struct Model {
    weights: Vec<Tensor>,
    bias: Option<Tensor>,
}

fn model() -> Model {
    Model { weights: vec![zeros([2, 3]), zeros([3])], bias: Some(zeros([2])) }
}

fn ints<const N: usize>(shape: [usize; N]) -> Tensor {
    Tensor::zeros(shape, DType::I32)
}

/// The sum of all leaves, as `f32`.
fn total(model: Model) -> Tensor {
    let sum = |x: Tensor| x.astype(DType::F32).sum(..);
    tree::leaves(&model).into_iter().map(sum).fold(zeros([]), |a, b| a + b)
}

// Gradients.

#[test]
fn the_gradient_of_a_vector() {
    let gradient = grad(|x: Tensor| x.sin())(zeros([3]));
    expect_error(
        gradient.check(),
        Shape,
        expect![[r#"
        grad: the function must return a scalar, shape [], but it returns f32[3]: reduce it with `sum` or `mean`, or use `vjp` or `jacrev`
          at `let gradient = grad(|x: Tensor| x.sin())(zeros([3]));`
          in grad"#]],
    );
    let both = value_and_grad(|m: Model| &m.weights[1] * 2.0)(model());
    expect_error(
        tree::check(&both),
        Shape,
        expect![[r#"
        value_and_grad: the function must return a scalar, shape [], but it returns f32[3]: reduce it with `sum` or `mean`, or use `vjp` or `jacrev`
          at `let both = value_and_grad(|m: Model| &m.weights[1] * 2.0)(model());`
          in value_and_grad"#]],
    );
    let matrix = hessian(|x: Tensor| x.reshape([1]))(zeros([]));
    expect_error(
        matrix.check(),
        Shape,
        expect![[r#"
        hessian: the function must return a scalar, shape [], but it returns f32[1]: reduce it with `sum` or `mean`, or use `vjp` or `jacrev`
          at `let matrix = hessian(|x: Tensor| x.reshape([1]))(zeros([]));`
          in hessian"#]],
    );
    let product = hvp(|x: Tensor| x, zeros([2]), zeros([2]));
    expect_error(
        product.check(),
        Shape,
        expect![[r#"
        hvp: the function must return a scalar, shape [], but it returns f32[2]: reduce it with `sum` or `mean`, or use `vjp` or `jacrev`
          at `let product = hvp(|x: Tensor| x, zeros([2]), zeros([2]));`
          in hvp"#]],
    );
}

#[test]
fn the_gradient_of_a_count() {
    let count = |x: Tensor| x.gt(0.0).astype(DType::I32).sum(..);
    let gradient = grad(count)(zeros([3]));
    expect_error(
        gradient.check(),
        ErrorKind::DType,
        expect![[r#"
        grad: the function must return a floating scalar, but it returns i32[]: integers have no derivative, so return a float that follows the arguments
          at `let gradient = grad(count)(zeros([3]));`
          in grad"#]],
    );
}

#[test]
fn the_gradient_by_integers() {
    let gradient = grad(|n: Tensor| n.astype(DType::F32))(ints([]));
    expect_error(
        gradient.check(),
        ErrorKind::DType,
        expect![[r#"
        grad: only floating tensors have derivatives, but there are others:
          arg: i32[]
          let the function capture what is held fixed, or convert it with `astype`
          at `let gradient = grad(|n: Tensor| n.astype(DType::F32))(ints([]));`
          in grad"#]],
    );
    let model = Model { weights: vec![zeros([2]), ints([4])], bias: Some(ints([])) };
    let gradient = grad(total)(model.clone());
    expect_error(
        tree::check(&gradient),
        ErrorKind::DType,
        expect![[r#"
        grad: only floating tensors have derivatives, but there are others:
          arg.weights.1: i32[4]
          arg.bias: i32[]
          let the function capture what is held fixed, or convert it with `astype`
          at `let gradient = grad(total)(model.clone());`
          in grad"#]],
    );
    let (value, _) = vjp(total, model.clone());
    expect_error(
        value.check(),
        ErrorKind::DType,
        expect![[r#"
        vjp: only floating tensors have derivatives, but there are others:
          arg.weights.1: i32[4]
          arg.bias: i32[]
          let the function capture what is held fixed, or convert it with `astype`
          at `let (value, _) = vjp(total, model.clone());`
          in vjp"#]],
    );
    let (value, _) = linearize(total, model);
    expect_error(
        value.check(),
        ErrorKind::DType,
        expect![[r#"
        linearize: only floating tensors have derivatives, but there are others:
          arg.weights.1: i32[4]
          arg.bias: i32[]
          let the function capture what is held fixed, or convert it with `astype`
          at `let (value, _) = linearize(total, model);`
          in linearize"#]],
    );
    let (value, _) = jvp(|n: Tensor| n, ints([]), ints([]));
    expect_error(
        value.check(),
        ErrorKind::DType,
        expect![[r#"
        jvp: only floating tensors have derivatives, but there are others:
          arg: i32[]
          let the function capture what is held fixed, or convert it with `astype`
          at `let (value, _) = jvp(|n: Tensor| n, ints([]), ints([]));`
          in jvp"#]],
    );
    let jacobian = jacrev(|n: Tensor| n)(ints([2]));
    expect_error(
        jacobian.check(),
        ErrorKind::DType,
        expect![[r#"
            jacrev: only floating tensors have derivatives, but there are others:
              arg: i32[2]
              let the function capture what is held fixed, or convert it with `astype`
              at `let jacobian = jacrev(|n: Tensor| n)(ints([2]));`
              in jacrev"#]],
    );
}

#[test]
fn a_jacobian_of_integers() {
    let whole = |x: Tensor| x.astype(DType::I32);
    let jacobian = jacrev(whole)(zeros([2]));
    expect_error(
        jacobian.check(),
        ErrorKind::DType,
        expect![[r#"
        jacrev: the function must return a floating tensor, but it returns i32[2]: integers have no derivative, so return a float that follows the argument
          at `let jacobian = jacrev(whole)(zeros([2]));`
          in jacrev"#]],
    );
    let jacobian = jacfwd(whole)(zeros([2]));
    expect_error(
        jacobian.check(),
        ErrorKind::DType,
        expect![[r#"
        jacfwd: the function must return a floating tensor, but it returns i32[2]: integers have no derivative, so return a float that follows the argument
          at `let jacobian = jacfwd(whole)(zeros([2]));`
          in jacfwd"#]],
    );
}

/// What the message says is told where the loop is tested; here, that it names the loop and its line.
#[test]
fn the_gradient_through_a_while_loop() {
    let step = |c: Tensor, x: Tensor| {
        let next = while_loop(|c: Tensor| c.lt(1.0), |c| c * 2.0 + &x, c);
        (next, ())
    };
    let gradient = grad(|x: Tensor| scan(step, zeros([]), x).0)(zeros([3]));
    let error = gradient.check().unwrap_err();
    assert_eq!(error.location().unwrap().line(), line!() - 5, "{error}");
    assert!(error.message().starts_with("while_loop: "), "{error}");
}

#[test]
fn a_mistake_in_what_is_differentiated() {
    let loss = |m: Model| {
        let hidden = m.weights[0].dot(&m.weights[0]);
        hidden.sum(..)
    };
    let gradient = jit(vmap(grad(loss))).call(Model { bias: None, ..batch_of_models() });
    expect_error(
        gradient,
        Shape,
        expect![[r#"
        dot: the contracted axes of f32[2,3] and f32[2,3] differ: axes [1] of the left operand have sizes [3], and axes [0] of the right one [2]
          at `let hidden = m.weights[0].dot(&m.weights[0]);`
          in the grad at `let gradient = jit(vmap(grad(loss))).call(Model { bias: None, ..batch_of_models() });`
          in the vmap at `let gradient = jit(vmap(grad(loss))).call(Model { bias: None, ..batch_of_models() });`"#]],
    );
}

fn batch_of_models() -> Model {
    Model { weights: vec![zeros([4, 2, 3]), zeros([4, 3])], bias: Some(zeros([4, 2])) }
}

// Tangents and cotangents.

#[test]
fn tangents_of_another_type() {
    let tangent = jvp(|x: Tensor| x.sin(), zeros([3]), zeros([3, 1])).1;
    expect_error(
        tangent.check(),
        ErrorKind::Tree,
        expect![[r#"
        jvp: the tangents must have the type of the primals, but they do not:
          arg: f32[3] in the primals, f32[3,1] in the tangents — different rank; drop the last axis
          at `let tangent = jvp(|x: Tensor| x.sin(), zeros([3]), zeros([3, 1])).1;`
          in jvp"#]],
    );
    let other = Model {
        weights: vec![zeros([2, 3]).astype(DType::F16), zeros([3]), zeros([1])],
        bias: None,
    };
    let tangent = jvp(total, model(), other.clone()).1;
    expect_error(
        tangent.check(),
        ErrorKind::Tree,
        expect![[r#"
        jvp: the tangents must have the type of the primals, but they do not:
          arg.weights.0: f32[2,3] in the primals, f16[2,3] in the tangents — different dtype; convert the value in the tangents with `.astype(DType::F32)`
          arg.bias: f32[2] in the primals, missing in the tangents
          arg.weights.2: missing in the primals, f32[1] in the tangents
          at `let tangent = jvp(total, model(), other.clone()).1;`
          in jvp"#]],
    );
    let (_, along) = linearize(total, model());
    expect_error(
        along(other).check(),
        ErrorKind::Tree,
        expect![[r#"
        linearize: the tangents must have the type of the primals, but they do not:
          arg.weights.0: f32[2,3] in the primals, f16[2,3] in the tangents — different dtype; convert the value in the tangents with `.astype(DType::F32)`
          arg.bias: f32[2] in the primals, missing in the tangents
          arg.weights.2: missing in the primals, f32[1] in the tangents
          at `let (_, along) = linearize(total, model());`
          in linear"#]],
    );
    let product = hvp(|x: Tensor| x.sum(..), zeros([2]), zeros([3]));
    expect_error(
        product.check(),
        ErrorKind::Tree,
        expect![[r#"
        hvp: the tangents must have the type of the primals, but they do not:
          arg: f32[2] in the primals, f32[3] in the tangents — different shape
          at `let product = hvp(|x: Tensor| x.sum(..), zeros([2]), zeros([3]));`
          in hvp"#]],
    );
}

#[test]
fn cotangents_of_another_type() {
    let (_, pullback) = vjp(|x: Tensor| (x.sum(0), x), zeros([2, 3]));
    let back = pullback((zeros([2]), zeros([2, 3]).astype(DType::F64)));
    expect_error(
        back.check(),
        ErrorKind::Tree,
        expect![[r#"
        vjp: the cotangents must have the type of the value, but they do not:
          value.0: f32[3] in the value, f32[2] in the cotangents — different shape
          value.1: f32[2,3] in the value, f64[2,3] in the cotangents — different dtype; convert the value in the cotangents with `.astype(DType::F32)`
          at `let (_, pullback) = vjp(|x: Tensor| (x.sum(0), x), zeros([2, 3]));`
          in pullback"#]],
    );
}

// Batches.

#[test]
fn batches_of_different_sizes() {
    let sums = vmap(|(m, x): (Model, Tensor)| total(m) + x)((model(), zeros([2])));
    expect_error(
        sums.check(),
        Shape,
        expect![[r#"
        vmap: there must be the same number of members along every axis, but:
          arg.0.weights.0: f32[2,3] has 2 along axis 0
          arg.0.weights.1: f32[3] has 3 along axis 0
          arg.0.bias: f32[2] has 2 along axis 0
          arg.1: f32[2] has 2 along axis 0
          at `let sums = vmap(|(m, x): (Model, Tensor)| total(m) + x)((model(), zeros([2])));`
          what is the same for all members is `SAME`: `in_axes((0, SAME))`
          in vmap"#]],
    );
    let sums = Vmap::new().axis_size(4).run(total, model());
    expect_error(
        sums.check(),
        Shape,
        expect![[r#"
        vmap: there must be axis_size, 4, members along every axis, but:
          arg.weights.0: f32[2,3] has 2 along axis 0
          arg.weights.1: f32[3] has 3 along axis 0
          arg.bias: f32[2] has 2 along axis 0
          at `let sums = Vmap::new().axis_size(4).run(total, model());`
          what is the same for all members is `SAME`: `in_axes((0, SAME))`
          in vmap"#]],
    );
}

#[test]
fn axes_of_batches_that_are_not_there() {
    let sums = vmap(|(x, y): (Tensor, Tensor)| x + y)((zeros([2]), zeros([])));
    expect_error(
        sums.check(),
        Shape,
        expect![[r#"
        vmap: arg.1: axis 0 is out of range: a scalar has no axes
          at `let sums = vmap(|(x, y): (Tensor, Tensor)| x + y)((zeros([2]), zeros([])));`
          what is the same for all members is `SAME`: `in_axes((0, SAME))`
          in vmap"#]],
    );
    let sums = Vmap::new().in_axes(2).run(|x: Tensor| x, zeros([2, 3]));
    expect_error(
        sums.check(),
        Shape,
        expect![[r#"
        vmap: arg: axis 2 is out of range for a tensor of rank 2: it must be in -2..2
          at `let sums = Vmap::new().in_axes(2).run(|x: Tensor| x, zeros([2, 3]));`
          what is the same for all members is `SAME`: `in_axes((0, SAME))`
          in vmap"#]],
    );
    let sums = Vmap::new()
        .in_axes((0, -2))
        .run(|(x, y): (Tensor, Tensor)| x + y, (zeros([2]), zeros([2])));
    expect_error(
        sums.check(),
        Shape,
        expect![[r#"
            vmap: arg.1: axis -2 is out of range for a tensor of rank 1: it must be in -1..1
              at `.run(|(x, y): (Tensor, Tensor)| x + y, (zeros([2]), zeros([2])));`
              what is the same for all members is `SAME`: `in_axes((0, SAME))`
              in vmap"#]],
    );
    let sums = Vmap::new().out_axes(2).run(|x: Tensor| x, zeros([2, 3]));
    expect_error(
        sums.check(),
        Shape,
        expect![[r#"
        vmap: result: axis 2 is out of range for a tensor of rank 2: it must be in -2..2
          at `let sums = Vmap::new().out_axes(2).run(|x: Tensor| x, zeros([2, 3]));`
          in vmap"#]],
    );
}

#[test]
fn axes_of_batches_for_another_tree() {
    let f = |(x, y): (Tensor, Tensor)| (x, y);
    let pair = || (zeros([2]), zeros([2]));
    let results = Vmap::new().in_axes((0, 0, 0)).run(f, pair());
    expect_error(
        tree::check(&results),
        ErrorKind::Tree,
        expect![[r#"
        vmap: in_axes is for 3 parts, but arg has 2
          at `let results = Vmap::new().in_axes((0, 0, 0)).run(f, pair());`
          what is the same for all members is `SAME`: `in_axes((0, SAME))`
          in vmap"#]],
    );
    let results = Vmap::new().in_axes((0, (0, SAME))).run(f, pair());
    expect_error(
        tree::check(&results),
        ErrorKind::Tree,
        expect![[r#"
        vmap: in_axes is for parts of arg.1, which has none
          at `let results = Vmap::new().in_axes((0, (0, SAME))).run(f, pair());`
          what is the same for all members is `SAME`: `in_axes((0, SAME))`
          in vmap"#]],
    );
    let results = Vmap::new().out_axes((0,)).run(f, pair());
    expect_error(
        tree::check(&results),
        ErrorKind::Tree,
        expect![[r#"
        vmap: out_axes is for 1 parts, but result has 2
          at `let results = Vmap::new().out_axes((0,)).run(f, pair());`
          in vmap"#]],
    );
}

#[test]
fn batches_of_unknown_or_absurd_size() {
    let same = Vmap::new().in_axes(SAME).run(|x: Tensor| x, zeros([2]));
    expect_error(
        same.check(),
        Argument,
        expect![[r#"
        vmap: no argument has an axis for the members, so their number must be given: Vmap::new().axis_size(n)
          at `let same = Vmap::new().in_axes(SAME).run(|x: Tensor| x, zeros([2]));`
          in vmap"#]],
    );
    let nothing = vmap(|()| zeros([2]))(());
    expect_error(
        nothing.check(),
        Argument,
        expect![[r#"
        vmap: no argument has an axis for the members, so their number must be given: Vmap::new().axis_size(n)
          at `let nothing = vmap(|()| zeros([2]))(());`
          in vmap"#]],
    );
    let result = Vmap::new().out_axes(SAME).run(|x: Tensor| (x.sum(..), zeros([])), zeros([2, 3]));
    expect_error(
        tree::check(&result),
        Argument,
        expect![[r#"
        vmap: out_axes says that result.0 is the same for all members, but it depends on them: give it an axis
          at `let result = Vmap::new().out_axes(SAME).run(|x: Tensor| (x.sum(..), zeros([])), zeros([2, 3]));`
          in vmap"#]],
    );
    let huge = Vmap::new().in_axes(SAME).axis_size(usize::MAX).run(|x: Tensor| x, zeros([2]));
    expect_error(
        huge.check(),
        Shape,
        expect![[r#"
        broadcast: the result would be f32[18446744073709551615,2], which no memory can hold
          at `let huge = Vmap::new().in_axes(SAME).axis_size(usize::MAX).run(|x: Tensor| x, zeros([2]));`
          in vmap"#]],
    );
}

// Rules of the user's own.

#[test]
fn a_forward_rule_with_results_of_another_type() {
    let f = custom_jvp(|x: Tensor| x.sum(..), |x: Tensor, t: Tensor| (x.sum(0), t.sum(0)));
    expect_error(
        f(zeros([2, 3])).check(),
        ErrorKind::Tree,
        expect![[r#"
        custom_jvp: the value that the rule returns must have the type of the result:
          result: f32[] from the function, f32[3] from the rule — different rank
            (value from the rule made at `let f = custom_jvp(|x: Tensor| x.sum(..), |x: Tensor, t: Tensor| (x.sum(0), t.sum(0)));`)
          at `let f = custom_jvp(|x: Tensor| x.sum(..), |x: Tensor, t: Tensor| (x.sum(0), t.sum(0)));`"#]],
    );
    let half = |t: Tensor| t.astype(DType::F16);
    let f = custom_jvp(|x: Tensor| x.sin(), |x: Tensor, t: Tensor| (x.sin(), half(t)));
    expect_error(
        f(zeros([2, 3])).check(),
        ErrorKind::Tree,
        expect![[r#"
        custom_jvp: the tangent that the rule returns must have the type of the result:
          result: f32[2,3] from the function, f16[2,3] from the rule — different dtype; convert the value from the rule with `.astype(DType::F32)`
            (value from the rule made at `let half = |t: Tensor| t.astype(DType::F16);`)
          at `let f = custom_jvp(|x: Tensor| x.sin(), |x: Tensor, t: Tensor| (x.sin(), half(t)));`"#]],
    );
}

#[test]
fn a_forward_rule_that_is_not_linear() {
    let f = custom_jvp(|x: Tensor| x.sin(), |x: Tensor, t: Tensor| (x.sin(), &t * &t));
    expect_error(
        grad(f)(zeros([])).check(),
        Argument,
        expect![[r#"
        mul: the operation is not linear in what is differentiated, so it has no transpose: the rule of a `custom_jvp` must be linear in the tangents
          at `let f = custom_jvp(|x: Tensor| x.sin(), |x: Tensor, t: Tensor| (x.sin(), &t * &t));`
          in grad"#]],
    );
    let f = custom_jvp(|x: Tensor| x.sin(), |x: Tensor, t: Tensor| (x.sin(), t.exp()));
    expect_error(
        grad(f)(zeros([])).check(),
        Argument,
        expect![[r#"
        exp: the operation is not linear in what is differentiated, so it has no transpose: the rule of a `custom_jvp` must be linear in the tangents
          at `let f = custom_jvp(|x: Tensor| x.sin(), |x: Tensor, t: Tensor| (x.sin(), t.exp()));`
          in grad"#]],
    );
}

#[test]
fn a_reverse_rule_with_results_of_another_type() {
    let forward = |x: Tensor| (x.sum(0), x);
    let f = custom_vjp(|x: Tensor| x.sum(..), forward, |x: Tensor, _| x);
    expect_error(
        f(zeros([2, 3])).check(),
        ErrorKind::Tree,
        expect![[r#"
        custom_vjp: the value that `forward` returns must have the type of the result:
          result: f32[] from the function, f32[3] from `forward` — different rank
            (value from `forward` made at `let forward = |x: Tensor| (x.sum(0), x);`)
          at `let f = custom_vjp(|x: Tensor| x.sum(..), forward, |x: Tensor, _| x);`"#]],
    );
    let forward = |m: Model| (total(m), ());
    let f = custom_vjp(total, forward, |(), ct: Tensor| Model { weights: vec![ct], bias: None });
    expect_error(
        f(model()).check(),
        ErrorKind::Tree,
        expect![[r#"
        custom_vjp: the cotangents that `backward` returns must have the type of the arguments:
          arg.weights.0: f32[2,3] in the arguments, f32[] from `backward` — different rank
            (value from `backward` made at `let f = custom_vjp(total, forward, |(), ct: Tensor| Model { weights: vec![ct], bias: None });`)
          arg.weights.1: f32[3] in the arguments, missing from `backward`
          arg.bias: f32[2] in the arguments, missing from `backward`
          at `let f = custom_vjp(total, forward, |(), ct: Tensor| Model { weights: vec![ct], bias: None });`"#]],
    );
}

#[test]
fn forward_mode_through_a_reverse_rule() {
    let f = custom_vjp(|x: Tensor| x.sin(), |x: Tensor| (x.sin(), x), |_: Tensor, ct: Tensor| ct);
    let tangent = jvp(&f, zeros([2]), zeros([2])).1;
    expect_error(
        tangent.check(),
        Argument,
        expect![[r#"
        custom_vjp: the function has a reverse mode of its own, so there is no forward mode through it: use `grad` or `vjp`, or give a rule for forward mode with `custom_jvp`
          at `let tangent = jvp(&f, zeros([2]), zeros([2])).1;`"#]],
    );
}

#[test]
fn a_rule_that_captures_what_is_differentiated() {
    let loss = |(w, x): (Tensor, Tensor)| {
        let scaled = custom_jvp(|x: Tensor| x * &w, |x: Tensor, t: Tensor| (x * &w, t * &w));
        scaled(x).sum(..)
    };
    let gradient = grad(loss)((zeros([2]), zeros([2])));
    expect_error(
        tree::check(&gradient),
        Argument,
        expect![[r#"
        custom_jvp: the function captured a tensor of type f32[2] that is being differentiated, which its rule knows nothing of: make it an argument, or capture it with `stop_gradient`
          at `let scaled = custom_jvp(|x: Tensor| x * &w, |x: Tensor, t: Tensor| (x * &w, t * &w));`
          in grad"#]],
    );
}

// Checkpoints.

#[test]
fn mistakes_with_checkpoints() {
    let result = checkpoint(|x: Tensor| x.dot(&x))(zeros([2, 3]));
    expect_error(
        result.check(),
        Shape,
        expect![[r#"
        dot: the contracted axes of f32[2,3] and f32[2,3] differ: axes [1] of the left operand have sizes [3], and axes [0] of the right one [2]
          at `let result = checkpoint(|x: Tensor| x.dot(&x))(zeros([2, 3]));`
          in the checkpoint at `let result = checkpoint(|x: Tensor| x.dot(&x))(zeros([2, 3]));`"#]],
    );
    let step = |c: Tensor, x: Tensor| (c + x, ());
    let (last, ()) = Scan::new().checkpoint(Checkpoint::Every(0)).run(step, zeros([]), zeros([3]));
    expect_error(
        last.check(),
        Argument,
        expect![[r#"
            scan: Checkpoint::Every must keep the carry of every 1 or more steps, but it is 0
              at `let (last, ()) = Scan::new().checkpoint(Checkpoint::Every(0)).run(step, zeros([]), zeros([3]));`"#]],
    );
}
