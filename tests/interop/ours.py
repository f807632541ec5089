"""What the programs write and say, looked at by PyTorch and NumPy."""

import json
import math

import numpy as np
import safetensors.torch
import torch
import torch.nn.functional as F

import replay
from items import Close, Skip, Wrong, same
from networks import VAE, Decoder, UCStub, column, load, log_probs, mnist, strict, write_mnist

TEACHERS = 3
CONFIG = {
    "filtering": {
        "confidence_threshold": 0.5,
        "rare_class_threshold": 0.3,
        "rare_classes": [1, 8],
        "min_memorization_distance": 5.0,
        "min_diversity_distance": 3.0,
        "min_per_class": 10,
        "max_per_class": 60,
        "quota_flexibility_percent": 20,
    },
    "latent_steering": {"enabled": True, "steps": 4},
}

STUDENT = (
    "train-student --samples combined/combined_synthetic_samples.pt --labels combined/combined_synthetic_labels.csv"
    " --epochs 4 --batch-size 64 --momentum 0.5 --weight-decay 0.0001"
)

CHAIN = [
    f"prepare-shards --mnist-dir mnist --shard-indices {{data}}/shard_indices.json --num-teachers {TEACHERS} --out-dir shards",
    f"train-teachers --data-dir mnist --shard-indices {{data}}/shard_indices.json --num-models {TEACHERS}"
    " --epochs 6 --batch-size 64 --lr 0.05 --momentum 0.9 --weight-decay 0.0001 --output-dir nets",
    "train-teachers --data-dir mnist --shard-indices {data}/shard_indices.json --start-id 1 --num-models 1"
    " --epochs 4 --batch-size 64 --lr 0.001 --momentum 0.9 --weight-decay 0.0001 --output-dir replayed",
    "pretrain-decoder --dataset digits --epochs 5 --batch-size 32 --lr 0.003 --out-dir decoder",
    "generate-candidates --decoder-path decoder/decoder.pth --pool-size 700 --rng torch --seed 123 --out pools/torch.pt",
    "generate-candidates --decoder-path decoder/decoder.pth --pool-size 1500 --seed 123 --out pools/own.pt",
    "label-filter --candidates pools/own.pt --candidates pools/torch.pt --teacher-model nets/0/model.pth"
    " --teacher-shard-path shards/teacher_0/shard.pt --shard-metadata shards/teacher_0/metadata.json"
    " --config config.json --save-soft-labels --out-dir single",
    f"batch-label-filter --generate-candidates-per-teacher --decoder-path decoder/decoder.pth --teachers-dir nets --num-teachers {TEACHERS}"
    " --pool-size 1000 --candidates-dir pools --teacher-shard-base shards --shard-metadata-base shards --config config.json"
    " --save-soft-labels --output-dir teachers",
    "train-teacher-vae --teacher-id 1 --shard-path shards/teacher_1/shard.pt --epochs 3 --lr 0.0001 --no-augmentation --out-dir vaes",
    "generate-candidates --decoder-path vaes/teacher_{id}/decoder.pth --teacher-id 1 --rng torch --seed 123 --pool-size 300 --out pools/vae_{id}.pt",
    "combine --teachers-dir teachers --output combined --with-soft-labels --format npz,safetensors",
    "combine --teachers-dir teachers --percentage 0.4 --output combined_40 --seed 7",
    f"{STUDENT} --learning-rate 0.05 --output-dir student",
    f"{STUDENT} --learning-rate 0.001 --output-dir replayed/student",
    "evaluate-student --model student/student_model_best.pth --mnist-dir mnist --output student/evaluation_report.json",
    "evaluate-synthetic --samples teachers/teacher_0/synthetic_samples.pt --shard shards/teacher_0/shard.pt --out teachers/evaluation_0.json",
]


def run(programs, items):
    programs.write_json("config.json", CONFIG)
    write_mnist(programs.data / "mnist-subset", programs.path("mnist"))
    ran = items.check("the chain on the embedded data", chain, programs)
    for name, item in ITEMS + replay.ITEMS:
        items.check(name, item if ran else not_there, programs)


def not_there(_):
    raise Skip("the chain did not run to its end")


def chain(programs):
    for line in CHAIN:
        programs.run(line)
    return f"{len(CHAIN)} programs ran"


def tensors_of(value):
    return list(value.items()) if isinstance(value, dict) else [("", value)]


def equal(what, found, expected):
    """Tensors that are the same in every bit and in type."""
    if found.dtype != expected.dtype or not torch.equal(found, expected):
        raise Wrong(f"{what} differs")


def files_load(programs):
    """weights_only, with and without a memory map; what is in them is tensors, or names to tensors, and Python writes the same."""
    paths = sorted(p for p in programs.root.rglob("*") if p.suffix in (".pt", ".pth"))
    n_values = 0
    for path in paths:
        read, mapped = tensors_of(load(path)), tensors_of(torch.load(path, weights_only=True, mmap=True))
        same(f"{path.name}'s names", [n for n, _ in read], [n for n, _ in mapped])
        for (name, tensor), (_, other) in zip(read, mapped):
            equal(f"{path.name} {name}", tensor, other)
            n_values += tensor.numel()
    kinds = {p.name if p.suffix == ".pth" else p.stem.rstrip("0123456789") for p in paths}
    if len(paths) < 20:
        raise Wrong(f"only {len(paths)} files")
    return f"{len(paths)} files, {n_values} values, {len(kinds)} kinds of file"


def npz_and_safetensors_load(programs):
    with np.load(programs.path("combined/combined_synthetic.npz"), allow_pickle=False) as file:
        x, y = file["x"], file["y"]
    equal("x", torch.from_numpy(x), load(programs.path("combined/combined_synthetic_samples.pt")))
    same("y", y.tolist(), column(programs.path("combined/combined_synthetic_labels.csv"), "label", int))
    stored = safetensors.torch.load_file(programs.path("combined/combined_synthetic.safetensors"))
    same("names", sorted(stored), ["images", "labels", "teacher_ids"])
    equal("images", stored["images"], torch.from_numpy(x))
    equal("labels", stored["labels"], torch.from_numpy(y))
    ids = column(programs.path("combined/combined_synthetic_teacher_ids.csv"), "teacher_id", int)
    same("teacher_ids", stored["teacher_ids"].tolist(), ids)
    return f"5 arrays, {2 * (x.size + y.size) + len(ids)} values, the same as in .pt and .csv"


def weights_fit(programs):
    kinds = {"model.pth": UCStub, "decoder.pth": Decoder, "vae_full.pth": VAE}
    n = 0
    for path in sorted(programs.root.rglob("*.pth")):
        network = kinds.get(path.name, UCStub)()
        strict(network, path)
        same(f"{path.name}'s order", list(load(path)), list(network.state_dict()))
        n += 1
    full, decoder = (load(programs.path(f"vaes/teacher_1/{name}.pth")) for name in ("vae_full", "decoder"))
    for name, tensor in decoder.items():
        equal(name, full[f"decoder.{name}"], tensor)
    return f"{n} files, load_state_dict(strict=True)"


def shards_are_mnist(programs):
    images, labels = mnist(programs.path("mnist"), "train")
    indices = json.loads((programs.data / "shard_indices.json").read_text())
    close = Close(0.0)
    for teacher in range(TEACHERS):
        rows = torch.tensor(indices[str(teacher)])
        folder = programs.path(f"shards/teacher_{teacher}")
        close.add("shard.pt", load(folder / "shard.pt"), images[rows])
        equal("shard_labels.pt", load(folder / "shard_labels.pt"), labels[rows])
        counts = {str(c): int((labels[rows] == c).sum()) for c in range(10) if (labels[rows] == c).any()}
        same("class_distribution", json.loads((folder / "metadata.json").read_text())["class_distribution"], counts)
    return f"{TEACHERS} shards, {close}"


def scores(network, programs):
    """Loss and right answers on the test set."""
    images, labels = mnist(programs.path("mnist"), "t10k")
    log_p = log_probs(network, images)
    return F.nll_loss(log_p.double(), labels).item(), log_p.argmax(1), labels


def score(network, programs):
    """Loss and answers on the test set, and the true classes."""
    images, labels = mnist(programs.path("mnist"), "t10k")
    log_p = log_probs(network, images)
    return F.nll_loss(log_p.double(), labels).item(), log_p.argmax(1), labels


def teachers_are_tested(programs):
    close = Close()
    for entry in programs.json("nets/training_report.json")["teachers"]:
        network = strict(UCStub(), programs.path(f"nets/{entry['teacher_id']}/model.pth"))
        loss, answers, labels = score(network, programs)
        close.add("test_loss", entry["test_loss"], loss)
        close.add("test_accuracy", entry["test_accuracy"], 100 * (answers == labels).double().mean())
    return f"loss and accuracy of {TEACHERS} teachers, {close}"


def student_is_tested(programs):
    report = programs.json("student/evaluation_report.json")
    loss, answers, labels = score(strict(UCStub(), programs.path("student/student_model_best.pth")), programs)
    close = Close()
    close.add("average_loss", report["average_loss"], loss)
    n, hits = len(labels), int((answers == labels).sum())
    same("total_samples", report["total_samples"], n)
    same("correct_predictions", report["correct_predictions"], hits)
    same("incorrect_predictions", report["incorrect_predictions"], n - hits)
    close.add("overall_accuracy", report["overall_accuracy"], 100 * hits / n)
    confusion = torch.zeros(10, 10, dtype=torch.long)
    confusion.index_put_((labels, answers), torch.ones(n, dtype=torch.long), accumulate=True)
    same("confusion_matrix", report["confusion_matrix"], confusion.tolist())
    for c in range(10):
        close.add("per_class_accuracy", report["per_class_accuracy"][str(c)], 100 * confusion[c, c] / confusion[c].sum())
    # Wilson's interval: the shares p with |p - hits/n| <= z sqrt(p (1 - p) / n), as the roots of a quadratic.
    z2 = 1.959963984540054**2
    roots = np.roots([1 + z2 / n, -(2 * hits / n + z2 / n), (hits / n) ** 2])
    close.add("accuracy_interval_95", report["accuracy_interval_95"], 100 * np.sort(roots))
    return f"loss {loss:.4f}, accuracy {100 * hits / n:.2f}%, classes, confusion, interval: {close}"


def confidences(programs):
    """What the teacher says of its samples, against labels.csv and the soft labels."""
    close, soft, n = Close(), Close(), 0
    for teacher, folder in [(0, "single")] + [(t, f"teachers/teacher_{t}") for t in range(TEACHERS)]:
        network = strict(UCStub(), programs.path(f"nets/{teacher}/model.pth"))
        probabilities = log_probs(network, load(programs.path(f"{folder}/synthetic_samples.pt"))).exp()
        soft.add("soft_labels.pt", load(programs.path(f"{folder}/soft_labels.pt")), probabilities)
        p, label = probabilities.max(1)
        labels = programs.path(f"{folder}/labels.csv")
        same("index", column(labels, "index", int), list(range(len(p))))
        same("label", column(labels, "label", int), label.tolist())
        close.add("confidence", column(labels, "confidence", float), p)
        n += 1
    return f"{n} runs of label-filter, confidences: {close}; soft labels: {soft}"


def distances(a, b):
    """Euclidean distances of all pairs, by their definition, in double precision."""
    return torch.cdist(a.double().flatten(1), b.double().flatten(1), compute_mode="donot_use_mm_for_euclid_dist")


def select(p, label, images, shard, shard_counts, config):
    """The filters of label-filter in their order; which candidates stay, and how many each filter dropped."""
    threshold = torch.where(
        torch.isin(label, torch.tensor(config["rare_classes"])), config["rare_class_threshold"], config["confidence_threshold"]
    )
    kept = torch.nonzero(p >= threshold).flatten()
    dropped = {"low_confidence": len(p) - len(kept)}
    n = len(kept)
    kept = kept[distances(images[kept], shard).min(1).values >= config["min_memorization_distance"]]
    dropped["memorization"] = n - len(kept)
    n, chosen = len(kept), []
    low, high, flexible = config["min_per_class"], config["max_per_class"], config["quota_flexibility_percent"]
    for c in range(10):
        members = sorted(kept[label[kept] == c].tolist(), key=lambda i: (-p[i].item(), i))
        target = min(max(round(shard_counts.get(str(c), 0) / sum(shard_counts.values()) * n), low), high)
        slack = math.floor(target * flexible / 100)
        chosen += members[: max(max(target - slack, low), min(len(members), min(target + slack, high)))]
    dropped["quota"] = n - len(chosen)
    diverse = []
    for i in sorted(chosen, key=lambda i: (-p[i].item(), i)):
        if not diverse or distances(images[i : i + 1], images[diverse]).min() >= config["min_diversity_distance"]:
            diverse.append(i)
    dropped["diversity"] = len(chosen) - len(diverse)
    return diverse, dropped


def selection(programs):
    """Two pools, all filters, no steering: which rows stay and in which order."""
    images = torch.cat([load(programs.path(f"pools/{name}.pt")) for name in ("own", "torch")])
    shard = load(programs.path("shards/teacher_0/shard.pt"))
    counts = programs.json("shards/teacher_0/metadata.json")["class_distribution"]
    p, label = log_probs(strict(UCStub(), programs.path("nets/0/model.pth")), images).exp().max(1)
    rows, dropped = select(p, label, images, shard, counts, CONFIG["filtering"])
    report = programs.json("single/selection_report.json")
    for filter_name, n in dropped.items():
        same(f"rejected_{filter_name}", report[f"rejected_{filter_name}"], n)
    equal("synthetic_samples.pt", load(programs.path("single/synthetic_samples.pt")), images[rows])
    return f"{len(rows)} of {len(images)} rows in their order; " + ", ".join(f"{k} -{v}" for k, v in dropped.items())


def upper(d):
    """The distances of different pairs, once each."""
    return d[torch.triu(torch.ones_like(d, dtype=torch.bool), 1)]


def evaluation(programs):
    """Every figure of evaluate-synthetic, from the definitions."""
    report = programs.json("teachers/evaluation_0.json")
    samples, shard = load(programs.path("teachers/teacher_0/synthetic_samples.pt")), load(programs.path("shards/teacher_0/shard.pt"))
    labels_path = programs.path("teachers/teacher_0/labels.csv")
    labels = torch.tensor(column(labels_path, "label", int))
    own_labels = load(programs.path("shards/teacher_0/shard_labels.pt"))
    close = Close()
    average, original = upper(distances(samples, samples)).mean(), upper(distances(shard, shard)).mean()
    found = report["diversity"]
    close.add("average_pairwise_distance", found["average_pairwise_distance"], average)
    close.add("original_diversity", found["original_diversity"], original)
    close.add("diversity_ratio", found["diversity_ratio"], average / original)
    cross = distances(samples, shard)
    statistics = {"resemblance_to_shard": cross.min(1).values, "reverse": cross.min(0).values}
    sections = {
        "resemblance_to_shard": report["resemblance_to_shard"]["nearest_neighbor_distances"],
        "reverse": report["resemblance_to_shard"]["reverse_nearest_neighbor_distances"],
    }
    for section, d in statistics.items():
        d = d.numpy()
        expected = {"min": d.min(), "max": d.max(), "mean": d.mean(), "median": np.sort(d)[(len(d) - 1) // 2], "std": d.std(ddof=1)}
        expected |= {f"percentile_{q}": np.percentile(d, q) for q in (5, 25, 75, 95)}
        for name in sections[section]:
            close.add(f"{section}.{name}", sections[section][name], expected[name])
        if section == "resemblance_to_shard":
            nearest = expected
    for name in ("min", "max", "mean", "median"):
        close.add(f"memorization.{name}", report["memorization"][f"{name}_nn_distance"], nearest[name])
    for name in ("synthetic_to_shard", "shard_to_synthetic", "bidirectional"):
        close.add(name, report["resemblance_to_shard"][f"average_cross_set_distance_{name}"], cross.mean())
    shares = [torch.bincount(x, minlength=10).double() / len(x) for x in (labels, own_labels)]
    l1 = (shares[0] - shares[1]).abs().sum().item()
    close.add("histogram_l1_distance", report["class_distribution"]["histogram_l1_distance"], l1)
    similarity = 0.3 * min(average / original / 1.5, 1) + 0.2 * max(0, 1 - l1)
    similarity += 0.25 * min(nearest["mean"] / 28, 1) + 0.25 * min(nearest["min"] / 28, 1)
    close.add("similarity_score", report["similarity_score"], similarity)
    confidence = np.mean(column(labels_path, "confidence", float))
    close.add("mean_confidence", report["success_criteria"]["mean_confidence"]["value"], confidence)
    return str(close)


def combined(programs):
    """All samples of all teachers in the order of their numbers; counts, hash of nothing lost, mean distance."""
    folders = [programs.path(f"teachers/teacher_{t}") for t in range(TEACHERS)]
    sets = [load(folder / "synthetic_samples.pt") for folder in folders]
    images = torch.cat(sets)
    equal("samples", load(programs.path("combined/combined_synthetic_samples.pt")), images)
    labels = [label for folder in folders for label in column(folder / "labels.csv", "label", int)]
    same("labels", column(programs.path("combined/combined_synthetic_labels.csv"), "label", int), labels)
    report = programs.json("combined/combined_synthetic_metadata.json")
    same("total_samples", report["total_samples"], len(images))
    same("class_distribution", report["class_distribution"], {str(c): labels.count(c) for c in sorted(set(labels))})
    same("teacher_distribution", report["teacher_distribution"], {str(t): len(s) for t, s in enumerate(sets)})
    ids = column(programs.path(report["teacher_ids_path"]), "teacher_id", int)
    same("teacher ids", ids, [t for t, s in enumerate(sets) for _ in s])
    soft = torch.cat([load(folder / "soft_labels.pt") for folder in folders])
    equal("soft labels", load(programs.path("combined/combined_synthetic_soft_labels.pt")), soft)
    close = Close()
    close.add("average_pairwise_distance", report["average_pairwise_distance"], upper(distances(images, images)).mean())
    return f"{len(images)} samples of {TEACHERS} teachers, counts equal, mean distance: {close}"


ITEMS = [
    ("torch.load of every .pt and .pth, weights_only and mmap", files_load),
    ("numpy.load of the .npz, safetensors of .safetensors", npz_and_safetensors_load),
    ("weights fit the original networks", weights_fit),
    ("shards are MNIST's rows", shards_are_mnist),
    ("train-teachers' test figures", teachers_are_tested),
    ("label-filter's confidences", confidences),
    ("label-filter's selection", selection),
    ("evaluate-synthetic's figures", evaluation),
    ("combine's samples and figures", combined),
    ("evaluate-student's figures", student_is_tested),
]
