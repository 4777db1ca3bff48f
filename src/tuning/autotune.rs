//! Autotuning: the ways to compile a program are timed on the arguments of a call.
//!
//! The search begins with the choice of the model and changes one thing after the other, so that
//! at most five programs are compiled. Another one is taken only if it is faster by more than what
//! is noise: two programs take turns, and the ratios of runs next to each other count.

use std::time::{Duration, Instant};

use xla::XlaComputation;

use super::products::Products;
use super::{Kernels, Tuning, remembered};
use crate::array::Array;
use crate::device::{self, Device};
use crate::error::{Location, Result};
use crate::execute::Executable;
use crate::ir::Func;
use crate::tensor::{Repr, Tensor};

/// What another choice must take of the time of the one before.
const FASTER: f64 = 0.97;

/// After a few runs, a program that takes so many times as long is out.
const HOPELESS: f64 = 3.0;

/// How long two programs take turns, unless there were too few turns.
const LONG_ENOUGH: Duration = Duration::from_millis(300);

/// The least and the largest number of turns.
const TURNS: std::ops::RangeInclusive<usize> = 5..=101;

/// A turn is as many runs as take that long.
const TURN: Duration = Duration::from_millis(1);

/// A program that is to be compiled in the fastest way.
pub(crate) struct Search<'a> {
    pub simplified: &'a Func,
    pub fissioned: &'a Func,
    /// The fissioned function.
    pub computation: &'a XlaComputation,
    pub device: &'a Device,
    pub kernels: Kernels,
    pub arguments: &'a [&'a Array],
    /// The call in the user's code.
    pub location: Location,
}

impl Search<'_> {
    /// The fastest way to compile the program. It comes with the program where that had to be
    /// measured: made by `compile`, which makes programs that take over no memory of arguments.
    pub fn run(
        &self,
        compile: impl Fn(Tuning) -> Result<Executable>,
    ) -> Result<(Tuning, Option<Executable>)> {
        let model = Tuning::by_model(self.simplified, self.fissioned, self.device, self.kernels);
        let calls_host = self.simplified.has_effect();
        // What is done on the host must not be done again and again.
        if calls_host || self.fissioned.results().is_empty() {
            return Ok((model, None));
        }
        let devices = std::slice::from_ref(self.device);
        let key = device::program_key(devices, self.computation, &model.options(), calls_host)?;
        let key = key.as_deref();
        if let Some(known) = remembered::find(key, |tuning| self.is_possible(tuning, model))? {
            return Ok((known, None));
        }
        let first = compile(model)?;
        let (tuning, program) = self.measured((model, first), compile)?;
        remembered::keep(key, tuning)?;
        Ok((tuning, Some(program)))
    }

    /// Whether there is this choice.
    fn is_possible(&self, tuning: Tuning, model: Tuning) -> bool {
        tuning.is_like(&self.model_with(model, tuning.fission, tuning.products))
    }

    /// The choice of the model for the rest; `model` is that for all.
    fn model_with(
        &self,
        model: Tuning,
        fission: Option<bool>,
        products: Option<Products>,
    ) -> Tuning {
        if (fission, products) == (model.fission, model.products) {
            return model;
        }
        let func = if fission == Some(false) { self.simplified } else { self.fissioned };
        let products = model.products.and(products);
        let program = Tuning { products, ..Tuning::default() }.applied(func, self.device);
        Tuning { fission, ..Tuning::of_program(&program, products, self.device) }
    }

    fn measured(
        &self,
        mut best: (Tuning, Executable),
        compile: impl Fn(Tuning) -> Result<Executable>,
    ) -> Result<(Tuning, Executable)> {
        let model = best.0;
        let changes: [&dyn Fn(Tuning) -> Tuning; 4] = [
            &|now| self.model_with(model, now.fission.and(Some(false)), now.products),
            &|now| self.model_with(model, now.fission, now.products.map(Products::other)),
            &|now| Tuning { loops: now.loops.map(|loops| loops.other()), ..now },
            &|now| Tuning { vectors: now.vectors.map(|vectors| vectors.other()), ..now },
        ];
        // The first run brings the arguments to the device. If it fails, the call would fail too.
        self.seconds(&best.1, 1)?;
        for change in changes {
            let other = change(best.0);
            if other == best.0 {
                continue;
            }
            // What does not compile or run is no choice.
            let Ok(program) = compile(other) else { continue };
            let Ok(ratio) = self.ratio(&program, &best.1) else { continue };
            if ratio < FASTER {
                best = (other, program);
            }
        }
        Ok(best)
    }

    /// How much of the time of `best` a run of `other` takes: the median over many turns.
    fn ratio(&self, other: &Executable, best: &Executable) -> Result<f64> {
        // The first run has pages and caches that are new.
        self.seconds(other, 1)?;
        let once = self.seconds(best, 1)?;
        let first = self.seconds(other, 1)? / once;
        if first > HOPELESS {
            return Ok(first);
        }
        let runs = (TURN.as_secs_f64() / once.max(1e-9)).clamp(1.0, 1000.0).ceil() as usize;
        let start = Instant::now();
        let mut ratios = Vec::new();
        while ratios.len() < *TURNS.start()
            || start.elapsed() < LONG_ENOUGH && ratios.len() < *TURNS.end()
        {
            // Who is first may be at an advantage.
            ratios.push(if ratios.len() % 2 == 0 {
                let other = self.seconds(other, runs)?;
                other / self.seconds(best, runs)?
            } else {
                let best = self.seconds(best, runs)?;
                self.seconds(other, runs)? / best
            });
        }
        ratios.sort_by(f64::total_cmp);
        Ok(ratios[ratios.len() / 2])
    }

    /// How long so many runs take.
    fn seconds(&self, program: &Executable, runs: usize) -> Result<f64> {
        let start = Instant::now();
        for _ in 0..runs {
            let results = program.run(self.arguments, false, self.location)?;
            // A program is done when one of its results can be read.
            let smallest = results.iter().min_by_key(|result| result.aval().size());
            if let Some(Tensor(Repr::Concrete(array))) = smallest {
                array.to_host()?;
            }
        }
        Ok(start.elapsed().as_secs_f64())
    }
}
