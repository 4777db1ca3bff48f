"""Runs on jaxlib what onetrace wrote: the HLO proto, the HLO text and the StableHLO of each program.

    python run_hlo.py DIR

For each NAME.x.npy in DIR, the argument, this compiles NAME.hlo.pb, NAME.hlo.txt and NAME.mlir, and
writes their results to NAME.FORM.0.npy, NAME.FORM.1.npy ..., where FORM is proto, text or stablehlo.
"""

import sys
from pathlib import Path

import jax
import numpy as np
from jax.extend.backend import get_backend
from jaxlib import _hlo, _jax


def run(client, stablehlo, argument):
    """The results of a program in StableHLO, text or bytecode."""
    executable = client.compile_and_load(stablehlo, client.local_devices()[:1], _jax.CompileOptions())
    return [np.asarray(result) for result in executable.execute([jax.device_put(argument)])]


def main(directory):
    client = get_backend("cpu")
    arguments = sorted(directory.glob("*.x.npy"))
    if not arguments:
        raise SystemExit(f"there is nothing to run in {directory}")
    for path in arguments:
        name = path.name.removesuffix(".x.npy")
        text = _hlo.hlo_module_from_text((directory / f"{name}.hlo.txt").read_text())
        protos = {
            "proto": (directory / f"{name}.hlo.pb").read_bytes(),
            "text": text.as_serialized_hlo_module_proto(),
        }
        # jaxlib compiles StableHLO only; it translates HLO itself.
        programs = {form: _jax.mlir.hlo_to_stablehlo(proto) for form, proto in protos.items()}
        programs["stablehlo"] = (directory / f"{name}.mlir").read_text()
        for form, program in programs.items():
            for i, result in enumerate(run(client, program, np.load(path))):
                np.save(directory / f"{name}.{form}.{i}.npy", result)
    print(f"jax {jax.__version__} ran {len(arguments)} programs in 3 forms each")


main(Path(sys.argv[1]))
