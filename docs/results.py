"""Runs every shipped experiment on demo data and writes docs/results.md:

    python3 docs/results.py [NAME...]           (TIMBRE=path/to/timbre uses that program instead of building one)

What is finished is not run again, and sections of experiments that are not named stay as they are. The commands are those that the
page shows. Large experiments are made small enough for two CPU cores: the page says how.
"""

import csv
import json
import os
import pathlib
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).parent.parent
PAGE = ROOT / "docs" / "results.md"
MOST_MODELS = 15

SMALL = "data.limit_per_class=10"
SMALL_IMAGES = ["features.mel.hop_length=1024", "features.mel.n_mels=64", "features.mel.resize=[64,65]"]
# Experiments that are not named here run as they are, on the demo set.
SETTINGS = {
    "architectures": [SMALL, *SMALL_IMAGES]
    + [f"models.{name}.epochs=3" for name in ("resnet18", "alexnet", "vgg16_bn", "cnn_small")],
    "audioset_five": ["models.conv1d_mfcc.epochs=60"],
    "augment_study": [SMALL, "seeds=[1]"],
    "cnn_tagging": [SMALL, "models.tagging_cnn.epochs=2"],
    "conv1d_mfcc": ["models.conv1d_mfcc.epochs=60", "models.conv1d_mfcc.patience=20", "models.conv1d_mfcc.learning_rate=1e-4"],
    "crnn_tagging": [SMALL, "models.tagging_crnn.epochs=10"],
    "genre_tagging": [SMALL, "models.tagging_cnn.epochs=2", "models.tagging_crnn.epochs=2"],
    "resnet": [*SMALL_IMAGES, "models.resnet18.epochs=8"],
    "resnet_aug": [*SMALL_IMAGES, "models.resnet18.epochs=8"],
    "resnet_windows": [*SMALL_IMAGES, "models.resnet18.epochs=8"],
    "threshold_grid": [*SMALL_IMAGES, "models.resnet18.epochs=8"],
}
OTHER_DATA = {"augment_study": "demo_shifted"}
# Without the weights of a pretrained network, or with real recordings: docs/pretrained.md.
ELSEWHERE = {"musicnn_probe"}


def command(name):
    words = ["run", name, "--data", OTHER_DATA.get(name, "demo"), "--device", "cpu"]
    for setting in SETTINGS.get(name, []):
        words += ["--set", setting]
    return words


def shown(words):
    return "timbre " + " ".join(f"'{word}'" if "[" in word else word for word in words)


def rows_of(run):
    """model -> split -> one row per seed"""
    models = {}
    with open(run / "results.csv", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["features"] == "-":  # a trivial baseline
                continue
            name = ".".join(part for part in (row["features"], row["model"]) if part not in ("", "+"))
            models.setdefault(name, {}).setdefault(row["split"], []).append(row)
    return models


def score(rows, metric):
    return statistics.fmean(float(row[metric]) for row in rows)


def section(name, folder):
    """The text of one experiment from its finished run."""
    record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    metric, models = record["metric"], rows_of(folder)
    seconds, commit = record["seconds"]["total"], record["environment"]["commit"]
    lines = [f"## {name}", "", f"    {shown(command(name))}", ""]
    when = record["ended"][:10]
    at = f" at commit {commit[:7]}" if commit else ""
    chosen = None
    if all("validation" in splits for splits in models.values()):
        chosen = max(models, key=lambda model: score(models[model]["validation"], metric))
    tested = {model: splits["test"] for model, splits in models.items() if "test" in splits}
    first = next(iter(tested.values()))
    seeds = f", {len(first)} seeds" if len(first) > 1 else ""
    lines += [f"{record['description']}. {first[0]['n']} test recordings{seeds}; {seconds:.0f} s, {when}{at}.", ""]
    order = sorted(tested, key=lambda model: -score(tested[model], metric))
    if len(order) > MOST_MODELS:
        kept = order[:5] + ([chosen] if chosen and chosen not in order[:5] else [])
        lines += [f"The best of {len(order)} models:", ""]
        order = kept
    lines += [f"| model | {metric} | 95 % interval |", "|---|---:|---|"]
    for model in order:
        rows = tested[model]
        lows, highs = ([float(row[f"{metric}_{end}"]) for row in rows if row[f"{metric}_{end}"]] for end in ("low", "high"))
        interval = f"{min(lows):.3f} to {max(highs):.3f}" if lows and highs else "–"
        mark = " (best on the validation split)" if model == chosen and len(tested) > 1 else ""
        lines.append(f"| {model}{mark} | {score(rows, metric):.3f} | {interval} |")
    return "\n".join(lines) + "\n"


def sweep_section(name, folder):
    """The text of a sweep from its table."""
    record = json.loads((folder / "grid.json").read_text(encoding="utf-8"))
    done = [point for point in record["points"] if (point.get("score") or {}).get("split") == "validation"]
    lines = [f"## {name}", "", f"    {shown(command(name))}", "", f"A sweep of {len(record['points'])} points."]
    if done:
        best = max(done, key=lambda point: point["score"]["value"])
        values = ", ".join(f"{key} = {value}" for key, value in best["values"].items())
        lines.append(f"Best on the validation split: {values} ({best['score']['metric']} {best['score']['value']:.3f}).")
    return "\n".join(lines) + "\n"


HEAD = """# Results on demo data

Shipped experiments, run to their end on synthetic recordings (`demo`) by `docs/results.py`. The numbers show that the experiments
work and what they print; they say nothing about real music, and the small sizes say nothing about what a network can reach.
Intervals resample the songs of the test split; with several seeds, from the lowest to the highest bound. Times are those of a shared
machine with two cores.
"""


def main(names):
    everything = sorted({path.stem for path in (ROOT / "experiments").glob("*.toml")} - ELSEWHERE)
    program = os.environ.get("TIMBRE", "cargo run --quiet --release --").split()
    sections = {}
    if PAGE.exists():
        for text in PAGE.read_text(encoding="utf-8").split("\n## ")[1:]:
            sections[text.split("\n", 1)[0]] = "## " + text.rstrip("\n") + "\n"
    for name in names or everything:
        print(f"{name} …", file=sys.stderr, flush=True)
        subprocess.run([*program, *command(name), "--quiet"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        folder = ROOT / "runs" / name
        latest = folder / "latest"
        is_sweep = "[grid]" in (ROOT / "experiments" / f"{name}.toml").read_text(encoding="utf-8")
        sections[name] = sweep_section(name, folder) if is_sweep else section(name, latest)
        kept = [sections[name] for name in everything if name in sections]
        missing = [f"`{name}`" for name in everything if name not in sections]
        rest = f"\nNot run for this page yet: {', '.join(missing)}.\n" if missing else ""
        PAGE.write_text(HEAD + rest + "\n" + "\n".join(kept), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
