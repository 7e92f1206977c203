"""The main job in one call: split, fit, evaluate on rows never seen, explain, save, report."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, overload

import numpy as np
import pandas as pd

from plait.base import checks, config, machine, progress
from plait.base.deadline import ANSWER, BEFORE_REPORT, Deadline
from plait.base.errors import ConfigError, warn
from plait.base.folders import check_folder
from plait.base.inputs import Inputs
from plait.branches.mixture import patterns
from plait.data import schema, table
from plait.data.cells import media_columns
from plait.data.modality import Schema
from plait.data.remote_cells import fetch_cells
from plait.data.targets import Labels, target_values, with_target
from plait.data.typed import typed
from plait.estimators import tracking
from plait.estimators.base import FusionEstimator
from plait.estimators.estimators import FusionClassifier, FusionRegressor
from plait.estimators.objective import check
from plait.estimators.settings import check_settings, of_quality
from plait.evaluation.baselines import NAMES
from plait.evaluation.beside import baselines_beside, light
from plait.evaluation.evaluate import evaluate
from plait.evaluation.explain import explain
from plait.evaluation.importance import importance
from plait.training.design import member_count
from plait.workflow.outcome import (
    Outcome,
    TargetOutcomes,
    note_outcomes,
    save_outcome,
    save_outcomes,
    schemas_of,
    settings_of_each,
    targets_of,
)
from plait.workflow.rows import Split, choosing_rows, part_of, split_rows

#: Seconds of the processor, measured on Hearthstone and rounded up: the page and all files; judging one test row; the worth of
#: one column, by one member; a linear baseline for one training row, and all of them where trees are not the model's own.
PAGE, JUDGING, WORTH, LINEAR, ALL = 1.7, 3e-4, 0.03, 1.5e-4, 4e-4
#: Shares of the time that is left in which held-out rows may be judged, before and (encoded and judged) after training; and rows
#: that are judged by in any case.
JUDGE, JUDGE_TRAINED, LEAST_JUDGED = 0.2, 0.6, 200


def make_model(table_schema: Schema, settings: Mapping[str, Any]) -> FusionEstimator:
    """The estimator for a schema's task; unknown settings are refused with the nearest name."""
    kind = FusionRegressor if table_schema.task == "regression" else FusionClassifier
    options = {"modalities": table_schema, "task": table_schema.task, "root": table_schema.root, **settings}
    if isinstance(options.get("branches"), list):
        options["branches"] = tuple(options["branches"])
    return config.build(kind, options, "settings")


@dataclasses.dataclass(frozen=True)
class Command:
    """The command that a fit is a part of.

    Attributes:
        words: what to run to do it again, for the page.
        begun: when it began, by ``plait.base.deadline.now``: libraries and the table are read before the fit; None: with it.
    """

    words: str = ""
    begun: float | None = None


@overload
def fit_table(
    frame: pd.DataFrame,
    table_schema: Schema | None = ...,
    settings: Mapping[str, Any] | None = ...,
    *,
    target: str | None = ...,
    out: str | Path | None = ...,
    split: Split | Mapping[str, Any] | None = ...,
    report: bool = ...,
    command: Command = ...,
) -> Outcome: ...
@overload
def fit_table(
    frame: pd.DataFrame,
    table_schema: Schema | None = ...,
    settings: Mapping[str, Any] | None = ...,
    *,
    target: list[str] | Mapping[str, str | None],
    out: str | Path | None = ...,
    split: Split | Mapping[str, Any] | None = ...,
    report: bool = ...,
    command: Command = ...,
) -> TargetOutcomes: ...
def fit_table(
    frame: pd.DataFrame,
    table_schema: Schema | None = None,
    settings: Mapping[str, Any] | None = None,
    *,
    target: str | list[str] | Mapping[str, str | None] | None = None,
    out: str | Path | None = None,
    split: Split | Mapping[str, Any] | None = None,
    report: bool = True,
    command: Command = Command(),
) -> Outcome | TargetOutcomes:
    """Fit on a part of the table, judge on the rest, say what each modality is worth, and save it all.

    Args:
        frame: the table, target included.
        table_schema: its schema (``schema.infer``); None infers it.
        settings: fields of the estimator.
        target: the column to predict; None takes the schema's. A list, or target -> task (None: inferred): one model each, no
            target an input of another, with encodings that are made once.
        out: folder for the model and the report; None saves nothing.
        split: ``{test_fraction, split_column, group}``: how rows are held out to judge by.
        report: write the page (extra ``report``).
        command: what to run to do it again, for the page, and since when the budget of time counts.
    """
    settings = dict(settings or {})
    track = settings.pop("track", None)  # the whole run is noted here, with its scores and report
    tracked = None if track is None else tracking.track_of(track)
    rows = split if isinstance(split, Split) else config.build(Split, dict(split or {}), "split")
    if rows.split_column is None:
        checks.number(rows.test_fraction, "test_fraction", 0, 1, above=True, below=True)
    frame = table.as_frame(frame)
    if settings.get("remote"):
        media = media_columns(table_schema.modalities) if table_schema is not None else []
        root = settings.get("root") or (table_schema.root if table_schema is not None else None)
        frame = fetch_cells(frame, settings["remote"], root, media, settings.get("progress"))
    frame = typed(frame)  # each column is read once
    one = target is None or isinstance(target, str)
    schemas = _schemas(frame, table_schema, target)
    models = {name: make_model(each, settings) for name, each in schemas.items()}
    for model in models.values():
        check_settings(model)
    budget = Deadline(next(iter(models.values())).minutes, BEFORE_REPORT, begun=command.begun, after=PAGE)
    if out is not None:
        check_folder(out, "Fusion")
    with contextlib.ExitStack() as kept:
        own: Mapping[str, Mapping[str, Any]] = dict.fromkeys(schemas, settings)
        if not one:
            own = _of_their_task(schemas, kept.enter_context(settings_of_each(settings, list(schemas))))
        outcomes: dict[str, Outcome] = {}
        for name, each in schemas.items():
            others = [other for other in schemas if other != name]
            part = budget if one else budget.part_of(len(schemas) - len(outcomes))
            outcomes[name] = _fit_one(frame.drop(columns=others), each, own[name], rows, (kept, part))
            outcomes[name].model.record_["command"] = command.words
            outcomes[name].model.record_["held_out"]["other_targets"] = others
            if not one:
                outcomes[name].model.set_params(**{k: settings.get(k) for k in ("store", "checkpoint")})
        if out is None:
            note_outcomes(tracked, outcomes, {})
            return outcomes[next(iter(outcomes))] if one else TargetOutcomes(outcomes)
        progress.step("write model and report", settings.get("progress"))
        if not one:
            saved = save_outcomes(TargetOutcomes(outcomes), Path(out), report=report, command=command.words)
            note_outcomes(tracked, saved, {name: each.folder for name, each in saved.items()})
            return saved
        outcome = outcomes[next(iter(outcomes))]
        page = save_outcome(outcome, Path(out), report=report, command=command.words)
    note_outcomes(tracked, outcomes, dict.fromkeys(outcomes, Path(out)))
    return dataclasses.replace(outcome, folder=Path(out), report=page)


def _schemas(frame: pd.DataFrame, given: Schema | None, target: Any) -> dict[str, Schema]:
    """Target -> its schema: the one that was given, or one for each target."""
    if target is not None:
        return schemas_of(frame, given, targets_of(target, frame))
    if given is None or given.target is None:
        raise ConfigError("the schema names no target; say which column to predict (--target)")
    return {given.target: given}


def _of_their_task(
    schemas: Mapping[str, Schema], settings: Mapping[str, Mapping[str, Any]]
) -> dict[str, Mapping[str, Any]]:
    """Each target's settings without a metric and a transform that its task cannot have; told, if another target has them.

    Raises:
        ConfigError: no target can have them.
    """
    result = dict(settings)
    for names in (("metric", "costs"), ("target_transform",)):
        refused = {}
        for target, own in settings.items():
            metric, costs, transform = (
                own.get(n) if n in names else None for n in ("metric", "costs", "target_transform")
            )
            try:
                check(schemas[target].task, transform or "auto", metric, costs)
            except ConfigError as error:
                refused[target] = error
        if len(refused) == len(settings):
            raise next(iter(refused.values()))
        for target, why in refused.items():
            warn(f"target '{target}' goes without: {why}")
            result[target] = {name: value for name, value in result[target].items() if name not in names}
    return result


def _fit_one(
    frame: pd.DataFrame,
    table_schema: Schema,
    settings: Mapping[str, Any],
    split: Split,
    around: tuple[contextlib.ExitStack, Deadline],
) -> Outcome:
    """Fit, judge and explain the model of one target.

    ``around``: what is to be closed when all is saved, as what is kept for a killed fit; and when work must end.
    """
    kept, end = around
    name = str(table_schema.target)
    model = make_model(table_schema, settings)
    frame = with_target(frame, name)
    schema.validate(table_schema, frame)
    schema.tell_unused(table_schema, frame, (split.split_column, split.group))
    target = target_values(frame[name], table_schema.task)  # refuses labels that no file can hold
    seed = int(settings.get("random_state") or 0)
    train, test = split_rows(frame, table_schema, split.test_fraction, split.split_column, split.group, seed)
    chosen = train[:0]
    if model.validation == "given":
        train, chosen = choosing_rows(frame, table_schema, train, split)
    progress.plan(_steps(model, table_schema), model.progress)
    used = {column for modality in table_schema.modalities for column in modality.columns}
    cells = frame if name in used else frame.drop(columns=name)
    seen, held_out = cells.iloc[train], cells.iloc[test]  # each row keeps its number
    groups = None if split.group is None else seen[split.group].to_numpy()
    y_train, truth = part_of(target, train), part_of(target, test)
    valid = (cells.iloc[chosen], part_of(target, chosen)) if len(chosen) else None
    kept.enter_context(model.keeping())  # its checkpoint, until the model is saved
    members = _members(model, len(train))
    answer = ANSWER * members * len(patterns([m.name for m in table_schema.modalities]))
    known: list[tuple[Any, Inputs]] = []
    with model.remembering(known):
        value = (held_out, truth) if model.record_epochs else None
        judging = JUDGING + answer
        judged_rows = _judged(len(test), JUDGE * end.left(), end.lasting(judging), seed)
        with end.expecting(len(judged_rows) * judging):
            model.fit(seen, y_train, groups=groups, test=value, valid=valid, end=end)
        if not (used_rows := model.learned_rows_).all():
            seen, y_train = known[-1][0], part_of(y_train, np.flatnonzero(used_rows))
        if end.encoding:
            rest = end.lasting(PAGE + len(seen) * ALL + WORTH * members * len(used))
            left = JUDGE_TRAINED * (end.left() - rest)
            judged_rows = judged_rows[: len(_judged(len(judged_rows), left, end.encoding + end.lasting(judging), seed))]
        if len(judged_rows) < len(test):
            end.left_out.append(f"{len(test) - len(judged_rows):,} of {len(test):,} rows to judge by")
            judged_rows = np.sort(judged_rows)
            held_out, truth = held_out.iloc[judged_rows], part_of(truth, judged_rows)
        progress.step("judge on held-out rows", model.progress)
        with _test_stage(model.record_):
            outputs = model.predict_subsets(held_out)
        y = truth.indicator if isinstance(truth, Labels) else truth
        simple_seconds = len(seen) * (LINEAR if light(model) else ALL)
        names = NAMES if end.room("baselines but the majority", PAGE + simple_seconds) else ("majority",)
        compare = partial(baselines_beside, model, (seen, y_train), (held_out, truth), outputs, names)
        # A linear baseline takes a second core while this one judges and explains; other learners are not made for two threads.
        with machine.blas_on_one_core(), ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(compare) if light(model) else None
            judged = evaluate(model, held_out, y=y, subsets=outputs)
            explained = explain(model, held_out, y=y, outputs=outputs)
            columns = pd.DataFrame()
            rest = PAGE + (simple_seconds if names is NAMES else 0.0) + WORTH * members * len(used)
            if end.room("the worth of columns", rest):
                columns = importance(model, held_out, y=y, explanation=explained)
            simple = compare() if waiting is None else waiting.result()
        end.note(model.record_)
        end.tell()
    model.record_["test_rows"] = len(held_out)
    model.record_["held_out"] = {**dataclasses.asdict(split), "seed": seed}
    return Outcome(model, judged, explained, columns, simple, model.leaks_)


def _judged(rows: int, left: float, seconds: float, seed: int) -> np.ndarray:
    """Places of the held-out rows, drawn, that the time ``left`` is enough for, of so many seconds each."""
    room = rows if math.isinf(left) else max(LEAST_JUDGED, int(max(left, 0.0) / max(seconds, 1e-9)))
    return np.random.default_rng(seed).permutation(rows)[:room]


def _members(model: FusionEstimator, rows: int) -> int:
    """How many members a fit of so many rows has."""
    return member_count(of_quality(model.settings()).members, rows, bool(model.train))


def _steps(model: FusionEstimator, table_schema: Schema) -> list[str]:
    """What a fit goes through, as the terminal shows it."""
    encoded = [f"encode {m.name}" for m in table_schema.modalities if m.kind != "tabular"]
    aligned = ["align"] if model.align else []
    return [*encoded, *aligned, "train", "judge on held-out rows", "write model and report"]


@contextlib.contextmanager
def _test_stage(record: dict[str, Any]) -> Iterator[None]:
    """Seconds and peak memory of answering the held-out rows, beside those of the other stages."""
    clock = time.perf_counter()
    machine.begin_stage()
    yield
    record["seconds"]["test"] = round(time.perf_counter() - clock, 3)
    record["stage_peak_mb"]["test"] = machine.stage_mb()
