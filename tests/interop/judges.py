"""The benchmark's three networks, trained and tested by `score-release`, against the same networks computed here."""

import struct
import zlib

import torch
import torch.nn.functional as F

from items import Close, Wrong, same
from networks import load

IMAGES, SIDE = 20, 8


def run(programs, items):
    for folder in ("judges/set", "judges/test/a", "judges/test/b"):
        programs.path(folder).mkdir(parents=True)
    torch.manual_seed(7)
    labels = torch.arange(IMAGES) % 2
    bright = (torch.rand(IMAGES, 1, SIDE, SIDE) * 200).floor()
    bright[labels == 1, :, : SIDE // 2] += 50
    torch.save(bright / 255, programs.path("judges/set/synthetic_samples.pt"))
    rows = [f"{i},{label},1" for i, label in enumerate(labels.tolist())]
    programs.path("judges/set/labels.csv").write_text("\n".join(["index,label,confidence", *rows, ""]))
    for i, image in enumerate(bright[:, 0].byte().tolist()):
        programs.path(f"judges/test/{'ab'[i % 2]}/{i:02}.png").write_bytes(png(image))
    # Folders are read class by class.
    order = sorted(range(IMAGES), key=lambda i: (i % 2, i))
    items.check("the benchmark's networks, trained and tested", networks, programs, bright[order] / 255, labels[order])


def networks(programs, images, labels):
    programs.run(
        "score-release --release judges/set --classes 2 --test-dir judges/test --test-set folders --public none"
        f" --classifiers {','.join(NETWORKS)} --output-dir judges/score"
    )
    close = Close(1e-4)
    for judged in programs.json("judges/score/score_report.json")["classifiers"]:
        name, tested = judged["classifier"], judged["runs"][0]
        weights = Weights(load(programs.path(f"judges/score/classifiers/release_{name}_{tested['seed']}/model.pth")))
        logits = NETWORKS[name](weights, 2 * images - 1)
        same(f"{name}'s values", sorted(weights.used), sorted(weights.all))
        close.add(f"{name}'s loss", tested["loss"], F.cross_entropy(logits.double(), labels))
        close.add(f"{name}'s accuracy", tested["accuracy"], 100 * (logits.argmax(1) == labels).double().mean())
    return f"{', '.join(NETWORKS)}: {close}"


class Weights:
    """A state_dict, and which of it was used."""

    def __init__(self, values):
        self.all, self.used = values, set()

    def __getitem__(self, name):
        if name not in self.all:
            raise Wrong(f"{name} is not in the file")
        self.used.add(name)
        return self.all[name]

    def conv(self, name, x, stride=1):
        weight = self[f"{name}.weight"]
        return F.conv2d(x, weight, stride=stride, padding=weight.shape[2] // 2, groups=x.shape[1] // weight.shape[1])

    def norm(self, name, x):
        of = [self[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
        return F.batch_norm(x, *of)

    def answer(self, name, x):
        return F.linear(x.mean((2, 3)), self[f"{name}.weight"], self[f"{name}.bias"])


def blocks(n):
    """Stages counted from 1, blocks from 0, strides."""
    return [(stage, block, 2 if stage > 1 and block == 0 else 1) for stage in (1, 2, 3) for block in range(n)]


def resnet110(w, x):
    x = w.norm("bn1", w.conv("conv1", x)).relu()
    for stage, block, stride in blocks(18):
        p = f"layer{stage}.{block}."
        y = w.norm(p + "bn1", w.conv(p + "conv1", x, stride)).relu()
        y = w.norm(p + "bn2", w.conv(p + "conv2", y))
        if stride == 2:
            x = w.norm(p + "downsample.1", w.conv(p + "downsample.0", x, stride))
        x = (x + y).relu()
    return w.answer("fc", x)


def wrn40(w, x):
    x = w.conv("conv1", x)
    for stage, block, stride in blocks(6):
        p = f"block{stage}.layer.{block}."
        seen = w.norm(p + "bn1", x).relu()
        if block == 0:
            x = w.conv(p + "convShortcut", seen, stride)
        y = w.norm(p + "bn2", w.conv(p + "conv1", seen, stride)).relu()
        x = x + w.conv(p + "conv2", y)
    return w.answer("fc", w.norm("bn1", x).relu())


def resnext29(w, x):
    x = w.norm("bn_1", w.conv("conv_1_3x3", x)).relu()
    for stage, block, stride in blocks(3):
        p = f"stage_{stage}.stage_{stage}_bottleneck_{block}."
        y = w.norm(p + "bn_reduce", w.conv(p + "conv_reduce", x)).relu()
        y = w.norm(p + "bn", w.conv(p + "conv_conv", y, stride)).relu()
        y = w.norm(p + "bn_expand", w.conv(p + "conv_expand", y))
        if block == 0:
            x = w.norm(p + "shortcut.shortcut_bn", w.conv(p + "shortcut.shortcut_conv", x, stride))
        x = (x + y).relu()
    return w.answer("classifier", x)


NETWORKS = {"resnet110": resnet110, "wrn40-4": wrn40, "resnext29": resnext29}


def png(rows):
    """Eight bits of grey."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", len(rows[0]), len(rows), 8, 0, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + bytes(row) for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
