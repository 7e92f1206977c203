"""One linear map over all modalities, solved under a penalty that held-out rows choose."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from plait.base.branch import FittedBranch, FoldRows
from plait.base.checks import Count
from plait.base.errors import ModelError
from plait.base.inputs import Inputs
from plait.base.machine import blas_on_one_core
from plait.branches.penalised import least_squares, logistic
from plait.networks.linear import LinearNetwork
from plait.networks.tasks import LOSSES

Array = NDArray[Any]
#: Inverse strengths of the penalty, the strictest first; the first that held-out rows do not gain by is the last one tried.
STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0, 1000.0)
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
        with blas_on_one_core():
            self._fit(rows)

    def _fit(self, rows: FoldRows) -> None:
        dims = {name: tokens.dim for name, tokens in rows.inputs.unfolded().tokens.items()}
        held, best, share = rows.inputs.take(rows.valid), np.inf, _shares(dims)
        for weights, bias in self._path(rows, dims):
            network = LinearNetwork(dims, rows.out_dim)
            if weights.shape[1] < rows.out_dim:  # log-odds of the second of two classes
                weights, bias = np.pad(weights, ((0, 0), (1, 0))), np.pad(bias, (1, 0))
            network.linear.weight.data = torch.from_numpy(np.ascontiguousarray(weights.T * share, np.float32))
            network.linear.bias.data = torch.from_numpy(bias.astype(np.float32))
            loss = _loss(rows, _answered(network, held))
            if self.network is not None and loss >= best:
                break
            self.network, best = network, loss
            if rows.stop() or not len(rows.valid):
                break

    def _path(self, rows: FoldRows, dims: Mapping[str, int]) -> Iterator[tuple[Array, Array]]:
        """Weights (D, k) and biases (k,) for one strength after the other."""
        x = _matrix(rows.inputs.take(rows.fold), sorted(dims)) * _shares(dims)
        y, weight = rows.target[rows.fold].numpy(), rows.weight[rows.fold].numpy().astype(np.float64)
        strengths = STRENGTHS if len(rows.valid) else (1.0,)
        if rows.task == "regression":
            yield from map(least_squares(x, y, weight), strengths)
            return
        together = rows.task == "classification" and rows.out_dim > 2
        goal = np.eye(rows.out_dim, dtype=np.float32)[y] if rows.task == "classification" else y.astype(np.float32)
        goal = goal[:, 1:] if rows.task == "classification" and not together else goal
        share = np.average(goal, axis=0, weights=weight).clip(1e-4, 1 - 1e-4)
        known = np.zeros((x.shape[1], goal.shape[1])), np.log(share) if together else np.log(share / (1 - share))
        for strength in strengths:
            how: dict[str, Any] = {"strength": strength, "steps": self.steps, "together": together}
            known = logistic(x, goal, weight=weight, start=known, **how)
            yield known

    def outputs(self, inputs: Inputs) -> Tensor:
        assert self.network is not None, "not fitted"
        widths = {name: tokens.dim for name, tokens in inputs.unfolded().tokens.items()}
        if sum(widths.get(name, 0) for name in self.network.names) != self.network.linear.in_features:
            raise ModelError("branch ridge: it learned other features than these; copy the folder again")
        return _answered(self.network, inputs)

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


def _shares(dims: Mapping[str, int]) -> Array:
    """What each feature is multiplied by (D,), so that all modalities vary alike."""
    return np.concatenate([np.full(dims[name], dims[name] ** -0.5, np.float32) for name in sorted(dims)])


def _matrix(inputs: Inputs, names: list[str]) -> Array:
    """All features of the rows beside each other (n, D); what is absent is zero, its mean."""
    every = inputs.unfolded().tokens
    return np.hstack([every[name].pooled().float().numpy() for name in names])


def _answered(network: LinearNetwork, inputs: Inputs) -> Tensor:
    with torch.inference_mode():
        out: Tensor = network(inputs.unfolded().tokens)
    return out


def _loss(rows: FoldRows, out: Tensor) -> float:
    """The weighted mean loss of the held-out rows."""
    target, weight = rows.target[rows.valid], rows.weight[rows.valid]
    if rows.task == "classification":
        losses = functional.cross_entropy(out, target, reduction="none")
    elif rows.task == "multilabel":
        losses = functional.binary_cross_entropy_with_logits(out, target, reduction="none").mean(1)
    else:
        losses = LOSSES[rows.loss](out, target, reduction="none").mean(1)
    return float((losses * weight).sum() / weight.sum().clamp_min(1e-12))
