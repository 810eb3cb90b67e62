#!/usr/bin/env python3
"""Times `timbre runs` on many run folders: without its index, with it, after one run changed, and with `--json`.

    benches/listing.py [--timbre target/release/timbre] [--runs 10000] [--passes 7] [--like runs/x/latest/run.json]

The run folders are created in a temporary folder and removed at the end. `--like` uses the record of a real run as the template;
without it the script makes one of 15 trials on 11 classes. `cold` means without the index: the program's files always stay in
the page cache (dropping it needs root).
"""

import argparse
import json
import resource
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

METRICS = ["accuracy", "precision_macro", "recall_macro", "f1_macro", "f1_weighted", "balanced_accuracy", "matthews",
           "log_loss", "calibration_error", "accuracy_low", "accuracy_high"]


def made_up():
    rows = [{"features": f, "model": m, "seed": 1, "split": "test", "n": 99,
             "metrics": {name: 0.1 + 0.01 * i + 0.003 * k for i, name in enumerate(METRICS)}}
            for k, (f, m) in enumerate((f, m) for f in ("raw", "fft", "mel", "centroid", "bandwidth")
                                       for m in ("average", "knn", "logistic"))]
    return {"schema": 1, "experiment": "", "description": "made up", "signature": "", "status": "done", "started": "",
            "ended": None, "seeds": [1], "classes": [f"class {n}" for n in range(11)], "metric": "accuracy",
            "data": {"name": "demo", "hash": "0" * 64, "clips": 440, "unusable": 0, "set_aside": 0},
            "cache": {"hits": 0, "misses": 0}, "seconds": {"total": 12.5}, "failures": {}, "results": rows,
            "environment": {"timbre": "0.1.0"}}


def make(root, number, pattern):
    for n in range(number):
        record = dict(pattern)
        record["experiment"] = f"grid_{n % 20:02}"
        record["signature"] = f"{n:08x}" + "0" * 56
        day, second = 1 + n % 28, n % 86400
        record["started"] = f"2026-10-{day:02}T{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}.000Z"
        record["status"] = ["done", "done", "done", "failed", "stopped", "running"][n % 6]
        run = root / record["experiment"] / f"{record['started'][:19].replace('-', '').replace(':', '')}Z-{n:08x}"
        run.mkdir(parents=True)
        (run / ".lock").touch()
        (run / "run.json").write_text(json.dumps(record, indent=2) + "\n")


def processor():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def timed(command, passes, before=lambda: None):
    """Wall and processor seconds of each pass; the latter are not stretched as much by a busy machine."""
    took, worked = [], []
    for _ in range(passes):
        before()
        start, used = time.perf_counter(), processor()
        output = subprocess.run(command, check=True, capture_output=True).stdout
        took.append(time.perf_counter() - start)
        worked.append(processor() - used)
    return took, worked, output


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--timbre", default="target/release/timbre")
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--passes", type=int, default=7)
    parser.add_argument("--like", type=Path)
    options = parser.parse_args()
    pattern = json.loads(options.like.read_text()) if options.like else made_up()
    with tempfile.TemporaryDirectory(prefix="timbre-listing-") as folder:
        root = Path(folder) / "runs"
        make(root, options.runs, pattern)
        size = sum(f.stat().st_size for f in root.glob("*/*/run.json"))
        print(f"{options.runs} runs, {size / 1e6:.0f} MB of run.json")
        # The index does not keep a record that was written just now: see FileStamp::settled.
        time.sleep(2.5)
        index = root / ".runs.index"
        runs = [options.timbre, "runs", "--runs", str(root), "-q"]
        a_run = next(root.glob("grid_07/*/run.json"))

        def touch():
            text = a_run.read_text()
            a_run.unlink()
            a_run.write_text(text)

        cases = [("without the index", runs, lambda: index.unlink(missing_ok=True)), ("with it", runs, lambda: None),
                 ("--limit 20", runs + ["--limit", "20"], lambda: None), ("--json", runs + ["--json"], lambda: None),
                 ("one run just changed", runs, touch)]
        lines = None
        for name, command, before in cases:
            took, worked, output = timed(command, options.passes, before)
            print(f"{name:22} median {statistics.median(took):6.3f} s   {min(took):.3f} to {max(took):.3f}"
                  f"   processor {statistics.median(worked):.3f} s")
            if command is runs:
                lines = lines or output
                assert output == lines, "the index changes what is shown"
        print(f"the index has {index.stat().st_size / 1e6:.1f} MB")


main()
