"""TabPFN: a tabular foundation model that answers in context."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, ClassVar

from plait.base.errors import need
from plait.branches.in_context import InContext, read_plain


@dataclasses.dataclass(eq=False)
class TabPFN(InContext):
    """A transformer pretrained on made-up tables that is shown the training rows and answers the others; nothing is trained.

    Formula: p(y | x) = transformer((x_1, y_1), ..., (x_n, y_n), x).

    Shape: columns (n, k), tokens (B, T, D_m); out (B, out_dim).

    Source: Hollmann et al. 2025, Accurate predictions on small data with a tabular foundation model, Nature.

    Use when: up to 10,000 rows of plain columns, and its licence suits.

    Not when: answers must be fast, or its weights' licence does not allow what they are for.

    Options: as those of ``tabicl``; version 2 of the weights is free with attribution, later ones are not for commercial use.

    Example:
        >>> TabPFN(weights_from="weights/").facts()["licence"]
        'Prior Labs License (Apache-2.0 with attribution); weights after version 2: not commercial'
    """

    package: ClassVar[str | None] = "tabpfn"
    licence: ClassVar[str] = "Prior Labs License (Apache-2.0 with attribution); weights after version 2: not commercial"
    hub: ClassVar[str] = "Prior-Labs/TabPFN-v2-clf"
    files: ClassVar[tuple[str, str]] = ("tabpfn-v2-classifier-finetuned-zk73skhh.ckpt", "tabpfn-v2-regressor.ckpt")

    def estimator(self, path: Path, *, regression: bool, seed: int, first: int) -> Any:
        package = need("tabpfn", None)
        kind = package.TabPFNRegressor if regression else package.TabPFNClassifier
        read_plain(self.name(), path)
        return kind(
            model_path=str(path),
            n_estimators=self.estimators,
            categorical_features_indices=list(range(first)),
            random_state=seed,
            device="cpu",
        )
