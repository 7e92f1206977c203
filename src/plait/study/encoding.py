"""Encodings that runs share, done once before them: which there are, and how a worker does a piece of one."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from plait.data.modality import Modality, Schema
from plait.data.row_numbers import numbered
from plait.encoders.featurize import Featurizer
from plait.estimators.fit_settings import NO_STORE
from plait.networks import choice
from plait.store import Store
from plait.study import conditions, splits
from plait.study.runs import Run
from plait.study.spec import CLEAN, Spec
from plait.study.tables import Setting, StudyTable, threads
from plait.training.settings import with_regimes

#: Rows of a piece at least: an encoder's weights are loaded for each.
PIECE = 256


def encoder_key(data: int, modality: str, value: object) -> str:
    """What the weights of an encoder are known by."""
    return f"{data} {modality} {json.dumps(value, sort_keys=True)}"


def encoder_of(run: Run, modality: str, kind: str) -> Any:
    """The encoder that a run names for a modality; None is the schema's."""
    named = run.model.get("encoders") or {}
    return named.get(modality, named.get(kind))


def _learns(run: Run, modality: Modality) -> bool:
    """Whether a run trains the encoder of a modality, so that there is nothing to encode before."""
    words = {k: v for k, v in (run.model.get("train") or {}).items() if k in (modality.name, modality.kind)}
    return with_regimes(Schema((modality,)), words).modalities[0].train != "frozen"


def jobs(
    spec: Spec,
    runs: Sequence[Run],
    tables: Mapping[tuple[int, int | None], StudyTable],
    pieces: int,
    weighed: Mapping[str, int],
) -> list[dict[str, Any]]:
    """Every encoding that the runs need, in at most so many ``pieces`` each; ``weighed`` encoders are counted already."""
    result: dict[str, dict[str, Any]] = {}
    for run in runs:
        table = tables[run.data, run.data_seed]
        network = run.model.get("network", "fusion")
        for modality in choice.schema_for(network, table.schema, run.model.get("encoders")).modalities:
            if modality.name not in run.subset or modality.kind == "tabular" or _learns(run, modality):
                continue
            value = encoder_of(run, modality.name, modality.kind)
            for condition, part in _conditions(spec, run, table, modality.name):
                job = {"data": run.data, "seed": run.data_seed, "modality": modality.name, "encoder": value}
                job |= {
                    "condition": condition,
                    "part": part,
                    "weigh": encoder_key(run.data, modality.name, value) not in weighed,
                }
                result.setdefault(json.dumps(job, sort_keys=True), job)
    divided = []
    for job in result.values():
        rows = len(_places(spec, tables[job["data"], job["seed"]], job))
        count = max(1, min(pieces, rows // PIECE))
        edges = np.linspace(0, rows, count + 1).astype(int).tolist()
        for i, (start, stop) in enumerate(pairwise(edges)):
            piece = {**job, "kind": "encode", "start": start, "stop": stop, "weigh": job["weigh"] and i == 0}
            divided.append(piece)
    return divided


def _conditions(spec: Spec, run: Run, table: StudyTable, modality: str) -> Iterator[tuple[object, str]]:
    """Conditions whose change of this modality's cells needs an encoding of its own, and the part of the rows it is for."""
    yield CLEAN, "all"
    split = spec.data[run.data].split or spec.split
    fixed = split.kind == "official" and (split.column is not None or table.parts is not None)  # of every seed
    for value, part in ((run.train_condition, "train"), *((value, "test") for value in spec.test)):
        if not conditions.applies(value, table.schema):
            continue
        changing, _ = conditions.divided(conditions.parsed(value))
        # Of a chain only what changes this modality, so that the pairs of two sweeps are encoded once each.
        felt = [p.to_dict() for p in changing if p.strength and modality in {m.name for m in p.targets(table.schema)}]
        if felt:
            yield felt, part if fixed else "all"


def _places(spec: Spec, table: StudyTable, job: Mapping[str, Any]) -> np.ndarray:
    """The rows of a job's part."""
    if job["part"] == "all":
        return np.arange(len(table.frame))
    split = spec.data[job["data"]].split or spec.split
    return splits.rows_of(table, split, 0, 0)[job["part"] == "test"]


def encode(table: StudyTable, setting: Setting, job: Mapping[str, Any]) -> dict[str, Any]:
    """One piece; what it cost, and the weights of the encoder where they are asked for."""
    clock = time.perf_counter()
    modality = next(m for m in table.schema.modalities if m.name == job["modality"])
    features = Featurizer(
        Schema((modality,), root=table.schema.root), {modality.name: job["encoder"]} if job["encoder"] else None
    )
    encoder = features.encoders[modality.name]
    places = _places(setting.spec, table, job)
    rows = numbered(table.frame).iloc[places[job["start"] : job["stop"]]]
    if encoder.stored and setting.store != NO_STORE:
        changing, _ = conditions.divided(conditions.parsed(job["condition"]))
        for part in changing:
            rows = conditions.changed(part, rows, rows, table.schema, table.schema.root)
        with Store(setting.store) as store, threads(setting.threads):
            features.transform(rows, table.schema.root, store, strict=False, progress=False)
    facts = {"key": encoder_key(job["data"], modality.name, job["encoder"]), "rows": len(rows)}
    if job["weigh"]:
        facts["weights"] = sum(p.numel() for p in encoder.module().parameters()) if encoder.stored else 0
    return {**facts, "seconds": round(time.perf_counter() - clock, 3)}
