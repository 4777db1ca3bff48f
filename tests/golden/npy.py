"""Makes the `.npy` files that the tests read: `python tests/golden/npy.py`.

Every array of two axes is

    [[v0, v1, v2],
     [v3, v4, v5]]

with the six values of its dtype in VALUES; tests/io.rs has the same table. The name of a file says
what it is: `<dtype>_<byte order>_<C or Fortran order>.npy`. The files are those of the versions that
requirements.txt pins.
"""

import pathlib

import ml_dtypes
import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
OUT = HERE.parent / "data" / "npy"

FLOATS = [-1.5, -0.0, 0.25, 2.0, float("inf"), float("nan")]
VALUES = {
    "f2": FLOATS,
    "f4": FLOATS,
    "f8": FLOATS,
    "bf16": FLOATS,
    "i1": [-128, -2, -1, 0, 1, 127],
    "i2": [-(2**15), -2, -1, 0, 1, 2**15 - 1],
    "i4": [-(2**31), -2, -1, 0, 1, 2**31 - 1],
    "i8": [-(2**63), -2, -1, 0, 1, 2**63 - 1],
    "u1": [0, 1, 2, 3, 254, 255],
    "u2": [0, 1, 2, 3, 4, 2**16 - 1],
    "u4": [0, 1, 2, 3, 4, 2**32 - 1],
    "u8": [0, 1, 2, 3, 4, 2**63 - 1],
    "b1": [True, False, False, True, True, False],
}


def save(name, array, version=(1, 0)):
    with open(OUT / f"{name}.npy", "wb") as file:
        np.lib.format.write_array(file, array, version=version)


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    for old in OUT.glob("*.npy"):
        old.unlink()
    for name, values in VALUES.items():
        dtype = np.dtype(ml_dtypes.bfloat16 if name == "bf16" else name)
        array = np.array(values, dtype).reshape(2, 3)
        for layout, order in (("c", "C"), ("f", "F")):
            if dtype.itemsize == 1:
                save(f"{name}_{layout}", np.asarray(array, order=order))
                continue
            save(f"{name}_le_{layout}", np.asarray(array, order=order))
            swapped = array.astype(dtype.newbyteorder(">"))
            save(f"{name}_be_{layout}", np.asarray(swapped, order=order))

    cube = np.arange(24, dtype="<f4").reshape(2, 3, 4)
    save("cube_c", cube)
    save("cube_f", np.asfortranarray(cube))
    save("scalar", np.float32(2.5))
    save("vector", np.array([1, 2, 3], "<f4"))
    save("empty", np.zeros((0, 3), "<f4"))
    save("version_2", cube, version=(2, 0))
    save("version_3", np.asfortranarray(cube), version=(3, 0))
    save("overflow", np.array([0, 2**63], "<u8"))
    save("object", np.array([None, 1], object))
    save("record", np.array([(1, 2.0)], [("a", "<i4"), ("b", "<f4")]))
    save("string", np.array(["a", "bc"]))
    save("bytes", np.array([b"a", b"bc"]))
    save("date", np.array(["2020-01-01"], "<M8[D]"))
    save("complex", np.array([1j], "<c8"))
    save("long_double", np.array([1.0], np.longdouble))
    save("float8", np.array([1.0], ml_dtypes.float8_e4m3fn))
    total = sum(path.stat().st_size for path in OUT.glob("*.npy"))
    print(f"{len(list(OUT.glob('*.npy')))} files, {total:,} bytes")


if __name__ == "__main__":
    main()
