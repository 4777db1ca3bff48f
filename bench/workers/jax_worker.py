"""JAX with Flax in the benchmark: `jax.jit` of `jax.lax.scan` over the cell, as a user writes it."""

import os

# JAX must not find another processor than the others have.
os.environ["JAX_PLATFORMS"] = "cpu"

import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from safetensors.numpy import load_file, save_file

import protocol

CELLS = {"gru": nnx.GRUCell, "lstm": nnx.OptimizedLSTMCell, "simple": nnx.SimpleCell}
DTYPES = {"f32": jnp.float32, "bf16": jnp.bfloat16}


class Model:
    """The cells of a case and their parameters, which are plain dictionaries."""

    def __init__(self, case, data):
        self.dtype = DTYPES[case["dtype"]]
        self.h = case["h"]
        self.is_lstm = case["cell"] == "lstm"
        self.layers, self.graphs = [], []
        for layer in range(case["layers"]):
            d = case["d"] if layer == 0 else case["h"]
            graph, state = nnx.split(nnx.eval_shape(lambda: self.cell(case["cell"], d)))
            prefix = f"layers.{layer}."
            read = lambda path, _: jnp.asarray(data[prefix + name_of(path)], self.dtype)
            parameters = jax.tree_util.tree_map_with_path(read, nnx.to_pure_dict(state))
            self.layers.append(parameters)
            self.graphs.append(graph)

    def cell(self, name, d):
        types = {"dtype": self.dtype, "param_dtype": self.dtype}
        return CELLS[name](d, self.h, **types, rngs=nnx.Rngs(0))

    def forward(self, layers, x):
        """The final carries, and the outputs of all steps."""
        carries = []
        zeros = jnp.zeros([*x.shape[1:-1], self.h], self.dtype)
        for graph, parameters in zip(self.graphs, layers):
            cell = nnx.merge(graph, parameters)
            carry, x = jax.lax.scan(cell, (zeros, zeros) if self.is_lstm else zeros, x)
            carries.append(carry)
        return carries, x

    def loss(self, layers, x):
        """The mean squares of the last state and of all outputs, added."""
        carries, ys = self.forward(layers, x)
        last = jax.tree.leaves(carries)[-1]
        return mean_square(last) + mean_square(ys)


def mean_square(x):
    return jnp.mean(jnp.square(x.astype(jnp.float32)))


def name_of(path):
    return ".".join(str(getattr(key, "key", getattr(key, "idx", None))) for key in path)


def prepare(case):
    # One sequence can also be a batch of one.
    has_axis = case.get("axis", False)
    if has_axis and case["batch"] != 1:
        raise protocol.Unsupported("there is a batch axis in any case")
    jax.clear_caches()
    data = load_file(case["data"])
    model = Model(case, data)
    x = jnp.asarray(data["x"][:, None] if has_axis else data["x"], model.dtype)
    jax.block_until_ready((model.layers, x))
    kind = case["kind"]
    if kind == "train":
        return train(case, model, x)
    if kind == "grad":
        both = jax.value_and_grad(model.loss)
        named = lambda layers, x: dict(zip(("loss", "layers"), both(layers, x)))
        return pure(case, named, model.layers, x)
    if kind == "bound_loop":
        return bound_loop(case, model, x)
    if kind == "bound_product":
        kernel = model.layers[0]["dense_i"]["kernel"]
        return pure(case, lambda x: first_and_all(x.reshape(-1, x.shape[-1]) @ kernel), x)
    # The weights are closed over.
    if kind == "forward":
        return pure(case, lambda x: {"carry": model.forward(model.layers, x)[0]}, x)
    return pure(case, lambda x: dict(zip(("carry", "ys"), model.forward(model.layers, x))), x)


def first_and_all(product):
    return product[0], product


def bound_loop(case, model, x):
    """The loop with nothing in it but the recurrent product."""
    kernel = 0.1 * model.layers[0]["dense_h"]["kernel"]
    start = jnp.ones([*x.shape[1:-1], model.h], model.dtype)

    def run(start):
        def step(h, _):
            r, z, n = jnp.split(h @ kernel, 3, axis=-1)
            return start + r + z + n, None

        return {"carry": [jax.lax.scan(step, start, length=case["t"])[0]]}

    return pure(case, run, start)


def compiled(function, arguments, **options):
    """The compiled function, and what to answer about it."""
    start = time.perf_counter()
    lowered = jax.jit(function, **options).lower(*arguments)
    lower_s = time.perf_counter() - start
    program = lowered.compile()
    compile_s = time.perf_counter() - start - lower_s
    memory = program.memory_analysis()
    temp_bytes = memory and memory.temp_size_in_bytes
    return program, {"lower_s": lower_s, "compile_s": compile_s, "temp_bytes": temp_bytes}


def pure(case, function, *arguments):
    program, answer = compiled(function, arguments)
    write(case, program(*arguments))
    return answer | {"call": lambda: jax.block_until_ready(program(*arguments))}


def train(case, model, x):
    """A step gives away its parameters and the optimiser's state, and goes on with the new ones."""
    optimizer = optax.adam(case["learning_rate"])

    def step(layers, state, x):
        loss, gradient = jax.value_and_grad(model.loss)(layers, x)
        updates, state = optimizer.update(gradient, state, layers)
        return loss, optax.apply_updates(layers, updates), state

    arguments = [model.layers, optimizer.init(model.layers), x]
    program, answer = compiled(step, arguments, donate_argnums=(0, 1))

    def call():
        loss, arguments[0], arguments[1] = program(*arguments)
        return jax.block_until_ready((loss, arguments[:2]))[0]

    loss = call()
    write(case, {"loss": loss, "layers": arguments[0], "mu": arguments[1][0].mu})
    return answer | {"call": call}


def write(case, results):
    """Writes results in `f32`, under their paths."""
    arrays = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(results):
        name = name_of(path)
        if case.get("axis") and name.startswith(("carry", "ys")):
            leaf = leaf.squeeze(-2)
        arrays[name] = np.array(leaf, np.float32, order="C")
    save_file(arrays, case["outputs"])


if __name__ == "__main__":
    protocol.serve(prepare)
