"""Golden numbers of scipy, statsmodels and scikit-learn for paired differences: python tests/golden/make_significance.py

Single-label cases: two models with several seeds each, clips grouped into songs. Writes tests/golden/significance.json; labels are
strings with one letter per clip ("a" is class 0), one string per seed; songs are numbers. Nothing here calls Timbre.

`difference`   mean over the seeds of metric(model) - metric(reference), scikit-learn's metrics.
`permutation`  scipy.stats.permutation_test, exact: the outputs of the two models are swapped for each song. For accuracy that is
               the sign of the song's sum of differences; for F1 scikit-learn scores every permutation.
`bootstrap`    interval and p of 20,000 resamples of songs and of n - 1 of n seeds, numpy's generator: equal to ours up to chance.
`mcnemar`      statsmodels' exact test, where there is one seed and one clip per song.
`holm`         statsmodels' multipletests.
"""

import itertools
import json
import pathlib

import numpy as np
import scipy
import sklearn
import statsmodels
from scipy import stats
from sklearn import metrics
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

HERE = pathlib.Path(__file__).parent
DRAWS = 20_000


def letters(labels):
    return "".join(chr(ord("a") + int(label)) for label in labels)


def accuracy(truth, decided):
    return metrics.accuracy_score(truth, decided)


def f1_macro(truth, decided):
    return metrics.f1_score(truth, decided, average="macro", zero_division=0)


def case(rng, metric, clips, songs, seeds, classes, skill):
    truth = rng.integers(0, classes, clips)
    song = np.sort(rng.permutation(np.concatenate([np.arange(songs), rng.integers(0, songs, clips - songs)])))
    sides = []
    for share in skill:
        # Clips of one song are correlated, and a hard clip is hard with every seed.
        hard = rng.random(songs)[song]
        sides.append([np.where(hard + 0.3 * rng.random(clips) < share, truth, rng.integers(0, classes, clips)) for _ in range(seeds)])
    score = {"accuracy": accuracy, "f1_macro": f1_macro}[metric]

    def difference(rows, chosen):
        return np.mean([score(truth[rows], sides[1][s][rows]) - score(truth[rows], sides[0][s][rows]) for s in chosen])

    every = np.arange(clips)
    observed = difference(every, range(seeds))

    def exchanged(mask):
        swap = np.asarray(mask)[song]
        both = [[np.where(swap, sides[1 - side][s], sides[side][s]) for s in range(seeds)] for side in (0, 1)]
        return np.mean([score(truth, both[1][s]) - score(truth, both[0][s]) for s in range(seeds)])

    if metric == "accuracy":
        sums = np.zeros(songs)
        for s in range(seeds):
            right = (sides[1][s] == truth).astype(float) - (sides[0][s] == truth)
            np.add.at(sums, song, right)
        found = stats.permutation_test(
            (sums,), np.sum, permutation_type="samples", n_resamples=np.inf, alternative="two-sided"
        )
        permutation = float(found.pvalue)
    else:
        values = [abs(exchanged(mask)) >= abs(observed) - 1e-12 for mask in itertools.product([False, True], repeat=songs)]
        permutation = float(np.mean(values))

    members = [np.flatnonzero(song == one) for one in range(songs)]
    if metric == "accuracy":
        # Sums per song make this number of resamples fast.
        per_song = np.zeros((seeds, songs))
        for s in range(seeds):
            np.add.at(per_song[s], song, (sides[1][s] == truth).astype(float) - (sides[0][s] == truth))
        sizes = np.array([len(one) for one in members])

    drawn = []
    for _ in range(DRAWS if metric == "accuracy" else DRAWS // 10):
        which = rng.integers(0, songs, songs)
        chosen = rng.integers(0, seeds, max(seeds - 1, 1)) if seeds > 1 else [0]
        if metric == "accuracy":
            drawn.append(per_song[np.asarray(chosen)][:, which].sum(axis=1).mean() / sizes[which].sum())
        else:
            drawn.append(difference(np.concatenate([members[one] for one in which]), chosen))
    drawn = np.array(drawn)
    low, high = np.quantile(drawn, [0.025, 0.975])
    p = min(1.0, 2 * (1 + min((drawn <= 1e-12).sum(), (drawn >= -1e-12).sum())) / (1 + len(drawn)))

    exact = None
    if metric == "accuracy" and seeds == 1 and clips == songs:
        a, b = (sides[0][0] == truth), (sides[1][0] == truth)
        table = [[np.sum(a & b), np.sum(a & ~b)], [np.sum(~a & b), np.sum(~a & ~b)]]
        exact = float(mcnemar(table, exact=True).pvalue)
    return {
        "metric": metric,
        "classes": classes,
        "truth": letters(truth),
        "song": song.tolist(),
        "reference": [letters(one) for one in sides[0]],
        "line": [letters(one) for one in sides[1]],
        "difference": float(observed),
        "permutation": permutation,
        "bootstrap": {"low": float(low), "high": float(high), "p": float(p)},
        "mcnemar": exact,
    }


def main():
    rng = np.random.default_rng(20260)
    cases = []
    for at in range(24):
        skill = [0.7 + 0.3 * rng.random(), 0.7 + 0.3 * rng.random()] if at % 3 else [0.5, 1.0]
        one_a_song = at % 4 == 0
        songs = int(rng.integers(9, 13))
        clips = songs if one_a_song else int(rng.integers(songs, 4 * songs))
        cases.append(case(rng, "accuracy", clips, songs, 1 if one_a_song else int(rng.integers(1, 5)), 4, skill))
    for _ in range(4):
        cases.append(case(rng, "f1_macro", int(rng.integers(20, 30)), 8, int(rng.integers(1, 3)), 3, [0.7, 0.9]))
    many = []
    for _ in range(20):
        ps = rng.random(int(rng.integers(1, 12))) ** 4
        many.append({"p": ps.tolist(), "holm": multipletests(ps, method="holm")[1].tolist()})
    counts = [(int(a), int(b)) for a, b in rng.integers(0, 60, (30, 2))] + [(0, 0), (0, 1), (700, 640)]
    exact = [{"one": a, "other": b, "p": float(mcnemar([[9, a], [b, 9]], exact=True).pvalue) if a + b else 1.0} for a, b in counts]
    versions = {"scipy": scipy.__version__, "statsmodels": statsmodels.__version__, "scikit-learn": sklearn.__version__}
    document = {"versions": versions, "cases": cases, "holm": many, "mcnemar": exact}
    (HERE / "significance.json").write_text(json.dumps(document, indent=None, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
