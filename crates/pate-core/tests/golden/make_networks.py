"""Writes networks/: networks as PyTorch 2.13.0 saves them, and expected.json, what they give. Run: python make_networks.py (needs
torch and safetensors, CPU is enough).

Inputs come from a formula that the Rust test repeats: value i of an input is scale x sin(.37 i + k). The networks have their full
sizes and small files: most weights are overlapping views into a short storage, which is saved once. `small_*` are classifiers of
6x6 images with ordinary weights, for the containers that know no views.
"""

import json
import math
import pathlib
import warnings

import safetensors.torch
import torch
import torch.nn.functional as F
from torch import nn

torch.set_num_threads(1)
torch.manual_seed(11)
warnings.simplefilter("ignore")
folder = pathlib.Path(__file__).with_name("networks")
folder.mkdir(exist_ok=True)


def wave(shape, k, scale):
    i = torch.arange(math.prod(shape), dtype=torch.float64)
    return (scale * torch.sin(0.37 * i + k)).to(torch.float32).reshape(shape)


class Classifier(nn.Module):
    def __init__(self, side):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3)
        self.conv2 = nn.Conv2d(32, 64, 3)
        self.fc1 = nn.Linear(64 * ((side - 4) // 2) ** 2, 128)
        self.fc2 = nn.Linear(128, 10)

    def forward(self, x):
        h = F.max_pool2d(F.relu(self.conv2(F.relu(self.conv1(x)))), 2).flatten(1)
        return F.log_softmax(self.fc2(F.relu(self.fc1(h))), dim=1)


class Encoder(nn.Module):
    def __init__(self, latent):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 4, 2, 1)
        self.conv2 = nn.Conv2d(32, 64, 4, 2, 1)
        self.fc_mu = nn.Linear(3136, latent)
        self.fc_logvar = nn.Linear(3136, latent)


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


class VAE(nn.Module):
    def __init__(self, latent):
        super().__init__()
        self.encoder, self.decoder = Encoder(latent), Decoder(latent)


def overlap(network):
    """Gives every weight of two or more axes a short storage that its rows share: element (a, b, c, d) is the one at 31a + 7b + 3c + d
    (2a + b for matrices)."""
    for layer in network.modules():
        weight = getattr(layer, "weight", None)
        if weight is None:
            continue
        strides = (31, 7, 3, 1) if weight.dim() == 4 else (2, 1)
        length = 1 + sum((n - 1) * stride for n, stride in zip(weight.shape, strides))
        bound = 2.4 / math.sqrt(weight[0].numel())
        storage = torch.empty(length).uniform_(-bound, bound)
        layer.weight = nn.Parameter(storage.as_strided(weight.shape, strides))
    return network


def rounded(network, kind):
    state = {name: tensor.to(kind) for name, tensor in network.state_dict().items()}
    copy = Classifier(6)
    copy.load_state_dict({name: tensor.float() for name, tensor in state.items()})
    return copy, state


expected = {"torch": torch.__version__.split("+")[0], "classifiers": {}, "decoders": {}}


def classifier(name, network, side):
    log_p = network.eval()(wave((3, 1, side, side), 30, 0.5) + 0.5).detach()
    expected["classifiers"][name] = {"side": side, "log_probs": log_p.flatten().tolist()}


def decoder(name, network):
    image = network(wave((3, 8), 31, 1.0)).detach().flatten()
    expected["decoders"][name] = {"every_97th_pixel": image[::97].tolist()}


full = overlap(Classifier(28))
state = full.state_dict()
torch.save(state, folder / "state_dict.pth")
torch.save(state, folder / "legacy.pth", _use_new_zipfile_serialization=False)
optimiser = torch.optim.SGD(full.parameters(), lr=0.1)
checkpoint = {"epoch": 2, "model_state_dict": state, "optimizer_state_dict": optimiser.state_dict(), "best": 0.5}
torch.save(checkpoint, folder / "checkpoint.pth")
torch.save(nn.DataParallel(full).state_dict(), folder / "data_parallel.pth")
torch.save({name: tensor.double() if tensor.dim() == 1 else tensor for name, tensor in state.items()}, folder / "mixed.pth")
for name in ("state_dict", "legacy", "checkpoint", "data_parallel", "mixed"):
    classifier(f"{name}.pth", full, 28)

small = Classifier(6)
half, half_state = rounded(small, torch.float16)
safetensors.torch.save_file(half_state, folder / "small_float16.safetensors")
classifier("small_float16.safetensors", half, 6)
brain, brain_state = rounded(small, torch.bfloat16)
torch.save(brain_state, folder / "small_bfloat16.pth")
classifier("small_bfloat16.pth", brain, 6)
torch.jit.script(small).save(folder / "small_scripted.pt")
classifier("small_scripted.pt", small, 6)
torch.jit.trace(small, torch.zeros(1, 1, 6, 6)).save(folder / "small_traced.pt")
classifier("small_traced.pt", small, 6)

vae = overlap(VAE(8))
torch.save(vae.state_dict(), folder / "vae_full.pth")
torch.save(vae.decoder.state_dict(), folder / "decoder.pth")
for name in ("vae_full", "decoder"):
    decoder(f"{name}.pth", vae.decoder)

(folder / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")
