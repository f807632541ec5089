"""The original's second step, a process of its own: one teacher labels a pool, filters it, and steers for what is missing."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

import networks
import original
import selection


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--candidates", type=Path, required=True)
    parser.add_argument("--teacher-model", type=Path, required=True)
    parser.add_argument("--teacher-shard-path", type=Path, required=True)
    parser.add_argument("--shard-metadata", type=Path, help="switches the quota on")
    parser.add_argument("--decoder-path", type=Path, required=True)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--target-samples", type=int)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--out-dir", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    counts = None
    if args.shard_metadata:
        counts = json.loads(args.shard_metadata.read_text())["class_distribution"]
    # Weights keep requires_grad, as a loaded network has it.
    chosen = selection.run(
        original,
        networks.load_tensor(args.candidates),
        networks.load_teacher(args.teacher_model),
        networks.load_decoder(args.decoder_path),
        networks.load_tensor(args.teacher_shard_path),
        counts,
        selection.Settings.load(args.config),
        args.target_samples,
    )
    selection.save(args.out_dir, *chosen)


main()
