#!/usr/bin/env python3
"""Makes tests/golden/audio: short recordings in every format, each with its expected samples (`.f32`, mono).

Needs ffmpeg, numpy, soundfile, librosa with soxr. Run it in this folder; the tests need only its output.
Expected samples come from libsndfile (lossless formats that it reads) or ffmpeg (all others), mixed down as in librosa:
the mean over the channels in float32.
"""

import os
import subprocess

import librosa
import numpy as np
import soundfile as sf

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "audio")


def music(frames, rate, channels, seed):
    """A chord of harmonics with a little noise, another in each channel."""
    rng = np.random.default_rng(seed)
    t = np.arange(frames) / rate
    columns = []
    for channel in range(channels):
        base = 220.0 * 2 ** (channel * 4 / 12)
        harmonics = [np.sin(2 * np.pi * base * k * t + k) / k for k in range(1, 9) if base * k < rate * 0.45]
        columns.append(0.25 * np.minimum(1, 200 * t) * sum(harmonics) + rng.normal(0, 0.01, frames))
    return np.stack(columns, axis=1)


def ffmpeg(source, target, *options):
    command = ["ffmpeg", "-v", "error", "-y", "-i", source, "-map_metadata", "-1", "-fflags", "+bitexact"]
    subprocess.run([*command, "-flags:a", "+bitexact", *options, target], check=True)


def by_ffmpeg(path, channels):
    command = ["ffmpeg", "-v", "error", "-i", path, "-f", "f32le", "-c:a", "pcm_f32le", "-"]
    raw = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    return np.frombuffer(raw, "<f4").reshape(-1, channels)


def expect(path, frames):
    np.mean(frames.astype(np.float32), axis=1).astype("<f4").tofile(path + ".f32")


def main():
    os.makedirs(FOLDER, exist_ok=True)
    os.chdir(FOLDER)
    for old in os.listdir("."):
        os.remove(old)

    sf.write("source.wav", music(400, 8000, 2, 1), 8000, subtype="DOUBLE")
    sf.write("one.wav", music(400, 8000, 1, 2), 8000, subtype="DOUBLE")
    lossless = {}
    for codec in ["u8", "s16le", "s24le", "s32le", "f32le", "f64le", "alaw", "mulaw"]:
        lossless[f"{codec}.wav"] = f"pcm_{codec}"
    for codec in ["s8", "s16be", "s16le", "s24be", "f32be"]:
        lossless[f"{codec}.aiff"] = f"pcm_{codec}"
    for codec in ["s16be", "s24le", "f32le"]:
        lossless[f"{codec}.caf"] = f"pcm_{codec}"
    lossless["ms.wav"] = "adpcm_ms"
    for name, codec in lossless.items():
        ffmpeg("source.wav", name, "-c:a", codec)
        expect(name, sf.read(name, dtype="float32", always_2d=True)[0])
    ffmpeg("one.wav", "mono.wav", "-c:a", "pcm_s16le")
    expect("mono.wav", sf.read("mono.wav", dtype="float32", always_2d=True)[0])
    for name, depth in [("s16.flac", "PCM_16"), ("s24.flac", "PCM_24")]:
        sf.write(name, music(400, 8000, 2, 1), 8000, subtype=depth)
        expect(name, sf.read(name, dtype="float32", always_2d=True)[0])
    sf.write("six.wav", music(200, 8000, 6, 3), 8000, format="WAVEX", subtype="PCM_24")
    expect("six.wav", sf.read("six.wav", dtype="float32", always_2d=True)[0])
    # libsndfile rounds IMA steps differently from the reference of the standard; ffmpeg follows the reference.
    ffmpeg("source.wav", "ima.wav", "-c:a", "adpcm_ima_wav", "-block_size", "128")
    expect("ima.wav", by_ffmpeg("ima.wav", 2))
    ffmpeg("source.wav", "alac.m4a", "-c:a", "alac")
    expect("alac.m4a", by_ffmpeg("alac.m4a", 2))

    # A stream: the sizes are unknown when the header is written.
    with open("stream.wav", "wb") as file:
        command = ["ffmpeg", "-v", "error", "-i", "source.wav", "-bitexact", "-c:a", "pcm_s16le", "-f", "wav", "-"]
        subprocess.run(command, check=True, stdout=file)
    expect("stream.wav", sf.read("s16le.wav", dtype="float32", always_2d=True)[0])

    sf.write("loud.wav", music(2205, 22050, 2, 4), 22050, subtype="DOUBLE")
    lossy = {
        "vorbis.ogg": ["-c:a", "libvorbis", "-q:a", "3"],
        "lame.mp3": ["-c:a", "libmp3lame", "-b:a", "64k"],
        "plain.mp3": ["-c:a", "libmp3lame", "-b:a", "64k", "-write_xing", "0"],
        "aac.m4a": ["-c:a", "aac", "-b:a", "64k"],
        "adts.aac": ["-c:a", "aac", "-b:a", "64k"],
    }
    for name, options in lossy.items():
        ffmpeg("loud.wav", name, *options)
        # In an Ogg file this short, ffmpeg keeps the padding of the last packet; libsndfile ends at the length in the file.
        expect(name, sf.read(name, dtype="float32")[0] if name.endswith(".ogg") else by_ffmpeg(name, 2))
    for source in ["source.wav", "one.wav", "loud.wav"]:
        os.remove(source)

    # Noise with the spectral tilt of music. It has no energy in the top tenth below the lower Nyquist frequency, where the
    # filters of two resamplers may differ.
    rng = np.random.default_rng(5)
    for rate in [22050, 16000]:
        spectrum = np.fft.rfft(rng.normal(0, 1, 2500))
        hertz = np.fft.rfftfreq(2500, 1 / 44100)
        spectrum[hertz > 0.9 * rate / 2] = 0
        noise = np.fft.irfft(spectrum / np.sqrt(1 + hertz / 200)) * np.hanning(2500)
        noise = (0.5 * noise / np.abs(noise).max()).astype("<f4")
        noise.tofile(f"noise_{rate}.in.f32")
        librosa.resample(noise, orig_sr=44100, target_sr=rate, res_type="soxr_hq").astype("<f4").tofile(f"noise_{rate}.out.f32")


if __name__ == "__main__":
    main()
