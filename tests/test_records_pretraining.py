"""Epochs of encoders alone are recorded beside the members', told apart, scored on rows that pretraining never saw."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from plait import FusionClassifier, FusionRegressor, Modality, Schema, load
from plait.base.errors import ConfigError
from plait.cli import main
from plait.report import curves
from plait.study import Study
from plait.training import history as records
from plait.training import pretraining as alone
from plait.training.callbacks import METRICS, Scorer
from plait.workflow.pretrain import pretrain

SCHEMA = Schema(
    (
        Modality("image", "vector", ("a",), {"name": "mlp", "width": 6}, "pretrain"),
        Modality("text", "vector", ("b",), {"name": "mlp", "width": 6}, "pretrain"),
    ),
    "label",
)
QUICK: dict[str, Any] = {"members": 2, "epochs": 2, "width": 8, "branches": ("joint",), "progress": False}
TOLD: dict[str, Any] = {"modalities": SCHEMA, "store": "none", "pretrain": {"epochs": 3, "patience": 3}, **QUICK}


def table(rows: int, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, rows)
    a, b = (np.eye(3)[y] + 0.5 * rng.normal(size=(rows, 3)) for _ in range(2))
    cells = pd.DataFrame({"a": list(a), "b": list(b)})
    cells.loc[: rows // 10, "a"] = None
    return cells, y


TRAIN, TEST = table(100), table(40, 1)


def fit(test: tuple[Any, Any] | None = TEST, **told: Any) -> FusionClassifier:
    return FusionClassifier(**{**TOLD, **told}).fit(*TRAIN, test=test)


@pytest.fixture(scope="module")
def model() -> FusionClassifier:
    return fit(record_epochs=True)


def run(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as end:
        main([str(a) for a in arguments])
    return int(end.value.code or 0)


# -- what is there -----------------------------------------------------------------------------------------------------


def test_every_epoch_of_every_encoder_is_in_the_file_told_apart(model: FusionClassifier, tmp_path: Path) -> None:
    model.save(tmp_path / "m")
    entries = json.loads((tmp_path / "m" / "epoch_metrics.json").read_text())
    alone = [e for e in entries if e["stage"] == "pretrain"]
    places = [(e["modality"], e["member"], e["epoch"]) for e in alone]
    assert sorted(places) == [(n, m, e) for n in ("image", "text") for m in (0, 1) for e in (1, 2, 3)]
    for entry in alone:
        letter = entry["modality"][0].upper()
        assert entry["from_store"] is False
        for part in ("train", "validation", "test"):
            told = entry[part]
            assert set(told) == {"loss", letter, "timing"}
            assert set(told[letter]) == set(METRICS["classification"])
            assert told["timing"]["total_time"] >= told["timing"]["avg_batch_time"] > 0
    assert [(e["stage"], e["member"], e["epoch"]) for e in entries if e not in alone][:2] == [
        ("train", 0, 1),
        ("train", 0, 2),
    ]


def test_pandas_tells_the_stages_apart(model: FusionClassifier, tmp_path: Path) -> None:
    model.save(tmp_path / "m")
    whole = pd.read_csv(tmp_path / "m" / "epoch_metrics.csv")
    assert set(whole["stage"]) == {"train", "pretrain"}
    found = records.read(tmp_path / "m")
    assert set(found["modality"]) == {"", "image", "text"}
    own = records.select(found, "accuracy", "test", "I")
    encoder = records.select(found, "accuracy", "test", "I", "pretrain")
    assert (len(own), len(encoder)) == (4, 6)
    assert set(encoder["modality"]) == {"image"}
    each = records.epochs_to(found, 0.01, "accuracy", "test", "I", "pretrain")
    assert each["epochs_to"].tolist() == [1, 1]
    assert each[["modality", "member"]].to_numpy().tolist() == [["image", 0], ["image", 1]]
    with pytest.raises(ConfigError, match="no stage 'pretran' was recorded: did you mean 'pretrain'"):
        records.select(found, "accuracy", "test", "I", "pretran")


def test_files_from_before_pretraining_was_recorded_are_read(model: FusionClassifier, tmp_path: Path) -> None:
    model.save(tmp_path / "m")
    path = tmp_path / "m" / "epoch_metrics.csv"
    whole = pd.read_csv(path)
    whole[whole["stage"] == "train"].drop(columns=["stage", "modality", "from_store"]).to_csv(path, index=False)
    found = records.read(tmp_path / "m")
    assert set(zip(found["stage"], found["modality"], found["from_store"], strict=True)) == {("train", "", False)}
    assert len(records.select(found, "loss", "train")) == 4


def test_recording_changes_no_weight_and_model_json_stays_small(model: FusionClassifier, tmp_path: Path) -> None:
    without = fit()
    np.testing.assert_array_equal(without.predict_proba(TEST[0]), model.predict_proba(TEST[0]))
    assert "metrics" in model.pretrain_history_[0]
    assert all("metrics" not in record for record in without.pretrain_history_)
    assert all("metrics" not in r for r in model.record_["pretrain"]["image"]["history"])
    without.save(tmp_path / "m")
    assert not (tmp_path / "m" / "epoch_metrics.json").exists()
    assert set(records.read(tmp_path / "m")["stage"]) == {"train", "pretrain"}, "losses and times are always there"
    again = load(tmp_path / "m")
    kept = [(r["modality"], r["member"], r["epoch"], r["train_loss"]) for r in again.pretrain_history_]
    assert kept == [(r["modality"], r["member"], r["epoch"], r["train_loss"]) for r in sorted_(without)]


def sorted_(model: FusionClassifier) -> list[dict[str, Any]]:
    return sorted(model.pretrain_history_, key=lambda r: (r["modality"], r["member"], r["epoch"]))


def test_numbers_have_their_own_metrics() -> None:
    x, y = TRAIN
    told = FusionRegressor(**TOLD, record_epochs=True).fit(x, y * 10.0)
    assert set(told.pretrain_history_[0]["metrics"]) == {"train", "validation"}
    assert set(told.pretrain_history_[0]["metrics"]["train"]["I"]) == set(METRICS["regression"])


# -- which rows ----------------------------------------------------------------------------------------------------------


def test_nothing_is_scored_on_rows_that_pretraining_learned_from(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each scored part holds the rows that it is called after: the fold, the rows held out of it, and the test rows."""
    scored: list[tuple[torch.Tensor, torch.Tensor]] = []
    learned: list[tuple[torch.Tensor, torch.Tensor]] = []
    call, real = Scorer.__call__, alone.train

    def spy(self: Scorer, net: Any, fold: torch.Tensor, valid: torch.Tensor) -> Any:
        scored.append((fold, valid))
        return call(self, net, fold, valid)

    def watched(learner: Any, *rest: Any) -> Any:
        learned.append((learner.fold, learner.fold[:0]))
        return real(learner, *rest)

    monkeypatch.setattr(Scorer, "__call__", spy)
    monkeypatch.setattr(alone, "train", watched)
    fit(record_epochs=True, members=1)
    assert len(learned) == 2
    for number, (fold, _) in enumerate(learned):
        for judged_fold, judged_valid in scored[3 * number : 3 * number + 3]:
            assert set(fold.tolist()) <= set(judged_fold.tolist())
            assert not set(fold.tolist()) & set(judged_valid.tolist())
            assert len(judged_fold) + len(judged_valid) == len(TRAIN[1])


def test_the_scores_are_those_of_the_encoder_under_its_head(monkeypatch: pytest.MonkeyPatch) -> None:
    """Accuracy on the test rows, recomputed from the trained encoder and the head that is thrown away."""
    kept: list[Any] = []
    real = alone.train

    def watched(learner: Any, *rest: Any) -> Any:
        outcome = real(learner, *rest)
        kept.append((learner.model, outcome.history))
        return outcome

    monkeypatch.setattr(alone, "train", watched)
    found = fit(record_epochs=True, members=1)
    (net, history), x, y = kept[0], *TEST
    best = min(history, key=lambda record: record["valid_loss"])
    with torch.no_grad():
        inputs = found._inputs(x)
        net.eval()
        raw = net.networks["head"]({"encoder": net.encoders["encoder"](inputs.prepared["image"])})
    raw[~inputs.present["image"]] = torch.tensor(found.members_.mixture.prior)
    expected = float((raw.argmax(1).numpy() == y).mean())
    told = found.pretrain_history_[best["epoch"]]
    assert told["modality"] == "image"
    assert told["metrics"]["test"]["I"]["accuracy"] == pytest.approx(expected)


# -- the store -----------------------------------------------------------------------------------------------------------


def test_from_the_store_the_kept_history_is_shown_as_such(tmp_path: Path) -> None:
    cold, warm = (fit(record_epochs=True, store=str(tmp_path)) for _ in range(2))
    assert {r["from_store"] for r in cold.pretrain_history_} == {False}
    assert {r["from_store"] for r in warm.pretrain_history_} == {True}
    for one, other in zip(cold.pretrain_history_, warm.pretrain_history_, strict=True):
        assert {**one, "from_store": True} == other
    assert records.document(warm.pretrain_history_)[0]["from_store"] is True


def test_scores_on_other_test_rows_are_not_passed_off_as_ours(tmp_path: Path) -> None:
    fit(record_epochs=True, store=str(tmp_path))
    for test in (table(40, 2), (TEST[0], (TEST[1] + 1) % 3), None):
        found = fit(test, record_epochs=True, store=str(tmp_path))
        for record in found.pretrain_history_:
            assert record["from_store"]
            assert set(record["metrics"]) == {"train", "validation"}
    plain = fit(store=str(tmp_path))
    assert all("metrics" not in record for record in plain.pretrain_history_)


def test_kept_without_scores_has_losses_alone(tmp_path: Path) -> None:
    fit(store=str(tmp_path))
    found = fit(record_epochs=True, store=str(tmp_path))
    assert all(r["from_store"] and "metrics" not in r for r in found.pretrain_history_)
    entry = records.document(found.pretrain_history_)[0]
    assert entry["validation"]["loss"] > 0
    assert entry["validation"]["timing"]["total_time"] > 0


def test_letters_are_those_of_the_model_that_takes_it(tmp_path: Path) -> None:
    """The same encoder under another name of its modality: its kept scores are shown under that name's letter."""
    fit(record_epochs=True, store=str(tmp_path))
    first, second = SCHEMA.modalities
    renamed = Schema((Modality("views", "vector", first.columns, first.encoder, "pretrain"), second), "label")
    found = fit(record_epochs=True, store=str(tmp_path), modalities=renamed)
    told = [r for r in found.pretrain_history_ if r["modality"] == "views"]
    assert told
    assert all(r["from_store"] and set(r["metrics"]["train"]) == {"V", "timing"} for r in told)


# -- costs -------------------------------------------------------------------------------------------------------------


def test_each_stage_has_its_seconds_peak_and_weights(tmp_path: Path) -> None:
    found = fit(members=1)
    record = found.record_
    for stage in ("schema", "encode", "pretrain", "train"):
        assert record["seconds"][stage] >= 0
        assert record["stage_peak_mb"][stage] > 10
    assert record["stage_peak_mb"].keys() == record["seconds"].keys()
    still = fit(members=1, pretrain={"epochs": 3, "frozen": True}).record_
    encoders = sum(one["trained_weights"] for one in record["pretrain"].values())
    assert encoders > 0
    assert record["trained_weights"] - still["trained_weights"] == encoders
    assert (record["frozen_weights"], still["frozen_weights"]) == (0, encoders)


# -- curves, TensorBoard, plait pretrain ---------------------------------------------------------------------------------


def test_curves_draw_encoders_alone_where_asked(
    model: FusionClassifier, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    model.save(tmp_path / "m")
    told = ["curves", tmp_path / "m", "--metric", "accuracy", "--part", "test"]
    assert run(*told, "--json") == 0
    assert [row["label"] for row in json.loads(capsys.readouterr().out)] == ["m"]
    assert run(*told, "--stage", "pretrain", "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["label"], row["pattern"]) for row in rows] == [("m · image alone", "I"), ("m · text alone", "T")]
    assert [row["trainings"] for row in rows] == [2, 2]
    first = [r for r in model.pretrain_history_ if (r["modality"], r["epoch"]) == ("image", 0)]
    mean = np.mean([r["metrics"]["test"]["I"]["accuracy"] for r in first])
    assert rows[0]["epochs"][0]["mean"] == pytest.approx(mean)
    assert run(*told, "--stage", "all", "--out", tmp_path / "c.svg") == 0
    drawn = (tmp_path / "c.svg").read_text()
    assert all(word in drawn for word in ("m · image alone", "m · text alone", "test, IT", "test, I", "test, T"))
    assert run("curves", tmp_path / "m", "--stage", "pretrain", "--out", tmp_path / "l.svg") == 0, "losses"
    capsys.readouterr()
    assert run(*told, "--stage", "alone") == 2
    assert "unknown stage 'alone'" in capsys.readouterr().err
    assert set(curves.gather([tmp_path / "m"])["stage"]) == {"train"}


def test_event_files_hold_the_epochs_of_encoders_alone(tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    for folder in ("cold", "warm"):
        fit(record_epochs=True, members=1, store=str(tmp_path / "s"), tensorboard=str(tmp_path / folder))
    names = ["member_0", "pretrain_image_0", "pretrain_text_0"]
    assert sorted(p.name for p in (tmp_path / "cold").iterdir()) == names
    kept = ["member_0", "pretrain_image_0_from_store", "pretrain_text_0_from_store"]
    assert sorted(p.name for p in (tmp_path / "warm").iterdir()) == kept


def test_plait_pretrain_records_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    x, y = TRAIN
    frame = x.assign(label=[f"c{k}" for k in y])
    told = {"store": "none", "pretrain": {"epochs": 3}, "progress": False, "record_epochs": True}
    saved = pretrain(frame, SCHEMA, told, modality="text", out=tmp_path / "e")
    entries = json.loads((tmp_path / "e" / "epoch_metrics.json").read_text())
    assert [e["epoch"] for e in entries] == [1, 2, 3]
    assert {(e["stage"], e["modality"]) for e in entries} == {("pretrain", "text")}
    assert all({"loss", "T", "timing"} == set(e[part]) for e in entries for part in ("train", "validation", "test"))
    assert saved.facts["record"]["peak_mb"] > 10
    assert run("curves", tmp_path / "e", "--stage", "pretrain", "--metric", "accuracy", "--json") == 0
    assert json.loads(capsys.readouterr().out)[0]["label"] == "e · text alone"
    plain = pretrain(frame, SCHEMA, {**told, "record_epochs": False}, modality="text", out=tmp_path / "p")
    assert all(np.array_equal(plain.weights[k], saved.weights[k]) for k in saved.weights)
    assert not (tmp_path / "p" / "epoch_metrics.json").exists()
    assert set(records.read(tmp_path / "p")["metric"]) == {"loss", "total_time", "avg_batch_time"}


def test_a_study_keeps_them_beside_its_runs_and_its_own_curves_without_them(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    kind = rng.integers(0, 2, 60)
    frame = pd.DataFrame({"story": [f"{'ant' if k else 'bee'} {i}" for i, k in enumerate(kind)], "size": kind * 1.0})
    frame.assign(size=frame["size"] + rng.normal(size=60), label=[f"c{k}" for k in kind]).to_csv(tmp_path / "t.csv")
    modalities = {"story": {"kind": "text", "columns": ["story"]}, "size": {"kind": "tabular", "columns": ["size"]}}
    (tmp_path / "schema.yaml").write_text(yaml.safe_dump({"target": "label", "modalities": modalities}))
    encoder = {"story": {"name": "cnn_text", "width": 8}}
    model = {"encoders": encoder, "train": {"story": "pretrain"}, "pretrain": {"epochs": 2}, "epochs": 1, "members": 1}
    told = {
        "name": "tiny",
        "data": [{"table": "t.csv", "target": "label", "schema": "schema.yaml"}],
        "model": {**model, "record_epochs": True, "width": 8},
        "variants": {"late": {"depth": "late"}},
        "seeds": 1,
    }
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(told))
    results = Study.load(tmp_path / "s.yaml").run(tmp_path / "out", workers=1, store="none")
    found = records.read(tmp_path / "out")
    assert set(found["stage"]) == {"train", "pretrain"}
    encoder_alone = records.select(found, "accuracy", "test", "St", "pretrain")
    assert encoder_alone["epoch"].tolist() == [1, 2]
    (run,) = results.runs["run"]
    assert results.epochs(run)["epoch"].tolist() == [0]
