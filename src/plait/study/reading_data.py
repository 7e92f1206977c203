"""The tables of a study file and how they are split."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from plait import config
from plait.errors import nearest
from plait.study.reader import Reader
from plait.study.spec import SPLIT_FIELDS, SPLITS, DataSpec, SplitSpec
from plait.study.yaml_lines import Place


def read_data(read: Reader, given: Mapping[str, Any]) -> tuple[DataSpec, ...]:
    """All tables."""
    told = given.get("data")
    if told is None:
        read.wrong(
            ("data",), "data: which table? expected {dataset: NAME, target: NAME} or {table: FILE, target: NAME}"
        )
        return ()
    listed = isinstance(told, list)
    found = []
    for i, entry in enumerate(read.listed(told, ("data",), "data")):
        found.append(_data_entry(read, entry, ("data", i) if listed else ("data",)))
    return tuple(found)


def _data_entry(read: Reader, entry: Any, place: Place) -> DataSpec:
    told = read.fields(
        {"dataset": entry} if isinstance(entry, str) else entry, place, config.fields_of(DataSpec), "data"
    )
    named = [k for k in ("dataset", "table", "frame") if k in told]
    if len(named) != 1 and isinstance(entry, str | Mapping):
        read.wrong(
            place, f"data: expected one of dataset, table and frame, found {' and '.join(named) or 'none of them'}"
        )
    for key in ("schema", "task"):
        if "dataset" in told and key in told:
            read.wrong((*place, key), f"data: a data set has its own {key}; leave it out")
    if "options" in told and "dataset" not in told:
        read.wrong((*place, "options"), "data: options are for a data set's loader; a table has none")
    values: dict[str, Any] = {
        k: read.text(v, (*place, k)) for k, v in told.items() if k not in ("rows", "split", "options")
    }
    if "rows" in told:
        values["rows"] = read.number(told["rows"], (*place, "rows"), 10, whole=True)
    if "split" in told:
        values["split"] = read_split(read, told["split"], (*place, "split"))
    return DataSpec(**values, options=read.mapping(told.get("options"), (*place, "options")))


def read_split(read: Reader, told: Any, place: Place) -> SplitSpec:
    """A word, or a mapping with ``kind``."""
    told = {"kind": told} if isinstance(told, str) else told
    given = read.fields(told, place, config.fields_of(SplitSpec), "split")
    kind = given.get("kind", "holdout")
    if kind not in SPLITS:
        read.wrong(place, f"split: unknown kind {kind!r} ({nearest(str(kind), SPLITS)})")
        return SplitSpec()
    for key in given:
        if key != "kind" and key not in SPLIT_FIELDS[kind]:
            fits = [k for k in SPLITS if key in SPLIT_FIELDS[k]]
            read.wrong((*place, key), f"split: '{key}' says nothing about {kind}; it is for {', '.join(fits)}")
    if kind == "time" and "column" not in given:
        read.wrong(place, "split: which column says when? expected column: NAME beside kind: time")
    values = {k: v for k, v in given.items() if k in ("kind", "column", "group")}
    if "fractions" in given:
        values["fractions"] = _fractions(read, given["fractions"], (*place, "fractions"))
    for key, least in (("folds", 2), ("times", 1)):
        if key in given:
            values[key] = read.number(given[key], (*place, key), least, 1000, whole=True) or least
    if given.get("group") == "none":
        values["group"] = None
    return SplitSpec(**values)


def _fractions(read: Reader, told: Any, place: Place) -> tuple[float, ...]:
    shares = told if isinstance(told, list) else []
    right = all(isinstance(s, int | float) and not isinstance(s, bool) and 0 < s < 1 for s in shares)
    if len(shares) not in (2, 3) or not right or abs(sum(shares) - 1) > 1e-6:
        read.wrong(
            place, f"fractions: expected two or three shares that sum to 1, as [0.80, 0.05, 0.15], found {told!r}"
        )
        return SplitSpec().fractions
    return tuple(float(s) for s in shares)
