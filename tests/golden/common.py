"""What the golden-data scripts share: the input ramp and the file writer.

Every input is a formula (`ramp`, `ramp_int`, `ramp_bool`), so a reader of the data restates it and
needs no input arrays. README.md gives the formulas in full.
"""

import json
import os
import pathlib
import struct

os.environ["JAX_PLATFORMS"] = "cpu"

import flax
import jax
import jaxlib
import numpy as np
import safetensors.numpy

HERE = pathlib.Path(__file__).resolve().parent

# NumPy dtype name -> safetensors dtype name.
DTYPES = {
    "float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16",
    "int64": "I64", "int32": "I32", "int16": "I16", "int8": "I8",
    "uint64": "U64", "uint32": "U32", "uint16": "U16", "uint8": "U8", "bool": "BOOL",
}


def ramp_bits(shape, salt):
    """The hash behind every input: uint32, one value for each flat (row-major) index."""
    k = np.arange(int(np.prod(shape, dtype=np.int64)), dtype=np.uint32)
    with np.errstate(over="ignore"):
        h = (k + np.uint32(salt) * np.uint32(0x9E3779B9)) * np.uint32(2654435761)
        h ^= h >> np.uint32(15)
        h *= np.uint32(0x85EBCA6B)
        h ^= h >> np.uint32(13)
    return h.reshape(shape)


def ramp(shape, salt, scale=1.0, shift=0.0, dtype="float32"):
    """`ramp * scale + shift` in float32, then rounded to `dtype`; the ramp itself is in [-1, 1).

    `scale` is a power of two, so the product is exact and only the sum (and the cast) round.
    """
    h = ramp_bits(shape, salt)
    value = (h >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-23) - np.float32(1.0)
    if scale != 1.0 or shift != 0.0:
        value = value * np.float32(scale) + np.float32(shift)
    return value.astype(np.dtype(dtype))


def ramp_int(shape, salt, mod, shift=0, dtype="int32"):
    """`h mod mod + shift`."""
    return ((ramp_bits(shape, salt) % np.uint32(mod)).astype(np.int64) + shift).astype(np.dtype(dtype))


def ramp_bool(shape, salt):
    """`h mod 2 == 1`."""
    return ramp_bits(shape, salt) % np.uint32(2) == 1


class Golden:
    """Collects the cases and arrays of one family, then writes `<family>.safetensors`."""

    def __init__(self, family, script):
        self.family = family
        self.script = pathlib.Path(script).name
        self.cases = []
        self.arrays = {}

    def case(self, name, outputs, **params):
        """Adds the case `name`; `outputs` maps array names to values, `params` says how to redo it."""
        assert all(name != c["name"] for c in self.cases), f"two cases named {name}"
        for key, value in outputs.items():
            value = np.asarray(value)
            assert value.dtype.name in DTYPES, f"{name}/{key} has dtype {value.dtype}"
            self.arrays[f"{self.family}/{name}/{key}"] = np.ascontiguousarray(value).reshape(value.shape)
        self.cases.append({"name": name, **params})

    def save(self, **versions):
        """Writes the file, byte for byte the same for the same content, and reads it back.

        `versions` are those of packages that this family needs besides.
        """
        metadata = {
            "jax": jax.__version__,
            "jaxlib": jaxlib.__version__,
            "flax": flax.__version__,
            "numpy": np.__version__,
            **versions,
            "script": self.script,
            "cases": json.dumps(self.cases, separators=(",", ":"), allow_nan=False),
        }
        header, blobs, offset = {"__metadata__": metadata}, [], 0
        # Widest elements first, so that every array lies aligned.
        for key in sorted(self.arrays, key=lambda k: (-self.arrays[k].itemsize, k)):
            array = self.arrays[key]
            header[key] = {
                "dtype": DTYPES[array.dtype.name],
                "shape": list(array.shape),
                "data_offsets": [offset, offset + array.nbytes],
            }
            blobs.append(array.tobytes())
            offset += array.nbytes
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        path = HERE / f"{self.family}.safetensors"
        partial = path.with_suffix(".partial")
        partial.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(blobs))
        os.replace(partial, path)

        read = safetensors.numpy.load_file(path)
        assert read.keys() == self.arrays.keys()
        for key, array in self.arrays.items():
            assert read[key].shape == array.shape and read[key].tobytes() == array.tobytes(), key
        print(f"{path.name}: {len(self.cases)} cases, {len(self.arrays)} arrays, {path.stat().st_size:,} bytes")
