//! The programs of `examples/`: the losses that JAX, Flax and optax give, and runs that are resumed.

#[path = "../examples/common/char_model.rs"]
mod char_model;
#[path = "../examples/common/char_training.rs"]
mod char_training;
mod common;
#[path = "../examples/common/sequence_classifier.rs"]
mod sequence_classifier;

use char_model::{Text, windows};
use char_training::{Run, Settings, Trainer};
use common::{Golden, Tolerance, assert_close_in, numbers, ramp_bits};
use onetrace::prelude::*;
use sequence_classifier::{SequenceClassifier, Sequences, train};
use serde_json::Value;

/// Losses are 4 at first, and there are up to 200 steps, in each of which rounding may differ. (When this
/// was written, the largest difference was 1e-6, and norms differed by 1.2e-7 of themselves.)
const LOSS: Tolerance = Tolerance { relative: 0.0, absolute: 1e-5 };
const NORM: Tolerance = Tolerance { relative: 1e-5, absolute: 0.0 };

const NOVEL: &[u8] = include_bytes!("../examples/data/moby_dick.txt");

fn case(golden: &Golden, name: &str) -> Value {
    golden.cases.iter().find(|case| case["name"] == name).unwrap().clone()
}

fn number(case: &Value, key: &str) -> usize {
    case[key].as_u64().unwrap() as usize
}

/// Checks the losses, and the norms of the parameters at the end.
fn check<M: Tree>(golden: &Golden, name: &str, losses: &Tensor, model: &M) {
    assert_close_in(name, losses, &golden.array(name, "losses"), LOSS);
    let leaves = tree::leaves_with_paths(model);
    assert_eq!(leaves.len() + 1, golden.keys(name).len());
    for (path, leaf) in leaves {
        let wanted = golden.array(name, &format!("norm/{path}"));
        let norm = leaf.square().sum(..).sqrt();
        assert_close_in(&format!("{name}: norm of {path}"), &norm, &wanted, NORM);
    }
}

#[test]
fn the_language_model_trains_as_in_jax() {
    let golden = Golden::read("training");
    let case = case(&golden, "char_lm");
    let settings = Settings {
        seed: number(&case, "seed") as u32,
        batch: number(&case, "batch"),
        length: number(&case, "length"),
        hidden: number(&case, "hidden"),
        learning_rate: case["learning_rate"].as_f64().unwrap(),
    };
    let text = Text::new(&NOVEL[..number(&case, "characters")]);
    let (batch, length) = (settings.batch, settings.length);
    let count = (text.tokens.len() - 1) / length;
    let trainer = Trainer::new(text, settings).unwrap();
    let train_step = trainer.step();
    let mut run = trainer.start();
    let mut losses = Vec::new();
    for step in 0..number(&case, "steps") {
        let starts: Vec<usize> =
            (0..batch).map(|row| (step * batch + row) % count * length).collect();
        let loss;
        (run, loss) = train_step(run, windows(&trainer.text.tokens, &starts, length)).unwrap();
        losses.push(loss.item::<f32>().unwrap());
    }
    check(&golden, "char_lm", &Tensor::new(&losses, [losses.len()]), &run.model);
}

#[test]
fn the_classifier_of_sequences_trains_as_in_jax() {
    let golden = Golden::read("training");
    let case = case(&golden, "classify_sequences");
    let (rows, time) = (number(&case, "batch"), number(&case, "max_length"));
    let steps = number(&case, "steps");
    let (mut tokens, mut lengths, mut labels) = (Vec::new(), Vec::new(), Vec::new());
    for step in 0..steps as u32 {
        let drawn = ramp_bits(&[rows, time], 2 * step).into_iter().map(|h| (h % 6) as i32);
        let drawn: Vec<i32> = drawn.collect();
        for (row, h) in ramp_bits(&[rows], 2 * step + 1).into_iter().enumerate() {
            let length = h as usize % (time - 3) + 4;
            labels.push(drawn[row * time + length - 1] % 4);
            lengths.push(length as i32);
        }
        tokens.extend(drawn);
    }
    let batches = Sequences {
        tokens: Tensor::new(&tokens, [steps, rows, time]),
        lengths: Tensor::new(&lengths, [steps, rows]),
        labels: Tensor::new(&labels, [steps, rows]),
    };
    let rngs = &mut nn::Rngs::new(number(&case, "seed") as i64);
    let model = SequenceClassifier::new(rngs, 6, number(&case, "hidden"), 4);
    let optimizer = optim::adamw(case["learning_rate"].as_f64().unwrap());
    let state = optimizer.init(&model);
    let all = jit(|(model, batches)| {
        let (model, _, losses) = train(&optimizer, model, state.clone(), batches);
        (model, losses)
    });
    let last = tree::map(&batches, |leaf| leaf.index(-1));
    let (model, losses) = all.call((model, batches)).unwrap();
    check(&golden, "classify_sequences", &losses, &model);

    let right = model.accuracy(&last).item::<f32>().unwrap();
    assert_eq!(right, 1.0, "of sequences that it was trained on");
    let others = (&last.labels + 1).remainder(4);
    assert_eq!(model.accuracy(&Sequences { labels: others, ..last }).item::<f32>().unwrap(), 0.0);
}

fn small(settings: impl FnOnce(&mut Settings)) -> Trainer {
    let mut all = Settings { seed: 3, batch: 4, length: 16, hidden: 8, learning_rate: 0.01 };
    settings(&mut all);
    Trainer::new(Text::new(&NOVEL[..3000]), all).unwrap()
}

fn make_steps(trainer: &Trainer, mut run: Run, count: usize) -> Run {
    let train_step = trainer.step();
    let first = run.step.item::<i32>().unwrap() as usize;
    for step in first..first + count {
        run = train_step(run, trainer.batch(step)).unwrap().0;
    }
    run
}

fn bits(run: &Run) -> Vec<Vec<u64>> {
    let bits = |leaf: &Tensor| numbers(leaf).into_iter().map(f64::to_bits).collect();
    tree::leaves(run).iter().map(bits).collect()
}

#[test]
fn a_run_that_is_resumed_goes_on_exactly() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("run.safetensors");
    let trainer = small(|_| ());
    // Past the end of the first epoch.
    let half = trainer.steps_per_epoch() / 2 + 3;
    let whole = make_steps(&trainer, trainer.start(), 2 * half);
    trainer.save(&path, &make_steps(&trainer, trainer.start(), half)).unwrap();

    let trainer = small(|_| ());
    let run = trainer.load(&path).unwrap();
    assert_eq!(run.step.item::<i32>().unwrap() as usize, half);
    assert_eq!(bits(&make_steps(&trainer, run, half)), bits(&whole));
}

#[test]
fn an_epoch_goes_over_each_window_once() {
    let trainer = small(|_| ());
    let steps = trainer.steps_per_epoch();
    let epoch = |number: usize| {
        let batches = (number * steps..(number + 1) * steps).map(|step| trainer.batch(step));
        let rows = batches.flat_map(|batch| batch.to_vec::<i32>().unwrap());
        rows.collect::<Vec<i32>>().chunks(17).map(<[i32]>::to_vec).collect::<Vec<_>>()
    };
    let sorted = |mut rows: Vec<Vec<i32>>| {
        rows.sort();
        rows
    };
    let rows: Vec<i32> = trainer.validation().to_vec().unwrap();
    assert_eq!(rows[..17], trainer.text.tokens[3000 / 20 * 19..][..17]);
    assert_eq!(
        rows.len(),
        (3000 / 20 - 1) / 16 * 17,
        "windows of the last part, one after the other"
    );

    let (first, second) = (epoch(0), epoch(1));
    assert_ne!(first, second);
    let mut windows = sorted(first);
    windows.dedup();
    assert_eq!(windows.len(), steps * 4);
    // What is left of the last batch of an epoch is of other windows in the next one.
    let in_both = sorted(second).iter().filter(|row| windows.contains(row)).count();
    assert!(in_both >= windows.len() - 4, "{in_both} of {}", windows.len());
}

#[test]
fn checkpoints_that_do_not_fit_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("run.safetensors");
    let trainer = small(|_| ());
    trainer.save(&path, &trainer.start()).unwrap();
    let refused = |trainer: Trainer| {
        let error = trainer.load(&path).map(|_| ()).unwrap_err();
        format!("{error:#}")
    };
    let message = refused(small(|settings| settings.seed = 4));
    assert!(
        message.contains("the seed of the run that was saved is u32[](3), but here it is u32[](4)"),
        "{message}"
    );
    let message = refused(small(|settings| settings.batch = 5));
    assert!(message.contains("the batch and length"), "{message}");
    let message = refused(small(|settings| settings.learning_rate = 0.02));
    assert!(message.contains("the learning rate"), "{message}");
    let message = refused(small(|settings| settings.hidden = 9));
    assert!(message.contains("run.model.embed.embedding: f32["), "{message}");
    let other = Trainer::new(Text::new(&NOVEL[..3001]), trainer.settings.clone()).unwrap();
    let message = refused(other);
    assert!(message.contains("the number of characters"), "{message}");

    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() - 5]).unwrap();
    assert!(refused(small(|_| ())).contains("bytes of data"), "cut short");
    std::fs::remove_file(&path).unwrap();
    assert!(refused(small(|_| ())).contains("No such file"), "missing");

    let tiny = Trainer::new(Text::new(b"too short"), trainer.settings.clone());
    let message = tiny.map(|_| ()).unwrap_err().to_string();
    assert_eq!(message, "the text has 9 characters, too few for a batch of 4 windows of 16");
}

#[test]
fn what_is_written_depends_on_the_key_and_has_its_length() {
    let trainer = small(|_| ());
    let run = make_steps(&trainer, trainer.start(), 3);
    let prompt = trainer.text.encode("by ").unwrap();
    let write =
        |seed, temperature| run.model.sample(&random::key(seed), &prompt, 20, temperature).unwrap();
    assert_eq!(write(0, 1.0).len(), 20);
    assert_eq!(write(0, 1.0), write(0, 1.0));
    assert_ne!(write(0, 1.0), write(1, 1.0));
    // Nothing is left to chance where it is nearly frozen.
    assert_eq!(write(0, 1e-3), write(1, 1e-3));
    assert!(trainer.text.encode("\u{e9}").is_err());
    assert_eq!(trainer.text.decode(&prompt), "by ");
}
