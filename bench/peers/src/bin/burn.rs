//! burn in the benchmark: its recurrent modules on its CPU backend, `flex`.

use anyhow::{Result, bail};
use burn::module::Param;
use burn::nn::{GateController, GruConfig, LstmConfig, RnnConfig};
use burn::tensor::{Device, Tensor, TensorData};
use peers::{Array, Arrays, Case, Prepared, Unsupported, inputs, outputs, parameter, unbatched};

/// Gives the outputs of all steps, and the part of the last state that Flax's carry has before the
/// output.
type Layer = Box<dyn Fn(Tensor<3>) -> (Tensor<3>, Option<Tensor<2>>)>;

fn layer(case: &Case, data: &Arrays, layer: usize) -> Result<Layer> {
    let (d, h, device) = (case.features(layer), case.h, Device::flex());
    let set = |gate: &mut GateController, index, count| set(gate, data, layer, index, count);
    Ok(match case.cell.as_str() {
        "gru" => {
            let mut gru = GruConfig::new(d, h, true).init(&device);
            set(&mut gru.reset_gate, 0, 3)?;
            set(&mut gru.update_gate, 1, 3)?;
            set(&mut gru.new_gate, 2, 3)?;
            Box::new(move |x| (gru.forward(x, None), None))
        }
        "lstm" => {
            let mut lstm = LstmConfig::new(d, h, true).init(&device);
            set(&mut lstm.input_gate, 0, 4)?;
            if let Some(gate) = &mut lstm.forget_gate {
                set(gate, 1, 4)?;
            }
            set(&mut lstm.cell_gate, 2, 4)?;
            set(&mut lstm.output_gate, 3, 4)?;
            Box::new(move |x| {
                let (ys, state) = lstm.forward(x, None);
                (ys, Some(state.cell))
            })
        }
        "simple" => {
            let mut rnn = RnnConfig::new(d, h, true).init(&device);
            set(&mut rnn.gate, 0, 1)?;
            Box::new(move |x| (rnn.forward(x, None).0, None))
        }
        _ => bail!(Unsupported("burn has no such cell")),
    })
}

/// Gives a gate its part of the kernels, and its bias where the cell has one.
fn set(
    gate: &mut GateController,
    data: &Arrays,
    layer: usize,
    index: usize,
    count: usize,
) -> Result<()> {
    for (name, linear) in
        [("dense_i", &mut gate.input_transform), ("dense_h", &mut gate.hidden_transform)]
    {
        let kernel = parameter(data, layer, &format!("{name}.kernel"))?.part(index, count);
        linear.weight = Param::from_tensor(tensor(kernel));
        let bias = data.get(&format!("layers.{layer}.{name}.bias"));
        linear.bias = bias.map(|bias| Param::from_tensor(tensor(bias.part(index, count))));
    }
    Ok(())
}

fn tensor<const D: usize>(array: Array) -> Tensor<D> {
    Tensor::from_data(TensorData::new(array.values, array.shape), &Device::flex())
}

fn array<const D: usize>(tensor: Tensor<D>) -> Result<Array> {
    let data = tensor.into_data();
    let shape = data.shape().to_vec();
    let values = data.try_to_vec().map_err(|error| anyhow::anyhow!("{error:?}"))?;
    Ok(Array { shape, values })
}

/// The last state of each layer, and the outputs of all steps.
fn forward(layers: &[Layer], x: &Tensor<3>) -> (Vec<Vec<Tensor<2>>>, Tensor<3>) {
    let mut lasts = Vec::new();
    let mut ys = x.clone();
    for layer in layers {
        let cell;
        (ys, cell) = layer(ys);
        let steps = ys.dims()[1];
        let h = ys.clone().narrow(1, steps - 1, 1).squeeze_dim(1);
        lasts.push(cell.into_iter().chain([h]).collect());
    }
    (lasts, ys)
}

fn prepare(case: &Case, data: &Arrays) -> Result<Prepared> {
    let layers: Vec<Layer> =
        (0..case.layers).map(|index| layer(case, data, index)).collect::<Result<_>>()?;
    let x = tensor(inputs(case, data)?);
    let (states, ys) = forward(&layers, &x);
    let mut results = Arrays::new();
    for (layer, parts) in states.into_iter().enumerate() {
        let is_tuple = parts.len() > 1;
        for (index, part) in parts.into_iter().enumerate() {
            let suffix = if is_tuple { format!(".{index}") } else { String::new() };
            results.insert(format!("carry.{layer}{suffix}"), unbatched(case, array(part)?, 0));
        }
    }
    if case.wants_ys() {
        results.insert("ys".to_owned(), outputs(case, array(ys)?));
    }
    let call = Box::new(move || {
        let results = forward(&layers, &x);
        Device::flex().sync()?;
        drop(results);
        Ok(())
    });
    Ok(Prepared { outputs: results, call })
}

fn main() -> Result<()> {
    peers::serve(prepare)
}
