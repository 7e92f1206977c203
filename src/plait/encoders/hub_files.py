"""Where a model's files lie: a folder, the hub's cache, or, when neither has them, the hub itself."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from plait.base.errors import ConfigError, need, reason

#: A full commit hash: it names one state of a repository for ever.
COMMIT = re.compile(r"[0-9a-f]{40}")
#: Files of which any one must be there.
Alternatives = tuple[str, ...]
WEIGHTS: Alternatives = (
    *("model.safetensors", "model.safetensors.index.json"),
    *("pytorch_model.bin", "pytorch_model.bin.index.json"),
)
TOKENIZER: Alternatives = (
    *("tokenizer.json", "vocab.json", "vocab.txt"),
    *("tokenizer.model", "spiece.model", "sentencepiece.bpe.model"),
)
PROCESSOR: Alternatives = ("preprocessor_config.json", "processor_config.json")
#: Vocabularies and settings; everything else in a repository (other frameworks' weights, pictures, code) stays there.
_SETTINGS = {".json", ".txt", ".model", ".jinja"}
_FOREIGN = {"onnx", "openvino", "coreml", "runs", ".git", "assets"}
_SAFE = re.compile(r"model(-\d+-of-\d+)?\.safetensors")
_TORCH = re.compile(r"pytorch_model(-\d+-of-\d+)?\.bin")
_SECONDS = 10.0
_CHUNK = 2**22
#: Set to 1, it allows what a model's file names to be fetched.
ALLOW = "PLAIT_DOWNLOAD"


def locate(model: str, revision: str | None, needs: Sequence[Alternatives], *, download: bool = True) -> Path:
    """The folder that holds a model, local or in the hub's cache; the network is asked only when neither has it.

    Without ``download`` it is never asked, unless the environment allows it (``ALLOW``).

    Raises:
        ConfigError: no such folder, files missing in it, or not cached and the hub cannot be reached.
    """
    folder = Path(model).expanduser()
    if folder.is_dir():
        lacking = missing(folder, needs)
        if lacking:
            raise ConfigError(f"{model}: the folder lacks {'; '.join(lacking)}; expected a model as the hub has it")
        return folder
    if model.startswith((".", "~", "/")) or "\\" in model or model.count("/") > 1:
        raise ConfigError(f"{model}: no such folder; expected a folder or a hub name such as owner/name")
    result = _cached(model, revision)
    if result is not None and not missing(result, needs):
        return result
    if not download and os.environ.get(ALLOW) != "1":
        raise ConfigError(
            f"the model names '{model}' on the hub, which is not complete in the cache; nothing is fetched on the word of "
            f"a file: if you trust it, run the same again with {ALLOW}=1 in the environment"
        )
    result = _download(model, revision)
    lacking = missing(result, needs)
    if lacking:
        raise ConfigError(f"the hub's '{model}' lacks {'; '.join(lacking)}; name another model or revision")
    return result


def missing(folder: Path, needs: Sequence[Alternatives]) -> list[str]:
    """Which needs (names, or patterns of them) a folder does not meet, shards of split weights included."""
    lacking = [" or ".join(names) for names in needs if not any(any(folder.glob(name)) for name in names)]
    for index in sorted(folder.glob("*.index.json")):
        other = index.name.startswith("pytorch_model") and (folder / "model.safetensors").is_file()
        shards = set(json.loads(index.read_text(encoding="utf-8")).get("weight_map", {}).values())
        lacking += sorted(s for s in shards if not other and not (folder / s).is_file())
    return lacking


def has_safetensors(folder: Path) -> bool:
    """Whether the weights come without pickle."""
    return any(_SAFE.fullmatch(path.name) for path in folder.iterdir())


def is_local(model: str) -> bool:
    """Whether a model of the hub lies on this machine with its weights; nothing is asked of the network."""
    folder = _cached(model, None)
    return folder is not None and has_safetensors(folder)


def _cached(model: str, revision: str | None) -> Path | None:
    """The snapshot in the cache, possibly incomplete."""
    hub = need("huggingface_hub", "hub")
    for marker in ("config.json", "modules.json"):
        try:
            result = hub.try_to_load_from_cache(model, marker, revision=revision)
        except ValueError as error:
            raise ConfigError(f"'{model}': not a name on the hub ({reason(error)})") from error
        if isinstance(result, str):
            return Path(result).parent
    return None


def _download(model: str, revision: str | None) -> Path:
    """Fetch what is needed. The first question goes without retries, so that a missing network is told at once."""
    hub = need("huggingface_hub", "hub")
    try:
        info = hub.HfApi().model_info(model, revision=revision, timeout=_SECONDS)
        chosen = wanted([file.rfilename for file in info.siblings or []])
        return Path(hub.snapshot_download(model, revision=revision, allow_patterns=chosen))
    except Exception as error:
        at = f" at revision {revision}" if revision else ""
        cache = hub.constants.HF_HUB_CACHE
        raise ConfigError(
            f"'{model}'{at} is not complete in the cache {cache} and could not be fetched from the hub "
            f"({type(error).__name__}: {reason(error)}); connect once, or give a local folder as model"
        ) from error


def wanted(files: Iterable[str]) -> list[str]:
    """Files of a repository that are worth fetching: settings, vocabularies, and one set of weights per folder.

    Example:
        >>> wanted(["config.json", "model.safetensors", "pytorch_model.bin", "onnx/model.onnx", "run.py"])
        ['config.json', 'model.safetensors']
    """
    paths = [p for p in map(PurePosixPath, files) if not _FOREIGN & set(p.parts[:-1])]
    safe = {p.parent for p in paths if _SAFE.fullmatch(p.name)}
    kept = [
        p
        for p in paths
        if p.suffix in _SETTINGS or _SAFE.fullmatch(p.name) or (_TORCH.fullmatch(p.name) and p.parent not in safe)
    ]
    return [str(p) for p in kept]


def folder_digest(folder: Path) -> str:
    """Hash of the files that decide what a model in a local folder computes."""
    names = wanted(str(p.relative_to(folder).as_posix()) for p in sorted(folder.rglob("*")) if p.is_file())
    stats = [(name, (folder / name).stat()) for name in names]
    return _digest(folder, tuple((name, s.st_size, s.st_mtime_ns) for name, s in stats))


@functools.lru_cache(maxsize=64)
def _digest(folder: Path, files: tuple[tuple[str, int, int], ...]) -> str:
    """Content hash; sizes and times are only there so that an altered folder is read again."""
    digest = hashlib.blake2b(digest_size=16)
    for name, size, _ in files:
        digest.update(f"{name} {size} ".encode())
        with (folder / name).open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
    return digest.hexdigest()
