"""Damaged and hostile model folders, results and tables: one clear line each, whatever was changed."""

from __future__ import annotations

import collections
import copy
import random
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import plait
from plait import FusionClassifier, persist
from plait.errors import PlaitError

ODD: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    3,
    10**6,
    1e300,
    "",
    "x",
    "\x00",
    [],
    [[]],
    {},
    {"a": 1},
    [None],
    "0.5",
    -0.5,
)


def table(rows: int = 60) -> tuple[pd.DataFrame, list[str]]:
    draw = np.random.default_rng(0)
    side = draw.integers(0, 2, rows)
    frame = pd.DataFrame(
        {
            "size": side + draw.normal(0, 0.5, rows),
            "shape": np.where(side, "round", "flat"),
            "story": [f"{'bright day' if s else 'dark night'} {i}" for i, s in enumerate(side)],
        }
    )
    return frame, ["yes" if s else "no" for s in side]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    frame, y = table()
    fields: dict[str, Any] = {
        "modalities": {
            "numbers": {"kind": "tabular", "columns": ["size", "shape"]},
            "text": {"kind": "text", "columns": ["story"], "encoder": {"name": "hashed_ngrams", "width": 64}},
        },
        "align": {"numbers": {"anchors": ["text"], "epochs": 1}},
        "members": 2,
        "width": 8,
        "epochs": 2,
        "store": "none",
        "progress": False,
    }
    return FusionClassifier(**fields).fit(frame, y).save(tmp_path_factory.mktemp("models") / "m")


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


def mutated(manifest: dict[str, Any], draw: random.Random) -> dict[str, Any]:
    told = copy.deepcopy(manifest)
    for _ in range(draw.choice((1, 1, 2))):
        path = draw.choice([p for p in places(told) if p])
        parent = told
        for key in path[:-1]:
            parent = parent[key]
        if draw.random() < 0.3:
            del parent[path[-1]]
        else:
            parent[path[-1]] = draw.choice(ODD)
    return told


def damaged(arrays: dict[str, np.ndarray], draw: random.Random) -> dict[str, np.ndarray]:
    told = dict(arrays)
    name = draw.choice(sorted(told))
    way = draw.randrange(6)
    if way == 0:
        del told[name]
    elif way == 1:
        told[name] = np.full_like(told[name], np.nan if told[name].dtype.kind == "f" else 127)
    elif way == 2:
        told[name] = np.concatenate([np.atleast_1d(told[name])] * 2)
    elif way == 3:
        told[name] = told[name].astype("float64" if told[name].dtype.kind != "f" else "int64")
    elif way == 4:
        told[name] = told[name].reshape(-1)[:-1]
    else:
        told[name] = np.zeros((0, 3), np.float32)
    return told


def rewritten(source: Path, place: Path, manifest: dict[str, Any], arrays: dict[str, np.ndarray]) -> Path:
    """A folder whose digests fit, as a stranger can make one."""
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(source, place)
    kept = {k: v for k, v in manifest.items() if k not in ("checksum", "weights")}
    persist.write_model(place, kept, arrays, "# card\n")
    return place


def test_a_model_that_was_tampered_with_is_one_clear_line(model: Path, tmp_path: Path) -> None:
    """Seeded changes of the manifest and of the arrays: it loads and predicts, or says in one line what is wrong."""
    manifest, arrays = persist.read_model(model)
    frame, _ = table(8)
    draw = random.Random(0)
    traces = collections.Counter()
    refused = 0
    for number in range(TRIALS):
        told = mutated(manifest, draw) if number % 3 else manifest
        held = arrays if number % 3 else damaged(arrays, draw)
        rewritten(model, tmp_path / "m", told, held)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                again = plait.load(tmp_path / "m")
                if hasattr(again, "predict_proba"):
                    again.progress = False
                    assert np.isfinite(again.predict_proba(frame)).all()
        except PlaitError as error:
            refused += 1
            assert str(error)
        except Exception as error:  # noqa: BLE001 - what the test counts
            import traceback

            where = traceback.extract_tb(error.__traceback__)[-1]
            traces[f"{type(error).__name__} {str(error)[:90]} {where.filename[-40:]}:{where.lineno}"] += 1
    assert not traces, chr(10).join(f"{n} {t}" for t, n in traces.most_common())
    assert refused > TRIALS / 4


TRIALS = 60
