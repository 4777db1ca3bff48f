"""Random numbers as `jax.random` (threefry2x32) draws them, with 64-bit types off.

A case that names a `seed` uses the key `jax.random.key(seed)`. Keys are stored as their data,
uint32 [..., 2].
"""

import common
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

SEEDS = [0, 1, 42, 7, 123456789, 2**31, 2**32 - 1, 2**32, 2**32 + 5, 2**40 + 7, 2**63 - 1, -1, -5, -(2**40)]
SHAPES = [(), (5,), (3, 4), (257,)]


def numbered(golden):
    """Adds cases called `<function>/000`, `<function>/001`, ..., each with one output, `out`."""
    counts = {}

    def add(function, out, **params):
        k = counts.get(function, 0)
        counts[function] = k + 1
        golden.case(f"{function}/{k:03}", {"out": out}, function=function, **params)

    return add


def add_keys(add):
    """Keys from seeds, and keys from keys. A seed keeps its low 32 bits, as 64-bit types are off."""
    for seed in SEEDS:
        add("key", jax.random.key_data(jax.random.key(seed)), seed=seed)
        assert (jax.random.PRNGKey(seed) == jax.random.key_data(jax.random.key(seed))).all()
    for seed in (0, 42, -1):
        for n in (1, 2, 3, 7):
            add("split", jax.random.key_data(jax.random.split(jax.random.key(seed), n)), seed=seed, shape=[n])
        add("split", jax.random.key_data(jax.random.split(jax.random.key(seed), (2, 3))), seed=seed, shape=[2, 3])
        for data in (0, 1, 2, 1000, 2**31, 2**32 - 1):
            add("fold_in", jax.random.key_data(jax.random.fold_in(jax.random.key(seed), data)), seed=seed, data=data)
    for seed in SEEDS:
        rngs = nnx.Rngs(seed)
        draws = np.stack([jax.random.key_data(rngs.params()) for _ in range(5)])
        add("rngs", draws, seed=seed)


def add_floats(add, dtypes):
    """uniform, normal, truncated_normal and gumbel in the given dtypes."""
    for dtype in dtypes:
        for seed, shape in zip((0, 1, 42, 7), SHAPES):
            key = jax.random.key(seed)
            where = dict(seed=seed, shape=shape, dtype=dtype)
            add("uniform", jax.random.uniform(key, shape, dtype), minval=0.0, maxval=1.0, **where)
            add("normal", jax.random.normal(key, shape, dtype), **where)
            add("truncated_normal", jax.random.truncated_normal(key, -2, 2, shape, dtype), lower=-2, upper=2, **where)
            add("gumbel", jax.random.gumbel(key, shape, dtype), **where)
        where = dict(seed=3, shape=(300,), dtype=dtype)
        for lo, hi in [(-1.0, 1.0), (-0.75, 3.5), (0.1, 0.7), (100.0, 101.0), (2.0, -2.0)]:
            out = jax.random.uniform(jax.random.key(3), (300,), dtype, lo, hi)
            add("uniform", out, minval=lo, maxval=hi, **where)
        for lo, hi in [(-1.0, 3.0), (0.5, 0.75), (-0.125, 0.125)]:
            out = jax.random.truncated_normal(jax.random.key(3), lo, hi, (300,), dtype)
            add("truncated_normal", out, lower=lo, upper=hi, **where)


def add_bernoulli(add):
    for p in (0.0, 0.1, 0.5, 0.9, 1.0):
        out = jax.random.bernoulli(jax.random.key(5), p, (8, 9))
        add("bernoulli", out, seed=5, p=p, shape=(8, 9))
    p = common.ramp((4, 6), salt=1, scale=0.5, shift=0.5)
    add("bernoulli", jax.random.bernoulli(jax.random.key(6), jnp.asarray(p)), seed=6,
        p={"salt": 1, "scale": 0.5, "shift": 0.5}, shape=(4, 6))


def add_randint(add, ranges):
    """`ranges` lists (dtype, minval, maxval). An empty range gives minval."""
    for dtype, lo, hi in ranges:
        # With 64-bit types off a Python integer beyond int32 is refused; an array of the dtype is taken.
        bounds = [b if -(2**31) <= b < 2**31 or jax.config.jax_enable_x64 else np.array(b, dtype) for b in (lo, hi)]
        for seed, shape in ((0, (200,)), (9, (3, 4))):
            out = jax.random.randint(jax.random.key(seed), shape, *bounds, dtype)
            add("randint", out, seed=seed, shape=shape, minval=lo, maxval=hi, dtype=dtype)


def add_permutations(add):
    for seed, n in [(0, 0), (0, 1), (0, 2), (1, 5), (2, 10), (3, 100), (4, 1625), (4, 1626), (5, 3000)]:
        add("permutation", jax.random.permutation(jax.random.key(seed), n), seed=seed, n=n)
    for seed, shape, axis in [(0, (7,), 0), (1, (5, 3), 0), (2, (5, 3), 1), (3, (2, 4, 6), -1), (4, (2000,), 0)]:
        x = common.ramp(shape, salt=seed)
        out = jax.random.permutation(jax.random.key(seed), jnp.asarray(x), axis)
        add("permutation", out, seed=seed, x={"shape": shape, "salt": seed}, axis=axis)
    for seed, shape, replace in [(0, (5,), True), (1, (2, 3), True), (2, (5,), False), (3, (10,), False)]:
        out = jax.random.choice(jax.random.key(seed), 10, shape, replace)
        add("choice", out, seed=seed, n=10, shape=shape, replace=replace)


def add_categorical(add):
    for seed, logits_shape, axis, shape in [
        (0, (5,), -1, None), (1, (4, 5), -1, None), (2, (4, 5), 0, None), (3, (2, 3, 4), 1, None),
        (4, (5,), -1, (100,)), (5, (4, 5), -1, (6, 4)), (6, (4, 5), 0, (2, 3, 5)),
    ]:
        logits = jnp.asarray(common.ramp(logits_shape, salt=seed, scale=2.0))
        out = jax.random.categorical(jax.random.key(seed), logits, axis, shape)
        add("categorical", out, seed=seed, logits={"shape": logits_shape, "salt": seed, "scale": 2.0},
            axis=axis, shape=shape)


def main():
    golden = common.Golden("random", __file__)
    add = numbered(golden)
    add_keys(add)
    for dtype in ("uint32", "uint16", "uint8"):
        for seed, shape in zip((0, 1, 42, -1), SHAPES):
            add("bits", jax.random.bits(jax.random.key(seed), shape, dtype), seed=seed, shape=shape, dtype=dtype)
    add_floats(add, ("float32", "bfloat16", "float16"))
    add_bernoulli(add)
    add_randint(add, [
        ("int32", 0, 10), ("int32", -5, 5), ("int32", 0, 1), ("int32", 0, 2**16), ("int32", 0, 10**9),
        ("int32", -(2**31), 2**31 - 1), ("int32", -(2**30), 2**30 + 12345), ("int32", 3, 3), ("int32", 5, 2),
        ("uint32", 0, 7), ("uint32", 0, 2**32 - 1), ("uint32", 10, 3 * 10**9), ("uint8", 0, 256), ("uint8", 3, 77),
    ])
    add_permutations(add)
    add_categorical(add)
    golden.save()


if __name__ == "__main__":
    main()
