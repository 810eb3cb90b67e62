"""Augmentations on one thread: Timbre beside audiomentations and librosa, on the same clips of 3 s, in one run.

    cargo bench --no-run --bench augment && python benches/peers/augment.py [--rates 22050,44100] [--only WORD]

Both sides start with a clip in memory and draw new parameters for every call, from ranges as similar as the keys allow. Only the
call is timed. Timbre's side is `cargo bench --bench augment`, which reads the clips that this script writes. Peers whose
dependencies are not installed are skipped and named.
"""

import argparse
import json
import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[name] = "1"

import random
import statistics
import subprocess
import tempfile
import time
import warnings
from pathlib import Path

import audiomentations as am
import librosa
import numpy as np

SECONDS, CLIPS, CALLS, WARM = 3, 12, 60, 4


def clips(rate):
    """Notes that begin now and then, with harmonics that die away, over a little noise."""
    rng = np.random.default_rng(7)
    t = np.arange(SECONDS * rate) / rate
    out = []
    for _ in range(CLIPS):
        y = 0.002 * rng.normal(size=len(t))
        for start in np.sort(rng.uniform(0, SECONDS, 8)):
            pitch, since = 110 * 2 ** (rng.integers(0, 30) / 12), np.maximum(t - start, 0)
            for h in range(1, 9):
                y += (t >= start) * 0.1 / h * np.exp(-since * (1 + h)) * np.sin(2 * np.pi * pitch * h * since)
        out.append(y.astype(np.float32))
    return out


def audiomentation(name, **keys):
    def make():
        transform = getattr(am, name)(**keys, p=1.0)
        return lambda y, rate: transform(y, sample_rate=rate)

    return f"audiomentations {name}", make


def shift_by_librosa():
    return lambda y, rate: librosa.effects.pitch_shift(y, sr=rate, n_steps=random.uniform(-4, 4))


def stretch_by_librosa():
    return lambda y, rate: librosa.effects.time_stretch(y, rate=random.uniform(0.8, 1.25))


def stretch(method):
    keys = {"min_rate": 0.8, "max_rate": 1.25, "leave_length_unchanged": False, "method": method}
    name, make = audiomentation("TimeStretch", **keys)
    return f"{name}, {method}", make


def shift(method):
    name, make = audiomentation("PitchShift", min_semitones=-4, max_semitones=4, method=method)
    return f"{name}, {method}", make


FILTER = {"min_rolloff": 12, "max_rolloff": 12}
# A Timbre spec and the equivalent peers.
PAIRS = [
    ({"kind": "time_stretch", "rate": [0.8, 1.25]}, [stretch("signalsmith_stretch"), stretch("librosa_phase_vocoder"), ("librosa time_stretch", stretch_by_librosa)]),
    ({"kind": "pitch_shift", "semitones": [-4.0, 4.0]}, [shift("signalsmith_stretch"), shift("librosa_phase_vocoder"), ("librosa pitch_shift", shift_by_librosa)]),
    ({"kind": "noise", "amplitude": [0.001, 0.015]}, [audiomentation("AddGaussianNoise", min_amplitude=0.001, max_amplitude=0.015)]),
    ({"kind": "noise", "snr_db": [5.0, 40.0]}, [audiomentation("AddGaussianSNR", min_snr_db=5.0, max_snr_db=40.0)]),
    ({"kind": "noise", "colours": ["pink"], "snr_db": [5.0, 40.0]}, [audiomentation("AddColorNoise", min_snr_db=5.0, max_snr_db=40.0, min_f_decay=-3.01, max_f_decay=-3.01)]),
    ({"kind": "gain", "db": [-12.0, 12.0]}, [audiomentation("Gain", min_gain_db=-12.0, max_gain_db=12.0)]),
    ({"kind": "polarity"}, [audiomentation("PolarityInversion")]),
    ({"kind": "normalize"}, [audiomentation("Normalize")]),
    ({"kind": "normalize", "by": "lufs", "db": [-31.0, -13.0]}, [audiomentation("LoudnessNormalization", min_lufs=-31.0, max_lufs=-13.0)]),
    ({"kind": "translate", "share": [-0.5, 0.5]}, [audiomentation("Shift", min_shift=-0.5, max_shift=0.5)]),
    ({"kind": "silence", "share": [0.01, 0.2]}, [audiomentation("TimeMask", min_band_part=0.01, max_band_part=0.2, fade_duration=0.0)]),
    ({"kind": "low_pass"}, [audiomentation("LowPassFilter", min_cutoff_freq=500, max_cutoff_freq=8000, **FILTER)]),
    ({"kind": "high_pass"}, [audiomentation("HighPassFilter", **FILTER)]),
    ({"kind": "band_pass"}, [audiomentation("BandPassFilter", **FILTER)]),
    ({"kind": "band_stop"}, [audiomentation("BandStopFilter", **FILTER)]),
    ({"kind": "low_shelf"}, [audiomentation("LowShelfFilter")]),
    ({"kind": "high_shelf"}, [audiomentation("HighShelfFilter")]),
    ({"kind": "peaking"}, [audiomentation("PeakingFilter", max_center_freq=8000)]),
    ({"kind": "equalizer", "bands_hz": [42.0, 100.0, 300.0, 500.0, 1500.0, 5000.0, 10000.0], "gain_db": [-12.0, 12.0]}, [audiomentation("SevenBandParametricEQ")]),
    ({"kind": "limiter"}, [audiomentation("Limiter")]),
    ({"kind": "compressor"}, []),
    ({"kind": "clipping", "percent": [0.0, 40.0]}, [audiomentation("ClippingDistortion", max_percentile_threshold=40)]),
    ({"kind": "clipping", "level_db": [-12.0, -6.0]}, [audiomentation("Clip", a_min=-0.25, a_max=0.25)]),
    ({"kind": "clipping", "shape": "soft"}, [audiomentation("TanhDistortion")]),
    ({"kind": "reverb"}, [audiomentation("RoomSimulator"), ("audiomentations ApplyImpulseResponse", None)]),
    ({"kind": "bit_depth"}, [audiomentation("BitCrush")]),
    ({"kind": "resample_loss"}, [audiomentation("Resample", min_sample_rate=4000, max_sample_rate=16000)]),
    ({"kind": "resample_loss", "aliasing": True}, [audiomentation("Aliasing", min_sample_rate=4000, max_sample_rate=16000)]),
    ({"kind": "codec_loss"}, [audiomentation("Mp3Compression", min_bitrate=16, max_bitrate=64)]),
    ({"kind": "reverse"}, [audiomentation("Reverse")]),
    ({"kind": "crop"}, [audiomentation("Padding")]),
    ({"kind": "fade"}, [audiomentation("GainTransition")]),
    ({"kind": "repeat"}, [audiomentation("RepeatPart", mode="replace")]),
    ({"kind": "echo"}, []),
    ({"kind": "chorus"}, []),
    ({"kind": "tremolo"}, []),
]


def impulse_response(folder, rate):
    """A room as `reverb` makes them: a second of noise that dies away."""
    import soundfile

    t = np.arange(rate) / rate
    path = Path(folder) / "room.wav"
    soundfile.write(path, (np.random.default_rng(1).normal(size=rate) * 10 ** (-3 * t)).astype(np.float32), rate)
    return audiomentation("ApplyImpulseResponse", ir_path=str(path), leave_length_unchanged=True)[1]


def milliseconds(work, waves, rate):
    times = []
    for call in range(WARM + CALLS):
        y = waves[call % len(waves)].copy()
        begun = time.perf_counter()
        work(y, rate)
        times.append(time.perf_counter() - begun)
    return statistics.median(times[WARM:]) * 1e3


def timbre(binary, specs, waves, rate, folder):
    path = Path(folder) / "clips.f32"
    np.stack(waves).astype("<f4").tofile(path)
    command = [binary] if binary else ["cargo", "bench", "--quiet", "--bench", "augment", "--"]
    command += [str(rate), str(path)]
    run = subprocess.run(command + [json.dumps(spec) for spec in specs], check=True, capture_output=True, text=True)
    lines = [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]
    if len(lines) != len(specs):
        raise SystemExit(f"Timbre did {len(lines)} of {len(specs)}: {run.stderr}")
    return [line["milliseconds"] for line in lines]


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--rates", default="22050,44100")
    arguments.add_argument("--only", default="", help="only kinds whose name contains this")
    arguments.add_argument("--binary", help="the built bench [default: ask cargo]")
    a = arguments.parse_args()
    warnings.simplefilter("ignore")
    pairs = [(spec, peers) for spec, peers in PAIRS if a.only in spec["kind"]]
    print(f"audiomentations {am.__version__}, librosa {librosa.__version__}, numpy {np.__version__}; medians in ms a clip of {SECONDS} s")
    missing = set()
    for rate in map(int, a.rates.split(",")):
        waves = clips(rate)
        print(f"\n| {rate} Hz | Timbre | peer | ms | ratio |\n|---|---|---|---|---|")
        with tempfile.TemporaryDirectory() as folder:
            own = timbre(a.binary, [spec for spec, _ in pairs], waves, rate, folder)
            for (spec, peers), ours in zip(pairs, own):
                kind = spec["kind"] + "".join(f", {v}" for k, v in spec.items() if k != "kind" and isinstance(v, str))
                rows = []
                for name, make in peers:
                    try:
                        theirs = milliseconds((make or impulse_response(folder, rate))(), waves, rate)
                        rows.append(f"| {kind} | {ours:.3f} | {name} | {theirs:.3f} | {theirs / ours:.1f} |")
                    except ImportError as error:
                        missing.add(f"{name}: {str(error).strip().splitlines()[0]}")
                print("\n".join(rows or [f"| {kind} | {ours:.3f} | none | | |"]), flush=True)
    for line in sorted(missing):
        print(f"\nleft out: {line}")


if __name__ == "__main__":
    main()
