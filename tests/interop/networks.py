"""The networks as their original authors would write them in PyTorch, and the data sets on disk."""

import csv
import gzip

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

MEAN, STD = 0.1307, 0.3081


class RowMajorDropout(nn.Dropout):
    """Dropout that draws its factors in the order of (n, c, h, w), whatever the layout in memory; the programs draw them so."""

    def forward(self, x):
        if not self.training:
            return x
        return x * torch.empty(x.shape).bernoulli_(1 - self.p).div_(1 - self.p)


class UCStub(nn.Module):
    """Teacher and student."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3)
        self.conv2 = nn.Conv2d(32, 64, 3)
        self.dropout1 = RowMajorDropout(0.25)
        self.fc1 = nn.Linear(9216, 128)
        self.dropout2 = RowMajorDropout(0.5)
        self.fc2 = nn.Linear(128, 10)

    def forward(self, x):
        x = F.relu(self.conv1(x))
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = self.dropout1(x)
        x = F.relu(self.fc1(torch.flatten(x, 1)))
        x = self.dropout2(x)
        return F.log_softmax(self.fc2(x), dim=1)


class Encoder(nn.Module):
    def __init__(self, latent_dim=32):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 4, stride=2, padding=1)
        self.conv2 = nn.Conv2d(32, 64, 4, stride=2, padding=1)
        self.fc_mu = nn.Linear(3136, latent_dim)
        self.fc_logvar = nn.Linear(3136, latent_dim)

    def forward(self, x):
        x = F.relu(self.conv2(F.relu(self.conv1(x))))
        x = torch.flatten(x, 1)
        return self.fc_mu(x), self.fc_logvar(x)


class Decoder(nn.Module):
    def __init__(self, latent_dim=32):
        super().__init__()
        self.fc = nn.Linear(latent_dim, 6272)
        self.conv_t1 = nn.ConvTranspose2d(128, 64, 4, stride=2, padding=1)
        self.conv_t2 = nn.ConvTranspose2d(64, 32, 4, stride=2, padding=1)
        self.conv_final = nn.Conv2d(32, 1, 3, padding=1)

    def logits(self, z):
        x = self.fc(z).view(-1, 128, 7, 7)
        return self.conv_final(F.relu(self.conv_t2(F.relu(self.conv_t1(x)))))

    def forward(self, z):
        return torch.sigmoid(self.logits(z))


class VAE(nn.Module):
    def __init__(self, latent_dim=32):
        super().__init__()
        self.encoder = Encoder(latent_dim)
        self.decoder = Decoder(latent_dim)


def load(path):
    """A file the way that a careful user of PyTorch reads it."""
    return torch.load(path, weights_only=True)


def strict(network, path):
    """The network with a file's weights; every key must be there and no other."""
    network.load_state_dict(load(path), strict=True)
    return network.eval()


def log_probs(network, images, batch=500):
    """Log-probabilities of images in [0, 1], without dropout."""
    with torch.no_grad():
        return torch.cat([network((x - MEAN) / STD) for x in images.split(batch)])


def idx(path):
    """An IDX file of bytes, as MNIST's."""
    raw = gzip.open(path).read()
    shape = [int.from_bytes(raw[4 + 4 * i : 8 + 4 * i], "big") for i in range(raw[3])]
    return np.frombuffer(raw, dtype=np.uint8, offset=4 + 4 * len(shape)).reshape(shape)


def mnist(folder, part):
    """Images [n, 1, 28, 28] in [0, 1] and labels; `part` is `train` or `t10k`."""
    images = torch.from_numpy(idx(folder / f"{part}-images-idx3-ubyte.gz").copy())
    labels = torch.from_numpy(idx(folder / f"{part}-labels-idx1-ubyte.gz").astype(np.int64))
    return images.float().unsqueeze(1) / 255, labels


def write_mnist(source, folder, n_test=2000):
    """MNIST's folder again, written by Python, with some of the test images: the programs test several networks on them."""
    folder.mkdir()
    for part, n in (("train", None), ("t10k", n_test)):
        for what in ("images-idx3", "labels-idx1"):
            values = idx(source / f"{part}-{what}-ubyte.gz")[:n]
            head = bytes([0, 0, 8, values.ndim]) + b"".join(length.to_bytes(4, "big") for length in values.shape)
            with gzip.open(folder / f"{part}-{what}-ubyte.gz", "wb", compresslevel=1) as file:
                file.write(head + values.tobytes())


def column(path, name, kind):
    """One column of a CSV file."""
    with open(path, newline="", encoding="utf-8-sig") as file:
        return [kind(row[name]) for row in csv.DictReader(file)]
