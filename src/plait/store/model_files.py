"""A model folder: ``model.json`` (settings, words, numbers), ``weights.safetensors`` (arrays), ``README.md`` (the card).

No pickle: nothing in a folder can run code. A folder is there whole or not at all (see ``plait.base.folders``).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from plait.base.documents import MANIFEST_BYTES, checksum, is_manifest, read_json
from plait.base.errors import ModelError
from plait.base.folders import check_folder, whole_folder
from plait.base.parts import write_file
from plait.data.media import unusual

T = TypeVar("T")

__all__ = [
    "check_folder",
    "is_manifest",
    "plain_values",
    "read_manifest",
    "read_model",
    "whole_folder",
    "write_file",
    "write_model",
]

#: Raised whenever an older plait could not read what this one writes; every format ever written stays readable.
FORMAT = 2
MANIFEST, WEIGHTS, CARD = "model.json", "weights.safetensors", "README.md"
#: Kind of a folder that holds a model per target, each in a sub-folder.
TARGETS = "FusionTargets"


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def write_model(folder: Path, manifest: Mapping[str, object], arrays: Mapping[str, np.ndarray], card: str) -> None:
    """Write the three files into a folder that exists (see ``whole_folder``)."""
    weights = save({k: np.asarray(v, order="C") for k, v in arrays.items()})
    write_file(folder / WEIGHTS, weights)
    options = {"format": FORMAT, **manifest, "weights": {"bytes": len(weights), "digest": _digest(weights)}}
    options = json.loads(json.dumps(options, allow_nan=False))
    options["checksum"] = checksum(options)
    write_file(folder / MANIFEST, json.dumps(options, indent=1, ensure_ascii=False).encode("utf-8", "backslashreplace"))
    write_file(folder / CARD, card.encode("utf-8", "backslashreplace"))


def read_model(folder: str | Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The manifest and arrays of a model folder, checked before anything is used.

    Raises:
        ModelError: not a model folder, a missing or altered file, or a format that this plait does not know.
    """
    place = Path(folder)
    if not place.is_dir():
        raise ModelError(f"{folder}: no such folder; expected a model folder written by plait fit")
    manifest = read_manifest(place)
    if manifest.get("kind") == TARGETS:
        names = ", ".join(str(entry.get("folder")) for entry in manifest.get("targets", ()) if isinstance(entry, dict))
        raise ModelError(f"{folder}: holds a model per target; name one of its sub-folders ({names})")
    expected = manifest.get("weights")
    if not isinstance(expected, dict) or not {"bytes", "digest"} <= set(expected):
        raise ModelError(f"{place / MANIFEST}: does not say which weights are its own; copy the folder again")
    try:
        size = _size_of(place / WEIGHTS)
        weights = (place / WEIGHTS).read_bytes() if size == expected["bytes"] else b""
    except OSError as error:
        raise ModelError(
            f"{place / WEIGHTS}: cannot be read ({error.strerror}); the model folder is incomplete"
        ) from None
    if size != expected["bytes"]:
        raise ModelError(f"{place / WEIGHTS}: {size} bytes, expected {expected['bytes']}; copy the folder again")
    if _digest(weights) != expected["digest"]:
        raise ModelError(f"{place / WEIGHTS}: its content was altered (digest differs); copy the folder again")
    try:
        arrays = load(weights)
    except (SafetensorError, ValueError, TypeError, KeyError) as error:
        raise ModelError(f"{place / WEIGHTS}: not a safetensors file ({error})") from None
    return manifest, arrays


def _size_of(path: Path) -> int:
    """Bytes of a file, asked before it is read: a pipe or a device in a stranger's folder may never end.

    Links are followed: the hub's cache is made of them.

    Raises:
        ModelError: it is no regular file.
    """
    facts = path.stat()
    if problem := unusual(facts):
        raise ModelError(f"{path}: {problem}; copy the folder again")
    return facts.st_size


def read_manifest(place: Path) -> dict[str, Any]:
    """The manifest of a model folder, its format and checksum checked.

    Raises:
        ModelError: there is none, or it was altered.
    """
    path = place / MANIFEST
    try:
        if _size_of(path) > MANIFEST_BYTES.value:
            raise ModelError(f"{path}: {path.stat().st_size:,} bytes; {MANIFEST_BYTES.said}")
        manifest = read_json(path.read_bytes())
    except FileNotFoundError:
        raise ModelError(f"{place}: has no {MANIFEST}; it is not a model folder") from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: cannot be read as JSON ({error}); copy the folder again") from None
    if not isinstance(manifest, dict) or type(manifest.get("format")) is not int or manifest["format"] < 1:
        raise ModelError(f"{path}: has no format number; it is not a plait model")
    if manifest["format"] > FORMAT:
        raise ModelError(f"{path}: format {manifest['format']}, this plait reads up to {FORMAT}; upgrade plait")
    try:
        same = manifest.get("checksum") == checksum(manifest)
    except ValueError:  # a number that JSON has no word for
        same = False
    if not same:
        raise ModelError(f"{path}: its content was altered (checksum differs); copy the folder again")
    return manifest


def under(values: Mapping[str, T], prefix: str) -> dict[str, T]:
    """The values whose names begin so, by the rest of their names."""
    return {k.removeprefix(prefix): v for k, v in values.items() if k.startswith(prefix)}


def plain_values(value: object) -> Any:
    """JSON values: data classes become mappings, tuples and arrays lists, numpy scalars Python ones, NaN and infinity None."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain_values(dataclasses.asdict(value))
    if isinstance(value, Mapping):
        return {str(k): plain_values(v) for k, v in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [plain_values(v) for v in value]
    if isinstance(value, np.generic):
        return plain_values(value.item())
    return None if isinstance(value, float) and not math.isfinite(value) else value
