#!/usr/bin/env python3
"""Converts the trained networks of the PyPI package musicnn for Timbre.

    pip download --no-deps musicnn==0.1.0
    python3 docs/musicnn_weights.py musicnn-0.1.0-py3-none-any.whl weights/

writes weights/mtt_musicnn.safetensors, msd_musicnn.safetensors, mtt_vgg.safetensors and msd_vgg.safetensors, and beside each the
names of its 50 tags, one a line. The package (licence ISC, Jordi Pons) holds TensorFlow 1 checkpoints. Needs numpy and no
TensorFlow: the index of a checkpoint is a sorted table in the format of LevelDB, and the tensors are raw numbers.
"""
import ast
import json
import struct
import sys
import zipfile
from pathlib import Path

import numpy as np

# The epsilon of batch norms in TensorFlow and in PyTorch.
TENSORFLOW_EPSILON, EPSILON = 1e-3, 1e-5


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def block(data, handle):
    """The entries of a block of the table."""
    offset, at = varint(handle, 0)
    size, _ = varint(handle, at)
    if data[offset + size] != 0:
        sys.exit("the index of the checkpoint is compressed, which this script does not read")
    body = data[offset : offset + size]
    end = size - 4 - 4 * struct.unpack("<I", body[-4:])[0]
    at, key = 0, b""
    while at < end:
        shared, at = varint(body, at)
        own, at = varint(body, at)
        length, at = varint(body, at)
        key = key[:shared] + body[at : at + own]
        yield key, body[at + own : at + own + length]
        at += own + length


def fields(message):
    """The fields of a protocol buffer: (number, value)."""
    at = 0
    while at < len(message):
        tag, at = varint(message, at)
        if tag & 7 == 0:
            value, at = varint(message, at)
        elif tag & 7 == 2:
            length, at = varint(message, at)
            value, at = message[at : at + length], at + length
        else:
            length = {1: 8, 5: 4}[tag & 7]
            value, at = message[at : at + length], at + length
        yield tag >> 3, value


def read_checkpoint(index, data):
    """The 32-bit tensors of a checkpoint by their names."""
    footer = index[-48:]
    if footer[-8:] != struct.pack("<Q", 0xDB4775248B80FB57):
        sys.exit("this is not the index of a TensorFlow checkpoint")
    _, at = varint(footer, 0)
    _, at = varint(footer, at)
    tensors = {}
    for _, handle in block(index, footer[at:]):
        for name, entry in block(index, handle):
            entry = list(fields(entry))
            first = dict(entry)
            if not name or first.get(1) != 1:
                continue
            shape = [dict(fields(size)).get(1, 0) for number, size in fields(first.get(2, b"")) if number == 2]
            start = first.get(4, 0)
            values = np.frombuffer(data[start : start + first[5]], "<f4")
            tensors[name.decode()] = values.reshape(shape)
    return tensors


class Layers:
    """The layers of a checkpoint in the order in which TensorFlow numbered them."""

    def __init__(self, tensors):
        self.tensors, self.numbers, self.out = tensors, {}, {}

    def next(self, kind):
        number = self.numbers[kind] = self.numbers.get(kind, -1) + 1
        return kind if number == 0 else f"{kind}_{number}"

    def norm(self, name, fold_epsilon=False, order=None):
        layer = self.next("batch_normalization")
        parts = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
        for ours, theirs in parts.items():
            values = self.tensors[f"{layer}/{theirs}"]
            if fold_epsilon and ours == "running_var":
                values = values + (TENSORFLOW_EPSILON - EPSILON)
            self.out[f"{name}.{ours}"] = values if order is None else values[order]

    def conv(self, name, axes, layer=None):
        """`axes` orders TensorFlow's (time, bands, in, out) as (out, in, bands, time)."""
        layer = layer or self.next("conv2d")
        self.out[f"{name}.weight"] = self.tensors[f"{layer}/kernel"].transpose(axes)
        self.out[f"{name}.bias"] = self.tensors[f"{layer}/bias"]

    def dense(self, name, order=None):
        layer = self.next("dense")
        weights = self.tensors[f"{layer}/kernel"]
        self.out[f"{name}.weight"] = (weights if order is None else weights[order]).T
        self.out[f"{name}.bias"] = self.tensors[f"{layer}/bias"]


def musicnn(tensors):
    layers = Layers(tensors)
    layers.norm("input_norm")
    for number in range(5):
        layers.conv(f"front.{number}.conv", (3, 2, 1, 0))
        layers.norm(f"front.{number}.norm")
    for number in range(3):
        # A kernel spans all channels, which stand on the axis of the bands: they become input channels.
        layers.conv(f"middle.{number}.conv", (3, 1, 2, 0))
        layers.norm(f"middle.{number}.norm")
    # Maximum and mean of each channel alternate; here all maxima come first.
    channels = len(tensors["dense/kernel"]) // 2
    order = np.concatenate([np.arange(channels) * 2, np.arange(channels) * 2 + 1])
    layers.norm("pool_norm", order=order)
    layers.dense("dense", order)
    layers.norm("dense_norm")
    layers.dense("fc")
    return layers.out


def vgg(tensors):
    layers = Layers(tensors)
    layers.norm("features.0", fold_epsilon=True)
    for number in range(5):
        layers.conv(f"features.{1 + 5 * number}", (3, 2, 1, 0), f"{number + 1}CNN")
        layers.norm(f"features.{3 + 5 * number}", fold_epsilon=True)
    # The last map is flattened as (time, channel); here as (channel, time).
    times, channels = 2, len(tensors["dense/kernel"]) // 2
    layers.dense("classifier.1", np.arange(times * channels).reshape(times, channels).T.ravel())
    return layers.out


def write_safetensors(path, tensors):
    header, offset = {}, 0
    for name, values in tensors.items():
        end = offset + 4 * values.size
        header[name] = {"dtype": "F32", "shape": list(values.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for values in tensors.values():
            file.write(np.ascontiguousarray(values, "<f4").tobytes())


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    out = Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(sys.argv[1]) as wheel:
        source = ast.parse(wheel.read("musicnn/configuration.py"))
        assigned = (line for line in source.body if isinstance(line, ast.Assign))
        settings = {line.targets[0].id: line.value for line in assigned}
        for data_set in ("MTT", "MSD"):
            tags = ast.literal_eval(settings[f"{data_set}_LABELS"])
            for name, convert in (("musicnn", musicnn), ("vgg", vgg)):
                folder = f"musicnn/{data_set}_{name}"
                index = wheel.read(f"{folder}/.index")
                tensors = read_checkpoint(index, wheel.read(f"{folder}/.data-00000-of-00001"))
                path = out / f"{data_set}_{name}.safetensors".lower()
                write_safetensors(path, convert(tensors))
                path.with_suffix(".txt").write_text("".join(f"{tag}\n" for tag in tags))
                print(path)


if __name__ == "__main__":
    main()
