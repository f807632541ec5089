"""Measures of 10,000 rows of features, beside pytorch-fid and prdc: parts of the benchmark, compared here and not timed."""

import json
import pathlib
import subprocess
import sys

import torch

from items import Close, Wrong

PEER = pathlib.Path(__file__).parents[2] / "bench" / "peer" / "part.py"
ROWS, WIDTH, DIRECTIONS = 10_000, 512, 64
# pytorch-fid takes the root of a product of covariances, whose rounding is that of its largest values.
FRECHET = 1e-6
NEIGHBOURS = ("precision", "recall", "density", "coverage")


def run(programs, items, settings):
    folder = programs.path("features")
    folder.mkdir()
    (folder / "settings.json").write_text(settings)
    torch.manual_seed(6)
    directions = torch.randn(DIRECTIONS, WIDTH)
    for name, moved in (("real", 0.0), ("generated", 0.3)):
        place = torch.randn(ROWS, DIRECTIONS) + moved
        rows = (place @ directions + 0.5 * torch.randn(ROWS, WIDTH)).relu()
        torch.save(rows, folder / f"features_{name}.pt")
    items.check("Frechet distance of pytorch-fid", compared, programs, "frechet", ("distance",), FRECHET)
    items.check("nearest neighbours of prdc", compared, programs, "neighbours", NEIGHBOURS, 1e-12)


def compared(programs, part, fields, tolerance):
    ours = asked(programs, [programs.program("pate-bench"), part])
    theirs = asked(programs, [sys.executable, "-B", PEER, "original", part])
    close = Close(tolerance)
    for field in fields:
        close.add(field, ours[field], theirs[field])
    figures = ", ".join(f"{field} {theirs[field]:.6g}" for field in fields)
    return f"{ROWS} rows of {WIDTH} twice: {figures}; {close}"


def asked(programs, command):
    folder = programs.path("features")
    words = ["--inputs", folder, "--out", folder / "out", "--repeat-for", "0"]
    done = subprocess.run([*command, *words], capture_output=True, text=True)
    if done.returncode != 0:
        raise Wrong(f"{pathlib.Path(command[0]).name} {command[-1]} ended with code {done.returncode}: {done.stderr.strip()}")
    return json.loads(done.stdout.splitlines()[-1])["result"]
