"""A network on the CPU: Timbre beside PyTorch, alternating in one run, on the same number of threads.

11 classes, images in memory. A training step is forward, BCE with logits, backward and a step of Adam. PyTorch's side is a
bare loop, Timbre's is its whole training loop (`cargo bench --bench network`). PyTorch runs in each way that is worth trying for the network
(with its default memory format and channels last, or compiled by `torch.compile`); the fastest one counts.

    pip install -r benches/peers/requirements-network.txt
    python benches/peers/network.py [--network resnet18|ast|passt] [--threads N] [--repetitions N] [--memory]

resnet18: batches of 16 images of 1 x 256 x 156. ast: the audio spectrogram transformer of Hugging Face, passt: that of the package
hear21passt, both in their published size, batches of 4 images of 128 x 304 (three seconds). On a shared machine use `--threads 1`:
with more threads, PyTorch's threads wait for each other. --memory measures the largest memory of a training instead, each side in a
process of its own.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import time

import torch

CLASSES = 11
# Images in a batch, all images, height and width of an image.
SIZES = {"resnet18": (16, 64, 256, 156), "ast": (4, 8, 128, 304), "passt": (4, 8, 128, 304)}


def resnet18():
    import torchvision

    net = torchvision.models.resnet18(num_classes=CLASSES)
    net.conv1 = torch.nn.Conv2d(1, 64, 7, 2, 3, bias=False)
    return net


def ast():
    from transformers import ASTConfig, ASTForAudioClassification

    _, _, bands, frames = SIZES["ast"]
    config = ASTConfig(num_mel_bins=bands, max_length=frames, num_labels=CLASSES)
    net = ASTForAudioClassification(config)

    class Logits(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net

        def forward(self, images):
            # From bands x frames to frames x bands.
            return self.net(images[:, 0].transpose(1, 2)).logits

    return Logits()


def passt():
    from hear21passt.models import passt as package

    # It prints its shapes in the first run.
    package.first_RUN = False

    class Logits(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = package.PaSST(img_size=(128, 998), stride=10, num_classes=CLASSES, distilled=True)

        def forward(self, images):
            return self.net(images)[0]

    return Logits()


def contender(kind, way):
    """A function that measures clips per second of PyTorch."""
    batch, clips, height, width = SIZES[kind]
    torch.manual_seed(1)
    net = {"resnet18": resnet18, "ast": ast, "passt": passt}[kind]()
    images = torch.rand(batch, 1, height, width) * 2 - 1
    if way == "channels last":
        net, images = net.to(memory_format=torch.channels_last), images.to(memory_format=torch.channels_last)
    truth = torch.nn.functional.one_hot(torch.arange(batch) % CLASSES, CLASSES).float()
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    forward = torch.compile(net) if way == "compiled" else net

    def step():
        optimizer.zero_grad()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(forward(images), truth)
        loss.backward()
        optimizer.step()
        loss.item()

    def predict():
        with torch.no_grad():
            forward(images)

    def clips_per_second(what):
        net.train(what == "train")
        run = step if what == "train" else predict
        run()
        begun = time.perf_counter()
        for _ in range(clips // batch):
            run()
        return clips / (time.perf_counter() - begun)

    return clips_per_second


WAYS = {
    "resnet18": ("default", "channels last"),
    "ast": ("default", "compiled"),
    "passt": ("default", "compiled"),
}


def peak_memory(command, line, threads):
    """Bytes of the largest memory of a process that is sent a line, or of one that it starts."""
    environment = {**os.environ, "RAYON_NUM_THREADS": str(threads)}
    started = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=environment)
    started.stdin.write(line + "\n")
    started.stdin.close()
    _, status, usage = os.wait4(started.pid, 0)
    assert status == 0, command
    return usage.ru_maxrss * 1024


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--network", choices=SIZES, default="resnet18")
    arguments.add_argument("--threads", type=int, default=2)
    arguments.add_argument("--repetitions", type=int, default=7)
    arguments.add_argument("--memory", action="store_true")
    arguments.add_argument("--alone", choices=("default", "channels last", "compiled"), help="train with PyTorch only")
    a = arguments.parse_args()
    torch.set_num_threads(a.threads)
    if a.alone:
        with contextlib.redirect_stdout(sys.stderr):
            contender(a.network, a.alone)("train")
        return
    command = ["cargo", "bench", "--quiet", "--bench", "network", "--", "serve"]
    if a.memory:
        words = " ".join(map(str, ("train", a.network, *SIZES[a.network])))
        sides = {"Timbre": peak_memory(command, words, a.threads)}
        for way in WAYS[a.network]:
            torch_alone = [sys.executable, __file__, "--network", a.network, "--threads", str(a.threads), "--alone", way]
            sides[f"PyTorch, {way}"] = peak_memory(torch_alone, "", a.threads)
        text = ", ".join(f"{name} {size / 2**20:.0f}" for name, size in sides.items())
        print(f"{a.network}, largest memory of a training, MiB: {text}")
        return
    own = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                           env={**os.environ, "RAYON_NUM_THREADS": str(a.threads)})

    def ask(what):
        own.stdin.write(" ".join(map(str, (what, a.network, *SIZES[a.network]))) + "\n")
        own.stdin.flush()
        return json.loads(own.stdout.readline())

    peers = {f"PyTorch, {way}": contender(a.network, way) for way in WAYS[a.network]}
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
        sides = ", ".join(f"{name} {median[what, name]:.2f}" for name in ("Timbre", *peers))
        best = max(median[what, name] for name in peers)
        print(f"{a.network}, {what}, {a.threads} threads, clips/s, medians of {a.repetitions}: {sides};"
              f" ratio {median[what, 'Timbre'] / best:.2f}")
    floor = median["train", "floor"]
    print(f"arithmetic alone, every product of the layer table at the speed of a matrix product: {floor:.2f} clips/s;"
          f" Timbre trains at {median['train', 'Timbre'] / floor:.2f} of it")
    print(json.dumps({f"{what} {name}": numbers for (what, name), numbers in found.items()}))


if __name__ == "__main__":
    main()
