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
        self.rnn = nnx.RNN(nnx.GRUCell(hidden, hidden, rngs=rngs))
        self.head = nnx.Linear(hidden, vocabulary, rngs=rngs)

    def loss(self, windows):
        inputs, targets = windows[:, :-1], windows[:, 1:]
        hs = self.rnn(self.embed(inputs))
        logits = self.head(hs)
        return optax.softmax_cross_entropy_with_integer_labels(logits, targets).mean()


class SequenceClassifier(nnx.Module):
    """`examples/common/sequence_classifier.rs`."""

    def __init__(self, symbols, hidden, classes, rngs):
        self.symbols = symbols
        self.rnn = nnx.RNN(nnx.GRUCell(symbols, hidden, rngs=rngs), return_carry=True)
        self.head = nnx.Linear(hidden, classes, rngs=rngs)

    def loss(self, batch):
        tokens, lengths, labels = batch
        h, _ = self.rnn(jax.nn.one_hot(tokens, self.symbols), seq_lengths=lengths)
        return optax.softmax_cross_entropy_with_integer_labels(self.head(h), labels).mean()


def train(model, optimizer, loss, batches):
    """The losses before each step and the norms of the parameters at the end, by path."""
    graph, params, others = nnx.split(model, nnx.Param, ...)
    state = optimizer.init(params)

    @jax.jit
    def step(params, state, batch):
        value, grads = jax.value_and_grad(lambda p: loss(nnx.merge(graph, p, others, copy=True), batch))(params)
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


def classify_sequences(golden):
    settings = dict(batch=32, max_length=16, hidden=32, learning_rate=0.01, seed=0, steps=100)
    rows, max_length = settings["batch"], settings["max_length"]

    def batches():
        for step in range(settings["steps"]):
            tokens = common.ramp_int((rows, max_length), 2 * step, 6)
            lengths = common.ramp_int((rows,), 2 * step + 1, max_length - 3, shift=4)
            labels = tokens[np.arange(rows), lengths - 1] % 4
            yield tokens, lengths, labels

    optimizer = optax.adamw(settings["learning_rate"], weight_decay=1e-4)
    model = SequenceClassifier(6, settings["hidden"], 4, nnx.Rngs(settings["seed"]))
    losses, norms = train(model, optimizer, lambda m, b: m.loss(b), batches())
    case(golden, "classify_sequences", losses, norms, **settings)


def main():
    golden = common.Golden("training", __file__)
    char_lm(golden)
    classify_sequences(golden)
    golden.save(optax=optax.__version__)


if __name__ == "__main__":
    main()
