"""Runs noted with MLflow and Weights & Biases: in a folder, nothing leaves this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from plait import FusionClassifier, PlaitWarning
from plait.base.errors import ConfigError, MissingDependencyError
from plait.cli import main
from plait.estimators.tracking import Noted, Track, note, noted_fit, track_of

SETTINGS: dict[str, Any] = {"store": "none", "epochs": 2, "members": 2, "progress": False}
TABLE = pd.DataFrame({"a": [i % 7 for i in range(60)], "b": ["x y", "z"] * 30, "c": ["u", "v"] * 30})


@pytest.fixture(scope="module")
def noted() -> Noted:
    return noted_fit(FusionClassifier(**SETTINGS, depth="late").fit(TABLE[["a", "b"]], TABLE["c"]))


def test_what_is_noted_of_a_fit(noted: Noted) -> None:
    assert noted.run == "c"
    assert noted.params["depth"] == "late"
    assert noted.params["encoder.tabular"] == "tabular"
    assert "smoothing" not in noted.params  # as usual
    assert noted.metrics["rows"] == 60
    assert [epoch for epoch, _ in noted.epochs] == [0, 1]
    assert set(noted.epochs[0][1]) >= {"train_loss.member_0", "train_loss.member_1"}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("comet", "track: expected one of mlflow, wandb, found 'comet'"),
        ({"project": "x"}, "track: expected one of mlflow, wandb, found None"),
        ({"name": "wandb", "projct": "x"}, "did you mean 'project'"),
    ],
)
def test_a_tracker_that_there_is_not_is_refused_before_the_work(value: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        FusionClassifier(**SETTINGS, track=value).fit(TABLE[["a", "b"]], TABLE["c"])


def test_a_package_that_is_missing_is_named_before_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "wandb", None)
    with pytest.raises(MissingDependencyError, match=r"plait\[wandb\]"):
        FusionClassifier(**SETTINGS, track="wandb").fit(TABLE[["a", "b"]], TABLE["c"])


def test_a_tracker_that_fails_costs_a_warning(noted: Noted, tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    (tmp_path / "taken").write_text("a file")
    with pytest.warns(PlaitWarning, match="track: the run was not noted with mlflow .*File exists"):
        note(Track("mlflow", folder=str(tmp_path / "taken")), noted)


def test_mlflow_has_settings_losses_scores_and_the_report(tmp_path: Path) -> None:
    """Its database needs sqlalchemy and alembic."""
    pytest.importorskip("sqlalchemy")
    pytest.importorskip("alembic")
    tracking = pytest.importorskip("mlflow.tracking")
    runs, out = tmp_path / "runs", tmp_path / "model"
    TABLE.to_csv(tmp_path / "t.csv", index=False)
    quick = ["--set", "store=none", "--members", "2", "--epochs", "2"]
    where = ["--track", "mlflow", "--set", f"track.folder={runs}", "--set", "track.project=cards"]
    with pytest.raises(SystemExit, match="0"):
        main(["fit", str(tmp_path / "t.csv"), "--target", "c", "--out", str(out), *quick, *where])
    client = tracking.MlflowClient(tracking_uri=f"sqlite:///{runs / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name("cards").experiment_id])
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "c"
    assert run.data.params["members"] == "2"
    scores = json.loads((out / "results.json").read_text())["evaluation"]["metrics"]
    assert run.data.metrics["test.accuracy"] == scores["accuracy"]["value"]
    assert {"worth.tabular", "baseline.majority.accuracy", "test.accuracy.low"} <= set(run.data.metrics)
    assert [m.step for m in client.get_metric_history(run.info.run_id, "train_loss.member_0")] == [0, 1]
    files = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert files == {"results.json", "README.md", "report.html"}


def test_weights_and_biases_is_written_offline(noted: Noted, tmp_path: Path) -> None:
    wandb = pytest.importorskip("wandb")
    report = tmp_path / "report.html"
    report.write_text("<p>a report</p>")
    note(track_of({"name": "wandb", "folder": str(tmp_path / "runs")}), noted, {"test.accuracy": 0.75}, [report])
    wandb.teardown()  # its own process has written everything
    (run,) = (tmp_path / "runs" / "wandb").glob("offline-run-*/run-*.wandb")
    held = run.read_bytes()
    for word in (b"train_loss.member_0", b"test.accuracy", b"encoder.tabular", b"report.html"):
        assert word in held


def test_a_model_does_not_keep_where_it_was_noted(tmp_path: Path) -> None:
    model = FusionClassifier(**SETTINGS).fit(TABLE[["a", "b"]], TABLE["c"]).set_params(track="wandb")
    assert FusionClassifier.load(model.save(tmp_path / "m")).track is None
