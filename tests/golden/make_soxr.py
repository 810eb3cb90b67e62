#!/usr/bin/env python3
"""Makes tests/golden/soxr: white noise at 44.1 kHz, resampled by soxr at its quality HQ, librosa's default.

Needs numpy and soxr. Run it in this folder; the tests need only its output.
"""

import os

import numpy as np
import soxr

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "soxr")


def main():
    os.makedirs(FOLDER, exist_ok=True)
    os.chdir(FOLDER)
    # Up to the last bit of the band, where filters differ; faded at the ends, where resamplers differ in what they assume.
    noise = (np.random.default_rng(1).uniform(-0.5, 0.5, 2500) * np.hanning(2500)).astype("<f4")
    noise.tofile("44100.f32")
    for rate in [22050, 16000]:
        soxr.resample(noise, 44100, rate, quality="HQ").astype("<f4").tofile(f"{rate}.f32")


if __name__ == "__main__":
    main()
