"""A model of sentence-transformers: what may be loaded, how wide it is, how its batches pass as plain arrays."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from plait.encoders._hub import by_length
from plait.errors import ConfigError
from plait.precision import autocast
from plait.tokens import Tokens

#: Where the classes of its own modules live; others would be code that the model's files choose.
_OWN = "sentence_transformers."
_POOLING_FLAGS = "pooling_mode_"


def check_modules(modules: list[dict[str, Any]], model: str) -> None:
    """Refuse a model that asks for classes of somebody else.

    Raises:
        ConfigError: it does.
    """
    foreign = [str(m.get("type")) for m in modules if not str(m.get("type")).startswith(_OWN)]
    if foreign:
        raise ConfigError(
            f"'{model}' needs code of its own ({', '.join(foreign)}), which plait never runs; name another model"
        )


def told_width(modules: list[tuple[str, dict[str, Any]]]) -> int | None:
    """Width by the settings of (type, settings) in order, or None where they do not tell it.

    Example:
        >>> told_width([("x.Pooling", {"word_embedding_dimension": 4, "pooling_mode_mean_tokens": True})])
        4
    """
    for kind, settings in reversed(modules):
        last = kind.rpartition(".")[2]
        if last in ("Normalize", "Dropout", "LayerNorm"):
            continue
        if last == "Dense":
            width = settings.get("out_features")
        elif last == "Pooling":
            width = settings.get("embedding_dimension", settings.get("word_embedding_dimension"))
            mode = settings.get("pooling_mode")
            flags = sum(1 for key, on in settings.items() if key.startswith(_POOLING_FLAGS) and on is True)
            modes = flags if mode is None else 1 if isinstance(mode, str) else len(mode)
            width = width * max(1, modes) if isinstance(width, int) else None
        else:
            width = None
        return width if isinstance(width, int) else None
    return None


def module_folder(folder: Path, module: Mapping[str, Any]) -> Path:
    """Where a module's settings lie."""
    return folder / str(module.get("path", ""))


def as_arrays(features: Mapping[str, Any], rows: int, limit: int = 0) -> dict[str, np.ndarray]:
    """A tokenised batch as arrays (n, ...); bags of tokens laid end to end are padded, cut to ``limit`` and counted."""
    found = {key: value.numpy() for key, value in features.items() if isinstance(value, Tensor)}
    if "offsets" not in found:
        return {key: value for key, value in found.items() if value.ndim > 0 and len(value) == rows}
    ends = np.append(found["offsets"][1:], len(found["input_ids"]))
    lengths = np.minimum(ends - found["offsets"], limit or len(found["input_ids"]))
    ids = np.zeros((rows, max(1, int(lengths.max()))), np.int64)
    for row, (start, length) in enumerate(zip(found["offsets"], lengths, strict=True)):
        ids[row, :length] = found["input_ids"][start : start + length]
    return {"input_ids": ids, "bag_length": lengths[:, None].astype(np.int64)}


def as_features(batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Back from ``as_arrays``."""
    if "bag_length" not in batch:
        return dict(batch)
    lengths = batch["bag_length"][:, 0]
    ids = batch["input_ids"]
    kept = torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]
    return {"input_ids": ids[kept], "offsets": lengths.cumsum(0) - lengths}


class SentenceNetwork(nn.Module):
    """A sentence-transformers model as a network of ours."""

    def __init__(self, network: nn.Module) -> None:
        """``network`` gives ``sentence_embedding``."""
        super().__init__()
        self.network = network

    def forward(self, batch: Mapping[str, Tensor]) -> Tokens:
        """One token per row."""
        return Tokens.of_vectors(by_length(batch, self._embedded))

    def _embedded(self, batch: Mapping[str, Tensor]) -> Tensor:
        with autocast(next(iter(batch.values())).device):
            return cast(Tensor, self.network(as_features(batch))["sentence_embedding"]).float()


def transformer_within(whole: nn.Module) -> nn.Module:
    """The model of transformers in a ``SentenceNetwork``: of the first module, under the name that its version gives it."""
    first: Any = whole.network[0]  # type: ignore[index]  # a sequence of modules
    found = getattr(first, "model", None) if isinstance(getattr(first, "model", None), nn.Module) else first.auto_model
    return cast(nn.Module, found)
