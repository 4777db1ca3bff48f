"""Initialisers of `flax.nnx.initializers` (which are those of `jax.nn.initializers`).

A case `<initializer>/<k>` is initializer(**args)(jax.random.key(seed), shape, dtype), output `out`.
"""

import common
import jax
from flax import nnx

SHAPES = [(4, 6), (33, 17), (2, 3, 5)]
VECTOR = (9,)

# Initialiser -> keyword arguments to try; the first set is the defaults.
FREE = {
    "constant": [{"value": 2.5}, {"value": -7}],
    "uniform": [{}, {"scale": 3.0}],
    "normal": [{}, {"stddev": 0.5}],
    "truncated_normal": [{}, {"stddev": 0.5, "lower": -1.0, "upper": 3.0}],
}
SCALED = ["lecun_normal", "lecun_uniform", "glorot_normal", "glorot_uniform", "he_normal", "he_uniform"]
VARIANCE_SCALING = [
    {"scale": 1.0, "mode": "fan_in", "distribution": "normal"},
    {"scale": 0.5, "mode": "fan_out", "distribution": "truncated_normal"},
    {"scale": 2.0, "mode": "fan_avg", "distribution": "uniform"},
    {"scale": 2.0, "mode": "fan_geo_avg", "distribution": "normal"},
]
# Tall, wide, square, one row, one column, three axes; then other arguments.
ORTHOGONAL = [
    ((9, 4), {}), ((4, 9), {}), ((6, 6), {}), ((1, 5), {}), ((5, 1), {}), ((1, 1), {}), ((2, 3, 5), {}), ((5, 2, 2), {}),
    ((16, 48), {}), ((64, 192), {}), ((0, 3), {}),
    ((9, 4), {"scale": 2.5}), ((4, 9), {"column_axis": 0}), ((9, 4), {"column_axis": 0}), ((2, 3, 5), {"column_axis": 1}),
]


def cases():
    """(initialiser, arguments, shape, dtype) of every case, in order."""
    for name in ("zeros", "ones"):
        for shape in (VECTOR, SHAPES[0]):
            yield name, None, shape, "float32"
    for name, argument_sets in FREE.items():
        for args in argument_sets:
            for shape in (VECTOR, SHAPES[0], SHAPES[2]):
                yield name, args, shape, "float32"
    for name in SCALED:
        for shape in SHAPES:
            yield name, {}, shape, "float32"
        # The default axes are in_axis=-2, out_axis=-1.
        yield name, {"in_axis": -1, "out_axis": -2}, SHAPES[0], "float32"
        yield name, {"in_axis": 0, "out_axis": 1}, SHAPES[2], "float32"
    yield "lecun_normal", {"in_axis": -2, "out_axis": -1, "batch_axis": (0,)}, SHAPES[2], "float32"
    for args in VARIANCE_SCALING:
        for shape in SHAPES:
            yield "variance_scaling", args, shape, "float32"
    for shape, args in ORTHOGONAL:
        yield "orthogonal", args, shape, "float32"
    for name in ("normal", "lecun_normal", "he_uniform"):
        for dtype in ("bfloat16", "float16"):
            yield name, {}, SHAPES[1], dtype


def main():
    golden = common.Golden("initializers", __file__)
    counts = {}
    for i, (name, args, shape, dtype) in enumerate(cases()):
        make = getattr(nnx.initializers, name)
        init = make if args is None else make(**args)
        k = counts[name] = counts.get(name, -1) + 1
        seed = 100 + i
        out = init(jax.random.key(seed), shape, dtype)
        golden.case(f"{name}/{k}", {"out": out}, initializer=name, args=args or {}, seed=seed, shape=shape, dtype=dtype)
    golden.save()


if __name__ == "__main__":
    main()
