"""Figures of the README: onetrace beside JAX with Flax, in one run, on one machine.

    python bench/figures.py ONETRACE OUTPUT.json

`ONETRACE` is the release build of the command. Both sides run in turns, so that a noisy machine is
noisy for both; reported are medians and the ratio of medians. `cargo xtask bench` sets up the
Python environment and calls this.
"""

import json
import statistics
import subprocess
import sys
import time

COLD_ROUNDS = 10
RUN_ROUNDS = 12
RUNS_PER_ROUND = 40
SIZES = [(32, 64, 2048), (128, 256, 2048), (256, 512, 1024)]

# The same main job in Python, as a user writes it: a process that ends with the numbers printed.
COLD_PEER = """
import jax, numpy as np
from flax import nnx
cell = nnx.GRUCell({d}, {h}, rngs=nnx.Rngs(42))
x = np.random.default_rng(0).standard_normal(({t}, {d}), dtype=np.float32)
forward = jax.jit(lambda x: jax.lax.scan(cell, jax.numpy.zeros({h}), x)[0])
print(np.asarray(forward(x)))
"""


def command(onetrace, d, h, t, *extra):
    size = ["--seed", "42", "--hidden", str(h), "--steps", str(t)]
    return [onetrace, "run", *size, "--random", f"{t}x{d}", "--input-seed", "0", "--json", *extra]


def wall(arguments):
    start = time.perf_counter()
    done = subprocess.run(arguments, check=True, capture_output=True, text=True)
    return 1e3 * (time.perf_counter() - start), done.stdout


def cold(onetrace):
    """Milliseconds of a whole process, from nothing to the final carry printed."""
    d, h, t = SIZES[0]
    ours, theirs = [], []
    for _ in range(COLD_ROUNDS):
        ours.append(wall(command(onetrace, d, h, t))[0])
        theirs.append(wall([sys.executable, "-c", COLD_PEER.format(d=d, h=h, t=t)])[0])
    return row("whole process, cold", "ms", d, h, t, ours, theirs)


def jax_step_times(d, h, t):
    """A function that times one round of jitted JAX, in microseconds per step."""
    import jax
    import numpy as np
    from flax import nnx

    cell = nnx.GRUCell(d, h, rngs=nnx.Rngs(42))
    forward = jax.jit(lambda x: jax.lax.scan(cell, jax.numpy.zeros(h), x)[0])
    x = jax.device_put(np.random.default_rng(0).standard_normal((t, d), dtype=np.float32))
    np.asarray(forward(x))

    def run():
        times = []
        for _ in range(RUNS_PER_ROUND):
            start = time.perf_counter()
            np.asarray(forward(x))
            times.append(1e6 * (time.perf_counter() - start) / t)
        return statistics.median(times)

    return run


def steps(onetrace, d, h, t):
    """Microseconds per step of the compiled scan."""
    peer = jax_step_times(d, h, t)
    ours, theirs = [], []
    for _ in range(RUN_ROUNDS):
        _, out = wall(command(onetrace, d, h, t, "--repeat", str(RUNS_PER_ROUND)))
        ours.append(1e3 * json.loads(out)["timings_ms"]["run"] / t)
        theirs.append(peer())
    return row("run, per step", "us", d, h, t, ours, theirs)


def row(what, unit, d, h, t, ours, theirs):
    a, b = statistics.median(ours), statistics.median(theirs)
    entry = {"what": what, "unit": unit, "d": d, "h": h, "t": t, "onetrace": a, "jax": b, "ratio": b / a}
    print(f"{what:22} D={d:<4} H={h:<4} T={t:<5} onetrace {a:9.2f} {unit}   JAX {b:9.2f} {unit}   "
          f"{b / a:5.2f} times as fast", flush=True)
    return entry | {"onetrace_all": ours, "jax_all": theirs}


def main():
    onetrace, output = sys.argv[1:]
    rows = [cold(onetrace)] + [steps(onetrace, *size) for size in SIZES]
    import flax
    import jax

    versions = {"jax": jax.__version__, "flax": flax.__version__}
    with open(output, "w") as file:
        json.dump({"script": "bench/figures.py", "versions": versions, "rows": rows}, file, indent=1)
        file.write("\n")


if __name__ == "__main__":
    main()
