"""Aligned spaces: each run fits one on pairs and judges it by every evaluation that the study names."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from plait.alignment.aligner import ModalityAligner
from plait.alignment.base import make_stage
from plait.alignment.pairs import schema_of
from plait.base.errors import PlaitError, TableError, nearest
from plait.data.schema_yaml import Place, Problem
from plait.encoders.featurize import Featurizer
from plait.evaluation.spaces import Asked, Part, judged, title_of
from plait.study import space_results, splits
from plait.study.results import Results
from plait.study.runs import Run
from plait.study.spec import CLEAN, NONE, SpaceSpec, SplitSpec
from plait.study.subjects import Finished, Subject
from plait.study.tables import Latest, Setting, StudyTable
from plait.study.variants import Variant

#: Ways of splitting pairs.
KINDS = (NONE, "holdout", "kfold")


class Space(Subject):
    """Alignments of two or more modalities, judged without a target."""

    whose = "aligner"
    thing = "space"
    pairs = True

    @property
    def _space(self) -> SpaceSpec:
        assert self.spec.space is not None
        return self.spec.space

    @cached_property
    def _defaults(self) -> dict[str, object]:
        return {f.name: f.default for f in dataclasses.fields(ModalityAligner)}

    def defaults(self) -> Mapping[str, Any]:
        return self._defaults

    def field_problem(self, name: str, value: object) -> str | None:
        if name == "encoders" and not isinstance(value, Mapping):
            return f"encoders: expected modality: encoder, found {value!r:.60}"
        return None

    def canonical(self, variant: Variant) -> Mapping[str, Any]:
        model = {**self._defaults, **variant.model}
        stage = model["stage"]
        return {**model, "stage": {"name": stage} if isinstance(stage, str) else stage}

    # -- checks --------------------------------------------------------------------------------------------------------

    def problems(self) -> Iterator[Problem]:
        spec = self.spec
        options: dict[str, bool] = {
            "modalities": spec.modalities != "full",
            "conditions": spec.train != (CLEAN,) or spec.test != (CLEAN,),
            "present": spec.present != "full",
            "metrics": bool(spec.metrics),
        }
        for name, there in options.items():
            if there:
                text = f"{name}: a study of a space has none; its evaluations say what is measured; leave it out"
                yield (name,), text
        if spec.budget.trained_weights is not None:
            yield ("budget", "trained_weights"), "budget: trained_weights matches classifiers; a space has stage.width"
        for i, data in enumerate(spec.data):
            if self.split_of(i).kind not in KINDS:
                place: Place = ("data", i, "split") if data.split else ("split",)
                yield place, f"split {self.split_of(i).kind}: pairs of a space are split by {', '.join(KINDS)}"
        yield from self._evaluations()

    def _evaluations(self) -> Iterator[Problem]:
        from plait.evaluation.spaces import check_evaluation

        seen: set[str] = set()
        for i, value in enumerate(self._space.evaluations):
            place: Place = ("space", "evaluations", i)
            name = str(value["name"])
            try:
                check_evaluation(value)
            except PlaitError as error:
                yield place, str(error)
                continue
            title = title_of(value)
            if title in seen:
                yield place, f"evaluations: '{title}' is named twice; keep one"
            seen.add(title)
            own = any(data.source == value.get("dataset") for data in self.spec.data)
            held = all(self.split_of(i).kind != NONE for i in range(len(self.spec.data)))
            if name == "retrieval" and own:
                yield place, f"retrieval: {value['dataset']} is what is learned from; leave dataset out, and split it"
            if name == "retrieval" and "dataset" not in value and not held:
                text = "retrieval searches rows that are held out; take split: kfold or holdout, or name a dataset"
                yield place, text

    def variant_problems(self, known: Sequence[Variant]) -> Iterator[Problem]:
        seen: set[str] = set()
        for variant in known:
            try:
                make_stage(variant.model.get("stage", self._defaults["stage"]))
            except PlaitError as error:
                if str(error) not in seen:
                    seen.add(str(error))
                    yield self._stage_place(variant.label), str(error)
        labels, reference = {variant.label for variant in known}, self._space.reference
        if reference is not None and reference not in labels:
            yield ("space", "reference"), f"reference: no variant '{reference}' ({nearest(reference, labels)})"
        for i, claim in enumerate(self.spec.claims):
            if claim.variant is not None and claim.variant not in labels:
                text = f"claim on the variant '{claim.variant}', which the study has not"
                yield ("claims", i, "variant"), f"{text} ({nearest(claim.variant, labels)})"

    def _stage_place(self, label: str) -> Place:
        spec = self.spec
        if label in spec.variants:
            return ("variants", label, "stage")
        return ("grid", "stage") if "stage" in spec.grid else ("model", "stage") if "stage" in spec.model else ("grid",)

    def table_problems(self, tables: Mapping[int, StudyTable]) -> Iterator[Problem]:
        seen: set[str] = set()
        for table in tables.values():
            for variant in self.variants():
                model = ModalityAligner(modalities=table.schema, **variant.model)
                group = model.group
                if group is not None and group not in table.frame.columns:
                    columns = nearest(group, map(str, table.frame.columns))
                    yield ("model", "group"), f"{table.label}: no column '{group}' to group by; {columns}"
                    break
                try:
                    schema = schema_of(table.schema, table.frame, None, group)
                    make_stage(model.stage).pairs_of([m.name for m in schema.modalities])
                    Featurizer(schema, model.encoders)
                except PlaitError as error:
                    if str(error) not in seen:
                        seen.add(str(error))
                        yield self._stage_place(variant.label), f"{table.label}: {error}"

    # -- runs ----------------------------------------------------------------------------------------------------------

    def count(self, table: StudyTable, split: SplitSpec) -> int:
        return split.folds if split.kind == "kfold" else 1

    def rows(self, table: StudyTable, split: SplitSpec, seed: int, index: int) -> splits.Rows:
        """Positions of the rows to learn from and of those held out, sorted; what is about one thing is on one side."""
        n = len(table.frame)
        if split.kind == NONE:
            return np.arange(n), np.arange(0)
        group = splits.group_column(table, split)
        thing = np.arange(n) if group is None else pd.factorize(table.frame[group])[0]
        drawn = np.random.default_rng(seed).permutation(pd.unique(thing))
        if split.kind == "kfold":
            held = drawn[index :: split.folds]
            enough = len(drawn) >= split.folds
        else:
            held = drawn[: round(len(drawn) * split.fractions[-1])]
            enough = 0 < len(held) < len(drawn)
        if not enough:
            raise TableError(f"{table.label}: {len(drawn)} things are too few for split {split.kind}")
        test = np.isin(thing, held)
        return np.flatnonzero(~test), np.flatnonzero(test)

    def defines(self) -> Mapping[str, Any]:
        return {"space": self._space.evaluations}

    def execute(self, table: StudyTable, run: Run, setting: Setting, groups: Latest) -> Finished:
        """Fit the aligner, judge it by every evaluation.

        The seed of the weights is the run's seed and split added, so that no two folds of a seed begin alike.
        """
        data, split = self.spec.data[run.data], self.split_of(run.data)
        train, test = self.rows(table, split, run.seed, run.split)
        group = run.model.get("group") or splits.group_column(table, split)
        aligner = ModalityAligner(
            **{**run.model, "group": group},
            modalities=table.schema,
            root=table.schema.root,
            store=setting.store,
            progress=False,
            random_state=run.seed + run.split,
        ).fit(table.frame.iloc[train].reset_index(drop=True))
        clock = time.perf_counter()
        held = table.frame.iloc[test].reset_index(drop=True) if len(test) else None
        root = None if data.root is None or data.dataset is None else str(setting.base / data.root)
        requested = Asked(aligner, held, group, root)
        parts = [(title_of(value), part) for value in self._space.evaluations for part in judged(value, requested)]
        record = aligner.record_
        seconds = record["seconds"]
        line = {
            "status": "done",
            "train_rows": len(train),
            "test_rows": len(test),
            "evaluations": [_line(run, name, part) for name, part in parts],
            "seconds": {
                "fit": seconds["align"],
                "fit_processor": seconds["align, processor"],
                "encode": seconds["encode"],
                "test": round(time.perf_counter() - clock, 3),
            },
            "weights": {"trained": record["trained_weights"], "frozen": 0},
            "epochs": record["epochs"],
        }
        return Finished(line, _arrays(parts), [r for r in aligner.history_ if "epoch" in r])

    # -- results -------------------------------------------------------------------------------------------------------

    def summary(self, results: Results) -> pd.DataFrame:
        return space_results.summary(results)

    def shown(self, rows: pd.DataFrame) -> Iterator[tuple[str, list[dict[str, Any]]]]:
        return space_results.shown(rows)

    def evidence(self, results: Results, metric: str | None, resamples: int) -> Sequence[Any]:
        return space_results.gather(results)


def _line(run: Run, evaluation: str, part: Part) -> dict[str, object]:
    result = {
        "condition": f"{evaluation}: {part.name}",
        "present": list(run.subset),
        "metrics": {k: None if math.isnan(v) else float(v) for k, v in part.metrics.items()},
        "frozen": part.frozen,
    }
    if part.chance is not None:
        result["chance"] = part.chance
    if part.curves:
        result["curves"] = {name: {str(x): y for x, y in curve.items()} for name, curve in part.curves.items()}
    return result


def _arrays(parts: list[tuple[str, Part]]) -> dict[str, np.ndarray]:
    """``rows_i`` and ``truth_i`` of the i-th evaluation, where it keeps its rows."""
    result = {}
    for place, (_, part) in enumerate(parts):
        if part.rows is not None:
            result[f"rows_{place}"] = part.rows.astype(np.float32)
        if part.truth is not None:
            result[f"truth_{place}"] = part.truth.astype(np.float32)
    return result
