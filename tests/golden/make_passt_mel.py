"""Golden numbers of the feature `passt_mel`: python tests/golden/make_passt_mel.py (torch, torchaudio, hear21passt 0.0.26)

passt_mel.json gets, for noise of three lengths and rates made by a formula that the Rust test computes as well, frames of the mel
spectrogram that the package computes in evaluation mode.
"""

import json
import pathlib

import numpy as np
import torch
from hear21passt.models.preprocess import AugmentMelSTFT


def signal(samples):
    n = np.arange(samples, dtype=np.uint32)
    x = n * np.uint32(2654435761)
    x ^= x >> np.uint32(15)
    x *= np.uint32(0x846CA68B)
    x ^= x >> np.uint32(16)
    noise = x.astype(np.float64) / 2.0**31 - 1.0
    # Loud, then faint, with a tone.
    loudness = np.where(n < samples // 2, 0.5, 1e-4)
    return (loudness * (noise + np.sin(0.05 * n.astype(np.float64)))).astype(np.float32)


def case(samples, rate, keys):
    mel = AugmentMelSTFT(
        n_mels=keys.get("n_mels", 128),
        sr=rate,
        win_length=keys.get("win_length", 800),
        hopsize=keys.get("hop_length", 320),
        n_fft=keys.get("n_fft", 1024),
        freqm=0,
        timem=0,
        fmin=keys.get("fmin", 0.0),
        fmax=keys.get("fmax"),
        # As the package's own models: with a default of 1000 the bands would end 500 Hz higher.
        fmin_aug_range=10,
        fmax_aug_range=2000,
    ).eval()
    with torch.no_grad():
        image = mel(torch.from_numpy(signal(samples))[None])[0].double().numpy()
    kept = sorted(set(np.linspace(0, image.shape[1] - 1, 5).astype(int).tolist()))
    numbers = [[float(f"{value:.7g}") for value in image[:, frame]] for frame in kept]
    return {"samples": samples, "sample_rate": rate, "keys": keys, "cols": image.shape[1], "kept": kept, "frames": numbers}


def main():
    # PyTorch's STFT returned pairs of numbers when the package was written.
    of_pairs = torch.stft
    torch.stft = lambda *args, return_complex, **keys: torch.view_as_real(of_pairs(*args, return_complex=True, **keys))
    cases = [
        case(32000, 32000, {}),
        case(9001, 32000, {"hop_length": 100, "n_mels": 64}),
        case(22050, 22050, {"n_fft": 2048, "win_length": 551, "hop_length": 220, "fmin": 50.0, "fmax": 10000.0}),
    ]
    path = pathlib.Path(__file__).parent / "passt_mel.json"
    path.write_text("[\n" + ",\n".join(json.dumps(found, separators=(",", ":")) for found in cases) + "\n]\n")


if __name__ == "__main__":
    main()
