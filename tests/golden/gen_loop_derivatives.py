"""Derivatives and batches of programs with loops and branches: the ideas of JAX's own tests of control flow.

Each function below is called `f` in a case and restated in the test; `kind` says what was done with it, as
`derived.py` tells.
"""

import functools

import derived
import jax
import jax.numpy as jnp
from derived import b, i, key, lit, r
from jax import lax

case = functools.partial(derived.case, batched="vmap_vjp")

# For one program of each sort.
ALL = "vjp jvp linearize hvp rev_rev fwd_fwd"
# For programs that have forward mode only.
FORWARD = "jvp linearize fwd_fwd jacfwd"
BATCHED = "vmap vmap_vjp vmap_jvp vjp_of_vmap vmap_vmap"


# Recurrent networks.

RNN = r(5, 3), r(3, 4), r(4, 4, scale=0.5), r(4)


def rnn_step(w, u):
    def step(h, x):
        h = jnp.tanh(x @ w + h @ u)
        return h, h * x.sum()

    return step


@case(*RNN, vmap=(0, 1, None, 1), name="rnn_xs_w_h", kinds="", batched="vmap vjp_of_vmap")
@case(*RNN, vmap=(None, None, None, 0), name="rnn_h", kinds="", batched="vmap vmap_vjp")
@case(*RNN, vmap=(None, 0, 2, None), name="rnn_w_u", kinds="", batched="vmap vmap_vjp")
@case(*RNN, kinds=ALL + " jacfwd jacrev", vmap=(1, None, None, None), batched=BATCHED)
def rnn(x, w, u, h):
    return lax.scan(rnn_step(w, u), h, x)


@case(*RNN, vmap=(2, None, None, 0))
def rnn_reverse(x, w, u, h):
    return lax.scan(rnn_step(w, u), h, x, reverse=True)


@case(*RNN, kinds="vjp jvp hvp", vmap=(0, None, 0, 0))
def rnn_unroll(x, w, u, h):
    return lax.scan(rnn_step(w, u), h, x, unroll=2)


@case(*RNN, kinds="vjp linearize", vmap=(0, 0, None, None))
def rnn_reverse_unroll(x, w, u, h):
    return lax.scan(rnn_step(w, u), h, x, reverse=True, unroll=3)


@case(*RNN, kinds="vjp", vmap=(0, None, None, None), batched="vmap_vjp")
def rnn_unroll_all(x, w, u, h):
    return lax.scan(rnn_step(w, u), h, x, unroll=True)


@case(*RNN, kinds=ALL, vmap=(0, None, None, 0), batched="vmap_vjp vjp_of_vmap")
def rnn_checkpoint(x, w, u, h):
    return lax.scan(jax.checkpoint(rnn_step(w, u)), h, x)


@case(*RNN, kinds="vjp hvp", vmap=(0, None, None, None), batched="vmap_vjp")
def rnn_dots(x, w, u, h):
    policy = jax.checkpoint_policies.dots_saveable
    return lax.scan(jax.checkpoint(rnn_step(w, u), policy=policy), h, x)


@case(*RNN, kinds="vjp jvp hvp rev_rev")
def checkpoint_of_scan(x, w, u, h):
    return jax.checkpoint(lambda x, h: lax.scan(rnn_step(w, u), h, x))(x, h)


@case(r(0, 3), *RNN[1:], kinds="vjp linearize rev_rev", vmap=(1, None, None, 0), name="rnn_no_steps")
@case(r(1, 3), *RNN[1:], kinds="vjp jvp hvp", vmap=(1, None, None, 0), name="rnn_one_step")
def rnn_squared(x, w, u, h):
    h, ys = lax.scan(rnn_step(w, u), h * h, x)
    return h * h, ys


# What a scan carries, takes and gives.


@case(r(5, 3), r(3), kinds="vjp jvp linearize fwd_fwd", vmap=(0, None))
def counted(x, c):
    """A counter and a flag stand beside the floats, and decide."""

    def step(carry, x):
        n, flag, c = carry
        c = jnp.where(flag, c * x, c + x * n.astype(jnp.float32))
        return (n + 2, n % 3 == 0, c), (c * c, n)

    (n, flag, c), (squares, counts) = lax.scan(step, (jnp.int32(1), jnp.bool_(False), c), x)
    return c, n, flag, squares, counts


@case(r(4, 2), r(2, dtype="bfloat16"), r(4, 2, dtype="float16"), kinds="vjp jvp", vmap=(1, None, 1))
def mixed_floats(x, c, z):
    """f32 xs, a bf16 carry, f16 ys."""

    def step(c, xz):
        x, z = xz
        c = c * jnp.bfloat16(0.5) + x.astype(jnp.bfloat16)
        return c, z * c.astype(jnp.float16)

    return lax.scan(step, c, (x, z))


@case(r(4, 2, dtype="float64"), r(4, 2), r(2), kinds="vjp jvp hvp", vmap=(0, None, 0))
def double_carry(x, z, c):
    """A part of the carry is f64, another one f32."""

    def step(carry, xz):
        (s, c), (x, z) = carry, xz
        return (jnp.sin(x) * s, jnp.sin(c) + z), (s, c)

    (s, c), (ss, cs) = lax.scan(step, (x[0] * 2.0, c), (x, z))
    return s, c, ss, cs


@case(i(6, mod=4), r(4, 3), r(3), kinds="vjp jvp hvp", vmap=(0, None, None))
def embedded(ids, table, h):
    """Integer xs choose rows of a table."""

    def step(h, k):
        h = jnp.tanh(h + table[k])
        return h, k + 1

    h, ids = lax.scan(step, h, ids)
    return h, ids


@case(r(4, 2), r(2), kinds="vjp jvp hvp", vmap=(1, None))
def constant_carry(x, k):
    """A part of the carry never changes."""

    def step(carry, x):
        c, k = carry
        return (c * k + x, k), c

    (c, k), ys = lax.scan(step, (jnp.ones(2), k), x)
    return c, k, ys


@case(r(4, 2), r(2), kinds=ALL, vmap=(1, 0))
def unreached(x, c):
    """No derivative reaches one part of the carry, and what another carries is not used."""

    def step(carry, x):
        c, held, lost = carry
        return (jnp.sin(c) * x, held + lax.stop_gradient(c), lost * c + x), held * x

    (c, held, _), ys = lax.scan(step, (c, jnp.zeros(2), jnp.ones(2)), x)
    return c, held, ys


@case(r(4, 2), r(2), kinds="vjp jvp hvp", vmap=(1, None))
def only_ys(x, c):
    return lax.scan(lambda c, x: (c * x, jnp.exp(c)), c, x)[1]


@case(r(4, 2), r(2), kinds="vjp jvp hvp", vmap=(None, 0))
def only_carry(x, c):
    return lax.scan(lambda c, x: (jnp.cos(c * x), c), c, x)[0]


@case(r(4, 2), r(2), kinds="vjp jvp linearize", vmap=(0, None))
def forwarded(x, c):
    """The ys are the xs, the carry before the step, and a constant."""
    c, (xs, before, same) = lax.scan(lambda c, x: (c * x, (x, c, jnp.ones(2))), c, x)
    return c, xs, before, same


@case(r(4, 2), kinds="vjp jvp hvp", vmap=(1,))
def no_carry(x):
    return lax.scan(lambda _, x: (None, jnp.sin(x) * x), None, x)[1]


@case(r(3), r(3), kinds="vjp jvp hvp", vmap=(None, 0))
def no_xs(c, w):
    return lax.scan(lambda c, _: (jnp.sin(c * w), c), c, None, length=4)


@case(r(6), r(3), kinds=ALL, vmap=(None, 0))
def delayed(x, abc):
    """A derivative needs three steps to reach all of the carry."""

    def step(carry, x):
        a, b, c = carry
        return (b, c, a * x), a * a

    (a, b, c), ys = lax.scan(step, tuple(abc), x)
    return a, b, c, ys


@case(r(5, 2), kinds="vjp jvp hvp", vmap=(1,))
def buffer(x):
    """Each step writes a row of what is carried, and reads the one before."""

    def step(carry, x):
        rows, n = carry
        row = jnp.tanh(x + rows[n])
        return (rows.at[n + 1].set(row), n + 1), row.sum()

    (rows, _), ys = lax.scan(step, (jnp.ones((6, 2)), jnp.int32(0)), x)
    return rows, ys


@case(r(5, 3, 3, scale=0.5), r(3, 3), kinds="vjp jvp linearize hvp", vmap=(1, None))
def matrices(a, m):
    return lax.scan(lambda m, a: (m @ a, jnp.trace(m)), m, a)


@case(r(6), r(6), r(), kinds=ALL + " hessian jacfwd jacrev", vmap=(0, 0, None), batched=BATCHED)
def linear_recurrence(x, a, h):
    return lax.scan(lambda h, ax: (ax[0] * h + ax[1],) * 2, h, (a, x))[1]


@case(lit([[4.0, 1.0], [0.0, 9.0], [2.0, 0.0]]), kinds="vjp jvp", vmap=(1,))
def guarded(x):
    """The square root is taken where it has a derivative."""

    def step(c, x):
        zero = x == 0
        return c + jnp.where(zero, 0.0, jnp.sqrt(jnp.where(zero, 1.0, x))), c

    return lax.scan(step, jnp.zeros(2), x)


# Loops in loops.


@case(r(3, 4), r(4), r(), kinds=ALL, vmap=(0, None, None), batched=BATCHED)
def nested(x, z, c):
    """The inner scan captures the carry and the x of the outer one, and what both capture."""

    def step(c, row):
        inner = lambda e, rz: (jnp.sin(e * rz[1] + c) * rz[0] + row[0] * z.sum(), e)
        return lax.scan(inner, c, (row, z))

    return lax.scan(step, c, x)


@case(r(2, 3, 2), r(), kinds="vjp jvp hvp", vmap=(3, None))
def three_deep(x, c):
    deepest = lambda c, x: (jnp.tanh(c + x), c * x)
    return lax.scan(lambda c, m: lax.scan(lambda c, row: lax.scan(deepest, c, row), c, m), c, x)


@case(r(3, 2), r(2), i(3, mod=4), kinds=FORWARD, vmap=(1, None, 0), batched="vmap vmap_jvp")
def while_in_scan(x, c, steps):
    def step(c, xn):
        x, n = xn
        c, _ = lax.while_loop(lambda s: s[1] < n, lambda s: (jnp.sin(s[0]) + x, s[1] + 1), (c, jnp.int32(0)))
        return c, c * x

    return lax.scan(step, c, (x, steps))


@case(r(3, 2), r(2), i(mod=3, shift=1), kinds=FORWARD, vmap=(None, 0, 0), batched="vmap vmap_jvp")
def scan_in_while(x, c, n):
    body = lambda s: (lax.scan(lambda c, x: (jnp.sin(c) * x, None), s[0], x)[0], s[1] - 1)
    return lax.while_loop(lambda s: s[1] > 0, body, (c, n))


@case(r(4, 2), r(2), kinds="vjp jvp hvp", vmap=(1, None))
def fori_in_scan(x, c):
    def step(c, x):
        c = lax.fori_loop(0, 3, lambda k, c: jnp.sin(c) * x + k.astype(jnp.float32), c)
        return c, c * x

    return lax.scan(step, c, x)


# Branches.


@case(r(8), r(2), r(), kinds=ALL, vmap=(0, None, None), batched=BATCHED)
def cond_in_scan(x, w, c):
    """The predicate depends on x, and the branches capture different weights."""

    def step(c, x):
        c = lax.cond(x > 0, lambda c: jnp.sin(c * w[0]) + x, lambda c: c * c * w[1] - x, c)
        return c, c * x

    return lax.scan(step, c, x)


@case(r(8), r(), kinds="vjp jvp hvp", vmap=(0, None))
def cond_of_carry(x, c):
    """The predicate depends on the carry."""
    step = lambda c, x: (lax.cond(c > 0.2, lambda c: c - x * x, lambda c: c * 0.5 + x + 0.5, c), c)
    return lax.scan(step, c, x)


@case(b(), r(4, 2), r(2), kinds=ALL, vmap=(0, 1, None), batched=BATCHED)
def cond_of_scans(p, x, c):
    """A scan in either branch, of different lengths and directions."""
    up = lambda c: lax.scan(lambda c, x: (jnp.sin(c + x), None), c, x)[0]
    down = lambda c: lax.scan(lambda c, x: (c * x, None), c, x[:3], reverse=True)[0]
    return lax.cond(p, up, down, c)


@case(b(), r(3), r(3), vmap=(0, None, 0), name="cond_operands_batched", kinds="vjp jvp")
@case(b(), r(3), r(3), vmap=(None, 0, None), name="cond_one_batched", kinds="hvp rev_rev")
def cond_operands(p, x, y):
    """One branch depends on x alone, the other one on nothing."""
    return lax.cond(p, lambda x, y: (jnp.sin(x), y, 1), lambda x, y: (jnp.ones(3), x * y, 2), x, y)


@case(r(), r(3), kinds="vjp jvp hvp jacfwd jacrev", vmap=(0, None))
def cond_nested(x, y):
    low = lambda y: lax.cond(x < -0.5, lambda y: y * x, lambda y: y * x * x, y)
    return lax.cond(x < 0, low, lambda y: jnp.cos(y) * x, y)


@case(i(mod=5, shift=-1), r(3), kinds="vjp jvp hvp", vmap=(0, None), batched=BATCHED)
def switched(index, x):
    return lax.switch(index, [jnp.sin, lambda x: x * x * x, lambda x: jnp.ones(3)], x)


@case(i(6, mod=3), r(6), r(2), kinds="vjp jvp hvp", vmap=(0, 0, None))
def switch_in_scan(which, x, c):
    branches = [lambda c, x: jnp.sin(c) * x, lambda c, x: c + x, lambda c, x: c * c]

    def step(c, kx):
        return lax.switch(kx[0], branches, c, kx[1]), c

    return lax.scan(step, c, (which, x))


# While and fori.


@case(r(3, shift=2.0), kinds=FORWARD, vmap=(0,), batched="vmap vmap_jvp vmap_vmap")
def newton(a):
    """Square roots: each step halves the error, until all are near."""
    far = lambda x: (jnp.abs(x * x - a) > 1e-2).any()
    return lax.while_loop(far, lambda x: 0.5 * (x + a / x), jnp.ones(3))


@case(r(), r(shift=4.0), vmap=(0, None), name="while_carry_batched", kinds="", batched="vmap vmap_jvp")
@case(r(), r(shift=4.0), vmap=(None, 0), name="while_limit_batched", kinds="", batched="vmap vmap_jvp")
@case(r(), r(shift=4.0), kinds=FORWARD, vmap=(0, 0), batched="vmap vmap_jvp")
def while_limit(x, limit):
    """The condition captures a limit, and the carry has a counter."""
    body = lambda s: (s[0] * 1.5 + 0.75, s[1] + 1)
    x, n = lax.while_loop(lambda s: s[0] < limit, body, (x * x, jnp.int32(0)))
    return x * x, n


@case(r(2), kinds="jvp linearize", vmap=(0,), batched="vmap vmap_jvp")
def while_never(x):
    return lax.while_loop(lambda x: x.sum() > 100, lambda x: x * x, x)


@case(r(3), r(4, 3), kinds=ALL, vmap=(None, 1), batched=BATCHED)
def fori_rows(c, x):
    """The counter chooses a row."""
    return lax.fori_loop(0, 4, lambda k, c: jnp.sin(c) * x[k] + c, c)


@case(i(mod=3), i(mod=4, shift=3), r(3), kinds="jvp fwd_fwd", vmap=(None, 0, None), batched="vmap vmap_jvp")
def fori_dynamic(low, high, c):
    return lax.fori_loop(low, high, lambda k, c: jnp.sin(c) + k.astype(jnp.float32), c)


@case(r(3), kinds="vjp hvp", vmap=(0,))
def fori_empty(c):
    return lax.fori_loop(3, 3, lambda k, c: c * c, c * c)


# map and associative_scan.


@case(r(4, 3), r(3), kinds=ALL, vmap=(1, None), batched=BATCHED)
def mapped(x, w):
    return lax.map(lambda x: (jnp.sin(x * w).sum(), x / (2.0 + x)), x)


@case(r(7, 2), kinds="vjp jvp hvp", vmap=(1,))
def associative_product(x):
    return lax.associative_scan(jnp.multiply, x)


@case(r(5, 2, 2), kinds="vjp jvp", vmap=(3,))
def associative_matmul(x):
    return lax.associative_scan(jnp.matmul, x, reverse=True)


@case(r(6, 2), r(6, 2), kinds="vjp jvp fwd_fwd", vmap=(2, 0))
def associative_pair(a, x):
    return lax.associative_scan(lambda p, q: (p[0] * q[0], q[0] * p[1] + q[1]), (a, x))


# Transformations and rules in a body.


@case(r(4, 2), r(2), kinds="vjp jvp fwd_fwd", vmap=(0, None))
def stopped(x, c):
    return lax.scan(lambda c, x: (jnp.sin(c) * lax.stop_gradient(c) + x, c * lax.stop_gradient(x)), c, x)


@jax.custom_vjp
def ten_times(x):
    """The sine, whose slope is given as ten times too much, to be told apart."""
    return jnp.sin(x)


ten_times.defvjp(lambda x: (jnp.sin(x), jnp.cos(x)), lambda slope, ct: (10.0 * slope * ct,))


@jax.custom_jvp
def three_times(x):
    return jnp.sin(x)


three_times.defjvp(lambda x, t: (jnp.sin(x[0]), 3.0 * jnp.cos(x[0]) * t[0]))


@case(r(4, 2), r(2), kinds="vjp rev_rev", vmap=(0, None), batched="vmap vmap_vjp vjp_of_vmap")
def custom_vjp_in_scan(x, c):
    return lax.scan(lambda c, x: (ten_times(c + x), ten_times(x * c)), c, x)


@case(r(4, 2), r(2), kinds="vjp jvp hvp", vmap=(0, None))
def custom_jvp_in_scan(x, c):
    return lax.scan(lambda c, x: (three_times(c + x), three_times(x * c)), c, x)


@case(r(5, 3), r(3), kinds="vjp jvp hvp", vmap=(1, None), batched=BATCHED)
def descent(x, w):
    """Each step takes the gradient of a loss."""

    def step(w, x):
        loss = lambda w: jnp.tanh(w @ x) ** 2
        return w - 0.5 * jax.grad(loss)(w), loss(w)

    return lax.scan(step, w, x)


@case(r(3, 2), r(2), kinds="vjp jvp", vmap=(0, None))
def jvp_in_scan(x, c):
    step = lambda c, x: (c + jax.jvp(jnp.sin, (c * x,), (x,))[1], c)
    return lax.scan(step, c, x)


@case(r(3, 4, 2), r(2), kinds="vjp jvp hvp", vmap=(2, None))
def vmap_in_scan(x, c):
    step = lambda c, x: (jax.vmap(lambda row: jnp.sin(row * c))(x).sum(0), c)
    return lax.scan(step, c, x)


@case(r(3, 2), r(2), kinds="vjp jvp", vmap=(0, None))
def jit_in_scan(x, c):
    """The jitted function captures what is traced outside of it."""

    def step(c, x):
        inner = jax.jit(lambda c: jnp.sin(c * x) + x)
        return inner(c), inner(inner(c))

    return lax.scan(step, c, x)


@case(r(4, 3), r(3, shift=2.0), kinds="vjp jvp", vmap=(1, None))
def gradient_of_scan_in_scan(x, w):
    """A step is a gradient through a scan."""

    def step(w, row):
        loss = lambda w: lax.scan(lambda c, z: (jnp.sin(c * w), c), row, jnp.arange(2.0))[0].sum()
        return jax.grad(loss)(w) + row, w

    return lax.scan(step, w, x)


# Random numbers.


@case(key(), r(4, 3), r(3), kinds="vjp jvp hvp", vmap=(0, 1, None), batched="vmap vmap_vjp vmap_vmap")
def noise(key, x, c):
    """The carry has a key, of which each step takes a part."""

    def step(carry, x):
        key, c = carry
        key, own = jax.random.split(key)
        keep = jax.random.bernoulli(own, 0.5, (3,))
        c = jnp.where(keep, jnp.sin(c) * 2.0, c * x)
        return (key, c), c * jax.random.uniform(own, (3,))

    (_, c), ys = lax.scan(step, (jax.random.wrap_key_data(key), c), x)
    return c, ys


if __name__ == "__main__":
    derived.save("loop_derivatives", __file__)
