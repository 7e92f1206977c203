"""Classifiers, regressors and baselines: each run is one of them, fitted on a part of the rows and judged on the rest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from plait.data.schema_yaml import Place, Problem
from plait.evaluation.baselines import NAMES
from plait.report.words import span
from plait.study import splits
from plait.study.predicting import Predicting
from plait.study.results import Results
from plait.study.spec import CLEAN, NONE, SplitSpec
from plait.study.statistics.scores import means
from plait.study.tables import StudyTable


class Model(Predicting):
    """Estimators and baselines that predict a target."""

    def problems(self) -> Iterator[Problem]:
        for i, value in enumerate(self.spec.data):
            if self.split_of(i).kind == NONE:
                place: Place = ("data",) if len(self.spec.data) == 1 else ("data", i)
                where: Place = (*place, "split") if value.split else ("split",)
                yield where, "split none: only a study of a space learns from all rows"
        yield from super().problems()

    def count(self, table: StudyTable, split: SplitSpec) -> int:
        return splits.count(table, split)

    def rows(self, table: StudyTable, split: SplitSpec, seed: int, index: int) -> splits.Rows:
        return splits.rows_of(table, split, seed, index)

    def summary(self, results: Results) -> pd.DataFrame:
        """Means on clean rows with everything present: one row per variant, and per subset and condition where these differ.

        Sorted by data set, subset and condition, variants in the order of the study, whichever run was done first.
        """
        frame = results.frame
        frame = frame[(frame["condition"] == CLEAN) & (frame["present"] == frame["subset"])]
        keys = ["dataset", "subset", "train_condition", "variant"]
        keys = [key for key in keys if key in ("dataset", "variant") or frame[key].nunique() > 1]
        order = {variant.label: i for i, variant in enumerate(self.variants())}

        def rank(group: tuple[Any, pd.DataFrame]) -> tuple[Any, ...]:
            place = dict(zip(keys, group[0], strict=True))
            subset = place.get("subset", "")
            variant = order.get(place["variant"], len(order))
            return place["dataset"], subset.count("+"), subset, place.get("train_condition", ""), variant

        groups = sorted(frame.groupby(keys, sort=False), key=rank)
        return pd.DataFrame([{**dict(zip(keys, place, strict=True)), **means(part)} for place, part in groups])

    def lacks(self) -> str:
        if {variant.model.get("estimator") for variant in self.variants()} & set(NAMES):
            return ""
        return (
            "No baseline stands beside these models: nothing here says whether they beat a simple answer; "
            "'baselines: true' in the study's file adds trees, a tuned linear model, the best single modality and the majority."
        )

    def evidence(self, results: Results, metric: str | None, resamples: int) -> Sequence[Any]:
        from plait.study.report.evidence import gather

        return gather(results, metric, resamples)

    def counts(self, results: Results, evidence: Sequence[Any]) -> list[tuple[str, str]]:
        runs = results.runs
        done = runs[runs["status"] == "done"] if len(runs) else runs
        numbers = {"run done": len(done)}
        if evidence:
            numbers["variant"] = max(e.headline["label"].nunique() for e in evidence)
            numbers |= {"seed": done["seed"].nunique(), "data set": len(evidence)}
            numbers["modality"] = max(len(e.full.split("+")) for e in evidence)
        several = {"run done": "runs done", "modality": "modalities"}
        facts = [(k if n == 1 else several.get(k, f"{k}s"), f"{n:,}") for k, n in numbers.items()]
        rows = [int(n) for e in evidence for n in e.headline["test_rows"]]
        return facts + ([("test rows of a run", span(rows))] if rows else [])
