"""Encoded rows as training takes them: in batches, where the model's weights are, with modalities hidden from them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeGuard

import numpy as np
import torch
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from torch import Tensor

from plait.base import config, mapped
from plait.base.errors import ConfigError
from plait.base.inputs import Inputs
from plait.base.machine import fast_dtype
from plait.base.tokens import Tokens
from plait.branches.branches import Branches, moved
from plait.networks.base import Linear, Network
from plait.networks.tasks import Task

#: Rows to learn from, and rows held out from them.
Fold = tuple[Tensor, Tensor]


@dataclasses.dataclass(frozen=True)
class Examples:
    """Encoded rows, and what is to be learned of them.

    Attributes:
        task: what the targets are.
        inputs: features, or cells of encoders that learn, of all rows.
        target: (n, ...) encoded.
        weight: (n,).
    """

    task: Task
    inputs: Inputs
    target: Tensor
    weight: Tensor


def spread(rows: Tensor, most: int) -> Tensor:
    """All of the rows (n,), or so many of them, evenly spread.

    Example:
        >>> spread(torch.arange(10), 4).tolist(), spread(torch.arange(3), 4).tolist()
        ([0, 3, 6, 9], [0, 1, 2])
    """
    if len(rows) <= most:
        return rows
    return rows[torch.linspace(0, len(rows) - 1, most, dtype=torch.float64).long()]


class TrainingRows:
    """Rows where the model's weights are: features at once, cells of encoders that learn batch by batch.

    Features that enter nothing but products in bf16 are rounded to it once and not with every batch; the arrays into which
    a batch is gathered are used again by the next one.

    Attributes:
        held: inputs, targets and weights of the held-out rows, where the rows were.
    """

    def __init__(self, examples: Examples, valid: Tensor, model: Branches) -> None:
        inputs, target, weight = examples.inputs.unfolded(), examples.target, examples.weight
        self.device, self.streams = model.device, len(inputs.prepared) > 0
        prepared = inputs if self.streams else narrowed(inputs, model)
        self.held = (prepared.take(valid), target[valid], weight[valid])
        self.inputs = prepared if self.streams else prepared.to(self.device)
        self.target, self.weight = target.to(self.device), weight.to(self.device)
        self._arrays: dict[str, Tensor] = {}

    def take(self, rows: Tensor, generator: torch.Generator) -> tuple[Inputs, Tensor, Tensor]:
        """Inputs, targets and weights of the rows; the inputs hold until the next call.

        Cells whose change is to be drawn anew (``redraw``) take it from the generator.
        """
        there = rows.to(self.device)
        batch = moved(self.inputs.take(rows).redrawn(generator), self.device) if self.streams else self._gathered(there)
        return batch, self.target.index_select(0, there), self.weight.index_select(0, there)

    def _gathered(self, rows: Tensor) -> Inputs:
        tokens = {
            name: Tokens(self._of(name, t.x, rows), t.mask.index_select(0, rows))
            for name, t in self.inputs.tokens.items()
        }
        return Inputs(tokens, {}, {name: there.index_select(0, rows) for name, there in self.inputs.present.items()})

    def _of(self, name: str, x: Tensor, rows: Tensor) -> Tensor:
        array = self._arrays.get(name)
        if array is None or len(array) < len(rows):
            array = self._arrays[name] = x.new_empty(len(rows), *x.shape[1:])
        return mapped.select(x, rows, array[: len(rows)])


def narrowed(inputs: Inputs, model: Branches) -> Inputs:
    """The features in bf16, if all that they enter are linear maps, and those of a network over all of them multiply in bf16."""
    entries: dict[str, Sequence[Linear] | None] = {
        name: network.entries() if isinstance(network, Network) else None for name, network in model.networks.items()
    }
    over_all = [entries[name] for name in entries if set(model.reads(name)) >= set(inputs.tokens)]
    if (
        fast_dtype(model.device) != torch.bfloat16
        or any(maps is None for maps in entries.values())
        or not any(maps and all(one.narrow for one in maps) for maps in over_all)
        or any(tokens.x.shape[1] != 1 for tokens in inputs.tokens.values())
    ):
        return inputs
    return dataclasses.replace(inputs, tokens={name: tokens.narrowed for name, tokens in inputs.tokens.items()})


def batch_edges(rows: int, size: int) -> list[int]:
    """Where batches begin and the last one ends; a last batch of one row joins the one before (batch normalisation needs two).

    Example:
        >>> batch_edges(9, 4), batch_edges(10, 4)
        ([0, 4, 9], [0, 4, 8, 10])
    """
    starts = list(range(0, rows, size))
    return [*(starts[:-1] if len(starts) > 1 and rows - starts[-1] < 2 else starts), rows]


#: The key of the estimator's ``modality_dropout`` under which patterns stand.
PATTERNS = "patterns"
_WHAT = "modality_dropout"


@dataclass(frozen=True)
class Hiding:
    """What is hidden from a row in a step of training, drawn anew in each step.

    Attributes:
        rates: modality -> chance that it is hidden, each independently; those not named never are.
        patterns: what is shown, joined by ``+`` -> share of the rows that are shown no more than that; the rest see all.
    """

    rates: Mapping[str, float] = field(default_factory=dict)
    patterns: Mapping[str, float] = field(default_factory=dict)

    def hides(self, names: Sequence[str]) -> bool:
        """Whether any of these modalities is ever hidden. One alone never is."""
        return len(names) > 1 and (any(self.rates.get(name, 0.0) for name in names) or any(self.patterns.values()))

    def shown(
        self,
        names: Sequence[str],
        rows: Sequence[int],
        generator: torch.Generator,
        pairs: Mapping[str, tuple[str, str]] | None = None,
    ) -> Tensor:
        r"""Which modalities rows are shown: (\\*rows, M) booleans, M in the order of ``names``.

        Names that are ``pairs`` of modalities are shown where both are.
        """
        if pairs:
            single = [name for name in names if name not in pairs]
            shown = dict(zip(single, self.shown(single, rows, generator).unbind(-1), strict=True))
            return torch.stack(
                [shown[n] if n in shown else shown[pairs[n][0]] & shown[pairs[n][1]] for n in names], dim=-1
            )
        if not self.patterns:
            rates = torch.tensor([self.rates.get(name, 0.0) for name in names])
            return torch.rand((*rows, len(names)), generator=generator) >= rates
        shares = torch.tensor([*self.patterns.values()], dtype=torch.float64).cumsum(0)
        table = torch.tensor([[name in pattern.split("+") for name in names] for pattern in self.patterns])
        table = torch.cat([table, torch.ones(1, len(names), dtype=torch.bool)])
        drawn = torch.rand(tuple(rows), generator=generator, dtype=torch.float64)
        return table[torch.searchsorted(shares, drawn, right=True)]


def _has_patterns(value: object, names: Sequence[str]) -> TypeGuard[Mapping[str, object]]:
    return isinstance(value, Mapping) and PATTERNS in value and PATTERNS not in names


def hiding(spec: float | Mapping[str, object], names: Sequence[str]) -> Hiding:
    """Read the estimator's ``modality_dropout``: one chance for all, some modalities' own, or patterns.

    Raises:
        ConfigError: an unknown modality, a number outside 0..1, shares of more than 1 together.

    Example:
        >>> hiding(0.2, ["text", "image"]).rates, hiding({"image": 0.5}, ["text", "image"]).rates
        ({'text': 0.2, 'image': 0.2}, {'image': 0.5})
        >>> hiding({"patterns": {"text": 0.2, "image": 0.3}}, ["text", "image"]).patterns
        {'text': 0.2, 'image': 0.3}
    """
    if _has_patterns(spec, names):
        return Hiding(patterns=_patterns(spec, names))
    rates = dict(spec) if isinstance(spec, Mapping) else dict.fromkeys(names, spec)
    config.check_fields(rates, names, _WHAT)
    return Hiding({name: _share(f"{_WHAT} of '{name}'", rate) for name, rate in rates.items()})


def _patterns(spec: Mapping[str, object], names: Sequence[str]) -> dict[str, float]:
    if others := [str(key) for key in spec if key != PATTERNS]:
        raise ConfigError(f"{_WHAT}: {PATTERNS} and rates ({', '.join(others)}) are given; keep one")
    patterns = spec[PATTERNS]
    if not isinstance(patterns, Mapping):
        raise ConfigError(
            f"{_WHAT}.{PATTERNS}: {patterns!r}; expected what is shown and a share, as in {{text+image: 0.5, text: 0.2}}"
        )
    for pattern in patterns:
        config.check_fields(dict.fromkeys(str(pattern).split("+")), names, f"{_WHAT}.{PATTERNS} '{pattern}'")
    result = {str(k): _share(f"{_WHAT}.{PATTERNS}: share of '{k}'", share) for k, share in patterns.items()}
    if sum(result.values()) > 1 + 1e-9:
        raise ConfigError(f"{_WHAT}.{PATTERNS}: shares of {sum(result.values()):g} together; expected at most 1")
    return result


def _share(where: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ConfigError(f"{where}: {value!r}; expected a chance from 0 to 1")
    return float(value)


def for_modalities(value: object, names: Sequence[str]) -> object:
    """``modality_dropout`` for a model of some of the modalities: patterns that show none of these are left out."""
    if not _has_patterns(value, names):
        return {k: v for k, v in value.items() if k in names} if isinstance(value, Mapping) else value
    patterns = value[PATTERNS]
    if not isinstance(patterns, Mapping) or len(value) > 1:
        return value  # the estimator says what is wrong with it
    result: dict[str, float] = {}
    for pattern, share in patterns.items():
        left = "+".join(name for name in str(pattern).split("+") if name in names)
        if left:
            result[left] = result.get(left, 0.0) + share
    return {PATTERNS: result} if result else {}


def spreadable(strata: np.ndarray, parts: int) -> np.ndarray:
    """Strata (n,) of which each can be spread over so many parts: those too rare are one, or go with the largest."""
    _, place, size = np.unique(strata, return_inverse=True, return_counts=True)
    rare = size[place] < parts
    return np.where(rare, -1 if int(rare.sum()) >= parts else int(size.argmax()), place)


def folds_of(
    strata: np.ndarray, members: int, seed: int, groups: np.ndarray | None = None
) -> list[tuple[Tensor, Tensor]]:
    """(training rows, held-out rows) per member, classes spread evenly; no held-out rows where there are too few rows.

    There are at least five folds; fewer members leave the later ones to training. Rows of one group are held out together,
    so that what is learned from held-out rows holds for groups never seen.

    Shape: strata (n,) integers; groups (n,) integers, or None.
    """
    n, count = len(strata), max(5, members)
    if groups is not None:
        count = min(count, len(np.unique(groups)))
        if count < 2:
            raise ConfigError("groups: all rows belong to one group; at least two are needed")
    everything = torch.arange(n)
    if n < 4 * count:
        return [(everything, everything[:0]) for _ in range(min(members, 3))]
    kept = spreadable(strata, count)
    kind = StratifiedKFold if groups is None else StratifiedGroupKFold
    splitter = kind(count, shuffle=True, random_state=seed)
    parts = splitter.split(np.zeros(n), kept, groups)
    pairs = [(torch.from_numpy(a), torch.from_numpy(b)) for a, b in parts if len(a) and len(b)]
    return pairs[:members]
