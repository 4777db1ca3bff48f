//! Data parallelism: four devices train one model together, each on a quarter of the batch. Here
//! they are four CPU devices of one process.
//!
//! ```text
//! cargo run --release --example data_parallel
//! ```

use onetrace::prelude::*;
use onetrace::{SAME, XlaOptions, pmap, pmean};

#[derive(Clone, Tree)]
struct Model {
    cell: nn::GruCell,
    head: nn::Linear,
}

impl Model {
    /// The mean squared error of what the model says of sequences `[batch, steps, 1]`.
    fn loss(&self, x: &Tensor, y: &Tensor) -> Tensor {
        let start = self.cell.initial_carry(&[x.shape()[0]]);
        let (h, ()) = scan(|h, x| (self.cell.step(h, x).0, ()), start, x.swapaxes(0, 1));
        (self.head.call(&h) - y).square().mean(..)
    }
}

fn main() -> Result<()> {
    XlaOptions::new().cpu_devices(4).apply()?;
    let devices = Device::cpus()?;
    let (n, batch, steps, hidden) = (4, 16, 4, 8);

    // The model learns the mean of a sequence.
    let x = random::uniform(&random::key(0), [n, batch, steps, 1], DType::F32);
    let y = x.mean(-2);
    let rngs = &mut nn::Rngs::new(42);
    let cell = nn::GruCell::new(rngs, 1, hidden);
    let mut model = Model { cell, head: nn::Linear::new(rngs, hidden, 1) };

    let step = pmap(|(model, x, y): (Model, Tensor, Tensor)| {
        let (loss, slope) = value_and_grad(|model: Model| model.loss(&x, &y))(model.clone());
        let (loss, slope) = pmean((loss, slope)); // the same on all devices from here on
        let mut slopes = tree::leaves(&slope).into_iter();
        (tree::map(&model, |w| w - slopes.next().expect("one for each leaf") * 0.5), loss)
    });
    let step = step.devices(&devices).in_axes((SAME, 0, 0)).out_axes(SAME);

    for i in 0..=40 {
        let loss;
        (model, loss) = step.call((model, x.clone(), y.clone()))?; // compiled once
        if i % 10 == 0 {
            println!("step {i:2}: loss {:.5}", loss.item::<f32>()?);
        }
    }
    let kernel = &model.head.kernel;
    println!("the parameters are on {:?}", kernel.devices()?);
    Ok(())
}
