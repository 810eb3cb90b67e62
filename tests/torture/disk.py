"""Full disks, read-only folders, a damaged feature cache, a run folder that disappears.

A full disk ends with a sentence; with room again, the same command ends with the same bytes. Damaged features never give other numbers.
"""

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from harness import FEATURES, MODELS, NETWORK, Skip, expect, expect_same, expect_whole, latest, mutate, results, wait_for


def run(area):
    project = area.project()
    project.folder_set("small")
    # Seeds make the run long enough for a disturbance in the middle of it.
    reference, _ = project.trained("steady", FEATURES + MODELS, seeds=range(1, 5))
    wanted = results(reference)
    used = sum(path.stat().st_size for path in reference.rglob("*") if path.is_file())
    cached = sum(path.stat().st_size for path in (project / "cache").rglob("*") if path.is_file())
    for name, rng in area.cases("cache_is_damaged_while_a_run_reads_it", 60, until=0.2, least=4):
        area.check(name, damaged_while_running, project, rng, wanted)
    for name, rng in area.cases("cache_is_damaged_before_a_run", 300, until=0.45, least=10):
        area.check(name, damaged_before, project, rng, wanted)
    for name, rng in area.cases("run_folder_is_removed_at_work", 30, until=0.55):
        area.check(name, run_folder_removed, project, rng, wanted)
    for part, size in (("runs", used), ("cache", cached)):
        for name, rng in area.cases(f"disk_of_the_{part}_is_full", 60, until=0.75, least=3):
            area.check(name, disk_full, area, project, rng, wanted, part, f"size={max(8192, int(size * rng.uniform(0.02, 0.98)))}")
    for name, rng in area.cases("no_inodes_are_left", 40, until=0.85):
        area.check(name, disk_full, area, project, rng, wanted, rng.choice(("runs", "cache")), f"nr_inodes={rng.randrange(4, 40)}")
    area.check("folders_in_dev_shm", in_memory, area, project, wanted)
    read_only(area, project, wanted)


def in_memory(area, project, wanted):
    """Files below /dev are not always devices: /dev/shm is the usual folder in memory."""
    if not os.access("/dev/shm", os.W_OK):
        raise Skip("there is no /dev/shm")
    home = Path(tempfile.mkdtemp(prefix="timbre-torture-", dir="/dev/shm"))
    area.stack.callback(shutil.rmtree, home, ignore_errors=True)
    folders = {"runs": home / "runs", "cache": home / "cache"}
    for _ in range(2):
        project.run("steady", "-q", **folders).code_in(0)
        expect_whole(*folders.values())
        expect_same(results(latest(folders["runs"], "steady")), wanted, "in /dev/shm")


def disk_full(area, project, rng, wanted, part, options):
    """A file system that is too small ends the run with a sentence. Then it grows."""
    home = area.tmpfs(f"full-{project.count}", options)
    folders = {"runs": project.new("runs"), "cache": project.new("cache")} | {part: home / part}
    try:
        ended = project.run("steady", "-q", **folders).code_in(0, 1, 2)
        expect_whole(*folders.values())
        if ended.code != 0:
            project.timbre("runs", **folders).code_in(0, 1, 2)
        subprocess.run(["mount", "-o", "remount,size=512m,nr_inodes=0", str(home)], check=True, capture_output=True)
        project.run("steady", "-q", **folders).code_in(0)
        expect_same(results(latest(folders["runs"], "steady")), wanted, f"after {options}")
    finally:
        subprocess.run(["umount", "-l", str(home)], capture_output=True)


# ------------------------------------------------------------------------------------------------------------- the feature cache

def features(project):
    """A new cache with the features of `steady`; its folder of packs."""
    cache = project.new("cache")
    shutil.copytree(project / "cache", cache)
    return cache, cache / "features"


def damaged_before(project, rng, wanted):
    cache, folder = features(project)
    what = rng.choice(sorted(path for path in [*folder.iterdir(), *cache.rglob("*.json")] if path.is_file()))
    kind = rng.choice(("mutated", "mutated", "mutated", "cut", "empty", "noise", "removed", "folder", "link"))
    data = what.read_bytes()
    what.unlink()
    if kind == "folder":
        what.mkdir()
    elif kind == "link":
        what.symlink_to(what.name)
    elif kind != "removed":
        cut = data[:rng.randrange(len(data) + 1)]
        what.write_bytes({"mutated": mutate(rng, data), "cut": cut, "empty": b"", "noise": rng.randbytes(len(data))}[kind])
    folders = {"runs": project.new("runs"), "cache": cache}
    ended = project.run("steady", "-q", memory=4 << 30, **folders).sound()
    expect(ended.code == 0 or kind in ("folder", "link"), f"exit code {ended.code} with a {kind} {what.name}: {ended.tail()}")
    if ended.code == 0:
        expect_same(results(latest(folders["runs"], "steady")), wanted, f"with a {kind} {what.name}")


def damaged_while_running(project, rng, wanted):
    """Damage between two trials: the run may fail with a sentence, and the same command again repairs it. It may not give other numbers."""
    cache, folder = features(project)
    folders = {"runs": project.new("runs"), "cache": cache}
    running = project.start("run", "steady", "--device", "cpu", "-q", **folders)
    first = wait_for(lambda: len(list(folders["runs"].rglob("units/*.json"))) > rng.randrange(3), 60, running)
    for pack in folder.glob("*.pack"):
        damage(rng, pack, rng.choice(("swap", "noise", "zeros", "cut")))
    if not first or running.over():
        raise Skip("the run was over before the damage: it needs more seeds")
    ended = running.end().sound()
    if ended.code == 0:
        expect_same(results(latest(folders["runs"], "steady")), wanted, "damaged at work, exit code 0")
    listed = project.timbre("runs", **folders).code_in(0)
    expect(b"cannot" not in listed.err, f"`timbre runs` afterwards: {listed.tail()}")
    expect_whole(folders["runs"])
    project.run("steady", "-q", **folders).code_in(0)
    expect_same(results(latest(folders["runs"], "steady")), wanted, "damaged at work, then run again")


def damage(rng, pack, kind):
    """In place, as a disk does it: open files see it."""
    size = pack.stat().st_size
    with open(pack, "r+b") as file:
        if kind == "cut":
            file.truncate(rng.randrange(size))
            return
        for _ in range(400):
            one, other = (512 * rng.randrange(size // 512) for _ in range(2))
            file.seek(one)
            here = file.read(512)
            file.seek(other)
            there = file.read(512)
            file.seek(other)
            file.write({"swap": here, "noise": rng.randbytes(512), "zeros": bytes(512)}[kind])
            if kind == "swap":
                file.seek(one)
                file.write(there)


def run_folder_removed(project, rng, wanted):
    """The run fails and says so, and the same command again makes everything anew."""
    folders = {"runs": project.new("runs"), "cache": project / "cache"}
    running = project.start("run", "steady", "--device", "cpu", "-q", **folders)
    home = folders["runs"] / "steady"
    wait_for(lambda: len(list(home.rglob("units/*.json"))) > rng.randrange(4), 60, running)
    what = next((path for path in home.glob("2*") if path.is_dir()), None) if rng.random() < 0.7 else home
    if not what or running.over():
        raise Skip("the run was over before its folder was removed: it needs more seeds")
    # A file that is written meanwhile keeps the folder.
    while what.exists():
        shutil.rmtree(what, ignore_errors=True)
    ended = running.end().sound()
    expect(ended.code != 0, "exit code 0 though its folder was removed")
    expect(re.search("(?i)removed|no such", ended.text), f"no word of the removed folder: {ended.tail()}")
    expect("the run is finished" not in ended.text, f"it calls the run finished: {ended.tail()}")
    tables = [table.parent for table in home.glob("2*/results.csv") if not (table.parent / "config.toml").is_file()]
    expect(not tables, "it made the folder again, with tables and without config.toml")
    project.run("steady", "-q", **folders).code_in(0)
    expect_same(results(latest(folders["runs"], "steady")), wanted, "after the folder was removed")
    expect_whole(folders["runs"])


# --------------------------------------------------------------------------------------------------------------- read-only folders

def read_only(area, project, wanted):
    try:
        home = locked_away(area, project)
    except Skip as why:
        for name in ("read_only_runs", "read_only_cache", "read_only_cache_without_index"):
            area.skip(name, str(why))
        return
    area.check("read_only_runs", read_only_runs, project, home, wanted)
    area.check("read_only_cache", read_only_cache, project, home / "cache", wanted)
    area.check("read_only_cache_without_index", read_only_cache, project, home / "without-index", wanted)


def locked_away(area, project):
    """Copies of runs and cache that cannot be written. Modes do not stop root: it needs a file system of its own."""
    project.experiment("points", "[features.mel]\nn_mels = 32\n[models.knn]\n[grid]\n\"models.knn.k\" = [1, 3]\n")
    project.run("points", "-q").code_in(0)
    is_root = os.geteuid() == 0
    home = area.tmpfs("read-only", "size=512m") if is_root else project.new("read-only")
    for source, name in (("runs", "runs"), ("cache", "cache"), ("cache", "without-index")):
        shutil.copytree(project / source, home / name, symlinks=True)
    for index in (home / "without-index/features").glob("*.idx"):
        index.unlink()
    if is_root:
        subprocess.run(["mount", "-o", "remount,ro", str(home)], check=True, capture_output=True)
    else:
        for path in [home, *home.rglob("*")]:
            if not path.is_symlink():
                path.chmod(path.stat().st_mode & 0o555)
    return home


def read_only_runs(project, home, wanted):
    """What only reads works; what has to write says that it cannot."""
    folders = {"runs": home / "runs", "cache": home / "cache"}
    clip = project / "data/small/cel/000.wav"
    for words in (("run", "steady"), ("run", "points"), ("runs",), ("check", "steady"), ("plan", "steady"), ("compare", "steady/latest"),
                  ("predict", "steady/latest:mel.logistic.s1", clip), ("data", "check", "small"), ("gc", "-n"), ("cache", "show"),
                  ("reproduce", "steady/latest")):
        project.timbre(*words, **folders).code_in(0)
    project.experiment("unseen", NETWORK)
    for words in (("run", "unseen"), ("run", "steady", "--fresh"), ("report", "steady/latest"), ("rm", "-y", "steady/latest")):
        project.timbre(*words, **folders).code_in(1, 2)
    expect_same(results(latest(folders["runs"], "steady")), wanted, "in a read-only folder")


def read_only_cache(project, cache, wanted):
    """All features are there: nothing has to be written."""
    folders = {"runs": project.new("runs"), "cache": cache}
    project.run("steady", "-q", **folders).code_in(0)
    expect_same(results(latest(folders["runs"], "steady")), wanted, "with a read-only cache")
