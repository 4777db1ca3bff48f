//! What is to be computed, and the numbers it is computed from.

use std::path::PathBuf;

use onetrace::Result;
use onetrace::prelude::*;
use serde::Deserialize;

/// What is timed.
#[derive(Clone, Copy, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The final carries.
    Forward,
    /// The final carries and the outputs of all steps.
    ForwardYs,
    /// A loss and its gradient by all parameters.
    Grad,
    /// A step of training with adam.
    Train,
    /// A loop with nothing in it but the recurrent product.
    BoundLoop,
    /// The product of all inputs with the input kernel.
    BoundProduct,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cell {
    Gru,
    Lstm,
    Simple,
}

#[derive(Clone, Copy, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum Dtype {
    F32,
    Bf16,
}

/// A case of the grid.
#[derive(Deserialize)]
pub struct Case {
    pub kind: Kind,
    pub cell: Cell,
    pub d: usize,
    pub h: usize,
    /// The number of steps.
    pub t: usize,
    /// The size of the batch; one sequence has no batch axis.
    pub batch: usize,
    pub layers: usize,
    pub dtype: Dtype,
    pub learning_rate: f64,
    /// Whether the loops keep all of their work.
    #[serde(default)]
    pub no_fission: bool,
    /// The safetensors file with the inputs and the parameters, in `f32`.
    pub data: PathBuf,
    /// The safetensors file to write the results to, in `f32`.
    pub outputs: PathBuf,
}

/// What a case is computed from.
#[derive(Clone, Tree)]
pub struct Data<C> {
    /// The inputs, `[t, batch, d]`, or `[t, d]` for a batch of one.
    pub x: Tensor,
    pub layers: Vec<C>,
}

impl Case {
    /// The axes between that of the steps and that of the features.
    pub fn batch_axes(&self) -> Vec<usize> {
        if self.batch == 1 { vec![] } else { vec![self.batch] }
    }

    /// Reads the numbers for cells of the type that `new` makes.
    pub fn read<C: Tree>(&self, new: impl Fn(&mut nn::Rngs, usize, usize) -> C) -> Result<Data<C>> {
        let rngs = &mut nn::Rngs::new(0);
        let features = |layer| if layer == 0 { self.d } else { self.h };
        let x_shape = [&[self.t], &self.batch_axes()[..], &[self.d]].concat();
        let template = Data {
            x: Tensor::zeros(x_shape, DType::F32),
            layers: (0..self.layers).map(|layer| new(rngs, features(layer), self.h)).collect(),
        };
        let data = onetrace::io::load_safetensors(&self.data, &template)?;
        let dtype = match self.dtype {
            Dtype::F32 => return Ok(data),
            Dtype::Bf16 => DType::BF16,
        };
        Ok(tree::map(&data, |leaf| leaf.astype(dtype)))
    }
}
