"""ResNet18 on the CPU: Timbre beside PyTorch, alternating in one run, on the same number of threads.

Batches of 16 images of 1 x 256 x 156, 11 classes, in memory. A training step is forward, BCE with logits, backward and a step of
Adam. PyTorch's side is a bare loop, Timbre's is its whole training loop (`cargo bench --bench network`). PyTorch runs with
its default memory format and with channels last; the faster one counts.

    pip install -r benches/peers/requirements-network.txt && python benches/peers/network.py [--threads N] [--repetitions N]

On a shared machine use `--threads 1`: with more threads, PyTorch's threads wait for each other.
"""

import argparse
import json
import os
import statistics
import subprocess
import time

import torch
import torchvision

CLIPS, BATCH = 64, 16


def network(channels_last):
    torch.manual_seed(1)
    net = torchvision.models.resnet18(num_classes=11)
    net.conv1 = torch.nn.Conv2d(1, 64, 7, 2, 3, bias=False)
    images = torch.rand(BATCH, 1, 256, 156) * 2 - 1
    if channels_last:
        net, images = net.to(memory_format=torch.channels_last), images.to(memory_format=torch.channels_last)
    truth = torch.nn.functional.one_hot(torch.arange(BATCH) % 11, 11).float()
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)

    def step():
        optimizer.zero_grad()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(net(images), truth)
        loss.backward()
        optimizer.step()
        loss.item()

    def predict():
        with torch.no_grad():
            net(images)

    def clips_per_second(what):
        net.train(what == "train")
        run = step if what == "train" else predict
        run()
        begun = time.perf_counter()
        for _ in range(CLIPS // BATCH):
            run()
        return CLIPS / (time.perf_counter() - begun)

    return clips_per_second


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--threads", type=int, default=2)
    arguments.add_argument("--repetitions", type=int, default=7)
    a = arguments.parse_args()
    torch.set_num_threads(a.threads)
    command = ["cargo", "bench", "--quiet", "--bench", "network", "--", "serve"]
    own = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                           env={**os.environ, "RAYON_NUM_THREADS": str(a.threads)})

    def ask(word):
        own.stdin.write(word + "\n")
        own.stdin.flush()
        return json.loads(own.stdout.readline())

    peers = {"PyTorch": network(False), "PyTorch, channels last": network(True)}
    found = {}
    for _ in range(a.repetitions):
        for what in ("train", "infer"):
            found.setdefault((what, "Timbre"), []).append(ask(what))
            for name, peer in peers.items():
                found.setdefault((what, name), []).append(peer(what))
        found.setdefault(("train", "floor"), []).append(ask("floor"))
    own.stdin.close()
    own.wait()
    median = {key: statistics.median(numbers) for key, numbers in found.items()}
    for what in ("train", "infer"):
        sides = ", ".join(f"{name} {median[what, name]:.1f}" for name in ("Timbre", *peers))
        best = max(median[what, name] for name in peers)
        print(f"resnet18, {what}, {a.threads} threads, clips/s, medians of {a.repetitions}: {sides};"
              f" ratio {median[what, 'Timbre'] / best:.2f}")
    floor = median["train", "floor"]
    print(f"arithmetic alone, every product of the layer table at the speed of a matrix product: {floor:.1f} clips/s;"
          f" Timbre trains at {median['train', 'Timbre'] / floor:.2f} of it")
    print(json.dumps({f"{what} {name}": numbers for (what, name), numbers in found.items()}))


if __name__ == "__main__":
    main()
