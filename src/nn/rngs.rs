//! Streams of random keys, as Flax's `nnx.Rngs`.

use std::collections::BTreeMap;

use onetrace_derive::Tree;

use crate::aval::DType;
use crate::random;
use crate::tensor::{Repr, Tensor};
use crate::tree::{Key, Kind, Node, Path, Tree};

/// A stream of keys: the n-th is `fold_in(key, n)`. Both of its leaves are state.
#[derive(Clone, Debug)]
pub struct RngStream {
    /// The key of the stream, `u32[2]`.
    pub key: Tensor,
    /// How many keys were drawn, `u32[]`.
    pub count: Tensor,
}

impl RngStream {
    /// The stream of a seed, of which the low 32 bits count (as in JAX without x64).
    pub fn new(seed: i64) -> RngStream {
        RngStream { key: random::key(seed), count: Tensor::scalar(0, DType::U32) }
    }

    /// Draws the next key, `u32[2]`.
    #[track_caller]
    pub fn next_key(&mut self) -> Tensor {
        let key = random::fold_in(&self.key, &self.count);
        self.count = match &self.count.0 {
            // Counting on the host needs no compiled program.
            Repr::Concrete(_) => match self.count.item::<u32>() {
                Ok(count) => Tensor::scalar(i64::from(count.wrapping_add(1)), DType::U32),
                Err(_) => &self.count + 1,
            },
            _ => &self.count + 1,
        };
        key
    }

    /// A new stream, whose key is the next one of this; `RngStream.fork`.
    ///
    /// ```
    /// # use onetrace::prelude::*;
    /// let mut rngs = nn::Rngs::new(42);
    /// let forked = rngs.stream("dropout").fork();
    /// assert_eq!(forked.key.to_vec::<u32>()?, [1832780943, 270669613]);
    /// assert_eq!(forked.count.item::<u32>()?, 0);
    /// # Ok::<(), onetrace::Error>(())
    /// ```
    #[track_caller]
    pub fn fork(&mut self) -> RngStream {
        RngStream { key: self.next_key(), count: Tensor::scalar(0, DType::U32) }
    }
}

// By hand, because paths tell what these two leaves are.
impl Tree for RngStream {
    fn visit<'a>(&'a self, path: &mut Path, f: &mut dyn FnMut(&Path, Node<'a>)) {
        path.with_kind(KEY.0, KEY.1, |path| f(path, Node::Leaf(&self.key)));
        path.with_kind(COUNT.0, COUNT.1, |path| f(path, Node::Leaf(&self.count)));
    }

    fn map(&self, path: &mut Path, f: &mut dyn FnMut(&Path, &Tensor) -> Tensor) -> Self {
        RngStream {
            key: path.with_kind(KEY.0, KEY.1, |path| f(path, &self.key)),
            count: path.with_kind(COUNT.0, COUNT.1, |path| f(path, &self.count)),
        }
    }
}

const KEY: (Key, Kind) = (Key::Field("key"), Kind::RngKey);
const COUNT: (Key, Kind) = (Key::Field("count"), Kind::RngCount);

/// Named streams of random keys: `nnx.Rngs`. A stream that was not named is `default`.
///
/// It is a [tree](crate::tree), so it can be the carry of a loop that draws keys. Its leaves are
/// state.
///
/// # Examples
/// ```
/// use onetrace::prelude::*;
/// let mut rngs = nn::Rngs::new(42);
/// assert_eq!(rngs.params().to_vec::<u32>()?, [1832780943, 270669613]);
/// # Ok::<(), onetrace::Error>(())
/// ```
#[derive(Clone, Debug, Tree)]
pub struct Rngs {
    streams: BTreeMap<String, RngStream>,
}

impl Rngs {
    /// One stream, `default`, with this seed.
    pub fn new(seed: i64) -> Rngs {
        Rngs { streams: BTreeMap::new() }.with_stream("default", seed)
    }

    /// The same with a stream of its own for `name`; `nnx.Rngs(seed, name=seed)`.
    #[must_use]
    pub fn with_stream(mut self, name: &str, seed: i64) -> Rngs {
        self.streams.insert(name.to_owned(), RngStream::new(seed));
        self
    }

    /// The stream called `name`, or `default`.
    pub fn stream(&mut self, name: &str) -> &mut RngStream {
        let name = if self.streams.contains_key(name) { name } else { "default" };
        self.streams.entry(name.to_owned()).or_insert_with(|| RngStream::new(0))
    }

    /// Draws a key from the stream `params`, which initialisers use.
    #[track_caller]
    pub fn params(&mut self) -> Tensor {
        self.stream("params").next_key()
    }

    /// Draws a key from the stream `dropout`.
    #[track_caller]
    pub fn dropout(&mut self) -> Tensor {
        self.stream("dropout").next_key()
    }
}
