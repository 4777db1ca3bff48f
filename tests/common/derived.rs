//! Derivatives and batches of functions against golden data: what `tests/golden/derived.py` does with
//! a function, done here.

use std::sync::Mutex;

use onetrace::prelude::*;
use onetrace::{BatchAxes, SAME, Vmap, hessian, jacfwd, jacrev, linearize};
use serde_json::Value;

use super::{Golden, Tolerance, difference, eager_and_jitted, for_each_in_parallel, numbers};

/// The functions of a family: what the one called so gives for inputs.
pub type Functions = fn(&str, &[Tensor]) -> Vec<Tensor>;

/// How far a number may lie from JAX's: units of the last place of the largest number of the array,
/// and of 1. A derivative is a sum of products of numbers of that size, which are added in another
/// order than there; of these functions none adds more than 64, and each addition rounds by half a
/// unit. In half precision one rounding more or less is a whole unit. JAX's own error in single
/// precision is of that size, as was seen by running it in double precision.
fn tolerance(expected: &Tensor) -> Tolerance {
    let (unit, units) = match expected.dtype() {
        DType::F64 => (f64::EPSILON, 32.0),
        DType::F32 => (f64::from(f32::EPSILON), 32.0),
        DType::F16 => (f64::from(half::f16::EPSILON), 2.0),
        DType::BF16 => (f64::from(half::bf16::EPSILON), 2.0),
        _ => (0.0, 0.0),
    };
    let finite = numbers(expected).into_iter().filter(|x| x.is_finite());
    let largest = finite.fold(1.0, |largest: f64, x| largest.max(x.abs()));
    Tolerance { relative: 0.0, absolute: units * unit * largest }
}

/// Checks all cases of the family.
pub fn check_all(family: &'static str, functions: Functions) {
    let golden = Golden::read(family);
    let failures = Mutex::new(Vec::new());
    for_each_in_parallel(&golden.cases, |case| {
        if let Err(message) = check(&golden, functions, case) {
            failures.lock().unwrap().push(format!("{case}\n    {message}"));
        }
    });
    let failures = failures.into_inner().unwrap();
    let (failed, all) = (failures.len(), golden.cases.len());
    assert!(failures.is_empty(), "{failed} of {all} cases fail:\n{}", failures.join("\n"));
}

fn check(golden: &Golden, functions: Functions, case: &Value) -> Result<(), String> {
    let name = case["name"].as_str().unwrap();
    let arrays = |key: &str| -> Vec<Tensor> {
        (0..).map_while(|i| golden.find(name, &format!("{key}{i}"))).collect()
    };
    let case = Case {
        functions,
        f: case["f"].as_str().unwrap(),
        kind: case["kind"].as_str().unwrap(),
        weights: arrays("w"),
        tangents: arrays("t"),
        axes: match case["axes"].as_array() {
            Some(axes) => batch_axes(axes),
            None => SAME,
        },
    };
    let expected = [arrays("out"), arrays("grad"), arrays("tangent")].concat();
    let run = |xs: &[Tensor]| case.derive(xs);
    let inputs = arrays("in");
    // Compiling is what takes the time, and most of what is compiled is so either way.
    let results = if case.kind == "vjp" || case.kind == "vjp_of_vmap" {
        let both = eager_and_jitted(&inputs, run).map_err(|error| error.to_string())?;
        vec![("at once", both.0), ("compiled", both.1)]
    } else {
        vec![("at once", run(&inputs))]
    };
    for (how, actual) in results {
        if actual.len() != expected.len() {
            return Err(format!("{} results, expected {}", actual.len(), expected.len()));
        }
        for (i, (actual, expected)) in actual.iter().zip(&expected).enumerate() {
            actual.check().map_err(|error| error.to_string())?;
            if let Some(difference) = difference(actual, expected, tolerance(expected)) {
                return Err(format!("{how}, result {i}: {difference}"));
            }
        }
    }
    Ok(())
}

fn batch_axes(axes: &[Value]) -> BatchAxes {
    let axis = |i: usize| match axes[i].as_i64() {
        Some(axis) => BatchAxes::from(axis as isize),
        None => SAME,
    };
    match axes.len() {
        1 => (axis(0),).into(),
        2 => (axis(0), axis(1)).into(),
        3 => (axis(0), axis(1), axis(2)).into(),
        n => {
            assert_eq!(n, 4, "no case has more inputs");
            (axis(0), axis(1), axis(2), axis(3)).into()
        }
    }
}

struct Case<'a> {
    functions: Functions,
    f: &'a str,
    kind: &'a str,
    /// Cotangents of the results.
    weights: Vec<Tensor>,
    /// Tangents of the inputs.
    tangents: Vec<Tensor>,
    axes: BatchAxes,
}

impl Case<'_> {
    /// What the kind of the case asks for: the arrays `out`, `grad` and `tangent` of the file.
    fn derive(&self, xs: &[Tensor]) -> Vec<Tensor> {
        let in_batches = || Vmap::new().in_axes(self.axes.clone());
        match self.kind {
            "vjp" => self.vjp(xs),
            "jvp" => self.jvp(xs),
            "linearize" => {
                let f = |floats: Vec<Tensor>| self.apply(&with_floats(xs, floats));
                let (out, along) = linearize(f, floats(xs));
                [out, along(self.tangents.clone())].concat()
            }
            "fwd_fwd" => {
                let t = &self.tangents[0];
                let along = |x| jvp(|x| self.with_first(xs, x), x, t.clone()).1;
                jvp(along, first(xs), t.clone()).1
            }
            "rev_rev" => {
                let slope = |x| (grad(|x| self.loss(xs, x))(x) * &self.tangents[0]).sum(..);
                vec![grad(slope)(first(xs))]
            }
            "jacfwd" => vec![jacfwd(|x| self.with_first(xs, x).swap_remove(0))(first(xs))],
            "jacrev" => vec![jacrev(|x| self.with_first(xs, x).swap_remove(0))(first(xs))],
            "hessian" => vec![self.hessian(xs)],
            "hvp" => {
                let gradient = grad(|x| self.loss(xs, x));
                let (gradient, tangent) = jvp(gradient, first(xs), self.tangents[0].clone());
                vec![gradient, tangent]
            }
            "vmap" => in_batches().run(|xs: Vec<Tensor>| self.apply(&xs), xs.to_vec()),
            "vmap_vmap" => {
                let inner = |xs| in_batches().run(|xs: Vec<Tensor>| self.apply(&xs), xs);
                in_batches().run(inner, xs.to_vec())
            }
            "vjp_of_vmap" => self
                .vjp_of(xs, |xs| in_batches().run(|xs: Vec<Tensor>| self.apply(&xs), xs.to_vec())),
            "vmap_jvp" => in_batches().run(|xs: Vec<Tensor>| self.jvp(&xs), xs.to_vec()),
            "vmap_vjp" => in_batches().run(|xs: Vec<Tensor>| self.vjp(&xs), xs.to_vec()),
            "vmap_hessian" => {
                in_batches().run(|xs: Vec<Tensor>| vec![self.hessian(&xs)], xs.to_vec())
            }
            other => panic!("no kind is called {other}"),
        }
    }

    fn apply(&self, xs: &[Tensor]) -> Vec<Tensor> {
        (self.functions)(self.f, xs)
    }

    fn jvp(&self, xs: &[Tensor]) -> Vec<Tensor> {
        let f = |floats: Vec<Tensor>| self.apply(&with_floats(xs, floats));
        let (out, tangents) = jvp(f, floats(xs), self.tangents.clone());
        [out, tangents].concat()
    }

    fn vjp(&self, xs: &[Tensor]) -> Vec<Tensor> {
        self.vjp_of(xs, |xs| self.apply(xs))
    }

    fn vjp_of(&self, xs: &[Tensor], f: impl Fn(&[Tensor]) -> Vec<Tensor>) -> Vec<Tensor> {
        let f = |floats: Vec<Tensor>| f(&with_floats(xs, floats));
        let (out, pullback) = vjp(f, floats(xs));
        let cotangent = |(y, w): (&Tensor, &Tensor)| match y.dtype().is_float() {
            true => w.clone(),
            false => Tensor::zeros(y.shape(), y.dtype()),
        };
        let cotangents = out.iter().zip(&self.weights).map(cotangent).collect();
        [out, pullback(cotangents)].concat()
    }

    /// The results with `x` in place of the first floating input.
    fn with_first(&self, xs: &[Tensor], x: Tensor) -> Vec<Tensor> {
        let mut floats = floats(xs);
        floats[0] = x;
        self.apply(&with_floats(xs, floats))
    }

    fn loss(&self, xs: &[Tensor], x: Tensor) -> Tensor {
        (&self.with_first(xs, x)[0] * &self.weights[0]).sum(..)
    }

    fn hessian(&self, xs: &[Tensor]) -> Tensor {
        hessian(|x| self.loss(xs, x))(first(xs))
    }
}

fn floats(xs: &[Tensor]) -> Vec<Tensor> {
    xs.iter().filter(|x| x.dtype().is_float()).cloned().collect()
}

fn first(xs: &[Tensor]) -> Tensor {
    floats(xs).swap_remove(0)
}

/// The inputs with others in place of the floating ones.
fn with_floats(xs: &[Tensor], floats: Vec<Tensor>) -> Vec<Tensor> {
    let mut floats = floats.into_iter();
    let input = |x: &Tensor| match x.dtype().is_float() {
        true => floats.next().unwrap(),
        false => x.clone(),
    };
    xs.iter().map(input).collect()
}
