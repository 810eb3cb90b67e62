#!/usr/bin/env python3
"""Writes tests/golden/augment.json: loudness by pyloudnorm, filters by scipy.

    python tests/golden/make_augment.py        (needs numpy, scipy, pyloudnorm)

loudness   signals as formulas (sample rate, and a list of sines: seconds, Hz, amplitude, played one after another from phase 0)
           and their integrated loudness with the filters of ITU-R BS.1770 re-derived for the rate ("DeMan" in pyloudnorm)
filters    Butterworth filters of scipy.signal.butter: the first samples of the impulse response
"""

import json
import pathlib

import numpy as np
import pyloudnorm
from scipy import signal

SIGNALS = [
    (48000, [(3.0, 997.0, 1.0)]),
    (22050, [(2.0, 440.0, 0.1), (2.0, 3000.0, 0.02)]),
    (44100, [(1.5, 60.0, 0.5), (1.0, 60.0, 0.0), (1.5, 8000.0, 0.1)]),
    (16000, [(2.0, 200.0, 0.3), (4.0, 500.0, 0.001), (2.0, 1000.0, 0.003)]),
    (11025, [(1.0, 100.0, 0.2), (1.0, 2500.0, 0.2)]),
]

FILTERS = [
    ("low", 1, [1000.0]),
    ("low", 4, [500.0]),
    ("low", 7, [3000.0]),
    ("high", 2, [200.0]),
    ("high", 5, [4000.0]),
    ("band", 1, [300.0, 3000.0]),
    ("band", 2, [900.0, 1100.0]),
    ("band", 5, [200.0, 6000.0]),
    ("all_but", 1, [500.0, 2000.0]),
    ("all_but", 4, [1000.0, 1500.0]),
]
BTYPES = {"low": "lowpass", "high": "highpass", "band": "bandpass", "all_but": "bandstop"}
RATE = 22050


def samples(rate, parts):
    sine = lambda seconds, hz, amplitude: amplitude * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)
    return np.concatenate([sine(*part) for part in parts])


def main():
    loudness = []
    for rate, parts in SIGNALS:
        meter = pyloudnorm.Meter(rate, filter_class="DeMan")
        loudness.append({"rate": rate, "parts": parts, "lufs": meter.integrated_loudness(samples(rate, parts))})
    filters = []
    for kind, order, hz in FILTERS:
        sections = signal.butter(order, hz if len(hz) > 1 else hz[0], BTYPES[kind], fs=RATE, output="sos")
        pulse = np.zeros(120)
        pulse[0] = 1.0
        filters.append({"kind": kind, "order": order, "hz": hz, "answer": signal.sosfilt(sections, pulse).tolist()})
    path = pathlib.Path(__file__).parent / "augment.json"
    path.write_text(json.dumps({"loudness": loudness, "rate": RATE, "filters": filters}) + "\n")


if __name__ == "__main__":
    main()
