"""Writes pytorch.json: what PyTorch 2.13.0 gives for small fixed inputs. Run: python make.py (needs torch, CPU is enough).

Weights and inputs come from a formula that the Rust test repeats, so that no weights need to be stored:
value i of the k-th tensor is 0.08 sin(0.37 i + k).
"""

import json
import math
import pathlib

import torch
import torch.nn.functional as F
from torch import nn

torch.set_num_threads(1)


def wave(shape, k, scale=0.08):
    n = math.prod(shape)
    i = torch.arange(n, dtype=torch.float64)
    return (scale * torch.sin(0.37 * i + k)).to(torch.float32).reshape(shape)


def optimiser(make):
    """Five steps of two parameters along fixed gradients."""
    params = [nn.Parameter(wave((2, 3), 1)), nn.Parameter(wave((3,), 2))]
    opt = make(params)
    for step in range(5):
        for j, p in enumerate(params):
            p.grad = wave(tuple(p.shape), 10 + 3 * step + j, 1.0)
        opt.step()
    return torch.cat([p.detach().flatten() for p in params]).tolist()


class Encoder(nn.Module):
    def __init__(self, latent):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 4, 2, 1)
        self.conv2 = nn.Conv2d(32, 64, 4, 2, 1)
        self.fc_mu = nn.Linear(3136, latent)
        self.fc_logvar = nn.Linear(3136, latent)

    def forward(self, x):
        h = F.relu(self.conv2(F.relu(self.conv1(x)))).flatten(1)
        return self.fc_mu(h), self.fc_logvar(h)


class Decoder(nn.Module):
    def __init__(self, latent):
        super().__init__()
        self.fc = nn.Linear(latent, 6272)
        self.conv_t1 = nn.ConvTranspose2d(128, 64, 4, 2, 1)
        self.conv_t2 = nn.ConvTranspose2d(64, 32, 4, 2, 1)
        self.conv_final = nn.Conv2d(32, 1, 3, 1, 1)

    def forward(self, z):
        h = self.fc(z).view(-1, 128, 7, 7)
        return torch.sigmoid(self.conv_final(F.relu(self.conv_t2(F.relu(self.conv_t1(h))))))


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3)
        self.conv2 = nn.Conv2d(32, 64, 3)
        self.fc1 = nn.Linear(9216, 128)
        self.fc2 = nn.Linear(128, 10)

    def forward(self, x):
        h = F.max_pool2d(F.relu(self.conv2(F.relu(self.conv1(x)))), 2).flatten(1)
        return F.log_softmax(self.fc2(F.relu(self.fc1(h))), dim=1)


def fill(module, k):
    for p in module.parameters():
        p.data = wave(tuple(p.shape), k)
        k += 1


encoder, decoder, classifier = Encoder(8), Decoder(8), Classifier()
fill(encoder, 0)
fill(decoder, 8)
fill(classifier, 16)
x = wave((3, 1, 28, 28), 30, 0.5) + 0.5
mu, logvar = encoder(x)
image = decoder(wave((3, 8), 31, 1.0))
log_p = classifier(x)
F.nll_loss(log_p, torch.tensor([1, 5, 9])).backward()
gradients = [p.grad.double().norm().item() for p in classifier.parameters()]

golden = {
    "torch": torch.__version__.split("+")[0],
    "sgd": optimiser(lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.5, weight_decay=0.01)),
    "sgd_plain": optimiser(lambda p: torch.optim.SGD(p, lr=0.1)),
    "adam": optimiser(lambda p: torch.optim.Adam(p, lr=0.05, weight_decay=0.01)),
    "encoder_mu": mu.detach().flatten().tolist(),
    "encoder_logvar": logvar.detach().flatten().tolist(),
    "decoder_every_97th_pixel": image.detach().flatten()[::97].tolist(),
    "classifier_log_probs": log_p.detach().flatten().tolist(),
    "classifier_gradient_norms": gradients,
}
path = pathlib.Path(__file__).with_name("pytorch.json")
path.write_text(json.dumps(golden, indent=1) + "\n")
