"""Layers, recurrent networks over sequences, and lifted transformations of Flax NNX.

A case has the parameters of a module (`params/<path>`), which are those of `Rngs(seed)` unless the case
says otherwise, and what the module makes of ramps: `y`, the gradients of a loss with respect to every
parameter (`grads/<path>`) and to the input (`dx`), and the state afterwards (`state/<path>`). Keys
are stored as uint32 pairs. The loss is the sum of every output times a ramp of its shape, whose salt is
100 for the first output, 101 for the second, and so on.
"""

import itertools

import common
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx


def ramp(shape, salt):
    return jnp.asarray(common.ramp(shape, salt))


def flat(prefix, state):
    """`prefix/path` -> value for every variable of a state."""
    values = {}
    for path, variable in nnx.to_flat_state(state):
        value = variable.get_value()
        if jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
            value = jax.random.key_data(value)
        values[f"{prefix}/{'.'.join(map(str, path))}"] = value
    return values


def params_of(module):
    return flat("params", nnx.state(module, nnx.Param))


def state_of(module):
    return flat("state", nnx.state(module, nnx.Not(nnx.Param)))


def weighted(outputs):
    """The loss."""
    return sum(jnp.sum(out * ramp(out.shape, 100 + i)) for i, out in enumerate(jax.tree.leaves(outputs)))


def gradients(module, call, x):
    """The outputs of `call(module, x)`, which changes the module, the gradients and what it leaves."""
    graphdef, params, rest = nnx.split(module, nnx.Param, ...)

    def loss(params, x):
        model = nnx.merge(graphdef, params, rest, copy=True)
        outputs = call(model, x)
        return weighted(outputs), (outputs, nnx.state(model, nnx.Not(nnx.Param)))

    argnums = (0, 1) if jnp.issubdtype(x.dtype, jnp.floating) else 0
    grads, (outputs, state) = jax.grad(loss, argnums=argnums, has_aux=True)(params, x)
    found = {}
    if argnums == (0, 1):
        grads, found["dx"] = grads
    return outputs, {**found, **flat("grads", grads)}, flat("state", state)


def with_ramps(module):
    """The module with parameters that are not zeros and ones: ramps around what they were."""
    for i, (_, variable) in enumerate(nnx.to_flat_state(nnx.state(module, nnx.Param))):
        variable.set_value(variable.get_value() + 0.5 * ramp(variable.get_value().shape, 50 + i))
    return module


LAYERS = {
    "embed": (lambda rngs: nnx.Embed(7, 4, rngs=rngs), None),
    "embed_one": (lambda rngs: nnx.Embed(1, 4, rngs=rngs), None),
    "layer_norm": (lambda rngs: nnx.LayerNorm(6, rngs=rngs), (3, 6)),
    "layer_norm_plain": (lambda rngs: nnx.LayerNorm(6, use_bias=False, use_scale=False, rngs=rngs), (2, 3, 6)),
    "layer_norm_epsilon": (
        lambda rngs: nnx.LayerNorm(6, epsilon=1e-2, scale_init=nnx.initializers.normal(1.0), rngs=rngs), (6,)),
    "rms_norm": (lambda rngs: nnx.RMSNorm(6, rngs=rngs), (3, 6)),
    "rms_norm_plain": (lambda rngs: nnx.RMSNorm(6, use_scale=False, epsilon=1e-3, rngs=rngs), (2, 6)),
    "batch_norm": (lambda rngs: nnx.BatchNorm(6, rngs=rngs), (5, 6)),
    "batch_norm_momentum": (lambda rngs: nnx.BatchNorm(6, momentum=0.5, epsilon=1e-2, rngs=rngs), (2, 3, 6)),
    "batch_norm_axis": (lambda rngs: nnx.BatchNorm(3, axis=1, use_bias=False, rngs=rngs), (4, 3, 5)),
    "batch_norm_eval": (lambda rngs: nnx.BatchNorm(6, use_running_average=True, rngs=rngs), (5, 6)),
}


def add_layers(golden):
    for k, (name, (make, shape)) in enumerate(LAYERS.items()):
        module = make(nnx.Rngs(k))
        drawn = {f"drawn/{key[7:]}": value for key, value in params_of(module).items()}
        module = with_ramps(module)
        if shape is None:
            # Out of range on both sides: NaN, which is no input for a gradient.
            wild = jnp.asarray([[0, -1, 3], [99, 6, -8]], jnp.int32)
            x = jnp.asarray([[0, 1, 3], [3, -1, 0]], jnp.int32)
            more = {"wild": module(wild), "attended": module.attend(ramp((2, 4), 7))}
        else:
            x, more = ramp(shape, k) * 2.0, {}
        before, params = state_of(module), params_of(module)
        y, grads, state = gradients(module, lambda module, x: module(x), x)
        golden.case(f"layer/{name}", {"x": x, "y": y, **more, **drawn, **params, **grads, **state}, seed=k)
        assert name == "batch_norm_eval" or not before or any((before[p] != state[p]).any() for p in before)


def add_dropouts(golden):
    cases = [(0, 0.5, (), (40,)), (1, 0.1, (), (4, 5, 6)), (2, 0.9, (0,), (4, 5)), (3, 0.3, (0, -1), (3, 4, 5)),
             (4, 0.0, (), (8,)), (5, 1.0, (), (8,))]
    for k, (seed, rate, dims, shape) in enumerate(cases):
        rngs = nnx.Rngs(seed) if k % 2 else nnx.Rngs(seed, dropout=seed + 100)
        nnx.Linear(1, 1, rngs=rngs)
        dropout = nnx.Dropout(rate, broadcast_dims=dims, rngs=rngs)
        x = ramp(shape, k) + 2.0
        outputs = {f"y{i}": dropout(x) for i in range(3)}
        keyed = dropout(x, rngs=jax.random.key(9))
        next_key = jax.random.key_data(rngs.dropout())
        golden.case(f"dropout/{k}", {**outputs, "keyed": keyed, "next_key": next_key, **state_of(dropout)}, seed=seed,
                    rate=rate, broadcast_dims=dims, shape=shape, own_stream=k % 2 == 0)


class Mlp(nnx.Module):
    def __init__(self, rngs):
        self.layers = nnx.List([
            nnx.Linear(3, 8, rngs=rngs), nnx.BatchNorm(8, rngs=rngs), nnx.Dropout(0.2, rngs=rngs), nnx.Linear(8, 2, rngs=rngs)])

    def __call__(self, x):
        linear, norm, dropout, last = self.layers
        return last(dropout(nnx.gelu(norm(linear(x)))))


def add_mlp(golden):
    module = Mlp(nnx.Rngs(3))
    x = ramp((6, 3), 0)
    params = params_of(module)
    y, grads, state = gradients(module, lambda module, x: module(x), x)
    golden.case("mlp", {"y": y, **params, **grads, **state}, seed=3)


CELLS = {"gru": nnx.GRUCell, "lstm": nnx.LSTMCell, "optimized_lstm": nnx.OptimizedLSTMCell, "simple": nnx.SimpleCell}
DIRECTIONS = [(False, False), (True, False), (True, True)]
TIME, FEATURES, HIDDEN = 5, 3, 4
LENGTHS = jnp.asarray([5, 0, 3, 1], jnp.int32)


def last_carries(cell, carry, x, reverse):
    """The carry after the first `LENGTHS` steps of each sequence, [batch, time, features], one at a time."""
    lasts = []
    for b, length in enumerate(LENGTHS.tolist()):
        h = jax.tree.map(lambda leaf: leaf[b], carry)
        steps = x[b, :length][::-1] if reverse else x[b, :length]
        for x_t in steps:
            h, _ = cell(h, x_t)
        lasts.append(h)
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *lasts)


def run_rnn(module, x, init, lengths, options):
    """Last carry and outputs. Flax takes the carry of a sequence of length 0 from the wrong end."""
    carry, ys = module(x, initial_carry=init, seq_lengths=lengths, return_carry=True, **options)
    if lengths is not None:
        choose = lambda leaf, first: jnp.where((lengths == 0)[:, None], first, leaf)
        carry = jax.tree.map(choose, carry, init)
    return carry, ys


def add_rnns(golden):
    options = itertools.product(CELLS.items(), DIRECTIONS, [False, True], [False, True])
    for k, ((cell_name, cls), (reverse, keep_order), padded, time_major) in enumerate(options):
        batch = (4,) if padded else [(), (2,), (2, 3)][k % 3]
        module = nnx.RNN(cls(FEATURES, HIDDEN, rngs=nnx.Rngs(k)), unroll=1 + k % 2)
        params = params_of(module)
        shape = (TIME, *batch, FEATURES) if time_major else (*batch, TIME, FEATURES)
        x = ramp(shape, k)
        parts = ["c", "h"] if "lstm" in cell_name else ["h"]
        ramped = k % 5 > 0
        carry = [ramp((*batch, HIDDEN), 200 + i) * float(ramped) for i in range(len(parts))]
        init = tuple(carry) if len(parts) > 1 else carry[0]
        lengths = LENGTHS if padded else None
        how = dict(reverse=reverse, keep_order=keep_order, time_major=time_major)
        call = lambda module, x: run_rnn(module, x, init, lengths, how)
        (last, ys), grads, _ = gradients(module, call, x)
        if padded:
            sequences = jnp.moveaxis(x, 0, 1) if time_major else x
            again = last_carries(module.cell, init, sequences, reverse)
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), last, again)
        lasts = last if len(parts) > 1 else (last,)
        golden.case(f"rnn/{k}", {**{f"last.{p}": l for p, l in zip(parts, lasts)}, "ys": ys, **params, **grads},
                    cell=cell_name, seed=k, batch=batch, salt=k, padded=padded, parts=parts, unroll=1 + k % 2,
                    ramped_carry=ramped, **how)


def add_bidirectional(golden):
    for k, (padded, time_major, merged) in enumerate(itertools.product([False, True], [False, True], ["concatenate", "sum"])):
        rngs = nnx.Rngs(k)
        there = nnx.RNN(nnx.GRUCell(FEATURES, HIDDEN, rngs=rngs))
        back = nnx.RNN(nnx.SimpleCell(FEATURES, HIDDEN, rngs=rngs))
        more = {} if merged == "concatenate" else {"merge_fn": lambda a, b: a + b}
        module = nnx.Bidirectional(there, back, time_major=time_major, **more)
        x = ramp((TIME, 4, FEATURES) if time_major else (4, TIME, FEATURES), k)
        init = (ramp((4, HIDDEN), 200), ramp((4, HIDDEN), 201))
        call = lambda module, x: run_rnn(module, x, init, LENGTHS if padded else None, {})
        params = params_of(module)
        ((last_there, last_back), ys), grads, _ = gradients(module, call, x)
        golden.case(f"bidirectional/{k}", {"last.there": last_there, "last.back": last_back, "ys": ys, **params, **grads},
                    seed=k, padded=padded, time_major=time_major, merged=merged)


class Block(nnx.Module):
    def __init__(self, rngs):
        self.dense = nnx.Linear(4, 4, rngs=rngs)
        self.norm = nnx.BatchNorm(4, momentum=0.9, rngs=rngs)
        self.dropout = nnx.Dropout(0.25, rngs=rngs)

    def __call__(self, x):
        return self.dropout(nnx.relu(self.norm(self.dense(x)))) + x


def add_scan_over_layers(golden):
    rngs = nnx.Rngs(11)

    @nnx.split_rngs(splits=4)
    @nnx.vmap(in_axes=(0,), out_axes=0)
    def make(rngs):
        return Block(rngs)

    blocks = make(rngs)
    first = state_of(blocks)
    params = params_of(blocks)
    x = ramp((6, 4), 0)

    def call(blocks, x):
        @nnx.scan(in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)
        def forward(x, block):
            return block(x)

        return forward(x, blocks)

    y, grads, state = gradients(blocks, call, x)
    made = {f"made/{path[6:]}": value for path, value in first.items()}
    after = jax.random.key_data(rngs())
    golden.case("scan/layers", {"y": y, "next_key": after, **params, **grads, **state, **made}, seed=11)


class Counter(nnx.Variable):
    pass


class Recurrent(nnx.Module):
    def __init__(self, rngs):
        self.dense = nnx.Linear(4, 4, rngs=rngs)
        self.norm = nnx.BatchNorm(4, momentum=0.8, rngs=rngs)
        self.dropout = nnx.Dropout(0.25, rngs=rngs)
        self.steps = Counter(jnp.asarray(0, jnp.int32))

    def __call__(self, h, x):
        self.steps[...] += 1
        h = jnp.tanh(self.dropout(self.norm(self.dense(h + x))))
        return h, h * 2.0


def add_scan_with_state(golden):
    for k, reverse in enumerate([False, True]):
        module = Recurrent(nnx.Rngs(k))
        x = ramp((7, 5, 4), k)
        params = params_of(module)

        def call(module, x):
            axes = nnx.StateAxes({nnx.Param: None, ...: nnx.Carry})

            @nnx.scan(in_axes=(axes, nnx.Carry, 0), out_axes=(nnx.Carry, 0), reverse=reverse)
            def step(module, h, x):
                return module(h, x)

            h, ys = step(module, jnp.zeros((5, 4)), x)
            return h, ys

        (h, ys), grads, state = gradients(module, call, x)
        golden.case(f"scan/state/{k}", {"h": h, "ys": ys, **params, **grads, **state}, seed=k, reverse=reverse)


class Noise(nnx.Module):
    def __init__(self, rngs):
        self.rngs = rngs.noise.fork()
        self.other = rngs.other.fork()


def add_split_rngs(golden):
    module = Noise(nnx.Rngs(5, noise=6))
    axes = nnx.StateAxes({nnx.PathContains("rngs"): 0, ...: nnx.Carry})

    @nnx.split_rngs(splits=3, only=nnx.PathContains("rngs"))
    @nnx.scan(in_axes=(axes, 0), out_axes=0)
    def step(module, x):
        first, second = module.rngs(), module.rngs()
        return tuple(jax.random.key_data(key) for key in (first, second, module.other()))

    first, second, other = step(module, jnp.zeros((3,)))
    golden.case("scan/split_rngs", {"first": first, "second": second, "other": other, **state_of(module)}, seed=5)


def main():
    golden = common.Golden("nn", __file__)
    add_layers(golden)
    add_dropouts(golden)
    add_mlp(golden)
    add_rnns(golden)
    add_bidirectional(golden)
    add_scan_over_layers(golden)
    add_scan_with_state(golden)
    add_split_rngs(golden)
    golden.save()


if __name__ == "__main__":
    main()
