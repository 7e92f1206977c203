"""One linear map over all modalities, solved under a penalty that held-out rows choose."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from plait.base.branch import FittedBranch, FoldRows
from plait.base.checks import Count
from plait.base.errors import ModelError
from plait.base.inputs import Inputs
from plait.base.machine import blas_on_one_core
from plait.branches.solved import matrix, shares, solve, widths
from plait.networks.linear import LinearNetwork

Array = NDArray[Any]
#: Rows times features times outputs beyond which the map is trained in the loop, as ``linear``.
MOST = 10_000_000


@dataclasses.dataclass(eq=False)
class Ridge(FittedBranch):
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

    def __post_init__(self) -> None:
        super().__post_init__()
        self.network: LinearNetwork | None = None

    def instead(self, rows: int, features: int, outputs: int, learning: bool) -> str | None:
        """``linear`` where solving takes long, or encoders learn, which it would not see."""
        return "linear" if learning or rows * features * outputs > MOST else None

    def declines(self, rows: FoldRows) -> str | None:
        """Where all encoders learn."""
        return None if rows.inputs.tokens else "all encoders learn: there is nothing that it could see"

    def fit(self, rows: FoldRows) -> None:
        """Solve for one strength after another, until the rows ``valid`` gain no more."""
        dims = widths(rows.inputs)
        names, share = sorted(dims), shares(dims)
        x, held = (matrix(rows.inputs.take(places), names) * share for places in (rows.fold, rows.valid))
        with blas_on_one_core():
            (weights, bias), _ = solve(rows, x, held, self.steps)
        self.network = LinearNetwork(dims, rows.out_dim)
        self.network.linear.weight.data = torch.from_numpy(np.ascontiguousarray(weights.T * share))
        self.network.linear.bias.data = torch.from_numpy(bias)

    def outputs(self, inputs: Inputs) -> Tensor:
        assert self.network is not None, "not fitted"
        dims = widths(inputs)
        if sum(dims.get(name, 0) for name in self.network.names) != self.network.linear.in_features:
            raise ModelError("branch ridge: it learned other features than these; copy the folder again")
        with torch.inference_mode():
            out: Tensor = self.network(inputs.unfolded().tokens)
        return out

    def state(self) -> tuple[dict[str, Array], dict[str, Any]]:
        assert self.network is not None, "not fitted"
        arrays = {name: value.numpy() for name, value in self.network.state_dict().items()}
        return arrays, {"names": self.network.names}

    def load_state(self, arrays: Mapping[str, Array], facts: Mapping[str, Any]) -> None:
        weight, names = arrays["linear.weight"], facts.get("names")
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ModelError(
                f"branch ridge: expected the names of modalities, found {names!r:.60}; copy the folder again"
            )
        self.network = LinearNetwork({"": weight.shape[1]}, len(weight))
        self.network.names = list(names)
        self.network.load_state_dict({name: torch.from_numpy(np.ascontiguousarray(a)) for name, a in arrays.items()})
