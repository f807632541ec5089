"""The batch step tuned: one process for all teachers. It writes the files that the original's processes write."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

import networks
import selection
import tuned


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--teachers", type=int, required=True)
    parser.add_argument("--inputs", type=Path, required=True)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--pool-size", type=int, required=True)
    parser.add_argument("--quota", action="store_true")
    parser.add_argument("--target-samples", type=int)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--out-dir", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    settings = selection.Settings.load(args.config)
    decoder = networks.load_decoder(args.inputs / "decoder" / "decoder.pth")
    args.out_dir.mkdir(parents=True, exist_ok=True)
    for teacher_id in range(args.teachers):
        seed = args.seed + teacher_id
        pool = tuned.make_pool(decoder, args.pool_size, seed, settings.mixing_ratio, settings.noise_scale)
        torch.save(pool, args.out_dir / f"candidates_teacher_{teacher_id}.pt")
        teacher = networks.load_teacher(args.inputs / "nets" / str(teacher_id) / "model.pth")
        files = args.inputs / "shards" / f"teacher_{teacher_id}"
        shard = networks.load_tensor(files / "shard.pt")
        counts = None
        if args.quota:
            counts = json.loads((files / "metadata.json").read_text())["class_distribution"]
        torch.manual_seed(seed)
        chosen = selection.run(tuned, pool, teacher, decoder, shard, counts, settings, args.target_samples)
        selection.save(args.out_dir / f"teacher_{teacher_id}", *chosen)


main()
