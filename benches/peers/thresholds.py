"""The threshold search: Timbre beside numpy, on the same numbers, in one run.

2,874 recordings with 18 windows and 11 classes, 100 thresholds × 100 window fractions. Two peers:
  plain   the usual code: for each point the votes of all windows at once, then counts of the decisions (numpy, one loop over the
          points); micro and macro F1, exact match and samples F1
  sorted  Timbre's algorithm in numpy: windows sorted once, then for each fraction the probability that decides, its position among
          the thresholds, and running sums for micro and macro F1; samples scores still need the decisions of every point
The plain peer is timed on a subset of the points and scaled up, because all of them take minutes. Timbre computes all 18 scores.

    python benches/peers/thresholds.py
"""

import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np

RECORDINGS, WINDOWS, CLASSES = 2874, 18, 11
CUTOFFS = (np.arange(100) / 100).astype(np.float32)
FRACTIONS = np.arange(100) / 100


def made(rng):
    truth = rng.random((RECORDINGS, CLASSES)) < 0.156
    level = rng.random((RECORDINGS, 1, CLASSES)) * 0.6 + 0.25 * truth[:, None]
    p = np.clip(level + (rng.random((RECORDINGS, WINDOWS, CLASSES)) - 0.5) * 0.3, 0, 1).astype(np.float32)
    return p, truth


def f1(hits, named):
    return np.divide(2 * hits, named, out=np.zeros_like(hits, dtype=float), where=named > 0)


def plain(p, truth, cutoff, fraction):
    decided = (p > cutoff).mean(axis=1) > fraction
    both = decided & truth
    hits, named = both.sum(0), decided.sum(0) + truth.sum(0)
    micro, macro = f1(hits.sum(), np.array(named.sum())), f1(hits, named).mean()
    samples = f1(both.sum(1), decided.sum(1) + truth.sum(1)).mean()
    return float(micro), float(macro), float((decided == truth).all(1).mean()), float(samples)


def by_sorting(p, truth):
    """Micro and macro F1, exact match and sample-wise F1 of every point, fraction by fraction."""
    order = -np.sort(-p, axis=1)
    support, n = truth.sum(0), len(CUTOFFS)
    classes = np.arange(CLASSES)
    scores = np.empty((4, len(FRACTIONS), n))
    seen = {}
    for i, fraction in enumerate(FRACTIONS):
        counts = np.arange(WINDOWS + 1) / WINDOWS
        needed = int(np.argmax(counts > fraction))
        if needed in seen:  # as many votes are needed as at an earlier fraction
            scores[:, i] = scores[:, seen[needed]]
            continue
        seen[needed] = i
        x = order[:, needed - 1]
        passed = np.searchsorted(CUTOFFS, x, side="left")
        cells = passed * CLASSES + classes
        predicted = np.bincount(cells.ravel(), minlength=(n + 1) * CLASSES).reshape(n + 1, CLASSES)
        hits = np.bincount(cells[truth], minlength=(n + 1) * CLASSES).reshape(n + 1, CLASSES)
        predicted = predicted[::-1].cumsum(0)[::-1][1:]
        hits = hits[::-1].cumsum(0)[::-1][1:]
        scores[0, i] = f1(hits.sum(1), predicted.sum(1) + support.sum())
        scores[1, i] = f1(hits, predicted + support).mean(1)
        decided = passed[None] > np.arange(n)[:, None, None]
        scores[2, i] = (decided == truth).all(2).mean(1)
        scores[3, i] = f1((decided & truth).sum(2), decided.sum(2) + truth.sum(1)).mean(1)
    return scores


def main():
    p, truth = made(np.random.default_rng(1))
    begun = time.perf_counter()
    scores = by_sorting(p, truth)
    seconds_sorted = time.perf_counter() - begun
    points = [(i, j) for i in range(3, 100, 14) for j in range(3, 100, 14)]
    begun = time.perf_counter()
    own = [plain(p, truth, CUTOFFS[j], FRACTIONS[i]) for i, j in points]
    seconds_plain = (time.perf_counter() - begun) / len(points) * len(CUTOFFS) * len(FRACTIONS)
    for (i, j), values in zip(points, own):
        assert np.allclose(values, scores[:, i, j], atol=1e-12), (i, j)
    with tempfile.TemporaryDirectory() as folder:
        probabilities, indicators = Path(folder) / "p.f32", Path(folder) / "truth.u8"
        p.astype("<f4").tofile(probabilities)
        truth.astype(np.uint8).tofile(indicators)
        command = ["cargo", "bench", "--quiet", "--bench", "thresholds", "--", str(probabilities), str(indicators)]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    print(said)
    words = said.splitlines()[-1].split()
    value = {word: float(words[at + 1]) for at, word in enumerate(words) if word in ("sum", "exact", "samples", "seconds")}
    assert abs(value["sum"] - scores[0].sum()) < 1e-6, (value, scores[0].sum())
    assert abs(value["exact"] - scores[2].sum()) < 1e-6, (value, scores[2].sum())
    assert abs(value["samples"] - scores[3].sum()) < 1e-6, (value, scores[3].sum())
    own = value["seconds"]
    print(f"numpy {np.__version__}: plain {seconds_plain:.1f} s (ratio {seconds_plain / own:.0f}),"
          f" sorted {seconds_sorted:.2f} s (ratio {seconds_sorted / own:.0f}); the same scores")


if __name__ == "__main__":
    main()
