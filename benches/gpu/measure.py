"""Measures Timbre on a device beside PyTorch on the same device. benches/gpu/prove calls it.

    measure.py FOLDER OUT       FOLDER: what benches/gpu/pack built; OUT gets gpu.json and gpu.md

Whole trainings: clips of 3 s, cropped at random from recordings of 4 s, are held in the memory of the device, which computes
the mel spectrograms; ResNet18, Adam, batches of 64. PyTorch does the same in a bare loop with torchaudio's transform. Networks alone:
images in memory. Each number is the median of the epochs or repetitions after the first, in which kernels are chosen and compiled.
"""

import csv
import datetime
import json
import os
import pathlib
import platform
import random
import statistics
import subprocess
import sys
import threading
import time
import wave

FOLDER, OUT = (pathlib.Path(argument).resolve() for argument in sys.argv[1:3])
DEVICE = os.environ.get("DEVICE", "cuda")
SMALL = os.environ.get("SIZE") == "small"
RATE, SECONDS, RECORDED = 22050, 3, 4
CLASSES = 11
CLIPS, BATCH, EPOCHS = (66, 8, 2) if SMALL else (1000, 64, 6)
IMAGE = (64, 64) if SMALL else (256, 156)
N_MELS, HOP = (64, 1024) if SMALL else (256, 256)
AST_IMAGE = (64, 128) if SMALL else (128, 512)
REPETITIONS = 1 if SMALL else 3
TORCH_DEVICE = "cuda" if DEVICE.startswith("cuda") else "cpu"

try:
    import torch
except ImportError:
    torch = None


def run(command, **options):
    """The standard output of a program; its standard error stays visible."""
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, **options).stdout


class Memory(threading.Thread):
    """The most device memory that a process takes, by nvidia-smi; None without it."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.most, self.ended = pid, None, threading.Event()
        self.start()

    def run(self):
        query = ["nvidia-smi", "--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits"]
        while not self.ended.wait(0.2):
            try:
                lines = run(query, stderr=subprocess.DEVNULL).splitlines()
            except (OSError, subprocess.CalledProcessError):
                return
            # A container may show other process numbers; the machine is ours, so all processes count.
            used = [int(line.split(",")[1]) for line in lines if line.split(",")[1].strip().isdigit()]
            self.most = max(self.most or 0, sum(used))

    def end(self):
        self.ended.set()
        self.join()
        return self.most


def make_recordings(folder):
    """Noisy tones of four seconds; each class has its own pitch."""
    rng = random.Random(1)
    for label in range(CLASSES):
        (folder / f"class{label:02}").mkdir(parents=True, exist_ok=True)
        period = 40 + 9 * label
        tone = [int(9000 * (2 * (i % period) / period - 1)) + rng.randint(-1500, 1500) for i in range(RATE * 6)]
        samples = b"".join(value.to_bytes(2, "little", signed=True) for value in tone)
        for number in range(label, CLIPS, CLASSES):
            start = 2 * rng.randrange(RATE * (6 - RECORDED))
            with wave.open(str(folder / f"class{label:02}" / f"{number:04}.wav"), "wb") as file:
                file.setparams((1, 2, RATE, 0, "NONE", None))
                file.writeframes(samples[start:start + 2 * RATE * RECORDED])


def timbre_training(precision):
    """Clips per second, share of time waited, and device memory of a training from recordings to tables."""
    work = OUT / "work"
    make_recordings(work / "recordings")
    (work / "train.toml").write_text(f"""
seeds = [1]
save_models = false
[data]
kind = "folder"
root = "{work / 'recordings'}"
[audio]
sample_rate = {RATE}
clip_seconds = {SECONDS}.0
[split]
kind = "holdout"
test = 0.1
[features.mel]
hop_length = {HOP}
n_mels = {N_MELS}
resize = [{IMAGE[0]}, {IMAGE[1]}]
[models.resnet18]
precision = "{precision}"
crop = "random"
loss = "bce"
epochs = {EPOCHS}
batch_size = {BATCH}
[evaluate]
bootstrap = 0
""")
    began = time.perf_counter()
    process = subprocess.Popen([FOLDER / "timbre", "run", "train.toml", "--device", DEVICE], cwd=work)
    memory = Memory(process.pid)
    if process.wait() != 0:
        raise SystemExit("the training failed")
    seconds, memory = time.perf_counter() - began, memory.end()
    with open(work / "runs/train/latest/epochs.csv", newline="") as file:
        epochs = list(csv.DictReader(file))[1:]
    column = lambda name: [float(epoch[name]) for epoch in epochs]
    return {"clips_per_second": statistics.median(column("clips_per_second")),
            "waited": statistics.median(column("waited")), "memory_mib": memory, "whole_command_seconds": seconds,
            "train_loss": float(epochs[-1]["train_loss"])}


class Network:
    """The benchmark `network`, which answers line by line."""

    def __init__(self):
        command = [FOLDER / "network", "serve", "--device", DEVICE]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, *words):
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


def torch_network(kind):
    torch.manual_seed(1)
    if kind == "resnet18":
        import torchvision
        network = torchvision.models.resnet18(num_classes=CLASSES)
        network.conv1 = torch.nn.Conv2d(1, 64, 7, 2, 3, bias=False)
        return network.to(TORCH_DEVICE)
    from transformers import ASTConfig, ASTForAudioClassification
    config = ASTConfig(num_mel_bins=AST_IMAGE[0], max_length=AST_IMAGE[1], num_labels=CLASSES)
    network = ASTForAudioClassification(config).to(TORCH_DEVICE)

    class Logits(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.network = network

        def forward(self, images):
            # From bands × frames to frames × bands.
            return self.network(images[:, 0].transpose(1, 2)).logits

    return Logits()


def synchronize():
    if TORCH_DEVICE == "cuda":
        torch.cuda.synchronize()


def torch_step(network, optimizer, images, truth, bf16):
    optimizer.zero_grad(set_to_none=True)
    with torch.autocast(TORCH_DEVICE, torch.bfloat16, enabled=bf16):
        logits = network(images)
    loss = torch.nn.functional.binary_cross_entropy_with_logits(logits.float(), truth)
    loss.backward()
    optimizer.step()


def timed(work, clips):
    """Clips per second: the median of the repetitions after the first."""
    speeds = []
    for _ in range(REPETITIONS + 1):
        synchronize()
        began = time.perf_counter()
        work()
        synchronize()
        speeds.append(clips / (time.perf_counter() - began))
    return statistics.median(speeds[1:])


def with_precision(precision):
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
    torch.backends.cudnn.benchmark = True
    return precision == "bf16"


def torch_training(precision):
    import torchaudio
    bf16 = with_precision(precision)
    if TORCH_DEVICE == "cuda":
        torch.cuda.reset_peak_memory_stats()
    clips = CLIPS * 9 // 10 // BATCH * BATCH
    recordings = torch.rand(clips, RATE * RECORDED, device=TORCH_DEVICE) * 2 - 1
    truth = torch.nn.functional.one_hot(torch.arange(clips) % CLASSES, CLASSES).float().to(TORCH_DEVICE)
    mel = torchaudio.transforms.MelSpectrogram(RATE, 2048, hop_length=HOP, n_mels=N_MELS).to(TORCH_DEVICE)
    decibels = torchaudio.transforms.AmplitudeToDB(top_db=80).to(TORCH_DEVICE)
    network = torch_network("resnet18").train()
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    ramp = torch.arange(RATE * SECONDS, device=TORCH_DEVICE)

    def epoch():
        for rows in torch.randperm(clips, device=TORCH_DEVICE).split(BATCH):
            starts = torch.randint(RATE * (RECORDED - SECONDS), (len(rows), 1), device=TORCH_DEVICE)
            waves = recordings[rows].gather(1, starts + ramp)
            images = torch.nn.functional.interpolate(decibels(mel(waves))[:, None], IMAGE, mode="bilinear")
            torch_step(network, optimizer, (images + 40) / 20, truth[rows], bf16)

    found = {"clips_per_second": timed(epoch, clips)}
    if TORCH_DEVICE == "cuda":
        found["memory_mib"] = torch.cuda.max_memory_reserved() >> 20
    return found


def torch_alone(what, kind, batch, clips, image, precision):
    bf16 = with_precision(precision)
    network = torch_network(kind).train(what == "train")
    images = torch.rand(clips, 1, *image) * 2 - 1
    truth = torch.nn.functional.one_hot(torch.arange(clips) % CLASSES, CLASSES).float()
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)

    def train():
        for images_of, truth_of in zip(images.split(batch), truth.split(batch)):
            torch_step(network, optimizer, images_of.to(TORCH_DEVICE), truth_of.to(TORCH_DEVICE), bf16)

    def infer():
        with torch.no_grad(), torch.autocast(TORCH_DEVICE, torch.bfloat16, enabled=bf16):
            for images_of in images.split(batch):
                network(images_of.to(TORCH_DEVICE)).float().cpu()

    return timed(train if what == "train" else infer, clips)


def alone_cases():
    image = IMAGE
    yield "train", "resnet18", BATCH, CLIPS // 2, image
    for batch in (1, 16, 256):
        yield "infer", "resnet18", batch, min(CLIPS, max(4 * batch, 64)), image
    batch = 4 if SMALL else 16
    yield "train", "ast", batch, 8 * batch, AST_IMAGE
    yield "infer", "ast", batch, 16 * batch, AST_IMAGE


def attempt(work):
    """The result, or why there is none."""
    try:
        return work()
    except Exception as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"


def facts():
    commit = (FOLDER / "commit").read_text().strip() if (FOLDER / "commit").exists() else "unknown"
    found = {"date": datetime.date.today().isoformat(), "commit": commit, "device": DEVICE, "size": "small" if SMALL else "full",
             "cpu": platform.processor() or platform.machine(), "cores": os.cpu_count(), "torch": torch and torch.__version__}
    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    found["gpu"] = attempt(lambda: run(query).strip())
    return found


def main():
    precisions = ("f32", "tf32", "bf16") if TORCH_DEVICE == "cuda" else ("f32",)
    ours = {"Timbre": "f32"} | ({"Timbre, bf16": "bf16"} if DEVICE.startswith("cuda") else {})
    document = {"facts": facts(), "training": {}, "alone": {}}
    for side, precision in ours.items():
        document["training"][side] = attempt(lambda: timbre_training(precision))
        write(document)
    for precision in precisions if torch else ():
        document["training"][f"PyTorch, {precision}"] = attempt(lambda: torch_training(precision))
        write(document)
    network = Network()
    for what, kind, batch, clips, image in alone_cases():
        row = document["alone"][f"{kind}, {what}, batches of {batch}"] = {}
        for side, precision in ours.items():
            if what == "train" or precision == "f32":
                asked = [network.ask(what, kind, batch, clips, *image, precision) for _ in range(REPETITIONS)]
                row[side] = statistics.median(asked)
        for precision in precisions if torch else ():
            row[f"PyTorch, {precision}"] = attempt(lambda: torch_alone(what, kind, batch, clips, image, precision))
        write(document)


def write(document):
    """Writes what is known so far, so that a step that runs out of time leaves the numbers before it."""
    OUT.joinpath("gpu.json").write_text(json.dumps(document, indent=1))
    about = document["facts"]
    lines = [f"{about['gpu']}, {about['date']}, commit {about['commit']}, PyTorch {about['torch']}; device {about['device']}"
             f"{', a rehearsal at small sizes' if SMALL else ''}", ""]
    sides = [side for side in document["training"]]
    shown = lambda value, form: form.format(value) if isinstance(value, (int, float)) else (value or "–")
    lines += ["| training from waveforms | clips/s | device memory, MiB | waited | loss at the end |", "|---|--:|--:|--:|--:|"]
    for side in sides:
        row = document["training"][side]
        row = row if isinstance(row, dict) else {"clips_per_second": row}
        lines.append(f"| {side} | {shown(row.get('clips_per_second'), '{:.0f}')} | {shown(row.get('memory_mib'), '{}')} |"
                     f" {shown(row.get('waited'), '{:.1%}')} | {shown(row.get('train_loss'), '{:.3f}')} |")
    if document["alone"]:
        lines += ["", "| network alone, clips/s | " + " | ".join(sides) + " |", "|---|" + "--:|" * len(sides)]
        for name, row in document["alone"].items():
            lines.append(f"| {name} | " + " | ".join(shown(row.get(side), "{:.0f}") for side in sides) + " |")
    OUT.joinpath("gpu.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
