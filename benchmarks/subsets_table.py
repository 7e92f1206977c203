"""The table of ``subsets.py``: means, spreads, and whether all modalities together lose to some of them.

The best subset is picked by its mean on the test parts, in its favour: if ``all`` is level with it, it is level with
any that could have been chosen honestly. Differences over resampled splits are judged by the corrected resampled t-test
(Nadeau and Bengio 2003), whose variance is ``(1 / k + n_test / n_train) * s^2`` since the training parts overlap; those
on one official test part by a paired t-test over its rows, each row's score averaged over the seeds first.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from plait import registry
from plait.metrics import metrics as metrics_of

Record = dict[str, Any]


def read(path: Path) -> list[Record]:
    """Finished runs of a data set; a last line that was cut off is dropped, so that its run is done again."""
    if not path.is_file():
        return []
    text = path.read_text()
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        path.write_text(whole)
    return [json.loads(line) for line in whole.splitlines()]


def key_of(record: Mapping[str, Any]) -> tuple[Any, ...]:
    """What tells one run from another."""
    return (*(record[k] for k in ("data", "target", "split", "seed", "model")), tuple(record["subset"]))


def resampled_t(differences: np.ndarray, n_train: int, n_test: int) -> float:
    """Two-sided p of the corrected resampled t-test.

    Formula: t = mean / sqrt((1 / k + n_test / n_train) * variance), k - 1 degrees of freedom.
    Source: Nadeau and Bengio 2003, Inference for the Generalization Error, Machine Learning 52.

    Example:
        >>> round(resampled_t(np.array([0.01, 0.02, 0.0, 0.03, 0.01]), 80, 20), 3)
        0.141
    """
    k = len(differences)
    if k < 2:
        return float("nan")
    variance = differences.var(ddof=1)
    if variance == 0:
        return 1.0 if differences.mean() == 0 else 0.0
    t = differences.mean() / np.sqrt((1 / k + n_test / n_train) * variance)
    return float(2 * stats.t.sf(abs(t), k - 1))


def compare(ours: list[Record], others: list[Record], metric: str) -> tuple[float, float]:
    """Mean difference of two models over the seeds that both have, and its p."""
    mine, theirs = ({r["seed"]: r for r in records} for records in (ours, others))
    seeds = sorted(set(mine) & set(theirs))
    difference = np.array([mine[s]["scores"][metric] - theirs[s]["scores"][metric] for s in seeds])
    one_test_part = len(seeds) > 0 and all(mine[s]["rows"] for s in seeds) and mine[seeds[0]]["fixed"]
    if one_test_part:
        rows = [np.mean([side[s]["rows"] for s in seeds], axis=0) for side in (mine, theirs)]
        if np.array_equal(*rows):
            return float(difference.mean()), 1.0
        return float(difference.mean()), float(stats.ttest_rel(*rows).pvalue)
    sizes = mine[seeds[0]]["train"], mine[seeds[0]]["test"]
    return float(difference.mean()), resampled_t(difference, *sizes)


def row(records: list[Record]) -> list[str]:
    """One line of the table: a target under a split."""
    head = records[0]
    cls = registry.find("datasets", head["data"])
    metric = cls.metrics[head["target"]]
    lower = metrics_of(head["task"])[metric].direction == "lower"
    by_run: dict[tuple[str, tuple[str, ...]], list[Record]] = defaultdict(list)
    for record in records:
        by_run[record["model"], tuple(record["subset"])].append(record)
    full = max((tuple(r["subset"]) for r in records), key=len)
    means = {key: float(np.mean([r["scores"][metric] for r in runs])) for key, runs in by_run.items()}
    ours = {subset: mean for (model, subset), mean in means.items() if model == "plait"}
    parts = {subset: mean for subset, mean in ours.items() if subset != full}
    cells = [f"{cls.label()}: {head['target']}", head["split"], metric]
    cells.append("; ".join(f"{'+'.join(s)} {shown(by_run['plait', s], metric)}" for s in parts) or "-")
    cells.append(f"**{shown(by_run['plait', full], metric)}**" if full in ours else "-")
    best = (min if lower else max)(parts, key=parts.__getitem__, default=None)
    cells.append(versus(by_run, full, ("plait", best), metric) if best and full in ours else "-")
    cells.append(shown(by_run["linear", full], metric) if ("linear", full) in means else "-")
    cells.append(versus(by_run, full, ("linear", full), metric) if ("linear", full) in means and full in ours else "-")
    return cells


def shown(runs: list[Record], metric: str) -> str:
    """Mean and standard deviation over the seeds."""
    values = [r["scores"][metric] for r in runs]
    spread = f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
    return f"{np.mean(values):.3f}{spread}"


def versus(by_run: Mapping[Any, list[Record]], full: tuple[str, ...], other: Any, metric: str) -> str:
    """All modalities against another run: difference and p."""
    difference, p = compare(by_run["plait", full], by_run[other], metric)
    name = f" ({'+'.join(other[1])})" if other[0] == "plait" else ""
    return f"{difference:+.3f}{name}, p {p:.2f}"


def table(records: Iterable[Record]) -> str:
    """Markdown: one line per target and split."""
    grouped: dict[tuple[str, str, str], list[Record]] = defaultdict(list)
    for record in records:
        grouped[record["data"], record["target"], record["split"]].append(record)
    head = [
        "data: target",
        "split",
        "metric",
        "parts (plait)",
        "all (plait)",
        "all - best part",
        "linear, all",
        "all - linear",
    ]
    lines = [head, ["---"] * len(head), *(row(runs) for runs in grouped.values())]
    seeds = sorted({r["seed"] for runs in grouped.values() for r in runs})
    note = f"\nMean ± standard deviation over {len(seeds)} seeds; differences paired; for mae lower is better.\n"
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n" + note
