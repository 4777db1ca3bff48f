"""Values of control flow: scan, while_loop, fori_loop, cond, switch, map, associative_scan.

Each function below is a case; its docstring is its formula, which the file carries too. `r(shape, salt)`
is the ramp. In a formula, c is the carry before a step and c' after it; t counts from 0; y is what the
step puts out; @ is the matrix product. The returned dictionary names the outputs.
"""

import inspect

import common
import jax
import jax.numpy as jnp
from jax import lax

CASES = []


def case(function):
    CASES.append(function)
    return function


def r(shape, salt, **how):
    return jnp.asarray(common.ramp(shape, salt, **how))


def decay(c, x):
    """The step most scans here use."""
    c = 0.5 * c + x
    return c, 2.0 * c


# scan


@case
def scan_sum():
    """x = r(10, 1); c0 = 0; c' = c + x_t; y = c'"""
    c, ys = lax.scan(lambda c, x: (c + x, c + x), 0.0, r((10,), 1))
    return {"carry": c, "ys": ys}


@case
def scan_decay():
    """x = r([10, 3], 1); c0 = r(3, 2); c' = 0.5 c + x_t; y = 2 c'"""
    c, ys = lax.scan(decay, r((3,), 2), r((10, 3), 1))
    return {"carry": c, "ys": ys}


@case
def scan_decay_reverse():
    """as scan_decay, with reverse=True: t runs from 9 to 0, y of step t lies at row t"""
    c, ys = lax.scan(decay, r((3,), 2), r((10, 3), 1), reverse=True)
    return {"carry": c, "ys": ys}


@case
def scan_decay_unroll():
    """as scan_decay, with unroll=3, which does not divide the length"""
    c, ys = lax.scan(decay, r((3,), 2), r((10, 3), 1), unroll=3)
    return {"carry": c, "ys": ys}


@case
def scan_decay_reverse_unroll():
    """as scan_decay, with reverse=True and unroll=3"""
    c, ys = lax.scan(decay, r((3,), 2), r((10, 3), 1), reverse=True, unroll=3)
    return {"carry": c, "ys": ys}


@case
def scan_decay_unroll_all():
    """as scan_decay, with unroll=True"""
    c, ys = lax.scan(decay, r((3,), 2), r((10, 3), 1), unroll=True)
    return {"carry": c, "ys": ys}


@case
def scan_decay_one():
    """as scan_decay, x = r([1, 3], 1)"""
    c, ys = lax.scan(decay, r((3,), 2), r((1, 3), 1))
    return {"carry": c, "ys": ys}


@case
def scan_decay_zero():
    """as scan_decay, x of shape [0, 3]: the first carry, and ys of shape [0, 3]"""
    c, ys = lax.scan(decay, r((3,), 2), r((0, 3), 1))
    return {"carry": c, "ys": ys}


@case
def scan_decay_long():
    """as scan_decay, x = r([1000, 3], 1)"""
    c, ys = lax.scan(decay, r((3,), 2), r((1000, 3), 1))
    return {"carry": c, "last": ys[-1]}


@case
def scan_length():
    """no xs, length = 8; (a, b) = (0, 1) in int32; (a, b)' = (b, a + b); y = a"""
    (a, b), ys = lax.scan(lambda c, _: ((c[1], c[0] + c[1]), c[0]), (jnp.int32(0), jnp.int32(1)), None, length=8)
    return {"a": a, "b": b, "ys": ys}


@case
def scan_no_ys():
    """x = r(10, 1); c0 = 1; c' = c (1 + x_t); no ys"""
    c, _ = lax.scan(lambda c, x: (c * (1.0 + x), None), 1.0, r((10,), 1))
    return {"carry": c}


@case
def scan_no_carry():
    """x = r([4, 3], 1); no carry; y = x_t²"""
    _, ys = lax.scan(lambda c, x: (None, x * x), None, r((4, 3), 1))
    return {"ys": ys}


@case
def scan_tree():
    """p = r([6, 2], 1), q = r(6, 2); a0 = r(2, 3), n0 = 0 in int32; a' = 0.5 a + p_t q_t; n' = n + 1; y = (a', sum(a) - q_t, n)"""
    def step(c, x):
        a = 0.5 * c["a"] + x["p"] * x["q"]
        return {"a": a, "n": c["n"] + 1}, (a, {"d": c["a"].sum() - x["q"], "n": c["n"]})

    init = {"a": r((2,), 3), "n": jnp.int32(0)}
    c, (a, rest) = lax.scan(step, init, {"p": r((6, 2), 1), "q": r((6,), 2)})
    return {"carry.a": c["a"], "carry.n": c["n"], "ys.a": a, "ys.d": rest["d"], "ys.n": rest["n"]}


@case
def scan_rnn():
    """x = r([20, 3], 1), W = r([3, 4], 2), U = r([4, 4], 3) / 2; h0 = 0; h' = tanh(x_t @ W + h @ U); y = h'"""
    w, u = r((3, 4), 2), r((4, 4), 3, scale=0.5)

    def step(h, x):
        h = jnp.tanh(x @ w + h @ u)
        return h, h

    h, ys = lax.scan(step, jnp.zeros(4), r((20, 3), 1))
    return {"carry": h, "ys": ys}


@case
def scan_matrices():
    """A = r([7, 3, 3], 1); M0 = identity; M' = M @ A_t; y = trace(M')"""
    def step(m, a):
        m = m @ a
        return m, jnp.trace(m)

    m, ys = lax.scan(step, jnp.eye(3), r((7, 3, 3), 1))
    return {"carry": m, "ys": ys}


@case
def scan_types():
    """no xs, length = 9; u0 = 1 in uint32, odd0 = false; u' = 1664525 u + 1013904223 (wrapping); odd' = odd xor (u bit 16); y = odd'"""
    def step(c, _):
        u, odd = c
        odd = odd ^ ((u >> 16) & 1).astype(bool)
        return (u * jnp.uint32(1664525) + jnp.uint32(1013904223), odd), odd

    (u, odd), ys = lax.scan(step, (jnp.uint32(1), jnp.bool_(False)), None, length=9)
    return {"u": u, "odd": odd, "ys": ys}


@case
def scan_buffer():
    """x = r(6, 1); buffer0 = zeros(8), i0 = 1; buffer' = buffer with x_t at i, then i' = i + 1; y = sum(buffer')"""
    def step(c, x):
        buffer, i = c
        buffer = lax.dynamic_update_slice(buffer, x[None], (i,))
        return (buffer, i + 1), buffer.sum()

    (buffer, i), ys = lax.scan(step, (jnp.zeros(8), 1), r((6,), 1))
    return {"buffer": buffer, "i": i, "ys": ys}


@case
def scan_nan():
    """x = r(6, 1) with x_3 = NaN; c0 = 0; c' = 0.5 c + x_t; y = 2 c'"""
    c, ys = lax.scan(decay, 0.0, r((6,), 1).at[3].set(jnp.nan))
    return {"carry": c, "ys": ys}


@case
def scan_cond():
    """x = r(12, 1); c0 = 1; c' = c + x_t where x_t > 0, else c / 2; y = c"""
    def step(c, x):
        return lax.cond(x > 0, lambda c: c + x, lambda c: 0.5 * c, c), c

    c, ys = lax.scan(step, 1.0, r((12,), 1))
    return {"carry": c, "ys": ys}


@case
def scan_nested():
    """x = r([4, 5], 1); c0 = 0; row by row, column by column: c' = 0.5 c + x[t, s]; y[t, s] = 2 c'"""
    c, ys = lax.scan(lambda c, row: lax.scan(decay, c, row), 0.0, r((4, 5), 1))
    return {"carry": c, "ys": ys}


@case
def scan_nested_capture():
    """x = r(4, 1), z = r(5, 2); c0 = 1; e = c, then for each z_s: e' = e x_t + z_s c; c' = e after the last; y = c'"""
    z = r((5,), 2)

    def step(c, x):
        e, _ = lax.scan(lambda e, z: (e * x + z * c, None), c, z)
        return e, e

    c, ys = lax.scan(step, 1.0, r((4,), 1))
    return {"carry": c, "ys": ys}


@case
def scan_in_while():
    """x = r(5, 1); c = 1, n = 0; while n < 4: c = carry of (c' = 0.5 c + x_t) over x; n = n + 1"""
    def body(s):
        return lax.scan(decay, s[0], r((5,), 1))[0], s[1] + 1

    c, n = lax.while_loop(lambda s: s[1] < 4, body, (1.0, 0))
    return {"c": c, "n": n}


@case
def while_in_scan():
    """x = 1, 2, ..., 10 in int32; y = number of Collatz steps from x_t to 1 (even: halve, odd: 3 n + 1); c = sum of the y"""
    def step(c, x):
        def body(s):
            n, k = s
            return jnp.where(n % 2 == 0, n // 2, 3 * n + 1), k + 1

        _, k = lax.while_loop(lambda s: s[0] != 1, body, (x, jnp.int32(0)))
        return c + k, k

    c, ys = lax.scan(step, jnp.int32(0), jnp.arange(1, 11, dtype=jnp.int32))
    return {"carry": c, "ys": ys}


# fori_loop and while_loop


@case
def fori_sum():
    """s0 = 0 in int32; for i in 0..10: s = s + i²"""
    return {"s": lax.fori_loop(0, 10, lambda i, s: s + i * i, jnp.int32(0))}


@case
def fori_negative():
    """c0 = 1; for i in -5..5: c = 0.5 c + i"""
    return {"c": lax.fori_loop(-5, 5, lambda i, c: 0.5 * c + i, 1.0)}


@case
def fori_empty():
    """c0 = r(3, 1); for i in 5..2: never run"""
    return {"c": lax.fori_loop(5, 2, lambda i, c: c + 1.0, r((3,), 1))}


@case
def fori_dynamic():
    """as fori_negative, for i in lo..hi, where lo = 3 and hi = 17 are arguments of the jitted function"""
    run = jax.jit(lambda lo, hi: lax.fori_loop(lo, hi, lambda i, c: 0.5 * c + i, 1.0))
    return {"c": run(3, 17)}


@case
def fori_array():
    """x = r([4, 3], 1); for i in 0..4: row i of x = row i + row (i + 1) mod 4 of the x so far"""
    def body(i, x):
        return x.at[i].set(x[i] + x[(i + 1) % 4])

    return {"x": lax.fori_loop(0, 4, body, r((4, 3), 1))}


@case
def while_halve():
    """x = 1000, n = 0; while x > 1: x = x / 2, n = n + 1"""
    x, n = lax.while_loop(lambda s: s[0] > 1.0, lambda s: (s[0] / 2.0, s[1] + 1), (1000.0, 0))
    return {"x": x, "n": n}


@case
def while_never():
    """x = r(3, 1); while sum(x) > 100: x = 2 x; never run"""
    return {"x": lax.while_loop(lambda x: x.sum() > 100.0, lambda x: 2.0 * x, r((3,), 1))}


@case
def while_gcd():
    """(a, b) = (1071, 462) in int32; while b != 0: (a, b) = (b, a mod b)"""
    a, b = lax.while_loop(lambda s: s[1] != 0, lambda s: (s[1], s[0] % s[1]), (jnp.int32(1071), jnp.int32(462)))
    return {"a": a, "b": b}


# cond, switch, map


@case
def cond_both():
    """x = r(4, 1); true: (x + 1, sum x); false: (2 x, -sum x); outputs of both predicates"""
    def run(p):
        return lax.cond(p, lambda x: (x + 1.0, x.sum()), lambda x: (2.0 * x, -x.sum()), r((4,), 1))

    (a, s), (b, q) = jax.jit(run)(True), jax.jit(run)(False)
    return {"true.x": a, "true.s": s, "false.x": b, "false.s": q}


@case
def cond_nested():
    """x in (-2, -0.5, 0.5, 2): x < 0 ? (x < -1 ? -1 : x³) : (x > 1 ? 1 : x²)"""
    def run(x):
        low = lambda x: lax.cond(x < -1, lambda x: jnp.float32(-1), lambda x: x**3, x)
        high = lambda x: lax.cond(x > 1, lambda x: jnp.float32(1), lambda x: x**2, x)
        return lax.cond(x < 0, low, high, x)

    return {"out": jnp.stack([jax.jit(run)(jnp.float32(x)) for x in (-2.0, -0.5, 0.5, 2.0)])}


@case
def switch_clamp():
    """x = r(3, 1); branches 0: x + 1, 1: 2 x, 2: x²; row k of out is for index (-5, 0, 1, 2, 7)[k], which is clamped to 0..2"""
    branches = [lambda x: x + 1.0, lambda x: 2.0 * x, lambda x: x * x]
    run = jax.jit(lambda i: lax.switch(i, branches, r((3,), 1)))
    return {"out": jnp.stack([run(i) for i in (-5, 0, 1, 2, 7)])}


@case
def map_rows():
    """x = r([5, 3], 1); out_t = (sum(x_t²), x_t - max(x_t))"""
    a, b = lax.map(lambda x: ((x * x).sum(), x - x.max()), r((5, 3), 1))
    return {"a": a, "b": b}


@case
def map_batches():
    """x = r([10, 3], 1), batch_size = 4; out_t = sum(x_t²)"""
    return {"out": lax.map(lambda x: (x * x).sum(), r((10, 3), 1), batch_size=4)}


# associative_scan


@case
def associative_add():
    """x = r([7, 3], 1); out_t = x_0 + ... + x_t"""
    return {"out": lax.associative_scan(jnp.add, r((7, 3), 1))}


@case
def associative_add_one():
    """x = r([1, 3], 1); out = x"""
    return {"out": lax.associative_scan(jnp.add, r((1, 3), 1))}


@case
def associative_mul():
    """x = r(16, 1) + 1.5; out_t = x_0 ... x_t"""
    return {"out": lax.associative_scan(jnp.multiply, r((16,), 1, shift=1.5))}


@case
def associative_max():
    """x = r(33, 1); out_t = max(x_0, ..., x_t)"""
    return {"out": lax.associative_scan(jnp.maximum, r((33,), 1))}


@case
def associative_axis():
    """x = r([3, 10], 1), axis = 1; out[i, t] = x[i, 0] + ... + x[i, t]"""
    return {"out": lax.associative_scan(jnp.add, r((3, 10), 1), axis=1)}


@case
def associative_reverse():
    """x = r([9, 2], 1), reverse; out_t = x_t + ... + x_8"""
    return {"out": lax.associative_scan(jnp.add, r((9, 2), 1), reverse=True)}


@case
def associative_matmul():
    """A = r([6, 3, 3], 1); out_t = A_0 @ A_1 @ ... @ A_t"""
    return {"out": lax.associative_scan(jnp.matmul, r((6, 3, 3), 1))}


def linear(left, right):
    (a, b), (c, d) = left, right
    return a * c, b * c + d


@case
def associative_linear():
    """a = r([12, 2], 1), b = r([12, 2], 2); (a1, b1)·(a2, b2) = (a1 a2, b1 a2 + b2); so b_t of the result is h' = a_t h + b_t, h0 = 0"""
    a, b = lax.associative_scan(linear, (r((12, 2), 1), r((12, 2), 2)))
    return {"a": a, "b": b}


@case
def associative_linear_reverse():
    """as associative_linear, reversed: the result at t combines steps 11, 10, ..., t in that order, so h' = a_t h + b_t from the end"""
    a, b = lax.associative_scan(linear, (r((12, 2), 1), r((12, 2), 2)), reverse=True)
    return {"a": a, "b": b}


# Under transformations


def rnn_loss(w, u, h, x):
    def step(h, x):
        h = jnp.tanh(x @ w + h @ u)
        return h, h

    h, ys = lax.scan(step, h, x)
    return (h * h).sum() + ys[:, 0].sum()


@case
def grad_scan():
    """scan_rnn with h0 = r(4, 4); loss = sum(h_20²) + sum of the first column of ys; loss and its gradients in W, U, h0, x"""
    arguments = r((3, 4), 2), r((4, 4), 3, scale=0.5), r((4,), 4), r((20, 3), 1)
    loss, grads = jax.value_and_grad(rnn_loss, argnums=(0, 1, 2, 3))(*arguments)
    return {"loss": loss, **{f"grad.{name}": g for name, g in zip(("w", "u", "h0", "x"), grads)}}


@case
def jvp_scan():
    """the loss of grad_scan, its derivative along W + s r([3, 4], 5), x + s r([20, 3], 6) at s = 0"""
    w, u, h, x = r((3, 4), 2), r((4, 4), 3, scale=0.5), r((4,), 4), r((20, 3), 1)
    _, tangent = jax.jvp(lambda w, x: rnn_loss(w, u, h, x), (w, x), (r((3, 4), 5), r((20, 3), 6)))
    return {"tangent": tangent}


@case
def vmap_scan():
    """scan_decay for each of 4 sequences, x = r([4, 10, 3], 1), each from c0 = r(3, 2)"""
    c, ys = jax.vmap(lambda x: lax.scan(decay, r((3,), 2), x))(r((4, 10, 3), 1))
    return {"carry": c, "ys": ys}


@case
def vmap_while():
    """while_halve for x in (1000, 0.5, 8, 3): each row stops on its own"""
    def run(x):
        return lax.while_loop(lambda s: s[0] > 1.0, lambda s: (s[0] / 2.0, s[1] + 1), (x, 0))

    x, n = jax.vmap(run)(jnp.asarray([1000.0, 0.5, 8.0, 3.0]))
    return {"x": x, "n": n}


def main():
    golden = common.Golden("loops", __file__)
    for function in CASES:
        golden.case(function.__name__, function(), formula=inspect.getdoc(function))
    golden.save()


if __name__ == "__main__":
    main()
