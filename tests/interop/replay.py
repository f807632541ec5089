"""Randomness replayed: from the same seeds PyTorch makes the same pools and trains the same networks.

Learning rates are small here. PyTorch's optimisers round otherwise than the programs' by 1e-9 in the first step, and on MNIST's
even backgrounds that decides which of several equal values a max-pool takes; at a teacher's usual rate 1e-9 is 1e-4 after 8 steps.
"""

import torch
import torch.nn.functional as F

from items import Close, same
from networks import MEAN, STD, VAE, Decoder, UCStub, column, load, log_probs, strict
from streams import Stream, fresh, seed_torch


def pool(decoder, seed, size, mixing=0.3, noise=0.1, batch=256):
    """The pool of `--rng torch`, with the generator drawn from in the original program's order."""
    torch.manual_seed(seed)
    parts = []
    for first in range(0, size, batch):
        n = min(batch, size - first)
        z = torch.randn(n, decoder.fc.in_features)
        m = int(n * mixing)
        if first > 0 and m > 0:
            z1, z2 = torch.randn(m, z.shape[1]), torch.randn(m, z.shape[1])
            a = 0.4 * torch.rand(m, 1) + 0.6
            z[:m] = a * z1 + (1 - a) * z2
        z = z + noise * torch.randn(n, z.shape[1])
        with torch.no_grad():
            parts.append(decoder(z))
    return torch.cat(parts)


def pools(programs):
    close = Close()
    for name, decoder, seed, size in [
        ("torch", "decoder/decoder.pth", 123, 700),
        ("vae_1", "vaes/teacher_1/decoder.pth", 124, 300),
    ]:
        images = pool(strict(Decoder(), programs.path(decoder)), seed, size)
        close.add(f"pools/{name}.pt", load(programs.path(f"pools/{name}.pt")), images)
    return f"2 pools, {close}"


def classifier_epoch(network, optimiser, images, labels, seed, epoch, batch=64):
    """One epoch as the programs run it; gives the mean loss."""
    network.train()
    order = torch.tensor(Stream(seed, "shuffle", epoch).permutation(len(images)))
    seed_torch(seed, epoch)
    total = 0.0
    for rows in order.split(batch):
        optimiser.zero_grad()
        loss = F.nll_loss(network((images[rows] - MEAN) / STD), labels[rows])
        loss.backward()
        optimiser.step()
        total += loss.item() * len(rows)
    network.eval()
    return total / len(images)


def weights(close, network, path):
    found = load(path)
    for name, expected in network.state_dict().items():
        close.add(name, found[name], expected)


def teacher(programs):
    """Teacher 1's seed is 42 + 1."""
    shard = programs.path("shards/teacher_1")
    images, labels = load(shard / "shard.pt"), load(shard / "shard_labels.pt")
    network = fresh(UCStub(), 43)
    optimiser = torch.optim.SGD(network.parameters(), lr=0.001, momentum=0.9, weight_decay=0.0001)
    for epoch in range(4):
        loss = classifier_epoch(network, optimiser, images, labels, 43, epoch)
    close = Close()
    weights(close, network, programs.path("replayed/1/model.pth"))
    return f"4 epochs by torch.optim.SGD to loss {loss:.4f}, weights: {close}"


def student(programs):
    """Split, losses and validation of every epoch, and the last weights."""
    images = load(programs.path("combined/combined_synthetic_samples.pt"))
    labels = torch.tensor(column(programs.path("combined/combined_synthetic_labels.csv"), "label", int))
    report = programs.json("replayed/student/training_report.json")
    order = torch.tensor(Stream(42, "split").permutation(len(images)))
    train, validation = order.split([report["train_samples"], report["validation_samples"]])
    same("train_samples", len(train), int(report["train_split"] * len(images)))
    network = fresh(UCStub(), 42)
    optimiser = torch.optim.SGD(network.parameters(), lr=0.001, momentum=0.5, weight_decay=0.0001)
    losses, figures, best = Close(), Close(), (-1.0, 0)
    for epoch, found in enumerate(report["training_history"]):
        losses.add("train_loss", found["train_loss"], classifier_epoch(network, optimiser, images[train], labels[train], 42, epoch))
        log_p = log_probs(network, images[validation])
        losses.add("validation_loss", found["validation_loss"], F.nll_loss(log_p, labels[validation]).item())
        accuracy = 100 * (log_p.argmax(1) == labels[validation]).double().mean().item()
        losses.add("validation_accuracy", found["validation_accuracy"], accuracy)
        if accuracy > best[0]:
            best = (accuracy, epoch + 1)
    same("best_epoch", report["best_epoch"], best[1])
    weights(figures, network, programs.path("replayed/student/student_model_final.pth"))
    return f"4 epochs, losses and accuracies: {losses}; weights: {figures}"


def vae(programs):
    """A VAE on teacher 1's shard: reconstruction and KL of every epoch, and the last weights."""
    images = load(programs.path("shards/teacher_1/shard.pt"))
    report = programs.json("vaes/teacher_1/training_report.json")
    network = fresh(VAE(), 42)
    optimiser = torch.optim.Adam(network.parameters(), lr=0.0001, weight_decay=0.00001)
    # Adam divides gradients by their size: where they are next to nothing, last bits move a weight by a part of its rate, 1e-4.
    losses, figures = Close(), Close(3e-5)
    for epoch, found in enumerate(report["training_history"]):
        order = torch.tensor(Stream(42, "shuffle", epoch).permutation(len(images)))
        seed_torch(42, epoch)
        sums = [0.0, 0.0]
        for rows in order.split(32):
            x = images[rows]
            noise = torch.randn(len(x), 32)
            optimiser.zero_grad()
            # A step's gradients are sums over parts of the batch, in their order.
            size = min(max((len(x) + 1) // 2, 4), 32)
            for part, drawn in zip(x.split(size), noise.split(size), strict=True):
                mu, logvar = network.encoder(part)
                z = mu + torch.exp(0.5 * logvar) * drawn
                recon = F.binary_cross_entropy_with_logits(network.decoder.logits(z), part, reduction="sum")
                kl = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())
                (recon + epoch / 20 * kl).backward()
                sums = [sums[0] + recon.item(), sums[1] + kl.item()]
            optimiser.step()
        recon, kl = (s / len(images) for s in sums)
        losses.add("recon_loss", found["recon_loss"], recon)
        losses.add("kl_loss", found["kl_loss"], kl)
        losses.add("loss", found["loss"], recon + epoch / 20 * kl)
    weights(figures, network, programs.path("vaes/teacher_1/vae_full.pth"))
    return f"3 epochs by torch.optim.Adam to {recon:.2f} + {kl:.2f}, losses: {losses}; weights: {figures}"


def choice(programs):
    """Which rows `combine --percentage 0.4` draws: a share of each class, then the rest."""
    labels = column(programs.path("combined/combined_synthetic_labels.csv"), "label", int)
    stream, target = Stream(7, "combine"), int(0.4 * len(labels))
    chosen, left = [], []
    for c in sorted(set(labels)):
        members = [row for row, label in enumerate(labels) if label == c]
        members = [members[i] for i in stream.permutation(len(members))]
        wanted = int(target * len(members) / len(labels))
        chosen, left = chosen + members[:wanted], left + members[wanted:]
    left.sort()
    chosen += [left[i] for i in stream.permutation(len(left))][: target - len(chosen)]
    images = load(programs.path("combined/combined_synthetic_samples.pt"))
    found = load(programs.path("combined_40/combined_synthetic_samples.pt"))
    close = Close(0.0)
    close.add("samples", found, images[chosen])
    same("labels", column(programs.path("combined_40/combined_synthetic_labels.csv"), "label", int), [labels[i] for i in chosen])
    return f"{len(chosen)} of {len(labels)} rows, {close}"


ITEMS = [
    ("generate-candidates --rng torch, replayed", pools),
    ("train-teachers, replayed", teacher),
    ("train-teacher-vae, replayed", vae),
    ("train-student, replayed", student),
    ("combine --percentage, replayed", choice),
]
