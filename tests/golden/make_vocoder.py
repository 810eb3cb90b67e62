"""Quality of librosa's time stretch and pitch shift on signals with a known result: python tests/golden/make_vocoder.py

Writes tests/golden/vocoder.json: for each signal and change, the spectral convergence of librosa.effects against the analytic
result, |||S_right| - |S||| / ||S_right|| over whole clips, and its level against the result in decibels.
`tests/it/vocoder_golden.rs` makes the same signals and requires Timbre to be at least as good.

Time runs `rate` times as fast and frequencies are `pitch` times as high; all signals are functions of these. Noise has no unique
result, only a spectrum: flat up to the end of its band, with the power of the input.
"""

import json
import pathlib

import librosa
import numpy as np

HERE = pathlib.Path(__file__).parent
RATE, SECONDS = 22050, 3.0
NYQUIST = RATE / 2
CHANGES = [("stretch", 0.8), ("stretch", 1.25), ("pitch", 3.0), ("pitch", -4.0), ("pitch", 0.37)]


def partials(frequencies, harmonics, level):
    def make(n, pitch, rate):
        t = np.arange(n) / RATE
        tones = [(f * h, level / h, h * f / 7) for f in frequencies for h in range(1, harmonics + 1)]
        return sum(a * np.sin(2 * np.pi * f * pitch * t + phase) for f, a, phase in tones if f * pitch < NYQUIST)

    return make


def moving(frequency, cycles):
    """Twelve harmonics of a fundamental; `cycles` is the integral of `frequency`."""

    def make(n, pitch, rate):
        t = np.arange(n) / RATE * rate
        out = np.zeros(n)
        for h in range(1, 13):
            below_nyquist = h * frequency(t) * pitch < NYQUIST
            out += np.where(below_nyquist, 0.2 / h * np.sin(2 * np.pi * h * cycles(t) * pitch / rate + h), 0)
        return out

    return make


glide = moving(lambda t: 220 + 220 / SECONDS * t, lambda t: 220 * t + 110 / SECONDS * t * t)
vibrato = moving(
    lambda t: 330 * (1 + 0.01 * np.sin(2 * np.pi * 5.5 * t)),
    lambda t: 330 * (t - 0.01 / (2 * np.pi * 5.5) * np.cos(2 * np.pi * 5.5 * t)),
)


def clicks(period):
    """A click as the faster play of its sample makes it: lower by the factor, and without what lies beyond half the rate."""

    def make(n, pitch, rate):
        t, band = np.arange(n), min(1, pitch)
        out = np.zeros(n)
        for k in range(int(SECONDS / period)):
            place = np.floor((0.05 + k * period) / rate * RATE + 0.5)
            if place < n:
                out += 0.8 / pitch * band * np.sinc(band * (t - place))
        return out

    return make


def noise(n, pitch, rate):
    out, state = np.empty(n), 1
    for i in range(n):
        state = (1664525 * state + 1013904223) % 2**32
        out[i] = (state >> 8) / 2**24 - 0.5
    return out


SIGNALS = {
    "a tone": partials([440], 1, 0.5),
    "a high tone": partials([3000], 1, 0.5),
    "a chord": partials([220, 277.18, 329.63], 8, 0.2),
    "a low chord": partials([110, 138.59, 164.81, 220], 8, 0.2),
    "a glide": glide,
    "vibrato": vibrato,
    "four clicks a second": clicks(0.25),
    "ten clicks a second": clicks(0.1),
    "noise": noise,
}


def magnitudes(y):
    return np.abs(librosa.stft(y))


def main():
    cases = []
    for name, make in SIGNALS.items():
        x = make(int(SECONDS * RATE), 1, 1).astype(np.float32)
        for kind, value in CHANGES:
            if kind == "stretch":
                y, pitch, rate = librosa.effects.time_stretch(x, rate=value), 1, value
            else:
                y, pitch, rate = librosa.effects.pitch_shift(x, sr=RATE, n_steps=value), 2 ** (value / 12), 1
            if name == "noise":
                got = np.sqrt((magnitudes(y) ** 2).mean(1))
                right = np.full(len(got), np.sqrt((magnitudes(x) ** 2).mean() / pitch))
                right[np.arange(len(right)) >= len(right) * min(1, pitch)] = 0
                power = np.mean(x.astype(float) ** 2) / max(1, pitch)
            else:
                z = make(len(y), pitch, rate).astype(np.float32)
                got, right, power = magnitudes(y), magnitudes(z), np.mean(z.astype(float) ** 2)
            convergence = np.linalg.norm(got - right) / np.linalg.norm(right)
            level = 10 * np.log10(np.mean(y.astype(float) ** 2) / power)
            cases.append({
                "signal": name, "change": kind, "by": value,
                "convergence": round(float(convergence), 5), "level_db": round(float(level), 3),
            })
    text = ",\n".join("    " + json.dumps(case) for case in cases)
    (HERE / "vocoder.json").write_text(f'{{\n  "librosa": "{librosa.__version__}",\n  "cases": [\n{text}\n  ]\n}}\n')


if __name__ == "__main__":
    main()
