"""Samplers: their contract, the trials that they draw as scores come in, and these as Optuna sees and keeps them."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from plait.base.errors import ConfigError, need, warn
from plait.study.ranges import Range, SearchSpec
from plait.study.runs import Run, Schedule
from plait.study.state import Line, State, score_of


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
        """Field -> value of a trial."""


def optuna_study(ranges: Sequence[Range], trials: Sequence[Trial], *, lower: bool, sampler: object = None) -> Any:
    """A study of Optuna in memory that has seen these trials (extra ``search``)."""
    optuna = need("optuna", "search")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=sampler, direction="minimize" if lower else "maximize")
    known = {r.field: distribution(r) for r in ranges}
    for trial in trials:
        study.add_trial(_ended(trial, {r.field: r.kept(trial.drawn[r.field]) for r in ranges}, known))
    return study


def _ended(trial: Trial, params: Mapping[str, Any], distributions: Mapping[str, Any], **attributes: Any) -> Any:
    """A trial as Optuna has one that has ended."""
    made, state = need("optuna.trial", "search"), need("optuna.trial", "search").TrialState
    ended = {"state": state.FAIL} if trial.score is None else {"state": state.COMPLETE, "value": trial.score}
    return made.create_trial(params=params, distributions=distributions, user_attrs=attributes, **ended)


def distribution(of: Range) -> Any:
    """What Optuna draws a field from; choices by place, as one may be a mapping, which Optuna does not keep."""
    kinds = need("optuna.distributions", "search")
    if of.choices:
        return kinds.CategoricalDistribution(list(range(len(of.choices))))
    if of.whole:
        return kinds.IntDistribution(int(of.low), int(of.high), log=of.log)
    return kinds.FloatDistribution(of.low, of.high, log=of.log)


#: Failures at the start of a variant after which it is given up.
PATIENCE = 3


@dataclass
class Regime:
    """The trials of one variant.

    Attributes:
        make: the runs of a trial, from what was drawn and its number.
        runs: of every trial so far, one per split.
        storage: where trials are kept, too.
    """

    name: str
    sampler: Sampler
    make: Callable[[Mapping[str, Any], int], list[Run]]
    drawn: list[Mapping[str, Any]] = field(default_factory=list)
    runs: list[list[Run]] = field(default_factory=list)
    storage: TrialStorage | None = None


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
        left = sum(r.sampler.most - len(r.runs) for r in self._regimes if not self._given_up(r))
        return len(self._queue) + left

    def __iter__(self) -> Iterator[Run]:
        return iter(list(self._queue))

    def next(self, worker: int) -> Run | None:
        self._advance()
        return self._queue.popleft() if self._queue else None

    def drop(self, variants: set[str]) -> list[Run]:
        dropped = [run for run in self._queue if run.variant in variants]
        self._queue = deque(run for run in self._queue if run.variant not in variants)
        self._regimes = [regime for regime in self._regimes if regime.name not in variants]
        return dropped

    def finish(self) -> None:
        for regime in self._regimes:
            if regime.storage is not None:
                for number, runs in enumerate(regime.runs):
                    lines = [line for run in runs if (line := self._state.line(run.name)) is not None]
                    if len(lines) == len(runs):
                        regime.storage.add(number, self._trial(regime, number), lines)

    def _advance(self) -> None:
        """Draw until a run waits or nothing more can be drawn; the variants take turns."""
        self.finish()
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
        return [self._trial(regime, number) for number in range(count)]

    def _trial(self, regime: Regime, number: int) -> Trial:
        runs = regime.runs[number]
        scores = [score_of(line, self._metric) for run in runs if (line := self._state.line(run.name)) is not None]
        known = [score for score in scores if score is not None]
        return Trial(regime.drawn[number], sum(known) / len(known) if len(known) == len(runs) else None)


#: Attributes of Optuna's trials that are ours: the number of the trial, and the lines of its runs.
_NUMBER, _LINES = "plait_trial", "plait_lines"


class TrialStorage:
    """The trials of one variant as a study of Optuna, in a database or in a journal file (extra ``search``)."""

    def __init__(self, name: str, search: SearchSpec, *, lower: bool) -> None:
        """Open it, or make it; ``lower``: less is better."""
        assert search.storage is not None
        self.address, self.ranges = search.storage, search.ranges
        self._optuna = need("optuna", "search")
        with self._in_one_line("cannot be opened"):
            study = self._optuna.create_study(
                storage=self._opened(),
                study_name=name,
                direction="minimize" if lower else "maximize",
                load_if_exists=True,
            )
            held = [t.user_attrs for t in study.get_trials(deepcopy=False) if t.state.is_finished()]
        self._study = study
        self._held: dict[int, list[Line]] = {a[_NUMBER]: a[_LINES] for a in held if _NUMBER in a and _LINES in a}

    def _opened(self) -> Any:
        self._optuna.logging.set_verbosity(self._optuna.logging.ERROR)
        storages = self._optuna.storages
        if "://" in self.address:
            return storages.RDBStorage(self.address)
        Path(self.address).parent.mkdir(parents=True, exist_ok=True)
        return storages.JournalStorage(storages.journal.JournalFileBackend(self.address))

    def lines(self) -> list[Line]:
        """What its trials gave, as a study's folder keeps it."""
        return [line for number in sorted(self._held) for line in self._held[number]]

    def add(self, number: int, trial: Trial, lines: Sequence[Line]) -> None:
        """Keep a trial that has ended, once; where that fails, the search goes on with a warning."""
        if number in self._held:
            return
        self._held[number] = list(lines)
        params = {r.field: _shown(r, trial.drawn[r.field]) for r in self.ranges}
        known = {r.field: self._distribution(r) for r in self.ranges}
        try:
            with self._in_one_line("cannot be written"):
                self._study.add_trial(_ended(trial, params, known, **{_NUMBER: number, _LINES: self._held[number]}))
        except ConfigError as error:
            warn(f"{error}; the search's own folder has the trial")

    def _distribution(self, of: Range) -> Any:
        if not of.choices:
            return distribution(of)
        return self._optuna.distributions.CategoricalDistribution([_shown(of, choice) for choice in of.choices])

    @contextmanager
    def _in_one_line(self, what: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # noqa: BLE001 - each database has errors of its own
            said = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
            raise ConfigError(f"storage {self.address}: {what} ({said})") from None


def _shown(of: Range, value: Any) -> Any:
    """A value as Optuna keeps it: choices that are neither text nor number stand there as JSON."""
    if not of.choices or value is None or isinstance(value, bool | int | float | str):
        return value
    return json.dumps(value, sort_keys=True, default=str)
