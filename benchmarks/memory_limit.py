"""A command within a memory group of so many GB (Linux, control groups of version 1, root): does it end, and what did it take?

    python benchmarks/memory_limit.py 4 -- plait fit rows.parquet --target target --out runs/rows

The group counts the process's own memory and the pages of files that it reads; beyond its limit the system takes pages back, and
ends the command if that is not enough. One line of JSON: exit code, seconds, greatest sum, greatest memory of its own.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path


def main() -> None:
    limit, command = float(sys.argv[1]), sys.argv[3:]
    group = Path(f"/sys/fs/cgroup/memory/plait-{os.getpid()}")
    group.mkdir()
    (group / "memory.limit_in_bytes").write_text(str(int(limit * 1e9)))
    begun, own = time.perf_counter(), 0
    enter = ["sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh"]
    process = subprocess.Popen([*enter, *command])
    while process.poll() is None:
        held = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        own = max(own, int(held["rss"]))
        time.sleep(0.5)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    line = {
        "exit": process.returncode,
        "seconds": round(time.perf_counter() - begun, 1),
        "processor_seconds": round(used.ru_utime + used.ru_stime, 1),
        "all_gb": round(int((group / "memory.max_usage_in_bytes").read_text()) / 1e9, 2),
        "own_gb": round(own / 1e9, 2),
    }
    print(json.dumps(line))
    group.rmdir()


if __name__ == "__main__":
    main()
