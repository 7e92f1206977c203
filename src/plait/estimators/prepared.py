"""Rows made ready for networks: encoded and scaled. Models that differ only beyond that may share them."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from plait.alignment.enhancement import Enhancer
from plait.base import machine
from plait.base.deadline import Deadline
from plait.base.inputs import Inputs
from plait.data.modality import Schema
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
class Prepared:
    """All that comes before a network.

    Attributes:
        target: of the distinct rows, as the estimator takes it.
        inputs: the distinct rows, scaled.
        weight: (n,) of the distinct rows, not yet normalised.
        row_index: where each given row is among them (-1: nowhere).
        digest: of the table given, with ``given`` rows.
        seconds: of each stage.
        enhancers: what ``align`` asked for, fitted.
        tuned: modality with ``train: tuned`` -> what its tuning cost.
        peak_mb: greatest memory of each stage.
        leaks: what looks like the target in disguise.
        chosen_by: so many of the rows, the last ones, were given to choose by; nothing is learned from them.
    """

    schema: Schema
    task: Task
    target: np.ndarray
    features: Featurizer
    scalers: dict[str, Scaler]
    inputs: Inputs
    weight: Tensor
    row_index: np.ndarray
    digest: str
    given: int
    seconds: Mapping[str, float]
    enhancers: Mapping[str, Enhancer] = dataclasses.field(default_factory=dict)
    tuned: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    peak_mb: Mapping[str, float] = dataclasses.field(default_factory=dict)
    leaks: Sequence[Mapping[str, Any]] = ()
    chosen_by: int = 0

    @property
    def learned_from(self) -> int:
        """How many rows are learned from, the first ones."""
        return len(self.inputs) - self.chosen_by


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
