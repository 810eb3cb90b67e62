"""Several processes at once: on one run, on one grid, on one cache; and `rm`, `gc` and the readers beside a run at work."""

import shutil
import time

from harness import (FEATURES, GRID, MODELS, Skip, expect, expect_same, expect_whole, grid_results, latest, leftovers, results, wait_for)

OTHER = "[features.mel]\nn_mels = 48\n[features.fft]\n[features.bandwidth]\n"


def run(area):
    project = area.project()
    project.folder_set("small")
    reference, seconds = project.trained("steady", FEATURES + MODELS, seeds=range(1, 5))
    other, _ = project.trained("other", OTHER + MODELS, seeds=range(1, 5))
    wanted = {"steady": results(reference), "other": results(other)}
    project.experiment("sweep", GRID, seeds=range(1, 4))
    swept = project.run("sweep", "-q").code_in(0)
    table = grid_results(project / "runs", "sweep")
    for name, rng in area.cases("finished_points_of_a_grid_at_work_are_removed", 8, until=0.15, least=1):
        area.check(name, points_removed, project, rng, table)
    for name, rng in area.cases("one_run_by_two_processes", 40, until=0.35):
        area.check(name, one_run, project, rng, seconds, wanted["steady"])
    for name, rng in area.cases("one_grid_by_several_processes", 20, until=0.6):
        area.check(name, one_grid, project, rng, swept.seconds, table)
    for name, rng in area.cases("one_cache_for_two_experiments", 40, until=0.8):
        area.check(name, one_cache, project, rng, seconds, wanted)
    for name, rng in area.cases("housekeeping_beside_a_run", 40, until=1.0):
        area.check(name, housekeeping, project, rng, wanted["steady"])
    area.check("a_clock_before_1970", clock, project, wanted["steady"])


def started(project, words, folders):
    return project.start("run", *words, "--device", "cpu", "-q", **folders)


def new_folders(project):
    return {"runs": project.new("runs"), "cache": project.new("cache")}


def one_run(project, rng, seconds, wanted):
    """One process makes the run. The other one waits, shows it, or says that it is in use."""
    folders = new_folders(project)
    both = [started(project, ("steady",), folders)]
    time.sleep(rng.uniform(0, 0.7) * seconds)
    both.append(started(project, ("steady",), folders))
    ended = [running.end().code_in(0, 1) for running in both]
    expect(any(end.code == 0 for end in ended), f"both failed: {ended[0].tail()}")
    for end in ended:
        expect(end.code == 0 or "another process" in end.text, f"failed beside the other process: {end.tail()}")
    expect_same(results(latest(folders["runs"], "steady")), wanted, "two processes on one run")
    sound(folders)


def one_grid(project, rng, seconds, wanted):
    """They share the points. One of them may be killed."""
    folders = new_folders(project)
    several = []
    for _ in range(rng.choice((2, 2, 3))):
        several.append(started(project, ("sweep", "--at-once", str(rng.choice((1, 2)))), folders))
        time.sleep(rng.uniform(0, 0.3) * seconds)
    if rng.random() < 0.5:
        several.pop(rng.randrange(len(several))).kill()
    for running in several:
        running.end().code_in(0)
    expect_same(grid_results(folders["runs"], "sweep"), wanted, "several processes on one grid")
    expect_whole(*folders.values())


def one_cache(project, rng, seconds, wanted):
    folders = new_folders(project)
    both = [started(project, ("steady",), folders)]
    time.sleep(rng.uniform(0, 0.5) * seconds)
    both.append(started(project, ("other",), folders))
    for running in both:
        running.end().code_in(0)
    for experiment in ("steady", "other"):
        expect_same(results(latest(folders["runs"], experiment)), wanted[experiment], f"two experiments on one cache, {experiment}")
    sound(folders)


def sound(folders):
    expect_whole(*folders.values())
    left = leftovers(folders["runs"]) + leftovers(folders["cache"])
    expect(not left, f"left behind: {', '.join(map(str, left[:5]))}")


def housekeeping(project, rng, wanted):
    """None of these may hurt a run at work. What they do to a finished one is mended by the same command."""
    folders = new_folders(project)
    running = started(project, ("steady",), folders)
    commands = (("gc", "-y", "--days", "0"), ("rm", "-y", "steady/latest"), ("cache", "gc", "--all"), ("runs",), ("report", "steady/latest"),
                ("compare", "steady"), ("plan", "steady"), ("runs", "--json"), ("features", "steady"), ("cache", "show"))
    while not running.over():
        project.timbre(*rng.choice(commands), **folders).code_in(0, 1, 2)
    running.end().code_in(0)
    expect_whole(folders["runs"])
    project.run("steady", "-q", **folders).code_in(0)
    expect_same(results(latest(folders["runs"], "steady")), wanted, "beside housekeeping")


def points_removed(project, rng, wanted):
    """Exit code 0 says that the table is complete."""
    folders = new_folders(project)
    running = started(project, ("sweep",), folders)
    removed = 0
    while removed < 3 and not running.over():
        done = wait_for(lambda: [path.parent for path in (folders["runs"] / "sweep").glob("2*/report.html")], 30, running)
        if done:
            removed += project.timbre("rm", "-y", rng.choice(done), **folders).code_in(0, 1, 2).code == 0
    if not removed:
        raise Skip("the sweep was over before a point was removed: it needs more points")
    ended = running.end().sound()
    table = folders["runs"] / "sweep/grid_results.csv"
    if ended.code == 0:
        waiting = sum("waiting" in line for line in table.read_text().splitlines())
        expect(not waiting, f"exit code 0, and {waiting} rows of grid_results.csv are `waiting`")
    project.run("sweep", "-q", **folders).code_in(0)
    expect_same(grid_results(folders["runs"], "sweep"), wanted, "after points were removed")


def clock(project, wanted):
    """A board without a battery may start in 1970, or before."""
    faketime = shutil.which("faketime")
    if not faketime:
        raise Skip("faketime is not installed")
    folders = {"runs": project.new("runs"), "cache": project / "cache"}
    for moment in ("1960-01-01 00:00:00", "1970-01-01 00:00:01", "2038-01-20 00:00:00", "2200-01-01 00:00:00"):
        ended = project.run("steady", "-q", "--fresh", before=(faketime, moment), **folders).sound()
        if ended.code == 0:
            expect_same(results(latest(folders["runs"], "steady")), wanted, f"at {moment}")
