"""Golden numbers of scikit-learn for metrics: python tests/golden/make_metrics.py

single_label.json: 300 seeded cases from all wrong to all right, many with classes that never occur; labels are strings with one
letter per clip ("a" is class 0). multi_label.json: as many cases with any number of classes per clip; a clip is a string of the
letters of its classes. ranked.json and single_label_ranked.json: probabilities, written as integers row by row, to be divided by
`levels` in single precision, so that ties occur. masked.json: decisions and probabilities with unknown labels; every score is
scikit-learn's for the pairs of clip and class that are known, class by class or clip by clip. All files go to tests/golden/metrics.

Where scikit-learn warns and returns no number (the ROC AUC of a class without positives or without negatives), the mean
skips that class or clip, as documented in crates/evaluation/src/metrics/roc_auc.rs; the mean of nothing is null.
"""

import json
import pathlib
import warnings

import numpy as np
import sklearn
from scipy import stats
from sklearn import calibration, metrics

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
            # 0, not NaN, where truth and decisions are all of one class.
            "cohen_kappa": np.nan_to_num(metrics.cohen_kappa_score(truth, decided)),
        },
        # The sum over the classes of (1 + class) times the score: any swap of two classes changes it.
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

    def scores(average):
        jaccard = metrics.jaccard_score(truth, decided, average=average, zero_division=0)
        names = ("precision", "recall", "f1", "jaccard")
        return {f"{name}_{average}": value for name, value in zip(names, (*means(average), jaccard))}

    each = metrics.precision_recall_fscore_support(truth, decided, average=None, zero_division=0)
    return {
        "classes": classes,
        "truth": sets(truth),
        "decided": sets(decided),
        "metrics": {
            "hamming": 1 - metrics.hamming_loss(truth, decided),
            "exact_match": metrics.accuracy_score(truth, decided),
            **scores("micro"),
            **scores("macro"),
            **scores("weighted"),
            **scores("samples"),
        },
        "per_class": [float(np.dot(np.arange(1, classes + 1), column)) for column in each],
        # Per class: true negatives, false positives, false negatives, true positives.
        "confusion": metrics.multilabel_confusion_matrix(truth, decided).ravel().tolist(),
    }


def ranked_case(rng):
    """Scores of probabilities: truths with and without empty classes and empty clips, scores with many and with few ties."""
    classes = int(rng.integers(2, 12))
    clips = int(rng.integers(2, 30))
    truth = rng.random((clips, classes)) < rng.dirichlet(np.full(classes, 0.6)) * rng.choice([0.5, 2, 6])
    levels = int(rng.choice([2, 10, 300]))
    skill = rng.random()
    # Half of the scores depend on the truth, the other half do not; 0 and 1 occur.
    numbers = np.floor(np.clip(skill * truth * 0.5 + rng.random((clips, classes)) * (1 - skill / 2), 0, 1) * (levels + 1))
    numbers = np.minimum(numbers, levels)
    scores = (numbers.astype(np.float32) / np.float32(levels)).astype(np.float64)

    def defined(average):
        """Mean areas over what has positives and negatives."""
        rows = (truth, scores) if average == "samples" else (truth.T, scores.T)
        pairs = [(t, s, t.sum()) for t, s in zip(*rows) if 0 < t.sum() < len(t)]
        if not pairs:
            return None
        weights = [support if average == "weighted" else 1 for *_, support in pairs]
        return np.average([metrics.roc_auc_score(t, s) for t, s, _ in pairs], weights=weights)

    both = 0 < truth.sum() < truth.size
    own = {}
    for average in ("micro", "macro", "weighted", "samples"):
        own[f"average_precision_{average}"] = metrics.average_precision_score(truth, scores, average=average)
    own["roc_auc_micro"] = metrics.roc_auc_score(truth.ravel(), scores.ravel()) if both else None
    for average in ("macro", "weighted", "samples"):
        own[f"roc_auc_{average}"] = defined(average)
    own["d_prime"] = d_prime([own["roc_auc_macro"]] if own["roc_auc_macro"] else [])
    own["lrap"] = metrics.label_ranking_average_precision_score(truth, scores)
    own["ranking_loss"] = metrics.label_ranking_loss(truth, scores)
    own["coverage_error"] = metrics.coverage_error(truth, scores)
    own["log_loss"] = log_loss(truth.ravel().astype(int), np.stack([1 - scores.ravel(), scores.ravel()], 1), [0, 1])
    own["brier"] = np.mean((scores - truth) ** 2)
    own["calibration_error"] = calibration_error(truth.ravel(), scores.ravel())
    return {"classes": classes, "levels": levels, "truth": sets(truth), "scores": text(numbers), "metrics": own}


def masked_case(rng):
    """Unknown labels: at least one class of each clip is known, and some classes are unknown everywhere."""
    classes = int(rng.integers(2, 9))
    clips = int(rng.integers(2, 25))
    truth = rng.random((clips, classes)) < rng.dirichlet(np.full(classes, 0.6)) * rng.choice([0.5, 2, 6])
    known = rng.random((clips, classes)) < rng.choice([0, 0.2, 0.6, 0.9, 1], classes, p=[0.1, 0.2, 0.3, 0.2, 0.2])
    known[np.arange(clips), rng.integers(0, classes, clips)] = True
    truth &= known
    levels = int(rng.choice([2, 10, 300]))
    skill = rng.random()
    numbers = np.floor(np.clip(skill * truth * 0.5 + rng.random((clips, classes)) * (1 - skill / 2), 0, 1) * (levels + 1))
    numbers = np.minimum(numbers, levels)
    scores = (numbers.astype(np.float32) / np.float32(levels)).astype(np.float64)
    decided = scores >= 0.5
    pairs = truth[known], decided[known]
    rows = [(t[k], d[k], s[k]) for t, d, s, k in zip(truth, decided, scores, known)]
    columns = [(t[k], d[k], s[k]) for t, d, s, k in zip(truth.T, decided.T, scores.T, known.T) if k.any()]

    def four(t, d):
        prf = metrics.precision_recall_fscore_support(t, d, pos_label=True, average="binary", zero_division=0)[:3]
        return np.array([*prf, metrics.jaccard_score(t, d, pos_label=True, zero_division=0)])

    def area(t, s):
        return metrics.roc_auc_score(t, s) if 0 < t.sum() < len(t) else None

    def mean(values, weights=None):
        kept = [(v, w) for v, w in zip(values, weights if weights is not None else [1] * len(values)) if v is not None]
        if not kept or sum(w for _, w in kept) == 0:
            return None
        return np.average([v for v, _ in kept], weights=[w for _, w in kept])

    support = [t.sum() for t, *_ in columns]
    own = {"hamming": metrics.accuracy_score(*pairs), "exact_match": np.mean([(t == d).all() for t, d, _ in rows])}
    of_columns = np.array([four(t, d) for t, d, _ in columns])
    values = {
        "micro": four(*pairs),
        "macro": of_columns.mean(0),
        "weighted": np.average(of_columns, axis=0, weights=support) if sum(support) else np.zeros(4),
        "samples": np.mean([four(t, d) for t, d, _ in rows], axis=0),
    }
    for average, of_average in values.items():
        own.update({f"{name}_{average}": value for name, value in zip(("precision", "recall", "f1", "jaccard"), of_average)})
    precision = metrics.average_precision_score
    own["average_precision_micro"] = precision(truth[known], scores[known])
    own["average_precision_macro"] = mean([precision(t, s) for t, _, s in columns])
    own["average_precision_weighted"] = mean([precision(t, s) for t, _, s in columns], support) or 0
    own["average_precision_samples"] = mean([precision(t, s) for t, _, s in rows])
    own["roc_auc_micro"] = area(truth[known], scores[known])
    own["roc_auc_macro"] = mean([area(t, s) for t, _, s in columns])
    own["roc_auc_weighted"] = mean([area(t, s) for t, _, s in columns], support)
    own["roc_auc_samples"] = mean([area(t, s) for t, _, s in rows])
    own["lrap"] = np.mean([metrics.label_ranking_average_precision_score([t], [s]) for t, _, s in rows])
    # scikit-learn refuses a single class, which nothing is ranked against.
    several = lambda score, t, s: score([t], [s]) if len(t) > 1 else None
    own["ranking_loss"] = np.mean([several(metrics.label_ranking_loss, t, s) or 0 for t, _, s in rows])
    coverage = [t.sum() if len(t) == 1 else metrics.coverage_error([t], [s]) for t, _, s in rows]
    own["coverage_error"] = np.mean(coverage)
    own["log_loss"] = log_loss(truth[known].astype(int), np.stack([1 - scores[known], scores[known]], 1), [0, 1])
    own["brier"] = np.mean((scores - truth)[known] ** 2)
    own["calibration_error"] = calibration_error(truth[known], scores[known])
    return {
        "classes": classes,
        "levels": levels,
        "truth": sets(truth),
        "unknown": sets(~known),
        "decided": sets(decided),
        "scores": text(numbers),
        "metrics": own,
    }


def single_ranked_case(rng):
    """As ranked_case, one class a clip; rows need not sum to one in single precision."""
    classes = int(rng.integers(2, 12))
    clips = int(rng.integers(1, 30))
    truth = rng.integers(0, classes, clips)
    levels = 1000
    weights = rng.dirichlet(np.full(classes, rng.choice([0.05, 0.5, 5])), clips)
    weights = 0.5 * weights + 0.5 * np.eye(classes)[truth] * rng.random((clips, 1)) if rng.random() < 0.5 else weights
    numbers = np.floor(weights * levels)
    scores = (numbers.astype(np.float32) / np.float32(levels)).astype(np.float64)
    decided = scores.argmax(axis=1)
    marks = np.eye(classes, dtype=int)[truth]
    areas = [metrics.roc_auc_score(t, s) for t, s in zip(marks.T, scores.T) if 0 < t.sum() < clips]
    own = {
        # Equal scores count against the model.
        "top_3_accuracy": np.mean((scores >= scores[np.arange(clips), truth][:, None]).sum(1) <= 3),
        "top_5_accuracy": np.mean((scores >= scores[np.arange(clips), truth][:, None]).sum(1) <= 5),
        "keras_precision": metrics.precision_score(marks, scores > 0.5, average="micro", zero_division=0),
        "keras_recall": metrics.recall_score(marks, scores > 0.5, average="micro", zero_division=0),
        "d_prime": d_prime(areas),
        "average_precision_macro": metrics.average_precision_score(marks, scores, average="macro"),
        "roc_auc_macro": np.mean(areas) if areas else None,
        "log_loss": log_loss(truth, scores, list(range(classes))),
        "brier": np.mean(((scores - marks) ** 2).sum(1)),
        "calibration_error": calibration_error(decided == truth, scores.max(axis=1)),
    }
    return {"classes": classes, "levels": levels, "truth": letters(truth), "scores": text(numbers), "metrics": own}


def d_prime(areas):
    mean = np.mean(areas) if areas else 1
    return np.sqrt(2) * stats.norm.ppf(mean) if 0 < mean < 1 else None


def text(numbers):
    return " ".join(str(int(number)) for number in numbers.ravel())


def log_loss(truth, scores, labels):
    # The clipping of single-precision input, done in double precision.
    least = float(np.finfo(np.float32).eps)
    return metrics.log_loss(truth, y_proba=np.clip(scores, least, 1 - least), labels=labels)


def calibration_error(came_true, stated):
    bins = np.searchsorted(np.linspace(0, 1, 16)[1:-1], stated)
    if len(np.unique(came_true)) < 2:  # calibration_curve wants both kinds
        gaps = [abs(came_true[bins == b].sum() - stated[bins == b].sum()) for b in range(15)]
        return sum(gaps) / len(stated)
    true, mean = calibration.calibration_curve(came_true, stated, n_bins=15, strategy="uniform")
    counts = np.bincount(bins, minlength=15)
    return float(np.sum(counts[counts > 0] * np.abs(true - mean)) / len(stated))


def write(name, cases):
    out = {"scikit-learn": sklearn.__version__, "cases": cases}
    (HERE / name).write_text(json.dumps(out, separators=(",", ":"), default=float) + "\n")


def main():
    HERE.mkdir(exist_ok=True)
    warnings.simplefilter("ignore")
    rng = np.random.default_rng(3)
    write("single_label.json", [case(rng) for _ in range(300)])
    write("multi_label.json", [multi_case(rng) for _ in range(200)])
    write("ranked.json", [ranked_case(rng) for _ in range(200)])
    write("single_label_ranked.json", [single_ranked_case(rng) for _ in range(150)])
    write("masked.json", [masked_case(rng) for _ in range(150)])


if __name__ == "__main__":
    main()
