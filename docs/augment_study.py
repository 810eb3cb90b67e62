"""The page of the augmentation study from the folder of its run: python3 docs/augment_study.py runs/augment_study/latest

Every model is compared with the model `none`, seed by seed, on the test recordings. With n seeds the interval of the mean
difference is that of Student's t with n - 1 degrees of freedom at 95 %: with three seeds it is wide, and that is what is known.
"""

import csv
import json
import math
import pathlib
import sys

T_95 = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}


def mean(values):
    return sum(values) / len(values)


def main(folder):
    run = pathlib.Path(folder)
    record = json.loads((run / "run.json").read_text())
    metric = record["metric"]
    scores = {}
    for row in csv.DictReader((run / "results.csv").open()):
        if row["split"] == "test" and row["features"] not in ("-", ""):
            scores.setdefault(row["model"], {})[row["seed"]] = float(row[metric])
    baselines = {}
    for row in csv.DictReader((run / "results.csv").open()):
        if row["split"] == "test" and row["features"] in ("-", ""):
            baselines.setdefault(row["model"], []).append(float(row[metric]))
    plain = scores.pop("none")
    seconds = record.get("seconds", {}).get("total", 0.0)
    print("# Does augmentation help?\n")
    print(f"`experiments/{record['experiment']}.toml`, run {record['signature'][:8]}: {record['description']}. Metric: `{metric}` on the test")
    print(f"recordings; seeds {', '.join(map(str, record['seeds']))}; {record['data']['clips']} recordings in all; {seconds / 60:.0f} minutes.")
    print("Written by `docs/augment_study.py`; how to run it is told in [Augmentations](augmentations.md#does-it-help).\n")
    print(f"Without augmentations: {mean(list(plain.values())):.3f} ({min(plain.values()):.3f} to {max(plain.values()):.3f}). "
          "What needs no ears: " + ", ".join(f"{name} {mean(values):.3f}" for name, values in baselines.items()) + ".\n")
    print(f"| augmentation | {metric} | over the seeds | difference to none | 95 % interval | |\n|---|---:|---|---:|---|---|")
    rows = []
    for model, of_seed in scores.items():
        differences = [of_seed[seed] - plain[seed] for seed in plain if seed in of_seed]
        middle, n = mean(differences), len(differences)
        deviation = math.sqrt(sum((d - middle) ** 2 for d in differences) / (n - 1)) if n > 1 else math.nan
        half = T_95.get(n - 1, 1.96) * deviation / math.sqrt(n) if n > 1 else math.nan
        rows.append((middle, model, list(of_seed.values()), half))
    for middle, model, values, half in sorted(rows, reverse=True):
        verdict = "better" if middle - half > 0 else "worse" if middle + half < 0 else "not told apart"
        print(f"| `{model}` | {mean(values):.3f} | {min(values):.3f} to {max(values):.3f} | {middle:+.3f} | {middle - half:+.3f} to {middle + half:+.3f} | {verdict} |")
    told = sum(1 for middle, _, _, half in rows if abs(middle) > half)
    print(f"\nOf {len(rows)} rows, {told} have an interval that excludes zero. Of {len(rows)} comparisons at 95 % about "
          f"{len(rows) * 0.05:.0f} would do so if nothing helped and nothing hurt: read the table as a whole. The recordings are made by a program, and the")
    print("networks are small and trained shortly: what helps here need not help elsewhere.")


if __name__ == "__main__":
    main(sys.argv[1])
