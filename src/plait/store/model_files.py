"""Model folders, here and on a hub: ``model.json`` (settings), ``weights.safetensors`` (arrays), ``README.md`` (the card)."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import yaml
from safetensors import SafetensorError
from safetensors.numpy import load, save

from plait.base.documents import MANIFEST_BYTES, checksum, read_json
from plait.base.errors import ConfigError, ModelError, need
from plait.base.folders import whole_folder
from plait.base.parts import write_file
from plait.data.media import unusual

T = TypeVar("T")


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


def no_folder(place: Path, command: str = "fit") -> ModelError:
    """The error for a model folder that is none; ``command``: of plait, that writes one."""
    what = "is a file" if place.exists() else "no such folder"
    return ModelError(f"{place}: {what}; expected a model folder written by plait {command}")


def read_model(folder: str | Path, command: str = "fit") -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The manifest and arrays of a model folder, which a command of plait wrote, checked before anything is used.

    Raises:
        ModelError: not a model folder, a missing or altered file, or a format that this plait does not know.
    """
    place = Path(folder)
    if not place.is_dir():
        raise no_folder(place, command)
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
    """
    facts = path.stat()
    if problem := unusual(facts):
        raise ModelError(f"{path}: {problem}; copy the folder again")
    return facts.st_size


def read_manifest(place: Path) -> dict[str, Any]:
    """The manifest of a model folder, its format and checksum checked."""
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


#: How an address on the hub begins; a path on the command line loses one of the slashes.
_ADDRESS = re.compile(r"hf:/{1,2}(?P<repo>[\w.-]+/[\w.-]+?)(?:@(?P<revision>[\w./-]+))?/?")
_REPO = re.compile(r"[\w.-]+/[\w.-]+")
#: Set to 1, it allows ``load`` to ask the network.
ALLOW = "PLAIT_DOWNLOAD"
#: What the model is; what says how good it was shows rows of the tables, too, and is sent only where that is asked for.
_MODEL, _REPORT = (MANIFEST, WEIGHTS, CARD), ("results.json", "report.html")
_TASKS = {"classification": "tabular-classification", "regression": "tabular-regression"}


def push(
    folder: str | Path, repo: str, *, public: bool = False, report: bool = False, message: str = "A plait model"
) -> str:
    """Send a model folder to a hub, or lay it into another folder as the hub would have it (extra ``hub``).

    The hub's address, the token and the cache are those of ``huggingface_hub`` (``HF_ENDPOINT``, ``HF_TOKEN``, ``HF_HOME``).

    Args:
        folder: of a model, or of one per target.
        repo: ``owner/name``; or a folder (``./name``, ``/...``), which needs no hub.
        public: everybody may read it; else its owner alone.
        report: also ``results.json`` and ``report.html``, which show rows of the tables.
        message: of the commit.

    Returns:
        Where it lies now.

    Raises:
        ModelError: no model, or a broken one; or the hub refuses it.
        ConfigError: a name that the hub cannot have.
    """
    source = Path(folder)
    parts = _checked(source)
    if repo.startswith((".", "/", "~")):
        place = Path(repo).expanduser()
        with whole_folder(place, "Fusion") as new:
            _stage(source, new, parts, report)
        return str(place)
    if not _REPO.fullmatch(repo):
        raise ConfigError(f"push: '{repo}' is no name on a hub; expected owner/name, or a folder such as ./name")
    hub = need("huggingface_hub", "hub")
    with tempfile.TemporaryDirectory(prefix="plait-push-") as staged:
        _stage(source, Path(staged), parts, report)
        try:
            api = hub.HfApi(library_name="plait")
            api.create_repo(repo, private=not public, exist_ok=True)
            api.upload_folder(repo_id=repo, folder_path=staged, commit_message=message)
        except Exception as error:
            raise ModelError(
                f"push: the hub did not take {repo} ({_said(error)}); HF_TOKEN must be allowed to write"
            ) from error
    return f"hf://{repo}"


def located(folder: str | Path, *, download: bool = False) -> Path:
    """The folder of a model: of ``hf://owner/name`` or ``hf://owner/name@revision`` that in the hub's cache.

    Args:
        folder: any path stays what it is.
        download: ask the hub where the cache does not have it; so does ``PLAIT_DOWNLOAD=1`` in the environment.

    Raises:
        ModelError: it is not in the cache and may not be fetched, or the hub does not have it.

    Example:
        >>> str(located("runs/shop"))
        'runs/shop'
    """
    if not str(folder).startswith("hf:/"):
        return Path(folder)
    match = _ADDRESS.fullmatch(str(folder))
    if match is None:
        raise ConfigError(f"{folder}: expected hf://owner/name, or hf://owner/name@revision")
    hub = need("huggingface_hub", "hub")
    allowed = download or os.environ.get(ALLOW) == "1"
    wanted = [f"{above}{name}" for name in (*_MODEL, *_REPORT) for above in ("", "*/")]
    try:
        path = hub.snapshot_download(
            match["repo"], revision=match["revision"], allow_patterns=wanted, local_files_only=not allowed
        )
    except Exception as error:
        advice = f"; it is not in the cache: run the same again with {ALLOW}=1 in the environment to fetch it"
        raise ModelError(f"hf://{match['repo']}: cannot be had ({_said(error)}){'' if allowed else advice}") from error
    return Path(path)


def _said(error: Exception) -> str:
    """All lines of what a hub says, as one: the first names only the request, those below the reason."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def _checked(source: Path) -> list[str]:
    """The sub-folders that hold models, of a folder with one only itself; each checked as ``load`` would."""
    if not source.is_dir():
        raise no_folder(source)
    manifest = read_manifest(source)
    if manifest.get("kind") != TARGETS:
        read_model(source)
        return [""]
    names = [str(entry["folder"]) for entry in manifest["targets"]]
    if not all(re.fullmatch(r"[\w-]+", name) for name in names):
        raise ModelError(f"{source}: its {MANIFEST} names a sub-folder that plait did not write; copy the folder again")
    for name in names:
        read_model(source / name)
    return ["", *names]


def _stage(source: Path, place: Path, parts: list[str], report: bool) -> None:
    """Copy what is to be sent, the card with what the hub reads at its head."""
    for part in parts:
        (place / part).mkdir(exist_ok=True)
        for name in (*_MODEL, *(_REPORT if report else ())):
            if (source / part / name).is_file():
                shutil.copyfile(source / part / name, place / part / name)
    text = (source / CARD).read_text(encoding="utf-8") if (source / CARD).is_file() else "# Models of several targets\n"
    text = re.sub(r"\A---\n.*?\n---\n+", "", text, flags=re.DOTALL)  # a head that it has already
    head = yaml.safe_dump(card_facts(source, [source / part for part in parts if part] or [source]), sort_keys=False)
    (place / CARD).write_text(f"---\n{head}---\n\n{text}", encoding="utf-8")


def card_facts(source: Path, folders: list[Path]) -> dict[str, Any]:
    """The head of a card: library, tags, and the metrics that ``results.json`` holds, of one model or one per target."""
    manifests = [read_manifest(folder) for folder in folders]
    kinds = sorted(
        {m["kind"] for manifest in manifests for m in manifest.get("schema", {}).get("modalities", {}).values()}
    )
    results = [_result(folder, manifest) for folder, manifest in zip(folders, manifests, strict=True)]
    known = [result for result in results if result["metrics"]]
    facts: dict[str, Any] = {"library_name": "plait", "tags": ["plait", "multimodal", "data-fusion", *kinds]}
    tasks = {result["task"]["type"] for result in results}
    if len(tasks) == 1:
        facts["pipeline_tag"] = tasks.pop()
    if known:
        facts["metrics"] = sorted({metric["type"] for result in known for metric in result["metrics"]})
        facts["model-index"] = [{"name": source.resolve().name, "results": known}]
    return facts


def _result(folder: Path, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What the hub shows of one evaluation."""
    path = folder / "results.json"
    judged = read_json(path.read_bytes()).get("evaluation", {}) if path.is_file() else {}
    metrics = [
        {"type": name, "value": round(float(score["value"]), 6)}
        for name, score in judged.get("metrics", {}).items()
        if isinstance(score, dict) and isinstance(score.get("value"), int | float)
    ]
    name = manifest.get("schema", {}).get("target") or "answer"
    task = _TASKS.get(manifest.get("task", {}).get("name", ""), "tabular-classification")
    return {
        "task": {"type": task, "name": str(name)},
        "dataset": {"type": "table", "name": f"held-out rows ({judged.get('rows', 0)})"},
        "metrics": metrics,
    }
