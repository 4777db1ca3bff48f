"""Rebuilds the golden data: `python tests/golden/make.py [family...]`; all families by default.

Each family is made by `gen_<family>.py` in a process of its own, because 64-bit mode and compiler
settings belong to a process.
"""

import importlib.metadata
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
FAMILIES = ["gru", "cells", "cell_gradients", "random", "random_x64", "initializers", "ops", "loops", "loop_derivatives",
            "autodiff", "nn", "hlo", "optim", "training"]


def check_versions():
    """Refuses to make data with other versions than requirements.txt pins."""
    for line in (HERE / "requirements.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            name, wanted = line.split("==")
            found = importlib.metadata.version(name)
            if found != wanted:
                sys.exit(f"{name} {wanted} is needed, but {found} is installed; see requirements.txt")


def main():
    families = sys.argv[1:] or FAMILIES
    unknown = [f for f in families if f not in FAMILIES]
    if unknown:
        sys.exit(f"unknown family {unknown[0]}; there are: {', '.join(FAMILIES)}")
    check_versions()
    for family in families:
        subprocess.run([sys.executable, HERE / f"gen_{family}.py"], check=True)


if __name__ == "__main__":
    main()
