#!/usr/bin/env python3
"""Makes tests/golden/opus: short recordings as browsers and Opus encoders write them, each with its expected samples.

Needs ffmpeg with libopus, opusenc, numpy, soundfile. With `--browser` it also needs Chromium and records again what
MediaRecorder writes (chromium.webm, chromium.mp4) from a fake microphone that plays our sound. Run it in this folder; the tests
need only its output.

Each `.f32` holds the number of samples, then every eighth sample, mono: libopus' float output through ffmpeg, mixed down by the
mean over the channels in float32. AAC is decoded by ffmpeg itself.
"""

import base64
import functools
import http.server
import json
import os
import struct
import subprocess
import sys
import tempfile
import threading

import numpy as np
import soundfile as sf

from make_audio import ffmpeg, music

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "opus")
EVERY = 8

PAGE = """<script>(async () => {
  const plain = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
  const stream = await navigator.mediaDevices.getUserMedia({ audio: plain });
  const files = {};
  for (const [name, mimeType] of [["chromium.webm", "audio/webm;codecs=opus"], ["chromium.mp4", "audio/mp4"]]) {
    const recorder = new MediaRecorder(stream, { mimeType, audioBitsPerSecond: 64000 });
    const parts = [], ended = new Promise(done => recorder.onstop = done);
    recorder.ondataavailable = event => parts.push(event.data);
    recorder.start(100);
    await new Promise(done => setTimeout(done, 300));
    recorder.stop();
    await ended;
    const bytes = new Uint8Array(await new Blob(parts).arrayBuffer());
    files[name] = btoa(bytes.reduce((text, byte) => text + String.fromCharCode(byte), ""));
  }
  await fetch("/", { method: "POST", body: JSON.stringify(files) });
})()</script>"""


class Desk(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.end_headers()
        self.wfile.write(PAGE.encode())

    def do_POST(self):
        files = json.loads(self.rfile.read(int(self.headers["content-length"])))
        for name, text in files.items():
            with open(name, "wb") as file:
                file.write(base64.b64decode(text))
        self.send_response(200)
        self.end_headers()
        threading.Thread(target=self.server.shutdown).start()

    def log_message(self, *_):
        pass


def record(sound):
    """What MediaRecorder makes of a sound, twice."""
    with tempfile.TemporaryDirectory() as profile, http.server.HTTPServer(("127.0.0.1", 0), Desk) as server:
        options = ["--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}"]
        options += ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
        options += [f"--use-file-for-fake-audio-capture={os.path.abspath(sound)}"]
        address = f"http://127.0.0.1:{server.server_port}/"
        browser = subprocess.Popen(["chromium", *options, address], stderr=subprocess.DEVNULL)
        server.serve_forever()
        browser.terminate()
        browser.wait()


def by_ffmpeg(path, channels, codec):
    command = ["ffmpeg", "-v", "error", *codec, "-i", path, "-f", "f32le", "-c:a", "pcm_f32le", "-"]
    raw = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    return np.mean(np.frombuffer(raw, "<f4").reshape(-1, channels), axis=1)


by_libopus = functools.partial(by_ffmpeg, codec=["-c:a", "libopus", "-request_sample_fmt", "flt"])


def expect(path, samples):
    np.concatenate([[len(samples)], samples[::EVERY]]).astype("<f4").tofile(path + ".f32")


def pages(file):
    """The pages of an Ogg file."""
    while file:
        segments = file[26]
        length = 27 + segments + sum(file[27 : 27 + segments])
        yield bytearray(file[:length])
        file = file[length:]


def crc(page):
    value = 0
    for byte in page:
        value ^= byte << 24
        for _ in range(8):
            value = (value << 1 ^ (0x04C11DB7 if value & 0x80000000 else 0)) & 0xFFFFFFFF
    return value


def with_gain(file, decibels):
    """The Ogg file with another output gain in its header."""
    first, *rest = pages(file)
    head = first.index(b"OpusHead")
    first[head + 16 : head + 18] = struct.pack("<h", round(decibels * 256))
    first[22:26] = bytes(4)
    first[22:26] = struct.pack("<I", crc(first))
    return b"".join([first, *rest])


def main():
    os.makedirs(FOLDER, exist_ok=True)
    os.chdir(FOLDER)
    if "--browser" in sys.argv:
        sf.write("sound.wav", 0.5 * music(96000, 48000, 1, 7), 48000, subtype="PCM_16")
        record("sound.wav")
        os.remove("sound.wav")
    for old in os.listdir("."):
        if not old.startswith("chromium.") or old.endswith(".f32"):
            os.remove(old)

    frames = 7001
    sf.write("two.wav", music(frames, 48000, 2, 8), 48000, subtype="FLOAT")
    sf.write("one.wav", music(frames, 48000, 1, 9), 48000, subtype="FLOAT")
    sf.write("six.wav", 0.6 * music(frames, 48000, 6, 10), 48000, format="WAVEX", subtype="PCM_24")

    # WebM as ffmpeg writes it to a file (with sizes, cues and DiscardPadding) and to a pipe, like browsers: sizes unknown.
    ffmpeg("two.wav", "music.webm", "-c:a", "libopus", "-b:a", "64k")
    ffmpeg("one.wav", "speech.webm", "-c:a", "libopus", "-b:a", "16k", "-application", "voip", "-frame_duration", "60")
    with open("live.webm", "wb") as file:
        command = ["ffmpeg", "-v", "error", "-i", "two.wav", "-bitexact", "-c:a", "libopus", "-b:a", "48k", "-f", "webm"]
        subprocess.run([*command, "-"], check=True, stdout=file)
    ffmpeg("two.wav", "opus.mp4", "-c:a", "libopus", "-b:a", "64k")
    opus = {
        "silk.opus": ("one.wav", ["-b:a", "12k", "-application", "voip"]),
        "hybrid.opus": ("one.wav", ["-b:a", "32k", "-application", "voip"]),
        "short.opus": ("two.wav", ["-b:a", "128k", "-application", "lowdelay", "-frame_duration", "2.5"]),
        "long.opus": ("two.wav", ["-b:a", "48k", "-frame_duration", "120"]),
    }
    for name, (source, options) in opus.items():
        ffmpeg(source, name, "-c:a", "libopus", *options)
    for source, name in [("two.wav", "opusenc.opus"), ("six.wav", "six.opus")]:
        command = ["opusenc", "--quiet", "--bitrate", "96", "--serial", "7", "--discard-comments", "--padding", "0"]
        subprocess.run([*command, source, name], check=True)
    with open("opusenc.opus", "rb") as file:
        whole = file.read()
    with open("gain.opus", "wb") as file:
        file.write(with_gain(whole, -6.5))
    with open("chained.opus", "wb") as file:
        for part in ["long.opus", "opusenc.opus"]:
            with open(part, "rb") as link:
                file.write(link.read())
    ffmpeg("two.wav", "family.opus", "-c:a", "libopus", "-mapping_family", "255")
    # As Safari records: fragmented, without a length in the header.
    sf.write("loud.wav", music(2205, 22050, 2, 4), 22050, subtype="FLOAT")
    ffmpeg("loud.wav", "fragments.mp4", "-c:a", "aac", "-b:a", "64k", "-movflags", "frag_every_frame+empty_moov+default_base_moof")

    for name in sorted(os.listdir(".")):
        if name.endswith((".wav", ".f32")) or name in ["family.opus", "fragments.mp4", "chained.opus"]:
            continue
        mono = name in ["speech.webm", "silk.opus", "hybrid.opus"]
        samples = by_libopus(name, 1 if mono else 6 if name == "six.opus" else 2)
        # ffmpeg keeps the padding of the last packet of an MP4 file, beyond the length in the file.
        expect(name, samples[:frames] if name == "opus.mp4" else samples)
    expect("chained.opus", np.concatenate([by_libopus(name, 2) for name in ["long.opus", "opusenc.opus"]]))
    expect("fragments.mp4", by_ffmpeg("fragments.mp4", 2, []))
    for name in ["one.wav", "two.wav", "six.wav", "loud.wav"]:
        os.remove(name)


if __name__ == "__main__":
    main()
