//! Training of the character-level model: batches, steps, and checkpoints that it resumes from.

use std::path::Path;

use anyhow::{Result, ensure};
use onetrace::{io, prelude::*};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::char_model::{CharLm, Text, windows};

/// What the numbers of a training depend on, besides the text.
#[derive(Clone, Debug)]
pub struct Settings {
    pub seed: u32,
    pub batch: usize,
    pub length: usize,
    pub hidden: usize,
    pub learning_rate: f64,
}

pub type Optimizer = optim::Chain<(optim::ClipByGlobalNorm, optim::Adam)>;

/// What a step changes.
#[derive(Clone, Tree)]
pub struct Run {
    pub model: CharLm,
    pub optimizer: <Optimizer as GradientTransformation>::State<CharLm>,
    /// How many steps were made, `i32[]`.
    #[tree(state)]
    pub step: Tensor,
}

/// A run and what it must be continued with.
#[derive(Clone, Tree)]
struct Checkpoint {
    run: Run,
    seed: Tensor,
    batch: Tensor,
    learning_rate: Tensor,
    characters: Tensor,
    vocabulary: Tensor,
}

pub struct Trainer {
    pub text: Text,
    pub settings: Settings,
    optimizer: Optimizer,
}

impl Trainer {
    pub fn new(text: Text, settings: Settings) -> Result<Trainer> {
        let warmup = optim::linear_schedule(0.0, settings.learning_rate, 50);
        let decay = optim::exponential_decay(settings.learning_rate, 1000, 0.5);
        let schedule = optim::join_schedules(warmup).then(50, decay);
        let optimizer = optim::chain((optim::clip_by_global_norm(1.0), optim::adam(schedule)));
        let trainer = Trainer { text, settings, optimizer };
        let Settings { batch, length, .. } = trainer.settings;
        ensure!(
            trainer.steps_per_epoch() > 0 && trainer.held_out().len() > length,
            "the text has {} characters, too few for a batch of {batch} windows of {length}",
            trainer.text.tokens.len(),
        );
        Ok(trainer)
    }

    /// The run before the first step.
    pub fn start(&self) -> Run {
        let rngs = &mut nn::Rngs::new(self.settings.seed.into());
        let model = CharLm::new(rngs, self.text.vocabulary.len(), self.settings.hidden);
        let optimizer = self.optimizer.init(&model);
        Run { model, optimizer, step: Tensor::scalar(0, DType::I32) }
    }

    /// The function that makes a step with a batch of windows, and returns the loss before it.
    pub fn step(&self) -> impl Fn(Run, Tensor) -> onetrace::Result<(Run, Tensor)> {
        let step = jit(|(run, windows): (Run, Tensor)| {
            let Run { model, optimizer, step } = run;
            let (loss, grads) = value_and_grad(|m: CharLm| m.loss(&windows))(model.clone());
            let (model, optimizer) = self.optimizer.step(model, grads, optimizer);
            (Run { model, optimizer, step: step + 1 }, loss)
        });
        let step = step.name("train_step");
        move |run, windows| step.call((run, windows))
    }

    /// The batch of step number `step`. An epoch goes over the text in windows, in an order that depends
    /// on the seed and its number; so a batch depends on nothing that a checkpoint would have to keep
    /// but those.
    pub fn batch(&self, step: usize) -> Tensor {
        let Settings { seed, batch, length, .. } = self.settings;
        let (epoch, step) = (step / self.steps_per_epoch(), step % self.steps_per_epoch());
        let mut starts: Vec<usize> = (0..self.windows()).map(|i| i * length).collect();
        let mut order = ChaCha8Rng::seed_from_u64(seed.into());
        order.set_stream(epoch as u64);
        starts.shuffle(&mut order);
        windows(self.trained_on(), &starts[step * batch..][..batch], length)
    }

    /// The windows of the part of the text that is not trained on.
    pub fn validation(&self) -> Tensor {
        let (tokens, length) = (self.held_out(), self.settings.length);
        let starts: Vec<usize> = (0..tokens.len() - length).step_by(length).collect();
        windows(tokens, &starts, length)
    }

    pub fn steps_per_epoch(&self) -> usize {
        self.windows() / self.settings.batch
    }

    fn windows(&self) -> usize {
        self.trained_on().len().saturating_sub(1) / self.settings.length
    }

    fn trained_on(&self) -> &[i32] {
        self.text.tokens.split_at(self.border()).0
    }

    fn held_out(&self) -> &[i32] {
        self.text.tokens.split_at(self.border()).1
    }

    /// Nineteen parts of twenty are trained on.
    fn border(&self) -> usize {
        self.text.tokens.len() / 20 * 19
    }

    /// Writes all that the run needs to go on; the file appears whole or not at all.
    pub fn save(&self, path: &Path, run: &Run) -> Result<()> {
        Ok(io::save_safetensors(path, &self.checkpoint(run.clone()))?)
    }

    /// Reads a run that was saved with the same settings and text.
    pub fn load(&self, path: &Path) -> Result<Run> {
        let wanted = self.checkpoint(self.start());
        let read = io::load_safetensors(path, &wanted)?;
        for ((name, wanted), (_, found)) in wanted.settings().into_iter().zip(read.settings()) {
            let (wanted, found) = (format!("{wanted:?}"), format!("{found:?}"));
            ensure!(
                wanted == found,
                "{}: the {name} of the run that was saved is {found}, but here it is {wanted}: \
                 resume with the same settings and text",
                path.display(),
            );
        }
        let step = read.run.step.item::<i32>()?;
        ensure!(step >= 0, "{}: the number of steps is {step}: damaged", path.display());
        Ok(read.run)
    }

    fn checkpoint(&self, run: Run) -> Checkpoint {
        let Settings { seed, batch, length, learning_rate, .. } = self.settings;
        Checkpoint {
            run,
            seed: Tensor::scalar(seed, DType::U32),
            batch: Tensor::new(&[batch as i64, length as i64], [2]),
            learning_rate: Tensor::scalar(learning_rate, DType::F64),
            characters: Tensor::scalar(self.text.tokens.len() as i64, DType::I64),
            vocabulary: Tensor::new(&self.text.vocabulary, [self.text.vocabulary.len()]),
        }
    }
}

impl Checkpoint {
    fn settings(&self) -> [(&'static str, &Tensor); 5] {
        [
            ("seed", &self.seed),
            ("batch and length", &self.batch),
            ("learning rate", &self.learning_rate),
            ("number of characters", &self.characters),
            ("vocabulary", &self.vocabulary),
        ]
    }
}
