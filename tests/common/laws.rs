//! The laws of the transformations, for a function of tensors:
//!
//! 1. `jvp` is what finite differences say;
//! 2. ⟨J v, w⟩ = ⟨v, Jᵀ w⟩: `vjp` is the transpose of `jvp`;
//! 3. both hold for the function `x -> Jᵀ(x) w`, too;
//! 4. `vmap` is a loop over the members, whichever arguments have a batch axis and wherever it is;
//! 5. what the transformations record prints and parses back;
//! 6. the step of a loop gives the same whether XLA compiles the loop as one function or not.

use std::collections::BTreeSet;
use std::sync::Once;

use onetrace::ir::{parse, print};
use onetrace::prelude::*;
use onetrace::tree::leaves;
use onetrace::{Aval, BatchAxes, Fission, Lowered, SAME, Vmap, XlaOptions};

use super::{Tolerance, all_equations, difference, numbers, ramp_bits};

/// The members of a batch.
const MEMBERS: usize = 3;

/// The step of finite differences: their error is about its square, and rounding divided by it.
const STEP: f64 = 1e-5;

/// Finite differences against the derivative.
const NEAR: Tolerance = Tolerance { relative: 1e-6, absolute: 1e-6 };

/// The same number, computed in another order.
const CLOSE: Tolerance = Tolerance { relative: 1e-10, absolute: 1e-11 };

/// Options for the process, as long as XLA was not used.
fn apply_options() {
    // Most of the time goes into compiling, and most of that into fusions that run fast, which
    // nothing here is in need of.
    static OPTIONS: Once = Once::new();
    OPTIONS.call_once(|| {
        XlaOptions::new().flag("xla_cpu_use_fusion_emitters", false).apply().unwrap();
    });
}

/// The values of an argument.
#[derive(Clone, Debug)]
enum Values {
    /// Numbers between two limits, all different.
    Reals(f64, f64),
    /// Whole numbers from the first up to, but not with, the second.
    Ints(i64, i64),
    Bools,
}

/// An argument: by the floating ones, a function is differentiated.
#[derive(Clone, Debug)]
pub struct Argument {
    aval: Aval,
    values: Values,
}

/// Numbers in [-1, 1).
pub fn real(shape: &[usize]) -> Argument {
    Argument { aval: Aval::new(DType::F64, shape), values: Values::Reals(-1.0, 1.0) }
}

/// Whole numbers from the first up to, but not with, the second.
pub fn ints(shape: &[usize], from: i64, to: i64) -> Argument {
    Argument { aval: Aval::new(DType::I32, shape), values: Values::Ints(from, to) }
}

pub fn bools(shape: &[usize]) -> Argument {
    Argument { aval: Aval::new(DType::Bool, shape), values: Values::Bools }
}

impl Argument {
    /// Between these limits.
    pub fn within(mut self, low: f64, high: f64) -> Argument {
        self.values = Values::Reals(low, high);
        self
    }

    /// Only this many different numbers, the first ones from zero, so that many are equal.
    pub fn tied(mut self, numbers: i64) -> Argument {
        self.values = Values::Ints(0, numbers);
        self
    }

    pub fn dtype(mut self, dtype: DType) -> Argument {
        self.aval.dtype = dtype;
        self
    }

    fn tensor(&self, shape: &[usize], salt: u32) -> Tensor {
        let values = ramp_bits(shape, salt).into_iter().map(|bits| {
            let unit = (f64::from(bits) + 0.5) / 2f64.powi(32);
            match self.values {
                Values::Reals(low, high) => low + unit * (high - low),
                Values::Ints(from, to) => (from as f64 + unit * (to - from) as f64).floor(),
                Values::Bools => f64::from(u8::from(unit < 0.5)),
            }
        });
        let wide = Tensor::new(&values.collect::<Vec<f64>>(), shape);
        wide.astype(self.aval.dtype)
    }

    /// A value.
    fn one(&self, salt: u32) -> Tensor {
        self.tensor(&self.aval.shape, salt)
    }

    /// Values along a new first axis.
    fn many(&self, salt: u32) -> Tensor {
        self.tensor(&[&[MEMBERS], &self.aval.shape[..]].concat(), salt)
    }
}

type Function = Box<dyn Fn(&[Tensor]) -> Vec<Tensor> + Send + Sync>;

/// A function for which the laws are to hold, with its arguments.
pub struct Case {
    pub name: String,
    arguments: Vec<Argument>,
    f: Function,
    smooth: bool,
    forward: bool,
    reverse: bool,
    /// How far the inner products of law 2 may differ.
    precision: f64,
}

impl Case {
    pub fn new<R: Tree>(
        name: &str,
        arguments: Vec<Argument>,
        f: impl Fn(&[Tensor]) -> R + Send + Sync + 'static,
    ) -> Case {
        let f = Box::new(move |x: &[Tensor]| leaves(&f(x)));
        let (smooth, forward, reverse, precision) = (true, true, true, 1e-10);
        Case { name: name.to_owned(), arguments, f, smooth, forward, reverse, precision }
    }

    /// The arguments are where the function has a kink: finite differences say nothing there.
    pub fn at_a_kink(mut self) -> Case {
        self.smooth = false;
        self
    }

    /// The function rounds to `f32`: finite differences say nothing, and little is exact.
    pub fn rounded(mut self) -> Case {
        self.precision = 1e-6;
        self.at_a_kink()
    }

    /// There is no forward mode, as in JAX.
    pub fn reverse_only(mut self) -> Case {
        self.forward = false;
        self
    }

    /// There is no reverse mode, as in JAX.
    pub fn forward_only(mut self) -> Case {
        self.reverse = false;
        self
    }

    /// The names of the operations that the function is made of.
    pub fn operations(&self) -> BTreeSet<&'static str> {
        let traced = jit(|x: Vec<Tensor>| (self.f)(&x)).trace(self.values(1)).unwrap();
        let mut names = BTreeSet::new();
        names.extend(all_equations(traced.func()).into_iter().map(|(_, e)| e.name()));
        names
    }

    fn values(&self, salt: u32) -> Vec<Tensor> {
        (salt..).zip(&self.arguments).map(|(salt, argument)| argument.one(salt)).collect()
    }

    /// Values along a new first axis.
    fn batches(&self, salt: u32) -> Vec<Tensor> {
        (salt..).zip(&self.arguments).map(|(salt, argument)| argument.many(salt)).collect()
    }

    /// What the function gives and, for some cotangents of it, those of its floating arguments.
    fn with_cotangents(&self, x: &[Tensor]) -> Vec<Tensor> {
        let (f, floats) = by_floats(&self.f, x.to_vec());
        if floats.is_empty() || !self.reverse {
            return (self.f)(x);
        }
        let (y, pullback) = vjp(f, floats);
        let w = like(&y.iter().map(|y| y.aval().clone()).collect::<Vec<_>>(), 40);
        [y, pullback(w)].concat()
    }

    /// Checks laws 1 to 5.
    pub fn check(&self) {
        apply_options();
        self.check_derivatives();
        self.check_batches();
    }

    /// Law 6, for numbers of several dtypes, where the function takes them. Whether the loops were
    /// compiled as functions.
    pub fn check_loops(&self) -> bool {
        apply_options();
        let of_dtype = |dtype: DType| -> Vec<Tensor> {
            let one = |x: Tensor| if x.dtype().is_float() { x.astype(dtype) } else { x };
            self.batches(1).into_iter().map(one).collect()
        };
        let one_loop = |xs: Vec<Tensor>| {
            let step = |(), x: Vec<Tensor>| ((), self.with_cotangents(&x));
            Scan::new().fission(Fission::Off).length(MEMBERS).run(step, (), xs).1
        };
        let dtypes = [(DType::F64, 1e-10), (DType::F32, 1e-5)];
        let (xs, precisions): (Vec<Vec<Tensor>>, Vec<f64>) = dtypes
            .into_iter()
            .map(|(dtype, precision)| (of_dtype(dtype), precision))
            .filter(|(xs, _)| jit(one_loop).trace(xs).is_ok())
            .unzip();
        let loops = jit(|all: Vec<Vec<Tensor>>| all.into_iter().map(one_loop).collect::<Vec<_>>());
        let compile = |options: &XlaOptions| {
            let lowered = must(&self.name, loops.lower(&xs));
            must(&self.name, lowered.compile_with(&Device::cpu().unwrap(), options))
        };
        let by_model = compile(&XlaOptions::new());
        if !by_model.tuning().to_string().contains("each loop one function") {
            return false;
        }
        let none = "xla_cpu_small_while_loop_byte_threshold=0";
        let tasks = compile(&XlaOptions::new().flag("xla_backend_extra_options", none));
        let results = [by_model, tasks].map(|program| must(&self.name, program.call(&xs)));
        for ((functions, tasks), precision) in results[0].iter().zip(&results[1]).zip(precisions) {
            for (i, (function, tasks)) in functions.iter().zip(tasks).enumerate() {
                let dtype = function.dtype();
                let what = format!("{}: result {i}, {dtype}, of a loop", self.name);
                let tolerance = Tolerance { relative: precision, absolute: precision };
                close(&what, function, tasks, tolerance);
            }
        }
        true
    }

    fn check_derivatives(&self) {
        let (f, x) = by_floats(&self.f, self.values(1));
        if x.is_empty() {
            return;
        }
        self.check_derivative(&self.name, self.forward, &f, &x, 20);
        if self.reverse {
            let w = like(&outputs(&f, &x), 40);
            let backwards = |x: Vec<Tensor>| vjp(&f, x).1(w.clone());
            self.check_derivative(&format!("{}, reversed", self.name), true, &backwards, &x, 60);
        }
        let batched = |x: &[Tensor]| vmap(|x: Vec<Tensor>| (self.f)(&x))(x.to_vec());
        let (f, x) = by_floats(batched, self.batches(1));
        self.check_derivative(&format!("{}, batched", self.name), self.forward, &f, &x, 80);
    }

    /// Laws 1 and 2 for `f` at `x`. Without forward mode, finite differences stand for it.
    fn check_derivative(
        &self,
        what: &str,
        forward: bool,
        f: &impl Fn(Vec<Tensor>) -> Vec<Tensor>,
        x: &[Tensor],
        salt: u32,
    ) {
        let results = outputs(f, x);
        let v = like(&x.iter().map(|x| x.aval().clone()).collect::<Vec<_>>(), salt);
        let w = like(&results, salt + 10);
        let program = |(x, v, w): (Vec<Tensor>, Vec<Tensor>, Vec<Tensor>)| {
            let y = f(x.clone());
            let backwards = self.reverse.then(|| {
                let (z, pullback) = vjp(f, x.clone());
                (z, pullback(w))
            });
            let moved = |h: f64| f(x.iter().zip(&v).map(|(x, v)| x + v * h).collect());
            let slope = |(plus, minus): (Tensor, Tensor)| match plus.dtype().is_float() {
                true => (plus - minus) / (2.0 * STEP),
                false => plus,
            };
            let slopes: Vec<_> = moved(STEP).into_iter().zip(moved(-STEP)).map(slope).collect();
            let forwards = forward.then(|| jvp(f, x.clone(), v.clone()));
            (y, (forwards, slopes), backwards)
        };
        let arguments = (x.to_vec(), v.clone(), w.clone());
        let lowered = must(what, jit(program).lower(&arguments));
        check_text(what, &lowered);
        let compiled = must(what, lowered.compile());
        let (y, (forwards, slopes), backwards) = must(what, compiled.call(&arguments));
        let (tangents, precision) = match forwards {
            None => (slopes, NEAR.relative),
            Some((z, t)) => {
                for (i, y) in y.iter().enumerate() {
                    close(&format!("{what}: result {i} under jvp"), &z[i], y, CLOSE);
                    assert_eq!(t[i].aval(), y.aval(), "{what}: the type of tangent {i}");
                    if !y.dtype().is_float() {
                        assert!(numbers(&t[i]).iter().all(|&t| t == 0.0), "{what}: tangent {i}");
                    } else if self.smooth {
                        close(&format!("{what}: jvp, result {i}"), &t[i], &slopes[i], NEAR);
                    }
                }
                (t, self.precision)
            }
        };
        if let Some((z, back)) = backwards {
            for (i, y) in y.iter().enumerate() {
                close(&format!("{what}: result {i} under vjp"), &z[i], y, CLOSE);
            }
            for (back, x) in back.iter().zip(x) {
                assert_eq!(back.aval(), x.aval(), "{what}: the type of a cotangent");
            }
            let (forwards, backwards) = (product(&tangents, &w), product(&v, &back));
            let close = (forwards - backwards).abs() <= precision * (1.0 + forwards.abs());
            assert!(close, "{what}: <J v, w> = {forwards}, but <v, J' w> = {backwards}");
        }
    }
}

impl Case {
    /// Law 4: for each argument that has a batch axis alone, and for all together, with the axis in
    /// front and behind.
    fn check_batches(&self) {
        let n = self.arguments.len();
        let mut batches = vec![vec![Place::Front; n], vec![Place::Back; n]];
        batches.push((0..n).map(|i| if i % 2 == 0 { Place::Back } else { Place::Front }).collect());
        for i in 0..n {
            for place in [Place::Front, Place::Back] {
                let mut batch = vec![Place::None; n];
                batch[i] = place;
                batches.push(batch);
            }
        }
        batches.sort();
        batches.dedup();
        let many = self.batches(1);
        let program = |many: Vec<Tensor>| -> Vec<(Vec<Tensor>, Vec<Tensor>)> {
            batches.iter().map(|batch| self.batched_and_looped(batch, &many)).collect()
        };
        let lowered = must(&self.name, jit(program).lower(&many));
        check_text(&self.name, &lowered);
        let compiled = must(&self.name, lowered.compile());
        let results = must(&self.name, compiled.call(&many));
        for (batch, (batched, looped)) in batches.iter().zip(results) {
            for (i, (batched, looped)) in batched.iter().zip(&looped).enumerate() {
                let what = format!("{}: vmap over {batch:?}, result {i}", self.name);
                close(&what, batched, looped, CLOSE);
            }
        }
        // A batch of nothing has only types.
        let nothing =
            many.iter().map(|x| Tensor::zeros([&[0], &x.shape()[1..]].concat(), x.dtype()));
        let vmap = |x| vmap(|x: Vec<Tensor>| self.with_cotangents(&x))(x);
        let lowered = must(&self.name, jit(vmap).lower(nothing.collect::<Vec<_>>()));
        let empty = lowered.func().result_avals().iter().all(|aval| aval.shape[0] == 0);
        assert!(
            empty,
            "{}: vmap over nothing gives {:?}",
            self.name,
            lowered.func().result_avals()
        );
    }

    /// What `vmap` gives for arguments with a batch axis at these places, and what the function gives
    /// for one member after the other. The results have the batch axis behind, if the first one of
    /// the arguments has.
    fn batched_and_looped(&self, batch: &[Place], many: &[Tensor]) -> (Vec<Tensor>, Vec<Tensor>) {
        let back = batch[0] == Place::Back;
        let pairs = || many.iter().zip(batch);
        let member = |m: usize| {
            let of_one = |(x, place): (&Tensor, &Place)| match place {
                Place::None => x.index(0),
                _ => x.index(m),
            };
            pairs().map(of_one).collect::<Vec<_>>()
        };
        let members: Vec<Vec<Tensor>> =
            (0..MEMBERS).map(|m| self.with_cotangents(&member(m))).collect();
        let along = |i: usize| {
            let results: Vec<&Tensor> = members.iter().map(|results| &results[i]).collect();
            stack(&results, if back { -1 } else { 0 })
        };
        let looped = (0..members[0].len()).map(along).collect();
        let placed = pairs().map(|(x, place)| match place {
            Place::None => x.index(0),
            Place::Front => x.clone(),
            Place::Back => x.moveaxis(0, -1),
        });
        let axes: Vec<BatchAxes> = batch.iter().map(|place| place.axes()).collect();
        let vmap = Vmap::new().in_axes(axes).out_axes(if back { -1 } else { 0 });
        (vmap.run(|x: Vec<Tensor>| self.with_cotangents(&x), placed.collect()), looped)
    }
}

/// Where an argument has a batch axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    None,
    Front,
    Back,
}

impl Place {
    fn axes(self) -> BatchAxes {
        match self {
            Place::None => SAME,
            Place::Front => 0.into(),
            Place::Back => (-1).into(),
        }
    }
}

/// `f` as a function of its floating arguments, which are given too; the others are held fixed.
fn by_floats(
    f: impl Fn(&[Tensor]) -> Vec<Tensor>,
    x: Vec<Tensor>,
) -> (impl Fn(Vec<Tensor>) -> Vec<Tensor>, Vec<Tensor>) {
    let floats = x.iter().filter(|x| x.dtype().is_float()).cloned().collect();
    let of_floats = move |floats: Vec<Tensor>| {
        let mut floats = floats.into_iter();
        let all = x.iter().map(|x| match x.dtype().is_float() {
            true => floats.next().unwrap(),
            false => x.clone(),
        });
        f(&all.collect::<Vec<_>>())
    };
    (of_floats, floats)
}

/// The types of what `f` gives.
fn outputs(f: &impl Fn(Vec<Tensor>) -> Vec<Tensor>, x: &[Tensor]) -> Vec<Aval> {
    let traced = jit(f).trace(x.to_vec()).unwrap();
    traced.func().result_avals()
}

/// Tensors of these types: numbers in [-1, 1), and zeros where they are no floats.
fn like(avals: &[Aval], salt: u32) -> Vec<Tensor> {
    let tensor = |(salt, aval): (u32, &Aval)| match aval.dtype.is_float() {
        true => real(&aval.shape).dtype(aval.dtype).one(salt),
        false => Tensor::zeros(&aval.shape[..], aval.dtype),
    };
    (salt..).zip(avals).map(tensor).collect()
}

/// The sum of the products of the elements.
fn product(x: &[Tensor], y: &[Tensor]) -> f64 {
    let pairs = x.iter().zip(y).filter(|(x, _)| x.dtype().is_float());
    pairs.flat_map(|(x, y)| numbers(x).into_iter().zip(numbers(y))).map(|(x, y)| x * y).sum()
}

#[track_caller]
fn must<T>(what: &str, result: Result<T>) -> T {
    result.unwrap_or_else(|error| panic!("{what}: {error}"))
}

#[track_caller]
fn close(what: &str, actual: &Tensor, expected: &Tensor, tolerance: Tolerance) {
    if let Some(difference) = difference(actual, expected, tolerance) {
        panic!("{what}: {difference}");
    }
}

/// Law 5.
fn check_text<A: Tree, R: Tree>(what: &str, lowered: &Lowered<A, R>) {
    let text =
        print::print(lowered.func(), print::Options { full_constants: true, locations: false });
    let parsed = must(what, parse::parse(&text));
    assert_eq!(&parsed, lowered.func(), "{what}: the IR reads back as another function:\n{text}");
}
