"""Runs the work items of an experiment on a Ray cluster: one remote task an item. `timbre launch ray` writes this file and starts it.

Items that are ready are submitted as others end. The program travels to the nodes as an object, and each node keeps it as a file under its
hash, so that all run the same one. A task whose node or worker dies is started again elsewhere, and so is one that stopped on a signal (exit code 75);
items may run twice, at once or after a kill. Exit code: 0, that of the item that failed, 2 (usage), or 75 after a signal.
"""

import argparse
import ctypes
import hashlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

try:
    import ray
except ImportError:
    sys.exit(print(f"error: {sys.executable} has no package ray: pip install ray, or --python PATH", file=sys.stderr) or 2)

RETRIES = 3
INTERRUPTED = 75


class Interrupted(Exception):
    """The item stopped on a signal and can go on."""


def die_with_worker():
    """Between fork and exec: the kernel kills the program when the worker ends, however it ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def program_here(digest, program):
    """The path of the program on this node."""
    folder = pathlib.Path(tempfile.gettempdir()) / f"timbre-ray-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / digest
    if not path.exists():
        with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
            file.write(ray.get(program))
        os.chmod(file.name, 0o700)
        os.replace(file.name, path)
    return str(path)


@ray.remote
def run(item, digest, programs, folder):
    """Exit code, seconds, node and output of an item."""
    argv = [program_here(digest, programs[0]), *item["argv"][1:]]
    begun = time.monotonic()
    ended = subprocess.run(
        argv, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, preexec_fn=die_with_worker
    )
    output = ended.stdout.decode(errors="replace")
    if ended.returncode in (INTERRUPTED, -signal.SIGTERM):
        raise Interrupted(output)
    return ended.returncode, time.monotonic() - begun, ray.util.get_node_ip_address(), output


def request(item):
    resources = {"num_cpus": item["cpus"], "num_gpus": item["gpus"], "memory": item["memory"]}
    return {**resources, "max_retries": RETRIES, "retry_exceptions": [Interrupted], "name": item["id"]}


def warn_of_requests(items):
    """An item that fits on no node waits for ever, unless the cluster grows."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    for item in items:
        asked = {"CPU": item["cpus"], "GPU": item["gpus"], "memory": item["memory"]}
        if not any(all(node.get(name, 0) >= amount for name, amount in asked.items()) for node in nodes):
            gibibytes = f"{asked['memory'] / 2**30:.1f} GiB"
            print(
                f"warning: no node has what {item['id']} asks for ({asked['CPU']} cores, {asked['GPU']} GPUs, {gibibytes}): "
                "it waits for one. See --cpus, --memory and --device",
                file=sys.stderr,
            )
            return


def result_of(task):
    try:
        return ray.get(task)
    except ray.exceptions.RayError as error:
        return INTERRUPTED, 0.0, "", str(error)


def stop(*_):
    raise KeyboardInterrupt


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("plan", type=pathlib.Path)
    parser.add_argument("--program", type=pathlib.Path, required=True)
    parser.add_argument("--address")
    parser.add_argument("--at-once", type=int, default=sys.maxsize)
    arguments = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, stop)
    items = json.loads(arguments.plan.read_text())["items"]
    code = arguments.program.read_bytes()
    try:
        ray.init(address=arguments.address, log_to_driver=False, logging_level="warning", include_dashboard=None if arguments.address else False)
    except ConnectionError as error:
        print(f"error: no Ray cluster at {arguments.address}: {error}", file=sys.stderr)
        return 2
    digest, programs = hashlib.sha256(code).hexdigest(), [ray.put(code)]
    del code
    warn_of_requests(items)
    codes, running = {}, {}
    waiting = {item["id"]: item for item in items}
    while waiting or running:
        for item in [item for item in waiting.values() if all(need not in waiting and need not in running.values() for need in item["needs"])]:
            # A merge says what is missing.
            if item["kind"] != "merge" and any(codes.get(need) for need in item["needs"]):
                codes[item["id"]] = next(codes[need] for need in item["needs"] if codes.get(need))
                print(f"left out  {item['id']}", flush=True)
            elif len(running) < arguments.at_once:
                running[run.options(**request(item)).remote(item, digest, programs, os.getcwd())] = item["id"]
            else:
                continue
            del waiting[item["id"]]
        if not running:
            continue
        for task in ray.wait(list(running))[0]:
            name = running.pop(task)
            codes[name], seconds, node, output = result_of(task)
            print(f"{'failed' if codes[name] else 'done'}  {name}  {seconds:.1f} s  {node}".rstrip(), flush=True)
            if codes[name]:
                print("".join(f"    {line}\n" for line in output.splitlines()[-20:]), end="", file=sys.stderr, flush=True)
    return next((code for code in codes.values() if code), 0)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("stopped; the same command continues", file=sys.stderr)
        sys.exit(INTERRUPTED)
