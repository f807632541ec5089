"""The same job in PyTorch tuned as well as we can: the same functions as `original`, with the same results."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import candidates
from networks import VAE, Decoder, UCStub, normalise

# Rows that go through a network at once; their activations then stay in the processor's cache.
BATCH = 64
# Rows of a block of distances.
BLOCK = 1024
LATENT_LIMIT = 3.0

Network = TypeVar("Network", bound=nn.Module)
Item = TypeVar("Item")
Result = TypeVar("Result")


def frozen(network: Network) -> Network:
    """For inference: channels-last weights without gradients."""
    return network.eval().requires_grad_(False).to(memory_format=torch.channels_last)


def channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def each(work: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """Results in order, one batch per thread: two threads on a batch each wait less than two threads on one batch."""
    threads = torch.get_num_threads()
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        results = list(pool.map(work, items))
    torch.set_num_threads(threads)
    return results


def make_pool(decoder: Decoder, pool_size: int, seed: int, mixing_ratio: float, noise_scale: float) -> Tensor:
    """Candidates [pool_size, 1, 28, 28]."""
    decoder = frozen(decoder)
    images = torch.empty(pool_size, 1, 28, 28)
    z = torch.cat(list(candidates.latents(pool_size, decoder.fc.in_features, seed, mixing_ratio, noise_scale)))

    def draw(first: int) -> None:
        with torch.inference_mode():
            images[first : first + BATCH] = decode(decoder, z[first : first + BATCH])

    each(draw, range(0, pool_size, BATCH))
    return images


def logits(decoder: Decoder, z: Tensor) -> Tensor:
    """The decoder before its sigmoid, with channels-last activations."""
    x = channels_last(decoder.fc(z).view(-1, 128, 7, 7))
    x = F.relu(decoder.conv_t1(x))
    x = F.relu(decoder.conv_t2(x))
    return decoder.conv_final(x)


def decode(decoder: Decoder, z: Tensor) -> Tensor:
    """Latents [n, latent_dim] to images [n, 1, 28, 28]."""
    return torch.sigmoid(logits(decoder, z))


def log_probs(teacher: UCStub, images: Tensor) -> Tensor:
    """The teacher without dropout; ReLU after the pool, where it touches a quarter of the values."""
    x = F.relu(teacher.conv1(channels_last(normalise(images))))
    x = F.relu(F.max_pool2d(teacher.conv2(x), 2))
    x = F.relu(teacher.fc1(torch.flatten(x, 1)))
    return F.log_softmax(teacher.fc2(x), dim=1)


def probabilities(teacher: UCStub, images: Tensor) -> Tensor:
    """The teacher's probabilities of all classes, [n, 10]."""
    teacher = frozen(teacher)

    def one(batch: Tensor) -> Tensor:
        with torch.inference_mode():
            return log_probs(teacher, batch).exp()

    return torch.cat(each(one, images.split(BATCH))) if len(images) else torch.empty(0, 10)


def label(teacher: UCStub, images: Tensor) -> tuple[Tensor, Tensor]:
    """Labels and confidences, each [n]."""
    confidences, labels = probabilities(teacher, images).max(dim=1)
    return labels, confidences


def steer_group(
    decoder: Decoder,
    teacher: UCStub,
    z0: Tensor,
    wanted: Tensor,
    noises: list[Tensor] | None,
    steps: int,
    learning_rate: float,
) -> tuple[Tensor, Tensor]:
    """The best latents of all steps, [n, latent_dim], and all confidences, [steps + 1, n].

    Gradients for the latents alone, and one forward pass per step, which measures too.
    """
    z = z0.clone().requires_grad_(True)
    optimizer = torch.optim.Adam([z], lr=learning_rate, fused=True)
    best_z = z0.clone()
    best = torch.full((len(z0),), -math.inf)
    measured = []
    for step in range(steps + 1):
        with torch.set_grad_enabled(step < steps):
            log_p = log_probs(teacher, decode(decoder, z)).gather(1, wanted[:, None])[:, 0]
        with torch.no_grad():
            now = log_p.detach()
            better = now > best
            best = torch.where(better, now, best)
            best_z = torch.where(better[:, None], z, best_z)
            measured.append(now.exp())
        if step == steps:
            break
        (z.grad,) = torch.autograd.grad(-log_p.sum(), z)
        optimizer.step()
        with torch.no_grad():
            if noises is not None:
                z.add_(noises[step])
            z.clamp_(-LATENT_LIMIT, LATENT_LIMIT)
    return best_z, torch.stack(measured)


def steer_classes(decoder: Decoder, teacher: UCStub, missing: dict[int, int], settings: dict) -> dict[int, Tensor]:
    """Images by class, `missing[class]` of each; all classes side by side, in groups."""
    decoder, teacher = frozen(decoder), frozen(teacher)
    steps, noise_scale = settings["steps"], settings["noise_scale"]
    wanted = torch.cat([torch.full((n,), wanted) for wanted, n in missing.items()])
    z0 = torch.randn(len(wanted), decoder.fc.in_features)
    noises = [torch.randn_like(z0) * noise_scale for _ in range(steps)] if noise_scale > 0 else None

    def group(first: int) -> Tensor:
        rows = slice(first, first + BATCH)
        noise = [step[rows] for step in noises] if noises is not None else None
        z, _ = steer_group(decoder, teacher, z0[rows], wanted[rows], noise, steps, settings["learning_rate"])
        with torch.inference_mode():
            return decode(decoder, z)

    images = torch.cat(each(group, range(0, len(wanted), BATCH)))
    return {wanted: part for wanted, part in zip(missing, images.split(list(missing.values())), strict=True)}


def steer(
    decoder: Decoder,
    teacher: UCStub,
    wanted: int,
    n: int,
    steps: int,
    learning_rate: float,
    noise_scale: float,
) -> Tensor:
    """Images [n, 1, 28, 28] steered to one class."""
    settings = {"steps": steps, "learning_rate": learning_rate, "noise_scale": noise_scale}
    return steer_classes(decoder, teacher, {wanted: n}, settings)[wanted]


def trajectories(decoder: Decoder, teacher: UCStub, z0: Tensor, wanted: int, steps: int, learning_rate: float) -> Tensor:
    """Confidences without noise, at z0 and after each step: [steps + 1, n]."""
    decoder, teacher = frozen(decoder), frozen(teacher)
    return steer_group(decoder, teacher, z0, torch.full((len(z0),), wanted), None, steps, learning_rate)[1]


def squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """[n, d] and [m, d] to [n, m], as one matrix product."""
    norms = a.square().sum(1)[:, None] + b.square().sum(1)
    return torch.addmm(norms, a, b.T, alpha=-2).clamp_min_(0)


@torch.inference_mode()
def diverse(rows: Tensor, min_distance: float) -> list[int]:
    """Rows to keep, most confident first: distances to all kept before come a block at a time."""
    limit = min_distance**2
    kept_rows = torch.empty_like(rows)
    kept: list[int] = []
    for first in range(0, len(rows), 256):
        block = rows[first : first + 256]
        alive = torch.ones(len(block), dtype=torch.bool)
        if kept:
            alive = squared_distances(block, kept_rows[: len(kept)]).amin(1) >= limit
        far = (squared_distances(block, block) >= limit).numpy()
        chosen: list[int] = []
        for index in alive.nonzero()[:, 0].tolist():
            if far[index, chosen].all():
                chosen.append(index)
        kept_rows[len(kept) : len(kept) + len(chosen)] = block[chosen]
        kept += [first + index for index in chosen]
    return kept


@torch.inference_mode()
def nearest(images: Tensor, shard: Tensor) -> Tensor:
    """Distance of every image to the nearest of the shard, [n]."""
    shard = shard.flatten(1)
    blocks = images.flatten(1).split(BLOCK)
    return torch.cat([squared_distances(block, shard).amin(1).sqrt() for block in blocks])


@torch.inference_mode()
def mean_distance(rows: Tensor) -> float:
    """Mean distance between two rows."""
    total = sum(
        squared_distances(block, rows).sqrt().sum(dtype=torch.float64).item() for block in rows.split(BLOCK)
    )
    return total / (len(rows) * (len(rows) - 1)) if len(rows) > 1 else 0.0


def train_classifier(
    network: UCStub,
    train: tuple[Tensor, Tensor],
    validation: tuple[Tensor, Tensor] | None,
    settings: dict,
) -> float:
    """Trains by SGD; the mean loss of the last epoch. Batches are picked by index, sums stay tensors."""
    network = network.to(memory_format=torch.channels_last)
    images, labels = channels_last(normalise(train[0])), train[1]
    optimizer = torch.optim.SGD(
        network.parameters(),
        lr=settings["learning_rate"],
        momentum=settings["momentum"],
        weight_decay=settings["weight_decay"],
        fused=True,
    )
    loss_sum, best = torch.zeros(()), -1.0
    for _ in range(settings["epochs"]):
        network.train()
        loss_sum, right = torch.zeros(()), torch.zeros((), dtype=torch.int64)
        for rows in torch.randperm(len(labels)).split(settings["batch_size"]):
            optimizer.zero_grad(set_to_none=True)
            output = network(channels_last(images[rows]))
            loss = F.nll_loss(output, labels[rows], reduction="sum")
            (loss / len(rows)).backward()
            optimizer.step()
            loss_sum += loss.detach()
            right += (output.detach().argmax(dim=1) == labels[rows]).sum()
        if validation is not None:
            accuracy = validate(network, validation)
            if accuracy > best:
                best = accuracy
                _ = {name: value.clone() for name, value in network.state_dict().items()}
    return loss_sum.item() / len(labels)


def validate(network: UCStub, records: tuple[Tensor, Tensor]) -> float:
    """Per cent right."""
    network.eval()

    def one(rows: slice) -> tuple[Tensor, Tensor]:
        with torch.inference_mode():
            output = log_probs(network, records[0][rows])
            loss = F.nll_loss(output, records[1][rows], reduction="sum")
            return loss, (output.argmax(dim=1) == records[1][rows]).sum()

    parts = each(one, [slice(first, first + BATCH) for first in range(0, len(records[1]), BATCH)])
    return 100.0 * sum(right.item() for _, right in parts) / len(records[1])


def augment(x: Tensor, degrees: float = 10.0, pixels: float = 2.0, noise: float = 0.03) -> Tensor:
    """Images that are rotated, shifted and blurred by noise, a batch at a time."""
    n, side = len(x), x.shape[-1]
    angle = (2 * torch.rand(n) - 1) * math.radians(degrees)
    shift = ((2 * torch.rand(n, 2) - 1) * pixels).round() * (2 / side)
    sin, cos = angle.sin(), angle.cos()
    theta = torch.stack([cos, sin, shift[:, 0], -sin, cos, shift[:, 1]], dim=1).view(n, 2, 3)
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    moved = F.grid_sample(x, grid, mode="nearest", padding_mode="zeros", align_corners=False)
    return moved.add_(torch.randn_like(moved), alpha=noise).clamp_(0, 1)


def train_vae(
    network: VAE, images: Tensor, settings: dict, encoder_sees: Callable[[Tensor], Tensor] = normalise
) -> float:
    """Trains by Adam with KL annealing over 10 epochs; the reconstruction loss per image of the last epoch."""
    network = network.to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.Adam(
        network.parameters(), lr=settings["learning_rate"], weight_decay=settings["weight_decay"], fused=True
    )
    recon_sum = torch.zeros(())
    for epoch in range(settings["epochs"]):
        weight = min(1.0, epoch / 10)
        recon_sum, kl_sum = torch.zeros(()), torch.zeros(())
        for rows in torch.randperm(len(images)).split(settings["batch_size"]):
            x = augment(images[rows])
            optimizer.zero_grad(set_to_none=True)
            mu, logvar = network.encoder(channels_last(encoder_sees(x)))
            z = mu + torch.exp(0.5 * logvar) * torch.randn_like(mu)
            recon = F.binary_cross_entropy_with_logits(logits(network.decoder, z), x, reduction="sum")
            kl = -0.5 * torch.sum(1 + logvar - mu.square() - logvar.exp())
            (recon + weight * kl).backward()
            optimizer.step()
            recon_sum += recon.detach()
            kl_sum += kl.detach()
    return recon_sum.item() / len(images)


def synthesise(network: nn.Module, images: Tensor, labels: Tensor, k: int, batch: int, rate: float) -> Tensor:
    """As the original's, a batch per thread, without gradients of weights, statistics in one pass, Adam by hand."""
    network = frozen(network)
    low, high = normalise(torch.zeros(())), normalise(torch.ones(()))

    def move(first: int) -> Tensor:
        x, y = channels_last(images[first : first + batch].clone()), labels[first : first + batch]
        own = copy.deepcopy(network)
        seen: list[Tensor] = []
        for layer in own.modules():
            if isinstance(layer, nn.GroupNorm):
                layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        mean, square, losses = torch.zeros_like(x), torch.zeros_like(x), torch.zeros(k)
        for step in range(k):
            x.requires_grad_(True)
            seen.clear()
            cross_entropy = F.cross_entropy(own(x), y)
            moments = [torch.var_mean(z, (0, 2, 3), correction=0) for z in seen]
            features = sum((v - 1).norm() + m.norm() for v, m in moments)
            right, down = x[..., :, 1:] - x[..., :, :-1], x[..., 1:, :] - x[..., :-1, :]
            falling, rising = x[..., 1:, 1:] - x[..., :-1, :-1], x[..., 1:, :-1] - x[..., :-1, 1:]
            variation = sum(difference.abs().mean() for difference in (right, down, falling, rising))
            loss = 10 * features + cross_entropy + 2.5e-5 * variation + 3e-8 * x.norm()
            (gradient,) = torch.autograd.grad(loss, x)
            with torch.no_grad():
                x = x.detach()
                mean.lerp_(gradient, 0.5)
                square.mul_(0.99).addcmul_(gradient, gradient, value=0.01)
                denominator = (square.sqrt() / math.sqrt(1 - 0.99 ** (step + 1))).add_(1e-8)
                x.addcdiv_(mean, denominator, value=-rate / (1 - 0.5 ** (step + 1))).clamp_(low, high)
            losses[step] = loss.detach()
        return losses

    return torch.stack(each(move, range(0, len(images), batch))).mean(0)


def frechet_distance(real: Tensor, generated: Tensor) -> float:
    """From the eigenvalues of a symmetric product in the place of the root of a product that is not."""
    moments = [(x.double().mean(0), torch.cov(x.double().T)) for x in (real, generated)]
    (mean_a, a), (mean_b, b) = moments
    values, vectors = torch.linalg.eigh(a)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    cross = torch.linalg.eigvalsh(root @ b @ root).clamp(min=0).sqrt().sum()
    return float((mean_a - mean_b).square().sum() + a.trace() + b.trace() - 2 * cross)


def neighbours(real: Tensor, generated: Tensor, k: int) -> dict:
    """In double precision, each distance once, in blocks."""
    real, generated = real.double(), generated.double()

    def squared(a: Tensor, b: Tensor) -> Tensor:
        return a.square().sum(1, keepdim=True) + b.square().sum(1) - 2 * a @ b.T

    def radii(x: Tensor) -> Tensor:
        parts = [squared(block, x).topk(k + 1, 1, largest=False).values[:, k] for block in x.split(1024)]
        return torch.cat(parts)

    real_radii, generated_radii = radii(real), radii(generated)
    precise = inside = 0
    covered = torch.zeros(len(real), dtype=torch.bool)
    recalled = torch.zeros(len(real), dtype=torch.bool)
    for block, own in zip(generated.split(1024), generated_radii.split(1024)):
        apart = squared(block, real)
        hits = apart < real_radii
        precise += hits.any(1).sum().item()
        inside += hits.sum().item()
        covered |= hits.any(0)
        recalled |= (apart < own[:, None]).any(0)
    return {
        "precision": precise / len(generated),
        "recall": recalled.double().mean().item(),
        "density": inside / (k * len(generated)),
        "coverage": covered.double().mean().item(),
    }
