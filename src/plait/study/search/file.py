"""A search as a YAML file: the same names as in Python and on the command line."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pandas as pd

from plait.base import config
from plait.base.errors import ConfigError, nearest
from plait.data import schema
from plait.data.modality import Schema
from plait.data.table import read_table

FIELDS = (
    "data",
    "model",
    "ranges",
    "regimes",
    "trials",
    "metric",
    "valid_fraction",
    "splits",
    "group",
    "sampler",
    "seed",
)
_DATA = ("table", "dataset", "target", "schema", "options", "root", "task", "rows")


def read_search(path: Path) -> dict[str, Any]:
    """The settings of a search file, with plain values; unknown fields are refused.

    Raises:
        ConfigError: not YAML, an unknown field, or no data.
    """
    value = config.read_yaml(path)
    value.pop("about", None)
    config.check_fields(value, FIELDS, str(path))
    data = value.get("data")
    if not isinstance(data, dict) or ("table" in data) == ("dataset" in data):
        raise ConfigError(f"{path}: data: expected {{table: FILE, target: NAME}} or {{dataset: NAME, target: NAME}}")
    config.check_fields(data, _DATA, f"{path}, data")
    return value


@dataclasses.dataclass(frozen=True)
class Given:
    """Rows that a file names.

    Attributes:
        official: the data set has parts of its own, and this is its training part; nothing need be left out.
        group: column whose equal values belong on one side, if the data set has one.
    """

    frame: pd.DataFrame
    schema: Schema
    official: bool = False
    group: str | None = None


def rows_of(data: dict[str, Any], base: Path, data_root: str | None = None) -> Given:
    """What a file's ``data`` names. Of a data set with official parts only what is for training.

    Raises:
        PlaitError: no such data set, table or target.
    """
    if "dataset" in data:
        given = _dataset(data, data_root)
    else:
        place = base / str(data["table"])
        frame = read_table(place)
        root = str(data["root"]) if data.get("root") else str(place.parent)
        if data.get("schema"):
            text = (base / str(data["schema"])).read_text(encoding="utf-8")
            result = schema.from_yaml(text, str(data["schema"]))
        else:
            result = schema.infer(frame, target=data.get("target"), root=root, task=data.get("task"))
        given = Given(frame, result)
    if data.get("rows") is not None and len(given.frame) > int(data["rows"]):
        fewer = given.frame.sample(int(data["rows"]), random_state=0).sort_index().reset_index(drop=True)
        return dataclasses.replace(given, frame=fewer)
    return given


def _dataset(data: dict[str, Any], data_root: str | None) -> Given:
    from plait.base import registry

    loader: Any = registry.find("datasets", str(data["dataset"]))
    loaded = loader(**dict(data.get("options") or {})).load(data_root)
    target = data.get("target") or next(iter(loaded.schemas))
    if target not in loaded.schemas:
        raise ConfigError(
            f"data set '{data['dataset']}' has no target '{target}': {nearest(str(target), loaded.schemas)}"
        )
    frame = loaded.frame
    if loaded.split is not None:
        frame = frame[frame[loaded.split].astype(str) == "train"].reset_index(drop=True)
    return Given(frame, loaded.schemas[target], loaded.split is not None, loaded.groups)
