//! Sequences of different lengths in classes: a GRU that reads a sequence up to its end, and a layer
//! that says which class it is of.

use onetrace::prelude::*;

/// Sequences, padded to one length.
#[derive(Clone, Tree)]
pub struct Sequences {
    /// Symbols, `i32[.., batch, time]`.
    pub tokens: Tensor,
    /// How many of them belong to the sequence, `i32[.., batch]`; what follows is padding.
    pub lengths: Tensor,
    /// Classes, `i32[.., batch]`.
    pub labels: Tensor,
}

#[derive(Clone, Tree)]
pub struct SequenceClassifier {
    pub rnn: nn::Rnn<nn::GruCell>,
    pub head: nn::Linear,
}

impl SequenceClassifier {
    pub fn new(rngs: &mut nn::Rngs, symbols: usize, hidden: usize, classes: usize) -> Self {
        SequenceClassifier {
            rnn: nn::Rnn::new(nn::GruCell::new(rngs, symbols, hidden)),
            head: nn::Linear::new(rngs, hidden, classes),
        }
    }

    /// A number for each class, `f32[batch, classes]`.
    fn logits(&self, batch: &Sequences) -> Tensor {
        let symbols = self.rnn.cell.dense_i.kernel.shape()[0];
        let x = batch.tokens.one_hot(symbols, DType::F32);
        let lengths = nn::RnnArgs::new().seq_lengths(&batch.lengths);
        let (h, _ys) = self.rnn.call_with(&x, lengths); // the state after the last real step
        self.head.call(&h)
    }

    /// The mean of `-ln p` of the right classes.
    pub fn loss(&self, batch: &Sequences) -> Tensor {
        let log_p = self.logits(batch).log_softmax(-1);
        -log_p.take_along_axis(&batch.labels.expand_dims(-1), -1).mean(..)
    }

    /// The part of the sequences whose class is the most probable one.
    pub fn accuracy(&self, batch: &Sequences) -> Tensor {
        let said = self.logits(batch).argmax(-1);
        said.eq(&batch.labels).astype(DType::F32).mean(..)
    }
}

/// Trains a model on batches, which stand along the first axis, in one While loop. Returns the model, the
/// state of the optimiser, and the loss before each step.
pub fn train<O: GradientTransformation>(
    optimizer: &O,
    model: SequenceClassifier,
    state: O::State<SequenceClassifier>,
    batches: Sequences,
) -> (SequenceClassifier, O::State<SequenceClassifier>, Tensor) {
    let step = |(model, state): (SequenceClassifier, _), batch: Sequences| {
        let loss = |model: SequenceClassifier| model.loss(&batch);
        let (loss, grads) = value_and_grad(loss)(model.clone());
        (optimizer.step(model, grads, state), loss)
    };
    let ((model, state), losses) = scan(step, (model, state), batches);
    (model, state, losses)
}
