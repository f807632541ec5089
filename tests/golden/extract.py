"""Copies golden cases out of the shared folder: extract.py SHARED_GOLDEN GROUP [CASE ...]

Writes extract/GROUP.json (the group's rule and tools, and the cases named, or all) and
extract/GROUP.safetensors (the tensors that these cases name), beside this file. Needs no packages.

    python3 tests/golden/extract.py ../shared/golden scatter
"""

import json
import pathlib
import struct
import sys


def named(value):
    """Every tensor that a value of the JSON points to."""
    if isinstance(value, dict):
        if isinstance(value.get("tensor"), str):
            yield value["tensor"]
        for inner in value.values():
            yield from named(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from named(inner)


def read(path):
    """Dtype, shape and bytes of every tensor, in the file's order."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    body = data[8 + length :]
    entries = sorted(header.items(), key=lambda entry: entry[1]["data_offsets"])
    return {k: (v["dtype"], v["shape"], body[slice(*v["data_offsets"])]) for k, v in entries}


def write(path, tensors):
    header, body = {}, b""
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)


def main():
    shared, group, *ids = sys.argv[1:]
    shared, folder = pathlib.Path(shared), pathlib.Path(__file__).parent / "extract"
    folder.mkdir(exist_ok=True)
    whole = json.loads((shared / f"{group}.json").read_text())
    kept = {key: whole[key] for key in ("group", "format", "rule", "rule_check", "tools") if key in whole}
    kept["cases"] = [case for case in whole["cases"] if not ids or case["id"] in ids]
    missing = set(ids) - {case["id"] for case in kept["cases"]}
    if missing:
        sys.exit(f"no such cases: {sorted(missing)}")
    (folder / f"{group}.json").write_text(json.dumps(kept, indent=1) + "\n")
    wanted = set(named(kept["cases"]))
    tensors = {k: v for k, v in read(shared / f"{group}.safetensors").items() if k in wanted}
    write(folder / f"{group}.safetensors", tensors)
    print(f"{len(kept['cases'])} cases, {len(tensors)} tensors")


main()
