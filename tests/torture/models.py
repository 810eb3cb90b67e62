"""Models, weights, records of runs and the cache's index, damaged or made by an enemy.

Every file ends in a result or a sentence: never a signal, never memory without bounds, and nothing in a pickle is ever called.
"""

import io
import json
import math
import pickle
import shutil
import struct
import zipfile

from harness import (FEATURES, GIB, MIB, MODELS, NETWORK, expect, expect_same, latest, mutate, mutate_json, put, results)

ADDRESSES = 3 * GIB
BOUND = 700 * MIB


def run(area):
    project = area.project()
    project.folder_set("small", clips=6)
    project.trained("classic", FEATURES + MODELS + "[models.both]\nkind = \"ensemble\"\nmembers = [\"mel.knn\", \"fft.logistic\"]\n")
    network, _ = project.trained("network", NETWORK.replace("epochs = 8", "epochs = 2"))
    area.check("window_of_hours_in_a_model", hours, project)
    area.check("index_of_the_cache_with_a_huge_record", huge_record, project)
    for name, data in hostile_weights(network, project):
        area.check(f"weights/{name.replace('/', '_')}", weights, project, name, data)
    for family, function, until in (("mutated_weights", mutated_weights, 0.35), ("mutated_model", mutated_model, 0.6),
                                    ("mutated_record", mutated_record, 0.85), ("mutated_index", mutated_index, 1.0)):
        for name, rng in area.cases(family, 3000, until, least=5):
            area.check(name, function, project, rng, *([network] if family == "mutated_weights" else []))


def bounded(project, *words, **settings):
    return project.timbre(*words, seconds=60, memory=ADDRESSES, bound=BOUND, **settings).sound()


def clip(project):
    return project / "data/small/cel/000.wav"


def copied(project, experiment):
    """A copy of the runs in which one run may be damaged; the run."""
    runs = project.new("runs")
    shutil.copytree(project / "runs" / experiment, runs / experiment, symlinks=True)
    return runs, latest(runs, experiment)


# --------------------------------------------------------------------------------------------------------------- saved models

def hours(project):
    """A window of six hours in a file of 2 kB asks for gigabytes."""
    runs, run = copied(project, "classic")
    path = run / "models/mel.logistic.s1/model.json"
    record = json.loads(path.read_bytes())
    for seconds in (22050.0, 1e9, 1e300, 1e-9):
        path.write_text(json.dumps(record | {"window": {"seconds": seconds, "hop": seconds}}))
        bounded(project, "predict", f"{run}:mel.logistic.s1", clip(project), runs=runs)


def mutated_model(project, rng):
    experiment = rng.choice(("classic", "classic", "network"))
    runs, run = copied(project, experiment)
    model = rng.choice(sorted(path for path in (run / "models").iterdir()))
    if rng.random() < 0.6:
        path = model / "model.json"
        path.write_text(json.dumps(mutate_json(rng, json.loads(path.read_bytes()))))
    else:
        path = rng.choice(sorted(model.iterdir()))
        path.write_bytes(mutate(rng, path.read_bytes()))
    for more in ((), ("--windows",)):
        bounded(project, "predict", f"{run}:{model.name}", clip(project), "--json", *more, runs=runs)


def mutated_record(project, rng):
    """run.json, the records of trials and what else lies in a run, for the commands that read it."""
    runs, run = copied(project, "classic")
    paths = [run / "run.json"] * 4 + sorted(run.glob("units/*")) + [path for path in run.iterdir() if path.is_file()]
    path = rng.choice(paths)
    if path.suffix == ".json" and rng.random() < 0.7:
        path.write_text(json.dumps(mutate_json(rng, json.loads(path.read_bytes()))))
    else:
        path.write_bytes(mutate(rng, path.read_bytes()))
    commands = [("runs", "--json"), ("compare", run, run), ("diff", run, run), ("report", run), ("gc", "-n", "--days", "0"), ("plan", "classic"),
                ("baseline", "save", run, "--out", project.new("baseline.json")), ("reproduce", run), ("run", "classic", "-q")]
    for words in rng.sample(commands, 3):
        bounded(project, *words, runs=runs)


# ------------------------------------------------------------------------------------------------------------- foreign weights

def weights(project, name, data):
    """A network with `init` from this file. A marker tells whether code in it was run."""
    path, marker = project.new("weights") / name, project / "executed"
    put(path, data)
    text = NETWORK.replace("epochs = 8", "epochs = 1").replace("filters", f"init = {json.dumps(str(path))}\nfilters")
    project.experiment("foreign", text)
    try:
        bounded(project, "run", "foreign", "--device", "cpu", "-q", runs=project.new("runs")).code_in(0, 1, 2)
    finally:
        executed = marker.exists()
        marker.unlink(missing_ok=True)
    expect(not executed, f"code in {name} was executed")


def mutated_weights(project, rng, network):
    tensors = tensors_of(network)
    if rng.random() < 0.5:
        name, data = "mutated.safetensors", (network / "models/mel.cnn_small.s1/model.safetensors").read_bytes()
    else:
        name, data = rng.choice(("mutated.pth", "mutated.pt")), torch_zip(state_dict(tensors), storages(tensors), rng.choice((0, 8)))
    weights(project, name, mutate(rng, data))


def tensors_of(run):
    """Names and shapes of a saved network."""
    data = (run / "models/mel.cnn_small.s1/model.safetensors").read_bytes()
    header = json.loads(data[8:8 + struct.unpack("<Q", data[:8])[0]])
    return {name: entry["shape"] for name, entry in header.items() if name != "__metadata__"}


def storages(tensors):
    return {str(number): bytes(4 * math.prod(shape)) for number, shape in enumerate(tensors.values())}


def integer(number):
    return b"\x8a" + bytes([9]) + number.to_bytes(9, "little", signed=True)


def text(word):
    return b"X" + struct.pack("<I", len(word)) + word.encode()


def tensor(key, count, shape, strides=None, offset=0, kind="FloatStorage"):
    """The opcodes with which `torch.save` describes a tensor."""
    if strides is None:
        strides = [math.prod(shape[axis + 1:]) for axis in range(len(shape))]
    many = lambda numbers: b"(" + b"".join(map(integer, numbers)) + b"t"
    storage = b"(" + text("storage") + f"ctorch\n{kind}\n".encode() + text(key) + text("cpu") + integer(count) + b"tQ"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + integer(offset) + many(shape) + many(strides) + b"\x89ccollections\nOrderedDict\n)RtR"


def state_dict(tensors, **changed):
    """A pickled dictionary; `changed` replaces one tensor by name."""
    items = b""
    for number, (name, shape) in enumerate(tensors.items()):
        items += text(name) + changed.get(name.replace(".", "_"), tensor(str(number), math.prod(shape), shape))
    return b"\x80\x02}(" + items + b"u."


def torch_zip(pickled, data, compression=zipfile.ZIP_STORED):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as file:
        file.writestr("archive/data.pkl", pickled)
        file.writestr("archive/byteorder", "little")
        file.writestr("archive/version", "3\n")
        for key, values in data.items():
            file.writestr(f"archive/data/{key}", values)
    return out.getvalue()


def hostile_weights(run, project):
    """Names and bytes of weights that no program wrote."""
    tensors = tensors_of(run)
    data = storages(tensors)
    first = next(iter(tensors))
    key = first.replace(".", "_")
    zipped = lambda pickled: torch_zip(pickled, data)
    yield "good.pth", zipped(state_dict(tensors))
    for name, hostile in {
        "stride_0_and_a_huge_shape": tensor("0", 10, [10 ** 9], [0]),
        "stride_0_in_four_dimensions": tensor("0", 10, [2 ** 16, 2 ** 16, 2 ** 16, 2 ** 15], [0, 0, 0, 0]),
        "a_huge_shape": tensor("0", 10, [2 ** 40, 2 ** 40]),
        "a_negative_shape": tensor("0", 10, [-1, -5]),
        "negative_strides": tensor("0", 10, [3, 3], [-3, -1]),
        "an_offset_behind_the_end": tensor("0", 10, [4], offset=2 ** 62),
        "a_negative_offset": tensor("0", 10, [4], offset=-1),
        "a_huge_count": tensor("0", 2 ** 62, [4]),
        "an_absent_storage": tensor("99", 10, [4]),
        "a_storage_outside": tensor("../../../../etc/passwd", 10, [4]),
        "an_unknown_type": tensor("0", 10, [4], kind="NoStorage"),
        "no_dimension": tensor("0", 10, []),
        "a_million_dimensions": tensor("0", 10, [1] * 100_000),
    }.items():
        yield f"{name}.pth", zipped(state_dict(tensors, **{key: hostile}))
    command = f"touch {project / 'executed'}"
    code = {
        "system_in_protocol_0": f"cos\nsystem\n(S'{command}'\ntR.".encode(),
        "system_in_protocol_2": b"\x80\x02cposix\nsystem\n(" + text(command) + b"tR.",
        "system_in_protocol_4": pickle.dumps(Code(command), 4),
        "system_in_an_instance": b"(" + text(command) + b"iposix\nsystem\n.",
        "eval_in_an_object": b"\x80\x02cbuiltins\neval\n(" + text(f"__import__('os').system({command!r})") + b"t\x81.",
        "system_in_a_build": b"\x80\x02cposix\nsystem\n" + text(command) + b"b.",
        "system_as_a_persistent_id": b"\x80\x02cposix\nsystem\n(" + text(command) + b"tRQ.",
        "system_as_a_value": state_dict(tensors, **{key: b"cposix\nsystem\n(" + text(command) + b"tR"}),
    }
    for name, pickled in code.items():
        yield f"{name}.pth", pickled
        yield f"{name}.zip.pth", zipped(pickled)
    yield "deep_tuples.pth", zipped(b"\x80\x02" + b"(" * 1_000_000 + b"t" * 1_000_000 + b".")
    yield "deep_lists.pth", b"\x80\x02" + b"]" + b"(]" * 1_000_000 + b"e" * 1_000_000 + b"."
    # Each list holds the one before it ten times.
    bomb = b"\x80\x02]q\0" + b"".join(b"](" + b"h" + bytes([level]) + (b"h" + bytes([level])) * 9 + b"eq" + bytes([level + 1]) for level in range(30))
    yield "memo_bomb.pth", zipped(bomb + b".")
    yield "a_text_of_4_gb.pth", zipped(b"\x80\x02X\xff\xff\xff\xff" + b"x" * 1000 + b".")
    yield "a_long_of_2_gb.pth", zipped(b"\x80\x02\x8b\xff\xff\xff\x7f" + b"x" * 1000 + b".")
    yield "frames_of_2_to_62.pth", zipped(b"\x80\x04\x95" + struct.pack("<Q", 2 ** 62) + b"}.")
    yield "zip_bomb.pth", torch_zip(state_dict(tensors), {"0": bytes(400 * MIB)}, zipfile.ZIP_DEFLATED)
    yield "no_entries.pth", torch_zip(b"\x80\x02}.", {})
    yield "end_of_zip_alone.pth", b"PK\x05\x06" + b"\xff" * 18
    yield "empty.pth", b""
    yield "empty.safetensors", b""
    header = lambda entries, size=None: struct.pack("<Q", len(json.dumps(entries)) if size is None else size) + json.dumps(entries).encode()
    yield "header_of_2_to_62.safetensors", header({}, 2 ** 62)
    yield "header_of_100_mb.safetensors", header({}, 100_000_000)
    for name, entry in {
        "huge_shape": {"dtype": "F32", "shape": [2 ** 32, 2 ** 32], "data_offsets": [0, 0]},
        "offsets_behind_the_end": {"dtype": "F32", "shape": [4], "data_offsets": [2 ** 60, 2 ** 60 + 16]},
        "offsets_backwards": {"dtype": "F32", "shape": [4], "data_offsets": [16, 0]},
        "negative": {"dtype": "F32", "shape": [-4], "data_offsets": [0, 16]},
        "empty_shape": {"dtype": "F32", "shape": [0, 2 ** 40], "data_offsets": [0, 0]},
    }.items():
        yield f"{name}.safetensors", header({first: entry}) + bytes(16)
    yield "not_finite.safetensors", header({first: {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}) + struct.pack("<4f", *[math.nan] * 4)


class Code:
    """Pickles as a call of `os.system`."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        import os
        return os.system, (self.command,)


# ----------------------------------------------------------------------------------------------------------- the index of the cache

HEADER = 104                            # bytes of a record's header


def huge_record(project):
    """A record of 2^19 × 2^19 values, with the right checksum: 1 TiB in a pack of a few kilobytes."""
    def enlarge(headers):
        for header in headers:
            header[8:24] = struct.pack("<IIQ", 1 << 19, 1 << 19, 1 << 40)
    with_index(project, enlarge)


def mutated_index(project, rng):
    """Headers with other sizes, offsets and kinds, under the right checksum."""
    def change(headers):
        for header in rng.sample(headers, rng.randrange(1, len(headers))):
            kind = rng.randrange(6)
            if kind == 0:
                rows, cols = (rng.choice((0, 1, 3, 1 << 16, 1 << 20, (1 << 32) - 1)) for _ in range(2))
                header[8:24] = struct.pack("<IIQ", rows, cols, rows * cols * 4 & (1 << 64) - 1)
            elif kind == 1:
                header[96:104] = struct.pack("<Q", rng.choice((0, 1, 103, 1 << 20, 1 << 40, 1 << 63, (1 << 64) - 1)))
            elif kind == 2:
                header[4] = rng.choice((0, 1, 2, 255))
                header[16:24] = struct.pack("<Q", rng.choice((0, 5, 1 << 30, 1 << 40, 1 << 63)))
            elif kind == 3:
                header[:] = mutate(rng, bytes(header))[:HEADER].ljust(HEADER, b"\0")
            elif kind == 4:
                header[96:104] = headers[rng.randrange(len(headers))][96:104]
            else:
                headers.append(bytearray(header))
    with_index(project, change)


def with_index(project, change):
    """A run with a changed index ends with a sentence or with the right numbers."""
    cache, runs = project.new("cache"), project.new("runs")
    shutil.copytree(project / "cache", cache)
    for path in (cache / "features").glob("*.idx"):
        data = path.read_bytes()
        expect(blake3(data[:-8])[:8] == data[-8:], "the script does not know this form of the index")
        headers = [bytearray(data[at:at + HEADER]) for at in range(8, len(data) - 8, HEADER)]
        change(headers)
        body = data[:8] + b"".join(headers)
        path.write_bytes(body + blake3(body)[:8])
    for words in (("cache", "show"), ("plan", "classic")):
        bounded(project, *words, cache=cache, runs=runs)
    ended = bounded(project, "run", "classic", "--device", "cpu", "-q", cache=cache, runs=runs)
    if ended.code == 0:
        expect_same(results(latest(runs, "classic")), results(latest(project / "runs", "classic")), "with a changed index")


# BLAKE3, as its specification describes it, for the checksum of an index; the standard library does not have it.

INITIAL = (0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19)
ORDER = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
MIXES = ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15), (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14))
CHUNK_START, CHUNK_END, PARENT, ROOT = 1, 2, 4, 8


def compress(chain, block, counter, size, flags):
    v = [*chain, *INITIAL[:4], counter & 0xffffffff, counter >> 32, size, flags]
    for _ in range(7):
        for step, (a, b, c, d) in enumerate(MIXES):
            for word, turn_d, turn_b in ((block[2 * step], 16, 12), (block[2 * step + 1], 8, 7)):
                v[a] = v[a] + v[b] + word & 0xffffffff
                v[d] = turned(v[d] ^ v[a], turn_d)
                v[c] = v[c] + v[d] & 0xffffffff
                v[b] = turned(v[b] ^ v[c], turn_b)
        block = [block[place] for place in ORDER]
    return [v[i] ^ v[i + 8] for i in range(8)]


def turned(word, bits):
    return (word >> bits | word << 32 - bits) & 0xffffffff


def node(data, counter, flags):
    """The chaining value of a part of the tree."""
    if len(data) <= 1024:
        blocks = [data[at:at + 64] for at in range(0, len(data), 64)] or [b""]
        chain = INITIAL
        for number, block in enumerate(blocks):
            start = CHUNK_START if number == 0 else 0
            end = CHUNK_END | flags if number == len(blocks) - 1 else 0
            chain = compress(chain, struct.unpack("<16I", block.ljust(64, b"\0")), counter, len(block), start | end)
        return chain
    left = 1024 << (((len(data) - 1) // 1024).bit_length() - 1)
    words = [*node(data[:left], counter, 0), *node(data[left:], counter + left // 1024, 0)]
    return compress(INITIAL, words, 0, 64, PARENT | flags)


def blake3(data):
    return struct.pack("<8I", *node(data, 0, ROOT))
