//! Classifies sequences of different lengths, padded to one: the temporal order problem of Hochreiter
//! and Schmidhuber (1997).
//!
//! ```text
//! cargo run --release --example classify_sequences
//! ```
//!
//! A sequence is noise with two markers in it, each an X or a Y; which they are, and in which order, is its
//! class. The padding has noise and markers as well, so that a model that reads on past the end is misled.
//! All steps of an epoch are one compiled While loop.

#[path = "common/arguments.rs"]
mod arguments;
#[path = "common/sequence_classifier.rs"]
mod sequence_classifier;

use anyhow::Result;
use arguments::Arguments;
use indicatif::{ProgressBar, ProgressStyle};
use onetrace::prelude::*;
use rand::{Rng, SeedableRng, seq::index};
use rand_chacha::ChaCha8Rng;
use sequence_classifier::{SequenceClassifier, Sequences, train};

const USAGE: &str = "\
Trains a GRU to tell the order of two markers in noisy sequences of different lengths.

  --epochs N            how often to go over the data (default: 8)
  --sequences N         to train on; a fifth as many more are held out (default: 2048)
  --max-length N        lengths are from a quarter of this to this (default: 40)
  --batch N             sequences in a batch (default: 64)
  --hidden N            features of the GRU (default: 32)
  --learning-rate X     of AdamW (default: 0.005)
  --seed N              of the parameters and the data (default: 0)";

/// Four symbols of noise, and the markers X and Y.
const NOISE: i32 = 4;
const SYMBOLS: usize = 6;
/// XX, XY, YX and YY.
const CLASSES: usize = 4;

/// Sequences drawn at random, and their classes.
fn draw(rng: &mut ChaCha8Rng, count: usize, max_length: usize) -> Sequences {
    let (mut tokens, mut lengths, mut labels) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..count {
        let length = rng.random_range(max_length / 4..=max_length);
        let mut sequence: Vec<i32> = (0..length).map(|_| rng.random_range(0..NOISE)).collect();
        let mut places = index::sample(rng, length, 2).into_vec();
        places.sort_unstable();
        let markers = [rng.random_range(0..2), rng.random_range(0..2)];
        for (place, marker) in places.into_iter().zip(markers) {
            sequence[place] = NOISE + marker;
        }
        sequence.resize_with(max_length, || rng.random_range(0..SYMBOLS as i32));
        tokens.extend(sequence);
        lengths.push(length as i32);
        labels.push(2 * markers[0] + markers[1]);
    }
    Sequences {
        tokens: Tensor::new(&tokens, [count, max_length]),
        lengths: Tensor::new(&lengths, [count]),
        labels: Tensor::new(&labels, [count]),
    }
}

fn main() -> Result<()> {
    let Some(mut arguments) = Arguments::parse(USAGE)? else { return Ok(()) };
    let epochs: u64 = arguments.take("epochs", 8, 1)?;
    let batch: usize = arguments.take("batch", 64, 1)?;
    let sequences: usize = arguments.take("sequences", 2048, batch)?;
    let max_length: usize = arguments.take("max-length", 40, 8)?;
    let hidden: usize = arguments.take("hidden", 32, 1)?;
    let learning_rate: f64 = arguments.take("learning-rate", 0.005, 0.0)?;
    let seed: u32 = arguments.take("seed", 0, 0)?;
    arguments.finish()?;

    let rng = &mut ChaCha8Rng::seed_from_u64(seed.into());
    let data = draw(rng, sequences, max_length);
    let held_out = draw(rng, sequences / 5 + 1, max_length);
    let rngs = &mut nn::Rngs::new(seed.into());
    let mut model = SequenceClassifier::new(rngs, SYMBOLS, hidden, CLASSES);
    let optimizer = optim::adamw(learning_rate);
    let mut state = optimizer.init(&model);

    // An epoch goes over the data in an order of its own, without what is left of the last batch.
    let (steps, keys) =
        (sequences / batch, random::split(&random::key(seed.into()), epochs as usize));
    let epoch = jit(|(model, state, data, key): (_, _, Sequences, Tensor)| {
        let order = random::permutation(&key, sequences);
        let order = order.slice_in_dim(..steps * batch, 0).reshape([-1, batch as isize]);
        train(&optimizer, model, state, tree::map(&data, |x| x.take(&order, 0)))
    });
    let accuracy = jit(|(model, data): (SequenceClassifier, Sequences)| model.accuracy(&data));

    let bar = ProgressBar::new(epochs);
    bar.set_style(ProgressStyle::with_template(
        "{bar:30} epoch {pos} of {len}, {eta} left; {msg}",
    )?);
    for i in 0..epochs {
        let losses;
        let key = keys.index(i as usize);
        (model, state, losses) = epoch.call((model, state, data.clone(), key))?;
        bar.set_message(format!("loss {:.4}", losses.mean(..).item::<f32>()?));
        bar.inc(1);
        let right = accuracy.call((model.clone(), held_out.clone()))?.item::<f32>()?;
        bar.suspend(|| {
            println!("epoch {:2}: {:.1}% of the held-out sequences right", i + 1, right * 100.0)
        });
    }
    bar.finish_and_clear();

    // The same model, told that every sequence is as long as its padding.
    let lengths = Tensor::full(held_out.lengths.shape(), max_length as i32, DType::I32);
    let right = accuracy.call((model, Sequences { lengths, ..held_out }))?.item::<f32>()?;
    println!("without the lengths it would be {:.1}%", right * 100.0);
    Ok(())
}
