"""Random numbers as `jax.random` draws them with 64-bit types on; see gen_random.py."""

import common
import jax

jax.config.update("jax_enable_x64", True)

import gen_random


def main():
    golden = common.Golden("random_x64", __file__)
    add = gen_random.numbered(golden)
    # Seeds keep 64 bits here, so negative and large ones give other keys than in `random`.
    gen_random.add_keys(add)
    for seed, shape in zip((0, 1, 42, -1), gen_random.SHAPES):
        add("bits", jax.random.bits(jax.random.key(seed), shape, "uint64"), seed=seed, shape=shape, dtype="uint64")
    gen_random.add_floats(add, ("float64",))
    gen_random.add_randint(add, [
        ("int64", 0, 10), ("int64", -5, 5), ("int64", 0, 10**12), ("int64", -(2**62), 2**62 + 12345),
        ("int64", -(2**63), 2**63 - 1), ("int64", 7, 7), ("uint32", 0, 2**32), ("int32", -(2**31), 2**31),
    ])
    golden.save()


if __name__ == "__main__":
    main()
