"""MulTaBench: its tables as a data set, plait as one of its models; tiny made files in its layout, nothing is downloaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from plait.base.errors import ConfigError, MissingDependencyError, TableError
from plait.datasets.multabench import Multabench
from plait.papers.multabench import beside_published, runs_of, tabular_model
from plait.study import Study

GAMES, PETS = "core-text-reg-video-games-sales", "core-img-cls-petfinder"
#: Light enough for a test.
LIGHT: dict[str, Any] = {"members": 1, "branches": ["linear"], "epochs": 40}
ENCODERS = {GAMES: {"text": "hashed_ngrams"}, PETS: {"image": "pixel_statistics"}}


def written(root: Path, table: str, frame: pd.DataFrame, **metadata: Any) -> Path:
    folder = root / "multabench" / table
    folder.mkdir(parents=True)
    frame.to_parquet(folder / "data.parquet")
    (folder / "metadata.json").write_text(json.dumps({"image_col": None, **metadata}))
    return root


@pytest.fixture
def games(tmp_path: Path) -> Path:
    pytest.importorskip("multabench")
    rng = np.random.default_rng(0)
    year = rng.integers(1990, 2020, 240)
    frame = pd.DataFrame(
        {"Name": [f"game {y}" for y in year], "Year": year, "Genre": pd.Categorical(["a", None] * 120)}
    )
    frame["Out"] = pd.to_datetime(frame["Year"].astype(str) + "-05-01")
    return written(
        tmp_path, GAMES, frame.assign(Global_Sales=(year - 1990) / 10.0), target="Global_Sales", task_type="reg"
    )


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    pytest.importorskip("multabench")
    folder = tmp_path / "multabench" / PETS / "images"
    speed = np.arange(45) % 3
    frame = pd.DataFrame({"image": [f"images/{i}.png" for i in range(45)], "Age": np.arange(45) % 7, "speed": speed})
    written(tmp_path, PETS, frame, target="speed", task_type="cls", image_col="image")
    folder.mkdir()
    for i, level in enumerate(speed):
        Image.fromarray(np.full((8, 8, 3), 100 * level, np.uint8)).save(folder / f"{i}.png")
    return tmp_path


def test_a_table_has_the_types_and_the_rows_of_a_split(games: Path) -> None:
    from multabench import load_split

    for seed in (0, 5):
        loaded = Multabench(GAMES, seed).load(games)
        frame, schema = loaded.of("value")
        assert [(m.name, m.kind, m.columns) for m in schema.modalities] == [
            ("text", "text", ("Name",)),
            ("tabular", "tabular", ("Year", "Genre", "Out")),
        ]
        assert dict(schema.types) == {"Year": "number", "Genre": "category", "Out": "date"}
        theirs = load_split("REG_TEXT_VIDEO_GAMES_SALES", fold=seed, data_dir=str(games / "multabench"))
        train, test = (frame[frame["split"] == part] for part in ("train", "test"))
        assert train["value"].tolist() == theirs.y_train.tolist()
        assert test["Name"].tolist() == theirs.x_test["Name"].tolist()


def test_images_are_found_where_they_were_extracted(pets: Path) -> None:
    frame, schema = Multabench(PETS).load(pets).of("label")
    assert [m.kind for m in schema.modalities] == ["image", "tabular"]
    assert all(Path(cell).is_file() for cell in frame["image"])
    assert (schema.task, frame["label"].nunique()) == ("classification", 3)


def test_a_study_reads_one_split_per_seed(games: Path, tmp_path: Path) -> None:
    data = {"dataset": "multabench", "options": {"table": GAMES}, "target": "value", "root": str(games)}
    spec = {"name": "small", "data": data, "variants": {"light": {**LIGHT, "encoders": ENCODERS[GAMES]}}, "seeds": 2}
    study = Study.from_dict({**spec, "split": {"kind": "official"}, "metrics": ["rmse"]})
    assert not study.check()
    first, second = (table.frame for table in study.tables.values())
    assert first["Year"].tolist() != second["Year"].tolist()  # its splits differ
    results = study.run(tmp_path / "out", engine="inline", view=False, store=str(tmp_path / "store"))
    assert len(results.lines) == 2


@pytest.mark.parametrize(("table", "message"), [("nothing", "is not there"), ("odd", "unknown table 'odd'")])
def test_a_table_that_is_not_there_or_unknown(tmp_path: Path, table: str, message: str) -> None:
    pytest.importorskip("multabench")
    written(tmp_path, "odd", pd.DataFrame({"a": [1]}), target="a")
    with pytest.raises((TableError, ConfigError), match=message):
        Multabench(table).load(tmp_path)


def test_a_folder_without_its_metadata_is_refused_in_one_line(games: Path) -> None:
    (games / "multabench" / GAMES / "metadata.json").unlink()
    with pytest.raises(TableError, match=r"another layout .*metadata\.json"):
        Multabench(GAMES).load(games)


def test_without_the_package_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "multabench", None)
    written(tmp_path, GAMES, pd.DataFrame({"a": [1]}), target="a")
    with pytest.raises(MissingDependencyError, match=r"plait\[multabench\]"):
        Multabench(GAMES).load(tmp_path)
    with pytest.raises(MissingDependencyError, match=r"plait\[multabench\]"):
        tabular_model()


@pytest.mark.parametrize("which", ["games", "pets"])
def test_plait_is_one_of_the_models(which: str, request: pytest.FixtureRequest) -> None:
    root = request.getfixturevalue(which)
    pytest.importorskip("multabench.baselines.abstract_model")
    table = GAMES if which == "games" else PETS
    settings = {**LIGHT, "store": "none", "encoders": ENCODERS[table]}
    result = runs_of(table, root / "multabench", settings, folds=[0, 4])
    assert result["fold"].tolist() == [0, 4]
    assert result["metric"].unique().tolist() == ["root_mean_squared_error" if which == "games" else "log_loss"]
    # The year tells the sales, which spread by about 0.87; the brightness tells the class: log 3 = 1.10 is a guess.
    assert (result["test_error"] < (0.6 if which == "games" else 1.0)).all()


def test_two_classes_are_answered_by_one_probability() -> None:
    pytest.importorskip("multabench.baselines.abstract_model")
    from multabench import SupervisedTask

    x = pd.DataFrame({"a": np.tile([0.0, 1.0], 30), "b": pd.Categorical(["u", "v"] * 30)})
    y = pd.Series(np.where(x["a"] > 0, "yes", "no"), name="y")
    model = tabular_model({**LIGHT, "store": "none"})(SupervisedTask.BINARY, "cpu")
    model.fit(x, y)
    answer = model.predict(x)
    assert answer.shape == (60,)
    assert answer[y == "yes"].min() > answer[y == "no"].max()
    assert model.score_all_metrics(x, y)["metric"] == "roc_auc"


def test_own_runs_stand_beside_the_published_ones() -> None:
    pytest.importorskip("multabench")
    own = {"model": "ours", "dataset": "REG_TEXT_VIDEO_GAMES_SALES", "fold": range(6), "test_error": 0.0}
    table = beside_published(pd.DataFrame(own))
    assert table["model"].iloc[0] == "ours"
    assert (table["splits"] == 6).all()
    assert {"CatBoost", "LightGBM", "TabM"} <= set(table["model"])
    catboost = table.set_index("model").loc["CatBoost"]
    assert catboost["mean"] == pytest.approx(1.3094, abs=1e-3)  # as the package of 2026 has it
