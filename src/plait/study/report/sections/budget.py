"""The section of what each regime of a search needed to come near its best."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from plait.report.blocks import Section, Text, picture, sheet
from plait.report.charts import Curve, curves_figure
from plait.study.report import Material, ReportSection
from plait.study.sensitivity import Sensitivity, metric_label, metric_range


class Budget(ReportSection):
    """The budget each regime of a search needed."""

    subjects = ("search",)
    place = 10

    def sections(self, material: Material) -> Iterator[Section]:
        for sensitivity in material.evidence:
            section = Section("budget", "The budget each regime needed", budget_sentence(sensitivity))
            curves = {"trials": _best_so_far(sensitivity, "trial"), "seconds": _best_so_far(sensitivity, "seconds")}
            label = f"best {metric_label(sensitivity)} so far"
            ends = metric_range(sensitivity)
            drawn = {x: curves_figure(c, x, "", markers=False, ends=ends) for x, c in curves.items()}
            captions = {x: f"{label.capitalize()}, over {x}." for x in curves}
            section.add_row(*(picture(f"budget-{x}", captions[x], figure) for x, figure in drawn.items()))
            rows = int(sensitivity.settings.get("valid_rows") or 0)
            if rows:
                one = f"one row more right or wrong is {1 / rows:.4f}"
                section.add(Text(f"Each trial is judged on {rows:,} validation rows: {one}."))
            columns = ["regime", "trials", "failed", "best", "median", "tolerant", "trials_to_near", "seconds_to_near"]
            columns += ["trials_to_any", "seconds_to_any", "seconds"]
            note = "near: within 1 % of the regime's own best; any: of the best of all; tolerant: trials within 5 % of its best"
            section.add(sheet("budgets", sensitivity.budgets, shown=columns, note=note))
            best = pd.DataFrame([{"regime": name, **sensitivity.best(name)} for name in sensitivity.budgets["regime"]])
            section.add(sheet("best", best, "Settings of each regime's best trial"))
            yield section


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
