#!/usr/bin/env python3
"""Times the commands on many recordings, for docs/scale.md: time and peak memory of check, plan, run, a run with nothing to do, and features in shards.

Usage: benches/scale.py --timbre target/release/timbre --recordings 100000 [--folder DIR] [--shards 100]
Writes recordings of 0.1 s of different noise in ten classes, a hundred to a song, and keeps them in the folder for the next call.
"""

import argparse
import os
import pathlib
import random
import shutil
import subprocess
import time
import wave

EXPERIMENT = """
save_models = false
[data]
kind = "folder"
root = "{root}"
group = "(song[0-9]+)"
[audio]
sample_rate = 8000
clip_seconds = 0.1
[split]
kind = "holdout"
test = 0.2
validation = 0.1
[features.centroid]
n_fft = 256
hop_length = 128
[models.average]
[evaluate]
bootstrap = 0
"""


def make_recordings(root, count):
    noise = random.Random(1).randbytes(4_000_000)
    for number in range(count):
        folder = root / f"class{number % 10}" / f"{number // 10_000:04}"
        path = folder / f"song{number // 100:07}_{number:08}.wav"
        if path.exists():
            continue
        folder.mkdir(parents=True, exist_ok=True)
        begin = (number * 37) % 3_990_000
        samples = bytearray(noise[begin : begin + 1600])
        samples[:8] = number.to_bytes(8, "little")
        with wave.open(str(path), "wb") as out:
            out.setnchannels(1)
            out.setsampwidth(2)
            out.setframerate(8000)
            out.writeframes(bytes(samples))


def timed(name, command, folder):
    clock = time.monotonic()
    done = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    errors = done.stderr.read()
    _, status, usage = os.wait4(done.pid, 0)
    wall = time.monotonic() - clock
    cpu = usage.ru_utime + usage.ru_stime
    code = os.waitstatus_to_exitcode(status)
    print(f"| {name} | {wall:.1f} s | {cpu:.1f} s | {usage.ru_maxrss / 1024:.0f} MB |" + (f" exit code {code}: {errors[-300:]}" if code else ""), flush=True)


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--timbre", required=True, type=lambda path: str(pathlib.Path(path).resolve()))
    options.add_argument("--recordings", type=int, default=100_000)
    options.add_argument("--folder", type=pathlib.Path, default=pathlib.Path("/tmp/timbre-scale"))
    options.add_argument("--shards", type=int, default=0, help="also compute and merge so many shards")
    options = options.parse_args()
    folder = options.folder / str(options.recordings)
    root = folder / "data" / "many"
    make_recordings(root, options.recordings)
    for old in ("runs", "data/.cache", "parts", "shards"):
        shutil.rmtree(folder / old, ignore_errors=True)
    (folder / "many.toml").write_text(EXPERIMENT.format(root="many"))
    timbre = options.timbre
    print(f"{options.recordings} recordings")
    print("| command | wall | CPU | peak memory |\n|---|---|---|---|")
    timed("`check`", [timbre, "check", "many.toml"], folder)
    timed("`plan --json`", [timbre, "plan", "many.toml", "--json"], folder)
    timed("`run`", [timbre, "run", "many.toml", "-q", "--device", "cpu"], folder)
    timed("`run` again, nothing to do", [timbre, "run", "many.toml", "-q", "--device", "cpu"], folder)
    timed("`run` with another model, features in the cache", [timbre, "run", "many.toml", "-q", "--device", "cpu", "--set", "models.average.kind=naive_bayes"], folder)
    if options.shards:
        shards = ["features", "many.toml", "-q", "--cache", "shards", "--parts", "parts", "--shard"]
        timed(f"`features --shard 0/{options.shards}`", [timbre, *shards, f"0/{options.shards}"], folder)
        for shard in range(1, options.shards):
            subprocess.run([timbre, *shards, f"{shard}/{options.shards}"], cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        timed(f"`features --shard 0/{options.shards}` again", [timbre, *shards, f"0/{options.shards}"], folder)
        timed(f"`merge` of {options.shards} parts", [timbre, "merge", "many.toml", "-q", "--cache", "merged", "--parts", "parts"], folder)


if __name__ == "__main__":
    main()
