"""Every feature on one thread: Timbre beside librosa, in one run on one machine.

First each feature with its defaults, from the same samples in memory: medians over clips of 3 s. Timbre's side is `cargo bench --bench features`, which
reads the samples that this script writes. Then all of them together, each as means over time, from the files on: decoding, resampling from 44,100 to
22,050 Hz, and for Timbre its cache as well. librosa is written as its users write it (every function from the samples), and once more with the
spectrogram shared where a function takes one.

    benches/peers/features.py --timbre TIMBRE --data DEMO_SET [--clips 60]

The demo set is `timbre data make demo --out DEMO_SET`.
"""

import argparse
import json
import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[name] = "1"

import statistics
import subprocess
import tempfile
import time
import warnings
from pathlib import Path

import librosa
import numpy as np

RATE = 22050
F = librosa.feature

# From samples; the second of a pair takes the magnitudes of a spectrogram instead.
PEERS = {
    "fft": (lambda y: np.abs(np.fft.rfft(y)), None),
    "stft": (lambda y: np.abs(librosa.stft(y)), lambda y, S: S),
    "mel": (lambda y: librosa.power_to_db(F.melspectrogram(y=y, sr=RATE)), lambda y, S: librosa.power_to_db(F.melspectrogram(S=S**2, sr=RATE))),
    "mfcc": (lambda y: F.mfcc(y=y, sr=RATE), lambda y, S: F.mfcc(S=librosa.power_to_db(F.melspectrogram(S=S**2, sr=RATE)))),
    "centroid": (lambda y: F.spectral_centroid(y=y, sr=RATE), lambda y, S: F.spectral_centroid(S=S, sr=RATE)),
    "bandwidth": (lambda y: F.spectral_bandwidth(y=y, sr=RATE), lambda y, S: F.spectral_bandwidth(S=S, sr=RATE)),
    "rolloff": (lambda y: F.spectral_rolloff(y=y, sr=RATE), lambda y, S: F.spectral_rolloff(S=S, sr=RATE)),
    "flatness": (lambda y: F.spectral_flatness(y=y), lambda y, S: F.spectral_flatness(S=S)),
    "contrast": (lambda y: F.spectral_contrast(y=y, sr=RATE), lambda y, S: F.spectral_contrast(S=S, sr=RATE)),
    "zcr": (F.zero_crossing_rate, None),
    "rms": (lambda y: F.rms(y=y), None),
    "chroma": (lambda y: F.chroma_stft(y=y, sr=RATE), lambda y, S: F.chroma_stft(S=S**2, sr=RATE)),
    "tonnetz": (lambda y: F.tonnetz(chroma=F.chroma_stft(y=y, sr=RATE)), lambda y, S: F.tonnetz(chroma=F.chroma_stft(S=S**2, sr=RATE))),
    "onset_strength": (lambda y: librosa.onset.onset_strength(y=y, sr=RATE), None),
    "tempogram": (lambda y: F.tempogram(y=y, sr=RATE), None),
    "tempo": (lambda y: F.tempo(y=y, sr=RATE), None),
    "beat_frames": (lambda y: librosa.beat.beat_track(y=y, sr=RATE)[1], None),
    "poly": (lambda y: F.poly_features(y=y, sr=RATE), lambda y, S: F.poly_features(S=S, sr=RATE)),
    "delta": (lambda y: F.delta(F.mfcc(y=y, sr=RATE)), None),
    "cqt": (lambda y: np.abs(librosa.cqt(y, sr=RATE)), None),
    "vqt": (lambda y: np.abs(librosa.vqt(y, sr=RATE)), None),
    "chroma_cqt": (lambda y: F.chroma_cqt(y=y, sr=RATE), None),
    "tonnetz_cqt": (lambda y: F.tonnetz(y=y, sr=RATE), None),
    "harmonic": (lambda y: np.abs(librosa.stft(librosa.effects.harmonic(y))), None),
    "percussive": (lambda y: np.abs(librosa.stft(librosa.effects.percussive(y))), None),
}
# Those of which the mean over time is a feature of a clip.
SET = [kind for kind in PEERS if kind not in ("fft", "tempo", "tempogram", "cqt", "vqt", "tonnetz_cqt", "harmonic", "percussive", "beat_frames")]


def median_of(work, times):
    seconds = []
    for item in times:
        begun = time.perf_counter()
        work(item)
        seconds.append(time.perf_counter() - begun)
    return statistics.median(seconds)


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--timbre", type=Path, required=True)
    arguments.add_argument("--data", type=Path, required=True)
    arguments.add_argument("--clips", type=int, default=60)
    a = arguments.parse_args()
    warnings.simplefilter("ignore")
    paths = sorted((a.data / "IRMAS-TrainingData").rglob("*.wav"))
    paths = paths[:: max(1, len(paths) // a.clips)][: a.clips]
    clips = [librosa.util.fix_length(librosa.load(p, sr=RATE)[0], size=3 * RATE) for p in paths]
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        np.stack(clips).astype("<f4").tofile(folder / "clips.f32")
        print("| feature | librosa ms | Timbre ms | ratio |\n|---|---|---|---|")
        for kind, (peer, _) in PEERS.items():
            peer(clips[0])
            theirs = median_of(peer, clips)
            command = ["cargo", "bench", "--quiet", "--bench", "features", "--", json.dumps({"kind": kind}), str(folder / "clips.f32")]
            own = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])
            print(f"| `{kind}` | {theirs * 1e3:.2f} | {own * 1e3:.3f} | {theirs / own:.1f} |", flush=True)
        together(a.timbre.absolute(), paths, folder)


def together(timbre, paths, folder):
    """All features of SET from the files on, in clips per second."""

    def alone(path):
        y = librosa.load(path, sr=RATE)[0]
        for kind in SET:
            np.mean(np.atleast_2d(PEERS[kind][0](y)), axis=1)

    def shared(path):
        y = librosa.load(path, sr=RATE)[0]
        S = np.abs(librosa.stft(y))
        for kind in SET:
            peer, of_magnitudes = PEERS[kind]
            np.mean(np.atleast_2d(of_magnitudes(y, S) if of_magnitudes else peer(y)), axis=1)

    (folder / "set").mkdir()
    for number, path in enumerate(paths):
        label = folder / "set" / ("a" if number % 2 else "b")
        label.mkdir(exist_ok=True)
        (label / f"{number}.wav").symlink_to(path.absolute())
    parts = ",\n".join(f'  {{ kind = "{kind}", summary = ["mean"] }}' for kind in SET)
    (folder / "all.toml").write_text(
        f'[data]\nkind = "folder"\nroot = "{folder / "set"}"\n[audio]\nsample_rate = {RATE}\nresampler = "soxr_hq"\n'
        f'[features.all]\nkind = "concat"\nof = [\n{parts}\n]\n[models.average]\n'
    )
    command = [timbre, "features", "all.toml", "--jobs", "1", "--quiet"]
    seconds = []
    for turn in range(3):
        begun = time.perf_counter()
        subprocess.run([*command, "--cache", f"cache{turn}"], check=True, cwd=folder, stdout=subprocess.DEVNULL)
        seconds.append(time.perf_counter() - begun)
    own = statistics.median(seconds) / len(paths)
    alone(paths[0])
    for name, work in (("each function from the samples", alone), ("with a shared spectrogram", shared)):
        theirs = median_of(work, paths)
        print(f"{len(SET)} features together, from the files: librosa {name} {theirs * 1e3:.1f} ms, Timbre {own * 1e3:.1f} ms a clip, ratio {theirs / own:.1f}")


if __name__ == "__main__":
    main()
