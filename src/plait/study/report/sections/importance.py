"""The section of which field of a search matters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from plait.report.blocks import Section, picture, sheet
from plait.report.canvas import COLOURS, LINES, rows_axes, settings, short
from plait.study.report import Material, ReportSection


class Importance(ReportSection):
    """The share of the variance of a search that each field explains."""

    subjects = ("search",)
    place = 30
    missing = ("Which field matters", "fewer than five trials, one field, or Optuna (extra search) is not installed")

    def sections(self, material: Material) -> Iterator[Section]:
        for sensitivity in material.evidence:
            if not len(sensitivity.importance):
                return
            few = int(sensitivity.importance["trials"].min())
            words = f"Share of the score's variance that each field explains alone (fANOVA, {few} trials or more: a rough guide)."
            section = Section("importance", "Which field matters", words)
            names = [n for n in sensitivity.regimes if n in set(sensitivity.importance["regime"])]
            section.add_row(
                picture("importance", words, importance_figure(sensitivity.importance.to_dict("records"), names))
            )
            section.add(sheet("importance", sensitivity.importance, folded=True))
            yield section


def importance_figure(records: Sequence[Mapping[str, Any]], regimes: Sequence[str]) -> Any:
    """Bars: the share of the score's variance that each field explains, per regime; None without records."""
    if not records:
        return None
    fields = list(dict.fromkeys(r["field"] for r in sorted(records, key=lambda r: -r["share"])))
    with settings():
        figure, ax, places = rows_axes(
            fields, per_row=14.0 + 9.0 * len(regimes), top=8.0 + 13.0 * len(regimes), most=30
        )
        thick = 0.75 / len(regimes)
        for number, regime in enumerate(regimes):
            shares = {r["field"]: r["share"] for r in records if r["regime"] == regime}
            at = [y + thick * (0.5 * (len(regimes) - 1) - number) for y in places]
            widths = [shares.get(f, 0.0) for f in fields]
            ax.barh(at, widths, height=0.85 * thick, color=COLOURS[LINES[number % len(LINES)]], label=short(regime, 44))
        ax.set_xlim(0, 1)
        ax.set_xlabel("share of the score's variance")
        figure.legend(loc="upper left", borderpad=0.1, borderaxespad=0.2, labelspacing=0.25, handlelength=1.2)
    return figure
