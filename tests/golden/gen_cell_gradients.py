"""Gradients through every recurrent cell, with respect to each parameter, the sequence and the first carry.

The cell has D = 4 features and H = 8 hidden ones. Its parameters are ramps, not draws, so that no bias is zero; the
loss is mean(w_t * y_t over all t) + sum(v_k * carry_k): each output and each part of the last carry has
a weight of its own. `grad/<path>` is the gradient by a parameter, `grad/x` and `grad/carry.<part>` the others.

`exact` of a case are the norms of the differences to the same gradients in 64-bit arithmetic, relative to their norms:
how far the reference itself is off.
"""

import common
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

D, H = 4, 8
LENGTHS = [1, 10, 1000]
BATCHES = [(), (3,)]
# Name -> (class, parts of the carry).
CELLS = {
    "gru": (nnx.GRUCell, ["h"]),
    "lstm": (nnx.LSTMCell, ["c", "h"]),
    "optimized_lstm": (nnx.OptimizedLSTMCell, ["c", "h"]),
    "simple": (nnx.SimpleCell, ["h"]),
}


def gradients(graph, params, x, carry, w, v):
    """The loss, and its gradients by the parameters, the sequence and the first carry."""

    def loss(params, x, carry):
        cell = nnx.merge(graph, params)
        last, ys = jax.lax.scan(lambda c, x_t: cell(c, x_t), carry if len(carry) > 1 else carry[0], x)
        last = last if len(carry) > 1 else (last,)
        return (w * ys).mean() + sum((v_k * c_k).sum() for v_k, c_k in zip(v, last))

    return jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2)))(params, x, carry)


def flat(gradients, parts):
    params, x, carry = gradients
    named = {".".join(path): value.get_value() for path, value in nnx.to_flat_state(params)}
    return {**named, "x": x, **{f"carry.{part}": c for part, c in zip(parts, carry)}}


def add(golden, name, cls, parts, batch, length):
    graph, params = nnx.split(cls(D, H, rngs=nnx.Rngs(0)))
    paths = [".".join(path) for path, _ in nnx.to_flat_state(params)]
    salt = iter(range(1, 100))
    ramp = lambda shape, scale=1.0: jnp.asarray(common.ramp(shape, next(salt), scale))
    params = jax.tree.map(lambda leaf: ramp(leaf.shape, 0.5), params)
    x = ramp((length, *batch, D))
    carry = tuple(ramp((*batch, H)) for _ in parts)
    w, v = ramp((length, *batch, H)), tuple(ramp((*batch, H)) for _ in parts)
    value, found = gradients(graph, params, x, carry, w, v)
    found = flat(found, parts)
    with jax.enable_x64(True):
        double = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf, np.float64)), (params, x, carry, w, v))
        graph64, _ = nnx.split(cls(D, H, dtype=jnp.float64, param_dtype=jnp.float64, rngs=nnx.Rngs(0)))
        exact = flat(gradients(graph64, *double)[1], parts)
    off = lambda a, b: float(np.linalg.norm(np.asarray(a) - np.asarray(b)) / np.linalg.norm(np.asarray(b)))
    golden.case(name, {"loss": value, **{f"grad/{path}": g for path, g in found.items()}}, cell=name.split("/")[0],
                params=paths, carry=parts, batch=batch, t=length, exact={p: off(found[p], exact[p]) for p in found})


def main():
    golden = common.Golden("cell_gradients", __file__)
    for cell, (cls, parts) in CELLS.items():
        for batch in BATCHES:
            for length in LENGTHS:
                add(golden, f"{cell}/{'batch' if batch else 'one'}/{length}", cls, parts, batch, length)
    golden.save()


if __name__ == "__main__":
    main()
