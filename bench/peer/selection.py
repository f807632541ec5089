"""One teacher's label-and-filter, the part that both ways share: thresholds, quota, order, report."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor

import networks

CLASSES = 10


@dataclass
class Settings:
    """What the configuration says, with its defaults."""

    threshold: float
    rare_threshold: float
    rare_classes: list[int]
    min_memorization: float
    min_diversity: float
    min_per_class: int
    max_per_class: int
    flexibility: float
    steering: dict
    mixing_ratio: float
    noise_scale: float

    @classmethod
    def load(cls, path: Path) -> Settings:
        config = json.loads(path.read_text())
        filtering, steering = config.get("filtering", {}), config.get("latent_steering", {})
        generation = config.get("generation", {})

        def either(first: str, second: str, default: float) -> float:
            return filtering.get(first, filtering.get(second, default))

        return cls(
            threshold=either("confidence_threshold", "default_confidence_threshold", 0.9),
            rare_threshold=filtering.get("rare_class_threshold", 0.7),
            rare_classes=filtering.get("rare_classes", [1, 8]),
            min_memorization=either("min_nn_distance", "min_memorization_distance", 2.0),
            min_diversity=either("min_diversity_distance", "diversity_threshold", 3.0),
            min_per_class=filtering.get("min_per_class", 150),
            max_per_class=filtering.get("max_per_class", 500),
            flexibility=filtering.get("quota_flexibility_percent", 10),
            steering={
                "enabled": steering.get("enabled", True),
                "steps": steering.get("steps", 20),
                "learning_rate": steering.get("learning_rate", 0.05),
                "noise_scale": steering.get("noise_scale", 0.1),
            },
            mixing_ratio=generation.get("latent_mixing_ratio", 0.3),
            noise_scale=generation.get("latent_noise_scale", 0.1),
        )


@dataclass
class Rows:
    """Samples so far."""

    images: list[Tensor] = field(default_factory=list)
    labels: list[Tensor] = field(default_factory=list)
    confidences: list[Tensor] = field(default_factory=list)

    def add(self, images: Tensor, labels: Tensor, confidences: Tensor) -> None:
        self.images.append(images)
        self.labels.append(labels)
        self.confidences.append(confidences)

    def joined(self) -> tuple[Tensor, Tensor, Tensor]:
        return torch.cat(self.images), torch.cat(self.labels), torch.cat(self.confidences)


def number_to_take(available: int, target: int | None, settings: Settings) -> int:
    """How many of a class the quota takes."""
    least, most = settings.min_per_class, settings.max_per_class
    if target is None:
        return min(available, least) if least else min(available, most)
    slack = int(target * settings.flexibility / 100)
    low, high = max(target - slack, least), min(target + slack, most)
    return min(available, max(low, min(available, high)))


def run(
    way: ModuleType,
    pool: Tensor,
    teacher: networks.UCStub,
    decoder: networks.Decoder,
    shard: Tensor,
    counts: dict[str, int] | None,
    settings: Settings,
    target_samples: int | None,
) -> tuple[Tensor, Tensor, Tensor, dict]:
    """Samples, labels and confidences of one teacher, and the report. `counts` switches the quota on."""
    labels, confidences = way.label(teacher, pool)
    least = torch.full((CLASSES,), settings.threshold)
    for rare in settings.rare_classes:
        least[rare] = min(settings.threshold, settings.rare_threshold)
    report: dict = {"num_generated": len(pool)}

    kept = (confidences >= least[labels]).nonzero()[:, 0]
    report["rejected_low_confidence"] = len(pool) - len(kept)
    far = way.nearest(pool[kept], shard) >= settings.min_memorization
    report["rejected_memorization"] = len(kept) - int(far.sum())
    kept = kept[far]

    rows, missing = Rows(), {}
    total = sum(counts.values()) if counts else 0
    for wanted in range(CLASSES):
        members = kept[labels[kept] == wanted]
        members = members[torch.argsort(confidences[members], descending=True, stable=True)]
        target = None
        if counts is not None and str(wanted) in counts:
            share = round(counts[str(wanted)] / total * len(kept))
            target = min(max(share, settings.min_per_class), settings.max_per_class)
        members = members[: number_to_take(len(members), target, settings)]
        rows.add(pool[members], labels[members], confidences[members])
        if len(members) < settings.min_per_class:
            missing[wanted] = settings.min_per_class - len(members)
    report["rejected_quota"] = len(kept) - sum(len(part) for part in rows.labels)

    report["used_latent_steering"] = {str(wanted): 0 for wanted in missing}
    report["steered_generated"] = 0
    if settings.steering["enabled"] and missing:
        for wanted, made in way.steer_classes(decoder, teacher, missing, settings.steering).items():
            report["steered_generated"] += len(made)
            made_labels, made_confidences = way.label(teacher, made)
            good = made_confidences >= settings.rare_threshold
            good &= way.nearest(made, shard) >= settings.min_memorization
            rows.add(made[good], made_labels[good], made_confidences[good])
            report["used_latent_steering"][str(wanted)] = int(good.sum())

    images, labels, confidences = rows.joined()
    order = torch.argsort(confidences, descending=True, stable=True)
    images, labels, confidences = images[order], labels[order], confidences[order]
    diverse = way.diverse(images.flatten(1), settings.min_diversity)
    report["rejected_diversity_all"] = len(images) - len(diverse)
    if target_samples is not None:
        diverse = diverse[:target_samples]
    images, labels, confidences = images[diverse], labels[diverse], confidences[diverse]

    report["num_selected"] = len(images)
    report["class_distribution"] = {str(c): int((labels == c).sum()) for c in labels.unique().tolist()}
    report["statistics"] = {
        "average_confidence": confidences.mean().item(),
        "average_pairwise_distance": way.mean_distance(images.flatten(1)),
        "shard_pairwise_distance": way.mean_distance(shard.flatten(1)),
    }
    return images, labels, confidences, report


def save(folder: Path, images: Tensor, labels: Tensor, confidences: Tensor, report: dict) -> None:
    """The files of one teacher."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(images, folder / "synthetic_samples.pt")
    with (folder / "labels.csv").open("w") as file:
        file.write("index,label,confidence\n")
        for index, (label, confidence) in enumerate(zip(labels.tolist(), confidences.tolist(), strict=True)):
            file.write(f"{index},{label},{confidence}\n")
    (folder / "selection_report.json").write_text(json.dumps(report, indent=2))
