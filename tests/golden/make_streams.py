#!/usr/bin/env python3
"""Makes tests/golden/streams: files whose headers declare no length or a wrong number, with the number of
samples that ffmpeg decodes (`lengths.json`) and the last of them (`.end.f32`, mono).

Needs ffmpeg, numpy and soundfile. Run it in this folder; the tests need only its output.
"""

import json
import os
import subprocess

import numpy as np
import soundfile as sf

from make_audio import by_ffmpeg, ffmpeg, music

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "streams")
END = 1000


def loud_then_quiet(frames, loud, rate):
    sound = music(frames, rate, 1, 1)
    sound[loud:] *= 0.001
    return sound


def encode(sound, rate, name, *options):
    sf.write("source.wav", sound, rate, subtype="DOUBLE")
    ffmpeg("source.wav", name, *options)
    os.remove("source.wav")


def main():
    os.makedirs(FOLDER, exist_ok=True)
    os.chdir(FOLDER)
    for old in os.listdir("."):
        os.remove(old)

    no_xing = ["-c:a", "libmp3lame", "-write_xing", "0"]
    encode(loud_then_quiet(16000, 10500, 22050), 22050, "vbr.mp3", *no_xing, "-q:a", "4")
    encode(music(16000, 22050, 1, 2), 22050, "abr.mp3", *no_xing, "-b:a", "32k", "-abr", "1")
    encode(music(16000, 22050, 1, 3), 22050, "cbr.mp3", *no_xing, "-b:a", "32k")
    encode(loud_then_quiet(64000, 30000, 8000), 8000, "vbr.aac", "-c:a", "aac", "-b:a", "8k")
    for rate in [88200, 96000]:
        encode(music(6000, rate, 1, 4), rate, f"{rate}.m4a", "-c:a", "aac", "-b:a", "64k")

    # LAME's checksum over its header is wrong.
    encode(music(3000, 22050, 1, 6), 22050, "checksum.mp3", "-c:a", "libmp3lame", "-b:a", "32k")
    with open("checksum.mp3", "r+b") as file:
        content = bytearray(file.read())
        tag = content.index(b"Info")
        assert content[tag + 7] == 0x0F, "frames, bytes, table and quality precede LAME's part"
        lame = tag + 8 + 4 + 4 + 100 + 4
        content[lame : lame + 4] = b"LAME"
        content[lame + 34] ^= 0x55
        file.seek(0)
        file.write(content)

    # Written to a pipe: the size of the samples is -1.
    sf.write("source.wav", music(400, 8000, 2, 7), 8000, subtype="DOUBLE")
    with open("pipe.caf", "wb") as file:
        command = ["ffmpeg", "-v", "error", "-i", "source.wav", "-bitexact", "-c:a", "pcm_s16be", "-f", "caf", "-"]
        subprocess.run(command, check=True, stdout=file)
    os.remove("source.wav")

    lengths = {}
    for name in sorted(os.listdir(".")):
        samples = np.mean(by_ffmpeg(name, 2 if name == "pipe.caf" else 1), axis=1)
        samples[-END:].astype("<f4").tofile(name + ".end.f32")
        lengths[name] = len(samples)
    # libsndfile agrees where it does not estimate the length of an MP3, as it does for vbr.mp3.
    for name in ["abr.mp3", "cbr.mp3", "checksum.mp3"]:
        assert len(sf.read(name)[0]) == lengths[name], name
    with open("lengths.json", "w") as file:
        json.dump(lengths, file, indent=1)
        file.write("\n")


if __name__ == "__main__":
    main()
