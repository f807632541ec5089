"""Latents of a pool, in the original's order of random numbers: the same seed gives the same pool in both ways."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

BATCH = 256


def latents(pool_size: int, latent_dim: int, seed: int, mixing_ratio: float, noise_scale: float) -> Iterator[Tensor]:
    """Batches of latents, each [n, latent_dim]; all but the first mix the first rows."""
    torch.manual_seed(seed)
    for first in range(0, pool_size, BATCH):
        n = min(BATCH, pool_size - first)
        z = torch.randn(n, latent_dim)
        mixed = int(n * mixing_ratio)
        if first > 0 and mixed > 0:
            z1 = torch.randn(mixed, latent_dim)
            z2 = torch.randn(mixed, latent_dim)
            alpha = torch.rand(mixed, 1) * 0.4 + 0.6
            z[:mixed] = alpha * z1 + (1 - alpha) * z2
        if noise_scale > 0:
            z = z + torch.randn_like(z) * noise_scale
        yield z
