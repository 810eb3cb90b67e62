"""Golden numbers of scikit-learn for the classic models: python tests/golden/make_models.py

Two seeded data sets that resemble audio features (correlated columns of very different scale and offset, overlapping classes):
`tall` has more rows than columns, `wide` more columns than rows. Writes the features to tests/golden/models/*.f32
(little-endian, training rows first), scikit-learn's results to models.json, those of multi-label data to several.json, those of the models of rows in memory to rows.json, mutual information to selection.json,
and the least objectives of logistic regression with an L1 or elastic-net penalty to penalties.json.
"""

import json
import pathlib
import warnings

import numpy as np
import sklearn
from sklearn.calibration import CalibratedClassifierCV, _SigmoidCalibration
from sklearn.decomposition import PCA
from sklearn.ensemble import BaggingClassifier, ExtraTreesClassifier, HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.feature_selection import SelectKBest, f_classif, mutual_info_classif
from sklearn.feature_selection._mutual_info import _compute_mi_cd
from sklearn.linear_model import LogisticRegression
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import StratifiedKFold
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier

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


def coupled(pairwise):
    """The probabilities with the least sum of (p_i r_ji - p_j r_ij)^2, which libsvm approaches iteratively."""
    k = len(pairwise)
    q = np.array([[-pairwise[j, i] * pairwise[i, j] for j in range(k)] for i in range(k)])
    for i in range(k):
        q[i, i] = sum(pairwise[j, i] ** 2 for j in range(k) if j != i)
    system = np.block([[q, np.ones((k, 1))], [np.ones((1, k)), np.zeros((1, 1))]])
    return np.linalg.solve(system, np.append(np.zeros(k), 1.0))[:k]


def svm(x, y, xt, kernel, c, weights):
    """SVC, and the probabilities of libsvm with folds that are not random."""
    gamma = 1 / (x.shape[1] * x.var())
    keys = {"kernel": kernel, "C": c, "gamma": gamma, "tol": 1e-8}
    whole = SVC(**keys, class_weight=weights, decision_function_shape="ovo").fit(x, y)
    # Weights of the whole set, also in its pairs and folds.
    balanced = {k: len(y) / (CLASSES * (y == k).sum()) if weights else 1.0 for k in range(CLASSES)}
    pairwise = np.full((len(xt), CLASSES, CLASSES), 0.5)
    for i in range(CLASSES):
        for j in range(i + 1, CLASSES):
            pair = (y == i) | (y == j)
            a, side = x[pair], (y[pair] == i).astype(int)
            scores = np.zeros(len(a))
            of = {1: balanced[i], 0: balanced[j]}
            for fit, out in StratifiedKFold(5).split(a, side):
                scores[out] = SVC(**keys, class_weight=of).fit(a[fit], side[fit]).decision_function(a[out])
            curve = _SigmoidCalibration().fit(scores, side)
            share = curve.predict(SVC(**keys, class_weight=of).fit(a, side).decision_function(xt))
            pairwise[:, i, j], pairwise[:, j, i] = share, 1 - share
    return {
        "kernel": kernel,
        "c": c,
        "class_weight": weights,
        "decisions": whole.predict(xt).tolist(),
        "support": int(whole.n_support_.sum()),
        "probabilities": numbers([coupled(row) for row in pairwise]),
    }


def linear_svm(x, y, xt, c, weights):
    model = LinearSVC(C=c, tol=1e-9, max_iter=1000000, class_weight=weights)
    folds = StratifiedKFold(5)
    sample_weight = None
    if weights:
        # The weights of the whole set, also in the folds.
        model = LinearSVC(C=c, tol=1e-9, max_iter=1000000)
        sample_weight = len(y) / (len(np.unique(y)) * np.bincount(y))[y]
    calibrated = CalibratedClassifierCV(model, method="sigmoid", cv=folds, ensemble=False)
    whole = model.fit(x, y, sample_weight=sample_weight)
    out = {"c": c, "class_weight": weights}
    out["weights"], out["bias"] = numbers(whole.coef_), numbers(whole.intercept_)
    if not weights:
        out["probabilities"] = numbers(calibrated.fit(x, y).predict_proba(xt))
    return out


def trees(x, y, xt):
    """Trees whose splits do not tie, with their probabilities; forests with the mean of many."""
    tree = []
    for criterion, weights in (("gini", None), ("entropy", None), ("gini", "balanced")):
        for depth in (3, 2, 1):
            keys = {"criterion": criterion, "max_depth": depth, "min_samples_leaf": 5}
            models = [DecisionTreeClassifier(**keys, class_weight=weights, random_state=i).fit(x, y) for i in range(10)]
            shares = [model.predict_proba(xt) for model in models]
            if all(np.array_equal(shares[0], other) for other in shares):
                case = {**keys, "class_weight": weights, "probabilities": numbers(shares[0])}
                tree.append({**case, "importances": numbers(models[0].feature_importances_)})
                break
    forests = {}
    for kind, model in {
        "random_forest": RandomForestClassifier(1000, min_samples_leaf=3, random_state=0),
        "extra_trees": ExtraTreesClassifier(1000, min_samples_leaf=3, random_state=0),
        "bagging": BaggingClassifier(DecisionTreeClassifier(min_samples_leaf=3), 400, random_state=0),
    }.items():
        keys = {"n_estimators": model.n_estimators, "min_samples_leaf": 3}
        forests[kind] = {**keys, "probabilities": numbers(model.fit(x, y).predict_proba(xt))}
    return tree, forests


def boosting(x, y, xt):
    """Cases in which no two splits tie: tiny differences of the weights do not matter."""
    out, two = [], y < 2
    for classes, keys in (
        (CLASSES, {"max_iterations": 10, "max_leaf_nodes": 4, "min_samples_leaf": 5}),
        (CLASSES, {"max_iterations": 20, "max_leaf_nodes": 2, "min_samples_leaf": 5}),
        (CLASSES, {"max_iterations": 10, "max_leaf_nodes": 3, "min_samples_leaf": 10, "learning_rate": 0.3}),
        (CLASSES, {"max_iterations": 10, "max_depth": 1, "min_samples_leaf": 8, "l2_regularization": 1.0}),
        (CLASSES, {"max_iterations": 10, "max_leaf_nodes": 3, "min_samples_leaf": 5, "class_weight": "balanced"}),
        (2, {"max_iterations": 10, "max_leaf_nodes": 3, "min_samples_leaf": 5}),
        (2, {"max_iterations": 20, "max_leaf_nodes": 2, "min_samples_leaf": 5}),
    ):
        theirs = {{"max_iterations": "max_iter"}.get(key, key): value for key, value in keys.items()}
        a, b = (x, y) if classes == CLASSES else (x[two], y[two])

        def shares(weights):
            model = HistGradientBoostingClassifier(**theirs, early_stopping=False)
            return model.fit(a, b, sample_weight=weights).predict_proba(xt)

        probabilities = shares(None)
        jittered = [shares(1 + 1e-5 * np.random.default_rng(i).random(len(b))) for i in range(4)]
        if all(np.allclose(probabilities, other, atol=1e-4) for other in jittered):
            out.append({**keys, "classes": classes, "probabilities": numbers(probabilities)})
    return out


def mixtures(x, y, xt):
    """One component, which does not depend on a random start."""
    out = []
    for covariance, regularization in (("diag", 1e-6), ("full", 0.3)):
        logs = []
        for label in range(CLASSES):
            mixture = GaussianMixture(1, covariance_type=covariance, reg_covar=regularization).fit(x[y == label])
            logs.append(mixture.score_samples(xt) + np.log((y == label).mean()))
        shares = np.exp(np.array(logs).T - np.max(logs, axis=0)[:, None])
        case = {"covariance": covariance, "reg_covar": regularization, "n_components": 1}
        out.append({**case, "probabilities": numbers(shares / shares.sum(1, keepdims=True))})
    return out


def logistic_variants(x, y, xt):
    """Logistic regression with class weights, and with a penalized bias on standardized and on raw columns."""
    out = []
    scaler = StandardScaler().fit(x)
    a, at = scaler.transform(x), scaler.transform(xt)
    for multi in ("ovr", "multinomial"):
        model = LogisticRegression(C=0.5, tol=1e-10, max_iter=200000, class_weight="balanced")
        model = OneVsRestClassifier(model) if multi == "ovr" else model
        case = {"multi": multi, "c": 0.5, "class_weight": "balanced"}
        out.append({**case, "probabilities": numbers(model.fit(a, y).predict_proba(at))})
    for standardize, c in ((True, 0.5), (False, 0.01)):
        model = OneVsRestClassifier(LogisticRegression(C=c, solver="liblinear", tol=1e-10, max_iter=100000))
        case = {"multi": "ovr", "c": c, "standardize": standardize, "penalize_bias": True}
        train, test = (a, at) if standardize else (x, xt)
        out.append({**case, "probabilities": numbers(model.fit(train, y).predict_proba(test))})
    return out


def rows(sets):
    """The models that hold their training rows in memory."""
    out = {"scikit-learn": sklearn.__version__, "sets": []}
    for name, x, y, xt in sets:
        scaler = StandardScaler().fit(x)
        a, at = scaler.transform(x), scaler.transform(xt)
        case = {"name": name}
        case["naive_bayes"] = []
        for smoothing in (1e-9, 1e-2):
            model = GaussianNB(var_smoothing=smoothing).fit(x, y)
            logs = model.predict_joint_log_proba(xt)
            case["naive_bayes"].append({"var_smoothing": smoothing, "decisions": logs.argmax(1).tolist()})
            case["naive_bayes"][-1]["probabilities"] = numbers(model.predict_proba(xt))
        variants = (("rbf", 1.0, None), ("linear", 0.1, None), ("rbf", 10.0, "balanced"))
        case["svm"] = [svm(a, y, at, *variant) for variant in variants]
        case["linear_svm"] = [linear_svm(a, y, at, *variant) for variant in ((1.0, None), (0.01, None), (0.1, "balanced"))]
        case["decision_tree"], case["forests"] = trees(x, y, xt)
        case["l1"] = []
        for c in (0.1, 0.3):
            weights = 0
            for label in range(CLASSES):
                model = LogisticRegression(C=c, l1_ratio=1, solver="saga", tol=1e-7, max_iter=100000, random_state=0)
                weights = weights + np.abs(model.fit(a, y == label).coef_[0])
            case["l1"].append({"c": c, "columns": np.flatnonzero(weights).tolist()})
        case["hist_gradient_boosting"] = boosting(x, y, xt)
        case["gmm"] = mixtures(a, y, at)
        case["logistic"] = logistic_variants(x, y, xt)
        case["preparation"] = []
        for select, pca in ((10, None), (None, 4), (None, 0.7), (20, 3)):
            steps = [StandardScaler()]
            steps += [SelectKBest(f_classif, k=select)] if select else []
            steps += [PCA(pca, svd_solver="full")] if pca else []
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # The constant column has no F score.
                pipe = make_pipeline(*steps, GaussianNB()).fit(x, y)
            case["preparation"].append({"select": select, "pca": pca, "probabilities": numbers(pipe.predict_proba(xt))})
        out["sets"].append(case)
    (HERE / "rows.json").write_text(json.dumps(out, separators=(",", ":")) + "\n")


def selection(sets):
    """The mutual information of every column without scikit-learn's noise, whose seed moves equal values alone."""
    out = {"scikit-learn": sklearn.__version__, "sets": []}
    rng = np.random.default_rng(22)
    for name, x, y, _ in sets:
        cases = []
        for groupings in (y[None], labels_of(rng, y)[:, :CLASSES].T):
            scores = np.mean([[_compute_mi_cd(column, g, 3) for column in x.T] for g in groupings], axis=0)
            noisy = np.mean([mutual_info_classif(x, g, n_neighbors=3, random_state=0) for g in groupings], axis=0)
            alike = np.isclose(scores, noisy, atol=1e-6)
            assert np.delete(alike, 3).all(), "only the constant column has equal values"
            cases.append({"groupings": groupings.tolist(), "mutual_information": numbers(scores)})
        out["sets"].append({"name": name, "dims": x.shape[1], "cases": cases})
    (HERE / "selection.json").write_text(json.dumps(out, separators=(",", ":")) + "\n")


def objectives(a, marks, penalty, ratio, c, weights):
    """The objective of one regression per class at the weights of saga."""
    out = []
    for has in marks.T:
        ours = {"C": c, "solver": "saga", "l1_ratio": ratio, "class_weight": weights}
        fit = LogisticRegression(**ours, tol=1e-10, max_iter=1000000, random_state=0).fit(a, has)
        w, margins = fit.coef_[0], fit.decision_function(a)
        each = np.ones(len(has))
        if weights:
            each = len(has) / (2 * np.bincount(has))[has]
        loss = (each * np.logaddexp(0, np.where(has == 1, -margins, margins))).sum()
        out.append(ratio * np.abs(w).sum() + (1 - ratio) / 2 * (w**2).sum() + c * loss)
    case = {"penalty": penalty, "l1_ratio": ratio, "c": c, "class_weight": weights}
    return {**case, "objectives": [float(f"{value:.12g}") for value in out]}


def penalties(sets):
    """Logistic regression with L1 and elastic-net penalties, each class against the rest, on standardized columns."""
    out = {"scikit-learn": sklearn.__version__, "sets": []}
    rng = np.random.default_rng(23)
    for name, x, y, _ in sets:
        a = StandardScaler().fit_transform(x)
        single, several = np.eye(CLASSES, dtype=int)[y], labels_of(rng, y)[:, :CLASSES]
        cases = []
        for penalty, ratio, c, weights, marks in (
            ("l1", 1.0, 1.0, None, single),
            ("l1", 1.0, 0.05, "balanced", single),
            ("elasticnet", 0.5, 1.0, None, single),
            ("elasticnet", 0.2, 0.1, "balanced", single),
            ("l1", 1.0, 0.3, None, several),
            ("elasticnet", 0.9, 0.5, "balanced", several),
        ):
            case = objectives(a, marks, penalty, ratio, c, weights)
            cases.append({**case, "marks": marks.tolist(), "several": marks is several})
        out["sets"].append({"name": name, "cases": cases})
    (HERE / "penalties.json").write_text(json.dumps(out, separators=(",", ":")) + "\n")


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
    rows(sets)
    selection(sets)
    penalties(sets)


if __name__ == "__main__":
    main()
