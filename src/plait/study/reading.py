"""From the mapping of a study file to a ``Spec``; what is wrong comes back beside it, each with its place."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from plait.base import config
from plait.base.errors import PlaitError
from plait.study.reader import Place, Reader
from plait.study.reading_parts import (
    read_conditions,
    read_data,
    read_exclude,
    read_grid,
    read_modalities,
    read_present,
    read_seeds,
    read_split,
    read_variants,
)
from plait.study.space_spec import read_space
from plait.study.spec import FIELDS, Budget, Claim, Spec

_BUDGET = ("minutes", "run_minutes", "trained_weights", "memory")
_MB = 1_000_000


def read_spec(told: Mapping[str, Any], fallback: str) -> tuple[Spec, Reader]:
    """The spec as far as it can be read, and the reader that knows all that is wrong.

    Args:
        told: the mapping of the file.
        fallback: name of the study when the file gives none.
    """
    read = Reader()
    given = read.fields(told, (), FIELDS, "study")
    conditions = read.fields(given.get("conditions", {}), ("conditions",), ("train", "test"), "conditions")
    spec = Spec(
        name=_name(read, given.get("name", fallback)),
        about=read.text(given.get("about", ""), ("about",)),
        source=_source(read, given.get("source")),
        data=read_data(read, given),
        space=read_space(read, given.get("space")),
        model=read.mapping(given.get("model"), ("model",)),
        grid=read_grid(read, given.get("grid")),
        variants=read_variants(read, given.get("variants")),
        exclude=read_exclude(read, given.get("exclude")),
        seeds=read_seeds(read, given.get("seeds", 5)),
        split=read_split(read, given.get("split", "holdout"), ("split",)),
        modalities=read_modalities(read, given.get("modalities", "all")),
        train=read_conditions(read, conditions.get("train"), "train"),
        test=read_conditions(read, conditions.get("test"), "test"),
        present=read_present(read, given.get("present", "full")),
        metrics=read.words(given.get("metrics"), ("metrics",)),
        budget=_budget(read, given.get("budget")),
        claims=_claims(read, given.get("claims")),
    )
    return spec, read


def _name(read: Reader, told: Any) -> str:
    name = read.text(told, ("name",))
    if not re.fullmatch(r"[\w][\w.+-]*", name):
        read.wrong(("name",), f"name: {name!r} is no name of a folder; take letters, digits and _ . + -")
    return name


def _source(read: Reader, told: Any) -> dict[str, Any]:
    if told is None or isinstance(told, str):
        return {"title": told} if told else {}
    return read.fields(told, ("source",), ("title", "url", "table", "year", "authors"), "source")


def _budget(read: Reader, told: Any) -> Budget:
    if told is None:
        return Budget()
    given = read.fields(told, ("budget",), _BUDGET, "budget")
    values: dict[str, Any] = {}
    for key in ("minutes", "run_minutes"):
        if key in given:
            values[key] = read.number(given[key], ("budget", key), 0)
    if "trained_weights" in given:
        values["trained_weights"] = read.number(given["trained_weights"], ("budget", "trained_weights"), 1, whole=True)
    if "memory" in given:
        values["memory_mb"] = _memory(read, given["memory"])
    return Budget(**values)


def _memory(read: Reader, told: Any) -> float | None:
    from plait.store.record import parse_size

    try:
        return parse_size(str(told)) / _MB
    except PlaitError as error:
        read.wrong(("budget", "memory"), f"memory: {error}")
        return None


def _claims(read: Reader, told: Any) -> tuple[Claim, ...]:
    if told is None:
        return ()
    found = []
    for i, entry in enumerate(read.listed(told, ("claims",), "claims")):
        place: Place = ("claims", i)
        given = read.fields(entry, place, config.fields_of(Claim), "claim")
        if "metric" not in given:
            read.wrong(place, "claim: which metric? expected metric: NAME")
            continue
        values: dict[str, Any] = {
            k: v if k in ("value", "subset") else read.text(v, (*place, k)) for k, v in given.items()
        }
        if "value" in given:
            values["value"] = read.number(given["value"], (*place, "value"), float("-inf"))
        if "subset" in given:
            values["subset"] = tuple(read.words(given["subset"], (*place, "subset")))
        found.append(Claim(**values))
    return tuple(found)
