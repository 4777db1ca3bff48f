"""How a process starts: onetrace beside JAX with Flax, in one run, on one machine.

    python bench/figures.py [--quick] ONETRACE OUTPUT.json

`ONETRACE` is the release build of the command. Both sides read the same sequence from a file and
draw the parameters of the same seed; before anything is timed, their final carries are compared.
They run in turns, so that a noisy machine is noisy for both; reported are medians and the ratio of
medians. A table goes to OUTPUT.md, beside OUTPUT.json. `cargo xtask bench` sets up the Python
environment and calls this. What compiled programs take is in the grid, `bench/grid.py`.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

# Both sides on the same processor, also where JAX could find a better one.
os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import numpy as np
from flax import nnx

from common import JAX_PACKAGES, machine, machine_text, number, versions

COLD_ROUNDS = 10
SEED = 42
SIZE = (32, 64, 2048)
# The first trace of a process, for three lengths: length and rounds.
LENGTHS = [(8, 10), (2048, 10), (1_000_000, 3)]
TOLERANCE = 2e-5

# The same GRU in Python, as a user writes it: a process that ends with the numbers printed.
COLD_PEER = """
import jax, numpy as np
from flax import nnx
cell = nnx.GRUCell({d}, {h}, rngs=nnx.Rngs({seed}))
x = np.load({x!r})
forward = jax.jit(lambda x: jax.lax.scan(cell, jax.numpy.zeros({h}), x)[0])
print(np.asarray(forward(x)))
"""

# The milliseconds of the first trace and lowering, when parameters and sequence are there.
LOWER_PEER = """
import time
import jax, numpy as np
from flax import nnx
cell = nnx.GRUCell({d}, {h}, rngs=nnx.Rngs({seed}))
x = jax.device_put(np.load({x!r}))
jax.block_until_ready((x, nnx.state(cell)))
forward = jax.jit(lambda x: jax.lax.scan(cell, jax.numpy.zeros({h}), x)[0])
start = time.perf_counter()
forward.lower(x)
print(1e3 * (time.perf_counter() - start))
"""


class Bench:
    """One job on both sides: the command, and a place for sequences."""

    def __init__(self, onetrace, directory, quick):
        self.onetrace = onetrace
        self.directory = directory
        self.quick = quick

    def rounds(self, count):
        return 1 if self.quick else count

    def sequence(self, d, t):
        """The file of a standard normal sequence. Shorter ones are the start of longer ones."""
        path = os.path.join(self.directory, f"{t}x{d}.npy")
        if not os.path.exists(path):
            np.save(path, np.random.default_rng(0).standard_normal((t, d), dtype=np.float32))
        return path

    def ours(self, d, h, t, *more):
        """The report of the command, and the milliseconds of its process."""
        arguments = ["--seed", str(SEED), "--hidden", str(h), "--input", self.sequence(d, t)]
        milliseconds, out = wall([self.onetrace, "run", *arguments, "--json", *more])
        return json.loads(out), milliseconds

    def theirs(self, script, d, h, t):
        """What a Python script prints, and the milliseconds of its process."""
        script = script.format(d=d, h=h, x=self.sequence(d, t), seed=SEED)
        milliseconds, out = wall([sys.executable, "-I", "-c", script])
        return out, milliseconds

    def check(self, d, h, t):
        """Ends everything unless both sides agree on the final carry."""
        cell = nnx.GRUCell(d, h, rngs=nnx.Rngs(SEED))
        x = np.load(self.sequence(d, t))
        forward = jax.jit(lambda x: jax.lax.scan(cell, jax.numpy.zeros(h), x)[0])
        theirs = np.asarray(forward(x))
        ours = np.asarray(self.ours(d, h, t)[0]["final_carry"], dtype=np.float32)
        difference = np.abs(ours - theirs).max() if ours.shape == theirs.shape else np.nan
        # A NaN on either side is no agreement either.
        if not difference <= TOLERANCE:
            sys.exit(f"D={d} H={h} T={t}: the final carries differ by {difference}: nothing is timed")
        print(f"D={d} H={h} T={t}: the final carries agree within {difference:.1e}", flush=True)

    def cold(self, d, h, t):
        """A whole process, from nothing to the final carry printed."""
        ours, theirs = [], []
        for _ in range(self.rounds(COLD_ROUNDS)):
            ours.append(self.ours(d, h, t)[1])
            theirs.append(self.theirs(COLD_PEER, d, h, t)[1])
        return row("whole process, cold", "ms", d, h, t, ours, theirs)

    def lower(self, d, h, t, rounds):
        """The first trace and lowering of a process."""
        ours, theirs = [], []
        for _ in range(self.rounds(rounds)):
            times = self.ours(d, h, t)[0]["timings_ms"]
            ours.append(times["trace"] + times["lower"])
            theirs.append(float(self.theirs(LOWER_PEER, d, h, t)[0]))
        return row("trace + lower, cold process", "ms", d, h, t, ours, theirs)


def wall(arguments):
    """The milliseconds of a process, and what it prints."""
    start = time.perf_counter()
    done = subprocess.run(arguments, capture_output=True, text=True)
    milliseconds = 1e3 * (time.perf_counter() - start)
    if done.returncode != 0:
        sys.exit(f"{arguments[0]} failed ({done.returncode}):\n{done.stderr}")
    return milliseconds, done.stdout


def row(what, unit, d, h, t, ours, theirs):
    a, b = statistics.median(ours), statistics.median(theirs)
    entry = {"what": what, "unit": unit, "d": d, "h": h, "t": t}
    entry |= {"onetrace": round(a, 3), "jax": round(b, 3), "ratio": round(b / a, 2)}
    print(" ".join(cells(entry)), flush=True)
    samples = {"onetrace_all": ours, "jax_all": theirs}
    return entry | {side: [round(time, 3) for time in times] for side, times in samples.items()}


def cells(row):
    """What the table says of a row."""
    size = f"D={row['d']} H={row['h']} T={row['t']:,}"
    sides = [f"{number(row[side])} {row['unit']}" for side in ("onetrace", "jax")]
    return [row["what"], size, *sides, number(row["ratio"])]


TEXT = """\
# How a process starts

Medians of one run of `{command}`. onetrace and JAX with Flax run a GRU from D features to H over T \
steps,
in turns, with the same seed and sequence; before anything was timed, their final carries agreed \
within {tolerance:g}.
The ratio is the time of JAX over that of onetrace.

{table}

- **whole process, cold**: from the start of a process to the final carry printed.
- **trace + lower, cold process**: the first trace and lowering of a process, when parameters and \
sequence
  are there. The steps are in one loop, so that their number does not matter.

{versions}, on {machine}. Every single time is in `{data}`.
"""


def markdown(results, data):
    heads = ["what", "size", "onetrace", "JAX + Flax", "ratio"]
    lines = [heads, ["---", "---", "---:", "---:", "---:"], *map(cells, results["rows"])]
    return TEXT.format(
        command=results["command"],
        tolerance=TOLERANCE,
        table="\n".join(f"| {' | '.join(line)} |" for line in lines),
        versions=", ".join(f"{name} {version}" for name, version in results["versions"].items()),
        machine=machine_text(results["machine"]),
        data=data,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one round of everything")
    parser.add_argument("onetrace", help="the release build of the command")
    parser.add_argument("output", type=pathlib.Path, help="the .json file to write")
    arguments = parser.parse_args()

    onetrace = os.path.abspath(arguments.onetrace)
    with tempfile.TemporaryDirectory() as directory:
        bench = Bench(onetrace, directory, arguments.quick)
        bench.check(*SIZE)
        rows = [bench.cold(*SIZE)]
        rows += [bench.lower(*SIZE[:2], t, rounds) for t, rounds in LENGTHS]

    command = "cargo xtask bench" + (" --quick" if arguments.quick else "")
    results = {"command": command, "versions": versions(JAX_PACKAGES, {}), "machine": machine(),
               "rows": rows}
    text = markdown(results, arguments.output.name)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    arguments.output.with_suffix(".md").write_text(text)
    print(f"\n{text}", end="")


if __name__ == "__main__":
    main()
