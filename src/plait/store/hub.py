"""Model folders on a hub: sent with a card that the hub understands, and fetched to where ``load`` reads them."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from plait.base.documents import read_json
from plait.base.errors import ConfigError, ModelError, need
from plait.base.folders import whole_folder
from plait.store.model_files import CARD, MANIFEST, TARGETS, WEIGHTS, read_manifest, read_model

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
                f"push: the hub did not take {repo} ({_line(error)}); HF_TOKEN must be allowed to write"
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
        advice = (
            ""
            if allowed
            else f"; it is not in the cache: run the same again with {ALLOW}=1 in the environment to fetch it"
        )
        raise ModelError(f"hf://{match['repo']}: cannot be had ({_line(error)}){advice}") from error
    return Path(path)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _checked(source: Path) -> list[str]:
    """The sub-folders that hold models, of a folder with one only itself; each checked as ``load`` would."""
    if not source.is_dir():
        raise ModelError(f"{source}: no such folder; expected a model folder written by plait fit")
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
    head = yaml.safe_dump(card_facts(source, [source / part for part in parts if part] or [source]), sort_keys=False)
    (place / CARD).write_text(f"---\n{head}---\n\n{_without_head(text)}", encoding="utf-8")


def _without_head(text: str) -> str:
    return re.sub(r"\A---\n.*?\n---\n+", "", text, flags=re.DOTALL)


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
