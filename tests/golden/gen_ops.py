"""Single operations of `jax.numpy` (jnp), `jax.lax` and `jax.nn`, on inputs given by formula.

A case `<op>/<k>` is op(*inputs, **attrs), run eagerly; its outputs are `out`, or `out0`, `out1`, ...
An input is a ramp ("salt"; with "mod" an integer ramp, with dtype bool a coin), or literal "values"
("nan", "inf" and "-inf" as strings). Ops called `at.*` and `index.*` are defined below.
"""

import math

import common
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

NAN, INF = math.nan, math.inf
EDGES = [0.0, -0.0, 0.5, -0.5, 1.0, -1.0, 1.5, -1.5, 2.5, -2.5, 3.0, 20.0, -20.0, 100.0, -100.0, 1e-10, 1e10, INF, -INF, NAN]
FEW = [NAN, INF, -INF, 0.0, -0.0, 1.5, -2.0]
IMIN, IMAX = -(2**31), 2**31 - 1


# Inputs.

def f(*shape, scale=1.0, shift=0.0, dtype="float32"):
    return {"shape": shape, "dtype": dtype, "scale": scale, "shift": shift}


def i(*shape, mod, shift=0, dtype="int32"):
    return {"shape": shape, "dtype": dtype, "mod": mod, "shift": shift}


def b(*shape):
    return {"shape": shape, "dtype": "bool"}


def lit(values, dtype="float32", shape=None):
    values = [str(v) if isinstance(v, float) and not math.isfinite(v) else v for v in values]
    shape = (len(values),) if shape is None else shape
    return {"shape": shape, "dtype": dtype, "values": values}


def pairs(values, dtype="float32"):
    """Two inputs whose broadcast holds every pair of the values."""
    return [lit(values, dtype, (len(values), 1)), lit(values, dtype, (1, len(values)))]


def build(spec):
    shape, dtype = spec["shape"], spec["dtype"]
    if "values" in spec:
        wide = float if np.dtype(dtype).kind not in "iub" else np.int64
        return np.array([wide(v) for v in spec["values"]]).astype(np.dtype(dtype)).reshape(shape)
    if "mod" in spec:
        return common.ramp_int(shape, spec["salt"], spec["mod"], spec["shift"], dtype)
    if dtype == "bool":
        return common.ramp_bool(shape, spec["salt"])
    return common.ramp(shape, spec["salt"], spec["scale"], spec["shift"], dtype)


# Ops that are syntax in JAX.

SYNTAX = {
    "index.rows": lambda x, idx: x[idx],
    "index.pairs": lambda x, i0, i1: x[i0, i1],
    "at.set": lambda x, idx, u: x.at[idx].set(u),
    "at.add": lambda x, idx, u: x.at[idx].add(u),
    "at.multiply": lambda x, idx, u: x.at[idx].multiply(u),
    "at.max": lambda x, idx, u: x.at[idx].max(u),
    "at.min": lambda x, idx, u: x.at[idx].min(u),
    "at.add_pairs": lambda x, i0, i1, u: x.at[i0, i1].add(u),
    "jnp.stack": lambda *xs, axis: jnp.stack(xs, axis),
    "lax.concatenate": lambda *xs, dimension: lax.concatenate(xs, dimension),
    "lax.sort": lambda *xs, dimension, num_keys: lax.sort(xs, dimension, num_keys=num_keys),
    "jnp.einsum": lambda *xs, subscripts: jnp.einsum(subscripts, *xs),
    "lax.select_n": lambda which, *cases: lax.select_n(which, *cases),
}


def resolve(op):
    module, name = op.split(".")
    return SYNTAX.get(op) or getattr({"jnp": jnp, "lax": lax, "nn": jax.nn}[module], name)


# The table: (op, inputs, attributes).

def unary():
    domains = {name: f(5, 7, scale=4.0, shift=4.25) for name in
               ("lax.log", "lax.log1p", "lax.sqrt", "lax.rsqrt", "lax.lgamma", "lax.digamma", "lax.reciprocal")}
    domains |= {name: f(5, 7) for name in ("lax.asin", "lax.acos", "lax.atanh", "lax.erf_inv")}
    domains["lax.acosh"] = f(5, 7, scale=4.0, shift=5.0)
    names = """lax.exp lax.exp2 lax.expm1 lax.log lax.log1p lax.sqrt lax.rsqrt lax.cbrt lax.sin lax.cos lax.tan lax.asin
        lax.acos lax.atan lax.sinh lax.cosh lax.tanh lax.asinh lax.acosh lax.atanh lax.logistic lax.erf lax.erfc lax.erf_inv
        lax.floor lax.ceil lax.round jnp.round jnp.trunc lax.sign lax.abs lax.neg lax.is_finite jnp.isnan jnp.isinf lax.square
        lax.reciprocal lax.lgamma lax.digamma nn.relu nn.gelu nn.silu nn.softplus nn.log_sigmoid nn.elu nn.leaky_relu"""
    for name in names.split():
        yield name, [domains.get(name, f(5, 7, scale=4.0))], {}
        yield name, [lit(EDGES)], {}
    yield "nn.gelu", [f(5, 7, scale=4.0)], {"approximate": False}
    for k in (-2, 3):
        yield "lax.integer_pow", [f(5, 7, scale=2.0)], {"y": k}
    for name in ("lax.exp", "lax.tanh", "lax.logistic", "lax.log1p"):
        for dtype in ("bfloat16", "float16"):
            yield name, [f(5, 7, shift=1.0, dtype=dtype)], {}
    ints = [0, 1, -1, 7, -7, IMAX, IMIN]
    for name in ("lax.abs", "lax.neg", "lax.sign", "lax.bitwise_not", "lax.population_count", "lax.clz"):
        yield name, [lit(ints, "int32")], {}
    for name in ("lax.bitwise_not", "lax.population_count", "lax.clz"):
        yield name, [i(9, mod=2**32 - 5, dtype="uint32")], {}
        yield name, [i(9, mod=256, dtype="uint8")], {}
    yield "lax.bitwise_not", [b(9)], {}


def binary():
    for name in "add sub mul div pow atan2 rem max min nextafter".split():
        shift = 1.5 if name == "pow" else 0.0
        yield f"lax.{name}", [f(3, 4, shift=shift), f(3, 4)], {}
    for name in "add subtract multiply divide power arctan2 fmod remainder floor_divide maximum minimum logaddexp".split():
        yield f"jnp.{name}", pairs(FEW), {}
    yield "jnp.floor_divide", [f(5, 7, scale=8.0), f(7, shift=0.125)], {}
    yield "jnp.remainder", [f(5, 7, scale=8.0), f(7, shift=0.125)], {}
    yield "jnp.add", [f(3, 1), f(4)], {}
    yield "jnp.multiply", [f(2, 3, 4), f(3, 1)], {}
    for dtype in ("bfloat16", "float16"):
        for name in ("lax.add", "lax.mul", "lax.div"):
            yield name, [f(3, 4, dtype=dtype), f(3, 4, shift=2.0, dtype=dtype)], {}
    nonzero = [7, -7, 3, -3, 1, -1, 100, -100, IMAX, IMIN]
    for name in "add subtract multiply maximum minimum floor_divide remainder".split():
        yield f"jnp.{name}", pairs(nonzero, "int32"), {}
    for name in ("lax.div", "lax.rem"):
        # Truncation towards zero; by zero: -1 and the dividend.
        left, right = zip(*((p, q) for p in nonzero for q in nonzero + [0]))
        yield name, [lit(left, "int32"), lit(right, "int32")], {}
        yield name, [i(20, mod=1000, dtype="uint32"), i(20, mod=7, dtype="uint32")], {}
    yield "jnp.power", [i(12, mod=9, shift=-4), i(12, mod=6)], {}
    for dtype, mod in (("int32", 2**31), ("uint32", 2**32 - 5), ("uint8", 256)):
        for name in ("and", "or", "xor"):
            yield f"lax.bitwise_{name}", [i(9, mod=mod, dtype=dtype), i(9, mod=mod, dtype=dtype)], {}
        for name in ("shift_left", "shift_right_arithmetic", "shift_right_logical"):
            # Some shifts are at least the width of the type.
            yield f"lax.{name}", [i(40, mod=mod, dtype=dtype), i(40, mod=40, dtype=dtype)], {}
    yield "lax.shift_right_arithmetic", [lit([-8, -1, IMIN, 5], "int32"), lit([1, 40, 31, 1], "int32")], {}
    yield "lax.shift_right_logical", [lit([-8, -1, IMIN, 5], "int32"), lit([1, 40, 31, 1], "int32")], {}
    for name in ("and", "or", "xor"):
        yield f"lax.bitwise_{name}", [b(9), b(9)], {}
    for name in "equal not_equal less less_equal greater greater_equal".split():
        yield f"jnp.{name}", pairs(FEW), {}
    yield "lax.lt", [i(9, mod=5, shift=-2), i(9, mod=5, shift=-2)], {}
    yield "lax.lt", [i(9, mod=2**32 - 5, dtype="uint32"), i(9, mod=2**32 - 5, dtype="uint32")], {}


def conversions():
    yield "lax.convert_element_type", [f(20, scale=64.0)], {"new_dtype": "int32"}
    yield "lax.convert_element_type", [f(20, scale=64.0, shift=64.0)], {"new_dtype": "uint8"}
    yield "lax.convert_element_type", [lit([NAN, INF, -INF, 3e9, -3e9, -0.5, 0.99])], {"new_dtype": "int32"}
    yield "lax.convert_element_type", [lit([NAN, INF, 0.0, -0.0, 0.5])], {"new_dtype": "bool"}
    yield "lax.convert_element_type", [i(9, mod=2**31, dtype="int32")], {"new_dtype": "float32"}
    yield "lax.convert_element_type", [lit([300, -1, -300, 255, 256], "int32")], {"new_dtype": "uint8"}
    yield "lax.convert_element_type", [lit([-1, 5, IMIN], "int32")], {"new_dtype": "uint32"}
    yield "lax.convert_element_type", [b(9)], {"new_dtype": "float32"}
    for dtype in ("bfloat16", "float16"):
        yield "lax.convert_element_type", [f(30, scale=4.0)], {"new_dtype": dtype}
        yield "lax.convert_element_type", [f(30, scale=4.0, dtype=dtype)], {"new_dtype": "float32"}
    yield "lax.bitcast_convert_type", [f(9)], {"new_dtype": "uint32"}
    yield "lax.bitcast_convert_type", [i(9, mod=2**30, dtype="int32")], {"new_dtype": "float32"}


def reductions():
    x = (2, 3, 5)
    for name in "sum mean max min prod".split():
        for axis in (None, 1, -1, (0, 2)):
            yield f"jnp.{name}", [f(*x)], {"axis": axis}
        yield f"jnp.{name}", [f(*x)], {"axis": (1,), "keepdims": True}
        yield f"jnp.{name}", [lit([1.0, NAN, 2.0, INF, -1.0, -INF], shape=(3, 2))], {"axis": 1}
    for name in "sum prod max min".split():
        yield f"jnp.{name}", [i(4, 5, mod=100, shift=-50)], {"axis": 0}
    yield "jnp.sum", [f(0, 3)], {"axis": 0}
    yield "jnp.sum", [f(1000)], {"axis": None}
    yield "jnp.sum", [f(5, 40, dtype="bfloat16")], {"axis": 1}
    yield "jnp.sum", [b(5, 9)], {"axis": 1}
    for name in "argmax argmin".split():
        for axis in (None, 0, 2):
            yield f"jnp.{name}", [f(*x)], {"axis": axis}
        yield f"jnp.{name}", [f(*x)], {"axis": 1, "keepdims": True}
        yield f"jnp.{name}", [i(4, 9, mod=3)], {"axis": 1}
        yield f"jnp.{name}", [lit([1.0, NAN, 2.0, NAN])], {"axis": 0}
    for name in "any all".split():
        for axis in (None, 1):
            yield f"jnp.{name}", [b(4, 3)], {"axis": axis}
    for name in "var std".split():
        for ddof in (0, 1):
            yield f"jnp.{name}", [f(*x)], {"axis": 2, "ddof": ddof}
    for axis in (None, 0, (1, 2)):
        yield "nn.logsumexp", [f(*x, scale=8.0)], {"axis": axis}
    yield "nn.logsumexp", [f(*x, scale=128.0)], {"axis": 1, "keepdims": True}
    yield "nn.logsumexp", [lit([-INF, -INF, 1.0, INF, 0.0, -INF], shape=(3, 2))], {"axis": 1}
    for name in "softmax log_softmax".split():
        for axis in (-1, 0):
            yield f"nn.{name}", [f(*x, scale=8.0)], {"axis": axis}
    for name in "cumsum cumprod cummax cummin cumlogsumexp".split():
        for axis, reverse in ((0, False), (1, False), (2, True)):
            yield f"lax.{name}", [f(3, 4, 7)], {"axis": axis, "reverse": reverse}
    yield "lax.cumsum", [i(50, mod=9, shift=-4)], {"axis": 0, "reverse": False}
    yield "lax.cumsum", [f(300)], {"axis": 0, "reverse": False}


def sorting():
    mixed = lit([3.0, NAN, -1.0, INF, 0.0, -0.0, -INF, 2.0, NAN, -1.0])
    for name in "sort argsort".split():
        for axis in (0, -1):
            yield f"jnp.{name}", [f(4, 6)], {"axis": axis}
        for descending in (False, True):
            yield f"jnp.{name}", [mixed], {"axis": 0, "descending": descending}
            yield f"jnp.{name}", [i(30, mod=5)], {"axis": 0, "descending": descending}
        yield f"jnp.{name}", [i(9, mod=2**32 - 5, dtype="uint32")], {"axis": 0}
    yield "lax.sort", [i(20, mod=4), i(20, mod=3), f(20)], {"dimension": 0, "num_keys": 1}
    yield "lax.sort", [i(20, mod=4), i(20, mod=3), f(20)], {"dimension": 0, "num_keys": 2}
    yield "lax.top_k", [f(3, 10)], {"k": 4}
    yield "lax.top_k", [i(3, 10, mod=4)], {"k": 5}
    yield "lax.top_k", [mixed], {"k": 6}
    yield "lax.top_k", [f(10)], {"k": 1}


def indexing():
    outside = lit([0, -1, 4, 5, -6, 2, 100], "int32")
    for axis in (0, 1):
        yield "jnp.take", [f(5, 6), i(3, mod=5)], {"axis": axis}
        for mode in ("clip", "fill", "wrap"):
            yield "jnp.take", [f(5, 6), outside], {"axis": axis, "mode": mode}
    yield "jnp.take", [i(5, mod=9), outside], {"axis": 0, "mode": "fill"}
    yield "jnp.take", [f(5, 6), i(2, 3, mod=5)], {"axis": 0}
    yield "jnp.take_along_axis", [f(4, 6), i(4, 2, mod=6)], {"axis": 1}
    yield "jnp.take_along_axis", [f(4, 6), i(2, 6, mod=4)], {"axis": 0}
    yield "index.rows", [f(5, 3), i(7, mod=5)], {}
    yield "index.rows", [f(5, 3), lit([-1, -5, 0], "int32")], {}
    yield "index.rows", [f(5, 3, 2), i(2, 2, mod=5)], {}
    yield "index.pairs", [f(5, 3), i(7, mod=5), i(7, mod=3)], {}
    for name in "add max min multiply".split():
        # Repeated indices accumulate.
        yield f"at.{name}", [f(5, 3), i(9, mod=5), f(9, 3)], {}
    # Out of range: -1 counts from the end, 5 and -6 are dropped.
    yield "at.add", [f(5, 3), lit([0, -1, 5, -6, 0], "int32"), f(5, 3)], {}
    yield "at.set", [f(5, 3), lit([3, 0, 7], "int32"), f(3, 3)], {}
    yield "at.add_pairs", [f(5, 3), i(9, mod=5), i(9, mod=3), f(9)], {}
    yield "at.add", [i(5, mod=9), i(20, mod=5), i(20, mod=9)], {}
    yield "lax.slice", [f(5, 7)], {"start_indices": (1, 0), "limit_indices": (4, 7), "strides": (1, 3)}
    yield "lax.slice", [f(5, 7)], {"start_indices": (0, 2), "limit_indices": (5, 2), "strides": (1, 1)}
    for start in ((1, 2), (4, 6), (-1, -3), (-9, 100)):
        # A start counts from the end when negative, then is clamped.
        yield "lax.dynamic_slice", [f(5, 7)], {"start_indices": start, "slice_sizes": (2, 3)}
        yield "lax.dynamic_update_slice", [f(5, 7), f(2, 3)], {"start_indices": start}


def products():
    for subscripts, *shapes in [
        ("ij,jk->ik", (3, 4), (4, 5)), ("ij,kj->ki", (3, 4), (5, 4)), ("bij,bjk->bik", (2, 3, 4), (2, 4, 5)),
        ("bij,bkj->bik", (2, 3, 4), (2, 5, 4)), ("i,j->ij", (3,), (4,)), ("ij->ji", (3, 4)), ("ii->i", (4, 4)), ("ii", (4, 4)),
        ("ij->", (3, 4)), ("ijk,k->ij", (2, 3, 4), (4,)), ("bhqd,bhkd->bhqk", (2, 2, 3, 4), (2, 2, 5, 4)),
        ("ij,jk,kl->il", (2, 3), (3, 4), (4, 5)), ("...ij,jk->...ik", (2, 2, 3, 4), (4, 5)), ("ijk->ik", (2, 3, 4)),
    ]:
        yield "jnp.einsum", [f(*s) for s in shapes], {"subscripts": subscripts}
    for left, right in [((4,), (4,)), ((3, 4), (4,)), ((4,), (4, 3)), ((3, 4), (4, 5)), ((2, 3, 4), (4, 5)), ((2, 3, 4), (5, 4, 6))]:
        yield "jnp.dot", [f(*left), f(*right)], {}
    for left, right in [((4,), (4,)), ((3, 4), (4,)), ((4,), (2, 4, 3)), ((2, 3, 4), (4, 5)), ((2, 3, 4), (2, 4, 5)), ((2, 1, 3, 4), (5, 4, 2))]:
        yield "jnp.matmul", [f(*left), f(*right)], {}
    yield "jnp.matmul", [i(3, 4, mod=9), i(4, 5, mod=9)], {}
    yield "jnp.matmul", [f(3, 40, dtype="bfloat16"), f(40, 5, dtype="bfloat16")], {}
    yield "jnp.matmul", [f(33, 70), f(70, 65)], {}
    yield "jnp.tensordot", [f(3, 4, 5), f(4, 5, 6)], {"axes": 2}
    yield "jnp.tensordot", [f(3, 4, 5), f(5, 3)], {"axes": ((0, 2), (1, 0))}
    yield "jnp.outer", [f(3), f(4)], {}
    for dims, left, right in [
        ((((1,), (0,)), ((), ())), (3, 4), (4, 5)), ((((2,), (1,)), ((0,), (0,))), (2, 3, 4), (2, 4, 5)),
        ((((1, 2), (2, 0)), ((), ())), (3, 4, 5), (5, 6, 4)), ((((0,), (2,)), ((1,), (0,))), (4, 2, 3), (2, 5, 4)),
        ((((), ()), ((0,), (0,))), (3, 2), (3, 4)),
    ]:
        yield "lax.dot_general", [f(*left), f(*right)], {"dimension_numbers": dims}


def shapes():
    zero = lit([0.5], shape=())
    for config in (((1, 2, 0), (0, 1, 0)), ((0, 0, 1), (2, 0, 2)), ((-1, 1, 0), (0, -2, 0)), ((-1, 0, 2), (3, -1, 1))):
        yield "lax.pad", [f(4, 5), zero], {"padding_config": config}
    for axis in (0, 1, -1):
        yield "lax.concatenate", [f(2, 3, 4), f(2, 3, 4)], {"dimension": axis % 3}
        yield "jnp.stack", [f(3, 4), f(3, 4), f(3, 4)], {"axis": axis}
        yield "jnp.flip", [f(2, 3, 4)], {"axis": axis}
        yield "jnp.split", [f(6, 4, 8)], {"indices_or_sections": 2, "axis": axis}
        yield "jnp.roll", [f(3, 4, 5)], {"shift": 2, "axis": axis}
        yield "jnp.expand_dims", [f(3, 4)], {"axis": axis}
    yield "jnp.split", [f(7, 2)], {"indices_or_sections": (2, 5), "axis": 0}
    yield "jnp.roll", [f(3, 4)], {"shift": (-1, 6), "axis": (0, 1)}
    yield "lax.concatenate", [f(2, 3), f(1, 3), f(0, 3)], {"dimension": 0}
    yield "jnp.tile", [f(2, 3)], {"reps": (2, 1, 2)}
    yield "jnp.repeat", [f(2, 3)], {"repeats": 3, "axis": 1}
    yield "jnp.reshape", [f(2, 6)], {"shape": (3, -1)}
    yield "jnp.transpose", [f(2, 3, 4)], {"axes": (2, 0, 1)}
    yield "jnp.swapaxes", [f(2, 3, 4)], {"axis1": 0, "axis2": 2}
    yield "jnp.moveaxis", [f(2, 3, 4)], {"source": 0, "destination": 2}
    yield "jnp.squeeze", [f(2, 1, 3, 1)], {"axis": (1, 3)}
    yield "jnp.broadcast_to", [f(3, 1)], {"shape": (2, 3, 4)}
    yield "lax.broadcast_in_dim", [f(3, 1)], {"shape": (3, 2, 4), "broadcast_dimensions": (0, 2)}
    yield "lax.rev", [f(2, 3, 4)], {"dimensions": (0, 2)}
    yield "lax.iota", [], {"dtype": "int32", "size": 7}
    yield "lax.broadcasted_iota", [], {"dtype": "float32", "shape": (3, 4), "dimension": 1}
    yield "jnp.arange", [], {"start": 2, "stop": 11, "step": 3, "dtype": "int32"}
    yield "jnp.arange", [], {"start": 0.5, "stop": 3.0, "step": 0.25, "dtype": "float32"}
    yield "jnp.linspace", [], {"start": -1.0, "stop": 2.0, "num": 11}
    yield "jnp.linspace", [], {"start": 0.1, "stop": 0.7, "num": 7, "endpoint": False}
    yield "jnp.eye", [], {"N": 3, "M": 5, "k": 1}
    yield "jnp.tri", [], {"N": 4, "M": 5, "k": -1}
    for k in (-1, 0, 2):
        yield "jnp.tril", [f(4, 5)], {"k": k}
        yield "jnp.triu", [f(2, 4, 5)], {"k": k}
    yield "jnp.where", [b(3, 4), f(3, 4), f(4)], {}
    yield "lax.select_n", [i(9, mod=3), f(9), f(9), f(9)], {}
    yield "jnp.clip", [f(3, 4)], {"min": -0.25, "max": 0.5}
    yield "jnp.clip", [lit(FEW)], {"min": -1.0, "max": 1.0}
    yield "lax.clamp", [f(3, 4, shift=-0.5), f(3, 4), f(3, 4, shift=0.5)], {}
    yield "nn.one_hot", [lit([0, 3, -1, 4, 2], "int32")], {"num_classes": 4}
    yield "jnp.diag", [f(4)], {"k": 0}
    yield "jnp.diagonal", [f(3, 5)], {"offset": 1}


def main():
    golden = common.Golden("ops", __file__)
    counts = {}
    for table in (unary, binary, conversions, reductions, sorting, indexing, products, shapes):
        for op, inputs, attrs in table():
            n = len(golden.cases)
            inputs = [s if "values" in s else {**s, "salt": 10 * n + j} for j, s in enumerate(inputs)]
            out = resolve(op)(*(jnp.asarray(build(s)) for s in inputs), **attrs)
            many = isinstance(out, (tuple, list))
            outputs = {f"out{j}": o for j, o in enumerate(out)} if many else {"out": out}
            k = counts[op] = counts.get(op, -1) + 1
            golden.case(f"{op}/{k:02}", outputs, op=op, inputs=inputs, attrs=attrs)
    golden.save()


if __name__ == "__main__":
    main()
