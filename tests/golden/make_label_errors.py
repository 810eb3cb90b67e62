"""Writes label_errors.json: label errors that cleanlab finds by confident learning.

Needs cleanlab 2.9 (pip install cleanlab). Run from this folder: python make_label_errors.py
"""

import json

import numpy as np
from cleanlab.filter import find_label_issues
from cleanlab.multilabel_classification.filter import find_label_issues as find_multilabel_issues

rng = np.random.default_rng(7)


def predictions(truth, classes, sharpness):
    scores = rng.normal(size=(len(truth), classes)) + sharpness * np.eye(classes)[truth]
    shares = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    return np.round(shares, 6)


def single(n, classes, sharpness, wrong):
    truth = rng.integers(classes, size=n)
    given = truth.copy()
    moved = rng.random(n) < wrong
    given[moved] = (given[moved] + rng.integers(1, classes, size=moved.sum())) % classes
    probabilities = predictions(truth, classes, sharpness)
    issues = find_label_issues(given, probabilities, filter_by="confident_learning", return_indices_ranked_by="self_confidence")
    return {"classes": classes, "given": given.tolist(), "probabilities": probabilities.flatten().tolist(), "errors": issues.tolist()}


def several(n, classes):
    truth = rng.random((n, classes)) < 0.3
    given = truth ^ (rng.random((n, classes)) < 0.05)
    probabilities = np.round(1 / (1 + np.exp(-(rng.normal(size=(n, classes)) + 5.0 * truth - 2.5))), 6)
    labels = [np.flatnonzero(row).tolist() for row in given]
    found = find_multilabel_issues(labels, probabilities, filter_by="confident_learning")
    return {"classes": classes, "given": labels, "probabilities": probabilities.flatten().tolist(), "errors": np.flatnonzero(found).tolist()}


golden = {
    "single": [single(300, 4, 3.0, 0.1), single(80, 3, 1.0, 0.3), single(200, 11, 4.0, 0.05)],
    "several": several(150, 5),
}
with open("label_errors.json", "w") as file:
    json.dump(golden, file)
    file.write("\n")
