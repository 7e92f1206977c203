"""A model folder: ``model.json`` (settings, words, numbers), ``weights.safetensors`` (arrays), ``README.md`` (the card).

No pickle: nothing in a folder can run code. A folder is written beside its place and renamed into it, so it is there whole
or not at all.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from plait.errors import ModelError

#: Raised whenever an older plait could not read what this one writes; every format ever written stays readable.
FORMAT = 1
MANIFEST, WEIGHTS, CARD = "model.json", "weights.safetensors", "README.md"


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def _checksum(manifest: Mapping[str, Any]) -> str:
    told = {k: v for k, v in manifest.items() if k != "checksum"}
    return _digest(json.dumps(told, sort_keys=True, ensure_ascii=True, allow_nan=False).encode())


@contextmanager
def whole_folder(folder: str | Path) -> Iterator[Path]:
    """Give a temporary folder that becomes ``folder`` when the block ends well, and vanishes when it does not.

    What else lies in an existing model folder (a report, say) is replaced with it. A folder that holds something other
    than a model is refused.
    """
    target = Path(folder).absolute()
    if target.exists() and not (target.is_dir() and ((target / MANIFEST).is_file() or not any(target.iterdir()))):
        raise ModelError(f"{folder}: exists and is not a model folder; name another place or remove it")
    part = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        part.mkdir(parents=True)
        yield part
        _replace(part, target)
    except OSError as error:
        raise ModelError(f"{folder}: cannot be written ({_reason(error, part)}); nothing was left behind") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _reason(error: OSError, part: Path) -> str:
    """What went wrong, and with which file in the folder."""
    name = Path(error.filename).name if error.filename and str(error.filename).startswith(str(part)) else ""
    return f"{f'{name}: ' if name else ''}{error.strerror or error}"


def _replace(part: Path, target: Path) -> None:
    if not target.exists():
        part.rename(target)
        return
    old = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.old")
    target.rename(old)
    try:
        part.rename(target)
    except OSError:
        old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def write_file(path: Path, data: bytes) -> None:
    """Write a file whole: beside its place, flushed to the disk, then renamed."""
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        with part.open("wb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        part.replace(path)
    except OSError as error:
        error.filename = error.filename or str(path)  # a full disk names no file by itself
        raise
    finally:
        part.unlink(missing_ok=True)


def write_model(folder: Path, manifest: Mapping[str, Any], arrays: Mapping[str, np.ndarray], card: str) -> None:
    """Write the three files into a folder that exists (see ``whole_folder``)."""
    weights = save({k: np.asarray(v, order="C") for k, v in arrays.items()})
    write_file(folder / WEIGHTS, weights)
    told = {"format": FORMAT, **manifest, "weights": {"bytes": len(weights), "digest": _digest(weights)}}
    told = json.loads(json.dumps(told, allow_nan=False))
    told["checksum"] = _checksum(told)
    write_file(folder / MANIFEST, json.dumps(told, indent=1, ensure_ascii=False).encode("utf-8", "backslashreplace"))
    write_file(folder / CARD, card.encode("utf-8", "backslashreplace"))


def read_model(folder: str | Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The manifest and arrays of a model folder, checked before anything is used.

    Raises:
        ModelError: not a model folder, a missing or altered file, or a format that this plait does not know.
    """
    place = Path(folder)
    if not place.is_dir():
        raise ModelError(f"{folder}: no such folder; expected a model folder written by plait fit")
    manifest = _read_manifest(place)
    try:
        weights = (place / WEIGHTS).read_bytes()
    except OSError as error:
        raise ModelError(
            f"{place / WEIGHTS}: cannot be read ({error.strerror}); the model folder is incomplete"
        ) from None
    expected = manifest["weights"]
    if len(weights) != expected["bytes"]:
        raise ModelError(
            f"{place / WEIGHTS}: {len(weights)} bytes, expected {expected['bytes']}; copy the folder again"
        )
    if _digest(weights) != expected["digest"]:
        raise ModelError(f"{place / WEIGHTS}: its content was altered (digest differs); copy the folder again")
    try:
        return manifest, load(weights)
    except SafetensorError as error:
        raise ModelError(f"{place / WEIGHTS}: not a safetensors file ({error})") from None


def _read_manifest(place: Path) -> dict[str, Any]:
    path = place / MANIFEST
    try:
        manifest = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise ModelError(f"{place}: has no {MANIFEST}; it is not a model folder") from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: cannot be read as JSON ({error}); copy the folder again") from None
    if not isinstance(manifest, dict) or not isinstance(manifest.get("format"), int):
        raise ModelError(f"{path}: has no format number; it is not a plait model")
    if manifest["format"] > FORMAT:
        raise ModelError(f"{path}: format {manifest['format']}, this plait reads up to {FORMAT}; upgrade plait")
    if manifest.get("checksum") != _checksum(manifest):
        raise ModelError(f"{path}: its content was altered (checksum differs); copy the folder again")
    return manifest
