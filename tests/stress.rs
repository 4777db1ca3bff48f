//! Random programs that compose loops, branches and transformations, against the same programs
//! without loops and branches: a loop of Rust around the step, and a select.
//!
//! Some dozen programs are made from a fixed seed. For others, say how many and from which seed:
//!
//! ```text
//! PROPTEST_CASES=2000 PROPTEST_RNG_SEED=7 cargo test --test stress
//! ```

use onetrace::prelude::*;
use onetrace::{Checkpoint, Policy, checkpoint, checkpoint_with, stop_gradient};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};

/// An expression for two numbers. In a step, `Carry` and `X` are those of the loop so many loops
/// further out.
#[derive(Clone, Debug)]
enum Expr {
    Carry(usize),
    X(usize),
    Constant(f64),
    Sin(Box<Expr>),
    Stop(Box<Expr>),
    Add(Box<Expr>, Box<Expr>),
    Mul(Box<Expr>, Box<Expr>),
    /// The second one where the sum of the first one is positive, else the third one.
    Cond([Box<Expr>; 3]),
    Loop(Box<Loop>),
    /// The transformation, of the expression as a function of the innermost carry.
    Transformed(Transform, Box<Expr>),
}

/// Makes a function of two numbers another one.
#[derive(Clone, Copy, Debug)]
enum Transform {
    Jit,
    /// The gradient of the sum of the sines of the results.
    Grad,
    /// The tangents along a fixed direction.
    Jvp,
    /// The gradient along a direction by forward over reverse mode.
    Hvp,
    /// The sum of what it gives for two arguments.
    Vmap,
    Checkpoint(Policy),
}

/// The result is the last carry, and the weighted sum of the ys.
#[derive(Clone, Debug)]
struct Loop {
    kind: Kind,
    length: usize,
    init: Expr,
    xs: Expr,
    /// The next carry, and y.
    step: [Expr; 2],
    takes_carry: bool,
    takes_ys: bool,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Scan {
        reverse: bool,
        unroll: usize,
        checkpoint: Checkpoint,
    },
    /// The xs are computed from the counter, and there are no ys.
    Fori,
}

/// With loops, branches and checkpoints, or unrolled.
#[derive(Clone, Copy, PartialEq)]
enum How {
    Composed,
    Unrolled,
}

/// What the step of a loop sees; those of the outer ones come before.
#[derive(Clone)]
struct Frame {
    carry: Tensor,
    x: Tensor,
}

/// The number of steps is known by the index of each. Numbers that differ from step to step.
fn weight(t: &Tensor) -> Tensor {
    (t * 0.7 + 0.4).sin()
}

impl Expr {
    fn eval(&self, env: &[Frame], how: How) -> Tensor {
        let frame = |i: usize| &env[env.len() - 1 - i % env.len()];
        match self {
            Expr::Carry(i) => frame(*i).carry.clone(),
            Expr::X(i) => frame(*i).x.clone(),
            Expr::Constant(c) => Tensor::full([2], *c, DType::F64),
            Expr::Sin(a) => a.eval(env, how).sin(),
            Expr::Stop(a) => stop_gradient(a.eval(env, how)),
            Expr::Add(a, b) => a.eval(env, how) + b.eval(env, how),
            Expr::Mul(a, b) => a.eval(env, how) * b.eval(env, how),
            Expr::Cond([p, a, b]) => {
                let positive = p.eval(env, how).sum(..).gt(0.0123);
                match how {
                    How::Composed => {
                        let (yes, no) = (|()| a.eval(env, how), |()| b.eval(env, how));
                        cond(positive, yes, no, ())
                    }
                    How::Unrolled => select(&positive, a.eval(env, how), b.eval(env, how)),
                }
            }
            Expr::Loop(own) => own.eval(env, how),
            Expr::Transformed(transform, f) => {
                let (outer, last) = (&env[..env.len() - 1], &env[env.len() - 1]);
                let f = |carry: Tensor| {
                    let frame = Frame { carry, x: last.x.clone() };
                    f.eval(&[outer, &[frame]].concat(), how)
                };
                transform.apply(&f, last.carry.clone(), how)
            }
        }
    }

    /// How often an expression is evaluated in the unrolled program, about.
    fn cost(&self) -> usize {
        match self {
            Expr::Carry(_) | Expr::X(_) | Expr::Constant(_) => 1,
            Expr::Sin(a) | Expr::Stop(a) => 1 + a.cost(),
            Expr::Add(a, b) | Expr::Mul(a, b) => 1 + a.cost() + b.cost(),
            Expr::Cond(parts) => 1 + parts.iter().map(|part| part.cost()).sum::<usize>(),
            Expr::Loop(own) => own.cost(),
            Expr::Transformed(transform, f) => transform.cost() * f.cost(),
        }
    }
}

impl Transform {
    fn cost(self) -> usize {
        match self {
            Transform::Jit | Transform::Vmap | Transform::Checkpoint(_) => 1,
            Transform::Jvp => 2,
            Transform::Grad => 3,
            Transform::Hvp => 5,
        }
    }

    fn apply(self, f: &dyn Fn(Tensor) -> Tensor, x: Tensor, how: How) -> Tensor {
        let along = || Tensor::new(&[0.6f64, -0.3], [2]);
        let loss = |x: Tensor| f(x).sin().sum(..);
        match self {
            Transform::Jit => jit(f).call(x).unwrap(),
            Transform::Grad => grad(loss)(x),
            Transform::Jvp => jvp(f, x, along()).1,
            Transform::Hvp => jvp(grad(loss), x, along()).1,
            Transform::Vmap => vmap(f)(stack(&[&x, &(&x * -0.5)], 0)).sum(0),
            Transform::Checkpoint(_) if how == How::Unrolled => f(x),
            Transform::Checkpoint(Policy::Nothing) => checkpoint(f)(x),
            Transform::Checkpoint(policy) => checkpoint_with(policy, f)(x),
        }
    }
}

impl Loop {
    /// The next carry, and y. Sines keep numbers bounded; what counts the steps is an integer.
    fn step(
        &self,
        env: &[Frame],
        how: How,
        (carry, n): (Tensor, Tensor),
        x: Tensor,
    ) -> ((Tensor, Tensor), Tensor) {
        let count = n.astype(DType::F64);
        let env = [env, &[Frame { carry, x }]].concat();
        let [next, y] = self.step.each_ref().map(|part| part.eval(&env, how).sin());
        ((next, n + 1), y * (count * 0.2 + 0.5))
    }

    fn eval(&self, env: &[Frame], how: How) -> Tensor {
        let init = self.init.eval(env, how);
        let start = (init, Tensor::scalar(0, DType::I32));
        let base = self.xs.eval(env, how);
        let weights = weight(&Tensor::arange(self.length, DType::F64)).expand_dims(1);
        let step = |carry, x: Tensor| self.step(env, how, carry, x);
        let (last, ys) = match (how, self.kind) {
            (How::Unrolled, kind) => {
                let reverse = matches!(kind, Kind::Scan { reverse: true, .. });
                let mut ys = vec![Tensor::zeros([2], DType::F64); self.length];
                let mut carry = start;
                for i in 0..self.length {
                    let t = if reverse { self.length - 1 - i } else { i };
                    let y;
                    (carry, y) = step(carry, &base * weights.index(t));
                    ys[t] = y;
                }
                let rows = ys.iter().enumerate();
                let rows = rows.map(|(t, y)| y * weights.index(t));
                (carry.0, rows.fold(Tensor::zeros([2], DType::F64), |sum, y| sum + y))
            }
            (How::Composed, Kind::Scan { reverse, unroll, checkpoint }) => {
                let scan = Scan::new().reverse(reverse).unroll(unroll).checkpoint(checkpoint);
                let ((last, _), ys) = scan.run(step, start, base * &weights);
                (last, (ys * &weights).sum(0))
            }
            (How::Composed, Kind::Fori) => {
                let body = |t: Tensor, carry| step(carry, &base * weight(&t.astype(DType::F64))).0;
                (fori_loop(0, self.length as i32, body, start).0, Tensor::zeros([2], DType::F64))
            }
        };
        let fori = matches!(self.kind, Kind::Fori);
        match (self.takes_carry || fori, self.takes_ys && !fori) {
            (true, true) => last + ys,
            (false, true) => ys,
            _ => last,
        }
    }

    fn cost(&self) -> usize {
        let step: usize = self.step.iter().map(Expr::cost).sum();
        self.init.cost() + self.xs.cost() + self.length * (step + 4)
    }
}

/// Transformations, the last of which is outermost, of a loop as a function of its first carry.
#[derive(Clone, Debug)]
struct Program {
    body: Loop,
    transforms: Vec<Transform>,
}

impl Program {
    /// The program for fixed arguments, compiled as a whole.
    fn run(&self, how: How) -> Result<Vec<f64>> {
        let arguments = [[0.8f64, -0.45], [0.3, 0.7]].map(|x| Tensor::new(&x, [2]));
        let all = |[w, x]: [Tensor; 2]| self.transformed(self.transforms.len(), &w, x, how);
        jit(all).call(arguments)?.to_vec()
    }

    fn transformed(&self, depth: usize, w: &Tensor, x: Tensor, how: How) -> Tensor {
        match depth.checked_sub(1) {
            None => self.body.eval(&[Frame { carry: x, x: w.clone() }], how),
            Some(inner) => {
                let f = |x: Tensor| self.transformed(inner, w, x, how);
                self.transforms[inner].apply(&f, x, how)
            }
        }
    }

    fn cost(&self) -> usize {
        let transforms = self.transforms.iter().map(|transform| transform.cost());
        self.body.cost() * transforms.product::<usize>()
    }
}

fn transform() -> impl Strategy<Value = Transform> {
    use Transform::*;
    let policy = prop_oneof![Just(Policy::Nothing), Just(Policy::Dots), Just(Policy::Everything)];
    let plain = [Jit, Grad, Grad, Jvp, Hvp, Vmap, Vmap].map(Just);
    prop_oneof![7 => proptest::strategy::Union::new(plain), 2 => policy.prop_map(Checkpoint)]
}

fn kind() -> impl Strategy<Value = Kind> {
    let checkpoint = prop_oneof![
        3 => Just(Checkpoint::None),
        2 => (1..4usize).prop_map(Checkpoint::Every),
        1 => Just(Checkpoint::Sqrt),
    ];
    let scan = (any::<bool>(), 1..4usize, checkpoint);
    let scan =
        scan.prop_map(|(reverse, unroll, checkpoint)| Kind::Scan { reverse, unroll, checkpoint });
    prop_oneof![4 => scan, 1 => Just(Kind::Fori)]
}

fn a_loop(part: BoxedStrategy<Expr>) -> impl Strategy<Value = Loop> {
    let shape = (kind(), 0..5usize, any::<bool>(), any::<bool>());
    let parts = (part.clone(), part.clone(), part.clone(), part);
    (shape, parts).prop_map(|((kind, length, takes_carry, takes_ys), (init, xs, next, y))| Loop {
        kind,
        length,
        init,
        xs,
        step: [next, y],
        takes_carry,
        takes_ys,
    })
}

fn expr() -> BoxedStrategy<Expr> {
    let leaf = prop_oneof![
        3 => (0..3usize).prop_map(Expr::Carry),
        3 => (0..3usize).prop_map(Expr::X),
        1 => (-1.0..1.0f64).prop_map(Expr::Constant),
    ];
    let composed = leaf.prop_recursive(4, 24, 4, |part| {
        let boxed = || part.clone().prop_map(Box::new);
        prop_oneof![
            3 => boxed().prop_map(Expr::Sin),
            1 => boxed().prop_map(Expr::Stop),
            3 => (boxed(), boxed()).prop_map(|(a, b)| Expr::Add(a, b)),
            3 => (boxed(), boxed()).prop_map(|(a, b)| Expr::Mul(a, b)),
            2 => [boxed(), boxed(), boxed()].prop_map(Expr::Cond),
            3 => a_loop(part.clone().boxed()).prop_map(|own| Expr::Loop(Box::new(own))),
            2 => (transform(), boxed()).prop_map(|(t, f)| Expr::Transformed(t, f)),
        ]
    });
    composed.boxed()
}

fn program() -> impl Strategy<Value = Program> {
    let all = (a_loop(expr()), prop::collection::vec(transform(), 0..=4));
    let all = all.prop_map(|(body, transforms)| Program { body, transforms });
    // Compiling the unrolled program takes the time.
    all.prop_filter("the unrolled program is large", |program| program.cost() < 1500)
}

#[test]
fn any_composition_is_that_of_the_unrolled_program() {
    let mut config = Config::default();
    let said = |name: &str| std::env::var_os(name).is_some();
    if !said("PROPTEST_CASES") {
        config.cases = 40;
    }
    if !said("PROPTEST_RNG_SEED") {
        config.rng_seed = RngSeed::Fixed(4);
    }
    config.failure_persistence = None;
    config.max_local_rejects = 1_000_000;
    let run = |program: Program| {
        let run = |how| program.run(how).map_err(|error| TestCaseError::fail(error.to_string()));
        let expected = run(How::Unrolled)?;
        // Derivatives of high orders can be so large that what is left of their digits says little.
        prop_assume!(expected.iter().all(|x| x.abs() < 1e6));
        let found = run(How::Composed)?;
        let near = |(a, b): (&f64, &f64)| (a - b).abs() <= 1e-9 * (1.0 + b.abs());
        let same = found.iter().zip(&expected).all(near);
        prop_assert!(same, "{found:?}, but unrolled {expected:?}");
        Ok(())
    };
    if let Err(error) = TestRunner::new(config).run(&program(), run) {
        panic!("{error}");
    }
}
