"""Prints each requirement of plait and of the extras named, pinned to the lowest version that pyproject.toml allows.

torch alone is left out: the one version that CI's machines hold is pinned in constraints.txt.
"""

import re
import sys
import tomllib
from pathlib import Path

project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
extras = project["optional-dependencies"]
lines = project["dependencies"] + [line for name in sys.argv[1:] for line in extras[name]]
for line in dict.fromkeys(lines):
    found = re.fullmatch(r"([\w.-]+)(?:\[[\w,]+\])?>=([\w.]+)", line)
    if found and found[1] != "torch":
        print(f"{found[1]}=={found[2]}")
