"""The section of learning curves: how the losses on held-out rows fell."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from plait.report import charts
from plait.report.blocks import Section, picture
from plait.report.words import counted
from plait.study.report import Material, ReportSection
from plait.study.report.evidence import Evidence


class Learning(ReportSection):
    """Losses of the best variants over the epochs."""

    place = 60
    missing = ("Learning curves", "no history of epochs was kept")

    def sections(self, material: Material) -> Iterator[Section]:
        result = [(e, value) for e in material.evidence if (value := _histories(e))]
        if not result:
            return
        section = Section("learning", "Learning curves", " ".join(_sentence(e, t) for e, t in result[:3]))
        drawn = []
        for e, value in result:
            across = f"Loss on held-out rows, mean over seeds and members, of the best variants on {e.dataset}"
            curves = [_curve(e, label, history, len(value)) for label, history in value.items()]
            across += "; band: from the least to the greatest run" if len(value) <= 3 else ""
            figure = charts.curves_figure(curves, "epoch", "validation loss", markers=False, whole=True)
            drawn.append(picture(f"learning{e.at}", across, figure))
        section.add_row(*drawn)
        yield section


def _histories(evidence: Evidence) -> dict[str, pd.DataFrame]:
    """Label -> epochs of all its runs, each with its run; of the best variants."""
    result = {}
    for label in evidence.ranked[: charts.NAMED]:
        runs = evidence.headline.loc[evidence.headline["label"] == label, "run"]
        values = [evidence.results.epochs(str(run)).assign(run=run) for run in runs]
        kept = [t for t in values if {"epoch", "valid_loss"} <= set(t)]
        if kept:
            result[label] = pd.concat(kept, ignore_index=True)
    return result


def _curve(evidence: Evidence, label: str, history: pd.DataFrame, lines: int) -> charts.Curve:
    by_run = history.groupby(["run", "epoch"])["valid_loss"].mean().unstack("run")
    xs = [float(x) + 1 for x in by_run.index]
    ends = [by_run.min(axis=1).tolist(), by_run.max(axis=1).tolist()] if lines <= 3 else []
    return charts.Curve(evidence.names[label], xs, by_run.mean(axis=1).tolist(), *ends)


def _sentence(evidence: Evidence, options: dict[str, pd.DataFrame]) -> str:
    label, history = next(iter(options.items()))
    keys = ["run", "member"] if "member" in history else ["run"]
    least = history.loc[history.dropna(subset="valid_loss").groupby(keys)["valid_loss"].idxmin(), "epoch"] + 1
    last = int(history["epoch"].max()) + 1
    on = f" on {evidence.dataset}" * evidence.several
    return (
        f"The held-out loss of {evidence.said(label)}{on} is least at epoch {least.median():.0f} "
        f"({int(least.min())} to {int(least.max())} over {counted(len(least), 'training')}); no training ran longer than "
        f"{counted(last, 'epoch')}. Each keeps the state of its best epoch."
    )
