"""Writes what JAX makes of `lax.scan` over the cells of Flax, with what it computes.

    python write_hlo.py DIR

For each case: the HLO as NAME.hlo.txt and NAME.hlo.pb, the arguments as NAME.argument.0.npy ...,
the results as NAME.result.0.npy ..., each in the order of the program.
"""

import itertools
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

CELLS = {
    "gru": nnx.GRUCell,
    "lstm": nnx.LSTMCell,
    "optimized-lstm": nnx.OptimizedLSTMCell,
    "simple": nnx.SimpleCell,
}
FEATURES, HIDDEN, STEPS = 5, 8, 12


def write(directory, name, function, *arguments):
    lowered = jax.jit(function).lower(*arguments)
    (directory / f"{name}.hlo.txt").write_text(lowered.as_text("hlo"))
    proto = lowered.compiler_ir("hlo").as_serialized_hlo_module_proto()
    (directory / f"{name}.hlo.pb").write_bytes(proto)
    results = lowered.compile()(*arguments)
    for kind, tree in (("argument", arguments), ("result", results)):
        for i, leaf in enumerate(jax.tree.leaves(tree)):
            np.save(directory / f"{name}.{kind}.{i}.npy", np.asarray(leaf))


def main(directory):
    random = np.random.default_rng(0)
    for (name, cell), batch, reverse in itertools.product(CELLS.items(), [(), (3,)], [False, True]):
        x = random.standard_normal((STEPS, *batch, FEATURES), dtype=np.float32)
        graph, parameters = nnx.split(cell(FEATURES, HIDDEN, rngs=nnx.Rngs(42)))
        shape = (*batch, HIDDEN)
        init = (jnp.zeros(shape), jnp.zeros(shape)) if "lstm" in name else jnp.zeros(shape)

        def scan(parameters, x):
            # A module that is built inside of the function belongs to its trace.
            step = nnx.merge(graph, parameters)
            return jax.lax.scan(lambda carry, x: step(carry, x), init, x, reverse=reverse)

        name += ("-batch" if batch else "") + ("-reverse" if reverse else "")
        write(directory, f"{name}-captured", lambda x: scan(parameters, x), x)
        write(directory, f"{name}-passed", scan, parameters, x)
    print(f"jax {jax.__version__} wrote the HLO of {len(list(directory.glob('*.hlo.pb')))} programs")


main(Path(sys.argv[1]))
