"""A search in one call, and as a YAML file: the same names as in Python and on the command line."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import pandas as pd

from plait.base import checks, config, progress
from plait.base.errors import ConfigError, MissingDependencyError, TableError, nearest, warn
from plait.data.modality import Schema
from plait.data.schema import check_columns, validate
from plait.report.blocks import frame_table
from plait.report.page import csv_text, write_text
from plait.report.words import listed
from plait.study import Study
from plait.study.ranges import read_ranges, read_regimes, schema_for
from plait.study.report import write_study_report
from plait.study.results import Results
from plait.study.sensitivity import Sensitivity, metric_of
from plait.study.spec import DataSpec
from plait.study.tables import load_table

#: Rows below which there is nothing to split.
LEAST = 10
#: Fields of a search file.
FILE_FIELDS = (
    *("data", "model", "ranges", "regimes", "trials", "metric", "valid_fraction", "splits"),
    *("group", "sampler", "seed", "storage"),
)
_DATA = ("table", "dataset", "target", "schema", "options", "root", "remote", "task", "rows")


@dataclasses.dataclass(frozen=True)
class SearchOptions:
    """How a search draws, judges and writes.

    Attributes:
        metric: to judge by; None: the task's main one.
        valid_fraction: share of the rows that trials are judged on.
        splits: over which a trial's score is averaged.
        group: column whose equal values stay on one side of a split.
        sampler: ``tpe`` (draws where it was good, after ten at random), ``random`` (even pictures) or ``grid``.
        seed: of splits, draws and training.
        storage: of Optuna, where trials are kept, too, and taken up from: ``sqlite:///trials.db``, or a journal file.
        store: of embeddings.
        report: write the page (extra ``report``).
        view: show progress; None: only on a terminal.
        command: for the page.
    """

    metric: str | None = None
    valid_fraction: Annotated[float, checks.Within(0, 1, above=True, below=True)] = 0.2
    splits: Annotated[int, checks.Within(1, 1000)] = 1
    group: str | None = None
    sampler: str = "tpe"
    seed: checks.Seed = 0
    storage: str | None = None
    store: str | None = None
    report: bool = True
    view: bool | None = None
    command: str = ""

    def __post_init__(self) -> None:
        checks.check(self)


def sensitivity(
    frame: pd.DataFrame,
    schema: Schema,
    *,
    out: str | Path,
    ranges: Mapping[str, object] | Sequence[str] | None = None,
    regimes: Mapping[str, object] | Sequence[str] | None = None,
    settings: Mapping[str, object] | None = None,
    trials: Annotated[int, checks.Within(1, 100_000)] = 20,
    **options: Any,
) -> Sensitivity:
    """How a score answers to learning rate, batch size, dropout or any other field, in each regime of training.

    Every trial fits on a part of the rows and is judged on the rest: give training rows only, the test rows stay with you.
    All regimes are searched over the same ranges, with the same seeds, judged on the same validation rows; what is drawn for
    trial k depends on the seed, k and the trials before, so that a search that was killed goes on as if it had not been.
    It is a study whose runs a sampler draws (``search:`` of a study file), in this process.

    Args:
        frame: training rows, target included.
        schema: of the table.
        out: folder of the study, the page, figures and tables.
        ranges: field -> ``1e-4..1e-1 log``, ``{low, high, log}`` or a list of choices; None: learning rate, batch size, dropout.
        regimes: words of ``train`` (``frozen``, ``scratch``, ``pretrain``), or name -> ``{train: ..., setting: ...}``.
        settings: of the estimator, in every trial.
        trials: per regime; a finished search may be given more.
        options: further fields of ``SearchOptions``: metric, valid_fraction, splits, group, sampler, seed, storage, report, ...

    Raises:
        PlaitError: a table, range, regime or setting that cannot be used; not one trial succeeded.
    """
    chosen = config.build(SearchOptions, options, "search")
    checks.check_call(sensitivity, {"trials": trials})
    target = check_rows(frame, schema)
    if chosen.group is not None and chosen.group not in frame.columns:
        there = ", ".join(map(str, frame.columns))
        raise TableError(f"no column '{chosen.group}' to group by; the table has: {there}")
    metric = metric_of(schema.task, chosen.metric)
    common = dict(settings or {})
    search = {name: getattr(chosen, name) for name in ("sampler", "valid_fraction", "splits", "storage")}
    search |= {"ranges": {r.field: r.to_file() for r in read_ranges(ranges)}, "trials": trials}
    spec = {
        "name": "search",
        "about": f"How {metric.label} answers to {listed(list(search['ranges']))}.",
        "search": search,
        "data": {"frame": "rows", "target": target},
        "model": common,
        "variants": _variants(regimes, schema, common),
        "seeds": [chosen.seed],
        "split": {"kind": "none", "group": chosen.group or "none"},
        "metrics": [metric.name],
    }
    study = Study.from_dict(spec, {"rows": (frame, schema)})
    study.where = "search"
    progress.step(f"search {trials} trials", chosen.view)
    results = study.run(out, engine="inline", store=chosen.store, view=chosen.view, command=chosen.command)
    result = Sensitivity.of(results)
    _check(result, results.folder)
    if chosen.report:
        write_sensitivity(results)
    return result


def _variants(
    regimes: Mapping[str, object] | Sequence[str] | None, schema: Schema, common: dict[str, Any]
) -> dict[str, dict[str, Any]]:
    """Regimes as variants: one word for all modalities becomes what it means for each of them.

    ``train`` of the common settings goes where a regime says otherwise.
    """
    result = {}
    ways = read_regimes(regimes)
    shared = common.pop("train", None)
    for way in ways:
        fields = dict(way.settings)
        if way.train is not None:
            made = schema_for(way, schema, {**common, **fields}.get("encoders"))
            fields["train"] = {m.name: m.train for m in made.modalities}
        elif shared is not None:
            fields["train"] = shared
        result[way.name] = fields
    return result


def _check(result: Sensitivity, folder: Path) -> None:
    """Refuse when nothing succeeded; say what failed otherwise."""
    failed = result.trials[result.trials["state"] == "failed"]
    bad = {}
    for name, mine in result.trials.groupby("regime", sort=False):
        if (mine["state"] == "failed").all():
            bad[name] = f"not one of {len(mine)} trials of '{name}' succeeded ({mine['reason'].iloc[0]})"
    if bad and len(bad) == len(result.regimes):
        raise ConfigError(f"{folder}: {'; '.join(bad.values())}")
    values = list(bad.values())
    others = int((~failed["regime"].isin(bad)).sum())
    if others:
        values.append(f"{others} of {len(result.trials)} trials failed; tables/trials.csv says why")
    if values:
        warn("; ".join(values))


def write_sensitivity(results: Results) -> Path:
    """Write ``summary.json``, ``tables/*.csv``, and with the extra ``report`` figures and the page, into the search's folder."""
    folder, result = results.folder, Sensitivity.of(results)
    write_text(folder / "summary.json", json.dumps(result.to_dict(), indent=1, ensure_ascii=False, default=str))
    for name in ("trials", "budgets", "importance"):
        write_text(folder / "tables" / f"{name}.csv", csv_text(frame_table(name, getattr(result, name))))
    try:
        return write_study_report(results, folder)
    except MissingDependencyError as error:
        warn(f"no page and no figures: {error}")
        return folder


def check_rows(frame: pd.DataFrame, schema: Schema) -> str:
    """The target's column; refuses a table that there is nothing to learn from."""
    target = schema.target
    if target is None:
        raise ConfigError("the schema names no target; say which column to predict (--target)")
    if target not in frame.columns:
        raise TableError(f"the table has no column '{target}' to predict; {nearest(target, map(str, frame.columns))}")
    check_columns(schema)
    validate(schema, frame)
    there = frame[target].dropna()
    if len(there) < LEAST:
        raise TableError(f"{len(there)} rows with a '{target}'; at least {LEAST} are needed to split off some")
    if schema.task != "multilabel" and there.astype(str).nunique() < 2:
        raise TableError(f"'{target}' is the same in all {len(there)} rows; there is nothing to learn")
    return target


# -- as a file -------------------------------------------------------------------------------------------------------


def read_search(path: Path) -> dict[str, Any]:
    """The settings of a search file, with plain values; unknown fields are refused."""
    value = config.read_yaml(path)
    value.pop("about", None)
    config.check_fields(value, FILE_FIELDS, str(path))
    data = value.get("data")
    if not isinstance(data, dict) or ("table" in data) == ("dataset" in data):
        raise ConfigError(f"{path}: data: expected {{table: FILE, target: NAME}} or {{dataset: NAME, target: NAME}}")
    config.check_fields(data, _DATA, f"{path}, data")
    return value


@dataclasses.dataclass(frozen=True)
class Given:
    """Rows that a file names.

    Attributes:
        official: the data set has parts of its own, and this is its training part; nothing need be left out.
        group: column whose equal values belong on one side, if the data set has one.
    """

    frame: pd.DataFrame
    schema: Schema
    official: bool = False
    group: str | None = None


def rows_of(data: Mapping[str, Any], base: Path, data_root: str | None = None) -> Given:
    """What a file's ``data`` names, as a study does. Of a data set with official parts only what is for training."""
    table = load_table(DataSpec(**{"root": data_root, **data}), base)
    if table.parts is None:
        return Given(table.frame, table.schema, group=table.groups)
    frame = table.frame[table.frame[table.parts].astype(str) == "train"].reset_index(drop=True)
    return Given(frame, table.schema, True, table.groups)
