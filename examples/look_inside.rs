//! What a traced loop becomes: the IR with the lines it came from, the HLO, and StableHLO.
//!
//! ```text
//! cargo run --example look_inside
//! ```

use onetrace::ir::print::Options;
use onetrace::prelude::*;

fn main() -> Result<()> {
    let decay = Tensor::new(&[0.5f32, 0.9], [2]).named("decay");
    let average = jit(|x: Tensor| {
        let step = |mean: Tensor, x: Tensor| {
            let mean = &decay * mean + (1.0 - &decay) * x;
            (mean.clone(), mean)
        };
        scan(step, Tensor::zeros([2], DType::F32), x).1
    })
    .name("moving_average");

    let lowered = average.lower(Tensor::zeros([100, 2], DType::F32))?;
    println!("{}", lowered.ir_with(Options { locations: true, ..Options::default() }));
    println!("{}", lowered.hlo()?);
    println!("{}", lowered.stablehlo()?);
    Ok(())
}
