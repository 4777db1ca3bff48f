"""Derivatives and batches of functions: jvp, vjp, Hessians, Jacobians and vmap.

Each function below is called `f` in a case and restated in the test; `kind` says what was done with it, as
`derived.py` tells.
"""

import math

import derived
import jax
import jax.numpy as jnp
from derived import b, case, i, key, lit, r
from jax import lax

INF = math.inf

TIES = [[1.0, 3.0, 3.0, 2.0], [0.0, 0.0, 0.0, 0.0], [-1.0, 5.0, -1.0, 5.0]]
HOLES = [[2.0, 0.0, 3.0, -1.0], [0.0, 2.0, 0.0, 1.5], [1.0, 2.0, 3.0, 4.0]]
EDGES = [0.0, -0.5, 0.5, -1.0, 1.0, -3.0, 3.0]


# Probabilities and norms.


@case(r(4, 5, scale=4.0), i(4, mod=5), kinds="vjp jvp hvp hessian", vmap=(0, None))
def cross_entropy(x, labels):
    chosen = jnp.take_along_axis(jax.nn.log_softmax(x, -1), labels[:, None], 1)
    return -chosen.mean()


@case(r(3, 4, scale=4.0), kinds="vjp jvp jacfwd jacrev hessian", vmap=(1,))
def softmax(x):
    return jax.nn.softmax(x, -1)


@case(r(3, 4, scale=64.0), name="softmax_saturated")
@case(r(3, 4, scale=4.0))
def softmax_first(x):
    return jax.nn.softmax(x, 0)


@case(r(3, 4, scale=64.0), kinds="vjp jvp hessian", vmap=(0,))
def log_softmax(x):
    return jax.nn.log_softmax(x, -1)


@case(r(4, 6, scale=2.0), r(6, shift=1.0), r(6), kinds="vjp jvp hvp hessian", vmap=(0, None, None))
def layer_norm(x, scale, bias):
    mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) * lax.rsqrt(var + 1e-5) * scale + bias


@case(lit([[-INF, 1.0, 2.0], [-INF, -INF, 0.5], [80.0, 90.0, -INF]]), name="logsumexp_infinities")
@case(lit(TIES), kinds="vjp jvp hessian", vmap=(0,))
def logsumexp(x):
    return jax.nn.logsumexp(x, 1)


@case(lit([[-INF, -INF], [1.0, 2.0]]))
def logsumexp_of_nothing(x):
    return jax.nn.logsumexp(x, 1)


@case(r(4, 3, 5), kinds="vjp jvp hvp", vmap=(2,))
def standardized(x):
    return (x - x.mean((0, 2), keepdims=True)) / x.std((0, 2), keepdims=True, ddof=1)


@case(lit([[3.0, 4.0], [0.0, 0.0], [1.0, -2.0]]), kinds="vjp jvp hessian", vmap=(0,))
def safe_norm(x):
    square = (x * x).sum(-1)
    zero = square == 0
    return jnp.where(zero, 0.0, jnp.sqrt(jnp.where(zero, 1.0, square)))


@case(lit([[3.0, 4.0], [0.0, 0.0]]))
def naive_norm(x):
    return jnp.sqrt((x * x).sum(-1))


# Reductions with ties and zeros.


@case(i(2, 6, 4, mod=3, dtype="float32"), vmap=(1,))
def max_pool(x):
    return x.reshape(2, 3, 2, 2, 2).max((2, 4))


@case(lit(TIES), kinds="vjp jvp jacfwd", vmap=(0,))
def maxima(x):
    return x.max(1), x.min(0), x.max()


@case(lit(TIES), vmap=(1,))
def at_argmax(x):
    return jnp.take_along_axis(x, x.argmax(1, keepdims=True), 1)


@case(lit([[1.5, -2.0, 0.5, 3.0, 2.5]]), kinds="vjp jvp hessian", name="prod_odd")
@case(lit([[3.0]]), name="prod_one")
@case(lit(HOLES), kinds="vjp jvp hessian hvp", vmap=(0,))
def prod(x):
    return x.prod(1)


@case(r(2, 3, 5), kinds="vjp jvp", vmap=(1,))
def prod_axes(x):
    return x.prod((0, 2))


# Cumulative.


@case(r(3, 5), kinds="vjp jvp jacrev", vmap=(1,))
def cumsum(x):
    return lax.cumsum(x, 1), lax.cumsum(x, 0, reverse=True)


@case(lit(HOLES), kinds="vjp jvp jacfwd jacrev hessian", vmap=(0,))
def cumprod(x):
    return lax.cumprod(x, 1), lax.cumprod(x, 0, reverse=True)


@case(lit(TIES), vmap=(1,))
def cummax(x):
    return lax.cummax(x, 1), lax.cummin(x, 1, reverse=True)


@case(r(3, 5, scale=4.0), kinds="vjp jvp hessian", vmap=(0,))
def cumlogsumexp(x):
    return lax.cumlogsumexp(x, 1), lax.cumlogsumexp(x, 0, reverse=True)


@case(r(5, 3), r(5, 3), kinds="vjp jvp hvp", vmap=(1, None))
def recurrence(a, x):
    """h_t = a_t h_(t-1) + x_t"""
    combine = lambda p, q: (p[0] * q[0], q[0] * p[1] + q[1])
    return lax.associative_scan(combine, (a, x))[1]


# Sorting.


@case(lit(TIES), vmap=(1,), name="sort_ties")
@case(r(3, 5), vmap=(0,))
def sort(x):
    return jnp.sort(x, 1), jnp.sort(x, 0), jnp.sort(x, 1, descending=True)


@case(i(7, mod=3, dtype="float32"), r(7), r(7), vmap=(None, 0, 0))
def sort_together(keys, x, y):
    return tuple(lax.sort((keys, x, y), 0, num_keys=2))


@case(r(4, 5), r(4, 5), vmap=(0, 1))
def sort_by(keys, x):
    order = jnp.argsort(keys, 1)
    return jnp.take_along_axis(x, order, 1) * jnp.arange(5, dtype=jnp.float32)


@case(lit(TIES), vmap=(2,), name="top_k_ties")
@case(r(3, 6), kinds="vjp jvp jacrev", vmap=(2,))
def top_k(x):
    values, indices = lax.top_k(x, 2)
    return values, indices


@case(r(3, 5), vmap=(1,))
def median(x):
    return jnp.sort(x, 1)[:, 2]


# Gather and scatter.


@case(r(5, 3), lit([[0, 4, -1], [4, 7, -9]], "int32"), vmap=(0, None), name="take_from_batch")
@case(r(5, 3), lit([[0, 4, -1], [4, 7, -9]], "int32"), vmap=(None, 0), name="take_batch")
@case(r(5, 3), lit([[0, 4, -1], [4, 7, -9]], "int32"), vmap=(1, 2), name="take_batch_from_batch")
@case(r(5, 3), lit([[0, 4, -1], [4, 7, -9]], "int32"))
def take(x, indices):
    return jnp.take(x, indices, axis=0)


@case(r(2, 5, 3), lit([3, 3, 9, -2], "int32"), vmap=(1, None), name="take_clip_from_batch")
@case(r(2, 5, 3), lit([3, 3, 9, -2], "int32"), vmap=(None, 0), name="take_clip_batch")
@case(r(2, 5, 3), lit([3, 3, 9, -2], "int32"), kinds="vjp jvp hvp", vmap=(2, 0))
def take_clip(x, indices):
    taken = jnp.take(x, indices, axis=1, mode="clip")
    return taken * taken


@case(r(4, 1), i(4, 3, mod=2, shift=-1), vmap=(0, 1), name="take_along_stretched")
@case(r(3, 4), i(3, 6, mod=6, shift=-2), vmap=(None, 0))
def take_along(x, indices):
    return jnp.take_along_axis(x, indices, 1)


@case(r(6, 2), vmap=(0,))
def windows(x):
    """Windows of three rows, as a convolution takes them."""
    return jnp.take(x, jnp.arange(4)[:, None] + jnp.arange(3), axis=0).sum(1) ** 2


PLACES = lit([1, 3, 1, 8, -1, -7], "int32")


@case(r(4, 2), PLACES, r(6, 2), vmap=(0, None, 0), name="scatter_add_batch")
@case(r(4, 2), PLACES, r(6, 2), vmap=(None, 0, None), name="scatter_add_at_batch")
@case(r(4, 2), PLACES, r(6, 2), kinds="vjp jvp hvp", vmap=(1, 0, 1))
def scatter_add(x, indices, updates):
    return x.at[indices].add(updates) ** 2


@case(r(4, 2), PLACES, r(6, 2), vmap=(0, None, 0), name="scatter_set_batch")
@case(r(4, 2), PLACES, r(6, 2), vmap=(None, 0, None), name="scatter_set_at_batch")
@case(r(4, 2), PLACES, r(6, 2), kinds="vjp jvp hvp", vmap=(1, 0, 1))
def scatter_set(x, indices, updates):
    return x.at[indices].set(updates) ** 2


@case(r(4, 2), lit(2, "int32"), r(2), kinds="vjp jvp hessian", vmap=(None, None, 0))
def scatter_set_one(x, index, update):
    return x.at[index].set(update) ** 2


@case(i(4, 2, mod=3, dtype="float32"), PLACES, i(6, 2, mod=3, dtype="float32"), vmap=(0, 0, 1))
def scatter_extremes(x, indices, updates):
    return x.at[indices].max(updates), x.at[indices].min(updates)


@case(r(6), i(6, mod=3), vmap=(0, 0))
def segment_softmax(x, segments):
    """Softmax among the elements of each segment."""
    largest = jnp.full((3,), -INF, jnp.float32).at[segments].max(lax.stop_gradient(x))
    e = jnp.exp(x - largest[segments])
    return e / jnp.zeros((3,), jnp.float32).at[segments].add(e)[segments]


# Products.


@case(r(4), r(4), kinds="vjp jvp hessian", vmap=(0, 1))
@case(r(3, 4), r(4), vmap=(0, None), name="dot_matrix_vector")
@case(r(4), r(4, 3), vmap=(0, None), name="dot_vector_matrix")
@case(r(4), r(4, 3), vmap=(0, 2), name="dot_vector_matrix_batched")
@case(r(4), r(4, 3), vmap=(None, 1), name="dot_vector_matrices")
@case(r(2, 3, 4), r(5, 4, 2), vmap=(3, 1), name="dot_tensors")
def dot(x, y):
    return jnp.dot(x, y) ** 2


@case(r(2, 1, 3, 4), r(5, 4, 2), kinds="vjp jvp hvp", vmap=(0, None), name="matmul_broadcast")
@case(r(4), r(5, 4, 2), vmap=(0, 0), name="matmul_vector_batch")
@case(r(5, 3, 4), r(4), vmap=(None, 0), name="matmul_batch_vector")
@case(r(5, 3, 4), r(4, 2), vmap=(1, 2), name="matmul_batch_matrix")
@case(r(3, 4), r(4, 2), kinds="vjp jvp hessian jacrev", vmap=(1, None))
def matmul(x, y):
    return jnp.tanh(x @ y)


@case(r(3, 2, 4, 5), r(5, 3, 6, 4), vmap=(2, 4))
def dot_general(x, y):
    """Contracts in another order than the axes have; the batch axis is in the middle."""
    return lax.dot_general(x, y, (((3, 2), (0, 3)), ((0,), (1,))))


@case(r(2, 3), r(3, 4), r(4, 2), kinds="vjp jvp hvp", vmap=(0, None, 1))
def einsum_chain(x, y, z):
    return jnp.einsum("ij,jk,kl->il", x, y, z)


@case(r(2, 3, 4), r(2, 4, 5), r(5), vmap=(1, 2, None))
def einsum_batched(x, y, z):
    return jnp.einsum("bij,bjk,k->bi", x, y, z)


@case(r(4, 4), r(4), r(3), vmap=(0, 1, None))
def einsum_traces(x, y, z):
    return jnp.einsum("ii->i", x), jnp.einsum("ii,i,j->j", x, y, z), jnp.einsum("i,j->ij", y, z)


@case(r(2, 3, 4), r(2, 5, 4), r(2, 5, 3), kinds="vjp jvp hvp", vmap=(0, None, 2))
def attention(q, k, v):
    scores = jnp.einsum("btd,bsd->bts", q, k) / 2.0
    scores = jnp.where(jnp.tri(3, 5, 1, dtype=jnp.bool_), scores, -INF)
    return jax.nn.softmax(scores, -1) @ v


@case(r(5, 3), r(3, 4), r(4), r(4, 2), kinds="vjp jvp hvp", vmap=(0, None, None, None))
def perceptron(x, w1, b1, w2):
    return jnp.mean((jnp.tanh(x @ w1 + b1) @ w2) ** 2)


@case(r(6, 3), r(3, 4), r(4, 4), r(4), kinds="vjp jvp hvp", vmap=(1, None, None, 0))
def recurrent(x, w, u, h):
    step = lambda h, x: (jnp.tanh(x @ w + h @ u),) * 2
    return lax.scan(step, h, x)


# Element by element, where it is delicate.


@case(lit([0.0, 0.0, 2.0, 1.5, 3.0]), lit([2.0, 1.0, 0.0, -1.0, 0.5]), vmap=(0, 0))
def power(x, y):
    return x**y


@case(lit([0.0, -1.5, 2.0]), kinds="vjp jvp hessian", vmap=(0,))
def powers(x):
    return x**2 + x**3, x**0, jnp.square(x)


@case(lit([20.0, -20.0]), name="activations_saturated")
@case(lit(EDGES), kinds="vjp jvp hessian", vmap=(0,))
def activations(x):
    return jax.nn.softplus(x) + jax.nn.silu(x) + jax.nn.gelu(x), jax.nn.log_sigmoid(x), jax.nn.gelu(x, approximate=False)


@case(lit(EDGES), kinds="vjp jvp", vmap=(0,))
def kinks(x):
    return jax.nn.relu(x), jax.nn.leaky_relu(x), jax.nn.elu(x), jnp.abs(x), jnp.clip(x, -1.0, 1.0)


@case(lit([1.0, 2.0, -1.0, INF, -INF, 0.0]), lit([1.0, -2.0, -1.0, 2.0, 3.0, -0.0]), kinds="vjp jvp", vmap=(0, 0))
def extremes(x, y):
    return jnp.maximum(x, y), jnp.minimum(x, y)


@case(lit([1.0, -2.0, 5.0, 100.0]), lit([1.0, -1.0, -5.0, -100.0]), kinds="vjp jvp hessian", vmap=(0, None))
def logaddexp(x, y):
    return jnp.logaddexp(x, y)


@case(r(4), r(4), kinds="vjp jvp hessian", vmap=(0, None))
def held_fixed(x, y):
    return lax.stop_gradient(x) * x * y


# Shapes and slices.


@case(r(3, 4), r(3, 2), vmap=(0, 1))
def shapes(x, y):
    z = jnp.concatenate([x, y], 1)
    return jnp.flip(z, 1)[:, ::2].T.reshape(9) * 2.0, jnp.tile(y, (1, 2)), jnp.roll(x, 1, 1), jnp.repeat(y, 2, 0)


@case(r(3, 4), lit(2.0), vmap=(1, 0))
def padded(x, value):
    return lax.pad(x, value, [(1, -1, 1), (-1, 2, 0)])


@case(r(5, 4), lit(3, "int32"), r(2, 4), vmap=(0, None, 0), name="dynamic_batch")
@case(r(5, 4), lit(3, "int32"), r(2, 4), vmap=(0, 0, 1), name="dynamic_at_batch")
@case(r(5, 4), lit(9, "int32"), r(2, 4), vmap=(None, 0, None))
def dynamic(x, start, update):
    """Starts that reach beyond the end are moved inside."""
    sliced = lax.dynamic_slice_in_dim(x, start, 3, 0)
    return sliced**2, lax.dynamic_update_slice_in_dim(x, update, start, 0) ** 2


@case(b(3, 4), r(3, 4), r(4), vmap=(None, 0, 0))
def choice(which, x, y):
    return jnp.where(which, x * x, y)


# Dtypes.


@case(r(3, 4, dtype="float16"), r(3, 4), r(3, 4, dtype="float64"), kinds="vjp jvp hvp", vmap=(0, None, 0))
def mixed(x, y, z):
    sum64 = (x.astype(jnp.float32) * y).astype(jnp.float64) * z
    return sum64.sum(), (y.astype(jnp.float16) * x).max(1)


@case(r(3, 4, dtype="bfloat16"), r(3, 4), vmap=(0, None))
def mixed_brain(x, y):
    return (x * y.astype(jnp.bfloat16)).sum(1), (x.astype(jnp.float32) * y).astype(jnp.bfloat16)


@case(r(3, 4, dtype="float64", scale=2.0), r(4, 2, dtype="float64"), kinds="vjp jvp hessian", vmap=(0, None))
def double(x, y):
    return jax.nn.log_softmax(jnp.sin(x) @ y, -1)


@case(r(3, 4), r(3, 4), vmap=(0, 0))
def through_integers(x, y):
    """What goes through integers has no derivative."""
    whole = (x * 4.0).astype(jnp.int32)
    return whole.astype(jnp.float32) * y, whole


# Random numbers, as functions of what they are made of.


@case(key(), r(5), r(5, shift=2.0), vmap=(0, None, None), kinds="vjp jvp")
def normal(key, mean, deviation):
    return mean + deviation * jax.random.normal(jax.random.wrap_key_data(key), (5,), jnp.float32)


@case(key(), r(3), r(3, shift=2.0), vmap=(1, 0, None), kinds="vjp jvp")
def uniform(key, low, high):
    u = jax.random.uniform(jax.random.wrap_key_data(key), (4, 3), jnp.float32)
    return low + (high - low) * u


@case(key(), r(4, scale=2.0), vmap=(0, None), kinds="vjp jvp hessian")
def gumbel_softmax(key, logits):
    g = jax.random.gumbel(jax.random.wrap_key_data(key), (4,), jnp.float32)
    return jax.nn.softmax((logits + g) / 0.5)


if __name__ == "__main__":
    derived.save("autodiff", __file__)
