"""What a search found: trials, the budget each regime needed, which field matters."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any, Self

import numpy as np
import pandas as pd

from plait.base.errors import ConfigError, nearest, need
from plait.metrics.base import MAIN, METRICS, Metric, metrics
from plait.store.model_files import plain_values
from plait.study.ranges import Range, SearchSpec
from plait.study.results import Results
from plait.study.samplers import Trial, optuna_study
from plait.study.state import score_of
from plait.study.subjects import subject_of
from plait.study.variants import plain

#: Within this share of the best score a setting is as good as the best.
NEAR = 0.01
#: Trials below which importance is not told.
LEAST = 5


@dataclasses.dataclass(frozen=True)
class Sensitivity:
    """How a score answers to settings, per regime.

    Attributes:
        trials: one row each: ``regime``, ``trial`` (from 1), ``state``, ``score``, ``seconds``, ``cpu_seconds``, ``reason``,
            ``trained_weights``, and a column per field.
        budgets: one row per regime (``budgets``).
        importance: one row per regime and field: share of the score's variance (fANOVA).
        command: what to run to do it again, or nothing.
    """

    trials: pd.DataFrame
    budgets: pd.DataFrame
    importance: pd.DataFrame
    metric: str
    lower: bool
    ranges: tuple[Range, ...]
    settings: Mapping[str, Any]
    command: str = ""

    @classmethod
    def of(cls, results: Results) -> Self:
        """What the runs of a search found, finished or not."""
        spec, search = results.spec, results.spec.search
        assert search is not None
        about: Mapping[str, Any] = next(iter(results.about.get("tables", {}).values()), {})
        metric = metric_of(str(about.get("task", "classification")), next(iter(spec.metrics), None))
        ranges, lower = search.ranges, metric.direction == "lower"
        trials = _trials(results, search, metric.name)
        importance = _importance(trials, ranges, int(spec.seeds[0]), lower=lower)
        valid = [line["test_rows"] for line in results.lines if line.get("test_rows")]
        settings = {"data": next(iter(results.about["data"].values()), None), **search.to_dict()}
        settings |= {"settings": dict(spec.model), "metric": metric.name, "group": spec.split.group}
        settings |= {"seed": spec.seeds[0], "valid_rows": valid[0] * search.splits if valid else None}
        command = str(results.about.get("command") or "")
        return cls(trials, budgets(trials, lower), importance, metric.name, lower, ranges, settings, command)

    @property
    def regimes(self) -> list[str]:
        """Their names."""
        return list(dict.fromkeys(self.trials["regime"]))

    def best(self, regime: str) -> dict[str, Any]:
        """The settings of a regime's best trial."""
        done = self.trials[(self.trials["regime"] == regime) & (self.trials["state"] == "done")]
        at = int(done["score"].argmin() if self.lower else done["score"].argmax())
        return {r.field: done[r.field].iloc[at] for r in self.ranges}

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        tables = {n: getattr(self, n).to_dict("records") for n in ("trials", "budgets", "importance")}
        done = set(self.trials.loc[self.trials["state"] == "done", "regime"])
        options = {"metric": self.metric, "told": dict(self.settings), **tables}
        best = {name: self.best(name) for name in self.regimes if name in done}
        plain: dict[str, Any] = plain_values({**options, "best": best})
        return plain


def _trials(results: Results, search: SearchSpec, metric: str) -> pd.DataFrame:
    """One row per trial that ended, on all of its splits."""
    groups: dict[tuple[str, int], list[Mapping[str, Any]]] = {}
    for line in results.lines:
        if "trial" in line:
            groups.setdefault((line["variant"], int(line["trial"])), []).append(line)
    order = [variant.label for variant in subject_of(results.spec).variants()]
    whole = {key: lines for key, lines in groups.items() if len(lines) == search.splits}
    sorted_keys = sorted(whole, key=lambda key: (order.index(key[0]), key[1]))
    rows = [_row(*key, whole[key], search.ranges, metric) for key in sorted_keys]
    usual = ["regime", "trial", "state", "score", "seconds", "cpu_seconds", "trained_weights"]
    return pd.DataFrame(rows, columns=[*usual, *(r.field for r in search.ranges), "reason"])


def _row(
    regime: str, trial: int, lines: Sequence[Mapping[str, Any]], ranges: Sequence[Range], metric: str
) -> dict[str, Any]:
    scores = [score_of(line, metric) for line in lines]
    done = [score for score in scores if score is not None]
    reasons = [line.get("reason") or f"{metric} on the validation rows is not a number" for line in lines]
    spent = {k: sum(line["seconds"].get(k, 0.0) for line in lines) for k in ("total", "processor")}
    settings = lines[0]["settings"]
    failed = len(done) < len(lines)
    return {
        "regime": regime,
        "trial": trial + 1,
        "state": "failed" if failed else "done",
        "score": math.nan if failed else float(np.mean(done)),
        "seconds": round(spent["total"], 3),
        "cpu_seconds": round(spent["processor"], 3),
        "trained_weights": lines[-1].get("weights", {}).get("trained", math.nan),
        **{r.field: _value(r, settings[r.field]) for r in ranges if r.field in settings},
        "reason": next((why for why, score in zip(reasons, scores, strict=True) if score is None), ""),
    }


def _value(of: Range, kept: object) -> object:
    """The value behind what a line says of it: choices that are no plain values stand there as text."""
    return next((choice for choice in of.choices if plain(choice) == kept), kept)


def budgets(trials: pd.DataFrame, lower: bool) -> pd.DataFrame:
    """What each regime needed, and how it takes settings that are not its best.

    ``best`` and its trial; ``trials_to_near`` and ``seconds_to_near``: until a score came within 1 % of the regime's own best;
    ``trials_to_any`` and ``seconds_to_any``: until one came within 1 % of the best of any regime (NaN: never);
    ``median`` of all scores; ``tolerant``: share of trials within 5 % of the regime's own best; ``seconds`` of all trials.
    """
    done = trials[trials["state"] == "done"]
    top = (done["score"].min() if lower else done["score"].max()) if len(done) else math.nan
    records = []
    for name, mine in trials.groupby("regime", sort=False):
        scores, seconds = mine["score"].to_numpy(float), mine["seconds"].fillna(0).cumsum().to_numpy(float)
        if np.isnan(scores).all():
            continue
        best = float(np.nanmin(scores) if lower else np.nanmax(scores))
        record: dict[str, Any] = {"regime": name, "trials": len(mine), "failed": int(np.isnan(scores).sum())}
        record["best"] = best
        for word, goal in (("near", best), ("any", float(top))):
            hit = np.flatnonzero(_within(scores, goal, NEAR, lower))
            record[f"trials_to_{word}"] = float(hit[0] + 1) if len(hit) else math.nan
            record[f"seconds_to_{word}"] = float(seconds[hit[0]]) if len(hit) else math.nan
        record |= {"median": float(np.nanmedian(scores)), "tolerant": float(_within(scores, best, 0.05, lower).mean())}
        records.append({**record, "seconds": float(seconds[-1])})
    return pd.DataFrame(records)


def _within(scores: np.ndarray, goal: float, share: float, lower: bool) -> np.ndarray:
    room = share * abs(goal)
    result: np.ndarray = scores <= goal + room if lower else scores >= goal - room
    return result


def _importance(trials: pd.DataFrame, ranges: Sequence[Range], seed: int, *, lower: bool) -> pd.DataFrame:
    """Share of the score's variance that each field explains alone, of their sum; empty without Optuna (extra ``search``).

    Source: Hutter, Hoos and Leyton-Brown 2014, An Efficient Approach for Assessing Hyperparameter Importance (Optuna's fANOVA).
    """
    records = []
    for name, mine in trials[trials["state"] == "done"].groupby("regime", sort=False):
        scores = mine["score"].to_numpy(float)
        if len(scores) < LEAST or len(ranges) < 2 or np.ptp(scores) == 0 or find_spec("optuna") is None:
            continue
        past = [Trial({r.field: row[r.field] for r in ranges}, row["score"]) for row in mine.to_dict("records")]
        importance = need("optuna.importance", "search")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            judge = importance.FanovaImportanceEvaluator(seed=seed)
            shares = importance.get_param_importances(optuna_study(ranges, past, lower=lower), evaluator=judge)
        records += [{"regime": name, "field": f, "share": float(s), "trials": len(scores)} for f, s in shares.items()]
    return pd.DataFrame(records, columns=["regime", "field", "share", "trials"])


def metric_of(task: str, value: str | None) -> Metric:
    """The metric by its name, or the task's main one; one with a better direction."""
    known = {name: m for name, m in metrics(task).items() if m.direction != "nominal" and m.input != "intervals"}
    name = MAIN[task] if value is None else value
    if name not in known:
        raise ConfigError(f"unknown metric '{name}' of {task}: {nearest(name, known)}")
    return known[name]


def metric_label(sensitivity: Sensitivity) -> str:
    """The label of the score for readers."""
    return next(m.label for (_, name), m in METRICS.items() if name == sensitivity.metric)


def metric_range(sensitivity: Sensitivity) -> tuple[float, float]:
    """Least and greatest score that there can be."""
    return next(m.range for (_, name), m in METRICS.items() if name == sensitivity.metric)
