"""Python's word on the programs of this repository. `cargo xtask interop` runs it; it needs torch 2.13.0, numpy and safetensors.

It runs the programs on the embedded data, once for all, and then asks PyTorch and NumPy, with networks and formulas written here
from the description alone:

    ours.py    does Python read every file that the programs wrote, and get the numbers that they reported?
    theirs.py  do the programs read what Python writes, and get Python's numbers?
    judges.py  are the benchmark's networks what they are in PyTorch?
    measures.py  do measures of features agree with pytorch-fid and prdc?

One line per item, with the number of files or values and the largest difference; then the counts. Exit code 1: an item failed.
"""

import argparse
import pathlib
import sys

import torch

import judges
import measures
import ours
import theirs
from items import Items, Programs


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=pathlib.Path, required=True, help="folder of the programs")
    parser.add_argument("--data", type=pathlib.Path, required=True, help="folder of the embedded data")
    parser.add_argument("--dir", type=pathlib.Path, required=True, help="new folder for everything that is written")
    parser.add_argument("--bench-settings", required=True, help="settings of pate-bench, JSON")
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.dir.mkdir(parents=True)
    programs = Programs(args.programs, args.data, args.dir)
    items = Items()
    ours.run(programs, items)
    theirs.run(programs, items)
    judges.run(programs, items)
    measures.run(programs, items, args.bench_settings)
    print(f"{items.passed} passed, {items.failed} failed, {items.skipped} skipped")
    return 1 if items.failed else 0


sys.exit(main())
