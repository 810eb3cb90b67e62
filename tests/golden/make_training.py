"""Golden numbers of PyTorch for losses and optimizers: python tests/golden/make_training.py

Writes tests/golden/training.json. Losses: values and gradients with respect to the logits, for all kinds of targets and options.
Optimizers: a matrix and a bias under twenty given gradients, without weight decay on the bias, with and without clipping.
"""

import json
import pathlib

import torch
import torch.nn.functional as F
import torchvision
from torchvision.ops import sigmoid_focal_loss

HERE = pathlib.Path(__file__).parent
CLASSES = 4


def numbers(tensor):
    return tensor.detach().double().flatten().tolist()


def loss_cases():
    generator = torch.Generator().manual_seed(5)
    logits = torch.randn(6, CLASSES, generator=generator) * 3
    # Almost certain predictions, right and wrong.
    logits[0] = torch.tensor([60.0, -60.0, 0.0, 30.0])
    single = [[0], [3], [2], [0], [1], [3]]
    several = [[0, 1], [], [0, 1, 2, 3], [2], [1, 3], [0]]
    weights = [0.5, 2.0, 1.0, 3.5]
    hot = lambda labels: torch.stack([F.one_hot(torch.tensor(l, dtype=torch.long), CLASSES).sum(0).float() for l in labels])

    def case(spec, labels, loss):
        x = logits.clone().requires_grad_()
        value = loss(x, hot(labels))
        value.backward()
        return {"spec": spec, "labels": labels, "loss": value.item(), "gradient": numbers(x.grad)}

    def soft(y, smoothing):
        return y * (1 - smoothing) + smoothing / 2

    def focal(x, y, gamma, weight):
        p = torch.sigmoid(x)
        sure = p * y + (1 - p) * (1 - y)
        bce = F.binary_cross_entropy_with_logits(x, y, reduction="none", pos_weight=weight)
        return (bce * (1 - sure) ** gamma).mean()

    cases = []
    for smoothing in (0.0, 0.1):
        cases.append(
            case(
                {"loss": "cross_entropy", "label_smoothing": smoothing},
                single,
                lambda x, y: F.cross_entropy(x, y.argmax(1), label_smoothing=smoothing),
            )
        )
        for weight in ([], [2.5], weights):
            tensor = torch.tensor(weight if len(weight) > 1 else weight * CLASSES) if weight else None
            cases.append(
                case(
                    {"loss": "bce", "label_smoothing": smoothing, "pos_weight": weight},
                    several,
                    lambda x, y: F.binary_cross_entropy_with_logits(x, soft(y, smoothing), pos_weight=tensor),
                )
            )
    for gamma in (0.0, 1.0, 2.0, 3.0):
        cases.append(
            case(
                {"loss": "focal", "focal_gamma": gamma},
                several,
                lambda x, y: sigmoid_focal_loss(x, y, alpha=-1, gamma=gamma, reduction="mean"),
            )
        )
    cases.append(
        case(
            {"loss": "focal", "focal_gamma": 2.0, "pos_weight": weights},
            several,
            lambda x, y: focal(x, y, 2.0, torch.tensor(weights)),
        )
    )
    cases += distillation_cases(case, single, several, generator)
    return {"classes": CLASSES, "logits": numbers(logits), "cases": cases}


def distillation_cases(case, single, several, generator):
    """Labels and a teacher's probabilities, both softened by a temperature (Hinton, Vinyals and Dean 2015)."""
    logits = torch.randn(len(single), CLASSES, generator=generator) * 2
    cases = []
    for weight, temperature in ((0.5, 2.0), (1.0, 1.0), (0.9, 4.0)):
        spec = {"teacher": "run", "teacher_weight": weight, "temperature": temperature}

        def softmax(x, y):
            soft = torch.softmax(logits / temperature, 1)
            taught = F.kl_div(F.log_softmax(x / temperature, 1), soft, reduction="batchmean") * temperature**2
            return (1 - weight) * F.cross_entropy(x, y.argmax(1)) + weight * taught

        def sigmoid(x, y):
            soft = torch.sigmoid(logits / temperature)
            entropy = F.binary_cross_entropy_with_logits(logits / temperature, soft)
            taught = (F.binary_cross_entropy_with_logits(x / temperature, soft) - entropy) * temperature**2
            return (1 - weight) * F.binary_cross_entropy_with_logits(x, y) + weight * taught

        cases.append({**case({**spec, "loss": "cross_entropy"}, single, softmax), "teacher": numbers(torch.softmax(logits, 1))})
        cases.append({**case({**spec, "loss": "bce"}, several, sigmoid), "teacher": numbers(torch.sigmoid(logits))})
    return cases


def optimizer_cases():
    generator = torch.Generator().manual_seed(7)
    steps = 20
    matrix, bias = torch.randn(3, 5, generator=generator), torch.randn(5, generator=generator)
    gradients = [
        (torch.randn(3, 5, generator=generator) * 2**-k, torch.randn(5, generator=generator)) for k in range(steps)
    ]
    specs = [
        {"optimizer": "sgd", "momentum": 0.0, "weight_decay": 0.0},
        {"optimizer": "sgd", "momentum": 0.9, "weight_decay": 0.1},
        {"optimizer": "adam", "momentum": 0.9, "beta2": 0.999, "epsilon": 1e-8, "weight_decay": 0.0},
        {"optimizer": "adam", "momentum": 0.8, "beta2": 0.99, "epsilon": 1e-5, "weight_decay": 0.2},
        {"optimizer": "adamw", "momentum": 0.9, "beta2": 0.999, "epsilon": 1e-8, "weight_decay": 0.2},
        {"optimizer": "adamw", "momentum": 0.9, "beta2": 0.99, "epsilon": 1e-5, "weight_decay": 0.01, "clip_norm": 0.7},
        {"optimizer": "sgd", "momentum": 0.9, "weight_decay": 0.1, "clip_norm": 1.5},
    ]
    cases = []
    for spec in specs:
        m, b = matrix.clone().requires_grad_(), bias.clone().requires_grad_()
        groups = [{"params": [m], "weight_decay": spec["weight_decay"]}, {"params": [b], "weight_decay": 0.0}]
        rate = 0.05
        if spec["optimizer"] == "sgd":
            optimizer = torch.optim.SGD(groups, lr=rate, momentum=spec["momentum"])
        else:
            make = torch.optim.Adam if spec["optimizer"] == "adam" else torch.optim.AdamW
            optimizer = make(groups, lr=rate, betas=(spec["momentum"], spec["beta2"]), eps=spec["epsilon"])
        for gm, gb in gradients:
            m.grad, b.grad = gm.clone(), gb.clone()
            if "clip_norm" in spec:
                torch.nn.utils.clip_grad_norm_([m, b], spec["clip_norm"])
            optimizer.step()
        cases.append({"spec": spec, "rate": rate, "matrix": numbers(m), "bias": numbers(b)})
    return {
        "matrix": numbers(matrix),
        "bias": numbers(bias),
        "gradients": [[numbers(gm), numbers(gb)] for gm, gb in gradients],
        "cases": cases,
    }


def main():
    out = {
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "losses": loss_cases(),
        "optimizers": optimizer_cases(),
    }
    (HERE / "training.json").write_text(json.dumps(out, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
