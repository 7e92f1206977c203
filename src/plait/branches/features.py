"""All modalities as one plain matrix: a table's columns as they are, a few components of every embedding, what is present."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from plait.base.branch import FoldRows
from plait.base.inputs import Inputs
from plait.base.tokens import Tokens

Array = NDArray[Any]
#: Principal components of each embedding.
COMPONENTS = 30
#: A category of more levels is given by its target encoding and how frequent it is; of fewer by its level, too.
MOST_LEVELS = 255
#: Levels from which a category is given a target encoding beside its level.
MANY_LEVELS = 20
#: Rows of the mean to which a level's mean of the target is drawn.
DRAWN = 5.0
#: Outputs that a target encoding tells apart at most: the most frequent ones.
MOST_OUTPUTS = 8
#: Parts of the training rows whose encodings come from the other parts.
PARTS = 5
#: Share of the largest variance below which a direction holds nothing but rounding.
NO_SPREAD = 1e-9
#: Rows on which directions of most variance are sought.
AXES_ROWS = 4096


class PlainFeatures:
    """The rows of all modalities as one matrix (n, D), NaN for null and absent; categories come first, as small whole numbers.

    Modalities whose encoders learn are given by whether they are present: what such an encoder makes of rows that it learned
    from says more than it does of new ones.

    Source: Micci-Barreca 2001 (target encoding, drawn to the mean); its cross-fitting is scikit-learn's ``TargetEncoder``.
    """

    def __init__(self, components: int = COMPONENTS) -> None:
        self.components = components
        self.names: list[str] = []
        #: Modality -> directions (D, components); none where the features are few and stay as they are.
        self.axes: dict[str, Array] = {}
        #: (modality, place of the code) -> level -> number from 0 on, -1 for levels without a row; last: null.
        self.categories: dict[tuple[str, int], Array] = {}
        #: The same -> level -> encodings and share of the rows (levels + 1, k); last: null and new levels.
        self.encodings: dict[tuple[str, int], Array] = {}

    @property
    def levels(self) -> list[int]:
        """How many levels each of the first columns has."""
        return [int(numbers.max()) + 1 for numbers in self.categories.values()]

    def own(self, inputs: Inputs) -> int:
        """How many of the first columns of the matrix are the table's own."""
        numbers = sum(len(columns.number_names) for columns in inputs.columns.values())
        encodings: list[int] = [table.shape[1] for table in self.encodings.values()]
        return len(self.categories) + numbers + sum(encodings)

    def fit(self, rows: FoldRows) -> Array:
        """Learn from the training rows; their matrix (fold, D), in which no row's encoding knows its own target."""
        seen = dataclasses.replace(rows.inputs, tokens=dict(_embedded(rows.inputs)))  # no copy of what trees do not see
        inputs = seen.take(rows.fold)
        self.names = list(inputs.present)
        for name, tokens in _embedded(inputs):
            meaning, _ = _split(inputs, name, tokens)
            if meaning.shape[1] > self.components:
                self.axes[name] = axes_of(meaning[tokens.present], self.components)
        target, weight = _outputs(rows), rows.weight[rows.fold].numpy().astype(np.float64)
        part = np.random.default_rng(rows.seed).permutation(len(target)) % PARTS
        crossed: dict[tuple[str, int], Array] = {}
        for name, columns in inputs.columns.items():
            for place, levels in enumerate(columns.levels):
                codes, key = columns.codes[:, place].numpy(), (name, place)
                there = np.unique(codes[codes >= 0])
                if 0 < len(there) <= MOST_LEVELS:
                    numbers = np.full(levels + 1, -1, np.int64)
                    numbers[there] = np.arange(len(there))
                    self.categories[key] = numbers
                if len(there) > MANY_LEVELS:
                    self.encodings[key] = _encoding(codes, levels, target, weight)
                    crossed[key] = self.encodings[key][codes]
                    for held in range(PARTS):
                        others, own = part != held, part == held
                        table = _encoding(codes[others], levels, target[others], weight[others])
                        crossed[key][own, :-1] = table[codes[own], :-1]
        return self(inputs, crossed)

    def __call__(self, inputs: Inputs, crossed: Mapping[tuple[str, int], Array] | None = None) -> Array:
        """The matrix (n, D) of these rows; ``crossed``: encodings that stand in for those that were learned."""
        parts = [np.zeros((len(inputs), 0), np.float32)]
        for (name, place), numbers in self.categories.items():
            number = numbers[inputs.columns[name].codes[:, place].numpy()].astype(np.float32)
            parts.append(np.where(number < 0, np.nan, number)[:, None])
        for columns in inputs.columns.values():
            parts.append(columns.numbers.numpy())
        for (name, place), table in self.encodings.items():
            codes = inputs.columns[name].codes[:, place].numpy()
            parts.append(np.where((codes < 0)[:, None], np.nan, table[codes] if not crossed else crossed[name, place]))
        for name, tokens in _embedded(inputs):
            meaning, words = (part.numpy() for part in _split(inputs, name, tokens))
            x = meaning @ self.axes[name] if name in self.axes else meaning
            parts.append(np.where(tokens.present.numpy()[:, None], np.hstack([x, words]), np.nan))
        for tokens in inputs.compared.values():
            parts.append(np.where(tokens.present.numpy()[:, None], tokens.pooled().numpy(), np.nan))
        parts.append(np.stack([inputs.present[name].numpy() for name in self.names], 1))
        result = np.hstack([part.astype(np.float32) for part in parts])
        return np.clip(result, -3e38, 3e38, out=result)

    def state(self) -> dict[str, Array]:
        """Arrays by name."""
        result = {f"axes.{name}": axes for name, axes in self.axes.items()}
        result |= {f"category.{name}.{place}": numbers for (name, place), numbers in self.categories.items()}
        return result | {f"encoding.{name}.{place}": table for (name, place), table in self.encodings.items()}

    def load_state(self, arrays: Mapping[str, Array], names: list[str]) -> None:
        """Take them back; ``names`` are the modalities."""
        self.names = list(names)
        for key, array in arrays.items():
            kind, _, rest = key.partition(".")
            name, _, place = rest.rpartition(".")
            if kind == "axes":
                self.axes[rest] = array
            elif kind == "category":
                self.categories[name, int(place)] = array
            elif kind == "encoding":
                self.encodings[name, int(place)] = array
        # The matrix has its columns in the order of the fit, which is that of the modalities, not of their names.
        order = {name: place for place, name in enumerate(names)}
        self.categories = dict(sorted(self.categories.items(), key=lambda item: (order[item[0][0]], item[0][1])))
        self.encodings = dict(sorted(self.encodings.items(), key=lambda item: (order[item[0][0]], item[0][1])))


def _embedded(inputs: Inputs) -> Iterator[tuple[str, Tokens]]:
    """The modalities that are given by their features, those of plain columns left out."""
    return ((name, tokens) for name, tokens in inputs.tokens.items() if name not in inputs.columns)


def _split(inputs: Inputs, name: str, tokens: Tokens) -> tuple[Tensor, Tensor]:
    """What an encoder gave (n, D), and the words beside it (n, k), which stay as they are."""
    x = tokens.pooled()
    return x[:, : x.shape[1] - inputs.words.get(name, 0)], x[:, x.shape[1] - inputs.words.get(name, 0) :]


def axes_of(features: Tensor, components: int) -> Array:
    """Directions of most variance (D, components) of features (n, D) about their origin, as scaled ones are."""
    x = features.double()
    x = x[:: max(1, len(x) // AXES_ROWS)]
    spread, directions = torch.linalg.eigh(x.T @ x / max(1, len(x)))
    # A direction without spread holds rounding alone, which trees would split by, and which no other product repeats.
    directions[:, spread < NO_SPREAD * spread[-1]] = 0.0
    result: Array = directions[:, -components:].float().contiguous().numpy()
    return result


def _outputs(rows: FoldRows) -> Array:
    """What a target encoding is the mean of (fold, k): the most frequent classes or labels but one, or the value."""
    target = rows.target[rows.fold]
    if rows.task == "classification":
        frequent = torch.bincount(target, minlength=rows.out_dim).argsort(descending=True, stable=True)
        frequent = frequent[1:] if rows.out_dim == 2 else frequent
        target = (target[:, None] == frequent[None, :MOST_OUTPUTS]).float()
    elif rows.task == "multilabel":
        target = target[:, target.sum(0).argsort(descending=True, stable=True)[:MOST_OUTPUTS]]
    return target.numpy().astype(np.float64)


def _encoding(codes: Array, levels: int, target: Array, weight: Array) -> Array:
    """Level -> drawn mean of each output, and share of the rows (levels + 1, k + 1); the last one: the mean of all, and 0."""
    known = codes >= 0
    total = np.bincount(codes[known], weight[known], minlength=levels)
    mean = np.average(target, axis=0, weights=weight) if weight.any() else target.mean(0)
    result = np.zeros((levels + 1, target.shape[1] + 1))
    for place in range(target.shape[1]):
        summed = np.bincount(codes[known], (weight * target[:, place])[known], minlength=levels)
        result[:-1, place] = (summed + DRAWN * mean[place]) / (total + DRAWN)
    result[:-1, -1] = total / max(total.sum(), 1e-12)
    result[-1, :-1] = mean
    return result.astype(np.float32)
