"""Writes training_distance.json: distances of the fifth nearest neighbour of standardized rows.

Needs scikit-learn 1.5 or newer (pip install scikit-learn). Run from this folder: python make_training_distance.py
"""

import json

import numpy as np
from sklearn.neighbors import NearestNeighbors


def rows(n, d):
    """The rows of the test in crates/models/src/training_distance.rs."""
    state, raw = 1, []
    for _ in range(n * d):
        state = (state * 1_103_515_245 + 12_345) % 2**31
        raw.append(state / 2**31 - 0.5)
    raw = np.array(raw).reshape(n, d)
    return (raw + 0.8 * np.roll(raw, -1, axis=1)) * 10.0 ** np.arange(d) + 3.0


cases = []
for n, d in [(50, 4), (15, 20)]:
    data = rows(n + 3, d)
    mean, scale = data[:n].mean(axis=0), data[:n].std(axis=0)
    standardized = (data - mean) / scale
    nearest = NearestNeighbors(n_neighbors=5).fit(standardized[:n])
    distances = nearest.kneighbors(standardized[n:])[0][:, -1] / np.sqrt(d)
    cases.append({"n": n, "d": d, "distances": distances.tolist()})

with open("training_distance.json", "w") as out:
    json.dump(cases, out)
    out.write("\n")
