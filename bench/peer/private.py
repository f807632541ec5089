"""Steps of DP-SGD with Opacus, timed in this process: `private.py hooks|ghost ROW --inputs DIR --out DIR`. One line of JSON on stdout.

A step is a Poisson sample, forward, gradients of single records, flat clipping, their sum, noise, and SGD. Opacus as fast as we can
make it: samples by a mask over tensors instead of a `DataLoader`, the accountant off, and the whole batch at once, or parts
of it by `signal_skip_step`, as `BatchMemoryManager` makes them, where that was faster (PHYSICAL).
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
import warnings
from pathlib import Path

import torch
import torch.nn.functional as F
from opacus import PrivacyEngine
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import networks

warnings.filterwarnings("ignore")

MIN_STEPS, MAX_STEPS, WARM_UP = 5, 40, 2
# Records of the comparison of clipped sums.
COMPARED = 256
# Records at once where that was faster than the whole batch.
PHYSICAL = {"ucstub": 64, "gn-resnet": 64}


class SmallCnn(nn.Module):
    """The network of Opacus' MNIST example."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 8, 2, padding=3)
        self.conv2 = nn.Conv2d(16, 32, 4, 2)
        self.fc1 = nn.Linear(32 * 4 * 4, 32)
        self.fc2 = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv1(x)), 2, 1)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2, 1)
        x = F.relu(self.fc1(x.flatten(1)))
        return self.fc2(x)


class UCStub(networks.UCStub):
    """Without dropout, and up to the logits."""

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.conv1(x))
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        return self.fc2(F.relu(self.fc1(x.flatten(1))))


NETWORKS = {"small-cnn": SmallCnn, "ucstub": UCStub, "gn-resnet": lambda: networks.GnResNet(16)}


class Private:
    """A network, its optimiser and criterion under Opacus."""

    def __init__(self, way: str, row: dict, network: nn.Module, data: tuple[Tensor, Tensor], noise: float, physical: int) -> None:
        self.way, self.physical = way, physical
        self.images, self.labels = data
        self.rate = row["batch"] / len(self.labels)
        optimizer = torch.optim.SGD(network.parameters(), lr=row["learning_rate"])
        made = PrivacyEngine().make_private(
            module=network,
            optimizer=optimizer,
            criterion=nn.CrossEntropyLoss(),
            # For the sampling rate alone.
            data_loader=DataLoader(TensorDataset(*data), batch_size=row["batch"]),
            noise_multiplier=noise,
            max_grad_norm=row["clipping_norm"],
            grad_sample_mode=way,
        )
        self.network, self.optimizer = made[0], made[1]
        self.criterion = made[2] if way == "ghost" else nn.CrossEntropyLoss()
        self.optimizer.step_hook = None

    def backward(self, images: Tensor, labels: Tensor) -> None:
        """Clipped sums of these records and noise, in `grad`, over the expected batch; for a step to take."""
        parts = list(zip(images.split(self.physical), labels.split(self.physical)))
        for i, (x, y) in enumerate(parts):
            self.optimizer.zero_grad()
            self.optimizer.signal_skip_step(do_skip=i + 1 < len(parts))
            self.criterion(self.network(x), y).backward()
            self.optimizer.pre_step()

    def step(self) -> None:
        rows = torch.nonzero(torch.rand(len(self.labels)) < self.rate).squeeze(1)
        self.backward(self.images[rows], self.labels[rows])
        self.optimizer.original_optimizer.step()


def memory() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("way", choices=["hooks", "ghost"])
    parser.add_argument("row")
    parser.add_argument("--inputs", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeat-for", type=float, default=2.0, help="repeat until the steps took so many seconds")
    parser.add_argument("--physical", type=int, help="records at once; by default the fastest number")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    row = json.loads((args.inputs / "settings.json").read_text())["private"][args.row]
    data = tuple(networks.load_tensor(args.inputs / name) for name in ("private.pt", "private_labels.pt"))

    def build(noise: float, dtype: torch.dtype = torch.float32) -> Private:
        network = NETWORKS[row["network"]]()
        network.load_state_dict(torch.load(args.inputs / f"private_{row['network']}.pth", weights_only=True))
        network = network.to(dtype)
        # A whole sample is larger than the batch as often as it is smaller.
        physical = args.physical or PHYSICAL.get(row["network"], 2 * row["batch"])
        return Private(args.way, row, network.train(), data, noise, physical)

    before = memory()
    private, seconds = build(row["noise_multiplier"]), []
    for i in range(WARM_UP + MAX_STEPS):
        start = time.perf_counter()
        private.step()
        if i >= WARM_UP:
            seconds.append(time.perf_counter() - start)
        if len(seconds) >= MIN_STEPS and sum(seconds) > args.repeat_for:
            break
    peak = memory()

    # In float64: in float32 a record whose activation comes out on the other side of ReLU's zero is more than rounding.
    compared = build(0.0, torch.float64)
    compared.backward(data[0][:COMPARED].double(), data[1][:COMPARED])
    sums = [p.grad.contiguous().flatten() for p in compared.network.parameters()]
    (torch.cat(sums) * row["batch"]).float().numpy().tofile(args.out / "sums.f32")
    result = {"records_at_once": private.physical, "before": before}
    print(json.dumps({"part": args.row, "seconds": seconds, "result": result, "peak_rss": peak}))
    return 0


sys.exit(main())
