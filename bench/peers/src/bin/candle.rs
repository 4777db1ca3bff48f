//! candle in the benchmark: `candle_nn::rnn` on the CPU.

use std::collections::HashMap;

use anyhow::{Result, bail};
use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_nn::rnn::{GRU, GRUConfig, LSTM, LSTMConfig, RNN};
use peers::{Array, Arrays, Case, Prepared, Unsupported, inputs, outputs, parameter, unbatched};

fn main() -> Result<()> {
    peers::serve(|case, data| match case.cell.as_str() {
        "gru" => {
            let config = GRUConfig { b_hh_init: None, ..GRUConfig::default() };
            let new = |d, h, weights: VarBuilder| Ok(GRU::new(d, h, config, weights)?);
            prepared(case, layers(case, data, "bias_ih_l0", new)?, data, |state| vec![&state.h])
        }
        "lstm" => {
            let config = LSTMConfig { b_ih_init: None, ..LSTMConfig::default() };
            let new = |d, h, weights: VarBuilder| Ok(LSTM::new(d, h, config, weights)?);
            prepared(case, layers(case, data, "bias_hh_l0", new)?, data, |state| {
                vec![&state.c, &state.h]
            })
        }
        _ => bail!(Unsupported("candle has no such cell")),
    })
}

/// The layers of a case. `bias` is which of candle's two biases the cell has.
fn layers<R>(
    case: &Case,
    data: &Arrays,
    bias: &str,
    new: impl Fn(usize, usize, VarBuilder) -> Result<R>,
) -> Result<Vec<R>> {
    let biased = if bias == "bias_ih_l0" { "dense_i.bias" } else { "dense_h.bias" };
    let layer = |layer| {
        // Its kernels are [gates * hidden, in], with the gates in the same order.
        let weights = HashMap::from([
            (
                "weight_ih_l0".to_owned(),
                tensor(&parameter(data, layer, "dense_i.kernel")?.swapped())?,
            ),
            (
                "weight_hh_l0".to_owned(),
                tensor(&parameter(data, layer, "dense_h.kernel")?.swapped())?,
            ),
            (bias.to_owned(), tensor(parameter(data, layer, biased)?)?),
        ]);
        let weights = VarBuilder::from_tensors(weights, DType::F32, &Device::Cpu);
        new(case.features(layer), case.h, weights)
    };
    (0..case.layers).map(layer).collect()
}

fn tensor(array: &Array) -> Result<Tensor> {
    Ok(Tensor::from_slice(&array.values, array.shape.as_slice(), &Device::Cpu)?)
}

fn array(tensor: &Tensor) -> Result<Array> {
    let values = tensor.flatten_all()?.to_vec1()?;
    Ok(Array { shape: tensor.dims().to_vec(), values })
}

/// The last state of each layer, and the outputs of all steps where they are wanted.
fn forward<R: RNN>(
    layers: &[R],
    x: &Tensor,
    wants_ys: bool,
) -> Result<(Vec<R::State>, Option<Tensor>)> {
    let mut lasts = Vec::new();
    let mut ys = x.clone();
    for (index, layer) in layers.iter().enumerate() {
        let states = layer.seq(&ys)?;
        let is_last = index + 1 == layers.len();
        if is_last && !wants_ys {
            lasts.extend(states.last().cloned());
            return Ok((lasts, None));
        }
        // A GRU gives the steps one after the other in one axis.
        let (batch, steps, _) = ys.dims3()?;
        ys = layer.states_to_tensor(&states)?.reshape((batch, steps, ()))?;
        lasts.extend(states.last().cloned());
    }
    Ok((lasts, Some(ys)))
}

/// `parts` are the tensors of a state, in the order of Flax's carry.
fn prepared<R: RNN + 'static>(
    case: &Case,
    layers: Vec<R>,
    data: &Arrays,
    parts: impl Fn(&R::State) -> Vec<&Tensor>,
) -> Result<Prepared> {
    let x = tensor(&inputs(case, data)?)?;
    let wants_ys = case.wants_ys();
    let (states, ys) = forward(&layers, &x, wants_ys)?;
    let mut results = Arrays::new();
    for (layer, state) in states.iter().enumerate() {
        let parts = parts(state);
        for (index, part) in parts.iter().enumerate() {
            let suffix = if parts.len() > 1 { format!(".{index}") } else { String::new() };
            results.insert(format!("carry.{layer}{suffix}"), unbatched(case, array(part)?, 0));
        }
    }
    if let Some(ys) = ys {
        results.insert("ys".to_owned(), outputs(case, array(&ys)?));
    }
    let call = Box::new(move || forward(&layers, &x, wants_ys).map(drop));
    Ok(Prepared { outputs: results, call })
}
