"""The runs of a search, drawn trial by trial as scores come in."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from plait.study.runs import Run, Schedule
from plait.study.search.sampler import Sampler, Trial
from plait.study.state import Line, State

#: Failures at the start of a variant after which it is given up.
PATIENCE = 3


@dataclass
class Regime:
    """The trials of one variant.

    Attributes:
        name: of the variant.
        sampler: draws.
        make: the runs of a trial, from what was drawn and its number.
        drawn: of every trial so far.
        runs: of every trial so far, one per split.
    """

    name: str
    sampler: Sampler
    make: Callable[[Mapping[str, Any], int], list[Run]]
    drawn: list[Mapping[str, Any]] = field(default_factory=list)
    runs: list[list[Run]] = field(default_factory=list)


class Trials(Schedule):
    """Hands out the runs of a search; a trial is drawn when somebody asks for a run and the trials it needs have ended.

    What a killed search had drawn is drawn again from the same scores, found done, and not run again.
    """

    def __init__(self, regimes: list[Regime], state: State, metric: str) -> None:
        """Draw up to the first trial that is to be done."""
        super().__init__(())
        self._regimes, self._state, self._metric = regimes, state, metric
        self._queue: deque[Run] = deque()
        self._advance()

    def __len__(self) -> int:
        """Runs that wait, those of trials that are not drawn yet included."""
        left = sum(r.sampler.most - len(r.runs) for r in self._regimes if not self._given_up(r))
        return len(self._queue) + left

    def __iter__(self) -> Iterator[Run]:
        """All that are drawn and wait."""
        return iter(list(self._queue))

    def next(self, worker: int) -> Run | None:
        """The next run; None where there is none yet."""
        self._advance()
        return self._queue.popleft() if self._queue else None

    def drop(self, variants: set[str]) -> list[Run]:
        """Take out all runs of these variants."""
        dropped = [run for run in self._queue if run.variant in variants]
        self._queue = deque(run for run in self._queue if run.variant not in variants)
        self._regimes = [regime for regime in self._regimes if regime.name not in variants]
        return dropped

    def _advance(self) -> None:
        """Draw until a run waits or nothing more can be drawn; the variants take turns."""
        while not self._queue:
            ready = [regime for regime in self._regimes if self._may_draw(regime)]
            if not ready:
                return
            regime = min(ready, key=lambda r: len(r.runs))
            number = len(regime.runs)
            drawn = regime.sampler.draw(number, self._before(regime, regime.sampler.needs(number)))
            runs = regime.make(drawn, number)
            self._state.plan(runs)
            regime.drawn.append(drawn)
            regime.runs.append(runs)
            self._queue.extend(run for run in runs if self._state.waits(run.name))

    def _may_draw(self, regime: Regime) -> bool:
        number = len(regime.runs)
        if number >= regime.sampler.most:
            return False
        needed = max(regime.sampler.needs(number), PATIENCE if number >= PATIENCE else 0)
        return self._ended(regime, needed) and not self._given_up(regime)

    def _ended(self, regime: Regime, count: int) -> bool:
        return all(self._state.line(run.name) is not None for runs in regime.runs[:count] for run in runs)

    def _given_up(self, regime: Regime) -> bool:
        """Whether the first trials all failed."""
        if len(regime.runs) < PATIENCE or not self._ended(regime, PATIENCE):
            return False
        return all(trial.score is None for trial in self._before(regime, PATIENCE))

    def _before(self, regime: Regime, count: int) -> list[Trial]:
        result = []
        for drawn, runs in zip(regime.drawn[:count], regime.runs[:count], strict=True):
            scores = [score_of(line, self._metric) for run in runs if (line := self._state.line(run.name)) is not None]
            known = [score for score in scores if score is not None]
            result.append(Trial(drawn, sum(known) / len(known) if len(known) == len(runs) else None))
        return result


def score_of(line: Line, metric: str) -> float | None:
    """What a run gave; None where it failed or the metric is no number."""
    if line["status"] != "done":
        return None
    value = line["evaluations"][0]["metrics"].get(metric)
    return None if value is None or not math.isfinite(value) else float(value)
