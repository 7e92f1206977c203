"""What plait finds on a machine: packages, encoders, the processor, caches and room on the disk."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from plait.base import __version__, machine, registry
from plait.base.encoder import KINDS
from plait.data.remote import cache_folder
from plait.encoders.defaults import default_encoder
from plait.estimators.fit_settings import FitSettings

#: Extras that are for developers.
_OURS = ("dev", "docs", "bench")
_NAMED, _SECRET = re.compile(r"PLAIT_|HF_HUB_|HF_HOME|OMP_NUM"), re.compile(r"TOKEN|KEY|SECRET|PASS")
_BASE = ("torch", "numpy", "pandas", "scikit-learn", "scipy")


def doctor() -> dict[str, Any]:
    """Plain values: ``plait``, ``packages``, ``extras``, ``encoders``, ``processor``, ``places``, ``environment``.

    Example:
        >>> sorted(doctor())
        ['encoders', 'environment', 'extras', 'packages', 'places', 'plait', 'processor']
    """
    return {
        "plait": {"version": __version__, "python": platform.python_version(), "system": platform.platform(terse=True)},
        "packages": {name: _version(name) for name in _BASE},
        "extras": list(_extras()),
        "encoders": list(_encoders()),
        "processor": _processor(),
        "places": _places(),
        "environment": {k: v for k, v in sorted(os.environ.items()) if _NAMED.match(k) and not _SECRET.search(k)},
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _extras() -> Iterator[dict[str, object]]:
    """Each extra of this plait: what it brings, and what of that is missing here."""
    try:
        about = importlib.metadata.metadata("plait")
        required = importlib.metadata.requires("plait") or []
    except importlib.metadata.PackageNotFoundError:  # it runs from its sources
        return
    wanted: dict[str, list[str]] = {name: [] for name in about.get_all("Provides-Extra") or [] if name not in _OURS}
    for line in required:
        named = re.search(r"""extra\s*==\s*['"]([\w-]+)['"]""", line)
        package = re.split(r"[\s;\[<>=!~(]", line, maxsplit=1)[0]
        if named and named[1] in wanted and package.lower() != "plait":
            wanted[named[1]].append(package)
    for name, packages in sorted(wanted.items()):
        missing = [package for package in packages if _version(package) is None]
        here = {package: version for package in packages if (version := _version(package)) is not None}
        yield {"extra": name, "ready": not missing, "here": here, "missing": missing}


def _encoders() -> Iterator[dict[str, object]]:
    """What encodes each kind where nothing is named, and which others are ready."""
    extras = {each["extra"]: each["ready"] for each in _extras()}
    ready: dict[str, list[str]] = {kind: [] for kind in KINDS}
    for name in registry.names("encoders"):
        variant = registry.find("encoders", name)
        if extras.get(variant.extra, True):
            for kind in variant.kinds:
                ready[kind].append(name)
    for kind in KINDS:
        yield {"kind": kind, "default": default_encoder(kind), "ready": ready[kind]}


def _processor() -> dict[str, object]:
    fast = machine.fast_dtype()
    return {
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "features": torch.backends.cpu.get_cpu_capability(),
        "encodes in": str(fast).removeprefix("torch."),
        "device": str(machine.device_of("auto")),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def _places() -> list[dict[str, Any]]:
    """Folders that plait reads and fills, how large they are, and what room their disks have."""
    hub = os.environ.get("HF_HUB_CACHE") or Path(os.environ.get("HF_HOME") or "~/.cache/huggingface") / "hub"
    places: dict[str, str | Path | None] = {
        "store of embeddings": FitSettings().store or os.environ.get("PLAIT_STORE") or "~/.cache/plait/store",
        "fetched files": cache_folder(),
        "models of the hub": hub,
        "data sets": os.environ.get("PLAIT_DATA"),
        "temporary files": tempfile.gettempdir(),
    }
    return [_place(what, Path(path).expanduser()) for what, path in places.items() if path is not None]


def _place(what: str, path: Path) -> dict[str, object]:
    above = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    sized = what not in ("data sets", "temporary files") and path.is_dir()
    return {
        "what": what,
        "path": str(path),
        "there": path.exists(),
        "bytes": sum(_bytes(path)) if sized else None,
        "free": shutil.disk_usage(above).free,
        "writable": os.access(above, os.W_OK),
    }


def _bytes(folder: Path) -> Iterator[int]:
    """What each file takes on the disk (a store's file is larger than what is written in it)."""
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                facts = (Path(root) / name).lstat()
            except OSError:  # gone meanwhile
                continue
            yield getattr(facts, "st_blocks", facts.st_size // 512) * 512


def advice(result: dict[str, Any]) -> list[str]:
    """What could be better, one line each.

    Example:
        >>> advice({"encoders": [{"kind": "text", "default": "hashed_ngrams"}], "places": []})
        ["text is encoded by hashed_ngrams: pip install 'plait[text]' brings a better one"]
    """
    said = []
    for each in result["encoders"]:
        better = {"text": "hashed_ngrams", "image": "pixel_statistics", "audio": "logmel"}.get(each["kind"])
        if each["default"] == better:
            said.append(
                f"{each['kind']} is encoded by {better}: pip install 'plait[{each['kind']}]' brings a better one"
            )
    for place in result["places"]:
        if place["free"] < 2 << 30:
            said.append(f"{place['what']}: {place['free'] / 1e9:.1f} GB free on the disk of {place['path']}")
        if not place["writable"] and place["what"] != "data sets":
            said.append(
                f"{place['what']}: {place['path']} cannot be written; --store FOLDER or $PLAIT_STORE names another"
            )
    return said
