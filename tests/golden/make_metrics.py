"""Golden numbers of scikit-learn for metrics: python tests/golden/make_metrics.py

single_label.json: 300 seeded cases from all wrong to all right, many with classes that never occur; labels are strings with one
letter per clip ("a" is class 0). multi_label.json: as many cases with any number of classes per clip; a clip is a string of the
letters of its classes. ranked.json and single_label_ranked.json: probabilities, written as integers row by row, to be divided by
`levels` in single precision, so that ties occur. All files go to tests/golden/metrics.

Where scikit-learn warns and returns no number (the ROC AUC of a class without positives or without negatives), the mean
skips that class or clip, as documented in crates/evaluation/src/metrics/roc_auc.rs; the mean of nothing is null.
"""

import json
import pathlib
import warnings

import numpy as np
import sklearn
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
    own["lrap"] = metrics.label_ranking_average_precision_score(truth, scores)
    own["ranking_loss"] = metrics.label_ranking_loss(truth, scores)
    own["coverage_error"] = metrics.coverage_error(truth, scores)
    own["log_loss"] = log_loss(truth.ravel().astype(int), np.stack([1 - scores.ravel(), scores.ravel()], 1), [0, 1])
    own["brier"] = np.mean((scores - truth) ** 2)
    own["calibration_error"] = calibration_error(truth.ravel(), scores.ravel())
    return {"classes": classes, "levels": levels, "truth": sets(truth), "scores": text(numbers), "metrics": own}


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
        "average_precision_macro": metrics.average_precision_score(marks, scores, average="macro"),
        "roc_auc_macro": np.mean(areas) if areas else None,
        "log_loss": log_loss(truth, scores, list(range(classes))),
        "brier": np.mean(((scores - marks) ** 2).sum(1)),
        "calibration_error": calibration_error(decided == truth, scores.max(axis=1)),
    }
    return {"classes": classes, "levels": levels, "truth": letters(truth), "scores": text(numbers), "metrics": own}


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


if __name__ == "__main__":
    main()
