#!/usr/bin/env python3
"""Attacks the program and reports what it did wrong: kills, full disks, damaged files, hostile input. See README.md beside this file.

    tests/torture/run.py --timbre target/release/timbre [--area kill]… [--seed 1] [--minutes 10] [--only NAME] [--json FILE] [--keep]

Exit code: 0 no failure, 1 a failure, 2 it could not start.
"""

import argparse
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.dont_write_bytecode = True

from harness import Area  # noqa: E402

# Their parts of the time.
AREAS = {"kill": 0.25, "disk": 0.12, "two": 0.13, "audio": 0.2, "config": 0.08, "models": 0.12, "server": 0.1}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--timbre", type=Path, required=True, metavar="PATH", help="the program, a release build")
    parser.add_argument("--area", action="append", choices=AREAS, help="only this area (repeatable)")
    parser.add_argument("--seed", type=int, default=1, help="the same seed gives the same checks [default: 1]")
    parser.add_argument("--minutes", type=float, default=10, help="about how long; decides how many random checks run [default: 10]")
    parser.add_argument("--only", metavar="NAME", help="only checks with this name; * and ? are wildcards")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result as JSON")
    parser.add_argument("--keep", action="store_true", help="keep the temporary folder")
    parser.add_argument("--verbose", "-v", action="store_true", help="print the name of each check")
    return parser.parse_args()


def attack(name, options, folder, seconds):
    """Runs the checks of one area."""
    area = Area(name, options, folder / name, seconds)
    with area.stack:
        try:
            importlib.import_module(name).run(area)
        except Exception as error:  # noqa: BLE001: what the checks of an area share has failed; the other areas go on
            area.fault("preparation", error)
    took = time.monotonic() - area.started
    print(f"{name:<7} {area.tried:>4} tried, {len(area.failed)} failed, {len(area.skipped)} skipped  ({took:.0f} s)", flush=True)
    for skipped in area.skipped:
        print(f"    skipped {skipped['name']}: {skipped['why']}")
    for failed in area.failed:
        what = failed["what"].replace("\n", "\n        ")
        print(f"    FAILED {failed['name']}: {what}\n        command: {failed['command']}\n        again:   {failed['again']}", flush=True)
    return {"area": name, "tried": area.tried, "failed": area.failed, "skipped": area.skipped, "seconds": round(took, 1)}


def main():
    options = arguments()
    if os.name != "posix":
        sys.exit("run.py: it needs Linux or macOS")
    options.timbre = options.timbre.resolve()
    try:
        version = subprocess.run([options.timbre, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"run.py: cannot run {options.timbre}: {error}", file=sys.stderr)
        return 2
    # So that processes and mounts are ended after SIGTERM too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    names = [name for name in AREAS if name in (options.area or AREAS)]
    folder = Path(tempfile.mkdtemp(prefix="timbre-torture-"))
    print(f"{version}, seed {options.seed}, in {folder}", flush=True)
    parts = sum(AREAS[name] for name in names)
    try:
        done = [attack(name, options, folder, 60 * options.minutes * AREAS[name] / parts) for name in names]
        if options.json:
            options.json.write_text(json.dumps({"version": version, "seed": options.seed, "areas": done}, indent=2) + "\n")
    finally:
        if options.keep:
            print(f"kept: {folder}", flush=True)
        else:
            remove(folder)
    if options.only and not any(area["tried"] or area["skipped"] for area in done):
        print(f"run.py: no check is called {options.only}", file=sys.stderr)
        return 2
    return 1 if any(area["failed"] for area in done) else 0


def remove(folder):
    """Removes the temporary folder, read-only parts of it too."""
    for path in folder.rglob("*"):
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o700)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
