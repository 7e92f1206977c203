"""What each extra adds to an environment that has plait's base install: packages and megabytes, as a table.

python tools/extra_sizes.py [EXTRA ...]

Sizes are of the wheels (packed), asked of the package index by ``pip install --dry-run --report`` for this Python and
system; what the base install (torch, pandas, ...) brings is not counted twice. Nothing is installed.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import tomllib
import urllib.request
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def wheels(requirements: list[str]) -> dict[str, str]:
    """Package -> where its wheel lies, of everything that pip would install into an empty environment."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        pip = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--dry-run",
            "--ignore-installed",
            "--quiet",
            "--report",
            str(report),
        ]
        subprocess.run([*pip, "-c", str(ROOT / "constraints.txt"), *requirements], check=True)
        found = json.loads(report.read_text(encoding="utf-8"))["install"]
    return {item["metadata"]["name"].lower(): item["download_info"]["url"] for item in found}


def size(url: str) -> int:
    """Bytes of a wheel."""
    if url.startswith("file:"):
        return Path(urllib.request.url2pathname(url.removeprefix("file://"))).stat().st_size
    request = urllib.request.Request(url, method="HEAD")
    with urllib.request.urlopen(request, timeout=60) as answer:
        return int(answer.headers.get("Content-Length") or 0)


def requirements_of(extra: str) -> list[str]:
    """The packages of an extra, those of the extras that it names included."""
    result: list[str] = []
    for line in PROJECT["optional-dependencies"][extra]:
        own = re.fullmatch(r"plait\[([\w,]+)\]", line)
        result += [r for name in own[1].split(",") for r in requirements_of(name)] if own else [line]
    return result


def main() -> None:
    """Print the table."""
    names = sys.argv[1:] or [e for e in PROJECT["optional-dependencies"] if e not in ("dev", "docs", "bench")]
    base = wheels(PROJECT["dependencies"])
    total = sum(map(size, base.values())) / 1e6
    print("| extra | packages | MB |\n|---|---|---|")
    print(f"| (base) | {len(base)} | {total:,.0f} |", flush=True)
    for name in names:
        more = {
            k: url for k, url in wheels([*PROJECT["dependencies"], *requirements_of(name)]).items() if k not in base
        }
        print(f"| `{name}` | {len(more)} | {sum(map(size, more.values())) / 1e6:,.0f} |", flush=True)


if __name__ == "__main__":
    main()
