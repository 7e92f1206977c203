"""Tries every combination."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from plait.study.ranges import Range
from plait.study.samplers import Sampler, Trial


class Grid(Sampler):
    """Every combination of all choices and of evenly spaced points of the ranges, as many as the trials allow.

    Ranges get two points each, and more as long as all combinations fit into the trials; needs no further package.
    """

    @cached_property
    def _points(self) -> list[tuple[Any, ...]]:
        steps = 2
        while (finer := _combinations(self.spec.ranges, steps + 1)) and len(finer) <= self.spec.trials:
            if len(finer) == len(_combinations(self.spec.ranges, steps)):
                break  # only choices, or whole numbers that are all there
            steps += 1
        return _combinations(self.spec.ranges, steps)

    @property
    def most(self) -> int:
        return min(self.spec.trials, len(self._points))

    def draw(self, number: int, before: Sequence[Trial]) -> dict[str, Any]:
        return dict(zip((r.field for r in self.spec.ranges), self._points[number], strict=True))


def _combinations(ranges: Sequence[Range], steps: int) -> list[tuple[object, ...]]:
    return list(itertools.product(*(_points(r, steps) for r in ranges)))


def _points(of: Range, steps: int) -> Sequence[Any]:
    if of.choices:
        return of.choices
    space = np.geomspace if of.log else np.linspace
    values = space(of.low, of.high, steps).tolist()
    return list(dict.fromkeys(round(v) for v in values)) if of.whole else values
