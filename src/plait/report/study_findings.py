"""The sections of ranks over data sets, and of claims."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from plait.metrics import metrics
from plait.report.figures import study_ranks
from plait.report.sentences import number
from plait.report.study_evidence import Evidence
from plait.report.study_names import brief, counted, listed
from plait.report.study_parts import Section, Sheet, picture
from plait.report.tables import Table
from plait.study.statistics.claims import HELD, NOT_HELD, UNDECIDABLE, check_claims
from plait.study.statistics.ranking import rank_variants, tables
from plait.study.statistics.scores import StudyResults
from plait.study.statistics.words import p_text


def ranks_section(results: StudyResults, metric: str | None) -> Section | None:
    """Critical differences over the data sets; None with fewer than three."""
    told = rank_variants(results, metric)
    if told is None:
        return None
    names = brief(told.names)[0]
    shown = [names[name] for name in told.names]
    level = [shown[first : last + 1] for first, last in told.level if first == 0]
    n = counted(len(told.datasets), "data set")
    differ = f"Over {n} the variants differ (Friedman, {p_text(told.p)})"
    if told.p >= 0.05:
        sentence = f"No difference in ranks is proven over {n} (Friedman, {p_text(told.p)})."
    elif level and len(level[0]) == len(shown):
        sentence = f"{differ}, but no two of them by more than the critical difference."
    else:
        with_it = (
            f"; {listed([f'“{name}”' for name in level[0][1:]])} cannot be told from it"
            if level
            else ", apart from all others"
        )
        sentence = f"{differ}; “{shown[0]}” ranks first ({told.mean[0]:.2f}){with_it}."
    count = tables(told.datasets)
    if count < len(told.datasets):
        sentence += (
            f" These are targets of {counted(count, 'table')} only, not independent: the test is too sure of itself."
        )
    caption = (
        "Mean ranks, 1 is best; bars join variants that differ by less than the critical difference (Nemenyi, 0.05)"
    )
    section = Section("ranks", "Ranks over data sets", sentence)
    section.add_row(picture("ranks", caption, study_ranks.ranks_figure(told, shown)))
    rows: list[list[Any]] = [[name, rank] for name, rank in zip(told.names, told.mean, strict=True)]
    texts = [[name, f"{rank:.2f}"] for name, rank in zip(shown, told.mean, strict=True)]
    sheet = Table("ranks", ["variant", "mean_rank"], rows)
    section.add(Sheet(sheet, "Mean ranks", ["variant", "mean rank"], texts, (1,), folded=True))
    return section


def claims_section(results: StudyResults, evidence: Sequence[Evidence], resamples: int) -> Section | None:
    """What papers say beside what was found; None without claims."""
    told = check_claims(results, resamples=resamples)
    if told.empty:
        return None
    counts = Counter(told["verdict"])
    other = int((told["reason"] == "other data").sum())
    why = {UNDECIDABLE: f" ({other} for the paper's data are other data than ours)" if other else ""}
    parts = [f"{counts[v]} {v}{why.get(v, '')}" for v in (HELD, NOT_HELD, UNDECIDABLE) if counts[v]]
    section = Section("claims", "Claims", f"Of {counted(len(told), 'claim')}: {', '.join(parts)}.")
    titles = {name: m.label for e in evidence for name, m in metrics(e.metric.task).items()}
    rows = []
    for row in told.to_dict("records"):
        digits = _signed if row["kind"] == "order" else number
        ours = f"{digits(row['ours'])} ({digits(row['low'])} to {digits(row['high'])})"
        where = f"{row['text']}" + (f" [{row['where']}]" if row["where"] else "")
        theirs = f"{digits(row['theirs'])} on {row['their_data']}"
        line = [where, row["verdict"], row["reason"], titles.get(row["metric"], row["metric"])]
        rows.append([*line, theirs, f"{ours} on {row['our_data']}"])
    columns = [str(c) for c in told.columns]
    full = told.to_numpy(object).tolist()
    note = (
        "Theirs: as the paper tells it, on the paper's data. "
        "Ours: mean and 95\N{NO-BREAK SPACE}% interval; of an order, the difference."
    )
    shown = ["claim", "verdict", "why", "metric", "theirs", "ours"]
    section.add(Sheet(Table("claims", columns, full), "", shown, rows, (), (), note))
    return section


def _signed(value: float) -> str:
    return ("+" if value >= 0 else "−") + number(abs(value))
