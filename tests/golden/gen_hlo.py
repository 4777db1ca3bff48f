"""HLO as JAX writes it, in `hlo/`, and what JAX computes with it.

Of each case `hlo/<case>.txt` is the HLO text and `hlo/<case>.pb` the HloModuleProto, both before any
pass of XLA. `hlo/gru.dump.pb` and `hlo/gru.optimized.pb` are what `--xla_dump_to` writes of the case
`gru` before and after XLA's passes: a HloProto, with buffers assigned.

Arrays of a case:
    out0, out1, ...    the results of `main`, in its order
"""

import os
import pathlib
import subprocess
import sys
import tempfile

import common
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax

HERE = pathlib.Path(__file__).resolve().parent / "hlo"

# Where a file lies on the machine that made the data says nothing.
jax.config.update("jax_hlo_source_file_canonicalization_regex", ".*/")

T, D, H = 7, 3, 5


def make(spec):
    """The input that a case lists as [shape, dtype, salt]."""
    shape, dtype, salt = spec
    if dtype == "bool":
        return common.ramp_bool(shape, salt)
    if dtype.startswith(("int", "uint")):
        return common.ramp_int(shape, salt, mod=101, dtype=dtype)
    return common.ramp(shape, salt, dtype=dtype)


def gru(x, h, kernel_i, bias_i, kernel_h):
    cell = nnx.eval_shape(lambda: nnx.GRUCell(D, H, rngs=nnx.Rngs(0)))
    graph, state = nnx.split(cell)
    state["dense_i"]["kernel"].set_value(kernel_i)
    state["dense_i"]["bias"].set_value(bias_i)
    state["dense_h"]["kernel"].set_value(kernel_h)
    cell = nnx.merge(graph, state)
    return lax.scan(lambda carry, x_t: cell(carry, x_t), h, x)


CELL = nnx.GRUCell(D, H, rngs=nnx.Rngs(42))


def gru_constants(x):
    return lax.scan(lambda carry, x_t: CELL(carry, x_t), jnp.zeros(H), x)


def dtypes(p, i, u, f, b, s):
    return ~p, i * 3 - 50, u >> 1, f + f, b * b, s[::-1], jnp.where(p, i, -i), f.astype(jnp.float32)


def nested(x):
    """A loop in a loop, of 4 and 6 rounds, and one whose length the data decides."""
    inner = lambda i, c: c @ c / jnp.float32(8)
    x = lax.fori_loop(0, 4, lambda i, c: lax.fori_loop(2, 8, inner, c) + x, x)
    return lax.while_loop(lambda s: jnp.abs(s).sum() < 100, lambda s: s * 2 + 1, x)


def convolution(x, kernel):
    return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


CASES = {
    "gru": (gru, [[[T, D], "float32", 0], [[H], "float32", 1], [[D, 3 * H], "float32", 2],
                  [[3 * H], "float32", 3], [[H, 3 * H], "float32", 4]]),
    "gru_constants": (gru_constants, [[[T, D], "float32", 0]]),
    "dtypes": (dtypes, [[[6], "bool", 0], [[6], "int32", 1], [[2, 3], "uint32", 2],
                        [[4], "float16", 3], [[4], "bfloat16", 4], [[5], "uint8", 5]]),
    "nested": (nested, [[[4, 4], "float32", 0]]),
    "convolution": (convolution, [[[2, 6, 5, 3], "float32", 0], [[3, 2, 3, 4], "float32", 1]]),
}


def dump():
    """The case `gru` as `--xla_dump_to` writes it, from a process of its own: XLA reads its options once."""
    with tempfile.TemporaryDirectory() as directory:
        flags = f"--xla_dump_to={directory} --xla_dump_hlo_as_proto --xla_dump_hlo_module_re=jit_gru"
        subprocess.run([sys.executable, __file__, "run"], env={**os.environ, "XLA_FLAGS": flags}, check=True)
        for stage, name in [("before_optimizations", "gru.dump.pb"), ("after_optimizations", "gru.optimized.pb")]:
            [found] = pathlib.Path(directory).glob(f"*{stage}.hlo.pb")
            (HERE / name).write_bytes(found.read_bytes())


def main():
    if sys.argv[1:] == ["run"]:
        function, inputs = CASES["gru"]
        jax.jit(function)(*map(make, inputs))
        return
    HERE.mkdir(exist_ok=True)
    golden = common.Golden("hlo", __file__)
    for name, (function, inputs) in CASES.items():
        arguments = list(map(make, inputs))
        lowered = jax.jit(function).lower(*arguments)
        module = lowered.compiler_ir("hlo").as_serialized_hlo_module_proto()
        (HERE / f"{name}.pb").write_bytes(module)
        (HERE / f"{name}.txt").write_text(lowered.as_text("hlo"))
        results = jax.tree.leaves(lowered.compile()(*arguments))
        outputs = {f"out{i}": np.asarray(result) for i, result in enumerate(results)}
        golden.case(name, outputs, inputs=inputs)
    golden.save()
    dump()


if __name__ == "__main__":
    main()
