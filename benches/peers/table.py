"""The table of experiments/simple_models.toml by librosa + scikit-learn and by Timbre, timed in one run.

The peers' program is careful use of both libraries: every clip is loaded once, features are computed from the samples in memory
in as many processes as there are cores, and the models use all threads of BLAS and scikit-learn. Both sides use the same split.

`--logistic` selects how scikit-learn fits the logistic regression; Timbre does the same:
  lbfgs        one-vs-rest, as in the experiment, with scikit-learn's fastest solver for it, one process per core
  liblinear    one-vs-rest with the solver made for it, which also penalises the bias
  multinomial  softmax, the default and by far the fastest: it stops at a tolerance of 1e-4, long before the minimum on these
               data, and its accuracies differ accordingly
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import librosa
import numpy as np
import sklearn
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
from sklearn.preprocessing import StandardScaler

RATE, SECONDS = 22050, 3.0
LENGTH = int(RATE * SECONDS)


def features(path):
    y, _ = librosa.load(path, sr=RATE)
    y = librosa.util.fix_length(y, size=LENGTH)
    mel = librosa.power_to_db(librosa.feature.melspectrogram(y=y, sr=RATE))
    return {
        "raw": y,
        "fft": np.abs(np.fft.rfft(y)).astype(np.float32),
        "mel": mel.ravel(),
        "centroid": librosa.feature.spectral_centroid(y=y, sr=RATE).ravel().astype(np.float32),
        "bandwidth": librosa.feature.spectral_bandwidth(y=y, sr=RATE).ravel().astype(np.float32),
    }


def timbre_run(binary, data, work, number, multi):
    """Everything from nothing: no feature cache, no earlier run."""
    runs, cache = work / f"runs{number}", work / f"cache{number}"
    command = [binary, "run", "simple_models", "--set", f"data.root={data}"]
    command += ["--set", f"models.logistic.multi={multi}", "--runs", runs, "--cache", cache, "--json", "-q"]
    begun = time.perf_counter()
    result = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return time.perf_counter() - begun, result, runs


def held_out(run):
    unit = next((Path(run) / "units").glob("raw.knn.*.json"))
    splits = json.loads(unit.read_text())["splits"]
    return {clip["path"] for split in splits for clip in split["clips"]}


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--timbre", required=True)
    arguments.add_argument("--data", type=Path, required=True)
    arguments.add_argument("--work", type=Path, required=True)
    arguments.add_argument("--repeats", type=int, default=3)
    arguments.add_argument("--logistic", choices=["lbfgs", "liblinear", "multinomial"], default="lbfgs")
    a = arguments.parse_args()

    solver = "liblinear" if a.logistic == "liblinear" else "lbfgs"
    logistic, multi = LogisticRegression(solver=solver, max_iter=1000), "multinomial"
    if a.logistic != "multinomial":
        logistic, multi = OneVsRestClassifier(logistic, n_jobs=os.cpu_count()), "ovr"
    times = []
    for number in range(a.repeats):
        seconds, result, runs = timbre_run(a.timbre, a.data.resolve(), a.work, number, multi)
        times.append(seconds)
    ours = statistics.median(times)
    accuracy = {(r["features"], r["model"]): r["metrics"]["accuracy"] for r in result["results"]}
    test_paths = held_out(result["run"])

    paths = sorted((a.data / "IRMAS-TrainingData").rglob("*.wav"))
    names = [str(p.relative_to(a.data)) for p in paths]
    labels = np.array([p.parent.name for p in paths])
    test = np.array([n in test_paths for n in names])
    if test.sum() != len(test_paths):
        sys.exit("the clips of the run are not those of the folder")

    stages = {}
    begun = time.perf_counter()
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        rows = list(pool.map(features, paths, chunksize=8))
    stages["features"] = time.perf_counter() - begun
    report = []
    for name in rows[0]:
        x = np.stack([row[name] for row in rows])
        train_x, test_x = x[~test], x[test]
        scaler = StandardScaler().fit(train_x)
        scaled = scaler.transform(train_x), scaler.transform(test_x)
        models = {
            "average": (NearestCentroid(), train_x, test_x),
            "knn": (KNeighborsClassifier(5), train_x, test_x),
            "logistic": (logistic, *scaled),
        }
        for model, (classifier, fit_x, predict_x) in models.items():
            clock = time.perf_counter()
            classifier.fit(fit_x, labels[~test])
            score = float(np.mean(classifier.predict(predict_x) == labels[test]))
            if model == "knn":
                for k in range(1, 16):
                    KNeighborsClassifier(k).fit(fit_x, labels[~test]).predict(predict_x)
            stages[f"{name}.{model}"] = time.perf_counter() - clock
            report.append((name, model, accuracy[name, model], score))
            print(f"{name}.{model}: {stages[f'{name}.{model}']:.1f} s", file=sys.stderr, flush=True)
    theirs = sum(stages.values())

    print(f"\nlogistic: {a.logistic}\n{len(paths)} clips, {test.sum()} held out, {os.cpu_count()} cores")
    print(f"librosa {librosa.__version__}, scikit-learn {sklearn.__version__}, numpy {np.__version__}\n")
    print("| features | model | Timbre | peers | peers' seconds |\n|---|---|---|---|---|")
    for name, model, own, score in report:
        print(f"| {name} | {model} | {own:.3f} | {score:.3f} | {stages[f'{name}.{model}']:.1f} |")
    print(f"\npeers: {theirs:.1f} s, of it features {stages['features']:.1f} s")
    print(f"Timbre, start to end: {ours:.2f} s (median of {a.repeats}: {', '.join(f'{t:.2f}' for t in times)})")
    print(f"ratio: {theirs / ours:.1f}")


if __name__ == "__main__":
    main()
