//! Recurrent cells, as in `flax.nnx`: the same parameters, the same order of operations.

use onetrace_derive::Tree;

use super::{Initializer, Linear, LinearConfig, Rngs, build, init, with_features_of};
use crate::aval::DType;
use crate::tensor::Tensor;
use crate::trace::scope;
use crate::tree::Tree;

/// One step of a recurrent network.
///
/// # Examples
/// A cell of your own, which [`Rnn`](super::Rnn) takes as it takes the others:
/// ```
/// use onetrace::prelude::*;
///
/// #[derive(Clone, Tree)]
/// struct LeakySum {
///     decay: Tensor,
/// }
///
/// impl RnnCell for LeakySum {
///     type Carry = Tensor;
///
///     fn step(&self, sum: Tensor, x: Tensor) -> (Tensor, Tensor) {
///         let sum = &self.decay * sum + x;
///         (sum.clone(), sum)
///     }
///
///     fn initial_carry(&self, batch: &[usize]) -> Tensor {
///         Tensor::zeros([batch, self.decay.shape()].concat(), DType::F32)
///     }
/// }
///
/// let rnn = nn::Rnn::new(LeakySum { decay: Tensor::full([3], 0.5, DType::F32) });
/// let ys = rnn.call(&Tensor::ones([2, 7, 3], DType::F32));
/// assert_eq!(ys.shape(), [2, 7, 3]);
/// assert_eq!(ys.index(0).index(1).to_vec::<f32>()?, [1.5; 3]);
/// # Ok::<(), onetrace::Error>(())
/// ```
pub trait RnnCell {
    /// What a step hands to the next one.
    type Carry: Tree;

    /// Takes the carry and the input of a step, shape `[.., in_features]`, and returns the next
    /// carry and the output, shape `[.., hidden_features]`. Axes before the last are batch axes.
    ///
    /// Fails if the last axis of the input is not the features the cell was built for.
    #[track_caller]
    fn step(&self, carry: Self::Carry, x: Tensor) -> (Self::Carry, Tensor);

    /// The carry of zeros for batch axes of these sizes; `[]` for none.
    #[track_caller]
    fn initial_carry(&self, batch: &[usize]) -> Self::Carry;
}

/// What a recurrent cell is made from. The names are those of the arguments of Flax's cells.
///
/// # Examples
/// ```
/// use onetrace::prelude::*;
/// let config = nn::CellConfig::new(3, 4).bias_init(nn::init::ones());
/// let cell = nn::GruCell::from_config(&mut nn::Rngs::new(0), &config);
/// assert_eq!(cell.dense_i.bias.unwrap().to_vec::<f32>()?, [1.0; 12]);
/// # Ok::<(), onetrace::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a configuration does nothing until a cell is made from it"]
pub struct CellConfig {
    in_features: usize,
    hidden_features: usize,
    kernel_init: Initializer,
    recurrent_kernel_init: Initializer,
    bias_init: Initializer,
    recurrent_bias: bool,
    param_dtype: DType,
}

impl CellConfig {
    /// Lecun normal input kernels, orthogonal recurrent ones, zero biases, `f32`.
    pub fn new(in_features: usize, hidden_features: usize) -> CellConfig {
        CellConfig {
            in_features,
            hidden_features,
            kernel_init: init::lecun_normal(),
            recurrent_kernel_init: init::orthogonal(),
            bias_init: init::zeros(),
            recurrent_bias: false,
            param_dtype: DType::F32,
        }
    }

    /// How the kernels from the input are drawn.
    pub fn kernel_init(mut self, kernel_init: Initializer) -> CellConfig {
        self.kernel_init = kernel_init;
        self
    }

    /// How the kernels from the carry are drawn.
    pub fn recurrent_kernel_init(mut self, recurrent_kernel_init: Initializer) -> CellConfig {
        self.recurrent_kernel_init = recurrent_kernel_init;
        self
    }

    /// How the biases are drawn.
    pub fn bias_init(mut self, bias_init: Initializer) -> CellConfig {
        self.bias_init = bias_init;
        self
    }

    /// Whether the layer from the carry of a [`GruCell`] has a bias, too, as in PyTorch and cuDNN;
    /// by default it has none, as in Flax. It is not one with the other bias: the reset gate
    /// multiplies it. The other cells have one bias for both layers, where a second one would
    /// change nothing.
    pub fn recurrent_bias(mut self, recurrent_bias: bool) -> CellConfig {
        self.recurrent_bias = recurrent_bias;
        self
    }

    /// The dtype of the parameters.
    pub fn param_dtype(mut self, param_dtype: DType) -> CellConfig {
        self.param_dtype = param_dtype;
        self
    }

    /// The layer from the input to this many gates.
    fn input(&self, gates: usize) -> LinearConfig {
        self.layer(self.in_features, gates).kernel_init(self.kernel_init)
    }

    /// The layer from the carry to this many gates.
    fn recurrent(&self, gates: usize) -> LinearConfig {
        self.layer(self.hidden_features, gates).kernel_init(self.recurrent_kernel_init)
    }

    fn layer(&self, in_features: usize, gates: usize) -> LinearConfig {
        Linear::config(in_features, gates.saturating_mul(self.hidden_features))
            .bias_init(self.bias_init)
            .param_dtype(self.param_dtype)
    }
}

/// Zeros of shape `[batch.., hidden]` for the cell of this recurrent kernel.
#[track_caller]
fn zeros(batch: &[usize], kernel: &Tensor) -> Tensor {
    let hidden = kernel.shape().first().copied().unwrap_or(0);
    Tensor::zeros([batch, &[hidden]].concat(), kernel.dtype())
}

/// The equal parts of the last axis, one for each gate.
#[track_caller]
fn gates<const N: usize>(x: &Tensor) -> [Tensor; N] {
    let parts = x.split(N, -1);
    std::array::from_fn(|i| parts[i].clone())
}

/// The gated recurrent unit of Cho et al. (2014), `nnx.GRUCell`: for the gates `r`, `z` and `n`,
///
/// ```text
/// r = σ(x·Wr + br + h·Ur)
/// z = σ(x·Wz + bz + h·Uz)
/// n = tanh(x·Wn + bn + r * (h·Un))
/// h' = (1 - z) * n + z * h
/// ```
///
/// With [`CellConfig::recurrent_bias`], every `h·U` has a bias added: PyTorch's `GRU`.
///
/// # Examples
/// ```
/// use onetrace::prelude::*;
/// let cell = nn::GruCell::new(&mut nn::Rngs::new(42), 3, 4);
/// assert_eq!(tree::paths(&cell), ["dense_i.kernel", "dense_i.bias", "dense_h.kernel"]);
/// let (h, y) = cell.step(cell.initial_carry(&[]), Tensor::ones([3], DType::F32));
/// assert_eq!(h.shape(), [4]);
/// assert_eq!(y.to_vec::<f32>()?, h.to_vec::<f32>()?);
/// # Ok::<(), onetrace::Error>(())
/// ```
#[derive(Clone, Debug, Tree)]
pub struct GruCell {
    /// From the input to the gates `r`, `z`, `n`: kernel `[in, 3 * hidden]` and bias.
    pub dense_i: Linear,
    /// From the carry to the same gates: kernel `[hidden, 3 * hidden]`, by default no bias.
    pub dense_h: Linear,
}

impl GruCell {
    /// A cell with a lecun normal input kernel, an orthogonal recurrent one and zero biases.
    #[track_caller]
    pub fn new(rngs: &mut Rngs, in_features: usize, hidden_features: usize) -> GruCell {
        GruCell::from_config(rngs, &CellConfig::new(in_features, hidden_features))
    }

    /// A cell whose parameters are drawn as `config` says.
    #[track_caller]
    pub fn from_config(rngs: &mut Rngs, config: &CellConfig) -> GruCell {
        build("GruCell", rngs, |rngs| GruCell {
            dense_i: config.input(3).draw(rngs),
            dense_h: config.recurrent(3).use_bias(config.recurrent_bias).draw(rngs),
        })
    }
}

impl RnnCell for GruCell {
    type Carry = Tensor;

    #[track_caller]
    fn step(&self, h: Tensor, x: Tensor) -> (Tensor, Tensor) {
        scope::library_scope("GruCell", || {
            let x = with_features_of("GruCell", &self.dense_i.kernel, x);
            let [xr, xz, xn] = gates(&self.dense_i.apply(&x));
            let [hr, hz, hn] = gates(&self.dense_h.apply(&h));
            let r = (xr + hr).sigmoid();
            let z = (xz + hz).sigmoid();
            let n = (xn + r * hn).tanh();
            let h = (1.0 - &z) * n + z * h;
            (h.clone(), h)
        })
    }

    #[track_caller]
    fn initial_carry(&self, batch: &[usize]) -> Tensor {
        zeros(batch, &self.dense_h.kernel)
    }
}

/// The long short-term memory of Hochreiter and Schmidhuber (1997), `nnx.LSTMCell`, with a product
/// for each gate; the carry is `(c, h)`:
///
/// ```text
/// i = σ(x·Wii + (h·Whi + bi))
/// f = σ(x·Wif + (h·Whf + bf))
/// g = tanh(x·Wig + (h·Whg + bg))
/// o = σ(x·Wio + (h·Who + bo))
/// c' = f * c + i * g
/// h' = o * tanh(c')
/// ```
#[derive(Clone, Debug, Tree)]
pub struct LstmCell {
    /// From the input to the input gate, `[in, hidden]`, no bias; so are the next three.
    pub ii: Linear,
    /// From the input to the forget gate.
    pub if_: Linear,
    /// From the input to the candidate.
    pub ig: Linear,
    /// From the input to the output gate.
    pub io: Linear,
    /// From the carry to the input gate, `[hidden, hidden]` with a bias; so are the next three.
    pub hi: Linear,
    /// From the carry to the forget gate.
    pub hf: Linear,
    /// From the carry to the candidate.
    pub hg: Linear,
    /// From the carry to the output gate.
    pub ho: Linear,
}

impl LstmCell {
    /// A cell with lecun normal input kernels, orthogonal recurrent ones and zero biases.
    #[track_caller]
    pub fn new(rngs: &mut Rngs, in_features: usize, hidden_features: usize) -> LstmCell {
        LstmCell::from_config(rngs, &CellConfig::new(in_features, hidden_features))
    }

    /// A cell whose parameters are drawn as `config` says.
    #[track_caller]
    pub fn from_config(rngs: &mut Rngs, config: &CellConfig) -> LstmCell {
        build("LstmCell", rngs, |rngs| {
            // Fields are evaluated in this order, which is the order of the draws.
            let (input, recurrent) = (config.input(1).use_bias(false), config.recurrent(1));
            LstmCell {
                ii: input.draw(rngs),
                if_: input.draw(rngs),
                ig: input.draw(rngs),
                io: input.draw(rngs),
                hi: recurrent.draw(rngs),
                hf: recurrent.draw(rngs),
                hg: recurrent.draw(rngs),
                ho: recurrent.draw(rngs),
            }
        })
    }
}

/// The next carry and the output from the four gates before their activations.
#[track_caller]
fn lstm_update(c: &Tensor, [i, f, g, o]: [Tensor; 4]) -> ((Tensor, Tensor), Tensor) {
    let c = f.sigmoid() * c + i.sigmoid() * g.tanh();
    let h = o.sigmoid() * c.tanh();
    ((c, h.clone()), h)
}

impl RnnCell for LstmCell {
    type Carry = (Tensor, Tensor);

    #[track_caller]
    fn step(&self, (c, h): (Tensor, Tensor), x: Tensor) -> ((Tensor, Tensor), Tensor) {
        scope::library_scope("LstmCell", || {
            let x = with_features_of("LstmCell", &self.ii.kernel, x);
            let gates = [
                self.ii.apply(&x) + self.hi.apply(&h),
                self.if_.apply(&x) + self.hf.apply(&h),
                self.ig.apply(&x) + self.hg.apply(&h),
                self.io.apply(&x) + self.ho.apply(&h),
            ];
            lstm_update(&c, gates)
        })
    }

    #[track_caller]
    fn initial_carry(&self, batch: &[usize]) -> (Tensor, Tensor) {
        let zeros = zeros(batch, &self.hi.kernel);
        (zeros.clone(), zeros)
    }
}

/// The [`LstmCell`] with one product for all gates, `nnx.OptimizedLSTMCell`; the carry is `(c, h)`.
///
/// For the same seed its parameters are not those of an [`LstmCell`]: the recurrent kernel is
/// orthogonal as a whole.
#[derive(Clone, Debug, Tree)]
pub struct OptimizedLstmCell {
    /// From the input to the gates `i`, `f`, `g`, `o`: kernel `[in, 4 * hidden]`, no bias.
    pub dense_i: Linear,
    /// From the carry to the same gates: kernel `[hidden, 4 * hidden]` and bias.
    pub dense_h: Linear,
}

impl OptimizedLstmCell {
    /// A cell with a lecun normal input kernel, an orthogonal recurrent one and zero biases.
    #[track_caller]
    pub fn new(rngs: &mut Rngs, in_features: usize, hidden_features: usize) -> OptimizedLstmCell {
        OptimizedLstmCell::from_config(rngs, &CellConfig::new(in_features, hidden_features))
    }

    /// A cell whose parameters are drawn as `config` says.
    #[track_caller]
    pub fn from_config(rngs: &mut Rngs, config: &CellConfig) -> OptimizedLstmCell {
        build("OptimizedLstmCell", rngs, |rngs| OptimizedLstmCell {
            dense_i: config.input(4).use_bias(false).draw(rngs),
            dense_h: config.recurrent(4).draw(rngs),
        })
    }
}

impl RnnCell for OptimizedLstmCell {
    type Carry = (Tensor, Tensor);

    #[track_caller]
    fn step(&self, (c, h): (Tensor, Tensor), x: Tensor) -> ((Tensor, Tensor), Tensor) {
        scope::library_scope("OptimizedLstmCell", || {
            let x = with_features_of("OptimizedLstmCell", &self.dense_i.kernel, x);
            let gates = self.dense_i.apply(&x) + self.dense_h.apply(&h);
            lstm_update(&c, self::gates(&gates))
        })
    }

    #[track_caller]
    fn initial_carry(&self, batch: &[usize]) -> (Tensor, Tensor) {
        let zeros = zeros(batch, &self.dense_h.kernel);
        (zeros.clone(), zeros)
    }
}

/// The plain recurrent cell of Elman (1990), `nnx.SimpleCell`: `h' = tanh(x·W + b + h·U)`.
#[derive(Clone, Debug, Tree)]
pub struct SimpleCell {
    /// From the carry: kernel `[hidden, hidden]`, no bias.
    pub dense_h: Linear,
    /// From the input: kernel `[in, hidden]` and bias.
    pub dense_i: Linear,
}

impl SimpleCell {
    /// A cell with a lecun normal input kernel, an orthogonal recurrent one and zero biases.
    #[track_caller]
    pub fn new(rngs: &mut Rngs, in_features: usize, hidden_features: usize) -> SimpleCell {
        SimpleCell::from_config(rngs, &CellConfig::new(in_features, hidden_features))
    }

    /// A cell whose parameters are drawn as `config` says.
    #[track_caller]
    pub fn from_config(rngs: &mut Rngs, config: &CellConfig) -> SimpleCell {
        // The recurrent layer draws its key first, as in Flax.
        build("SimpleCell", rngs, |rngs| SimpleCell {
            dense_h: config.recurrent(1).use_bias(false).draw(rngs),
            dense_i: config.input(1).draw(rngs),
        })
    }
}

impl RnnCell for SimpleCell {
    type Carry = Tensor;

    #[track_caller]
    fn step(&self, h: Tensor, x: Tensor) -> (Tensor, Tensor) {
        scope::library_scope("SimpleCell", || {
            let x = with_features_of("SimpleCell", &self.dense_i.kernel, x);
            let h = (self.dense_i.apply(&x) + self.dense_h.apply(&h)).tanh();
            (h.clone(), h)
        })
    }

    #[track_caller]
    fn initial_carry(&self, batch: &[usize]) -> Tensor {
        zeros(batch, &self.dense_h.kernel)
    }
}
