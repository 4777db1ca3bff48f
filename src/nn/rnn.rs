//! A recurrent cell over whole sequences, as `nnx.RNN`.

use onetrace_derive::Tree;

use super::{Layer, RnnCell};
use crate::aval::DType;
use crate::error::{Error, Location, Result};
use crate::ops::checkpoint::Checkpoint;
use crate::ops::concatenate::concatenate;
use crate::ops::control::{check_same_type, leaf_name, retyped};
use crate::ops::scan::Scan;
use crate::ops::scan::unroll::Unroll;
use crate::ops::select::select;
use crate::tensor::Tensor;
use crate::trace::{poison, scope};
use crate::tree::{self, Tree};

/// Applies a cell to a sequence, in one While loop; `nnx.RNN`.
///
/// A sequence has the shape `[batch.., time, features]` with any number of batch axes, none
/// included, or `[time, batch.., features]` if the module is [`time_major`](Rnn::time_major); so
/// have the outputs.
///
/// # Examples
/// ```
/// use onetrace::prelude::*;
/// let rnn = nn::Rnn::new(nn::GruCell::new(&mut nn::Rngs::new(0), 3, 4));
/// let x = Tensor::ones([2, 7, 3], DType::F32);
/// assert_eq!(rnn.call(&x).shape(), [2, 7, 4]);
///
/// // The second sequence has three steps; what follows is padding.
/// let lengths = Tensor::new(&[7i32, 3], [2]);
/// let (h, ys) = rnn.call_with(&x, nn::RnnArgs::new().seq_lengths(&lengths));
/// assert_eq!(h.index(1).to_vec::<f32>()?, ys.index(1).index(2).to_vec::<f32>()?);
/// # Ok::<(), onetrace::Error>(())
/// ```
#[derive(Clone, Debug, Tree)]
pub struct Rnn<C> {
    /// The cell.
    pub cell: C,
    #[tree(static)]
    options: Options,
}

#[derive(Clone, Copy, Debug)]
struct Options {
    time_major: bool,
    reverse: bool,
    keep_order: bool,
    unroll: Unroll,
    checkpoint: Checkpoint,
}

/// What a call of an [`Rnn`] or a [`Bidirectional`] may be given beside the sequence.
#[derive(Clone, Debug)]
#[must_use = "arguments do nothing until the module is called with them"]
pub struct RnnArgs<C> {
    initial_carry: Option<C>,
    seq_lengths: Option<Tensor>,
}

impl<C> Default for RnnArgs<C> {
    fn default() -> RnnArgs<C> {
        RnnArgs { initial_carry: None, seq_lengths: None }
    }
}

impl<C> RnnArgs<C> {
    /// Sequences that begin with the cell's own carry and have no padding.
    pub fn new() -> RnnArgs<C> {
        RnnArgs::default()
    }

    /// The carry before the first step; by default [`RnnCell::initial_carry`], whose type it must
    /// have.
    pub fn initial_carry(mut self, initial_carry: C) -> RnnArgs<C> {
        self.initial_carry = Some(initial_carry);
        self
    }

    /// How many steps each sequence has, integers of the shape of the batch axes. What follows is
    /// padding: the last carry is that after the last step of the sequence, and the first carry
    /// if it has none. More than there are count as all, and less than none as none. The outputs at
    /// padded steps are what the cell makes of the padding, as in Flax.
    pub fn seq_lengths(mut self, seq_lengths: &Tensor) -> RnnArgs<C> {
        self.seq_lengths = Some(seq_lengths.clone());
        self
    }
}

impl<C: RnnCell> Rnn<C> {
    /// The cell over sequences `[batch.., time, features]`, forwards.
    pub fn new(cell: C) -> Rnn<C> {
        let options = Options {
            time_major: false,
            reverse: false,
            keep_order: false,
            unroll: Unroll::Auto,
            checkpoint: Checkpoint::None,
        };
        Rnn { cell, options }
    }

    /// Whether sequences are `[time, batch.., features]`.
    #[must_use]
    pub fn time_major(mut self, time_major: bool) -> Rnn<C> {
        self.options.time_major = time_major;
        self
    }

    /// Whether to go from the last step to the first. Of a padded sequence the last step is that
    /// before the padding, to which the cell comes at the end. The outputs are in the order in
    /// which they were made, unless [`keep_order`](Rnn::keep_order) is set.
    #[must_use]
    pub fn reverse(mut self, reverse: bool) -> Rnn<C> {
        self.options.reverse = reverse;
        self
    }

    /// Whether the outputs of a [`reverse`](Rnn::reverse) module are in the order of the inputs.
    #[must_use]
    pub fn keep_order(mut self, keep_order: bool) -> Rnn<C> {
        self.options.keep_order = keep_order;
        self
    }

    /// How many steps one iteration of the loop makes; [`Scan::unroll`].
    #[must_use]
    pub fn unroll(mut self, unroll: impl Into<Unroll>) -> Rnn<C> {
        self.options.unroll = unroll.into();
        self
    }

    /// What reverse mode keeps of the steps; [`Scan::checkpoint`].
    #[must_use]
    pub fn checkpoint(mut self, checkpoint: Checkpoint) -> Rnn<C> {
        self.options.checkpoint = checkpoint;
        self
    }

    /// The outputs for the sequence `x`.
    ///
    /// Fails if `x` has fewer than two axes, and as the cell does.
    #[track_caller]
    pub fn call(&self, x: &Tensor) -> Tensor {
        self.call_with(x, RnnArgs::new()).1
    }

    /// The last carry and the outputs for the sequence `x`; `return_carry` of Flax.
    ///
    /// Fails as [`call`](Rnn::call), if the first carry has not the type of the cell's own, or if
    /// the lengths are not integers of the shape of the batch axes.
    #[track_caller]
    pub fn call_with(&self, x: &Tensor, args: RnnArgs<C::Carry>) -> (C::Carry, Tensor) {
        self.run(self.options, x, args)
    }

    #[track_caller]
    fn run(&self, options: Options, x: &Tensor, args: RnnArgs<C::Carry>) -> (C::Carry, Tensor) {
        let batch = batch_axes(x, options.time_major);
        let own = self.cell.initial_carry(&batch);
        let sequence = Sequence::checked(x, (&batch, options.time_major), &own, &args);
        let init = args.initial_carry.unwrap_or_else(|| own.clone());
        let Sequence { time, lengths } = match sequence {
            Ok(sequence) => sequence,
            Err(error) => {
                let bad = poison(error, &[x]);
                return (tree::map(&own, |leaf| retyped(&bad, leaf.aval().clone())), bad);
            }
        };
        let time_axis = if options.time_major { 0 } else { batch.len() as isize };
        let xs = moved(x, time_axis, 0);
        let steps = Scan::on_behalf_of("Rnn").unroll(options.unroll).checkpoint(options.checkpoint);
        let location = std::panic::Location::caller();
        let (carry, ys) = match &lengths {
            None => {
                let steps = steps.reverse(options.reverse);
                let (carry, ys) = steps.run(|h, x| self.step(location, h, x), init, xs);
                let flipped = options.reverse && !options.keep_order;
                (carry, if flipped { ys.flip(0) } else { ys })
            }
            Some(lengths) => {
                let xs = if options.reverse { flip_sequences(&xs, lengths) } else { xs };
                let step = |(h, last): (C::Carry, C::Carry), (x, t): (Tensor, Tensor)| {
                    let (h, y) = self.step(location, h, x);
                    let last = scope::at(location, || selected(&t.lt(lengths), &h, &last));
                    ((h, last), y)
                };
                let xs = (xs, Tensor::arange(time, lengths.dtype()));
                let ((_, last), ys) = steps.run(step, (init.clone(), init), xs);
                let flipped = options.reverse && options.keep_order;
                (last, if flipped { flip_sequences(&ys, lengths) } else { ys })
            }
        };
        (carry, moved(&ys, 0, time_axis))
    }

    /// One step, which was asked for at `location`.
    fn step(&self, location: Location, carry: C::Carry, x: Tensor) -> (C::Carry, Tensor) {
        scope::at(location, || self.cell.step(carry, x))
    }
}

impl<C: RnnCell> Layer for Rnn<C> {
    #[track_caller]
    fn forward(&mut self, x: &Tensor) -> Tensor {
        self.call(x)
    }
}

/// The batch axes of a sequence; none if it has too few axes to be one.
fn batch_axes(x: &Tensor, time_major: bool) -> Vec<usize> {
    let outer = x.shape().split_last().map_or(&[][..], |(_, outer)| outer);
    let batch = if time_major { outer.get(1..) } else { outer.get(..outer.len().wrapping_sub(1)) };
    batch.unwrap_or_default().to_vec()
}

/// What the arguments of a call say of the sequence.
struct Sequence {
    /// The number of steps.
    time: usize,
    /// How many of them each sequence has, `i32` or `i64`.
    lengths: Option<Tensor>,
}

impl Sequence {
    /// Checks the arguments of a call for a cell whose carry is like `own`.
    #[track_caller]
    fn checked<C: Tree>(
        x: &Tensor,
        (batch, time_major): (&[usize], bool),
        own: &C,
        args: &RnnArgs<C>,
    ) -> Result<Sequence> {
        x.check()?;
        if x.rank() < 2 {
            return Err(Error::shape(format!(
                "Rnn: the input must be a sequence, shape [batch.., time, features] or, with \
                 time_major, [time, batch.., features], but it is {}",
                x.aval(),
            )));
        }
        if let Some(given) = &args.initial_carry {
            let rule = "the initial carry must have the type of the cell's own, but it does not";
            let name = "initial_carry";
            let own = (name, "for the cell", own);
            check_same_type("Rnn", rule, own, (name, "in what was given", given))?;
        }
        let time = x.shape()[if time_major { 0 } else { batch.len() }];
        let Some(lengths) = &args.seq_lengths else { return Ok(Sequence { time, lengths: None }) };
        lengths.check()?;
        if lengths.shape() != batch || !lengths.dtype().is_int() {
            return Err(Error::shape(format!(
                "Rnn: seq_lengths must be integers of the shape of the batch axes, {batch:?}, but they \
                 are {} for the input {}",
                lengths.aval(),
                x.aval(),
            )));
        }
        for (path, leaf) in tree::leaves_with_paths(own) {
            if !leaf.shape().starts_with(batch) {
                return Err(Error::shape(format!(
                    "Rnn: with seq_lengths each sequence of the batch has a carry of its own, so every \
                     leaf must begin with the batch axes {batch:?}, but {} is {}",
                    leaf_name("carry", &path),
                    leaf.aval(),
                )));
            }
        }
        let narrow = matches!(lengths.dtype(), DType::I32 | DType::U8);
        let lengths = lengths.astype(if narrow { DType::I32 } else { DType::I64 });
        Ok(Sequence { time, lengths: Some(lengths.clamp(0, time as i64)) })
    }
}

/// `x` with an axis at another place, if it is to be there.
#[track_caller]
fn moved(x: &Tensor, from: isize, to: isize) -> Tensor {
    if from == to { x.clone() } else { x.moveaxis(from, to) }
}

/// The leaves of `new` where `pred`, whose axes are their first, is true, and of `old` elsewhere.
#[track_caller]
fn selected<C: Tree>(pred: &Tensor, new: &C, old: &C) -> C {
    let mut old = tree::leaves(old).into_iter();
    let mut chosen = Vec::new();
    for leaf in tree::leaves(new) {
        let mut shape: Vec<isize> = pred.shape().iter().map(|&size| size as isize).collect();
        shape.resize(leaf.rank().max(shape.len()), 1);
        // A step that changes the tree of the carry is found by the loop.
        let before = old.next().unwrap_or_else(|| leaf.clone());
        chosen.push(select(&pred.reshape(shape), &leaf, before));
    }
    let mut chosen = chosen.into_iter();
    tree::map(new, |leaf| chosen.next().unwrap_or_else(|| leaf.clone()))
}

/// The sequences `xs`, `[time, batch.., ..]`, with the first `lengths` steps of each flipped, and
/// the padding after them, too; `flip_sequences` of Flax.
#[track_caller]
fn flip_sequences(xs: &Tensor, lengths: &Tensor) -> Tensor {
    let time = xs.shape()[0];
    if time == 0 {
        return xs.clone();
    }
    let mut shape = vec![1; xs.rank()];
    shape[0] = -1;
    let from_end = Tensor::arange(time, lengths.dtype()).flip(0).reshape(&shape);
    shape.fill(1);
    for (size, &length) in shape[1..].iter_mut().zip(lengths.shape()) {
        *size = length as isize;
    }
    let steps = (from_end + lengths.reshape(&shape)).remainder(time as i64);
    xs.take_along_axis(&steps, 0)
}

/// Cells of which each gets the output of the one before as its input, as one cell; the carry is
/// that of all of them. What Keras calls `StackedRNNCells`, and PyTorch `num_layers`.
///
/// # Examples
/// ```
/// use onetrace::prelude::*;
/// let rngs = &mut nn::Rngs::new(0);
/// let cells = vec![nn::GruCell::new(rngs, 3, 4), nn::GruCell::new(rngs, 4, 4)];
/// let rnn = nn::Rnn::new(nn::StackedRnnCells { cells });
/// let (h, ys) = rnn.call_with(&Tensor::ones([7, 3], DType::F32), nn::RnnArgs::new());
/// assert_eq!(h.len(), 2);
/// assert_eq!(ys.shape(), [7, 4]);
/// ```
#[derive(Clone, Debug, Tree)]
pub struct StackedRnnCells<C> {
    /// The cells, that of the input first.
    pub cells: Vec<C>,
}

impl<C: RnnCell> RnnCell for StackedRnnCells<C> {
    type Carry = Vec<C::Carry>;

    #[track_caller]
    fn step(&self, carry: Vec<C::Carry>, x: Tensor) -> (Vec<C::Carry>, Tensor) {
        if carry.len() != self.cells.len() {
            let message = format!(
                "StackedRnnCells: the carry must have a part for each of the {} cells, but it has {}",
                self.cells.len(),
                carry.len(),
            );
            let bad = poison(Error::argument(message), &[&x]);
            return (tree::map(&carry, |leaf| retyped(&bad, leaf.aval().clone())), bad);
        }
        let mut x = x;
        let mut next = Vec::new();
        for (cell, carry) in self.cells.iter().zip(carry) {
            let (carry, y) = cell.step(carry, x);
            next.push(carry);
            x = y;
        }
        (next, x)
    }

    #[track_caller]
    fn initial_carry(&self, batch: &[usize]) -> Vec<C::Carry> {
        let mut carries = Vec::new();
        for cell in &self.cells {
            carries.push(cell.initial_carry(batch));
        }
        carries
    }
}

/// One module over the sequence forwards, another one backwards, and their outputs at each step
/// merged; `nnx.Bidirectional`.
///
/// # Examples
/// ```
/// use onetrace::prelude::*;
/// let rngs = &mut nn::Rngs::new(0);
/// let [there, back] = [(), ()].map(|()| nn::Rnn::new(nn::GruCell::new(rngs, 3, 4)));
/// let both = nn::Bidirectional::new(there, back);
/// let x = Tensor::ones([2, 7, 3], DType::F32);
/// assert_eq!(both.call(&x).shape(), [2, 7, 8]);
/// let sum = both.merge_fn(|a, b| a + b);
/// assert_eq!(sum.call(&x).shape(), [2, 7, 4]);
/// ```
#[derive(Clone, Debug, Tree)]
pub struct Bidirectional<F, B> {
    /// The module that goes forwards.
    pub forward_rnn: Rnn<F>,
    /// The module that goes backwards.
    pub backward_rnn: Rnn<B>,
    #[tree(static)]
    merge_fn: fn(&Tensor, &Tensor) -> Tensor,
    #[tree(static)]
    time_major: bool,
}

impl<F: RnnCell, B: RnnCell> Bidirectional<F, B> {
    /// These modules, whose outputs are concatenated along the last axis. What they say of
    /// directions, order and the axis of time does not count.
    pub fn new(forward_rnn: Rnn<F>, backward_rnn: Rnn<B>) -> Bidirectional<F, B> {
        let merge_fn: fn(&Tensor, &Tensor) -> Tensor = |a, b| concatenate(&[a, b], -1);
        Bidirectional { forward_rnn, backward_rnn, merge_fn, time_major: false }
    }

    /// How the outputs of the two are merged.
    #[must_use]
    pub fn merge_fn(mut self, merge_fn: fn(&Tensor, &Tensor) -> Tensor) -> Bidirectional<F, B> {
        self.merge_fn = merge_fn;
        self
    }

    /// Whether sequences are `[time, batch.., features]`.
    #[must_use]
    pub fn time_major(mut self, time_major: bool) -> Bidirectional<F, B> {
        self.time_major = time_major;
        self
    }

    /// The merged outputs for the sequence `x`; see [`Rnn::call`].
    #[track_caller]
    pub fn call(&self, x: &Tensor) -> Tensor {
        self.call_with(x, RnnArgs::new()).1
    }

    /// The last carries of both, and the merged outputs; see [`Rnn::call_with`].
    #[track_caller]
    pub fn call_with(
        &self,
        x: &Tensor,
        args: RnnArgs<(F::Carry, B::Carry)>,
    ) -> ((F::Carry, B::Carry), Tensor) {
        let RnnArgs { initial_carry, seq_lengths } = args;
        let (forward, backward) = initial_carry.unzip();
        let lengths = seq_lengths.clone();
        let options = |options: Options, reverse: bool| Options {
            time_major: self.time_major,
            reverse,
            keep_order: true,
            ..options
        };
        let there = options(self.forward_rnn.options, false);
        let args = RnnArgs { initial_carry: forward, seq_lengths };
        let (h_there, ys_there) = self.forward_rnn.run(there, x, args);
        let back = options(self.backward_rnn.options, true);
        let args = RnnArgs { initial_carry: backward, seq_lengths: lengths };
        let (h_back, ys_back) = self.backward_rnn.run(back, x, args);
        let location = std::panic::Location::caller();
        let ys = scope::at(location, || (self.merge_fn)(&ys_there, &ys_back));
        ((h_there, h_back), ys)
    }
}

impl<F: RnnCell, B: RnnCell> Layer for Bidirectional<F, B> {
    #[track_caller]
    fn forward(&mut self, x: &Tensor) -> Tensor {
        self.call(x)
    }
}
