"""Golden data of optimisers and schedules: parameters after steps of optax, values of its schedules.

The gradients of a step do not depend on the parameters, so an error of one step shows as such.
"""

import common  # First: it chooses the platform.
import jax
import jax.numpy as jnp
import numpy as np
import optax

STEPS = 50
KEPT = [1, 2, 3, 10, 50]
SHAPES = {"kernel": (3, 4), "bias": (4,)}


def tree(salt, dtype):
    """One leaf after the other, each a ramp with a salt of its own."""
    return {k: jnp.asarray(common.ramp(s, salt + i, dtype=dtype)) for i, (k, s) in enumerate(SHAPES.items())}


def schedule(spec):
    """The schedule that a test makes of the same description."""
    if not isinstance(spec, dict):
        return spec
    args = dict(spec["args"])
    if spec["schedule"] == "join_schedules":
        return optax.join_schedules([schedule(s) for s in args["schedules"]], args["boundaries"])
    if "boundaries_and_scales" in args:
        args["boundaries_and_scales"] = {b: s for b, s in args["boundaries_and_scales"]}
    return getattr(optax, spec["schedule"])(**args)


def optimizer(spec):
    if isinstance(spec, list):
        return optax.chain(*map(optimizer, spec))
    args = {k: schedule(v) if k in ("learning_rate", "weight_decay") else v for k, v in spec["args"].items()}
    return getattr(optax, spec["optimizer"])(**args)


def one(name, **args):
    return {"optimizer": name, "args": args}


def rate(name, **args):
    return {"schedule": name, "args": args}


WARMUP = rate("warmup_cosine_decay_schedule", init_value=0.0, peak_value=0.05, warmup_steps=5, decay_steps=40)

OPTIMIZERS = [
    one("sgd", learning_rate=0.1),
    one("sgd", learning_rate=0.1, momentum=0.9),
    one("sgd", learning_rate=0.01, momentum=0.5, nesterov=True),
    one("sgd", learning_rate=rate("linear_schedule", init_value=0.1, end_value=0.0, transition_steps=30)),
    one("adam", learning_rate=0.01),
    one("adam", learning_rate=0.1, b1=0.8, b2=0.95, eps=1e-3),
    one("adam", learning_rate=0.01, eps_root=1e-4),
    one("adam", learning_rate=0.01, nesterov=True),
    one("adam", learning_rate=0.01, b1=0.0),
    one("adam", learning_rate=WARMUP),
    one("adam", learning_rate=0.01, mu_dtype="bfloat16"),
    one("adamw", learning_rate=0.01),
    one("adamw", learning_rate=0.01, weight_decay=0.1),
    one("adamw", learning_rate=WARMUP, weight_decay=0.01, b2=0.98, nesterov=True),
    one("adamw", learning_rate=0.01, weight_decay=rate("cosine_decay_schedule", init_value=0.1, decay_steps=20)),
    one("rmsprop", learning_rate=0.01),
    one("rmsprop", learning_rate=0.01, decay=0.99, eps=1e-6, eps_in_sqrt=False),
    one("rmsprop", learning_rate=0.01, centered=True),
    one("rmsprop", learning_rate=0.01, centered=True, eps_in_sqrt=False, eps=1e-3, bias_correction=True),
    one("rmsprop", learning_rate=0.01, initial_scale=1.0, bias_correction=True),
    one("rmsprop", learning_rate=0.01, momentum=0.9),
    one("rmsprop", learning_rate=0.01, momentum=0.9, nesterov=True),
    one("adagrad", learning_rate=0.1),
    one("adagrad", learning_rate=0.1, initial_accumulator_value=0.0, eps=1e-3),
    [one("clip_by_global_norm", max_norm=1.0), one("sgd", learning_rate=0.1)],
    [one("clip_by_global_norm", max_norm=100.0), one("sgd", learning_rate=0.1)],
    [one("clip", max_delta=0.25), one("sgd", learning_rate=0.1)],
    [one("add_decayed_weights", weight_decay=0.1), one("sgd", learning_rate=0.1, momentum=0.9)],
    [one("clip_by_global_norm", max_norm=1.0), one("adamw", learning_rate=WARMUP, weight_decay=1e-2)],
    [one("trace", decay=0.7), one("scale_by_adam"), one("scale_by_learning_rate", learning_rate=0.02)],
]

# Others would compare one rounding with another: the second moment of optax in bfloat16 hardly moves.
BFLOAT16 = [0, 1, 4, 11, 24]

SCHEDULES = [
    rate("linear_schedule", init_value=1.0, end_value=0.1, transition_steps=50),
    rate("linear_schedule", init_value=0.0, end_value=3.0, transition_steps=7, transition_begin=10),
    rate("linear_schedule", init_value=0.5, end_value=3.0, transition_steps=0),
    rate("polynomial_schedule", init_value=1.0, end_value=0.01, power=2, transition_steps=100, transition_begin=5),
    rate("polynomial_schedule", init_value=1.0, end_value=0.0, power=0.5, transition_steps=60),
    rate("cosine_decay_schedule", init_value=1.0, decay_steps=80),
    rate("cosine_decay_schedule", init_value=0.3, decay_steps=33, alpha=0.1, exponent=2.0),
    WARMUP,
    rate("warmup_cosine_decay_schedule", init_value=0.1, peak_value=1.0, warmup_steps=0, decay_steps=50),
    rate(
        "warmup_cosine_decay_schedule",
        init_value=0.0, peak_value=2.0, warmup_steps=20, decay_steps=100, end_value=0.5, exponent=3.0,
    ),
    rate("exponential_decay", init_value=1.0, transition_steps=10, decay_rate=0.5),
    rate("exponential_decay", init_value=1.0, transition_steps=10, decay_rate=0.5, staircase=True, transition_begin=3),
    rate("exponential_decay", init_value=1.0, transition_steps=20, decay_rate=0.1, end_value=0.05),
    rate("exponential_decay", init_value=0.1, transition_steps=20, decay_rate=3.0, end_value=0.9),
    rate("exponential_decay", init_value=0.1, transition_steps=20, decay_rate=0.0),
    rate("piecewise_constant_schedule", init_value=1.0, boundaries_and_scales=[[10, 0.5], [30, 0.1]]),
    rate("piecewise_constant_schedule", init_value=1.0, boundaries_and_scales=[]),
    rate(
        "join_schedules",
        schedules=[
            rate("linear_schedule", init_value=0.0, end_value=1.0, transition_steps=10),
            rate("cosine_decay_schedule", init_value=1.0, decay_steps=50, alpha=0.1),
            rate("exponential_decay", init_value=0.1, transition_steps=10, decay_rate=0.5),
        ],
        boundaries=[10, 60],
    ),
]


def run(spec, dtype):
    transformation = optimizer(spec)
    params = tree(0, dtype)
    state = transformation.init(params)

    @jax.jit
    def step(params, state, grads):
        updates, state = transformation.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    kept = {}
    for t in range(1, STEPS + 1):
        params, state = step(params, state, tree(2 * t, dtype))
        if t in KEPT:
            kept |= {f"{t}.{name}": np.asarray(leaf) for name, leaf in params.items()}
    return kept


def main():
    golden = common.Golden("optim", __file__)
    for i, spec in enumerate(OPTIMIZERS):
        for dtype in ["float32"] + ["bfloat16"] * (i in BFLOAT16):
            name = f"{i:02}.{dtype}"
            golden.case(name, run(spec, dtype), kind="optimizer", spec=spec, dtype=dtype, kept=KEPT)
    for i, spec in enumerate(SCHEDULES):
        f = jax.jit(schedule(spec))
        values = np.array([f(jnp.int32(t)) for t in range(121)], np.float32)
        golden.case(f"schedule.{i:02}", {"values": values}, kind="schedule", spec=spec)
    golden.save(optax=optax.__version__)


if __name__ == "__main__":
    main()
