"""Files that are no recordings, or only almost: damaged, endless, huge, special.

Each set has six good recordings beside the bad ones. `data check`, `run` and `predict` never end by a signal, use all good recordings, and
stay below a bound of memory.
"""

import json
import os
import shutil
import struct
import subprocess
import zlib

from harness import (GIB, MIB, REPOSITORY, Skip, expect, latest, mutate, put, tone, wave, wave_head, pack_samples)

BOUND = 900 * MIB                       # of a command that meets a hostile file; a good set takes 30 to 60 MiB
LITTLE, MUCH = 3 * GIB, 16 * GIB        # address spaces: in the first, a large allocation fails; in the second, it is seen
PLAIN = "[features.mel]\nn_mels = 32\n[models.average]\n"
GOOD = [(label, f"good{clip}.wav") for label in ("cel", "flu") for clip in range(3)]


def run(area):
    project = area.project()
    project.folder_set("small", clips=6)
    project.trained("classic", PLAIN)
    for name, put_special, seconds in specials():
        area.check(name, special, project, name, put_special, seconds, LITTLE)
        if seconds > 60:
            area.check(f"{name}_with_much_address_space", special, project, name, put_special, seconds, MUCH)
    area.check("memory_of_knn_does_not_grow_with_the_recordings", many_recordings, project)
    seeds = good_files(area)
    area.check("undamaged_files_of_every_format_are_used", undamaged, project, seeds)
    for name, rng in area.cases("mutated_files", 400, until=1.0, least=3):
        area.check(name, mutated, project, rng, seeds)


# ------------------------------------------------------------------------------------------------------------- sets with bad files

def weird_set(project, name):
    """A data set with six good recordings; its root."""
    root = project.new(f"set-{name}")
    for number, (label, file) in enumerate(GOOD):
        put(root / label / file, wave(tone(number // 3, number, 1.0, 8000), 8000))
    project.describe("weird", root, 'classes = ["cel", "flu"]\n')
    project.experiment("weird", PLAIN, data="weird")
    return root


def expect_good_are_used(project, root, seconds, memory):
    """Runs the three commands on the set `weird`."""
    good = {f"{label}/{file}" for label, file in GOOD}
    settings = {"seconds": seconds, "bound": BOUND, "memory": memory, "runs": project.new("runs"), "cache": project.new("cache")}
    checked = project.timbre("data", "check", "weird", **settings).code_in(0, 3)
    listed = [line for line in checked.out.decode("utf-8", "replace").splitlines() if line.startswith("unusable")]
    wrong = [line for line in listed if line.split(":")[0].split()[-1] in good]
    expect(not wrong, f"data check: a good recording is unusable: {wrong}")
    project.run("weird", "-q", **settings).code_in(0, 3)
    run_folder = latest(settings["runs"], "weird")
    unusable = [json.loads(line) for line in (run_folder / "unusable.jsonl").read_text().splitlines()]
    wrong = [line for line in unusable if any(str(value) in good for value in line.values())]
    expect(not wrong, f"run: a good recording is unusable: {wrong}")
    clips = json.loads((run_folder / "run.json").read_bytes())["data"]["clips"]
    expect(clips >= len(good), f"run: used {clips} recordings, and {len(good)} are good")
    words = ("predict", "classic/latest", root, "--json")
    predicted = project.timbre(*words, **settings | {"runs": "runs", "cache": "cache"}).code_in(0, 3)
    found = {os.path.relpath(file["path"], root) for file in json.loads(predicted.out)["files"]}
    expect(good <= found, f"predict: no prediction of {sorted(good - found)}")


def special(project, name, put_special, seconds, memory):
    root = weird_set(project, name)
    put_special(root)
    expect_good_are_used(project, root, seconds, memory)


def undamaged(project, seeds):
    """Otherwise the mutations of a file say nothing."""
    root = weird_set(project, "undamaged")
    for name, data in seeds:
        put(root / "cel" / name, data)
    checked = project.timbre("data", "check", "weird")
    unusable = [line for line in checked.out.decode().splitlines() if line.startswith("unusable")]
    expect(not unusable, f"unusable: {unusable}")


def mutated(project, rng, seeds):
    """Thirty damaged copies of good files, under the names of their formats."""
    root = weird_set(project, "mutated")
    for number in range(30):
        name, data = rng.choice(seeds)
        other = rng.choice(seeds)[1]
        ending = name.rsplit(".", 1)[1] if rng.random() < 0.9 else rng.choice(seeds)[0].rsplit(".", 1)[1]
        put(root / rng.choice(("cel", "flu")) / f"bad{number:02}.{ending}", mutate(rng, data, other))
    expect_good_are_used(project, root, 120, LITTLE)


# ------------------------------------------------------------------------------------------------------------------ special files

def specials():
    """Name, a function that puts the file into the folder of a set, seconds."""
    def sparse(head, size):
        def put_sparse(root):
            with open(root / "cel/huge.wav", "wb") as file:
                file.write(head)
                file.truncate(size)
        return put_sparse

    def link(target):
        return lambda root: (root / "cel/link.wav").symlink_to(target)

    def file(name, data):
        return lambda root: put(root / "cel" / name, data)

    def folders(root):
        (root / "cel/folder.wav").mkdir()
        (root / "flu/loop.wav").symlink_to("loop.wav")

    def fan(root):
        # Two links from each folder to the next: 26 folders, 2^26 paths.
        for number in range(26):
            (root / f"cel/fan{number}").mkdir()
            for name in ("a", "b"):
                (root / f"cel/fan{number}/{name}").symlink_to(f"../fan{number + 1}")
        put(root / "cel/fan26/one.wav", wave(tone(1, 99, 1.0, 8000), 8000))

    def socket(root):
        import socket as sockets
        home = os.open(root / "cel", os.O_RDONLY)
        try:
            # The path of a socket may have only about a hundred bytes.
            listening = sockets.socket(sockets.AF_UNIX)
            listening.bind(f"/proc/self/fd/{home}/socket.wav")
            listening.close()
        except OSError as error:
            raise Skip(f"no socket: {error}") from None
        finally:
            os.close(home)

    def denied(root):
        if os.geteuid() == 0:
            raise Skip("root may read everything")
        put(root / "cel/denied.wav", b"RIFF").chmod(0)

    of_4_gb = wave_head(44100, 4 * GIB - 100)
    yield "fifo", lambda root: os.mkfifo(root / "cel/fifo.wav"), 20
    yield "socket", socket, 20
    yield "folder_and_link_to_itself", folders, 20
    yield "fan_of_links", fan, 30
    yield "link_to_an_endless_device", link("/dev/zero"), 60
    yield "link_to_nothing", link("/nowhere/at/all.wav"), 20
    yield "denied_file", denied, 20
    yield "empty_file", file("empty.wav", b""), 20
    yield "one_byte", file("one.flac", b"f"), 20
    yield "wave_of_4_gb", sparse(of_4_gb, 4 * GIB - 56), 240
    yield "zeros_of_4_gb", sparse(b"", 4 * GIB), 240
    yield "zeros_of_20_gb", sparse(b"", 20 * GIB), 240
    yield "flac_of_ten_hours", lambda root: put(root / "cel/hours.flac", flac_of_one_value(10 * 3600)), 240
    yield "wave_of_65535_channels", file("channels.wav", wave_head(44100, 65535 * 100, channels=65535, bits=8) + bytes(65535 * 100)), 60
    yield "caf_of_huge_packets", lambda root: put(root / "cel/packets.caf", caf(tone(0, 1, 0.3, 8000), 8000, 0xffffffff)), 20
    yield "wave_of_one_hertz", file("slow.wav", wave_head(1, 200_000) + b"\x10\x20" * 100_000), 60
    yield "wave_of_4_ghz", file("fast.wav", wave_head(0xffffffff, 200_000) + b"\x10\x20" * 100_000), 60


# ----------------------------------------------------------------------------------------------------------------------- good files

def good_files(area):
    """Names and bytes of good files of every format that can be had here."""
    samples = tone(1, 1, 0.5, 8000)
    files = [(f"{form}.wav", wave(samples, 8000, form)) for form in ("pcm8", "pcm16", "pcm24", "pcm32", "f32", "f64")]
    files += [("stereo.wav", wave(samples, 22050, channels=2)), ("plain.aiff", aiff(samples, 8000)), ("plain.caf", caf(samples, 8000)),
              ("verbatim.flac", flac(samples, 8000)), ("value.flac", flac_of_one_value(3))]
    # The decoder's own test files: compressed formats, and what browsers record. The mapping family of one is not supported.
    for folder in ("tests/golden/audio", "tests/golden/opus"):
        for path in sorted((REPOSITORY / folder).glob("*")):
            if path.suffix not in (".f32", "") and path.name != "family.opus" and path.stat().st_size < 40_000:
                files.append((path.name, path.read_bytes()))
    source = put(area.folder / "source.wav", wave(samples, 16000))
    ffmpeg = shutil.which("ffmpeg")
    if not ffmpeg:
        area.skip("formats_of_ffmpeg", "ffmpeg is not installed")
        return files
    for name in ("ffmpeg.flac", "ffmpeg.mp3", "ffmpeg.ogg", "ffmpeg.opus", "ffmpeg.m4a", "ffmpeg.webm", "ffmpeg.mka", "ffmpeg.aac", "ffmpeg.mp2"):
        made = area.folder / name
        subprocess.run([ffmpeg, "-v", "error", "-y", "-i", source, made], capture_output=True)
        if made.is_file() and made.stat().st_size:
            files.append((name, made.read_bytes()))
    return files


def aiff(samples, rate):
    data = pack_samples(samples, "pcm16", ">")
    # The rate is an 80-bit float.
    exponent = rate.bit_length() - 1
    extended = struct.pack(">HQ", 16383 + exponent, rate << (63 - exponent))
    common = struct.pack(">hIh", 1, len(samples), 16) + extended
    sound = struct.pack(">II", 0, 0) + data
    body = b"AIFFCOMM" + struct.pack(">I", len(common)) + common + b"SSND" + struct.pack(">I", len(sound)) + sound
    return b"FORM" + struct.pack(">I", len(body)) + body


def caf(samples, rate, frames_per_packet=1):
    data = pack_samples(samples, "pcm16", ">")
    description = struct.pack(">d4sIIIII", rate, b"lpcm", 0, 2, frames_per_packet, 1, 16)
    return (b"caff" + struct.pack(">HH", 1, 0) + b"desc" + struct.pack(">q", len(description)) + description
            + b"data" + struct.pack(">qI", len(data) + 4, 0) + data)


def crc(data, bits, polynomial):
    value, high, mask = 0, 1 << bits - 1, (1 << bits) - 1
    for byte in data:
        value ^= byte << bits - 8
        for _ in range(8):
            value = (value << 1 ^ polynomial if value & high else value << 1) & mask
    return value


def flac_frame(number, size, subframe):
    """A frame of one channel and 16 bits with `size` samples; rate and width stand in the header of the file."""
    code = bytes([number]) if number < 0x80 else chr(number).encode("utf-8", "surrogatepass")
    head = b"\xff\xf8\x70\x08" + code + struct.pack(">H", size - 1)
    frame = head + bytes([crc(head, 8, 0x07)]) + subframe
    return frame + struct.pack(">H", crc(frame, 16, 0x8005))


def flac_file(rate, total, block, frames):
    info = struct.pack(">HH", block, block) + bytes(6) + (rate << 44 | 15 << 36 | total).to_bytes(8, "big") + bytes(16)
    return b"fLaC\x80\0\0\x22" + info + b"".join(frames)


def flac(samples, rate, block=4096):
    parts = [samples[at:at + block] for at in range(0, len(samples), block)]
    frames = [flac_frame(number, len(part), b"\x02" + pack_samples(part, "pcm16", ">")) for number, part in enumerate(parts)]
    return flac_file(rate, len(samples), block, frames)


def flac_of_one_value(seconds, rate=44100, block=65535):
    """A few bytes a second: 370 kB for ten hours."""
    count = -(-seconds * rate // block)
    return flac_file(rate, count * block, block, [flac_frame(number, block, b"\0\x03\xe8") for number in range(count)])


# ------------------------------------------------------------------------------------------------------------------ many recordings

def many_recordings(project):
    """Memory beside the training set may not grow with the recordings that are predicted: 4,000 took 500 MB in an earlier version."""
    root = project.new("set-many")
    project.describe("many", root)
    for number in range(8000):
        # Different bytes, since equal files share their features.
        samples = zlib.compress(str(number).encode()).ljust(800, bytes([number % 251 + 1]))[:800]
        put(root / ("cel", "flu")[number % 2] / f"{number:04}.wav", wave_head(4000, 800) + samples)
    text = ('description = "many"\nmax_unusable = 1.0\n[data]\nuse = "many"\n[audio]\nsample_rate = 4000\nclip_seconds = 0.1\n[split]\n'
            'kind = "holdout"\ntest = 0.5\n[features.mel]\nn_mels = 8\nn_fft = 256\nhop_length = 128\n[models.knn]\n')
    (project / "experiments/many.toml").write_text(text)
    project.run("many", "-q", runs=project.new("runs"), cache=project.new("cache"), bound=300 * MIB).code_in(0)
