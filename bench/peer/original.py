"""The job the way the original program does it: eager, NCHW, one sample at a time where it did so."""

from __future__ import annotations

import contextlib
import importlib
import math
import sys
import types
import unittest.mock
from collections.abc import Callable

import numpy
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, TensorDataset

import candidates
from networks import VAE, Decoder, UCStub, normalise

LABEL_BATCH = 128
LATENT_LIMIT = 3.0


def make_pool(decoder: Decoder, pool_size: int, seed: int, mixing_ratio: float, noise_scale: float) -> Tensor:
    """Candidates [pool_size, 1, 28, 28]."""
    latent_dim = decoder.fc.in_features
    images = []
    with torch.no_grad():
        for z in candidates.latents(pool_size, latent_dim, seed, mixing_ratio, noise_scale):
            images.append(decoder(z))
    return torch.cat(images)


def probabilities(teacher: UCStub, images: Tensor) -> Tensor:
    """The teacher's probabilities of all classes, [n, 10]."""
    rows = []
    with torch.no_grad():
        for first in range(0, len(images), LABEL_BATCH):
            batch = normalise(images[first : first + LABEL_BATCH])
            rows.append(torch.exp(teacher(batch)))
    return torch.cat(rows) if rows else torch.empty(0, 10)


def label(teacher: UCStub, images: Tensor) -> tuple[Tensor, Tensor]:
    """Labels and confidences, each [n]."""
    confidences, labels = probabilities(teacher, images).max(dim=1)
    return labels, confidences


def steer_one(
    decoder: Decoder,
    teacher: UCStub,
    z0: Tensor,
    wanted: int,
    steps: int,
    learning_rate: float,
    noise_scale: float,
) -> tuple[Tensor, list[float]]:
    """The best latent [1, latent_dim] of all steps, and the confidence after each.

    All weights keep requires_grad, as a loaded network has it; a second forward pass measures.
    """
    z = z0.clone().requires_grad_(True)
    optimizer = torch.optim.Adam([z], lr=learning_rate)
    target = torch.tensor([wanted])
    best_z, best_confidence = z.detach().clone(), 0.0
    trajectory = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = F.nll_loss(teacher(normalise(decoder(z))), target)
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            if noise_scale > 0:
                z.add_(torch.randn_like(z) * noise_scale)
            z.clamp_(-LATENT_LIMIT, LATENT_LIMIT)
            confidence = torch.exp(teacher(normalise(decoder(z))))[0, wanted].item()
        trajectory.append(confidence)
        if confidence > best_confidence:
            best_z, best_confidence = z.detach().clone(), confidence
    return best_z, trajectory


def steer(
    decoder: Decoder,
    teacher: UCStub,
    wanted: int,
    n: int,
    steps: int,
    learning_rate: float,
    noise_scale: float,
) -> Tensor:
    """Images [n, 1, 28, 28] steered to one class, one at a time."""
    latent_dim = decoder.fc.in_features
    images = []
    for _ in range(n):
        z0 = torch.randn(1, latent_dim)
        z, _ = steer_one(decoder, teacher, z0, wanted, steps, learning_rate, noise_scale)
        with torch.no_grad():
            images.append(decoder(z))
    return torch.cat(images) if images else torch.empty(0, 1, 28, 28)


def steer_classes(decoder: Decoder, teacher: UCStub, missing: dict[int, int], settings: dict) -> dict[int, Tensor]:
    """Images by class, `missing[class]` of each."""
    how = (settings["steps"], settings["learning_rate"], settings["noise_scale"])
    return {wanted: steer(decoder, teacher, wanted, n, *how) for wanted, n in missing.items()}


def trajectories(decoder: Decoder, teacher: UCStub, z0: Tensor, wanted: int, steps: int, learning_rate: float) -> Tensor:
    """Confidences without noise, at z0 and after each step: [steps + 1, n]."""
    columns = []
    for row in z0.split(1):
        with torch.no_grad():
            start = torch.exp(teacher(normalise(decoder(row))))[0, wanted].item()
        columns.append([start, *steer_one(decoder, teacher, row, wanted, steps, learning_rate, 0.0)[1]])
    return torch.tensor(columns).T.contiguous()


def diverse(rows: Tensor, min_distance: float) -> list[int]:
    """Rows to keep, most confident first: each at least that far from every one kept before."""
    kept_rows: list[Tensor] = []
    kept = []
    for index in range(len(rows)):
        row = rows[index]
        if kept_rows:
            distances = torch.norm(torch.stack(kept_rows) - row, dim=1)
            if distances.min().item() < min_distance:
                continue
        kept_rows.append(row)
        kept.append(index)
    return kept


def nearest(images: Tensor, shard: Tensor) -> Tensor:
    """Distance of every image to the nearest of the shard, [n]."""
    return torch.cdist(images.flatten(1), shard.flatten(1)).min(dim=1).values


def mean_distance(rows: Tensor) -> float:
    """Mean distance between two rows."""
    return F.pdist(rows).mean().item() if len(rows) > 1 else 0.0


def train_classifier(
    network: UCStub,
    train: tuple[Tensor, Tensor],
    validation: tuple[Tensor, Tensor] | None,
    settings: dict,
) -> float:
    """Trains by SGD; the mean loss of the last epoch."""
    loader = DataLoader(TensorDataset(*train), batch_size=settings["batch_size"], shuffle=True)
    optimizer = torch.optim.SGD(
        network.parameters(),
        lr=settings["learning_rate"],
        momentum=settings["momentum"],
        weight_decay=settings["weight_decay"],
    )
    best, loss_sum = -1.0, 0.0
    for _ in range(settings["epochs"]):
        network.train()
        loss_sum, right = 0.0, 0
        for images, labels in loader:
            optimizer.zero_grad()
            output = network(normalise(images))
            loss = F.nll_loss(output, labels)
            loss.backward()
            optimizer.step()
            loss_sum += loss.item() * len(images)
            right += (output.argmax(dim=1) == labels).sum().item()
        if validation is not None:
            accuracy = validate(network, validation, settings["batch_size"])
            if accuracy > best:
                best = accuracy
                _ = {name: value.clone() for name, value in network.state_dict().items()}
    return loss_sum / len(train[0])


def validate(network: UCStub, records: tuple[Tensor, Tensor], batch_size: int) -> float:
    """Per cent right."""
    network.eval()
    loss_sum, right = 0.0, 0
    with torch.no_grad():
        for images, labels in DataLoader(TensorDataset(*records), batch_size=batch_size):
            output = network(normalise(images))
            loss_sum += F.nll_loss(output, labels, reduction="sum").item()
            right += (output.argmax(dim=1) == labels).sum().item()
    return 100.0 * right / len(records[0])


class Augmented(Dataset):
    """Images that are rotated, shifted and blurred by noise one by one, as a data set's transform does."""

    def __init__(self, images: Tensor, degrees: float = 10.0, pixels: float = 2.0, noise: float = 0.03) -> None:
        self.images, self.degrees, self.pixels, self.noise = images, degrees, pixels, noise

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        image = self.images[index : index + 1]
        angle = math.radians((2 * torch.rand(1).item() - 1) * self.degrees)
        right, down = ((2 * torch.rand(2) - 1) * self.pixels).round().tolist()
        sin, cos = math.sin(angle), math.cos(angle)
        side = image.shape[-1]
        theta = torch.tensor([[[cos, sin, 2 * right / side], [-sin, cos, 2 * down / side]]])
        grid = F.affine_grid(theta, list(image.shape), align_corners=False)
        moved = F.grid_sample(image, grid, mode="nearest", padding_mode="zeros", align_corners=False)
        return (moved + torch.randn_like(moved) * self.noise).clamp(0, 1)[0]


def train_vae(
    network: VAE, images: Tensor, settings: dict, encoder_sees: Callable[[Tensor], Tensor] = normalise
) -> float:
    """Trains by Adam with KL annealing over 10 epochs; the reconstruction loss per image of the last epoch."""
    loader = DataLoader(Augmented(images), batch_size=settings["batch_size"], shuffle=True)
    optimizer = torch.optim.Adam(
        network.parameters(), lr=settings["learning_rate"], weight_decay=settings["weight_decay"]
    )
    network.train()
    recon_sum = 0.0
    for epoch in range(settings["epochs"]):
        weight = min(1.0, epoch / 10)
        recon_sum, kl_sum = 0.0, 0.0
        for x in loader:
            optimizer.zero_grad()
            output, mu, logvar = network(encoder_sees(x))
            recon = F.binary_cross_entropy(output, x, reduction="sum")
            kl = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())
            loss = recon + weight * kl
            loss.backward()
            optimizer.step()
            recon_sum += recon.item()
            kl_sum += kl.item()
    return recon_sum / len(images)


class Recorder:
    """Mean and biased variance of the input of a norm layer, by a hook."""

    def __init__(self, layer: nn.Module) -> None:
        layer.register_forward_hook(self.see)

    def see(self, layer: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        x = inputs[0]
        self.mean = x.mean((0, 2, 3))
        self.variance = x.permute(1, 0, 2, 3).flatten(1).var(1, unbiased=False)


def synthesise(network: nn.Module, images: Tensor, labels: Tensor, k: int, batch: int, rate: float) -> Tensor:
    """DP-ImgSyn's steps on pixels towards means of 0 and variances of 1; the mean loss before each step, [k]."""
    network.eval()
    recorders = [Recorder(layer) for layer in network.modules() if isinstance(layer, nn.GroupNorm)]
    low, high = normalise(torch.zeros(())), normalise(torch.ones(()))
    losses = torch.zeros(k)
    for first in range(0, len(images), batch):
        x, y = images[first : first + batch].clone().requires_grad_(True), labels[first : first + batch]
        optimizer = torch.optim.Adam([x], lr=rate, betas=(0.5, 0.99))
        for step in range(k):
            optimizer.zero_grad()
            network.zero_grad()
            cross_entropy = F.cross_entropy(network(x), y)
            features = sum((r.variance - 1).norm() + r.mean.norm() for r in recorders)
            right, down = x[..., :, 1:] - x[..., :, :-1], x[..., 1:, :] - x[..., :-1, :]
            falling, rising = x[..., 1:, 1:] - x[..., :-1, :-1], x[..., 1:, :-1] - x[..., :-1, 1:]
            variation = sum(difference.abs().mean() for difference in (right, down, falling, rising))
            loss = 10 * features + cross_entropy + 2.5e-5 * variation + 3e-8 * x.norm()
            loss.backward()
            optimizer.step()
            x.data = x.data.clamp(low, high)
            losses[step] += loss.item()
    return losses / math.ceil(len(images) / batch)


def pytorch_fid() -> types.ModuleType:
    """The package's module, whose networks' package is not needed for a distance of given features."""
    for name in ("torchvision", "torchvision.transforms", "torchvision.models", "PIL", "PIL.Image"):
        sys.modules.setdefault(name, unittest.mock.MagicMock())
    return importlib.import_module("pytorch_fid.fid_score")


def frechet_distance(real: Tensor, generated: Tensor) -> float:
    """As pytorch-fid has it, moments and all."""
    fid = pytorch_fid()
    moments = [(x.mean(0), numpy.cov(x, rowvar=False)) for x in (real.numpy(), generated.numpy())]
    return float(fid.calculate_frechet_distance(*moments[0], *moments[1]))


def neighbours(real: Tensor, generated: Tensor, k: int) -> dict:
    """As prdc has it."""
    from prdc import compute_prdc

    with contextlib.redirect_stdout(sys.stderr):
        found = compute_prdc(real.double().numpy(), generated.double().numpy(), nearest_k=k)
    return {name: float(value) for name, value in found.items()}
