"""Inference on an hour of audio: `timbre predict` beside librosa with PyTorch or scikit-learn, on the CPU.

Windows of 3 s with a hop of 1 s, over a 44.1 kHz stereo WAV file made of the demo set's recordings. Both sides start with the file
and end with a probability for each class and window: decoding, resampling to 22.05 kHz, mel spectrogram of each window, model.

* resnet18: 256 mel bands, resized to 256 x 156, ResNet18 with one input channel in batches of 16.
* average, knn, logistic: mel spectrograms of 128 bands in decibels, 16,640 numbers per window.

The peers' side is an optimised program: `librosa.load` (soxr_hq), all windows as views of one array, mel spectrograms of
16 windows at a time in one forked process per thread (nothing is copied), PyTorch in inference mode with the faster of the two
memory formats, scikit-learn on all rows at once. Imports and fits are not counted for the peers; start-up and loading of the
model are counted for Timbre. The sides alternate; the script prints medians of wall time and of CPU time (on a shared machine,
compare CPU times).

    pip install -r benches/peers/requirements-network.txt -r benches/peers/requirements.txt
    python benches/peers/predict.py --timbre target/release/timbre [--minutes 60] [--network-minutes 60] [--repetitions 3]
"""

import argparse
import json
import multiprocessing
import os
import pathlib
import resource
import statistics
import subprocess
import tempfile
import time

import numpy as np

RATE, LENGTH, HOP, BATCH = 22050, 66150, 22050, 16

EXPERIMENT = """
seeds = [1]
[data]
use = "demo"
clips_per_class = 20
test_recordings = 4
[audio]
clip_seconds = 3.0
[split]
kind = "official"
[features.mel]
[features.image]
kind = "mel"
n_mels = 256
resize = [256, 156]
[models.average]
features = "mel"
[models.knn]
features = "mel"
[models.logistic]
features = "mel"
[models.resnet18]
features = "image"
loss = "cross_entropy"
epochs = 1
batch_size = 16
[evaluate]
mode = "windows"
window = { seconds = 3.0, hop = 1.0 }
bootstrap = 0
"""


def make_audio(folder, minutes, path):
    """The recordings of the set one after the other, again and again, as 44.1 kHz stereo."""
    import soundfile
    files = sorted(pathlib.Path(folder).rglob("*.wav"))
    left = int(minutes * 60 * 44100)
    with soundfile.SoundFile(path, "w", 44100, 2, "PCM_16") as out:
        while left > 0:
            for file in files:
                samples, rate = soundfile.read(file, dtype="int16", always_2d=True)
                assert rate == 44100, f"{file} has {rate} Hz"
                samples = samples[:left, [0, -1]]
                out.write(samples)
                left -= len(samples)
                if left <= 0:
                    break


def windows_of(samples):
    last = max(len(samples) - LENGTH, 0)
    starts = list(range(0, last + 1, HOP))
    if starts[-1] < last:
        starts.append(last)
    return np.lib.stride_tricks.sliding_window_view(samples, LENGTH)[starts]


SHARED = {}


def mel_of(chunk):
    import librosa
    windows = SHARED["windows"][chunk:chunk + BATCH]
    power = librosa.feature.melspectrogram(y=windows, sr=RATE, n_mels=SHARED["n_mels"])
    return np.stack([librosa.power_to_db(one, top_db=80) for one in power])


def resized(decibels):
    """In the process that has the network: PyTorch's threads do not survive a fork."""
    import torch
    images = torch.from_numpy(decibels).unsqueeze(1)
    return torch.nn.functional.interpolate(images, (256, 156), mode="bilinear", antialias=True)


def features(path, n_mels, threads):
    import librosa
    samples, _ = librosa.load(path, sr=RATE, mono=True)
    SHARED.update(windows=windows_of(samples), n_mels=n_mels)
    chunks = range(0, len(SHARED["windows"]), BATCH)
    with multiprocessing.get_context("fork").Pool(threads) as pool:
        yield from pool.imap(mel_of, chunks)


def peer(what, path, threads, pipe):
    """One prediction in a process of its own, so that its CPU time can be measured; the clock runs within it."""
    import librosa
    import torch
    torch.set_num_threads(threads)
    rng = np.random.default_rng(1)
    if what.startswith("resnet18"):
        import torchvision
        network = torchvision.models.resnet18(num_classes=11)
        network.conv1 = torch.nn.Conv2d(1, 64, 7, 2, 3, bias=False)
        network.eval()
        if what.endswith("last"):
            network = network.to(memory_format=torch.channels_last)
    else:
        from sklearn.linear_model import LogisticRegression
        from sklearn.neighbors import KNeighborsClassifier
        rows, labels = rng.standard_normal((220, 16640), np.float32), np.arange(220) % 11
        model = {"knn": KNeighborsClassifier(5), "logistic": LogisticRegression(max_iter=5)}.get(what)
        if model is not None:
            model.fit(rows, labels)
        means = np.stack([rows[labels == c].mean(0) for c in range(11)])
    # A warm-up call, so that one-time compilation and lookups are not timed.
    librosa.feature.melspectrogram(y=rng.standard_normal(LENGTH).astype(np.float32), sr=RATE)
    cpu = lambda: sum(getattr(resource.getrusage(who), key) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
                      for key in ("ru_utime", "ru_stime"))
    begun, used = time.perf_counter(), cpu()
    said = 0
    if what.startswith("resnet18"):
        with torch.inference_mode():
            for decibels in features(path, 256, threads):
                images = resized(decibels)
                if what.endswith("last"):
                    images = images.to(memory_format=torch.channels_last)
                said += len(torch.softmax(network(images), 1))
    else:
        for decibels in features(path, 128, threads):
            rows = decibels.reshape(len(decibels), -1)
            if what == "average":
                distances = ((rows[:, None, :] - means) ** 2).sum(2)
                said += len(np.exp(-distances / distances.max()))
            else:
                said += len(model.predict_proba(rows))
    pipe.send((time.perf_counter() - begun, cpu() - used, said))


def hear_peer(what, path, threads):
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=peer, args=(what, path, threads, there))
    process.start()
    found = here.recv()
    process.join()
    return found


def hear_timbre(timbre, model, path, threads, home):
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    begun = time.perf_counter()
    out = subprocess.run([timbre, "predict", f"hour/latest:{model}", path, "--format", "windows", "-q", "--jobs", str(threads)],
                         cwd=home, check=True, capture_output=True, text=True).stdout
    wall = time.perf_counter() - begun
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime, out.count("\n") - 1


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--timbre", default="target/release/timbre")
    arguments.add_argument("--minutes", type=float, default=60)
    arguments.add_argument("--network-minutes", type=float, default=60)
    arguments.add_argument("--threads", type=int, default=2)
    arguments.add_argument("--repetitions", type=int, default=3)
    arguments.add_argument("--only", default="average,knn,logistic,resnet18")
    a = arguments.parse_args()
    timbre = os.path.abspath(a.timbre)
    with tempfile.TemporaryDirectory() as home:
        pathlib.Path(home, "hour.toml").write_text(EXPERIMENT)
        subprocess.run([timbre, "run", "hour.toml", "-q"], cwd=home, check=True, stdout=subprocess.DEVNULL)
        paths = {}
        for minutes in {a.minutes, a.network_minutes}:
            paths[minutes] = os.path.join(home, f"{minutes}.wav")
            make_audio(os.path.join(home, "data", ".cache"), minutes, paths[minutes])
        for what in a.only.split(","):
            is_network = what == "resnet18"
            minutes = a.network_minutes if is_network else a.minutes
            model = "image.resnet18.s1" if is_network else f"mel.{what}.s1"
            peers = ["resnet18", "resnet18, channels last"] if is_network else [what]
            found = {}
            for _ in range(a.repetitions):
                for side in peers:
                    found.setdefault(side, []).append(hear_peer(side, paths[minutes], a.threads))
                found.setdefault("timbre", []).append(hear_timbre(timbre, model, paths[minutes], a.threads, home))
            assert len({said for times in found.values() for _, _, said in times}) == 1, "all hear the same windows"
            median = {side: [statistics.median(column) for column in zip(*times)][:2] for side, times in found.items()}
            best = min(peers, key=lambda side: median[side][1])
            own, other = median["timbre"], median[best]
            print(f"{what}: {minutes:g} minutes, {a.threads} threads, medians of {a.repetitions}: peers {other[0]:.2f} s"
                  f" (processor {other[1]:.2f} s, {minutes * 60 / other[0]:.0f} times real time), Timbre {own[0]:.2f} s"
                  f" (processor {own[1]:.2f} s, {minutes * 60 / own[0]:.0f} times real time);"
                  f" ratio {other[0] / own[0]:.2f}, of processor time {other[1] / own[1]:.2f}", flush=True)
            print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
