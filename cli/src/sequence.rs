//! The sequence that a command runs over: a file, or random numbers.

use std::path::PathBuf;

use clap::{ArgGroup, Args};
use onetrace::{Tensor, io};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

use crate::failure::{Failure, reason};
use crate::number::{self, Size};

#[derive(Args)]
#[group(skip)]
#[command(group(ArgGroup::new("sequence").required(true).args(["input", "random"])))]
pub struct Sequence {
    /// The sequence: a .npy file of shape (time, features)
    ///
    /// Any real dtype, C or Fortran order, either byte order; the elements are converted to
    /// float32.
    #[arg(long, value_name = "X.npy")]
    pub input: Option<PathBuf>,

    /// A random sequence of T steps and D features instead of a file
    ///
    /// Standard normal float32 numbers in row-major order, from the generator ChaCha8 (rand_chacha)
    /// seeded with --input-seed. The same seed and D give the same rows for every T.
    #[arg(long, value_name = "TxD", value_parser = number::size, allow_hyphen_values = true)]
    pub random: Option<Size>,

    /// The seed of the random sequence
    #[arg(long, value_name = "N", default_value = "0", conflicts_with = "input")]
    #[arg(value_parser = number::input_seed, allow_hyphen_values = true)]
    pub input_seed: u64,
}

impl Sequence {
    /// Reads or makes the sequence: a tensor of shape `[time, features]`, at least one feature.
    pub fn load(&self) -> Result<Tensor, Failure> {
        let Some(path) = &self.input else {
            let size = self.random.unwrap_or(Size { time: 0, features: 1 });
            let x = random(size, self.input_seed);
            x.check().map_err(|error| Failure::input("--random", reason(&error)))?;
            return Ok(x);
        };
        let refused = |why| Failure::input("--input", why);
        let x = io::read_npy(path).map_err(|error| refused(reason(&error).to_owned()))?;
        match *x.shape() {
            [_, 0] => Err(refused(format!(
                "{}: the sequence must have at least one feature, but it is {}",
                path.display(),
                x.aval(),
            ))),
            [_, _] => Ok(x),
            _ => Err(refused(format!(
                "{}: the sequence must have two axes, time and features, but it is {}",
                path.display(),
                x.aval(),
            ))),
        }
    }
}

fn random(size: Size, seed: u64) -> Tensor {
    let generator = ChaCha8Rng::seed_from_u64(seed);
    let numbers: Vec<f32> =
        StandardNormal.sample_iter(generator).take(size.time * size.features).collect();
    Tensor::new(&numbers, [size.time, size.features])
}
