#!/usr/bin/env python3
"""Makes tests/golden/seek: recordings long enough that an excerpt of them is found by seeking.

Needs ffmpeg, numpy and soundfile. Run it in this folder; the tests need only its output, which they compare with the whole recording.
"""

import os
import struct

import soundfile as sf

from make_audio import ffmpeg, music

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "seek")
SECONDS = 9


def with_jitter(mp4):
    """Every tenth packet lasts longer and the next one shorter, as in files made of other formats: only the table of times is changed."""
    at = mp4.index(b"stts") - 4
    size, entries = struct.unpack(">I", mp4[at : at + 4])[0], struct.unpack(">I", mp4[at + 12 : at + 16])[0]
    times = [struct.unpack(">II", mp4[at + 16 + 8 * n : at + 24 + 8 * n]) for n in range(entries)]
    durations = [duration for count, duration in times for _ in range(count)]
    for n in range(9, len(durations) - 2, 10):
        durations[n], durations[n + 1] = durations[n] + 448, durations[n + 1] - 448
    table = struct.pack(">II", 0, len(durations)) + b"".join(struct.pack(">II", 1, duration) for duration in durations)
    table = struct.pack(">I", 8 + len(table)) + b"stts" + table
    changed = bytearray(mp4[:at] + table + mp4[at + size :])
    assert mp4.index(b"mdat") < mp4.index(b"moov"), "the samples stay where they are"
    for name in [b"moov", b"trak", b"mdia", b"minf", b"stbl"]:
        place = changed.index(name) - 4
        changed[place : place + 4] = struct.pack(">I", struct.unpack(">I", changed[place : place + 4])[0] + len(table) - size)
    return bytes(changed)


def main():
    os.makedirs(FOLDER, exist_ok=True)
    os.chdir(FOLDER)
    for old in os.listdir("."):
        os.remove(old)
    # The demuxers of PCM make packets of about a thousand frames.
    formats = [
        ("cbr.mp3", 22050, ["-c:a", "libmp3lame", "-b:a", "16k"]),
        ("vbr.mp3", 22050, ["-c:a", "libmp3lame", "-q:a", "9", "-write_xing", "0"]),
        ("xing.mp3", 44100, ["-c:a", "libmp3lame", "-b:a", "32k"]),
        ("vorbis.ogg", 22050, ["-c:a", "libvorbis", "-q:a", "-1"]),
        ("aac.m4a", 22050, ["-c:a", "aac", "-b:a", "16k", "-aac_pns", "0"]),
        ("adts.aac", 22050, ["-c:a", "aac", "-b:a", "16k", "-aac_pns", "0"]),
        ("opus.opus", 48000, ["-c:a", "libopus", "-b:a", "16k", "-application", "lowdelay"]),
        ("speech.opus", 48000, ["-c:a", "libopus", "-b:a", "12k", "-application", "voip"]),
        ("pcm.aiff", 2000, ["-c:a", "pcm_s16be"]),
        ("pcm.caf", 2000, ["-c:a", "pcm_s16be"]),
        ("alac.m4a", 2000, ["-c:a", "alac"]),
        ("vorbis.mka", 22050, ["-c:a", "libvorbis", "-q:a", "-1"]),
    ]
    for name, rate, options in formats:
        sf.write("source.wav", music(SECONDS * rate, rate, 1, 1), rate, subtype="DOUBLE")
        ffmpeg("source.wav", name, *options)
    os.remove("source.wav")
    with open("aac.m4a", "rb") as source, open("jitter.m4a", "wb") as file:
        file.write(with_jitter(source.read()))
    # Files that were joined have a frame in the middle that is no audio.
    joined = [open(name, "rb").read() for name in ["vbr.mp3", "cbr.mp3"]]
    with open("joined.mp3", "wb") as file:
        file.writelines(joined)


if __name__ == "__main__":
    main()
