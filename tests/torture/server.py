"""Requests that no browser sends: two lengths, endless heads, foreign hosts, slow clients, wrong tokens, bodies that are no audio.

The server answers each with an error or closes the connection, goes on, and gives the right answer to the next good recording.
"""

import json
import re
import signal
import socket
import struct
import time

from audio import caf, flac_of_one_value
from harness import FEATURES, GIB, MIB, MODELS, REPOSITORY, Failure, Skip, expect, mutate, tone, wait_for, wave, wave_head

MODEL = "classic/latest:mel.logistic.s1"
PREDICT = "/api/v1/predict"
PROBE = 5                               # seconds after which a health check of a container or a proxy gives up


def run(area):
    project = area.project()
    project.folder_set("small", clips=6)
    project.trained("classic", FEATURES + MODELS)
    right = Right(project)
    for name, environment in (("empty", ""), ("not_utf8", "sec\udcff"), ("with_a_space", " x"), ("with_a_line_break", "x\n"), ("not_ascii", "é")):
        area.check(f"a_token_that_is_{name}_lets_nobody_in", odd_token, project, environment)
    with Server(project, memory=4 * GIB) as server:
        for name, host in FOREIGN_HOSTS.items():
            area.check(f"foreign_host/{name}", foreign_host, server, host)
        for name, host in OWN_HOSTS.items():
            area.check(f"own_host/{name}", own_host, server, host)
        for name, request, statuses in raw_requests():
            area.check(f"raw/{name}", raw, server, request, statuses, right)
        for name, body in bodies(project):
            area.check(f"body/{name}", no_audio, server, body, right)
        area.check("health_check_beside_idle_connections", idle, server, right)
        area.check("slow_heads_are_closed", slow_heads, server, right)
        area.check("slow_bodies_are_closed", slow_bodies, server, right)
        for name, rng in area.cases("mutated_request", 4000, until=0.8, least=30):
            area.check(name, mutated_request, server, rng, right)
        for name, rng in area.cases("mutated_body", 4000, until=1.0, least=20):
            area.check(name, mutated_body, server, rng, right)
        area.check("one_good_prediction_after_all_of_it", right.is_given_by, server)
        area.check("bounded_memory_after_all_of_it", memory, server)
        area.check("it_stops_on_sigterm", stops, server)
    with Server(project, {"TIMBRE_TOKEN": "the right token"}) as server:
        for number, header in enumerate(WRONG_TOKENS):
            area.check(f"wrong_token/{number}", wrong_token, server, header)
        area.check("the_right_token", right_token, server, right)


# --------------------------------------------------------------------------------------------------------------------- the server

class Server:
    def __init__(self, project, environment=None, memory=None):
        self.project, self.settings = project, {"environment": environment, "memory": memory}
        self.start()

    def start(self):
        self.running = self.project.start("serve", MODEL, "--addr", "127.0.0.1:0", **self.settings)
        self.command, self.address = self.project.area.last, None
        found = wait_for(lambda: re.search(r"http://([\d.]+):(\d+)", self.running.out.read_text()), 30, self.running)
        if found:
            self.address = (found.group(1), int(found.group(2)))

    def __enter__(self):
        expect(self.address, f"the server did not start: {self.running.stderr()[-400:]}")
        return self

    def __exit__(self, *_):
        self.running.kill()

    def has_not_ended(self):
        """Otherwise it is started again, for the next checks."""
        if self.running.over():
            code, said = self.running.process.returncode, self.running.stderr()[-300:]
            self.start()
            raise Failure(f"the server has ended ({f'signal {-code}' if code < 0 else f'exit code {code}'}): {said}")

    def connect(self, seconds=30):
        try:
            connection = socket.create_connection(self.address, timeout=seconds)
        except OSError:
            self.has_not_ended()
            raise
        connection.settimeout(seconds)
        return connection

    def send(self, request, seconds=30, half=False):
        """Everything that the server answers until it closes or is silent. `half`: the client closes its direction, so that the server does
        not wait for more."""
        with self.connect(seconds) as connection:
            self.project.area.last = f"{self.command}  # then the bytes {request[:200]!r}{'…' if len(request) > 200 else ''}"
            try:
                connection.sendall(request)
                if half:
                    connection.shutdown(socket.SHUT_WR)
            except OSError:
                pass                    # it may refuse before it has read everything
            answer = self.read(connection)
        if not answer:
            self.running.wait(0.05)
            self.has_not_ended()
        return answer

    def read(self, connection):
        answer = b""
        try:
            while part := connection.recv(1 << 16):
                answer += part
                head, _, body = answer.partition(b"\r\n\r\n")
                length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
                if length and len(body) >= int(length.group(1)) and b"onnection: close" not in head:
                    # A second answer would follow at once.
                    connection.settimeout(0.2)
        except OSError:
            pass
        return answer

    def get(self, path, headers="", seconds=30):
        return self.send(f"GET {path} HTTP/1.1\r\nHost: {self.host}\r\nConnection: close\r\n{headers}\r\n".encode("latin-1"), seconds)

    def post(self, body, headers="", path=PREDICT):
        head = f"POST {path} HTTP/1.1\r\nHost: {self.host}\r\nConnection: close\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
        return self.send(head.encode("latin-1") + body)

    @property
    def host(self):
        return "{}:{}".format(*self.address)

    def lives(self, seconds=30):
        self.has_not_ended()
        began = time.monotonic()
        answer = self.get("/healthz", seconds=seconds)
        expect(status(answer) == 200, f"no health after {time.monotonic() - began:.1f} s: {answer[:100]!r}")
        expect("panicked at" not in self.running.stderr(), f"panic: {self.running.stderr()[-400:]}")


def status(answer):
    found = re.match(rb"HTTP/1\.[01] (\d{3})", answer)
    return int(found.group(1)) if found else None


def answers(answer):
    return len(re.findall(rb"HTTP/1\.[01] \d{3}", answer))


class Right:
    """A good recording, and what `timbre predict` says of it."""

    def __init__(self, project):
        path = project / "data/small/flu/001.wav"
        predicted = project.timbre("predict", MODEL, path, "--json").code_in(0)
        self.body = path.read_bytes()
        self.confidences = self.of(json.loads(predicted.out)["files"][0]["classes"])

    def of(self, classes):
        """Names and probabilities, rounded to what both outputs have."""
        number = lambda one: next(value for value in one.values() if isinstance(value, float))
        return {one.get("code") or one.get("class") or one.get("name"): round(number(one), 5) for one in classes}

    def is_given_by(self, server, headers=""):
        answer = server.post(self.body, headers)
        expect(status(answer) == 200, f"a good recording gets {answer[:200]!r}")
        found = self.of(json.loads(answer.partition(b"\r\n\r\n")[2])["instruments"])
        expect(found == self.confidences, f"other probabilities: {found}, `predict` says {self.confidences}")
        server.lives()


# ------------------------------------------------------------------------------------------------------------ who is let in

def odd_token(project, token):
    """A token that was set and cannot be one: the start is refused, or nobody gets in without it."""
    server = Server(project, {"TIMBRE_TOKEN": token})
    try:
        if server.running.over():
            server.running.end().code_in(1, 2)
            return
        answer = server.get("/api/v1/models")
        expect(status(answer) == 401, f"without a token: {answer[:60]!r}")
    finally:
        server.running.kill()


FOREIGN_HOSTS = {"name": "evil.example:{port}", "name_without_port": "evil.example", "other_address": "10.0.0.1:{port}",
                 "name_that_begins_like_ours": "127.0.0.1.evil.example:{port}", "name_that_ends_like_ours": "evil.localhost.example:{port}",
                 "user": "127.0.0.1@evil.example"}
OWN_HOSTS = {"address": "127.0.0.1:{port}", "localhost": "localhost:{port}", "localhost_in_capitals": "LOCALHOST:{port}", "ipv6": "[::1]:{port}"}


def foreign_host(server, host):
    """The page of a site whose name was turned to 127.0.0.1 may not use the server."""
    host = host.format(port=server.address[1])
    for origin in ("", f"Origin: http://{host}\r\n"):
        answer = server.send(f"GET /api/v1/models HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{origin}\r\n".encode())
        expect(status(answer) in (400, 403, 421), f"Host: {host} gets {answer[:60]!r}")
    server.lives()


def own_host(server, host):
    host = host.format(port=server.address[1])
    answer = server.send(f"GET /api/v1/models HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    expect(status(answer) == 200, f"Host: {host} gets {answer[:200]!r}")


WRONG_TOKENS = ("", "Authorization:\r\n", "Authorization: Bearer\r\n", "Authorization: Bearer \r\n", "Authorization: Bearer wrong\r\n",
                "Authorization: the right token\r\n", "Authorization: Basic dGhlIHJpZ2h0IHRva2Vu\r\n", "Authorization: Bearer the right\r\n",
                "Authorization: Bearer the right token x\r\n", "Authorization: Bearer the right tokem\r\n", "Authorization: Bearer \xff\xfe\r\n",
                "Authorization: Bearer THE RIGHT TOKEN\r\n", "Authorization: Bearer " + "x" * 10_000 + "\r\n",
                "Authorization: Bearer wrong\r\nAuthorization: Bearer the right token\r\n", "Cookie: token=the right token\r\n")


def wrong_token(server, header):
    for path in ("/api/v1/models", "/metrics", "/api/v1/../v1/models", "/api//v1/models", "/%61pi/v1/models"):
        answer = server.get(path, header)
        expect(status(answer) in (400, 401, 404), f"{path} with {header[:60]!r} gets {answer[:60]!r}")
    answer = server.post(b"RIFF", header)
    expect(status(answer) in (400, 401), f"a prediction with {header[:60]!r} gets {answer[:60]!r}")
    server.lives()


def right_token(server, right):
    right.is_given_by(server, "Authorization: Bearer the right token\r\n")


# ------------------------------------------------------------------------------------------------------------ raw requests

def raw_requests():
    """Name, bytes, and the statuses that are right; None stands for no answer."""
    refused = (400, 404, 405, 408, 411, 413, 414, 415, 422, 431, 501, 505, None)
    post = b"POST /api/v1/predict HTTP/1.1\r\nHost: localhost\r\n"
    get = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
    yield "nothing", b"\r\n\r\n", refused
    yield "no_request_line", b"Host: localhost\r\n\r\n", refused
    yield "zeros", b"\0" * 1000, refused
    yield "http2_preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(100), refused
    yield "tls_hello", b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + bytes(500), refused
    yield "two_lengths", post + b"Content-Length: 4\r\nContent-Length: 5\r\n\r\nRIFFx", refused
    yield "two_lengths_in_one_header", post + b"Content-Length: 4, 5\r\n\r\nRIFFx", refused
    yield "negative_length", post + b"Content-Length: -1\r\n\r\nRIFF", refused
    yield "signed_length", post + b"Content-Length: +4\r\n\r\nRIFF", refused
    yield "hexadecimal_length", post + b"Content-Length: 0x4\r\n\r\nRIFF", refused
    yield "length_of_2_to_64", post + b"Content-Length: 18446744073709551616\r\n\r\nRIFF", refused
    yield "length_of_4_gb", post + b"Content-Length: 4294967296\r\n\r\nRIFF", refused
    yield "length_and_chunks", post + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", refused
    yield "chunks_and_length", post + b"Transfer-Encoding: chunked\r\nContent-Length: 40\r\n\r\n0\r\n\r\nGET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", refused
    yield "chunked_twice", post + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n", refused
    yield "chunked_with_a_tab", post + b"Transfer-Encoding:\tchunked\x0b\r\n\r\n0\r\n\r\n", refused
    yield "unknown_encoding", post + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", refused
    yield "huge_chunk", post + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nRIFF", refused
    yield "chunk_without_a_number", post + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\nRIFF\r\n0\r\n\r\n", refused
    yield "a_mb_of_chunk_extension", post + b"Transfer-Encoding: chunked\r\n\r\n4;" + b"x" * MIB + b"\r\nRIFF\r\n0\r\n\r\n", refused
    yield "a_mb_of_one_header", get + b"X: " + b"x" * MIB + b"\r\n\r\n", refused
    yield "ten_thousand_headers", get + b"".join(b"X-%d: 1\r\n" % n for n in range(10_000)) + b"\r\n", refused
    yield "a_mb_of_path", b"GET /" + b"x" * MIB + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", refused
    yield "header_with_a_zero", get + b"X: a\0b\r\n\r\n", refused
    yield "header_without_a_colon", get + b"nonsense\r\n\r\n", refused
    yield "space_before_the_colon", post + b"Content-Length : 4\r\n\r\nRIFF", refused
    yield "folded_header", get + b"X: a\r\n b\r\n\r\n", (*refused, 200)
    yield "line_feeds_alone", b"GET /healthz HTTP/1.1\nHost: localhost\n\n", (*refused, 200)
    yield "no_host", b"GET /healthz HTTP/1.1\r\n\r\n", (*refused, 200, 403, 421)
    yield "two_hosts", get + b"Host: evil.example\r\n\r\n", (*refused, 200, 403, 421)
    yield "absolute_form", b"GET http://evil.example/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", (*refused, 200, 403, 421)
    yield "version_9", b"GET /healthz HTTP/9.9\r\nHost: localhost\r\n\r\n", refused
    yield "unknown_method", b"BREW /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", refused
    yield "connect", b"CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n", (*refused, 403, 421)
    yield "trace", b"TRACE / HTTP/1.1\r\nHost: localhost\r\n\r\n", refused
    for number, path in enumerate((b"/../../etc/passwd", b"/%2e%2e/%2e%2e/etc/passwd", b"/..%2f..%2fetc/passwd", b"//etc/passwd", b"/page/../../Cargo.toml",
                                   b"/\xff\xfe", b"/%00", b"/%zz", b"*")):
        yield f"path/{number}", b"GET " + path + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", refused
    for number, query in enumerate((b"cutoff=nan", b"cutoff=-1", b"cutoff=1e999", b"cutoff=0.5&cutoff=0.6", b"model=../../x", b"x=1", b"fraction=%", b"model=%00",
                                    b"timeline=maybe", b"cutoff=" + b"9" * 10_000)):
        yield f"query/{number}", b"POST /api/v1/predict?" + query + b" HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nRIFF", refused
    form = b"Content-Type: multipart/form-data; boundary=%s\r\nContent-Length: %d\r\n\r\n%s"
    for number, (edge, body) in enumerate(((b"x", b""), (b"x", b"--x"), (b"x", b"--x\r\n\r\n--x--"), (b"", b"----\r\n"), (b"x" * 5000, b"--x"), (b"x", b"--x\r\n" * 20_000),
                                          (b"x", b"--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"../../x\"\r\n\r\nRIFF\r\n--x--"),
                                          (b"x", b"--x\r\n" + b"X: y\r\n" * 20_000 + b"\r\n"))):
        yield f"form/{number}", post + form % (edge, len(body), body), refused
    yield "compressed", post + b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x08\0", refused


def raw(server, request, statuses, right):
    answer = server.send(request, seconds=20)
    expect(status(answer) in statuses, f"gets {answer[:100]!r}")
    expect(answers(answer) <= 1, f"is answered {answers(answer)} times: a request was hidden in it")
    expect(b"root:" not in answer, "it shows a file")
    right.is_given_by(server)


def bodies(project):
    yield "empty", b""
    yield "letters", b"Dear reader, this is no recording."
    yield "zeros", bytes(MIB)
    yield "noise", project.area.random("noise").randbytes(MIB)
    yield "head_alone", wave_head(44100, 1000)
    yield "head_of_4_gb", wave_head(44100, 0xffffff00) + bytes(1000)
    yield "samples_that_are_not_finite", wave([float("nan"), float("inf")] * 4000, 8000, "f32")
    yield "silence", wave([0.0] * 8000, 8000)
    yield "channels_65535", wave_head(44100, 65535 * 10, channels=65535, bits=8) + bytes(65535 * 10)
    yield "rate_0", wave_head(0, 8000) + b"\1\2" * 4000
    yield "rate_of_4_ghz", wave_head(0xffffffff, 8000) + b"\1\2" * 4000
    yield "ogg_of_endless_pages", (b"OggS\0\2" + bytes(8) + struct.pack("<III", 1, 0, 0) + b"\0") * 5000
    yield "boxes_in_boxes", b"".join(struct.pack(">I4s", 100_000 - 8 * n, b"moov") for n in range(10_000))
    yield "mp3_of_syncs", b"\xff\xfb" * 100_000
    yield "flac_of_ten_hours", flac_of_one_value(36_000)
    yield "caf_of_huge_packets", caf(tone(0, 1, 0.3, 8000), 8000, frames_per_packet=0xffffffff)


def no_audio(server, body, right):
    answer = server.post(body)
    expect(status(answer) in (413, 422), f"gets {answer[:200]!r}")
    expect(b'"code"' in answer and b'"detail"' in answer, "the problem has no code or no sentence")
    right.is_given_by(server)


# ------------------------------------------------------------------------------------------------------------------- slow clients

def idle(server, right):
    """More idle connections than the server keeps: a health check beside them is in time."""
    connections = []
    try:
        for _ in range(300):
            connections.append(server.connect())
        began = time.monotonic()
        server.lives(seconds=30)
        took = time.monotonic() - began
        expect(took <= PROBE, f"a health check beside 300 idle connections took {took:.1f} s")
    finally:
        for connection in connections:
            connection.close()
    right.is_given_by(server)


def slow_heads(server, right):
    """A letter a second does not keep a connection beyond the limit of a head."""
    connections = [server.connect() for _ in range(20)]
    closed, began = 0, time.monotonic()
    for letter in b"GET / HTTP/1.1\r\nHost: localhost\r\nX: abcdefgh":
        if closed == len(connections) or time.monotonic() - began > 40:
            break
        closed = 0
        for connection in connections:
            try:
                connection.send(bytes([letter]))
                connection.setblocking(False)
                closed += connection.recv(1000) == b""
            except BlockingIOError:
                pass
            except OSError:
                closed += 1
        time.sleep(1)
    for connection in connections:
        connection.close()
    expect(closed == len(connections), f"{len(connections) - closed} of {len(connections)} slow heads are still read after {time.monotonic() - began:.0f} s")
    right.is_given_by(server)


def slow_bodies(server, right):
    """A body that stops is answered with 408, or closed; others are served meanwhile."""
    connections = [server.connect(seconds=40) for _ in range(20)]
    for connection in connections:
        connection.sendall(b"POST /api/v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\nRIFF")
    right.is_given_by(server)
    found = {status(server.read(connection)) for connection in connections}
    expect(found <= {408, None}, f"bodies that stop get {found}")
    for connection in connections:
        connection.close()
    right.is_given_by(server)


# ---------------------------------------------------------------------------------------------------------------- mutated requests

def mutated_request(server, rng, right):
    """Twenty damaged requests, one connection each."""
    for _ in range(20):
        request = (b"POST /api/v1/predict?timeline=false HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=edge\r\n"
                   b"Authorization: Bearer x\r\nOrigin: http://localhost\r\nContent-Length: 98\r\n\r\n--edge\r\nContent-Disposition: form-data; name=\"file\"; "
                   b"filename=\"a.wav\"\r\n\r\nRIFF\r\n--edge--\r\n")
        answer = server.send(mutate(rng, request), seconds=20, half=True)
        expect(status(answer) is None or status(answer) < 500 or status(answer) in (501, 505), f"gets {answer[:200]!r}")
    server.lives()
    if rng.random() < 0.1:
        right.is_given_by(server)


def mutated_body(server, rng, right):
    """A damaged recording gets a prediction or a sentence."""
    seeds = [right.body, wave(tone(0, 1, 0.3, 8000), 8000, "f32")]
    for folder in ("tests/golden/audio", "tests/golden/opus"):
        seeds += [path.read_bytes() for path in sorted((REPOSITORY / folder).glob("*")) if path.suffix not in (".f32", "") and path.stat().st_size < 40_000]
    answer = server.post(mutate(rng, rng.choice(seeds), rng.choice(seeds)))
    expect(status(answer) in (200, 422), f"gets {answer[:200]!r}")
    if rng.random() < 0.1:
        right.is_given_by(server)


def memory(server):
    """The most that it ever took, from the system."""
    server.has_not_ended()
    try:
        text = open(f"/proc/{server.running.process.pid}/status").read()
    except OSError:
        raise Skip("this system does not tell the memory of a process") from None
    peak = int(re.search(r"VmHWM:\s*(\d+) kB", text).group(1)) << 10
    expect(peak <= GIB, f"it took {peak / MIB:.0f} MiB")


def stops(server):
    server.has_not_ended()
    server.running.kill(signal.SIGTERM)
    ended = server.running.end(seconds=30).sound()
    expect(ended.code in (0, 75, 143), f"exit code {ended.code} after SIGTERM")
