"""The sections of a study of spaces: one per evaluation, what the spaces cost, and a paper's numbers beside ours."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from plait.evaluation.similarity import TOLERANCES, sentence_similarity
from plait.report.blocks import Heading, Section, Sheet, Table, picture
from plait.report.charts import Curve, curves_figure
from plait.report.curves import Panel, panels_figure
from plait.report.words import counted, number, slug
from plait.study.folder import RUNS, read_arrays
from plait.study.report import Material, ReportSection
from plait.study.report.evidence import signed_number
from plait.study.results import Results
from plait.study.space_results import FROZEN, Tested, title
from plait.study.statistics.verdicts import p_text

NOTE = (
    "● the reference; ▲ proven better; ○ not decided; no sign: proven worse (first metric; p two-sided, corrected by Holm "
    "over the rows of this table). Mean ± standard deviation over runs."
)
Tests = Mapping[tuple[str, ...], Tested]


class Evaluations(ReportSection):
    """Every evaluation of aligned spaces with what is proven, its tables and curves; then costs, and a paper's numbers."""

    subjects = ("space",)
    place = 10

    def sections(self, material: Material) -> Iterator[Section]:
        """One by one, in the order of the study file."""
        for one in material.evidence:
            for name, part in one.table.groupby("evaluation", sort=False):
                yield _section(material.results, str(name), part, one.tests)
            yield from _cost(material)
            yield from _claims(material)


def _section(results: Results, evaluation: str, table: pd.DataFrame, tests: Tests) -> Section:
    section = Section(slug(evaluation), title(evaluation), "")
    said = []
    for dataset, part in table.groupby("dataset", sort=False):
        own = {key[2:]: test for key, test in tests.items() if key[:2] == (dataset, evaluation)}
        said.append(_sentence(part, own))
        several = table["dataset"].nunique() > 1
        if several:
            section.add(Heading(str(dataset)))
        at = "-".join([slug(evaluation), *([slug(str(dataset))] if several else [])])
        section.add(_sheet(part, own, at), _tests_sheet(own, at))
        add_curves(section, results, evaluation, str(dataset), at)
    section.sentence = " ".join(said)
    return section


def _rows(table: pd.DataFrame) -> list[tuple[tuple[str, str], pd.DataFrame]]:
    """(part, variant) -> its values; parts in their order, within them the best first."""
    parts = list(dict.fromkeys(table["part"]))
    groups = {(str(p), str(v)): rows for (p, v), rows in table.groupby(["part", "variant"], sort=False)}
    return sorted(groups.items(), key=lambda item: (parts.index(item[0][0]), -_leading(item[1])))


def _leading(rows: pd.DataFrame) -> float:
    """Mean of the first metric."""
    return float(rows.loc[rows["metric"] == rows["metric"].iloc[0], "value"].mean())


def _name(place: tuple[str, str]) -> str:
    return place[0] if place[1] == FROZEN else f"{place[1]}: {place[0]}"


def _sentence(table: pd.DataFrame, result: Mapping[tuple[str, ...], Tested]) -> str:
    """The best of each part, and how many differences are proven."""
    rows = _rows(table)
    metric = str(table["metric"].iloc[0])
    mixed = any(place[1] == FROZEN for place, _ in rows)
    heads = [max(rows, key=lambda item: _leading(item[1]))] if mixed else _bests(rows)
    value = "; ".join(f"{_name(place)} {number(_leading(part))}" for place, part in heads)
    tested = [t for (_, _, name), t in result.items() if name == metric]
    if not tested:
        return f"Highest {metric}: {value}."
    counts = Counter(_verdict(t) for t in tested)
    names = list(dict.fromkeys(t.reference for t in tested))
    parts = [f"{counts[word]} {said}" for word, said in _SAID.items() if counts[word]]
    return f"Highest {metric}: {value}. Against {', '.join(names)}: {', '.join(parts)}."


_SAID = {"better": "proven better", "worse": "proven worse", "not decided": "not decided"}


def _bests(rows: Sequence[tuple[tuple[str, str], pd.DataFrame]]) -> list[tuple[tuple[str, str], pd.DataFrame]]:
    firsts: dict[str, tuple[tuple[str, str], pd.DataFrame]] = {}
    for place, part in rows:
        firsts.setdefault(place[0], (place, part))
    return list(firsts.values())


def _verdict(test: Tested) -> str:
    if not test.p < 0.05:
        return "not decided"
    return "better" if test.difference.value > 0 else "worse"


def _sheet(table: pd.DataFrame, result: Mapping[tuple[str, ...], Tested], at: str) -> Sheet:
    metrics = list(dict.fromkeys(table["metric"]))
    full, rows, marks = [], [], []
    for place, part in _rows(table):
        values = [part.loc[part["metric"] == m, "value"] for m in metrics]
        items = [(float(v.mean()), float(v.std()) if len(v) > 1 else float("nan"), len(v)) for v in values]
        first = next(m for m, v in zip(metrics, values, strict=True) if len(v))
        test = result.get((*place, first))
        full.append([*place, part["run"].nunique(), *(x for mean, sd, _ in items for x in (mean, sd))])
        shown = [_value(mean, sd, frozen=place[1] == FROZEN) if n else "" for mean, sd, n in items]
        away = "" if test is None else f"{signed_number(test.difference.value)}, {p_text(test.p)}"
        rows.append([place[0], place[1], *shown, away])
        marks.append("reference" if test is None else _verdict(test))
    columns = ["part", "space", "runs", *(f"{m}{s}" for m in metrics for s in ("", " sd"))]
    if not result:
        marks = []
    heads = ["part", "space", *metrics, "difference"]
    return Sheet(Table(at, columns, full), "", heads, rows, tuple(range(2, len(heads))), marks, NOTE if result else "")


def _value(mean: float, sd: float, *, frozen: bool) -> str:
    return number(mean) if frozen or not np.isfinite(sd) else f"{number(mean)} ± {number(sd)}"


def _tests_sheet(result: Mapping[tuple[str, ...], Tested], at: str) -> Sheet | None:
    """Every difference that was tested, in every metric."""
    full: list[list[Any]] = [
        [*key, t.reference, t.difference.pairs, t.difference.value, t.difference.low, t.difference.high, t.p]
        for key, t in result.items()
    ]
    if not full:
        return None
    columns = ["part", "space", "metric", "reference", "pairs", "difference", "low", "high", "p_holm"]
    rows = [[*r[:4], str(r[4]), signed_number(r[5]), f"{number(r[6])} to {number(r[7])}", number(r[8])] for r in full]
    heads = ["part", "space", "metric", "reference", "pairs", "difference", "95\N{NO-BREAK SPACE}% interval", "p, Holm"]
    title = f"All {len(full)} differences that were tested"
    return Sheet(Table(f"{at}-tests", columns, full), title, heads, rows, (4, 5, 7), folded=True)


_COSTS = {
    "pairs": "train_rows",
    "trained weights": "weights.trained",
    "epochs": "epochs",
    "seconds": "seconds.fit",
    "processor seconds": "seconds.fit_processor",
}


def _cost(material: Material) -> Iterator[Section]:
    """What each space was learned from, and what that took."""
    done = [line for line in material.results.lines if line["status"] == "done"]
    if not done:
        return
    full, rows = [], []
    for (dataset, variant), part in pd.json_normalize([dict(line) for line in done], max_level=1).groupby(
        ["dataset", "variant"], sort=False
    ):
        means = [float(np.mean(part[column].tolist())) for column in _COSTS.values()]
        full.append([dataset, variant, len(part), *means])
        rows.append([str(dataset), str(variant), *(f"{v:,.0f}" for v in means[:3]), *map(number, means[3:])])
    columns = ["data set", "space", "runs", *_COSTS]
    section = Section("cost", "Cost", "What each space was learned from, and what that took (means over runs).")
    heads = ["data set", "space", *_COSTS]
    section.add(Sheet(Table("cost", columns, full), "", heads, rows, tuple(range(2, len(heads)))))
    yield section


def _claims(material: Material) -> Iterator[Section]:
    """The numbers of a paper beside ours."""
    full: list[list[Any]] = []
    for claim in material.results.spec.claims if material.evidence else ():
        table = material.evidence[0].table
        evaluation, _, part = str(claim.condition or "").partition(": ")
        own = table[(table["metric"] == claim.metric) & (table["evaluation"] == evaluation) & (table["part"] == part)]
        own = own[own["variant"].isin([claim.variant or FROZEN])]
        ours = float(own["value"].mean()) if len(own) else float("nan")
        what = f"{claim.condition}, {claim.metric}" + (f", {claim.variant}" if claim.variant else "")
        full.append([what, claim.where, claim.value, claim.data or "", ours])
    if not full:
        return
    text = f"{counted(len(full), 'number')} of the paper, on its data and encoders, beside ours: only their order compares."
    section = Section("claims", "The paper's numbers", text)
    rows = [[r[0], r[1], number(r[2]), r[3], number(r[4])] for r in full]
    heads = ["what", "where", "theirs", "on", "ours"]
    section.add(Sheet(Table("claims", heads, full), "", heads, rows, (2, 4)))
    yield section


#: Evaluation and curve -> axes, whether x is logarithmic, and what is seen.
LOOKS = {
    ("retrieval", "found"): ("k", "share of queries", True, "share of queries with one of their own among the first k"),
    ("retrieval", "precision"): ("k", "precision", True, "precision: share of the first k that are the query's own"),
    ("linear_probe", "accuracy"): ("epochs", "accuracy", False, "accuracy of the linear probe over epochs"),
    ("fine_tuning", "accuracy"): ("epochs", "accuracy", False, "accuracy over epochs of fine-tuning"),
}
#: Of the ways that an alignment gives, the one that the figure of tolerances shows.
JOINED = "joined"


def add_curves(section: Section, results: Results, evaluation: str, dataset: str, at: str) -> None:
    """All figures of one evaluation of a data set; nothing where runs kept no curves."""
    kind = evaluation.partition(" ")[0]
    if kind == "sentence_similarity":
        shares = _tolerances(results, evaluation, dataset)
        text = "share of pairs whose cosine is nearer to score / 5 than the tolerance, by class of similarity"
        section.add_row(picture(f"{at}-tolerance", text, tolerance_figure(shares)))
        return
    for (name, part), curves in _curves(results, evaluation, dataset).items():
        across, up, log, text = LOOKS[kind, name]
        lines = [Curve(label, list(curve), list(curve.values())) for label, curve in curves.items() if len(curve) > 1]
        drawn = curves_figure(lines, across, up, log=log)
        value = "-".join(filter(None, [at, part and slug(part), name]))
        section.add_row(picture(value, f"{part}: {text}" if part else text, drawn))


def _curves(results: Results, evaluation: str, dataset: str) -> dict[tuple[str, str], dict[str, Mapping[float, float]]]:
    """(curve, part) -> variant -> place -> mean."""
    result: dict[tuple[str, str], dict[str, list[Mapping[float, float]]]] = defaultdict(lambda: defaultdict(list))
    for line in results.lines:
        if line["status"] != "done" or line["dataset"] != dataset:
            continue
        for value in line["evaluations"]:
            name, _, part = value["condition"].partition(": ")
            for curve, values in value.get("curves", {}).items() if name == evaluation else ():
                label = part if value["frozen"] else line["variant"]
                whole = {float(x): y for x, y in values.items()}
                result[curve, "" if evaluation.startswith("linear_probe") else part][label].append(whole)
    return {key: {label: _mean(curves) for label, curves in lines.items()} for key, lines in result.items()}


def _mean(curves: list[Mapping[float, float]]) -> Mapping[float, float]:
    """Of the places that all have."""
    shared = set.intersection(*(set(c) for c in curves))
    return {x: float(np.mean([c[x] for c in curves])) for x in sorted(shared)}


def _tolerances(results: Results, evaluation: str, dataset: str) -> dict[str, np.ndarray]:
    """Way -> (classes, tolerances), the mean over runs: what has no alignment, and the joined vectors of every space."""
    result: dict[str, list[np.ndarray]] = defaultdict(list)
    for line in results.lines:
        path = results.folder / RUNS / str(line["run"]) / "predictions.npz"
        if line["status"] != "done" or line["dataset"] != dataset or not path.is_file():
            continue
        arrays = read_arrays(path)
        for place, value in enumerate(line["evaluations"]):
            name, _, part = value["condition"].partition(": ")
            if name != evaluation or not (value["frozen"] or part == JOINED):
                continue
            label = part if value["frozen"] else f"{line['variant']}: {part}"
            judged = sentence_similarity(arrays[f"rows_{place}"], arrays[f"truth_{place}"])
            result[label].append(judged.accuracy)
    return {label: np.mean(shares, axis=0) for label, shares in result.items()}


def tolerance_figure(curves: Mapping[str, np.ndarray]) -> Any:
    """One panel per similarity class, one line per way to compare sentences (Faye et al., figure 3); None without lines."""
    classes = len(next(iter(curves.values()), ()))
    lines = [
        [Curve(name, TOLERANCES.tolist(), shares[place].tolist()) for name, shares in curves.items()]
        for place in range(classes)
    ]
    up = "share within the tolerance"
    panels = [Panel(f"score {i} to {i + 1}", up, one, across="tolerance") for i, one in enumerate(lines)]
    return panels_figure(panels, most=len(curves))
