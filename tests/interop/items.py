"""Lines of the report, comparisons, and runs of the programs."""

import json
import os
import subprocess

import numpy as np

# What "the same number" means here, absolute below 1 and relative above.
TOLERANCE = 1e-5


class Wrong(Exception):
    """An item's reason to fail."""


class Skip(Exception):
    """An item's reason not to be looked at."""


class Items:
    """Runs items, prints a line for each and counts them."""

    def __init__(self):
        self.passed = self.failed = self.skipped = 0

    def check(self, name, item, *args):
        """`item` gives the figure to print, or raises; whether it was right."""
        try:
            print(f"ok       {name}: {item(*args)}", flush=True)
            self.passed += 1
            return True
        except Skip as reason:
            print(f"skipped: {name}: {reason}", flush=True)
            self.skipped += 1
        except Exception as error:  # whatever goes wrong is this item's failure, and the others go on
            kind = "" if isinstance(error, Wrong) else f"{type(error).__name__}: "
            print(f"FAILED   {name}: {kind}{error}", flush=True)
            self.failed += 1
        return False


class Close:
    """Compares numbers and remembers the largest difference and how many there were."""

    def __init__(self, tolerance=TOLERANCE):
        self.tolerance, self.worst, self.n = tolerance, 0.0, 0

    def add(self, what, found, expected):
        found, expected = (np.asarray(x, dtype=np.float64) for x in (found, expected))
        if found.shape != expected.shape:
            raise Wrong(f"{what} has the shape {found.shape}, Python's {expected.shape}")
        if found.size == 0:
            raise Wrong(f"{what} is empty")
        differences = np.abs(found - expected) / np.maximum(1.0, np.abs(expected))
        # A NaN is not within any tolerance.
        if not (differences <= self.tolerance).all():
            at = int(np.argmax(np.nan_to_num(differences, nan=np.inf)))
            raise Wrong(f"{what} is {found.flat[at]} (value {at} of {found.size}), Python's {expected.flat[at]}")
        self.worst = max(self.worst, float(differences.max()))
        self.n += found.size

    def __str__(self):
        return f"{self.n} values, largest difference {self.worst:.1e}"


def same(what, found, expected):
    """Exact equality."""
    if found != expected:
        raise Wrong(f"{what} is {found}, Python's {expected}")


class Programs:
    """Runs programs on one thread; relative paths on their command lines lie in the folder of the run."""

    def __init__(self, folder, data, root):
        self.folder, self.data, self.root = folder.resolve(), data.resolve(), root.resolve()

    def program(self, name):
        return self.folder / (name + (".exe" if os.name == "nt" else ""))

    def run(self, line):
        """A command line; `{data}` stands for the embedded data."""
        name, *words = line.split()
        words = [word.replace("{data}", str(self.data)) for word in words]
        command = [self.program(name), *words, "--device", "cpu", "--threads", "1", "--quiet"]
        done = subprocess.run(command, cwd=self.root, capture_output=True, text=True)
        if done.returncode != 0:
            raise Wrong(f"{line} ended with code {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def path(self, name):
        return self.root / name

    def json(self, name):
        return json.loads(self.path(name).read_text())

    def write_json(self, name, value):
        self.path(name).write_text(json.dumps(value))
