//! Initialisers of parameters: those of `jax.nn.initializers`, which are Flax's.
//!
//! For the same key they draw what JAX draws, to the rounding of the functions that they use.
//!
//! # Examples
//! ```
//! use onetrace::{nn::init, prelude::*, random};
//! let kernel = init::glorot_uniform().init(&random::key(0), &[3, 4], DType::F32);
//! assert_eq!(kernel.shape(), [3, 4]);
//! ```

use crate::aval::DType;
use crate::error::{Error, Result};
use crate::host::Scalar;
use crate::linalg::orthonormal_rows;
use crate::ops::{composed, resolve_axis};
use crate::random::{self, check_float, transposed_normal};
use crate::tensor::Tensor;
use crate::trace::poison;

/// How the elements of a parameter are drawn. The functions of this [module](self) make the usual
/// ones; fields can be set for others.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Initializer {
    /// Zeros.
    Zeros,
    /// Ones.
    Ones,
    /// This number everywhere.
    Constant(Scalar),
    /// Uniform numbers in [0, scale).
    Uniform {
        /// The upper end.
        scale: f64,
    },
    /// Normal numbers of mean zero.
    Normal {
        /// The standard deviation.
        stddev: f64,
    },
    /// Numbers of the standard normal distribution between two bounds, times `stddev`.
    TruncatedNormal {
        /// The standard deviation before the truncation.
        stddev: f64,
        /// The lower bound, in standard deviations.
        lower: f64,
        /// The upper bound, in standard deviations.
        upper: f64,
    },
    /// Numbers of mean zero whose variance is `scale` over the number of inputs or outputs.
    ///
    /// The parameter needs two axes at least. The axes that are neither of the two named count as
    /// the field of a convolution: they multiply inputs and outputs.
    VarianceScaling {
        /// The variance, times the number that `mode` says.
        scale: f64,
        /// What the variance is divided by.
        mode: Mode,
        /// The distribution.
        distribution: Distribution,
        /// The axis of the inputs; negative ones count from the back.
        in_axis: isize,
        /// The axis of the outputs.
        out_axis: isize,
    },
    /// A matrix with orthonormal rows or columns, whichever are fewer, times `scale`.
    ///
    /// All axes but `column_axis` together are the rows. The parameter needs two axes at least, and
    /// the dtype `f32` or `f64`.
    Orthogonal {
        /// The factor.
        scale: f64,
        /// The axis of the columns; negative ones count from the back.
        column_axis: isize,
    },
}

/// What the variance of [`Initializer::VarianceScaling`] is divided by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The number of inputs.
    FanIn,
    /// The number of outputs.
    FanOut,
    /// The mean of the two.
    FanAvg,
    /// The geometric mean of the two.
    FanGeoAvg,
}

/// The distribution of [`Initializer::VarianceScaling`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distribution {
    /// Normal, truncated at two standard deviations of what was there before.
    TruncatedNormal,
    /// Normal.
    Normal,
    /// Uniform.
    Uniform,
}

/// Zeros; `zeros_init()`.
#[doc(alias = "zeros_init")]
pub fn zeros() -> Initializer {
    Initializer::Zeros
}

/// Ones; `ones_init()`.
#[doc(alias = "ones_init")]
pub fn ones() -> Initializer {
    Initializer::Ones
}

/// This number everywhere.
pub fn constant(value: impl Into<Scalar>) -> Initializer {
    Initializer::Constant(value.into())
}

/// Uniform numbers in [0, scale). JAX's default scale is 0.01.
pub fn uniform(scale: f64) -> Initializer {
    Initializer::Uniform { scale }
}

/// Normal numbers of this standard deviation. JAX's default is 0.01.
pub fn normal(stddev: f64) -> Initializer {
    Initializer::Normal { stddev }
}

/// Numbers of the standard normal distribution between `lower` and `upper`, times `stddev`. JAX's
/// defaults are 0.01, -2 and 2.
pub fn truncated_normal(stddev: f64, lower: f64, upper: f64) -> Initializer {
    Initializer::TruncatedNormal { stddev, lower, upper }
}

/// Numbers whose variance is `scale` over the number of inputs or outputs, which are the last axis
/// but one and the last.
pub fn variance_scaling(scale: f64, mode: Mode, distribution: Distribution) -> Initializer {
    Initializer::VarianceScaling { scale, mode, distribution, in_axis: -2, out_axis: -1 }
}

/// Truncated normal numbers of variance `1 / inputs`.
pub fn lecun_normal() -> Initializer {
    variance_scaling(1.0, Mode::FanIn, Distribution::TruncatedNormal)
}

/// Uniform numbers of variance `1 / inputs`.
pub fn lecun_uniform() -> Initializer {
    variance_scaling(1.0, Mode::FanIn, Distribution::Uniform)
}

/// Truncated normal numbers of variance `2 / (inputs + outputs)`.
#[doc(alias = "xavier_normal")]
pub fn glorot_normal() -> Initializer {
    variance_scaling(1.0, Mode::FanAvg, Distribution::TruncatedNormal)
}

/// Uniform numbers of variance `2 / (inputs + outputs)`.
#[doc(alias = "xavier_uniform")]
pub fn glorot_uniform() -> Initializer {
    variance_scaling(1.0, Mode::FanAvg, Distribution::Uniform)
}

/// Truncated normal numbers of variance `2 / inputs`.
#[doc(alias = "kaiming_normal")]
pub fn he_normal() -> Initializer {
    variance_scaling(2.0, Mode::FanIn, Distribution::TruncatedNormal)
}

/// Uniform numbers of variance `2 / inputs`.
#[doc(alias = "kaiming_uniform")]
pub fn he_uniform() -> Initializer {
    variance_scaling(2.0, Mode::FanIn, Distribution::Uniform)
}

/// A matrix with orthonormal rows or columns, whichever are fewer.
pub fn orthogonal() -> Initializer {
    Initializer::Orthogonal { scale: 1.0, column_axis: -1 }
}

impl Initializer {
    /// How many times its own size making a parameter takes, at most.
    pub(super) fn memory(&self) -> usize {
        match self {
            Initializer::Zeros | Initializer::Ones | Initializer::Constant(_) => 1,
            // The numbers, in f64, are orthogonalised out of place.
            Initializer::Orthogonal { .. } => 8,
            // Measured: 2.8 times while they are drawn, and they are read and compiled in after
            // that.
            _ => 4,
        }
    }

    /// Draws a parameter of this shape and dtype with a key, `u32[2]`.
    ///
    /// The random ones take a floating dtype. What more they ask of the shape is told at each. The
    /// others do not look at the key.
    #[track_caller]
    pub fn init(&self, key: &Tensor, shape: &[usize], dtype: DType) -> Tensor {
        match *self {
            Initializer::Zeros => Tensor::zeros(shape, dtype),
            Initializer::Ones => Tensor::ones(shape, dtype),
            Initializer::Constant(value) => Tensor::full(shape, value, dtype),
            Initializer::Uniform { scale } => {
                let draw = |key: &Tensor| random::uniform(key, shape, dtype);
                scaled("uniform", key, shape, dtype, Ok(scale), draw)
            }
            Initializer::Normal { stddev } => {
                let draw = |key: &Tensor| random::normal(key, shape, dtype);
                scaled("normal", key, shape, dtype, Ok(stddev), draw)
            }
            Initializer::TruncatedNormal { stddev, lower, upper } => {
                let draw = |key: &Tensor| random::truncated_normal(key, lower, upper, shape, dtype);
                scaled("truncated_normal", key, shape, dtype, Ok(stddev), draw)
            }
            Initializer::VarianceScaling { scale, mode, distribution, in_axis, out_axis } => {
                let factor = fan(mode, shape, [in_axis, out_axis])
                    .and_then(|fan| deviation(scale / fan, distribution, dtype));
                scaled("variance_scaling", key, shape, dtype, factor, |key| match distribution {
                    Distribution::TruncatedNormal => {
                        random::truncated_normal(key, -2.0, 2.0, shape, dtype)
                    }
                    Distribution::Normal => random::normal(key, shape, dtype),
                    Distribution::Uniform => random::uniform_range(key, shape, dtype, -1.0, 1.0),
                })
            }
            Initializer::Orthogonal { scale, column_axis } => {
                let checked = check_orthogonal(shape, column_axis, dtype);
                scaled("orthogonal", key, shape, dtype, checked.map(|_| scale), |key| {
                    orthogonal_matrix(key, shape, column_axis, dtype)
                })
            }
        }
    }
}

/// What `draw` makes of the key, times `factor`, as one program.
#[track_caller]
fn scaled(
    name: &str,
    key: &Tensor,
    shape: &[usize],
    dtype: DType,
    factor: Result<f64>,
    draw: impl FnOnce(&Tensor) -> Tensor,
) -> Tensor {
    match check_float(name, dtype, shape).and(factor) {
        Ok(factor) => {
            // The factor is an input, so that one program serves all of them.
            let inputs = (key.clone(), Tensor::scalar(factor, dtype));
            composed(name, inputs, |(key, factor)| draw(&key) * factor)
        }
        Err(error) => poison(error, &[key]),
    }
}

/// The number that the variance is divided by.
fn fan(mode: Mode, shape: &[usize], [in_axis, out_axis]: [isize; 2]) -> Result<f64> {
    check_rank("variance_scaling", shape)?;
    let [inputs, outputs] = [in_axis, out_axis].map(|axis| {
        resolve_axis("variance_scaling", axis, shape.len()).map(|axis| shape[axis] as f64)
    });
    let (inputs, outputs) = (inputs?, outputs?);
    let elements: f64 = shape.iter().map(|&size| size as f64).product();
    let field = elements / inputs / outputs;
    let (fan_in, fan_out) = (inputs * field, outputs * field);
    Ok(match mode {
        Mode::FanIn => fan_in,
        Mode::FanOut => fan_out,
        Mode::FanAvg => (fan_in + fan_out) / 2.0,
        Mode::FanGeoAvg => (fan_in * fan_out).sqrt(),
    })
}

/// What numbers of the distribution in its plain form must be multiplied by to have a variance.
/// Each step is rounded to the dtype, as JAX does it.
fn deviation(variance: f64, distribution: Distribution, dtype: DType) -> Result<f64> {
    if variance < 0.0 {
        return Err(Error::argument(format!(
            "variance_scaling: the scale must not be negative, but it gives the variance {variance}"
        )));
    }
    /// The standard deviation of the standard normal distribution truncated to [-2, 2].
    const TRUNCATED: f64 = 0.879_625_661_034_239_8;
    let rounded = |x: f64| match dtype {
        DType::F16 => half::f16::from_f64(x).to_f64(),
        DType::BF16 => half::bf16::from_f64(x).to_f64(),
        DType::F32 => f64::from(x as f32),
        _ => x,
    };
    let variance = rounded(variance);
    Ok(match distribution {
        Distribution::TruncatedNormal => rounded(variance.sqrt()) / rounded(TRUNCATED),
        Distribution::Normal => variance.sqrt(),
        // The variance of the uniform distribution on [-1, 1) is a third.
        Distribution::Uniform => rounded(3.0 * variance).sqrt(),
    })
}

fn check_rank(name: &str, shape: &[usize]) -> Result<()> {
    if shape.len() >= 2 {
        return Ok(());
    }
    Err(Error::shape(format!(
        "{name}: a parameter must have two axes at least, but the shape is {shape:?}"
    )))
}

fn check_orthogonal(shape: &[usize], column_axis: isize, dtype: DType) -> Result<()> {
    check_rank("orthogonal", shape)?;
    resolve_axis("orthogonal", column_axis, shape.len())?;
    if matches!(dtype, DType::F32 | DType::F64) {
        return Ok(());
    }
    Err(Error::dtype(format!(
        "orthogonal: the dtype must be f32 or f64, but it is {dtype}: draw f32, and convert it \
         with `astype`"
    )))
}

/// The orthogonal factor of a matrix of normal numbers, so that all orthogonal matrices are equally
/// likely (Mezzadri, "How to generate random matrices from the classical compact groups", 2007).
#[track_caller]
fn orthogonal_matrix(key: &Tensor, shape: &[usize], column_axis: isize, dtype: DType) -> Tensor {
    let size: usize = shape.iter().product();
    if size == 0 {
        return Tensor::zeros(shape, dtype);
    }
    let axis = column_axis.rem_euclid(shape.len() as isize) as usize;
    let columns = shape[axis];
    let rows = size / columns;
    let normal = transposed_normal(key, [rows.min(columns), rows.max(columns)], dtype);
    let matrix = orthonormal_rows(&normal);
    let matrix = if rows < columns { matrix } else { matrix.t() };
    let mut sizes: Vec<isize> = shape.iter().map(|&size| size as isize).collect();
    let last = sizes.remove(axis);
    sizes.push(last);
    matrix.reshape(sizes).moveaxis(-1, axis as isize)
}
