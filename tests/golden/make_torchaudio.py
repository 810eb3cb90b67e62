"""Writes tests/golden/torchaudio.json: torchaudio's features of the signals in tests/golden/features, with its defaults.

    python tests/golden/make_torchaudio.py        (needs torch, torchaudio, numpy)

Each case has the keys that an experiment writes beside `preset = "torchaudio"`.
"""

import json
import pathlib

import numpy as np
import torch
import torchaudio
from torchaudio.compliance import kaldi

FOLDER = pathlib.Path(__file__).parent
INDEX = json.loads((FOLDER / "features" / "index.json").read_text())
RATE = INDEX["sample_rate"]
SIGNALS = np.fromfile(FOLDER / "features" / "signals.f32", "<f4")


# Windows in f64, so that the far bins of a tone are not rounding noise.
WINDOW = {"wkwargs": {"dtype": torch.float64}}


def spectrogram(x, frame={}):
    return torchaudio.transforms.Spectrogram(**WINDOW, **frame).double()(x), "float"


def mel(x, frame={}, n_mels=128):
    return torchaudio.transforms.MelSpectrogram(RATE, n_mels=n_mels, **WINDOW, **frame).double()(x), "float"


def mfcc(x, frame={}, n_mels=128, **keys):
    return torchaudio.transforms.MFCC(RATE, melkwargs={"n_mels": n_mels, **WINDOW, **frame}, **keys).double()(x), "db"


def lfcc(x, frame={}, **keys):
    return torchaudio.transforms.LFCC(RATE, speckwargs={**WINDOW, **frame}, **keys).double()(x), "db"


def fbank(x, **keys):
    # A thousandth more, so that rounding down gives the number of samples.
    length = {"frame_length": 400.001 * 1000 / RATE, "frame_shift": 160.001 * 1000 / RATE}
    return kaldi.fbank(x[None].float(), sample_frequency=RATE, dither=0.0, **length, **keys).T, "db"


LONG = {"n_fft": 1024, "hop_length": 256}
CASES = [
    ({"kind": "stft"}, spectrogram, {}),
    ({"kind": "stft", **LONG}, spectrogram, {"frame": LONG}),
    ({"kind": "mel", "n_mels": 40}, mel, {"n_mels": 40}),
    ({"kind": "mel", "n_mels": 64, **LONG}, mel, {"n_mels": 64, "frame": LONG}),
    ({"kind": "mfcc", "n_mels": 40}, mfcc, {"n_mels": 40}),
    ({"kind": "mfcc", "n_mels": 64, "n_mfcc": 13, **LONG}, mfcc, {"n_mels": 64, "n_mfcc": 13, "frame": LONG}),
    ({"kind": "lfcc"}, lfcc, {}),
    ({"kind": "lfcc", "n_lfcc": 20, "n_filter": 60, **LONG}, lfcc, {"n_lfcc": 20, "n_filter": 60, "frame": LONG}),
    ({"kind": "kaldi_fbank"}, fbank, {}),
    ({"kind": "kaldi_fbank", "num_mel_bins": 40, "window_type": "hamming"}, fbank, {"num_mel_bins": 40, "window_type": "hamming"}),
]


def main():
    cases = []
    for signal in ("mixture", "beats"):
        span = INDEX["signals"][signal]
        x = torch.from_numpy(SIGNALS[span["offset"] :][: span["length"]].astype(np.float64))
        for spec, function, keys in CASES:
            values, unit = function(x, **keys)
            rows, cols = values.shape
            kept = sorted(set(np.linspace(0, cols - 1, 4).astype(int).tolist()))
            golden = [float(f"{value:.7g}") for value in values[:, kept].ravel().tolist()]
            cases.append({"signal": signal, "keys": spec, "unit": unit, "rows": rows, "cols": cols, "kept": kept, "values": golden})
    text = json.dumps(cases, separators=(",", ":")).replace('{"signal"', '\n{"signal"')
    (FOLDER / "torchaudio.json").write_text(text + "\n")
    print(f"torchaudio {torchaudio.__version__}, torch {torch.__version__}: {len(cases)} cases, {len(text)} bytes")


if __name__ == "__main__":
    main()
