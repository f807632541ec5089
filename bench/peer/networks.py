"""The networks, as the original's authors would write them, and their files."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MEAN, STD = 0.1307, 0.3081


def normalise(images: Tensor) -> Tensor:
    """What teachers and students see of images in [0, 1]."""
    return (images - MEAN) / STD


class UCStub(nn.Module):
    """Teacher and student: normalised images [n, 1, 28, 28] to log-probabilities [n, 10]."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3)
        self.conv2 = nn.Conv2d(32, 64, 3)
        self.dropout1 = nn.Dropout(0.25)
        self.fc1 = nn.Linear(9216, 128)
        self.dropout2 = nn.Dropout(0.5)
        self.fc2 = nn.Linear(128, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.conv1(x))
        x = F.relu(self.conv2(x))
        x = F.max_pool2d(x, 2)
        x = self.dropout1(x)
        x = torch.flatten(x, 1)
        x = F.relu(self.fc1(x))
        x = self.dropout2(x)
        return F.log_softmax(self.fc2(x), dim=1)


class Encoder(nn.Module):
    """Images [n, 1, 28, 28] to mean and log-variance of their latents, each [n, latent_dim]."""

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 4, stride=2, padding=1)
        self.conv2 = nn.Conv2d(32, 64, 4, stride=2, padding=1)
        self.fc_mu = nn.Linear(3136, latent_dim)
        self.fc_logvar = nn.Linear(3136, latent_dim)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = F.relu(self.conv1(x))
        x = F.relu(self.conv2(x))
        x = torch.flatten(x, 1)
        return self.fc_mu(x), self.fc_logvar(x)


class Decoder(nn.Module):
    """Latents [n, latent_dim] to images [n, 1, 28, 28] in [0, 1]."""

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.fc = nn.Linear(latent_dim, 6272)
        self.conv_t1 = nn.ConvTranspose2d(128, 64, 4, stride=2, padding=1)
        self.conv_t2 = nn.ConvTranspose2d(64, 32, 4, stride=2, padding=1)
        self.conv_final = nn.Conv2d(32, 1, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        x = self.fc(z).view(-1, 128, 7, 7)
        x = F.relu(self.conv_t1(x))
        x = F.relu(self.conv_t2(x))
        return torch.sigmoid(self.conv_final(x))


class VAE(nn.Module):
    """Encoder and decoder, trained together."""

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.encoder = Encoder(latent_dim)
        self.decoder = Decoder(latent_dim)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mu, logvar = self.encoder(x)
        z = mu + torch.exp(0.5 * logvar) * torch.randn_like(mu)
        return self.decoder(z), mu, logvar


def load_tensor(path: Path) -> Tensor:
    """The one tensor of a file."""
    return torch.load(path, weights_only=True)


def load_teacher(path: Path) -> UCStub:
    """A teacher, ready to label."""
    network = UCStub()
    network.load_state_dict(torch.load(path, weights_only=True))
    return network.eval()


def load_decoder(path: Path) -> Decoder:
    """A decoder, ready to draw. Its number of latents is that of its file."""
    weights = torch.load(path, weights_only=True)
    network = Decoder(weights["fc.weight"].shape[1])
    network.load_state_dict(weights)
    return network.eval()


class Block(nn.Module):
    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False)
        self.norm1 = nn.GroupNorm(n_out // 2, n_out)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, 1, 1, bias=False)
        self.norm2 = nn.GroupNorm(n_out // 2, n_out)
        self.changes = stride != 1 or n_in != n_out
        if self.changes:
            self.conv_s = nn.Conv2d(n_in, n_out, 1, stride, bias=False)
            self.norm_s = nn.GroupNorm(n_out // 2, n_out)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        if self.changes:
            x = self.norm_s(self.conv_s(x))
        return F.relu(x + y)


class GnResNet(nn.Module):
    """ResNet-18 with group normalisation, two channels to a group, on small images."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, width, 3, 1, 1, bias=False)
        self.norm1 = nn.GroupNorm(width // 2, width)
        self.blocks, channels = [], width
        for stage in range(4):
            for block in range(2):
                wide = width << stage
                stride = 2 if stage > 0 and block == 0 else 1
                name = f"layer{stage + 1}_{block}"
                self.add_module(name, Block(channels, wide, stride))
                self.blocks.append(name)
                channels = wide
        self.fc = nn.Linear(channels, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm1(self.conv1(x)))
        for name in self.blocks:
            x = getattr(self, name)(x)
        return self.fc(x.mean((2, 3)))
