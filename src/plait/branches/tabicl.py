"""TabICL: a tabular foundation model that answers in context."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from plait.base.errors import ModelError, need
from plait.branches.in_context import InContext, read_plain


@dataclasses.dataclass(eq=False)
class TabICL(InContext):
    """A pretrained transformer that is shown the training rows and answers the others in one pass; nothing is trained.

    It sees the table's columns (nulls at the median, a flag where a modality is absent) and 30 components of each embedding.

    Formula: p(y | x) = transformer((x_1, y_1), ..., (x_n, y_n), x).

    Shape: columns (n, k), tokens (B, T, D_m); out (B, out_dim).

    Source: Qu et al. 2025, TabICL: A Tabular Foundation Model for In-Context Learning on Large Data; TabICLv2, 2026.

    Use when: a few thousand rows, the table carries the answer, and an accelerator or patience is there.

    Not when: answers must be fast: every question passes all training rows through the model.

    Options: ``weights_from``: a folder or file with the checkpoint, or a name on the hub (``jingang/TabICL``); ``components``
    of an embedding; ``estimators``: shuffled views that are averaged; ``most_rows`` that a member is shown.

    Example:
        >>> TabICL(weights_from="weights/").options()["estimators"]
        4
    """

    extra: ClassVar[str | None] = "tabicl"
    package: ClassVar[str | None] = "tabicl"
    licence: ClassVar[str] = "BSD-3-Clause (code and weights)"
    hub: ClassVar[str] = "jingang/TabICL"
    files: ClassVar[tuple[str, str]] = ("tabicl-classifier-v2-20260212.ckpt", "tabicl-regressor-v2-20260212.ckpt")

    def most_classes(self, path: Path) -> int:
        held = read_plain(self.name(), path)
        config = held.get("config") if isinstance(held, Mapping) else None
        if not isinstance(config, Mapping) or not isinstance(held.get("state_dict"), Mapping):
            raise ModelError(
                f"branch {self.name()}: {path} is no checkpoint of TabICL (no config and weights); expected {self.files[0]}"
            )
        return int(config.get("max_classes", self.limits[0]))

    def estimator(self, path: Path, *, regression: bool, seed: int, first: int) -> Any:
        """The package's own, which loads nothing but this file."""
        package = need("tabicl", "tabicl")
        kind = package.TabICLRegressor if regression else package.TabICLClassifier
        settings = {"n_estimators": self.estimators, "random_state": seed, "device": "cpu"}
        read_plain(self.name(), path)
        return kind(model_path=str(path), allow_auto_download=False, **settings)
