"""Trials on the disk: Optuna's journal, one JSON object per line, no pickle; whole after any crash."""

from __future__ import annotations

import json
import os
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import pandas as pd

from plait.base import checks
from plait.base.errors import ConfigError, PlaitError, PlaitWarning, nearest, need
from plait.base.folders import claim_folder
from plait.base.progress import step, track
from plait.data import schema as schemas
from plait.data.modality import Schema
from plait.data.table import data_hash
from plait.store.model_files import plain_values
from plait.study.search.objective import Objective, placed
from plait.study.search.ranges import Range, Regime, read_ranges, read_regimes, schema_for
from plait.study.search.result import Sensitivity, result_of

try:
    import fcntl
except ImportError:  # Windows: two searches in one folder are then the user's to avoid
    fcntl = None  # type: ignore[assignment]

JOURNAL, LOCK = "journal.jsonl", "search.lock"


class Journal:
    """The journal of one folder; one process at a time searches in it, and a process that is killed frees it.

    Of Optuna's storages only ``JournalStorage`` over Redis pickles (its snapshots); over a file it writes JSON lines and
    reads them back. A line torn by a kill is cut: Optuna itself would stop at it for ever.
    """

    def __init__(self, folder: Path) -> None:
        """Open the folder's journal, or begin one.

        Raises:
            ConfigError: another process searches there.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._file = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        if fcntl is not None:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(self._file)
                raise ConfigError(
                    f"{folder}: another process is searching there; wait for it or name another --out"
                ) from None
        path = folder / JOURNAL
        cut_torn(path)
        journal = need("optuna.storages.journal", "search")
        self.storage: Any = need("optuna", "search").storages.JournalStorage(
            journal.JournalFileBackend(str(path), lock_obj=_Held())
        )

    def close(self) -> None:
        """Free the folder."""
        os.close(self._file)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Held:
    """Optuna's lock per line, of which there is no need: the folder is ours. Its own would outlive a kill for 30 seconds."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        return


def cut_torn(path: Path) -> None:
    """Take away a last line without its end."""
    if not path.exists():
        return
    data = path.read_bytes()
    end = data.rfind(b"\n") + 1
    if end < len(data):
        with path.open("r+b") as file:
            file.truncate(end)


SAMPLERS = ("tpe", "random")
#: Trials drawn at random before the sampler learns from them; the same draws in every regime.
STARTUP = 10
#: Failures at the start of a regime after which it is given up.
PATIENCE = 3


def sensitivity(
    frame: pd.DataFrame,
    schema: Schema,
    *,
    ranges: Mapping[str, Any] | Sequence[str] | None = None,
    regimes: Mapping[str, Any] | Sequence[str] | None = None,
    settings: Mapping[str, Any] | None = None,
    trials: Annotated[int, checks.Within(1, 100_000)] = 20,
    out: str | Path,
    metric: str | None = None,
    valid_fraction: Annotated[float, checks.Within(0, 1, above=True, below=True)] = 0.2,
    splits: Annotated[int, checks.Within(1, 1000)] = 1,
    group: str | None = None,
    sampler: str = "tpe",
    seed: checks.Seed = 0,
    store: str | None = None,
    report: bool = True,
    view: bool | None = None,
    command: str = "",
) -> Sensitivity:
    """How a score answers to learning rate, batch size, dropout or any other field, in each regime of training.

    Every trial fits on a part of the rows and is judged on the rest: give training rows only, the test rows stay with you.
    All regimes are searched over the same ranges, with the same seeds, judged on the same validation rows; what is drawn for
    trial k depends on the seed, k and the trials before, so that a search that was killed goes on as if it had not been.

    Args:
        frame: training rows, target included.
        schema: of the table.
        ranges: field -> ``1e-4..1e-1 log``, ``{low, high, log}`` or a list of choices; None: learning rate, batch size, dropout.
        regimes: words of ``train`` (``frozen``, ``scratch``, ``pretrain``), or name -> ``{train: ..., setting: ...}``.
        settings: of the estimator, in every trial.
        trials: per regime; a finished search may be given more.
        out: folder of the journal, the page, figures and tables.
        metric: to judge by; None: the task's main one.
        valid_fraction: share of the rows that trials are judged on.
        splits: over which a trial's score is averaged.
        group: column whose equal values stay on one side of a split.
        sampler: ``tpe`` (draws where it was good, after ten at random) or ``random`` (even pictures).
        seed: of splits, draws and training.
        store: of embeddings.
        report: write the page (extra ``report``).
        view: show progress; None: only on a terminal.
        command: for the page.

    Raises:
        PlaitError: a table, range, regime or setting that cannot be used; not one trial succeeded.
    """
    need("optuna", "search").logging.set_verbosity(need("optuna", "search").logging.ERROR)
    checks.check_call(sensitivity, {"trials": trials, "valid_fraction": valid_fraction, "splits": splits, "seed": seed})
    if sampler not in SAMPLERS:
        raise ConfigError(f"unknown sampler '{sampler}': {nearest(sampler, SAMPLERS)}")
    fields, ways = read_ranges(ranges), read_regimes(regimes)
    common = dict(settings or {})
    schema_by = {w.name: schema_for(w, schema, {**common, **w.settings}.get("encoders")) for w in ways}
    objective = Objective(
        frame,
        schema,
        metric=metric,
        valid_fraction=valid_fraction,
        splits=splits,
        group=group,
        seed=seed,
        store=store,
    )
    fixed = {
        "data": data_hash(objective.frame),
        "schema": schemas.to_dict(schema),
        "ranges": {r.field: r.to_dict() for r in fields},
        "settings": common,
        "metric": objective.metric.name,
        "valid_fraction": valid_fraction,
        "splits": splits,
        "group": group,
        "sampler": sampler,
        "seed": seed,
    }
    folder = claim_folder(out, ["report.html", "summary.json"])
    with Journal(folder) as journal:
        searches = [_Search(w, schema_by[w.name], journal, fixed, common, fields, objective) for w in ways]
        left = sum(max(0, trials - s.count) for s in searches)
        step("search", view)
        with track(left, "trials", "trials", view) as bar:
            for k in range(trials):
                for search in searches:
                    if search.count <= k and not search.given_up:
                        search.one(sampler, seed)
                        bar.advance()
        result = result_of(
            {s.regime.name: s.study for s in searches},
            fields,
            objective.metric,
            {**fixed, "valid_rows": objective.valid_rows},
            command,
        )
    _check(result, searches, folder)
    if report:
        from plait.study.search.writing import write_sensitivity

        write_sensitivity(result, folder)
    return result


class _Search:
    """One regime's trials."""

    def __init__(
        self,
        regime: Regime,
        schema: Schema,
        journal: Journal,
        fixed: Mapping[str, Any],
        settings: Mapping[str, Any],
        fields: Sequence[Range],
        objective: Objective,
    ) -> None:
        """Open the regime's study, or begin it; what was in flight when a process was killed is done again."""
        self.regime, self.schema, self.fields, self.objective = regime, schema, fields, objective
        shared = settings if regime.train is None else {k: v for k, v in settings.items() if k != "train"}
        self.settings = {**shared, **regime.settings}
        optuna = need("optuna", "search")
        direction = "minimize" if objective.metric.direction == "lower" else "maximize"
        self.study = optuna.create_study(
            study_name=regime.name, storage=journal.storage, direction=direction, load_if_exists=True
        )
        value = json.loads(json.dumps(plain_values({**fixed, "regime": regime.to_dict()}), default=str))
        known = self.study.user_attrs.get("told")
        if known is not None and known != value:
            changed = ", ".join(k for k in value if known.get(k) != value[k])
            raise ConfigError(f"'{regime.name}' was searched here with another {changed}; name another folder (--out)")
        if known is None:
            self.study.set_user_attr("told", value)
        for trial in self.study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.RUNNING]):
            self.study._storage.set_trial_user_attr(trial._trial_id, "killed", True)
            self.study.tell(trial.number, state=optuna.trial.TrialState.FAIL)

    @property
    def finished(self) -> list[Any]:
        """Trials that ended, well or not; those that a kill ended were done again."""
        return [
            t for t in self.study.get_trials(deepcopy=False) if t.state.is_finished() and "killed" not in t.user_attrs
        ]

    @property
    def count(self) -> int:
        """How many."""
        return len(self.finished)

    @property
    def given_up(self) -> bool:
        """Whether the first trials all failed."""
        ended = self.finished
        return len(ended) >= PATIENCE and all(t.values is None for t in ended)

    def one(self, sampler: str, seed: int) -> None:
        """Draw, fit, judge, keep."""
        optuna = need("optuna", "search")
        drawn = seed + self.count
        self.study.sampler = (
            optuna.samplers.RandomSampler(seed=drawn)
            if sampler == "random"
            else optuna.samplers.TPESampler(seed=drawn, n_startup_trials=STARTUP)
        )
        trial = self.study.ask()
        settings = self.settings
        for field in self.fields:
            settings = placed(settings, field.field, field.suggest(trial))
        wall, processor = time.perf_counter(), time.process_time()
        try:
            score = self.objective(self.schema, settings)
        except (PlaitError, RuntimeError, MemoryError) as error:
            trial.set_user_attr("reason", " ".join(str(error).split()) or type(error).__name__)
            value = None
        else:
            trial.set_user_attr("each", list(score.each))
            trial.set_user_attr("stages", dict(score.stages))
            trial.set_user_attr("trained_weights", score.trained_weights)
            value = score.value
        trial.set_user_attr("seconds", round(time.perf_counter() - wall, 3))
        trial.set_user_attr("cpu_seconds", round(time.process_time() - processor, 3))
        failed = optuna.trial.TrialState.FAIL
        self.study.tell(trial, value) if value is not None else self.study.tell(trial, state=failed)


def _check(sensitivity_given: Sensitivity, searches: Sequence[_Search], folder: Path) -> None:
    """Refuse when nothing succeeded; say what failed otherwise."""
    bad = {}
    for search in searches:
        reasons = [t.user_attrs.get("reason", "") for t in search.finished if t.values is None]
        if reasons and len(reasons) == search.count:
            bad[search.regime.name] = (
                f"not one of {search.count} trials of '{search.regime.name}' succeeded ({reasons[0]})"
            )
    if bad and len(bad) == len(searches):
        raise ConfigError(f"{folder}: {'; '.join(bad.values())}")
    values = list(bad.values())
    failed = int((sensitivity_given.trials["state"] == "failed").sum()) - sum(
        s.count for s in searches if s.regime.name in bad
    )
    if failed:
        values.append(f"{failed} of {len(sensitivity_given.trials)} trials failed; tables/trials.csv says why")
    if values:
        warnings.warn("; ".join(values), PlaitWarning, stacklevel=3)
