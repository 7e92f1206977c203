"""Draws where it was good."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from plait.base.errors import need
from plait.study.samplers import Sampler, Trial, distribution, optuna_study

#: Trials drawn at random before the sampler learns from them; the same draws in every regime.
STARTUP = 10


class Tpe(Sampler):
    """Ten trials at random, then where it was good: Optuna's tree of Parzen estimators (extra ``search``).

    Source: Bergstra et al. 2011, Algorithms for Hyper-Parameter Optimization.
    """

    def needs(self, number: int) -> int:
        """After the first ten all trials before; with a ``batch``, all but those of the same batch."""
        return 0 if number < STARTUP else max(STARTUP, number - number % self.spec.batch)

    def draw(self, number: int, before: Sequence[Trial]) -> dict[str, Any]:
        ranges, optuna = self.spec.ranges, need("optuna", "search")
        sampler = optuna.samplers.TPESampler(seed=self.seed + number, n_startup_trials=STARTUP)
        study = optuna_study(ranges, before, lower=self.lower, sampler=sampler)
        trial = study.ask({r.field: distribution(r) for r in ranges})
        return {r.field: r.value_of(trial.params[r.field]) for r in ranges}
