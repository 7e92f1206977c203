"""Grids of noise as a study runs them, and one design against another over a grid."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from plait.base.errors import ConfigError, TableError
from plait.encoders.pixels import Pixels
from plait.encoders.spectrogram import Spectrogram
from plait.papers.early_fusion_conv_lstm import noise_grids
from plait.papers.early_fusion_conv_lstm.noise_grids import Design, Grid, Seeds
from plait.study import Results, Study, conditions, engine, recipes
from plait.study import models as study_models
from test_conv_lstm import SCHEMA, table

MODALITIES = ("image", "audio")
ENCODERS = {
    "image": {"name": "pixels", "size": 6, "channels": 1},
    "audio": {"name": "spectrogram", "window": 128, "stride": 128, "rate": 8000},
}
NOISE = [
    {"white_noise": {"modality": "image", "amplitude_ratio": [math.inf, 1, 0.25]}},
    {"white_noise": {"modality": "audio", "amplitude_ratio": [math.inf, 0.5]}},
]
TRAINED = [
    {"white_noise": {"modality": "image", "amplitude_ratio": 0.25}},
    {"white_noise": {"modality": "audio", "amplitude_ratio": 0.5}},
]


def study(**changes: Any) -> Study:
    frame = table(80)
    frame = frame[frame["audio"].notna()].reset_index(drop=True)
    told: dict[str, Any] = {
        "name": "noise", "data": {"frame": "digits", "target": "label"}, "seeds": 2, "metrics": ["accuracy"],
        "model": {
            "network": {"name": "conv_lstm", "dense": 8, "least_steps": 3}, "encoders": ENCODERS, "width": 4, "epochs": 2,
            "branches": ["joint"], "batch_size": 16, "learning_rate": 0.02, "input_dropout": 0.0, "modality_dropout": 0.0,
        },
        "grid": {"depth": ["early", "late"]},
        "split": {"kind": "holdout", "fractions": [0.5, 0.5]},
        "conditions": {"train": [TRAINED], "test": [NOISE]},
    }  # fmt: skip
    return Study.from_dict({**told, **changes}, frames={"digits": (frame, SCHEMA)})


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    found = study()
    assert found.check() == []
    return found.run(tmp_path_factory.mktemp("noise") / "out", store="none")


def test_a_study_has_the_grid_of_every_design(results: Results) -> None:
    assert results.status()["failed"] == 0
    found = noise_grids.grids(results, MODALITIES)
    assert {(told.variant, told.subset) for told in found} == {
        ("depth=early", "image+audio"),
        ("depth=late", "image+audio"),
    }
    early = found[next(told for told in found if told.variant == "depth=early")]
    grid = early.grids[1, 0]
    assert grid.levels == ((math.inf, 1.0, 0.25), (math.inf, 0.5))
    assert grid.trained == (0.25, 0.5)
    frame = results.frame
    run = frame[(frame["variant"] == "depth=early") & (frame["seed"] == 1)]
    name = "white_noise:image:amplitude_ratio=1.0 + white_noise:audio:amplitude_ratio=0.5"
    labels = [c for c in run["condition"] if c.replace("=1 ", "=1.0 ") == name]
    assert grid.accuracy[1, 1] == pytest.approx(run.set_index("condition")["value"][labels[0]])
    assert noise_grids.grids(results, MODALITIES, "snr").popitem()[1].mean.levels[0] == (math.inf, 1.0, 0.0625)
    with pytest.raises(ConfigError, match="unknown ratio"):
        noise_grids.grids(results, MODALITIES, "decibel")


def test_a_depth_that_the_network_has_not_is_found_before_it_is_run() -> None:
    found = [str(mistake) for mistake in study(grid={"depth": ["early", "decision"]}).check()]
    assert len(found) == 1
    assert "network conv_lstm: unknown depth 'decision'" in found[0]


@pytest.mark.parametrize(
    "name", [name for name in recipes() if name.startswith(("conv_lstm", "early_late", "av_digits_noise"))]
)
def test_recipes_train_where_they_are_tested(name: str) -> None:
    spec = Study.load(name).spec
    tested = {conditions.label(conditions.parsed(told)) for told in spec.test}
    assert len(tested) == len(spec.test)
    trained = {conditions.label(conditions.parsed(told)).replace(",redraw=true", "") for told in spec.train}
    assert trained <= {*tested, conditions.CLEAN}


def test_frozen_features_are_encoded_once_per_ratio_and_part(tmp_path: Path) -> None:
    frame = table(60)
    frame["split"] = np.where(np.arange(60) < 40, "train", "test")
    told = {
        "name": "frozen", "data": {"frame": "digits", "target": "label"}, "metrics": ["accuracy"], "seeds": 2,
        "model": {"encoders": {"image": "pixel_statistics", "audio": "logmel"}, "members": 1, "epochs": 2},
        "split": {"kind": "official", "column": "split"},
        "conditions": {"train": ["clean", TRAINED], "test": [NOISE]},
    }  # fmt: skip
    found = Study.from_dict(told, frames={"digits": (frame, SCHEMA)})
    jobs = engine.encoding_jobs(found.spec, found.runs, found.tables, 1, {})
    rows = {(j["modality"], json.dumps(j["condition"]), j["part"]): j["stop"] - j["start"] for j in jobs}
    assert (
        len(rows) == len(jobs) == 4 + 3
    )  # of pictures: as they are, at two ratios, and the training rows at one of them
    assert {part: sum(n for key, n in rows.items() if key[2] == part) for part in ("all", "train", "test")} == {
        "all": 2 * 60,
        "train": 2 * 40,
        "test": (2 + 1) * 20,
    }
    results = found.run(tmp_path / "out", store=str(tmp_path / "store"))
    assert results.status()["failed"] == 0
    assert noise_grids.grids(results, MODALITIES).popitem()[1].mean.correct.shape == (3, 2, 40)


def test_each_modality_is_encoded_once_per_ratio(
    results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = {Pixels: 0, Spectrogram: 0}
    for kind in cells:
        prepare = kind.prepare

        def counted(self: Any, given: Any, kind: Any = kind, prepare: Any = prepare) -> Any:
            cells[kind] += len(given)
            return prepare(self, given)

        monkeypatch.setattr(kind, "prepare", counted)
    again = study(seeds=1).run(tmp_path / "once", store="none")
    train, test = again.lines[0]["train_rows"], again.lines[0]["test_rows"]
    assert cells == {
        Pixels: train + 3 * test,
        Spectrogram: train + 2 * test,
    }  # for both depths together; not 3 x 2 each
    monkeypatch.setattr(study_models, "remember", lambda *told: None)
    plain = study(seeds=1).run(tmp_path / "plain", store="none")
    for line in plain.lines:
        for number in range(6):
            one, other = (r.predictions(line["run"], number).output for r in (again, plain))
            assert np.array_equal(one, other)


def test_conditions_that_are_no_grid_are_refused(tmp_path: Path) -> None:
    found = study(seeds=1, grid={"depth": ["late"]}, conditions={"train": [TRAINED], "test": [NOISE, "blur:0.1"]})
    with pytest.raises(ConfigError, match="no grid of 3 x 2"):
        noise_grids.grids(found.run(tmp_path / "out", store="none"), MODALITIES)


def seeds(values: list[int], *, shared: bool) -> Seeds:
    """Grids of two cells, which are right in so many of 100 rows, and always in half of them."""
    found, rows = {}, {}
    for seed, value in enumerate(values):
        correct = np.zeros((1, 2, 100), bool)
        correct[0, 0, :value] = True
        correct[0, 1, :50] = True
        found[seed, 0] = Grid(MODALITIES, ((1.0,), (1.0, 2.0)), correct, (1.0, 2.0))
        rows[seed, 0] = np.stack([np.arange(100), np.zeros(100, int) if shared else np.full(100, seed)])
    return Seeds(found, rows, 0.25)


def test_designs_are_compared_seed_by_seed() -> None:
    told = noise_grids.compare(seeds([90, 80, 85], shared=False), seeds([60, 50, 56], shared=False))
    assert told.difference.tolist() == [[pytest.approx(0.89 / 3), 0.0]]
    gaps = np.array([0.15, 0.15, 0.145])
    error = math.sqrt((1 / 3 + 0.25) * gaps.var(ddof=1))
    assert told.overall.value == pytest.approx(gaps.mean())
    assert told.overall.p == pytest.approx(2 * stats.t.sf(gaps.mean() / error, 2))
    assert told.cells() == (1, 0)
    assert told.p[0, 1] == 1.0


def test_shared_rows_widen_the_interval() -> None:
    apart = noise_grids.compare(seeds([90, 80, 85], shared=False), seeds([60, 50, 56], shared=False))
    shared = noise_grids.compare(seeds([90, 80, 85], shared=True), seeds([60, 50, 56], shared=True))
    assert shared.overall.error > apart.overall.error
    assert shared.overall.low < apart.overall.low
    assert shared.overall.value == apart.overall.value


def test_what_cannot_be_compared() -> None:
    first = seeds([90, 80], shared=True)
    with pytest.raises(TableError, match="two or more seeds"):
        noise_grids.compare(first, seeds([60], shared=True))
    others = {at: dataclasses.replace(g, levels=((1.0,), (1.0, 4.0))) for at, g in first.grids.items()}
    with pytest.raises(TableError, match="differ in their ratios"):
        noise_grids.compare(first, dataclasses.replace(first, grids=others))


def test_a_table_of_designs() -> None:
    rows = noise_grids.table([("a", seeds([90, 80, 85], shared=False)), ("b", seeds([60, 50, 56], shared=False))])
    assert [row["design"] for row in rows] == ["a", "b"]
    assert rows[0]["grid"] == pytest.approx((0.85 + 0.5) / 2)
    assert rows[0]["trained"] == pytest.approx(0.5)
    assert "p" not in rows[0]
    assert (rows[1]["better"], rows[1]["worse"]) == (1, 0)
    assert Design("d", "a", "s", "t") == Design("d", "a", "s", "t")
