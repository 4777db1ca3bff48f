"""The results of the grid as Markdown.

    python bench/table.py RESULTS.json

prints what `bench/grid.py` writes beside RESULTS.json.
"""

import json
import pathlib
import statistics
import sys

import cases
import contestants
from common import geometric_mean, machine_text, number
from results import JAX, OURS, bound, fastest, ratios, records

HEADINGS = {
    "forward": "Forward, the final carry",
    "forward_ys": "Forward, the outputs of all steps",
    "grad": "Value and gradient by all parameters",
    "train": "A step of training with adam",
}
CELLS = {"gru": "GRU", "lstm": "LSTM", "simple": "Simple"}
# The least geometric mean by batch, and the least ratio of any case.
FORWARD_TARGETS = ({1: 1.5, 8: 1.5, 32: 1.1, 128: 1.1}, 0.95)
GRADIENT_TARGETS = ({1: 4.0, 8: 2.5, 32: 1.4, 128: 1.4}, 1.0)
TARGETS = {"forward": FORWARD_TARGETS, "forward_ys": FORWARD_TARGETS,
           "grad": GRADIENT_TARGETS, "train": GRADIENT_TARGETS}
# The most milliseconds of trace, passes and lowering of a GRU.
LOWER_MOST = {"forward": 2.0, "grad": 5.0}
ONNX_MEAN, RUST_LEAST, BOUND_MOST, BOUND_FROM = 1.2, 5.0, 1.5, 256

TEXT = """\
# Results of the grid

Medians, each case in one run of `{command}`. All contestants computed it from the same inputs and
parameters, their results were compared, and then they ran in turns. A ratio is the time of the other
one over that of onetrace: above 1×, onetrace is faster. Times are microseconds of a step: a call
divided by T. [README.md](README.md) says what is timed and how.

{sections}{versions}, on {machine}. Every round is in `{data}`.
"""
BOUNDS = f"""\
What a forward computation of a GRU cannot be faster than: the product of all inputs with the input
kernel, and a loop with nothing but the recurrent product, each from whom it took the least time. Must
be: within {BOUND_MOST}× at H ≥ {BOUND_FROM}."""
SCALING = """\
A GRU, one sequence. The memory is what XLA's buffer assignment says that a program takes for what it
computes on the way."""
COMPILE = "Medians of all cases, in processes that have made other programs before."


def section(heading, *parts):
    """A heading and what is below it, or nothing if the last part, a table, has no rows."""
    return f"## {heading}\n\n" + "\n\n".join(parts) + "\n\n" if parts[-1] else ""


def table(heads, rows, left):
    """Markdown, of which the first `left` columns are aligned to the left. Empty without rows."""
    if not rows:
        return ""
    marks = ["---"] * left + ["---:"] * (len(heads) - left)
    return "\n".join(f"| {' | '.join(line)} |" for line in [heads, marks, *rows])


def shown(value, digits=number):
    return "" if value is None else digits(value)


def times(ratio):
    return "" if ratio is None else f"{number(ratio)}×"


def targets(results, labels):
    """A row for each figure that must be reached."""
    rows = []

    def row(what, wanted, measured, is_met):
        rows.append([what, wanted, measured, "yes" if is_met else "**no**"])

    for kind, (means, least) in TARGETS.items():
        of_kind = records(results, kind=kind)
        for batch, wanted in means.items():
            found = ratios([record for record in of_kind if record.case.batch == batch], JAX)
            if found:
                mean = geometric_mean(found)
                what = f"{kind} against JAX, batch {batch}: geometric mean of {len(found)}"
                row(what, f"≥ {number(wanted)}×", times(mean), mean >= wanted)
        found = ratios(of_kind, JAX)
        if found:
            what = f"{kind} against JAX: least of {len(found)}"
            row(what, f"≥ {number(least)}×", times(min(found)), min(found) >= least)
    forward = records(results, kind=["forward", "forward_ys"])
    found = ratios(forward, "onnxruntime")
    if found:
        mean = geometric_mean(found)
        what = f"forward against onnxruntime: geometric mean of {len(found)}"
        row(what, f"≥ {number(ONNX_MEAN)}×", times(mean), mean >= ONNX_MEAN)
    for name in ("candle", "burn"):
        found = ratios(forward, name)
        if found:
            what = f"forward against {labels[name]}: least of {len(found)}"
            row(what, f"≥ {number(RUST_LEAST)}×", times(min(found)), min(found) >= RUST_LEAST)
    found = [ratio for _, ratio in distances(results) if ratio]
    if found:
        what = f"forward over the products alone, H ≥ {BOUND_FROM}: largest of {len(found)}"
        row(what, f"≤ {number(BOUND_MOST)}×", times(max(found)), max(found) <= BOUND_MOST)
    for kind, most in LOWER_MOST.items():
        found = costs(records(results, kind=kind, cell="gru", layers=1), OURS, "lower_s")
        if found:
            what = f"{kind}: trace, passes and lowering, median of {len(found)}"
            middle = statistics.median(found)
            row(what, f"≤ {number(most)} ms", f"{number(middle)} ms", middle <= most)
    return table(["what", "must be", "measured", "reached"], rows, 1)


def costs(records, name, cost):
    """Milliseconds of each record in which the contestant has them."""
    found = (record.peers.get(name, {}).get(cost) for record in records)
    return [1e3 * seconds for seconds in found if seconds is not None]


def compile_table(results, labels):
    """How long it takes until a program is there, by the kind of program."""
    names = contestants.WITH_LONG_LOOPS
    heads = ["kind"]
    for name in names:
        heads += [f"{labels[name]}, trace and lower", f"{labels[name]}, XLA"]
    rows = []
    for kind in HEADINGS:
        of_kind = records(results, kind=kind)
        cells = [costs(of_kind, name, cost) for name in names for cost in ("lower_s", "compile_s")]
        if any(cells):
            rows.append([kind, *(f"{number(statistics.median(cell))} ms" if cell else ""
                                 for cell in cells)])
    return table(heads, rows, 1)


def distances(results):
    """The forward computations of large GRUs, and how much longer they take than the products."""
    for record in records(results, kind="forward", cell="gru", layers=1, dtype="f32"):
        least, ours = bound(results, record.case), record.seconds(OURS)
        if record.case.h >= BOUND_FROM and least and ours:
            yield record, ours / least


def size(case):
    return [str(case.batch), f"{case.d}, {case.h}", f"{case.t:,}"]


def model(case):
    layers = f", {case.layers} layers" if case.layers > 1 else ""
    return CELLS[case.cell] + layers + (f", {case.dtype}" if case.dtype != "f32" else "")


def kind_table(of_kind, labels):
    """The times of everybody, and the ratios to onetrace."""
    present = [name for name in labels if any(record.seconds(name) for record in of_kind)]
    heads = ["cell", "batch", "D, H", "T"]
    for name in present:
        heads += [labels[name]] if name == OURS else [labels[name], "ratio"]
    rows = []
    for record in of_kind:
        row = [model(record.case), *size(record.case)]
        for name in present:
            row.append(shown(record.step(name)))
            if name != OURS:
                row.append(times(record.ratio(name)))
        rows.append(row)
    return table(heads, rows, 1)


def means_table(of_kind, labels):
    """The geometric means of the ratios by batch."""
    others = [name for name in labels if name != OURS and ratios(of_kind, name)]
    batches = sorted({record.case.batch for record in of_kind})
    rows = []
    for name in others:
        row = [labels[name]]
        for batch in [*batches, None]:
            found = ratios([r for r in of_kind if batch in (r.case.batch, None)], name)
            row.append(times(geometric_mean(found)) if found else "")
        rows.append(row)
    return table(["geometric mean", *(f"batch {batch}" for batch in batches), "all"], rows, 1)


def bounds_table(results):
    heads = ["batch", "D, H", "T", "loop of products", "GFLOP/s", "product of inputs", "GFLOP/s",
             "forward", "distance"]
    rows = []
    for record in records(results, kind="forward", cell="gru", layers=1, dtype="f32"):
        case, row = record.case, size(record.case)
        least, ours = bound(results, case), record.seconds(OURS)
        if least is None:
            continue
        for kind, features in zip(cases.BOUNDS, (case.h, case.d)):
            step = 1e6 * fastest(results, kind, case) / case.t
            flops = 2 * case.batch * features * cases.GATES["gru"] * case.h
            row += [number(step), number(1e-3 * flops / step)]
        rows.append([*row, shown(record.step(OURS)), times(ours and ours / least)])
    return table(heads, rows, 0)


def scaling_table(results, labels):
    scaling = records(results, group="scaling")
    present = [name for name in labels if any(record.seconds(name) for record in scaling)]
    heads = ["kind", "D, H", "T", *(f"{labels[name]}, µs" for name in present),
             *(f"{labels[name]}, memory" for name in present)]
    rows = [[record.case.kind, *size(record.case)[1:],
             *(shown(record.step(name)) for name in present),
             *(memory(record.peers.get(name, {}).get("temp_bytes")) for name in present)]
            for record in scaling]
    return table(heads, rows, 1)


def memory(count):
    """Bytes in the largest unit of which there is one."""
    if count is None:
        return ""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{number(count)} {unit}"
        count /= 1024
    return f"{number(count)} GiB"


def remarks(results, labels):
    """What failed, and what a contestant does not compute."""
    lines = []
    for record in results["cases"]:
        for name, answer in record["peers"].items():
            if "error" in answer:
                lines.append(f"- {labels[name]}, {cases.Case(**record['case'])}: not timed, "
                             f"{answer['error']}")
    reasons = {(name, answer["unsupported"]) for record in results["cases"]
               for name, answer in record["peers"].items() if "unsupported" in answer}
    lines += [f"- {labels[name]}, where it has no time: {reason}"
              for name, reason in sorted(reasons)]
    return "\n".join(lines)


def markdown(results, data):
    labels = contestants.LABELS
    sections = section("What must be reached", targets(results, labels))
    for kind, heading in HEADINGS.items():
        of_kind = records(results, kind=kind)
        sections += section(heading, kind_table(of_kind, labels), means_table(of_kind, labels))
    sections += section("The products alone", BOUNDS, bounds_table(results))
    sections += section("From ten steps to a million", SCALING, scaling_table(results, labels))
    sections += section("Until a program is there", COMPILE, compile_table(results, labels))
    sections += section("Remarks", remarks(results, labels))
    return TEXT.format(
        command=results["command"], sections=sections,
        versions=", ".join(f"{name} {version}" for name, version in results["versions"].items()),
        machine=machine_text(results["machine"]), data=data,
    )


if __name__ == "__main__":
    with open(sys.argv[1]) as file:
        print(markdown(json.load(file), pathlib.Path(sys.argv[1]).name), end="")
