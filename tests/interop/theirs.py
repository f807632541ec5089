"""What Python writes, read by the programs: networks, pools, labels, in every container and type that is about."""

import warnings

import numpy as np
import safetensors.torch
import torch
from torch import nn

import replay
from items import Close, Wrong, same
from networks import VAE, Decoder, UCStub, column, load, log_probs, mnist
from ours import distances

# Everything passes.
CONFIG = {
    "filtering": {
        "confidence_threshold": 0,
        "rare_class_threshold": 0,
        "min_memorization_distance": 0,
        "min_diversity_distance": 0,
        "min_per_class": None,
        "max_per_class": None,
    },
    "latent_steering": {"enabled": False},
}


def run(programs, items):
    for folder in ("python/networks", "python/pools", "python/labels", "python/decoders"):
        programs.path(folder).mkdir(parents=True)
    programs.write_json("python/config.json", CONFIG)
    # TorchScript is deprecated, and still what old teachers are stored in.
    warnings.simplefilter("ignore")
    torch.manual_seed(5)
    network = UCStub().eval()
    with torch.no_grad():
        network.fc2.weight *= 30  # a network that is sure of some images
    images = (torch.rand(120, 1, 28, 28) ** 3 * 255).round() / 255
    torch.save(images, programs.path("python/pools/float32.pt"))

    for name, (expected, write) in networks(network).items():
        items.check(f"teacher from {name}", network_item, programs, name, expected, write, images)
    for name, (expected, write) in pools(images).items():
        items.check(f"pool from {name}", pool_item, programs, name, expected, write, network)
    for name, (expected, write) in decoders().items():
        items.check(f"decoder from {name}", decoder_item, programs, name, expected, write)
    items.check("students from Python, tested", students, programs, network)
    items.check("labels from Python, counted", labels, programs)
    items.check("another architecture, with --trust-torchscript", other_architecture, programs, images)
    items.check("a pickled module is refused", refused, programs, network)


def converted(network, kind):
    """The network with its weights rounded to another type and back."""
    copy = type(network)().eval()
    copy.load_state_dict({name: tensor.to(kind).float() for name, tensor in network.state_dict().items()})
    return copy


def cast(network, kind):
    return {name: tensor.to(kind) for name, tensor in network.state_dict().items()}


def views(network):
    """The same values as views into one storage, each backwards in its axes where it has two or more."""
    state = network.state_dict()
    whole = torch.cat([torch.full((3,), torch.nan), *(tensor.movedim(0, -1).flatten() for tensor in state.values())])
    start, found = 3, {}
    for name, tensor in state.items():
        part = whole[start : start + tensor.numel()]
        found[name] = part.view(tensor.movedim(0, -1).shape).movedim(-1, 0)
        start += tensor.numel()
        assert torch.equal(found[name], tensor)
    return found


def save(value, **options):
    return lambda path: torch.save(value, path, **options)


def networks(network):
    """Name to (what it computes, how it is written)."""
    state = network.state_dict()
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.5)
    checkpoint = {"epoch": 3, "model_state_dict": state, "optimizer_state_dict": optimiser.state_dict(), "loss": 0.5}
    example = torch.zeros(1, 1, 28, 28)
    return {
        "state_dict.pth": (network, save(state)),
        "legacy.pth": (network, save(state, _use_new_zipfile_serialization=False)),
        "checkpoint.pth": (network, save(checkpoint)),
        "nested_state_dict.pth": (network, save({"state_dict": state, "arch": "UCStub"})),
        "data_parallel.pth": (network, save(nn.DataParallel(network).state_dict())),
        "legacy_parallel_checkpoint.tar": (
            network,
            save({"state_dict": nn.DataParallel(network).state_dict()}, _use_new_zipfile_serialization=False),
        ),
        "parameters.pth": (network, save(dict(network.named_parameters()))),
        "channels_last.pth": (network, save(duplicate(network).to(memory_format=torch.channels_last).state_dict())),
        "strided_views.pth": (network, save(views(network))),
        "scripted.pt": (network, torch.jit.script(network).save),
        "traced.pt": (network, torch.jit.trace(network, example).save),
        "network.safetensors": (network, lambda path: safetensors.torch.save_file(state, path)),
        "network.npz": (network, lambda path: np.savez(path, **{n: t.numpy() for n, t in state.items()})),
        "float64.pth": (network, save(cast(network, torch.float64))),
        "float16.pth": (converted(network, torch.float16), save(cast(network, torch.float16))),
        "bfloat16.pth": (converted(network, torch.bfloat16), save(cast(network, torch.bfloat16))),
        "float16.safetensors": (
            converted(network, torch.float16),
            lambda path: safetensors.torch.save_file(cast(network, torch.float16), path),
        ),
    }


def duplicate(network):
    copy = UCStub()
    copy.load_state_dict(network.state_dict())
    return copy


def pools(images):
    """Name to (the images that are meant, how they are written)."""
    bytes_ = (images * 255).round()
    wide = torch.full((240, 1, 28, 28), torch.nan)
    wide[::2] = images
    upside = images.permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0)
    array = images.numpy()

    def to(kind):
        return (images.to(kind).float(), save(images.to(kind)))

    return {
        "legacy.pt": (images, save(images, _use_new_zipfile_serialization=False)),
        "float64.pt": to(torch.float64),
        "float16.pt": to(torch.float16),
        "bfloat16.pt": to(torch.bfloat16),
        "uint8.pt": (images, save(bytes_.byte())),
        "int8.pt": (torch.clamp(bytes_, max=127) / 255, save(torch.clamp(bytes_, max=127).to(torch.int8))),
        "int16.pt": (images, save(bytes_.short())),
        "int32.pt": (images, save(bytes_.int())),
        "int64.pt": (images, save(bytes_.long())),
        "float_0_to_255.pt": (images, save(bytes_)),
        "every_second_row.pt": (images, save(wide[::2])),
        "reversed_axes.pt": (images, save(upside)),
        "requires_grad.pt": (images, save(images.clone().requires_grad_())),
        "parameter.pt": (images, save(nn.Parameter(images))),
        "without_channels.pt": (images, save(images.squeeze(1))),
        "dict_of_one.pt": (images, save({"images": images})),
        "array.npy": (images, lambda path: np.save(path, array)),
        "fortran.npy": (images, lambda path: np.save(path, np.asfortranarray(array))),
        "big_endian.npy": (images, lambda path: np.save(path, array.astype(">f4"))),
        "uint8.npy": (images, lambda path: np.save(path, bytes_.byte().numpy())),
        "stored.npz": (images, lambda path: np.savez(path, x=array)),
        "compressed.npz": (images, lambda path: np.savez_compressed(path, x=array)),
        "images.safetensors": (images, lambda path: safetensors.torch.save_file({"images": images}, path)),
    }


def decoders():
    torch.manual_seed(6)
    vae = VAE(20).eval()
    with torch.no_grad():
        vae.decoder.conv_final.weight *= 30
    decoder = vae.decoder
    state = decoder.state_dict()
    half = Decoder(20).eval()
    half.load_state_dict({name: tensor.half().float() for name, tensor in state.items()})
    return {
        "decoder.pth": (decoder, save(state)),
        "vae_full.pth": (decoder, save(vae.state_dict())),
        "legacy.pth": (decoder, save(state, _use_new_zipfile_serialization=False)),
        "checkpoint.pth": (decoder, save({"epoch": 1, "model_state_dict": state})),
        "strided_views.pth": (decoder, save(views(decoder))),
        "traced.pt": (decoder, torch.jit.trace(decoder, torch.zeros(1, 20)).save),
        "decoder.safetensors": (decoder, lambda path: safetensors.torch.save_file(state, path)),
        "float64.pth": (decoder, save(cast(decoder, torch.float64))),
        "float16.pth": (half, save(cast(decoder, torch.float16))),
    }


def labelled(programs, pool, model, images, network, options=""):
    """Runs label-filter with nothing to filter, and compares pixels, labels and confidences of all rows."""
    out = f"python/out/{pool.replace('/', '_')}-{model.replace('/', '_')}"
    programs.run(
        f"label-filter --candidates python/{pool} --teacher-model python/{model} --quota false"
        f" --config python/config.json --out-dir {out} {options}"
    )
    samples = load(programs.path(f"{out}/synthetic_samples.pt"))
    rows = distances(samples, images).argmin(1)
    same("the rows that came out", sorted(rows.tolist()), list(range(len(images))))
    p, label = log_probs(network, images).exp().max(1)
    pixels, close = Close(), Close()
    pixels.add("pixels", samples, images[rows])
    same("labels", column(programs.path(f"{out}/labels.csv"), "label", int), label[rows].tolist())
    close.add("confidences", column(programs.path(f"{out}/labels.csv"), "confidence", float), p[rows])
    return f"pixels: {pixels}; confidences: {close}"


def network_item(programs, name, expected, write, images):
    write(programs.path(f"python/networks/{name}"))
    return labelled(programs, "pools/float32.pt", f"networks/{name}", images, expected)


def pool_item(programs, name, expected, write, network):
    write(programs.path(f"python/pools/{name}"))
    # Whether 127 is white or half grey does not show in an int8 file.
    options = "--scale byte" if name == "int8.pt" else ""
    return labelled(programs, f"pools/{name}", "networks/state_dict.pth", expected, network, options)


def decoder_item(programs, name, expected, write):
    write(programs.path(f"python/decoders/{name}"))
    out = f"python/out/decoder_{name}.pt"
    programs.run(f"generate-candidates --decoder-path python/decoders/{name} --rng torch --seed 9 --pool-size 300 --out {out}")
    close = Close()
    close.add("pixels", load(programs.path(out)), replay.pool(expected, 9, 300))
    return f"pixels: {close}"


def students(programs, network):
    images, truth = mnist(programs.path("mnist"), "t10k")
    files = ["state_dict.pth", "legacy.pth", "traced.pt", "network.safetensors", "float16.pth"]
    close = Close()
    for name in files:
        out = f"python/out/student_{name}.json"
        programs.run(f"evaluate-student --model python/networks/{name} --mnist-dir mnist --output {out}")
        log_p = log_probs(converted(network, torch.float16) if "float16" in name else network, images)
        report = programs.json(out)
        close.add("average_loss", report["average_loss"], nn.functional.nll_loss(log_p.double(), truth))
        close.add("overall_accuracy", report["overall_accuracy"], 100 * (log_p.argmax(1) == truth).double().mean())
        for c in range(10):
            hits = (log_p.argmax(1) == c)[truth == c].double().mean()
            close.add("per_class_accuracy", report["per_class_accuracy"][str(c)], 100 * hits)
    return f"{len(files)} files, loss and accuracies: {close}"


def labels(programs):
    """The shard's labels in other types: the counts by class must be Python's."""
    own = load(programs.path("shards/teacher_0/shard_labels.pt"))
    wide = torch.stack([own, own + 1], 1)
    files = {
        "int64.pt": save(own),
        "legacy.pt": save(own, _use_new_zipfile_serialization=False),
        "int32.pt": save(own.int()),
        "uint8.pt": save(own.byte()),
        "float32.pt": save(own.float()),
        "column.pt": save(wide[:, 0]),
        "int64.npy": lambda path: np.save(path, own.numpy()),
        "labels.npz": lambda path: np.savez(path, y=own.numpy()),
    }
    counts = {str(c): int((own == c).sum()) for c in range(10) if (own == c).any()}
    for name, write in files.items():
        write(programs.path(f"python/labels/{name}"))
        out = f"python/out/labels_{name}.json"
        programs.run(
            "evaluate-synthetic --samples teachers/teacher_0/synthetic_samples.pt --shard shards/teacher_0/shard.pt"
            f" --shard-labels python/labels/{name} --out {out}"
        )
        same(name, programs.json(out)["class_distribution"]["original"], counts)
    return f"{len(files)} files, counts equal"


def other_architecture(programs, images):
    """A perceptron's own program, run by libtorch because the user said so; it gives logits, not log-probabilities."""
    torch.manual_seed(8)
    network = nn.Sequential(nn.Flatten(), nn.Linear(784, 30), nn.Tanh(), nn.Linear(30, 10)).eval()
    torch.jit.script(network).save(programs.path("python/networks/perceptron.pt"))
    both = nn.Sequential(network, nn.LogSoftmax(1))
    return labelled(programs, "pools/float32.pt", "networks/perceptron.pt", images, both, "--trust-torchscript")


def refused(programs, network):
    torch.save(network, programs.path("python/networks/module.pth"))
    try:
        programs.run("label-filter --candidates python/pools/float32.pt --teacher-model python/networks/module.pth --out-dir python/out/module")
    except Wrong as refusal:
        if "code 3" in str(refusal) and "state_dict" in str(refusal):
            return "exit code 3, the message names the cure"
        raise
    raise Wrong("it was taken")
