"""What a study of spaces found: means of every evaluation, and what of it is proven."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from plait.base import registry
from plait.study.folder import RUNS, read_arrays
from plait.study.results import Results
from plait.study.spec import NONE, Spec, SplitSpec
from plait.study.statistics.paired import Difference, crossed_t, holm, resampled_t
from plait.study.statistics.scores import means

#: Draws of the test rows.
RESAMPLES = 1000
#: The variant of what has no alignment in it.
FROZEN = "-"
#: What is told beside metrics and not compared.
FACTS = ("gallery", "threshold", "accuracy, training part")
#: Evaluations whose reference is a frozen encoder alone.
OF_SENTENCES = ("sentence_similarity", "paraphrase")


TITLES = {
    "retrieval": "Retrieval",
    "sentence_similarity": "Sentence similarity",
    "paraphrase": "Paraphrase",
    "zero_shot": "Zero-shot classes",
    "linear_probe": "Linear probe",
    "fine_tuning": "Fine-tuning",
}
#: What is judged on where the study names nothing.
_USUAL = {"sentence_similarity": "stsb", "paraphrase": "mrpc"} | dict.fromkeys(
    ("zero_shot", "linear_probe", "fine_tuning"), "cifar10"
)


@dataclass(frozen=True)
class Tested:
    """One difference from the reference.

    Attributes:
        difference: with interval and p before correction.
        p: corrected by Holm over all that is compared by the metric in one evaluation.
    """

    reference: str
    difference: Difference
    p: float


@dataclass(frozen=True)
class SpaceEvidence:
    """What a study of spaces found: every value (``scores``), and what of it is proven (``differences``)."""

    table: pd.DataFrame
    tests: Mapping[tuple[str, ...], Tested]


def gather(results: Results) -> list[SpaceEvidence]:
    """One for the whole study; none where no run is done."""
    table = scores(results)
    return [SpaceEvidence(table, differences(results, table))] if len(table) else []


def scores(results: Results) -> pd.DataFrame:
    """Every value: dataset, evaluation, part, variant, seed, split, metric, value, chance, run, place.

    ``place`` is the part's place among those of its run; ``chance`` what one answer for all rows would reach in its first
    metric, where that is known. What has no alignment in it is told once, of the first variant.
    """
    records = []
    first: dict[tuple[str, str], str] = {}  # of those for which it is frozen: one may have trained its encoders
    for line in results.lines:
        if line["status"] != "done":
            continue
        named = {k: line[k] for k in ("dataset", "seed", "split", "run", "train_rows", "test_rows")}
        for place, setting in enumerate(line["evaluations"]):
            key = line["dataset"], setting["condition"]
            if setting["frozen"] and first.setdefault(key, line["variant"]) != line["variant"]:
                continue
            evaluation, _, part = setting["condition"].partition(": ")
            told_of = {"evaluation": evaluation, "part": part, "place": place}
            told_of["variant"] = FROZEN if setting["frozen"] else line["variant"]
            told_of["chance"] = setting.get("chance", np.nan)
            for metric, value in setting["metrics"].items():
                records.append({**named, **told_of, "metric": metric, "value": np.nan if value is None else value})
    columns = ["dataset", "seed", "split", "run", "train_rows", "test_rows", "evaluation", "part", "place", "variant"]
    columns.append("chance")
    return pd.DataFrame(records, columns=[*columns, "metric", "value"])


def summary(results: Results) -> pd.DataFrame:
    """Mean and spread of every metric: one row per data set, evaluation, part and variant."""
    rows = []
    keys = ["dataset", "evaluation", "part", "variant"]
    for place, part in scores(results).groupby(keys, sort=False):
        rows.append({**dict(zip(keys, place, strict=True)), **means(part)})
    return pd.DataFrame(rows, columns=None if rows else keys)


def shown(rows: pd.DataFrame) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A table of means for the terminal for each data set and evaluation, without spreads."""
    kept = [c for c in rows.columns if not str(c).endswith(" sd")]
    for (dataset, evaluation), part in rows[kept].groupby(["dataset", "evaluation"], sort=False):
        value = part.drop(columns=["dataset", "evaluation"]).dropna(axis=1, how="all")
        yield f"{evaluation} ({dataset})", _records(value)


def _records(rows: pd.DataFrame) -> list[dict[str, object]]:
    return [{str(k): v for k, v in row.items()} for row in rows.to_dict("records")]


def title(evaluation: str) -> str:
    """What an evaluation is called: its kind, and the labelled rows that it judges on.

    Example:
        >>> title("linear_probe"), title("paraphrase qqp"), title("zero_shot birds.csv/name"), title("retrieval")
        ('Linear probe (CIFAR-10 (JPEG))', 'Paraphrase (QQP)', 'Zero-shot classes (birds.csv/name)', 'Retrieval')
    """
    kind, _, given = evaluation.partition(" ")
    source = given or _USUAL.get(kind, "")
    name, _, target = source.partition("/")
    if name in registry.names("datasets"):
        source = registry.find("datasets", name).label() + (f", {target}" if target else "")
    return TITLES.get(kind, kind) + (f" ({source})" if source else "")


# -- what is proven ----------------------------------------------------------------------------------------------------


def differences(results: Results, table: pd.DataFrame) -> dict[tuple[str, ...], Tested]:
    """Differences from the reference, by (dataset, evaluation, part, variant, metric).

    The reference is the study's reference on the same part (on its first part, where it has none of this name); of sentences,
    the better frozen encoder alone. Where rows are held out, the test is the corrected resampled t over splits. Where all
    rows are learned from, seeds and test rows both count (``crossed_t``), which needs the rows that are kept: the first
    metric alone is tested then.
    """
    result: dict[tuple[str, ...], Tested] = {}
    for (dataset, evaluation), part in table.groupby(["dataset", "evaluation"], sort=False):
        split = _split(results, str(dataset))
        for metric in dict.fromkeys(m for m in part["metric"] if m not in FACTS):
            of_metric = part[part["metric"] == metric]
            known: dict[Any, pd.DataFrame] = dict(iter(of_metric.groupby(["part", "variant"], sort=False)))
            said = {}
            for place, mine in known.items():
                other = _reference(results, str(evaluation), part, place)
                if other is None or other == place or other not in known:
                    continue
                test = _test(results, split, mine, known[other], first=metric == _first(part, place))
                if test is not None:
                    said[place] = (other, test)
            for (place, (other, test)), p in zip(
                said.items(), holm(np.array([t.p for _, t in said.values()])), strict=True
            ):
                name = other[0] if other[1] == FROZEN else other[1]
                result[str(dataset), str(evaluation), *place, str(metric)] = Tested(name, test, float(p))
    return result


def _split(results: Results, dataset: str) -> SplitSpec:
    """How the rows of a data set were split: that of the table with this label, as far as it can be told."""
    spec: Spec = results.spec
    for value in spec.data:
        if value.name == dataset or dataset.startswith(f"{value.source}/"):
            return value.split or spec.split
    return spec.split


def _first(part: pd.DataFrame, place: tuple[str, str]) -> str:
    own = part[(part["part"] == place[0]) & (part["variant"] == place[1])]
    return str(own["metric"].iloc[0])


def _reference(results: Results, evaluation: str, part: pd.DataFrame, place: tuple[str, str]) -> tuple[str, str] | None:
    """The better encoder alone, of sentences; else the study's reference on the same part, or on its first."""
    if evaluation.partition(" ")[0] in OF_SENTENCES:
        frozen = part[(part["variant"] == FROZEN) & part["part"].str.endswith(" alone")]
        learned = FACTS[-1]  # what chose the threshold may choose the reference too
        by = learned if learned in set(frozen["metric"]) else str(frozen["metric"].iloc[0])
        means = frozen[frozen["metric"] == by].groupby("part", sort=False)["value"].mean()
        return str(means.idxmax()), FROZEN
    value = results.spec.space.reference if results.spec.space is not None else None
    name = value or next((v for v in part["variant"] if v != FROZEN), None)
    parts = list(dict.fromkeys(part.loc[part["variant"] == name, "part"]))
    return (place[0] if place[0] in parts else parts[0], str(name)) if parts else None


def _test(
    results: Results, split: SplitSpec, mine: pd.DataFrame, other: pd.DataFrame, *, first: bool
) -> Difference | None:
    keys = ["seed", "split"]
    both = mine.merge(other, on=keys, suffixes=("", "_other"))
    if len(both) < 2:
        return None
    gaps = (both["value"] - both["value_other"]).to_numpy()
    if split.kind != NONE:
        ratio = float((both["test_rows"] / both["train_rows"]).mean())
        return resampled_t(gaps, ratio)
    if not first:
        return None
    kept = [(_kept(results, row, ""), _kept(results, row, "_other")) for row in _records(both)]
    if any(a is None or b is None for a, b in kept):
        return None
    return crossed_t(gaps, *_rows_variance([(a, b) for a, b in kept if a is not None and b is not None]))


Kept = tuple[np.ndarray, np.ndarray | None]


def _kept(results: Results, row: Mapping[str, object], side: str) -> Kept | None:
    """Rows and truth of one part of one run."""
    path = results.folder / RUNS / str(row[f"run{side}"]) / "predictions.npz"
    name = row[f"place{side}"]
    try:
        arrays = read_arrays(path)
        if f"rows_{name}" not in arrays:
            return None
        truth = arrays[f"truth_{name}"].astype(np.float64) if f"truth_{name}" in arrays else None
        return arrays[f"rows_{name}"].astype(np.float64), truth
    except FileNotFoundError:
        return None


def _rows_variance(kept: Sequence[tuple[Kept, Kept]]) -> tuple[float, int]:
    """Variance of the mean difference when the test rows are drawn anew, and how many rows there are."""
    n = len(kept[0][0][0])
    drawn = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), RESAMPLES)
    gaps = [_weighted(*a, drawn) - _weighted(*b, drawn) for a, b in kept]
    return float(np.mean(gaps, axis=0).var(ddof=1)), n


def _weighted(x: np.ndarray, y: np.ndarray | None, counts: np.ndarray) -> np.ndarray:
    """Mean of (n,), or its Pearson correlation with (n,), for each row of counts (resamples, n)."""
    w = counts / counts.sum(1, keepdims=True)
    if y is None:
        return np.asarray(w @ x)
    mx, my = w @ x, w @ y
    between = w @ (x * y) - mx * my
    result = between / np.sqrt(np.maximum((w @ x**2 - mx**2) * (w @ y**2 - my**2), 1e-24))
    return np.asarray(result)
