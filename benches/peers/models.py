"""Every classic model on the same arrays: Timbre beside scikit-learn, in one run on one machine.

Each array is made of classes in a space of few dimensions, correlated columns and noise, standardized. Timbre reads it as an `imported` feature of as many short
recordings; both fit the same training rows with the same hyperparameters and predict the same test rows. Timbre's seconds are those of its
record of the trial (from features in the cache to a fitted model, and to the predictions of the test rows); scikit-learn's begin with the array in memory. Each fit of
scikit-learn is a process of its own, on all cores where it has `n_jobs`, and is given up after `--limit` seconds. The SVMs have probabilities on both sides: one
curve for each class here, but for `svm` Timbre fits libsvm's curve for each pair of classes.

    benches/peers/models.py --timbre TIMBRE [--sizes 1100x66150,6705x3328,6705x182,20000x512] [--models knn,logistic] [--repeats 3]
"""

import argparse
import json
import multiprocessing
import os
import queue
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import wave
import warnings
from pathlib import Path

import numpy as np
import sklearn
from joblib.externals.loky import get_reusable_executor
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import BaggingClassifier, ExtraTreesClassifier, HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.mixture import GaussianMixture
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
from sklearn.neural_network import MLPClassifier
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier

CLASSES = 11
RATE = 8000
SIZES = "1100x66150,6705x3328,6705x182,20000x512"


class Mixtures:
    """A GaussianMixture per class with Bayes' rule, which scikit-learn has no classifier for."""

    def fit(self, x, y):
        self.mixtures = [GaussianMixture(4, covariance_type="diag", random_state=0).fit(x[y == k]) for k in range(CLASSES)]
        self.priors = np.log(np.bincount(y, minlength=CLASSES) / len(y))
        return self

    def predict(self, x):
        return np.argmax([m.score_samples(x) + p for m, p in zip(self.mixtures, self.priors)], axis=0)


def calibrated(model):
    return CalibratedClassifierCV(model, method="sigmoid", cv=5, ensemble=False, n_jobs=-1)


def ovr(**keys):
    return OneVsRestClassifier(LogisticRegression(**keys), n_jobs=-1)


# Keys of Timbre's model, and scikit-learn's with the same objective.
MODELS = {
    "average": ({"kind": "average"}, lambda: NearestCentroid()),
    "knn": ({"kind": "knn", "k": 5}, lambda: KNeighborsClassifier(5, n_jobs=-1)),
    "logistic": ({"kind": "logistic"}, lambda: ovr(tol=1e-4, max_iter=10000)),
    "logistic_l1": ({"kind": "logistic", "penalty": "l1", "c": 0.1}, lambda: ovr(C=0.1, l1_ratio=1, solver="saga", tol=1e-4, max_iter=10000)),
    "linear_svm": ({"kind": "linear_svm"}, lambda: calibrated(LinearSVC(max_iter=10000))),
    "svm": ({"kind": "svm"}, lambda: calibrated(SVC())),
    "naive_bayes": ({"kind": "naive_bayes"}, lambda: GaussianNB()),
    "gmm": ({"kind": "gmm"}, Mixtures),
    "decision_tree": ({"kind": "decision_tree"}, lambda: DecisionTreeClassifier(random_state=0)),
    "bagging": ({"kind": "bagging"}, lambda: BaggingClassifier(random_state=0, n_jobs=-1)),
    "random_forest": ({"kind": "random_forest"}, lambda: RandomForestClassifier(random_state=0, n_jobs=-1)),
    "extra_trees": ({"kind": "extra_trees"}, lambda: ExtraTreesClassifier(random_state=0, n_jobs=-1)),
    "hist_gradient_boosting": ({"kind": "hist_gradient_boosting"}, lambda: HistGradientBoostingClassifier(early_stopping=False)),
    "mlp": ({"kind": "mlp"}, lambda: MLPClassifier(random_state=0)),
}


def make(rows, dims):
    rng = np.random.default_rng(18)
    y = np.arange(rows) % CLASSES
    latent = rng.normal(size=(CLASSES, 16))[y] * 0.6 + rng.normal(size=(rows, 16))
    x = (latent @ rng.normal(size=(16, dims))).astype(np.float32)
    x += rng.normal(size=(rows, dims)).astype(np.float32)
    x -= x.mean(axis=0)
    x /= x.std(axis=0)
    return x, y


def write_set(folder, x, y):
    """A folder of recordings, one class a folder, and the array with a row for each."""
    noise = np.random.default_rng(1).integers(-9000, 9000, RATE // 20).astype("<i2").tobytes()
    paths = []
    for number, label in enumerate(y):
        path = folder / "set" / f"c{label:02}" / f"{number:06}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        with wave.open(str(path), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(RATE)
            # No two files are copies of each other.
            file.writeframes(np.array([number % 30000, number // 30000], "<i2").tobytes() + noise)
        paths.append(f"c{label:02}/{number:06}.wav")
    np.save(folder / "x.npy", x)
    np.save(folder / "y.npy", y)
    (folder / "rows.csv").write_text("path\n" + "".join(f"{path}\n" for path in paths))
    return paths


def experiment(folder, name, keys):
    table = "".join(f"{key} = {json.dumps(value)}\n" for key, value in {**keys, "standardize": False}.items())
    (folder / f"{name}.toml").write_text(
        f'save_models = false\n[data]\nkind = "folder"\nroot = {json.dumps(str(folder / "set"))}\n'
        f'[audio]\nsample_rate = {RATE}\nclip_seconds = 0.04\n[split]\nkind = "holdout"\ntest = 0.2\n'
        f'[features.x]\nkind = "imported"\ntable = {json.dumps(str(folder / "x.npy"))}\nrows = {json.dumps(str(folder / "rows.csv"))}\n'
        f"[models.{name}]\n{table}[evaluate]\nbootstrap = 0\n"
    )


def ours(timbre, folder, name, limit):
    """Seconds of the fit and of the predictions, the accuracy, and the folder of the run."""
    command = [timbre, "run", folder / f"{name}.toml", "--runs", folder / "runs", "--cache", folder / "cache", "--fresh", "--json", "-q"]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        return None
    if done.returncode != 0:
        sys.exit(f"{name}: {done.stderr}")
    result = json.loads(done.stdout)
    run = folder / result["run"]
    trial = json.loads(next((run / "units").glob("*.json")).read_text())
    accuracy = next(row["metrics"]["accuracy"] for row in result["results"] if row["split"] == "test" and row["model"] == name)
    return trial["fit_seconds"], trial["predict_seconds"], accuracy, run


def subsets(run, paths):
    """The rows of the training and of the test split."""
    lines = [line.split(",") for line in (run / "recordings.csv").read_text().splitlines()]
    path, split = lines[0].index("path"), lines[0].index("split")
    subset_of = {cells[path]: cells[split] for cells in lines[1:]}
    subset = np.array([subset_of[path] for path in paths])
    return np.flatnonzero(subset == "training"), np.flatnonzero(subset == "test")


def theirs_in_process(folder, name, train, test, answer):
    os.setsid()
    warnings.simplefilter("ignore")
    x, y = np.load(folder / "x.npy", mmap_mode="r"), np.load(folder / "y.npy")
    fit_x, test_x = np.array(x[train]), np.array(x[test])
    model = MODELS[name][1]()
    # Workers and their imports are there before the clock starts.
    MODELS[name][1]().fit(fit_x[:220, :20], y[train][:220])
    begun = time.perf_counter()
    model.fit(fit_x, y[train])
    fitted = time.perf_counter()
    decisions = model.predict(test_x)
    answer.put((fitted - begun, time.perf_counter() - fitted, float(np.mean(decisions == y[test]))))
    # Idle workers would keep the process for minutes.
    get_reusable_executor().shutdown()


def theirs(limit, *of):
    context = multiprocessing.get_context("spawn")
    answer = context.Queue()
    process = context.Process(target=theirs_in_process, args=(*of, answer))
    process.start()
    try:
        return answer.get(timeout=limit)
    except queue.Empty:
        # The workers of the process are in its group.
        os.killpg(process.pid, signal.SIGKILL)
        return None
    finally:
        process.join()


def median(runs):
    """The run with the median of fit and predictions together; None if one was given up."""
    if None in runs:
        return None
    return sorted(runs, key=lambda run: run[0] + run[1])[len(runs) // 2]


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--timbre", type=Path, required=True)
    arguments.add_argument("--sizes", default=SIZES, help="ROWSxCOLUMNS, separated by commas")
    arguments.add_argument("--models", default=",".join(MODELS))
    arguments.add_argument("--repeats", type=int, default=3)
    arguments.add_argument("--limit", type=float, default=900, help="seconds after which a fit is given up")
    arguments.add_argument("--work", type=Path, help="folder of the arrays and runs [default: a temporary one]")
    a = arguments.parse_args()
    print(f"scikit-learn {sklearn.__version__}, numpy {np.__version__}, {os.cpu_count()} cores, medians of {a.repeats}\n")
    print("| rows × columns | model | scikit-learn fit + predict s | Timbre fit + predict s | ratio | accuracy of both |\n|---|---|---|---|---|---|")
    for size in a.sizes.split(","):
        rows, dims = map(int, size.split("x"))
        with tempfile.TemporaryDirectory(dir=a.work) as folder:
            compare(a, Path(folder), rows, dims)


def compare(a, folder, rows, dims):
    paths = write_set(folder, *make(rows, dims))
    ratios = []
    for name in a.models.split(","):
        experiment(folder, name, MODELS[name][0])
        own = median([ours(a.timbre.absolute(), folder, name, a.limit) for _ in range(a.repeats)])
        cells = [f"{rows} × {dims}", f"`{name}`"]
        if own is None:
            print("|", " | ".join([*cells, "", f"more than {a.limit:g}", "", ""]), "|", flush=True)
            continue
        train, test = subsets(own[3], paths)
        peer = median([theirs(a.limit, folder, name, train, test) for _ in range(a.repeats)])
        seconds = f"{own[0]:.3g} + {own[1]:.3g}"
        if peer is None:
            print("|", " | ".join([*cells, f"more than {a.limit:g}", seconds, "", f"{own[2]:.3f}"]), "|", flush=True)
            continue
        ratios.append((peer[0] + peer[1]) / (own[0] + own[1]))
        row = [f"{peer[0]:.3g} + {peer[1]:.3g}", seconds, f"{ratios[-1]:.1f}", f"{peer[2]:.3f}, {own[2]:.3f}"]
        print("|", " | ".join([*cells, *row]), "|", flush=True)
    if ratios:
        print(f"| {rows} × {dims} | geometric mean | | | {statistics.geometric_mean(ratios):.1f} | |", flush=True)


if __name__ == "__main__":
    main()
