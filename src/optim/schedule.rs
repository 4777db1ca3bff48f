//! Schedules: numbers that depend on the step.

use std::f64::consts::PI;
use std::fmt;
use std::sync::Arc;

use super::check;
use crate::aval::DType;
use crate::error::{Error, Location, Result};
use crate::ops::call::composite;
use crate::ops::select::select;
use crate::tensor::Tensor;
use crate::trace::poison;

/// A number that depends on how many steps were made: a learning rate or another rate.
///
/// An `f64` is the same at every step, and so is a scalar tensor, which may be traced: members of a
/// [`vmap`](crate::vmap()) can have learning rates of their own. A function of your own becomes a
/// schedule with [`from_fn`].
///
/// # Examples
/// ```
/// use onetrace::prelude::*;
/// use optim::Schedule;
///
/// let schedule = optim::linear_schedule(1.0, 0.0, 100);
/// let counts = Tensor::new(&[0, 50, 200], [3]);
/// let rates = vmap(|count: Tensor| schedule.value(&count))(counts);
/// assert_eq!(rates.to_vec::<f32>()?, [1.0, 0.5, 0.0]);
/// # Ok::<(), onetrace::Error>(())
/// ```
pub trait Schedule: fmt::Debug + Send + Sync {
    /// The value after `count` steps, an `i32` scalar, computed in `dtype`; for numbers that
    /// [`check`](Schedule::check) allows.
    fn at(&self, count: &Tensor, dtype: DType) -> Tensor;

    /// Checks the numbers that the schedule was made from. `name` is what it is a schedule of, such
    /// as `learning_rate`.
    ///
    /// # Errors
    /// If one of them is out of range.
    fn check(&self, name: &str) -> Result<()>;

    /// The value after `count` steps, `f32[]`, for an `i32` scalar.
    ///
    /// Fails if a number of the schedule is out of range.
    #[track_caller]
    fn value(&self, count: &Tensor) -> Tensor {
        let location = std::panic::Location::caller();
        composite("schedule", count.clone(), |count| match self.check("value") {
            Ok(()) => self.at(&count, DType::F32),
            Err(error) => poison(error.at(location), &[]),
        })
    }
}

impl Schedule for f64 {
    fn at(&self, _: &Tensor, dtype: DType) -> Tensor {
        Tensor::scalar(*self, dtype)
    }

    fn check(&self, name: &str) -> Result<()> {
        check::not_negative("optim", name, *self)
    }
}

impl Schedule for Tensor {
    fn at(&self, _: &Tensor, dtype: DType) -> Tensor {
        self.astype(dtype)
    }

    fn check(&self, name: &str) -> Result<()> {
        Tensor::check(self)?;
        check::scalar(name, self)
    }
}

impl Schedule for Arc<dyn Schedule> {
    fn at(&self, count: &Tensor, dtype: DType) -> Tensor {
        (**self).at(count, dtype)
    }

    fn check(&self, name: &str) -> Result<()> {
        (**self).check(name)
    }
}

/// The schedule whose value `f` makes of the count, an `i32` scalar.
///
/// # Examples
/// ```
/// use onetrace::prelude::*;
/// use optim::Schedule;
/// let schedule = optim::from_fn(|count| 1.0 / (count.astype(DType::F32) + 1.0));
/// assert_eq!(schedule.value(&Tensor::scalar(3, DType::I32)).item::<f32>()?, 0.25);
/// # Ok::<(), onetrace::Error>(())
/// ```
#[track_caller]
pub fn from_fn<F: Fn(&Tensor) -> Tensor + Send + Sync>(f: F) -> FromFn<F> {
    FromFn { f, location: std::panic::Location::caller() }
}

/// See [`from_fn`].
#[derive(Clone)]
pub struct FromFn<F> {
    f: F,
    location: Location,
}

impl<F> fmt::Debug for FromFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FromFn")
    }
}

impl<F: Fn(&Tensor) -> Tensor + Send + Sync> Schedule for FromFn<F> {
    fn at(&self, count: &Tensor, dtype: DType) -> Tensor {
        let value = (self.f)(count);
        match check::scalar("the value of the schedule", &value) {
            Ok(()) => value.astype(dtype),
            Err(error) => poison(error.at(self.location), &[&value]),
        }
    }

    fn check(&self, _: &str) -> Result<()> {
        Ok(())
    }
}

/// From `init_value` to `end_value` in a line, over `transition_steps` steps;
/// `optax.linear_schedule`. With no steps it stays at `init_value`.
#[track_caller]
pub fn linear_schedule(init_value: f64, end_value: f64, transition_steps: usize) -> Polynomial {
    polynomial_schedule(init_value, end_value, 1.0, transition_steps)
}

/// From `init_value` to `end_value` over `transition_steps` steps:
/// `(init_value - end_value) * (1 - t / transition_steps)^power + end_value`;
/// `optax.polynomial_schedule`. With no steps it stays at `init_value`.
#[track_caller]
pub fn polynomial_schedule(
    init_value: f64,
    end_value: f64,
    power: f64,
    transition_steps: usize,
) -> Polynomial {
    let location = std::panic::Location::caller();
    Polynomial { init_value, end_value, power, transition_steps, transition_begin: 0, location }
}

/// See [`linear_schedule`] and [`polynomial_schedule`].
#[derive(Clone, Debug)]
pub struct Polynomial {
    init_value: f64,
    end_value: f64,
    power: f64,
    transition_steps: usize,
    transition_begin: usize,
    location: Location,
}

impl Polynomial {
    /// After how many steps the transition begins; 0 if not given.
    pub fn transition_begin(mut self, steps: usize) -> Polynomial {
        self.transition_begin = steps;
        self
    }
}

impl Schedule for Polynomial {
    fn at(&self, count: &Tensor, dtype: DType) -> Tensor {
        if self.transition_steps == 0 {
            return Tensor::scalar(self.init_value, dtype);
        }
        let (begin, steps) = (self.transition_begin as i64, self.transition_steps as i64);
        let count = (count - begin).clamp(0, steps);
        // Not 1 - count / steps, which may be a little below 0 at the end, where a power is NaN.
        let left = (-count + steps).astype(dtype) / steps;
        let left = if self.power == 1.0 { left } else { left.pow(self.power) };
        left * (self.init_value - self.end_value) + self.end_value
    }

    fn check(&self, name: &str) -> Result<()> {
        const WHAT: &str = "polynomial_schedule";
        check::finite(WHAT, "init_value", self.init_value)
            .and_then(|()| check::finite(WHAT, "end_value", self.end_value))
            .and_then(|()| check::not_negative(WHAT, "power", self.power))
            .and_then(|()| check::steps(WHAT, "transition_steps", self.transition_steps, 0))
            .and_then(|()| check::steps(WHAT, "transition_begin", self.transition_begin, 0))
            .map_err(|error| of(name, error, self.location))
    }
}

/// `init_value * ((1 - alpha) * (0.5 * (1 + cos(π t / decay_steps)))^exponent + alpha)`, which
/// stays where it is after `decay_steps`; `optax.cosine_decay_schedule`.
///
/// [Loshchilov and Hutter, "SGDR", 2016](https://arxiv.org/abs/1608.03983).
#[track_caller]
pub fn cosine_decay_schedule(init_value: f64, decay_steps: usize) -> CosineDecay {
    let location = std::panic::Location::caller();
    CosineDecay { init_value, decay_steps, alpha: 0.0, exponent: 1.0, location }
}

/// See [`cosine_decay_schedule`].
#[derive(Clone, Debug)]
pub struct CosineDecay {
    init_value: f64,
    decay_steps: usize,
    alpha: f64,
    exponent: f64,
    location: Location,
}

impl CosineDecay {
    /// The part of `init_value` that is left at the end; 0 if not given.
    pub fn alpha(mut self, alpha: f64) -> CosineDecay {
        self.alpha = alpha;
        self
    }

    /// The power that the cosine is taken to; 1 if not given.
    pub fn exponent(mut self, exponent: f64) -> CosineDecay {
        self.exponent = exponent;
        self
    }
}

impl Schedule for CosineDecay {
    fn at(&self, count: &Tensor, dtype: DType) -> Tensor {
        let steps = self.decay_steps as f64;
        let count = count.astype(dtype).minimum(steps);
        let decay = ((count * PI / steps).cos() + 1.0) * 0.5;
        let decay = if self.exponent == 1.0 { decay } else { decay.pow(self.exponent) };
        (decay * (1.0 - self.alpha) + self.alpha) * self.init_value
    }

    fn check(&self, name: &str) -> Result<()> {
        const WHAT: &str = "cosine_decay_schedule";
        check::finite(WHAT, "init_value", self.init_value)
            .and_then(|()| check::steps(WHAT, "decay_steps", self.decay_steps, 1))
            .and_then(|()| check::finite(WHAT, "alpha", self.alpha))
            .and_then(|()| check::not_negative(WHAT, "exponent", self.exponent))
            .map_err(|error| of(name, error, self.location))
    }
}

/// In a line from `init_value` to `peak_value` over `warmup_steps`, and from there as
/// [`cosine_decay_schedule`] until `decay_steps`, the warm-up included;
/// `optax.warmup_cosine_decay_schedule`.
#[track_caller]
pub fn warmup_cosine_decay_schedule(
    init_value: f64,
    peak_value: f64,
    warmup_steps: usize,
    decay_steps: usize,
) -> WarmupCosineDecay {
    let warmup = linear_schedule(init_value, peak_value, warmup_steps);
    let decay = cosine_decay_schedule(peak_value, decay_steps.saturating_sub(warmup_steps));
    WarmupCosineDecay { warmup, decay, decay_steps }
}

/// See [`warmup_cosine_decay_schedule`].
#[derive(Clone, Debug)]
pub struct WarmupCosineDecay {
    warmup: Polynomial,
    decay: CosineDecay,
    /// Those of the warm-up included.
    decay_steps: usize,
}

impl WarmupCosineDecay {
    /// The value at the end; 0 if not given.
    pub fn end_value(mut self, end_value: f64) -> WarmupCosineDecay {
        let peak = self.decay.init_value;
        self.decay.alpha = if peak == 0.0 { 0.0 } else { end_value / peak };
        self
    }

    /// The power that the cosine is taken to; 1 if not given.
    pub fn exponent(mut self, exponent: f64) -> WarmupCosineDecay {
        self.decay.exponent = exponent;
        self
    }

    fn joined(&self) -> Joined {
        let boundary = self.warmup.transition_steps;
        join_schedules(self.warmup.clone()).then(boundary, self.decay.clone())
    }
}

impl Schedule for WarmupCosineDecay {
    fn at(&self, count: &Tensor, dtype: DType) -> Tensor {
        self.joined().at(count, dtype)
    }

    fn check(&self, name: &str) -> Result<()> {
        const WHAT: &str = "warmup_cosine_decay_schedule";
        let least = self.warmup.transition_steps.saturating_add(1);
        check::steps(
            WHAT,
            "decay_steps, in which warmup_steps are included,",
            self.decay_steps,
            least,
        )
        .map_err(|error| of(name, error, self.warmup.location))?;
        self.joined().check(name)
    }
}

/// `init_value * decay_rate^((t - transition_begin) / transition_steps)`;
/// `optax.exponential_decay`. With no steps, or a rate of 0, it stays at `init_value`.
#[track_caller]
pub fn exponential_decay(
    init_value: f64,
    transition_steps: usize,
    decay_rate: f64,
) -> ExponentialDecay {
    ExponentialDecay {
        init_value,
        transition_steps,
        decay_rate,
        transition_begin: 0,
        staircase: false,
        end_value: None,
        location: std::panic::Location::caller(),
    }
}

/// See [`exponential_decay`].
#[derive(Clone, Debug)]
pub struct ExponentialDecay {
    init_value: f64,
    transition_steps: usize,
    decay_rate: f64,
    transition_begin: usize,
    staircase: bool,
    end_value: Option<f64>,
    location: Location,
}

impl ExponentialDecay {
    /// After how many steps the decay begins; 0 if not given.
    pub fn transition_begin(mut self, steps: usize) -> ExponentialDecay {
        self.transition_begin = steps;
        self
    }

    /// Whether it decays every `transition_steps` only.
    pub fn staircase(mut self, staircase: bool) -> ExponentialDecay {
        self.staircase = staircase;
        self
    }

    /// Where it stops: a lower limit for a rate below 1, otherwise an upper one.
    pub fn end_value(mut self, end_value: f64) -> ExponentialDecay {
        self.end_value = Some(end_value);
        self
    }
}

impl Schedule for ExponentialDecay {
    fn at(&self, count: &Tensor, dtype: DType) -> Tensor {
        let init = Tensor::scalar(self.init_value, dtype);
        if self.transition_steps == 0 || self.decay_rate == 0.0 {
            return init;
        }
        let count = count - self.transition_begin as i64;
        let power = count.astype(dtype) / self.transition_steps as f64;
        let power = if self.staircase { power.floor() } else { power };
        let decayed = Tensor::scalar(self.decay_rate, dtype).pow(power) * self.init_value;
        let value = select(&count.le(0), init, decayed);
        match self.end_value {
            Some(end) if self.decay_rate < 1.0 => value.maximum(end),
            Some(end) => value.minimum(end),
            None => value,
        }
    }

    fn check(&self, name: &str) -> Result<()> {
        const WHAT: &str = "exponential_decay";
        check::finite(WHAT, "init_value", self.init_value)
            .and_then(|()| check::steps(WHAT, "transition_steps", self.transition_steps, 0))
            .and_then(|()| check::not_negative(WHAT, "decay_rate", self.decay_rate))
            .and_then(|()| check::steps(WHAT, "transition_begin", self.transition_begin, 0))
            .and_then(|()| check::finite(WHAT, "end_value", self.end_value.unwrap_or(0.0)))
            .map_err(|error| of(name, error, self.location))
    }
}

/// `init_value`, times each scale from its step on; `optax.piecewise_constant_schedule`. The pairs
/// are steps and scales.
///
/// # Examples
/// ```
/// use onetrace::prelude::*;
/// use optim::Schedule;
/// let schedule = optim::piecewise_constant_schedule(1.0, [(100, 0.5), (200, 0.1)]);
/// let at = |count: i32| schedule.value(&Tensor::scalar(count, DType::I32)).item::<f32>();
/// assert_eq!((at(99)?, at(100)?, at(200)?), (1.0, 0.5, 0.05));
/// # Ok::<(), onetrace::Error>(())
/// ```
#[track_caller]
pub fn piecewise_constant_schedule(
    init_value: f64,
    boundaries_and_scales: impl IntoIterator<Item = (usize, f64)>,
) -> Piecewise {
    let boundaries_and_scales = boundaries_and_scales.into_iter().collect();
    Piecewise { init_value, boundaries_and_scales, location: std::panic::Location::caller() }
}

/// See [`piecewise_constant_schedule`].
#[derive(Clone, Debug)]
pub struct Piecewise {
    init_value: f64,
    boundaries_and_scales: Vec<(usize, f64)>,
    location: Location,
}

impl Schedule for Piecewise {
    fn at(&self, count: &Tensor, dtype: DType) -> Tensor {
        let init = Tensor::scalar(self.init_value, dtype);
        self.boundaries_and_scales.iter().fold(init, |value, &(boundary, scale)| {
            select(&count.lt(boundary as i64), &value, &value * scale)
        })
    }

    fn check(&self, name: &str) -> Result<()> {
        const WHAT: &str = "piecewise_constant_schedule";
        let pairs = self.boundaries_and_scales.iter();
        check::finite(WHAT, "init_value", self.init_value)
            .and_then(|()| {
                pairs.clone().try_for_each(|&(step, _)| check::steps(WHAT, "a boundary", step, 0))
            })
            .and_then(|()| {
                pairs
                    .clone()
                    .try_for_each(|&(_, scale)| check::not_negative(WHAT, "a scale", scale))
            })
            .map_err(|error| of(name, error, self.location))
    }
}

/// A schedule that others follow; `optax.join_schedules`. Each begins to count at its boundary.
///
/// # Examples
/// ```
/// use onetrace::prelude::*;
/// use optim::Schedule;
/// let decay = optim::cosine_decay_schedule(1.0, 90).alpha(0.1);
/// let schedule = optim::join_schedules(optim::linear_schedule(0.0, 1.0, 10)).then(10, decay);
/// let at = |count: i32| schedule.value(&Tensor::scalar(count, DType::I32)).item::<f32>();
/// assert_eq!((at(5)?, at(10)?, at(100)?), (0.5, 1.0, 0.1));
/// # Ok::<(), onetrace::Error>(())
/// ```
pub fn join_schedules(first: impl Schedule + 'static) -> Joined {
    Joined { first: Arc::new(first), others: Vec::new() }
}

/// See [`join_schedules`].
#[derive(Clone, Debug)]
pub struct Joined {
    first: Arc<dyn Schedule>,
    /// Each with the step from which on it holds.
    others: Vec<(usize, Arc<dyn Schedule>)>,
}

impl Joined {
    /// The schedule that holds from the step `boundary` on.
    pub fn then(mut self, boundary: usize, schedule: impl Schedule + 'static) -> Joined {
        self.others.push((boundary, Arc::new(schedule)));
        self
    }
}

impl Schedule for Joined {
    fn at(&self, count: &Tensor, dtype: DType) -> Tensor {
        let first = self.first.at(count, dtype);
        self.others.iter().fold(first, |value, (boundary, schedule)| {
            let next = schedule.at(&(count - *boundary as i64), dtype);
            select(&count.lt(*boundary as i64), value, next)
        })
    }

    fn check(&self, name: &str) -> Result<()> {
        self.first.check(name)?;
        self.others.iter().try_for_each(|(boundary, schedule)| {
            check::steps("join_schedules", "a boundary", *boundary, 0)?;
            schedule.check(name)
        })
    }
}

/// A mistake in the schedule of `name` that was made at `location`.
fn of(name: &str, error: Error, location: Location) -> Error {
    error.at(location).note(format!("in the schedule of the {name}"))
}
