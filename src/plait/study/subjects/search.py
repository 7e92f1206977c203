"""Searches: each run fits settings that a sampler draws, and judges them on a part of the training rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from plait.base import __version__, registry
from plait.data.schema_yaml import Problem
from plait.metrics.base import MAIN, Metric, metrics
from plait.study import splits
from plait.study.folder import identity
from plait.study.predicting import Predicting
from plait.study.ranges import SearchSpec
from plait.study.results import Results
from plait.study.runs import PROTOCOL, Place, Run, digest, run_of
from plait.study.samplers import PATIENCE, Regime, Sampler, Trials, TrialStorage
from plait.study.sensitivity import Sensitivity
from plait.study.spec import CLEAN, NONE, SplitSpec
from plait.study.state import Line, State
from plait.study.subjects import Tables
from plait.study.tables import StudyTable
from plait.study.variants import Variant, plain, told_fields, with_fields
from plait.workflow.rows import split_rows

#: Fields of a study that a search has no use for, as they are where nothing is said.
USUAL: Mapping[str, Any] = {"modalities": "full", "train": (CLEAN,), "test": (CLEAN,), "present": "full", "claims": ()}


class Search(Predicting):
    """Trials of settings, on the same rows in every variant; the test part of the study's split is never looked at."""

    @property
    def _search(self) -> SearchSpec:
        assert self.spec.search is not None
        return self.spec.search

    def problems(self) -> Iterator[Problem]:
        spec = self.spec
        yield from super().problems()
        for name, usual in USUAL.items():
            if getattr(spec, name) != usual:
                where: tuple[str | int, ...] = ("conditions", name) if name in ("train", "test") else (name,)
                yield where, f"{name}: a search compares settings alone; leave it out"
        for name, several in (("seeds", spec.seeds), ("data", spec.data), ("metrics", spec.metrics)):
            if len(several) > 1 or (name == "seeds" and not several):
                yield (name,), f"{name}: a search has one; result {len(several)}"
        searched = {r.field for r in self._search.ranges}
        for place, name, _ in told_fields(spec):
            if name in searched and place[0] != "model":
                yield place, f"'{name}' is searched for too, which would win; keep one"
        for one in self._search.ranges:
            for value in one.choices:
                if wrong := self.field_problem(one.field, value):
                    yield ("search", "ranges", one.field), wrong

    def variant_problems(self, known: Sequence[Variant]) -> Iterator[Problem]:
        """Operators that do not fit their depth, unless one of the two is searched for."""
        if not {"fusion", "depth", "layers", "network"} & {r.field.partition(".")[0] for r in self._search.ranges}:
            yield from super().variant_problems(known)

    # -- runs ----------------------------------------------------------------------------------------------------------

    def count(self, table: StudyTable, split: SplitSpec) -> int:
        return self._search.splits

    def rows(self, table: StudyTable, split: SplitSpec, seed: int, index: int) -> splits.Rows:
        """Of the training rows: what trials are fitted on, and what they are judged on."""
        group = splits.group_column(table, split)
        if split.kind == NONE:
            return split_rows(table.frame, table.schema, self._search.valid_fraction, None, group, seed + index)
        train, _ = splits.rows_of(table, split, seed, 0)
        frame = table.frame.iloc[train]
        fitted, valid = split_rows(frame, table.schema, self._search.valid_fraction, None, group, seed + index)
        return train[fitted], train[valid]

    def defines(self) -> Mapping[str, Any]:
        return {"search": [self._search.valid_fraction]}

    def sampler(self, *, lower: bool = False) -> Sampler:
        """What draws; ``lower``: less is better."""
        kind = registry.find("samplers", self._search.sampler)
        made: Sampler = kind(self._search, self.spec.seeds[0], lower=lower)
        return made

    def metric(self, task: str) -> Metric:
        """What trials are judged by."""
        return metrics(task)[self.spec.metrics[0] if self.spec.metrics else MAIN[task]]

    def trial(self, table: StudyTable, variant: Variant, drawn: Mapping[str, object], number: int) -> list[Run]:
        """The runs of one trial, one per split."""
        (data,), (seed,) = self.spec.data, self.spec.seeds
        model = with_fields(variant.model, drawn)
        made = Variant(variant.label, {**variant.settings, **{k: plain(v) for k, v in drawn.items()}}, model)
        place = Place(table, data.split or self.spec.split, (0, None), CLEAN, table.modalities, seed, 0)
        return [
            run_of(self.spec, dataclasses.replace(place, index=i), made, self.defines(), number)
            for i in range(self._search.splits)
        ]

    def regimes(self, tables: Tables) -> list[Regime]:
        """One per variant, with nothing drawn yet."""
        table = next(iter(tables.values()))
        sampler = self.sampler(lower=self.metric(table.task).direction == "lower")

        def maker(variant: Variant) -> Regime:
            return Regime(variant.label, sampler, lambda drawn, number: self.trial(table, variant, drawn, number))

        return [maker(variant) for variant in self.variants()]

    def runs(self, tables: Tables) -> list[Run]:
        """The first trials of every variant, which depend on no score."""
        result = []
        for regime in self.regimes(tables):
            free = [n for n in range(min(PATIENCE, regime.sampler.most)) if regime.sampler.needs(n) == 0]
            result += [run for number in free for run in regime.make(regime.sampler.draw(number, ()), number)]
        return result

    def total(self, tables: Tables) -> int:
        return len(self.variants()) * self.sampler().most * self._search.splits

    def schedule(self, tables: Tables, state: State) -> Trials:
        table = next(iter(tables.values()))
        regimes = self.regimes(tables)
        for regime in regimes:
            regime.storage = self._storage(table, regime.name)
        return Trials(regimes, state, self.metric(table.task).name)

    def earlier(self, tables: Tables) -> Iterator[Line]:
        table = next(iter(tables.values()))
        for variant in self.variants():
            storage = self._storage(table, variant.label)
            yield from storage.lines() if storage is not None else ()

    def _storage(self, table: StudyTable, variant: str) -> TrialStorage | None:
        """The study of Optuna for a variant; its name holds all that makes a trial another one."""
        if self._search.storage is None:
            return None
        key = digest([identity(self.spec), table.digest, variant, __version__, PROTOCOL])[:8]
        name = f"{self.spec.name}, {table.label}, {variant}, {key}"
        return TrialStorage(name, self._search, lower=self.metric(table.task).direction == "lower")

    # -- results -------------------------------------------------------------------------------------------------------

    def summary(self, results: Results) -> pd.DataFrame:
        return Sensitivity.of(results).budgets

    def evidence(self, results: Results, metric: str | None, resamples: int) -> Sequence[Any]:
        result = Sensitivity.of(results)
        return [result] if (result.trials["state"] == "done").any() else []

    def counts(self, results: Results, evidence: Sequence[Any]) -> list[tuple[str, str]]:
        result = evidence[0] if evidence else Sensitivity.of(results)
        numbers = {"regimes": len(result.regimes), "trials": len(result.trials), "fields": len(result.ranges)}
        return [(name, f"{number:,}") for name, number in numbers.items()]
