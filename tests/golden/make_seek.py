#!/usr/bin/env python3
"""Makes tests/golden/seek: recordings long enough that an excerpt of them is found by seeking.

Needs ffmpeg, numpy and soundfile. Run it in this folder; the tests need only its output, which they compare with the whole recording.
"""

import os

import soundfile as sf

from make_audio import ffmpeg, music

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "seek")
SECONDS = 9


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
    # The timestamps of Vorbis are not multiples of the packets of AAC.
    sf.write("source.wav", music(SECONDS * 44100, 44100, 1, 1), 44100, subtype="DOUBLE")
    ffmpeg("source.wav", "source.ogg", "-c:a", "libvorbis", "-q:a", "-1")
    ffmpeg("source.ogg", "jitter.m4a", "-c:a", "aac", "-b:a", "24k", "-aac_pns", "0")
    os.remove("source.wav")
    os.remove("source.ogg")
    # Files that were joined have a frame in the middle that is no audio.
    joined = [open(name, "rb").read() for name in ["vbr.mp3", "cbr.mp3"]]
    with open("joined.mp3", "wb") as file:
        file.writelines(joined)


if __name__ == "__main__":
    main()
