"""Writes tests/golden/features: signals, and their features by librosa 0.11 and Pillow.

    python tests/golden/make_features.py        (needs librosa 0.11, numpy, Pillow)

index.json   signals: name -> offset, length; cases: name, signal, spec (as in an experiment), unit, shape, kept columns, offset
signals.f32  the inputs, concatenated, little-endian f32
arrays.f32   the kept columns of each result, concatenated, row-major

The results are computed from the stored f32 samples. `unit` selects the comparison: "db" absolute, "float" relative. The
sample rate is 22050 Hz throughout.
"""

import json
import pathlib
import warnings

import librosa
import numpy as np
from PIL import Image

RATE = 22050
FOLDER = pathlib.Path(__file__).parent / "features"
STFT_KEYS = {"n_fft", "hop_length", "win_length", "window", "center", "pad_mode"}


def make_signals():
    rng = np.random.default_rng(20)
    t = np.arange(13231) / RATE  # an odd length, 0.6 s
    tones = 0.3 * np.sin(2 * np.pi * 440 * t) + 0.1 * np.sin(2 * np.pi * 1875.3 * t + 1)
    sweep = librosa.chirp(fmin=100, fmax=9000, sr=RATE, length=len(t))
    mixture = tones + 0.2 * sweep + 0.02 * rng.standard_normal(len(t))
    click = np.zeros(6000)
    click[3500] = 0.8
    return {
        "mixture": mixture,
        "tone": 0.5 * np.sin(2 * np.pi * 1234.5 * t[:8000]),
        "click": click,  # silence with a click: whole columns are zero
        "quiet": 1e-6 * mixture[4000:9000],
        "short": mixture[2000:2701],  # shorter than a frame
        "silence": np.zeros(1500),
    }


STFTS = [
    {},
    {"n_fft": 1024, "hop_length": 256},
    {"n_fft": 1024, "hop_length": 300, "win_length": 800, "window": "hamming"},
    {"n_fft": 2048, "hop_length": 512, "win_length": 1500, "pad_mode": "reflect"},
    {"n_fft": 600, "hop_length": 150, "win_length": 401, "center": False, "window": "blackman"},
    {"n_fft": 501, "hop_length": 125, "window": "boxcar"},
]

MELS = [
    {},
    {"n_mels": 40},
    {"htk": True},
    {"norm": "none", "n_mels": 40, "fmin": 50.0, "fmax": 8000.0},
    {"n_fft": 1024, "hop_length": 256, "win_length": 700, "n_mels": 64, "fmin": 300.0, "power": 1.0},
    {"htk": True, "norm": "none", "n_mels": 64, "fmax": 10000.0, "pad_mode": "reflect"},
    {"power": 1.5, "n_mels": 40},
    {"top_db": 30.0},
    {"top_db": 0.0},
    {"n_fft": 512, "hop_length": 128, "n_mels": 32, "center": False},
]

MFCCS = [
    {},
    {"n_mfcc": 13},
    {"n_mfcc": 13, "lifter": 22.0, "n_mels": 40},
    {"n_mfcc": 20, "lifter": 30.0, "n_fft": 1024, "hop_length": 256, "htk": True, "mel_norm": "none"},
    {"n_mfcc": 40, "n_mels": 40, "fmin": 80.0, "fmax": 7600.0},
]


def cases():
    specs = [("mixture", {"kind": "raw"})]
    specs += [(signal, {"kind": "fft"}) for signal in ("mixture", "tone", "click", "short", "silence")]
    for keys in STFTS:
        specs += [(signal, {"kind": "stft", **keys}) for signal in ("mixture", "click")]
        specs += [("mixture", {"kind": "stft", "db": True, **keys})]
        for signal in ("mixture", "tone", "click", "quiet"):
            specs += [(signal, {"kind": kind, **keys}) for kind in ("centroid", "bandwidth")]
        if keys.get("center", True):
            specs += [("short", {"kind": kind, **keys}) for kind in ("stft", "centroid", "bandwidth")]
    specs += [(signal, {"kind": "stft"}) for signal in ("tone", "quiet", "silence")]
    specs += [("tone", {"kind": "stft", "db": True, "top_db": 60.0})]
    specs += [("mixture", {"kind": "bandwidth", "p": 1.0}), ("mixture", {"kind": "bandwidth", "p": 3.0, "norm": False})]
    for keys in MELS:
        specs += [(signal, {"kind": "mel", **keys}) for signal in ("mixture", "tone", "click", "quiet")]
        specs += [(signal, {"kind": "mel", "db": False, **keys}) for signal in ("mixture", "quiet")]
    specs += [(signal, {"kind": "mel", "db": db}) for signal in ("short", "silence", "tone") for db in (True, False)]
    for keys in MFCCS:
        specs += [(signal, {"kind": "mfcc", **keys}) for signal in ("mixture", "tone", "click", "short", "silence")]
    both = {"summary": ["mean", "std"]}
    for kind in ("stft", "mel", "mfcc", "centroid", "bandwidth"):
        specs += [("mixture", {"kind": kind, **both}), ("click", {"kind": kind, **both})]
    specs += [("mixture", {"kind": "mel", "db": False, "summary": ["std"]}), ("short", {"kind": "mel", **both})]
    for size in ([64, 64], [256, 156], [128, 10], [50, 26], [7, 200]):
        specs += [("mixture", {"kind": "mel", "resize": size}), ("mixture", {"kind": "mel", "db": False, "resize": size})]
    specs += [("mixture", {"kind": "stft", "resize": [96, 40]}), ("mixture", {"kind": "mfcc", "resize": [32, 32]})]
    specs += [("tone", {"kind": "stft", "db": True, "resize": [128, 128]})]
    specs += [("mixture", {"kind": "mel", "n_mels": 40, "resize": [20, 13], **both})]
    return specs


def decibels(convert, image, spec):
    return convert(image, ref=1.0, top_db=spec.get("top_db", 80.0) or None)


def compute(y, spec):
    """The whole matrix and its unit."""
    kind = spec["kind"]
    stft = {"n_fft": 2048, "hop_length": 512, **{k: v for k, v in spec.items() if k in STFT_KEYS}}
    keys = {k: v for k, v in spec.items() if k not in STFT_KEYS | {"kind", "db", "top_db", "resize", "summary"}}
    for norm in ("norm", "mel_norm"):
        if keys.get(norm) == "none":
            keys[norm] = None
    unit = "float"
    if kind == "raw":
        image = y[None, :]
    elif kind == "fft":
        image = np.abs(np.fft.rfft(y.astype(np.float64)))[None, :]
    elif kind == "stft":
        image = np.abs(librosa.stft(y, **stft))
        if spec.get("db"):
            image, unit = decibels(librosa.amplitude_to_db, image, spec), "db"
    elif kind == "mel":
        image = librosa.feature.melspectrogram(y=y, sr=RATE, **stft, **keys)
        if spec.get("db", True):
            image, unit = decibels(librosa.power_to_db, image, spec), "db"
    elif kind == "mfcc":
        image, unit = librosa.feature.mfcc(y=y, sr=RATE, **stft, **keys), "db"
    elif kind == "centroid":
        image = librosa.feature.spectral_centroid(y=y, sr=RATE, **stft)
    elif kind == "bandwidth":
        image = librosa.feature.spectral_bandwidth(y=y, sr=RATE, **stft, **keys)
    if "resize" in spec:
        height, width = spec["resize"]
        picture = Image.fromarray(np.ascontiguousarray(image, dtype=np.float32))
        assert picture.mode == "F"
        image = np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR))
    if "summary" in spec:
        image = np.concatenate([getattr(np, s)(image.astype(np.float64), axis=1) for s in spec["summary"]])[:, None]
    return image, unit


def main():
    warnings.simplefilter("ignore")  # librosa warns of clips shorter than a frame, which is what these cases are about
    assert librosa.__version__.startswith("0.11."), librosa.__version__
    FOLDER.mkdir(exist_ok=True)
    signals = {name: signal.astype("<f4") for name, signal in make_signals().items()}
    index = {"sample_rate": RATE, "signals": {}, "cases": []}
    offset = 0
    for name, signal in signals.items():
        index["signals"][name] = {"offset": offset, "length": len(signal)}
        offset += len(signal)
    arrays, offset = [], 0
    for signal, spec in cases():
        matrix, unit = compute(signals[signal], spec)
        rows, cols = matrix.shape
        # Keep the first and last columns, which see the padding, and a few evenly spaced ones.
        keep = 400 if rows == 1 else 3 if rows > 200 else 5
        kept = sorted(set(np.linspace(0, cols - 1, min(cols, keep)).astype(int).tolist()))
        arrays.append(matrix[:, kept].astype("<f4").ravel())
        case = {"signal": signal, "spec": spec, "unit": unit, "rows": rows, "cols": cols, "offset": offset}
        case["kept"] = kept if len(kept) < cols else None
        index["cases"].append(case)
        offset += arrays[-1].size
    np.concatenate(list(signals.values())).tofile(FOLDER / "signals.f32")
    np.concatenate(arrays).tofile(FOLDER / "arrays.f32")
    text = json.dumps(index, indent=None, separators=(",", ":"))
    (FOLDER / "index.json").write_text(text.replace('{"signal"', '\n{"signal"') + "\n")
    print(len(index["cases"]), "cases,", offset * 4, "bytes")


if __name__ == "__main__":
    main()
