"""What a search found: trials, the budget each regime needed, which field matters."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from plait.base.errors import need
from plait.metrics.base import Metric
from plait.store.model_files import plain_values
from plait.study.search.ranges import Range

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
        metric: that was judged by.
        lower: whether less is better.
        ranges: fields.
        settings: all that the search was told.
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
        plain: dict[str, Any] = plain_values(
            {**options, "best": {name: self.best(name) for name in self.regimes if name in done}}
        )
        return plain


def result_of(
    studies: Mapping[str, Any], ranges: Sequence[Range], metric: Metric, spec: Mapping[str, Any], command: str = ""
) -> Sensitivity:
    """Tables from Optuna's studies."""
    lower = metric.direction == "lower"
    trials = pd.DataFrame(
        [row for name, study in studies.items() for row in _rows(name, study, ranges)], columns=_columns(ranges)
    )
    seed = int(spec.get("seed", 0))
    shares = [row for name, study in studies.items() for row in _importance(name, study, ranges, seed)]
    importance = pd.DataFrame(shares, columns=["regime", "field", "share", "trials"])
    return Sensitivity(trials, budgets(trials, lower), importance, metric.name, lower, tuple(ranges), spec, command)


def _columns(ranges: Sequence[Range]) -> list[str]:
    usual = ["regime", "trial", "state", "score", "seconds", "cpu_seconds", "trained_weights"]
    return [*usual, *(r.field for r in ranges), "reason"]


def _rows(name: str, study: Any, ranges: Sequence[Range]) -> list[dict[str, Any]]:
    ended = [t for t in study.get_trials(deepcopy=False) if t.state.is_finished() and "killed" not in t.user_attrs]
    return [
        {
            "regime": name,
            "trial": place,
            "state": "failed" if t.values is None else "done",
            "score": math.nan if t.values is None else t.values[0],
            "seconds": t.user_attrs.get("seconds", math.nan),
            "cpu_seconds": t.user_attrs.get("cpu_seconds", math.nan),
            "trained_weights": t.user_attrs.get("trained_weights", math.nan),
            **{r.field: r.value_of(t.params[r.field]) for r in ranges if r.field in t.params},
            "reason": t.user_attrs.get("reason", ""),
        }
        for place, t in enumerate(ended, 1)
    ]


def budgets(trials: pd.DataFrame, lower: bool, near: float = NEAR) -> pd.DataFrame:
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
        record: dict[str, Any] = {
            "regime": name,
            "trials": len(mine),
            "failed": int(np.isnan(scores).sum()),
            "best": best,
        }
        for word, goal in (("near", best), ("any", float(top))):
            hit = np.flatnonzero(_within(scores, goal, near, lower))
            record[f"trials_to_{word}"] = float(hit[0] + 1) if len(hit) else math.nan
            record[f"seconds_to_{word}"] = float(seconds[hit[0]]) if len(hit) else math.nan
        record |= {"median": float(np.nanmedian(scores)), "tolerant": float(_within(scores, best, 0.05, lower).mean())}
        records.append({**record, "seconds": float(seconds[-1])})
    return pd.DataFrame(records)


def _within(scores: np.ndarray, goal: float, share: float, lower: bool) -> np.ndarray:
    room = share * abs(goal)
    result: np.ndarray = scores <= goal + room if lower else scores >= goal - room
    return result


def _importance(name: str, study: Any, ranges: Sequence[Range], seed: int) -> list[dict[str, Any]]:
    """Share of the score's variance that each field explains alone, of their sum.

    Source: Hutter, Hoos and Leyton-Brown 2014, An Efficient Approach for Assessing Hyperparameter Importance (Optuna's fANOVA).
    """
    scores = [t.values[0] for t in study.get_trials(deepcopy=False) if t.values is not None]
    if len(scores) < LEAST or len(ranges) < 2 or np.ptp(scores) == 0:
        return []
    importance = need("optuna.importance", "search")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        shares = importance.get_param_importances(study, evaluator=importance.FanovaImportanceEvaluator(seed=seed))
    return [{"regime": name, "field": f, "share": float(s), "trials": len(scores)} for f, s in shares.items()]
