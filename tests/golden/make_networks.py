"""Golden numbers of PyTorch for the networks: python tests/golden/make_networks.py (torch, torchvision, transformers, safetensors)

Checkpoints of these sizes are not kept in git: every tensor is filled by a formula of its name and index, which the Rust test
computes as well (`filled`). networks.json in tests/golden/networks has, for each case, the names and shapes of the state dict, the
outputs of every layer, and the logits in evaluation mode. torchvision provides its own networks; the others are defined below.
A case with fold = true has one input channel whose weights are the sum over three.

The folder also gets small real files for the import (cnn_small with filters 4 and 8, three channels, five classes): a state dict
as .safetensors, .pth and legacy .pth, one nested below "model" with the prefix "module.", a pickled module, and one whose
pickle calls a function.
"""

import json
import os
import pathlib

import numpy as np
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

HERE = pathlib.Path(__file__).parent / "networks"


def filled(name, shape):
    """The formula: FNV-1a of the name, a mixed counter, a scale by the kind of tensor."""
    seed = 0x811C9DC5
    for byte in name.encode():
        seed = (seed ^ byte) * 0x01000193 % 2**32
    x = np.arange(int(np.prod(shape)), dtype=np.uint32) * np.uint32(2654435761) + np.uint32(seed)
    x ^= x >> np.uint32(16)
    x *= np.uint32(0x7FEB352D)
    x ^= x >> np.uint32(15)
    x *= np.uint32(0x846CA68B)
    x ^= x >> np.uint32(16)
    u = x.astype(np.float64) / 2.0**31 - 1.0
    if name.endswith("running_var"):
        u = 1.0 + 0.5 * u
    elif len(shape) == 1:
        u = (1.0 if name.endswith("weight") else 0.0) + 0.2 * u
    elif name != "input":
        u = u * np.sqrt(4.0 / np.prod(shape[1:]))
    return torch.from_numpy(u.astype(np.float32)).reshape(shape)


class Concat(nn.Module):
    def __init__(self, channels, classes):
        super().__init__()
        self.bn1, self.fc1 = nn.BatchNorm1d(2 * channels), nn.Linear(2 * channels, 512, bias=False)
        self.bn2, self.fc2 = nn.BatchNorm1d(512), nn.Linear(512, classes, bias=False)

    def forward(self, x):
        x = torch.cat([x.amax((2, 3)), x.mean((2, 3))], 1)
        return self.fc2(self.bn2(F.relu(self.fc1(self.bn1(x)))))


class PerClass(nn.Module):
    def __init__(self, channels, classes):
        super().__init__()
        self.hidden = nn.Linear(channels, 16 * classes)
        self.weight, self.bias = nn.Parameter(torch.zeros(classes, 16)), nn.Parameter(torch.zeros(classes))

    def forward(self, x):
        hidden = F.relu(self.hidden(x.mean((2, 3))))
        each = [hidden[:, 16 * c : 16 * c + 16] @ self.weight[c] for c in range(len(self.bias))]
        return torch.stack(each, 1) + self.bias


class Attention(nn.Module):
    def __init__(self, channels, classes):
        super().__init__()
        self.attention, self.value = nn.Linear(channels, classes), nn.Linear(channels, classes)

    def forward(self, x):
        x = x.mean(2).transpose(1, 2)
        return (torch.softmax(self.attention(x), 1) * self.value(x)).sum(1)


HEADS = {"concat": Concat, "per_class": PerClass, "attention": Attention}


class Bare(nn.Module):
    """torchvision's ResNet up to its last map, with another head."""

    def __init__(self, net, head):
        super().__init__()
        for name in ["conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4"]:
            setattr(self, name, getattr(net, name))
        self.head = head

    def forward(self, x):
        for part in self.children():
            x = part(x)
        return x


class Block(nn.Module):
    def __init__(self, before, filters, pool, bias, eps, activation):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(before, filters, 3, padding=1, bias=bias), nn.BatchNorm2d(filters, eps=eps)
        self.pool, self.activation = nn.MaxPool2d(pool), activation

    def forward(self, x):
        return self.pool(self.activation(self.bn(self.conv(x))))


def chain(channels, plans, bias, eps, activation):
    befores = [channels] + [filters for filters, _ in plans]
    blocks = [Block(before, *plan, bias, eps, activation) for before, plan in zip(befores, plans)]
    return nn.ModuleList(blocks)


class CnnSmall(nn.Module):
    def __init__(self, channels, filters, classes, head=None):
        super().__init__()
        self.blocks = chain(channels, [(f, 2) for f in filters], False, 1e-5, F.relu)
        if head:
            self.head = HEADS[head](filters[-1], classes)
        else:
            self.fc = nn.Linear(filters[-1], classes)

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return self.head(x) if hasattr(self, "head") else self.fc(x.mean((2, 3)))


class Features(nn.Module):
    def __init__(self, bands, plans):
        super().__init__()
        self.bn0 = nn.BatchNorm2d(bands, eps=1e-3)
        self.blocks = chain(1, plans, True, 1e-3, F.elu)

    def forward(self, x):
        x = self.bn0(x.transpose(1, 2)).transpose(1, 2)
        for block in self.blocks:
            x = block(x)
        return x


class TaggingCnn(nn.Module):
    def __init__(self, bands, values, classes):
        super().__init__()
        self.features = Features(bands, [(64, (2, 4)), (128, (2, 4)), (128, (2, 4)), (128, (3, 5)), (64, (4, 4))])
        self.fc = nn.Linear(values, classes)

    def forward(self, x):
        return self.fc(self.features(x).flatten(1))


class Keras1Gru(nn.Module):
    """As Keras 1 computes it, frame by frame; the gates of its weights in PyTorch's order (reset, update, new)."""

    def __init__(self, inputs, hidden):
        super().__init__()
        self.weight_ih_l0 = nn.Parameter(torch.zeros(3 * hidden, inputs))
        self.weight_hh_l0 = nn.Parameter(torch.zeros(3 * hidden, hidden))
        self.bias_ih_l0 = nn.Parameter(torch.zeros(3 * hidden))

    def forward(self, x):
        w_r, w_z, w_h = self.weight_ih_l0.chunk(3)
        u_r, u_z, u_h = self.weight_hh_l0.chunk(3)
        b_r, b_z, b_h = self.bias_ih_l0.chunk(3)
        h, states = torch.zeros(len(x), len(u_r)), []
        for frame in x.unbind(1):
            z = torch.clamp(0.2 * (frame @ w_z.T + b_z + h @ u_z.T) + 0.5, 0, 1)
            r = torch.clamp(0.2 * (frame @ w_r.T + b_r + h @ u_r.T) + 0.5, 0, 1)
            h = z * h + (1 - z) * torch.tanh(frame @ w_h.T + b_h + (r * h) @ u_h.T)
            states.append(h)
        return torch.stack(states, 1)


class TaggingCrnn(nn.Module):
    def __init__(self, bands, classes, head=None):
        super().__init__()
        self.features = Features(bands, [(64, (2, 2)), (128, (3, 3)), (128, (4, 4)), (128, (4, 4))])
        self.gru1, self.gru2 = Keras1Gru(128 * (bands // 96), 32), Keras1Gru(32, 32)
        if head:
            self.head = HEADS[head](32, classes)
        else:
            self.fc = nn.Linear(32, classes)

    def forward(self, x):
        x = self.features(F.pad(x, (37, 37)))
        states = self.gru2(self.gru1(x.flatten(1, 2).transpose(1, 2)))
        return self.head(states.transpose(1, 2)[:, :, None]) if hasattr(self, "head") else self.fc(states[:, -1])


class Conv1dMfcc(nn.Module):
    def __init__(self, classes, head=None):
        super().__init__()
        self.conv1, self.pool1 = nn.Conv1d(20, 64, 3), nn.MaxPool1d(2)
        self.conv2, self.pool2 = nn.Conv1d(64, 128, 3), nn.MaxPool1d(2)
        if head:
            self.head = HEADS[head](128, classes)
        else:
            self.fc1, self.fc2, self.fc = nn.Linear(384, 256), nn.Linear(256, 128), nn.Linear(128, classes)

    def forward(self, x):
        x = self.pool1(F.relu(self.conv1(x[:, 0])))
        x = self.pool2(F.relu(self.conv2(x)))
        if hasattr(self, "head"):
            return self.head(x[:, :, None])
        return self.fc(F.relu(self.fc2(F.relu(self.fc1(x.flatten(1))))))


class FrontBlock(nn.Module):
    """A convolution with zeros at both ends in time as in TensorFlow's "same", a ReLU, then the batch norm."""

    def __init__(self, before, filters, kernel):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(before, filters, kernel), nn.BatchNorm2d(filters, eps=1e-3)
        self.pad = ((kernel[1] - 1) // 2, kernel[1] // 2)

    def forward(self, x):
        return self.norm(F.relu(self.conv(F.pad(x, self.pad))))


class Musicnn(nn.Module):
    def __init__(self, bands, classes, head=None):
        super().__init__()
        self.input_norm = nn.BatchNorm2d(1, eps=1e-3)
        plans = [(204, (int(0.4 * bands), 7)), (204, (int(0.7 * bands), 7))]
        plans += [(51, (1, frames)) for frames in (128, 64, 32)]
        self.front = nn.ModuleList(FrontBlock(1, *plan) for plan in plans)
        self.middle = nn.ModuleList(FrontBlock(before, 64, (1, 7)) for before in (561, 64, 64))
        if head:
            self.head = HEADS[head](753, classes)
        else:
            self.pool_norm, self.dense = nn.BatchNorm1d(1506, eps=1e-3), nn.Linear(1506, 200)
            self.dense_norm, self.fc = nn.BatchNorm1d(200, eps=1e-3), nn.Linear(200, classes)

    def forward(self, x):
        x = self.input_norm(x)
        maps = [torch.cat([block(x).amax(2, keepdim=True) for block in self.front], 1)]
        for number, block in enumerate(self.middle):
            maps.append(block(maps[-1]) + (maps[-1] if number else 0))
        x = torch.cat(maps, 1)
        if hasattr(self, "head"):
            return self.head(x)
        x = self.pool_norm(torch.cat([x.amax((2, 3)), x.mean((2, 3))], 1))
        return self.fc(self.dense_norm(F.relu(self.dense(x))))


class MusicnnVgg(nn.Module):
    def __init__(self, classes):
        super().__init__()
        layers, before = [nn.BatchNorm2d(1)], 1
        for kernel, stride in [((1, 4), 2), (2, 2), (2, 2), (2, 2), (4, 4)]:
            layers += [nn.Conv2d(before, 128, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(128)]
            layers += [nn.MaxPool2d(kernel, stride), nn.Dropout(0.25)]
            before = 128
        self.features = nn.Sequential(*layers[:-1])
        self.classifier = nn.Sequential(nn.Dropout(0.5), nn.Linear(256, classes))

    def forward(self, x):
        return self.classifier(F.adaptive_avg_pool2d(self.features(x), (1, 2)).flatten(1))


class PannsBlock(nn.Module):
    def __init__(self, before, filters, kernel, convolutions, pool):
        super().__init__()
        self.pool, self.count = pool, convolutions
        for number in range(convolutions):
            conv = nn.Conv2d(filters if number else before, filters, kernel, padding=kernel // 2, bias=False)
            setattr(self, f"conv{number + 1}", conv)
            setattr(self, f"bn{number + 1}", nn.BatchNorm2d(filters))

    def forward(self, x):
        for number in range(self.count):
            x = F.relu(getattr(self, f"bn{number + 1}")(getattr(self, f"conv{number + 1}")(x)))
        return F.avg_pool2d(x, self.pool)


class Panns(nn.Module):
    def __init__(self, bands, filters, blocks, kernel, convolutions, pooled, classes, head=None):
        super().__init__()
        self.bn0, self.blocks = nn.BatchNorm2d(bands), blocks
        for n in range(blocks):
            before, pool = filters << n - 1 if n else 1, 2 if n < pooled else 1
            setattr(self, f"conv_block{n + 1}", PannsBlock(before, filters << n, kernel, convolutions, pool))
        last = filters << blocks - 1
        if head:
            self.head = HEADS[head](last, classes)
        else:
            self.fc1, self.fc_audioset = nn.Linear(last, last), nn.Linear(last, classes)

    def forward(self, x):
        x = self.bn0(x.transpose(2, 3).transpose(1, 3)).transpose(1, 3)
        for n in range(self.blocks):
            x = getattr(self, f"conv_block{n + 1}")(x)
        if hasattr(self, "head"):
            return self.head(x.transpose(2, 3))
        x = x.mean(3)
        return self.fc_audioset(F.relu(self.fc1(x.amax(2) + x.mean(2))))


class AstAttention(nn.Module):
    def __init__(self, size, heads):
        super().__init__()
        self.qkv, self.proj, self.heads = nn.Linear(size, 3 * size), nn.Linear(size, size), heads

    def forward(self, x):
        clips, tokens, size = x.shape
        query, key, value = self.qkv(x).reshape(clips, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(x.shape))


class AstBlock(nn.Module):
    def __init__(self, size, heads):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(size, eps=1e-6), nn.LayerNorm(size, eps=1e-6)
        self.attn, self.mlp = AstAttention(size, heads), nn.Module()
        self.mlp.fc1, self.mlp.fc2 = nn.Linear(size, 4 * size), nn.Linear(4 * size, size)

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp.fc2(F.gelu(self.mlp.fc1(self.norm2(x))))


class Ast(nn.Module):
    def __init__(self, size, depth, heads, image, classes, head=None):
        super().__init__()
        self.grid = [(side - 16) // 10 + 1 for side in image]
        self.v = nn.Module()
        for name, tokens in [("cls_token", 1), ("dist_token", 1), ("pos_embed", self.grid[0] * self.grid[1] + 2)]:
            setattr(self.v, name, nn.Parameter(torch.zeros(1, tokens, size)))
        self.v.patch_embed = nn.Module()
        self.v.patch_embed.proj = nn.Conv2d(1, size, 16, 10)
        self.v.blocks = nn.ModuleList(AstBlock(size, heads) for _ in range(depth))
        self.v.norm = nn.LayerNorm(size, eps=1e-6)
        if head:
            self.head = HEADS[head](size, classes)
        else:
            self.mlp_head = nn.Sequential(nn.LayerNorm(size), nn.Linear(size, classes))

    def forward(self, x):
        patches = self.v.patch_embed.proj(x).flatten(2).transpose(1, 2)
        extra = [token.expand(len(x), -1, -1) for token in (self.v.cls_token, self.v.dist_token)]
        tokens = torch.cat([*extra, patches], 1) + self.v.pos_embed
        for block in self.v.blocks:
            tokens = block(tokens)
        tokens = self.v.norm(tokens)
        if hasattr(self, "head"):
            return self.head(tokens[:, 2:].transpose(1, 2).unflatten(2, self.grid))
        return self.mlp_head(tokens[:, :2].mean(1))


class Passt(nn.Module):
    def __init__(self, size, depth, heads, image, frames, classes, head=None):
        super().__init__()
        grid = [(side - 16) // 10 + 1 for side in (image[0], frames)]
        self.cls_token, self.dist_token = (nn.Parameter(torch.zeros(1, 1, size)) for _ in range(2))
        self.new_pos_embed = nn.Parameter(torch.zeros(1, 2, size))
        self.freq_new_pos_embed = nn.Parameter(torch.zeros(1, size, grid[0], 1))
        self.time_new_pos_embed = nn.Parameter(torch.zeros(1, size, 1, grid[1]))
        self.patch_embed = nn.Module()
        self.patch_embed.proj = nn.Conv2d(1, size, 16, 10)
        self.blocks = nn.ModuleList(AstBlock(size, heads) for _ in range(depth))
        self.norm, self.own = nn.LayerNorm(size, eps=1e-6), not head
        if head:
            self.head = HEADS[head](size, classes)
        else:
            self.head = nn.Sequential(nn.LayerNorm(size), nn.Linear(size, classes))
            self.head_dist = nn.Linear(size, classes)

    def forward(self, x):
        patches = self.patch_embed.proj(x)
        grid = patches.shape[2:]
        patches = patches + self.time_new_pos_embed[..., : grid[1]] + self.freq_new_pos_embed
        extra = torch.cat([self.cls_token, self.dist_token], 1) + self.new_pos_embed
        tokens = torch.cat([extra.expand(len(x), -1, -1), patches.flatten(2).transpose(1, 2)], 1)
        for block in self.blocks:
            tokens = block(tokens)
        tokens = self.norm(tokens)
        if self.own:
            return self.head(tokens[:, :2].mean(1))
        return self.head(tokens[:, 2:].transpose(1, 2).unflatten(2, grid))


class WeightNormConv(nn.Module):
    """A convolution over the tokens whose directions and lengths are apart; the length belongs to a place of the kernel."""

    def __init__(self, size, kernel, groups):
        super().__init__()
        self.weight_g = nn.Parameter(torch.zeros(1, 1, kernel))
        self.weight_v = nn.Parameter(torch.zeros(size, size // groups, kernel))
        self.bias, self.groups = nn.Parameter(torch.zeros(size)), groups

    def forward(self, x):
        weight = self.weight_g * self.weight_v / self.weight_v.norm(dim=(0, 1), keepdim=True)
        out = F.conv1d(x, weight, self.bias, padding=weight.shape[2] // 2, groups=self.groups)
        return out[..., : x.shape[2]]


class BeatsAttention(nn.Module):
    def __init__(self, size, heads, buckets, far, first):
        super().__init__()
        self.heads, self.buckets, self.far = heads, buckets, far
        if first:
            self.relative_attention_bias = nn.Embedding(buckets, heads)
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            setattr(self, name, nn.Linear(size, size))
        self.grep_linear = nn.Linear(size // heads, 8)
        self.grep_a = nn.Parameter(torch.ones(1, heads, 1, 1))

    def bias(self, tokens):
        distance = torch.arange(tokens)[None] - torch.arange(tokens)[:, None]
        half, exact = self.buckets // 2, self.buckets // 4
        far = torch.log(distance.abs().float() / exact) / np.log(self.far / exact) * (half - exact)
        far = (exact + far.clamp(min=0).long()).clamp(max=half - 1)
        bucket = torch.where(distance.abs() < exact, distance.abs(), far) + half * (distance > 0)
        return self.relative_attention_bias(bucket).permute(2, 0, 1)

    def forward(self, x, bias):
        clips, tokens, size = x.shape
        of_heads = lambda x: x.unflatten(2, (self.heads, -1)).transpose(1, 2)
        query, key, value = (of_heads(layer(x)) for layer in (self.q_proj, self.k_proj, self.v_proj))
        first, second = torch.sigmoid(self.grep_linear(query).unflatten(3, (2, 4)).sum(4)).chunk(2, 3)
        gate = first * (second * self.grep_a - 1) + 2
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=gate * bias)
        return self.out_proj(mixed.transpose(1, 2).reshape(x.shape))


class BeatsLayer(nn.Module):
    def __init__(self, size, hidden, depth, heads, buckets, far, first):
        super().__init__()
        self.self_attn = BeatsAttention(size, heads, buckets, far, first)
        self.self_attn_layer_norm, self.final_layer_norm = nn.LayerNorm(size), nn.LayerNorm(size)
        self.fc1, self.fc2, self.alpha = nn.Linear(size, hidden), nn.Linear(hidden, size), (2 * depth) ** 0.25

    def forward(self, x, bias):
        x = self.self_attn_layer_norm(x * self.alpha + self.self_attn(x, bias))
        return self.final_layer_norm(x * self.alpha + self.fc2(F.gelu(self.fc1(x))))


class Beats(nn.Module):
    def __init__(self, patch, size, hidden, depth, heads, kernel, groups, buckets, far, classes, head=None):
        super().__init__()
        self.patch_embedding = nn.Conv2d(1, patch, 16, 16, bias=False)
        self.layer_norm, self.post_extract_proj = nn.LayerNorm(patch), nn.Linear(patch, size)
        self.encoder = nn.Module()
        self.encoder.pos_conv = nn.Sequential(WeightNormConv(size, kernel, groups), nn.GELU())
        self.encoder.layer_norm = nn.LayerNorm(size)
        layers = [BeatsLayer(size, hidden, depth, heads, buckets, far, number == 0) for number in range(depth)]
        self.encoder.layers = nn.ModuleList(layers)
        if head:
            self.head = HEADS[head](size, classes)
        else:
            self.predictor = nn.Linear(size, classes)

    def forward(self, x):
        patches = self.patch_embedding(x.transpose(2, 3))
        grid = patches.shape[2:]
        x = self.post_extract_proj(self.layer_norm(patches.flatten(2).transpose(1, 2)))
        x = self.encoder.layer_norm(x + self.encoder.pos_conv(x.transpose(1, 2)).transpose(1, 2))
        bias = self.encoder.layers[0].self_attn.bias(x.shape[1])
        for layer in self.encoder.layers:
            x = layer(x, bias)
        if hasattr(self, "head"):
            return self.head(x.transpose(1, 2).unflatten(2, grid).transpose(2, 3))
        return self.predictor(x).mean(1)


def state_of(net):
    return {name: t for name, t in net.state_dict().items() if not name.endswith("num_batches_tracked")}


def case(kind, keys, net, classes, image, clips=1, channels=1, fold=False):
    """`image` is what the Rust network gets: bands × frames, one channel."""
    state = {name: filled(name, tuple(t.shape)) for name, t in state_of(net).items()}
    net.load_state_dict(state, strict=False)
    net.eval()
    layers = []

    def look(name):
        def hook(module, _, output):
            own = sum(p.numel() for p in module.parameters(False))
            layers.append({"name": name, "output": list(output.shape[1:]), "parameters": own})

        return hook

    for name, module in net.named_modules():
        if not list(module.children()):
            module.register_forward_hook(look(name))
    x = filled("input", (clips, 1, *image)).expand(clips, channels, *image)
    with torch.no_grad():
        logits = net(x)
    print(kind, keys, "logits from", logits.min().item(), "to", logits.max().item())
    assert 0.05 < logits.std() < 50
    shapes = [[name, list(t.shape)] for name, t in state.items()]
    found = {"kind": kind, "keys": keys, "classes": classes, "image": list(image), "clips": clips, "fold": fold}
    numbers = [float(f"{value:.8g}") for value in logits.double().ravel().tolist()]
    return found | {"state": shapes, "layers": layers, "logits": numbers}


def torchvision_cases():
    vision = torchvision.models
    # A one-channel network with folded weights equals a three-channel network on a repeated image.
    for kind, make, image in [
        ("resnet18", vision.resnet18, (64, 47)),
        ("resnet34", vision.resnet34, (47, 64)),
        ("resnet50", vision.resnet50, (64, 47)),
        ("mobilenet_v3_large", vision.mobilenet_v3_large, (64, 80)),
        ("efficientnet_v2_s", vision.efficientnet_v2_s, (64, 80)),
        ("convnext_tiny", vision.convnext_tiny, (64, 80)),
        ("vgg16_bn", vision.vgg16_bn, (96, 160)),
        ("alexnet", vision.alexnet, (96, 160)),
    ]:
        for fold in (False, True):
            net = make(weights=None, num_classes=11)
            yield case(kind, {} if fold else {"channels": 3}, net, 11, image, 1, 3, fold)
    for head in HEADS:
        net = vision.resnet18(weights=None)
        net.conv1 = nn.Conv2d(1, 64, 7, 2, 3, bias=False)
        yield case("resnet18", {"head": head}, Bare(net, HEADS[head](512, 7)), 7, (64, 47), 2)


def other_cases():
    small = {"filters": [8, 16]}
    yield case("cnn_small", small, CnnSmall(1, [8, 16], 4), 4, (13, 18), 2)
    for head in HEADS:
        yield case("cnn_small", small | {"head": head}, CnnSmall(1, [8, 16], 4, head), 4, (13, 18), 2)
    yield case("tagging_cnn", {}, TaggingCnn(96, 64, 50), 50, (96, 1366))
    yield case("tagging_cnn", {}, TaggingCnn(100, 128, 5), 5, (100, 2570))
    yield case("tagging_crnn", {}, TaggingCrnn(96, 50), 50, (96, 1366))
    yield case("tagging_crnn", {}, TaggingCrnn(192, 5), 5, (192, 130), 2)
    for head in ("per_class", "attention"):
        yield case("tagging_crnn", {"head": head}, TaggingCrnn(96, 5, head), 5, (96, 260), 2)
    yield case("conv1d_mfcc", {}, Conv1dMfcc(5), 5, (20, 20), 3)
    for head in ("per_class", "attention"):
        yield case("conv1d_mfcc", {"head": head}, Conv1dMfcc(5, head), 5, (20, 20), 3)


    yield case("musicnn", {}, Musicnn(96, 50), 50, (96, 187), 2)
    yield case("musicnn", {}, Musicnn(64, 5), 5, (64, 90))
    for head in ("per_class", "attention"):
        yield case("musicnn", {"head": head}, Musicnn(40, 5, head), 5, (40, 60), 2)
    yield case("musicnn_vgg", {}, MusicnnVgg(50), 50, (96, 187), 2)
    yield case("cnn6", {}, Panns(64, 64, 4, 5, 1, 4, 527), 527, (64, 101))
    yield case("cnn10", {"filters": 16}, Panns(64, 16, 4, 3, 2, 4, 20), 20, (64, 101), 2)
    yield case("cnn14", {"filters": 8}, Panns(64, 8, 6, 3, 2, 5, 20), 20, (64, 101), 2)
    for head in HEADS:
        yield case("cnn14", {"filters": 4, "head": head}, Panns(40, 4, 6, 3, 2, 5, 5, head), 5, (40, 70), 2)
    tiny = {"embed_dim": 24, "depth": 3, "heads": 3}
    yield case("ast", tiny, Ast(24, 3, 3, (128, 100), 20), 20, (128, 100), 2)
    for head in HEADS:
        yield case("ast", tiny | {"head": head}, Ast(24, 3, 3, (48, 60), 5, head), 5, (48, 60), 2)
    for frames in (96, 126):
        keys, image = tiny | {"input_frames": frames}, (128, 96)
        yield case("passt", keys, Passt(24, 3, 3, image, frames, 20), 20, image, 2)
    for head in HEADS:
        keys = tiny | {"input_frames": 86, "head": head}
        yield case("passt", keys, Passt(24, 3, 3, (48, 66), 86, 5, head), 5, (48, 66), 2)
    keys = tiny | {"patch_dim": 16, "hidden_dim": 48, "conv_pos": 8, "conv_pos_groups": 4}
    keys |= {"num_buckets": 16, "max_distance": 20}
    yield case("beats", keys, Beats(16, 24, 48, 3, 3, 8, 4, 16, 20, 20), 20, (128, 100), 2)
    for head in HEADS:
        yield case("beats", keys | {"head": head}, Beats(16, 24, 48, 3, 3, 8, 4, 16, 20, 5, head), 5, (48, 100), 2)


def hugging_face_ast():
    """A tiny transformer of Hugging Face with its file and its logits."""
    from transformers import ASTConfig, ASTForAudioClassification

    config = ASTConfig(
        hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=96, max_length=64, num_labels=5
    )
    net = ASTForAudioClassification(config).eval()
    net.load_state_dict({name: filled(name, tuple(t.shape)) for name, t in net.state_dict().items()})
    save_file(net.state_dict(), HERE / "hugging_face_ast.safetensors")
    image = filled("input", (2, 1, 128, 64))
    with torch.no_grad():
        logits = net(image[:, 0].transpose(1, 2)).logits
    text = json.dumps([float(f"{value:.8g}") for value in logits.double().ravel().tolist()])
    (HERE / "hugging_face_ast.json").write_text(text + "\n")


class Runs:
    """What a foreign file may try: unpickling it would make a folder."""

    def __reduce__(self):
        return (os.mkdir, ("executed-by-unpickling",))


# The patches that our seed makes visible.
VISIBLE = [[2, 5], [1, 2]]


class MaskedAutoencoder(nn.Module):
    def __init__(self, size, depth, heads, decoder_size, decoder_depth, decoder_heads, grid, classes):
        super().__init__()
        self.v, self.decoder, self.fc = nn.Module(), nn.Module(), nn.Linear(size, classes)
        tokens = grid[0] * grid[1] + 2
        for name, count in [("cls_token", 1), ("dist_token", 1), ("pos_embed", tokens)]:
            setattr(self.v, name, nn.Parameter(torch.zeros(1, count, size)))
        self.v.patch_embed = nn.Module()
        self.v.patch_embed.proj = nn.Conv2d(1, size, 16, 16)
        self.decoder.embed, self.decoder.pred = nn.Linear(size, decoder_size), nn.Linear(decoder_size, 256)
        self.decoder.mask_token = nn.Parameter(torch.zeros(1, 1, decoder_size))
        self.decoder.pos_embed = nn.Parameter(torch.zeros(1, tokens, decoder_size))
        parts = [(self.v, size, depth, heads), (self.decoder, decoder_size, decoder_depth, decoder_heads)]
        for part, width, blocks, each in parts:
            part.blocks = nn.ModuleList(AstBlock(width, each) for _ in range(blocks))
            part.norm = nn.LayerNorm(width, eps=1e-6)

    def encode(self, patches):
        extra = torch.cat([self.v.cls_token, self.v.dist_token], 1) + self.v.pos_embed[:, :2]
        tokens = torch.cat([extra.expand(len(patches), -1, -1), patches], 1)
        for block in self.v.blocks:
            tokens = block(tokens)
        return self.v.norm(tokens)

    def forward(self, x, visible=None):
        patches = self.v.patch_embed.proj(x).flatten(2).transpose(1, 2) + self.v.pos_embed[:, 2:]
        if visible is None:
            return self.fc(self.encode(patches)[:, 2:].mean(1))
        clips = torch.arange(len(x))[:, None]
        tokens = self.encode(patches[clips, visible])
        embedded = self.decoder.embed(tokens)
        full = self.decoder.mask_token.repeat(len(x), patches.shape[1], 1)
        full[clips, visible] = embedded[:, 2:]
        full = torch.cat([embedded[:, :2], full], 1) + self.decoder.pos_embed
        for block in self.decoder.blocks:
            full = block(full)
        found = self.decoder.pred(self.decoder.norm(full))[:, 2:]
        wanted = F.unfold(x[..., : x.shape[2] // 16 * 16, : x.shape[3] // 16 * 16], 16, stride=16).transpose(1, 2)
        wanted = (wanted - wanted.mean(2, keepdim=True)) / (wanted.var(2, keepdim=True) + 1e-6).sqrt()
        hidden = torch.ones(patches.shape[:2], dtype=torch.bool)
        hidden[clips, visible] = False
        return ((found - wanted) ** 2)[hidden].mean()


def masked_autoencoder():
    """A tiny masked autoencoder: its loss and the gradient of the images for the patches that our seed 2 makes visible; its logits."""
    net = MaskedAutoencoder(24, 2, 3, 16, 1, 2, (2, 3), 5)
    net.load_state_dict({name: filled(name, tuple(t.shape)) for name, t in net.state_dict().items()})
    image, visible = filled("input", (2, 1, 33, 50)).requires_grad_(), VISIBLE
    loss = net(image, torch.tensor(visible))
    loss.backward()
    rounded = lambda tensor: [float(f"{value:.8g}") for value in tensor.detach().double().ravel().tolist()]
    found = {"torch": torch.__version__, "visible": visible, "loss": rounded(loss)[0], "logits": rounded(net(image))}
    found["gradient"] = rounded(image.grad)[::37]
    (HERE / "masked_autoencoder.json").write_text(json.dumps(found) + "\n")


def small_files():
    net = CnnSmall(3, [4, 8], 5)
    net.load_state_dict({name: filled(name, tuple(t.shape)) for name, t in state_of(net).items()}, strict=False)
    state = net.state_dict()
    save_file(state, HERE / "small.safetensors")
    torch.save(state, HERE / "small.pth")
    torch.save(state, HERE / "legacy.pth", _use_new_zipfile_serialization=False)
    nested = {"epoch": 3, "model": {f"module.{name}": t.half() for name, t in state.items()}, "loss": [0.5]}
    torch.save(nested, HERE / "nested.pth")
    net.blocks[0].activation = net.blocks[1].activation = None
    torch.save(net, HERE / "whole.pt")
    torch.save({"blocks.0.conv.weight": Runs()}, HERE / "runs.pth")


def main():
    HERE.mkdir(exist_ok=True)
    import transformers

    versions = {"torch": torch.__version__, "torchvision": torchvision.__version__}
    versions["transformers"] = transformers.__version__
    cases = [*torchvision_cases(), *other_cases()]
    lines = ",\n".join(json.dumps(found, separators=(",", ":")) for found in cases)
    (HERE / "networks.json").write_text(f'{{"versions":{json.dumps(versions)},\n"cases":[\n{lines}\n]}}\n')
    small_files()
    hugging_face_ast()
    masked_autoencoder()


if __name__ == "__main__":
    main()
