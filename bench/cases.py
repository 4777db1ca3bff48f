"""The cases of the grid, and the numbers they are computed from."""

import dataclasses
import itertools

import ml_dtypes
import numpy as np
from safetensors.numpy import save_file

BATCHES = [1, 8, 32, 128]
SIZES = [(32, 64), (64, 128), (128, 256), (256, 512), (256, 1024)]
CELLS = ["gru", "lstm", "simple"]
KINDS = ["forward", "forward_ys", "grad", "train"]
# What no loop can be faster than: a loop with nothing but the recurrent product, and the product of
# all inputs at once.
BOUNDS = ["bound_loop", "bound_product"]
DTYPES = ["f32", "bf16"]
LAYERS = [1, 2]
GATES = {"gru": 3, "lstm": 4, "simple": 1}
LEARNING_RATE = 1e-3

# The numbers of steps by batch and size, so that a call takes some milliseconds to some hundred.
STEPS = {
    1: [2048, 2048, 1024, 256, 128],
    8: [1024, 512, 256, 128, 64],
    32: [512, 256, 128, 64, 64],
    128: [256, 128, 64, 64, 64],
}
# Of the scaling figure.
LENGTHS = [10, 100, 1_000, 10_000, 100_000, 1_000_000]
# Reverse mode keeps some kilobytes of each step, and JAX takes half a minute for a million.
LENGTHS_OF_GRADIENT = LENGTHS[:-1]
QUICK_SIZE, QUICK_STEPS = (8, 16), 12


@dataclasses.dataclass(frozen=True)
class Case:
    """One thing that all contestants compute."""

    kind: str
    cell: str
    batch: int
    d: int
    h: int
    t: int
    layers: int = 1
    dtype: str = "f32"
    group: str = "grid"

    def __str__(self):
        size = f"B={self.batch} D={self.d} H={self.h} T={self.t}"
        return f"{self.kind} {self.cell} {size} layers={self.layers} {self.dtype}"


def full():
    """The whole product, and the bounds."""
    product = itertools.product(KINDS, CELLS, LAYERS, DTYPES, BATCHES, SIZES)
    cases = [at(kind, cell, batch, size, layers, dtype)
             for kind, cell, layers, dtype, batch, size in product]
    return cases + bounds() + scaling()


def default():
    """All sizes of the GRU, and a part of everything else."""
    kinds = ["forward", "grad", "train"]
    cases = [at(kind, "gru", batch, size)
             for kind, batch, size in itertools.product(kinds, BATCHES, SIZES)]
    some = list(itertools.product([1, 32], [SIZES[0], SIZES[2]]))
    cases += [at("forward_ys", "gru", batch, size)
              for batch, size in itertools.product(BATCHES, SIZES[::2])]
    cases += [at(kind, cell, *where)
              for kind, cell, where in itertools.product(KINDS, ["lstm", "simple"], some)]
    for kind, where in itertools.product(KINDS, some):
        cases.append(at(kind, "gru", *where, layers=2))
        cases.append(at(kind, "gru", *where, dtype="bf16"))
    return cases + bounds() + scaling()


def quick():
    """Every kind of case at a size that takes no time."""
    def tiny(kind, cell="gru", batch=1, **more):
        return Case(kind, cell, batch, *QUICK_SIZE, more.pop("t", QUICK_STEPS), **more)

    cases = [tiny(kind, cell) for kind, cell in itertools.product(KINDS, CELLS)]
    cases += [tiny(kind, "gru", 8, layers=2) for kind in KINDS]
    cases += [tiny("forward_ys", cell, 8, layers=2) for cell in CELLS[1:]]
    cases += [tiny(kind, dtype="bf16") for kind in ("forward", "train")]
    cases += [tiny(kind) for kind in BOUNDS]
    return cases + [tiny(kind, t=t, group="scaling")
                    for kind, t in itertools.product(["forward", "grad"], [10, 100])]


def at(kind, cell, batch, size, layers=1, dtype="f32"):
    return Case(kind, cell, batch, *size, STEPS[batch][SIZES.index(size)], layers, dtype)


def bounds():
    return [at(kind, "gru", batch, size)
            for batch, size, kind in itertools.product(BATCHES, SIZES, BOUNDS)]


def scaling():
    lengths = {"forward": LENGTHS, "grad": LENGTHS_OF_GRADIENT}
    return [Case(kind, "gru", 1, *SIZES[0], t, group="scaling")
            for kind, steps in lengths.items() for t in steps]


def write(case, path):
    """Writes the inputs and the parameters of a case, in the layout of Flax and of onetrace.

    They are of `f32`, rounded to `bf16` where the case is of that type. No bias is zero, so that one
    in the wrong place is noticed.
    """
    rng = np.random.default_rng(42)
    batch = [] if case.batch == 1 else [case.batch]
    data = {"x": rng.standard_normal([case.t, *batch, case.d], dtype=np.float32)}
    width = GATES[case.cell] * case.h
    for layer in range(case.layers):
        d = case.d if layer == 0 else case.h
        name = f"layers.{layer}."
        data[name + "dense_i.kernel"] = normal(rng, [d, width], d**-0.5)
        data[name + "dense_h.kernel"] = normal(rng, [case.h, width], case.h**-0.5)
        # One layer of each cell has a bias: in Flax's LSTM the recurrent one.
        biased = "dense_h" if case.cell == "lstm" else "dense_i"
        data[name + biased + ".bias"] = normal(rng, [width], 0.1)
    if case.dtype == "bf16":
        data = {name: rounded(values) for name, values in data.items()}
    save_file(data, path)


def normal(rng, shape, scale):
    return scale * rng.standard_normal(shape, dtype=np.float32)


def rounded(values):
    return values.astype(ml_dtypes.bfloat16).astype(np.float32)
