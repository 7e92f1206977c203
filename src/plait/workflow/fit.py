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
from plait.base.deadline import ANSWER, BEFORE_REPORT, PAGE, Deadline
from plait.base.errors import ConfigError, warn
from plait.base.folders import check_folder
from plait.base.inputs import Inputs
from plait.branches.mixture import patterns
from plait.data import schema, table
from plait.data.cells import media_columns
from plait.data.dropped import Columns, left_out
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

#: Seconds of the processor, measured on Hearthstone and rounded up: judging one test row; the worth of one column, by one
#: member; a linear baseline for one training row, and all of them where trees are not the model's own.
JUDGING, WORTH, LINEAR, ALL = 3e-4, 0.03, 1.5e-4, 4e-4
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
    frame, one = _read(frame, table_schema, settings), target is None or isinstance(target, str)
    schemas = _schemas(frame, table_schema, target, settings.get("drop"))
    models = [make_model(each, settings) for each in schemas.values()]
    for model in models:
        check_settings(model)
    budget = Deadline(models[0].minutes, BEFORE_REPORT, begun=command.begun, after=PAGE)
    budget.check_begun()
    if out is not None:
        check_folder(out, "Fusion")
    with contextlib.ExitStack() as kept:
        own: Mapping[str, Mapping[str, Any]] = dict.fromkeys(schemas, settings)
        if not one:
            own = _of_their_task(schemas, kept.enter_context(settings_of_each(settings, list(schemas))))
        outcomes = _fit_each(frame, schemas, own, rows, (kept, budget))
        for outcome in outcomes.values():
            outcome.model.record_["command"] = command.words
            if not one:  # as they were given: each model had places of its own
                outcome.model.set_params(**{k: settings.get(k) for k in ("store", "checkpoint")})
        saved: Mapping[str, Outcome] = outcomes if one else TargetOutcomes(outcomes)
        if out is not None:
            progress.step("write model and report", settings.get("progress"))
            if isinstance(saved, TargetOutcomes):
                saved = save_outcomes(saved, Path(out), report=report, command=command.words)
            else:
                saved = {k: save_outcome(v, Path(out), report=report, command=command.words) for k, v in saved.items()}
    note_outcomes(tracked, saved)
    return saved if isinstance(saved, TargetOutcomes) else saved[next(iter(saved))]


def _read(frame: pd.DataFrame, given: Schema | None, settings: Mapping[str, Any]) -> pd.DataFrame:
    """The table with each of its columns read once, and with the cells that lie elsewhere, where these are to be fetched."""
    frame = table.as_frame(frame)
    if settings.get("remote"):
        media = media_columns(given.modalities) if given is not None else []
        root = settings.get("root") or (given.root if given is not None else None)
        frame = fetch_cells(frame, settings["remote"], root, media, settings.get("progress"))
    return typed(frame)


def _schemas(frame: pd.DataFrame, given: Schema | None, target: Any, drop: Columns | None) -> dict[str, Schema]:
    """Target -> its schema: the one that was given, or one for each target, without the columns that are no inputs."""
    if target is not None:
        return schemas_of(frame, given, targets_of(target, frame), drop)
    if given is None or given.target is None:
        raise ConfigError("the schema names no target; say which column to predict (--target)")
    return {given.target: left_out(given, drop, frame.columns)}


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


def _fit_each(
    frame: pd.DataFrame,
    schemas: Mapping[str, Schema],
    settings: Mapping[str, Mapping[str, Any]],
    split: Split,
    around: tuple[contextlib.ExitStack, Deadline],
) -> dict[str, Outcome]:
    """One target after the other, none an input of another; each has its share of the time that is left."""
    kept, end = around
    outcomes: dict[str, Outcome] = {}
    for name, each in schemas.items():
        others = [other for other in schemas if other != name]
        part = end if len(schemas) == 1 else end.part_of(len(schemas) - len(outcomes))
        outcomes[name] = _fit_one(frame.drop(columns=others), each, settings[name], split, (kept, part))
        outcomes[name].model.record_["held_out"]["other_targets"] = others
    return outcomes


@dataclasses.dataclass
class Sides:
    """Both sides of a split.

    Attributes:
        seen: cells that are learned from, their target ``y``, and ``groups``: what stays together.
        held_out: cells that are judged by, and their target ``truth``.
        chosen: cells and target of the rows that choose the best state; None: the fit draws its own.
    """

    seen: pd.DataFrame
    y: Any
    groups: np.ndarray | None
    held_out: pd.DataFrame
    truth: Any
    chosen: tuple[pd.DataFrame, Any] | None


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
    model, seed = make_model(table_schema, settings), int(settings.get("random_state") or 0)
    sides = _sides(model, frame, table_schema, split, seed)
    progress.plan(_steps(model, table_schema), model.progress)
    kept.enter_context(model.keeping())  # its checkpoint, until the model is saved
    members = member_count(of_quality(model.settings()).members, len(sides.seen), bool(model.train))
    worth = WORTH * members * len({column for modality in table_schema.modalities for column in modality.columns})
    judging = JUDGING + ANSWER * members * len(patterns([m.name for m in table_schema.modalities]))
    known: list[tuple[Any, Inputs]] = []
    with model.remembering(known):
        rows = _learn(model, sides, end, (judging, worth), seed)
        if not (used := model.learned_rows_).all():
            sides.seen, sides.y = known[-1][0], part_of(sides.y, np.flatnonzero(used))
        if len(rows) < len(sides.held_out):
            end.left_out.append(f"{len(sides.held_out) - len(rows):,} of {len(sides.held_out):,} rows to judge by")
            rows = np.sort(rows)
            sides.held_out, sides.truth = sides.held_out.iloc[rows], part_of(sides.truth, rows)
        outcome = _judge(model, sides, end, worth)
        end.note(model.record_)
        end.tell()
    model.record_["test_rows"] = len(sides.held_out)
    model.record_["held_out"] = {**dataclasses.asdict(split), "seed": seed}
    return outcome


def _sides(model: FusionEstimator, frame: pd.DataFrame, table_schema: Schema, split: Split, seed: int) -> Sides:
    """Check the table, and hold rows out of it."""
    name = str(table_schema.target)
    frame = with_target(frame, name)
    schema.validate(table_schema, frame)
    schema.tell_unused(table_schema, frame, (split.split_column, split.group))
    target = target_values(frame[name], table_schema.task)  # refuses labels that no file can hold
    train, test = split_rows(frame, table_schema, split.test_fraction, split.split_column, split.group, seed)
    chosen = train[:0]
    if model.validation == "given":
        train, chosen = choosing_rows(frame, table_schema, train, split)
    an_input = any(name in modality.columns for modality in table_schema.modalities)
    cells = frame if an_input else frame.drop(columns=name)
    seen, held_out = cells.iloc[train], cells.iloc[test]  # each row keeps its number
    groups = None if split.group is None else seen[split.group].to_numpy()
    choosing = (cells.iloc[chosen], part_of(target, chosen)) if len(chosen) else None
    return Sides(seen, part_of(target, train), groups, held_out, part_of(target, test), choosing)


def _learn(model: FusionEstimator, sides: Sides, end: Deadline, costs: tuple[float, float], seed: int) -> np.ndarray:
    """Fit; places of the held-out rows that the time is enough to judge by.

    ``costs``: seconds of the processor for judging one row, and for the worth of all columns.
    """
    judging, worth = costs
    rows = _affordable(len(sides.held_out), JUDGE * end.left(), end.lasting(judging), seed)
    value = (sides.held_out, sides.truth) if model.record_epochs else None
    with end.expecting(len(rows) * judging):
        model.fit(sides.seen, sides.y, groups=sides.groups, test=value, valid=sides.chosen, end=end)
    if not end.encoding:
        return rows
    rest = end.lasting(PAGE + int(model.learned_rows_.sum()) * ALL + worth)
    left = JUDGE_TRAINED * (end.left() - rest)
    return rows[: len(_affordable(len(rows), left, end.encoding + end.lasting(judging), seed))]


def _affordable(rows: int, left: float, seconds: float, seed: int) -> np.ndarray:
    """Places of the held-out rows, drawn, that the time ``left`` is enough for, of so many seconds each."""
    room = rows if math.isinf(left) else max(LEAST_JUDGED, int(max(left, 0.0) / max(seconds, 1e-9)))
    return np.random.default_rng(seed).permutation(rows)[:room]


def _judge(model: FusionEstimator, sides: Sides, end: Deadline, worth: float) -> Outcome:
    """Answer the held-out rows once, and say what follows from the answers; ``worth``: seconds for the worth of all columns."""
    held_out, truth = sides.held_out, sides.truth
    progress.step("judge on held-out rows", model.progress)
    with _test_stage(model.record_):
        outputs = model.predict_subsets(held_out)
    y = truth.indicator if isinstance(truth, Labels) else truth
    simple_seconds = len(sides.seen) * (LINEAR if light(model) else ALL)
    names = NAMES if end.room("baselines but the majority", PAGE + simple_seconds) else ("majority",)
    compare = partial(baselines_beside, model, (sides.seen, sides.y), (held_out, truth), outputs, names)
    # A linear baseline takes a second core while this one judges and explains; other learners are not made for two threads.
    with machine.blas_on_one_core(), ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(compare) if light(model) else None
        judged = evaluate(model, held_out, y=y, subsets=outputs)
        explained = explain(model, held_out, y=y, outputs=outputs)
        columns = pd.DataFrame()
        if end.room("the worth of columns", PAGE + (simple_seconds if names is NAMES else 0.0) + worth):
            columns = importance(model, held_out, y=y, explanation=explained)
        simple = compare() if waiting is None else waiting.result()
    return Outcome(model, judged, explained, columns, simple, model.leaks_)


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
