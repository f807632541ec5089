"""Makes golden_pate.json and golden.json from the project's golden accounting numbers: python make_golden.py accounting.json

Nothing is computed here: what the tests look at is copied, floats as they are, and the rest is left out. The numbers are those of
tensorflow/privacy (pate_2018: core.py, smooth_sensitivity.py), dp-accounting, prv-accountant, Opacus, and of the reference
implementation beside them; the files name the versions.
"""

import json
import sys
from pathlib import Path

SMOOTH_KEYS = ("kind", "counts", "teachers", "T", "sigma", "order", "logq0", "logq1", "logq", "ls_by_distance",
               "ls_tail_constant", "smooth_at_beta", "rows")


def main():
    golden = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    extract = {
        "source": {
            "file": "accounting.json, the project's golden accounting numbers, through make_golden.py",
            "tools": golden["tools"],
            "snapshots": golden["snapshots"],
            "left_out": "real_pate_votes: the numbers need the authors' vote files, which are not in the repository",
        },
        "tolerances": {key: golden["tolerances"][key] for key in ("logq, rdp_at", "smooth sensitivity", "epsilon_exact")},
        "orders": golden["orders"]["pate2018"],
        "vote_sets": golden["vote_sets"],
        "smooth_sensitivity": [{key: row[key] for key in SMOOTH_KEYS if key in row} for row in golden["smooth_sensitivity"]],
        "cases": [case for case in golden["cases"] if "gnmax" in case["id"] or "lnmax" in case["id"]],
        "argmax_gap_tail_sigma40": golden["discrete_gaussian"]["argmax_gap_tail_sigma40"],
    }
    unknown = {key for row in golden["smooth_sensitivity"] for key in row} - set(SMOOTH_KEYS)
    if unknown:
        raise SystemExit(f"smooth_sensitivity has more than this script knows: {sorted(unknown)}")
    write("golden_pate.json", extract)
    write("golden.json", {
        "source": {**extract["source"], "left_out": "audit; what golden_pate.json has"},
        "tolerances": golden["tolerances"],
        "orders": golden["orders"],
        "cases": [case for case in golden["cases"] if case not in extract["cases"]],
        "calibrations": golden["calibrations"],
        "unit": golden["unit"],
        "discrete_gaussian": golden["discrete_gaussian"]["rows"],
    })


def write(name, parts):
    # One line per part, so that a change can be seen.
    lines = [f'"{key}":{json.dumps(value, separators=(",", ":"))}' for key, value in parts.items()]
    out = Path(__file__).with_name(name)
    out.write_text("{" + ",\n".join(lines) + "}\n", encoding="utf-8", newline="\n")


main()
