//! A character-level language model: a GRU that says which character comes next.

use anyhow::{Result, bail};
use onetrace::prelude::*;

/// A text as numbers: the places of its characters, which are bytes, in its vocabulary.
pub struct Text {
    /// The bytes that occur, in order.
    pub vocabulary: Vec<u8>,
    pub tokens: Vec<i32>,
}

impl Text {
    pub fn new(bytes: &[u8]) -> Text {
        let mut vocabulary = bytes.to_vec();
        vocabulary.sort_unstable();
        vocabulary.dedup();
        let tokens = tokens(&vocabulary, bytes).collect::<Option<_>>();
        Text { tokens: tokens.expect("the vocabulary has every byte of the text"), vocabulary }
    }

    /// The numbers of these characters.
    pub fn encode(&self, text: &str) -> Result<Vec<i32>> {
        match tokens(&self.vocabulary, text.as_bytes()).collect() {
            Some(tokens) => Ok(tokens),
            None => bail!("{text:?} has characters that the text does not have"),
        }
    }

    /// The characters that have these numbers.
    pub fn decode(&self, tokens: &[i32]) -> String {
        let bytes: Vec<u8> = tokens.iter().map(|&t| self.vocabulary[t as usize]).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

fn tokens(vocabulary: &[u8], bytes: &[u8]) -> impl Iterator<Item = Option<i32>> {
    bytes.iter().map(|byte| vocabulary.binary_search(byte).ok().map(|place| place as i32))
}

/// Windows of `length + 1` tokens that begin at `starts`, `i32[starts, length + 1]`: each token but the
/// last is an input, and the one after it what the model has to say.
pub fn windows(tokens: &[i32], starts: &[usize], length: usize) -> Tensor {
    let all: Vec<i32> = starts.iter().flat_map(|&s| &tokens[s..=s + length]).copied().collect();
    Tensor::new(&all, [starts.len(), length + 1])
}

#[derive(Clone, Tree)]
pub struct CharLm {
    pub embed: nn::Embed,
    pub cell: nn::GruCell,
    pub head: nn::Linear,
}

impl CharLm {
    pub fn new(rngs: &mut nn::Rngs, vocabulary: usize, hidden: usize) -> CharLm {
        CharLm {
            embed: nn::Embed::new(rngs, vocabulary, hidden),
            cell: nn::GruCell::new(rngs, hidden, hidden),
            head: nn::Linear::new(rngs, hidden, vocabulary),
        }
    }

    /// The mean of `-ln p` of the characters in windows `[batch, length + 1]`.
    pub fn loss(&self, windows: &Tensor) -> Tensor {
        let (batch, length) = (windows.shape()[0], windows.shape()[1] - 1);
        let tokens = windows.t(); // a scan goes over the first axis
        let inputs = self.embed.call(&tokens.slice_in_dim(..length, 0));
        let start = self.cell.initial_carry(&[batch]);
        let (_h, hs) = scan(|h, x| self.cell.step(h, x), start, inputs);
        let log_p = self.head.call(&hs).log_softmax(-1);
        let targets = tokens.slice_in_dim(1.., 0).expand_dims(-1);
        -log_p.take_along_axis(&targets, -1).mean(..)
    }

    /// `count` tokens that follow `prompt`, each drawn by its probability to the power of
    /// `1 / temperature`.
    pub fn sample(
        &self,
        key: &Tensor,
        prompt: &[i32],
        count: usize,
        temperature: f64,
    ) -> Result<Vec<i32>> {
        let Some((&last, before)) = prompt.split_last() else { bail!("the prompt is empty") };
        let draw = jit(|(model, before, last, keys): (CharLm, Tensor, Tensor, Tensor)| {
            let step = |h, token: &Tensor| model.cell.step(h, model.embed.call(token));
            let start = model.cell.initial_carry(&[]);
            let (h, ()) = scan(|h, token| (step(h, &token).0, ()), start, before);
            let next = |(h, token): (Tensor, Tensor), key| {
                let (h, y) = step(h, &token);
                let logits = model.head.call(&y) / temperature;
                let token = random::categorical(&key, &logits, -1);
                ((h, token.clone()), token)
            };
            scan(next, (h, last), keys).1
        });
        let (before, last) =
            (Tensor::new(before, [before.len()]), Tensor::scalar(last, DType::I32));
        let keys = random::split(key, count);
        Ok(draw.call((self.clone(), before, last, keys))?.to_vec()?)
    }
}
