"""The section of ranks over data sets, with the diagram of critical differences."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from plait.report.blocks import Section, Sheet, Table, picture
from plait.report.canvas import COLOURS, axes, distinct, settings, width_of
from plait.report.words import brief, counted, listed
from plait.study.report import Material, ReportSection
from plait.study.statistics.compare import LEAST, Ranks, rank_variants, tables
from plait.study.statistics.verdicts import p_text

#: Width of the line of ranks, in points.
LINE = 250.0
STEP = 13.0


class Ranked(ReportSection):
    """Mean ranks over data sets, with the critical difference."""

    place = 70
    missing = (
        "Ranks over data sets",
        f"critical differences need {LEAST} data sets and two variants that are on all of them",
    )

    def sections(self, material: Material) -> Iterator[Section]:
        results, metric = material.results, material.metric
        value = rank_variants(results, metric)
        if value is None:
            return
        names = brief(value.names)[0]
        shown = [names[name] for name in value.names]
        level = [shown[first : last + 1] for first, last in value.level if first == 0]
        n = counted(len(value.datasets), "data set")
        differ = f"Over {n} the variants differ (Friedman, {p_text(value.p)})"
        if value.p >= 0.05:
            sentence = f"No difference in ranks is proven over {n} (Friedman, {p_text(value.p)})."
        elif level and len(level[0]) == len(shown):
            sentence = f"{differ}, but no two of them by more than the critical difference."
        else:
            alike = listed([f"“{name}”" for name in level[0][1:]]) if level else ""
            with_it = f"; {alike} cannot be told from it" if level else ", apart from all others"
            sentence = f"{differ}; “{shown[0]}” ranks first ({value.mean[0]:.2f}){with_it}."
        count = tables(value.datasets)
        if count < len(value.datasets):
            sentence += f" These are targets of {counted(count, 'table')} only, not independent: the test is too sure of itself."
        caption = (
            "Mean ranks, 1 is best; bars join variants that differ by less than the critical difference (Nemenyi, 0.05)"
        )
        section = Section("ranks", "Ranks over data sets", sentence)
        section.add_row(picture("ranks", caption, ranks_figure(value, shown)))
        rows: list[list[Any]] = [[name, rank] for name, rank in zip(value.names, value.mean, strict=True)]
        texts = [[name, f"{rank:.2f}"] for name, rank in zip(shown, value.mean, strict=True)]
        sheet = Table("ranks", ["variant", "mean_rank"], rows)
        section.add(Sheet(sheet, "Mean ranks", ["variant", "mean rank"], texts, (1,), folded=True))
        yield section


def ranks_figure(ranks: Ranks, names: list[str]) -> Any:
    """The diagram of Demsar (2006, section 3.2.4): rank 1, the best, on the left."""
    shown = distinct(names, 30)
    half = (len(shown) + 1) // 2
    sides = (shown[:half], shown[half:])
    rooms = [10.0 + 5.1 * max((width_of(n) for n in side), default=0.0) + 28.0 for side in sides]
    bars, below = ranks.level, 5.0 * len(ranks.level) + 12.0
    top, height = 46.0, 46.0 + below + STEP * half + 8.0
    k = len(shown)
    with settings():
        figure, ax = axes(rooms[0] + LINE + rooms[1], height, left=rooms[0], bottom=0, right=rooms[1], top=top)
        ax.set_xlim(1, k)
        ax.set_ylim(-(height - top), 0)
        ax.axis("off")
        _scale(ax, k, ranks.critical)
        for i, (name, rank) in enumerate(zip(shown, ranks.mean, strict=True)):
            left = i < half
            y = -below - STEP * (i if left else k - 1 - i)
            _leader(ax, rank, y, name, left=left, k=k)
        for level, (first, last) in enumerate(bars):
            y = -8.0 - 5.0 * level
            x = [ranks.mean[first] - 0.012 * (k - 1), ranks.mean[last] + 0.012 * (k - 1)]
            ax.plot(x, [y, y], color=COLOURS["blue"], lw=2.6, solid_capstyle="butt", clip_on=False)
    return figure


def _scale(ax: Any, k: int, critical: float) -> None:
    """The line of ranks, and the critical difference above it."""
    ax.plot([1, k], [0, 0], color=COLOURS["ink"], lw=0.9, clip_on=False)
    step = max(1, round((k - 1) / 8))
    for rank in range(1, k + 1, step):
        ax.plot([rank, rank], [0, 4], color=COLOURS["ink"], lw=0.9, clip_on=False)
        ax.text(rank, 7, str(rank), ha="center", va="bottom", color=COLOURS["muted"], fontsize=8)
    long = min(critical, k - 1.0)
    ax.plot([1, 1 + long], [27, 27], color=COLOURS["blue"], lw=2.6, solid_capstyle="butt", clip_on=False)
    beyond = " (more than the whole scale)" if critical > k - 1 else ""
    text = f"critical difference {critical:.2f}{beyond}"
    ax.text(1, 31, text, ha="left", va="bottom", color=COLOURS["ink"], fontsize=8.5)


def _leader(ax: Any, rank: float, y: float, name: str, *, left: bool, k: int) -> None:
    """The line that leads from a rank to its name."""
    edge = 1 - 0.03 * (k - 1) if left else k + 0.03 * (k - 1)
    ax.plot([rank, rank, edge], [0, y, y], color=COLOURS["muted"], lw=0.7, clip_on=False)
    value = f"{name}  {rank:.2f}" if left else f"{rank:.2f}  {name}"
    gap = -0.012 * (k - 1) if left else 0.012 * (k - 1)
    ax.text(
        edge + gap, y, value, ha="right" if left else "left", va="center_baseline", color=COLOURS["ink"], fontsize=8.5
    )
