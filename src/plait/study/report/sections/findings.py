"""The sections of ranks over data sets, and of claims."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

from plait.metrics.base import metrics
from plait.report.blocks import Section, Sheet, Table, picture
from plait.report.canvas import COLOURS, axes, distinct, settings, width_of
from plait.report.words import brief, counted, listed, number
from plait.study.report.evidence import Evidence, records
from plait.study.statistics.claims import HELD, NOT_HELD, UNDECIDABLE, check_claims
from plait.study.statistics.ranks import Ranks, rank_variants, tables
from plait.study.statistics.scores import StudyResults
from plait.study.statistics.verdicts import p_text

#: Width of the line of ranks, in points.
LINE = 250.0
STEP = 13.0


def ranks_figure(ranks: Ranks, names: list[str]) -> Any:
    """The diagram of Demsar (2006, section 3.2.4): rank 1, the best, on the left.

    Args:
        ranks: ranks, best first.
        names: of the variants, in the same order.
    """
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
    """From the rank down and out to the name."""
    edge = 1 - 0.03 * (k - 1) if left else k + 0.03 * (k - 1)
    ax.plot([rank, rank, edge], [0, y, y], color=COLOURS["muted"], lw=0.7, clip_on=False)
    value = f"{name}  {rank:.2f}" if left else f"{rank:.2f}  {name}"
    gap = -0.012 * (k - 1) if left else 0.012 * (k - 1)
    ax.text(
        edge + gap, y, value, ha="right" if left else "left", va="center_baseline", color=COLOURS["ink"], fontsize=8.5
    )


def ranks_section(results: StudyResults, metric: str | None) -> Section | None:
    """Critical differences over the data sets; None with fewer than three."""
    value = rank_variants(results, metric)
    if value is None:
        return None
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
        with_it = (
            f"; {listed([f'“{name}”' for name in level[0][1:]])} cannot be told from it"
            if level
            else ", apart from all others"
        )
        sentence = f"{differ}; “{shown[0]}” ranks first ({value.mean[0]:.2f}){with_it}."
    count = tables(value.datasets)
    if count < len(value.datasets):
        sentence += (
            f" These are targets of {counted(count, 'table')} only, not independent: the test is too sure of itself."
        )
    caption = (
        "Mean ranks, 1 is best; bars join variants that differ by less than the critical difference (Nemenyi, 0.05)"
    )
    section = Section("ranks", "Ranks over data sets", sentence)
    section.add_row(picture("ranks", caption, ranks_figure(value, shown)))
    rows: list[list[Any]] = [[name, rank] for name, rank in zip(value.names, value.mean, strict=True)]
    texts = [[name, f"{rank:.2f}"] for name, rank in zip(shown, value.mean, strict=True)]
    sheet = Table("ranks", ["variant", "mean_rank"], rows)
    section.add(Sheet(sheet, "Mean ranks", ["variant", "mean rank"], texts, (1,), folded=True))
    return section


def claims_section(results: StudyResults, evidence: Sequence[Evidence], resamples: int) -> Section | None:
    """What papers say beside what was found; None without claims."""
    value = check_claims(results, resamples=resamples)
    if value.empty:
        return None
    counts = Counter(value["verdict"])
    other = int((value["reason"] == "other data").sum())
    why = {UNDECIDABLE: f" ({other} for the paper's data are other data than ours)" if other else ""}
    parts = [f"{counts[v]} {v}{why.get(v, '')}" for v in (HELD, NOT_HELD, UNDECIDABLE) if counts[v]]
    section = Section("claims", "Claims", f"Of {counted(len(value), 'claim')}: {', '.join(parts)}.")
    titles = {name: m.label for e in evidence for name, m in metrics(e.metric.task).items()}
    rows = []
    for row in value.to_dict("records"):
        digits = _signed if row["kind"] == "order" else number
        ours = f"{digits(row['ours'])} ({digits(row['low'])} to {digits(row['high'])})"
        where = f"{row['text']}" + (f" [{row['where']}]" if row["where"] else "")
        theirs = f"{digits(row['theirs'])} on {row['their_data']}"
        line = [where, row["verdict"], row["reason"], titles.get(row["metric"], row["metric"])]
        rows.append([*line, theirs, f"{ours} on {row['our_data']}"])
    columns = [str(c) for c in value.columns]
    full = value.to_numpy(object).tolist()
    note = (
        "Theirs: as the paper tells it, on the paper's data. "
        "Ours: mean and 95\N{NO-BREAK SPACE}% interval; of an order, the difference."
    )
    shown = ["claim", "verdict", "why", "metric", "theirs", "ours"]
    section.add(Sheet(Table("claims", columns, full), "", shown, rows, (), (), note))
    return section


def _signed(value: float) -> str:
    return ("+" if value >= 0 else "−") + number(abs(value))


_TESTS = ("p", "p_holm", "d", "delta", "wilcoxon", "permutation", "least_p", "mcnemar", "equivalence", "needed")
_HEADINGS = (
    "p",
    "p (Holm)",
    "d",
    "Cliff's δ",
    "Wilcoxon",
    "permutation",
    "least p",
    "McNemar",
    "equivalence",
    "seeds needed",
)


def tests_sheet(evidence: Evidence, at: str) -> Sheet | None:
    """Every test of every comparison."""
    value = evidence.comparison
    if len(value) < 2:
        return None
    others = [row for row in records(value) if row["verdict"] != "best"]
    rows = [
        [
            evidence.names[row["label"]],
            *[_p(row[k]) for k in ("p", "p_holm")],
            *[_short(row[k]) for k in ("d", "delta")],
        ]
        + [_p(row[k]) for k in _TESTS[4:-1]]
        + [_needed(row)]
        for row in others
    ]
    columns = ["label", "reference", "pairs", "seeds", *_TESTS, "margin", "design"]
    full = [[row[c] for c in columns] for row in others]
    design = {"same test rows": "seeds share their test rows: t-test over seeds and rows"}
    design |= {"resampled rows": "each seed has test rows of its own: corrected resampled t-test (Nadeau and Bengio)"}
    used = "; ".join(design[d] for d in dict.fromkeys(row["design"] for row in others))
    least = max(float(row["least_p"]) for row in others)
    note = f"p: {used}. Against the best, which these very scores chose. "
    if least > 0.05:
        note += f"Wilcoxon and permutation cannot go below {least:.3g} with so few pairs: they do not decide here."
    shown = [evidence.named_by, *_HEADINGS]
    return Sheet(
        Table(f"tests{at}", columns, full), "Every test", shown, rows, tuple(range(1, len(shown))), (), note, True
    )


def _p(value: float) -> str:
    return "–" if math.isnan(value) else p_text(value).removeprefix("p = ").removeprefix("p ")


def _short(value: float) -> str:
    return "–" if math.isnan(value) else "∞" if math.isinf(value) else f"{value:.2f}".replace("-", "−")


def _needed(row: dict[str, Any]) -> str:
    value = row["needed"]
    return "no number" if value is None or (isinstance(value, float) and math.isnan(value)) else str(int(value))


def metrics_sheet(evidence: Evidence, at: str) -> Sheet | None:
    """Means of all other metrics, for who wants to look."""
    frame = evidence.results.frame
    runs = dict(zip(evidence.headline["run"], evidence.headline["evaluation"], strict=True))
    part = frame[frame["run"].isin(runs)]
    part = part[part["evaluation"] == part["run"].map(runs)]
    known = [name for name in metrics(evidence.metric.task) if name in set(part["metric"])]
    if len(known) < 2:
        return None
    labels = dict(zip(evidence.headline["run"], evidence.headline["label"], strict=True))
    grouped = part.assign(label=part["run"].map(labels)).groupby(["label", "metric"])["value"]
    means: dict[Any, float] = grouped.mean().to_dict()
    sds: dict[Any, float] = grouped.std().to_dict()
    titles = [metrics(evidence.metric.task)[name].label for name in known]
    rows, full = [], []
    for label in evidence.ranked:
        values = [(means.get((label, name), math.nan), sds.get((label, name), math.nan)) for name in known]
        rows.append([evidence.names[label], *[f"{evidence.number(m)} ± {evidence.number(s)}" for m, s in values]])
        full.append([label, *[value for pair in values for value in pair]])
    columns = ["variant", *[text for name in known for text in (name, f"{name}_sd")]]
    shown = [evidence.named_by, *titles]
    note = "Mean ± standard deviation over the runs."
    numeric = tuple(range(1, len(shown)))
    return Sheet(Table(f"metrics{at}", columns, full), "Every metric", shown, rows, numeric, (), note, True)
