"""Experiment files that are wrong, endless or hostile, and names that mean something to a terminal, a spreadsheet or a file system.

`check` and `plan` end soon, with code 0 or with code 2 and a sentence. Nothing is written outside the folders of runs and cache.
"""

import csv
import os
import re

from harness import (GIB, MIB, MODELS, REPOSITORY, Skip, expect, latest, put, tone, tree, wave)

SECONDS = 20                            # of a `check` or `plan`; they take 30 ms
PLAIN = "[features.mel]\nn_mels = 32\n[models.average]\n"
ESCAPE = b"\x1b]0;pwned\x07\x1b[2J\x9b31m"


def run(area):
    project = area.project()
    project.folder_set("small", clips=6)
    project.experiment("plain", PLAIN + MODELS.replace("[models.average]", ""))
    for words in (("check", "quickstart"), ("plan", "quickstart"), ("report", "quickstart/latest")):
        area.check(f"{words[0]}_makes_no_demo_set", no_demo_set, project, words)
    for name in ("file", "folder"):
        area.check(f"escapes_in_the_name_of_a_{name}_do_not_reach_the_terminal", escapes, project, name)
    area.check("a_line_break_in_a_name_makes_no_line", line_break, project)
    area.check("class_names_are_no_formulas_in_csv", formulas, project)
    area.check("class_names_are_escaped_in_html", html, project)
    area.check("rm_of_a_link_out_of_the_runs_removes_nothing", link_out_of_runs, project)
    area.check("a_name_that_is_sound_for_check_can_be_run", long_names, project)
    for name, put_file in parents(project):
        area.check(f"extends_{name}", parent, project, name, put_file)
    for number, name in enumerate(NAMES):
        area.check(f"experiment_with_hostile_name/{number}", hostile_name, project, name)
    for name, rng in area.cases("mutated_experiment", 3000, until=1.0, least=20):
        area.check(name, mutated, project, rng)


def quick(project, *words, **settings):
    return project.timbre(*words, seconds=SECONDS, memory=3 * GIB, bound=600 * MIB, **settings).sound()


def no_demo_set(project, words):
    """369 MB and 40 s for a command that only looks."""
    if words[0] == "report":
        few = ("--set", "data.clips_per_class=3", "--set", "data.test_recordings=1", "--set", "data.excerpts_per_song=1")
        project.run("quickstart", "-q", *few).code_in(0)
    cache = project.new("cache")
    ended = project.timbre(*words, cache=cache, seconds=10)
    made = sum(path.stat().st_size for path in cache.rglob("*") if path.is_file())
    expect(made < MIB, f"it wrote {made / MIB:.0f} MiB into the cache")
    ended.code_in(0, 2)


# --------------------------------------------------------------------------------------------------------------------- names

def named_set(project, labels, files=("a", "b", "c", "d")):
    """A set with these classes and files; its name and its root."""
    name = f"named{project.count}"
    root = project.new("set")
    project.describe(name, root)
    project.experiment(name, PLAIN, data=name)
    for number, label in enumerate(labels):
        for clip, file in enumerate(files):
            path = os.path.join(os.fsencode(root), os.fsencode(label))
            os.makedirs(path, exist_ok=True)
            try:
                with open(os.path.join(path, os.fsencode(file) + b".wav"), "wb") as out:
                    out.write(wave(tone(number, clip, 1.0, 8000), 8000))
            except OSError as error:
                raise Skip(f"this file system has no such name: {error}") from None
    return name, root


def commands(project, name, root, labels):
    """What prints names: the output of each command. CSV and JSON are data, in which names are not changed."""
    outputs = [quick(project, "check", name), quick(project, "plan", name), quick(project, "data", "check", name),
               quick(project, "data", "describe", name), quick(project, "data", "list"), quick(project, "run", name)]
    if outputs[-1].code == 0:
        model = f"{name}/latest:mel.average.s1"
        outputs += [quick(project, "predict", model, root), quick(project, "compare", f"{name}/latest"), quick(project, "runs"), quick(project, "report", f"{name}/latest")]
    outputs.append(quick(project, "check", name, "--set", f"data.classes=[\"{labels[0]}\", \"none\"]"))
    return outputs


def escapes(project, kind):
    hostile = ESCAPE.decode("latin-1").encode("utf-8")
    labels = ["cel", "flu"] if kind == "file" else [os.fsdecode(b"cel" + hostile), "flu"]
    files = ("a", "b", "c", os.fsdecode(b"d" + hostile)) if kind == "file" else ("a", "b", "c", "d")
    name, root = named_set(project, labels, files)
    # Unusable, so that sentences name it.
    bad = os.path.join(os.fsencode(root), os.fsencode(labels[0]), b"bad" + hostile + b".wav")
    with open(bad, "wb") as out:
        out.write(b"no sound")
    for ended in commands(project, name, root, labels):
        for stream in (ended.out, ended.err):
            found = re.search(rb"[\x1b\x07]|\xc2[\x80-\x9f]", stream)
            expect(found is None, f"`{' '.join(ended.words[1:3])}` prints {found and stream[found.start():found.start() + 12]!r}")


def line_break(project):
    name, root = named_set(project, ["cel", "flu"], ("a", "b", "c", "d\nFORGED: 0 unusable"))
    put(root / "cel/e\nFORGED: 0 unusable.wav", b"no sound")
    for ended in commands(project, name, root, ["cel"]):
        for line in ended.text.splitlines():
            expect(not line.startswith("FORGED"), f"`{' '.join(ended.words[1:3])}` prints a line that a file name forged")


def formulas(project):
    labels = ["=HYPERLINK(\"http:evil\")", "+1+1", "-2+3", "@SUM(1)"]
    name, _ = named_set(project, labels)
    quick(project, "run", name, "-q", "--escape-formulas").code_in(0)
    for table in latest(project / "runs", name).glob("*.csv"):
        with open(table, newline="") as file:
            cells = {cell for row in csv.reader(file) for cell in row}
        found = sorted(cell for cell in cells if cell.startswith(tuple(labels)))
        expect(not found, f"{table.name} has the cells {found}, which a spreadsheet computes")


def html(project):
    label = "<img src=x onerror=alert(1)>\"'&"
    name, _ = named_set(project, [label, "flu"])
    quick(project, "run", name, "-q").code_in(0)
    quick(project, "compare", f"{name}/latest", "--html", project.new("compare.html")).code_in(0)
    for page in [*latest(project / "runs", name).glob("*.html"), *(project / "tmp").glob("*compare.html")]:
        expect("<img src=x" not in page.read_text(), f"{page.name} has the class name as HTML")


def link_out_of_runs(project):
    """`latest` may be a link of a stranger: what lies outside of --runs is not ours to remove."""
    elsewhere = project.new("elsewhere")
    project.run("plain", "-q", runs=elsewhere).code_in(0)
    outside = latest(elsewhere, "plain")
    home = project / "linked/plain"
    home.mkdir(parents=True)
    (home / "latest").symlink_to(outside)
    before = tree(outside)
    quick(project, "rm", "-y", "plain/latest", runs="linked")
    expect(tree(outside) == before, f"rm removed {outside}, where a link in --runs leads to")


def long_names(project):
    project.experiment("long", PLAIN + f"[models.{'m' * 300}]\nkind = \"knn\"\n")
    if quick(project, "check", "long").code_in(0, 2).code == 0:
        quick(project, "run", "long", "-q").code_in(0)


NAMES = ("../outside", "a/b", "spaced name", "new\nline", "-q", "--fresh", ".hidden", "..", "x" * 250, "ünïcode", "a;b", "$(touch pwned)", "con",
         "latest", ".lock", "%s%n", "\u202egnp")


def hostile_name(project, name):
    """An experiment is a folder in --runs, so its name cannot lead out of it."""
    path = project / f"experiments/{name}.toml"
    try:
        put(path, (project / "experiments/plain.toml").read_bytes())
    except OSError as error:
        raise Skip(f"this file system has no such name: {error}") from None
    watched = lambda: {path for path in tree(project.folder) if not path.startswith(("runs/", "cache/", "output/", "tmp/"))}
    before = watched()
    for words in (("check", path), ("plan", path), ("run", path, "-q"), ("runs",), ("check", "--", name)):
        quick(project, *words).code_in(0, 1, 2)
    new = sorted(watched() - before)
    expect(not new, f"it wrote {new[:3]}")


# ------------------------------------------------------------------------------------------------------------------- parents

SECRET = "hunter2-b1946ac9"


def parents(project):
    """What `extends` may lead to: a name, and a function that returns the value of the key."""
    home = project / "experiments"

    def text(name, content):
        return lambda: put(home / f"{name}.toml", content.encode()) and name

    def chain():
        for number in range(3000):
            put(home / f"chain{number}.toml", f"extends = \"chain{number + 1}\"\n".encode())
        put(home / "chain3000.toml", (home / "plain.toml").read_bytes())
        return "chain0"

    def cycle():
        put(home / "one.toml", b"extends = \"other\"\n")
        put(home / "other.toml", b"extends = \"one\"\n")
        return "one"

    def linked_cycle():
        put(home / "first.toml", b"extends = \"second\"\n")
        (home / "second.toml").symlink_to("third.toml")
        put(home / "third.toml", b"extends = \"first\"\n")
        return "first"

    def made(name, make):
        def put_file():
            make(home / f"{name}.toml")
            return name
        return put_file

    def secret():
        put(project / "secret.txt", f"root:{SECRET}:0:0\n".encode())
        return "../secret.txt"

    yield "itself", text("parent_itself", "extends = \"parent_itself\"\n")
    yield "a_cycle", cycle
    yield "a_cycle_over_a_link", linked_cycle
    yield "a_chain_of_3000", chain
    yield "a_fifo", made("fifo", os.mkfifo)
    yield "an_endless_device", made("endless", lambda path: path.symlink_to("/dev/zero"))
    yield "a_folder", made("folder", lambda path: path.mkdir())
    yield "a_link_to_itself", made("loop", lambda path: path.symlink_to(path.name))
    yield "nothing", lambda: "../../../../nowhere"
    yield "bytes_that_are_no_text", made("bytes", lambda path: path.write_bytes(b"\xff\xfe\0" * 1000))
    yield "a_deep_table", text("deep", "a = " + "[" * 100_000 + "\n")
    yield "deep_keys", text("deep_keys", ".".join(["a"] * 50_000) + " = 1\n")
    yield "a_hundred_thousand_keys", text("wide", "".join(f"k{number} = 1\n" for number in range(100_000)))
    yield "a_file_whose_lines_it_does_not_show", secret


def parent(project, name, put_file):
    put(project / "experiments/child.toml", b"extends = " + repr(put_file()).replace("'", '"').encode() + b"\n")
    for command in ("check", "plan"):
        ended = project.timbre(command, "child", seconds=SECONDS, memory=4 * GIB, bound=GIB).code_in(0, 2)
        expect(SECRET not in ended.text, "it prints a line of a file that is no TOML")


# ----------------------------------------------------------------------------------------------------------------- mutated files

VALUES = ("0", "-1", "1", "2", "1e308", "-1e308", "1e-300", "nan", "inf", "-inf", "9223372036854775807", "-9223372036854775808", "4294967296",
          "0.5", "true", "\"\"", "\"x\"", "\"../../x\"", "[]", "{}", "[[]]", "[1, 1]", "[\"mel\", \"mel\"]", "1979-05-27T07:32:00Z", "\"\\u0000\"",
          "\"\\u001b[31m\"", "{ from = 1, to = 1e9, steps = 1000000000 }", "\"1..1000000000/1\"", "\"0.0..1.0/0.0\"", "[1e9]", "{ log = [0.1, 5] }")
LINES = ("[grid]", "[models.x]", "[features.x]", "kind = \"knn\"", "kind = \"cnn_small\"", "extends = \"quickstart\"", "[[augment]]", "[evaluate]",
         "mode = \"windows\"", "window = { seconds = 1e-9, hop = 1e-9 }", "\"models.knn.k\" = { from = 1, to = 1e9, steps = 1000000 }", "[a.b.c]",
         "seeds = [1, 2, 18446744073709551615]", "sample = 1000000000", "clip_seconds = 1e9", "sample_rate = 4294967295", "n_mels = 4096", "= 1",
         "[evaluate.search]", "cutoff = \"0.0..1.0/0.000000001\"", "batch_size = 0", "epochs = 4294967295", "\ufeff", "\u202e = 1", "members = [\"+.x\"]")


def mutated(project, rng):
    """A shipped experiment with other values, lines and letters, on the small set."""
    files = sorted((REPOSITORY / "experiments").glob("*.toml"))
    lines = rng.choice(files).read_text().splitlines() if files else (project / "experiments/plain.toml").read_text().splitlines()
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(lines)) if lines else 0
        kind = rng.randrange(8)
        keyed = [number for number, line in enumerate(lines) if "=" in line]
        if kind <= 2 and keyed:
            at = rng.choice(keyed)
            lines[at] = lines[at].split("=")[0] + "= " + rng.choice(VALUES)
        elif kind == 3 and lines:
            lines.insert(at, rng.choice(lines))
        elif kind == 4 and lines:
            del lines[at]
        elif kind == 5 and lines and lines[at]:
            letter = rng.randrange(len(lines[at]))
            lines[at] = lines[at][:letter] + rng.choice(("", "\"", "]", "[", ".", "=", "\0", "é", "\u202e", " ")) + lines[at][letter + 1:]
        elif kind == 6 and len(lines) > 1:
            rng.shuffle(lines)
        else:
            lines.insert(at, rng.choice(LINES))
    text = "\n".join(lines).encode("utf-8", "replace") + b"\n"
    if rng.random() < 0.1:
        text = text.replace(b"e", rng.choice((b"\xff", b"\xc3", b"\0", b"\r")), 2)
    put(project / "experiments/mutated.toml", text)
    for command in ("check", "plan"):
        quick(project, command, "mutated", "--data", "small").code_in(0, 2)
