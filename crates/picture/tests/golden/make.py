"""Cuts the golden files of the grid test out of the original pipeline's candidates.

    python3 make.py CONFORMANCE_FOLDER

grid4.f32   the first four images of expected/pool_seed123/candidates.pt: 4x1x28x28 little-endian float32
grid4.gray  the top left 32x122 pixels of candidates.png beside it, as torchvision drew them: what these four images
            make in one row, 2 pixels apart. One byte a pixel; the PNG is RGB with three equal channels.

Needs the standard library only.
"""

import struct
import sys
import zipfile
import zlib
from pathlib import Path


def read_rgb(path):
    """Rows of an 8-bit RGB PNG without interlacing."""
    data, place, packed, width = path.read_bytes(), 8, b"", 0
    while place < len(data):
        length, kind = struct.unpack(">I4s", data[place : place + 8])
        chunk = data[place + 8 : place + 8 + length]
        place += 12 + length
        if kind == b"IHDR":
            width, _, depth, color, _, _, interlace = struct.unpack(">IIBBBBB", chunk)
            assert (depth, color, interlace) == (8, 2, 0)
        elif kind == b"IDAT":
            packed += chunk
    raw, size, rows = zlib.decompress(packed), 3 * width, []
    above = bytes(size)
    for start in range(0, len(raw), size + 1):
        kind, row = raw[start], bytearray(raw[start + 1 : start + 1 + size])
        for i in range(size):
            left, corner = (row[i - 3], above[i - 3]) if i >= 3 else (0, 0)
            up = above[i]
            nearest = min((left, up, corner), key=lambda value: abs(left + up - corner - value))
            row[i] = (row[i] + (0, left, up, (left + up) // 2, nearest)[kind]) % 256
        rows.append(bytes(row))
        above = row
    return rows


folder = Path(sys.argv[1]) / "expected" / "pool_seed123"
here = Path(__file__).parent
with zipfile.ZipFile(folder / "candidates.pt") as archive:
    (here / "grid4.f32").write_bytes(archive.read("candidates/data/0")[: 4 * 28 * 28 * 4])
gray = b""
for row in read_rgb(folder / "candidates.png")[:32]:
    red, green, blue = (row[channel : 3 * 122 : 3] for channel in range(3))
    assert red == green == blue
    gray += red
(here / "grid4.gray").write_bytes(gray)
