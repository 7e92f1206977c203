"""Branches that are solved, not trained: all features beside each other, one strength of the penalty after the other."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from plait.base.branch import FittedBranch, FoldRows
from plait.base.errors import ModelError
from plait.base.inputs import Inputs
from plait.branches.penalised import Map, least_squares, logistic
from plait.networks.tasks import LOSSES

Array = NDArray[Any]
#: Inverse strengths of the penalty, the strictest first; the first that held-out rows do not gain by is the last one tried.
STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0, 1000.0)
#: How far log-odds move for a share that is one larger; more than 12 was too sure of too few rows (docs/branches.md).
STRETCHES = (4.0, 2.0, 3.0, 6.0, 8.0, 12.0)


@dataclasses.dataclass(eq=False)
class SolvedBranch(FittedBranch):
    """A map over all frozen features, as a module; a subclass solves it, and reads it again from its arrays."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.network: nn.Module | None = None
        self.names: list[str] = []
        self.seen = 0

    def take(self, network: nn.Module, names: Sequence[str], seen: int) -> None:
        """Answer by ``network``, from tokens of these modalities to raw outputs; it learned from ``seen`` features of theirs."""
        self.network, self.names, self.seen = network, list(names), seen

    def declines(self, rows: FoldRows) -> str | None:
        """Where all encoders learn."""
        return None if rows.inputs.tokens else "all encoders learn: there is nothing that it could see"

    def outputs(self, inputs: Inputs) -> Tensor:
        assert self.network is not None, "not fitted"
        dims = widths(inputs)
        if sum(dims.get(name, 0) for name in self.names) != self.seen:
            raise ModelError(f"branch {self.name()}: it learned other features than these; copy the folder again")
        with torch.inference_mode():
            out: Tensor = self.network(inputs.unfolded().tokens)
        return out

    def state(self) -> tuple[dict[str, Array], dict[str, Any]]:
        assert self.network is not None, "not fitted"
        return {name: value.numpy() for name, value in self.network.state_dict().items()}, {"names": self.names}

    def named(self, facts: Mapping[str, Any]) -> list[str]:
        """The modalities that a stored branch sees.

        Raises:
            ModelError: they are no names.
        """
        names = facts.get("names")
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ModelError(
                f"branch {self.name()}: expected the names of modalities, found {names!r:.60}; copy the folder again"
            )
        return names


def widths(inputs: Inputs) -> dict[str, int]:
    """Modality, or pair of them -> features."""
    return {name: tokens.dim for name, tokens in inputs.unfolded().tokens.items()}


def shares(dims: Mapping[str, int]) -> Array:
    """What each feature is multiplied by (D,), so that all modalities vary alike; modalities in the order of their names."""
    return np.concatenate([np.full(dims[name], dims[name] ** -0.5, np.float32) for name in sorted(dims)])


def matrix(inputs: Inputs, names: list[str]) -> Array:
    """All features of the rows beside each other (n, D); what is absent is zero, its mean."""
    every = inputs.unfolded().tokens
    return np.hstack([every[name].pooled().float().numpy() for name in names])


def solve(rows: FoldRows, x: Array, held: Array, steps: int) -> tuple[Map, float]:
    """Weights (D, out_dim) and biases (out_dim,) over features x of the rows ``fold``, and their loss on the rows ``valid``.

    One strength is tried after another, until those of ``held`` gain no more. Without such rows the strength is 1.
    """
    found: Map | None = None
    best = np.inf
    for weights, bias in _path(rows, x, steps):
        if weights.shape[1] < rows.out_dim:  # log-odds of the second of two classes
            weights, bias = np.pad(weights, ((0, 0), (1, 0))), np.pad(bias, (1, 0))
        weights, bias = weights.astype(np.float32), bias.astype(np.float32)
        loss = held_out_loss(rows, torch.from_numpy(held @ weights + bias))
        if found is not None and loss >= best:
            break
        found, best = (weights, bias), loss
        if rows.stop() or not len(rows.valid):
            break
    assert found is not None
    return found, best


def by_squares(rows: FoldRows, x: Array, held: Array) -> tuple[Map, float]:
    """The same by least squares, for all strengths at once; the shares of classes and labels are fitted, and made log-odds.

    Formula: ``log-odds of the prior + t (share - prior)``, t of ``STRETCHES`` chosen by the rows ``valid``, too.

    Source: Suykens and Vandewalle 1999, Least Squares Support Vector Machine Classifiers.
    """
    y, weight = rows.target[rows.fold].numpy(), rows.weight[rows.fold].numpy().astype(np.float64)
    goal = np.eye(rows.out_dim)[y] if rows.task == "classification" else y.astype(np.float64)
    solved, prior = least_squares(x, goal, weight), np.average(goal, axis=0, weights=weight).clip(1e-4, 1 - 1e-4)
    odds = {"classification": np.log(prior), "multilabel": np.log(prior / (1 - prior))}.get(rows.task, prior)
    found: tuple[float, Map] | None = None
    for strength in STRENGTHS if len(rows.valid) else (1.0,):
        weights, bias = solved(strength)
        answered = held @ weights
        for stretch in (1.0,) if rows.task == "regression" else STRETCHES if len(rows.valid) else STRETCHES[:1]:
            moved = odds + stretch * (bias - prior)
            loss = held_out_loss(rows, torch.from_numpy((stretch * answered + moved).astype(np.float32)))
            if found is None or loss < found[0]:
                found = loss, ((stretch * weights).astype(np.float32), moved.astype(np.float32))
    assert found is not None
    return found[1], found[0]


def _path(rows: FoldRows, x: Array, steps: int) -> Iterator[Map]:
    """Weights and biases for one strength after the other."""
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
        how: dict[str, Any] = {"strength": strength, "steps": steps, "together": together}
        known = logistic(x, goal, weight=weight, start=known, **how)
        yield known


def held_out_loss(rows: FoldRows, out: Tensor) -> float:
    """The weighted mean loss of the rows ``valid`` whose raw outputs are ``out``."""
    target, weight = rows.target[rows.valid], rows.weight[rows.valid]
    if rows.task == "classification":
        losses = functional.cross_entropy(out, target, reduction="none")
    elif rows.task == "multilabel":
        losses = functional.binary_cross_entropy_with_logits(out, target, reduction="none").mean(1)
    else:
        losses = LOSSES[rows.loss](out, target, reduction="none").mean(1)
    return float((losses * weight).sum() / weight.sum().clamp_min(1e-12))
