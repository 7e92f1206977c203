"""TabDPT: a tabular foundation model that answers in context."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, ClassVar

from plait.base.errors import need
from plait.branches.in_context import InContext


@dataclasses.dataclass(eq=False)
class TabDPT(InContext):
    """A transformer pretrained on real tables that is shown the training rows nearest to a question; nothing is trained.

    Formula: p(y | x) = transformer((x_i, y_i) for the nearest i, x).

    Shape: columns (n, k), tokens (B, T, D_m); out (B, out_dim).

    Source: Ma et al. 2024, TabDPT: Scaling Tabular Foundation Models on Real Data, arXiv:2410.18164.

    Use when: as for ``tabicl``; weights are safetensors.

    Not when: answers must be fast.

    Options: as those of ``tabicl``; there is one view, so ``estimators`` changes nothing.

    Example:
        >>> TabDPT(weights_from="weights/").facts()["licence"]
        'Apache-2.0 (code); weights: as their card says'
    """

    package: ClassVar[str | None] = "tabdpt"
    licence: ClassVar[str] = "Apache-2.0 (code); weights: as their card says"
    hub: ClassVar[str] = "Layer6/TabDPT"
    files: ClassVar[tuple[str, str]] = ("tabdpt1_1.safetensors", "tabdpt1_1.safetensors")

    def estimator(self, path: Path, *, regression: bool, seed: int, first: int) -> Any:
        """The package's own, from this file; it is asked once, without shuffling."""
        package = need("tabdpt", None)
        kind = package.TabDPTRegressor if regression else package.TabDPTClassifier
        return kind(model_weight_path=str(path), device="cpu", use_flash=False, compile=False)

    def values(self, model: Any, x: Any) -> Any:
        """One view, so that the same question has the same answer."""
        return model.predict(x, n_ensembles=1)
