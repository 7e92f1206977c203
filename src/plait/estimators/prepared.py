"""Rows made ready for networks: encoded and scaled. Models that differ only beyond that may share them."""

from __future__ import annotations

import copy
import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from plait.alignment import enhancement
from plait.alignment.enhancement import Enhancer
from plait.base import machine
from plait.base.deadline import Deadline
from plait.base.encoder import Encoder
from plait.base.inputs import Comparison, Inputs
from plait.data.modality import Modality, Schema
from plait.encoders.featurize import Featurizer
from plait.encoders.scale import Scaler
from plait.estimators.fit_settings import FitSettings
from plait.networks.tasks import Task

Make = Callable[[], "Prepared"]
#: Gives a fit its rows: called with the settings and with what makes the rows, it may give back what it made before. Whoever
#: hands it in answers for that the models differ in nothing that comes before a network.
Share = Callable[[FitSettings, Make], "Prepared"]


@dataclasses.dataclass(frozen=True)
class GivenRows:
    """The rows of a fit as an estimator took them.

    Attributes:
        target: places among ``classes`` (n,), indicators (n, C), or values (n,).
        weight: (n,).
        groups: (n,), or None.
        classes: labels of the target, in order.
        regressor: the target is a number whatever it looks like.
        share: gives rows that were prepared before, where models are fitted on the same rows.
        valid: rows to choose by and their targets, as ``target``; None: there are none.
        named: the columns have names of their own; else it is a plain array, all of it one table of numbers.
        end: when the fit must end.
    """

    frame: pd.DataFrame
    target: np.ndarray
    weight: np.ndarray
    groups: np.ndarray | None = None
    classes: tuple[Any, ...] = ()
    regressor: bool = False
    named: bool = True
    share: Share | None = None
    valid: tuple[pd.DataFrame, np.ndarray] | None = None
    end: Deadline = dataclasses.field(default_factory=Deadline)


@dataclasses.dataclass(frozen=True)
class Pipeline:
    """What rows of a table pass on their way to the networks, as a fit has learned it: encoded, aligned, scaled, compared.

    Attributes:
        enhancers: what ``align`` asked for, fitted.
        pairs: what compares two modalities.
    """

    schema: Schema
    features: Featurizer
    scalers: dict[str, Scaler]
    enhancers: Mapping[str, Enhancer] = dataclasses.field(default_factory=dict)
    pairs: Mapping[str, Comparison] = dataclasses.field(default_factory=dict)

    def alone(self, modality: Modality) -> Pipeline:
        """For one of the modalities."""
        schema, features = dataclasses.replace(self.schema, modalities=(modality,)), copy.copy(self.features)
        features.schema = schema
        own = {name: one for name, one in self.enhancers.items() if name == modality.name}
        return dataclasses.replace(self, schema=schema, features=features, enhancers=own)

    @property
    def names(self) -> list[str]:
        """The modalities in order."""
        return [m.name for m in self.schema.modalities]

    @property
    def learning(self) -> dict[str, Encoder]:
        """Modality -> what learns with the members: its encoder, or a projector behind it."""
        own = {m.name: self.features.encoders[m.name] for m in self.schema.modalities if m.learns}
        return own | enhancement.encoders(self.enhancers)

    @property
    def dims(self) -> dict[str, int]:
        """Width of each modality, and of what compares two, as networks take them."""
        learning = self.learning
        result = {n: self.scalers[n].dim if n in self.scalers else learning[n].dim for n in self.names}
        result |= {name: result[name] + words.dim for name, words in self.features.ngrams.items()}
        return result | {name: pair.dim for name, pair in self.pairs.items()}


@dataclasses.dataclass(frozen=True)
class Prepared:
    """All that comes before a network.

    Attributes:
        target: of the distinct rows, as the estimator takes it.
        inputs: the distinct rows, scaled.
        weight: (n,) of the distinct rows, not yet normalised.
        row_index: where each given row is among them (-1: nowhere).
        times: (n,) how often each distinct row stands by itself where branches are cross-fitted.
        digest: of the table given, with ``given`` rows.
        seconds: of each stage.
        tuned: modality with ``train: tuned`` -> what its tuning cost.
        peak_mb: greatest memory of each stage.
        leaks: what looks like the target in disguise.
        chosen_by: so many of the rows, the last ones, were given to choose by; nothing is learned from them.
    """

    pipeline: Pipeline
    task: Task
    target: np.ndarray
    inputs: Inputs
    weight: Tensor
    row_index: np.ndarray
    times: np.ndarray
    digest: str
    given: int
    seconds: Mapping[str, float]
    tuned: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    peak_mb: Mapping[str, float] = dataclasses.field(default_factory=dict)
    leaks: Sequence[Mapping[str, Any]] = ()
    chosen_by: int = 0

    @property
    def learned_from(self) -> int:
        """How many rows are learned from, the first ones."""
        return len(self.inputs) - self.chosen_by


def as_given(prepared: Prepared) -> Prepared:
    """Every given row by itself again, in its order: equal rows are no longer one."""
    there = prepared.row_index >= 0
    rows = prepared.row_index[there]
    times = np.bincount(rows, minlength=len(prepared.inputs))
    order = torch.from_numpy(rows)
    row_index = np.where(there, np.cumsum(there) - 1, -1)
    return dataclasses.replace(
        prepared,
        target=prepared.target[rows],
        inputs=prepared.inputs.take(order),
        weight=prepared.weight[order] / torch.from_numpy(times)[order],
        row_index=row_index,
        times=np.ones(len(rows), np.int64),
    )


def as_repeated(prepared: Prepared) -> Prepared:
    """Every row as often as it stands by itself, its weight shared evenly."""
    if (prepared.times == 1).all():
        return prepared
    rows, first = np.repeat(np.arange(len(prepared.times)), prepared.times), np.cumsum(prepared.times) - prepared.times
    order = torch.from_numpy(rows)
    return dataclasses.replace(
        prepared,
        target=prepared.target[rows],
        inputs=prepared.inputs.take(order),
        weight=(prepared.weight / torch.from_numpy(prepared.times))[order].float(),
        row_index=np.where(prepared.row_index >= 0, first[prepared.row_index], -1),
        times=np.ones(len(rows), np.int64),
    )


def groups_of(groups: np.ndarray, row_index: np.ndarray) -> np.ndarray:
    """The group of each distinct row (m,), from those of the given rows (n,) and where they went."""
    codes = pd.factorize(np.asarray(groups, dtype=object))[0]
    result = np.zeros(int(row_index.max()) + 1, dtype=np.int64)
    result[row_index[row_index >= 0]] = codes[row_index >= 0]
    return result


class Clock:
    """Seconds and peak memory of each stage."""

    def __init__(self, seconds: Mapping[str, float] | None = None, peak_mb: Mapping[str, float] | None = None) -> None:
        self.seconds, self.peak_mb = dict(seconds or {}), dict(peak_mb or {})

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure what runs under it."""
        start = time.perf_counter()
        machine.begin_stage()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start
        self.peak_mb[name] = max(self.peak_mb.get(name, 0.0), machine.stage_mb())
