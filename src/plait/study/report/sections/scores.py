"""The section of scores: every variant, what it reaches and whether that is more or less than the best."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from plait.metrics.base import metrics
from plait.report.blocks import SIGNS, Heading, Section, Sheet, Table, Text, picture
from plait.report.words import brief, counted, listed, number
from plait.study.report import Material, ReportSection
from plait.study.report.evidence import INTERVAL, Evidence, differences_figure, scores_figure
from plait.study.statistics.verdicts import p_text
from plait.study.subjects import subject_of

#: Rows of a table that are shown at once.
UNFOLDED = 25
#: Data sets beyond which their tables are folded.
MANY = 3
LEGEND = "● best; ≈ level with it, which is proven; ○ not decided; no sign: proven worse."


class Scores(ReportSection):
    """What every variant reaches, and whether that is more or less than the best."""

    place = 10

    def sections(self, material: Material) -> Iterator[Section]:
        evidence: Sequence[Evidence] = material.evidence
        if not evidence:
            return
        values = [sentence(e) for e in evidence]
        section = Section("scores", "Scores", values[0] if len(values) == 1 else _over_all(evidence))
        if len(evidence) > 1:
            section.add(_overview(evidence))
        for e, text in zip(evidence, values, strict=True):
            if len(evidence) > 1:
                section.add(Heading(e.dataset), Text(text))
            _add_figures(section, e)
            section.add(_sheet(e), tests_sheet(e), metrics_sheet(e))
        if lacks := subject_of(material.results.spec).lacks():
            section.add(Text(lacks))
        yield section


def _add_figures(section: Section, evidence: Evidence) -> None:
    rows, label = list(evidence.rows.values()), evidence.metric.label
    others = [{**r["row"], "name": r["name"]} for r in rows if r["verdict"] != "best"]
    caption = f"{label} on {evidence.dataset}: mean with its 95\N{NO-BREAK SPACE}% interval; ticks: single runs"
    section.add_row(
        picture(f"scores{evidence.at}", caption, scores_figure(rows, evidence.label(), evidence.metric.range)),
        picture(
            f"differences{evidence.at}",
            f"Difference from the best in {label}, with its 95\N{NO-BREAK SPACE}% interval (before correction); "
            f"the band is what does not matter ({_margin(evidence)})",
            differences_figure(others, f"difference in {label}", _margin_value(evidence)),
        ),
    )


def _overview(evidence: Sequence[Evidence]) -> Sheet:
    """Every variant on every data set: the mean, with its sign."""
    labels = list(dict.fromkeys(label for e in evidence for label in e.ranked))
    names, heading = brief(labels)
    rows, full = [], []
    for label in labels:
        cells = [
            f"{SIGNS[e.verdicts[label]]} {e.number(e.means[label])}" if label in e.means else "–" for e in evidence
        ]
        rows.append([names[label], *[cell.strip() for cell in cells]])
        full.append([label, *[e.means.get(label, math.nan) for e in evidence]])
    metrics = {e.label() for e in evidence}
    heads = [heading, *[e.dataset if len(metrics) == 1 else f"{e.dataset}, {e.label()}" for e in evidence]]
    note = f"Mean {metrics.pop()}. {LEGEND}" if len(metrics) == 1 else LEGEND
    table = Table("overview", ["variant", *[e.dataset for e in evidence]], full)
    return Sheet(table, "", heads, rows, range(1, len(heads)), (), note)


def sentence(evidence: Evidence) -> str:
    """What one data set's comparison proves."""
    value = evidence.comparison
    best = evidence.rows[evidence.best]["summary"]
    reached = f"“{evidence.best}” reaches {evidence.metric.label} {evidence.number(best.mean)}"
    if math.isfinite(best.low):
        over = {"seeds and rows": "seeds and test rows", "rows": "test rows", "seeds": "seeds"}[best.over]
        reached += f" (95\N{NO-BREAK SPACE}% interval {evidence.interval(best.low, best.high)} over {over})"
    if len(value) == 1:
        return f"{reached}{f', no better than the {evidence.constant}' * evidence.at_chance}."
    whole = value["runs"] == value["runs"].max()
    among = f"{len(value)}" if whole.all() else f"the {int(whole.sum())} with all runs"
    return f"{reached}, the {'highest' if evidence.higher else 'lowest'} mean of {among}: {_counts(evidence)}."


def _counts(evidence: Evidence) -> str:
    """How many others are worse, level, or open."""
    value = evidence.comparison
    counts = Counter(value["verdict"])
    if evidence.at_chance:
        other = "both" if len(value) == 2 else "all"
        return f"{other} no better than the {evidence.constant}; not decided"
    level = counts["equivalent"] + counts["identical"]
    with_seeds = f"with {counted(int(evidence.headline['seed'].nunique()), 'seed')}"
    if not counts["worse"] and not level:
        return f"no difference is proven {with_seeds}"
    parts = {
        f"{counted(counts['worse'], 'other is', 'others are')} proven worse": counts["worse"],
        f"{counted(level, 'other is', 'others are')} equivalent to it within {_margin(evidence)}": level,
        f"{counts['not decided']} cannot be told from it {with_seeds}": counts["not decided"],
    }
    return ", ".join(text for text, count in parts.items() if count)


def _over_all(evidence: Sequence[Evidence]) -> str:
    """One sentence for several data sets: how often is which variant the best or level with it? Of one, what it reaches."""
    if all(len(e.comparison) == 1 for e in evidence):
        reached = [f"{e.metric.label} {number(e.comparison['mean'].iloc[0])} on {e.dataset}" for e in evidence]
        return f"{evidence[0].said(evidence[0].ranked[0])} reaches {listed(reached)}."
    level: Counter[str] = Counter()
    if all(e.at_chance for e in evidence):
        return (
            f"On all {len(evidence)} data sets every variant is no better than a constant answer; nothing is decided."
        )
    for e in evidence:
        level.update(e.comparison.loc[e.comparison["verdict"] != "worse", "label"])
    everywhere = [label for label, count in level.items() if count == len(evidence)]
    names = evidence[0].names
    n = counted(len(evidence), "data set")
    if everywhere:
        value = listed([f"“{names.get(label, label)}”" for label in everywhere])
        return f"On none of the {n} {'are' if len(everywhere) > 1 else 'is'} {value} proven worse than the best."
    label, count = level.most_common(1)[0]
    return f"No variant holds with the best on all {n}; “{names.get(label, label)}” does on {count}."


def _margin_value(evidence: Evidence) -> float:
    value = evidence.comparison
    return float(value["margin"][value["verdict"] != "best"].iloc[0]) if len(value) > 1 else math.nan


def _margin(evidence: Evidence) -> str:
    return f"{_margin_value(evidence):.2g}"


def _sheet(evidence: Evidence) -> Sheet:
    full, rows, marks = [], [], []
    fields = _settings(evidence)
    most = int(evidence.comparison["runs"].max())
    for record in evidence.rows.values():
        row, s = record["row"], record["summary"]
        compared = [row.get(k, math.nan) for k in ("difference", "low", "high", "p_holm")]
        full.append(
            [row["label"], *fields.get(row["label"], {}).values(), s.runs, s.seeds, s.mean, s.sd, s.low, s.high]
        )
        full[-1] += [*compared, row["verdict"], row["words"]]
        runs = f"{s.runs}" if s.runs == most else f"{s.runs} of {most}"
        away = evidence.signed(row["difference"]) if row["verdict"] != "best" else ""
        spread = [evidence.interval(s.low, s.high), away, evidence.number(s.sd), runs]
        rows.append([record["name"], evidence.number(s.mean), row["words"], *spread])
        marks.append(row["verdict"])
    names = list(next(iter(fields.values()), {}))
    columns = ["variant", *names, "runs", "seeds", "mean", "sd", "low", "high"]
    columns += ["difference", "difference_low", "difference_high", "p_holm", "verdict", "words"]
    shown = [evidence.named_by, evidence.label(), "against the best", INTERVAL, "difference", "sd", "runs"]
    note = LEGEND if len(rows) > 1 else ""
    folded = len(rows) > UNFOLDED or len(evidence.among) > MANY
    title = f"All {len(rows)} variants in numbers" if folded else ""
    return Sheet(Table(f"scores{evidence.at}", columns, full), title, shown, rows, (1, 3, 4, 5, 6), marks, note, folded)


def _settings(evidence: Evidence) -> dict[str, dict[str, Any]]:
    """Label -> its grid fields."""
    runs = evidence.results.runs
    fields = [str(c) for c in runs if str(c).startswith("set.")]
    firsts: dict[Any, Any] = runs.drop_duplicates("variant").set_index("variant")[fields].to_dict("index")
    variants = dict(zip(evidence.headline["label"], evidence.headline["variant"], strict=True))
    return {
        str(label): {field[4:]: _plain(firsts[variant][field]) for field in fields}
        for label, variant in variants.items()
    }


def _plain(value: object) -> Any:
    return "" if value is None or (isinstance(value, float) and math.isnan(value)) else value


#: Column -> heading.
_TESTS = {"p": "p", "p_holm": "p (Holm)", "d": "d", "delta": "Cliff's δ", "wilcoxon": "Wilcoxon"}
_TESTS |= {"permutation": "permutation", "least_p": "least p", "mcnemar": "McNemar"}
_TESTS |= {"equivalence": "equivalence", "needed": "seeds needed"}


def tests_sheet(evidence: Evidence) -> Sheet | None:
    """Every test of every comparison."""
    others = evidence.comparison[evidence.comparison["verdict"] != "best"].to_dict("records")
    if not others:
        return None
    looks = {"d": _short, "delta": _short, "needed": _needed}
    rows = [[evidence.names[row["label"]], *[looks.get(k, _p)(row[k]) for k in _TESTS]] for row in others]
    columns = ["label", "reference", "pairs", "seeds", *_TESTS, "margin", "design"]
    full = [[row[c] for c in columns] for row in others]
    design = {"same test rows": "seeds share their test rows: t-test over seeds and rows"}
    design |= {"resampled rows": "each seed has test rows of its own: corrected resampled t-test (Nadeau and Bengio)"}
    used = "; ".join(design[d] for d in dict.fromkeys(row["design"] for row in others))
    least = max(float(row["least_p"]) for row in others)
    note = f"p: {used}. Against the best, which these very scores chose. "
    if least > 0.05:
        note += f"Wilcoxon and permutation cannot go below {least:.3g} with so few pairs: they do not decide here."
    shown = [evidence.named_by, *_TESTS.values()]
    table = Table(f"tests{evidence.at}", columns, full)
    return Sheet(table, "Every test", shown, rows, range(1, len(shown)), (), note, True)


def metrics_sheet(evidence: Evidence) -> Sheet | None:
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
    table = Table(f"metrics{evidence.at}", columns, full)
    return Sheet(table, "Every metric", shown, rows, range(1, len(shown)), (), note, True)


def _p(value: float) -> str:
    return "–" if math.isnan(value) else p_text(value).removeprefix("p = ").removeprefix("p ")


def _short(value: float) -> str:
    return "–" if math.isnan(value) else "∞" if math.isinf(value) else f"{value:.2f}".replace("-", "−")


def _needed(value: float | None) -> str:
    return "no number" if value is None or math.isnan(value) else str(int(value))
