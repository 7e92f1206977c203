"""Two modalities of one encoder compared: how far apart they lie, and in what they agree."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from plait.base.encoder import Encoder
from plait.base.inputs import Inputs
from plait.base.tokens import Tokens
from plait.encoders.scale import Scaler
from plait.store.model_files import under

Array = NDArray[Any]
#: Directions that are kept of the difference and of the product.
COMPONENTS = 30
#: A pair is kept if a ridge on both modalities' features gains this share of its error by it, on rows that were left out.
GAIN = 0.03
#: Rows on which that is tried, at most and at least; classes that are told apart in it; pairs that are kept.
TRIED_ROWS, FEWEST, CLASSES, MOST = 2048, 100, 8, 3
#: Penalties of the ridge, relative to the rows.
PENALTIES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)


@dataclasses.dataclass(frozen=True)
class Pair:
    """Compares two modalities that one encoder made, row by row; what it gives is absent where one of them is.

    Formula: (cos(a, b), components of |a - b|, components of a * b), of the encoder's own features at length one.

    Shape: tokens (B, T, D) of both, scaled; out (B, 1, 1 + 2 * 30) at most.

    Source: Conneau et al. 2017, Supervised Learning of Universal Sentence Representations (InferSent), section 3.1.

    Attributes:
        parts: the two modalities.
        scalers: of the two, as they were scaled; what is compared is what the encoder gave, as far as it can be got back.
        measures: of cosine, difference and product.
    """

    parts: tuple[str, str]
    scalers: tuple[Scaler, Scaler]
    measures: tuple[Scaler, Scaler, Scaler]

    @classmethod
    def fit(cls, parts: tuple[str, str], scalers: Mapping[str, Scaler], inputs: Inputs) -> Pair:
        """Learn the directions from the training rows, scaled."""
        pair = cls(parts, (scalers[parts[0]], scalers[parts[1]]), tuple(Scaler(COMPONENTS) for _ in range(3)))  # type: ignore[arg-type]
        compared, present = pair._compared(inputs.tokens)
        for scaler, values in zip(pair.measures, compared, strict=True):
            scaler.fit(Tokens.of_vectors(values, present))
        return pair

    @property
    def dim(self) -> int:
        return sum(scaler.dim for scaler in self.measures)

    def __call__(self, tokens: Mapping[str, Tokens]) -> Tokens:
        compared, present = self._compared(tokens)
        if not bool(present.any()):
            return Tokens.of_vectors(torch.zeros(len(present), self.dim, device=present.device), present)
        vectors = [scaler(Tokens.of_vectors(x)).x[:, 0] for scaler, x in zip(self.measures, compared, strict=True)]
        return Tokens.of_vectors(torch.cat(vectors, 1), present)

    def _compared(self, tokens: Mapping[str, Tokens]) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor]:
        """Cosine, difference and product of all rows, and (B,) bool: both are present."""
        there = [tokens[name].present for name in self.parts]
        a, b = (
            functional.normalize(scaler.undone(tokens[name].pooled()[:, : scaler.dim].float()), dim=1)
            for name, scaler in zip(self.parts, self.scalers, strict=True)
        )
        return ((a * b).sum(1, keepdim=True), (a - b).abs(), a * b), there[0] & there[1]

    def state(self) -> dict[str, Tensor]:
        return {f"{place}.{k}": v for place, scaler in enumerate(self.measures) for k, v in scaler.state().items()}

    @classmethod
    def restore(cls, parts: Sequence[str], scalers: Mapping[str, Scaler], state: Mapping[str, Any]) -> Pair:
        """Rebuild a pair from saved arrays; ``scalers``: of all modalities."""
        one, two, three = (Scaler.restore(under(state, f"{place}.")) for place in range(3))
        first, second = parts
        return cls((first, second), (scalers[first], scalers[second]), (one, two, three))


def fit_pairs(
    encoders: Mapping[str, Encoder],
    scalers: Mapping[str, Scaler],
    inputs: Inputs,
    target: Array,
    groups: Array | None = None,
) -> dict[str, Pair]:
    """The pairs that are worth keeping, by name, the best first.

    Args:
        encoders: modality -> encoder, of those that may be compared.
        scalers: of frozen modalities.
        inputs: training rows, scaled.
        target: (n, k) numbers to be told by a linear fit.
        groups: (n,) integers; rows of one group are left out together. None: each row by itself.
    """
    kinds: dict[str, list[str]] = {}
    for name, encoder in encoders.items():
        if name in scalers:
            kinds.setdefault(encoder.fingerprint(), []).append(name)
    gains, pairs = {}, {}
    for first, second in (parts for names in kinds.values() for parts in combinations(names, 2)):
        name = f"{first}*{second}"
        rows = _tried(inputs.present[first] & inputs.present[second])
        if rows is None or name in inputs.present or scalers[first].width != scalers[second].width:
            continue
        pair = Pair.fit((first, second), scalers, inputs)
        tokens = {n: inputs.tokens[n].take(rows) for n in (first, second)}
        own = torch.cat([t.pooled() for t in tokens.values()], 1).double().numpy()
        compared = pair(tokens).pooled().double().numpy()
        together = None if groups is None else groups[rows.numpy()]
        gains[name] = ridge_gain(own, np.hstack([own, compared]), target[rows.numpy()], together)
        pairs[name] = pair
    kept = sorted((name for name in pairs if gains[name] > GAIN), key=lambda name: -gains[name])
    return {name: pairs[name] for name in kept[:MOST]}


def _tried(there: Tensor) -> Tensor | None:
    """Places of evenly spread rows, None of too few."""
    rows = there.nonzero()[:, 0]
    return None if len(rows) < FEWEST else rows[:: -(-len(rows) // TRIED_ROWS)]


def ridge_gain(before: Array, after: Array, y: Array, groups: Array | None = None) -> float:
    """The share of a ridge's error on features ``before`` that is gone with ``after``."""
    return 1 - ridge_error(after, y, groups) / max(ridge_error(before, y, groups), 1e-12)


def ridge_error(x: Array, y: Array, groups: Array | None = None) -> float:
    """Mean squared error of a ridge on rows left out one by one, or group by group, with the best of a few penalties.

    Formula: of left-out rows g: (I - H_gg)^-1 r_g, with H the matrix from targets to answers and r = y - H y.

    Shape: x (n, D), y (n, k), groups (n,) integers.

    Source: Golub, Heath and Wahba 1979, Generalized Cross-Validation: the formula of the left-out residual.
    """
    x, y = x - x.mean(0), y - y.mean(0)
    values, directions = np.linalg.eigh(x.T @ x)
    kept = values > 1e-9 * max(float(values[-1]), 1e-300)
    values, scores = values[kept], x @ directions[:, kept]
    explained = scores.T @ y
    several = () if groups is None else _several(groups)
    shrinkings = values[:, None] + np.array(PENALTIES) * len(x)  # (d, penalties)
    answers = scores @ (explained[:, None] / shrinkings[:, :, None]).reshape(len(values), len(PENALTIES) * y.shape[1])
    residuals = y[:, None] - answers.reshape(len(x), len(PENALTIES), y.shape[1])
    seens = 1 / len(x) + scores**2 @ (1 / shrinkings)
    errors = []
    for shrunk, residual, seen in zip(shrinkings.T, residuals.swapaxes(0, 1), seens.T, strict=True):
        left_out = residual / np.maximum(1 - seen, 1e-3)[:, None]
        for rows in several:
            left_out[rows] = _without_group(scores[rows], shrunk, residual[rows], len(x))
        errors.append(float((left_out**2).mean()))
    return min(errors)


def _several(groups: Array) -> list[Array]:
    """The places of each group that has more rows than one."""
    order = np.argsort(groups, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(groups[order])) + 1)
    return [rows for rows in parts if len(rows) > 1]


def _without_group(scores: Array, shrunk: Array, residual: Array, rows: int) -> Array:
    """Residuals of a group's rows where none of them was learned from; ``rows`` are those of all groups."""
    seen = 1 / rows + (scores / shrunk) @ scores.T
    result: Array = np.linalg.solve((1 + 1e-9) * np.eye(len(seen)) - seen, residual)
    return result


def linear_target(target: Array, task: str, classes: int) -> Array:
    """A target as numbers (n, k): the most frequent classes or labels as 0 and 1, or the value."""
    if task == "regression":
        return np.asarray(target, float).reshape(-1, 1)
    if task == "classification":
        frequent = np.bincount(target, minlength=classes).argsort()[::-1][:CLASSES]
        return np.asarray(target[:, None] == frequent, float)
    return np.asarray(target, float)[:, np.asarray(target).sum(0).argsort()[::-1][:CLASSES]]
