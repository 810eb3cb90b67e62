"""Mel extraction on one thread: Timbre beside librosa, on the same samples, in one run.

Both sides start with samples in memory and end with a 128-band mel spectrogram in decibels, librosa's defaults (n_fft 2048,
hop 512). Timbre's side is `cargo bench --bench features`, which reads the samples that this script writes.
"""

import argparse
import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[name] = "1"

import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import librosa
import numpy as np


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--data", type=Path, required=True)
    arguments.add_argument("--clips", type=int, default=100)
    a = arguments.parse_args()
    paths = sorted((a.data / "IRMAS-TrainingData").rglob("*.wav"))[:: 11][: a.clips]
    clips = [librosa.util.fix_length(librosa.load(p, sr=22050)[0], size=66150) for p in paths]

    def theirs(y):
        return librosa.power_to_db(librosa.feature.melspectrogram(y=y, sr=22050))

    theirs(clips[0])
    peer = []
    for y in clips * 3:
        begun = time.perf_counter()
        theirs(y)
        peer.append(time.perf_counter() - begun)
    peer = statistics.median(peer)
    with tempfile.TemporaryDirectory() as folder:
        samples = Path(folder) / "clips.f32"
        np.stack(clips).astype("<f4").tofile(samples)
        command = ["cargo", "bench", "--quiet", "--bench", "features", "--", "mel", str(samples)]
        own = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])
    print(f"mel, one thread, median of {len(clips) * 3}: librosa {peer * 1e3:.3f} ms, Timbre {own * 1e3:.3f} ms a clip,"
          f" ratio {peer / own:.1f}")


if __name__ == "__main__":
    main()
