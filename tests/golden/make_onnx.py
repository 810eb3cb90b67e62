"""Golden networks of the feature `onnx`: python tests/golden/make_onnx.py (torch, onnx, onnxscript, onnxruntime, numpy)

onnx/*.onnx are small networks that PyTorch's exporters wrote. onnx/cases.json has the outputs of ONNX Runtime: for clips and keys of
the feature (pooled in numpy), and for arrays that go straight into a network. Samples and arrays follow a formula that the Rust
test computes as well.
"""

import json
import pathlib

import numpy as np
import onnx
import onnxruntime
import torch
from torch import nn

FOLDER = pathlib.Path(__file__).parent / "onnx"


def formula(count):
    """Values from -1 to 1, exact in single precision."""
    n = np.arange(count, dtype=np.int64)
    return ((n * n * 37 + n * 911) % 4096 / 2048 - 1).astype(np.float32)


class Wave(nn.Module):
    """Two strided convolutions of the samples; a map over time and scores of the whole clip."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2, self.fc = nn.Conv1d(1, 8, 64, 32), nn.Conv1d(8, 6, 5, 2, padding=2), nn.Linear(6, 4)

    def forward(self, samples):
        features = torch.tanh(self.conv2(torch.relu(self.conv1(samples.unsqueeze(1)))))
        return features, torch.sigmoid(self.fc(features.mean(2)))


class Bands(nn.Module):
    """A small CNN over an image of bands × frames."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(8, 12, 3, padding=1, groups=4),
            nn.Hardswish(),
        )
        self.fc = nn.Linear(12, 5)

    def forward(self, image):
        return self.fc(self.layers(image).mean((2, 3)))


class Sequence(nn.Module):
    """A transformer layer and a GRU over frames × bands."""

    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(16, 4, batch_first=True)
        self.norm, self.gru, self.fc = nn.LayerNorm(16), nn.GRU(16, 10, batch_first=True), nn.Linear(10, 3)

    def forward(self, frames):
        x = self.norm(frames + self.attention(frames, frames, frames, need_weights=False)[0])
        return self.fc(nn.functional.gelu(self.gru(x)[0]))


def export(name, module, example, outputs, dynamo, **keys):
    torch.manual_seed(1)
    module = module()
    for buffer_name, buffer in module.named_buffers():
        if "running" in buffer_name:
            buffer.copy_(torch.rand_like(buffer) + 0.5)
    path = FOLDER / f"{name}.onnx"
    torch.onnx.export(
        module.eval(), (example,), path, input_names=["input"], output_names=outputs, dynamo=dynamo, external_data=False, **keys
    )
    proto = onnx.load(path)
    # Only the exporter's notes on its own source.
    for node in proto.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    del proto.graph.value_info[:], proto.metadata_props[:]
    proto.graph.doc_string = ""
    onnx.checker.check_model(proto)
    onnx.save(proto, path)


def run(name, output, values):
    return onnxruntime.InferenceSession(FOLDER / f"{name}.onnx").run([output], {"input": values})[0]


def feature(name, output, samples, length=None, axis=-1, pool="mean"):
    """A clip of so many samples, cut into patches of `length`."""
    wave = formula(samples)
    width = length or samples
    wave = np.pad(wave, (0, max(0, width - samples)))
    patches = [run(name, output, wave[at : at + width][None]) for at in range(0, len(wave) - width + 1, width)]
    columns = np.concatenate([np.moveaxis(patch, axis, 0).reshape(patch.shape[axis], -1) for patch in patches], 1)
    matrix = {
        "mean": lambda: columns.mean(1, dtype=np.float64, keepdims=True),
        "max": lambda: columns.max(1, keepdims=True),
        "none": lambda: columns,
    }[pool]()
    keys = {"kind": "onnx", "file": f"{name}.onnx", "output": output, "axis": axis, "pool": pool}
    return {"keys": keys, "samples": samples, "shape": list(matrix.shape), "values": matrix.ravel().tolist()}


def array(name, output, *shape):
    values = run(name, output, formula(int(np.prod(shape))).reshape(shape))
    return {
        "file": f"{name}.onnx",
        "output": output,
        "input": list(shape),
        "shape": list(values.shape),
        "values": values.ravel().tolist(),
    }


def main():
    FOLDER.mkdir(exist_ok=True)
    both = ["map", "scores"]
    samples = {"samples": {0: torch.export.Dim("batch"), 1: torch.export.Dim("length", min=256, max=1 << 20)}}
    export("wave", Wave, torch.zeros(2, 4000), both, True, dynamic_shapes=samples, opset_version=18)
    export("wave_fixed", Wave, torch.zeros(1, 4000), both, False, opset_version=13)
    axes = {"input": {0: "batch", 3: "frames"}}
    export("bands", Bands, torch.zeros(1, 1, 16, 20), ["logits"], False, dynamic_axes=axes, opset_version=17)
    export("sequence", Sequence, torch.zeros(1, 12, 16), ["frames"], True, opset_version=18)
    cases = {
        "features": [
            feature("wave", "map", 5000, axis=1),
            feature("wave", "map", 5000, axis=1, pool="none"),
            feature("wave", "scores", 2500),
            feature("wave_fixed", "map", 9000, 4000, axis=1, pool="max"),
            feature("wave_fixed", "map", 9000, 4000, axis=-2, pool="none"),
            feature("wave_fixed", "scores", 9000, 4000),
            feature("wave_fixed", "scores", 1500, 4000),
        ],
        "arrays": [
            array("bands", "logits", 1, 1, 16, 20),
            array("bands", "logits", 1, 1, 16, 33),
            array("sequence", "frames", 1, 12, 16),
        ],
    }
    (FOLDER / "cases.json").write_text(json.dumps(cases, separators=(",", ":")) + "\n")


main()
