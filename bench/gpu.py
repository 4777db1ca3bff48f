"""A GRU on a GPU: onetrace beside JAX with Flax, in one run, on one card.

    cargo build --release --example gru_on_device
    python bench/gpu.py target/release/examples/gru_on_device OUTPUT.json

To be run in a Python environment with `jax[cuda13]` and `flax`, on the `PATH` of which onetrace finds
JAX's own plugin: both sides then run on the same one. They run in turns, each in a process of its own
that leaves the card's memory when it ends. The final states are compared before anything is reported.
"""

import json
import pathlib
import statistics
import subprocess
import sys
import tempfile

import numpy as np

SIZES = [(hidden, batch) for hidden in (64, 256, 1024) for batch in (1, 32)]
FEATURES, STEPS, SEED = 64, 1024, 42
ROUNDS, REPEAT = 5, 20
# Matrices of f32 are multiplied in TF32 on both sides, but not in the same order.
TOLERANCE = 1e-2

PEER = """
import json, sys, time
import jax, numpy as np
from flax import nnx
x = jax.device_put(np.load(sys.argv[1]), jax.devices("gpu")[0])
hidden, repeat = int(sys.argv[2]), int(sys.argv[3])
cell = nnx.GRUCell(x.shape[2], hidden, rngs=nnx.Rngs(42))
step = lambda h, x_t: (cell(h, x_t)[0], None)
start_carry = jax.numpy.zeros((x.shape[1], hidden))
forward = jax.jit(lambda x: jax.lax.scan(step, start_carry, x)[0])
times = []
for run in range(repeat + 1):
    start = time.perf_counter()
    carry = np.asarray(forward(x))
    if run > 0:
        times.append((time.perf_counter() - start) * 1e3)
print(json.dumps({"ms": times, "carry": carry.ravel().tolist(),
                  "device": x.device.device_kind, "jax": jax.__version__}))
"""


def run(arguments):
    output = subprocess.run([str(a) for a in arguments], check=True, stdout=subprocess.PIPE)
    return json.loads(output.stdout)


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    example, output = map(pathlib.Path, sys.argv[1:])
    rows = []
    with tempfile.TemporaryDirectory() as directory:
        for hidden, batch in SIZES:
            path = pathlib.Path(directory) / f"x{batch}.npy"
            generator = np.random.default_rng(SEED)
            np.save(path, generator.standard_normal((STEPS, batch, FEATURES), dtype=np.float32))
            ours, theirs = [], []
            for _ in range(ROUNDS):
                a = run([example, "gpu", path, hidden, REPEAT])
                b = run([sys.executable, "-c", PEER, path, hidden, REPEAT])
                np.testing.assert_allclose(a["carry"], b["carry"], atol=TOLERANCE)
                ours += a["ms"]
                theirs += b["ms"]
            row = {
                "hidden": hidden, "batch": batch, "features": FEATURES, "steps": STEPS,
                "onetrace_ms": statistics.median(ours), "jax_ms": statistics.median(theirs),
                "device": b["device"], "jax": b["jax"],
            }
            print(row, file=sys.stderr)
            rows.append(row)
    output.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
