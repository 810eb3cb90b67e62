"""Load a ResNet18 saved by Timbre in PyTorch and print the logits of clips.

    python docs/read_in_pytorch.py runs/resnet_small/latest/models/mel.resnet18.s1 features.npy

features.npy: float32, [clips, rows, frames]: the feature described in model.json, not normalized. Needs torch, torchvision, numpy.
"""
import json
import sys
from pathlib import Path

import numpy
import torch
from torchvision.models import resnet18


def safetensors(path):
    raw = path.read_bytes()
    start = 8 + int.from_bytes(raw[:8], "little")
    entries = {name: e for name, e in json.loads(raw[8:start]).items() if name != "__metadata__"}
    cut = lambda first, end: numpy.frombuffer(raw[start + first : start + end], "<f4").copy()
    return {name: torch.from_numpy(cut(*e["data_offsets"])).reshape(e["shape"]) for name, e in entries.items()}


def read(folder):
    tensors = safetensors(Path(folder) / "model.safetensors")
    front = {name: tensors.pop(name) for name in list(tensors) if name.startswith(("input.", "output."))}
    network = resnet18(num_classes=len(tensors["fc.bias"]))
    network.conv1 = torch.nn.Conv2d(tensors["conv1.weight"].shape[1], 64, 7, 2, 3, bias=False)
    missing, unexpected = network.load_state_dict(tensors, strict=False)
    assert not unexpected and all(name.endswith("num_batches_tracked") for name in missing), (missing, unexpected)
    return network.eval(), front["input.mean"].reshape(1, -1, 1), front["input.deviation"].reshape(1, -1, 1)


def logits(folder, features):
    network, mean, deviation = read(folder)
    images = ((torch.from_numpy(features) - mean) / deviation).unsqueeze(1)
    with torch.no_grad():
        return network(images.expand(-1, network.conv1.in_channels, -1, -1))


if __name__ == "__main__":
    print(json.dumps(logits(sys.argv[1], numpy.load(sys.argv[2])).tolist()))
