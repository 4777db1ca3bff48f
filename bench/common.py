"""What all figures need: the machine, the versions, and how numbers are written."""

import contextlib
import math
import os
import pathlib
import platform
import tomllib
from importlib import metadata

ROOT = pathlib.Path(__file__).resolve().parent.parent
JAX_PACKAGES = ["jax", "jaxlib", "flax", "optax", "numpy"]
CRATES = {"candle": "candle-nn", "burn": "burn"}


def machine():
    """What kind of machine this is: nothing that tells one machine of a kind from another."""
    flags = set()
    with open("/proc/cpuinfo") as cpuinfo:
        for line in cpuinfo:
            if line.startswith("flags"):
                flags.update(line.split(":")[1].split())
    kinds = ["avx2", "fma", "avx512f", "avx512_bf16", "amx_tile"]
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cores": len(os.sched_getaffinity(0)),
        "flags": [kind for kind in kinds if kind in flags],
    }


def machine_text(machine):
    return f"{machine['system']}, {machine['cores']} cores ({', '.join(machine['flags'])})"


def versions(packages, crates):
    """The versions of onetrace and of what it is compared with, as far as it is installed."""
    workspace = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]
    found = {"onetrace": workspace["package"]["version"]}
    for package in packages:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    locked = tomllib.loads((ROOT / "bench/peers/Cargo.lock").read_text())["package"]
    locked = {package["name"]: package["version"] for package in locked}
    found |= {name: locked[crate] for name, crate in crates.items()}
    return found | {"Python": platform.python_version()}


def number(value):
    """Three digits, as far as there are any behind the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def geometric_mean(values):
    values = list(values)
    return math.exp(sum(map(math.log, values)) / len(values)) if values else math.nan
