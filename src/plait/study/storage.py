"""Trials of a search kept in a storage of Optuna, too: seen in its dashboard, and taken up again from there."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from plait.base.errors import ConfigError, PlaitWarning, need
from plait.study.ranges import Range, SearchSpec
from plait.study.samplers import Trial, distribution
from plait.study.state import Line

#: Attributes of Optuna's trials that are ours: the number of the trial, and the lines of its runs.
_NUMBER, _LINES = "plait_trial", "plait_lines"


class TrialStorage:
    """The trials of one variant as a study of Optuna, in a database or in a journal file (extra ``search``)."""

    def __init__(self, name: str, search: SearchSpec, *, lower: bool) -> None:
        """Open it, or make it; ``lower``: less is better.

        Raises:
            ConfigError: it cannot be opened.
        """
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
        state = self._optuna.trial.TrialState
        ended = {"state": state.FAIL} if trial.score is None else {"state": state.COMPLETE, "value": trial.score}
        try:
            with self._in_one_line("cannot be written"):
                made = self._optuna.trial.create_trial(
                    params={r.field: _shown(r, trial.drawn[r.field]) for r in self.ranges},
                    distributions={r.field: self._distribution(r) for r in self.ranges},
                    user_attrs={_NUMBER: number, _LINES: self._held[number]},
                    **ended,
                )
                self._study.add_trial(made)
        except ConfigError as error:
            warnings.warn(f"{error}; the search's own folder has the trial", PlaitWarning, stacklevel=2)

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
