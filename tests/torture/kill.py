"""SIGKILL at random moments, then the same command again: the same bytes as without the kill, and nothing left behind.

The moment is random, so a case repeats the delay and not the instruction. Where a temporary file or folder has to be there, the script waits
for it and kills then.
"""

from harness import (GRID, MODELS, FEATURES, NETWORK, Skip, expect, expect_same, expect_whole, grid_results, latest, leftovers, make_older, results,
                     tree, wait_for)

DEMO = ("--set", "data.clips_per_class=8", "--set", "data.test_recordings=2")


def run(area):
    project = area.project()
    project.folder_set("small")
    runs(area, project, "quickstart", ("quickstart", *DEMO), until=0.3)
    project.experiment("network", NETWORK)
    runs(area, project, "network", ("network",), until=0.5)
    project.experiment("sweep", GRID)
    runs(area, project, "grid", ("sweep",), until=0.7)
    area.check("a_temporary_file_in_any_folder_of_a_run_is_removed_by_the_next_start", planted, project)
    predict(area, project, until=0.85)
    data_make(area, project, until=1.0)


def runs(area, project, family, words, until):
    """Kills of `timbre run`, one to three for each case."""
    experiment, wanted = words[0], None
    for name, rng in area.cases(f"{family}_is_killed", 200, until):
        if wanted is None:
            wanted = undisturbed(project, words)
        area.check(name, killed, project, rng, words, experiment, *wanted)


def undisturbed(project, words):
    """The files of a run that nobody disturbs, and its seconds."""
    folder, cache = project.new("runs"), project.new("cache")
    ended = project.run(*words, "-q", runs=folder, cache=cache).code_in(0)
    return files(folder, words[0]), ended.seconds


def files(folder, experiment):
    if (folder / experiment / "grid.json").is_file():
        return grid_results(folder, experiment)
    return results(latest(folder, experiment))


def killed(project, rng, words, experiment, wanted, seconds):
    folder, cache = project.new("runs"), project.new("cache")
    for _ in range(rng.choice((1, 1, 2, 3))):
        running = project.start("run", *words, "--device", "cpu", "-q", runs=folder, cache=cache)
        if rng.random() < 0.3:
            # While a file is being written.
            wait_for(lambda: leftovers(folder), rng.uniform(0.2, 1) * seconds, running)
        else:
            running.wait(rng.uniform(0, 1) * seconds)
        running.kill()
        expect_whole(folder, cache)
        if folder.is_dir():
            project.timbre("runs", runs=folder, cache=cache).code_in(0)
    project.run(*words, "-q", runs=folder, cache=cache).code_in(0)
    expect_same(files(folder, experiment), wanted, "after the kill")
    expect_whole(folder, cache)
    expect_clean(project, folder, cache)


def expect_clean(project, folder, cache):
    """No temporary file is left, at the latest after `timbre gc` and `timbre cache gc`."""
    for home in (folder, cache):
        make_older(home)
    for words in (("gc", "--yes"), ("cache", "gc")):
        project.timbre(*words, runs=folder, cache=cache).code_in(0)
    left = leftovers(folder) + leftovers(cache)
    expect(not left, f"left behind after the next start and `gc`: {', '.join(map(str, left[:5]))}")


def planted(project):
    """What a kill leaves once in fourteen tries, put there by hand."""
    folder, cache = project.new("runs"), project.new("cache")
    project.experiment("planted", NETWORK.replace("epochs = 8", "epochs = 20"))
    running = project.start("run", "planted", "--device", "cpu", "-q", runs=folder, cache=cache)
    wait_for(lambda: any(folder.rglob("checkpoints/*/*")), 60, running)
    running.kill()
    run = next(path for path in (folder / "planted").iterdir() if path.is_dir() and not path.is_symlink())
    if list(run.glob("units/*.json")):
        raise Skip("the training was over before it was killed: it needs more epochs")
    for home in (run, run / "units", *(run / name / "mel.cnn_small.s1" for name in ("networks", "models", "checkpoints"))):
        home.mkdir(parents=True, exist_ok=True)
        (home / ".part-Xk21ab").write_bytes(b"half a file")
    project.run("planted", "-q", runs=folder, cache=cache).code_in(0)
    left = leftovers(run)
    expect(not left, f"the next start leaves {', '.join(str(path.relative_to(run)) for path in left)}")


def predict(area, project, until):
    """Kills of `timbre predict --out`."""
    ready = None
    for name, rng in area.cases("predict_is_killed", 60, until):
        if ready is None:
            project.trained("classic", FEATURES + MODELS)
            recordings = project.folder_set("many", clips=60, seconds=0.5)
            out = project.new("out")
            words = ("predict", "classic/latest:mel.logistic.s1", recordings, "--csv", "--jobs", "1")
            ready = words, project.timbre(*words, "--out", out).code_in(0).seconds, tree(out)
        area.check(name, predict_killed, project, rng, *ready)


def predict_killed(project, rng, words, seconds, wanted):
    out = project.new("out")
    running = project.start(*words, "--out", out)
    if rng.random() < 0.7:
        wait_for(lambda: leftovers(out), seconds * 2, running)
    else:
        running.wait(rng.uniform(0, 1) * seconds)
    running.kill()
    project.timbre(*words, "--out", out).code_in(0)
    left = leftovers(out)
    expect(not left, f"the same command again leaves {', '.join(str(path.relative_to(out)) for path in left)}")
    expect_same(tree(out), wanted, "after the kill")


def data_make(area, project, until):
    """Kills of `timbre data make`."""
    ready = None
    for name, rng in area.cases("data_make_is_killed", 60, until):
        if ready is None:
            home = project.new("home")
            words = ("data", "make", "demo", "--clips-per-class", "2", "--set", "data.test_recordings=1")
            ready = words, project.timbre(*words, "--out", home / "X").code_in(0).seconds, tree(home / "X")
        area.check(name, data_make_killed, project, rng, *ready)


def data_make_killed(project, rng, words, seconds, wanted):
    home = project.new("home")
    running = project.start(*words, "--out", home / "X")
    running.wait(rng.uniform(0.1, 1) * seconds)
    running.kill()
    if not (home / "X").is_dir():
        project.timbre(*words, "--out", home / "X").code_in(0)
    expect_same(tree(home / "X"), wanted, "after the kill")
    left = [path.name for path in home.iterdir() if path.name != "X"]
    expect(not left, f"left beside the set, after the same command again: {', '.join(left)}")
