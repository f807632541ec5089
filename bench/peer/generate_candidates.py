"""The original's first step, a process of its own: a pool of candidates for one teacher, as a .pt file."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

import networks
import original
from selection import Settings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--decoder-path", type=Path, required=True)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--pool-size", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    settings = Settings.load(args.config)
    decoder = networks.load_decoder(args.decoder_path)
    pool = original.make_pool(decoder, args.pool_size, args.seed, settings.mixing_ratio, settings.noise_scale)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    torch.save(pool, args.out)
    args.out.with_suffix(".json").write_text(json.dumps({"pool_size": len(pool), "seed": args.seed}))


main()
