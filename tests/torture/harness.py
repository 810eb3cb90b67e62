"""What the areas share: checks with names, a project folder, the program with limits, sound files, mutations, result files.

A check is a function that returns, or raises `Failure` or `Skip`. Its random numbers come from the seed, the area and its name alone, so
one check can be repeated without the others.
"""

import contextlib
import fnmatch
import hashlib
import json
import math
import os
import random
import resource
import shlex
import shutil
import signal
import struct
import subprocess
import sys
import time
import traceback
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
MIB = 1 << 20
GIB = 1 << 30
ENOUGH = 3                              # failures of one family
PANIC = 101                             # the exit code of a panic in Rust


class Failure(Exception):
    """The program did something wrong."""


class Skip(Exception):
    """The check cannot run on this machine."""


def expect(holds, sentence):
    if not holds:
        raise Failure(sentence)


# ---------------------------------------------------------------------------------------------------------------- areas and checks

class Area:
    """The checks of one area, and what came of them."""

    def __init__(self, name, options, folder, seconds):
        self.name, self.options, self.folder, self.seconds = name, options, folder, seconds
        self.timbre, self.seed = options.timbre, options.seed
        self.started = time.monotonic()
        self.stack = contextlib.ExitStack()
        self.tried, self.failed, self.skipped = 0, [], []
        self.last = ""                  # the last command of the program, for the report of a failure
        folder.mkdir(parents=True)

    def selected(self, name):
        return self.options.only is None or fnmatch.fnmatchcase(name, self.options.only)

    def check(self, name, function, *arguments):
        """Runs one check, unless another one was chosen with --only."""
        if not self.selected(name):
            return
        self.last = ""
        if self.options.verbose:
            print(f"  {self.name} {name}", file=sys.stderr, flush=True)
        before = time.monotonic()
        try:
            function(*arguments)
        except Skip as why:
            self.skipped.append({"name": name, "why": str(why)})
            return
        except Exception as error:  # noqa: BLE001: a fault of a script must not hide the other checks
            self.fault(name, error)
        finally:
            if not self.options.keep:
                shutil.rmtree(self.folder / "project/tmp", ignore_errors=True)
        self.tried += 1
        if self.options.verbose:
            print(f"    {time.monotonic() - before:.1f} s", file=sys.stderr, flush=True)

    def fault(self, name, error):
        """Records a failure; anything but a `Failure` is a fault of a script, with its lines."""
        said = str(error) if isinstance(error, Failure) else "".join(traceback.format_exception(type(error), error, error.__traceback__)).strip()
        said = said.replace(f"{self.folder}/project/", "")
        self.failed.append({"name": name, "what": said, "command": self.last, "again": self.again(name)})
        if self.options.verbose:
            print(f"  {self.name} {name} FAILED: {said}", file=sys.stderr, flush=True)

    def cases(self, family, limit, until, least=2):
        """The names and random numbers of the checks of a family, while the area has time (up to the part `until` of it), and until some
        have failed: more failures of one kind say no more."""
        ran = 0
        for name in (f"{family}/{number}" for number in range(limit)):
            if not self.selected(name):
                continue
            out_of_time = time.monotonic() - self.started > until * self.seconds
            alike = sum(failed["name"].startswith(f"{family}/") for failed in self.failed)
            if alike >= ENOUGH or ran >= least and out_of_time:
                return
            ran += 1
            yield name, self.random(name)

    def random(self, name):
        return random.Random(f"{self.seed}/{self.name}/{name}")

    def again(self, name):
        run = os.path.relpath(Path(__file__).with_name("run.py"))
        words = ["python3", run, "--timbre", str(self.timbre), "--area", self.name, "--seed", str(self.seed), "--only", name, "--keep"]
        return shlex.join(words)

    def skip(self, name, why):
        if self.selected(name):
            self.skipped.append({"name": name, "why": why})

    def project(self):
        return Project(self, self.folder / "project")

    def tmpfs(self, name, options):
        """A small file system of its own, which needs root."""
        where = self.folder / name
        where.mkdir(exist_ok=True)
        if os.geteuid() != 0 or not shutil.which("mount"):
            raise Skip("a small file system can be mounted only by root")
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(where)], capture_output=True, text=True)
        if mounted.returncode != 0:
            raise Skip(f"mount: {mounted.stderr.strip()}")
        self.stack.callback(lambda: subprocess.run(["umount", "-l", str(where)], capture_output=True))
        return where


# ------------------------------------------------------------------------------------------------------------------- the program

def shell_word(word):
    """A word for bash, whatever its bytes."""
    word = os.fsencode(word)
    if all(32 <= byte < 127 for byte in word):
        return shlex.quote(word.decode())
    return "$'" + "".join(chr(byte) if 32 <= byte < 127 and byte not in b"'\\" else f"\\x{byte:02x}" for byte in word) + "'"


class Ended:
    """How a command ended: exit code (negative: the signal), output, and what it cost."""

    def __init__(self, running, seconds, bound, timed_out):
        self.words, self.code, self.peak = running.words, running.process.returncode, running.peak
        self.out, self.err = running.out.read_bytes(), running.err.read_bytes()
        self.seconds, self.bound, self.timed_out = seconds, bound, timed_out

    @property
    def text(self):
        return (self.out + self.err).decode("utf-8", "replace")

    def tail(self):
        return self.err.decode("utf-8", "replace").strip()[-400:] or "(nothing on stderr)"

    def sound(self):
        """No signal, no panic, no time-out, a sentence with every failure, and not more memory than the bound."""
        if self.bound is not None:
            expect(self.peak <= self.bound, f"took at least {self.peak / MIB:.0f} MiB of memory; the bound is {self.bound / MIB:.0f} MiB")
        expect(not self.timed_out, f"no end after {self.seconds:.0f} s (peak {self.peak / MIB:.0f} MiB)")
        expect(self.code >= 0, f"ended by signal {-self.code}: {self.tail()}")
        expect(self.code != PANIC and b"panicked at" not in self.err, f"panic: {self.tail()}")
        expect(self.code == 0 or self.err.strip() or self.out.strip(), f"exit code {self.code} without a sentence")
        return self

    def code_in(self, *codes):
        self.sound()
        expect(self.code in codes, f"exit code {self.code}, expected {' or '.join(map(str, codes))}: {self.tail()}")
        return self


class Running:
    """A command that was started."""

    def __init__(self, project, words, environment=None, memory=None, before=()):
        self.words = [str(project.area.timbre), *map(str, words)]
        self.out, self.err = (project.output(kind) for kind in ("out", "err"))
        limits = {resource.RLIMIT_CORE: 0}
        if memory is not None:
            limits[resource.RLIMIT_AS] = memory

        def limit():
            for what, most in limits.items():
                resource.setrlimit(what, (most, most))

        settings = {name: value for name, value in os.environb.items() if not name.startswith((b"TIMBRE_", b"RUST_"))}
        settings.update({os.fsencode(name): os.fsencode(value) for name, value in (environment or {}).items()})
        given = [f"{name}={shell_word(value)}" for name, value in (environment or {}).items()]
        ulimit = f"ulimit -v {memory // 1024}; " if memory is not None else ""
        command = f"{ulimit}{' '.join([*given, *map(shell_word, [*before, *self.words])])}"
        project.area.last = f"cd {shlex.quote(str(project.folder))} && {command.replace(f'{project.folder}/', '')}"
        self.started = time.monotonic()
        with open(self.out, "wb") as out, open(self.err, "wb") as err:
            self.process = subprocess.Popen([*before, *self.words], cwd=project.folder, stdin=subprocess.DEVNULL, stdout=out,
                                            stderr=err, env=settings, preexec_fn=limit, start_new_session=True)
        self.status = None
        project.area.stack.callback(self.kill)

    def over(self):
        """Whether it has ended. Reaps the process, for the memory that it alone took."""
        if self.status is None:
            pid, status, usage = os.wait4(self.process.pid, os.WNOHANG)
            if pid:
                self.status, self.peak = status, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
                self.process.returncode = os.waitstatus_to_exitcode(status)
        return self.status is not None

    def wait(self, seconds, bound=None):
        """Waits until it has ended, the time is over, or it has taken too much memory. Returns whether it has ended."""
        until, pause = time.monotonic() + seconds, 0.002
        while not self.over():
            left = until - time.monotonic()
            if left <= 0:
                return False
            if bound is not None and self.memory() > bound:
                # Before it takes the memory of the machine. `peak` tells the rest.
                self.kill()
            time.sleep(min(pause, left))
            pause = min(pause * 1.5, 0.05)
        return True

    def memory(self):
        """What it holds now, where the system tells it."""
        try:
            return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * resource.getpagesize()
        except (OSError, IndexError):
            return 0

    def kill(self, number=signal.SIGKILL):
        if not self.over():
            self.process.send_signal(number)
            if number == signal.SIGKILL:
                self.wait(60)

    def end(self, seconds=120, bound=None):
        timed_out = not self.wait(seconds, bound)
        if timed_out:
            self.kill()
        return Ended(self, time.monotonic() - self.started, bound, timed_out)

    def stderr(self):
        return self.err.read_bytes().decode("utf-8", "replace")


# --------------------------------------------------------------------------------------------------------------- project folders

SMALL = """
description = "A small set for attacks"
max_unusable = 1.0
seeds = {seeds}
[data]
use = "{data}"
[audio]
sample_rate = 8000
clip_seconds = 1.0
[split]
kind = "holdout"
test = 0.3
validation = 0.2
"""
FEATURES = """
[features.mel]
n_mels = 32
[features.fft]
[features.centroid]
"""
MODELS = """
[models.average]
[models.knn]
k = 3
[models.logistic]
"""
NETWORK = """
[features.mel]
n_mels = 32
hop_length = 256
[models.cnn_small]
filters = [4, 8]
epochs = 8
batch_size = 8
"""
GRID = """
[features.mel]
n_mels = 32
[models.knn]
[models.logistic]
[grid]
"models.knn.k" = [1, 3, 5]
"models.knn.weights" = ["uniform", "distance"]
"features.mel.n_mels" = [16, 32]
"""
CLASSES = ("cel", "flu", "pia")


class Project:
    """A folder with experiments, data sets, runs and a cache: the program's current folder."""

    def __init__(self, area, folder):
        self.area, self.folder, self.count = area, folder, 0
        for name in ("experiments", "data", "output"):
            (folder / name).mkdir(parents=True, exist_ok=True)

    def __truediv__(self, name):
        return self.folder / name

    def output(self, ending):
        self.count += 1
        return self / f"output/{self.count}.{ending}"

    def new(self, name):
        """A path that does not exist yet, in a folder that is emptied after each check."""
        self.count += 1
        (self / "tmp").mkdir(exist_ok=True)
        return self / f"tmp/{self.count}.{name}"

    def start(self, *words, runs="runs", cache="cache", **settings):
        return Running(self, [*words, "--runs", runs, "--cache", cache], **settings)

    def timbre(self, *words, seconds=120, bound=None, **settings):
        return self.start(*words, **settings).end(seconds, bound)

    def run(self, experiment, *more, **settings):
        return self.timbre("run", experiment, "--device", "cpu", *more, **settings)

    def experiment(self, name, text, data="small", seeds=(1,)):
        text = SMALL.format(seeds=list(seeds), data=data) + text
        (self / f"experiments/{name}.toml").write_text(text)

    def folder_set(self, name, clips=10, seconds=1.0, rate=8000):
        """A data set of the kind `folder`: a tone of its own for each class, with noise. Returns its root."""
        root = self / f"data/{name}"
        self.describe(name, root)
        for number, label in enumerate(CLASSES):
            for clip in range(clips):
                put(root / label / f"{clip:03}.wav", wave(tone(number, clip, seconds, rate), rate))
        return root

    def describe(self, name, root, more=""):
        (self / f"data/{name}.toml").write_text(f"kind = \"folder\"\nroot = {json.dumps(str(root))}\n{more}")

    def trained(self, experiment, text, seeds=(1,), **settings):
        """Runs an experiment without disturbance; returns its run folder and the seconds it took."""
        self.experiment(experiment, text, seeds=seeds)
        ended = self.run(experiment, "-q", **settings).code_in(0)
        return latest(self / settings.get("runs", "runs"), experiment), ended.seconds


def latest(runs, experiment):
    return (Path(runs) / experiment / "latest").resolve(strict=True)


# ---------------------------------------------------------------------------------------------------------------- result files

RESULTS = ("results.csv", "results.parquet", "grid.csv", "metrics.json", "predictions.parquet", "windows.parquet", "by_labels.csv",
           "per_class.csv", "confusion.csv", "hardest.csv", "curves.csv", "recordings.csv", "unusable.jsonl", "config.toml",
           "config.resolved.toml")


def digest(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def tree(folder):
    """The hash of every file below a folder."""
    folder = Path(folder)
    return {str(path.relative_to(folder)): digest(path) for path in sorted(folder.rglob("*")) if path.is_file()}


def results(run):
    """The hash of every file of a run that is the same for every run of the experiment: no times, no names of machines."""
    files = {name: digest(run / name) for name in RESULTS if (run / name).is_file()}
    return files | {f"models/{name}": hashed for name, hashed in tree(run / "models").items()}


def grid_results(runs, experiment):
    """The table of a grid, and the results of its points by signature."""
    home = Path(runs) / experiment
    points = {path.name.rsplit("-", 1)[1]: results(path) for path in home.iterdir() if path.is_dir() and "-" in path.name
              and not path.is_symlink() and (path / "run.json").is_file()}
    return {"grid_results.csv": digest(home / "grid_results.csv")} | points


def expect_same(found, wanted, what):
    different = sorted(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name))
    expect(not different, f"{what}: other bytes than without the disturbance: {', '.join(different[:8])}")


def leftovers(folder):
    """Temporary names of the program below a folder."""
    prefixes = (".part-", ".removed-", ".latest-", ".demo", ".X.", ".tmp")
    return [path for path in sorted(Path(folder).rglob(".*")) if path.name.startswith(prefixes)]


def expect_whole(*folders):
    """Every JSON file can be read and every `latest` leads to a folder, whatever was killed."""
    for folder in folders:
        for path in Path(folder).rglob("*.json"):
            if path.name.startswith(".part-"):
                continue
            try:
                json.loads(path.read_bytes())
            except ValueError as error:
                raise Failure(f"{path} is no JSON: {error}") from None
            except FileNotFoundError:
                pass
        for link in Path(folder).glob("*/latest"):
            expect(link.exists(), f"{link} leads nowhere")


def make_older(folder, seconds=7200):
    """As if everything was written hours ago: `timbre gc` leaves younger files alone."""
    then = time.time() - seconds
    for path in [Path(folder), *Path(folder).rglob("*")]:
        os.utime(path, (then, then), follow_symlinks=False)


def wait_for(holds, seconds, running=None):
    """Waits until `holds()` is true. Returns its value, or None if the time is over or the command ended before."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        value = holds()
        if value:
            return value
        if running is not None and running.over():
            return holds() or None
        time.sleep(0.001)
    return None


# ----------------------------------------------------------------------------------------------------------------------- sound

def put(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def tone(pitch, clip, seconds, rate):
    """Samples in -1..1 of a tone with an overtone, vibrato and noise."""
    chance = random.Random(pitch * 1000 + clip)
    hertz, overtone = 220 * 1.5 ** pitch * chance.uniform(0.9, 1.1), chance.uniform(0.1, 0.5)
    step = 2 * math.pi * hertz / rate
    return [0.4 * math.sin(n * step) + 0.3 * overtone * math.sin(2 * n * step + 1) + chance.uniform(-0.2, 0.2)
            for n in range(int(seconds * rate))]


def riff(body):
    return b"RIFF" + struct.pack("<I", min(len(body), 0xffffffff)) + body


def wave(samples, rate, form="pcm16", channels=1):
    """A WAVE file: pcm8, pcm16, pcm24, pcm32, f32 or f64."""
    code, bits = {"pcm8": (1, 8), "pcm16": (1, 16), "pcm24": (1, 24), "pcm32": (1, 32), "f32": (3, 32), "f64": (3, 64)}[form]
    data = pack_samples([s for s in samples for _ in range(channels)], form, "<")
    head = struct.pack("<HHIIHH", code, channels, rate, rate * channels * bits // 8, channels * bits // 8, bits)
    return riff(b"WAVEfmt " + struct.pack("<I", 16) + head + b"data" + struct.pack("<I", len(data)) + data)


def pack_samples(samples, form, order):
    if form in ("f32", "f64"):
        return struct.pack(f"{order}{len(samples)}{'f' if form == 'f32' else 'd'}", *samples)
    bits = int(form[3:])
    most = 2 ** (bits - 1) - 1
    whole = [max(-most - 1, min(most, round(s * most))) for s in samples]
    if bits == 8:
        return bytes(s + 128 for s in whole) if order == "<" else struct.pack(f"{len(whole)}b", *whole)
    if bits == 24:
        return b"".join((s & 0xffffff).to_bytes(3, "little" if order == "<" else "big") for s in whole)
    return struct.pack(f"{order}{len(whole)}{'h' if bits == 16 else 'i'}", *whole)


def wave_head(rate, data_bytes, channels=1, bits=16):
    """The first 44 bytes of a WAVE file with that much data."""
    head = struct.pack("<HHIIHH", 1, channels, rate, rate * channels * bits // 8 & 0xffffffff, channels * bits // 8, bits)
    return (b"RIFF" + struct.pack("<I", min(36 + data_bytes, 0xffffffff)) + b"WAVEfmt " + struct.pack("<I", 16) + head
            + b"data" + struct.pack("<I", min(data_bytes, 0xffffffff)))


# -------------------------------------------------------------------------------------------------------------------- mutations

EXTREMES = (0, 1, 2, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff, 0xfffffffe)


def mutate(rng, data, other=b""):
    """A damaged copy of a file: flipped bits, extreme sizes, holes, cuts, repeated, inserted or foreign blocks."""
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 3, 6))):
        if not data:
            break
        # Headers decide more than samples do.
        at = rng.randrange(min(len(data), rng.choice((64, 512, len(data)))))
        size = rng.choice((1, 2, 4, 8, 64, 1024))
        kind = rng.randrange(10)
        if kind <= 2:
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 3:
            data[at] = rng.choice((0, 1, 0x7f, 0x80, 0xff))
        elif kind == 4:
            width, order = rng.choice((2, 4)), rng.choice(("little", "big"))
            data[at:at + width] = (rng.choice(EXTREMES) & (1 << 8 * width) - 1).to_bytes(width, order)
        elif kind == 5:
            del data[at:]
        elif kind == 6:
            del data[at:at + size]
        elif kind == 7:
            data[at:at] = data[at:at + size] * rng.choice((1, 2, 50))
        elif kind == 8:
            data[at:at + size] = rng.choice((b"\0", b"\xff")) * size
        else:
            data[at:at] = rng.randbytes(size) if not other or rng.random() < 0.5 else other[at:at + size]
    return bytes(data)


def mutate_json(rng, value):
    """A copy of a JSON value with another leaf, without a key, or with a key too many."""
    strange = (None, True, -1, 0, 1, 2 ** 31, 2 ** 53, -(2 ** 63), 2 ** 64, 1e308, 1e-300, -0.0, 0.5, 22050, "", "x", "../../x", "\u0000",
               "=1+1", "x" * 4000, [], {}, [[]], [None], {"kind": "knn"}, float("inf"), float("nan"))
    value = json.loads(json.dumps(value))
    for _ in range(rng.choice((1, 1, 2))):
        above, key = rng.choice(list(places(value)) or [(None, None)])
        if above is None:
            return rng.choice(strange)
        kind = rng.randrange(6)
        if kind == 0:
            del above[key]
        elif kind == 1 and isinstance(above, dict):
            above[rng.choice(("schema", "kind", "extra", ""))] = rng.choice(strange)
        elif kind == 2 and isinstance(above, list):
            above.extend([above[key]] * rng.choice((1, 3, 1000)))
        elif kind == 3 and isinstance(above[key], (int, float)) and not isinstance(above[key], bool):
            above[key] = rng.choice((-above[key], above[key] + 1, above[key] * 1000, above[key] * 2 ** 31, 0))
        else:
            above[key] = rng.choice(strange)
    return value


def places(value):
    """Every place of a JSON value: what holds it, and its key."""
    keys = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from places(value[key])
