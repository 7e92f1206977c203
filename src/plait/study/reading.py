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


def read_spec(option: Mapping[str, Any], fallback: str) -> tuple[Spec, Reader]:
    """The spec as far as it can be read, and the reader that knows all that is wrong.

    Args:
        option: the mapping of the file.
        fallback: name of the study when the file gives none.
    """
    read = Reader()
    given = read.fields(option, (), FIELDS, "study")
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


def _name(read: Reader, value: Any) -> str:
    name = read.text(value, ("name",))
    if not re.fullmatch(r"[\w][\w.+-]*", name):
        read.wrong(("name",), f"name: {name!r} is no name of a folder; take letters, digits and _ . + -")
    return name


def _source(read: Reader, value: Any) -> dict[str, Any]:
    if value is None or isinstance(value, str):
        return {"title": value} if value else {}
    return read.fields(value, ("source",), ("title", "url", "table", "year", "authors"), "source")


def _budget(read: Reader, value: Any) -> Budget:
    if value is None:
        return Budget()
    given = read.fields(value, ("budget",), _BUDGET, "budget")
    values: dict[str, Any] = {}
    for key in ("minutes", "run_minutes"):
        if key in given:
            values[key] = read.number(given[key], ("budget", key), 0)
    if "trained_weights" in given:
        values["trained_weights"] = read.number(given["trained_weights"], ("budget", "trained_weights"), 1, whole=True)
    if "memory" in given:
        values["memory_mb"] = _memory(read, given["memory"])
    return Budget(**values)


def _memory(read: Reader, value: Any) -> float | None:
    from plait.store.record import parse_size

    try:
        return parse_size(str(value)) / _MB
    except PlaitError as error:
        read.wrong(("budget", "memory"), f"memory: {error}")
        return None


def _claims(read: Reader, value: Any) -> tuple[Claim, ...]:
    if value is None:
        return ()
    result = []
    for i, entry in enumerate(read.listed(value, ("claims",), "claims")):
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
        result.append(Claim(**values))
    return tuple(result)
