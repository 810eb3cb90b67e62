"""Golden numbers of scikit-learn for the classic models: python tests/golden/make_models.py

Two seeded sets that look like audio features (correlated columns of very different scale and offset, classes that overlap):
`tall` has more rows than columns, `wide` more columns than rows. Features go to tests/golden/models/*.f32 (little-endian,
training rows first), what scikit-learn makes of them to models.json.
"""

import json
import pathlib

import numpy as np
import sklearn
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


def main():
    HERE.mkdir(exist_ok=True)
    rng = np.random.default_rng(20)
    out = {"scikit-learn": sklearn.__version__, "sets": []}
    for name, train, test, dims, spread in [("tall", 120, 60, 40, 0.8), ("wide", 60, 40, 300, 0.6)]:
        x32, y = make(rng, train + test, dims, spread)
        x32.astype("<f4").tofile(HERE / f"{name}.f32")
        everything = x32.astype(np.float64)
        x, xt, y, yt = everything[:train], everything[train:], y[:train], y[train:]
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
    # Two classes: scikit-learn fits one column whatever the number of classes asks for.
    two = y < 2
    pair = make_pipeline(StandardScaler(), LogisticRegression(C=1.0, tol=1e-10, max_iter=200000))
    out["two_classes"] = {"probabilities": numbers(pair.fit(x[two], y[two]).predict_proba(xt))}
    (HERE / "models.json").write_text(json.dumps(out, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
