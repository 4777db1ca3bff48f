"""The results of the grid as a picture.

    python bench/plot.py RESULTS.json PICTURE.svg
"""

import json
import sys

import matplotlib

# A picture of the same results is the same file.
matplotlib.use("svg")
matplotlib.rcParams.update({"svg.hashsalt": "onetrace", "svg.fonttype": "none", "font.size": 9})

import matplotlib.pyplot as plt

import cases
import contestants
from common import geometric_mean
from results import JAX, OURS, ratios, records

COLORS = ["#1f77b4", "#2ca02c", "#ff7f0e", "#9467bd"]
BY_KIND = {
    "forward": "forward, final carry",
    "grad": "value and gradient",
    "train": "training step with adam",
}


def draw(results, path):
    figure, panels = plt.subplots(2, 3, figsize=(12, 7), layout="constrained")
    figure.suptitle("onetrace and its peers: above the line, onetrace is faster", x=0.02, ha="left")
    for axes, (kind, title) in zip(panels[0], BY_KIND.items()):
        by_size(axes, results, kind)
        axes.set_title(f"GRU: {title}")
    panels[0][0].set_ylabel("time of JAX + Flax / time of onetrace")
    handles = panels[0][0].get_legend_handles_labels()
    figure.legend(*handles, title="batch", ncols=4, loc="outside upper right")
    peers(panels[1][0], results)
    scaling(panels[1][1], results, lambda record, name: record.step(name))
    panels[1][1].set(title="GRU 32 → 64, one sequence: time", ylabel="µs of a step")
    panels[1][1].legend(*panels[1][1].get_legend_handles_labels())
    scaling(panels[1][2], results, temporary)
    panels[1][2].set(title="GRU 32 → 64, one sequence: memory", ylabel="temporary memory, MiB")
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def by_size(axes, results, kind):
    """A bar for each size and batch."""
    width = 0.8 / len(cases.BATCHES)
    for index, (batch, color) in enumerate(zip(cases.BATCHES, COLORS)):
        places, heights = [], []
        for place, (d, h) in enumerate(cases.SIZES):
            same = {"cell": "gru", "layers": 1, "dtype": "f32", "batch": batch, "d": d, "h": h}
            for ratio in ratios(records(results, kind=kind, **same), JAX):
                places.append(place + (index - 1.5) * width)
                heights.append(ratio)
        bars(axes, places, heights, width, color, str(batch))
    axes.set_xticks(range(len(cases.SIZES)), [f"D={d}\nH={h}" for d, h in cases.SIZES])


def bars(axes, places, heights, width, color, label):
    """Bars from the line of equal times, on a logarithmic scale."""
    axes.bar(places, [height - 1 for height in heights], width, bottom=1, color=color, label=label)
    axes.axhline(1, color="black", linewidth=1)
    plain_numbers(axes, "{x:g}×")


def plain_numbers(axes, form):
    """1, 2, 5, 10 on the logarithmic axis, and no powers of ten."""
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(matplotlib.ticker.LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(form)
    axes.yaxis.set_minor_locator(matplotlib.ticker.NullLocator())


def peers(axes, results):
    """The geometric means of all forward computations by batch."""
    others = [name for name in contestants.LABELS if name != OURS]
    width = 0.8 / len(cases.BATCHES)
    for index, (batch, color) in enumerate(zip(cases.BATCHES, COLORS)):
        forward = records(results, kind=["forward", "forward_ys"], batch=batch, dtype="f32")
        found = [(place, ratios(forward, name)) for place, name in enumerate(others)]
        places = [place + (index - 1.5) * width for place, values in found if values]
        heights = [geometric_mean(values) for _, values in found if values]
        bars(axes, places, heights, width, color, str(batch))
    labels = [contestants.LABELS[name].replace(" + ", " +\n") for name in others]
    axes.set_xticks(range(len(others)), labels)
    axes.set(title="forward: geometric mean by batch", ylabel="time / time of onetrace")


def temporary(record, name):
    count = record.peers.get(name, {}).get("temp_bytes")
    return count and count / 2**20


def scaling(axes, results, value):
    """A line for each contestant and kind, over the number of steps."""
    axes.set(xscale="log", xlabel="T")
    for kind, style in (("forward", "o-"), ("grad", "s--")):
        of_kind = records(results, group="scaling", kind=kind)
        for name, color in zip(contestants.WITH_LONG_LOOPS, COLORS):
            points = [(record.case.t, value(record, name)) for record in of_kind]
            points = [point for point in points if point[1]]
            if points:
                label = f"{contestants.LABELS[name]}, {kind}"
                axes.plot(*zip(*points), style, color=color, label=label)
    if axes.has_data():
        plain_numbers(axes, "{x:g}")
    else:
        # A part of the grid has no such cases.
        axes.set_axis_off()


if __name__ == "__main__":
    with open(sys.argv[1]) as file:
        draw(json.load(file), sys.argv[2])
