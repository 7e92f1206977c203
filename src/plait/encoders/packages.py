"""Encoders that only compute, sequences filled up and pooled, and the files of installed packages that hold weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from plait.base.encoder import Encoder
from plait.base.errors import MissingDependencyError, PlaitError
from plait.base.parts import sha256_of
from plait.base.tokens import Tokens


class Computed(Encoder):
    """Base of the encoders whose ``prepare`` already computes the vectors ``x`` (n, D)."""

    def module(self) -> nn.Module:
        return Given()


class Given(nn.Module):
    """Passes vectors on: ``x`` (B, D) -> one token per row."""

    def forward(self, batch: Mapping[str, Tensor]) -> Tokens:
        return Tokens.of_vectors(batch["x"].float())


def filled(parts: Sequence[Any], dtype: Any, shape: tuple[int, ...] = ()) -> tuple[np.ndarray, np.ndarray]:
    """Sequences (T, *shape) of cells as one array (n, longest, *shape) with zeros behind, and their lengths int32 (n, 1)."""
    length = np.array([[len(part)] for part in parts], dtype=np.int32).reshape(-1, 1)
    result = np.zeros((len(parts), length.max(initial=1), *shape), dtype)
    for row, part in enumerate(parts):
        result[row, : len(part)] = part
    return result, length


def masked_max(x: Tensor, mask: Tensor) -> Tensor:
    """Largest over the tokens that are there: x (B, T, D), mask (B, T) -> (B, D)."""
    return x.masked_fill(~mask.unsqueeze(-1), torch.finfo(x.dtype).min).amax(1)


def mean_and_max(tokens: Tokens) -> Tensor:
    """Mean beside the largest over the tokens: (B, 2 D)."""
    return torch.cat([tokens.pooled(), masked_max(tokens.x, tokens.mask)], 1)


class Pooled(nn.Module):
    """A network that gives several tokens, made one vector per row."""

    def __init__(self, network: nn.Module, pool: Callable[[Tokens], Tensor] = Tokens.pooled) -> None:
        super().__init__()
        self.network, self.pool = network, pool

    def forward(self, batch: Mapping[str, Tensor]) -> Tokens:
        return Tokens.of_vectors(self.pool(self.network(batch)))


def package_file(package: str, file: str, sha256: str, install: str) -> Path:
    """The ``file`` inside the installed ``package``.

    Args:
        package: its name; it is not imported, so what it would drag in does not matter.
        file: path inside the package.
        sha256: hex digest of the content that plait knows.
        install: what to tell pip to get it.

    Raises:
        MissingDependencyError: the package is not installed.
        PlaitError: the file is not there, or is another one.
    """
    try:
        spec = find_spec(package)
    except ModuleNotFoundError:  # of a package within another: that one
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise MissingDependencyError(f"the package '{package}' is needed and not installed; run: pip install {install}")
    path = Path(spec.submodule_search_locations[0]) / file
    if not path.is_file():
        raise PlaitError(f"{path}: not there; another version of '{package}'? run: pip install {install}")
    check_content(sha256_of(path), sha256, str(path), install)
    return path


def check_content(result: str, expected: str, where: str, install: str) -> None:
    """Refuse content with another digest."""
    if result != expected:
        raise PlaitError(
            f"{where}: not the file that plait knows (sha256 {result[:12]}..., expected {expected[:12]}...); "
            f"run: pip install --force-reinstall {install}"
        )
