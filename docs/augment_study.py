"""Writes the page of the augmentation study from the folder of its sweep:

    python3 docs/augment_study.py runs/augment_study > docs/augment_study.md     (needs pyarrow)

Every point is compared with the one without augmentations, on the same recordings with the same seeds. The interval of the
difference comes from a bootstrap over songs and seeds together (2000 resamples, 95 %): it covers other recordings and other
trainings. With three seeds the part of the trainings is coarse, and the page says so.
"""

import json
import pathlib
import random
import sys

import pyarrow.parquet

RESAMPLES = 2000
AXIS = "models.cnn_small.augment"


def point_name(augmentations):
    """The name of a point in the table: its only augmentation, `none` or `all`."""
    return "none" if not augmentations else augmentations[0] if len(augmentations) == 1 else "all"


def right_by_seed_and_song(run):
    """seed -> song -> (correct recordings, recordings), of a run of one model"""
    table = pyarrow.parquet.read_table(run / "predictions.parquet")
    known = ["features", "model", "seed", "split", "path", "song", "truth"]
    classes = [name for name in table.column_names if name not in known]
    rows = table.to_pydict()
    scores = {}
    for n in range(table.num_rows):
        if rows["split"][n] != "test":
            continue
        predicted = max(classes, key=lambda name: rows[name][n])
        songs = scores.setdefault(rows["seed"][n], {})
        right, all_ = songs.get(rows["song"][n], (0, 0))
        songs[rows["song"][n]] = (right + (predicted == rows["truth"][n]), all_ + 1)
    return scores


def accuracy(of_seeds):
    right = sum(r for songs in of_seeds.values() for r, _ in songs.values())
    return right / sum(n for songs in of_seeds.values() for _, n in songs.values())


def interval(model, plain):
    """The interval of the difference of accuracies, resampling songs and seeds."""
    rng = random.Random(1)
    seeds = sorted(plain)
    songs = sorted(plain[seeds[0]])
    size = {song: plain[seeds[0]][song][1] for song in songs}
    difference = {seed: {song: model[seed][song][0] - plain[seed][song][0] for song in songs} for seed in seeds}
    means = []
    for _ in range(RESAMPLES):
        drawn = rng.choices(songs, k=len(songs))
        recordings = sum(size[song] for song in drawn)
        chosen = rng.choices(seeds, k=len(seeds))
        means.append(sum(difference[seed][song] for seed in chosen for song in drawn) / (recordings * len(chosen)))
    means.sort()
    return means[int(0.025 * RESAMPLES)], means[int(0.975 * RESAMPLES) - 1]


def main(folder):
    sweep = pathlib.Path(folder)
    record = json.loads((sweep / "grid.json").read_text(encoding="utf-8"))
    done = [point for point in record["points"] if point["status"] == "done"]
    runs = {point_name(point["values"][AXIS]): sweep.parent / point["run"] for point in done}
    scores = {name: right_by_seed_and_song(run) for name, run in runs.items()}
    plain = scores.pop("none")
    commits = {(json.loads((run / "run.json").read_text(encoding="utf-8"))["environment"]["commit"] or "")[:7] for run in runs.values()} - {""}
    seeds = sorted(plain)
    recordings = sum(n for _, n in plain[seeds[0]].values())
    print("# Does augmentation help?\n")
    written_at = f" at commit {', '.join(commits)}" if commits else ""
    print(f"`experiments/{record['experiment']}.toml`, {record['ended'][:10]}{written_at}: one small network, trained with each augmentation alone, with all and")
    print(f"with none, {len(seeds)} seeds each; accuracy on {recordings} test recordings that differ from all training clips. Chance is 0.091.")
    if len(done) < len(record["points"]):
        print(f"{len(record['points']) - len(done)} of {len(record['points'])} points are missing.")
    print("Written by `docs/augment_study.py`; [Augmentations](augmentations.md#does-it-help) says how to run it.\n")
    of_seeds = [accuracy({seed: plain[seed]}) for seed in seeds]
    print(f"Without augmentations: {accuracy(plain):.3f} (by seed {', '.join(f'{value:.3f}' for value in of_seeds)}).\n")
    print("| augmentation | accuracy | range over seeds | difference to none | 95 % interval | |\n|---|---:|---|---:|---|---|")
    rows = []
    for name, model in scores.items():
        low, high = interval(model, plain)
        values = [accuracy({seed: model[seed]}) for seed in seeds]
        rows.append((accuracy(model) - accuracy(plain), name, accuracy(model), values, low, high))
    for difference, name, value, values, low, high in sorted(rows, reverse=True):
        conclusion = "better" if low > 0 else "worse" if high < 0 else "not significant"
        print(f"| `{name}` | {value:.3f} | {min(values):.3f} to {max(values):.3f} | {difference:+.3f} | {low:+.3f} to {high:+.3f} | {conclusion} |")
    better = [row[1] for row in rows if row[4] > 0]
    worse = [row[1] for row in rows if row[5] < 0]
    print(f"\nSignificantly better than without: {len(better)} of {len(rows)}; worse: {len(worse)}; not significant: {len(rows) - len(better) - len(worse)}.")
    print(f"About {0.05 * len(rows):.0f} of {len(rows)} intervals would exclude zero if no augmentation had an effect. {len(seeds)} trainings say little about others, so")
    print("an interval that ends near zero is weak evidence. The recordings are synthetic, the networks are small and trained")
    print("briefly, and the test recordings were changed in ways that some of these augmentations imitate: what helps here may not help elsewhere.")


if __name__ == "__main__":
    main(sys.argv[1])
