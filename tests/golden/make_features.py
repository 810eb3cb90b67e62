"""Writes tests/golden/features: signals, and their features by librosa 0.11 and Pillow.

    python tests/golden/make_features.py        (needs librosa 0.11, numpy, scipy, Pillow, kaldi-native-fbank)

index.json   signals: name -> offset, length; cases: name, signal, spec (as in an experiment), unit, shape, kept columns, offset
signals.f32  the inputs, concatenated, little-endian f32
arrays.f32   the kept columns of each result, concatenated, row-major

The results are computed from the stored f32 samples. `unit` selects the comparison: "db" absolute, "float" relative to the
value, "absolute" relative to the largest value of the row, "peak" to that of the array. A case with `tolerance` is one with a known
difference (docs/features.md): the constant-Q transforms of librosa, beside those of the formula. The sample rate is 22050 Hz throughout.
"""

import json
import pathlib
import warnings

import kaldi_native_fbank
import librosa
import numpy as np
import scipy.fft
import scipy.stats
from PIL import Image

RATE = 22050
FOLDER = pathlib.Path(__file__).parent / "features"
STFT_KEYS = {"n_fft", "hop_length", "win_length", "window", "center", "pad_mode"}


def beats():
    """Three seconds of decaying tones, 132 a minute."""
    t = np.arange(3 * RATE) / RATE
    since = t % (60 / 132)
    return 0.5 * np.exp(-12 * since) * np.sin(2 * np.pi * 330 * since)


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
        "beats": beats(),
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


# Features with one row, and others without an estimate over the whole clip.
SERIES = {
    "rolloff": [{}, {"roll_percent": 0.95, "n_fft": 1024, "hop_length": 256, "window": "hamming"}],
    "flatness": [{}, {"power": 1.0}, {"power": 3.0, "amin": 1e-8, "n_fft": 512, "hop_length": 200}],
    "contrast": [{}, {"n_bands": 4, "fmin": 100.0, "quantile": 0.1, "n_fft": 4096}, {"linear": True}],
    "entropy": [{}, {"norm": False, "n_fft": 1024}],
    "flux": [{}, {"norm": "l1", "hop_length": 256}, {"half_rectify": True}],
    "zcr": [{}, {"frame_length": 1000, "hop_length": 300}, {"frame_length": 600, "hop_length": 150, "center": False}],
    "rms": [{}, {"frame_length": 1001, "hop_length": 300}, {"frame_length": 600, "hop_length": 150, "center": False}],
    "onset_strength": [
        {},
        {"lag": 2, "max_size": 3, "n_mels": 64},
        {"aggregate": "median", "hop_length": 256},
        {"max_size": 4, "detrend": True, "fmax": 8000.0},
        {"n_fft": 512, "hop_length": 128, "n_mels": 32, "center": False},
    ],
    "poly": [{}, {"order": 3, "n_fft": 1024}, {"order": 0}],
}

OF_MAGNITUDES = {"rolloff", "flatness", "contrast", "entropy", "flux", "chroma", "tonnetz", "poly", "lfcc"}

CHROMAS = [
    {},
    {"tuning": 0.0},
    {"tuning": -0.2, "norm": "l2", "n_fft": 4096, "base_c": False},
    {"n_chroma": 24, "norm": "l1", "octwidth": 1.0, "ctroct": 4.0},
    {"tuning": 0.0, "octwidth": 0.0, "norm": "none"},
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
    signals = ("mixture", "tone", "click", "quiet", "short", "silence")
    for kind, variants in SERIES.items():
        for keys in variants:
            # A click has the same magnitude in all bins, but for rounding.
            left_out = {"short"} if not keys.get("center", True) else {"click"} if keys.get("linear") else set()
            specs += [(signal, {"kind": kind, **keys}) for signal in signals if signal not in left_out]
    # A click and silence have no tuning: their peaks are rounding noise.
    for keys in CHROMAS:
        specs += [(signal, {"kind": "chroma", **keys}) for signal in ("mixture", "tone", "quiet", "short")]
    specs += [(signal, {"kind": "tonnetz"}) for signal in ("mixture", "tone", "quiet")]
    specs += [("mixture", {"kind": "tonnetz", "tuning": 0.1, "n_fft": 4096})]
    for keys in ({}, {"win_length": 20}, {"win_length": 31, "norm": "l2", "hop_length": 256}, {"win_length": 10, "center": False}):
        specs += [("mixture", {"kind": "tempogram", **keys})]
    for keys in ({}, {"n_lfcc": 13, "n_filter": 40, "fmin": 100.0, "fmax": 8000.0, "n_fft": 1024}, {"top_db": 0.0}):
        specs += [(signal, {"kind": "lfcc", **keys}) for signal in ("mixture", "tone", "silence")]
    for keys in ({"n_fft": 512}, {"n_fft": 400, "win_length": 301, "hop_length": 100, "pad_mode": "reflect", "lifter": 20}):
        specs += [("mixture", {"kind": "modgd", **keys})]
    specs += [("mixture", {"kind": "modgd", "n_fft": 256, "alpha": 1.0, "gamma": 0.5, "center": False})]
    specs += [("beats", {"kind": kind}) for kind in ("tempo", "onset_strength")]
    specs += [("beats", {"kind": "tempo", "start_bpm": 60.0, "std_bpm": 0.5, "hop_length": 256})]
    for of in ({"kind": "mfcc", "n_mfcc": 13}, {"kind": "zcr", "hop_length": 128}):
        specs += [("mixture", {"kind": "delta", "of": of, **keys}) for keys in ({}, {"order": 2}, {"width": 5})]
    specs += [("tone", {"kind": "delta", "of": {"kind": "rms", "hop_length": 1024}})]
    parts = [{"kind": "rms", **both}, {"kind": "centroid", "summary": ["median"]}, {"kind": "zcr"}]
    specs += [("mixture", {"kind": "concat", "of": parts})]
    specs += [("mixture", {"kind": "stack", "of": [{"kind": "rms"}, {"kind": "centroid"}, {"kind": "chroma"}]})]
    every = {"summary": ["var", "sum", "min", "max", "median", "q25", "q75", "skewness", "kurtosis"]}
    specs += [("mixture", {"kind": kind, **every}) for kind in ("rms", "centroid", "mfcc")]
    for normalize in ("clip", "row"):
        specs += [("mixture", {"kind": "mel", "normalize": normalize}), ("mixture", {"kind": "rms", "normalize": normalize})]
    return specs


def decibels(convert, image, spec):
    return convert(image, ref=1.0, top_db=spec.get("top_db", 80.0) or None)


def norm_of(spec, default="inf"):
    return {"inf": np.inf, "l1": 1, "l2": 2, "none": None}[spec.get("norm", default)]


def onsets(y, stft, spec):
    mels = {"n_mels": spec.get("n_mels", 128), "fmin": spec.get("fmin", 0.0), "fmax": spec.get("fmax", RATE / 2)}
    levels = librosa.power_to_db(librosa.feature.melspectrogram(y=y, sr=RATE, **stft, **mels))
    keys = {key: spec[key] for key in ("lag", "max_size", "detrend") if key in spec}
    frame = {"n_fft": stft["n_fft"], "hop_length": stft["hop_length"], "center": stft.get("center", True)}
    aggregate = getattr(np, spec.get("aggregate", "mean"))
    return librosa.onset.onset_strength(S=levels, sr=RATE, aggregate=aggregate, **frame, **keys)


TRANSFORMS = [
    {},
    {"n_bins": 60, "bins_per_octave": 24, "fmin": 110.0, "tuning": 0.3, "hop_length": 256},
    {"filter_scale": 0.5, "n_bins": 70, "fmin": 50.0},
]
SCALED = [
    {"kind": "stft", "power": 2.0},
    {"kind": "stft", "pcen": {}},
    {"kind": "mel", "power": 1.0, "pcen": {}},
    {"kind": "mel", "n_mels": 40, "hop_length": 256, "pcen": {"gain": 0.8, "bias": 10.0, "power": 0.25, "time_constant": 0.06, "scale": 1.0}},
    {"kind": "mel", "power": 1.0, "pcen": {"power": 0.0, "eps": 1e-3}},
    {"kind": "mel", "power": 1.0, "pcen": {"bias": 0.0, "gain": 0.5}},
]
FBANKS = [
    {},
    {"num_mel_bins": 80, "window_type": "hanning", "low_freq": 0.0},
    {"win_length": 551, "hop_length": 220, "window_type": "hamming", "num_mel_bins": 40, "high_freq": -400.0},
    {"snip_edges": False, "preemphasis_coefficient": 0.0, "use_power": False, "remove_dc_offset": False},
    {"win_length": 512, "window_type": "rectangular"},
]
PARTS = [
    {},
    {"of": {"kind": "rms"}, "kernel_size": 17},
    {"of": {"kind": "mel", "n_mels": 40, "db": False}, "margin": 2.0, "power": 1.0, "n_fft": 1024, "hop_length": 256},
]
BEATS = [{}, {"hop_length": 256}, {"bpm": 132.0, "trim": False}, {"start_bpm": 60.0, "tightness": 400.0}]


def new_cases():
    specs = [(signal, {"kind": kind, **keys}) for kind in ("cqt", "vqt") for keys in TRANSFORMS for signal in ("mixture", "click")]
    specs += [("mixture", {"kind": "vqt", "gamma": 20.0})]
    specs += [(signal, spec) for spec in SCALED for signal in ("mixture", "quiet")]
    specs += [(signal, {"kind": "kaldi_fbank", **keys}) for keys in FBANKS for signal in ("mixture", "quiet")]
    specs += [(signal, {"kind": kind, **keys}) for kind in ("harmonic", "percussive") for keys in PARTS for signal in ("mixture", "beats")]
    specs += [("beats", {"kind": "beat_frames", **keys}) for keys in BEATS]
    specs += [("beats", {"kind": "beat_frames", "summary": ["mean", "sum", "std"]}), ("silence", {"kind": "beat_frames"})]
    specs += [("mixture", {"kind": "chroma_cqt", "tuning": 0.0}), ("beats", {"kind": "chroma_cqt", "n_octaves": 6, "bins_per_octave": 24, "fmin": 55.0})]
    specs += [("mixture", {"kind": "tonnetz_cqt", "tuning": 0.0}), ("mixture", {"kind": "tonnetz_cqt"})]
    return specs


def loose_cases():
    """librosa's own transforms, with the largest share of the peak by which they may differ, and logarithms of what is almost silent."""
    keys = [("mixture", {}), ("beats", {}), ("mixture", {"n_bins": 60, "bins_per_octave": 24, "fmin": 110.0})]
    specs = [(signal, {"kind": "cqt", **own}, 0.05) for signal, own in keys]
    specs += [(signal, {"kind": "vqt", **own}, 0.1) for signal, own in keys]
    # Kaldi's transform is f32, and the smallest kernel values are left out.
    specs += [("tone", {"kind": "kaldi_fbank"}, 0.01), ("beats", {"kind": "cqt", "db": True}, 0.05)]
    return specs + [(signal, {"kind": "chroma_cqt", **own}, 0.05) for signal, own in (("mixture", {}), ("beats", {"tuning": 0.0}))]


def kernels(y, spec, gamma):
    """The formula of the transform: windowed complex sinusoids, without their negative frequencies."""
    bins, octave, scale = spec.get("n_bins", 84), spec.get("bins_per_octave", 12), spec.get("filter_scale", 1.0)
    hz = spec.get("fmin", librosa.note_to_hz("C1")) * 2 ** ((np.arange(bins) + spec.get("tuning", 0.0)) / octave)
    alpha = (2 ** (2 / octave) - 1) / (2 ** (2 / octave) + 1)
    gamma = alpha * 24.7 / 0.108 if gamma is None else gamma
    lengths = scale / alpha * RATE / (hz + gamma / alpha)
    hop = spec.get("hop_length", 512)
    image = np.zeros((bins, 1 + len(y) // hop))
    for k, length in enumerate(lengths):
        n = np.arange(-length // 2, length // 2)
        size = 2 ** int(np.ceil(np.log2(len(n))))
        kernel = librosa.filters.get_window("hann", len(n)) * np.exp(2j * np.pi * hz[k] * n / RATE)
        kernel = librosa.util.pad_center(kernel / np.abs(kernel).sum() * np.sqrt(length), size=size)
        response = np.conj(np.fft.fft(kernel))[: size // 2 + 1] / size
        frames = librosa.util.frame(np.pad(y.astype(np.float64), size // 2), frame_length=size, hop_length=hop)
        image[k] = np.abs(response @ np.fft.rfft(frames, axis=0))[: image.shape[1]]
    return image


def fbank(y, spec):
    options = kaldi_native_fbank.FbankOptions()
    frame, mel = options.frame_opts, options.mel_opts
    frame.samp_freq, frame.dither = RATE, 0.0
    # A thousandth more, so that rounding down gives the number of samples.
    frame.frame_length_ms = (spec.get("win_length", 400) + 1e-3) * 1000 / RATE
    frame.frame_shift_ms = (spec.get("hop_length", 160) + 1e-3) * 1000 / RATE
    frame.preemph_coeff = spec.get("preemphasis_coefficient", 0.97)
    frame.remove_dc_offset = spec.get("remove_dc_offset", True)
    frame.window_type = spec.get("window_type", "povey")
    frame.snip_edges = spec.get("snip_edges", True)
    mel.num_bins, mel.low_freq, mel.high_freq = spec.get("num_mel_bins", 23), spec.get("low_freq", 20.0), spec.get("high_freq", 0.0)
    options.use_power, options.energy_floor = spec.get("use_power", True), 0.0
    bank = kaldi_native_fbank.OnlineFbank(options)
    bank.accept_waveform(RATE, y.tolist())
    bank.input_finished()
    return np.stack([bank.get_frame(t) for t in range(bank.num_frames_ready)], axis=1)


def of_librosa(y, spec):
    """The constant-Q transforms with librosa's resampling."""
    own = {k: v for k, v in spec.items() if k != "kind"}
    return np.abs(getattr(librosa, spec["kind"])(y, sr=RATE, **own)) if spec["kind"] != "chroma_cqt" else librosa.feature.chroma_cqt(y=y, sr=RATE, **own)


def modgd(y, stft, spec):
    """The formula, frame by frame."""
    n_fft, window = stft["n_fft"], librosa.filters.get_window(stft.get("window", "hann"), stft.get("win_length") or stft["n_fft"])
    if stft.get("center", True):
        y = np.pad(y, n_fft // 2, mode=stft.get("pad_mode", "constant"))
    frames = librosa.util.frame(y, frame_length=n_fft, hop_length=stft["hop_length"]).T
    frames = frames * librosa.util.pad_center(window, size=n_fft)
    x, ramp = np.fft.rfft(frames), np.fft.rfft(frames * np.arange(n_fft))
    cepstrum = np.fft.irfft(np.log(np.maximum(np.abs(x), 1e-10)), n_fft)
    lifter = spec.get("lifter", 8)
    cepstrum[:, lifter : n_fft - lifter + 1] = 0
    smooth = np.exp(np.fft.rfft(cepstrum).real)
    delay = (x.real * ramp.real + x.imag * ramp.imag) / smooth ** (2 * spec.get("gamma", 0.9))
    return (np.sign(delay) * np.abs(delay) ** spec.get("alpha", 0.4)).T


def new(y, spec, stft):
    """The features that share no code with the first seven."""
    kind = spec["kind"]
    own = {k: v for k, v in spec.items() if k not in STFT_KEYS | {"kind", "summary", "normalize", "norm"}}
    frame = {k: v for k, v in spec.items() if k in ("frame_length", "hop_length", "center")}
    # f64, so that what cancels is not rounding noise.
    magnitudes = np.abs(librosa.stft(y.astype(np.float64), **stft)) if kind in OF_MAGNITUDES else None
    if kind == "rolloff":
        return librosa.feature.spectral_rolloff(S=magnitudes, sr=RATE, n_fft=stft["n_fft"], **own), "float"
    if kind == "flatness":
        return librosa.feature.spectral_flatness(S=magnitudes, **own), "float"
    if kind == "contrast":
        image = librosa.feature.spectral_contrast(S=magnitudes, sr=RATE, n_fft=stft["n_fft"], **own)
        return image, "absolute" if spec.get("linear") else "db"
    if kind == "entropy":
        power = magnitudes.astype(np.float32).astype(np.float64) ** 2
        bits = scipy.stats.entropy(power, base=2, axis=0)[None, :]
        bits = np.where(power.sum(0) > 0, bits, 0.0)
        return bits / np.log2(len(power)) if spec.get("norm", True) else bits, "float"
    if kind == "flux":
        change = np.diff(magnitudes, axis=1)
        change = np.maximum(change, 0) if spec.get("half_rectify") else change
        order = {"l1": 1, "l2": 2}[spec.get("norm", "l2")]
        return np.concatenate([[0.0], np.linalg.norm(change, ord=order, axis=0)])[None, :], "absolute"
    if kind == "zcr":
        return librosa.feature.zero_crossing_rate(y, **frame), "float"
    if kind == "rms":
        return librosa.feature.rms(y=y, **frame, dtype=np.float64), "float"
    if kind == "chroma":
        own["octwidth"] = own.get("octwidth", 2) or None
        return librosa.feature.chroma_stft(S=magnitudes**2, sr=RATE, n_fft=stft["n_fft"], norm=norm_of(spec), **own), "float"
    if kind == "tonnetz":
        chroma = librosa.feature.chroma_stft(S=magnitudes**2, sr=RATE, n_fft=stft["n_fft"], tuning=spec.get("tuning"))
        return librosa.feature.tonnetz(chroma=chroma, sr=RATE), "absolute"
    if kind == "onset_strength":
        return onsets(y, stft, spec)[None, :], "db"
    if kind == "lfcc":
        filters = spec.get("n_filter", 128)
        edges = np.linspace(spec.get("fmin", 0.0), spec.get("fmax", RATE / 2), filters + 2)
        hz, step = librosa.fft_frequencies(sr=RATE, n_fft=stft["n_fft"]), edges[1] - edges[0]
        bank = np.maximum(0, 1 - np.abs(hz[None, :] - edges[1:-1, None]) / step)
        levels = librosa.power_to_db(bank @ magnitudes**2, top_db=spec.get("top_db", 80.0) or None)
        return scipy.fft.dct(levels, axis=0, norm="ortho")[: spec.get("n_lfcc", 40)], "db"
    if kind == "modgd":
        return modgd(y.astype(np.float64), stft, spec), "absolute"
    if kind == "poly":
        return librosa.feature.poly_features(S=magnitudes, sr=RATE, n_fft=stft["n_fft"], **own), "float"
    if kind in ("tempogram", "tempo"):
        hop = {"hop_length": spec.get("hop_length", 512)}
        envelope = onsets(y, {"n_fft": 2048, **hop}, {}).astype(np.float64)
        if kind == "tempo":
            keys = {k: v for k, v in spec.items() if k in ("start_bpm", "std_bpm")}
            return librosa.feature.tempo(onset_envelope=envelope, sr=RATE, **hop, **keys)[None, :], "float"
        keys = {k: v for k, v in spec.items() if k in ("win_length", "center", "window")}
        image = librosa.feature.tempogram(onset_envelope=envelope, sr=RATE, norm=norm_of(spec), **hop, **keys)
        return image, "peak"
    if kind == "delta":
        image, unit = compute(y, spec["of"])
        mode = "interp" if image.shape[1] >= spec.get("width", 9) else "nearest"
        keys = {"width": spec.get("width", 9), "order": spec.get("order", 1), "mode": mode}
        return librosa.feature.delta(image.astype(np.float64), **keys), "db" if unit == "db" else "absolute"
    if kind in ("cqt", "vqt"):
        image = kernels(y, spec, 0.0 if kind == "cqt" else spec.get("gamma"))
        if spec.get("db"):
            return librosa.amplitude_to_db(image, ref=1.0, top_db=80.0), "db"
        return image, "peak"
    if kind == "chroma_cqt":
        octave, first = spec.get("bins_per_octave", 36), spec.get("fmin", librosa.note_to_hz("C1"))
        tuning = spec.get("tuning", librosa.estimate_tuning(y=y, sr=RATE, bins_per_octave=octave))
        keys = {"n_bins": octave * spec.get("n_octaves", 7), "bins_per_octave": octave, "fmin": first, "tuning": tuning}
        return librosa.feature.chroma_cqt(C=kernels(y, keys, 0.0), sr=RATE, bins_per_octave=octave, fmin=first), "peak"
    if kind == "tonnetz_cqt":
        return librosa.feature.tonnetz(chroma=compute(y, {**spec, "kind": "chroma_cqt"})[0], sr=RATE), "absolute"
    if kind == "kaldi_fbank":
        return fbank(y, spec), "db"
    if kind in ("harmonic", "percussive"):
        keys = {k: v for k, v in spec.items() if k not in ("kind", "of")}
        part = getattr(librosa.effects, kind)(y, **keys)
        return compute(part, spec.get("of", {"kind": "stft"}))[0], "peak"
    if kind == "beat_frames":
        keys = {k: v for k, v in spec.items() if k not in ("kind", "summary")}
        row = librosa.beat.beat_track(y=y, sr=RATE, sparse=False, **keys)[1][None, :].astype(float)
        return (np.flatnonzero(row[0])[None, :] if "summary" in spec else row), "float"
    parts = [compute(y, part)[0] for part in spec["of"]]
    return np.concatenate([part.reshape(-1, 1) for part in parts]) if kind == "concat" else np.concatenate(parts), "float"


STATISTICS = {
    "q25": lambda image: np.quantile(image, 0.25, axis=1),
    "q75": lambda image: np.quantile(image, 0.75, axis=1),
    "skewness": lambda image: scipy.stats.skew(image, axis=1),
    "kurtosis": lambda image: scipy.stats.kurtosis(image, axis=1),
}


def compute(y, spec):
    """The whole matrix and its unit."""
    kind = spec["kind"]
    stft = {"n_fft": 2048, "hop_length": 512, **{k: v for k, v in spec.items() if k in STFT_KEYS}}
    keys = {k: v for k, v in spec.items() if k not in STFT_KEYS | {"kind", "db", "top_db", "resize", "summary", "normalize", "pcen"}}
    for norm in ("norm", "mel_norm"):
        if keys.get(norm) == "none":
            keys[norm] = None
    unit = "float"
    if kind == "raw":
        image = y[None, :]
    elif kind == "fft":
        image = np.abs(np.fft.rfft(y.astype(np.float64)))[None, :]
    elif kind == "stft":
        image = np.abs(librosa.stft(y, **stft)) ** spec.get("power", 1.0)
        if spec.get("db"):
            image, unit = decibels(librosa.amplitude_to_db, image, spec), "db"
    elif kind == "mel":
        image = librosa.feature.melspectrogram(y=y, sr=RATE, **stft, **keys)
        if spec.get("db", True) and "pcen" not in spec:
            image, unit = decibels(librosa.power_to_db, image, spec), "db"
    elif kind == "mfcc":
        image, unit = librosa.feature.mfcc(y=y, sr=RATE, **stft, **keys), "db"
    elif kind == "centroid":
        image = librosa.feature.spectral_centroid(y=y, sr=RATE, **stft)
    elif kind == "bandwidth":
        image = librosa.feature.spectral_bandwidth(y=y, sr=RATE, **stft, **keys)
    else:
        image, unit = new(y, spec, stft)
    if "pcen" in spec:
        keys = {"scale": 2.0**31, **spec["pcen"]}
        scale = keys.pop("scale")
        image = librosa.pcen(image.astype(np.float64) * scale, sr=RATE, hop_length=stft["hop_length"], **keys)
    if "resize" in spec:
        height, width = spec["resize"]
        picture = Image.fromarray(np.ascontiguousarray(image, dtype=np.float32))
        assert picture.mode == "F"
        image = np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR))
    if "normalize" in spec:
        image = image.astype(np.float64)
        axis = 1 if spec["normalize"] == "row" else None
        image = (image - image.mean(axis=axis, keepdims=True)) / image.std(axis=axis, keepdims=True)
        unit = "absolute"
    if "summary" in spec:
        image = image.astype(np.float64)
        image = np.concatenate([STATISTICS.get(s, lambda image: getattr(np, s)(image, axis=1))(image) for s in spec["summary"]])
        image = image[:, None]
        unit = "absolute" if "skewness" in spec["summary"] else unit
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
    exact = [(signal, spec, None) for signal, spec in cases() + new_cases()]
    for signal, spec, tolerance in exact + loose_cases():
        is_librosa = tolerance is not None and spec["kind"] != "kaldi_fbank" and "db" not in spec
        matrix, unit = (of_librosa(signals[signal], spec), "peak") if is_librosa else compute(signals[signal], spec)
        rows, cols = matrix.shape
        # Keep the first and last columns, which see the padding, and a few evenly spaced ones.
        keep = 400 if rows == 1 else 3 if rows > 200 else 5
        kept = sorted(set(np.linspace(0, cols - 1, min(cols, keep)).astype(int).tolist()))
        arrays.append(matrix[:, kept].astype("<f4").ravel())
        case = {"signal": signal, "spec": spec, "unit": unit, "rows": rows, "cols": cols, "offset": offset}
        case["kept"] = kept if len(kept) < cols else None
        if tolerance is not None:
            case["tolerance"] = tolerance
        index["cases"].append(case)
        offset += arrays[-1].size
    np.concatenate(list(signals.values())).tofile(FOLDER / "signals.f32")
    np.concatenate(arrays).tofile(FOLDER / "arrays.f32")
    text = json.dumps(index, indent=None, separators=(",", ":"))
    (FOLDER / "index.json").write_text(text.replace('{"signal"', '\n{"signal"') + "\n")
    print(len(index["cases"]), "cases,", offset * 4, "bytes")


if __name__ == "__main__":
    main()
