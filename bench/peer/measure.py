"""Runs a command and prints its wall seconds, its peak memory in bytes and its exit code as one line of JSON.

It imports nothing large: a child starts as a copy of this process, whose memory counts as the child's.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time


def main() -> int:
    start = time.perf_counter()
    child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=sys.stderr)
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - start
    # Linux counts in KiB, macOS in bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    code = os.waitstatus_to_exitcode(status)
    print(json.dumps({"seconds": seconds, "peak_rss": usage.ru_maxrss * unit, "code": code}))
    return 0


sys.exit(main())
