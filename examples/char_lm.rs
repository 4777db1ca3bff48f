//! Trains a character-level GRU language model on a novel, and lets it write.
//!
//! ```text
//! cargo run --release --example char_lm -- --save moby.safetensors
//! cargo run --release --example char_lm -- --resume moby.safetensors --steps 3000
//! ```
//!
//! A run that is resumed goes on exactly as if it had not been stopped.

#[path = "common/arguments.rs"]
mod arguments;
#[path = "common/char_model.rs"]
mod char_model;
#[path = "common/char_training.rs"]
mod char_training;

use std::f64::consts::LN_2;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use arguments::Arguments;
use char_model::{CharLm, Text};
use char_training::{Run, Settings, Trainer};
use indicatif::{ProgressBar, ProgressStyle};
use onetrace::{io, prelude::*};

const NOVEL: &[u8] = include_bytes!("data/moby_dick.txt");

const USAGE: &str = "\
Trains a character-level GRU language model, and lets it write.

  --text FILE           what to train on (default: Moby-Dick)
  --steps N             train until this step (default: 1500)
  --batch N             windows in a batch (default: 32)
  --length N            characters in a window (default: 64)
  --hidden N            features of the GRU (default: 128)
  --learning-rate X     of Adam, warmed up and then halved every 1000 steps (default: 0.005)
  --seed N              of the parameters, the batches and the text that is written (default: 0)
  --save FILE           write a checkpoint here at every validation and at the end
  --resume FILE         go on from such a checkpoint
  --validate N          steps between validations (default: 250)
  --write N             characters to write at the end (default: 400)
  --prompt TEXT         what they follow (default: \"The \")
  --temperature X       how bold to be: 1 is as the model says (default: 0.7)";

fn main() -> Result<()> {
    let Some(mut arguments) = Arguments::parse(USAGE)? else { return Ok(()) };
    let settings = Settings {
        seed: arguments.take("seed", 0, 0)?,
        batch: arguments.take("batch", 32, 1)?,
        length: arguments.take("length", 64, 1)?,
        hidden: arguments.take("hidden", 128, 1)?,
        learning_rate: arguments.take("learning-rate", 0.005, 0.0)?,
    };
    let steps: usize = arguments.take("steps", 1500, 0)?;
    let validate: usize = arguments.take("validate", 250, 1)?;
    let write = arguments.take("write", 400, 0)?;
    let temperature = arguments.take("temperature", 0.7, 1e-3)?;
    let prompt = arguments.find("prompt").unwrap_or_else(|| "The ".to_owned());
    let [text, save, resume] =
        ["text", "save", "resume"].map(|name| arguments.find(name).map(PathBuf::from));
    arguments.finish()?;
    if let Some(path) = &save {
        io::check_writable(path)?;
    }

    let text = match text {
        Some(path) => std::fs::read(&path).with_context(|| format!("--text {}", path.display()))?,
        None => NOVEL.to_vec(),
    };
    let trainer = Trainer::new(Text::new(&text), settings)?;
    let prompt_tokens = trainer.text.encode(&prompt).context("--prompt")?;
    let mut run = match &resume {
        Some(path) => trainer.load(path)?,
        None => trainer.start(),
    };
    println!(
        "{} characters, {} different ones; {} parameters; {} steps are an epoch",
        trainer.text.tokens.len(),
        trainer.text.vocabulary.len(),
        nn::parameter_count(&run.model),
        trainer.steps_per_epoch(),
    );

    let first = run.step.item::<i32>()? as usize;
    let train_step = trainer.step();
    let validation = trainer.validation();
    let validation_loss = jit(|(model, windows): (CharLm, Tensor)| model.loss(&windows));
    let bar = ProgressBar::new(steps as u64).with_position(first as u64);
    let style = "{bar:30} step {pos} of {len}, {per_sec}, {eta} left; {msg}";
    bar.set_style(ProgressStyle::with_template(style)?);
    let report = |run: &Run, step| -> Result<()> {
        let loss = validation_loss.call((run.model.clone(), validation.clone()))?;
        let bits = f64::from(loss.item::<f32>()?) / LN_2;
        bar.suspend(|| println!("step {step:5}: {bits:.4} bits per character in validation"));
        match &save {
            Some(path) => trainer.save(path, run),
            None => Ok(()),
        }
    };
    report(&run, first)?;
    for step in first..steps {
        let loss;
        (run, loss) = train_step(run, trainer.batch(step))?;
        let loss = loss.item::<f32>()?;
        ensure!(loss.is_finite(), "the loss at step {step} is {loss}: lower --learning-rate");
        bar.set_message(format!("{:.3} bits per character", f64::from(loss) / LN_2));
        bar.inc(1);
        if (step + 1) % validate == 0 || step + 1 == steps {
            report(&run, step + 1)?;
        }
    }
    bar.finish_and_clear();

    let key = random::key(trainer.settings.seed.into());
    let written = run.model.sample(&key, &prompt_tokens, write, temperature)?;
    println!("\n{prompt}{}", trainer.text.decode(&written));
    Ok(())
}
