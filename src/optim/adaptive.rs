//! Steps scaled by estimates of the moments of the gradients.

use onetrace_derive::Tree;

use super::{GradientTransformation, check, leaves};
use crate::aval::DType;
use crate::error::{Location, Result};
use crate::ops::select::select;
use crate::tensor::Tensor;
use crate::tree::Tree;

/// The average of a moment, with the weight of the past `decay`.
fn averaged(new: Tensor, old: &Tensor, decay: f64) -> Tensor {
    let wide = leaves::promoted(new.dtype(), old.dtype());
    (new * (1.0 - decay)).astype(wide) + (old * decay).astype(wide)
}

/// `1 - decay^count`, in which an average that began at zero falls short; `optax`'s
/// `bias_correction`. Powers are taken in `dtype`: in a narrow one they would round to 1.
fn shortfall(decay: f64, count: &Tensor, dtype: DType) -> Tensor {
    1.0 - Tensor::scalar(decay, dtype).pow(count.astype(dtype))
}

/// Scales updates as Adam does; `optax.scale_by_adam`. For its arguments see [`adam`](super::adam).
#[track_caller]
pub fn scale_by_adam() -> ScaleByAdam {
    ScaleByAdam {
        b1: 0.9,
        b2: 0.999,
        eps: 1e-8,
        eps_root: 0.0,
        mu_dtype: None,
        nesterov: false,
        location: std::panic::Location::caller(),
    }
}

/// See [`scale_by_adam`].
#[derive(Clone, Debug)]
#[must_use = "an optimiser does nothing until it makes an update"]
pub struct ScaleByAdam {
    b1: f64,
    b2: f64,
    eps: f64,
    eps_root: f64,
    mu_dtype: Option<DType>,
    nesterov: bool,
    location: Location,
}

impl ScaleByAdam {
    /// The decay of the average of gradients; 0.9 if not given.
    pub fn b1(mut self, b1: f64) -> ScaleByAdam {
        self.b1 = b1;
        self
    }

    /// The decay of the average of squared gradients; 0.999 if not given.
    pub fn b2(mut self, b2: f64) -> ScaleByAdam {
        self.b2 = b2;
        self
    }

    /// What is added to the root in the denominator; 1e-8 if not given.
    pub fn eps(mut self, eps: f64) -> ScaleByAdam {
        self.eps = eps;
        self
    }

    /// What is added under the root in the denominator; 0 if not given.
    pub fn eps_root(mut self, eps_root: f64) -> ScaleByAdam {
        self.eps_root = eps_root;
        self
    }

    /// The dtype of the average of gradients; that of the parameters if not given.
    pub fn mu_dtype(mut self, dtype: DType) -> ScaleByAdam {
        self.mu_dtype = Some(dtype);
        self
    }

    /// Whether momentum is Nesterov's.
    pub fn nesterov(mut self, nesterov: bool) -> ScaleByAdam {
        self.nesterov = nesterov;
        self
    }

    fn check(&self) -> Result<()> {
        check::decay("adam", "b1", self.b1)
            .and_then(|()| check::decay("adam", "b2", self.b2))
            .and_then(|()| check::not_negative("adam", "eps", self.eps))
            .and_then(|()| check::not_negative("adam", "eps_root", self.eps_root))
            .and_then(|()| check::float("adam", "mu_dtype", self.mu_dtype.unwrap_or(DType::F32)))
            .map_err(|error| error.at(self.location))
    }
}

/// The state of [`scale_by_adam`].
#[derive(Clone, Debug, Tree)]
pub struct ScaleByAdamState<P> {
    /// The number of steps, `i32[]`.
    pub count: Tensor,
    /// The averages of gradients.
    pub mu: P,
    /// The averages of squared gradients.
    pub nu: P,
}

impl GradientTransformation for ScaleByAdam {
    type State<P: Tree> = ScaleByAdamState<P>;

    fn init<P: Tree>(&self, params: &P) -> ScaleByAdamState<P> {
        ScaleByAdamState {
            count: Tensor::scalar(0, DType::I32),
            mu: leaves::full_like(params, 0.0, self.mu_dtype),
            nu: leaves::full_like(params, 0.0, None),
        }
    }

    fn try_update<P: Tree>(
        &self,
        updates: P,
        state: ScaleByAdamState<P>,
        params: &P,
    ) -> Result<(P, ScaleByAdamState<P>)> {
        self.check()?;
        check::state("adam", "mu", &state.mu, params, self.mu_dtype)?;
        check::state("adam", "nu", &state.nu, params, None)?;
        let ScaleByAdam { b1, b2, .. } = *self;
        let count = leaves::safe_increment(&state.count);
        let dtype = leaves::common_dtype(params);
        let mu_short = shortfall(b1, &count, dtype);
        let mu_short_next = shortfall(b1, &leaves::safe_increment(&count), dtype);
        let nu_short = shortfall(b2, &count, dtype);
        let unbiased = |x: &Tensor, short: &Tensor| x / short.astype(x.dtype());
        let trees = [&updates, &state.mu, &state.nu];
        let [updates, mu, nu] = leaves::map(params, trees, |_, [g, mu, nu]| {
            let (mu_dtype, nu) = (mu.dtype(), averaged(g.square(), nu, b2));
            let mu = averaged(g.clone(), mu, b1);
            let wide = mu.dtype();
            let mean = match self.nesterov {
                true => {
                    let g = unbiased(g, &mu_short).astype(wide);
                    unbiased(&mu, &mu_short_next) * b1 + g * (1.0 - b1)
                }
                false => unbiased(&mu, &mu_short),
            };
            let root = (unbiased(&nu, &nu_short) + self.eps_root).sqrt() + self.eps;
            [(mean / root.astype(wide)).astype(g.dtype()), mu.astype(mu_dtype), nu]
        })?;
        Ok((updates, ScaleByAdamState { count, mu, nu }))
    }
}

/// Divides updates by the root of the average of their squares; `optax.scale_by_rms`. For its
/// arguments see [`rmsprop`](super::rmsprop).
#[track_caller]
pub fn scale_by_rms() -> ScaleByRms {
    ScaleByRms {
        decay: 0.9,
        eps: 1e-8,
        initial_scale: 0.0,
        eps_in_sqrt: true,
        bias_correction: false,
        centered: false,
        location: std::panic::Location::caller(),
    }
}

/// Divides updates by an estimate of their standard deviation; `optax.scale_by_stddev`. It is
/// [`scale_by_rms`], centred.
#[track_caller]
pub fn scale_by_stddev() -> ScaleByRms {
    scale_by_rms().centered(true)
}

/// See [`scale_by_rms`].
#[derive(Clone, Debug)]
#[must_use = "an optimiser does nothing until it makes an update"]
pub struct ScaleByRms {
    decay: f64,
    eps: f64,
    initial_scale: f64,
    eps_in_sqrt: bool,
    bias_correction: bool,
    centered: bool,
    location: Location,
}

impl ScaleByRms {
    /// The decay of the averages; 0.9 if not given.
    pub fn decay(mut self, decay: f64) -> ScaleByRms {
        self.decay = decay;
        self
    }

    /// What is added in the denominator; 1e-8 if not given.
    pub fn eps(mut self, eps: f64) -> ScaleByRms {
        self.eps = eps;
        self
    }

    /// What the average of squares begins with; 0 if not given.
    pub fn initial_scale(mut self, initial_scale: f64) -> ScaleByRms {
        self.initial_scale = initial_scale;
        self
    }

    /// Whether `eps` is added under the root, which is so if not given, or to it.
    pub fn eps_in_sqrt(mut self, eps_in_sqrt: bool) -> ScaleByRms {
        self.eps_in_sqrt = eps_in_sqrt;
        self
    }

    /// Whether averages are corrected for what they began with.
    pub fn bias_correction(mut self, bias_correction: bool) -> ScaleByRms {
        self.bias_correction = bias_correction;
        self
    }

    /// Whether the square of the average is taken off the average of squares.
    pub fn centered(mut self, centered: bool) -> ScaleByRms {
        self.centered = centered;
        self
    }

    fn check(&self) -> Result<()> {
        check::decay("rmsprop", "decay", self.decay)
            .and_then(|()| check::not_negative("rmsprop", "eps", self.eps))
            .and_then(|()| check::not_negative("rmsprop", "initial_scale", self.initial_scale))
            .map_err(|error| error.at(self.location))
    }
}

/// The state of [`scale_by_rms`].
#[derive(Clone, Debug, Tree)]
pub struct ScaleByRmsState<P> {
    /// The number of steps, `i32[]`; with bias correction only.
    pub count: Option<Tensor>,
    /// The averages of gradients; if centred only.
    pub mu: Option<P>,
    /// The averages of squared gradients.
    pub nu: P,
}

impl GradientTransformation for ScaleByRms {
    type State<P: Tree> = ScaleByRmsState<P>;

    fn init<P: Tree>(&self, params: &P) -> ScaleByRmsState<P> {
        ScaleByRmsState {
            count: self.bias_correction.then(|| Tensor::scalar(0, DType::I32)),
            mu: self.centered.then(|| leaves::full_like(params, 0.0, None)),
            nu: leaves::full_like(params, self.initial_scale, None),
        }
    }

    fn try_update<P: Tree>(
        &self,
        updates: P,
        state: ScaleByRmsState<P>,
        params: &P,
    ) -> Result<(P, ScaleByRmsState<P>)> {
        self.check()?;
        let ScaleByRmsState { count, mu, nu } = state;
        check::same_parts("rmsprop", "count", self.bias_correction, count.is_some())?;
        check::same_parts("rmsprop", "mu", self.centered, mu.is_some())?;
        check::state("rmsprop", "nu", &nu, params, None)?;
        mu.as_ref().map_or(Ok(()), |mu| check::state("rmsprop", "mu", mu, params, None))?;

        let count = count.as_ref().map(leaves::safe_increment);
        let dtype = leaves::common_dtype(params);
        let short = count.as_ref().map(|count| shortfall(self.decay, count, dtype));
        let unbiased = |x: &Tensor| match &short {
            Some(short) => x / short.astype(x.dtype()),
            None => x.clone(),
        };
        let scaled = |g: &Tensor, square: Tensor| match self.eps_in_sqrt {
            true => (square + self.eps).rsqrt() * g,
            false => 1.0 / (square.sqrt() + self.eps) * g,
        };
        let (updates, mu, nu) = match mu {
            Some(mu) => {
                let trees = [&updates, &mu, &nu];
                let [updates, mu, nu] = leaves::map(params, trees, |_, [g, mu, nu]| {
                    let mu = averaged(g.clone(), mu, self.decay);
                    let nu = averaged(g.square(), nu, self.decay);
                    [scaled(g, unbiased(&nu) - unbiased(&mu).square()), mu, nu]
                })?;
                (updates, Some(mu), nu)
            }
            None => {
                let [updates, nu] = leaves::map(params, [&updates, &nu], |_, [g, nu]| {
                    let nu = averaged(g.square(), nu, self.decay);
                    [scaled(g, unbiased(&nu)), nu]
                })?;
                (updates, None, nu)
            }
        };
        Ok((updates, ScaleByRmsState { count, mu, nu }))
    }
}

/// Divides updates by the root of the sum of all squares so far; `optax.scale_by_rss`. For its
/// arguments see [`adagrad`](super::adagrad).
#[track_caller]
pub fn scale_by_rss() -> ScaleByRss {
    ScaleByRss {
        initial_accumulator_value: 0.1,
        eps: 1e-7,
        location: std::panic::Location::caller(),
    }
}

/// See [`scale_by_rss`].
#[derive(Clone, Debug)]
#[must_use = "an optimiser does nothing until it makes an update"]
pub struct ScaleByRss {
    initial_accumulator_value: f64,
    eps: f64,
    location: Location,
}

impl ScaleByRss {
    /// What the sums begin with; 0.1 if not given.
    pub fn initial_accumulator_value(mut self, value: f64) -> ScaleByRss {
        self.initial_accumulator_value = value;
        self
    }

    /// What is added under the root; 1e-7 if not given.
    pub fn eps(mut self, eps: f64) -> ScaleByRss {
        self.eps = eps;
        self
    }
}

/// The state of [`scale_by_rss`].
#[derive(Clone, Debug, Tree)]
pub struct ScaleByRssState<P> {
    /// The sums of squared gradients.
    pub sum_of_squares: P,
}

impl GradientTransformation for ScaleByRss {
    type State<P: Tree> = ScaleByRssState<P>;

    fn init<P: Tree>(&self, params: &P) -> ScaleByRssState<P> {
        let sum_of_squares = leaves::full_like(params, self.initial_accumulator_value, None);
        ScaleByRssState { sum_of_squares }
    }

    fn try_update<P: Tree>(
        &self,
        updates: P,
        state: ScaleByRssState<P>,
        params: &P,
    ) -> Result<(P, ScaleByRssState<P>)> {
        const VALUE: &str = "initial_accumulator_value";
        check::not_negative("adagrad", VALUE, self.initial_accumulator_value)
            .and_then(|()| check::not_negative("adagrad", "eps", self.eps))
            .map_err(|error| error.at(self.location))?;
        check::state("adagrad", "sum_of_squares", &state.sum_of_squares, params, None)?;
        let trees = [&updates, &state.sum_of_squares];
        let [updates, sum_of_squares] = leaves::map(params, trees, |_, [g, sum]| {
            let sum = g.square() + sum;
            [select(&sum.gt(0.0), (&sum + self.eps).rsqrt(), 0.0) * g, sum]
        })?;
        Ok((updates, ScaleByRssState { sum_of_squares }))
    }
}
