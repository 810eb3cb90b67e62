"""Golden numbers of scikit-learn for decisions: python tests/golden/make_metrics.py

Three hundred seeded cases from none right to all right, many with classes that never occur. Written to
tests/golden/metrics/single_label.json; labels are strings of one letter a clip ("a" is class 0). As many with any number of
classes a clip are written to multi_label.json; a clip is a string of the letters of its classes.
"""

import json
import pathlib
import warnings

import numpy as np
import sklearn
from sklearn import metrics

HERE = pathlib.Path(__file__).parent / "metrics"


def letters(labels):
    return "".join(chr(ord("a") + int(label)) for label in labels)


def case(rng):
    classes = int(rng.integers(2, 12))
    clips = int(rng.integers(1, 60))
    weights = rng.dirichlet(np.full(classes, 0.6))
    truth = rng.choice(classes, clips, p=weights)
    wrong = rng.choice(classes, clips, p=rng.dirichlet(np.full(classes, 0.6)))
    decided = np.where(rng.random(clips) < rng.random(), truth, wrong)
    macro = metrics.precision_recall_fscore_support(truth, decided, average="macro", zero_division=0)
    each = metrics.precision_recall_fscore_support(truth, decided, labels=range(classes), zero_division=0)
    return {
        "classes": classes,
        "truth": letters(truth),
        "decided": letters(decided),
        "metrics": {
            "accuracy": metrics.accuracy_score(truth, decided),
            "precision_macro": macro[0],
            "recall_macro": macro[1],
            "f1_macro": macro[2],
            "f1_weighted": metrics.f1_score(truth, decided, average="weighted", zero_division=0),
            "balanced_accuracy": metrics.balanced_accuracy_score(truth, decided),
            "matthews": metrics.matthews_corrcoef(truth, decided),
        },
        # The sum over the classes of (1 + class) times the score: one number that no exchange of classes leaves alone.
        "per_class": [float(np.dot(np.arange(1, classes + 1), column)) for column in each],
        "confusion": metrics.confusion_matrix(truth, decided, labels=range(classes)).ravel().tolist(),
    }


def sets(indicators):
    return [letters(np.flatnonzero(row)) for row in indicators]


def multi_case(rng):
    classes = int(rng.integers(2, 12))
    clips = int(rng.integers(1, 40))
    truth = rng.random((clips, classes)) < rng.dirichlet(np.full(classes, 0.6)) * 2
    wrong = rng.random((clips, classes)) < rng.dirichlet(np.full(classes, 0.6)) * 2
    decided = np.where(rng.random((clips, 1)) < rng.random(), truth, wrong)

    def means(average):
        return metrics.precision_recall_fscore_support(truth, decided, average=average, zero_division=0)[:3]

    micro, macro = means("micro"), means("macro")
    each = metrics.precision_recall_fscore_support(truth, decided, average=None, zero_division=0)
    return {
        "classes": classes,
        "truth": sets(truth),
        "decided": sets(decided),
        "metrics": {
            "hamming": 1 - metrics.hamming_loss(truth, decided),
            "exact_match": metrics.accuracy_score(truth, decided),
            "precision_micro": micro[0],
            "recall_micro": micro[1],
            "f1_micro": micro[2],
            "precision_macro": macro[0],
            "recall_macro": macro[1],
            "f1_macro": macro[2],
            "f1_weighted": means("weighted")[2],
            "f1_samples": means("samples")[2],
            "jaccard_samples": metrics.jaccard_score(truth, decided, average="samples", zero_division=0),
        },
        "per_class": [float(np.dot(np.arange(1, classes + 1), column)) for column in each],
    }


def main():
    HERE.mkdir(exist_ok=True)
    warnings.simplefilter("ignore")
    rng = np.random.default_rng(3)
    out = {"scikit-learn": sklearn.__version__, "cases": [case(rng) for _ in range(300)]}
    text = json.dumps(out, separators=(",", ":"), default=float)
    (HERE / "single_label.json").write_text(text + "\n")
    out = {"scikit-learn": sklearn.__version__, "cases": [multi_case(rng) for _ in range(200)]}
    text = json.dumps(out, separators=(",", ":"), default=float)
    (HERE / "multi_label.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
