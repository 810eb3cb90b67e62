"""Golden numbers of scikit-learn for the classic models: python tests/golden/make_models.py

Two seeded data sets that resemble audio features (correlated columns of very different scale and offset, overlapping classes):
`tall` has more rows than columns, `wide` more columns than rows. Writes the features to tests/golden/models/*.f32
(little-endian, training rows first), scikit-learn's results to models.json, and those of multi-label data to several.json.
"""

import json
import pathlib
import warnings

import numpy as np
import sklearn
from sklearn.calibration import _SigmoidCalibration
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

HERE = pathlib.Path(__file__).parent / "models"
CLASSES = 5


def make(rng, rows, dims, spread):
    labels = rng.integers(0, CLASSES, rows)
    latent = rng.normal(size=(CLASSES, 8))[labels] * spread + rng.normal(size=(rows, 8))
    x = latent @ rng.normal(size=(8, dims)) + 0.7 * rng.normal(size=(rows, dims))
    x = x * np.exp(rng.normal(size=dims)) + 5 * rng.normal(size=dims)
    x[:, 3] = 0.25  # a constant column, as a mel band above the highest frequency gives one
    return x.astype(np.float32), labels


def numbers(a):
    return [float(f"{v:.7g}") for v in np.asarray(a, dtype=float).ravel()]


def logistic(x, y, xt, multi, standardize, c):
    lr = LogisticRegression(C=c, solver="lbfgs", tol=1e-10, max_iter=200000)
    model = OneVsRestClassifier(lr) if multi == "ovr" else lr
    pipe = make_pipeline(StandardScaler(), model) if standardize else make_pipeline(model)
    pipe.fit(x, y)
    if multi == "ovr":
        weights = np.vstack([e.coef_[0] for e in model.estimators_])
        bias = [e.intercept_[0] for e in model.estimators_]
    else:
        weights, bias = model.coef_, model.intercept_
    return {
        "multi": multi,
        "standardize": standardize,
        "c": c,
        "decisions": pipe.predict(xt).tolist(),
        "probabilities": numbers(pipe.predict_proba(xt)),
        "weights": numbers(weights),
        "bias": numbers(bias),
    }


def labels_of(rng, y):
    """Several classes a row: the one that made it, often another, sometimes none; two more that no row or every row has."""
    marks = np.zeros((len(y), CLASSES + 2), dtype=int)
    marks[np.arange(len(y)), y] = 1
    more = rng.random(len(y)) < 0.4
    marks[more, rng.integers(0, CLASSES, len(y))[more]] = 1
    marks[rng.random(len(y)) < 0.1, :CLASSES] = 0
    marks[:, -1] = 1
    return marks


def neighbours(model, marks, xt):
    """The share that has each class; a column of one kind alone gives one column."""
    columns = []
    for proba, kinds in zip(model.predict_proba(xt), model.classes_):
        columns.append(proba[:, list(kinds).index(1)] if 1 in kinds else np.zeros(len(xt)))
    return np.column_stack(columns)


def templates(x, marks, xt):
    """The margin between two class means, each training row really left out of its own, under scikit-learn's sigmoid."""
    columns = []
    for has in marks.T.astype(bool):
        if has.all() or not has.any():
            columns.append(np.full(len(xt), float(has.all())))
            continue
        spread = {
            side: ((x[has == side] - x[has == side].mean(0)) ** 2).sum() / ((has == side).sum() - 1)
            for side in (True, False)
        }

        def square(row, side, out=None):
            members = has == side
            if out is not None:
                members = members & (np.arange(len(x)) != out)
            return ((row - x[members].mean(0)) ** 2).sum() - spread[side] / members.sum()

        margins = [square(row, False, i) - square(row, True, i) for i, row in enumerate(x)]
        fresh = [square(row, False) - square(row, True) for row in xt]
        scale = np.std(margins)
        curve = _SigmoidCalibration().fit(np.array(margins) / scale, has.astype(int))
        if curve.a_ < 0:
            columns.append(curve.predict(np.array(fresh) / scale))
        else:  # No nearer than the others: the house keeps the mean of the targets.
            there, missing = has.sum(), (~has).sum()
            targets = np.where(has, (there + 1) / (there + 2), 1 / (missing + 2))
            columns.append(np.full(len(xt), targets.mean()))
    return np.column_stack(columns)


def several(sets):
    """What scikit-learn makes of the same features with several labels a row."""
    warnings.filterwarnings("ignore", message="Label .* is present in all training examples")
    warnings.filterwarnings("ignore", message="Label not .* is present in all training examples")
    rng = np.random.default_rng(21)
    out = {"scikit-learn": sklearn.__version__, "sets": [], "ties": []}
    for name, x, y, xt in sets:
        marks = labels_of(rng, y)
        logistic, knn, average = [], [], []
        for standardize, c in ((True, 1.0), (False, 0.01)):
            model = OneVsRestClassifier(LogisticRegression(C=c, solver="lbfgs", tol=1e-10, max_iter=200000))
            pipe = make_pipeline(StandardScaler(), model) if standardize else make_pipeline(model)
            pipe.fit(x, marks)
            proba = numbers(pipe.predict_proba(xt))
            logistic.append({"standardize": standardize, "c": c, "probabilities": proba})
        for metric in ("euclidean", "cosine", "manhattan"):
            for weights in ("uniform", "distance"):
                model = KNeighborsClassifier(5, metric=metric, weights=weights, algorithm="brute").fit(x, marks)
                proba = numbers(neighbours(model, marks, xt))
                knn.append({"metric": metric, "weights": weights, "k": 5, "probabilities": proba})
        for standardize in (False, True):
            scaler = StandardScaler().fit(x) if standardize else None
            a, b = (scaler.transform(x), scaler.transform(xt)) if standardize else (x, xt)
            average.append({"standardize": standardize, "probabilities": numbers(templates(a, marks, b))})
        out["sets"].append(
            {"name": name, "marks": marks.tolist(), "logistic": logistic, "knn": knn, "average": average}
        )
    # Integers, so that equal distances and equal votes are frequent. Rows with a tie at the k-th neighbour are left out:
    # scikit-learn's choice there depends on a partial sort.
    train, test = rng.integers(-2, 3, (60, 3)), rng.integers(-2, 3, (200, 3))
    marks = (rng.random((60, 4)) < 0.4).astype(int)
    for metric, k in (("euclidean", 4), ("euclidean", 6), ("manhattan", 6)):
        power = {"euclidean": 2, "manhattan": 1}[metric]
        distances = np.sort((np.abs(test[:, None] - train[None]) ** power).sum(2), axis=1)
        clear = test[distances[:, k - 1] < distances[:, k]][:30]
        assert len(clear) >= 20
        for weights in ("uniform", "distance"):
            model = KNeighborsClassifier(k, metric=metric, weights=weights, algorithm="brute").fit(train, marks)
            proba = numbers(neighbours(model, marks, clear))
            case = {"metric": metric, "weights": weights, "k": k, "test": clear.tolist(), "probabilities": proba}
            out["ties"].append(case)
    out["ties_train"], out["ties_marks"] = train.tolist(), marks.tolist()
    (HERE / "several.json").write_text(json.dumps(out, separators=(",", ":")) + "\n")


def main():
    HERE.mkdir(exist_ok=True)
    rng = np.random.default_rng(20)
    out = {"scikit-learn": sklearn.__version__, "sets": []}
    sets = []
    for name, train, test, dims, spread in [("tall", 120, 60, 40, 0.8), ("wide", 60, 40, 300, 0.6)]:
        x32, y = make(rng, train + test, dims, spread)
        x32.astype("<f4").tofile(HERE / f"{name}.f32")
        everything = x32.astype(np.float64)
        x, xt, y, yt = everything[:train], everything[train:], y[:train], y[train:]
        sets.append((name, x, y, xt))
        average = []
        for standardize in (False, True):
            pipe = make_pipeline(StandardScaler(), NearestCentroid()) if standardize else NearestCentroid()
            average.append({"standardize": standardize, "decisions": pipe.fit(x, y).predict(xt).tolist()})
        knn = []
        for metric in ("euclidean", "cosine", "manhattan"):
            for weights in ("uniform", "distance"):
                for k in (1, 4, 7) if weights == "uniform" else (4,):
                    model = KNeighborsClassifier(k, metric=metric, weights=weights, algorithm="brute").fit(x, y)
                    knn.append(
                        {
                            "metric": metric,
                            "weights": weights,
                            "k": k,
                            "decisions": model.predict(xt).tolist(),
                            "probabilities": numbers(model.predict_proba(xt)),
                        }
                    )
        fits = [
            logistic(x, y, xt, multi, standardize, c)
            for multi in ("ovr", "multinomial")
            for standardize, c in ((True, 1.0), (False, 0.01))
        ]
        out["sets"].append(
            {
                "name": name,
                "train": y.tolist(),
                "truth": yt.tolist(),
                "dims": dims,
                "classes": CLASSES,
                "average": average,
                "knn": knn,
                "logistic": fits,
            }
        )
    # With two classes scikit-learn fits one column.
    two = y < 2
    pair = make_pipeline(StandardScaler(), LogisticRegression(C=1.0, tol=1e-10, max_iter=200000))
    out["two_classes"] = {"probabilities": numbers(pair.fit(x[two], y[two]).predict_proba(xt))}
    (HERE / "models.json").write_text(json.dumps(out, separators=(",", ":")) + "\n")
    several(sets)


if __name__ == "__main__":
    main()
