"""Draws evenly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from plait.study.ranges import Range
from plait.study.samplers import Sampler, Trial


class Random(Sampler):
    """Even draws that never learn, which give evener pictures; needs no further package."""

    def draw(self, number: int, before: Sequence[Trial]) -> dict[str, Any]:
        rng = np.random.default_rng([self.seed, number])
        return {r.field: _value(r, rng) for r in self.spec.ranges}


def _value(of: Range, rng: np.random.Generator) -> object:
    if of.choices:
        return of.choices[int(rng.integers(len(of.choices)))]
    if not of.log:
        return int(rng.integers(int(of.low), int(of.high) + 1)) if of.whole else float(rng.uniform(of.low, of.high))
    drawn = math.exp(rng.uniform(math.log(of.low), math.log(of.high)))
    return int(np.clip(round(drawn), of.low, of.high)) if of.whole else drawn
