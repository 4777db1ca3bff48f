"""Golden data of whole trainings: the losses of the programs in `examples/`, written for JAX, Flax and optax.

The models, the optimisers and their settings are those of the examples; sizes and data are small.
"""

import common  # First: it chooses the platform.
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

NOVEL = common.HERE.parent.parent / "examples" / "data" / "moby_dick.txt"


class CharLm(nnx.Module):
    """`examples/common/char_model.rs`."""

    def __init__(self, vocabulary, hidden, rngs):
        self.embed = nnx.Embed(vocabulary, hidden, rngs=rngs)
        self.cell = nnx.GRUCell(hidden, hidden, rngs=rngs)
        self.head = nnx.Linear(hidden, vocabulary, rngs=rngs)

    def loss(self, windows):
        inputs, targets = windows[:, :-1], windows[:, 1:]
        hs = nnx.RNN(self.cell)(self.embed(inputs))
        logits = self.head(hs)
        return optax.softmax_cross_entropy_with_integer_labels(logits, targets).mean()


def train(model, optimizer, loss, batches):
    """The losses before each step and the norms of the parameters at the end, by path."""
    graph, params = nnx.split(model)
    state = optimizer.init(params)

    @jax.jit
    def step(params, state, batch):
        value, grads = jax.value_and_grad(lambda p: loss(nnx.merge(graph, p), batch))(params)
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state, value

    losses = []
    for batch in batches:
        params, state, value = step(params, state, batch)
        losses.append(np.float32(value))
    leaves = nnx.to_flat_state(params)
    norms = {".".join(map(str, path)): np.float32(jnp.linalg.norm(leaf[...])) for path, leaf in leaves}
    return np.array(losses), norms


def case(golden, name, losses, norms, **settings):
    outputs = {"losses": losses} | {f"norm/{path}": norm for path, norm in norms.items()}
    golden.case(name, outputs, **settings)


def char_lm(golden):
    settings = dict(characters=20_000, batch=8, length=32, hidden=32, learning_rate=0.01, seed=0, steps=200)
    text = NOVEL.read_bytes()[: settings["characters"]]
    vocabulary = sorted(set(text))
    tokens = np.array([vocabulary.index(byte) for byte in text], np.int32)
    batch, length = settings["batch"], settings["length"]
    windows = (len(tokens) - 1) // length

    def batches():
        for step in range(settings["steps"]):
            starts = [(step * batch + row) % windows * length for row in range(batch)]
            yield np.stack([tokens[start : start + length + 1] for start in starts])

    rate = settings["learning_rate"]
    schedule = optax.join_schedules(
        [optax.linear_schedule(0.0, rate, 50), optax.exponential_decay(rate, 1000, 0.5)], [50]
    )
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule))
    model = CharLm(len(vocabulary), settings["hidden"], nnx.Rngs(settings["seed"]))
    losses, norms = train(model, optimizer, lambda m, b: m.loss(b), batches())
    case(golden, "char_lm", losses, norms, **settings)


def main():
    golden = common.Golden("training", __file__)
    char_lm(golden)
    golden.save(optax=optax.__version__)


if __name__ == "__main__":
    main()
