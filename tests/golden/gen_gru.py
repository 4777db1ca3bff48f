"""GRU: parameters and final carry of `flax.nnx.GRUCell` scanned over a ramp.

Case i: x = ramp((T, D), salt=i), zero carry, `jax.lax.scan`, final carry stored in full.

Arrays of a case:
    final                                     [H]
    dense_i.kernel.head, dense_h.kernel.head  the first min(64, n) of the n elements, row-major
    ...kernel.strided                         elements 0, s, 2s, ..., at most 64 of them, s = max(1, n // 64)
    dense_i.kernel, dense_h.kernel            in full, where the case says "kernels": true
"""

import itertools

import common
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

SEEDS = [0, 1, 42, 123456789, 2**32 - 1, 7]
INPUTS = [1, 2, 3, 8, 16, 32, 64, 128]
HIDDEN = [1, 2, 5, 8, 16, 32, 64, 128, 256]
SHORT = [1, 2, 7, 16, 100]


def combinations():
    """(seed, D, H, T, reverse, kernels) of every case, in order."""
    pairs = list(itertools.product(INPUTS, HIDDEN))
    # Every (D, H) three times, walking through the seeds and lengths at different paces.
    for turn in range(3):
        for i, (d, h) in enumerate(pairs):
            length = SHORT[(i + 2 * turn) % len(SHORT)]
            if turn == 2 and i % 4 == 0:
                length = 1000
            small = turn == 0 and d <= 3 and h in (1, 2, 5, 8)
            yield SEEDS[(5 * i + turn) % len(SEEDS)], d, h, length, False, small
    # The sizes of the demo, at full length.
    for seed in SEEDS:
        yield seed, 32, 64, 2048, False, seed == 42
    for seed in (0, 42):
        yield seed, 128, 256, 2048, False, False
    for i, (d, h) in enumerate([(1, 1), (3, 5), (16, 16), (64, 32), (2, 128), (8, 256)]):
        yield SEEDS[i], d, h, 2048, False, False
    # A zero-length sequence leaves the zero carry.
    for seed, d, h in [(0, 1, 1), (42, 32, 64), (7, 3, 5)]:
        yield seed, d, h, 0, False, False
    # Backwards over the sequence.
    lengths = itertools.cycle([1, 2, 7, 16, 100, 1000, 2048])
    for i, (d, h) in enumerate(pairs[3::4]):
        yield SEEDS[i % len(SEEDS)], d, h, next(lengths), True, False
    yield 42, 32, 64, 2048, True, False
    yield 0, 3, 5, 0, True, False


def fingerprint(name, kernel):
    """Two short samples of a kernel, enough to tell a wrong draw from a right one."""
    flat = np.asarray(kernel).reshape(-1)
    stride = max(1, flat.size // 64)
    return {f"{name}.head": flat[:64], f"{name}.strided": flat[::stride][:64]}


def main():
    golden = common.Golden("gru", __file__)
    for i, (seed, d, h, length, reverse, kernels) in enumerate(combinations()):
        cell = nnx.GRUCell(d, h, rngs=nnx.Rngs(seed))
        x = jnp.asarray(common.ramp((length, d), salt=i))
        final, _ = jax.lax.scan(lambda carry, x_t: cell(carry, x_t), jnp.zeros(h), x, reverse=reverse)
        dense = {"dense_i.kernel": cell.dense_i.kernel[...], "dense_h.kernel": cell.dense_h.kernel[...]}
        assert not cell.dense_i.bias[...].any() and cell.dense_h.bias is None
        outputs = {"final": final}
        for name, kernel in dense.items():
            outputs.update(fingerprint(name, kernel))
        if kernels:
            outputs.update(dense)
        golden.case(f"{i:03}", outputs, seed=seed, d=d, h=h, t=length, salt=i, reverse=reverse, kernels=kernels)
    golden.save()


if __name__ == "__main__":
    main()
