"""The logits of transformers at their published sizes, as the cases of tests/golden/make_networks.py: one JSON list on standard output.

Weights come from the formula of that file. PaSST is the package hear21passt, AST that of Hugging Face's transformers under the names of
the original code, BEATs the definition of that file, which was compared with its authors' code.
"""

import contextlib
import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "golden"))

import torch
from make_networks import Ast, Beats, case, filled
from torch import nn


def passt():
    from hear21passt.models.passt import PaSST

    class Logits(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = PaSST(img_size=(128, 998), stride=10, num_classes=527, distilled=True)

        def forward(self, x):
            return self.net(x)[0]

        def state_dict(self):
            return self.net.state_dict()

        def load_state_dict(self, state, strict):
            return self.net.load_state_dict(state)

    return case("passt", {}, Logits(), 527, (128, 500))


def ast():
    from transformers import ASTConfig, ASTForAudioClassification

    # Hugging Face's names are compared by the golden file of a small network; here its numbers alone.
    theirs = ASTForAudioClassification(ASTConfig(num_labels=527, layer_norm_eps=1e-6)).eval()
    found = case("ast", {}, Ast(768, 12, 12, (128, 1024), 527), 527, (128, 1024))
    state = {name: filled(name, tuple(shape)) for name, shape in found["state"]}
    renamed = {}
    for name in theirs.state_dict():
        plain = name.removeprefix("audio_spectrogram_transformer.")
        for their, our in [
            ("embeddings.cls_token", "v.cls_token"),
            ("embeddings.distillation_token", "v.dist_token"),
            ("embeddings.position_embeddings", "v.pos_embed"),
            ("embeddings.patch_embeddings.projection.", "v.patch_embed.proj."),
            ("layers.", "v.blocks."),
            (".layernorm_before.", ".norm1."),
            (".layernorm_after.", ".norm2."),
            (".attention.o_proj.", ".attn.proj."),
            ("classifier.layernorm.", "mlp_head.0."),
            ("classifier.dense.", "mlp_head.1."),
        ]:
            plain = plain.replace(their, our)
        if plain.startswith("layernorm."):
            plain = "v.norm." + plain.removeprefix("layernorm.")
        parts = [part for part in ("q", "k", "v") if f".attention.{part}_proj." in plain]
        if parts:
            whole = state[plain.replace(f".attention.{parts[0]}_proj.", ".attn.qkv.")]
            renamed[name] = whole.chunk(3)["qkv".index(parts[0])]
        else:
            renamed[name] = state[plain]
    theirs.load_state_dict(renamed)
    with torch.no_grad():
        logits = theirs(filled("input", (1, 1, 128, 1024))[:, 0].transpose(1, 2)).logits
    return found | {"logits": logits.double().ravel().tolist()}


def main():
    with contextlib.redirect_stdout(sys.stderr):
        beats = Beats(512, 768, 3072, 12, 12, 128, 16, 320, 800, 527)
        cases = [passt(), ast(), case("beats", {}, beats, 527, (128, 998))]
    print(json.dumps(cases))


if __name__ == "__main__":
    main()
