"""Runs every shipped experiment on demo data and writes docs/results.md:

    python3 docs/results.py [--page FILE] [NAME...]       (TIMBRE=path/to/timbre uses that program instead of building one)

What is finished is not run again, and sections of experiments that are not named stay as they are. The commands are those that the
page shows. Large experiments are made small enough for two CPU cores: the page says how. An experiment that fails gets a section with
its error, the others run, and the exit code is 1.
"""

import csv
import datetime
import json
import os
import pathlib
import re
import shlex
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).parent.parent
PAGE = ROOT / "docs" / "results.md"
MOST_MODELS = 15
MOST_POINTS = 60
SOME_POINTS_FAILED = 6

SMALL = "data.limit_per_class=10"
SMALL_IMAGES = ["features.mel.hop_length=1024", "features.mel.n_mels=64", "features.mel.resize=[64,65]"]
# `--data demo` leaves the labels of the experiment's own set behind.
FIVE_CLASSES = [
    'data.labels.map={tru="brass",gac="guitar",gel="guitar",pia="piano",vio="violin",flu="flute"}',
    'data.labels.include=["brass","flute","guitar","piano","violin"]',
]
# Experiments that are not named here run as they are, on the demo set.
SETTINGS = {
    "architectures": [SMALL, *SMALL_IMAGES]
    + [f"models.{name}.epochs=3" for name in ("resnet18", "alexnet", "vgg16_bn", "cnn_small")],
    "audioset_five": [*FIVE_CLASSES, "models.conv1d_mfcc.learning_rate=1e-4"],
    "augment_study": [SMALL, "seeds=[1]"],
    "cnn_tagging": [SMALL, "models.tagging_cnn.epochs=2"],
    "conv1d_mfcc": [*FIVE_CLASSES, "models.conv1d_mfcc.learning_rate=1e-4"],
    "crnn_tagging": [SMALL, "models.tagging_crnn.epochs=10"],
    "genre_tagging": [SMALL, "models.tagging_cnn.epochs=2", "models.tagging_crnn.epochs=2"],
    "resnet": [*SMALL_IMAGES, "models.resnet18.epochs=8"],
    "resnet_aug": [*SMALL_IMAGES, "models.resnet18.epochs=8"],
    "resnet_windows": [*SMALL_IMAGES, "models.resnet18.epochs=8"],
    "threshold_grid": [*SMALL_IMAGES, "models.resnet18.epochs=8"],
}
OTHER_DATA = {"augment_study": "demo_shifted"}
# The models of these experiments are also evaluated with other settings: how the page names them, and the settings.
EVALUATIONS = {
    "resnet_aug": [
        (
            "by windows (threshold 0.56, more than 26 % of the windows) instead of the central clip",
            ["evaluate.mode=windows", "evaluate.cutoff=0.56", "evaluate.window_fraction=0.26"],
        ),
    ],
}
# Experiments with weights that are not shipped: where their results are.
ELSEWHERE = {
    **dict.fromkeys(
        ("ast_finetune", "beats_probe", "panns_probe", "passt_finetune"),
        "`ast_finetune`, `beats_probe`, `panns_probe` and `passt_finetune` need the weights of pretrained networks, which were not at hand: they have no result.",
    ),
    "musicnn_probe": "`musicnn_probe` needs the weights of a pretrained network and real recordings: [pretrained networks](pretrained.md) has its result.",
}


def near_chance(scores):
    """Whether no interval of the tested models lies above the best trivial baseline."""
    return all(low is None or low <= scores.baseline for low in scores.lows.values())


def below_the_honest_twin(scores):
    """Whether logistic regression scores less on the split that leaks than on whole songs."""
    honest = ROOT / "runs" / "simple_models" / "latest"
    return honest.exists() and scores["fft.logistic"] < Scores(honest)["fft.logistic"]


def none_above_the_baseline(scores):
    return all(scores[model] <= scores.baseline for model in scores.tested)


SMALL_NETWORK = (
    none_above_the_baseline,
    "Below the baseline that names no instrument: the Hamming score rewards silence, and eight epochs on images a tenth of the size leave "
    "too many false detections.",
)

FEW_CLIPS = (none_above_the_baseline, "Below the baseline that names every class: so few clips and epochs teach the network nothing. The run shows that it trains on inputs of its full size.")

# Where a result on demo data is opposite to what the experiment is for: when to say so, and what.
NOTES = {
    "architectures": (
        none_above_the_baseline,
        "No network is above the baseline that names no instrument, and two name none themselves: three epochs on so few clips teach them nothing. The run shows the "
        "comparison, not the networks.",
    ),
    "cnn_tagging": FEW_CLIPS,
    "crnn_tagging": FEW_CLIPS,
    "genre_tagging": (FEW_CLIPS[0], f"On demo data the classes are instruments. {FEW_CLIPS[1]}"),
    "audioset_five": (
        lambda scores: True,
        "The demo set has neither drums nor the labels of AudioSet: with the classes of `conv1d_mfcc` it is the same training.",
    ),
    "combinatoric": (
        lambda scores: scores["mel.solo"] > scores["mel.combined"] > scores.lows["mel.solo"],
        "On demo data training on sums does not help, against what the experiment is for. The intervals overlap: so few songs and two seeds do not "
        "tell the models apart.",
    ),
    "modgd_fusion": (
        near_chance,
        "All are near chance: three epochs on so few clips teach the networks nothing. The run shows the fusion, not its use.",
    ),
    "resnet": SMALL_NETWORK,
    "resnet_aug": SMALL_NETWORK,
    "resnet_windows": SMALL_NETWORK,
    "threshold_grid": SMALL_NETWORK,
    "simple_models_published": (
        below_the_honest_twin,
        "The split leaks, and logistic regression is still below that of `simple_models`: here its columns are not standardized, which costs more than the leak "
        "gives. With `--set models.logistic.standardize=true --set models.logistic.penalize_bias=false` the same split scores above `simple_models`.",
    ),
}


def command(name):
    words = ["run", name, "--data", OTHER_DATA.get(name, "demo"), "--device", "cpu"]
    for setting in SETTINGS.get(name, []):
        words += ["--set", setting]
    return words


def shown(words):
    return "timbre " + " ".join(shlex.quote(word) for word in words)


class Failure(Exception):
    """A command failed; the message is the last line of its error, or the first fault of an experiment file."""


def timbre(words, allowed=()):
    program = os.environ.get("TIMBRE", "cargo run --quiet --release --").split()
    done = subprocess.run([*program, *words], cwd=ROOT, capture_output=True, text=True, encoding="utf-8")
    if done.returncode and done.returncode not in allowed:
        lines = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        counted = lines and re.fullmatch(r"\d+ errors?", lines[-1])  # the faults of a file, with the first at the top
        raise Failure(f"{lines[0 if counted else -1]} (exit code {done.returncode})" if lines else f"exit code {done.returncode}")
    return done


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def table(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def number(text):
    return float(text) if text else None


def mean(rows, metric):
    values = [float(row[metric]) for row in rows if row[metric]]
    return statistics.fmean(values) if values else None


def span(values):
    """`3`, or `3 to 5` if they differ."""
    return f"{min(values)}" if min(values) == max(values) else f"{min(values)} to {max(values)}"


def three(value):
    return "–" if value is None else f"{value:.3f}"


class Scores:
    """The scores of a finished run: by model on the test split, with intervals, and of the best trivial baseline."""

    def __init__(self, run):
        self.record = read(run / "run.json")
        self.metric = self.record["metric"]
        self.models, baselines = {}, {}
        for row in table(run / "results.csv"):
            if row["features"] == "-":
                baselines.setdefault(row["model"], {}).setdefault(row["split"], []).append(row)
            else:
                name = ".".join(part for part in (row["features"], row["model"]) if part not in ("", "+"))
                self.models.setdefault(name, {}).setdefault(row["split"], []).append(row)
        self.tested = {model: splits["test"] for model, splits in self.models.items() if "test" in splits}
        bounds = {end: {} for end in ("low", "high")}
        for model, rows in self.tested.items():
            for end, choose in (("low", min), ("high", max)):
                values = [float(row[f"{self.metric}_{end}"]) for row in rows if row.get(f"{self.metric}_{end}")]
                bounds[end][model] = choose(values) if values else None
        self.lows, self.highs = bounds["low"], bounds["high"]
        self.trivial = {name: splits["test"] for name, splits in baselines.items() if "test" in splits}
        trivial = {name: mean(rows, self.metric) for name, rows in self.trivial.items()}
        self.baseline_name, self.baseline = max(
            ((name, value) for name, value in trivial.items() if value is not None), key=lambda pair: pair[1], default=(None, 0.0)
        )

    def __getitem__(self, model):
        return mean(self.tested[model], self.metric)

    def validation(self, model):
        rows = self.models[model].get("validation")
        return mean(rows, self.metric) if rows else None

    def chosen(self):
        """The best model on the validation split, if all have a score on it."""
        scores = {model: self.validation(model) for model in self.models}
        return max(scores, key=scores.get) if None not in scores.values() else None

    def interval(self, model):
        low, high = self.lows[model], self.highs[model]
        return "–" if low is None or high is None else f"{low:.3f} to {high:.3f}"

    def interval_title(self):
        several = any(len(rows) > 1 for rows in self.tested.values())
        return "lowest to highest bound over seeds" if several else "95 % interval"

    def f1_micro(self, model):
        """A cell beside the Hamming score, which rewards a model that finds nothing; empty for other metrics."""
        return f" {three(mean(self.tested[model], 'f1_micro'))} |" if self.metric == "hamming" else ""

    def baseline_row(self, columns_before=0):
        if self.baseline_name is None:
            return []
        row = f"| trivial baseline `{self.baseline_name}` |{' |' * columns_before} {self.baseline:.3f} | – |"
        has_f1 = self.metric == "hamming" and not columns_before
        return [f"{row} {three(mean(self.trivial[self.baseline_name], 'f1_micro'))} |" if has_f1 else row]


def fits(run):
    """The records of the trials of a run: notes of the fit, seconds."""
    return [read(path) for path in sorted((run / "units").glob("*.json"))]


def image_shapes(name):
    """network -> shape of its input, as `timbre run --dry-run` prints it."""
    try:
        printed = timbre([*command(name), "--dry-run"]).stdout
    except Failure:
        return {}
    return dict(re.findall(r"^(\S+): \S+ of \d+ class[^\n]*\nlayer[^\n]*\n[─-]+\ninput +(\d[\d× ]*\d)", printed, flags=re.MULTILINE))


def size(name, run, shapes):
    """Training clips, epochs and images of a run, as one sentence."""
    rows = table(run / "recordings.csv")
    splits = [column for column in (rows[0] if rows else {}) if column == "split" or re.fullmatch(r"split_s\d+", column)]
    counts = {split: [sum(row[column] == split for row in rows) for column in splits] for split in ("training", "validation", "test")}
    parts = [f"{span(counts['training'])} training clips"]
    parts += [f"{span(counts[split])} {split} recordings" for split in ("validation", "test") if counts[split] and max(counts[split])]
    text = ", ".join(parts)
    seeds = len(read(run / "run.json")["seeds"])
    text += f"; {seeds} seeds" if seeds > 1 else ""
    networks = {}
    for record in fits(run):
        trial, notes = record["unit"], record.get("notes", {})
        if "epochs" in notes:
            networks.setdefault(f"{trial['features']}.{trial['model']}", []).append(int(notes["epochs"]))
    groups = {}
    for network, epochs in networks.items():
        groups.setdefault((span(epochs), shapes.get(network)), []).append(network)
    for (epochs, shape), names in groups.items():
        images = f" of inputs of {shape.removeprefix('1 × ')}" if shape else ""
        whose = "" if len(groups) == 1 else f" of {', '.join(names)}"
        text += f"; {epochs} epoch{'s' * (epochs != '1')}{images}{whose}"
    return text + "."


def when(record):
    commit = record["environment"]["commit"]
    changed = " with changes" if record["environment"].get("dirty") else ""
    return record["ended"][:10] + (f" at commit {commit[:7]}{changed}" if commit else "")


def cost(record):
    """Seconds, date and commit; models of another run are not counted as fitted here."""
    taken, seconds = record.get("taken_over"), record["seconds"]["total"]
    if not taken:
        return f"{seconds:.0f} s, {when(record)}."
    source = ROOT / taken["run"] / "run.json"
    fitted = f", which took {read(source)['seconds']['total']:.0f} s" if source.exists() else ""
    whose = pathlib.PurePosixPath(taken["run"]).parent.name
    models = "model is" if len(taken["units"]) == 1 else "models are"
    return f"{len(taken['units'])} {models} taken over from a run of `{whose}`{fitted}; {seconds:.0f} s without a fit, {when(record)}."


def description(record):
    return record["description"].rstrip(".") + "."


def section(name, run):
    """The text of one experiment from its finished run."""
    scores = Scores(run)
    chosen = scores.chosen()
    lines = [f"## {name}", "", f"    {shown(command(name))}", ""]
    lines += [f"{description(scores.record)} {size(name, run, image_shapes(name))} {cost(scores.record)}", ""]
    order = sorted(scores.tested, key=lambda model: -(scores[model] or 0.0))
    if len(order) > MOST_MODELS:
        lines += [f"The best of {len(order)} models:", ""]
        order = order[:5] + ([chosen] if chosen and chosen not in order[:5] else [])
    has_f1 = scores.metric == "hamming"
    lines += [f"| model | {scores.metric} | {scores.interval_title()} |" + " f1_micro |" * has_f1, "|---|---:|---|" + "---:|" * has_f1]
    for model in order:
        mark = " (best on the validation split)" if model == chosen and len(scores.tested) > 1 else ""
        lines.append(f"| {model}{mark} | {three(scores[model])} | {scores.interval(model)} |{scores.f1_micro(model)}")
    lines += scores.baseline_row()
    holds, note = NOTES.get(name, (lambda _: False, ""))
    if holds(scores):
        lines += ["", note]
    search = run / "thresholds.json"
    if search.exists() and read(search)["tuned_on"] != "test":
        lines += ["", *thresholds(run)]
    for what, settings in EVALUATIONS.get(name, []):
        lines += ["", evaluation(name, run, what, settings)]
    return "\n".join(lines) + "\n"


def thresholds(run):
    """The chosen point of a threshold search, its scores and its optimism, one line for each trial."""
    search = read(run / "thresholds.json")
    metric, lines = search["metric"], []
    for trial in search["units"]:
        splits = {split["split"]: split for split in trial["splits"]}
        bias, fraction = trial.get("luck"), trial.get("window_fraction")
        point = f"threshold {trial['cutoff']:g}" + (f" and window fraction {fraction:g}" if fraction is not None else "")
        text = (
            f"Search over {trial['points']} points on the {search['tuned_on']} split ({trial['recordings']} recordings of {trial['songs']} songs, "
            f"{trial['of_several_windows']} with several windows): {point}, {metric} {trial['score']:.3f} there"
        )
        if "test" in splits:
            text += f" and {splits['test']['chosen'][metric]:.3f} on the test split, where the thresholds of the file score {splits['test']['as_run'][metric]:.3f}"
        if bias:
            text += f". The optimism of the choice is {bias['optimism']:.3f}"
        seed = f"Seed {trial['seed']}: " if len(search["units"]) > 1 else ""
        lines.append(f"{seed}{text}.")
    return lines


def evaluation(name, run, what, settings):
    """One sentence: the same models with other settings of the evaluation, and the paired difference."""
    words = ["evaluate", f"{name}/latest", "--device", "cpu"]
    for setting in settings:
        words += ["--set", setting]
    other = json.loads(timbre([*words, "--json"]).stdout)["run"]
    metrics = [Scores(run).metric]
    metrics += [extra for extra in ("f1_micro",) if extra not in metrics and extra in table(run / "results.csv")[0]]
    compare = ["compare", f"{name}/latest", other, "--json"] + [word for metric in metrics for word in ("--metric", metric)]
    compared = json.loads(timbre(compare).stdout)
    parts = []
    for line in (line for line in compared["lines"] if line["run"] == 1):
        place = (line["features"], line["model"])
        before = next(other for other in compared["lines"] if other["run"] == 0 and (other["features"], other["model"]) == place)
        for at, metric in enumerate(compared["metrics"]):
            score = line["scores"][at]
            text = f"{metric} {three(score['mean'])} instead of {three(before['scores'][at]['mean'])}"
            paired = score["versus"].get("paired") if isinstance(score["versus"], dict) else None
            if paired:
                low, high = paired["interval"]
                text += f" (difference {paired['difference']:+.3f}, 95 % interval {low:+.3f} to {high:+.3f}, p = {paired['p']:.3f})"
            parts.append(text)
    return f"The same weights {what}: {', '.join(parts)}. `{shown(words)}`"


def value(setting):
    """A value of an axis as a cell of a table."""
    if isinstance(setting, list):
        return "none" if not setting else f"{len(setting)} together" if len(setting) > 3 else ", ".join(map(str, setting))
    return json.dumps(setting) if isinstance(setting, (bool, dict)) else str(setting)


def sweep_section(name, folder):
    """The text of a sweep: a table of its points."""
    record = read(folder / "grid.json")
    points = record["points"]
    done = {point["number"]: point for point in points if point.get("status") == "done"}
    means = {}
    for row in table(folder / "grid_results.csv"):
        if row["features"] not in ("", "-"):
            means.setdefault(int(row["point"]), {}).setdefault((row["features"], row["model"]), {})[row["split"]] = row
    runs = {number: ROOT / "runs" / point["run"] for number, point in done.items() if point.get("run")}
    scores = {number: Scores(run) for number, run in runs.items() if (run / "results.csv").exists()}
    lines = [f"## {name}", "", f"    {shown(command(name))}", ""]
    if not scores:
        return "\n".join([*lines, f"None of {len(points)} points is finished.", ""])
    first = next(iter(scores.values()))
    metric = first.metric
    records = [each.record for each in scores.values()]
    dates = " and ".join(sorted({when(each) for each in records}))
    # Of a sweep that was started again, grid.json has no times of the points that were finished before.
    seconds = sum(each["seconds"]["total"] for each in records)
    text = f"{description(record)} A sweep of {len(points)} points, each with {size(name, runs[next(iter(scores))], image_shapes(name)).rstrip('.')}; "
    text += f"{seconds:.0f} s in all, {dates}."
    if len(done) < len(points):
        text += f" {len(points) - len(done)} points are not finished."
    lines += [text, ""]
    axes = [axis["key"] for axis in record["axes"]]
    rows = []
    for number, point in done.items():
        for (features, model), splits in means.get(number, {}).items():
            validation, test = (number_of(splits.get(split), metric) for split in ("validation", "test"))
            name_of = ".".join(part for part in (features, model) if part not in ("", "+"))
            has_runs = number in scores and name_of in scores[number].tested
            interval = scores[number].interval(name_of) if has_runs else "–"
            rows.append((point, name_of, validation, test, interval))
    several = len({row[1] for row in rows}) > 1
    validated = [row for row in rows if row[2] is not None]
    best = max(validated, key=lambda row: row[2]) if validated else None
    order = sorted(rows, key=lambda row: (row[2] if best else row[3]) or 0.0, reverse=True)
    if len(order) > MOST_POINTS:
        lines += [f"The {MOST_POINTS} best of {len(order)} rows:", ""]
        order = order[:MOST_POINTS]
    heads = [*axes, *(["model"] if several else []), *([f"{metric} (validation)"] if best else []), f"{metric} (test)", first.interval_title()]
    aligned = ["---"] * (len(axes) + several) + (["---:"] if best else []) + ["---:", "---"]
    lines += [f"| {' | '.join(heads)} |", f"|{'|'.join(aligned)}|"]
    for row in order:
        point, model, validation, test, interval = row
        cells = [value(point["values"][axis]) for axis in axes] + ([model] if several else [])
        cells += [f"**{three(validation)}**" if row is best else three(validation)] if best else []
        lines.append(f"| {' | '.join([*cells, three(test), interval])} |")
    lines += first.baseline_row(len(axes) + several - 1 + bool(best))
    if best:
        settings = ", ".join(f"{axis} = {value(best[0]['values'][axis])}" for axis in axes)
        lines += ["", f"Best on the validation split: {settings} ({metric} {three(best[2])}; test {three(best[3])})."]
    elif rows:
        lines += ["", "The sweep has no validation split: it measures effects, and its best test score is no result."]
    return "\n".join(lines) + "\n"


def number_of(row, metric):
    return number(row[metric]) if row else None


def failed_section(name, error):
    today = datetime.date.today().isoformat()
    return f"## {name}\n\n    {shown(command(name))}\n\n{FAILED}`{error.replace('`', chr(39))}` ({today}).\n"


FAILED = "Failed: "
HEAD = """# Results on demo data

Shipped experiments, run to their end on synthetic recordings (`demo`) by `docs/results.py`. The numbers show that the experiments
work and what they print; they say nothing about real music, and the small sizes say nothing about what a network can reach.
Intervals (95 %) resample the songs of the test split; with several seeds, the column has the lowest and the highest bound over the
seeds. The last row of a table is the best trivial baseline: a score near it is chance. Times are wall times on a shared machine with two cores, many of them beside
other work or with pauses: upper bounds.
"""


def write_page(sections, everything):
    kept = [sections[name] for name in everything if name in sections]
    missing = [f"`{name}`" for name in everything if name not in sections]
    failed = [f"`{name}`" for name in everything if f"\n\n{FAILED}" in sections.get(name, "")]
    rest = "".join(f"\n{sentence}\n" for sentence in dict.fromkeys(ELSEWHERE.values()))
    rest += f"\nNot run for this page yet: {', '.join(missing)}.\n" if missing else ""
    rest += f"\nFailed: {', '.join(failed)}.\n" if failed else ""
    PAGE.write_text(HEAD + rest + "\n" + "\n".join(kept), encoding="utf-8")


def run_experiment(name):
    """The section of an experiment after its run, and whether a part of it failed."""
    folder = ROOT / "runs" / name
    is_sweep = "[grid]" in (ROOT / "experiments" / f"{name}.toml").read_text(encoding="utf-8")
    done = timbre([*command(name), "--quiet"], allowed=(SOME_POINTS_FAILED,) if is_sweep else ())
    return (sweep_section(name, folder) if is_sweep else section(name, folder / "latest")), done.returncode != 0


def main(names):
    global PAGE
    if names[:1] == ["--page"]:
        PAGE, names = pathlib.Path(names[1]), names[2:]
    everything = sorted({path.stem for path in (ROOT / "experiments").glob("*.toml")} - ELSEWHERE.keys())
    # It starts from weights of masked_pretraining.
    everything.sort(key=lambda name: name == "masked_finetune")
    unknown = set(names) - set(everything)
    if unknown:
        sys.exit(f"no experiment for this page: {', '.join(sorted(unknown))}")
    sections = {}
    if PAGE.exists():
        for text in PAGE.read_text(encoding="utf-8").split("\n## ")[1:]:
            sections[text.split("\n", 1)[0]] = "## " + text.rstrip("\n") + "\n"
    failures = []
    for name in names or everything:
        print(f"{name} …", file=sys.stderr, flush=True)
        try:
            sections[name], incomplete = run_experiment(name)
            failures += [f"{name}: some points failed"] if incomplete else []
        except Exception as error:  # a fault of this script, too, costs one section and not the page
            reason = str(error) if isinstance(error, Failure) else f"{type(error).__name__}: {error}"
            print(f"{name}: {reason}", file=sys.stderr, flush=True)
            failures.append(f"{name}: {reason}")
            sections[name] = failed_section(name, reason)
        write_page(sections, everything)
    if failures:
        sys.exit("\n".join([f"{len(failures)} failed:", *failures]))


if __name__ == "__main__":
    main(sys.argv[1:])
