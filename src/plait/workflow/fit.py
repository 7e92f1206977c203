"""The main job in one call: split, fit, evaluate on rows never seen, explain, save, report."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from plait.base import checks, config, memory, progress
from plait.base.deadline import BEFORE_REPORT, Deadline, until
from plait.base.errors import ConfigError, MissingDependencyError, PlaitWarning, TableError
from plait.data import schema, table
from plait.data.modality import Schema
from plait.data.targets import Labels, target_values, with_target
from plait.estimators.base import FusionEstimator
from plait.estimators.estimators import FusionClassifier, FusionRegressor
from plait.estimators.settings import check_settings
from plait.evaluation.baselines import NAMES, Baselines, Lead, baselines
from plait.evaluation.evaluate import Evaluation, evaluate
from plait.evaluation.explain import Explanation, explain
from plait.evaluation.importance import importance
from plait.evaluation.plain_features import seen_by_baselines, table_of
from plait.evaluation.predictions import gather
from plait.store import model_files

#: Shares of a time budget after which these are left out.
IMPORTANCE_BEFORE, BASELINES_BEFORE = 0.75, 0.8


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What ``fit_table`` gives.

    Attributes:
        model: fitted.
        evaluation: of it on the test rows.
        explanation: what each modality is worth there.
        importance: what each column is worth there.
        baselines: what it must beat, on the same rows.
        leaks: what looks like the target in disguise.
        folder: where model and report lie, or None when nothing was saved.
        report: the page, or None.
    """

    model: FusionEstimator
    evaluation: Evaluation
    explanation: Explanation
    importance: pd.DataFrame
    baselines: Baselines
    leaks: Sequence[Mapping[str, Any]]
    folder: Path | None = None
    report: Path | None = None


def make_model(table_schema: Schema, settings: Mapping[str, Any]) -> FusionEstimator:
    """The estimator for a schema's task; unknown settings are refused with the nearest name."""
    kind = FusionRegressor if table_schema.task == "regression" else FusionClassifier
    options = {"modalities": table_schema, "task": table_schema.task, "root": table_schema.root, **settings}
    if isinstance(options.get("branches"), list):
        options["branches"] = tuple(options["branches"])
    return config.build(kind, options, "settings")


def fit_table(
    frame: pd.DataFrame,
    table_schema: Schema,
    settings: Mapping[str, Any] | None = None,
    *,
    out: str | Path | None = None,
    test_fraction: float = 0.15,
    split_column: str | None = None,
    group: str | None = None,
    report: bool = True,
    command: str = "",
) -> Outcome:
    """Fit on a part of the table, judge on the rest, say what each modality is worth, and save it all.

    Args:
        frame: the table, target included.
        table_schema: its schema, with a target (``schema.infer``).
        settings: fields of the estimator.
        out: folder for the model and the report; None saves nothing.
        test_fraction: share of rows held out, spread over the classes.
        split_column: a column that says ``train`` or ``test`` instead; ``valid`` rows choose the epoch of a model that wants
            validation rows (``validation: given``) and are training rows of any other. Without it such a model gets a third as
            many validation rows as test rows.
        group: a column whose equal values stay on one side.
        report: write the page (extra ``report``).
        command: what to run to do it again, for the page.
    """
    settings = dict(settings or {})
    if table_schema.target is None:
        raise ConfigError("the schema names no target; say which column to predict (--target)")
    model = make_model(table_schema, settings)
    check_settings(model)
    budget = Deadline(model.minutes, BEFORE_REPORT)
    if split_column is None:
        checks.number(test_fraction, "test_fraction", 0, 1, above=True, below=True)
    if out is not None:
        model_files.check_folder(out, "Fusion")
    frame = with_target(table.typed(frame), table_schema.target)  # from here on each column is read once
    schema.validate(table_schema, frame)
    schema.tell_unused(table_schema, frame, (split_column, group))
    target = target_values(frame[table_schema.target], table_schema.task)  # refuses labels that no file can hold
    train, test = split_rows(
        frame, table_schema, test_fraction, split_column, group, int(settings.get("random_state") or 0)
    )
    chosen = train[:0]
    if model.validation == "given":
        train, chosen = _choosing(
            frame, table_schema, train, (split_column, group, test_fraction / 3 / (1 - test_fraction))
        )
    progress.plan(_steps(model, table_schema), model.progress)
    used = {column for modality in table_schema.modalities for column in modality.columns}
    cells = frame if table_schema.target in used else frame.drop(columns=table_schema.target)
    seen, held_out = cells.iloc[train], cells.iloc[test]  # each row keeps its number
    groups = None if group is None else seen[group].to_numpy()
    truth = _part(target, test)
    value = (held_out, truth) if model.record_epochs else None
    with contextlib.ExitStack() as kept:
        end = kept.enter_context(until(budget))
        kept.enter_context(model.keeping())  # its checkpoint, until the model is saved
        kept.enter_context(model.remembering())
        valid = (cells.iloc[chosen], _part(target, chosen)) if len(chosen) else None
        model.fit(seen, _part(target, train), groups=groups, test=value, valid=valid)
        warned = model.leaks_
        progress.step("judge on held-out rows", model.progress)
        with _test_stage(model.record_):
            outputs = model.predict_subsets(held_out)
            y = truth.indicator if isinstance(truth, Labels) else truth
            judged = evaluate(model, held_out, y=y, outputs=outputs)
        explained = explain(model, held_out, y=y, outputs=outputs)
        columns = pd.DataFrame()
        if end.room("the worth of columns", IMPORTANCE_BEFORE):
            columns = importance(model, held_out, y=y, explanation=explained)
        names = NAMES if end.room("baselines but the majority", BASELINES_BEFORE) else ("majority",)
        simple = _baselines(model, (seen, _part(target, train)), (held_out, truth), outputs, names)
        end.note(model.record_)
        end.tell()
        model.record_["command"] = command
        model.record_["test_rows"] = len(test)
        about = {"test_fraction": test_fraction, "split_column": split_column, "group": group}
        model.record_["held_out"] = {**about, "seed": int(settings.get("random_state") or 0)}
        outcome = Outcome(model, judged, explained, columns, simple, warned)
        if out is None:
            return outcome
        progress.step("write model and report", model.progress)
        page = save_outcome(outcome, Path(out), report=report, command=command)
    return dataclasses.replace(outcome, folder=Path(out), report=page)


def _steps(model: FusionEstimator, table_schema: Schema) -> list[str]:
    """What a fit goes through, as the terminal shows it."""
    encoded = [f"encode {m.name}" for m in table_schema.modalities if m.kind != "tabular"]
    aligned = ["align"] if model.align else []
    return [*encoded, *aligned, "train", "judge on held-out rows", "write model and report"]


@contextlib.contextmanager
def _test_stage(record: dict[str, Any]) -> Iterator[None]:
    """Seconds and peak memory of answering the held-out rows, beside those of the other stages."""
    clock = time.perf_counter()
    memory.begin_stage()
    yield
    record["seconds"]["test"] = round(time.perf_counter() - clock, 3)
    record["stage_peak_mb"]["test"] = memory.stage_mb()


def save_outcome(outcome: Outcome, folder: Path, *, report: bool, command: str) -> Path | None:
    """The model folder with its evaluation, explanation and page, whole or not at all; the page, if there is one."""
    from plait.estimators import modelfile

    written = False
    with model_files.whole_folder(folder, "Fusion") as place:
        modelfile.write(outcome.model, place)
        results = {
            "evaluation": outcome.evaluation.to_dict(),
            "explanation": outcome.explanation.to_dict(),
            "importance": outcome.importance.to_dict("records"),
            "baselines": {k: dict(v) for k, v in outcome.baselines.items()},
            "against": list(outcome.baselines.against),
            "leaks": [dict(leak) for leak in outcome.leaks],
        }
        text = json.dumps(model_files.plain_values(results), indent=1, ensure_ascii=False)
        model_files.write_file(place / "results.json", text.encode("utf-8", "backslashreplace"))
        if report:
            written = _write_page(place, outcome, command)
    return folder / "report.html" if written else None


def _write_page(place: Path, outcome: Outcome, command: str) -> bool:
    try:
        from plait.report.fit import FitReport, write_report

        model = outcome.model
        page = FitReport(
            evaluation=outcome.evaluation,
            schema=model.schema_,
            explanation=outcome.explanation,
            baselines=outcome.baselines,
            importance=outcome.importance,
            leaderboard=getattr(model, "leaderboard_", None),
            history=model.history_,
            settings=model.record_.get("settings") or model.get_params(deep=False),
            record={**model.record_, "leaks": outcome.leaks},
            command=command,
        )
        write_report(place, page)
    except MissingDependencyError as error:
        warnings.warn(f"no report page: {error}", PlaitWarning, stacklevel=3)
        return False
    return True


def split_rows(
    frame: pd.DataFrame, table_schema: Schema, fraction: float, split_column: str | None, group: str | None, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Positions of training and test rows."""
    groups = None if group is None else group_column(frame, group)
    if split_column is not None:
        if split_column not in frame.columns:
            raise TableError(
                f"no column '{split_column}' to split by; the table has: {', '.join(map(str, frame.columns))}"
            )
        value = frame[split_column].astype(str).str.lower()
        train, test = np.flatnonzero(value != "test"), np.flatnonzero(value == "test")
        if not len(train) or not len(test):
            raise TableError(
                f"column '{split_column}' must say 'test' for some rows and not for others; found {value.unique()[:5]}"
            )
        return train, test
    checks.number(fraction, "test_fraction", 0, 1, above=True, below=True)
    stratify = frame[table_schema.target] if table_schema.task == "classification" and group is None else None
    train, test = table.split(frame, (1 - fraction, fraction), seed, stratify=stratify, group=groups)
    return train, test


def _choosing(
    frame: pd.DataFrame, table_schema: Schema, train: np.ndarray, how: tuple[str | None, str | None, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Training rows without those that choose, and these: what the column calls valid, or a drawn share."""
    column, group, share = how
    part = frame.iloc[train].reset_index(drop=True)
    if column is None:
        groups = None if group is None else group_column(part, group)
        stratify = part[table_schema.target] if table_schema.task == "classification" and group is None else None
        left, drawn = table.split(part, (1 - share, share), 0, stratify=stratify, group=groups)
        return train[left], train[drawn]
    words = np.isin(part[column].astype(str).str.lower(), table.VALID)
    if not words.any() or words.all():
        raise TableError(
            f"validation: given, but column '{column}' says 'valid' for {int(words.sum())} of {len(words)} rows"
        )
    return train[~words], train[words]


def group_column(frame: pd.DataFrame, group: str) -> pd.Series:
    """The column to group by, if the table has it."""
    if group not in frame.columns:
        raise TableError(f"no column '{group}' to group by; the table has: {', '.join(map(str, frame.columns))}")
    return frame[group]


def _part(target: Any, rows: np.ndarray) -> Any:
    return target.take(rows) if isinstance(target, Labels) else target[rows]


def _baselines(
    model: FusionEstimator,
    train: tuple[pd.DataFrame, Any],
    test: tuple[pd.DataFrame, Any],
    outputs: Mapping[Any, Any],
    names: Sequence[str],
) -> Baselines:
    """What the fusion must be better than, learned and judged on the same rows."""
    seen = seen_by_baselines(model, train[0], test[0])
    y = [truth.indicator if isinstance(truth, Labels) else truth for truth in (train[1], test[1])]
    ours = gather(model, test[0], None, y=y[1], outputs=outputs)
    lead, rows = Lead(ours.main, ours.costs, names), ((seen[0], y[0]), (seen[1], y[1]))
    return baselines(model.task_, *rows, table=table_of(model.schema_), ours=ours.inputs(), lead=lead)
