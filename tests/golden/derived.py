"""What the scripts share that differentiate and batch functions.

A case is a function, called `f`, with its inputs; `kind` says what was done with it:

- `vjp`: `out` of the inputs, and `grad` for each floating input, for the cotangents `w` of the outputs
- `jvp`: `out`, and `tangent` for each output, for the tangents `t` of the floating inputs
- `jacfwd`, `jacrev`: the Jacobian of the first output by the first input, `out0`
- `hessian`: that of the sum of w0 times the first output by the first input, `out0`
- `hvp`: the jvp of the gradient of that sum by the first input along t0: `out0`, the gradient, and `tangent0`
- `rev_rev`: the gradient of the inner product of that gradient and t0: `out0`, by reverse mode twice
- `fwd_fwd`: the second derivative of all outputs along t0 in the first input: `out`
- `linearize`: as `jvp`, by `jax.linearize`
- `vmap`: `out` of inputs with batch axes `axes` (null: none); those of the outputs are in front
- `vmap_vjp`: vmap of `vjp`, with one cotangent for all members
- `vmap_jvp`, `vmap_hessian`: vmap of `jvp`, of `hessian`
- `vjp_of_vmap`: `vjp` of the function `vmap`
- `vmap_vmap`: as `vmap`, with two batch axes of 3 and 2 members: the inner one stands at `axes`, and then the outer
  one is put there too

What stands with a number behind its name (`in0`, `w0`, ...) is an array of the file. Cases with 64-bit
floats are run with 64-bit types on.
"""

import common
import jax
import jax.numpy as jnp
import numpy as np

FUNCTIONS = {}
TABLE = []
# The members of a batch.
SIZE = 3


def case(*inputs, kinds="vjp jvp", vmap=None, batched="vmap vmap_vjp", name=None):
    """Registers the function with its inputs. With `vmap`, batch axes of the inputs, the kinds `batched` come
    on top."""

    def register(function):
        f = function.__name__
        FUNCTIONS.setdefault(f, function)
        assert FUNCTIONS[f] is function or name, f
        TABLE.append((f, name or f, inputs, kinds.split(), vmap, batched.split()))
        return function

    return register


# Inputs: functions of a salt and of the batch axis and size, if there is one.


def shaped(shape, batch):
    shape = list(shape)
    if batch is not None:
        shape.insert(*batch)
    return tuple(shape)


def r(*shape, scale=1.0, shift=0.0, dtype="float32"):
    return lambda salt, batch: common.ramp(shaped(shape, batch), salt, scale, shift, dtype)


def i(*shape, mod, shift=0, dtype="int32"):
    return lambda salt, batch: common.ramp_int(shaped(shape, batch), salt, mod, shift, dtype)


def b(*shape):
    return lambda salt, batch: common.ramp_bool(shaped(shape, batch), salt)


def lit(values, dtype="float32"):
    """Literal values; the members of a batch have them in another order."""

    def build(salt, batch):
        array = np.array(values).astype(np.dtype(dtype))
        if batch is None:
            return array
        axis, size = batch
        return np.stack([np.roll(array.ravel(), k).reshape(array.shape) for k in range(size)], axis)

    return build


def key():
    return lambda salt, batch: common.ramp_bits(shaped((2,), batch), salt)


# What is done with them.


def outputs(f, args):
    out = FUNCTIONS[f](*args)
    return list(out) if isinstance(out, tuple) else [out]


def is_float(x):
    return jnp.issubdtype(x.dtype, jnp.floating)


def by_floats(f, args, apply=None):
    """The function of the floating inputs alone, or what else there is to `apply`, and their values."""
    active = [k for k, x in enumerate(args) if is_float(x)]

    def function(*floats):
        full = list(args)
        for k, x in zip(active, floats):
            full[k] = x
        return list(apply(*full)) if apply else outputs(f, full)

    return function, [args[k] for k in active]


def tangents_or_zeros(out, tangents):
    return [dt if is_float(o) else jnp.zeros_like(o) for o, dt in zip(out, tangents)]


def jvp(f, args, t):
    function, floats = by_floats(f, args)
    out, tangents = jax.jvp(function, floats, t)
    return out, tangents_or_zeros(out, tangents)


def vjp(f, args, w, apply=None):
    function, floats = by_floats(f, args, apply)
    out, pullback = jax.vjp(function, *floats)
    cotangents = [w_k if is_float(o) else np.zeros(o.shape, jax.dtypes.float0) for w_k, o in zip(w, out)]
    return out, list(pullback(cotangents))


def loss(f, args, w):
    """Of the first floating input."""
    function, floats = by_floats(f, args)
    return lambda x: (function(x, *floats[1:])[0] * w[0]).sum(), floats[0]


def hessian(f, args, w):
    function, x = loss(f, args, w)
    return jax.hessian(function)(x)


def weights(out):
    """A cotangent for each output."""
    dtype = lambda o: o.dtype if is_float(o) else np.dtype("float32")
    return [common.ramp(o.shape, 900 + k, 1.0, 0.25, dtype(o)) for k, o in enumerate(out)]


def derive(f, kind, args, w, axes, t):
    """What the case holds beside its inputs."""
    over = lambda function: jax.vmap(lambda *xs: function(list(xs)), in_axes=axes)
    batched = lambda function: over(function)(*args)
    function, floats = by_floats(f, args)
    if kind == "vjp":
        return dict(zip(("out", "grad"), vjp(f, args, w)))
    if kind == "jvp":
        return dict(zip(("out", "tangent"), jvp(f, args, t)))
    if kind == "linearize":
        out, along = jax.linearize(function, *floats)
        return {"out": out, "tangent": tangents_or_zeros(out, along(*t))}
    if kind == "fwd_fwd":
        first = lambda x: function(x, *floats[1:])
        along = lambda x: tangents_or_zeros(first(x), jax.jvp(first, (x,), tuple(t))[1])
        return {"out": tangents_or_zeros(first(floats[0]), jax.jvp(along, (floats[0],), tuple(t))[1])}
    if kind == "rev_rev":
        function, x = loss(f, args, w)
        return {"out": [jax.grad(lambda x: (jax.grad(function)(x) * t[0]).sum())(x)]}
    if kind in ("jacfwd", "jacrev"):
        first = lambda x: function(x, *floats[1:])[0]
        return {"out": [getattr(jax, kind)(first)(floats[0])]}
    if kind == "hessian":
        return {"out": [hessian(f, args, w)]}
    if kind == "hvp":
        function, x = loss(f, args, w)
        gradient, tangent = jax.jvp(jax.grad(function), (x,), tuple(t))
        return {"out": [gradient], "tangent": [tangent]}
    if kind == "vmap":
        return {"out": batched(lambda xs: outputs(f, xs))}
    if kind == "vmap_vmap":
        twice = lambda *xs: jax.vmap(lambda *xs: outputs(f, xs), in_axes=axes)(*xs)
        return {"out": jax.vmap(twice, in_axes=axes)(*args)}
    if kind == "vmap_jvp":
        return dict(zip(("out", "tangent"), batched(lambda xs: jvp(f, xs, t))))
    if kind == "vjp_of_vmap":
        return dict(zip(("out", "grad"), vjp(f, args, w, over(lambda xs: outputs(f, xs)))))
    if kind == "vmap_vjp":
        return dict(zip(("out", "grad"), batched(lambda xs: vjp(f, xs, w))))
    assert kind == "vmap_hessian", kind
    return {"out": [batched(lambda xs: hessian(f, xs, w))]}


def run(f, kind, args, axes):
    """The arrays of the case."""
    args = [jnp.asarray(x) for x in args]
    arrays = {}
    put = lambda name, values: arrays.update({f"{name}{k}": v for k, v in enumerate(values)})
    put("in", args)
    members = args if axes is None else [x if a is None else x.take(0, a) for x, a in zip(args, axes)]
    w, t = [], []
    if kind == "vjp_of_vmap":
        w = weights(jax.eval_shape(jax.vmap(lambda *xs: outputs(f, xs), in_axes=axes), *args))
    elif kind in ("vjp", "vmap_vjp", "hessian", "hvp", "rev_rev", "vmap_hessian"):
        w = weights(jax.eval_shape(lambda *xs: outputs(f, xs), *members))
        w = w if kind.endswith("vjp") else w[:1]
    if kind in ("jvp", "linearize", "vmap_jvp", "hvp", "rev_rev", "fwd_fwd"):
        t = [common.ramp(x.shape, 800 + k, dtype=x.dtype) for k, x in enumerate(by_floats(f, members)[1])]
        t = [jnp.asarray(x) for x in (t[:1] if kind in ("hvp", "rev_rev", "fwd_fwd") else t)]
    put("w", w)
    put("t", t)
    for name, values in jax.jit(derive, static_argnums=(0, 1, 4))(f, kind, args, w, axes, t).items():
        put(name, values)
    return arrays


def save(family, script):
    """Makes the cases of all functions, and writes the file of the family."""
    golden = common.Golden(family, script)
    for f, name, inputs, kinds, vmap, batched in TABLE:
        if vmap:
            kinds = kinds + batched + ["vmap_hessian"] * ("hessian" in kinds)
        for kind in kinds:
            axes = vmap if "vmap" in kind else None
            batch = lambda k: None if axes is None or axes[k] is None else (axes[k], SIZE)
            args = [make(100 + k, batch(k)) for k, make in enumerate(inputs)]
            if kind == "vmap_vmap":
                args = [x if a is None else np.stack([x, np.flip(x, a)], a) for x, a in zip(args, axes)]
            with jax.enable_x64(any(x.dtype == np.float64 for x in args)):
                arrays = run(f, kind, args, axes)
            params = {"f": f, "kind": kind}
            if axes:
                params["axes"] = axes
            golden.case(f"{name}/{kind}", {k: np.asarray(v) for k, v in arrays.items()}, **params)
    golden.save()
