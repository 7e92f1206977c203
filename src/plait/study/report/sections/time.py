"""The section of time: what pretraining, training and answering took, how soon a score was reached, and what is stored."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from plait.report.blocks import Section, sheet
from plait.report.words import counted
from plait.study.folder import RUNS
from plait.study.report import Material, ReportSection
from plait.study.report.evidence import Evidence
from plait.study.results import Results
from plait.training.history import LOWER, epochs_to, read

#: Share of the weakest variant's best score that counts as reached: all variants can be timed by it.
REACH = 0.99
#: Bytes of a weight as it is saved.
BYTES = 4
NOTE = (
    "Means over the runs, as measured while this study ran: times on a machine that did other work compare nothing. Pretraining "
    "counts what it cost when it was done, be it in another run that kept it. Per answer: seconds of testing by rows, conditions "
    "and patterns. Stored: the model's weights, and those that pretraining keeps beside it."
)


def times(results: Results) -> pd.DataFrame:
    """One row per run that is done: seconds of ``pretraining``, ``training``, ``encoding`` and ``test``, and ``total``.

    ``per_answer`` is in milliseconds; ``stored_mb`` counts weights saved, ``kept_mb`` those of encoders kept for other models.
    """
    rows = []
    for line in results.lines:
        if line["status"] != "done" or "seconds" not in line:
            continue
        seconds, weights = line["seconds"], line.get("weights", {})
        parts = {"pretraining": seconds.get("pretrain", 0.0), "training": seconds.get("fit", np.nan)}
        parts |= {"encoding": seconds.get("encode", 0.0), "test": seconds.get("test", np.nan)}
        answers = max(1, len(line.get("evaluations", ())) * int(line.get("test_rows") or 1))
        named = {key: line[key] for key in ("run", "dataset", "variant", "seed")} | {"subset": "+".join(line["subset"])}
        ends = {"total": parts["pretraining"] + parts["training"], "per_answer": 1000 * parts["test"] / answers}
        ends |= {"stored_mb": BYTES * weights.get("trained", np.nan) / 1e6}
        rows.append(named | parts | ends | {"kept_mb": BYTES * weights.get("pretrained", 0) / 1e6})
    return pd.DataFrame(rows)


def reached(results: Results, run: str, metric: str, threshold: float | None = None) -> dict[str, float]:
    """Score of the test rows after the ``first`` epoch, the ``best``, and ``epochs_to`` a threshold.

    Empty where no epochs were scored (``record_epochs``); trainings that never reach the threshold count in ``reached`` alone.
    """
    place = Path(results.folder) / RUNS / run
    if not (place / "epoch_metrics.csv").is_file():
        return {}
    frame = read(place)
    if not ((frame["part"] == "test") & (frame["metric"] == metric)).any():
        return {}
    result = epochs_to(frame, np.nan if threshold is None else threshold, metric, "test")
    means = {name: float(result[name].astype(float).mean()) for name in ("first", "best", "epochs_to")}
    return means | {"reached": float(result["epochs_to"].notna().mean())}


class Time(ReportSection):
    """Pretraining, training and test of every variant, and the epochs to a score."""

    place = 55

    def sections(self, material: Material) -> Iterator[Section]:
        every = times(material.results)
        if every.empty or not (every["pretraining"] > 0).any():
            return
        section = Section("time", "Where the time goes", "")
        said = []
        for evidence in material.evidence:
            shown = _shown(evidence, every)
            if len(shown):
                section.add(sheet(f"time{evidence.at}", shown, evidence.dataset, note=NOTE))
                said.append(_sentence(shown, evidence))
        section.sentence = " ".join(said)
        yield section


def _shown(evidence: Evidence, every: pd.DataFrame) -> pd.DataFrame:
    """One row per variant on all modalities, in the order of the report."""
    mine = every[every["run"].isin(evidence.headline["run"])]
    metric, rows = evidence.metric.name, []
    first = {run: reached(evidence.results, str(run), metric) for run in mine["run"]}
    best = mine.assign(best=[first[run].get("best", np.nan) for run in mine["run"]]).groupby("variant")["best"].mean()
    level = float(best.max() / REACH if metric in LOWER else best.min() * REACH)
    scores = evidence.headline.groupby("variant")["value"].mean()
    for label in dict.fromkeys(evidence.headline.sort_values("variant")["variant"]):
        part = mine[mine["variant"] == label]
        if part.empty:
            continue
        row: dict[str, Any] = {"variant": label}
        row |= {f"{name} s": part[name].mean() for name in ("pretraining", "training", "total", "test")}
        per = scores[label] / part["total"].mean() if part["total"].mean() else np.nan
        row |= {f"{metric} per 1,000 s": 1000 * per, "ms per answer": part["per_answer"].mean()}
        row |= {"stored MB": part["stored_mb"].mean(), "kept MB": part["kept_mb"].mean()}
        if np.isfinite(level):
            until = [reached(evidence.results, str(run), metric, level) for run in part["run"]]
            row |= {f"{metric} after epoch 1": np.mean([one["first"] for one in until if one])}
            row |= {f"epochs to {level:.3g}": np.nanmean([one["epochs_to"] for one in until if one] or [np.nan])}
        rows.append(row)
    return pd.DataFrame(rows)


def _sentence(shown: pd.DataFrame, evidence: Evidence) -> str:
    """How large a part pretraining is of the whole."""
    first = shown[shown["pretraining s"] > 0]
    share = first["pretraining s"].sum() / first["total s"].sum()
    text = f"pretraining is {share:.0%} of the time of the {counted(len(first), 'variant')} that pretrain."
    return evidence.begun(text)
