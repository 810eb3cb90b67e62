"""The resampler on one thread: Timbre beside soxr's HQ quality, which librosa uses, in one run on one machine.

    benches/peers/resample.py        (needs soxr, numpy; Timbre's side is `cargo bench -p timbre-signal --bench resample`)
"""

import statistics
import subprocess
import time

import numpy as np
import soxr


def main():
    command = ["cargo", "bench", "--quiet", "-p", "timbre-signal", "--bench", "resample"]
    ours = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    print(f"soxr {soxr.__version__}; medians of 60, milliseconds for 3 s\n")
    print("| rates | soxr HQ | Timbre, default filter | ratio | Timbre, `soxr_hq` | ratio |\n|---|---:|---:|---:|---:|---:|")
    for line in ours.splitlines():
        source, target, default, same = line.split()
        x = np.random.default_rng(1).uniform(-1, 1, 3 * int(source)).astype(np.float32)
        seconds = []
        for _ in range(61):
            begun = time.perf_counter()
            soxr.resample(x, int(source), int(target), quality="HQ")
            seconds.append(time.perf_counter() - begun)
        peer = statistics.median(seconds[1:]) * 1e3
        default, same = float(default), float(same)
        print(f"| {source} → {target} | {peer:.2f} | {default:.2f} | {peer / default:.1f} | {same:.2f} | {peer / same:.1f} |")


if __name__ == "__main__":
    main()
