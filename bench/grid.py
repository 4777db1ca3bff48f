"""The grid: onetrace and its peers on the same inputs and parameters, in turns, in one run.

    python bench/grid.py [--quick] [--all] [filters] [--output RESULTS.json]

Every contestant is a process of its own. A case is prepared by all of them, their results are
compared, and then they run in turns, one round after the other, so that a noisy machine is noisy for
all. A contestant whose results differ is not timed. `cargo xtask bench` sets everything up and calls
this; `bench/README.md` says how to read what comes out.
"""

import argparse
import dataclasses
import json
import math
import os
import pathlib
import statistics
import sys
import tempfile
import time

import numpy as np
from safetensors.numpy import load_file

import cases
import contestants
from common import CRATES, JAX_PACKAGES, ROOT, machine, number, versions
from results import JAX, OURS, Record

ROUND_SECONDS = 0.07
ROUNDS = 7
# Where one call takes longer than a second.
ROUNDS_OF_SLOW = 3
# By dtype: the largest difference of a leaf of the results from that of the reference, as a part of
# the reference, both by their Euclidean norm. The reference is what JAX computes in f32.
TOLERANCE = {"f32": 2e-5, "bf16": 5e-2}
# In bf16 the reference's own sums over many steps lose more than that. Nobody has to be better, and
# may be worse by this factor.
AS_GOOD = 1.5

# What can be selected, as it is written on the command line.
FILTERS = {
    "batch": lambda case: str(case.batch),
    "size": lambda case: f"{case.d}x{case.h}",
    "cell": lambda case: case.cell,
    "kind": lambda case: case.kind,
    "layers": lambda case: str(case.layers),
    "dtype": lambda case: case.dtype,
    "group": lambda case: case.group,
}


class Grid:
    """The contestants, and a place for files."""

    def __init__(self, names, target, directory, options):
        known = contestants.commands(target)
        self.contestants = [contestants.Contestant(name, *known[name]) for name in names]
        # JAX is what the numbers are to be compared with; without it, whoever is first.
        by_name = {contestant.name: contestant for contestant in self.contestants}
        self.reference = by_name.get(JAX, self.contestants[0])
        self.directory = directory
        self.options = options

    def measure(self, case):
        """The record of a case."""
        data = self.directory / "data.safetensors"
        cases.write(case, data)
        exact = None
        if case.dtype != "f32":
            # Another order of sums makes a difference that says nothing of who is right.
            exact = self.prepare(self.reference, dataclasses.replace(case, dtype="f32"), data)[1]
        peers, results = {}, {}
        for contestant in self.contestants:
            if case.group == "scaling" and contestant.name not in contestants.WITH_LONG_LOOPS:
                peers[contestant.name] = {"unsupported": "it is not asked for long loops"}
                continue
            peers[contestant.name], found = self.prepare(contestant, case, data)
            if found is not None:
                results[contestant] = found
        if exact is None:
            exact = results.get(self.reference, next(iter(results.values()), None))
        distances = {contestant: difference(found, exact) for contestant, found in results.items()}
        limit = TOLERANCE[case.dtype]
        if case.dtype != "f32" and math.isfinite(distances.get(self.reference, math.inf)):
            limit = max(limit, AS_GOOD * distances[self.reference])
        agreeing = []
        for contestant, distance in distances.items():
            peers[contestant.name]["difference"] = distance
            if distance <= limit:
                agreeing.append(contestant)
            else:
                peers[contestant.name]["error"] = f"its results differ by {distance:.1e}"
        if self.options.rounds != 0:
            self.time(agreeing, peers)
        return {"case": dataclasses.asdict(case), "peers": peers}

    def prepare(self, contestant, case, data):
        """The answer of a contestant, and its results or None."""
        outputs = self.directory / f"{contestant.name}.safetensors"
        outputs.unlink(missing_ok=True)
        answer = contestant.prepare(dataclasses.asdict(case) | {
            "learning_rate": cases.LEARNING_RATE, "data": str(data), "outputs": str(outputs),
        })
        return answer, load_file(outputs) if "compile_s" in answer else None

    def time(self, agreeing, peers):
        """Adds the medians of rounds to the answers of contestants."""
        counts, expected, slowest = {}, 0, 0
        for contestant in agreeing:
            seconds = contestant.run(1)
            # The first call of some is slow.
            if seconds and seconds[0] < 1:
                seconds = contestant.run(2)
            if seconds is None:
                peers[contestant.name]["error"] = "it failed while it ran"
                continue
            call = min(seconds)
            counts[contestant] = max(1, round(self.options.round_seconds / call))
            expected += counts[contestant] * call
            slowest = max(slowest, call)
        least = ROUNDS_OF_SLOW if slowest > 1 else ROUNDS
        rounds = self.options.rounds or max(
            least, math.ceil(self.options.seconds_per_case / max(expected, 1e-3))
        )
        medians = {contestant: [] for contestant in counts}
        for _ in range(min(rounds, 100)):
            for contestant, count in counts.items():
                seconds = contestant.run(count)
                if seconds is None:
                    peers[contestant.name]["error"] = "it failed while it ran"
                else:
                    medians[contestant].append(statistics.median(seconds))
        for contestant, seconds in medians.items():
            answer = peers[contestant.name]
            if "error" not in answer:
                answer["calls_in_round"] = counts[contestant]
                answer["seconds"] = [float(f"{value:.4g}") for value in seconds]

    def close(self):
        for contestant in self.contestants:
            contestant.close()


def difference(results, reference):
    """The largest difference of a leaf, as a part of the reference; infinite where one is missing."""
    if results.keys() != reference.keys():
        return math.inf
    largest = 0.0
    for name, theirs in reference.items():
        ours = results[name]
        if ours.shape != theirs.shape:
            return math.inf
        distance = np.linalg.norm(ours.astype(np.float64) - theirs)
        distance /= max(np.linalg.norm(theirs.astype(np.float64)), 1e-30)
        # A NaN on either side is no agreement.
        largest = max(largest, distance) if np.isfinite(distance) else math.inf
    return float(largest)


def line(record):
    """What is printed of a case."""
    record = Record(record)
    words = [f"{record.case}:"]
    for name, answer in record.peers.items():
        ratio = record.ratio(name)
        if record.seconds(name):
            words.append(f"{name} {number(record.step(name))} µs")
            if ratio and name != OURS:
                words[-1] += f" ({ratio:.2f}x)"
        elif "difference" in answer:
            words.append(f"{name} differs by {answer['difference']:.1e}")
        if "error" in answer:
            words.append(f"{name} FAILED: {answer['error']}")
    return "  ".join(words)


def selected(options):
    """The cases that the filters leave of the selection."""
    everything = cases.quick() if options.quick else cases.full() if options.all else cases.default()
    left = [case for case in everything if all(
        not getattr(options, name) or value(case) in getattr(options, name)
        for name, value in FILTERS.items())]
    if not left:
        sys.exit("no case of the selection is left by the filters; --all has the full product")
    return left


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    several = {"type": lambda text: text.split(","), "metavar": "A,B"}
    parser.add_argument("--peers", **several, help="the contestants (default: all)")
    parser.add_argument("--batch", **several, help="1,8,32,128")
    parser.add_argument("--size", **several, help="DxH: 32x64,256x512")
    parser.add_argument("--cell", **several, help="gru,lstm,simple")
    parser.add_argument("--kind", **several, help="forward,forward_ys,grad,train and the bounds")
    parser.add_argument("--layers", **several, help="1,2")
    parser.add_argument("--dtype", **several, help="f32,bf16")
    parser.add_argument("--group", **several, help="grid,scaling")
    parser.add_argument("--all", action="store_true", help="select from the full product")
    parser.add_argument("--quick", action="store_true", help="one round of everything, tiny")
    parser.add_argument("--rounds", type=int, metavar="N",
                        help="rounds of each case; 0: the results are compared, and nothing is timed")
    parser.add_argument("--seconds-per-case", type=float, default=2.0, metavar="S",
                        help="seconds that all rounds of a case take, as far as there are 7")
    parser.add_argument("--output", type=pathlib.Path, help="the .json file to write")
    parser.add_argument("--resume", action="store_true", help="keep what is in it already")
    parser.add_argument("--target", type=pathlib.Path, default=ROOT / "target",
                        help="cargo's directory, with the release builds")
    options = parser.parse_args()
    known = list(contestants.commands(options.target))
    unknown = set(options.peers or known) - set(known)
    if unknown:
        parser.error(f"--peers: {', '.join(unknown)}: not one of {', '.join(known)}")
    options.names = [name for name in known if name in (options.peers or known)]
    if options.resume and not options.output:
        parser.error("--resume: there are no results to keep without --output")
    options.round_seconds = ROUND_SECONDS
    if options.quick:
        options.round_seconds = 0.0
        options.rounds = 1 if options.rounds is None else options.rounds
    return options


def command(options):
    """What selects the same cases on any machine."""
    words = ["bench/grid.py"]
    for name in ("all", "quick", "resume"):
        words += [f"--{name}"] * getattr(options, name)
    for name in ("peers", *FILTERS):
        words += [f"--{name} {','.join(values)}" for values in [getattr(options, name)] if values]
    return " ".join(words)


def key(record):
    return tuple(record["case"].values())


def is_whole(record, names):
    """Whether a case of earlier results has these contestants, and none of its failed."""
    peers = record["peers"]
    return set(names) <= peers.keys() and not any("error" in answer for answer in peers.values())


def main():
    options = arguments()
    left = selected(options)
    results = {
        "command": command(options),
        "versions": versions([*JAX_PACKAGES, "onnxruntime"], CRATES),
        "machine": machine(),
        "cases": [],
    }
    done = {}
    if options.resume and options.output.exists():
        for record in json.loads(options.output.read_text())["cases"]:
            done[key(record)] = record
    start, failures = time.monotonic(), 0
    with tempfile.TemporaryDirectory() as directory:
        grid = Grid(options.names, options.target, pathlib.Path(directory), options)
        try:
            for case in left:
                record = done.get(tuple(dataclasses.asdict(case).values()))
                if record is None or not is_whole(record, options.names):
                    record = grid.measure(case)
                    print(line(record), flush=True)
                failures += sum("error" in answer for answer in record["peers"].values())
                results["cases"].append(record)
                if options.output:
                    save(results, options.output)
        finally:
            grid.close()
    if options.output:
        publish(results, options.output)
    print(f"{len(left)} cases in {time.monotonic() - start:.0f} s, {failures} failures")
    sys.exit(1 if failures else 0)


def publish(results, path):
    """Writes the table and the plot beside the results."""
    # Whoever only wants times printed needs nothing to draw with.
    import plot
    import table

    path.with_suffix(".md").write_text(table.markdown(results, path.name))
    plot.draw(results, path.with_suffix(".svg"))


def save(results, path):
    """The file is whole at any time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".part")
    partial.write_text(json.dumps(results, ensure_ascii=False) + "\n")
    os.replace(partial, path)


if __name__ == "__main__":
    main()
