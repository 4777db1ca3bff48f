"""Recurrent cells and Linear: parameters in full, draw order, final carries and stacked outputs.

A case `<cell>/<k>` holds parameters under Flax's own paths (`params/dense_i.kernel`, ...); its `draws`
list the parameters in the order in which they draw keys from `Rngs(seed)`, with their initialisers.
This script redraws every parameter from that list, so the list is checked and not only told.

A case `<cell>/<k>/run/<j>` scans that cell over x = ramp((T, *batch, D), salt). The first carry is
zeros, or ramps with the salts in `carry_salts`, one for each part. `final.*` is the last carry, `ys`
the stacked outputs.
"""

import itertools

import common
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

SEEDS = [0, 42, 123456789]
SIZES = [(3, 5), (8, 16)]
LENGTHS = [1, 10, 300]
BATCHES = [(), (1,), (3,)]

LECUN, ORTHOGONAL, ZEROS = "lecun_normal", "orthogonal", "zeros"

# Name -> (class, parts of the carry, parameters in draw order with their initialisers).
CELLS = {
    "gru": (nnx.GRUCell, ["h"], [
        ("dense_i.kernel", LECUN), ("dense_i.bias", ZEROS), ("dense_h.kernel", ORTHOGONAL)]),
    "lstm": (nnx.LSTMCell, ["c", "h"], [
        ("ii.kernel", LECUN), ("if_.kernel", LECUN), ("ig.kernel", LECUN), ("io.kernel", LECUN),
        ("hi.kernel", ORTHOGONAL), ("hi.bias", ZEROS), ("hf.kernel", ORTHOGONAL), ("hf.bias", ZEROS),
        ("hg.kernel", ORTHOGONAL), ("hg.bias", ZEROS), ("ho.kernel", ORTHOGONAL), ("ho.bias", ZEROS)]),
    "optimized_lstm": (nnx.OptimizedLSTMCell, ["c", "h"], [
        ("dense_i.kernel", LECUN), ("dense_h.kernel", ORTHOGONAL), ("dense_h.bias", ZEROS)]),
    "simple": (nnx.SimpleCell, ["h"], [
        ("dense_h.kernel", ORTHOGONAL), ("dense_i.kernel", LECUN), ("dense_i.bias", ZEROS)]),
}

INITIALIZERS = {
    LECUN: jax.nn.initializers.lecun_normal(),
    ORTHOGONAL: jax.nn.initializers.orthogonal(),
    ZEROS: jax.nn.initializers.zeros,
    "normal(1)": jax.nn.initializers.normal(1.0),
}


def parameters(module):
    """Path -> value for every parameter of a module."""
    return {".".join(path): value.get_value() for path, value in nnx.to_flat_state(nnx.state(module))}


def check_draws(params, draws, seed):
    """Redraws the parameters in the order of `draws` and compares."""
    rngs = nnx.Rngs(seed)
    assert sorted(params) == sorted(path for path, _ in draws)
    for path, initializer in draws:
        again = INITIALIZERS[initializer](rngs.params(), params[path].shape)
        assert np.array_equal(again, params[path]), path


def add_params(golden, name, module, draws, seed, **sizes):
    params = parameters(module)
    check_draws(params, draws, seed)
    golden.case(name, {f"params/{path}": value for path, value in params.items()}, kind="params", seed=seed,
                draws=[{"path": p, "shape": params[p].shape, "initializer": i} for p, i in draws], **sizes)


def add_run(golden, name, of, cell, parts, d, h, length, batch, salt, carry_salts):
    shape = (*batch, h)
    carry = [jnp.asarray(common.ramp(shape, salt=s)) for s in carry_salts] or [jnp.zeros(shape) for _ in parts]
    x = jnp.asarray(common.ramp((length, *batch, d), salt=salt))
    init = tuple(carry) if len(parts) > 1 else carry[0]
    final, ys = jax.lax.scan(lambda c, x_t: cell(c, x_t), init, x)
    finals = final if len(parts) > 1 else (final,)
    golden.case(name, {**{f"final.{p}": f for p, f in zip(parts, finals)}, "ys": ys}, kind="run", params=of, t=length,
                batch=batch, salt=salt, carry=parts, carry_salts=carry_salts)


def add_cells(golden):
    for cell_name, (cls, parts, draws) in CELLS.items():
        for k, ((d, h), seed) in enumerate(itertools.product(SIZES, SEEDS)):
            name = f"{cell_name}/{k}"
            cell = cls(d, h, rngs=nnx.Rngs(seed))
            add_params(golden, name, cell, draws, seed, cell=cell_name, d=d, h=h)
            for j, (batch, length) in enumerate(itertools.product(BATCHES, LENGTHS)):
                # From a carry that is not zero, for a mix-up of c and h to show.
                carry_salts = [1000 + j, 2000 + j][: len(parts)] if length == 10 else []
                add_run(golden, f"{name}/run/{j}", name, cell, parts, d, h, length, batch, j, carry_salts)


def add_linears(golden):
    """y = x W + b over the last axis of x."""
    kinds = [("zeros", True), ("normal(1)", True), ("none", False)]
    for k, ((d, h), (bias, use_bias), seed) in enumerate(itertools.product(SIZES, kinds, SEEDS[:2])):
        name = f"linear/{k}"
        layer = nnx.Linear(d, h, use_bias=use_bias, bias_init=INITIALIZERS.get(bias, INITIALIZERS[ZEROS]),
                           rngs=nnx.Rngs(seed))
        draws = [("kernel", LECUN)] + ([("bias", bias)] if use_bias else [])
        add_params(golden, name, layer, draws, seed, cell="linear", d=d, h=h, use_bias=use_bias)
        for j, batch in enumerate([(), (3,), (2, 3)]):
            x = jnp.asarray(common.ramp((*batch, d), salt=j))
            golden.case(f"{name}/run/{j}", {"y": layer(x)}, kind="run", params=name, batch=batch, salt=j)


def main():
    golden = common.Golden("cells", __file__)
    add_cells(golden)
    add_linears(golden)
    golden.save()


if __name__ == "__main__":
    main()
