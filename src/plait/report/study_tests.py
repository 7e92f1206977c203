"""Folded tables under the scores: every test of every comparison, every other metric."""

from __future__ import annotations

import math
from typing import Any

from plait.metrics import metrics
from plait.report.study_evidence import Evidence, records
from plait.report.study_parts import Sheet
from plait.report.tables import Table
from plait.study.statistics.words import p_text

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
    told = evidence.comparison
    if len(told) < 2:
        return None
    others = [row for row in records(told) if row["verdict"] != "best"]
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
        told = [(means.get((label, name), math.nan), sds.get((label, name), math.nan)) for name in known]
        rows.append([evidence.names[label], *[f"{evidence.number(m)} ± {evidence.number(s)}" for m, s in told]])
        full.append([label, *[value for pair in told for value in pair]])
    columns = ["variant", *[text for name in known for text in (name, f"{name}_sd")]]
    shown = [evidence.named_by, *titles]
    note = "Mean ± standard deviation over the runs."
    numeric = tuple(range(1, len(shown)))
    return Sheet(Table(f"metrics{at}", columns, full), "Every metric", shown, rows, numeric, (), note, True)
