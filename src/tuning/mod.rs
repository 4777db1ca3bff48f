//! How a program is compiled beside what it computes: by a model of what was measured, or by what
//! is fastest on this machine.

mod autotune;
mod loop_kernel;
mod products;
mod remembered;
mod steps;
mod vector_width;

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

pub(crate) use self::autotune::Search;
use self::loop_kernel::Loops;
use self::products::Products;
use self::steps::Step;
use self::vector_width::Vectors;
use crate::device::{Device, XlaOptions};
use crate::ir::Func;
use crate::transform::simplify::Cpu;

/// How a program was compiled where there is more than one way:
/// [`Compiled::tuning`](crate::Compiled::tuning).
///
/// Which way it is, is chosen by a model of the costs; [`Jit::autotune`](crate::Jit::autotune)
/// measures instead. As text it is a list of what there was a choice of:
///
/// | | |
/// |---|---|
/// | `fission`, `no fission` | whether anything [leaves the loops](crate::Fission) |
/// | `products with packed matrices`, `products of XLA` | whether products in a loop with a matrix that is the same at every step, and products over all steps, are computed by kernels of this library, which the program calls, or by the code of XLA |
/// | `each loop one function`, `loops of tasks` | what XLA:CPU makes of loops: tasks can use several threads, and cost 0.1 to 0.3 µs each; a function makes four steps in an iteration, if [that is left open](crate::Unroll). `loops of tasks alone` where a step computes in half precision: a function would not round between operations |
/// | `vectors of 256 bits`, `vectors of 512 bits` | what XLA:CPU computes with on processors with AVX-512 |
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tuning {
    /// None where there is nothing to take out of a loop.
    fission: Option<bool>,
    products: Option<Products>,
    loops: Option<Loops>,
    vectors: Option<Vectors>,
}

impl Tuning {
    /// The choice of the model for a function, [simplified](Func::simplified) and
    /// [fissioned](Func::fissioned), with the kernels of XLA alone or with ours.
    pub(crate) fn by_model(
        simplified: &Func,
        fissioned: &Func,
        device: &Device,
        kernels: Kernels,
    ) -> Tuning {
        let fission = (simplified != fissioned).then_some(true);
        Tuning { fission, ..Tuning::of_lowered(fissioned, device, kernels) }
    }

    /// The choice of the model for a function that is lowered as it is.
    pub(crate) fn of_lowered(func: &Func, device: &Device, kernels: Kernels) -> Tuning {
        if kernels == Kernels::All && Products::can_be_chosen(device) {
            let packed = func.packed();
            if packed != func.for_cpu(Cpu { packs: false, unroll: 1 }) {
                return Tuning::of_program(&packed, Some(Products::Packed), device);
            }
        }
        Tuning::of_program(func, None, device)
    }

    /// The choice of the model for the rest, for a function that has these products already.
    fn of_program(func: &Func, products: Option<Products>, device: &Device) -> Tuning {
        let steps = Step::all(func);
        Tuning {
            fission: None,
            products,
            loops: Loops::by_model(&steps, device),
            vectors: Vectors::by_model(&steps, device),
        }
    }

    /// What of it is still a choice where the user gives options for one compilation.
    pub(crate) fn beside(self, options: &XlaOptions) -> Tuning {
        Tuning {
            loops: self.loops.filter(|_| !Loops::are_set_by(options)),
            vectors: self.vectors.filter(|_| !Vectors::are_set_by(options)),
            ..self
        }
    }

    /// What is lowered of a function for the device.
    pub(crate) fn applied<'a>(&self, func: &'a Func, device: &Device) -> Cow<'a, Func> {
        if device.platform() != "cpu" {
            return Cow::Borrowed(func);
        }
        let packs = self.products == Some(Products::Packed);
        Cow::Owned(func.for_cpu(Cpu { packs, unroll: self.loops.map_or(1, Loops::unroll) }))
    }

    /// Whether the function is lowered as it was before fission.
    pub(crate) fn is_without_fission(&self) -> bool {
        self.fission == Some(false)
    }

    /// The options of XLA: weaker than all that the user sets.
    pub(crate) fn options(&self) -> XlaOptions {
        let loops = self.loops.map(Loops::options).unwrap_or_default();
        loops.followed_by(&self.vectors.map(Vectors::options).unwrap_or_default())
    }

    /// Whether both choose of the same.
    fn is_like(&self, other: &Tuning) -> bool {
        let choices = |tuning: &Tuning| {
            let Tuning { fission, products, loops, vectors } = tuning;
            (fission.is_some(), products.is_some(), loops.is_some(), vectors.is_some())
        };
        choices(self) == choices(other)
    }
}

/// Which kernels a program may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kernels {
    /// Those of this library too.
    All,
    /// Those of XLA alone.
    Xla,
}

impl fmt::Display for Tuning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fission = self.fission.map(|is_on| if is_on { "fission" } else { "no fission" });
        let parts = [
            fission.map(str::to_owned),
            self.products.map(|products| products.to_string()),
            self.loops.map(|loops| loops.to_string()),
            self.vectors.map(|vectors| vectors.to_string()),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        f.write_str(if parts.is_empty() { "no choice" } else { "" })?;
        f.write_str(&parts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prelude::*;

    /// All choices that are like the one of the model, with and without fission.
    fn all(model: Tuning) -> Vec<Tuning> {
        let mut all = vec![model];
        let change = |all: &mut Vec<Tuning>, f: &dyn Fn(Tuning) -> Tuning| {
            let others: Vec<Tuning> = all.iter().map(|&now| f(now)).collect();
            all.extend(others.into_iter().filter(|other| *other != model));
        };
        change(&mut all, &|now| Tuning { fission: now.fission.map(|is_on| !is_on), ..now });
        change(&mut all, &|now| Tuning { products: now.products.map(Products::other), ..now });
        change(&mut all, &|now| Tuning { loops: now.loops.map(Loops::other), ..now });
        change(&mut all, &|now| Tuning { vectors: now.vectors.map(Vectors::other), ..now });
        all
    }

    /// Checks that a function gives the same however it is compiled, and how often that was.
    fn check<A: Tree, R: Tree>(what: &str, f: impl Fn(A) -> R, x: A) -> usize {
        let device = Device::cpu().unwrap();
        let f = jit(f);
        let lowered = f.lower(&x).unwrap();
        let model =
            Tuning::by_model(lowered.simplified(), lowered.fissioned(), &device, Kernels::All);
        let values = |tuning| {
            let none = XlaOptions::new();
            let program = f.lower(&x).unwrap().compile_as(&device, tuning, &none).unwrap();
            assert_eq!(program.tuning(), tuning);
            let results = tree::leaves(&program.call(&x).unwrap());
            results.iter().map(|y| y.to_vec::<f32>().unwrap()).collect::<Vec<_>>()
        };
        let (expected, all) = (values(model), all(model));
        for &tuning in &all {
            for (i, (y, expected)) in values(tuning).iter().zip(&expected).enumerate() {
                let largest = expected.iter().fold(0.0_f32, |most, y| most.max(y.abs()));
                for (y, expected) in y.iter().zip(expected) {
                    let near = (y - expected).abs() <= 2e-5 * largest;
                    assert!(near, "{what}, {tuning}, result {i}: {y}, not {expected}");
                }
            }
        }
        all.len()
    }

    #[test]
    fn values_are_the_same_however_a_program_is_compiled() {
        let xs = |batch: &[usize]| {
            let shape = [&[64], batch, &[16]].concat();
            random::normal(&random::key(3), shape, DType::F32)
        };
        for batch in [&[][..], &[8]] {
            let cell = nn::GruCell::new(&mut nn::Rngs::new(1), 16, 24);
            let first = cell.initial_carry(batch);
            let states = |xs: Tensor| scan(|h, x| cell.step(h, x), first.clone(), xs);
            let ways = check("GRU", states, xs(batch));
            // Fission and loops, and vectors where there are wide ones.
            assert!(ways >= 4, "{ways} ways");
            let loss = |(cell, xs): (nn::GruCell, Tensor)| {
                let of_cell = |cell: nn::GruCell| {
                    scan(|h, x| (cell.step(h, x).0, ()), first.clone(), xs.clone())
                        .0
                        .square()
                        .sum(..)
                };
                value_and_grad(of_cell)(cell)
            };
            assert!(check("gradient", loss, (cell.clone(), xs(batch))) >= 4);
        }
        let steps = |x: Tensor| {
            while_loop(|x: Tensor| x.square().sum(..).lt(50.0), |x| &x * 1.25 + x.sin(), x)
        };
        assert!(check("while", steps, Tensor::ones([9], DType::F32)) >= 2);
        let nested = |xs: Tensor| {
            let inner = |h: Tensor, x: Tensor| ((h * 0.5 + x).tanh(), ());
            let outer = |h: Tensor, x: Tensor| {
                let h = scan(inner, h, x.reshape([4, 4])).0;
                (h.clone(), h)
            };
            scan(outer, Tensor::zeros([4], DType::F32), xs)
        };
        assert!(check("nested", nested, xs(&[])) >= 1);
        assert!(check("no loop", |x: Tensor| x.matmul(&x.transpose([1, 0])), xs(&[])) >= 1);
    }

    #[test]
    fn a_choice_is_shown_as_a_list() {
        let tuning = Tuning {
            fission: Some(false),
            products: Some(Products::Xla),
            loops: Some(Loops::Functions),
            vectors: Some(Vectors::Narrow),
        };
        let text = "no fission, products of XLA, each loop one function, vectors of 256 bits";
        assert_eq!(tuning.to_string(), text);
        assert_eq!(Tuning::default().to_string(), "no choice");
        let json = r#"{"fission":false,"products":"xla","loops":"functions","vectors":"256 bits"}"#;
        assert_eq!(serde_json::to_string(&tuning).unwrap(), json);
    }

    #[test]
    fn what_the_user_sets_is_no_choice() {
        let step = |h: Tensor, x: Tensor| ((h + x).tanh(), ());
        let f = jit(|xs: Tensor| scan(step, Tensor::scalar(0.0, DType::F32), xs).0);
        let with = |options: &XlaOptions| {
            let lowered = f.lower(Tensor::ones([4], DType::F32)).unwrap();
            lowered.compile_with(&Device::cpu().unwrap(), options).unwrap().tuning()
        };
        assert_eq!(with(&XlaOptions::new()).loops, Some(Loops::Functions));
        let loops = Loops::Functions.options();
        assert_eq!(with(&loops).loops, None);
        assert_eq!(with(&XlaOptions::new().flag("xla_cpu_prefer_vector_width", 256)).vectors, None);
    }
}
