"""The contract of a sampler, and a search's trials as Optuna sees them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from plait.base.errors import need
from plait.study.search.ranges import Range, SearchSpec


@dataclass(frozen=True)
class Trial:
    """What was drawn, and what it gave; no score: it failed."""

    drawn: Mapping[str, Any]
    score: float | None


class Sampler(ABC):
    """Draws the settings of a search's trials: trial k from the seed, k and the trials before it, and from nothing else."""

    def __init__(self, spec: SearchSpec, seed: int, *, lower: bool) -> None:
        """For one search; ``lower``: less is better."""
        self.spec, self.seed, self.lower = spec, seed, lower

    def needs(self, number: int) -> int:
        """How many of the trials before must have ended when this one is drawn; the others may still be running."""
        return 0

    @property
    def most(self) -> int:
        """How many trials there are to draw."""
        return self.spec.trials

    @abstractmethod
    def draw(self, number: int, before: Sequence[Trial]) -> dict[str, Any]:
        """Field -> value of a trial.

        Args:
            number: of the trial, from 0.
            before: the trials that it ``needs``.
        """


def optuna_study(ranges: Sequence[Range], trials: Sequence[Trial], *, lower: bool, sampler: Any = None) -> Any:
    """A study of Optuna in memory that has seen these trials (extra ``search``)."""
    optuna = need("optuna", "search")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=sampler, direction="minimize" if lower else "maximize")
    state, known = optuna.trial.TrialState, {r.field: distribution(r) for r in ranges}
    for trial in trials:
        ended = {"state": state.FAIL} if trial.score is None else {"state": state.COMPLETE, "value": trial.score}
        params = {r.field: r.kept(trial.drawn[r.field]) for r in ranges}
        study.add_trial(optuna.trial.create_trial(params=params, distributions=known, **ended))
    return study


def distribution(of: Range) -> Any:
    """What Optuna draws a field from; choices by place, as one may be a mapping, which Optuna does not keep."""
    kinds = need("optuna.distributions", "search")
    if of.choices:
        return kinds.CategoricalDistribution(list(range(len(of.choices))))
    if of.whole:
        return kinds.IntDistribution(int(of.low), int(of.high), log=of.log)
    return kinds.FloatDistribution(of.low, of.high, log=of.log)
