"""A search as files: tables, figures and one page."""

from __future__ import annotations

import json
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from plait.base.errors import MissingDependencyError, PlaitWarning
from plait.metrics.base import METRICS
from plait.report.blocks import Facts, Page, Picture, Row, Section, Sheet, Table, Text, picture
from plait.report.charts import Curve, curves_figure
from plait.report.page import csv_text, write_page, write_text
from plait.study.search.figures import importance_figure, response_figure
from plait.study.search.result import Sensitivity


def write_sensitivity(sensitivity: Sensitivity, folder: str | Path) -> Path:
    """Write ``summary.json``, ``tables/*.csv``, and with the extra ``report`` ``figures/*.svg`` and ``report.html``.

    Returns:
        The page, or the folder where there is none.
    """
    folder = Path(folder)
    write_text(folder / "summary.json", json.dumps(sensitivity.to_dict(), indent=1, ensure_ascii=False, default=str))
    for name in ("trials", "budgets", "importance"):
        write_text(folder / "tables" / f"{name}.csv", csv_text(_table(name, getattr(sensitivity, name))))
    try:
        return _write_page(sensitivity, folder)
    except MissingDependencyError as error:
        warnings.warn(f"no page and no figures: {error}", PlaitWarning, stacklevel=3)
        return folder


def _write_page(sensitivity: Sensitivity, folder: Path) -> Path:
    sections = [_budget(sensitivity), _responses(sensitivity), *_importance(sensitivity), _origin(sensitivity)]
    counts = {"regimes": len(sensitivity.regimes), "trials": len(sensitivity.trials), "fields": len(sensitivity.ranges)}
    facts = [(name, str(count)) for name, count in counts.items()]
    name, foot = f"Sensitivity of {_label(sensitivity)}", "every trial in journal.jsonl"
    return write_page(folder, Page(name, sections[0].sentence, facts, sections, kind="plait sensitivity", foot=foot))


def _label(sensitivity: Sensitivity) -> str:
    return next(m.label for (_, name), m in METRICS.items() if name == sensitivity.metric)


def _budget(sensitivity: Sensitivity) -> Section:
    section = Section("budget", "The budget each regime needed", budget_sentence(sensitivity))
    curves = {"trials": _best_so_far(sensitivity, "trial"), "seconds": _best_so_far(sensitivity, "seconds")}
    label = f"best {_label(sensitivity)} so far"
    section.add_row(
        *(
            picture(f"budget-{x}", f"{label.capitalize()}, over {x}.", curves_figure(c, x, "", markers=False))
            for x, c in curves.items()
        )
    )
    rows = int(sensitivity.settings.get("valid_rows") or 0)
    if rows:
        section.add(
            Text(f"Each trial is judged on {rows:,} validation rows: one row more right or wrong is {1 / rows:.4f}.")
        )
    columns = ["regime", "trials", "failed", "best", "median", "tolerant", "trials_to_near", "seconds_to_near"]
    columns += ["trials_to_any", "seconds_to_any", "seconds"]
    note = "near: within 1 % of the regime's own best; any: of the best of all; tolerant: trials within 5 % of its best"
    section.add(_sheet("budgets", sensitivity.budgets, sensitivity.budgets[columns], "", note))
    best = pd.DataFrame([{"regime": name, **sensitivity.best(name)} for name in sensitivity.budgets["regime"]])
    section.add(_sheet("best", best, best, "Settings of each regime's best trial"))
    return section


def budget_sentence(sensitivity: Sensitivity) -> str:
    """What each regime needed, in one sentence."""
    parts = []
    for r in sensitivity.budgets.to_dict("records"):
        count, seconds = int(r["trials_to_near"]), r["seconds_to_near"]
        trials = f"{count} trial{'s' if count > 1 else ''} and {seconds:,.0f} s"
        parts.append(f"“{r['regime']}” came within 1 % of its best ({r['best']:.3f}) after {trials}")
    return (
        f"{'; '.join(parts)} (validation rows, one search of {int(sensitivity.budgets['trials'].max())} trials each)."
    )


def _best_so_far(sensitivity: Sensitivity, x: str) -> list[Curve]:
    curves = []
    for name in sensitivity.regimes:
        mine = sensitivity.trials[sensitivity.trials["regime"] == name]
        scores = mine["score"].to_numpy(float)
        if np.isnan(scores).all():
            continue
        across = mine["trial"].to_numpy(float) if x == "trial" else mine["seconds"].fillna(0).cumsum().to_numpy(float)
        best = (np.fmin if sensitivity.lower else np.fmax).accumulate(scores)
        there = np.isfinite(best)
        curves.append(Curve(name, np.repeat(across[there], 2)[1:].tolist(), np.repeat(best[there], 2)[:-1].tolist()))
    return curves


def _responses(sensitivity: Sensitivity) -> Section:
    words = (
        "Each dot is a trial; the line is the mean over quarters of the range. Other fields vary too, so dots scatter."
    )
    section = Section("response", "How the score answers", words)
    done = sensitivity.trials[sensitivity.trials["state"] == "done"]
    pictures: list[Picture | None] = []
    for r in sensitivity.ranges:
        points = {
            str(name): (mine[r.field].tolist(), mine["score"].tolist())
            for name, mine in done.groupby("regime", sort=False)
        }
        name = f"response-{r.field.replace('.', '-').replace('_', '-')}"
        drawn = response_figure(points, r.field, _label(sensitivity), log=r.log)
        pictures.append(picture(name, f"{_label(sensitivity).capitalize()} over {r.field}.", drawn))
    section.blocks += [Row([p for p in pictures if p is not None])]
    section.add(_sheet("trials", sensitivity.trials, sensitivity.trials, "Every trial", folded=True))
    return section


def _importance(sensitivity: Sensitivity) -> list[Section]:
    if not len(sensitivity.importance):
        return []
    few = int(sensitivity.importance["trials"].min())
    words = f"Share of the variance of the score that each field explains alone (fANOVA, {few} trials or more: a rough guide)."
    section = Section("importance", "Which field matters", words)
    names = [n for n in sensitivity.regimes if n in set(sensitivity.importance["regime"])]
    section.add_row(picture("importance", words, importance_figure(_records(sensitivity.importance), names)))
    section.add(_sheet("importance", sensitivity.importance, sensitivity.importance, "", folded=True))
    return [section]


def _origin(sensitivity: Sensitivity) -> Section:
    words = (
        "Fitted on a part of the training rows and judged on the rest of them; test rows were not given to the search."
    )
    section = Section("origin", "Where this comes from", words)
    value = sensitivity.settings
    plain = {k: v for k, v in value.items() if k not in ("schema", "ranges", "settings") and v is not None}
    ranges = {f"range of {k}": json.dumps(v) for k, v in dict(value.get("ranges", {})).items()}
    section.add(Facts([(k.replace("_", " "), str(v)) for k, v in {**plain, **ranges}.items()]))
    if value.get("settings"):
        section.add(Text(json.dumps(value["settings"], indent=1, default=str), "Settings of every trial"))
    section.add(Text(sensitivity.command, code=True) if sensitivity.command else None)
    return section


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(k): v for k, v in row.items()} for row in frame.to_dict("records")]


def _sheet(
    name: str, full: pd.DataFrame, shown: pd.DataFrame, title: str, note: str = "", *, folded: bool = False
) -> Sheet:
    numeric = [i for i, c in enumerate(shown.columns) if pd.api.types.is_numeric_dtype(shown[c])]
    rows = [[_cell(v) for v in row] for row in shown.itertuples(index=False)]
    columns = [str(c).replace("_", " ") for c in shown.columns]
    return Sheet(_table(name, full), title, columns, rows, numeric, note=note, folded=folded)


def _table(name: str, frame: pd.DataFrame) -> Table:
    return Table(name, [str(c) for c in frame.columns], frame.astype(object).to_numpy().tolist())


def _cell(value: Any) -> str:
    if isinstance(value, float):
        if not math.isfinite(value):
            return "–"
        return f"{value:,.0f}" if value == int(value) and abs(value) >= 1 else f"{value:.4g}"
    return str(value)
