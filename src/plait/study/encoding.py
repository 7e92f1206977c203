"""Encodings that runs share, done once before them: which there are, and how a worker does a piece of one."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from plait.estimators import NO_STORE
from plait.features import Featurizer
from plait.schema import Schema
from plait.store import Store
from plait.study import conditions
from plait.study.runs import Run
from plait.study.spec import CLEAN, Spec
from plait.study.tables import StudyTable
from plait.study.threads import threads

if TYPE_CHECKING:
    from plait.study.execute import Executor

#: Rows of a piece at least: an encoder's weights are loaded for each.
PIECE = 256


def encoder_key(data: int, modality: str, told: Any) -> str:
    """What the weights of an encoder are known by."""
    return f"{data} {modality} {json.dumps(told, sort_keys=True)}"


def encoder_of(run: Run, modality: str, kind: str) -> Any:
    """The encoder that a run names for a modality; None is the schema's."""
    named = run.model.get("encoders") or {}
    return named.get(modality, named.get(kind))


def jobs(
    spec: Spec,
    runs: Sequence[Run],
    tables: Mapping[tuple[int, int | None], StudyTable],
    pieces: int,
    weighed: Mapping[str, int],
) -> list[dict[str, Any]]:
    """Every encoding that the runs need, in pieces for several workers.

    Args:
        spec: of the study.
        runs: that are still to be done.
        tables: of the study.
        pieces: at most so many of one encoding.
        weighed: encoders whose weights are counted already.
    """
    found: dict[str, dict[str, Any]] = {}
    for run in runs:
        table = tables[run.data, run.data_seed]
        for modality in table.schema.modalities:
            if modality.name not in run.subset or modality.kind == "tabular" or modality.train != "frozen":
                continue
            told = encoder_of(run, modality.name, modality.kind)
            for condition in _conditions(spec, run, table, modality.name):
                job = {"data": run.data, "seed": run.data_seed, "modality": modality.name, "encoder": told}
                job |= {"condition": condition, "weigh": encoder_key(run.data, modality.name, told) not in weighed}
                found.setdefault(json.dumps(job, sort_keys=True), job)
    divided = []
    for job in found.values():
        rows = len(tables[job["data"], job["seed"]].frame)
        count = max(1, min(pieces, rows // PIECE))
        edges = np.linspace(0, rows, count + 1).astype(int).tolist()
        for i, (start, stop) in enumerate(pairwise(edges)):
            piece = {**job, "kind": "encode", "start": start, "stop": stop, "weigh": job["weigh"] and i == 0}
            divided.append(piece)
    return divided


def _conditions(spec: Spec, run: Run, table: StudyTable, modality: str) -> Iterator[Any]:
    """Conditions whose change of this modality's cells needs an encoding of its own."""
    yield CLEAN
    for told in dict.fromkeys(json.dumps(c, sort_keys=True) for c in (run.train_condition, *spec.test)):
        if not conditions.applies(json.loads(told), table.schema):
            continue
        changing, _ = conditions.divided(conditions.parsed(json.loads(told)))
        if any(modality in {m.name for m in part.targets(table.schema)} for part in changing):
            yield json.loads(told)


def encode(executor: Executor, job: Mapping[str, Any]) -> dict[str, Any]:
    """One piece; what it cost, and the weights of the encoder where they are asked for."""
    clock = time.perf_counter()
    table = executor.table(job["data"], job["seed"])
    modality = next(m for m in table.schema.modalities if m.name == job["modality"])
    features = Featurizer(
        Schema((modality,), root=table.schema.root), {modality.name: job["encoder"]} if job["encoder"] else None
    )
    encoder = features.encoders[modality.name]
    rows = table.frame.iloc[job["start"] : job["stop"]].reset_index(drop=True)
    if encoder.stored and executor.setting.store != NO_STORE:
        changing, _ = conditions.divided(conditions.parsed(job["condition"]))
        for part in changing:
            rows = conditions.changed(part, rows, rows, table.schema, table.schema.root)
        with Store(executor.setting.store) as store, threads(executor.setting.threads):
            features.transform(rows, table.schema.root, store, strict=False, progress=False)
    facts = {"key": encoder_key(job["data"], modality.name, job["encoder"]), "rows": len(rows)}
    if job["weigh"]:
        facts["weights"] = sum(p.numel() for p in encoder.module().parameters()) if encoder.stored else 0
    return {**facts, "seconds": round(time.perf_counter() - clock, 3)}
