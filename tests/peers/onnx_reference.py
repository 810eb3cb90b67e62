"""Runs ONNX Runtime: python tests/peers/onnx_reference.py DIR (onnx, onnxruntime, numpy)

Checks each DIR/NAME.onnx and runs it on DIR/NAME.npy. Prints {NAME: {output: [values of all clips, largest difference of the same
without optimizations of the graph]}} as JSON.
"""

import json
import pathlib
import sys

import numpy as np
import onnx
import onnxruntime


def outputs(path):
    onnx.checker.check_model(onnx.load(path), full_check=True)
    plain = onnxruntime.SessionOptions()
    plain.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    sessions = [onnxruntime.InferenceSession(path, options) for options in (None, plain)]
    clips = np.load(path.with_suffix(".npy"))
    values, others = [session.run(None, {session.get_inputs()[0].name: clips}) for session in sessions]
    names = [output.name for output in sessions[0].get_outputs()]
    return {
        name: [value.ravel().tolist(), float(np.abs(value - other).max())]
        for name, value, other in zip(names, values, others)
    }


print(json.dumps({path.stem: outputs(path) for path in sorted(pathlib.Path(sys.argv[1]).glob("*.onnx"))}))
