//! Recurrent cells, as in `flax.nnx`: the same parameters, the same order of operations.

use onetrace_derive::Tree;

use super::{Linear, Rngs, build, init, with_features};
use crate::aval::DType;
use crate::tensor::Tensor;
use crate::trace::scope;
use crate::tree::Tree;

/// One step of a recurrent network.
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

/// Zeros of shape `[batch.., features]`.
#[track_caller]
fn zeros(batch: &[usize], features: usize, dtype: DType) -> Tensor {
    Tensor::zeros([batch, &[features]].concat(), dtype)
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
    /// From the carry to the same gates: kernel `[hidden, 3 * hidden]`, no bias.
    pub dense_h: Linear,
}

impl GruCell {
    /// A cell with a lecun normal input kernel, an orthogonal recurrent one and zero biases.
    #[track_caller]
    pub fn new(rngs: &mut Rngs, in_features: usize, hidden_features: usize) -> GruCell {
        let gates = 3 * hidden_features;
        build("GruCell", rngs, |rngs| GruCell {
            dense_i: Linear::draw(rngs, [in_features, gates], &init::lecun_normal(), true),
            dense_h: Linear::draw(rngs, [hidden_features, gates], &init::orthogonal(), false),
        })
    }
}

impl RnnCell for GruCell {
    type Carry = Tensor;

    #[track_caller]
    fn step(&self, h: Tensor, x: Tensor) -> (Tensor, Tensor) {
        scope::library_scope("GruCell", || {
            let x = with_features("GruCell", self.dense_i.kernel.shape()[0], x);
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
        let kernel = &self.dense_h.kernel;
        zeros(batch, kernel.shape()[0], kernel.dtype())
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
        build("LstmCell", rngs, |rngs| {
            let input = |rngs: &mut Rngs| {
                Linear::draw(rngs, [in_features, hidden_features], &init::lecun_normal(), false)
            };
            let (ii, if_, ig, io) = (input(rngs), input(rngs), input(rngs), input(rngs));
            let recurrent = |rngs: &mut Rngs| {
                Linear::draw(rngs, [hidden_features, hidden_features], &init::orthogonal(), true)
            };
            let (hi, hf) = (recurrent(rngs), recurrent(rngs));
            let (hg, ho) = (recurrent(rngs), recurrent(rngs));
            LstmCell { ii, if_, ig, io, hi, hf, hg, ho }
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
            let x = with_features("LstmCell", self.ii.kernel.shape()[0], x);
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
        let kernel = &self.hi.kernel;
        let zeros = zeros(batch, kernel.shape()[0], kernel.dtype());
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
        let gates = 4 * hidden_features;
        build("OptimizedLstmCell", rngs, |rngs| OptimizedLstmCell {
            dense_i: Linear::draw(rngs, [in_features, gates], &init::lecun_normal(), false),
            dense_h: Linear::draw(rngs, [hidden_features, gates], &init::orthogonal(), true),
        })
    }
}

impl RnnCell for OptimizedLstmCell {
    type Carry = (Tensor, Tensor);

    #[track_caller]
    fn step(&self, (c, h): (Tensor, Tensor), x: Tensor) -> ((Tensor, Tensor), Tensor) {
        scope::library_scope("OptimizedLstmCell", || {
            let x = with_features("OptimizedLstmCell", self.dense_i.kernel.shape()[0], x);
            let gates = self.dense_i.apply(&x) + self.dense_h.apply(&h);
            lstm_update(&c, self::gates(&gates))
        })
    }

    #[track_caller]
    fn initial_carry(&self, batch: &[usize]) -> (Tensor, Tensor) {
        let kernel = &self.dense_h.kernel;
        let zeros = zeros(batch, kernel.shape()[0], kernel.dtype());
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
        let hidden = hidden_features;
        // The recurrent layer draws its key first, as in Flax.
        build("SimpleCell", rngs, |rngs| SimpleCell {
            dense_h: Linear::draw(rngs, [hidden, hidden], &init::orthogonal(), false),
            dense_i: Linear::draw(rngs, [in_features, hidden], &init::lecun_normal(), true),
        })
    }
}

impl RnnCell for SimpleCell {
    type Carry = Tensor;

    #[track_caller]
    fn step(&self, h: Tensor, x: Tensor) -> (Tensor, Tensor) {
        scope::library_scope("SimpleCell", || {
            let x = with_features("SimpleCell", self.dense_i.kernel.shape()[0], x);
            let h = (self.dense_i.apply(&x) + self.dense_h.apply(&h)).tanh();
            (h.clone(), h)
        })
    }

    #[track_caller]
    fn initial_carry(&self, batch: &[usize]) -> Tensor {
        let kernel = &self.dense_h.kernel;
        zeros(batch, kernel.shape()[0], kernel.dtype())
    }
}
