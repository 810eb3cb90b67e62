#!/usr/bin/env python3
"""Measures latency and memory of a running `timbre serve` from the same machine, for docs/serving.md.

    benches/serve_load.py http://127.0.0.1:8080 RECORDING.wav [--requests 200] [--clients 1 8 64] [--soak 10000]

Every client keeps one connection open and sends the recording repeatedly. Uses the standard library only. Accepts loopback
addresses only.
"""

import argparse
import http.client
import sys
import threading
import time
import urllib.parse


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("server")
    parser.add_argument("recording")
    parser.add_argument("--requests", type=int, default=200, help="total requests for each number of clients")
    parser.add_argument("--clients", type=int, nargs="*", default=[1, 8, 64])
    parser.add_argument("--soak", type=int, default=0, help="number of requests from 8 clients while sampling memory")
    parser.add_argument("--query", default="?timeline=false")
    given = parser.parse_args()
    given.server = urllib.parse.urlsplit(given.server)
    if given.server.hostname not in ("127.0.0.1", "::1", "localhost"):
        sys.exit("the server must be on this machine (a loopback address)")
    return given


def resident(server):
    connection = http.client.HTTPConnection(server.hostname, server.port, timeout=60)
    connection.request("GET", "/metrics")
    for line in connection.getresponse().read().decode().splitlines():
        if line.startswith("process_resident_memory_bytes "):
            return float(line.split()[1]) / 2**20
    return float("nan")


def load(server, path, body, clients, requests, every=0):
    """Times in seconds, errors, and (requests so far, MiB) each `every` requests."""
    left, times, errors, memory = iter(range(requests)), [], [], []
    lock = threading.Lock()

    def client():
        connection = http.client.HTTPConnection(server.hostname, server.port, timeout=300)
        while True:
            with lock:
                if next(left, None) is None:
                    return
            began = time.perf_counter()
            try:
                connection.request("POST", path, body)
                answer = connection.getresponse()
                answer.read()
                wrong = None if answer.status == 200 else str(answer.status)
            except OSError as error:
                wrong = repr(error)
                connection.close()
            took = time.perf_counter() - began
            with lock:
                times.append(took)
                if wrong:
                    errors.append(wrong)
                if every and len(times) % every == 0:
                    memory.append((len(times), resident(server)))

    threads = [threading.Thread(target=client) for _ in range(clients)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(times), time.perf_counter() - began, errors, memory


def main():
    given = arguments()
    path = "/api/v1/predict" + given.query
    with open(given.recording, "rb") as file:
        body = file.read()
    load(given.server, path, body, 1, 10)
    print("| clients | requests | errors | requests/s | p50 ms | p90 ms | p99 ms | longest ms |")
    print("|---|---|---|---|---|---|---|---|")
    for clients in given.clients:
        times, wall, errors, _ = load(given.server, path, body, clients, given.requests)
        at = lambda share: 1000 * times[min(len(times) - 1, int(share * len(times)))]
        row = [clients, len(times), len(errors), f"{len(times) / wall:.1f}"]
        print("|", " | ".join(map(str, row + [f"{at(q):.0f}" for q in (0.5, 0.9, 0.99, 1.0)])), "|", flush=True)
        if errors:
            print(sorted(set(errors)), file=sys.stderr)
    if given.soak:
        every = max(1, given.soak // 10)
        times, wall, errors, memory = load(given.server, path, body, 8, given.soak, every)
        print(f"\n{len(times)} requests in {wall:.0f} s, {len(errors)} errors; resident memory after")
        print(", ".join(f"{n}: {mib:.1f} MiB" for n, mib in memory))


if __name__ == "__main__":
    main()
