"""Tabular foundation models as branches: TabICL on a tiny checkpoint of random weights, others on stand-ins for packages."""

from __future__ import annotations

import json
import pickle
import sys
import types
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LinearRegression, LogisticRegression

import plait
import tiny_tabicl
from plait import FusionClassifier, FusionRegressor
from plait.base import registry
from plait.base.branch import resolve, resolve_all
from plait.base.errors import ConfigError, MissingDependencyError, ModelError, PlaitWarning
from plait.testing.models import check_branch, example_rows

SETTINGS: dict[str, Any] = {"store": "none", "members": 2, "epochs": 2, "width": 8, "progress": False}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_tabicl.write(tmp_path_factory.mktemp("tabicl"))


def table(rows: int = 150, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"size": rng.normal(size=rows), "town": rng.choice(list("abc"), rows)})
    return frame, frame["size"].to_numpy() + (frame["town"] == "a")


def branch(weights: Path, **options: Any) -> dict[str, Any]:
    return {"name": "tabicl", "weights_from": str(weights), "estimators": 2, **options}


def test_the_contract_holds(weights: Path) -> None:
    check_branch(partial(registry.find("branches", "tabicl"), weights_from=str(weights), estimators=2))


@pytest.mark.parametrize("task", ["classes", "number"])
def test_a_model_with_it_is_saved_and_answers_the_same(weights: Path, tmp_path: Path, task: str) -> None:
    frame, value = table()
    kind = FusionClassifier if task == "classes" else FusionRegressor
    y = np.where(value > 0.5, "yes", "no") if task == "classes" else value
    model = kind(**SETTINGS, branches=[branch(weights)]).fit(frame, y)
    model.save(tmp_path / "m")
    again = plait.load(tmp_path / "m")
    np.testing.assert_array_equal(again.predict(frame[:20]), model.predict(frame[:20]))
    assert np.isfinite(model.predict(frame[:9].assign(size=np.nan, town=None)) == 0).all()
    assert set(model.leaderboard_["branch"]) == {"mixture", "tabicl"}
    held = json.loads((tmp_path / "m" / "model.json").read_text())
    assert held["fitted"]["tabicl"][0]["weights"]


def test_another_checkpoint_in_its_place_is_one_line(weights: Path, tmp_path: Path) -> None:
    frame, value = table()
    own = tmp_path / "w" / "tabicl-classifier-v2-20260212.ckpt"
    own.parent.mkdir()
    own.write_bytes((weights / own.name).read_bytes())
    model = FusionClassifier(**SETTINGS, branches=[branch(own.parent)]).fit(frame, np.where(value > 0.5, "yes", "no"))
    model.save(tmp_path / "m")
    held = torch.load(own, weights_only=True)
    held["config"]["dropout"] = 0.5
    torch.save(held, own)
    with pytest.raises(ModelError, match="not the checkpoint that this model was fitted with") as raised:
        plait.load(tmp_path / "m").predict(frame)
    assert "\n" not in str(raised.value)
    own.unlink()
    with pytest.raises(ConfigError, match="has no checkpoint; expected tabicl-classifier") as raised:
        plait.load(tmp_path / "m").predict(frame)
    assert "\n" not in str(raised.value)


def test_a_checkpoint_of_another_version_is_one_line(weights: Path, tmp_path: Path) -> None:
    frame, value = table()
    y = np.where(value > 0.5, "yes", "no")
    held = torch.load(weights / "tabicl-classifier-v2-20260212.ckpt", weights_only=True)
    wrong = tmp_path / "tabicl-classifier-v9.ckpt"
    for config, state in (
        ({**held["config"], "novelty": 3}, held["state_dict"]),
        ({**held["config"], "embed_dim": 16}, held["state_dict"]),
    ):
        torch.save({"config": config, "state_dict": state}, wrong)
        with pytest.raises(ModelError, match=r"cannot use this checkpoint.*expected tabicl-classifier") as raised:
            FusionClassifier(**SETTINGS, branches=[branch(wrong)]).fit(frame, y)
        assert "\n" not in str(raised.value)
    torch.save({"weights": 1}, wrong)
    with pytest.raises(ModelError, match="no checkpoint of TabICL") as raised:
        FusionClassifier(**SETTINGS, branches=[branch(wrong)]).fit(frame, y)
    assert "\n" not in str(raised.value)


def test_a_checkpoint_with_code_is_not_loaded(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "sprung",))

    path = tmp_path / "tabicl-classifier-x.ckpt"
    path.write_bytes(pickle.dumps({"config": {}, "state_dict": Trap()}))
    frame, value = table()
    with pytest.raises(ModelError, match="could run code") as raised:
        FusionClassifier(**SETTINGS, branches=[branch(path)]).fit(frame, np.where(value > 0.5, "yes", "no"))
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("options", "classes", "said"),
    [({}, 6, "6 classes; its checkpoint takes 4"), ({"most_rows": 50}, 2, "rows to learn from; it takes 20 to 50")],
)
def test_more_than_it_takes_is_said_and_the_others_go_on(
    weights: Path, options: dict[str, Any], classes: int, said: str
) -> None:
    frame, value = table()
    y = pd.qcut(value, classes, labels=list("uvwxyz")[:classes]).astype(str)
    with pytest.warns(PlaitWarning, match=f"branch 'tabicl' is left out: .*{said}"):
        model = FusionClassifier(**SETTINGS, branches=["linear", branch(weights, **options)]).fit(frame, y)
    assert set(model.members_.mixture.sources) == {"linear"}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (None, r"weights_from is not given; expected a folder or file .*jingang/TabICL; licence: BSD-3"),
        ("no/such/folder", "no such folder or file as no/such/folder"),
        ("someone/some-model", "is not in the hub's cache and was not fetched"),
    ],
)
def test_weights_that_are_nowhere_are_one_line(given: str | None, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def offline(repo: str, name: str, local_files_only: bool = False) -> str:
        raise huggingface_hub.errors.LocalEntryNotFoundError("nothing there")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", offline)
    frame, value = table(60)
    with pytest.raises(ConfigError, match=said) as raised:
        FusionClassifier(**SETTINGS, branches=[{"name": "tabicl", "weights_from": given}]).fit(frame, value > 0.5)
    assert "\n" not in str(raised.value)


def test_a_loaded_branch_fetches_nothing(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    asked: list[bool] = []

    def offline(repo: str, name: str, local_files_only: bool = False) -> str:
        asked.append(local_files_only)
        raise huggingface_hub.errors.LocalEntryNotFoundError("nothing there")

    frame, value = table(60)
    FusionRegressor(**SETTINGS, branches=[branch(weights)]).fit(frame, value).save(tmp_path / "m")
    model = plait.load(tmp_path / "m")
    for member in model.members_.members:  # as somebody else's file could name it
        member.fitted["tabicl"].weights_from = "someone/some-model"
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", offline)
    with pytest.raises(ConfigError, match="not in the hub's cache"):
        model.predict(frame)
    assert asked == [True]


@pytest.mark.parametrize(
    ("name", "line"), [("tabicl", r'"plait\[tabicl\]"'), ("tabpfn", "tabpfn"), ("tabdpt", "tabdpt")]
)
def test_a_missing_package_is_one_line(name: str, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingDependencyError, match=f"pip install {line}$") as raised:
        resolve_all(["joint", name])
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "kinds", "file", "option"),
    [
        ("tabpfn", "TabPFN", "tabpfn-v2-classifier-x.ckpt", "model_path"),
        ("tabdpt", "TabDPT", "tabdpt1_3.safetensors", "model_weight_path"),
    ],
)
def test_others_are_asked_by_their_own_names(
    name: str, kinds: str, file: str, option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither package is here: stand-ins that take what theirs take (as published), and answer linearly."""
    made: list[dict[str, Any]] = []

    class Classifier(LogisticRegression):
        def __init__(self, **options: Any) -> None:
            super().__init__()
            made.append(options)

    class Regressor(LinearRegression):
        def __init__(self, **options: Any) -> None:
            super().__init__()
            made.append(options)

        def predict(self, x: np.ndarray, n_ensembles: int = 8) -> np.ndarray:
            return super().predict(x)

    package = types.ModuleType(name)
    package.__dict__.update({f"{kinds}Classifier": Classifier, f"{kinds}Regressor": Regressor})
    monkeypatch.setitem(sys.modules, name, package)
    torch.save({}, tmp_path / file)
    torch.save({}, tmp_path / file.replace("classifier", "regressor"))
    check_branch(partial(registry.find("branches", name), weights_from=str(tmp_path)))
    assert {Path(options[option]).suffix for options in made} == {Path(file).suffix}
    assert all(options["device"] == "cpu" for options in made)


def test_what_is_asked_for_reaches_the_options() -> None:
    made = resolve({"name": "tabicl", "weights_from": "w", "most_rows": 100})
    assert made.options() == {"weights_from": "w", "components": 30, "estimators": 4, "most_rows": 100}
    assert example_rows().inputs.present.keys() == {"image", "tabular"}
