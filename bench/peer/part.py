"""One part, timed in this process: `part.py original|tuned PART --inputs DIR --out DIR`. One line of JSON on stdout."""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TypeVar

import torch
from torch import Tensor

import networks
import original
import tuned

Result = TypeVar("Result")

# A first run that takes longer than this counts; a shorter one warms up.
WARM_UP_BELOW = 2.0
MAX_RUNS = 5
SIDES = (1024, 1536, 2048)
SHARD = "shards/teacher_0"


class Run:
    """Inputs, settings, and where results go."""

    def __init__(self, way: ModuleType, inputs: Path, out: Path, repeat_for: float) -> None:
        self.way, self.inputs, self.out, self.repeat_for = way, inputs, out, repeat_for
        self.settings = json.loads((inputs / "settings.json").read_text())

    def tensor(self, name: str) -> Tensor:
        return networks.load_tensor(self.inputs / name)

    def teacher(self) -> networks.UCStub:
        return networks.load_teacher(self.inputs / "nets" / "0" / "model.pth")

    def decoder(self) -> networks.Decoder:
        return networks.load_decoder(self.inputs / "decoder" / "decoder.pth")

    def write(self, name: str, values: Tensor) -> None:
        kind = "i64" if values.dtype == torch.int64 else "f32"
        values.contiguous().numpy().tofile(self.out / f"{name}.{kind}")

    def timed(self, body: Callable[[], Result]) -> tuple[list[float], Result]:
        """Seconds of each run, and what the last one gave."""

        def once() -> tuple[float, Result]:
            start = time.perf_counter()
            result = body()
            return time.perf_counter() - start, result

        first, result = once()
        seconds = [first] if first >= WARM_UP_BELOW else []
        while not seconds or (len(seconds) < MAX_RUNS and sum(seconds) < self.repeat_for):
            more, result = once()
            seconds.append(more)
        return seconds, result


def labelling(run: Run) -> tuple[list[float], dict]:
    teacher, pool = run.teacher(), run.tensor("pool.pt")
    seconds, (labels, confidences) = run.timed(lambda: run.way.label(teacher, pool))
    run.write("labels", labels)
    run.write("confidences", confidences)
    return seconds, {"images": len(pool)}


def decoding(run: Run) -> tuple[list[float], dict]:
    decoder, s = run.decoder(), run.settings
    how = (s["pool_size"], s["seed"], s["mixing_ratio"], s["noise_scale"])
    seconds, pool = run.timed(lambda: run.way.make_pool(decoder, *how))
    run.write("images", pool)
    return seconds, {"images": len(pool)}


def steering(run: Run) -> tuple[list[float], dict]:
    decoder, teacher, s = run.decoder(), run.teacher(), run.settings["steering"]
    torch.manual_seed(run.settings["seed"])
    how = (s["class"], s["samples"], s["steps"], s["learning_rate"], s["noise_scale"])
    seconds, images = run.timed(lambda: run.way.steer(decoder, teacher, *how))
    run.write("steered", run.way.probabilities(teacher, images)[:, s["class"]])
    z0 = run.tensor("z0.pt")
    run.write("trajectories", run.way.trajectories(decoder, teacher, z0, s["class"], s["steps"], s["learning_rate"]))
    return seconds, {"samples": len(images)}


def synthesis(run: Run) -> tuple[list[float], dict]:
    network = networks.GnResNet(16)
    network.load_state_dict(torch.load(run.inputs / "private_gn-resnet.pth"))
    images = networks.normalise(run.tensor("pool.pt")[:5000])
    labels = torch.arange(len(images)) % 10
    seconds, losses = run.timed(lambda: run.way.synthesise(network, images, labels, 10, 80, 0.1))
    run.write("losses", losses)
    return seconds, {"images": len(images)}


def features(run: Run) -> tuple[Tensor, Tensor]:
    return run.tensor("features_real.pt"), run.tensor("features_generated.pt")


def frechet(run: Run) -> tuple[list[float], dict]:
    real, generated = features(run)
    seconds, distance = run.timed(lambda: run.way.frechet_distance(real, generated))
    return seconds, {"rows": len(real), "distance": distance}


def neighbours(run: Run) -> tuple[list[float], dict]:
    real, generated = features(run)
    return run.timed(lambda: run.way.neighbours(real, generated, 3))


def diversity(run: Run) -> tuple[list[float], dict]:
    rows = run.tensor("survivors.pt").flatten(1)
    seconds, kept = run.timed(lambda: run.way.diverse(rows, run.settings["min_distance"]))
    run.write("kept", torch.tensor(kept))
    return seconds, {"rows": len(rows), "kept": len(kept)}


def memorisation(run: Run) -> tuple[list[float], dict]:
    pool, shard = run.tensor("pool.pt"), run.tensor(f"{SHARD}/shard.pt")
    seconds, nearest = run.timed(lambda: run.way.nearest(pool, shard))
    run.write("nearest", nearest)
    return seconds, {"rows": len(nearest), "shard": len(shard)}


def fresh_classifier(run: Run) -> networks.UCStub:
    return networks.load_teacher(run.inputs / "initial_classifier.pth").train()


def teacher_training(run: Run) -> tuple[list[float], dict]:
    records = run.tensor(f"{SHARD}/shard.pt"), run.tensor(f"{SHARD}/shard_labels.pt")
    settings = run.settings["teacher"]
    torch.manual_seed(run.settings["seed"])
    seconds, loss = run.timed(lambda: run.way.train_classifier(fresh_classifier(run), records, None, settings))
    return seconds, {"images": len(records[0]) * settings["epochs"], "loss": loss}


def student_epoch(run: Run) -> tuple[list[float], dict]:
    images, labels = run.tensor("student.pt"), run.tensor("student_labels.pt")
    settings = run.settings["student"]
    torch.manual_seed(run.settings["seed"])
    order = torch.randperm(len(labels))
    n_train = int(settings["train_split"] * len(labels))
    train, validation = order[:n_train], order[n_train:]
    train = (images[train], labels[train])
    validation = (images[validation], labels[validation])
    seconds, loss = run.timed(lambda: run.way.train_classifier(fresh_classifier(run), train, validation, settings))
    seconds = [each / settings["epochs"] for each in seconds]
    return seconds, {"images": len(train[0]), "validation": len(validation[0]), "loss": loss}


def decoder_epoch(run: Run) -> tuple[list[float], dict]:
    images, settings = run.tensor("digits.pt"), run.settings["decoder"]
    weights = torch.load(run.inputs / "initial_vae.pth", weights_only=True)
    torch.manual_seed(run.settings["seed"])

    def train() -> float:
        network = networks.VAE(settings["latent_dim"])
        network.load_state_dict(weights)
        return run.way.train_vae(network, images, settings)

    seconds, loss = run.timed(train)
    return [each / settings["epochs"] for each in seconds], {"images": len(images), "loss": loss}


def teacher_vaes(run: Run) -> tuple[list[float], dict]:
    """One VAE after the other, as the original trains them."""
    images, settings = run.tensor(f"{SHARD}/shard.pt"), run.settings["teacher_vaes"]

    def train() -> float:
        losses = []
        for seed in range(settings["networks"]):
            torch.manual_seed(seed)
            losses.append(run.way.train_vae(networks.VAE(settings["latent_dim"]), images, settings, encoder_sees=lambda x: x))
        return sum(losses) / len(losses)

    seconds, loss = run.timed(train)
    return seconds, {"images": len(images), "networks": settings["networks"], "loss": loss}


def pool_files(run: Run) -> tuple[list[float], dict]:
    pool, path = run.tensor("pool.pt"), run.out / "pool_written.pt"

    def write_and_read() -> Tensor:
        torch.save(pool, path)
        if run.way is tuned:
            # A map of the file, read into memory in one go.
            return torch.load(path, weights_only=True, mmap=True).clone()
        return torch.load(path, weights_only=True)

    seconds, read = run.timed(write_and_read)
    return seconds, {"images": len(read), "sum": read.double().sum().item()}


def sgemm(run: Run) -> tuple[list[float], dict]:
    everything, rates = [], {}
    for side in SIDES:
        a, b = torch.rand(side, side), torch.rand(side, side)
        seconds, _ = run.timed(lambda a=a, b=b: a @ b)
        rates[str(side)] = 2 * side**3 / min(seconds) / 1e9
        everything += seconds
    return everything, {"gflops": max(rates.values()), "by_side": rates}


def events(q: float, sigma: float, steps: int):
    """DP-SGD with Poisson batches, as dp-accounting sees it."""
    import dp_accounting as dp

    return dp.SelfComposedDpEvent(dp.PoissonSampledDpEvent(q, dp.GaussianDpEvent(sigma)), steps)


def accountant(name: str):
    """dp-accounting's, with its defaults; a grid of 1e-4 is one of them."""
    from dp_accounting import pld, rdp

    return pld.PLDAccountant() if name == "pld" else rdp.RdpAccountant()


def privacy_loss(run: Run) -> tuple[list[float], dict]:
    job = run.settings["accounting"]

    def body() -> float:
        account = accountant("pld")
        account.compose(events(job["q"], job["sigma"], job["steps"]))
        return account.get_epsilon(job["delta"])

    seconds, epsilon = run.timed(body)
    return seconds, {"steps": job["steps"], "epsilon": float(epsilon)}


def calibration(run: Run, name: str) -> tuple[list[float], dict]:
    from dp_accounting.mechanism_calibration import calibrate_dp_mechanism

    job = run.settings["accounting"]

    def body() -> float:
        return calibrate_dp_mechanism(
            lambda: accountant(name),
            lambda sigma: events(job["q"], sigma, job["calibration_steps"]),
            job["epsilon"],
            job["delta"],
            tol=job["tolerance"],
        )

    seconds, sigma = run.timed(body)
    return seconds, {"steps": job["calibration_steps"], "sigma": float(sigma)}


PARTS = {
    "labelling": labelling,
    "synthesis": synthesis,
    "frechet": frechet,
    "neighbours": neighbours,
    "decoding": decoding,
    "steering": steering,
    "diversity": diversity,
    "memorisation": memorisation,
    "teacher-training": teacher_training,
    "teacher-vaes": teacher_vaes,
    "teacher-vaes-grouped": teacher_vaes,
    "decoder-epoch": decoder_epoch,
    "student-epoch": student_epoch,
    "pool-files": pool_files,
    "privacy-loss": privacy_loss,
    "calibration-pld": lambda run: calibration(run, "pld"),
    "calibration-rdp": lambda run: calibration(run, "rdp"),
    "sgemm": sgemm,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("way", choices=["original", "tuned"])
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--inputs", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeat-for", type=float, default=2.0, help="repeat until the runs took so many seconds")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    run = Run({"original": original, "tuned": tuned}[args.way], args.inputs, args.out, args.repeat_for)
    seconds, result = PARTS[args.part](run)
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    print(json.dumps({"part": args.part, "seconds": seconds, "result": result, "peak_rss": peak}))
    return 0


sys.exit(main())
