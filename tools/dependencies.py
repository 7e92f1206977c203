"""What plait stands on, with versions and licences, as a page: python tools/dependencies.py [--out docs/dependencies.md].

Of what ``pyproject.toml`` names, and of what those packages need in turn, as installed here; licences are what each package's
own metadata state. Nothing is downloaded.
"""

from __future__ import annotations

import argparse
import re
import tomllib
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
#: Extras for developers, and of what benchmarks compare with.
OURS = ("dev", "docs", "bench")


def named() -> dict[str, list[str]]:
    """Package -> the extras that name it ('' is the base install)."""
    extras = {"": PROJECT["dependencies"], **PROJECT["optional-dependencies"]}
    result: dict[str, list[str]] = {}
    for extra, requirements in extras.items():
        if extra not in OURS:
            for text in requirements:
                result.setdefault(canonicalize_name(Requirement(text).name), []).append(extra)
    result.pop("plait", None)
    return result


def needed(names: Iterable[str]) -> dict[str, set[str]]:
    """Package -> who needs it, of everything that these packages need in turn and that is installed."""
    result: dict[str, set[str]] = {}
    waiting, seen = list(names), set(names)
    while waiting:
        name = waiting.pop()
        for requirement in _requirements(name):
            other = canonicalize_name(requirement.name)
            result.setdefault(other, set()).add(name)
            if other not in seen:
                seen.add(other)
                waiting.append(other)
    return {name: by for name, by in result.items() if _found(name) is not None}


def _requirements(name: str) -> Iterator[Requirement]:
    found = _found(name)
    for text in (found.requires or ()) if found is not None else ():
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield requirement


def _found(name: str) -> metadata.Distribution | None:
    try:
        return metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return None


def licence(name: str) -> str:
    """What a package's metadata say of its licence, in one line."""
    found = _found(name)
    if found is None:
        return "not installed here"
    about = found.metadata
    words = about.get("License-Expression")
    classes = [c.split(" :: ")[-1] for c in about.get_all("Classifier") or () if c.startswith("License ::")]
    text = (about.get("License") or "").strip()
    short = text.splitlines()[0][:60] if text else ""
    said = re.sub(r"\s+", " ", words or ", ".join(classes) or short).replace("|", "\\|")
    return said if said not in ("", "UNKNOWN") else "states none"


def page() -> str:
    """The whole page."""
    ours = named()
    further = {name: by for name, by in needed(ours).items() if name not in ours}
    lines = [
        "# Dependencies",
        "",
        "Written by `python tools/dependencies.py --out docs/dependencies.md` from what is installed where it is run;",
        "licences are what each package states. Without extras only the packages for *all* are installed.",
        "",
        "| package | version | licence | for |",
        "|---|---|---|---|",
    ]
    order = sorted(ours, key=lambda name: (ours[name] != [""] and "" not in ours[name], name))
    lines += [f"| {n} | {_version(n)} | {licence(n)} | {', '.join(e or 'all' for e in ours[n])} |" for n in order]
    lines += ["", "## What those need in turn", "", "| package | version | licence | needed by |", "|---|---|---|---|"]
    for name in sorted(further):
        by = sorted(further[name])
        shown = ", ".join(by[:3]) + (f" and {len(by) - 3} more" if len(by) > 3 else "")
        lines.append(f"| {name} | {_version(name)} | {licence(name)} | {shown} |")
    return "\n".join(lines) + "\n"


def _version(name: str) -> str:
    found = _found(name)
    return "" if found is None else found.version


def main() -> None:
    """Print the page, or write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    out = parser.parse_args().out
    if out is None:
        print(page(), end="")
    else:
        out.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
