"""onnxruntime in the benchmark: its GRU, LSTM and RNN operators, with the weights in the graph."""

import time

import numpy as np
import onnxruntime
from onnx import TensorProto, checker, helper, numpy_helper
from safetensors.numpy import load_file, save_file

import protocol

OPERATORS = {"gru": "GRU", "lstm": "LSTM", "simple": "RNN"}
# Where Flax has each gate of the operator: ONNX has z, r, n and i, o, f, g.
GATES = {"gru": [1, 0, 2], "lstm": [0, 3, 1, 2], "simple": [0]}
OPSET = 22


def reordered(cell, values):
    """Gates along the last axis, in the order of the operator."""
    parts = np.split(values, len(GATES[cell]), axis=-1)
    return np.concatenate([parts[gate] for gate in GATES[cell]], axis=-1)


def graph(case, data):
    """A model from `x` to the last states, and to the outputs of all steps if they are wanted."""
    cell, h = case["cell"], case["h"]
    weights, nodes, names, ys = {}, [], [], "x"
    for layer in range(case["layers"]):
        prefix = f"layers.{layer}."
        zeros = np.zeros(len(GATES[cell]) * h, np.float32)
        biases = [data.get(prefix + dense + ".bias", zeros) for dense in ("dense_i", "dense_h")]
        weights[prefix + "W"] = reordered(cell, data[prefix + "dense_i.kernel"]).T[None]
        weights[prefix + "R"] = reordered(cell, data[prefix + "dense_h.kernel"]).T[None]
        weights[prefix + "B"] = np.concatenate([reordered(cell, bias) for bias in biases])[None]
        states = [f"{prefix}h", f"{prefix}c"][: 2 if cell == "lstm" else 1]
        is_needed = layer + 1 < case["layers"] or case["kind"] == "forward_ys"
        options = {"linear_before_reset": 1} if cell == "gru" else {}
        nodes.append(helper.make_node(
            OPERATORS[cell], [ys, prefix + "W", prefix + "R", prefix + "B"],
            [f"{prefix}all" if is_needed else "", *states], hidden_size=h, **options,
        ))
        # The carry of an LSTM is (c, h).
        names += reversed(states)
        if is_needed:
            # There is an axis for the two directions.
            ys, weights["axis"] = f"{prefix}ys", np.array([1], np.int64)
            nodes.append(helper.make_node("Squeeze", [f"{prefix}all", "axis"], [ys]))
    shape = [case["t"], case["batch"], case["d"]]
    outputs = [(name, [1, case["batch"], h]) for name in names]
    if case["kind"] == "forward_ys":
        outputs.append((ys, [case["t"], case["batch"], h]))
    made = helper.make_graph(
        nodes, "rnn",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs],
        [numpy_helper.from_array(np.ascontiguousarray(value), name)
         for name, value in weights.items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    checker.check_model(model)
    return model, [name for name, _ in outputs]


def prepare(case):
    if not case["kind"].startswith("forward"):
        raise protocol.Unsupported("the forward computation is compared")
    if case["dtype"] != "f32":
        raise protocol.Unsupported("its operators have no bf16 on CPUs")
    data = load_file(case["data"])
    model, names = graph(case, data)
    start = time.perf_counter()
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    seconds = time.perf_counter() - start
    x = data["x"].reshape(case["t"], case["batch"], case["d"])
    call = lambda: session.run(names, {"x": x})
    write(case, names, call())
    return {"compile_s": seconds, "call": call}


def write(case, names, results):
    """Writes results in the shapes of the other contestants, under the paths of Flax's carries."""
    batch = [] if case["batch"] == 1 else [case["batch"]]
    outputs = {}
    for name, values in zip(names, results):
        if name.endswith("ys"):
            outputs["ys"] = values.reshape(case["t"], *batch, case["h"])
            continue
        _, layer, part = name.split(".")
        index = {"c": ".0", "h": ".1"}[part] if case["cell"] == "lstm" else ""
        outputs[f"carry.{layer}{index}"] = values.reshape(*batch, case["h"])
    save_file(outputs, case["outputs"])


if __name__ == "__main__":
    protocol.serve(prepare)
