"""One linear map over all modalities, solved under a penalty that held-out rows choose."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from plait.base.branch import FoldRows
from plait.base.checks import Count
from plait.base.machine import blas_on_one_core
from plait.branches.solved import SolvedBranch, matrix, shares, solve, widths
from plait.networks.linear import LinearNetwork

Array = NDArray[Any]
#: Rows times features times outputs beyond which the map is trained in the loop, as ``linear``.
MOST = 10_000_000


@dataclasses.dataclass(eq=False)
class Ridge(SolvedBranch):
    """One linear map over all features of all modalities: ridge regression, or of classes and labels logistic regression.

    It is solved, not trained step by step, under the penalty by which held-out rows are answered best. Each modality has the
    same say: a feature of a wide one is held back more, as one of many. Of very many rows, features and classes, or where
    encoders learn too, ``linear`` takes its place.

    Formula: out = b + sum over present m of W_m x_m; argmin sum_i w_i loss(out_i, y_i) + sum_m D_m |W_m|^2 / (2 strength).

    Shape: tokens (B, T, D_m) each, mean tokens are taken; out (B, out_dim).

    Source: Hoerl and Kennard 1970, Ridge Regression; of classes and labels le Cessie and van Houwelingen 1992; blocks of one
    variance each as in Escofier and Pages 1994, Multiple Factor Analysis.

    Use when: rows are few, or a number follows from a sum of columns.

    Not when: columns act together, as in an XOR.

    Options: ``steps`` of the solver for each strength, of classes and labels.

    Example:
        >>> Ridge().sources(["text", "image"])
        {'ridge': ('text', 'image')}
    """

    steps: Count = 30

    def instead(self, rows: int, features: int, outputs: int, learning: bool) -> str | None:
        """``linear`` where solving takes long, or encoders learn, which it would not see."""
        return "linear" if learning or rows * features * outputs > MOST else None

    def fit(self, rows: FoldRows) -> None:
        """Solve for one strength after another, until the rows ``valid`` gain no more."""
        dims = widths(rows.inputs)
        names, share = sorted(dims), shares(dims)
        x, held = (matrix(rows.inputs.take(places), names) * share for places in (rows.fold, rows.valid))
        with blas_on_one_core():
            (weights, bias), _ = solve(rows, x, held, self.steps)
        network = LinearNetwork(dims, rows.out_dim)
        network.linear.weight.data = torch.from_numpy(np.ascontiguousarray(weights.T * share))
        network.linear.bias.data = torch.from_numpy(bias)
        self.take(network, names, len(share))

    def load_state(self, arrays: Mapping[str, Array], facts: Mapping[str, Any]) -> None:
        weight, names = arrays["linear.weight"], self.named(facts)
        network = LinearNetwork({"": weight.shape[1]}, len(weight))
        network.names = list(names)
        network.load_state_dict({name: torch.from_numpy(np.ascontiguousarray(a)) for name, a in arrays.items()})
        self.take(network, names, weight.shape[1])
